//! Tests that each call needs exactly the rights of its table row.
//!
//! Each row runs with exactly the listed rights, and must succeed; and for each listed right with
//! all rights but that one, and must fail with the errno of the row. A call that ignores a right or
//! checks another one fails its row.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Advice, DirRef, Errno, Follow, MemFs, OpenFlags, OpenHow, Result, SetTimes, SyncScope,
    path,
};

use crate::{
    Config, Dots, Fd, FdRights, Input, Modes, OpenRequest, Output, Process, RightsRequest, Status,
    Subscription, Whence,
};

/// The directory with varying rights, the directory with all rights, and the first free number.
const VARIED: Fd = 3;
const FULL: Fd = 4;
const OPENED: Fd = 5;

/// Creates a tree with files, directories and a symbolic link.
fn tree() -> DirRef {
    let root = MemFs::new().root();
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    for file in ["file", "other"] {
        path::open(&*root, file, Follow::Yes, create).unwrap();
    }
    for dir in ["dir", "empty"] {
        path::create_dir(&*root, dir).unwrap();
    }
    path::open(&*root, "dir/in", Follow::Yes, create).unwrap();
    path::create_symlink(&*root, "file", "link").unwrap();
    root
}

/// Starts a process whose preopens [`VARIED`] and [`FULL`] are the same tree.
fn process(base: FdRights, inheriting: FdRights) -> Process {
    let root = tree();
    let config = Config::builder()
        .preopen_with("/varied", root.clone(), base, inheriting)
        .preopen("/full", root)
        .build()
        .unwrap();
    config.start()
}

/// Returns a request to open an existing node with exactly these rights.
fn asks(base: FdRights, inheriting: FdRights) -> OpenRequest {
    OpenRequest {
        follow: Follow::Yes,
        flags: OpenFlags::empty(),
        status: Status::empty(),
        rights: RightsRequest::Exactly { base, inheriting },
    }
}

const NO_RIGHTS: (FdRights, FdRights) = (FdRights::empty(), FdRights::empty());

fn open_flags(process: &mut Process, name: &str, flags: OpenFlags) -> Result<()> {
    let asked = OpenRequest { flags, ..asks(NO_RIGHTS.0, NO_RIGHTS.1) };
    process.open(VARIED, name, asked).map(drop)
}

/// A call, the rights that it needs on the varied descriptor, and the errno without each of them.
struct Row {
    call: &'static str,
    rights: &'static [(FdRights, Errno)],
    run: fn(&mut Process, Fd) -> Result<()>,
}

/// Creates a row whose missing rights are all `Notcapable`.
macro_rules! row {
    ($call:literal, [$($right:ident),*], $run:expr) => {
        Row { call: $call, rights: &[$((FdRights::$right, Errno::Notcapable)),*], run: $run }
    };
}

const ON_DIRS: &[Row] = &[
    row!("open", [OPEN], |p, _| open_flags(p, "file", OpenFlags::empty())),
    row!("open a directory", [OPEN], |p, _| open_flags(p, "dir", OpenFlags::DIRECTORY)),
    row!("open to create", [OPEN, CREATE_FILE], |p, _| {
        open_flags(p, "new", OpenFlags::CREATE | OpenFlags::EXCLUSIVE)
    }),
    row!("open to truncate", [OPEN, SET_LEN_AT], |p, _| {
        open_flags(p, "file", OpenFlags::TRUNCATE)
    }),
    row!("open_pending", [OPEN], |p, _| {
        p.open_pending(VARIED, "file", asks(NO_RIGHTS.0, NO_RIGHTS.1)).map(drop)
    }),
    row!("stat_at", [STAT_AT], |p, fd| p.stat_at(fd, "file", Follow::Yes).map(drop)),
    row!("set_times_at", [SET_TIMES_AT], |p, fd| {
        p.set_times_at(fd, "file", Follow::Yes, SetTimes::default())
    }),
    row!("create_dir", [CREATE_DIR], |p, fd| p.create_dir(fd, "new")),
    row!("create_symlink", [CREATE_SYMLINK], |p, fd| p.create_symlink("to", fd, "new")),
    row!("read_link", [READ_LINK], |p, fd| p.read_link(fd, "link").map(drop)),
    row!("link from", [LINK_FROM], |p, fd| p.link((fd, "file"), Follow::No, (FULL, "new"))),
    row!("link into", [LINK_INTO], |p, fd| p.link((FULL, "file"), Follow::No, (fd, "new"))),
    row!("rename from", [RENAME_FROM], |p, fd| p.rename((fd, "file"), (FULL, "new"))),
    row!("rename into", [RENAME_INTO], |p, fd| p.rename((FULL, "file"), (fd, "new"))),
    row!("rename within", [RENAME_FROM, RENAME_INTO], |p, fd| p.rename((fd, "file"), (fd, "n"))),
    row!("remove_file", [REMOVE_FILE], |p, fd| p.remove_file(fd, "file")),
    row!("remove_dir", [REMOVE_DIR], |p, fd| p.remove_dir(fd, "empty")),
    row!("read_dir", [LIST], |p, fd| {
        p.read_dir(fd, 0, Dots::With, &mut |_| ControlFlow::Continue(()))
    }),
    row!("dir_stream", [LIST], |p, fd| p.dir_stream(fd).map(drop)),
    row!("stat", [STAT], |p, fd| p.stat(fd).map(drop)),
    row!("set_times", [SET_TIMES], |p, fd| p.set_times(fd, SetTimes::default())),
    row!("sync data", [DATASYNC], |p, fd| p.sync(fd, SyncScope::Data)),
    row!("sync all", [SYNC], |p, fd| p.sync(fd, SyncScope::All)),
    row!("set_status", [SET_STATUS], |p, fd| p.set_status(fd, Status::NONBLOCK)),
];

