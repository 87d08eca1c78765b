//! Runs a guest on a memory filesystem and reads the file that it wrote.
//!
//! ```sh
//! cargo run --example run_in_memory
//! ```

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};

use palisade::preview1::Preview1;
use palisade::preview1::engines::wasmtime::{State, add_to_linker};
use palisade::vfs::{Access, OpenFlags, OpenHow, path, walk::Follow};
use palisade::{Config, Exit, MemFs};

/// A guest that copies at most 64 bytes from `in.txt` to `out.txt`. A real guest comes from a file.
const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 100) "in.txtout.txt")
    (func $check (param $errno i32)
        (if (local.get $errno) (then (call $exit (local.get $errno)))))
    (func (export "_start")
        ;; Descriptor 3 is the first directory; rights 2 and 64 are reading and writing.
        (call $check (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 6)
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
        (call $check (call $open (i32.const 3) (i32.const 0) (i32.const 106) (i32.const 7)
            (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 20)))
        (i32.store (i32.const 0) (i32.const 200))
        (i32.store (i32.const 4) (i32.const 64))
        (call $check
            (call $read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 4)))
        (call $check
            (call $write (i32.load (i32.const 20)) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

fn main() -> Result<(), Box<dyn Error>> {
    // The host uses the same path functions as a guest.
    let root = MemFs::new().root();
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let input = path::open(&*root, "in.txt", Follow::Yes, create)?.into_file()?;
    input.write_at(&[IoSlice::new(b"bread and salt")], 0)?;

    let config = Config::builder().arg("copy").preopen(".", root.clone()).build()?;

    let engine = wasmtime::Engine::default();
    let module = wasmtime::Module::new(&engine, wat::parse_str(GUEST)?)?;
    let mut linker = wasmtime::Linker::new(&engine);
    add_to_linker(&mut linker, |state: &mut State| state)?;
    let mut store = wasmtime::Store::new(&engine, State::new(Preview1::new(config.start())));
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    let code = match start.call(&mut store, ()) {
        Ok(()) => 0,
        Err(error) => error.downcast::<Exit>()?.0,
    };

    let output = path::open(&*root, "out.txt", Follow::Yes, OpenHow::READ)?.into_file()?;
    let mut bytes = [0; 64];
    let len = output.read_at(&mut [IoSliceMut::new(&mut bytes)], 0)?;
    let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned();
    println!("the guest exited with {code} and wrote: {text}");
    assert_eq!((code, text.as_str()), (0, "bread and salt"));
    Ok(())
}
