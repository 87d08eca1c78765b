//! Tests of `descriptor`: flags, error codes, paths and times.

use palisade_kernel::{Config, FdRights};
use palisade_preview2::{PalisadeCtx, PalisadeView as _};
use palisade_vfs::MemFs;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    Advice, DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _,
    HostDirectoryEntryStream as _, NewTimestamp, OpenFlags,
};

use crate::world::{FOLLOW, MUTATE, READ, WRITE, World, each, fd, no_flags, no_follow, read_only};

fn at(seconds: u64, nanoseconds: u32) -> NewTimestamp {
    NewTimestamp::Timestamp(Datetime { seconds, nanoseconds })
}

#[test]
fn get_flags_returns_the_requested_flags() {
    each(|mut w| {
        let root = w.root;
        w.mkdir("d").unwrap();
        w.put("f", b"x");
        let none = DescriptorFlags::empty();
        for (path, how, flags, want) in [
            ("f", no_flags(), none, READ),
            ("f", no_flags(), READ, READ),
            ("f", no_flags(), WRITE, WRITE),
            ("f", no_flags(), READ | WRITE, READ | WRITE),
            ("f", OpenFlags::CREATE, READ, READ | WRITE),
            ("new", OpenFlags::CREATE, none, READ | WRITE),
            ("d", no_flags(), none, READ),
            ("d", OpenFlags::DIRECTORY, READ, READ),
            ("d", OpenFlags::DIRECTORY, READ | MUTATE, READ | MUTATE),
            ("f", no_flags(), READ | MUTATE, READ),
        ] {
            let file = w.open(root, path, how, flags).unwrap();
            assert_eq!(w.call(|v| v.get_flags(fd(file))), Ok(want), "{path} {how:?} {flags:?}");
            w.close(file);
        }
        assert_eq!(w.call(|v| v.get_flags(fd(root))), Ok(READ | MUTATE));
        let file_sync = DescriptorFlags::FILE_INTEGRITY_SYNC;
        for sync in [file_sync, DescriptorFlags::DATA_INTEGRITY_SYNC] {
            let file = w.open(root, "f", no_flags(), WRITE | sync).unwrap();
            assert_eq!(w.call(|v| v.get_flags(fd(file))), Ok(WRITE | sync));
        }
    });
}

#[test]
fn directory_without_mutate_directory_is_read_only() {
    each(|mut w| {
        let root = w.root;
        for dir in ["d", "d/sub"] {
            w.mkdir(dir).unwrap();
        }
        w.put("d/f", b"x");
        let d = w.open(root, "d", OpenFlags::DIRECTORY, READ).unwrap();
        let d = w.open(d, ".", OpenFlags::DIRECTORY, READ).unwrap();
        let refused = Err(ErrorCode::ReadOnly);
        let s = |text: &str| text.to_owned();
        let keep = NewTimestamp::NoChange;
        assert_eq!(w.call(|v| v.create_directory_at(fd(d), s("new"))), refused);
        assert_eq!(w.call(|v| v.remove_directory_at(fd(d), s("sub"))), refused);
        assert_eq!(w.call(|v| v.unlink_file_at(fd(d), s("f"))), refused);
        assert_eq!(w.call(|v| v.symlink_at(fd(d), s("f"), s("l"))), refused);
        assert_eq!(w.call(|v| v.rename_at(fd(d), s("f"), fd(root), s("g"))), refused);
        assert_eq!(w.call(|v| v.rename_at(fd(root), s("d/f"), fd(d), s("g"))), refused);
        assert_eq!(w.call(|v| v.link_at(fd(d), no_follow(), s("f"), fd(root), s("g"))), refused);
        assert_eq!(w.call(|v| v.link_at(fd(root), no_follow(), s("d/f"), fd(d), s("g"))), refused);
        assert_eq!(w.call(|v| v.set_times_at(fd(d), no_follow(), s("f"), keep, at(1, 0))), refused);
        assert_eq!(w.call(|v| v.set_times(fd(d), keep, at(1, 0))), refused);
        for (how, flags) in [
            (no_flags(), WRITE),
            (no_flags(), MUTATE),
            (OpenFlags::CREATE, READ),
            (OpenFlags::TRUNCATE, READ),
        ] {
            assert_eq!(w.open(d, "f", how, flags), Err(ErrorCode::ReadOnly), "{how:?} {flags:?}");
        }
        assert_eq!(w.open(d, "sub", no_flags(), READ | MUTATE), Err(ErrorCode::ReadOnly));
        // Files opened through it can be read but not changed.
        let f = w.open(d, "f", no_flags(), READ).unwrap();
        assert_eq!(w.call(|v| v.set_times(fd(f), keep, at(1, 0))), refused);
        assert_eq!(w.call(|v| v.write(fd(f), vec![1], 0)), Err(ErrorCode::BadDescriptor));
        assert_eq!(w.call(|v| v.read(fd(f), 9, 0)), Ok((b"x".to_vec(), false)));
        let sub = w.open(d, "sub", no_flags(), READ).unwrap();
        assert_eq!(w.call(|v| v.create_directory_at(fd(sub), s("x"))), refused);
        assert_eq!(w.get("d/f"), b"x");
    });
}

