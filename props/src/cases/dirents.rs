//! Cases of directory listings.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use palisade_vfs::{Cookie, Dir, DirRef, Errno, FileType, Follow, OpenHow, path};

use super::{Capabilities, Case, TestFs, code, on, row};

/// The entries of a large listing, more than fit into one buffer of any system.
const ENTRIES: usize = 600;

pub(super) const CASES: &[Case] = &[
    row(
        "a_listing_has_each_entry_once_with_its_type",
        "readdir . => names d/ dang@ e/ f ln_d@ ln_f@ ln_f_slash@ ln_slash@ loop@ out@\n
         readdir d => names f up@\n readdir e => names",
    ),
    row("a_listing_follows_links", "readdir ln_d => names f up@\n readdir ln_d/ => names f up@"),
    row(
        "only_directories_are_listed",
        "readdir f => notdir\n readdir ln_f => notdir\n readdir x => noent\n readdir loop => loop\n
         readdir dang => noent",
    ),
    on(
        "mkdir d",
        "listing_reflects_changes",
        "write d/a \"\"\n readdir d => names a\n rename d/a d/b\n readdir d => names b\n
         link d/b d/c\n readdir d => names b c\n unlink d/b\n mkdir d/b\n
         readdir d => names b/ c",
    ),
    on(
        "mkdir .wh.a\n write .hidden \"\"\n write é \"\"\n write \" \" \"\"",
        "listing_omits_no_name",
        "readdir . => names .hidden .wh.a/ \" \" é",
    ),
    code("an_entry_has_the_number_of_its_node", Capabilities::USUAL, numbers),
    code("each_cookie_continues_after_its_entry", Capabilities::WRITE, cookies),
    code("cookies_are_valid_through_any_handle", Capabilities::WRITE, handles),
    code("kept_entries_are_listed_once_during_removals", Capabilities::WRITE, removal),
    code("kept_entries_are_listed_once_during_additions", Capabilities::WRITE, creation),
    code("recreated_entry_does_not_disturb_a_listing", Capabilities::WRITE, again),
    code("listing_stops_on_break", Capabilities::WRITE, stops),
    code("a_cookie_never_has_the_top_bit", Capabilities::WRITE, top_bit),
];

type Res<T = ()> = Result<T, String>;

fn describe(errno: Errno) -> String {
    format!("an operation that must succeed: {errno}")
}

fn fill(world: &TestFs, prefix: &str, count: usize) -> Res<DirRef> {
    match path::create_dir(&*world.dir, "d") {
        Ok(()) | Err(Errno::Exist) => {}
        Err(errno) => return Err(describe(errno)),
    }
    let node = path::open(
        &*world.dir,
        "d",
        Follow::No,
        OpenHow::new(palisade_vfs::Access::Read, palisade_vfs::OpenFlags::DIRECTORY),
    );
    let dir = node.and_then(palisade_vfs::Node::into_dir).map_err(describe)?;
    for nth in 0..count {
        path::create_dir(&*dir, &format!("{prefix}{nth:04}")).map_err(describe)?;
    }
    Ok(dir)
}

