//! Directories of the host: what they answer, and that nothing leaves them.
//!
//! Every test runs on a disk's filesystem and on tmpfs, with both resolvers.
// The tests arrange the host's side with the process's own authority, as another process would.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![cfg(all(feature = "host", target_os = "linux"))]

use std::ffi::OsStr;
use std::fs;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_vfs::walk::Follow;
use palisade_vfs::{
    Access, Advice, Cookie, Descent, Dir, DirRef, Errno, FileRef, FileType, HostDir, Name, Node,
    OpenFlags, OpenHow, Resolver, SetTime, SetTimes, Stop, SyncScope, Timestamp, path,
};
use rustix::fs::{AtFlags, CWD, Mode, RenameFlags};

/// A directory of the host, and what stands beside it and must never be touched.
struct World {
    dir: DirRef,
    root: PathBuf,
    outside: PathBuf,
    _temp: tempfile::TempDir,
    what: String,
}

const SECRET: &str = "the canary's secret";

/// Runs `test` in a fresh world for each filesystem and each resolver.
fn each_world(test: impl Fn(&World)) {
    for base in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        for resolver in [Resolver::Auto, Resolver::Openat2, Resolver::Components] {
            let temp = tempfile::tempdir_in(&base).unwrap();
            let root = temp.path().join("root");
            let outside = temp.path().join("outside");
            fs::create_dir(&root).unwrap();
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("canary"), SECRET).unwrap();
            let dir = HostDir::open_ambient_with(&root, resolver).unwrap();
            let what = format!("{} {resolver:?}", base.display());
            let world = World { dir, root, outside, _temp: temp, what };
            test(&world);
            world.check_canary();
        }
    }
}

impl World {
    fn check_canary(&self) {
        let names: Vec<_> =
            fs::read_dir(&self.outside).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"], "{}", self.what);
        let found = fs::read_to_string(self.outside.join("canary")).unwrap();
        assert_eq!(found, SECRET, "{}", self.what);
    }

    fn open(&self, at: &str, access: Access, flags: OpenFlags) -> Result<Node, Stop> {
        self.dir.open(down(at), OpenHow::new(access, flags))
    }

    fn file(&self, at: &str, access: Access) -> FileRef {
        let flags = OpenFlags::empty();
        self.open(at, access, flags).unwrap_or_else(|e| panic!("{at}: {e:?}")).into_file().unwrap()
    }

    fn new_file(&self, at: &str) -> FileRef {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        self.open(at, Access::ReadWrite, flags).unwrap_or_else(|_| panic!()).into_file().unwrap()
    }

    fn fill(&self, at: &str, text: &str) {
        fs::write(self.root.join(at), text).unwrap();
    }
}

fn down(text: &str) -> Descent<'_> {
    Descent::new(text).unwrap()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

fn errno<T>(result: Result<T, Stop>) -> Errno {
    match result {
        Err(Stop::Errno(errno)) => errno,
        Err(Stop::Link { at, target }) => panic!("a link at {at}: {target}"),
        Ok(_) => panic!("no error"),
    }
}

fn link<T>(result: Result<T, Stop>) -> (usize, String) {
    match result {
        Err(Stop::Link { at, target }) => (at, target.into()),
        Err(Stop::Errno(errno)) => panic!("{errno:?}"),
        Ok(_) => panic!("no link"),
    }
}

fn read(file: &FileRef, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let n = file.read_at(&mut [IoSliceMut::new(&mut bytes)], offset).unwrap();
    bytes.truncate(n);
    bytes
}

fn write(file: &FileRef, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(&[IoSlice::new(bytes)], offset)
}

/// Every entry from `from` on, in at most `room` per call.
fn list(dir: &dyn Dir, mut from: Cookie, room: usize) -> Vec<(String, FileType, u64)> {
    let mut all = Vec::new();
    loop {
        let before = all.len();
        dir.read_dir(from, &mut |entry| {
            all.push((entry.name.as_str().to_owned(), entry.kind, entry.ino));
            from = entry.next;
            if all.len() - before == room {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        if all.len() == before {
            return all;
        }
    }
}

fn names(dir: &dyn Dir, room: usize) -> Vec<String> {
    let mut names: Vec<_> = list(dir, Cookie::START, room).into_iter().map(|e| e.0).collect();
    names.sort();
    names
}

fn fifo(at: &Path) {
    rustix::fs::mkfifoat(CWD, at, Mode::from_raw_mode(0o600)).unwrap();
}

#[test]
fn a_file_is_created_written_read_and_removed() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("a/b/c")).unwrap();
        for at in ["f", "a/b/c/f"] {
            let file = w.new_file(at);
            assert_eq!(write(&file, 0, b"hello"), Ok(5));
            assert_eq!(write(&file, 8, b"x"), Ok(1));
            assert_eq!(read(&file, 0, 99), b"hello\0\0\0x");
            assert_eq!(read(&file, 9, 99), b"");
            assert_eq!(file.kind(), FileType::File);
            let by_path = w.dir.stat(down(at)).unwrap();
            assert_eq!(by_path, file.stat().unwrap());
            assert_eq!((by_path.size, by_path.nlink, by_path.kind), (9, 1, FileType::File));
            let std = fs::metadata(w.root.join(at)).unwrap();
            assert_eq!((by_path.dev, by_path.ino), (std.dev(), std.ino()));
            for scope in [SyncScope::Data, SyncScope::All] {
                file.sync(scope).unwrap();
            }
        }
        w.dir.remove_file(name("f")).unwrap();
        assert_eq!(errno(w.dir.stat(down("f"))), Errno::Noent);
        w.dir.sync().unwrap();
    });
}

