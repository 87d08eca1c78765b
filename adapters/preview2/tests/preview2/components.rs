//! Tests that run components under both linkers.

use palisade_kernel::{Config, Exit, Output};
use palisade_preview2::{PalisadeCtx, add_to_linker_async, add_to_linker_sync};
use palisade_vfs::{DirRef, MemFs};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p2::bindings::{Command, sync};

use crate::world::World;

/// Builds a component whose core module has a memory and the body of `run`. Results are written at
/// 0; "f" is at 1000, "hello" at 1008; allocations of the host are above 4096.
pub(crate) fn guest(body: &str) -> Vec<u8> {
    let text = include_str!("guest.wat").replace("(;body;)", body);
    wat::parse_str(text).unwrap()
}

/// Opens `f`, writes to it, reads it, prints the contents, stats it, and exits with its size.
pub(crate) const WRITE_AND_READ: &str = r#"
    (call $get-directories (i32.const 0))
    (local.set $dir (i32.load (i32.load (i32.const 0))))
    (call $open-at (local.get $dir) (i32.const 0) (i32.const 1000) (i32.const 1)
        (i32.const 1) (i32.const 3) (i32.const 0))
    (if (i32.load8_u (i32.const 0)) (then unreachable))
    (local.set $file (i32.load (i32.const 4)))
    (call $write-via-stream (local.get $file) (i64.const 0) (i32.const 0))
    (local.set $stream (i32.load (i32.const 4)))
    (call $blocking-write-and-flush (local.get $stream)
        (i32.const 1008) (i32.const 5) (i32.const 0))
    (if (i32.load8_u (i32.const 0)) (then unreachable))
    (call $drop-output (local.get $stream))
    (call $read-via-stream (local.get $file) (i64.const 0) (i32.const 0))
    (local.set $stream (i32.load (i32.const 4)))
    (call $drop-descriptor (local.get $file))
    (call $blocking-read (local.get $stream) (i64.const 100) (i32.const 0))
    (if (i32.load8_u (i32.const 0)) (then unreachable))
    (call $blocking-write-and-flush (call $get-stdout)
        (i32.load (i32.const 4)) (i32.load (i32.const 8)) (i32.const 16))
    (call $blocking-read (local.get $stream) (i64.const 100) (i32.const 0))
    ;; closed: the second case of the error
    (if (i32.ne (i32.load8_u (i32.const 4)) (i32.const 1)) (then unreachable))
    (call $stat-at (local.get $dir) (i32.const 0) (i32.const 1000) (i32.const 1) (i32.const 0))
    (call $exit-with-code (i32.wrap_i64 (i64.load (i32.const 24))))
"#;

fn world(dir: DirRef) -> (World, palisade_kernel::OutputBuffer) {
    let (stdout, printed) = Output::buffer(1000);
    let config = Config::builder().preopen("/", dir).stdout(stdout).build().unwrap();
    let ctx = PalisadeCtx::new(config.start());
    (World { ctx, table: ResourceTable::new(), root: 0 }, printed)
}

/// Runs a guest with `dir` as its root, and returns its result and output.
pub(crate) fn run(bytes: &[u8], dir: DirRef) -> (wasmtime::Result<Result<(), ()>>, Vec<u8>) {
    let engine = Engine::default();
    let component = Component::new(&engine, bytes).unwrap();
    let mut linker = Linker::new(&engine);
    add_to_linker_sync(&mut linker).unwrap();
    let (world, printed) = world(dir);
    let mut store = Store::new(&engine, world);
    let command = sync::Command::instantiate(&mut store, &component, &linker).unwrap();
    let ended = command.wasi_cli_run().call_run(&mut store);
    (ended, printed.contents())
}

