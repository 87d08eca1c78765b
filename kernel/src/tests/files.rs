//! Tests of offsets, lengths and status flags of open files.

// The tests inspect the host's filesystem and `/proc`.
#![allow(clippy::disallowed_methods)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use palisade_vfs::{
    Access, Advice, Descent, DirRef, Errno, FileType, Follow, MemFs, OpenFlags, OpenHow, Result,
    SetTime, SetTimes, Stop, SyncScope, Timestamp, path,
};

use crate::{
    Config, Fd, FdRights, Input, OpenRequest, Output, Process, RightsRequest, Status, Whence,
};

const DIR: Fd = 3;
const LAST: u64 = i64::MAX.unsigned_abs();

/// Starts a process with a file of these bytes and an empty directory.
fn process(bytes: &[u8]) -> (Process, DirRef) {
    let root = MemFs::new().root();
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let file = path::open(&*root, "file", Follow::Yes, how).unwrap().into_file().unwrap();
    file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
    path::create_dir(&*root, "dir").unwrap();
    (Config::builder().preopen("/", root.clone()).build().unwrap().start(), root)
}

fn open(process: &mut Process, name: &str, status: Status) -> Fd {
    let (base, inheriting) = (FdRights::all() - FdRights::WRITE, FdRights::empty());
    let base = if name == "dir" { base } else { FdRights::all() };
    let rights = RightsRequest::Exactly { base, inheriting };
    let asked = OpenRequest { follow: Follow::Yes, flags: OpenFlags::empty(), status, rights };
    process.open(DIR, name, asked).unwrap()
}

fn read(process: &Process, fd: Fd, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let done = process.read(fd, &mut [IoSliceMut::new(&mut bytes)]).unwrap();
    bytes.truncate(done);
    bytes
}

fn write(process: &Process, fd: Fd, bytes: &[u8]) -> Result<usize> {
    process.write(fd, &[IoSlice::new(bytes)])
}

/// Returns the contents of the file, read through a new handle.
fn content(root: &DirRef) -> Vec<u8> {
    let file = path::open(&**root, "file", Follow::Yes, OpenHow::READ).unwrap();
    let mut bytes = Vec::new();
    file.into_file().unwrap().read_vec(&mut bytes, 64, 0).unwrap();
    bytes
}

#[test]
fn reads_and_writes_advance_the_offset() {
    let (mut process, root) = process(b"0123456789");
    let fd = open(&mut process, "file", Status::empty());
    assert_eq!(process.tell(fd), Ok(0));
    assert_eq!(read(&process, fd, 4), b"0123");
    assert_eq!(process.tell(fd), Ok(4));
    assert_eq!(write(&process, fd, b"ab"), Ok(2));
    assert_eq!(process.tell(fd), Ok(6));
    assert_eq!(read(&process, fd, 64), b"6789");
    assert_eq!(process.tell(fd), Ok(10));
    assert_eq!(read(&process, fd, 64), b"");
    assert_eq!(content(&root), b"0123ab6789");
}

#[test]
fn duplicates_share_the_offset_and_the_status() {
    let (mut process, _root) = process(b"0123456789");
    let fd = open(&mut process, "file", Status::empty());
    let twin = process.duplicate(fd).unwrap();
    let other = open(&mut process, "file", Status::empty());
    assert_eq!(read(&process, fd, 3), b"012");
    assert_eq!(read(&process, twin, 3), b"345");
    assert_eq!((process.tell(fd), process.tell(other)), (Ok(6), Ok(0)));
    process.set_status(twin, Status::APPEND).unwrap();
    assert_eq!(process.fdstat(fd).unwrap().status(), Status::APPEND);
    assert_eq!(process.fdstat(other).unwrap().status(), Status::empty());
}

