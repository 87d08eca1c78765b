//! Tests of invalid handles, extreme lengths and limits: errors or traps, no panics, no leaks.

use palisade_kernel::{Config, Exit, Limits};
use palisade_policy::{Quota, QuotaGroup};
use palisade_preview2::PalisadeView as _;
use palisade_vfs::{DirRef, Errno, HostDir, MemFs};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::environment::Host as _;
use wasmtime_wasi::p2::bindings::cli::exit::Host as _;
use wasmtime_wasi::p2::bindings::cli::{stderr::Host as _, stdin::Host as _, stdout::Host as _};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::random::random::Host as _;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    Advice, DescriptorFlags, ErrorCode, HostDescriptor, HostDirectoryEntryStream, NewTimestamp,
    OpenFlags,
};
use wasmtime_wasi::p2::bindings::sync::io::poll::HostPollable as _;

use crate::world::{Answer, FOLLOW, READ, WRITE, World, each, fd, no_flags, no_follow};

#[test]
fn closed_descriptors_are_errors_in_every_function() {
    let mut w = World::over(MemFs::new().root());
    let s = || "f".to_owned();
    let keep = NewTimestamp::NoChange;
    let none = DescriptorFlags::empty();
    for n in [900, 1024, u32::MAX] {
        let bad = Err(ErrorCode::BadDescriptor);
        assert_eq!(w.call(|v| v.advise(fd(n), 0, 0, Advice::Normal)), bad);
        for answer in [
            w.call(|v| v.sync(fd(n))),
            w.call(|v| v.sync_data(fd(n))),
            w.call(|v| v.set_size(fd(n), 0)),
            w.call(|v| v.set_times(fd(n), keep, keep)),
            w.call(|v| v.create_directory_at(fd(n), s())),
            w.call(|v| v.set_times_at(fd(n), FOLLOW, s(), keep, keep)),
            w.call(|v| v.link_at(fd(n), no_follow(), s(), fd(n), s())),
            w.call(|v| v.remove_directory_at(fd(n), s())),
            w.call(|v| v.rename_at(fd(n), s(), fd(n), s())),
            w.call(|v| v.symlink_at(fd(n), s(), s())),
            w.call(|v| v.unlink_file_at(fd(n), s())),
            w.call(|v| v.read_via_stream(fd(n), 0)).map(drop),
            w.call(|v| v.write_via_stream(fd(n), 0)).map(drop),
            w.call(|v| v.append_via_stream(fd(n))).map(drop),
            w.call(|v| v.get_flags(fd(n))).map(drop),
            w.call(|v| v.get_type(fd(n))).map(drop),
            w.call(|v| v.read(fd(n), 1, 0)).map(drop),
            w.call(|v| v.write(fd(n), vec![], 0)).map(drop),
            w.call(|v| v.read_directory(fd(n))).map(drop),
            w.call(|v| v.stat(fd(n))).map(drop),
            w.call(|v| v.stat_at(fd(n), FOLLOW, s())).map(drop),
            w.call(|v| v.open_at(fd(n), FOLLOW, s(), no_flags(), none)).map(drop),
            w.call(|v| v.readlink_at(fd(n), s())).map(drop),
            w.call(|v| v.metadata_hash(fd(n))).map(drop),
            w.call(|v| v.metadata_hash_at(fd(n), FOLLOW, s())).map(drop),
        ] {
            assert_eq!(answer, bad);
        }
        assert!(w.palisade().is_same_object(fd(n), fd(n)).is_err());
        assert!(HostDescriptor::drop(&mut w.palisade(), fd(n)).is_err());
        let entries = Resource::new_own(n);
        assert!(w.palisade().read_directory_entry(entries).is_err());
        assert!(drop_entries(&mut w, n).is_err());
    }
}

fn drop_entries(w: &mut World, n: u32) -> wasmtime::Result<()> {
    HostDirectoryEntryStream::drop(&mut w.palisade(), Resource::new_own(n))
}

#[test]
fn resource_handles_are_typed() {
    let mut w = World::over(MemFs::new().root());
    let root = w.root;
    w.put("f", b"x");
    let f = w.open(root, "f", no_flags(), READ).unwrap();
    let stream = w.input(f, 0).unwrap();
    // The handle of an input stream as a directory stream.
    assert!(w.palisade().read_directory_entry(Resource::new_own(stream.rep())).is_err());
    let entries = w.call(|v| v.read_directory(fd(root))).unwrap().rep();
    let alias: Resource<wasmtime_wasi::p2::DynInputStream> = Resource::new_borrow(entries);
    assert!(w.table.get_mut(&alias).is_err());
    drop_entries(&mut w, entries).unwrap();
    assert!(drop_entries(&mut w, entries).is_err(), "twice");
}

