//! Runs a guest on an overlay, lists its changes, and discards or commits them.
//!
//! ```sh
//! cargo run --example overlay_sandbox
//! ```

#![allow(clippy::disallowed_methods, reason = "the example prepares its own directory")]

use std::error::Error;
use std::fs;

use palisade::overlay::{commit, discard};
use palisade::preview1::Preview1;
use palisade::preview1::engines::wasmtime::{State, add_to_linker};
use palisade::{Config, HostDir, Lowers, MemFs, Overlay};

/// A guest that writes one MiB to the given file. `tests/guests/fill.c`.
const FILL: &[u8] = include_bytes!("../tests/guests/fill.wasm");

fn main() -> Result<(), Box<dyn Error>> {
    let project = tempfile::tempdir()?;
    let notes = project.path().join("notes.txt");
    fs::write(&notes, "keep me\n")?;

    // The directory is the lower; writes go to an upper in memory.
    let lower = HostDir::open_ambient(project.path())?;
    let changes = MemFs::new().upper();
    let overlay = Overlay::new(changes.clone(), &Lowers::of(lower.clone()))?;

    run(&["fill", "1", "notes.txt"], &overlay)?;
    run(&["fill", "1", "result.bin"], &overlay)?;
    print!("the guest changed:\n{}", overlay.changes()?);
    assert_eq!(overlay.changes()?.to_string(), "M notes.txt\nA result.bin\n");
    println!("the directory still contains: {}", fs::read_to_string(&notes)?.trim());
    assert_eq!(fs::read_to_string(&notes)?, "keep me\n");

    drop(overlay);
    discard(&changes)?;
    let overlay = Overlay::new(changes.clone(), &Lowers::of(lower.clone()))?;
    assert!(overlay.changes()?.is_empty());
    println!("the changes were discarded");

    run(&["fill", "1", "result.bin"], &overlay)?;
    let done = commit(&changes, &lower, &mut |_| {})?;
    println!("committed {} file of {} bytes", done.files, done.bytes);
    assert_eq!(fs::metadata(project.path().join("result.bin"))?.len(), 1 << 20);
    assert_eq!(fs::read_to_string(&notes)?, "keep me\n");
    Ok(())
}

/// Runs the guest with `overlay` as its root.
fn run(args: &[&str], overlay: &Overlay) -> Result<(), Box<dyn Error>> {
    let args = args.iter().copied();
    let config = Config::builder().args(args).preopen(".", overlay.root()).build()?;
    let engine = wasmtime::Engine::default();
    let module = wasmtime::Module::new(&engine, FILL)?;
    let mut linker = wasmtime::Linker::new(&engine);
    add_to_linker(&mut linker, |state: &mut State| state)?;
    let mut store = wasmtime::Store::new(&engine, State::new(Preview1::new(config.start())));
    let instance = linker.instantiate(&mut store, &module)?;
    instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
    Ok(())
}