pub(crate) async fn run_async(
    bytes: &[u8],
    dir: DirRef,
) -> (wasmtime::Result<Result<(), ()>>, Vec<u8>) {
    let engine = Engine::default();
    let component = Component::new(&engine, bytes).unwrap();
    let mut linker = Linker::new(&engine);
    add_to_linker_async(&mut linker).unwrap();
    let (world, printed) = world(dir);
    let mut store = Store::new(&engine, world);
    let command = Command::instantiate_async(&mut store, &component, &linker).await.unwrap();
    let ended = command.wasi_cli_run().call_run(&mut store).await;
    (ended, printed.contents())
}

#[track_caller]
pub(crate) fn assert_exit(ended: wasmtime::Result<Result<(), ()>>, code: u32) {
    let error = ended.expect_err("it exits");
    assert_eq!(error.downcast_ref::<Exit>(), Some(&Exit(code)), "{error:?}");
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn component_runs_under_the_synchronous_linker() {
    let (ended, printed) = run(&guest(WRITE_AND_READ), MemFs::new().root());
    assert_exit(ended, 5);
    assert_eq!(printed, b"hello");
}

#[test]
fn component_runs_under_the_asynchronous_linker() {
    let guest = guest(WRITE_AND_READ);
    let (ended, printed) = runtime().block_on(run_async(&guest, MemFs::new().root()));
    assert_exit(ended, 5);
    assert_eq!(printed, b"hello");
    let dir = tempfile::tempdir().unwrap();
    let host = palisade_vfs::HostDir::open_ambient(dir.path()).unwrap();
    let (ended, printed) = runtime().block_on(run_async(&guest, host));
    assert_exit(ended, 5);
    assert_eq!(printed, b"hello");
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"hello");
}

#[test]
fn returning_from_run_ends_the_guest() {
    let (ended, _) = run(&guest(""), MemFs::new().root());
    assert_eq!(ended.unwrap(), Ok(()));
}

#[test]
fn forged_handles_are_traps() {
    for body in [
        // An unknown handle.
        "(call $stat-at (i32.const 77) (i32.const 0) (i32.const 1000) (i32.const 1) (i32.const 0))",
        "(call $drop-descriptor (i32.const 0))",
        // A stream handle as a descriptor, and the reverse.
        "(call $read-via-stream (call $get-stdout) (i64.const 0) (i32.const 0))",
        "(call $get-directories (i32.const 0))
         (call $blocking-read (i32.load (i32.load (i32.const 0))) (i64.const 1) (i32.const 16))",
        // A double drop.
        "(call $get-directories (i32.const 0))
         (local.set $dir (i32.load (i32.load (i32.const 0))))
         (call $drop-descriptor (local.get $dir))
         (call $drop-descriptor (local.get $dir))",
        // A string outside the memory.
        "(call $get-directories (i32.const 0))
         (call $stat-at (i32.load (i32.load (i32.const 0)))
             (i32.const 0) (i32.const -8) (i32.const 64) (i32.const 0))",
    ] {
        let (ended, _) = run(&guest(body), MemFs::new().root());
        let error = ended.expect_err(body);
        assert!(error.downcast_ref::<Exit>().is_none(), "{body}: {error:?}");
    }
}

#[test]
fn streams_max_bounds_open_streams_of_a_component() {
    let forever = "(loop $again (drop (call $get-stdout)) (br $again))";
    let ends = [
        run(&guest(forever), MemFs::new().root()).0,
        runtime().block_on(run_async(&guest(forever), MemFs::new().root())).0,
    ];
    for end in ends {
        let text = format!("{:#}", end.unwrap_err());
        assert!(text.contains("limit of 1024 streams"), "{text}");
    }
}

#[test]
fn resource_limits_bound_a_component_loop() {
    // Each `get-directories` returns new descriptors, which the descriptor limit bounds.
    let forever = "(loop $again (call $get-directories (i32.const 0)) (br $again))";
    let (ended, _) = run(&guest(forever), MemFs::new().root());
    assert!(ended.unwrap_err().downcast_ref::<palisade_vfs::Errno>().is_some());
}