#[test]
fn pread_and_pwrite_keep_the_offset() {
    let (mut process, root) = process(b"0123456789");
    let fd = open(&mut process, "file", Status::empty());
    assert_eq!(process.seek(fd, 2, Whence::Start), Ok(2));
    let mut bytes = [0; 3];
    assert_eq!(process.read_at(fd, &mut [IoSliceMut::new(&mut bytes)], 5), Ok(3));
    assert_eq!(&bytes, b"567");
    assert_eq!(process.write_at(fd, &[IoSlice::new(b"xy")], 8), Ok(2));
    assert_eq!(process.tell(fd), Ok(2));
    assert_eq!(content(&root), b"01234567xy");
}

#[test]
fn appends_go_to_the_end_and_the_offset_after_them() {
    let (mut process, root) = process(b"01");
    let fd = open(&mut process, "file", Status::APPEND);
    let other = open(&mut process, "file", Status::empty());
    assert_eq!(process.seek(other, 0, Whence::End), Ok(2));
    assert_eq!(write(&process, other, b"23"), Ok(2));
    assert_eq!(write(&process, fd, b"ab"), Ok(2));
    // The next read starts after the appended bytes, at the end of the file.
    assert_eq!(process.tell(fd), Ok(6));
    assert_eq!(read(&process, fd, 9), b"");
    assert_eq!(process.seek(fd, 1, Whence::Start), Ok(1));
    assert_eq!(write(&process, fd, b""), Ok(0));
    assert_eq!(process.tell(fd), Ok(1), "nothing was appended");
    assert_eq!(process.write_at(fd, &[IoSlice::new(b"cd")], 0), Ok(2));
    assert_eq!(process.tell(fd), Ok(1), "a write at an offset moves nothing");
    assert_eq!(content(&root), b"0123abcd");
    process.set_status(fd, Status::empty()).unwrap();
    assert_eq!(write(&process, fd, b"X"), Ok(1));
    assert_eq!(content(&root), b"0X23abcd");
}

#[test]
fn seeks_count_from_the_start_the_offset_and_the_end() {
    let (mut process, _root) = process(b"0123456789");
    let fd = open(&mut process, "file", Status::empty());
    for (delta, whence, wanted) in [
        (3, Whence::Start, Ok(3)),
        (2, Whence::Current, Ok(5)),
        (-1, Whence::Current, Ok(4)),
        (0, Whence::Current, Ok(4)),
        (-3, Whence::End, Ok(7)),
        (5, Whence::End, Ok(15)),
        (-16, Whence::Current, Err(Errno::Inval)),
        (-11, Whence::End, Err(Errno::Inval)),
        (-1, Whence::Start, Err(Errno::Inval)),
        (0, Whence::Current, Ok(15)),
        (i64::MAX, Whence::Start, Ok(LAST)),
        (1, Whence::Current, Err(Errno::Inval)),
        (i64::MAX, Whence::End, Err(Errno::Inval)),
        (0, Whence::Current, Ok(LAST)),
    ] {
        assert_eq!(process.seek(fd, delta, whence), wanted, "{delta} {whence:?}");
    }
}

#[test]
fn offsets_and_lengths_are_bounded_by_i64_max() {
    let (mut process, _root) = process(b"0123456789");
    let fd = open(&mut process, "file", Status::empty());
    for (offset, wanted) in
        [(LAST, Ok(0)), (LAST + 1, Err(Errno::Inval)), (u64::MAX, Err(Errno::Inval))]
    {
        let mut byte = [0];
        let read = process.read_at(fd, &mut [IoSliceMut::new(&mut byte)], offset);
        assert_eq!(read, wanted, "read at {offset}");
        assert_eq!(process.write_at(fd, &[], offset), wanted, "write at {offset}");
        assert_eq!(process.reader(fd, offset).map(drop), wanted.map(drop), "reader {offset}");
        assert_eq!(process.writer(fd, offset).map(drop), wanted.map(drop), "writer {offset}");
        for (at, len) in [(offset, 1), (0, offset)] {
            let advised = process.advise(fd, at, len, Advice::Normal);
            assert_eq!(advised, wanted.map(drop), "advise {at} {len}");
        }
    }
    for len in [LAST + 1, u64::MAX] {
        assert_eq!(process.set_len(fd, len), Err(Errno::Fbig), "{len}");
    }
    assert_eq!(process.set_len(fd, LAST), Ok(()), "a hole takes no memory");
    assert_eq!(process.allocate(fd, LAST - 1, 2), Err(Errno::Fbig));
    assert_eq!(process.set_len(fd, 10), Ok(()));
    assert_eq!(process.allocate(fd, 0, 0), Err(Errno::Inval));
    assert_eq!(process.allocate(fd, LAST, 1), Err(Errno::Fbig));
    assert_eq!(process.allocate(fd, u64::MAX, 2), Err(Errno::Fbig));
    assert_eq!(process.allocate(fd, 8, 4), Ok(()));
    assert_eq!(process.seek(fd, 0, Whence::End), Ok(12));
}

