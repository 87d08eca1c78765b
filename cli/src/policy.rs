//! Policies as files: read, explained and checked.
//!
//! Everything that is told here is asked of the compiled policy, which is also what enforces it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;
use palisade::policy::document::{Document, DocumentError, Variables};
use palisade::policy::{
    Comparison, Effect, FindingKind, Glob, Operation, Policy, PolicyError, Rule, RuleId, Verdict,
    Witness, did_you_mean, words_of_rights,
};
use palisade::vfs::{Descent, Rights, escape};
use serde_json::{Value, json};

use crate::args::{Check, Explain, Run};
use crate::coverage::TreeReport;
use crate::error::Error;
use crate::fault::{Fault, Said, Text};
use crate::guard::{Guard, Surroundings};
use crate::include::Includes;
use crate::place::Place;
use crate::sandbox::Sandbox;
use crate::{ambient, print};

/// What the exit code says of a check that found something.
const EXIT_FOUND: u8 = 1;

/// Where a sandbox has its policy from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file of its own.
    File { path: PathBuf, said: Said },
    /// The table `policy` of this `palisade.toml`.
    Section(Text),
}

/// A policy that was read and compiled.
pub(crate) struct Loaded {
    /// What it was read from, and the directory at which its own paths start.
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) document: Document,
    pub(crate) policy: Arc<Policy>,
}

impl Source {
    /// Reads it.
    pub(crate) fn load(&self, variables: &Variables) -> Result<Loaded, Error> {
        match self {
            Source::File { path, said } => {
                let text = ambient::read_policy(said.by(), path).map_err(|why| said.blame(why))?;
                load(path, &text, variables)
            }
            Source::Section(text) => {
                let (name, content) = (text.name(), text.inner());
                let read = Document::parse_section(
                    name,
                    content,
                    "policy",
                    variables,
                    &mut Includes::of(Path::new(name)),
                );
                compile(name, read.map_err(refused)?)
            }
        }
    }
}

/// What stands between a sandbox's guest and its directories.
pub(crate) fn guard(
    sandbox: &Sandbox,
    run: &Run,
    guest: &Path,
    around: &Surroundings<'_>,
) -> Result<Guard, Error> {
    let variables = variables(&run.policy_var)?;
    let loaded = match &sandbox.policy {
        Some(source) => {
            let loaded = source.load(&variables)?;
            refuse_unused(&variables, &[&loaded])?;
            Some(loaded)
        }
        None if !variables.is_empty() => return Err(Error::NoPolicy { option: "--policy-var" }),
        None => None,
    };
    Guard::new(run, loaded, guest, around)
}

/// The values that options give to variables.
pub(crate) fn variables(given: &[String]) -> Result<Variables, Error> {
    let cut = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err(Error::PolicyVariable { text: text.clone() }),
    };
    let mut variables = Variables::new();
    for text in given {
        let (name, value) = cut(text)?;
        if variables.insert(name.clone(), value).is_some() {
            return Err(Error::VariableTwice { name });
        }
    }
    Ok(variables)
}

fn load(path: &Path, text: &str, variables: &Variables) -> Result<Loaded, Error> {
    let name = path.to_string_lossy();
    let read = Document::parse(&name, text, variables, &mut Includes::of(path)).map_err(refused)?;
    compile(&name, read)
}

fn compile(name: &str, document: Document) -> Result<Loaded, Error> {
    let policy = Arc::new(document.to_policy().map_err(Error::Policy)?.track_rules());
    let dir = Path::new(name).parent().unwrap_or(Path::new("")).to_owned();
    Ok(Loaded { name: name.to_owned(), dir, document, policy })
}

/// Refuses variables that none of these policies names.
fn refuse_unused(variables: &Variables, policies: &[&Loaded]) -> Result<(), Error> {
    let is_used = |name: &String| policies.iter().any(|it| it.document.variables.contains(name));
    match variables.keys().find(|name| !is_used(name)) {
        Some(name) => Err(Error::UnusedVariable { name: name.clone() }),
        None => Ok(()),
    }
}

