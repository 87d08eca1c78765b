//! Cases of hard links.

use super::{Capabilities, Case, TestFs, code, on, row};
use crate::op::Op;
use palisade_vfs::{Descent, Errno, Follow, Stop, path};

pub(super) const CASES: &[Case] = &[
    row(
        "a_hard_link_is_the_same_file",
        "link f n => done\n stat n => file size 5 nlink 2\n write n \"bye\"\n read f => \"bye\"\n
         unlink f\n stat n => file size 3 nlink 1",
    ),
    row(
        "a_hard_link_into_another_directory",
        "link f e/n => done\n read e/n => \"hello\"\n stat f => file nlink 2",
    ),
    row(
        "a_link_is_linked_itself",
        "link ln_f n => done\n readlink n => -> f\n lstat n => symlink nlink 2\n
         stat f => file nlink 1\n link dang m => done\n readlink m => -> nowhere\n
         link loop k => done\n readlink k => -> loop",
    ),
    row(
        "a_directory_has_one_name",
        "link d n => perm\n link d/ n => perm\n link . n => perm\n link ln_d/ n => perm\n
         lstat n => noent",
    ),
    row(
        "link_onto_an_existing_name_is_eexist",
        "link f d => exist\n link f d/f => exist\n link f f => exist\n link f dang => exist\n
         link f ln_d => exist\n link d e => exist\n link f . => exist\n link f d/.. => exist\n
         read d/f => \"abc\"",
    ),
    row(
        "a_new_name_with_a_slash_is_noent",
        "link f n/ => noent\n lstat n => noent\n link f e/ => exist\n link f dang/ => exist",
    ),
    row(
        "a_missing_source_of_a_hard_link_is_noent",
        "link x y => noent\n link x f => noent\n link d/x y => noent\n link x/y z => noent",
    ),
    row(
        "a_source_with_a_slash_must_be_a_directory",
        "link f/ n => notdir\n link ln_f/ n => notdir\n lstat n => noent",
    ),
    row(
        "hard_links_share_their_bytes",
        "link f n\n open n rdwr\n fappend 0 \"!\" => appended 1 6\n read f => \"hello!\"\n
         fsetlen 0 2\n read f => \"he\"",
    ),
    on(
        "write a \"\"\n link a b\n link a c",
        "link_count_is_maintained",
        "stat b => file nlink 3\n unlink a\n stat b => file nlink 2\n rename b c\n
         stat c => file nlink 2\n unlink b\n stat c => file nlink 1\n open c read\n unlink c\n
         fstat 0 => file nlink 0",
    ),
    row(
        "removed_file_cannot_be_linked",
        "open f read\n unlink f\n link f n => noent\n fstat 0 => file nlink 0",
    ),
    code("identity_is_the_node_not_the_name", Capabilities::USUAL, identity),
    code("stat_following_stops_at_a_link", Capabilities::USUAL, stops),
];

fn stops(world: &TestFs) -> Result<(), String> {
    let mut live = crate::live::Live::new(world.dir.clone());
    let lines = "mkdir a\nmkdir a/b\nwrite a/f \"\"\nsymlink l -> a\nsymlink a/b/k -> ../f";
    for line in lines.lines() {
        crate::live::Run::run(&mut live, &Op::parse(line)?);
    }
    for (path, link) in [
        ("", None),
        ("a", None),
        ("a/b", None),
        ("a/f", None),
        ("l", Some((0, "a"))),
        ("a/b/k", Some((2, "../f"))),
        ("l/b/k", Some((0, "a"))),
    ] {
        let at = Descent::new(path).map_err(|e| e.to_string())?;
        let expected = match link {
            None => world.dir.stat(at),
            Some((at, target)) => Err(Stop::Link { at, target: target.into() }),
        };
        let result = world.dir.stat_following(at);
        if result != expected {
            return Err(format!("`{path}` returns {result:?} instead of {expected:?}"));
        }
    }
    for (path, errno) in [("a/x", Errno::Noent), ("a/f/x", Errno::Notdir), ("x/y", Errno::Noent)] {
        let result = world.dir.stat_following(Descent::new(path).map_err(|e| e.to_string())?);
        if result != Err(errno.into()) {
            return Err(format!("`{path}` returns {result:?} instead of {errno:?}"));
        }
    }
    Ok(())
}

fn identity(world: &TestFs) -> Result<(), String> {
    let mut live = crate::live::Live::new(world.dir.clone());
    let lines = "mkdir d\nwrite a \"\"\nwrite b \"\"\nlink a d/c\nsymlink l -> a\nmkdir e";
    for line in lines.lines() {
        crate::live::Run::run(&mut live, &Op::parse(line)?);
    }
    let id = |path: &str, follow| {
        let stat = path::stat(&*world.dir, path, follow).map_err(|e| format!("{path}: {e}"))?;
        if stat.ino == 0 {
            Err(format!("{path} has the number 0"))
        } else {
            Ok((stat.dev, stat.ino))
        }
    };
    let a = id("a", Follow::Yes)?;
    for (path, follow, same) in [
        ("d/c", Follow::Yes, true),
        ("l", Follow::Yes, true),
        ("l", Follow::No, false),
        ("b", Follow::Yes, false),
        ("d", Follow::Yes, false),
        ("e", Follow::Yes, false),
        (".", Follow::Yes, false),
    ] {
        if (id(path, follow)? == a) != same {
            return Err(format!("`a` and `{path}` ({follow:?}) should be the same: {same}"));
        }
    }
    path::rename(&*world.dir, "a", &*world.dir, "d/z").map_err(|e| e.to_string())?;
    if id("d/z", Follow::Yes)? != a {
        return Err("a rename changed the identity".to_owned());
    }
    if id("d/..", Follow::Yes)? != id(".", Follow::Yes)? {
        return Err("the root is not its children's parent".to_owned());
    }
    Ok(())
}