#[test]
fn lengths_and_times_are_set_on_the_file() {
    let (mut process, root) = process(b"0123456789");
    let fd = open(&mut process, "file", Status::empty());
    process.set_len(fd, 4).unwrap();
    assert_eq!(content(&root), b"0123");
    let stat = process.stat(fd).unwrap();
    assert_eq!((stat.kind, stat.size), (FileType::File, 4));
    let dir = open(&mut process, "dir", Status::empty());
    assert_eq!(process.stat(dir).unwrap().kind, FileType::Dir);
    let at = Timestamp::new(77, 5);
    let times = SetTimes { accessed: SetTime::Keep, modified: SetTime::At(at) };
    for (fd, name) in [(fd, "file"), (dir, "dir")] {
        process.set_times(fd, times).unwrap();
        let seen = root.stat(Descent::new(name).unwrap()).unwrap_or_else(|_: Stop| panic!());
        assert_eq!(seen.modified, at, "{name}");
        assert_eq!(process.kind(fd), Ok(seen.kind));
    }
    assert_eq!(process.kind(99), Err(Errno::Badf));
}

#[test]
fn set_status_changes_append_and_nonblock_only() {
    let (mut process, _root) = process(b"");
    let fd = open(&mut process, "file", Status::DSYNC);
    assert_eq!(process.fdstat(fd).unwrap().status(), Status::DSYNC);
    assert_eq!(process.set_status(fd, Status::empty()), Err(Errno::Inval));
    assert_eq!(process.set_status(fd, Status::DSYNC | Status::SYNC), Err(Errno::Inval));
    let changed = Status::DSYNC | Status::APPEND | Status::NONBLOCK;
    assert_eq!(process.set_status(fd, changed), Ok(()));
    assert_eq!(process.fdstat(fd).unwrap().status(), changed);
}

