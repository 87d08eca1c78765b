//! `palisade replay`: compares the decisions of a recorded run with those of a policy.

use std::fmt::Write as _;

use palisade::policy::audit::{Decision, RecordedPath, replay};
use palisade::policy::names_of_rights;
use palisade::vfs::escape;
use serde_json::json;

use crate::args::Replay;
use crate::audit_reader::for_each_record;
use crate::error::Error;
use crate::{policy_file, print};

/// Runs `palisade replay`. Returns the text for standard output: the records whose decision
/// differs.
pub(crate) fn run(args: &Replay) -> Result<String, Error> {
    let loaded = policy_file::load_argument(&args.policy, &args.policy_var)?;
    let (mut text, mut count, mut changed) = (String::new(), 0_u64, Vec::new());
    for_each_record("LOG", &args.log, args.only_run.as_deref(), |record| {
        count += 1;
        let decided = replay(&loaded.policy, record);
        if decided.decision == record.decision {
            return;
        }
        let (was, is) = (word(record.decision), word(decided.decision));
        let path = record.path.as_str();
        let to = record.to.as_ref().map(RecordedPath::as_str);
        let missing = names_of_rights(decided.missing);
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
        return print::json_page(&json!({ "decisions": count, "changed": changed }));
    }
    if text.is_empty() {
        let _ = writeln!(text, "all {count} decisions are the same");
    }
    Ok(text)
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Hide => "hide",
    }
}