#[test]
fn dropped_descriptors_keep_streams_and_leak_nothing() {
    each(|mut w| {
        w.mkdir("d").unwrap();
        w.put("d/f", b"content");
        let before = w.ctx.process().open_descriptors();
        let d = w.open(w.root, "d", no_flags(), READ).unwrap();
        let f = w.open(d, "f", no_flags(), READ).unwrap();
        let stream = w.input(f, 0).unwrap();
        let entries = w.call(|v| v.read_directory(fd(d))).unwrap();
        for file in [d, f] {
            w.close(file);
            assert!(HostDescriptor::drop(&mut w.palisade(), fd(file)).is_err(), "twice");
        }
        assert_eq!(w.ctx.process().open_descriptors(), before);
        assert_eq!(&w.read(&stream, 100).unwrap()[..], b"content");
        let first = w.call(|v| v.read_directory_entry(Resource::new_borrow(entries.rep())));
        assert_eq!(first.unwrap().unwrap().name, "f");
        w.table.delete(stream).unwrap();
        drop_entries(&mut w, entries.rep()).unwrap();
        assert!(w.table.is_empty());
    });
}

#[test]
fn extreme_lengths_and_offsets_are_bounded() {
    each(|mut w| {
        w.put("f", b"content");
        let f = w.open(w.root, "f", no_flags(), READ | DescriptorFlags::WRITE).unwrap();
        let read = |w: &mut World, len, offset| w.call(|v| v.read(fd(f), len, offset));
        assert_eq!(read(&mut w, u64::MAX, 0), Ok((b"content".to_vec(), false)));
        assert_eq!(read(&mut w, u64::MAX, 7), Ok((vec![], true)));
        assert_eq!(read(&mut w, u64::MAX, i64::MAX as u64), Ok((vec![], true)));
        assert_eq!(read(&mut w, 1, u64::MAX), Err(ErrorCode::Invalid));
        assert_eq!(read(&mut w, 0, 0), Ok((vec![], false)));
        let write = |w: &mut World, offset| w.call(|v| v.write(fd(f), vec![1, 2], offset));
        assert_eq!(write(&mut w, u64::MAX), Err(ErrorCode::Invalid));
        assert_eq!(write(&mut w, i64::MAX as u64), Err(ErrorCode::FileTooLarge));
        assert_eq!(w.get("f"), b"content");
    });
}

#[test]
fn descriptors_and_resources_are_bounded() {
    let mut w = World::small(8);
    w.put("f", b"x");
    let mut open = vec![];
    let refusal = loop {
        match w.open(w.root, "f", no_flags(), READ) {
            Ok(file) => open.push(file),
            Err(code) => break code,
        }
    };
    assert_eq!(refusal, ErrorCode::InsufficientMemory);
    assert!(w.open(w.root, "new", OpenFlags::CREATE, READ).is_err());
    assert_eq!(w.lstat("new").map(drop), Err(ErrorCode::NoEntry), "nothing was created for it");
    let full = w.ctx.process().open_descriptors();
    assert!(w.palisade().get_directories().is_err());
    assert_eq!(w.ctx.process().open_descriptors(), full);
}

/// Opens a stream of a file or directory descriptor.
type MakeStream = fn(&mut World, u32, u32) -> Answer<u32>;

/// Creates a guest with a limit of four streams.
fn few_streams(dir: DirRef) -> World {
    let limits = Limits { streams_max: 4, ..Limits::default() };
    World::of(Config::builder().preopen("/", dir).limits(limits))
}

#[test]
fn streams_count_until_they_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    for root in [MemFs::new().root(), HostDir::open_ambient(dir.path()).unwrap()] {
        let mut w = few_streams(root);
        w.put("f", b"x");
        let root = w.root;
        let makers: [MakeStream; 4] = [
            |w, f, _| w.input(f, 0).map(|stream| stream.rep()),
            |w, f, _| w.output(f, 0).map(|stream| stream.rep()),
            |w, f, _| w.call(|v| v.append_via_stream(fd(f))).map(|stream| stream.rep()),
            |w, _, root| w.call(|v| v.read_directory(fd(root))).map(|entries| entries.rep()),
        ];
        for (kind, make) in makers.iter().enumerate() {
            w.table = ResourceTable::new();
            for _ in 0..4 {
                let f = w.open(root, "f", no_flags(), READ | WRITE).unwrap();
                make(&mut w, f, root).unwrap();
                w.close(f);
            }
            assert_eq!(w.ctx.process().open_streams(), 4, "{kind}: the descriptors are closed");
            let f = w.open(root, "f", no_flags(), READ | WRITE).unwrap();
            for make in makers {
                assert_eq!(make(&mut w, f, root), Err(ErrorCode::InsufficientMemory), "{kind}");
            }
            assert_eq!(w.call(|v| v.read(fd(f), 1, 0)), Ok((b"x".to_vec(), false)));
            assert_eq!(w.call(|v| v.write(fd(f), b"x".to_vec(), 0)), Ok(1));
            w.close(f);
        }
        w.table = ResourceTable::new();
        assert_eq!(w.ctx.process().open_streams(), 0);
    }
}

