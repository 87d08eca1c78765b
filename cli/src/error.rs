//! What the command refuses, which option it concerns, and what to do about it.
//!
//! Everything that is not the guest's own doing ends here and exits with [`EXIT_REFUSED`].

use std::ffi::OsString;
use std::path::PathBuf;

use miette::{Diagnostic, MietteDiagnostic};
use palisade::vfs::escape;
use thiserror::Error;

use crate::print;

/// What the command exits with when it refuses, as it does for arguments that it does not know.
pub(crate) const EXIT_REFUSED: u8 = 2;
/// What it exits with when the guest's time is up: what `timeout` of the GNU coreutils says.
pub(crate) const EXIT_TIMED_OUT: u8 = 124;
/// What it exits with when the guest traps: what a shell says of a program that aborts.
pub(crate) const EXIT_TRAPPED: u8 = 134;
/// What it exits with after a panic: `EX_SOFTWARE` of sysexits.h.
pub(crate) const EXIT_INTERNAL: u8 = 70;
/// What the number of a signal that ends a run is added to: what a shell says of it.
pub(crate) const EXIT_SIGNAL: u8 = 128;
/// What a guest's code above 255 becomes: no failure may look like a success in its low 8 bits.
pub(crate) const EXIT_CODE_MAX: u32 = 255;

