//! `palisade explain`: the decisions of a policy about a path, and the rules that cause them.
//!
//! The decisions come from the compiled policy, the same object that enforces the rules.

use std::fmt::Write as _;

use palisade::policy::{Glob, Operation, Policy, State, Verdict, did_you_mean, names_of_rights};
use palisade::vfs::{Descent, escape};
use serde_json::{Value, json};

use crate::args::Explain;
use crate::error::{CommandError, Error};
use crate::guest_path::{GuestPath, GuestPathError};
use crate::policy_file::{LoadedPolicy, load_argument};
use crate::print;
use crate::rule_format::{rule_json, rule_line};

/// An unknown value of `--op`.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("unknown operation `{}`", escape::name(.name))]
#[diagnostic(code(palisade::operation), help("{help}"))]
struct OperationError {
    name: String,
    help: String,
}

impl CommandError for OperationError {}

/// Runs `palisade explain`. Returns the text for standard output.
pub(crate) fn run(args: &Explain) -> Result<String, Error> {
    let LoadedPolicy { policy, .. } = load_argument(&args.policy, &args.policy_var)?;
    let path = GuestPath::new(&args.path)?.path_from_root();
    let descent = Descent::new(&path)
        .map_err(|errno| GuestPathError { path: args.path.clone(), why: errno.to_string() })?;
    let operations = match &args.op {
        Some(name) => vec![parse_operation(name)?],
        None => Operation::NAMED.iter().map(|(_, operation)| *operation).collect(),
    };
    let judge =
        |operation: Operation| (operation, policy.judge(Policy::START, descent, operation.needs()));
    let verdicts: Vec<_> = operations.into_iter().map(judge).collect();
    if args.json {
        let all: Vec<_> =
            verdicts.iter().map(|(op, it)| verdict_json(&policy, descent, *op, it)).collect();
        return print::json_page(&json!({ "path": format!("/{path}"), "verdicts": all }));
    }
    let mut text = format!("/{}\n", escape::name(&path));
    let is_table = args.op.is_none();
    for (operation, verdict) in &verdicts {
        if is_table {
            let _ = writeln!(text, "  {:<7}  {operation}", decision(verdict));
        } else {
            let _ = writeln!(text, "  {operation}: {}", decision(verdict));
        }
    }
    match verdicts.as_slice() {
        [(_, verdict)] => text.push_str(&reasons(&policy, descent, verdict)),
        _ => text.push_str(&matched_rules(&policy, policy.at(&format!("/{path}")))),
    }
    Ok(text)
}

fn parse_operation(name: &str) -> Result<Operation, OperationError> {
    Operation::named(name).ok_or_else(|| {
        let known: Vec<_> = Operation::NAMED.iter().map(|(name, _)| *name).collect();
        let suggestion = did_you_mean(name, &known).map(|it| it + " ").unwrap_or_default();
        let help = format!("{suggestion}The operations are `{}`", known.join("`, `"));
        OperationError { name: name.to_owned(), help }
    })
}

fn decision(verdict: &Verdict<'_>) -> &'static str {
    match (verdict.is_allowed(), verdict.is_hidden()) {
        (true, _) => "allow",
        (false, true) => "hidden",
        (false, false) => "refuse",
    }
}

/// Formats the deciding rule, the other rules that match, and a rule that would allow the
/// operation.
fn reasons(policy: &Policy, descent: Descent<'_>, verdict: &Verdict<'_>) -> String {
    let mut text = String::new();
    let reached = format!("/{}", descent.split_at(verdict.passed()).0.as_str());
    if verdict.passed() < descent.depth() {
        let _ = writeln!(text, "  the path is not accessible beyond `{}`", escape::name(&reached));
    }
    match verdict.rule().and_then(|id| Some((id, policy.rule(id)?))) {
        Some((id, rule)) => {
            let _ = writeln!(text, "  by {}", rule_line(id, rule));
        }
        None if verdict.is_allowed() => {
            let _ = writeln!(text, "  because it leads to paths that rules allow");
        }
        None => {
            let _ = writeln!(text, "  because no rule allows it");
        }
    }
    let others = verdict.matched().iter().filter(|id| Some(**id) != verdict.rule());
    for (id, rule) in others.filter_map(|id| Some((*id, policy.rule(id.to_owned())?))) {
        let _ = writeln!(text, "  also matched by {}", rule_line(id, rule));
    }
    if !verdict.is_allowed() {
        let grant = names_of_rights(verdict.grant()).join("\", \"");
        let first = if verdict.rule().is_some() { "remove that rule and add" } else { "add" };
        let path = Glob::escape(&reached);
        let _ = writeln!(
            text,
            "  to allow it, {first} an allow rule with `path = \"{}\"`, `rights = [\"{grant}\"]`",
            escape::name(&path)
        );
    }
    text
}

fn matched_rules(policy: &Policy, state: State) -> String {
    let mut text = String::new();
    for (id, rule) in policy.matched(state).iter().filter_map(|id| Some((*id, policy.rule(*id)?))) {
        let _ = writeln!(text, "  matched by {}", rule_line(id, rule));
    }
    text
}

fn verdict_json(
    policy: &Policy,
    descent: Descent<'_>,
    operation: Operation,
    verdict: &Verdict<'_>,
) -> Value {
    json!({
        "op": operation.key(),
        "decision": decision(verdict),
        "at": format!("/{}", descent.split_at(verdict.passed()).0.as_str()),
        "rule": verdict.rule().map(|id| rule_json(policy, id)),
        "matched": verdict.matched().iter().map(|id| rule_json(policy, *id)).collect::<Vec<_>>(),
        "wanted": names_of_rights(verdict.wanted()),
        "missing": names_of_rights(verdict.missing()),
        "grant": names_of_rights(verdict.grant()),
    })
}