#[test]
fn preview1_guest_inherits_mutate_directory_from_the_parent() {
    let config = Config::builder().preopen("/", MemFs::new().root()).build().unwrap();
    let mut w = World::with(PalisadeCtx::for_preview1_guest(config.start()));
    w.mkdir("d").unwrap();
    let d = w.open(w.root, "d", OpenFlags::DIRECTORY, READ).unwrap();
    assert_eq!(w.call(|v| v.create_directory_at(fd(d), "new".into())), Ok(()));
    // A directory whose parent cannot be changed stays read-only.
    let dirs = FdRights::OF_DIRS - FdRights::MUTATING;
    let rest = FdRights::all() - FdRights::MUTATING - FdRights::WRITING;
    let config = Config::builder().preopen_with("/", MemFs::new().root(), dirs, rest);
    let mut w = World::with(PalisadeCtx::for_preview1_guest(config.build().unwrap().start()));
    assert_eq!(w.call(|v| v.get_flags(fd(5))), Err(ErrorCode::BadDescriptor));
    assert_eq!(w.mkdir("d"), Err(ErrorCode::ReadOnly));
    let here = w.open(w.root, ".", no_flags(), READ).unwrap();
    assert_eq!(w.call(|v| v.get_flags(fd(here))), Ok(READ));
}

#[test]
fn read_only_layer_returns_read_only() {
    let fs = MemFs::new();
    World::over(fs.root()).put("f", b"x");
    let mut w = World::over(read_only(&fs.root()));
    assert_eq!(w.mkdir("d"), Err(ErrorCode::ReadOnly));
    assert_eq!(w.open(w.root, "f", no_flags(), WRITE), Err(ErrorCode::ReadOnly));
    assert_eq!(w.open(w.root, "f", OpenFlags::TRUNCATE, READ), Err(ErrorCode::ReadOnly));
    assert_eq!(w.get("f"), b"x");
}

#[test]
fn escaping_paths_are_not_permitted() {
    each(|mut w| {
        let root = w.root;
        w.mkdir("d").unwrap();
        w.put("d/f", b"x");
        let d = w.open(root, "d", no_flags(), READ | MUTATE).unwrap();
        for path in ["/", "/f", "..", "../d", "x/../..", "./../d/f"] {
            let opened = w.open(d, path, no_flags(), READ);
            let want =
                if path.starts_with("x/") { ErrorCode::NoEntry } else { ErrorCode::NotPermitted };
            assert_eq!(opened, Err(want), "{path}");
        }
        let s = |text: &str| text.to_owned();
        assert_eq!(w.call(|v| v.symlink_at(fd(d), s("../d/f"), s("up"))), Ok(()));
        assert_eq!(w.open(d, "up", no_flags(), READ), Err(ErrorCode::NotPermitted));
        assert!(w.open(root, "d/up", no_flags(), READ).is_ok(), "its start is higher");
        let absolute = w.call(|v| v.symlink_at(fd(d), s("/etc"), s("l")));
        assert_eq!(absolute, Err(ErrorCode::NotPermitted));
        assert_eq!(w.open(d, "", no_flags(), READ), Err(ErrorCode::NoEntry));
        assert_eq!(w.open(d, "a\0b", no_flags(), READ), Err(ErrorCode::Invalid));
        assert_eq!(w.open(d, &"n".repeat(256), no_flags(), READ), Err(ErrorCode::NameTooLong));
    });
}

