//! `palisade check`: rules without effect, unmatched rules, and differences between two policies.

use std::fmt::Write as _;

use palisade::policy::{
    Comparison, Finding, FindingKind, Policy, RuleId, Witness, names_of_rights,
};
use palisade::vfs::{Rights, escape};
use serde_json::{Value, json};

use crate::args::Check;
use crate::coverage::TreeReport;
use crate::error::Error;
use crate::policy_file::{load_file, parse_variables, refuse_unused};
use crate::print;
use crate::rule_format::{rule_json, rule_line};

/// Exit code of a check with findings.
const EXIT_FINDINGS: u8 = 1;

/// Runs `palisade check`. Returns the text for standard output and the exit code.
pub(crate) fn run(args: &Check) -> Result<(String, u8), Error> {
    let variables = parse_variables(&args.policy_var)?;
    let new = load_file(&args.policy, &variables)?;
    let old = args.against.as_deref().map(|path| load_file(path, &variables)).transpose()?;
    let policies: Vec<_> = [&new].into_iter().chain(&old).collect();
    refuse_unused(&variables, &policies)?;
    let (new, old) = (new.policy, old.map(|old| old.policy));
    let findings = new.findings();
    let trees = TreeReport::new(&new, &args.mounts)?;
    let compared = old.as_ref().map(|old| new.compare(old));
    let is_wider = compared.as_ref().is_some_and(|it| !it.is_at_most());
    let has_unmatched = trees.as_ref().is_some_and(|trees| !trees.unmatched.is_empty());
    let is_clean = findings.is_empty() && !has_unmatched && !is_wider;
    let code = if is_clean { 0 } else { EXIT_FINDINGS };
    if args.json {
        let findings: Vec<_> = findings.iter().map(|it| finding_json(&new, it)).collect();
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
        let _ = writeln!(text, "{}\n  {}", rule_line(it.rule, rule), finding_text(it.kind));
        for (id, rule) in it.by.iter().filter_map(|id| Some((*id, new.rule(*id)?))) {
            let _ = writeln!(text, "  see {}", rule_line(id, rule));
        }
    }
    if let Some(trees) = &trees {
        text.push_str(&trees.text(&new));
    }
    if let Some((compared, old)) = compared.zip(old) {
        text.push_str(&comparison_text(&compared, &new, &old));
    }
    if text.is_empty() {
        let matched = if trees.is_some() { " and matches a path" } else { "" };
        let count = new.rules().len();
        let _ = writeln!(text, "{count} rules; each has an effect{matched}");
    }
    Ok((text, code))
}

fn finding_text(kind: FindingKind) -> String {
    match kind {
        FindingKind::NeverMatches => "never applies: all its paths are hidden".to_owned(),
        FindingKind::NeverDecides => {
            "has no effect: without it, each decision would be the same".to_owned()
        }
        FindingKind::NeverGrants(rights) => {
            let words = names_of_rights(rights).join(", ");
            format!("allows {words}, but other rules deny it at each of its paths")
        }
    }
}

fn finding_json(policy: &Policy, finding: &Finding) -> Value {
    let by: Vec<_> = finding.by.iter().map(|id| rule_json(policy, *id)).collect();
    json!({ "rule": rule_json(policy, finding.rule), "what": finding_text(finding.kind), "by": by })
}

/// Formats the newly allowed and the newly denied rights, each with an example path.
fn comparison_text(compared: &Comparison, new: &Policy, old: &Policy) -> String {
    let mut text = String::new();
    let mut list = |title: &str, witnesses: &[Witness], wider: &Policy, narrower: &Policy| {
        for it in witnesses {
            let _ = writeln!(text, "{title} `/{}`: {}", escape::name(&*it.path), gained_rights(it));
            for (policy, rules) in [(wider, &it.rules), (narrower, &it.than_rules)] {
                for id in rules {
                    if let Some(rule) = policy.rule(*id) {
                        let _ = writeln!(text, "  by {}", rule_line(*id, rule));
                    }
                }
            }
        }
    };
    list("newly allowed at", &compared.more, new, old);
    list("newly denied at", &compared.less, old, new);
    if compared.cut {
        text.push_str("the comparison is incomplete: the policies are too large\n");
    }
    if text.is_empty() {
        text.push_str("both policies decide the same for each path\n");
    }
    text
}

fn gained_rights(witness: &Witness) -> String {
    let words = names_of_rights(witness.gained).join(", ");
    match (witness.shown, witness.gained == Rights::empty()) {
        (true, true) => "the path becomes visible".to_owned(),
        (true, false) => format!("the path becomes visible, and {words}"),
        (false, _) => words,
    }
}

fn comparison_json(compared: &Comparison, new: &Policy, old: &Policy) -> Value {
    let list = |witnesses: &[Witness], wider: &Policy, narrower: &Policy| -> Vec<Value> {
        let witness_json = |it: &Witness| {
            let by = |policy: &Policy, rules: &[RuleId]| -> Vec<Value> {
                rules.iter().map(|id| rule_json(policy, *id)).collect()
            };
            json!({
                "path": format!("/{}", it.path),
                "rights": names_of_rights(it.gained),
                "shown": it.shown,
                "by": by(wider, &it.rules),
                "than": by(narrower, &it.than_rules),
            })
        };
        witnesses.iter().map(witness_json).collect()
    };
    json!({
        "allowed": list(&compared.more, new, old),
        "denied": list(&compared.less, old, new),
        "cut": compared.cut,
    })
}