fn read_file(path: &Path, variables: &Variables) -> Result<Loaded, Error> {
    load(path, &ambient::read_policy("a policy", path)?, variables)
}

/// Reads the policy of a command.
pub(crate) fn load_file(path: &Path, given: &[String]) -> Result<Loaded, Error> {
    let variables = variables(given)?;
    let loaded = read_file(path, &variables)?;
    refuse_unused(&variables, &[&loaded])?;
    Ok(loaded)
}

/// All that is wrong with a document, in one message; what is in the same text is pointed at.
fn refused(error: DocumentError) -> Error {
    let mut faults = error.faults.into_iter();
    let Some(first) = faults.next() else { return Error::Policy(PolicyError::TooManyRules) };
    let text: Text = Arc::new(NamedSource::new(&first.source.name, first.source.text.to_string()));
    let mut help = first.help.unwrap_or_default();
    let mut fault = Fault::new(&text, first.message).label("here", first.span);
    for other in faults {
        if Arc::ptr_eq(&other.source, &first.source) {
            let hint = other.help.map(|help| format!(" ({help})")).unwrap_or_default();
            fault = fault.label(&format!("{}{hint}", other.message), other.span);
        } else {
            let _ = write!(help, "\nand {other}");
        }
    }
    if error.has_more {
        help.push_str("\nand there is more");
    }
    fault.with_help((!help.is_empty()).then_some(help)).into()
}

/// `palisade explain`.
pub(crate) fn explain(args: &Explain) -> Result<String, Error> {
    let Loaded { policy, .. } = load_file(&args.policy, &args.policy_var)?;
    let path = Place::new(&args.path)?.below_root();
    let walked = Descent::new(&path)
        .map_err(|errno| Error::GuestPath { path: args.path.clone(), why: errno.to_string() })?;
    let operations = match &args.op {
        Some(name) => vec![operation(name)?],
        None => Operation::NAMED.iter().map(|(_, operation)| *operation).collect(),
    };
    let judge =
        |operation: Operation| (operation, policy.judge(Policy::START, walked, operation.needs()));
    let verdicts: Vec<_> = operations.into_iter().map(judge).collect();
    if args.json {
        let all: Vec<_> =
            verdicts.iter().map(|(op, it)| verdict_json(&policy, walked, *op, it)).collect();
        return print::json_page(&json!({ "path": format!("/{path}"), "verdicts": all }));
    }
    let mut text = format!("/{}\n", escape::name(&path));
    let is_short = args.op.is_none();
    for (operation, verdict) in &verdicts {
        if is_short {
            let _ = writeln!(text, "  {:<7}  {operation}", decision(verdict));
        } else {
            let _ = writeln!(text, "  {operation}: {}", decision(verdict));
        }
    }
    match verdicts.as_slice() {
        [(_, verdict)] => text.push_str(&reasons(&policy, walked, verdict)),
        _ => text.push_str(&matched(&policy, policy.at(&format!("/{path}")))),
    }
    Ok(text)
}

fn operation(name: &str) -> Result<Operation, Error> {
    Operation::named(name).ok_or_else(|| {
        let known: Vec<_> = Operation::NAMED.iter().map(|(name, _)| *name).collect();
        let question = did_you_mean(name, &known).map(|it| it + " ").unwrap_or_default();
        let help = format!("{question}One can ask for `{}`", known.join("`, `"));
        Error::Operation { name: name.to_owned(), help }
    })
}