#[test]
fn buffers_of_every_number_are_read_and_written_in_order() {
    each_world(|w| {
        let file = w.new_file("f");
        assert_eq!(file.write_at(&[], 0), Ok(0));
        assert_eq!(file.write_at(&[IoSlice::new(b"")], 0), Ok(0));
        let parts = [IoSlice::new(b""), IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")];
        assert_eq!(file.write_at(&parts, 0), Ok(3));
        let (mut x, mut y, mut z) = ([0; 1], [0; 0], [0; 4]);
        let mut bufs = [&mut x[..], &mut y[..], &mut z[..]].map(IoSliceMut::new);
        assert_eq!(file.read_at(&mut bufs, 0), Ok(3));
        assert_eq!((x, z), (*b"a", *b"bc\0\0"));
        // More than the kernel takes at once: what it took is said.
        let many = vec![IoSlice::new(b"z"); 3000];
        assert_eq!(file.write_at(&many, 0), Ok(1024));
        assert_eq!(file.append(&many), Ok((1024, 2048)));
        // Empty ones do not use up the room, or 0 would be said for something.
        let mut late = vec![IoSlice::new(b""); 3000];
        late.push(IoSlice::new(b"end"));
        assert_eq!(file.write_at(&late, 0), Ok(3));
        assert_eq!(file.append(&late), Ok((3, 2051)));
        let mut end = [0; 3];
        let mut late: Vec<_> = (0..3000).map(|_| IoSliceMut::new(&mut [])).collect();
        late.push(IoSliceMut::new(&mut end));
        assert_eq!(file.read_at(&mut late, 0), Ok(3));
        assert_eq!(&end, b"end");
    });
}

#[test]
fn a_handle_does_what_it_was_opened_for_and_nothing_else() {
    each_world(|w| {
        w.fill("f", "bytes");
        for access in Access::ALL {
            for how in [OpenFlags::empty(), OpenFlags::CREATE] {
                let file = w.open("f", access, how).unwrap_or_else(|_| panic!());
                let file = file.into_file().unwrap();
                let at_most = |ok: bool, errno| if ok { Ok(()) } else { Err(errno) };
                let done = file.read_at(&mut [IoSliceMut::new(&mut [0])], 0).map(drop);
                assert_eq!(done, at_most(access.reads(), Errno::Badf), "{access:?}");
                for done in [
                    write(&file, 0, b"b").map(drop),
                    write(&file, 0, b"").map(drop),
                    file.append(&[]).map(drop),
                    file.allocate(0, 1),
                ] {
                    assert_eq!(done, at_most(access.writes(), Errno::Badf), "{access:?}");
                }
                assert_eq!(file.set_len(5), at_most(access.writes(), Errno::Inval), "{access:?}");
                assert_eq!(file.stat().unwrap().size, 5);
                assert_eq!(file.set_times(SetTimes::default()), Ok(()), "{access:?}");
                assert_eq!(file.sync(SyncScope::All), Ok(()));
                assert_eq!(file.advise(0, 0, Advice::WillNeed), Ok(()));
            }
        }
        // What is created is no better than what is found.
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let held = w.open("new", Access::Hold, flags).unwrap_or_else(|_| panic!());
        let held = held.into_file().unwrap();
        assert_eq!(held.read_at(&mut [IoSliceMut::new(&mut [0])], 0), Err(Errno::Badf));
        assert_eq!(write(&held, 0, b"b"), Err(Errno::Badf));
    });
}

#[test]
fn offsets_that_no_file_has_are_the_end_for_reads_and_fbig_for_writes() {
    each_world(|w| {
        let file = w.new_file("f");
        write(&file, 0, b"abc").unwrap();
        let max = u64::try_from(i64::MAX).unwrap();
        for offset in [3, 1 << 50, max - 1, max, max + 1, u64::MAX] {
            assert_eq!(read(&file, offset, 8), b"", "{offset}");
        }
        for offset in [max, max + 1, u64::MAX] {
            assert_eq!(write(&file, offset, b"x"), Err(Errno::Fbig), "{offset}");
            assert_eq!(file.set_len(offset.max(max + 1)), Err(Errno::Fbig));
            assert_eq!(file.allocate(offset, 1), Err(Errno::Fbig));
        }
        assert_eq!(file.allocate(0, 0), Err(Errno::Inval));
        assert_eq!(file.allocate(u64::MAX, u64::MAX), Err(Errno::Fbig));
        assert_eq!(file.advise(max + 1, 0, Advice::Normal), Err(Errno::Inval));
        assert_eq!(file.stat().unwrap().size, 3);
        file.allocate(1, 9).unwrap();
        assert_eq!(file.stat().unwrap().size, 10);
        file.allocate(0, 1).unwrap();
        assert_eq!(file.stat().unwrap().size, 10);
    });
}

#[test]
fn appends_through_one_handle_and_through_several_never_overlap() {
    each_world(|w| {
        drop(w.new_file("f"));
        let handles = [w.file("f", Access::Write), w.file("f", Access::ReadWrite)];
        let mut ends: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|i| {
                    let file = &handles[i % 2];
                    scope.spawn(move || {
                        let append = |_| file.append(&[IoSlice::new(&[i as u8 + 1; 7])]).unwrap();
                        (0..200).map(append).map(|(n, end)| (n == 7).then_some(end)).collect()
                    })
                })
                .collect();
            let ends: Vec<Vec<Option<u64>>> =
                threads.into_iter().map(|t| t.join().unwrap()).collect();
            ends.into_iter().flatten().map(Option::unwrap).collect()
        });
        ends.sort_unstable();
        let wanted: Vec<u64> = (1..=800).map(|i| i * 7).collect();
        assert_eq!(ends, wanted, "{}: every append knows where it ended", w.what);
        let bytes = fs::read(w.root.join("f")).unwrap();
        assert!(bytes.chunks(7).all(|c| c.iter().all(|b| *b == c[0])));
    });
}

