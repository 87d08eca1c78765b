//! `palisade learn`, `replay` and `report`: what follows from a record of a run.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;

use clap::Parser;
use palisade::policy::audit::{
    Decision, LearnOptions, Learner, LogReader, Record, RecordedPath, Report, replay,
};
use palisade::policy::words_of_rights;
use serde_json::json;

use crate::args::{self, Cli, Command, Learn, Replay};
use crate::error::Error;
use crate::guard::{Guard, Log};
use crate::{ambient, policy, run};

/// Runs a guest that may do everything, and tells the smallest policy under which the same run
/// passes. The exit code is the guest's.
pub(crate) fn learn(args: &Learn) -> Result<u8, Error> {
    let mut learner = Learner::default();
    let code = match &args.from {
        Some(log) => {
            let file = BufReader::new(ambient::open("--from", log)?);
            each(log, file, |record| learner.add(record))?;
            0
        }
        None => {
            let words = ["palisade".into(), "run".into()];
            let words =
                words.into_iter().chain(args.run.iter().skip_while(|it| *it == "run").cloned());
            let Ok(Cli { command: Command::Run(run) }) = Cli::try_parse_from(words) else {
                return Err(Error::NothingToLearn);
            };
            let log = Log::default();
            let ended = run::run_guarded(&run, Some(Guard::recording(&log)?))?;
            each(Path::new("the record"), log.take().as_slice(), |record| learner.add(record))?;
            ended
        }
    };
    let options = LearnOptions { generalize: args.generalize };
    let learned = learner.learn(&options).map_err(Error::Policy)?.to_string();
    match &args.output {
        Some(file) => ambient::write(file, learned.as_bytes())?,
        None => drop(crate::print(learned.as_bytes())?),
    }
    Ok(code)
}

/// Tells what a policy would have decided about each thing that a log has, where that is something
/// else than what was decided.
pub(crate) fn run_replay(args: &Replay) -> Result<String, Error> {
    let loaded = policy::load_file(&args.policy, &args.policy_var)?;
    let (mut text, mut all, mut changed) = (String::new(), 0_u64, Vec::new());
    let file = BufReader::new(ambient::open("LOG", &args.log)?);
    each(&args.log, file, |record| {
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
            let act = record.act.key();
            changed.push(json!({
                "seq": record.seq, "op": act, "path": path, "to": to,
                "was": was, "is": is, "missing": missing,
            }));
        } else {
            let to = to.map(|to| format!(" to {to}")).unwrap_or_default();
            let _ = writeln!(text, "{was} became {is}: {} {path}{to}", record.act.key());
        }
    })?;
    if args.json {
        return Ok(format!("{:#}\n", json!({ "decisions": all, "changed": changed })));
    }
    if text.is_empty() {
        let _ = writeln!(text, "all {all} decisions are the same");
    }
    Ok(text)
}

/// Draws a log as a page: what to print, if it goes to no file.
pub(crate) fn report(args: &args::Report) -> Result<String, Error> {
    let fail = |why| Error::Log { path: args.log.clone(), why };
    let mut log = LogReader::new(BufReader::new(ambient::open("LOG", &args.log)?));
    let mut report = Report::default();
    for record in &mut log {
        report.add(&record.map_err(fail)?);
    }
    let page = report.to_html(log.header());
    match &args.output {
        Some(file) => ambient::write(file, page.as_bytes()).map(|()| String::new()),
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

fn each(path: &Path, log: impl BufRead, mut see: impl FnMut(&Record)) -> Result<(), Error> {
    for record in LogReader::new(log) {
        let fail = |why| Error::Log { path: path.to_owned(), why };
        see(&record.map_err(fail)?);
    }
    Ok(())
}