fn decision(verdict: &Verdict<'_>) -> &'static str {
    match (verdict.is_allowed(), verdict.is_hidden()) {
        (true, _) => "allow",
        (false, true) => "hidden",
        (false, false) => "refuse",
    }
}

/// Where it was decided, by what, and what would change it.
fn reasons(policy: &Policy, walked: Descent<'_>, verdict: &Verdict<'_>) -> String {
    let mut text = String::new();
    let at = format!("/{}", walked.split_at(verdict.passed()).0.as_str());
    if verdict.passed() < walked.depth() {
        let _ = writeln!(text, "  on the way: `{}` is as far as one gets", escape::name(&at));
    }
    match verdict.rule().and_then(|id| Some((id, policy.rule(id)?))) {
        Some((id, rule)) => {
            let _ = writeln!(text, "  by {}", rule_line(id, rule));
        }
        None if verdict.is_allowed() => {
            let _ = writeln!(text, "  as the way to what rules allow further down");
        }
        None => {
            let _ = writeln!(text, "  because nothing allows it: what no rule allows is refused");
        }
    }
    let others = verdict.matched().iter().filter(|id| Some(**id) != verdict.rule());
    for (id, rule) in others.filter_map(|id| Some((*id, policy.rule(id.to_owned())?))) {
        let _ = writeln!(text, "  also matches {}", rule_line(id, rule));
    }
    if !verdict.is_allowed() {
        let grant = words_of_rights(verdict.grant()).join("\", \"");
        let is_barred = verdict.rule().is_some();
        let first = if is_barred { "take that rule back, and " } else { "" };
        let _ = writeln!(
            text,
            "  to allow it: {first}allow `path = \"{}\"`, `rights = [\"{grant}\"]`",
            escape::name(&Glob::escape(&at))
        );
    }
    text
}

fn matched(policy: &Policy, state: palisade::policy::State) -> String {
    let mut text = String::new();
    for (id, rule) in policy.matched(state).iter().filter_map(|id| Some((*id, policy.rule(*id)?))) {
        let _ = writeln!(text, "  matches {}", rule_line(id, rule));
    }
    text
}

pub(crate) fn rule_line(id: RuleId, rule: &Rule) -> String {
    let place = rule.place.as_ref().map_or_else(|| format!("rule {id}"), ToString::to_string);
    format!("{place}: {} {}", effect(rule.effect), escape::line(rule.glob.as_str()))
}

fn effect(effect: Effect) -> String {
    let said = |rights| words_of_rights(rights).join(", ");
    match effect {
        Effect::Allow(rights) => format!("allow {}", said(rights)),
        Effect::Deny(rights) => format!("deny {}", said(rights)),
        Effect::Hide => "hide".to_owned(),
    }
}

pub(crate) fn rule_json(policy: &Policy, id: RuleId) -> Value {
    let Some(rule) = policy.rule(id) else { return Value::Null };
    let place = rule.place.as_ref();
    json!({
        "rule": id.index(),
        "file": place.and_then(|place| place.file.as_deref()),
        "line": place.map(|place| place.line),
        "effect": effect(rule.effect),
        "path": rule.glob.as_str(),
    })
}

fn verdict_json(
    policy: &Policy,
    walked: Descent<'_>,
    operation: Operation,
    verdict: &Verdict<'_>,
) -> Value {
    json!({
        "op": operation.key(),
        "decision": decision(verdict),
        "at": format!("/{}", walked.split_at(verdict.passed()).0.as_str()),
        "rule": verdict.rule().map(|id| rule_json(policy, id)),
        "matched": verdict.matched().iter().map(|id| rule_json(policy, *id)).collect::<Vec<_>>(),
        "wanted": words_of_rights(verdict.wanted()),
        "missing": words_of_rights(verdict.missing()),
        "grant": words_of_rights(verdict.grant()),
    })
}

/// `palisade check`: what is to be told, and the exit code.
pub(crate) fn check(args: &Check) -> Result<(String, u8), Error> {
    let variables = variables(&args.policy_var)?;
    let new = read_file(&args.policy, &variables)?;
    let old = args.against.as_deref().map(|path| read_file(path, &variables)).transpose()?;
    let policies: Vec<_> = [&new].into_iter().chain(&old).collect();
    refuse_unused(&variables, &policies)?;
    let (new, old) = (new.policy, old.map(|old| old.policy));
    let findings = new.findings();
    let trees = TreeReport::new(&new, &args.mounts)?;
    let compared = old.as_ref().map(|old| new.compare(old));
    let is_wider = compared.as_ref().is_some_and(|it| !it.is_at_most());
    let is_unmatched = trees.as_ref().is_some_and(|trees| !trees.unmatched.is_empty());
    let is_sound = findings.is_empty() && !is_unmatched && !is_wider;
    let code = if is_sound { 0 } else { EXIT_FOUND };
    if args.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|it| {
                let by: Vec<_> = it.by.iter().map(|id| rule_json(&new, *id)).collect();
                json!({ "rule": rule_json(&new, it.rule), "what": finding(it.kind), "by": by })
            })
            .collect();
        let compared = compared.zip(old).map(|(it, old)| comparison_json(&it, &new, &old));
        let files = trees.map(|trees| trees.json(&new));
        let rules = new.rules().len();
        let all = json!({
            "rules": rules, "findings": findings, "files": files, "against": compared,
        });
        return Ok((print::json_page(&all)?, code));
    }
    let mut text = String::new();
    for it in &findings {
        let Some(rule) = new.rule(it.rule) else { continue };
        let _ = writeln!(text, "{}\n  {}", rule_line(it.rule, rule), finding(it.kind));
        for (id, rule) in it.by.iter().filter_map(|id| Some((*id, new.rule(*id)?))) {
            let _ = writeln!(text, "  see {}", rule_line(id, rule));
        }
    }
    if let Some(trees) = &trees {
        text.push_str(&trees.text(&new));
    }
    if let Some((compared, old)) = compared.zip(old) {
        text.push_str(&comparison(&compared, &new, &old));
    }
    if text.is_empty() {
        let matched = if trees.is_some() { " and matches something" } else { "" };
        let count = new.rules().len();
        let _ = writeln!(text, "{count} rules, and each of them decides something{matched}");
    }
    Ok((text, code))
}