#[test]
fn what_an_open_does_depends_on_what_is_there() {
    const C: OpenFlags = OpenFlags::CREATE;
    const X: OpenFlags = OpenFlags::CREATE.union(OpenFlags::EXCLUSIVE);
    const D: OpenFlags = OpenFlags::DIRECTORY;
    const T: OpenFlags = OpenFlags::TRUNCATE;
    const NONE: OpenFlags = OpenFlags::empty();
    use Access::{Hold, Read, ReadWrite, Write};
    each_world(|w| {
        fs::create_dir_all(w.root.join("d/sub")).unwrap();
        w.fill("d/f", "old");
        w.fill("f", "old");
        for (at, access, flags, wanted) in [
            ("", Write, NONE, Err(Errno::Isdir)),
            ("", Read, X, Err(Errno::Exist)),
            ("", Read, C, Err(Errno::Isdir)),
            ("", Read, NONE, Ok(FileType::Dir)),
            ("d", Read, NONE, Ok(FileType::Dir)),
            ("d", Hold, NONE, Ok(FileType::Dir)),
            ("d", Read, D, Ok(FileType::Dir)),
            ("d", Write, D, Err(Errno::Isdir)),
            ("d", Write, NONE, Err(Errno::Isdir)),
            ("d", ReadWrite, NONE, Err(Errno::Isdir)),
            ("d", Hold, T, Err(Errno::Isdir)),
            ("d", Read, C, Err(Errno::Isdir)),
            ("d", Read, X, Err(Errno::Exist)),
            ("d/sub", Read, NONE, Ok(FileType::Dir)),
            ("d/sub", Read, X, Err(Errno::Exist)),
            ("d/f", Read, D, Err(Errno::Notdir)),
            ("f", Read, D, Err(Errno::Notdir)),
            ("f", Write, D, Err(Errno::Notdir)),
            ("f", Read, X, Err(Errno::Exist)),
            ("f", Hold, NONE, Ok(FileType::File)),
            ("f", Hold, C, Ok(FileType::File)),
            ("f/x", Read, NONE, Err(Errno::Notdir)),
            ("f/x", Read, C, Err(Errno::Notdir)),
            ("d/f/x", Hold, NONE, Err(Errno::Notdir)),
            ("no", Read, NONE, Err(Errno::Noent)),
            ("no", Hold, NONE, Err(Errno::Noent)),
            ("no", Read, D, Err(Errno::Noent)),
            ("no", Write, T, Err(Errno::Noent)),
            ("no/f", Write, C, Err(Errno::Noent)),
            ("d/no/f", Write, X, Err(Errno::Noent)),
            ("d/sub/new", Write, C, Ok(FileType::File)),
            ("new", Read, X, Ok(FileType::File)),
        ] {
            let got = match w.open(at, access, flags) {
                Ok(Node::Dir(dir)) => Ok(dir.stat(Descent::HERE).unwrap().kind),
                Ok(Node::File(file)) => Ok(file.stat().unwrap().kind),
                Err(Stop::Errno(errno)) => Err(errno),
                Err(Stop::Link { .. }) => panic!("{at}"),
            };
            assert_eq!(got, wanted, "{}: {at:?} {access:?} {flags:?}", w.what);
        }
        for at in ["f", "d/f"] {
            assert_eq!(fs::read(w.root.join(at)).unwrap(), b"old");
            for access in Access::ALL {
                w.fill(at, "old");
                w.open(at, access, T).unwrap_or_else(|_| panic!());
                assert_eq!(fs::read(w.root.join(at)).unwrap(), b"", "{access:?}");
            }
        }
        for flags in [OpenFlags::DSYNC, OpenFlags::SYNC] {
            let file = w.open("f", Write, flags).unwrap_or_else(|_| panic!());
            assert_eq!(write(&file.into_file().unwrap(), 0, b"s"), Ok(1));
        }
    });
}

#[test]
fn a_link_stops_a_descent_wherever_it_lies_and_is_never_followed() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("d/e")).unwrap();
        w.fill("d/f", "inside");
        symlink("../outside", w.root.join("out")).unwrap();
        symlink("../../outside/canary", w.root.join("d/leaf")).unwrap();
        symlink("/", w.root.join("d/e/abs")).unwrap();
        symlink("no/where", w.root.join("d/e/dangling")).unwrap();
        symlink("/proc/self/root", w.root.join("magic")).unwrap();
        for (at, position, target) in [
            ("out/canary", 0, "../outside"),
            ("out/no/such", 0, "../outside"),
            ("out", 0, "../outside"),
            ("d/leaf", 1, "../../outside/canary"),
            ("d/leaf/x", 1, "../../outside/canary"),
            ("d/e/abs", 2, "/"),
            ("d/e/abs/etc/passwd", 2, "/"),
            ("d/e/dangling", 2, "no/where"),
            ("magic/etc", 0, "/proc/self/root"),
        ] {
            let is_last = position + 1 == down(at).depth();
            let wanted = (position, target.to_owned());
            for access in Access::ALL {
                for bits in 0..=OpenFlags::all().bits() {
                    let flags = OpenFlags::from_bits(bits).unwrap();
                    let how = OpenHow::new(access, flags);
                    if how.check().is_err() {
                        continue;
                    }
                    let opened = w.dir.open(down(at), how);
                    if is_last && how.is_exclusive() {
                        assert_eq!(errno(opened), Errno::Exist);
                    } else {
                        assert_eq!(link(opened), wanted, "{}: {at} {how:?}", w.what);
                    }
                }
            }
            if is_last {
                assert_eq!(w.dir.stat(down(at)).unwrap().kind, FileType::Symlink);
                let now = SetTimes { accessed: SetTime::Now, modified: SetTime::Now };
                w.dir.set_times(down(at), now).unwrap();
            } else {
                assert_eq!(link(w.dir.stat(down(at))), wanted, "{}: {at}", w.what);
                assert_eq!(link(w.dir.set_times(down(at), SetTimes::default())), wanted);
            }
        }
        assert_eq!(w.dir.read_link(name("out")).unwrap().as_ref(), "../outside");
        assert_eq!(w.dir.read_link(name("d")), Err(Errno::Inval));
        assert_eq!(w.dir.read_link(name("no")), Err(Errno::Noent));
        assert_eq!(
            path::open(&*w.dir, "out/canary", Follow::Yes, OpenHow::READ).err(),
            Some(Errno::Escape)
        );
    });
}

