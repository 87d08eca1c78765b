use std::ops::ControlFlow;
use std::sync::Arc;

use super::{COOKIE_MAX, Mounts, empty::Empty, inner_cookie, outer_cookie};
use crate::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Follow, Name, Node, OpenFlags,
    OpenHow, Result, SetTime, SetTimes, Stat, Stop, Timestamp, path,
};

use crate::MemFs;

/// A memory filesystem with these nodes: `d/` is a directory, `l -> t` a link, any other a file
/// that contains its own name.
fn tree(nodes: &[&str]) -> DirRef {
    let root = MemFs::new().root();
    for node in nodes {
        if let Some((at, target)) = node.split_once(" -> ") {
            path::create_symlink(&*root, target, at).unwrap();
        } else if let Some(at) = node.strip_suffix('/') {
            path::create_dir(&*root, at).unwrap();
        } else {
            write(&root, node, node).unwrap();
        }
    }
    root
}

fn base() -> DirRef {
    tree(&["d/", "d/f", "d/e/", "f", "l -> d", "x/", "x/old", "up -> d/../m/in/f"])
}

fn write(dir: &DirRef, at: &str, text: &str) -> Result<()> {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::TRUNCATE);
    let file = path::open(&**dir, at, Follow::Yes, how)?.into_file()?;
    file.append(&[std::io::IoSlice::new(text.as_bytes())]).map(drop)
}

fn read(dir: &DirRef, at: &str) -> Result<String> {
    let file = path::open(&**dir, at, Follow::Yes, OpenHow::READ)?.into_file()?;
    let mut buf = [0; 64];
    let len = file.read_at(&mut [std::io::IoSliceMut::new(&mut buf)], 0)?;
    Ok(String::from_utf8_lossy(&buf[..len]).into())
}

fn open_dir(dir: &DirRef, at: &str) -> DirRef {
    let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    path::open(&**dir, at, Follow::Yes, how).unwrap().into_dir().unwrap()
}

