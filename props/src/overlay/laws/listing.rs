//! Laws of listings: cookies stay valid.

use std::ops::ControlFlow;

use palisade_vfs::{Access, Cookie, Dir, DirRef, OpenFlags, OpenHow};

use super::{Row, code, row};
use crate::overlay::Bench;
use crate::record::{listed_from, listing};

const MERGED: &str = "mkdir a\nwrite a/t1 \"\"\nwrite a/both \"t\"\nmkdir a/dir\n\
whiteout a/gone\n---\n\
                      mkdir a\nwrite a/m1 \"\"\nwrite a/both \"m\"\nmkdir a/dir\n\
                      write a/gone \"\"\n\
                      symlink a/link -> x\n---\n\
                      mkdir a\nwrite a/b1 \"\"\nwrite a/b2 \"\"\nwrite a/both \"b\"\nmkdir a/low\n\
                      write a/gone \"\"";
/// Entries that all changes below keep.
const STAYS: [&str; 6] = ["both", "b2", "dir", "link", "m1", "t1"];

pub(super) const LISTINGS: &[Row] = &[
    row(
        "each_name_is_listed_once_with_its_type",
        "mkdir a\nwrite a/x \"\"\nmkdir a/y\n---\nmkdir a\nmkdir a/x\nwrite a/y \"\"\n\
         symlink a/z -> x\n===\nreaddir a => names x y/ z@\nunlink a/x\nreaddir a => names y/ z@\n\
         mkdir a/x\nreaddir a => names x/ y/ z@\nunlink a/z\nwrite a/z \"\"\n\
         readdir a => names x/ y/ z",
    ),
    code("order_and_cookies_are_stable_over_every_change", MERGED, stable),
    code("a_listing_goes_on_from_every_cookie_after_every_change", MERGED, goes_on),
    code("a_listing_during_which_everything_is_removed_is_whole", MERGED, removed_meanwhile),
    code("a_listing_during_which_everything_is_copied_up_is_whole", MERGED, copied_up_meanwhile),
    code("a_cookie_is_good_through_any_handle", MERGED, any_handle),
    code("no_cookie_has_its_top_bit_set_or_is_the_beginning", MERGED, plain_cookies),
];

/// Changes that keep the entries [`STAYS`], in order.
const CHANGES: [&str; 14] = [
    "open a/b2 write",
    "write a/b2 \"x\"",
    "utimes a/m1 5.0 6.0",
    "utimes a 5.0 6.0",
    "lutimes a/link 5.0 6.0",
    "write a/new \"\"",
    "write a/dir/new \"\"",
    "unlink a/b1",
    "link a/t1 a/t2",
    "rename a/new a/newer",
    "rename a/low low",
    "write a/gone \"\"",
    "unlink a/gone",
    "rename a/newer a/t2",
];

fn dir(bench: &Bench) -> Result<DirRef, String> {
    let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    bench.open("a", how)?.into_dir().map_err(|errno| errno.to_string())
}

/// Returns the kept names in the order of the listing from `from`.
fn staying(dir: &dyn Dir, from: Cookie) -> Result<Vec<String>, String> {
    let listed = listed_from(dir, from)?;
    let names = listed.into_iter().map(|((name, ..), _)| name);
    Ok(names.filter(|name| STAYS.contains(&name.as_str())).collect())
}

fn stable(bench: &mut Bench) -> Result<(), String> {
    let dir = dir(bench)?;
    let before = staying(&*dir, Cookie::START)?;
    for change in CHANGES {
        bench.run(change)?;
        let after = staying(&*dir, Cookie::START)?;
        if after != before {
            return Err(format!("after `{change}`, {before:?} became {after:?}"));
        }
        listing(&*dir).map_err(|what| format!("after `{change}`: {what}"))?;
    }
    Ok(())
}

fn goes_on(bench: &mut Bench) -> Result<(), String> {
    let dir = dir(bench)?;
    let cookies = listed_from(&*dir, Cookie::START)?;
    let mut want = Vec::new();
    for (_, cookie) in &cookies {
        want.push((*cookie, staying(&*dir, *cookie)?));
    }
    for change in CHANGES {
        bench.run(change)?;
        for (cookie, before) in &want {
            let after = staying(&*dir, *cookie)?;
            if after != *before {
                return Err(format!(
                    "after `{change}` the listing from {cookie:?} is {after:?}, and was {before:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Lists one entry at a time and calls a function on each.
fn one_by_one(
    bench: &mut Bench,
    mut each: impl FnMut(&mut Bench, &str) -> Result<(), String>,
) -> Result<Vec<String>, String> {
    let dir = dir(bench)?;
    let (mut names, mut from) = (Vec::new(), Cookie::START);
    loop {
        let mut next = None;
        dir.read_dir(from, &mut |entry| {
            next = Some((entry.name.as_str().to_owned(), entry.next));
            ControlFlow::Break(())
        })
        .map_err(|errno| format!("from {from:?}: {errno}"))?;
        let Some((name, cookie)) = next else { return Ok(names) };
        if names.len() > 100 {
            return Err(format!("there is no end: {names:?}"));
        }
        each(bench, &name)?;
        names.push(name);
        from = cookie;
    }
}

fn whole(mut names: Vec<String>) -> Result<(), String> {
    names.sort();
    match names.join(" ").as_str() {
        "b1 b2 both dir link low m1 t1" => Ok(()),
        other => Err(format!("it was {other}")),
    }
}

fn removed_meanwhile(bench: &mut Bench) -> Result<(), String> {
    let names = one_by_one(bench, |bench, name| match name {
        "dir" | "low" => bench.run(&format!("rmdir a/{name} => done")),
        _ => bench.run(&format!("unlink a/{name} => done")),
    })?;
    bench.run("readdir a => names\nrmdir a => done")?;
    whole(names)
}

fn copied_up_meanwhile(bench: &mut Bench) -> Result<(), String> {
    let names = one_by_one(bench, |bench, name| match name {
        "dir" | "low" => bench.run(&format!("utimes a/{name} 5.0 6.0\nmkdir a/{name}/n")),
        _ => bench.run(&format!("lutimes a/{name} 5.0 6.0")),
    })?;
    whole(names)
}

fn any_handle(bench: &mut Bench) -> Result<(), String> {
    let one = dir(bench)?;
    let cookies = listed_from(&*one, Cookie::START)?;
    bench.run("write a/b2 \"x\"\nrename a moved")?;
    let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    let two = bench.open("moved", how)?.into_dir().map_err(|errno| errno.to_string())?;
    for (entry, cookie) in &cookies {
        let (left, right) = (staying(&*one, *cookie)?, staying(&*two, *cookie)?);
        if left != right {
            return Err(format!("after {entry:?}: {left:?}, and by its new name {right:?}"));
        }
    }
    Ok(())
}

fn plain_cookies(bench: &mut Bench) -> Result<(), String> {
    let dir = dir(bench)?;
    bench.run("write a/new \"\"\nunlink a/b1")?;
    for (entry, cookie) in listed_from(&*dir, Cookie::START)? {
        if cookie == Cookie::START || cookie.0 >> 63 != 0 {
            return Err(format!("the cookie of {entry:?} is {cookie:?}"));
        }
    }
    Ok(())
}
