//! Open files of host directories.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::{MetadataExt, symlink};

use palisade_vfs::{
    Access, Advice, Cookie, Descent, Errno, FileType, Follow, HostDir, Node, OpenFlags, OpenHow,
    SetTime, SetTimes, Stop, SyncScope, Timestamp, path,
};

use crate::world::{down, each_world, errno, name, names, read, write};

#[test]
fn file_is_created_written_read_and_removed() {
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
fn any_number_of_buffers_is_read_and_written_in_order() {
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
        // More buffers than `IOV_MAX`: a short write.
        let many = vec![IoSlice::new(b"z"); 3000];
        assert_eq!(file.write_at(&many, 0), Ok(1024));
        assert_eq!((file.append(&many), file.appended_to()), (Ok(1024), Ok(2048)));
        // Empty buffers do not count toward `IOV_MAX`, or a write could return 0 with bytes left.
        let mut late = vec![IoSlice::new(b""); 3000];
        late.push(IoSlice::new(b"end"));
        assert_eq!(file.write_at(&late, 0), Ok(3));
        assert_eq!((file.append(&late), file.appended_to()), (Ok(3), Ok(2051)));
        let mut end = [0; 3];
        let mut late: Vec<_> = (0..3000).map(|_| IoSliceMut::new(&mut [])).collect();
        late.push(IoSliceMut::new(&mut end));
        assert_eq!(file.read_at(&mut late, 0), Ok(3));
        assert_eq!(&end, b"end");
    });
}

#[test]
fn handle_permits_only_its_access_mode() {
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
        // A created file gets no more access than an existing one.
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let held = w.open("new", Access::Hold, flags).unwrap_or_else(|_| panic!());
        let held = held.into_file().unwrap();
        assert_eq!(held.read_at(&mut [IoSliceMut::new(&mut [0])], 0), Err(Errno::Badf));
        assert_eq!(write(&held, 0, b"b"), Err(Errno::Badf));
    });
}

#[test]
fn offsets_past_the_largest_read_as_end_and_write_as_efbig() {
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
fn concurrent_appends_do_not_overlap_and_report_their_end() {
    each_world(|w| {
        drop(w.new_file("f"));
        let appending = OpenHow::new(Access::Write, OpenFlags::APPEND);
        let handles = [
            w.file("f", Access::Write),
            w.file("f", Access::ReadWrite),
            palisade_vfs::path::open(&*w.dir, "f", palisade_vfs::Follow::No, appending)
                .unwrap()
                .into_file()
                .unwrap(),
            palisade_vfs::path::open(&*w.dir, "f", palisade_vfs::Follow::No, appending)
                .unwrap()
                .into_file()
                .unwrap(),
        ];
        let mut ends: Vec<u64> = std::thread::scope(|scope| {
            let append = |i: usize| {
                let file = &handles[i];
                move || {
                    let append = |_| {
                        assert_eq!(file.append(&[IoSlice::new(&[i as u8 + 1; 7])]), Ok(7));
                        file.appended_to().unwrap()
                    };
                    (0..200).map(append).collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = (0..4).map(|i| scope.spawn(append(i))).collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        ends.sort_unstable();
        let wanted: Vec<u64> = (1..=800).map(|i| i * 7).collect();
        assert_eq!(ends, wanted, "{}: every append knows where it ended", w.what);
        let bytes = fs::read(w.root.join("f")).unwrap();
        assert!(bytes.chunks(7).all(|c| c.iter().all(|b| *b == c[0])));
    });
}

#[test]
fn append_handle_also_writes_at_offsets() {
    each_world(|w| {
        let flags = OpenFlags::APPEND | OpenFlags::CREATE;
        let how = OpenHow::new(Access::ReadWrite, flags);
        let file = palisade_vfs::path::open(&*w.dir, "f", palisade_vfs::Follow::No, how)
            .unwrap()
            .into_file()
            .unwrap();
        assert_eq!((file.append(&[IoSlice::new(b"abc")]), file.appended_to()), (Ok(3), Ok(3)));
        assert_eq!(file.write_at(&[IoSlice::new(b"X")], 0), Ok(1));
        assert_eq!((file.append(&[IoSlice::new(b"d")]), file.appended_to()), (Ok(1), Ok(4)));
        assert_eq!(file.write_at(&[IoSlice::new(b"Y")], 1), Ok(1));
        assert_eq!(fs::read(w.root.join("f")).unwrap(), b"XYcd");
    });
}

#[test]
fn open_result_depends_on_the_existing_node() {
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
fn removed_node_keeps_working_through_its_handle() {
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

/// GHSA-mr2v-56j5-cmfc and GHSA-j2g9-4prp-pf6h: times before 1970 and out of range.
#[test]
fn extreme_times_can_be_set_and_read() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        for at in ["f", "d/f"] {
            w.fill(at, "");
        }
        symlink("f", w.root.join("link")).unwrap();
        let at = |seconds, nanos| SetTime::At(Timestamp::new(seconds, nanos));
        for path in ["f", "d/f", "d", "", "link"] {
            // Exact for times that every filesystem can store.
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
fn open_ambient_noatime_keeps_access_times() {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    for parent in ["/tmp", "/dev/shm"] {
        let temp = tempfile::tempdir_in(parent).unwrap();
        std::fs::create_dir(temp.path().join("d")).unwrap();
        std::fs::write(temp.path().join("d/f"), "bytes").unwrap();
        let old = Timespec { tv_sec: 1000, tv_nsec: 5 };
        let times = Timestamps { last_access: old, last_modification: old };
        let accessed = |path: &str| {
            let meta = std::fs::metadata(temp.path().join(path)).unwrap();
            meta.accessed().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
        };
        for (open, kept) in [
            (HostDir::open_ambient_noatime as fn(&std::path::Path) -> _, true),
            (HostDir::open_ambient, false),
        ] {
            for path in ["d", "d/f"] {
                let path = temp.path().join(path);
                utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
            }
            let dir = open(temp.path()).unwrap();
            let d = path::open(&*dir, "d", Follow::Yes, OpenHow::READ).unwrap();
            let d = d.into_dir().unwrap();
            d.read_dir(Cookie::START, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
            // The second open uses the cached type of the first.
            for _ in 0..2 {
                let file = path::open(&*dir, "d/f", Follow::Yes, OpenHow::READ).unwrap();
                let mut bytes = [0; 5];
                let bufs = &mut [IoSliceMut::new(&mut bytes)];
                assert_eq!(file.into_file().unwrap().read_at(bufs, 0), Ok(5));
            }
            let is_kept = (accessed("d") == 1000, accessed("d/f") == 1000);
            if kept {
                assert_eq!(is_kept, (true, true), "the directory and the file in {parent}");
            } else if is_kept == (true, true) {
                eprintln!("{parent} is mounted with noatime: nothing is shown by it");
            }
        }
    }
}