/// Returns all entries after `from`, with their cookies.
fn list_from(dir: &DirRef, from: Cookie) -> Result<Vec<(String, FileType, u64, Cookie)>> {
    let mut all = Vec::new();
    dir.read_dir(from, &mut |entry| {
        all.push((entry.name.as_str().to_owned(), entry.kind, entry.ino, entry.next));
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

fn names(dir: &DirRef, at: &str) -> Vec<String> {
    let all = list_from(&open_dir(dir, at), Cookie::START).unwrap();
    let mut names: Vec<_> = all.into_iter().map(|(name, ..)| name).collect();
    names.sort();
    names
}

/// `m` and `x/m` are mounts of one store, `s/t/m` of another, and `x/file` is a single file.
fn mounted() -> (DirRef, DirRef) {
    let store = tree(&["in/", "in/f", "g", "ll -> in", "out -> ../d/f"]);
    let root = Mounts::builder(base())
        .mount("s/t/m", tree(&["h"]))
        .and_then(|builder| builder.mount("m", store.clone()))
        .and_then(|builder| builder.mount("x/m", store.clone()))
        .and_then(|builder| builder.mount_file("x/file", store.clone(), "g"))
        .unwrap()
        .build();
    (root, store)
}

const TIMES: SetTimes =
    SetTimes { accessed: SetTime::Keep, modified: SetTime::At(Timestamp::EPOCH) };

#[test]
fn paths_resolve_through_the_base_into_mounts_and_back() {
    let (root, _) = mounted();
    for (at, text) in [
        ("f", "f"),
        ("d/f", "d/f"),
        ("l/f", "d/f"),
        ("m/in/f", "in/f"),
        ("m/ll/f", "in/f"),
        ("x/m/in/f", "in/f"),
        ("x/m/ll/f", "in/f"),
        ("s/t/m/h", "h"),
        ("s/t/m/../../../m/g", "g"),
        ("m/out", "d/f"),
        ("up", "in/f"),
        ("x/file", "g"),
        ("x/old", "x/old"),
    ] {
        assert_eq!(read(&root, at).as_deref(), Ok(text), "{at}");
        // The same from a directory handle, except for a link out of it.
        if let Some((dir, rest)) = at.split_once('/')
            && !rest.contains("..")
            && at != "m/out"
        {
            assert_eq!(read(&open_dir(&root, dir), rest).as_deref(), Ok(text), "{at}");
        }
    }
    assert_eq!(names(&root, "d"), ["e", "f"], "no mount shows up in a directory beside it");
    for (at, errno) in [
        ("d/m/g", Errno::Noent),
        ("m/d", Errno::Noent),
        ("s/d", Errno::Noent),
        ("s/t/n/n", Errno::Noent),
        ("x/file/g", Errno::Notdir),
        ("x/m/out", Errno::Noent),
        ("m/../../f", Errno::Escape),
    ] {
        assert_eq!(read(&root, at), Err(errno), "{at}");
        assert_eq!(path::stat(&*root, at, Follow::Yes).map(drop), Err(errno), "{at}");
        assert_eq!(path::set_times(&*root, at, Follow::Yes, TIMES), Err(errno), "{at}");
    }
}

#[test]
fn symlink_position_under_a_mount_counts_the_whole_descent() {
    let (root, _) = mounted();
    for at in ["m/ll", "x/m/ll"] {
        let path = format!("{at}/f");
        let stop = root.stat(Descent::new(&path).unwrap()).unwrap_err();
        let depth = Descent::new(at).unwrap().depth() - 1;
        assert_eq!(stop, Stop::Link { at: depth, target: "in".into() });
    }
}

#[test]
fn mount_covers_a_file_a_symlink_and_a_directory() {
    let store = tree(&["in/", "in/f", "g"]);
    for at in ["f", "l", "d", "f/sub", "l/sub", "d/f/sub", "d/e"] {
        let root = Mounts::builder(base()).mount(at, store.clone()).unwrap().build();
        assert_eq!(read(&root, &format!("{at}/in/f")).as_deref(), Ok("in/f"), "{at}");
        assert_eq!(names(&root, at), ["g", "in"], "{at}");
    }
    let root = Mounts::builder(base()).mount_file("d", store, "g").unwrap().build();
    assert_eq!(read(&root, "d").as_deref(), Ok("g"));
    assert_eq!(read(&root, "d/f"), Err(Errno::Notdir));
}

#[test]
fn order_of_mounting_does_not_matter() {
    let (outer, inner) = (tree(&["way/", "way/f"]), tree(&["g"]));
    let one = Mounts::builder(base()).mount("d", outer.clone()).unwrap();
    let one = one.mount("d/way/m", inner.clone()).unwrap().build();
    let two = Mounts::builder(base()).mount("d/way/m", inner).unwrap();
    let two = two.mount("d", outer).unwrap().build();
    for root in [one, two] {
        assert_eq!(names(&root, "d/way"), ["f", "m"]);
        assert_eq!(read(&root, "d/way/m/g").as_deref(), Ok("g"));
        assert_eq!(read(&root, "d/f"), Err(Errno::Noent), "covered");
    }
}

#[test]
fn synthesized_directories_are_read_only_and_list_their_mounts() {
    let (root, _) = mounted();
    assert_eq!(names(&root, "s"), ["t"]);
    assert_eq!(names(&root, "s/t"), ["m"]);
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    assert_eq!(path::open(&*root, "s/n", Follow::No, how).map(drop), Err(Errno::Rofs));
    assert_eq!(path::open(&*root, "s/n/n", Follow::No, how).map(drop), Err(Errno::Noent));
    assert_eq!(path::create_dir(&*root, "s/n"), Err(Errno::Rofs));
    assert_eq!(path::create_symlink(&*root, "t", "s/n"), Err(Errno::Rofs));
    assert_eq!(path::set_times(&*root, "s", Follow::No, TIMES), Err(Errno::Rofs));
    assert_eq!(path::remove_file(&*root, "s/n"), Err(Errno::Noent));
    assert_eq!(path::remove_dir(&*root, "s/n"), Err(Errno::Noent));
    assert_eq!(path::rename(&*root, "s/n", &*root, "s/t/o"), Err(Errno::Noent));
    assert_eq!(path::rename(&*root, "f", &*root, "s/f"), Err(Errno::Xdev));
    assert_eq!(path::link(&*root, "f", &*root, "s/f"), Err(Errno::Xdev));

    let id = |at| path::stat(&*root, at, Follow::No).map(|s: Stat| (s.dev, s.ino)).unwrap();
    let mut seen = vec![id("s"), id("s/t"), id("s/t/m"), id("m"), id("x"), id(".")];
    assert!(seen.iter().all(|(_, ino)| *ino != 0));
    let held = open_dir(&root, "s/t").stat(Descent::HERE).unwrap();
    assert_eq!((held.dev, held.ino), id("s/t"));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

#[test]
fn empty_base_lists_only_mounts() {
    let root = Mounts::empty();
    assert_eq!(names(&root, "."), [""; 0]);
    assert_eq!(path::create_dir(&*root, "n"), Err(Errno::Rofs));
    let root = Mounts::builder(root).mount("a/b", tree(&["f"])).unwrap().build();
    assert_eq!(names(&root, "."), ["a"]);
    assert_eq!(read(&root, "a/b/f").as_deref(), Ok("f"));
    let root = Mounts::builder(root).mount("a/c", tree(&["g"])).unwrap().build();
    assert_eq!(names(&root, "a"), ["b", "c"], "a tree of mounts is a base like any other");
}

#[test]
fn rename_and_link_between_mounts_are_exdev() {
    // GHSA-4ch3-9j33-3pmj (CVE-2026-58494): `m` and `x/m` are one store, mounted twice. A layer
    // over one of them must not be bypassed through the other.
    let (root, store) = mounted();
    let (m, x_m) = (open_dir(&root, "m"), open_dir(&root, "x/m"));
    for (old, new) in [
        ("m/g", "x/m/n"),
        ("x/m/g", "m/n"),
        ("m/in", "x/m/n"),
        ("m/g", "n"),
        ("f", "m/n"),
        ("f", "s/t/m/n"),
        ("d", "x/m/n"),
    ] {
        assert_eq!(path::rename(&*root, old, &*root, new), Err(Errno::Xdev), "{old} {new}");
        assert_eq!(path::link(&*root, old, &*root, new), Err(Errno::Xdev), "{old} {new}");
    }
    assert_eq!(path::rename(&*m, "g", &*x_m, "n"), Err(Errno::Xdev));
    assert_eq!(path::rename(&*m, "g", &*store, "n"), Err(Errno::Xdev));
    assert_eq!(path::rename(&*store, "g", &*m, "n"), Err(Errno::Xdev));
    assert_eq!(path::link(&*root, "x/file", &*root, "x/n"), Err(Errno::Xdev));
    assert_eq!(path::link(&*root, "x/m", &*root, "x/n"), Err(Errno::Xdev));
    // Within one mount, through any of its handles, both work.
    assert_eq!(path::rename(&*root, "m/g", &*m, "in/n"), Ok(()));
    assert_eq!(path::link(&*m, "in/n", &*open_dir(&root, "m/in"), "o"), Ok(()));
    assert_eq!(read(&root, "x/m/in/o").as_deref(), Ok("g"));
    assert_eq!(path::rename(&*root, "d/f", &*root, "x/f"), Ok(()));
}

#[test]
fn mount_point_cannot_be_renamed_or_removed() {
    let (root, _) = mounted();
    let rename = |old: &str, new: &str| path::rename(&*root, old, &*root, new);
    for (old, new, errno) in [
        ("m", "n", Errno::Busy),
        ("x", "n", Errno::Busy),
        ("s", "n", Errno::Busy),
        ("x/m", "n", Errno::Busy),
        ("x/file", "x/n", Errno::Busy),
        ("x/old", "x/file", Errno::Busy),
        ("d", "m", Errno::Busy),
        ("x/old", "x/m", Errno::Isdir),
        ("m", "f", Errno::Notdir),
        ("d", "x/file", Errno::Notdir),
        ("x", "x/n", Errno::Inval),
        ("x/old", "x", Errno::Notempty),
        ("n", "m", Errno::Noent),
    ] {
        assert_eq!(rename(old, new), Err(errno), "{old} {new}");
    }
    assert_eq!(rename("m", "m"), Ok(()));
    for at in ["m", "x", "s", "s/t", "x/m"] {
        assert_eq!(path::remove_dir(&*root, at), Err(Errno::Busy), "{at}");
        assert_eq!(path::remove_file(&*root, at), Err(Errno::Isdir), "{at}");
        assert_eq!(path::read_link(&*root, at), Err(Errno::Inval), "{at}");
        assert_eq!(path::link(&*root, "d/f", &*root, at), {
            let other = at.contains('/') && at.starts_with('s');
            Err(if other { Errno::Xdev } else { Errno::Exist })
        });
    }
    assert_eq!(path::remove_file(&*root, "x/file"), Err(Errno::Busy));
    assert_eq!(path::remove_dir(&*root, "x/file"), Err(Errno::Notdir));
    assert_eq!(path::link(&*root, "x", &*root, "n"), Err(Errno::Perm));
    for at in ["m", "x", "s", "s/t", "x/m", "x/file"] {
        assert_eq!(path::create_dir(&*root, at), Err(Errno::Exist), "{at}");
        assert_eq!(path::create_symlink(&*root, "t", at), Err(Errno::Exist), "{at}");
        let how = OpenHow::new(Access::Read, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        assert_eq!(path::open(&*root, at, Follow::No, how).map(drop), Err(Errno::Exist), "{at}");
        let how = OpenHow::new(Access::Write, OpenFlags::empty());
        let expected = if at == "x/file" { Ok(()) } else { Err(Errno::Isdir) };
        assert_eq!(path::open(&*root, at, Follow::No, how).map(drop), expected, "{at}");
    }
}

#[test]
fn listing_has_each_name_once_and_continues_at_a_cookie() {
    let (root, store) = mounted();
    let x = open_dir(&root, "x");
    let all = list_from(&x, Cookie::START).unwrap();
    let mut listed: Vec<_> = all.iter().map(|(name, kind, ..)| (name.as_str(), *kind)).collect();
    listed.sort();
    let expected = [("file", FileType::File), ("m", FileType::Dir), ("old", FileType::File)];
    assert_eq!(listed, expected);
    for (name, _, ino, _) in &all {
        let at = Name::new(name).unwrap().into();
        assert_eq!(x.stat(at).unwrap().ino, *ino, "{name} is what is mounted");
    }
    // A name that the base gets later, under a mount that covers it, is not listed twice.
    let held = base();
    let root = Mounts::builder(held.clone()).mount("m", store).unwrap().build();
    path::create_dir(&*held, "m").unwrap();
    for (at, dir) in [("x", &x), (".", &root)] {
        let all = list_from(dir, Cookie::START).unwrap();
        for (index, (_, _, _, next)) in all.iter().enumerate() {
            assert_eq!(list_from(dir, *next).unwrap(), all[index + 1..], "{at} {index}");
        }
        let mut broken = Vec::new();
        let mut from = Cookie::START;
        while broken.len() < all.len() {
            dir.read_dir(from, &mut |entry| {
                broken.push(entry.name.as_str().to_owned());
                from = entry.next;
                ControlFlow::Break(())
            })
            .unwrap();
        }
        assert_eq!(broken, all.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>());
    }
    assert_eq!(names(&root, "."), ["d", "f", "l", "m", "up", "x"]);
    assert_eq!(list_from(&x, Cookie(u64::MAX)), Err(Errno::Inval));
    assert_eq!(list_from(&open_dir(&mounted().0, "s"), Cookie(2)), Err(Errno::Inval));
}

#[test]
fn cookie_conversion_is_injective_and_detects_overflow() {
    for own in [0, 1, 7] {
        let mut given = vec![];
        for inner in [1, 2, 8, 1 << 62, COOKIE_MAX - 8, COOKIE_MAX - 1, COOKIE_MAX] {
            match outer_cookie(Cookie(inner), own) {
                Ok(outer) => {
                    assert!(outer.0 > own && outer.0 <= COOKIE_MAX);
                    assert_eq!(inner_cookie(outer, own), Ok(Cookie(inner)));
                    given.push(outer);
                }
                Err(errno) => {
                    assert_eq!((errno, own > 0, inner), (Errno::Overflow, true, COOKIE_MAX - 1));
                }
            }
        }
        let len = given.len();
        given.dedup();
        assert_eq!((given.len(), len), (len, if own == 0 { 7 } else { 6 }));
    }
}

#[test]
fn mounted_file_is_looked_up_on_each_use() {
    let parent = tree(&["g", "secret", "d/"]);
    let builder = Mounts::builder(Mounts::empty());
    let root = builder.mount_file("etc/conf", parent.clone(), "g").unwrap().build();
    assert_eq!(names(&root, "etc"), ["conf"]);
    write(&root, "etc/conf", "new").unwrap();
    assert_eq!(read(&parent, "g").as_deref(), Ok("new"));
    assert_eq!(path::set_times(&*root, "etc/conf", Follow::No, TIMES), Ok(()));
    assert_eq!(path::stat(&*parent, "g", Follow::No).unwrap().modified, Timestamp::EPOCH);
    for at in ["etc/secret", "etc/conf/../secret", "etc/g"] {
        assert!(matches!(read(&root, at), Err(Errno::Noent | Errno::Notdir)), "{at}");
    }
    // Replaced by a rename, as editors do.
    path::rename(&*parent, "secret", &*parent, "g").unwrap();
    assert_eq!(read(&root, "etc/conf").as_deref(), Ok("secret"));
    // Removed: neither listed nor created.
    path::remove_file(&*parent, "g").unwrap();
    assert_eq!(write(&root, "etc/conf", "x"), Err(Errno::Noent));
    assert_eq!(names(&root, "etc"), [""; 0]);
    assert!(parent.stat(Name::new("g").unwrap().into()).is_err());
    // A link or a directory in its place could lead elsewhere.
    path::create_symlink(&*parent, "d", "g").unwrap();
    let stale = |root: &DirRef| {
        assert_eq!(read(root, "etc/conf"), Err(Errno::Stale));
        assert_eq!(path::stat(&**root, "etc/conf", Follow::Yes).map(drop), Err(Errno::Stale));
        assert_eq!(path::set_times(&**root, "etc/conf", Follow::No, TIMES), Err(Errno::Stale));
    };
    stale(&root);
    path::remove_file(&*parent, "g").unwrap();
    path::create_dir(&*parent, "g").unwrap();
    stale(&root);
}

#[test]
fn invalid_mounts_are_rejected() {
    let parent = tree(&["g", "d/", "l -> g"]);
    let new = || Mounts::builder(base()).mount_file("file", parent.clone(), "g").unwrap();
    let mount = |at: &str| new().mount(at, base()).map(drop);
    let file = |at: &str, name: &str| new().mount_file(at, parent.clone(), name).map(drop);
    for (at, errno) in [
        ("", Errno::Inval),
        ("/a", Errno::Inval),
        ("a/", Errno::Inval),
        ("a/../b", Errno::Inval),
        ("a//b", Errno::Inval),
        ("file", Errno::Exist),
        ("file/below", Errno::Notdir),
    ] {
        assert_eq!((mount(at), file(at, "g")), (Err(errno), Err(errno)), "{at:?}");
    }
    assert_eq!(mount(&vec!["a"; 257].join("/")), Err(Errno::Nametoolong));
    assert_eq!(mount(&"a".repeat(256)), Err(Errno::Nametoolong));
    for (name, errno) in [
        ("d", Errno::Isdir),
        ("l", Errno::Loop),
        ("n", Errno::Noent),
        ("..", Errno::Inval),
        ("d/x", Errno::Inval),
    ] {
        assert_eq!(file("a", name), Err(errno), "{name}");
    }
    let twice = new().mount("a/b", base()).and_then(|builder| builder.mount("a/b", base()));
    assert_eq!(twice.map(drop), Err(Errno::Exist));
    let above = new().mount("a/b", base()).and_then(|b| b.mount_file("a", parent.clone(), "g"));
    assert_eq!(above.map(drop), Err(Errno::Isdir));
    // The greatest depth.
    let deep = vec!["a"; 256].join("/");
    let root = Mounts::builder(base()).mount(&deep, tree(&["f"])).unwrap().build();
    assert_eq!(read(&root, &format!("{deep}/f")).as_deref(), Ok("f"));
}

/// A directory whose cookies are as high as those of ext4.
struct High(DirRef);

impl High {
    fn cookie(low: u64) -> Cookie {
        Cookie(COOKIE_MAX - 1000 + low)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for High {
    fn open(&self, _path: Descent<'_>, _how: OpenHow) -> Result<Node, Stop> {
        Ok(Node::Dir(Arc::new(High(Arc::clone(&self.0)))))
    }
    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.0.stat(path)
    }
    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.0.stat_following(path)
    }
    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.0.read_link(name)
    }
    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        for (low, name) in [(1, "a"), (2, "b"), (1000, "c")] {
            let next = High::cookie(low);
            let entry = Entry { name: Name::new(name)?, kind: FileType::File, ino: low, next };
            if next > from && each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }
    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.0.create_dir(name)
    }
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.0.create_symlink(name, target)
    }
    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.0.remove_file(name)
    }
    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.0.remove_dir(name)
    }
    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.0.rename(name, into, new_name)
    }
    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.0.link(name, into, new_name)
    }
    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.0.set_times(path, times)
    }
    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
    fn may_block(&self) -> bool {
        // Unlike the wrapped directory, this one may block.
        true
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }
}