#[test]
fn operations_on_a_name_mean_the_link_itself() {
    each_world(|w| {
        symlink("../outside", w.root.join("out")).unwrap();
        symlink("../outside/canary", w.root.join("leaf")).unwrap();
        fs::create_dir(w.root.join("d")).unwrap();
        let d = &*w.dir;
        assert_eq!(d.create_dir(name("out")), Err(Errno::Exist));
        assert_eq!(d.create_symlink(name("leaf"), "x"), Err(Errno::Exist));
        assert_eq!(d.remove_dir(name("out")), Err(Errno::Notdir));
        d.link(name("leaf"), d, name("again")).unwrap();
        assert_eq!(d.read_link(name("again")).unwrap().as_ref(), "../outside/canary");
        d.rename(name("again"), d, name("moved")).unwrap();
        assert_eq!(d.read_link(name("moved")).unwrap().as_ref(), "../outside/canary");
        w.fill("f", "inside");
        d.rename(name("f"), d, name("leaf")).unwrap();
        assert_eq!(fs::read(w.root.join("leaf")).unwrap(), b"inside");
        d.remove_file(name("moved")).unwrap();
        d.remove_file(name("out")).unwrap();
        d.create_symlink(name("new"), "../../any/ thing").unwrap();
        assert_eq!(d.read_link(name("new")).unwrap().as_ref(), "../../any/ thing");
        assert_eq!(names(d, 9), ["d", "leaf", "new"]);
    });
}

#[test]
fn operations_on_names_answer_as_linux_does() {
    each_world(|w| {
        let d = &*w.dir;
        for dir in ["a", "a/b", "empty", "full", "full/x"] {
            fs::create_dir(w.root.join(dir)).unwrap();
        }
        w.fill("f", "f");
        w.fill("g", "g");
        let a = d.open(down("a"), OpenHow::HOLD_DIR).unwrap_or_else(|_| panic!());
        let a = a.into_dir().unwrap();
        assert_eq!(d.create_dir(name("f")), Err(Errno::Exist));
        assert_eq!(d.remove_file(name("a")), Err(Errno::Isdir));
        assert_eq!(d.remove_file(name("no")), Err(Errno::Noent));
        assert_eq!(d.remove_dir(name("f")), Err(Errno::Notdir));
        assert_eq!(d.remove_dir(name("full")), Err(Errno::Notempty));
        assert_eq!(d.rename(name("no"), d, name("x")), Err(Errno::Noent));
        assert_eq!(d.rename(name("a"), &*a, name("x")), Err(Errno::Inval));
        assert_eq!(a.rename(name("b"), d, name("a")), Err(Errno::Notempty));
        assert_eq!(d.rename(name("a"), d, name("f")), Err(Errno::Notdir));
        assert_eq!(d.rename(name("f"), d, name("a")), Err(Errno::Isdir));
        assert_eq!(d.rename(name("a"), d, name("full")), Err(Errno::Notempty));
        assert_eq!(d.link(name("a"), d, name("x")), Err(Errno::Perm));
        assert_eq!(d.link(name("f"), d, name("g")), Err(Errno::Exist));
        assert_eq!(d.link(name("no"), d, name("g")), Err(Errno::Noent));
        d.link(name("f"), &*a, name("hard")).unwrap();
        assert_eq!(d.stat(down("f")).unwrap(), d.stat(down("a/hard")).unwrap());
        assert_eq!(d.stat(down("f")).unwrap().nlink, 2);
        d.rename(name("f"), &*a, name("hard")).unwrap();
        assert!(d.stat(down("f")).is_ok(), "two names of one node both stay");
        d.rename(name("a"), d, name("empty")).unwrap();
        assert_eq!(names(&*a, 9), ["b", "hard"], "a handle is the node and not its name");
        d.create_dir(name("new")).unwrap();
        d.remove_dir(name("new")).unwrap();
        let mode = fs::metadata(w.root.join("empty")).unwrap().permissions().mode();
        assert_eq!(mode & 0o007 & 0o002, 0, "the umask holds");
    });
}