const READS: (FdRights, Errno) = (FdRights::READ, Errno::Badf);
const WRITES: (FdRights, Errno) = (FdRights::WRITE, Errno::Badf);
const SEEKS: (FdRights, Errno) = (FdRights::SEEK, Errno::Notcapable);

const ON_FILES: &[Row] = &[
    Row {
        call: "read",
        rights: &[READS],
        run: |p, fd| p.read(fd, &mut [IoSliceMut::new(&mut [0])]).map(drop),
    },
    Row {
        call: "read_at",
        rights: &[READS, SEEKS],
        run: |p, fd| p.read_at(fd, &mut [IoSliceMut::new(&mut [0])], 0).map(drop),
    },
    Row {
        call: "read_vec_at",
        rights: &[READS, SEEKS],
        run: |p, fd| p.read_vec_at(fd, &mut Vec::new(), 1, 0).map(drop),
    },
    Row {
        call: "write",
        rights: &[WRITES],
        run: |p, fd| p.write(fd, &[IoSlice::new(b"x")]).map(drop),
    },
    Row {
        call: "write_at",
        rights: &[WRITES, SEEKS],
        run: |p, fd| p.write_at(fd, &[IoSlice::new(b"x")], 0).map(drop),
    },
    Row { call: "reader", rights: &[READS, SEEKS], run: |p, fd| p.reader(fd, 0).map(drop) },
    Row { call: "writer", rights: &[WRITES, SEEKS], run: |p, fd| p.writer(fd, 0).map(drop) },
    Row { call: "appender", rights: &[WRITES], run: |p, fd| p.appender(fd).map(drop) },
    row!("seek", [SEEK], |p, fd| p.seek(fd, 1, Whence::Start).map(drop)),
    row!("seek from the end", [SEEK], |p, fd| p.seek(fd, 0, Whence::End).map(drop)),
    row!("set_len", [SET_LEN], |p, fd| p.set_len(fd, 1)),
    row!("allocate", [ALLOCATE], |p, fd| p.allocate(fd, 0, 1)),
    row!("advise", [ADVISE], |p, fd| p.advise(fd, 0, 1, Advice::Normal)),
    row!("stat", [STAT], |p, fd| p.stat(fd).map(drop)),
    row!("set_times", [SET_TIMES], |p, fd| p.set_times(fd, SetTimes::default())),
    row!("sync data", [DATASYNC], |p, fd| p.sync(fd, SyncScope::Data)),
    row!("sync all", [SYNC], |p, fd| p.sync(fd, SyncScope::All)),
    row!("set_status", [SET_STATUS], |p, fd| p.set_status(fd, Status::APPEND)),
    Row {
        call: "poll to read",
        rights: &[READS, POLLS],
        run: |p, fd| poll(p, Subscription::Read(fd)),
    },
    Row {
        call: "poll to write",
        rights: &[WRITES, POLLS],
        run: |p, fd| poll(p, Subscription::Write(fd)),
    },
];

const POLLS: (FdRights, Errno) = (FdRights::POLL, Errno::Notcapable);

fn poll(process: &mut Process, subscription: Subscription) -> Result<()> {
    process.poll(&[subscription])?[0].result.map(drop)
}