#[test]
fn refusals_map_to_error_codes() {
    each(|mut w| {
        let root = w.root;
        w.mkdir("d").unwrap();
        w.put("f", b"x");
        w.put("d/f", b"x");
        let s = |text: &str| text.to_owned();
        assert_eq!(w.mkdir("d"), Err(ErrorCode::Exist));
        assert_eq!(w.mkdir("no/d"), Err(ErrorCode::NoEntry));
        assert_eq!(w.call(|v| v.unlink_file_at(fd(root), s("d"))), Err(ErrorCode::IsDirectory));
        let not_empty = w.call(|v| v.remove_directory_at(fd(root), s("d")));
        assert_eq!(not_empty, Err(ErrorCode::NotEmpty));
        let not_dir = w.call(|v| v.remove_directory_at(fd(root), s("f")));
        assert_eq!(not_dir, Err(ErrorCode::NotDirectory));
        assert_eq!(w.call(|v| v.readlink_at(fd(root), s("f"))), Err(ErrorCode::Invalid));
        assert_eq!(w.open(root, "d", no_flags(), WRITE), Err(ErrorCode::IsDirectory));
        assert_eq!(w.open(root, "f", OpenFlags::DIRECTORY, READ), Err(ErrorCode::NotDirectory));
        let new = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        assert_eq!(w.open(root, "f", new, WRITE), Err(ErrorCode::Exist));
        let followed = w.call(|v| v.link_at(fd(root), FOLLOW, s("f"), fd(root), s("g")));
        assert_eq!(followed, Err(ErrorCode::Invalid));
        let below = w.call(|v| v.rename_at(fd(root), s("d"), fd(root), s("d/x")));
        assert_eq!(below, Err(ErrorCode::Invalid));
        w.call(|v| v.symlink_at(fd(root), s("loop"), s("loop"))).unwrap();
        assert_eq!(w.open(root, "loop", no_flags(), READ), Err(ErrorCode::Loop));
        let f = w.open(root, "f", no_flags(), READ).unwrap();
        assert_eq!(w.open(f, "x", no_flags(), READ), Err(ErrorCode::NotDirectory));
        assert!(w.call(|v| v.read_directory(fd(f))).is_err_and(|e| e == ErrorCode::NotDirectory));
    });
}

#[test]
fn advise_works_on_files_only() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        let f = w.open(root, "f", no_flags(), READ).unwrap();
        let mut advise = |file, at, len| w.call(|v| v.advise(fd(file), at, len, Advice::Random));
        assert_eq!(advise(root, 0, 0), Err(ErrorCode::BadDescriptor));
        assert_eq!(advise(f, 0, 10), Ok(()));
        assert_eq!(advise(f, 1 << 40, 0), Ok(()));
        assert_eq!(advise(f, u64::MAX, 1), Err(ErrorCode::FileTooLarge));
        assert_eq!(advise(f, 0, u64::MAX), Err(ErrorCode::FileTooLarge));
    });
}

#[test]
fn sync_works_on_files_and_directories() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        let f = w.open(root, "f", no_flags(), READ).unwrap();
        let d = w.open(root, ".", no_flags(), READ).unwrap();
        for file in [f, d, root] {
            assert_eq!(w.call(|v| v.sync(fd(file))), Ok(()));
            assert_eq!(w.call(|v| v.sync_data(fd(file))), Ok(()));
        }
    });
}

#[test]
fn set_size_needs_write_access() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"four");
        let f = w.open(root, "f", no_flags(), READ).unwrap();
        assert_eq!(w.call(|v| v.set_size(fd(f), 1)), Err(ErrorCode::Invalid));
        let f = w.open(root, "f", no_flags(), WRITE).unwrap();
        assert_eq!(w.call(|v| v.set_size(fd(f), u64::MAX)), Err(ErrorCode::FileTooLarge));
        assert_eq!(w.call(|v| v.set_size(fd(f), 6)), Ok(()));
        assert_eq!(w.get("f"), b"four\0\0");
        assert_eq!(w.call(|v| v.read(fd(f), 1, 0)), Err(ErrorCode::BadDescriptor));
    });
}