#[test]
fn file_calls_on_streams_fail() {
    let (output, buffer) = Output::buffer(64);
    let process = Config::builder().stdout(output).build().unwrap().start();
    assert_eq!(write(&process, 1, b"out"), Ok(3));
    assert_eq!(buffer.contents(), b"out");
    for scope in [SyncScope::Data, SyncScope::All] {
        assert_eq!(process.sync(1, scope), Err(Errno::Inval));
    }
    assert_eq!(process.set_times(1, SetTimes::default()), Err(Errno::Notcapable));
    assert_eq!(process.allocate(1, 0, 1), Err(Errno::Spipe));
    assert_eq!(process.advise(1, 0, 1, Advice::Normal), Err(Errno::Spipe));
    assert_eq!(process.advise(99, 0, 1, Advice::Normal), Err(Errno::Badf));
    assert_eq!(process.tell(1), Err(Errno::Spipe));
    let numbers: Vec<_> = (0..3).map(|fd| process.stat(fd).unwrap().ino).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn advise_on_a_directory_is_ebadf() {
    let (mut process, _root) = process(b"");
    let dir = open(&mut process, "dir", Status::empty());
    assert_eq!(process.advise(dir, 0, 0, Advice::Normal), Err(Errno::Badf));
}

#[test]
fn may_block_depends_on_the_backend() {
    let (mut process, _root) = process(b"");
    let fd = open(&mut process, "file", Status::empty());
    assert!(!process.may_block(fd) && !process.may_block(DIR), "memory never waits");
    let temp = tempfile::tempdir().unwrap();
    let host = palisade_vfs::HostDir::open_ambient(temp.path()).unwrap();
    let process = Config::builder().preopen("/", host).build().unwrap().start();
    assert!(process.may_block(DIR), "a disk may wait");
}

#[test]
fn read_vec_at_appends_and_keeps_the_offset() {
    let (mut process, _root) = process(b"0123456789");
    let fd = open(&mut process, "file", Status::empty());
    let mut bytes = b"before ".to_vec();
    assert_eq!(process.read_vec_at(fd, &mut bytes, 3, 4), Ok(3));
    assert_eq!(bytes, b"before 456");
    assert_eq!(process.tell(fd), Ok(0));
    assert_eq!(process.read_vec_at(fd, &mut bytes, 3, LAST), Ok(0));
    assert_eq!(process.read_vec_at(fd, &mut bytes, 3, LAST + 1), Err(Errno::Inval));
}

/// Returns the open flags of each host descriptor of `path`, from `/proc/self/fdinfo`.
#[cfg(target_os = "linux")]
fn host_flags(path: &std::path::Path) -> Vec<u32> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|target| target == path) {
            let info = std::path::Path::new("/proc/self/fdinfo").join(entry.file_name());
            let info = std::fs::read_to_string(info).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            all.push(u32::from_str_radix(flags.trim(), 8).unwrap());
        }
    }
    all
}

#[cfg(target_os = "linux")]
#[test]
fn status_flags_of_an_open_reach_the_host() {
    const APPEND: u32 = 0o2000;
    const DSYNC: u32 = 0o10_000;
    const SYNC: u32 = 0o4_010_000;
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().canonicalize().unwrap().join("file");
    std::fs::write(&at, "").unwrap();
    let host = palisade_vfs::HostDir::open_ambient(temp.path()).unwrap();
    let mut process = Config::builder().preopen("/", host).build().unwrap().start();
    for (status, wanted) in [
        (Status::empty(), 0),
        (Status::APPEND, APPEND),
        (Status::DSYNC, DSYNC),
        (Status::SYNC, SYNC),
        (Status::RSYNC, SYNC),
        (Status::APPEND | Status::SYNC, APPEND | SYNC),
        (Status::NONBLOCK, 0),
    ] {
        let fd = open(&mut process, "file", status);
        assert!(process.may_block(fd));
        let flags = host_flags(&at);
        let [flags] = flags.as_slice() else { panic!("{status:?}: {flags:?}") };
        // `O_SYNC` includes the bit of `O_DSYNC`.
        assert_eq!(flags & wanted, wanted, "{status:?}");
        assert_eq!(flags & APPEND, wanted & APPEND, "{status:?}");
        assert_eq!(flags & DSYNC, wanted & DSYNC, "{status:?}");
        process.close(fd).unwrap();
        let asked = OpenRequest {
            follow: Follow::Yes,
            flags: OpenFlags::empty(),
            status,
            rights: RightsRequest::Inherited,
        };
        let opened = process.open_pending(DIR, "file", asked).unwrap();
        assert!(opened.may_block());
        assert_eq!(process.open_descriptors(), 4, "it is in no table yet");
        let fd = process.install(opened).unwrap();
        assert_eq!(process.fdstat(fd).unwrap().status(), status);
        process.close(fd).unwrap();
    }
    let (process, _root) = self::process(b"");
    let asked = OpenRequest {
        follow: Follow::Yes,
        flags: OpenFlags::empty(),
        status: Status::empty(),
        rights: RightsRequest::Inherited,
    };
    assert!(!process.open_pending(DIR, "file", asked).unwrap().may_block());
}

