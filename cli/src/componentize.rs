//! `palisade componentize`: wraps a Preview 1 module into a component.
//!
//! The component contains the unchanged module and the standard adapter, which translates the calls
//! of Preview 1 to Preview 2.

use std::path::{Path, PathBuf};

use palisade::vfs::escape;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::analysis_limits::AnalysisLimits;
use crate::args::Componentize;
use crate::engine::CompileBounds;
use crate::error::{CommandError, Error};
use crate::output_file::{OutputFile, ProtectedPaths};
use crate::print::Format;
use crate::{ambient, inspect, print};

/// A module that the encoder rejects.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("`{}` cannot be wrapped into a component: {}", escape::name(.path), escape::line(.why))]
#[diagnostic(
    code(palisade::componentize),
    help("`palisade inspect MODULE` lists the imports and exports of the module")
)]
struct EncodeError {
    path: PathBuf,
    why: String,
}

impl CommandError for EncodeError {}

/// Runs `palisade componentize`. Returns the text for standard output.
pub(crate) fn run(args: &Componentize) -> Result<String, Error> {
    let bytes = ambient::read_module(&args.module)?;
    let compile = CompileBounds::from(&args.compile);
    let format = Format::from_json_flag(args.json);
    let limits = AnalysisLimits { path: &args.module, compile, run_time: None, format };
    let watch = limits.watch(|| ())?;
    let component = encode(&args.module, &bytes)?;
    drop(watch);
    OutputFile::new(&args.output, &ProtectedPaths::default())?.write_all(&component)?;
    if args.json {
        let output = args.output.to_string_lossy();
        return print::json_line(
            &serde_json::json!({ "output": output, "bytes": component.len() }),
        );
    }
    Ok(String::new())
}

fn encode(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let adapter = match inspect::preview1_kind(path, bytes)? {
        inspect::Preview1Kind::Command => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        inspect::Preview1Kind::Reactor => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let encoded = ComponentEncoder::default()
        .module(bytes)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|encoder| encoder.validate(true).encode());
    Ok(encoded.map_err(|why| EncodeError { path: path.to_owned(), why: format!("{why:#}") })?)
}