#[test]
fn set_times_validates_timestamps() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        w.call(|v| v.symlink_at(fd(root), "f".into(), "l".into())).unwrap();
        let modified = |w: &mut World, path: &str| {
            w.lstat(path).unwrap().data_modification_timestamp.unwrap().seconds
        };
        let set = |w: &mut World, path: &str, flags, time| {
            let keep = NewTimestamp::NoChange;
            w.call(|v| v.set_times_at(fd(root), flags, path.into(), keep, time))
        };
        assert_eq!(set(&mut w, "l", FOLLOW, at(1000, 5)), Ok(()));
        assert_eq!(set(&mut w, "l", no_follow(), at(2000, 0)), Ok(()));
        assert_eq!((modified(&mut w, "f"), modified(&mut w, "l")), (1000, 2000));
        assert_eq!(set(&mut w, "f", no_follow(), at(1, 1_000_000_000)), Err(ErrorCode::Invalid));
        assert_eq!(set(&mut w, "f", no_follow(), at(u64::MAX, 0)), Err(ErrorCode::Overflow));
        assert_eq!(modified(&mut w, "f"), 1000);
        // Setting times needs ownership, not write access.
        let f = w.open(root, "f", no_flags(), READ).unwrap();
        let keep = NewTimestamp::NoChange;
        assert_eq!(w.call(|v| v.set_times(fd(f), keep, at(3000, 0))), Ok(()));
        assert_eq!(modified(&mut w, "f"), 3000);
    });
}

#[test]
fn is_same_object_ignores_the_path() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        w.put("other", b"x");
        let s = |text: &str| text.to_owned();
        w.call(|v| v.link_at(fd(root), no_follow(), s("f"), fd(root), s("g"))).unwrap();
        let f = w.open(root, "f", no_flags(), READ).unwrap();
        let g = w.open(root, "g", no_flags(), WRITE).unwrap();
        let other = w.open(root, "other", no_flags(), READ).unwrap();
        let mut same = |a, b| w.palisade().is_same_object(fd(a), fd(b)).unwrap();
        assert!(same(f, g) && same(root, root));
        assert!(!same(f, other) && !same(f, root));
        w.call(|v| v.rename_at(fd(root), s("f"), fd(root), s("moved"))).unwrap();
        w.call(|v| v.unlink_file_at(fd(root), s("g"))).unwrap();
        let moved = w.open(root, "moved", no_flags(), READ).unwrap();
        assert!(w.palisade().is_same_object(fd(f), fd(moved)).unwrap());
    });
}

#[test]
fn directory_stream_returns_each_entry_once() {
    each(|mut w| {
        let root = w.root;
        let mut names: Vec<String> = (0..1500).map(|i| format!("f{i:04}")).collect();
        for name in &names {
            w.put(name, b"");
        }
        w.mkdir("sub").unwrap();
        names.push("sub".into());
        let list = |w: &mut World| w.call(|v| v.read_directory(fd(root))).unwrap();
        let (one, two) = (list(&mut w), list(&mut w));
        let mut read = |stream: &wasmtime::component::Resource<_>| {
            let stream = wasmtime::component::Resource::new_borrow(stream.rep());
            w.call(|v| v.read_directory_entry(stream)).unwrap()
        };
        let first = read(&one).unwrap();
        let mut found = vec![];
        while let Some(entry) = read(&two) {
            let want = if entry.name == "sub" {
                DescriptorType::Directory
            } else {
                DescriptorType::RegularFile
            };
            assert_eq!(entry.type_, want);
            found.push(entry.name);
        }
        assert!(read(&two).is_none(), "the end is the end");
        assert!(found.contains(&first.name));
        found.sort();
        assert_eq!(found, names);
        assert!(read(&one).is_some_and(|next| next.name != first.name));
    });
}
