//! Mounts embedded files into a guest, which can only read them.
//!
//! ```sh
//! cargo run --example embed_assets
//! ```

use std::error::Error;

use palisade::preview1::Preview1;
use palisade::preview1::engines::wasmtime::{State, add_to_linker};
use palisade::{Config, EmbeddedFs, Exit, Output};
use rust_embed::RustEmbed;

/// The files of this folder, embedded at build time.
#[derive(RustEmbed)]
#[folder = "../examples/assets"]
struct Assets;

/// A guest that prints the given files. `tests/guests/cat.c`.
const CAT: &[u8] = include_bytes!("../tests/guests/cat.wasm");
/// A guest that writes one MiB to the given file. `tests/guests/fill.c`.
const FILL: &[u8] = include_bytes!("../tests/guests/fill.wasm");

fn main() -> Result<(), Box<dyn Error>> {
    let assets = EmbeddedFs::new::<Assets>()?;
    println!("{} files and directories are embedded", assets.nodes());

    let (code, printed) = run(CAT, &["cat", "index.html", "css/site.css"], &assets)?;
    print!("the guest read:\n{printed}");
    assert!(code == 0 && printed.contains("part of the program") && printed.contains("italic"));

    let (code, printed) = run(FILL, &["fill", "1", "index.html"], &assets)?;
    print!("the guest tried to write: {printed}");
    assert!(code == 1 && printed.contains("Read-only file system"), "{code}: {printed}");
    Ok(())
}

/// Runs a guest whose root is `assets`; returns its exit code and its output.
fn run(guest: &[u8], args: &[&str], assets: &EmbeddedFs) -> Result<(i32, String), Box<dyn Error>> {
    let (stdout, printed) = Output::buffer(64 * 1024);
    let args = args.iter().copied();
    let config = Config::builder().args(args).preopen("/", assets.root()).stdout(stdout).build()?;

    let engine = wasmtime::Engine::default();
    let module = wasmtime::Module::new(&engine, guest)?;
    let mut linker = wasmtime::Linker::new(&engine);
    add_to_linker(&mut linker, |state: &mut State| state)?;
    let mut store = wasmtime::Store::new(&engine, State::new(Preview1::new(config.start())));
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    let code = match start.call(&mut store, ()) {
        Ok(()) => 0,
        Err(error) => i32::try_from(error.downcast::<Exit>()?.0)?,
    };
    Ok((code, String::from_utf8_lossy(&printed.contents()).into_owned()))
}