fn finding(kind: FindingKind) -> String {
    match kind {
        FindingKind::NeverMatches => "all that it is about is hidden".to_owned(),
        FindingKind::NeverDecides => "without it the policy would say the same".to_owned(),
        FindingKind::NeverGrants(rights) => {
            let words = words_of_rights(rights).join(", ");
            format!("it allows {words}, which is denied at each of its paths")
        }
    }
}

/// What became allowed and what became denied, each with a path that shows it.
fn comparison(compared: &Comparison, new: &Policy, old: &Policy) -> String {
    let mut text = String::new();
    let mut tell = |title: &str, witnesses: &[Witness], more: &Policy, less: &Policy| {
        for it in witnesses {
            let _ = writeln!(text, "{title} `/{}`: {}", escape::name(&*it.path), gained(it));
            for (policy, rules) in [(more, &it.rules), (less, &it.than_rules)] {
                for id in rules {
                    if let Some(rule) = policy.rule(*id) {
                        let _ = writeln!(text, "  by {}", rule_line(*id, rule));
                    }
                }
            }
        }
    };
    tell("became allowed at", &compared.more, new, old);
    tell("became denied at", &compared.less, old, new);
    if compared.cut {
        text.push_str("the policies are too large to be compared to the end\n");
    }
    if text.is_empty() {
        text.push_str("both policies say the same of every path\n");
    }
    text
}

fn gained(witness: &Witness) -> String {
    let words = words_of_rights(witness.gained).join(", ");
    match (witness.shown, witness.gained == Rights::empty()) {
        (true, true) => "that there is something".to_owned(),
        (true, false) => format!("that there is something, and {words}"),
        (false, _) => words,
    }
}

fn comparison_json(compared: &Comparison, new: &Policy, old: &Policy) -> Value {
    let tell = |witnesses: &[Witness], more: &Policy, less: &Policy| -> Vec<Value> {
        let tell = |it: &Witness| {
            let by = |policy: &Policy, rules: &[RuleId]| -> Vec<Value> {
                rules.iter().map(|id| rule_json(policy, *id)).collect()
            };
            json!({
                "path": format!("/{}", it.path),
                "rights": words_of_rights(it.gained),
                "shown": it.shown,
                "by": by(more, &it.rules),
                "than": by(less, &it.than_rules),
            })
        };
        witnesses.iter().map(tell).collect()
    };
    json!({
        "allowed": tell(&compared.more, new, old),
        "denied": tell(&compared.less, old, new),
        "cut": compared.cut,
    })
}
