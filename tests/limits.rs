//! Limits on the memory and the descriptors that a guest can make its host use.

use std::borrow::Cow;
use std::ops::ControlFlow;

use palisade_kernel::{Config, Limits};
use palisade_preview1::{FUNCTIONS, Preview1};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Cookie, EmbeddedFs, Follow, MemFs, OpenFlags, OpenHow, Timestamp, path,
};

use crate::harness::{Engine, config, run, wasmtime_engine};

/// Errnos of Preview 1.
const BADF: i32 = 8;
const MFILE: i32 = 33;

/// The first preopened directory.
const ROOT_FD: u64 = 3;

fn host_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn descriptors_over_the_limit_are_emfile() {
    let limits = Limits { descriptors_max: 20, ..Limits::default() };
    let given = config(&MemFs::new().root(), &[]).limits(limits).build().unwrap();
    let mut guest = Preview1::new(given.start());
    let mut memory = b".".to_vec();
    memory.resize(64, 0);
    let mut open = |guest: &mut Preview1| {
        guest.call(&mut memory, "path_open", &[ROOT_FD, 0, 0, 1, 0, 0, 0, 0, 8]).unwrap().unwrap()
    };
    let opened = (0..100).take_while(|_| open(&mut guest) == 0).count();
    assert_eq!(opened, 20 - 4);
    assert_eq!(open(&mut guest), MFILE);
    // The open over the limit created no file.
    let mut memory = b"new".to_vec();
    memory.resize(64, 0);
    let create = [ROOT_FD, 0, 0, 3, 1, 0, 0, 0, 8];
    assert_eq!(guest.call(&mut memory, "path_open", &create), Some(Ok(MFILE)));
    let exists = guest.call(&mut memory, "path_filestat_get", &[ROOT_FD, 0, 0, 3, 0]);
    assert_eq!(exists, Some(Ok(44)));
}

#[test]
fn huge_sparse_file_takes_no_memory() {
    let fs = MemFs::new();
    let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
    let file = path::open(&*fs.root(), "f", Follow::No, how).unwrap().into_file().unwrap();
    let cost = allocation_counter::measure(|| file.set_len(1 << 62).unwrap());
    assert!(cost.bytes_max < 1024, "{cost:?}");
    assert_eq!(fs.usage().bytes, 0);
    file.write_at(&[std::io::IoSlice::new(b"end")], (1 << 62) - 3).unwrap();
    assert!(fs.usage().bytes <= 64 * 1024);
    assert_eq!(file.stat().unwrap().size, 1 << 62);
}

#[test]
fn sequential_guests_leak_nothing() {
    const GUESTS: usize = 10_000;
    let engine = wasmtime_engine();
    let wasm = include_bytes!("guests/noop.wasm");
    let module = wasmtime::Module::new(engine, wasm).unwrap();
    let mut linker = wasmtime::Linker::new(engine);
    use palisade_preview1::engines::wasmtime::{State, add_to_linker};
    add_to_linker(&mut linker, |state: &mut State| state).unwrap();
    let fs = MemFs::new();
    path::create_dir(&*fs.root(), "shared").unwrap();
    let given = config(&fs.root(), &["noop"]).build().unwrap();
    let run_one = || {
        let mut guest = Preview1::new(given.start());
        // The guest leaves all handles open, one of them on an unlinked file.
        let mut memory = b"shared/f".to_vec();
        memory.resize(64, 0);
        let open = [ROOT_FD, 0, 0, 8, 1, 0, 0, 0, 16];
        assert_eq!(guest.call(&mut memory, "path_open", &open), Some(Ok(0)));
        assert_eq!(guest.call(&mut memory, "path_unlink_file", &[ROOT_FD, 0, 8]), Some(Ok(0)));
        let mut store = wasmtime::Store::new(engine, State::new(guest));
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        let _ = start.call(&mut store, ());
    };
    for _ in 0..10 {
        run_one();
    }
    let (descriptors, usage) = (host_descriptors(), fs.usage());
    let cost = allocation_counter::measure(|| {
        for _ in 0..GUESTS {
            run_one();
        }
    });
    // Concurrent tests of this process may hold a few descriptors.
    assert!(host_descriptors() < descriptors + 200, "{descriptors} {}", host_descriptors());
    assert_eq!(fs.usage(), usage);
    assert!(cost.bytes_current < 64 * 1024, "{cost:?}");
}

