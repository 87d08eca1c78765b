//! Measures the engine's own cost of a host call, next to the cheapest call and the cheapest read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use palisade_kernel::{OpenRequest, RightsRequest, Status};
use palisade_preview1::Preview1;
use palisade_preview1::engines::wasmtime::{self as preview1, State};
use palisade_vfs::{EmbeddedFs, Follow, OpenFlags, Timestamp};
use wasmtime::Result;
use wasmtime::error::Context as _;
use wasmtime::{Linker, Module, Store};

use crate::bench::Bench;
use crate::stats::median;

/// The number of calls in one repeat.
const CALLS: i32 = 1_000_000;

/// The costs in nanoseconds per call.
pub struct Floor {
    /// An empty host function with two arguments.
    pub empty_ns: f64,
    /// A host function that only writes 24 bytes to the guest's memory.
    pub writing_ns: f64,
    /// `fd_fdstat_get` on a preopened directory.
    pub fdstat_ns: f64,
    /// A host function that only copies 4 KiB into the guest's memory.
    pub copying_ns: f64,
    /// `fd_pread` of 4 KiB of an embedded file.
    pub embedded_ns: f64,
}

/// The bytes that are copied, and read from the embedded file.
static PAGE: [u8; 4096] = [7; 4096];

/// A guest that only makes calls.
const CALLER: &str = r#"(module
  (import "bench" "empty" (func $empty (param i32 i32) (result i32)))
  (import "bench" "writing" (func $writing (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
  (import "bench" "copying" (func $copying (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread"
    (func $pread (param i32 i32 i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  ;; One buffer: 4096 bytes at 4096.
  (data (i32.const 128) "\00\10\00\00\00\10\00\00")
  (func (export "copying") (param $n i32)
    (loop $l
      (drop (call $copying (i32.const 3) (i32.const 4096)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "embedded") (param $n i32)
    (loop $l
      (if (call $pread (i32.const 4) (i32.const 128) (i32.const 1) (i64.const 0) (i32.const 256))
        (then unreachable))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "empty") (param $n i32)
    (loop $l
      (drop (call $empty (i32.const 3) (i32.const 64)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "writing") (param $n i32)
    (loop $l
      (drop (call $writing (i32.const 3) (i32.const 64)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "fdstat") (param $n i32)
    (loop $l
      (drop (call $fdstat (i32.const 3) (i32.const 64)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

/// Measures each call in `rounds` interleaved rounds and returns the medians.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Floor> {
    let module = Module::new(&bench.engine, wat::parse_str(CALLER)?)?;
    let mut linker = Linker::new(&bench.engine);
    preview1::add_to_linker(&mut linker, |state: &mut State| state)?;
    linker.func_wrap("bench", "empty", |_: i32, _: i32| 0_i32)?;
    let bound: Arc<std::sync::OnceLock<wasmtime::Memory>> = Arc::default();
    let memory_of = Arc::clone(&bound);
    linker.func_wrap(
        "bench",
        "writing",
        move |mut caller: wasmtime::Caller<'_, State>, fd: u32, at: u32| -> i32 {
            let Some(memory) = memory_of.get() else { return 1 };
            let (bytes, state) = memory.data_and_store_mut(&mut caller);
            std::hint::black_box(state);
            match bytes.get_mut(at as usize..at as usize + 24) {
                Some(slot) => slot.fill(fd.to_le_bytes()[0]),
                None => return 2,
            }
            0
        },
    )?;
    let memory_of = Arc::clone(&bound);
    linker.func_wrap(
        "bench",
        "copying",
        move |mut caller: wasmtime::Caller<'_, State>, _: u32, at: u32| -> i32 {
            let Some(memory) = memory_of.get() else { return 1 };
            let bytes = memory.data_mut(&mut caller);
            match bytes.get_mut(at as usize..at as usize + PAGE.len()) {
                Some(slot) => slot.copy_from_slice(std::hint::black_box(&PAGE)),
                None => return 2,
            }
            0
        },
    )?;
    let files = [("page", Cow::Borrowed(&PAGE[..]), Timestamp::EPOCH)];
    let embedded = EmbeddedFs::from_files(files).context("no embedded file")?.root();
    let (mut process, _) = bench.process(&embedded, &[])?;
    let request = OpenRequest {
        follow: Follow::Yes,
        flags: OpenFlags::empty(),
        status: Status::empty(),
        rights: RightsRequest::Inherited,
    };
    let fd = process.open(3, "page", request).context("the embedded file cannot be opened")?;
    wasmtime::ensure!(fd == 4, "the guest expects descriptor 4");
    let mut store = Store::new(&bench.engine, State::new(Preview1::new(process)));
    let instance = linker.instantiate(&mut store, &module)?;
    let memory = instance.get_memory(&mut store, "memory").context("no memory")?;
    store.data_mut().bind_memory(memory);
    let _ = bound.set(memory);
    let names = ["empty", "writing", "fdstat", "copying", "embedded"];
    let mut times = names.map(|_| Vec::new());
    for _ in 0..rounds.max(1) {
        for (name, times) in names.iter().zip(&mut times) {
            let call = instance.get_typed_func::<i32, ()>(&mut store, name)?;
            let started = Instant::now();
            call.call(&mut store, CALLS)?;
            times.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
    }
    let [mut empty, mut writing, mut fdstat, mut copying, mut embedded] = times;
    Ok(Floor {
        empty_ns: median(&mut empty),
        writing_ns: median(&mut writing),
        fdstat_ns: median(&mut fdstat),
        copying_ns: median(&mut copying),
        embedded_ns: median(&mut embedded),
    })
}
