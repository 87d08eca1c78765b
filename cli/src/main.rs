//! The `palisade` command.
//!
//! Read in this order: `args` and `texts` say what can be typed, `file` what can be written down,
//! and `sandbox` is what both turn into. `layout` makes directories of it, `run` a guest, `engine`
//! runs it, `ending` writes what a run leaves behind, and `error` and `fault` have the words for
//! everything that can go wrong. `upper` has the commands on changes that are kept, `changes`
//! prints them and `archive` packs them. `policy` reads, explains and checks policies, `guard` lays
//! them over directories, `coverage` reports rules that match nothing, and `learn` has the commands
//! on records. `inspect` looks at modules, `componentize` packs them, `analysis` bounds what both
//! may take, `trace` prints calls, `output` writes files, `print` is the door to the terminal, and
//! `ambient` is the door to the host.

mod ambient;
mod analysis;
mod archive;
mod args;
mod changes;
mod componentize;
mod coverage;
mod ending;
mod engine;
mod error;
mod fault;
mod file;
mod guard;
mod include;
mod inspect;
mod layout;
mod learn;
mod output;
mod place;
mod policy;
mod print;
mod run;
mod sandbox;
mod texts;
mod trace;
mod upper;

use clap::CommandFactory;

use crate::analysis::Analysis;
use crate::args::{Cli, Command};
use crate::error::Error;

fn main() {
    let cli = args::parse(ambient::arguments()).unwrap_or_else(|error| error.exit());
    let command = cli.command;
    match &command {
        Command::Run(args) if args.trace => trace::start_with_calls(),
        _ => trace::start(),
    }
    if let Err(why) = ambient::outlive_file_size_limit() {
        run::report(Error::Signals(why), false);
        ambient::exit(error::EXIT_REFUSED);
    }
    let (result, json) = match command {
        Command::Run(args) => (run::run(&args), args.json),
        Command::Inspect(args) => (inspect(&args), args.json),
        Command::Componentize(args) => (told(componentize::run(&args)), args.json),
        Command::Diff(args) => (upper::run_diff(&args), args.json),
        Command::Commit(args) => (told(upper::run_commit(&args)), args.json),
        Command::Discard(args) => (told(upper::run_discard(&args)), args.json),
        Command::Export(args) => (told(upper::run_export(&args)), args.json),
        Command::Import(args) => (told(upper::run_import(&args)), args.json),
        Command::Explain(args) => (told(policy::explain(&args)), args.json),
        Command::Check(args) => (check(&args), args.json),
        Command::Learn(args) => (learn::learn(&args), args.json),
        Command::Replay(args) => (told(learn::run_replay(&args)), args.json),
        Command::Report(args) => (told(learn::report(&args)), args.json),
        Command::Completions { shell } => (completions(shell), false),
    };
    let code = result.unwrap_or_else(|error| {
        let code = error.exit_code();
        run::report(error, json);
        code
    });
    // Without unwinding the threads of the cache and of the watchdog, which would only wait.
    ambient::exit(code)
}

fn inspect(args: &args::Inspect) -> Result<u8, Error> {
    let bytes = ambient::read_module(&args.module)?;
    let compile = engine::CompileBounds::from(&args.compile);
    let analysis = Analysis { path: &args.module, compile, time: None, json: args.json };
    let watch = analysis.watch(|| ())?;
    let facts = inspect::facts(&args.module, &bytes)?;
    drop(watch);
    let text = if args.json { print::json_page(&facts)? } else { facts.to_string() };
    told(Ok(text))
}

fn told(text: Result<String, Error>) -> Result<u8, Error> {
    print::out(&text?).map(|()| 0)
}

fn check(args: &args::Check) -> Result<u8, Error> {
    let (text, code) = policy::check(args)?;
    print::out(&text)?;
    Ok(code)
}

fn completions(shell: clap_complete::Shell) -> Result<u8, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "palisade", &mut text);
    print::bytes_out(&text).map(|()| 0)
}