/// One refusal.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum Error {
    #[error("`{}` cannot be packed into a component: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::componentize),
        help("`palisade inspect MODULE` tells what the module imports and exports")
    )]
    Componentize { path: PathBuf, why: String },

    #[error("`{}` is a component already", escape::name(.path))]
    #[diagnostic(code(palisade::componentize), help("run it as it is"))]
    IsComponent { path: PathBuf },

    #[error("the policy cannot be compiled: {0}")]
    #[diagnostic(code(palisade::policy), help("see docs/policy.md for what rules can say"))]
    Policy(palisade::policy::PolicyError),

    #[error("`{}` gives no variable a value", escape::name(.text))]
    #[diagnostic(code(palisade::policy_var), help("write `--policy-var NAME=VALUE`"))]
    PolicyVariable { text: String },

    #[error("the variable `{}` is given twice", escape::name(.name))]
    #[diagnostic(code(palisade::policy_var), help("give it one value"))]
    VariableTwice { name: String },

    #[error("no variable of the policy is called `{}`", escape::name(.name))]
    #[diagnostic(
        code(palisade::policy_var),
        help("paths in the policy say `${{{}}}`, or leave it out", escape::name(.name))
    )]
    UnusedVariable { name: String },

    #[error("`{option}` is about a policy, and there is none")]
    #[diagnostic(code(palisade::policy), help("give one: `--policy FILE`"))]
    NoPolicy { option: &'static str },

    #[error("the quota of the policy cannot be laid over `{}`: {errno}", escape::name(.path))]
    #[diagnostic(code(palisade::quota), help("can the directory be looked at?"))]
    Quota { path: String, errno: palisade::vfs::Errno },

    #[error("the audit cannot be written whole: {0}")]
    #[diagnostic(
        code(palisade::audit),
        help("make room for it; or let the guest go on without: `--audit-when-failing continue`")
    )]
    Audit(std::io::Error),

    #[error("`{}` is no record of a run: {why}", escape::name(.path))]
    #[diagnostic(code(palisade::log), help("make one with `palisade run --audit FILE`"))]
    Log { path: PathBuf, why: palisade::policy::audit::LogError },

    #[error("`{}` has no run `{}`", escape::name(.path), escape::name(.run))]
    #[diagnostic(code(palisade::log), help("it has `{}`", escape::line(.known)))]
    NoRun { path: PathBuf, run: String, known: String },

    #[error("`{option}` has no effect on a run that is learned from")]
    #[diagnostic(code(palisade::learn), help("leave it out: the run may do everything"))]
    NotLearned { option: &'static str },

    #[error("there is no run to learn from")]
    #[diagnostic(
        code(palisade::learn),
        help("write `palisade learn -- run [OPTIONS] MODULE [ARGS]...`, or `--from LOG`")
    )]
    NothingToLearn,

    #[error("there is no operation `{}`", escape::name(.name))]
    #[diagnostic(code(palisade::operation), help("{help}"))]
    Operation { name: String, help: String },

    #[error("cannot read `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::read),
        help("{option} needs a file that exists and that you may read")
    )]
    Read { option: &'static str, path: PathBuf, why: std::io::Error },

    #[error("`{}` has more than {max} bytes", escape::name(.path))]
    #[diagnostic(code(palisade::too_large), help("a file of this size is surely a mistake"))]
    TooLarge { path: PathBuf, max: u64 },

    #[error("`{}` is empty", escape::name(.path))]
    #[diagnostic(
        code(palisade::empty),
        help("build the module again; a failed build leaves empty files behind")
    )]
    Empty { path: PathBuf },

    #[error("`{}` is WebAssembly text", escape::name(.path))]
    #[diagnostic(
        code(palisade::text),
        help("translate it first: `wat2wasm FILE.wat -o FILE.wasm` or `wasm-tools parse`")
    )]
    Text { path: PathBuf },

    #[error("`{}` is no WebAssembly: it starts with {start}, not with `\\0asm`", escape::name(.path))]
    #[diagnostic(
        code(palisade::magic),
        help(
            "give the `.wasm` file that your toolchain built (targets `wasm32-wasip1`, `wasm32-wasi`)"
        )
    )]
    Magic { path: PathBuf, start: String },

    #[error("`{}` ends in the middle: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::truncated),
        help("copy or build the module again; part of it is missing")
    )]
    Truncated { path: PathBuf, why: String },

    #[error("`{}` is not valid: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::invalid),
        help("build the module again; `palisade inspect MODULE` tells more about it")
    )]
    Invalid { path: PathBuf, why: String },

    #[error("`{}` is a component, and {engine} runs core modules alone", escape::name(.path))]
    #[diagnostic(
        code(palisade::component),
        help("leave `--engine {engine}` out: wasmtime runs components")
    )]
    NoComponents { path: PathBuf, engine: &'static str },

    #[error("`{}` is a component for a web server: it exports `wasi:http/incoming-handler` and no `wasi:cli/run`", escape::name(.path))]
    #[diagnostic(
        code(palisade::component_http),
        help(
            "run it in a server for such components; for files beneath it, embed the crate \
             `palisade` and add `palisade::preview2` beside wasmtime-wasi-http"
        )
    )]
    ComponentHttp { path: PathBuf },

    #[error("`{}` is a component without `wasi:cli/run`: a library, not a command;{}", escape::name(.path), exported(.exports))]
    #[diagnostic(
        code(palisade::component_library),
        help(
            "compose it into a command (`wac plug`), build a program with `main`, or call its \
             functions from your own program with the crate `palisade`"
        )
    )]
    ComponentLibrary { path: PathBuf, exports: Vec<String> },

    #[error("`{}` imports interfaces that this host does not provide:{}", escape::name(.path), lines(.imports))]
    #[diagnostic(
        code(palisade::interfaces),
        help(
            "the host provides `wasi:cli/command` of version 0.2, in whatever patch; compose what \
             else the component needs into it, or embed the crate `palisade` and add it there"
        )
    )]
    Interfaces { path: PathBuf, imports: Vec<String> },

    #[error("`{}` imports what this host does not provide:{}", escape::name(.path), lines(.imports))]
    #[diagnostic(
        code(palisade::imports),
        help(
            "the host provides the 46 functions of `wasi_snapshot_preview1` and nothing else; \
             build for `wasm32-wasip1` without JavaScript bindings or other hosts' extensions"
        )
    )]
    Imports { path: PathBuf, imports: Vec<String> },

    #[error("`{}` has no function `_start`: it is a library (a reactor), not a command", escape::name(.path))]
    #[diagnostic(
        code(palisade::reactor),
        help(
            "build a program with `main` (Rust: `--bin` or `src/main.rs`; clang: no `-mexec-model=reactor`), \
             or call its functions from your own program with the crate `palisade`"
        )
    )]
    Reactor { path: PathBuf },

    #[error("`{}` has a `_start` that is no function without parameters and results: {}", escape::name(.path), escape::line(.found))]
    #[diagnostic(
        code(palisade::start),
        help("let the linker of your toolchain make `_start` (wasm-ld does)")
    )]
    Start { path: PathBuf, found: String },

    #[error("`{}` calls WASI but exports no memory named `memory`", escape::name(.path))]
    #[diagnostic(
        code(palisade::memory),
        help(
            "WASI reads and writes the guest's memory: export it as `memory` (wasm-ld does so by default)"
        )
    )]
    Memory { path: PathBuf },

    #[error(
        "`{}` starts with {needed} bytes of memories, tables and instances, more than \
         `--max-memory` allows ({allowed})",
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

    #[error(
        "`{}` was not compiled or analyzed within {}",
        escape::name(.path), humantime::format_duration(*.max)
    )]
    #[diagnostic(
        code(palisade::compile_time),
        help("`--max-compile-time` raises this limit; `--engine wasmi` compiles modules faster")
    )]
    CompileTime { path: PathBuf, max: std::time::Duration },

    #[error("`{}` needs more than {max} bytes to be compiled or analyzed", escape::name(.path))]
    #[diagnostic(
        code(palisade::compile_memory),
        help("`--max-compile-memory` raises this limit; `--engine wasmi` needs less for modules")
    )]
    CompileMemory { path: PathBuf, max: u64 },

    #[error("the operating system gives no thread: {0}")]
    #[diagnostic(
        code(palisade::thread),
        help("raise the limit of processes and threads (`ulimit -u`), or end other programs")
    )]
    NoThread(std::io::Error),

    #[error("internal error: {}", escape::line(.why))]
    #[diagnostic(
        code(palisade::internal),
        help("this is a fault of Palisade, which ended the guest; please report it")
    )]
    Internal { why: String },

    #[error("the engine `{engine}` refuses `{}`: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::engine),
        help(
            "try the other engine (`--engine wasmtime` or `--engine wasmi`), or build the module with fewer features"
        )
    )]
    Engine { path: PathBuf, engine: &'static str, why: String },

    #[error("{option} `{}`: cannot open this directory: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::host_dir),
        help("{option} needs a directory that exists and that you may read")
    )]
    HostDir { option: &'static str, path: PathBuf, why: std::io::Error },

    #[error(
        "{by} `{}`: finds a name by another case (`SECRET` for `secret`), so the policy's rules about names would not hold",
        escape::name(.path)
    )]
    #[diagnostic(
        code(palisade::folds_case),
        help(
            "give it as a copy in memory, whose names are exact: `--copy HOST::GUEST`; or keep it in a directory that is not case-insensitive"
        )
    )]
    FoldsCase { by: &'static str, path: PathBuf },

    #[error("{option} `{}`: cannot be mounted: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::host_file),
        help(
            "`--file` needs one regular file that exists; for a directory use `--dir`, for a link its target"
        )
    )]
    HostFile { option: &'static str, path: PathBuf, why: String },

    #[error("{by} `{}`: cannot be copied into memory: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::copy),
        help(
            "`--overlay HOST::GUEST` copies only what is changed, `--dir HOST::GUEST:ro` nothing"
        )
    )]
    Copy { by: &'static str, path: PathBuf, why: String },

    #[error("{by} `{}`: cannot be opened as an image: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::image),
        help(
            "an image is a zip, a tar (plain, gzip, Zstandard) or a directory, whatever its name"
        )
    )]
    Image { by: &'static str, path: PathBuf, why: palisade::ImageError },

    #[error("{by}: the overlay cannot be stacked: {why}")]
    #[diagnostic(
        code(palisade::overlay),
        help("its directories must be there and may not be one and the same")
    )]
    Overlay { by: &'static str, why: String },

    #[error("{by} `{}`: cannot keep changes: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::upper),
        help(
            "give a directory of your own, used by one run at a time, on a filesystem with extended attributes (ext4, xfs, btrfs, tmpfs); the directory above it must exist"
        )
    )]
    Upper { by: &'static str, path: PathBuf, why: std::io::Error },

    #[error("`{}` keeps no changes: there is no directory `upper` in it", escape::name(.path))]
    #[diagnostic(
        code(palisade::no_upper),
        help("give the directory that was given to `--upper DIR` of `palisade run`")
    )]
    NoUpper { path: PathBuf },

    #[error("`{}`: cannot be {what}: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::changes),
        help(
            "nothing else may use the directory meanwhile; what was done stays done, and doing it again completes it"
        )
    )]
    Changes { what: &'static str, path: PathBuf, why: palisade::overlay::PathError },

    #[error(
        "{by} `{}`: lies in one tree with `{}`, which it is stacked upon",
        escape::name(.upper), escape::name(.lower)
    )]
    #[diagnostic(
        code(palisade::upper_inside),
        help("keep the changes in a directory elsewhere; what lies beneath must not change")
    )]
    UpperInside { by: &'static str, upper: PathBuf, lower: PathBuf },

    #[error("{option} is about one overlay, and there are {count}")]
    #[diagnostic(
        code(palisade::one_overlay),
        help(
            "give `--overlay HOST::GUEST` exactly once, or `kind = \"overlay\"` in the file of `--config`"
        )
    )]
    NotOneOverlay { option: &'static str, count: usize },

    #[error("{option} tells of overlays, and there is none")]
    #[diagnostic(
        code(palisade::no_overlay),
        help("give `--overlay HOST::GUEST`, or `kind = \"overlay\"` in the file of `--config`")
    )]
    NoOverlay { option: &'static str },

    #[error("`{}` cannot be an output: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::output),
        help(
            "give a regular file or a pipe outside of every directory that the guest can write and of what is read; mount a directory `:ro` if the guest only reads it"
        )
    )]
    Output { path: PathBuf, why: String },

    #[error("`{}` cannot be an input: {why}", escape::name(.path))]
    #[diagnostic(code(palisade::input), help("copy it elsewhere first"))]
    Input { path: PathBuf, why: String },

    #[error("`{}` is a symbolic link, and not a directory that keeps changes", escape::name(.path))]
    #[diagnostic(
        code(palisade::upper_link),
        help("no command writes or reads where it leads; make it a directory, or remove it")
    )]
    UpperLink { path: PathBuf },

    #[error("cannot write `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::write_file),
        help("its directory must exist, and you must be allowed to write there")
    )]
    WriteFile { path: PathBuf, why: std::io::Error },

    #[error("the name `{}` does not say what archive to write", escape::name(.path))]
    #[diagnostic(
        code(palisade::archive_name),
        help("let it end in `.tar`, `.tar.gz` (`.tgz`) or `.tar.zst` (`.tzst`)")
    )]
    ArchiveName { path: PathBuf },

    #[error("cannot write the archive `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::export),
        help("nothing was left behind; what is wrong must be mended before it can be written")
    )]
    Export { path: PathBuf, why: palisade::overlay::ExportError },

    #[error("cannot take in the archive `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::import),
        help(
            "it must be a layer as `palisade export` writes it: a tar (plain, gzip, Zstandard) in the format of OCI layers; nothing of it was kept"
        )
    )]
    Import { path: PathBuf, why: palisade::overlay::ImportError },

    #[error("`{}` keeps changes already", escape::name(.path))]
    #[diagnostic(
        code(palisade::not_empty),
        help("take another directory, or forget these first: `palisade discard {}`", escape::name(.path))
    )]
    NotEmpty { path: PathBuf },

    #[error(transparent)]
    #[diagnostic(transparent)]
    File(Box<crate::fault::Fault>),

    #[error("the guest path `{}` is given twice", escape::name(.path))]
    #[diagnostic(
        code(palisade::guest_twice),
        help("give every mount a guest path of its own: `HOST::GUEST`")
    )]
    GuestTwice { path: String },

    #[error("the guest path `{}` cannot be mounted: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::guest_path),
        help("a guest path is like `/data`, `data/in` or `.`; it has no `..`")
    )]
    GuestPath { path: String, why: String },

    #[error("--env {}: there is no such variable here, or it is not UTF-8", escape::name(.name))]
    #[diagnostic(code(palisade::env), help("give its value: `--env {}=VALUE`", escape::name(.name)))]
    Env { name: String },

    #[error("the argument `{}` is not UTF-8", escape::name(.text))]
    #[diagnostic(code(palisade::argument), help("guests take UTF-8 arguments only"))]
    Argument { text: OsString },

    #[error("{0}")]
    #[diagnostic(
        code(palisade::config),
        help(
            "see `--env`, `--max-descriptors` and the guest's arguments in `palisade run --help`"
        )
    )]
    Config(palisade::ConfigError),

    #[error("cannot use the cache directory `{}`: {}", escape::name(.path), escape::line(.why))]
    #[diagnostic(
        code(palisade::cache),
        help("give another one with `--cache-dir DIR`, or none with `--no-cache`")
    )]
    Cache { path: PathBuf, why: String },

    #[error("cannot write the output: {0}")]
    #[diagnostic(
        code(palisade::write),
        help("the reader of the output has gone, or the disk is full")
    )]
    Write(std::io::Error),

    #[error("the guest was stopped: its {} are up", humantime::format_duration(*.after))]
    #[diagnostic(
        code(palisade::timeout),
        help("`--timeout` sets the time, compiling included; without it a guest runs for ever")
    )]
    TimedOut { after: std::time::Duration },

    #[error("the guest was stopped: the process got {}", signal_name(*.signal))]
    #[diagnostic(
        code(palisade::signal),
        help("what it leaves behind was written; a second signal ends the process at once")
    )]
    Signal { signal: i32 },

    #[error("the guest was stopped: its audit cannot be written")]
    #[diagnostic(code(palisade::audit), help("`--audit-when-failing continue` lets it go on"))]
    Unrecorded,

    #[error("signals cannot be watched: {0}")]
    #[diagnostic(code(palisade::signals), help("the process may have too few descriptors"))]
    Signals(std::io::Error),

    #[error("the guest trapped: {}{}", escape::line(.why), lines(.frames))]
    #[diagnostic(code(palisade::trap))]
    Trapped { why: String, frames: Vec<String> },
}

