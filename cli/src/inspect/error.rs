//! The reasons why a module or a component cannot run.

use std::path::PathBuf;

use palisade::vfs::escape;

use crate::error::{CommandError, indented_lines};

/// A module or component that cannot run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum ModuleError {
    #[error("`{}` is empty", escape::name(.path))]
    #[diagnostic(
        code(palisade::empty),
        help("build the module again; a failed build leaves empty files behind")
    )]
    Empty { path: PathBuf },

    #[error("`{}` is WebAssembly text, not a binary", escape::name(.path))]
    #[diagnostic(
        code(palisade::text),
        help("translate it first: `wat2wasm FILE.wat -o FILE.wasm` or `wasm-tools parse`")
    )]
    Text { path: PathBuf },

    #[error("`{}` is not WebAssembly: it starts with {start} instead of `\\0asm`", escape::name(.path))]
    #[diagnostic(
        code(palisade::magic),
        help(
            "give the `.wasm` file that your toolchain built (targets `wasm32-wasip1`, `wasm32-wasi`)"
        )
    )]
    Magic { path: PathBuf, start: String },

    #[error("`{}` is truncated: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::truncated),
        help("copy or build the module again; part of it is missing")
    )]
    Truncated { path: PathBuf, why: String },

    #[error("`{}` is not a valid module: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(code(palisade::invalid), help("build the module again with a current toolchain"))]
    Invalid { path: PathBuf, why: String },

    #[error("`{}` is a component already", escape::name(.path))]
    #[diagnostic(code(palisade::componentize), help("`palisade run` runs it unchanged"))]
    IsComponent { path: PathBuf },

    #[error("`{}` is an HTTP component: it exports `wasi:http/incoming-handler`, but not `wasi:cli/run`", escape::name(.path))]
    #[diagnostic(
        code(palisade::component_http),
        help(
            "run it in an HTTP server for components; to give it a filesystem of Palisade, embed \
             the crate `palisade` and add `palisade::preview2` to wasmtime-wasi-http"
        )
    )]
    ComponentHttp { path: PathBuf },

    #[error("`{}` is a library component: it does not export `wasi:cli/run`;{}", escape::name(.path), exported(.exports))]
    #[diagnostic(
        code(palisade::component_library),
        help(
            "compose it into a command (`wac plug`), build a program with `main`, or call its \
             functions from your own program with the crate `palisade`"
        )
    )]
    ComponentLibrary { path: PathBuf, exports: Vec<String> },

    #[error("`{}` imports interfaces that this host does not provide:{}", escape::name(.path), indented_lines(.imports))]
    #[diagnostic(
        code(palisade::interfaces),
        help(
            "the host provides `wasi:cli/command` of version 0.2 in any patch version; compose the \
             other interfaces into the component, or embed the crate `palisade` and add them there"
        )
    )]
    Interfaces { path: PathBuf, imports: Vec<String> },

    #[error("`{}` imports functions that this host does not provide:{}", escape::name(.path), indented_lines(.imports))]
    #[diagnostic(
        code(palisade::imports),
        help(
            "the host provides the 46 functions of `wasi_snapshot_preview1` and nothing else; \
             build for `wasm32-wasip1` without JavaScript bindings or extensions of other hosts"
        )
    )]
    Imports { path: PathBuf, imports: Vec<String> },

    #[error("`{}` does not export `_start`: it is a library (a reactor), not a command", escape::name(.path))]
    #[diagnostic(
        code(palisade::reactor),
        help(
            "build a program with `main` (Rust: `--bin` or `src/main.rs`; clang: no `-mexec-model=reactor`), \
             or call its functions from your own program with the crate `palisade`"
        )
    )]
    Reactor { path: PathBuf },

    #[error("`{}` exports a `_start` that is not a function without parameters and results: {}", escape::name(.path), escape::line(.found))]
    #[diagnostic(
        code(palisade::start),
        help("let the linker of your toolchain generate `_start`, as wasm-ld does")
    )]
    Start { path: PathBuf, found: String },

    #[error("`{}` calls WASI functions but does not export a memory named `memory`", escape::name(.path))]
    #[diagnostic(
        code(palisade::memory),
        help(
            "WASI functions access the memory of the guest: export it as `memory`, as wasm-ld does by default"
        )
    )]
    Memory { path: PathBuf },
}

impl CommandError for ModuleError {
    fn details(&self) -> Vec<String> {
        match self {
            ModuleError::Imports { imports, .. } => imports.clone(),
            _ => Vec::new(),
        }
    }
}

/// Formats the exports of a library.
fn exported(exports: &[String]) -> String {
    match exports {
        [] => " it exports nothing".to_owned(),
        some => format!(" it exports:{}", indented_lines(some)),
    }
}