#[test]
fn mount_point_exists_for_a_directory_that_ignores_names() {
    let high: DirRef = Arc::new(High(Mounts::empty()));
    let root = Mounts::builder(base()).mount("m", high).unwrap().build();
    let open = |flags| path::open(&*root, "m", Follow::No, OpenHow::new(Access::Hold, flags));
    for (flags, errno) in [
        (OpenFlags::CREATE | OpenFlags::EXCLUSIVE, Errno::Exist),
        (OpenFlags::CREATE, Errno::Isdir),
        (OpenFlags::TRUNCATE, Errno::Isdir),
    ] {
        assert_eq!(open(flags).map(drop), Err(errno), "{flags:?}");
    }
}

#[test]
fn base_with_the_highest_cookies_is_listed_completely() {
    let base = Arc::new(High(Arc::new(Empty { dev: 1, ino: 1 })));
    let root = Mounts::builder(base).mount("b", Mounts::empty()).unwrap().build();
    let all = list_from(&root, Cookie::START).unwrap();
    let listed: Vec<_> = all.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(listed, ["b", "a", "c"]);
    for (index, (_, _, _, next)) in all.iter().enumerate() {
        assert_eq!(list_from(&root, *next).unwrap(), all[index + 1..], "{index}");
    }
}

#[test]
fn tree_may_block_if_any_mount_may_block() {
    let near = tree(&["f"]);
    let root = Mounts::builder(Mounts::empty()).mount("a/b", Arc::clone(&near)).unwrap().build();
    assert!(!root.may_block());
    let far: DirRef = Arc::new(High(Arc::clone(&near)));
    let root = Mounts::builder(near).mount("a/b", far).unwrap().build();
    assert!(root.may_block());
    let a = root.open(Descent::new("a").unwrap(), OpenHow::HOLD_DIR).ok().unwrap();
    assert!(a.into_dir().unwrap().may_block());
}