impl Error {
    /// What the command exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::TimedOut { .. } => EXIT_TIMED_OUT,
            Error::Trapped { .. } => EXIT_TRAPPED,
            Error::Internal { .. } => EXIT_INTERNAL,
            Error::Signal { signal } => {
                EXIT_SIGNAL.saturating_add(u8::try_from(*signal).unwrap_or(0))
            }
            _ => EXIT_REFUSED,
        }
    }

    /// The refusal as one line of JSON: its code, its message, what to do, and what it exits with.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let (message, items) = match self {
            Error::Imports { imports, .. } => (self.to_string(), imports.clone()),
            Error::Trapped { why, frames } => (why.clone(), frames.clone()),
            Error::File(fault) => (self.to_string(), fault.places()),
            _ => (self.to_string(), Vec::new()),
        };
        serde_json::json!({
            "error": {
                "code": self.code().map(|code| code.to_string()),
                "message": message,
                "details": items,
                "help": self.help().map(|help| help.to_string()),
                "exit_code": self.exit_code(),
            }
        })
    }

    /// Prints the refusal to standard error, for a person.
    pub(crate) fn print(self) {
        // Only the first hook counts, and nobody else sets one.
        let _ = miette::set_hook(Box::new(|_| {
            Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())
        }));
        let escaped = |text: String| escape::lines(&text).to_string();
        let pointed = if let Error::File(fault) = &self { Some(fault.escaped()) } else { None };
        let (source, labels) = pointed.unzip();
        let report = miette::Report::new(MietteDiagnostic {
            message: escaped(self.to_string()),
            code: self.code().map(|code| code.to_string()),
            severity: None,
            help: self.help().map(|help| escaped(help.to_string())),
            url: None,
            labels,
        });
        let report = match source {
            Some(source) => report.with_source_code(source),
            None => report,
        };
        print::styled_err(&format!("{report:?}\n"));
    }
}

/// `SIGTERM`.
fn signal_name(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// What a library offers instead.
fn exported(exports: &[String]) -> String {
    match exports {
        [] => " it exports nothing".to_owned(),
        some => format!(" it exports:{}", lines(some)),
    }
}

/// Each on a line of its own.
fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  {}", escape::line(item))).collect()
}