/// The class of GHSA-852m-cvvp-9p4w, GHSA-x84v-gj2h-g759 and GHSA-gqmc-89g8-p25r: the host
/// allocated memory of a length that the guest chose.
#[test]
fn arguments_of_calls_allocate_bounded_memory() {
    /// The peak memory of one call: a block of a listing, and buffers for the longest vectored
    /// call and the longest poll.
    const CALL_BYTES_MAX: u64 = 1 << 20;
    const NASTY: &[u64] = &[
        0,
        1,
        3,
        4,
        8,
        64,
        1000,
        1024,
        4096,
        65_535,
        65_536,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 40,
        1 << 62,
        i64::MAX as u64,
        u64::MAX,
    ];
    let fs = MemFs::new();
    let given = config(&fs.root(), &["guest"]).env("NAME", "value").build().unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut memory = vec![0_u8; 65_536];
    for name in FUNCTIONS.iter().filter(|name| !["proc_exit", "poll_oneoff"].contains(name)) {
        let mut guest = Preview1::new(given.start());
        for _ in 0..2000 {
            let args: [u64; 9] = std::array::from_fn(|_| NASTY[next(NASTY.len())]);
            let cost = allocation_counter::measure(|| {
                guest.call(&mut memory, name, &args).unwrap().unwrap();
            });
            assert!(cost.bytes_max < CALL_BYTES_MAX, "{name} {args:?}: {cost:?}");
        }
        memory.fill(0);
    }
    // A poll blocks, so it only gets invalid or ready subscriptions.
    let mut guest = Preview1::new(given.start());
    for count in [0_u64, 1, 100, 1365, 4096, 4097, 0xffff_ffff] {
        let cost = allocation_counter::measure(|| {
            guest.call(&mut memory, "poll_oneoff", &[0, 0, count, 0]).unwrap().unwrap();
        });
        assert!(cost.bytes_max < CALL_BYTES_MAX, "{count}: {cost:?}");
    }
}

#[test]
fn idle_sandbox_over_many_shared_files_is_small() {
    const SANDBOX_BYTES_MAX: i64 = 64 * 1024;
    let names: Vec<String> = (0..10_000).map(|nth| format!("d{}/file-{nth}", nth % 100)).collect();
    let files = names.iter().map(|name| (name, Cow::Borrowed(&b"text"[..]), Timestamp::EPOCH));
    let lowers = Lowers::of(EmbeddedFs::from_files(files).unwrap().root());
    let sandbox = || {
        let overlay = Overlay::new(MemFs::new().upper(), &lowers).unwrap();
        let root = overlay.root();
        let mut guest = Preview1::new(config(&root, &["guest"]).build().unwrap().start());
        // The sandbox stats files, opens one, and lists two directories, which stay open.
        for name in names.iter().step_by(10) {
            path::stat(&*root, name, Follow::Yes).unwrap();
        }
        let file = path::open(&*root, "d7/file-7", Follow::Yes, OpenHow::READ).unwrap();
        let dir = path::open(&*root, "d7", Follow::Yes, OpenHow::READ).unwrap();
        for dir in [root.clone(), dir.clone().into_dir().unwrap()] {
            let mut count = 0;
            dir.read_dir(Cookie::START, &mut |_| {
                count += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!(count, 100);
        }
        guest.call(&mut vec![0_u8; 64], "fd_prestat_get", &[3, 8]).unwrap().unwrap();
        (overlay, root, file, dir, guest)
    };
    // The first sandbox initializes the shared state.
    let first = sandbox();
    let mut kept = Vec::with_capacity(1000);
    let cost = allocation_counter::measure(|| {
        for _ in 0..1000 {
            kept.push(sandbox());
        }
    });
    assert!(cost.bytes_current < 1000 * SANDBOX_BYTES_MAX, "{cost:?}");
    drop(first);
}

#[test]
fn empty_configuration_grants_nothing() {
    let mut guest = Preview1::new(Config::builder().build().unwrap().start());
    let mut memory = vec![b'.'; 64];
    for fd in 3..100 {
        let prestat = guest.call(&mut memory, "fd_prestat_get", &[fd, 8]);
        assert_eq!(prestat, Some(Ok(BADF)));
        let open = guest.call(&mut memory, "path_open", &[fd, 0, 0, 1, 0, 0, 0, 0, 8]);
        assert_eq!(open, Some(Ok(BADF)));
    }
    let outcome =
        run(Engine::Wasmtime, include_bytes!("guests/echo_args_env.wasm"), Config::builder());
    outcome.assert_success("no arguments and no environment");
}