#[test]
fn another_kind_of_directory_is_another_device() {
    struct Other;
    impl Dir for Other {
        fn open(&self, _: Descent<'_>, _: OpenHow) -> Result<Node, Stop> {
            Err(Errno::Nosys.into())
        }
        fn stat(&self, _: Descent<'_>) -> Result<palisade_vfs::Stat, Stop> {
            Err(Errno::Nosys.into())
        }
        fn read_link(&self, _: Name<'_>) -> Result<Box<str>, Errno> {
            Err(Errno::Nosys)
        }
        fn read_dir(
            &self,
            _: Cookie,
            _: &mut dyn FnMut(palisade_vfs::Entry<'_>) -> ControlFlow<()>,
        ) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn create_dir(&self, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn create_symlink(&self, _: Name<'_>, _: &str) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn remove_file(&self, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn remove_dir(&self, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn rename(&self, _: Name<'_>, _: &dyn Dir, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn link(&self, _: Name<'_>, _: &dyn Dir, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn set_times(&self, _: Descent<'_>, _: SetTimes) -> Result<(), Stop> {
            Err(Errno::Nosys.into())
        }
        fn sync(&self) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
    }
    each_world(|w| {
        w.fill("f", "");
        assert_eq!(w.dir.rename(name("f"), &Other, name("g")), Err(Errno::Xdev));
        assert_eq!(w.dir.link(name("f"), &Other, name("g")), Err(Errno::Xdev));
    });
    // And two filesystems of the host are two devices of the host.
    let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let [disk_dir, memory_dir] =
        [disk.path(), memory.path()].map(|at| HostDir::open_ambient(at).unwrap());
    let devs = [&disk_dir, &memory_dir].map(|d| d.stat(Descent::HERE).unwrap().dev);
    if devs[0] != devs[1] {
        fs::write(disk.path().join("f"), "").unwrap();
        let moved = disk_dir.rename(name("f"), &*memory_dir, name("f"));
        assert_eq!(moved, Err(Errno::Xdev));
    }
}

#[test]
fn special_files_are_seen_but_neither_opened_nor_acted_upon() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        let mut kinds = Vec::new();
        for at in ["fifo", "d/fifo"] {
            fifo(&w.root.join(at));
            kinds.push((at, FileType::Fifo));
        }
        let _listener = std::os::unix::net::UnixListener::bind(w.root.join("socket")).unwrap();
        kinds.push(("socket", FileType::Socket));
        // The numbers of /dev/null; a sandbox may forbid to make one.
        let null = rustix::fs::mknodat(
            CWD,
            w.root.join("null"),
            rustix::fs::FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        );
        if null.is_ok() {
            assert!(fs::metadata(w.root.join("null")).unwrap().file_type().is_char_device());
            kinds.push(("null", FileType::CharDevice));
        }
        for (at, kind) in kinds {
            assert_eq!(w.dir.stat(down(at)).unwrap().kind, kind);
            for access in Access::ALL {
                for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE] {
                    let got = errno(w.open(at, access, flags));
                    assert_eq!(got, Errno::Nxio, "{}: {at} {access:?} {flags:?}", w.what);
                }
                assert_eq!(errno(w.open(at, access, OpenFlags::DIRECTORY)), Errno::Notdir);
                let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
                assert_eq!(errno(w.open(at, access, flags)), Errno::Exist);
            }
            let under = format!("{at}/x");
            assert_eq!(errno(w.dir.stat(down(&under))), Errno::Notdir);
            let leaf = at.rsplit('/').next().unwrap();
            let parent = if at.contains('/') { "d" } else { "" };
            let parent = w.dir.open(down(parent), OpenHow::HOLD_DIR).unwrap_or_else(|_| panic!());
            let listed = list(&*parent.into_dir().unwrap(), Cookie::START, 99);
            assert!(listed.iter().any(|e| e.0 == leaf && e.1 == kind), "{}: {at}", w.what);
        }
    });
}

#[test]
fn an_open_releases_no_writer_that_waits_at_a_fifo() {
    each_world(|w| {
        let at = w.root.join("fifo");
        fifo(&at);
        let released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (at, released) = (&at, &released);
            scope.spawn(move || {
                let mut writer = fs::OpenOptions::new().write(true).open(at).unwrap();
                released.store(true, Ordering::SeqCst);
                writer.write_all(b"x").unwrap();
            });
            std::thread::sleep(Duration::from_millis(50));
            for access in Access::ALL {
                assert_eq!(errno(w.open("fifo", access, OpenFlags::empty())), Errno::Nxio);
            }
            assert_eq!(path::stat(&*w.dir, "fifo", Follow::Yes).unwrap().kind, FileType::Fifo);
            std::thread::sleep(Duration::from_millis(50));
            assert!(!released.load(Ordering::SeqCst), "{}: the writer went on", w.what);
            let mut got = String::new();
            fs::File::open(at).unwrap().read_to_string(&mut got).unwrap();
            assert_eq!(got, "x");
        });
    });
}

#[test]
fn a_fifo_that_takes_a_files_place_during_an_open_is_never_read() {
    each_world(|w| {
        w.fill("x", "file");
        fifo(&w.root.join("y"));
        let (stop, at) = (AtomicBool::new(false), &w.root);
        let (mut files, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    exchange(&at.join("x"), &at.join("y"));
                }
            });
            let end = Instant::now() + Duration::from_millis(300);
            while Instant::now() < end {
                let Ok(node) = w.open("x", Access::ReadWrite, OpenFlags::empty()) else {
                    refused += 1;
                    continue;
                };
                let file = node.into_file().unwrap();
                let mut bytes = [0; 4];
                match file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0) {
                    Ok(n) => assert_eq!((n, &bytes), (4, b"file")),
                    Err(errno) => assert_eq!(errno, Errno::Nxio),
                }
                match write(&file, 0, b"f") {
                    Ok(n) => assert_eq!(n, 1),
                    Err(errno) => assert_eq!(errno, Errno::Nxio),
                }
                files += 1;
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(files > 0 && refused > 0, "{}: {files} {refused}", w.what);
    });
}

#[test]
fn names_and_targets_that_are_not_utf8_are_left_out_or_ilseq() {
    each_world(|w| {
        let bad = OsStr::from_bytes(b"b\xffd");
        fs::write(w.root.join(bad), "").unwrap();
        symlink(bad, w.root.join("link")).unwrap();
        fs::create_dir(w.root.join("d")).unwrap();
        symlink(bad, w.root.join("d/link")).unwrap();
        w.fill("good", "");
        assert_eq!(names(&*w.dir, 1), ["d", "good", "link"]);
        assert_eq!(w.dir.read_link(name("link")), Err(Errno::Ilseq));
        for at in ["link", "link/x", "d/link", "d/link/x/y"] {
            assert_eq!(errno(w.dir.open(down(at), OpenHow::HOLD_DIR)), Errno::Ilseq, "{at}");
            assert_eq!(errno(w.dir.open(down(at), OpenHow::READ)), Errno::Ilseq, "{at}");
        }
        assert_eq!(
            path::open(&*w.dir, "link", Follow::Yes, OpenHow::HOLD).err(),
            Some(Errno::Ilseq)
        );
    });
}