#[test]
fn quota_counts_a_directory_held_by_a_stream() {
    let group = QuotaGroup::new(Quota { descriptors: Some(3), ..Quota::default() });
    let mut w = World::over(group.guard(MemFs::new().root()).unwrap());
    w.mkdir("d").unwrap();
    let root = w.root;
    for _ in 0..3 {
        let d = w.open(root, "d", OpenFlags::DIRECTORY, READ).unwrap();
        w.call(|v| v.read_directory(fd(d))).unwrap();
        w.close(d);
    }
    let open = |w: &mut World| w.open(root, "d", OpenFlags::DIRECTORY, READ);
    assert_eq!(open(&mut w), Err(ErrorCode::InsufficientMemory));
    w.table = ResourceTable::new();
    assert!(open(&mut w).is_ok());
}

#[test]
fn timers_and_pollables_share_streams_max() {
    let mut w = few_streams(MemFs::new().root());
    w.put("f", b"x");
    let f = w.open(w.root, "f", no_flags(), READ).unwrap();
    // A timer uses two resources: the sleep and its pollable.
    for _ in 0..w.ctx.resources_max() / 2 {
        w.palisade().subscribe_duration(1).unwrap();
    }
    for error in [
        w.palisade().subscribe_duration(1).map(drop),
        w.palisade().subscribe_instant(1).map(drop),
        w.palisade().get_stdin().map(drop),
        w.palisade().get_stdout().map(drop),
        w.palisade().get_stderr().map(drop),
    ] {
        let text = format!("{:#}", error.unwrap_err());
        assert!(text.contains("limit of 4 streams"), "{text}");
    }
    let refused = Err(ErrorCode::InsufficientMemory);
    assert_eq!(w.input(f, 0).map(|stream| stream.rep()), refused);
    assert_eq!(w.ctx.process().open_streams(), 0, "a stream without a place is dropped");
}

#[test]
fn failed_pushes_leak_no_resources() {
    let mut w = World::over(MemFs::new().root());
    // A timer uses two resources: the sleep and its pollable.
    w.table.set_max_capacity(1);
    assert!(w.palisade().subscribe_duration(1).is_err());
    assert!(w.palisade().subscribe_instant(1).is_err());
    assert!(w.table.is_empty());
}

#[test]
fn random_bytes_are_bounded() {
    let limits = Limits { random_bytes_max: 100, ..Limits::default() };
    let mut w = World::of(Config::builder().limits(limits));
    assert_eq!(w.palisade().get_random_bytes(100).unwrap().len(), 100);
    for len in [101, u64::from(u32::MAX) + 1, u64::MAX] {
        let error = w.palisade().get_random_bytes(len).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Errno::Inval));
    }
}

#[test]
fn exit_returns_the_exit_value() {
    let mut w = World::of(Config::builder());
    for (error, code) in [
        (w.palisade().exit(Ok(())), 0),
        (w.palisade().exit(Err(())), 1),
        (w.palisade().exit_with_code(255), 255),
    ] {
        assert_eq!(error.unwrap_err().downcast_ref(), Some(&Exit(code)));
    }
}

#[test]
fn arguments_and_variables_are_unchanged() {
    let config = Config::builder().args(["a", "b c"]).env("K", "v=w").env("EMPTY", "");
    let mut w = World::of(config);
    assert_eq!(w.palisade().get_arguments().unwrap(), ["a", "b c"]);
    let want = [("K".to_owned(), "v=w".to_owned()), ("EMPTY".to_owned(), String::new())];
    assert_eq!(w.palisade().get_environment().unwrap(), want);
    assert_eq!(w.palisade().initial_cwd().unwrap(), None);
}

#[test]
fn sleep_ends_at_the_deadline_or_on_an_interrupt() {
    let mut w = World::of(Config::builder());
    let start = w.palisade().now().unwrap();
    let nap = w.palisade().subscribe_duration(5_000_000).unwrap();
    w.table.block(nap).unwrap();
    assert!(w.palisade().now().unwrap() >= start + 5_000_000);
    let interrupt = w.ctx.process().interrupt().clone();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        interrupt.raise();
    });
    for never in [u64::MAX, 1 << 62] {
        let never = w.palisade().subscribe_duration(never).unwrap();
        w.table.block(never).unwrap();
    }
    waker.join().unwrap();
}

#[test]
fn sleep_on_a_fixed_clock_returns_at_once() {
    use palisade_kernel::Clock;
    let clock = Clock::Fixed { realtime_ns: 0, step_ns: 1 };
    let mut w = World::of(Config::builder().clock(clock));
    let start = w.palisade().now().unwrap();
    let hour = w.palisade().subscribe_duration(3_600_000_000_000).unwrap();
    w.table.block(hour).unwrap();
    let passed = w.palisade().now().unwrap() - start;
    assert!((3_600_000_000_000..3_600_000_000_010).contains(&passed), "{passed}");
}