/// Runs each row with exactly its rights, and with all rights but one of them.
fn check(rows: &[Row], all: FdRights, with: impl Fn(FdRights) -> (Process, Fd)) {
    for Row { call, rights, run } in rows {
        let exact = rights.iter().fold(FdRights::empty(), |sum, (right, _)| sum | *right);
        let (mut process, fd) = with(exact);
        assert_eq!(run(&mut process, fd), Ok(()), "{call} with {exact:?}");
        for (right, errno) in *rights {
            let (mut process, fd) = with(all - *right);
            assert_eq!(run(&mut process, fd), Err(*errno), "{call} without {right:?}");
        }
    }
}

#[test]
fn every_call_on_a_directory_takes_exactly_its_rights() {
    // No inheriting rights: an inheriting `SET_LEN` would allow `O_TRUNC`.
    check(ON_DIRS, FdRights::OF_DIRS, |base| (process(base, FdRights::empty()), VARIED));
    // The same after a guest has dropped the other rights itself.
    check(ON_DIRS, FdRights::OF_DIRS, |base| {
        let mut process = process(FdRights::OF_DIRS, FdRights::all());
        process.set_rights(VARIED, base, FdRights::empty()).unwrap();
        (process, VARIED)
    });
}

#[test]
fn every_call_on_a_file_takes_exactly_its_rights() {
    check(ON_FILES, FdRights::OF_FILES, |base| {
        let mut process = process(FdRights::OF_DIRS, FdRights::all());
        let fd = process.open(FULL, "file", asks(base, FdRights::empty())).unwrap();
        (process, fd)
    });
    check(ON_FILES, FdRights::OF_FILES, |base| {
        let mut process = process(FdRights::OF_DIRS, FdRights::all());
        let all = asks(FdRights::OF_FILES, FdRights::empty());
        let fd = process.open(FULL, "file", all).unwrap();
        process.set_rights(fd, base, FdRights::empty()).unwrap();
        (process, fd)
    });
}

#[test]
fn tell_needs_the_right_tell_or_seek() {
    for (rights, wanted) in [
        (FdRights::TELL, Ok(0)),
        (FdRights::SEEK, Ok(0)),
        (FdRights::OF_FILES - FdRights::TELL - FdRights::SEEK, Err(Errno::Notcapable)),
    ] {
        let mut process = process(FdRights::OF_DIRS, FdRights::all());
        let fd = process.open(FULL, "file", asks(rights, FdRights::empty())).unwrap();
        assert_eq!(process.tell(fd), wanted, "{rights:?}");
        assert_eq!(process.seek(fd, 0, Whence::Current), wanted, "{rights:?}");
    }
}

#[test]
fn rights_of_files_and_directories_do_not_mix() {
    let (mut process, byte) = (process(FdRights::OF_DIRS, FdRights::all()), &mut [0]);
    let asked = asks(FdRights::READ | FdRights::SEEK, FdRights::empty());
    let fd = process.open(FULL, "file", asked).unwrap();
    assert_eq!(process.read(fd, &mut [IoSliceMut::new(byte)]), Ok(0));
    assert_eq!(process.write(fd, &[IoSlice::new(b"x")]), Err(Errno::Badf));
    assert_eq!(process.set_len(fd, 0), Err(Errno::Notcapable));
    let dir = process.open(FULL, "dir", asks(FdRights::OF_DIRS, FdRights::all())).unwrap();
    assert_eq!(process.read(dir, &mut [IoSliceMut::new(byte)]), Err(Errno::Isdir));
    assert_eq!(process.write(dir, &[IoSlice::new(b"x")]), Err(Errno::Isdir));
    assert_eq!(process.create_dir(fd, "new"), Err(Errno::Notdir));
}

#[test]
fn open_cannot_request_rights_beyond_inheriting() {
    for right in FdRights::all().iter() {
        let all_but = FdRights::all() - right;
        for name in ["file", "dir"] {
            // With `WRITE`, the open of a directory is `EISDIR`.
            let asks_all =
                all_but - if name == "dir" { FdRights::WRITE } else { FdRights::empty() };
            for (asked, wanted) in [
                (asks(right, FdRights::empty()), Err(Errno::Notcapable)),
                (asks(FdRights::empty(), right), Err(Errno::Notcapable)),
                (asks(asks_all, all_but), Ok(OPENED)),
            ] {
                let mut process = process(FdRights::OF_DIRS, all_but);
                let apart = process.open_pending(VARIED, name, asked).map(drop);
                assert_eq!(apart, wanted.map(drop), "{name} {asked:?}");
                assert_eq!(process.open(VARIED, name, asked), wanted, "{name} {asked:?}");
            }
        }
    }
}

