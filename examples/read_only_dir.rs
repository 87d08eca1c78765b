//! Gives a guest read-only access to a directory of the host, with a writable `tmp` in memory.
//!
//! ```sh
//! cargo run --example read_only_dir -- some/directory
//! ```

use std::error::Error;
use std::path::Path;

use palisade::preview1::Preview1;
use palisade::preview1::engines::wasmi::{State, add_to_linker};
use palisade::{Config, HostDir, MemFs, Mounts, read_only};

/// Returns a guest that tries to create `path` and exits with the errno. A real guest comes from a
/// file.
fn guest(path: &str) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 100) "{path}")
        (func (export "_start")
            (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const {})
                (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))))"#,
        path.len()
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());

    // The only access to the host's filesystem. Layers wrap the directory before the mounts are
    // added, because a mounted filesystem keeps its own rights.
    let dir = read_only(HostDir::open_ambient(Path::new(&host))?);
    let root = Mounts::builder(dir).mount("tmp", MemFs::new().root())?.build();
    let config = Config::builder().preopen("/", root).build()?;

    // Errno 69 is `rofs`: the filesystem is read-only.
    for (path, wanted) in [("palisade-example", 69), ("tmp/palisade-example", 0)] {
        let engine = wasmi::Engine::default();
        let module = wasmi::Module::new(&engine, wat::parse_str(guest(path))?)?;
        let mut linker = wasmi::Linker::new(&engine);
        add_to_linker(&mut linker, |state: &mut State| state)?;
        let mut store = wasmi::Store::new(&engine, State::new(Preview1::new(config.start())));
        let instance = linker.instantiate_and_start(&mut store, &module)?;
        let start = instance.get_typed_func::<(), ()>(&store, "_start")?;
        let code = match start.call(&mut store, ()) {
            Ok(()) => 0,
            Err(error) => error.i32_exit_status().ok_or(error)?,
        };
        println!("creating {path}: errno {code}");
        assert_eq!(code, wanted);
    }
    Ok(())
}