fn exchange(a: &Path, b: &Path) {
    rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

/// The class of check-then-use races: a directory of the path and a link to the outside change
/// places all the time. Whatever is found, it is inside.
#[test]
fn a_directory_and_a_link_that_change_places_let_nothing_out() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("d/swap")).unwrap();
        w.fill("d/swap/canary", "inside");
        symlink(&w.outside, w.root.join("d/link")).unwrap();
        symlink("../../outside", w.root.join("d/relative")).unwrap();
        let (stop, at) = (AtomicBool::new(false), w.root.join("d"));
        let (mut inside, mut links) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    exchange(&at.join("swap"), &at.join("link"));
                    exchange(&at.join("swap"), &at.join("link"));
                    exchange(&at.join("swap"), &at.join("relative"));
                    exchange(&at.join("swap"), &at.join("relative"));
                }
            });
            let end = Instant::now() + Duration::from_millis(500);
            while Instant::now() < end {
                for result in [
                    w.dir.open(down("d/swap/canary"), OpenHow::READ),
                    path::open(&*w.dir, "d/swap/canary", Follow::Yes, OpenHow::READ)
                        .map_err(Stop::from),
                ] {
                    match result {
                        Ok(node) => {
                            let got = read(&node.into_file().unwrap(), 0, 99);
                            assert_eq!(got, b"inside", "{}", w.what);
                            inside += 1;
                        }
                        Err(Stop::Link { at, .. }) => {
                            assert_eq!(at, 1);
                            links += 1;
                        }
                        Err(Stop::Errno(errno)) => {
                            assert!(matches!(errno, Errno::Escape | Errno::Again), "{errno:?}");
                        }
                    }
                }
                if let Ok(stat) = w.dir.stat(down("d/swap/canary")) {
                    assert_eq!(stat.size, 6);
                }
                let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
                let _ = w.open("d/swap/new", Access::Write, flags);
                let _ = w.dir.set_times(
                    down("d/swap/canary"),
                    SetTimes { accessed: SetTime::Now, modified: SetTime::Now },
                );
                let _ = path::create_dir(&*w.dir, "d/swap/made");
                let _ = path::remove_dir(&*w.dir, "d/swap/made");
                let _ = path::rename(&*w.dir, "d/swap/new", &*w.dir, "d/swap/newer");
                let _ = path::remove_file(&*w.dir, "d/swap/newer");
                w.check_canary();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(inside > 0 && links > 0, "{}: {inside} {links}", w.what);
    });
}

#[test]
fn renames_elsewhere_make_no_lookup_fail() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("a/b/c")).unwrap();
        w.fill("a/b/c/f", "inside");
        fs::create_dir(w.root.join("m")).unwrap();
        let (stop, at) = (AtomicBool::new(false), &w.root);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    fs::rename(at.join("m"), at.join("n")).unwrap();
                    fs::rename(at.join("n"), at.join("m")).unwrap();
                }
            });
            let end = Instant::now() + Duration::from_millis(200);
            while Instant::now() < end {
                assert_eq!(w.dir.stat(down("a/b/c/f")).unwrap().size, 6);
                assert_eq!(read(&w.file("a/b/c/f", Access::Read), 0, 9), b"inside");
                let missing = w.open("a/b/c/no", Access::Read, OpenFlags::empty());
                assert_eq!(errno(missing), Errno::Noent);
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}

/// GHSA-hp8f-xmx4-4qrg and GHSA-vqjp-4c8c-hfgg: a slash at the end of a link's target made a
/// resolver follow the next link. Here slashes never reach a directory.
/// GHSA-m9f7-9w4p-gv38: a slash behind a link's name made a rename follow it.
#[test]
fn slashes_behind_links_and_in_targets_lead_nowhere_else() {
    each_world(|w| {
        let d = &*w.dir;
        fs::create_dir(w.root.join("a")).unwrap();
        symlink(&w.outside, w.root.join("evil")).unwrap();
        symlink("../outside", w.root.join("evil2")).unwrap();
        let mut links = Vec::new();
        for evil in ["evil", "evil2"] {
            for (i, end) in ["", "/", "//", "///", "/.", "/./", "/canary"].iter().enumerate() {
                let at = format!("a/{evil}{i}");
                symlink(format!("../{evil}{end}"), w.root.join(&at)).unwrap();
                links.push(at);
            }
            links.push(evil.to_owned());
        }
        // The layout of the advisory, with the target beside the link.
        symlink("evil/", w.root.join("a/link1")).unwrap();
        symlink("../../outside", w.root.join("a/evil")).unwrap();
        links.push("a/link1".to_owned());
        let kept: Vec<_> = links.iter().map(|at| fs::read_link(w.root.join(at)).unwrap()).collect();
        w.fill("a/f", "f");
        fs::create_dir(w.root.join("a/d")).unwrap();
        for at in &links {
            for end in ["/", "//", "///", "/.", "/./", "/canary", "/new", "/new/", "/../root"] {
                let at = &format!("{at}{end}");
                let out = |errno: Option<Errno>, op: &str| {
                    assert!(errno.is_some(), "{}: {op} {at}", w.what);
                };
                for follow in [Follow::Yes, Follow::No] {
                    for access in Access::ALL {
                        for bits in 0..16 {
                            let how = OpenHow::new(access, OpenFlags::from_bits(bits).unwrap());
                            out(path::open(d, at, follow, how).err(), "open");
                        }
                    }
                    out(path::stat(d, at, follow).err(), "stat");
                    let now = SetTimes { accessed: SetTime::Now, modified: SetTime::Now };
                    out(path::set_times(d, at, follow, now).err(), "set_times");
                }
                out(path::read_link(d, at).err(), "read_link");
                out(path::remove_file(d, at).err(), "remove_file");
                out(path::remove_dir(d, at).err(), "remove_dir");
                out(path::create_dir(d, at).err(), "create_dir");
                out(path::create_symlink(d, "x", at).err(), "create_symlink");
                out(path::rename(d, at, d, "moved").err(), "rename from");
                out(path::rename(d, "a/f", d, at).err(), "rename into");
                out(path::rename(d, "a/d", d, at).err(), "rename a directory into");
                out(path::link(d, at, d, "linked").err(), "link from");
                out(path::link(d, "a/f", d, at).err(), "link into");
                w.check_canary();
            }
        }
        let now: Vec<_> = links.iter().map(|at| fs::read_link(w.root.join(at)).unwrap()).collect();
        assert_eq!(now, kept);
        assert_eq!(fs::metadata(w.outside.join("canary")).unwrap().nlink(), 1);
    });
}

