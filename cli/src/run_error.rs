//! The errors of `palisade run`, except those about mounts, policies and modules.

use std::path::PathBuf;

use palisade::vfs::escape;

use crate::error::{CommandError, EXIT_INTERNAL, EXIT_REFUSED, EXIT_TRAPPED, indented_lines};

/// Errors of a run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum RunError {
    #[error("`{}` is a component, and {engine} runs core modules only", escape::name(.path))]
    #[diagnostic(
        code(palisade::component),
        help("remove `--engine {engine}`: wasmtime, the default, runs components")
    )]
    NoComponents { path: PathBuf, engine: &'static str },

    #[error(
        "`{}` starts with {needed} bytes of memories, tables and instances; `--max-memory` allows \
         {allowed}",
        escape::name(.path)
    )]
    #[diagnostic(
        code(palisade::max_memory),
        help("give at least `--max-memory {needed}`, or link the guest with less initial memory")
    )]
    MemoryLimit { path: PathBuf, needed: u64, allowed: u64 },

    #[error("`{}` instantiates up to {count} core modules; the limit is {max}", escape::name(.path))]
    #[diagnostic(
        code(palisade::instances),
        help("no option raises this limit; compose the component of fewer parts")
    )]
    Instances { path: PathBuf, count: u64, max: u64 },

    #[error(
        "`{}` has a constant expression of {bytes} bytes; the limit is {max}",
        escape::name(.path)
    )]
    #[diagnostic(
        code(palisade::expression),
        help("no option raises this limit; compute the value in a start function")
    )]
    Expression { path: PathBuf, bytes: u64, max: u64 },

    #[error("the engine `{engine}` refuses `{}`: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::engine),
        help(
            "try the other engine (`--engine wasmtime` or `--engine wasmi`), or build the module with fewer features"
        )
    )]
    Engine { path: PathBuf, engine: &'static str, why: String },

    #[error("--env {}: the variable is not set on the host, or is not UTF-8", escape::name(.name))]
    #[diagnostic(code(palisade::env), help("set a value: `--env {}=VALUE`", escape::name(.name)))]
    Env { name: String },

    #[error("{0}")]
    #[diagnostic(
        code(palisade::config),
        help(
            "`palisade run --help` describes `--env`, `--max-descriptors` and the arguments of the guest"
        )
    )]
    Config(palisade::ConfigError),

    #[error("cannot use the cache directory `{}`: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::cache),
        help("use another directory (`--cache-dir DIR`), or disable the cache (`--no-cache`)")
    )]
    Cache { path: PathBuf, why: String },

    #[error("the guest trapped: {}{}", escape::line(.why), indented_lines(.frames))]
    #[diagnostic(code(palisade::trap))]
    Trapped { why: String, frames: Vec<String> },

    #[error("internal error: {}", escape::line(.why))]
    #[diagnostic(
        code(palisade::internal),
        help("this is a bug in Palisade, and the guest was ended; please report it")
    )]
    Internal { why: String },
}

impl CommandError for RunError {
    fn exit_code(&self) -> u8 {
        match self {
            RunError::Trapped { .. } => EXIT_TRAPPED,
            RunError::Internal { .. } => EXIT_INTERNAL,
            _ => EXIT_REFUSED,
        }
    }

    fn json_message(&self) -> String {
        match self {
            RunError::Trapped { why, .. } => why.clone(),
            _ => self.to_string(),
        }
    }

    fn details(&self) -> Vec<String> {
        match self {
            RunError::Trapped { frames, .. } => frames.clone(),
            _ => Vec::new(),
        }
    }
}
