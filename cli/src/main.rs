//! The `palisade` command.
//!
//! The modules import each other in one direction only, from a later line to an earlier one;
//! `tests/tidy.rs::the_modules_of_the_command_have_no_import_cycle` checks it.
//!
//! 1. Basics: `error` (the error type), `print` (standard output and standard error), `ambient`
//!    (environment, input files and signals of the host), `origin` (which option or line set a
//!    value), `guest_path`, `trace`.
//! 2. Engines: `engine` runs a guest on wasmtime or wasmi and stops it.
//! 3. Settings: `mount_spec` and `args` parse the command line, `config_file` parses
//!    `palisade.toml`, and both produce the description in `sandbox`.
//! 4. Files: `upper_dir` opens the changes of overlays, `output_file` writes outputs atomically,
//!    `layer_archive` writes and reads archives of changes, `change_format` prints changes.
//! 5. Policies: `policy_include` and `policy_file` load them, `rule_format` prints rules,
//!    `audit_log` opens audit logs, `audit_reader` reads them, and `confinement` puts quota, policy
//!    and audit over a directory.
//! 6. Parts of a run: `preopens` opens the mounts, `inspect` analyzes modules, `analysis_limits`
//!    limits the analysis, `run_outputs` writes diff, export and audit at the end, `run_error` has
//!    the errors.
//! 7. Commands: `run`, `inspect`, `componentize`, `changes` (`diff`, `commit`, `discard`, `export`,
//!    `import`), `explain`, `check` (with `coverage`), `learn`, `replay` and `report`.

mod ambient;
mod analysis_limits;
mod args;
mod audit_log;
mod audit_reader;
mod change_format;
mod changes;
mod check;
mod componentize;
mod config_file;
mod confinement;
mod coverage;
mod engine;
mod error;
mod explain;
mod guest_path;
mod image_notes;
mod inspect;
mod layer_archive;
mod learn;
mod mount_spec;
mod origin;
mod output_file;
mod policy_file;
mod policy_include;
mod preopens;
mod print;
mod replay;
mod report;
mod rule_format;
mod run;
mod run_error;
mod run_outputs;
mod sandbox;
mod trace;
mod upper_dir;

use clap::CommandFactory;

use crate::analysis_limits::AnalysisLimits;
use crate::args::{Cli, Command};
use crate::error::{Error, HostError};
use crate::print::Format;

fn main() {
    let cli = args::parse(ambient::arguments()).unwrap_or_else(|error| error.exit());
    let command = cli.command;
    match &command {
        Command::Run(args) if args.trace => trace::start_with_calls(),
        _ => trace::start(),
    }
    if let Err(why) = ambient::handle_file_size_signal() {
        print::report(&HostError::Signals(why).into(), Format::Text);
        ambient::exit(error::EXIT_REFUSED);
    }
    let (result, json) = match command {
        Command::Run(args) => (run::run(&args), args.json),
        Command::Inspect(args) => (inspect(&args), args.json),
        Command::Componentize(args) => (print_text(componentize::run(&args)), args.json),
        Command::Diff(args) => (changes::run_diff(&args), args.json),
        Command::Commit(args) => (print_text(changes::run_commit(&args)), args.json),
        Command::Discard(args) => (print_text(changes::run_discard(&args)), args.json),
        Command::Export(args) => (print_text(changes::run_export(&args)), args.json),
        Command::Import(args) => (print_text(changes::run_import(&args)), args.json),
        Command::Explain(args) => (print_text(explain::run(&args)), args.json),
        Command::Check(args) => (check(&args), args.json),
        Command::Learn(args) => (learn::run(&args), args.json),
        Command::Replay(args) => (print_text(replay::run(&args)), args.json),
        Command::Report(args) => (print_text(report::run(&args)), args.json),
        Command::Completions { shell } => (completions(shell), false),
    };
    let code = result.unwrap_or_else(|error| {
        print::report(&error, Format::from_json_flag(json));
        error.exit_code()
    });
    // Without joining the threads of the module cache and of the watchdog, which may block.
    ambient::exit(code)
}

fn inspect(args: &args::Inspect) -> Result<u8, Error> {
    let bytes = ambient::read_module(&args.module)?;
    let compile = engine::CompileBounds::from(&args.compile);
    let format = Format::from_json_flag(args.json);
    let limits = AnalysisLimits { path: &args.module, compile, run_time: None, format };
    let watch = limits.watch(|| ())?;
    let facts = inspect::facts(&args.module, &bytes)?;
    drop(watch);
    print_text(if args.json { print::json_page(&facts) } else { Ok(facts.to_string()) })
}

/// Prints the text of a command to standard output.
fn print_text(text: Result<String, Error>) -> Result<u8, Error> {
    print::out(&text?).map(|()| 0)
}

fn check(args: &args::Check) -> Result<u8, Error> {
    let (text, code) = check::run(args)?;
    print::out(&text)?;
    Ok(code)
}

fn completions(shell: clap_complete::Shell) -> Result<u8, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "palisade", &mut text);
    print::bytes_out(&text).map(|()| 0)
}