/// wasmtime#9272: a target that ends in `..` was resolved differently by the two resolvers.
#[test]
fn links_inside_are_followed_alike_by_every_resolver() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("a/b")).unwrap();
        w.fill("f", "top");
        w.fill("a/f", "mid");
        for (at, target) in [("a/b/up", ".."), ("a/b/top", "../.."), ("l", "a/b/up/"), ("m", "l/.")]
        {
            symlink(target, w.root.join(at)).unwrap();
        }
        for (at, bytes) in
            [("a/b/up/f", "mid"), ("a/b/top/f", "top"), ("l/f", "mid"), ("m/f", "mid")]
        {
            let node = path::open(&*w.dir, at, Follow::Yes, OpenHow::READ);
            let file = node.unwrap_or_else(|e| panic!("{at}: {e}")).into_file().unwrap();
            assert_eq!(read(&file, 0, 9), bytes.as_bytes(), "{}: {at}", w.what);
        }
    });
}

#[test]
fn a_removed_node_goes_on_working_through_its_handle() {
    each_world(|w| {
        let file = w.new_file("f");
        write(&file, 0, b"still").unwrap();
        w.dir.remove_file(name("f")).unwrap();
        drop(w.new_file("f"));
        assert_eq!(read(&file, 0, 9), b"still");
        assert_eq!((file.stat().unwrap().nlink, file.stat().unwrap().size), (0, 5));
        w.dir.create_dir(name("d")).unwrap();
        let d = w.dir.open(down("d"), OpenHow::HOLD_DIR).unwrap_or_else(|_| panic!());
        let d = d.into_dir().unwrap();
        fs::write(w.root.join("d/x"), "").unwrap();
        assert_eq!(names(&*d, 9), ["x"]);
        fs::remove_file(w.root.join("d/x")).unwrap();
        w.dir.remove_dir(name("d")).unwrap();
        w.dir.create_dir(name("d")).unwrap();
        assert_eq!(names(&*d, 9), [""; 0]);
        assert_eq!(d.create_dir(name("y")), Err(Errno::Noent));
        let flags = OpenFlags::CREATE;
        let how = OpenHow::new(Access::Write, flags);
        assert_eq!(errno(d.open(down("y"), how)), Errno::Noent);
        assert_eq!(errno(d.stat(down("y"))), Errno::Noent);
        assert_eq!(d.stat(Descent::HERE).unwrap().kind, FileType::Dir);
    });
}

#[test]
fn a_listing_reports_each_entry_once_with_its_type_and_number() {
    each_world(|w| {
        fs::create_dir(w.root.join("dir")).unwrap();
        symlink("x", w.root.join("link")).unwrap();
        for i in 0..10_000 {
            fs::File::create(w.root.join(format!("file-{i:05}"))).unwrap();
        }
        for room in [1_000_000, 7, 100] {
            let mut all = list(&*w.dir, Cookie::START, room);
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 10_002, "{}: {room}", w.what);
            for (i, (name, kind, ino)) in all.iter().enumerate() {
                let wanted = if name == "dir" {
                    FileType::Dir
                } else if name == "link" {
                    FileType::Symlink
                } else {
                    FileType::File
                };
                assert_eq!(*kind, wanted, "{name}");
                if i % 500 == 0 {
                    assert_eq!(*ino, w.dir.stat(down(name)).unwrap().ino);
                }
            }
        }
        assert_eq!(
            errno(w.dir.read_dir(Cookie(1 << 63), &mut |_| panic!()).map_err(Stop::from)),
            Errno::Inval
        );
    });
}

#[test]
fn a_listing_survives_the_removal_of_everything_it_reports() {
    each_world(|w| {
        for i in 0..60 {
            w.fill(&format!("f{i}"), "");
        }
        fs::create_dir(w.root.join("kept")).unwrap();
        for room in [1, 3, 1000] {
            let (mut from, mut seen) = (Cookie::START, Vec::new());
            loop {
                let before = seen.len();
                w.dir
                    .read_dir(from, &mut |entry| {
                        seen.push(entry.name.as_str().to_owned());
                        from = entry.next;
                        // The callback may use the directory that it is called for.
                        if entry.kind == FileType::File {
                            w.dir.remove_file(entry.name).unwrap();
                            assert!(w.dir.stat(entry.name.into()).is_err());
                        }
                        let full = seen.len() - before == room;
                        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })
                    .unwrap();
                if seen.len() == before {
                    break;
                }
            }
            seen.sort();
            let len = seen.len();
            seen.dedup();
            assert_eq!((seen.len(), len), (61, 61), "{}: {room}", w.what);
            assert_eq!(names(&*w.dir, 9), ["kept"]);
            for i in 0..60 {
                w.fill(&format!("f{i}"), "");
            }
        }
    });
}