/// Lists at most `limit` entries after `from` and returns the last cookie.
fn part(dir: &dyn Dir, from: Cookie, limit: usize) -> Res<(Vec<String>, Cookie)> {
    let (mut names, mut last) = (Vec::new(), from);
    if limit == 0 {
        return Ok((names, last));
    }
    dir.read_dir(from, &mut |entry| {
        names.push(entry.name.as_str().to_owned());
        last = entry.next;
        if names.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(|errno| format!("read_dir({from:?}): {errno}"))?;
    Ok((names, last))
}

/// Lists in chunks, calls `meanwhile` after each, and counts the occurrences of each name.
fn in_parts(
    dir: &dyn Dir,
    limit: usize,
    mut meanwhile: impl FnMut(usize, &[String]) -> Res,
) -> Res<BTreeMap<String, usize>> {
    let (mut from, mut seen) = (Cookie::START, BTreeMap::new());
    for nth in 0.. {
        let (names, last) = part(dir, from, limit)?;
        if names.is_empty() {
            break;
        }
        if nth > 100 * ENTRIES {
            return Err("the listing has no end".to_owned());
        }
        for name in &names {
            *seen.entry(name.clone()).or_default() += 1;
        }
        meanwhile(nth, &names)?;
        from = last;
    }
    Ok(seen)
}

fn each_once(
    seen: &BTreeMap<String, usize>,
    prefix: &str,
    numbers: impl Iterator<Item = usize>,
) -> Res {
    for nth in numbers {
        let name = format!("{prefix}{nth:04}");
        match seen.get(&name) {
            Some(1) => {}
            count => return Err(format!("{name} was listed {} times", count.unwrap_or(&0))),
        }
    }
    Ok(())
}

fn numbers(world: &TestFs) -> Res {
    let mut live = crate::live::Live::new(world.dir.clone());
    for line in ["mkdir d", "write f \"\"", "symlink l -> f", "link f g"] {
        crate::live::Run::run(&mut live, &crate::op::Op::parse(line)?);
    }
    let mut seen = Vec::new();
    let read = world.dir.read_dir(Cookie::START, &mut |entry| {
        seen.push((entry.name.as_str().to_owned(), entry.ino, entry.kind));
        ControlFlow::Continue(())
    });
    read.map_err(describe)?;
    if seen.len() != 4 {
        return Err(format!("four entries, not {}", seen.len()));
    }
    for (name, ino, kind) in seen {
        let stat = path::stat(&*world.dir, &name, Follow::No).map_err(describe)?;
        if (stat.ino, stat.kind) != (ino, kind) {
            return Err(format!("{name}: listed as {ino} {kind:?}, but it is {stat:?}"));
        }
        if kind == FileType::Symlink && name != "l" {
            return Err(format!("{name} is no link"));
        }
    }
    Ok(())
}

fn cookies(world: &TestFs) -> Res {
    let dir = fill(world, "n", ENTRIES)?;
    let (whole, _) = part(&*dir, Cookie::START, usize::MAX)?;
    if whole.len() != ENTRIES {
        return Err(format!("{ENTRIES} entries, not {}", whole.len()));
    }
    for limit in [1, 7, 100] {
        let seen = in_parts(&*dir, limit, |_, _| Ok(()))?;
        each_once(&seen, "n", 0..ENTRIES)?;
    }
    // Going back to a cookie repeats the entries after it.
    let (_, middle) = part(&*dir, Cookie::START, ENTRIES / 2)?;
    let (once, _) = part(&*dir, middle, usize::MAX)?;
    let (twice, _) = part(&*dir, middle, usize::MAX)?;
    let want = whole.get(ENTRIES / 2..).unwrap_or_default();
    if once != want || twice != want {
        return Err("a cookie does not always lead to the same entry".to_owned());
    }
    Ok(())
}

fn handles(world: &TestFs) -> Res {
    let dir = fill(world, "n", ENTRIES)?;
    let (first, middle) = part(&*dir, Cookie::START, ENTRIES / 3)?;
    let (rest, _) = part(&*fill(world, "n", 0)?, middle, usize::MAX)?;
    drop(dir);
    let mut all = [first, rest].concat();
    all.sort();
    all.dedup();
    if all.len() == ENTRIES { Ok(()) } else { Err(format!("{ENTRIES} entries, not {}", all.len())) }
}

fn removal(world: &TestFs) -> Res {
    let dir = fill(world, "n", ENTRIES)?;
    // Removes the entries that were just listed, except every fourth one.
    let kept = |name: &str| name.ends_with(['0', '4', '8']);
    let seen = in_parts(&*dir, 5, |_, names| {
        for name in names.iter().filter(|name| !kept(name)) {
            path::remove_dir(&*dir, name).map_err(describe)?;
        }
        Ok(())
    })?;
    each_once(&seen, "n", 0..ENTRIES)
}

fn creation(world: &TestFs) -> Res {
    let dir = fill(world, "n", ENTRIES)?;
    let seen = in_parts(&*dir, 50, |nth, _| {
        if nth < ENTRIES {
            for more in ["a", "n", "z"] {
                path::create_dir(&*dir, &format!("{more}more{nth}")).map_err(describe)?;
            }
        }
        // A listing may include concurrent additions, so the number of additions is bounded.
        if nth > 2000 { Err("the listing has no end".to_owned()) } else { Ok(()) }
    })?;
    each_once(&seen, "n", 0..ENTRIES)?;
    match seen.iter().find(|(_, count)| **count > 1) {
        Some((name, count)) => Err(format!("{name} was listed {count} times")),
        None => Ok(()),
    }
}

fn again(world: &TestFs) -> Res {
    let dir = fill(world, "n", ENTRIES)?;
    path::create_dir(&*dir, "again").map_err(describe)?;
    // The entry may be listed after each re-creation, so the number of these is bounded.
    let seen = in_parts(&*dir, 20, |nth, _| {
        if nth > ENTRIES {
            return Ok(());
        }
        path::remove_dir(&*dir, "again").map_err(describe)?;
        path::create_dir(&*dir, "again").map_err(describe)
    })?;
    each_once(&seen, "n", 0..ENTRIES)
}

fn stops(world: &TestFs) -> Res {
    let dir = fill(world, "n", 10)?;
    for limit in 1..=10 {
        let (names, _) = part(&*dir, Cookie::START, limit)?;
        if names.len() != limit {
            return Err(format!("{limit} entries, not {}", names.len()));
        }
    }
    Ok(())
}

fn top_bit(world: &TestFs) -> Res {
    let dir = fill(world, "n", 20)?;
    let mut bad = None;
    dir.read_dir(Cookie::START, &mut |entry| {
        if entry.next.0 >> 63 != 0 || entry.next == Cookie::START {
            bad = Some(entry.next);
        }
        ControlFlow::Continue(())
    })
    .map_err(describe)?;
    match bad {
        Some(cookie) => Err(format!("{cookie:?}")),
        None => Ok(()),
    }
}
