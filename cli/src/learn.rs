//! `palisade learn`: derives the smallest policy that allows a run.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use palisade::Output;
use palisade::policy::audit::{LearnOptions, Learner};

use crate::args::{Cli, Command, Learn, Run};
use crate::audit_reader::for_each_record;
use crate::confinement::Confinement;
use crate::error::{CommandError, Error};
use crate::output_file::{OutputFile, ProtectedPaths, Usage};
use crate::policy_file::PolicyFileError;
use crate::print;
use crate::run::{self, RunOverrides};

/// Errors of `palisade learn`.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum LearnError {
    #[error("`{option}` cannot be combined with `palisade learn`")]
    #[diagnostic(
        code(palisade::learn),
        help("remove the option: the learning run allows and records all operations")
    )]
    Conflict { option: &'static str },

    #[error("no run to learn from")]
    #[diagnostic(
        code(palisade::learn),
        help("write `palisade learn -- run [OPTIONS] MODULE [ARGS]...`, or `--from LOG`")
    )]
    NoRun,
}

impl CommandError for LearnError {}

/// Runs `palisade learn`. Returns the exit code: that of the guest, or 0 with `--from`.
///
/// The guest may perform all operations, and the policy is written however the guest ended. If the
/// policy goes to standard output, the output of the guest goes to standard error.
pub(crate) fn run(args: &Learn) -> Result<u8, Error> {
    let options = LearnOptions { generalize: args.generalize };
    let output = |protected: &ProtectedPaths| {
        args.output.as_deref().map(|path| OutputFile::new(path, protected)).transpose()
    };
    if let Some(path) = &args.from {
        let mut protected = ProtectedPaths::default();
        protected.add(path, "--from", Usage::Read);
        let output = output(&protected)?;
        let mut learner = Learner::default();
        for_each_record("--from", path, args.only_run.as_deref(), |it| learner.add(it))?;
        return write_policy(&learner, &options, output.as_ref()).map(|()| 0);
    }
    let run = parse_run(&args.run)?;
    run::run_with(&run, |protected| {
        let output = output(protected)?;
        let stdout = match output {
            Some(_) => Output::inherit_stdout(),
            None => Output::inherit_stderr(),
        };
        let learner = Arc::new(Mutex::new(Learner::default()));
        let confinement = Confinement::learning(&learner)?;
        let final_step = Box::new(move || {
            let learner = learner.lock().unwrap_or_else(PoisonError::into_inner);
            write_policy(&learner, &options, output.as_ref())
        });
        Ok(Some(RunOverrides { confinement, stdout, final_step }))
    })
}

/// Parses the command line of the run to learn from.
fn parse_run(args: &[OsString]) -> Result<Box<Run>, LearnError> {
    let words = ["palisade".into(), "run".into()];
    let words = words.into_iter().chain(args.iter().skip_while(|it| *it == "run").cloned());
    let Ok(Cli { command: Command::Run(run) }) = Cli::try_parse_from(words) else {
        return Err(LearnError::NoRun);
    };
    let conflicts = [
        (run.audit.is_some(), "--audit"),
        (run.policy.is_some(), "--policy"),
        (run.dry_run_policy, "--dry-run-policy"),
    ];
    match conflicts.iter().find(|(is_given, _)| *is_given) {
        Some((_, option)) => Err(LearnError::Conflict { option }),
        None => Ok(run),
    }
}

/// Writes the learned policy to the output file or to standard output.
fn write_policy(
    learner: &Learner,
    options: &LearnOptions,
    output: Option<&OutputFile>,
) -> Result<(), Error> {
    let policy = learner.learn(options).map_err(PolicyFileError::Compile)?.to_string();
    match output {
        Some(output) => Ok(output.write_all(policy.as_bytes())?),
        None => print::out(&policy),
    }
}
