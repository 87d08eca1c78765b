//! Forks one prepared sandbox a thousand times and runs a guest in some of the forks.
//!
//! The forks share all unchanged files and are isolated from each other.
//!
//! ```sh
//! cargo run --example fork_many
//! ```

use std::error::Error;
use std::io::IoSlice;
use std::time::Instant;

use palisade::preview1::Preview1;
use palisade::preview1::engines::wasmtime::{State, add_to_linker};
use palisade::vfs::walk::Follow;
use palisade::vfs::{Access, OpenFlags, OpenHow, path};
use palisade::{Config, Lowers, MemFs, Overlay};

/// A guest that writes one MiB to the given file. `tests/guests/fill.c`.
const FILL: &[u8] = include_bytes!("../tests/guests/fill.wasm");
const FILES: usize = 2000;
const FORKS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    // The common base of the forks, such as an installed toolchain.
    let prepared = Overlay::new(MemFs::new().upper(), &Lowers::of(MemFs::new().root()))?;
    let root = prepared.root();
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    for nth in 0..FILES {
        let file = path::open(&*root, &format!("file-{nth}"), Follow::Yes, create)?.into_file()?;
        file.write_at(&[IoSlice::new(b"shared")], 0)?;
    }

    // Neither the snapshot nor the forks copy any files.
    let start = Instant::now();
    let base = prepared.snapshot(MemFs::new().upper())?;
    let forks = (0..FORKS)
        .map(|_| Overlay::new(MemFs::new().upper(), &base))
        .collect::<Result<Vec<_>, _>>()?;
    println!("{FORKS} forks of {FILES} files took {:?}", start.elapsed());

    let engine = wasmtime::Engine::default();
    let module = wasmtime::Module::new(&engine, FILL)?;
    let mut linker = wasmtime::Linker::new(&engine);
    add_to_linker(&mut linker, |state: &mut State| state)?;
    for (nth, fork) in forks.iter().enumerate().take(5) {
        let name = format!("file-{nth}");
        let config = Config::builder().args(["fill", "1", &name]).preopen(".", fork.root());
        let process = config.build()?.start();
        let mut store = wasmtime::Store::new(&engine, State::new(Preview1::new(process)));
        let instance = linker.instantiate(&mut store, &module)?;
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
        print!("fork {nth} changed {}", fork.changes()?);
        assert_eq!(fork.changes()?.to_string(), format!("M {name}\n"));
    }

    // Each fork sees only its own change.
    for (nth, fork) in forks.iter().enumerate() {
        let size = path::stat(&*fork.root(), "file-0", Follow::Yes)?.size;
        assert_eq!(size, if nth == 0 { 1 << 20 } else { 6 }, "fork {nth}");
    }
    println!("no other fork sees these changes");
    Ok(())
}