#[test]
fn renumber_moves_a_descriptor_and_closes_the_target() {
    let (mut process, _root) = process(b"0123456789");
    let (one, other) =
        (open(&mut process, "file", Status::empty()), open(&mut process, "dir", Status::empty()));
    process.renumber(one, other).unwrap();
    assert_eq!(process.kind(other), Ok(FileType::File));
    assert_eq!(process.kind(one), Err(Errno::Badf));
    assert_eq!(process.renumber(one, other), Err(Errno::Badf));
    assert_eq!(process.renumber(other, one), Err(Errno::Badf), "the target must be open");
    assert_eq!(read(&process, other, 2), b"01");
    process.close(other).unwrap();
    assert_eq!(process.close(other), Err(Errno::Badf));
}

#[test]
fn random_bytes_per_call_are_bounded() {
    let limits = crate::Limits { random_bytes_max: 8, ..crate::Limits::default() };
    let mut process = Config::builder().limits(limits).build().unwrap().start();
    for (len, wanted) in
        [(0, Ok(())), (7, Ok(())), (8, Ok(())), (9, Err(Errno::Inval)), (99, Err(Errno::Inval))]
    {
        assert_eq!(process.random(&mut vec![0; len]), wanted, "{len}");
    }
}

#[test]
fn process_has_the_configured_preopens_and_clock() {
    let (one, other) = (MemFs::new().root(), MemFs::new().root());
    let clock = crate::Clock::Fixed { realtime_ns: 1_000, step_ns: 10 };
    let config = Config::builder().preopen("/one", one).preopen("/other", other).clock(clock);
    let mut process = config.build().unwrap().start();
    let preopens: Vec<_> = process.preopens().collect();
    assert_eq!(preopens, [(3, "/one"), (4, "/other")]);
    assert_eq!(process.preopen_name(4), Ok("/other"));
    let first = process.clock_now_ns(crate::ClockId::Realtime).unwrap();
    let second = process.clock_now_ns(crate::ClockId::Realtime).unwrap();
    assert!((1_000..1_100).contains(&first) && second == first + 10, "{first} {second}");
    assert!(process.clock_resolution_ns(crate::ClockId::Realtime).unwrap() > 0);
    // Times of files are set from the fixed clock too.
    process.create_dir(3, "new").unwrap();
    let times = SetTimes { accessed: SetTime::Now, modified: SetTime::Now };
    process.set_times_at(3, "new", Follow::Yes, times).unwrap();
    assert_eq!(process.stat_at(3, "new", Follow::Yes).unwrap().modified.seconds(), 0);
    assert_eq!(process.open_descriptors(), 5);
    process.close_all();
    assert_eq!(process.open_descriptors(), 0);
    assert_eq!(process.preopens().count(), 0);
}

#[test]
fn streams_are_counted_until_they_are_dropped() {
    let (mut process, _root) = process(b"0123");
    let fd = open(&mut process, "file", Status::empty());
    let dir = open(&mut process, "dir", Status::empty());
    assert_eq!(process.open_streams(), 0);
    let (reader, writer) = (process.reader(fd, 0).unwrap(), process.writer(fd, 0).unwrap());
    let (appender, entries) = (process.appender(fd).unwrap(), process.dir_stream(dir).unwrap());
    assert_eq!(process.open_streams(), 4);
    process.close(fd).unwrap();
    process.close(dir).unwrap();
    assert_eq!(process.open_streams(), 4);
    drop((reader, writer));
    assert_eq!(process.open_streams(), 2);
    drop((appender, entries));
    assert_eq!(process.open_streams(), 0);
}

/// The interrupt is raised before, so that a read that waits fails instead of hanging.
#[test]
fn only_a_read_with_a_buffer_waits_for_input() {
    let (input, _writer) = std::io::pipe().unwrap();
    let input = Input::file(OwnedFd::from(input).into());
    let process = Config::builder().stdin(input).build().unwrap().start();
    process.interrupt().raise();
    let read = |len| process.read(0, &mut [IoSliceMut::new(&mut vec![0; len])]);
    assert_eq!(read(0), Ok(0));
    assert_eq!(read(1), Err(Errno::Intr));
}
