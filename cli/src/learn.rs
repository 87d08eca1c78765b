//! `palisade learn`, `replay` and `report`: what follows from a record of a run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use palisade::Output;
use palisade::policy::audit::{
    Decision, LearnOptions, Learner, LogHeader, LogReader, Record, RecordedPath, Report, replay,
};
use palisade::policy::words_of_rights;
use palisade::vfs::escape;
use serde_json::json;

use crate::args::{self, Cli, Command, Learn, Replay};
use crate::error::Error;
use crate::guard::Guard;
use crate::output::{Reach, Target, Usage};
use crate::run::{self, Special};
use crate::{ambient, policy, print};

/// Runs of a log that are named to someone who asked for another one.
const RUNS_SHOWN: usize = 20;

/// Runs a guest that may do everything, and tells the smallest policy under which the same run
/// passes, however it ended. The exit code is the guest's.
///
/// A policy on standard output has that for itself: the guest's goes to standard error.
pub(crate) fn learn(args: &Learn) -> Result<u8, Error> {
    let options = LearnOptions { generalize: args.generalize };
    let target =
        |reach: &Reach| args.output.as_deref().map(|path| Target::new(path, reach)).transpose();
    if let Some(path) = &args.from {
        let mut reach = Reach::default();
        reach.add(path, "--from", Usage::Read);
        let target = target(&reach)?;
        let mut learner = Learner::default();
        let log = BufReader::new(ambient::open("--from", path)?);
        each(path, log, args.only_run.as_deref(), |it| learner.add(it))?;
        return tell(&learner, &options, target.as_ref()).map(|()| 0);
    }
    let words = ["palisade".into(), "run".into()];
    let words = words.into_iter().chain(args.run.iter().skip_while(|it| *it == "run").cloned());
    let Ok(Cli { command: Command::Run(run) }) = Cli::try_parse_from(words) else {
        return Err(Error::NothingToLearn);
    };
    let unheeded = [
        (run.audit.is_some(), "--audit"),
        (run.policy.is_some(), "--policy"),
        (run.dry_run_policy, "--dry-run-policy"),
    ];
    if let Some((_, option)) = unheeded.iter().find(|(is_given, _)| *is_given) {
        return Err(Error::NotLearned { option });
    }
    run::run_specially(&run, |reach| {
        let target = target(reach)?;
        let stdout = match target {
            Some(_) => Output::inherit_stdout(),
            None => Output::inherit_stderr(),
        };
        let learner = Arc::new(Mutex::new(Learner::default()));
        let guard = Guard::learning(&learner)?;
        let at_end = Box::new(move || {
            let learner = learner.lock().unwrap_or_else(PoisonError::into_inner);
            tell(&learner, &options, target.as_ref())
        });
        Ok(Some(Special { guard, stdout, at_end }))
    })
}

/// Prints what was learned, or writes it.
fn tell(learner: &Learner, options: &LearnOptions, target: Option<&Target>) -> Result<(), Error> {
    let learned = learner.learn(options).map_err(Error::Policy)?.to_string();
    match target {
        Some(target) => target.write_all(learned.as_bytes()),
        None => print::out(&learned),
    }
}

/// Tells what a policy would have decided about each thing that a log has, where that is something
/// else than what was decided.
pub(crate) fn run_replay(args: &Replay) -> Result<String, Error> {
    let loaded = policy::load_file(&args.policy, &args.policy_var)?;
    let (mut text, mut all, mut changed) = (String::new(), 0_u64, Vec::new());
    let file = BufReader::new(ambient::open("LOG", &args.log)?);
    each(&args.log, file, args.only_run.as_deref(), |record| {
        all += 1;
        let decided = replay(&loaded.policy, record);
        if decided.decision == record.decision {
            return;
        }
        let (was, is) = (word(record.decision), word(decided.decision));
        let path = record.path.as_str();
        let to = record.to.as_ref().map(RecordedPath::as_str);
        let missing = words_of_rights(decided.missing);
        if args.json {
            let act = record.action.key();
            changed.push(json!({
                "run": record.run, "seq": record.seq, "op": act, "path": path, "to": to,
                "was": was, "is": is, "missing": missing,
            }));
        } else {
            let to = to.map(|to| format!(" to {}", escape::name(to))).unwrap_or_default();
            let (op, path) = (record.action.key(), escape::name(path));
            let _ = writeln!(text, "{was} became {is}: {op} {path}{to}");
        }
    })?;
    if args.json {
        return print::json_page(&json!({ "decisions": all, "changed": changed }));
    }
    if text.is_empty() {
        let _ = writeln!(text, "all {all} decisions are the same");
    }
    Ok(text)
}

/// Draws a log as a page: what to print, if it goes to no file.
pub(crate) fn report(args: &args::Report) -> Result<String, Error> {
    let mut reach = Reach::default();
    reach.add(&args.log, "LOG", Usage::Read);
    let target = args.output.as_deref().map(|path| Target::new(path, &reach)).transpose()?;
    let log = BufReader::new(ambient::open("LOG", &args.log)?);
    let mut report = Report::default();
    let headers = each(&args.log, log, args.only_run.as_deref(), |record| report.add(record))?;
    let page = report.to_html(&headers);
    match target {
        Some(target) => target.write_all(page.as_bytes()).map(|()| String::new()),
        None => Ok(page),
    }
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Hide => "hide",
    }
}

/// Shows each record of a log, or of one run in it, and returns the headers of those runs. What the
/// log does not hold is noted on standard error.
fn each(
    path: &Path,
    log: impl BufRead,
    only_run: Option<&str>,
    mut see: impl FnMut(&Record),
) -> Result<Vec<LogHeader>, Error> {
    let fail = |why| Error::Log { path: path.to_owned(), why };
    let is_seen = |run: &str| only_run.is_none_or(|only| only == run);
    let mut log = LogReader::new(log);
    for record in log.by_ref() {
        let record = record.map_err(fail)?;
        if is_seen(&record.run) {
            see(&record);
        }
    }
    let (seen, others): (Vec<_>, Vec<_>) =
        log.headers().iter().cloned().partition(|header| is_seen(&header.run));
    if let Some(run) = only_run
        && seen.is_empty()
    {
        let known: Vec<_> = others.into_iter().map(|header| header.run).take(RUNS_SHOWN).collect();
        let (path, run, known) = (path.to_owned(), run.to_owned(), known.join("`, `"));
        return Err(Error::NoRun { path, run, known });
    }
    note_gaps(path, &seen, log.cut());
    Ok(seen)
}

/// Says what a log does not hold.
fn note_gaps(path: &Path, headers: &[LogHeader], cut: u64) {
    let path = escape::name(path);
    let filters: BTreeSet<_> = headers.iter().filter_map(LogHeader::filter).collect();
    for filter in filters {
        let filter = escape::line(filter.as_str());
        print::err(&format!(
            "note: `{path}` is filtered, so what follows from it is incomplete: {filter}\n"
        ));
    }
    if headers.iter().any(|header| header.may_drop) {
        print::err(&format!("note: `{path}` may lack records: the run was allowed to lose some\n"));
    }
    if cut > 0 {
        print::err(&format!(
            "note: `{path}` has {cut} lines that were cut short: a run was killed\n"
        ));
    }
}