#[test]
fn opened_descriptors_have_the_requested_applicable_rights() {
    for right in FdRights::all().iter() {
        for (name, applicable) in [("file", FdRights::OF_FILES), ("dir", FdRights::OF_DIRS)] {
            let mut process = process(FdRights::OF_DIRS, FdRights::all());
            let opened = process.open(VARIED, name, asks(right, right));
            if name == "dir" && right == FdRights::WRITE {
                assert_eq!(opened, Err(Errno::Isdir));
                continue;
            }
            let fd = opened.unwrap();
            let stat = process.fdstat(fd).unwrap();
            assert_eq!(stat.base(), right & applicable, "{name} {right:?}");
            let passed_on = if name == "dir" { right } else { FdRights::empty() };
            assert_eq!(stat.inheriting(), passed_on, "{name} {right:?}");
        }
    }
}

#[test]
fn open_with_inherited_rights_gets_the_inheriting_rights() {
    let passed_on = FdRights::READ | FdRights::SEEK | FdRights::LIST | FdRights::OPEN;
    let asked = OpenRequest { rights: RightsRequest::Inherited, ..asks(NO_RIGHTS.0, NO_RIGHTS.1) };
    for (name, applicable) in [("file", FdRights::OF_FILES), ("dir", FdRights::OF_DIRS)] {
        let mut process = process(FdRights::OF_DIRS, passed_on);
        let fd = process.open(VARIED, name, asked).unwrap();
        assert_eq!(process.fdstat(fd).unwrap().base(), passed_on & applicable, "{name}");
    }
}

#[test]
fn open_by_modes_is_bounded_by_inheriting_rights() {
    let (reads, writes) = (FdRights::READ | FdRights::LIST, FdRights::WRITE);
    let asked =
        |modes| OpenRequest { rights: RightsRequest::For(modes), ..asks(NO_RIGHTS.0, NO_RIGHTS.1) };
    for (modes, needed) in
        [(Modes::READ, reads), (Modes::WRITE, writes), (Modes::MUTATE, FdRights::MUTATING)]
    {
        let mut process = process(FdRights::OF_DIRS, FdRights::all() - needed);
        assert_eq!(process.open(VARIED, "file", asked(modes)), Err(Errno::Notcapable), "{modes:?}");
    }
    let passed_on = FdRights::READ | FdRights::WRITE | FdRights::STAT;
    let mut process = process(FdRights::OF_DIRS, passed_on);
    let file = process.open(VARIED, "file", asked(Modes::READ)).unwrap();
    assert_eq!(process.fdstat(file).unwrap().base(), FdRights::READ | FdRights::STAT);
    let file = process.open(VARIED, "file", asked(Modes::READ | Modes::WRITE)).unwrap();
    assert_eq!(process.fdstat(file).unwrap().base(), passed_on);
    let dir = process.open(VARIED, "dir", asked(Modes::READ)).unwrap();
    assert_eq!(process.fdstat(dir).unwrap().base(), FdRights::STAT);
    assert_eq!(process.fdstat(dir).unwrap().inheriting(), FdRights::READ | FdRights::STAT);
}

#[test]
fn open_with_sync_flags_needs_sync_rights() {
    let both = FdRights::DATASYNC | FdRights::SYNC;
    for (status, right) in [
        (Status::DSYNC, FdRights::DATASYNC),
        (Status::SYNC, FdRights::SYNC),
        (Status::RSYNC, FdRights::SYNC),
    ] {
        for (base, inheriting, wanted) in [
            (FdRights::OF_DIRS - right, FdRights::all() - right, Err(Errno::Notcapable)),
            ((FdRights::OF_DIRS - both) | right, FdRights::all() - both, Ok(OPENED)),
            (FdRights::OF_DIRS - both, (FdRights::all() - both) | right, Ok(OPENED)),
        ] {
            let mut process = process(base, inheriting);
            let asked = OpenRequest { status, ..asks(FdRights::READ, FdRights::empty()) };
            assert_eq!(process.open(VARIED, "file", asked), wanted, "{status:?} {base:?}");
        }
    }
}

