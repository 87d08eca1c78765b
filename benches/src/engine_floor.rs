//! What the engine itself costs: an empty host function beside the cheapest call.

use std::time::Instant;

use wasmtime::Result;
use wasmtime::error::Context as _;
use palisade_preview1::Preview1;
use palisade_preview1::engines::wasmtime::{self as preview1, State};
use wasmtime::{Linker, Module, Store};

use crate::report::median;
use crate::subjects::Bench;

/// Calls in one repeat.
const CALLS: i32 = 1_000_000;

/// The floor, in nanoseconds per call.
pub struct Floor {
    /// An empty host function with two arguments.
    pub empty_ns: f64,
    /// `fd_fdstat_get` on a preopened directory.
    pub fdstat_ns: f64,
}

/// A guest that does nothing but call.
const CALLER: &str = r#"(module
  (import "bench" "empty" (func $empty (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "empty") (param $n i32)
    (loop $l
      (drop (call $empty (i32.const 3) (i32.const 64)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "fdstat") (param $n i32)
    (loop $l
      (drop (call $fdstat (i32.const 3) (i32.const 64)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

/// Measures both in turn.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Floor> {
    let module = Module::new(&bench.engine, wat::parse_str(CALLER)?)?;
    let mut linker = Linker::new(&bench.engine);
    preview1::add_to_linker(&mut linker, |state: &mut State| state)?;
    linker.func_wrap("bench", "empty", |_: i32, _: i32| 0_i32)?;
    let (process, _) = bench.process(bench.memory(), &[])?;
    let mut store = Store::new(&bench.engine, State::new(Preview1::new(process)));
    let instance = linker.instantiate(&mut store, &module)?;
    let memory = instance.get_memory(&mut store, "memory").context("no memory")?;
    store.data_mut().bind_memory(memory);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds.max(1) {
        for (name, times) in ["empty", "fdstat"].iter().zip(&mut times) {
            let call = instance.get_typed_func::<i32, ()>(&mut store, name)?;
            let started = Instant::now();
            call.call(&mut store, CALLS)?;
            times.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
    }
    let [mut empty, mut fdstat] = times;
    Ok(Floor { empty_ns: median(&mut empty), fdstat_ns: median(&mut fdstat) })
}
