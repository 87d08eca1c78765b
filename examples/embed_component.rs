//! Runs a component on a memory filesystem and reads the file that it wrote.
//!
//! ```sh
//! cargo run --example embed_component
//! ```

use std::error::Error;
use std::io::IoSliceMut;

use palisade::preview2::bindings::sync::Command;
use palisade::preview2::{PalisadeCtx, PalisadeCtxView, PalisadeView, add_to_linker_sync};
use palisade::vfs::{OpenHow, path, walk::Follow};
use palisade::{Config, Exit, MemFs};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};

/// A component that writes `greeting.txt`. A real component comes from a file.
const COMPONENT: &str = include_str!("embed_component.wat");

/// The state of the store; an embedder adds its own fields.
struct State {
    ctx: PalisadeCtx,
    table: ResourceTable,
}

impl PalisadeView for State {
    fn palisade(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = MemFs::new().root();
    let config = Config::builder().arg("greet").preopen("/", root.clone()).build()?;

    let engine = Engine::default();
    let component = Component::new(&engine, wat::parse_str(COMPONENT)?)?;
    let mut linker = Linker::<State>::new(&engine);
    // This line replaces `wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?`.
    add_to_linker_sync(&mut linker)?;

    let ctx = PalisadeCtx::new(config.start());
    let mut store = Store::new(&engine, State { ctx, table: ResourceTable::new() });
    let command = Command::instantiate(&mut store, &component, &linker)?;
    let code = match command.wasi_cli_run().call_run(&mut store) {
        Ok(ended) => u32::from(ended.is_err()),
        Err(error) => error.downcast::<Exit>()?.0,
    };

    let file = path::open(&*root, "greeting.txt", Follow::Yes, OpenHow::READ)?.into_file()?;
    let mut bytes = [0; 64];
    let len = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0)?;
    let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).into_owned();
    print!("the component ended with {code} and wrote: {text}");
    assert_eq!((code, text.as_str()), (0, "hello from a component\n"));
    Ok(())
}