#[test]
fn a_handle_that_first_listed_the_end_lists_the_beginning_too() {
    each_world(|w| {
        for i in 0..20 {
            w.fill(&format!("f{i}"), "");
        }
        let all = names(&*w.dir, 99);
        let mut cookies = vec![Cookie(0)];
        let mut each = |entry: palisade_vfs::Entry<'_>| {
            cookies.push(entry.next);
            ControlFlow::Continue(())
        };
        w.dir.read_dir(Cookie::START, &mut each).unwrap();
        for (i, from) in cookies.iter().enumerate() {
            let fresh = w.dir.open(Descent::HERE, OpenHow::HOLD_DIR).ok().unwrap();
            let fresh = fresh.into_dir().unwrap();
            assert_eq!(list(&*fresh, *from, 99).len(), 20 - i, "{}: {from:?}", w.what);
            assert_eq!(names(&*fresh, 99), all, "{}: {from:?}", w.what);
        }
    });
}

#[test]
fn a_listing_within_a_listing_disturbs_neither() {
    each_world(|w| {
        for i in 0..20 {
            w.fill(&format!("f{i}"), "");
        }
        let all = names(&*w.dir, 99);
        let mut outer = Vec::new();
        w.dir
            .read_dir(Cookie::START, &mut |entry| {
                outer.push(entry.name.as_str().to_owned());
                assert_eq!(names(&*w.dir, 3), all, "{}", w.what);
                ControlFlow::Continue(())
            })
            .unwrap();
        outer.sort();
        assert_eq!(outer, all);
        std::thread::scope(|scope| {
            for room in 1..5 {
                let (all, dir) = (&all, &w.dir);
                scope.spawn(move || {
                    for _ in 0..50 {
                        assert_eq!(names(&**dir, room), *all, "{}", w.what);
                    }
                });
            }
        });
    });
}

/// GHSA-mr2v-56j5-cmfc and GHSA-j2g9-4prp-pf6h: times before 1970 and out of range.
#[test]
fn every_time_can_be_set_and_read_and_none_panics() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        for at in ["f", "d/f"] {
            w.fill(at, "");
        }
        symlink("f", w.root.join("link")).unwrap();
        let at = |seconds, nanos| SetTime::At(Timestamp::new(seconds, nanos));
        for path in ["f", "d/f", "d", "", "link"] {
            // Exact where every filesystem can keep it.
            for (seconds, nanos) in
                [(-1, 750_000_000), (-86_400, 0), (0, 0), (1 << 30, 999_999_999)]
            {
                let times = SetTimes { accessed: at(seconds, nanos), modified: at(seconds, 1) };
                w.dir.set_times(down(path), times).unwrap();
                let stat = w.dir.stat(down(path)).unwrap();
                assert_eq!(stat.accessed, Timestamp::new(seconds, nanos), "{}: {path}", w.what);
                assert_eq!(stat.modified, Timestamp::new(seconds, 1));
            }
            let before = w.dir.stat(down(path)).unwrap();
            let times = SetTimes { accessed: SetTime::Keep, modified: SetTime::Now };
            w.dir.set_times(down(path), times).unwrap();
            let stat = w.dir.stat(down(path)).unwrap();
            assert_eq!(stat.accessed, before.accessed);
            assert!(stat.modified > before.modified);
            for seconds in [i64::MIN, i64::MIN + 1, i64::MAX, 1 << 40, -(1 << 40)] {
                for nanos in [0, 999_999_999, u32::MAX] {
                    let times =
                        SetTimes { accessed: at(seconds, nanos), modified: at(seconds, nanos) };
                    w.dir.set_times(down(path), times).unwrap();
                    w.dir.stat(down(path)).unwrap();
                }
            }
        }
        for access in Access::ALL {
            let file = w.file("f", access);
            file.set_times(SetTimes { accessed: at(-5, 5), modified: at(7, 7) }).unwrap();
            let stat = file.stat().unwrap();
            let got = (stat.accessed, stat.modified);
            assert_eq!(got, (Timestamp::new(-5, 5), Timestamp::new(7, 7)), "{access:?}");
        }
    });
}

#[test]
fn a_root_that_is_no_directory_or_missing_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "").unwrap();
    for at in ["f", "missing"] {
        assert!(HostDir::open_ambient(&temp.path().join(at)).is_err(), "{at}");
    }
    let dir = cap_std::fs::Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority());
    let dir = HostDir::from_cap_std(dir.unwrap(), Resolver::Auto);
    assert_eq!(names(&*dir, 9), ["f"]);
}

/// A descent as long as can be, with names as long as can be, and one that is too deep for `stat`
/// to be answered from anything but the kernel.
#[test]
fn the_deepest_descent_is_resolved_alike() {
    each_world(|w| {
        let long = "n".repeat(255);
        let mut at = String::new();
        let mut host =
            rustix::fs::openat(CWD, &w.root, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
        for i in 0..15 {
            rustix::fs::mkdirat(&host, &*long, Mode::from_raw_mode(0o777)).unwrap();
            host =
                rustix::fs::openat(&host, &*long, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
            if i > 0 {
                at.push('/');
            }
            at.push_str(&long);
        }
        assert_eq!(w.dir.stat(down(&at)).unwrap().kind, FileType::Dir);
        let ino = rustix::fs::statat(&host, "", AtFlags::EMPTY_PATH).unwrap().st_ino;
        assert_eq!(w.dir.stat(down(&at)).unwrap().ino, ino);
        let file = w.new_file(&format!("{at}/f"));
        assert_eq!(write(&file, 0, b"deep"), Ok(4));
        assert_eq!(w.dir.stat(down(&format!("{at}/f"))).unwrap().size, 4);
    });
}
