//! `palisade componentize`: a Preview 1 module, packed into a component.
//!
//! The module is put together with the standard adapter, which speaks Preview 1 to it and Preview 2
//! to the host. Nothing of the module is changed.

use std::path::Path;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::analysis::Analysis;
use crate::args::Componentize;
use crate::engine::CompileBounds;
use crate::error::Error;
use crate::output::{Reach, Target};
use crate::{ambient, inspect, print};

/// Packs, and answers what to print.
pub(crate) fn run(args: &Componentize) -> Result<String, Error> {
    let bytes = ambient::read_module(&args.module)?;
    let compile = CompileBounds::from(&args.compile);
    let analysis = Analysis { path: &args.module, compile, time: None, json: args.json };
    let watch = analysis.watch(|| ())?;
    let component = encode(&args.module, &bytes)?;
    drop(watch);
    Target::new(&args.output, &Reach::default())?.write_all(&component)?;
    if args.json {
        let output = args.output.to_string_lossy();
        return print::json_line(
            &serde_json::json!({ "output": output, "bytes": component.len() }),
        );
    }
    Ok(String::new())
}

fn encode(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let adapter = match inspect::preview1(path, bytes)? {
        inspect::Preview1::Command => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        inspect::Preview1::Reactor => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let encoded = ComponentEncoder::default()
        .module(bytes)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|why| Error::Componentize { path: path.to_owned(), why: format!("{why:#}") })
}