#[test]
fn set_rights_drops_truncation_by_inheriting_set_len() {
    let truncate = |process: &mut Process| open_flags(process, "file", OpenFlags::TRUNCATE);
    let base = FdRights::OF_DIRS - FdRights::SET_LEN_AT;
    let mut process = process(base, FdRights::all());
    assert_eq!(truncate(&mut process), Ok(()));
    process.set_rights(VARIED, base, FdRights::all()).unwrap();
    assert_eq!(truncate(&mut process), Err(Errno::Notcapable));
}

#[test]
fn set_rights_reduces_but_never_extends() {
    for right in FdRights::all().iter() {
        let (base, inheriting) = (FdRights::OF_DIRS - right, FdRights::all() - right);
        let mut process = process(base, inheriting);
        for (base, inheriting) in [(base | right, inheriting), (base, inheriting | right)] {
            let gained = process.set_rights(VARIED, base, inheriting);
            assert_eq!(gained, Err(Errno::Notcapable), "{right:?}");
        }
        let stat = process.fdstat(VARIED).unwrap();
        assert_eq!((stat.base(), stat.inheriting()), (base, inheriting), "{right:?}");
        let (base, inheriting) = (base & right.complement(), FdRights::READ & inheriting);
        process.set_rights(VARIED, base, inheriting).unwrap();
        let stat = process.fdstat(VARIED).unwrap();
        assert_eq!((stat.base(), stat.inheriting()), (base, inheriting), "{right:?}");
    }
    let mut process = process(FdRights::OF_DIRS, FdRights::all());
    assert_eq!(process.set_rights(99, FdRights::empty(), FdRights::empty()), Err(Errno::Badf));
}

#[test]
fn duplicates_have_the_rights_of_the_descriptor() {
    let base = FdRights::OPEN | FdRights::STAT_AT;
    let mut process = process(base, FdRights::READ);
    let fd = process.duplicate(VARIED).unwrap();
    let stat = process.fdstat(fd).unwrap();
    assert_eq!((stat.base(), stat.inheriting()), (base, FdRights::READ));
    assert_eq!(process.create_dir(fd, "new"), Err(Errno::Notcapable));
    assert_eq!(process.preopen_name(fd), Err(Errno::Badf));
    process.set_rights(fd, FdRights::empty(), FdRights::empty()).unwrap();
    assert_eq!(process.fdstat(VARIED).unwrap().base(), base);
}

#[test]
fn standard_streams_are_unidirectional() {
    let config = Config::builder()
        .stdin(Input::bytes(b"in".to_vec()))
        .stdout(Output::null())
        .stderr(Output::null())
        .build()
        .unwrap();
    let process = config.start();
    let mut byte = [0];
    assert_eq!(process.read(0, &mut [IoSliceMut::new(&mut byte)]), Ok(1));
    assert_eq!(process.write(0, &[IoSlice::new(b"x")]), Err(Errno::Badf));
    for fd in [1, 2] {
        assert_eq!(process.read(fd, &mut [IoSliceMut::new(&mut byte)]), Err(Errno::Badf));
        assert_eq!(process.write(fd, &[IoSlice::new(b"x")]), Ok(1));
    }
    for fd in 0..3 {
        assert_eq!(process.fdstat(fd).unwrap().inheriting(), FdRights::empty());
        assert_eq!(process.set_len(fd, 0), Err(Errno::Inval));
        assert_eq!(process.seek(fd, 1, Whence::Start), Err(Errno::Spipe));
        assert_eq!(process.stat_at(fd, "file", Follow::Yes), Err(Errno::Notdir));
    }
}

/// Calls on a descriptor that need no right, or have a test of their own above.
const NO_ROW: &[&str] = &["tell", "kind", "is_stream_of", "is_same_object"];

/// Fails for a new call without a row.
#[test]
fn every_call_on_a_descriptor_has_a_row() {
    let sources = [
        include_str!("../path_calls.rs"),
        include_str!("../file_calls.rs"),
        include_str!("../streams.rs"),
    ];
    let mut count = 0;
    for signature in sources.iter().flat_map(|source| source.split("pub fn ").skip(1)) {
        let signature = signature.split(" {\n").next().unwrap();
        let name = signature.split(['(', '<']).next().unwrap();
        if !signature.contains("Fd,") && !signature.contains("Fd)") || NO_ROW.contains(&name) {
            continue;
        }
        count += 1;
        let has_row = ON_DIRS.iter().chain(ON_FILES).any(|row| {
            row.call == name
                || row.call.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '))
        });
        assert!(has_row, "no row for `{name}`");
    }
    assert!(count > 25, "only {count} calls were found");
}
