//! Formats policy rules as text and JSON.

use palisade::policy::{Effect, Policy, Rule, RuleId, names_of_rights};
use palisade::vfs::escape;
use serde_json::{Value, json};

/// Formats a rule as `FILE:LINE: EFFECT PATTERN`.
pub(crate) fn rule_line(id: RuleId, rule: &Rule) -> String {
    let location = rule.place.as_ref().map_or_else(|| format!("rule {id}"), ToString::to_string);
    format!("{location}: {} {}", effect(rule.effect), escape::line(rule.glob.as_str()))
}

/// Formats a rule as a JSON object; `null` if the policy has no such rule.
pub(crate) fn rule_json(policy: &Policy, id: RuleId) -> Value {
    let Some(rule) = policy.rule(id) else { return Value::Null };
    let location = rule.place.as_ref();
    json!({
        "rule": id.index(),
        "file": location.and_then(|location| location.file.as_deref()),
        "line": location.map(|location| location.line),
        "effect": effect(rule.effect),
        "path": rule.glob.as_str(),
    })
}

fn effect(effect: Effect) -> String {
    let list = |rights| names_of_rights(rights).join(", ");
    match effect {
        Effect::Allow(rights) => format!("allow {}", list(rights)),
        Effect::Deny(rights) => format!("deny {}", list(rights)),
        Effect::Hide => "hide".to_owned(),
    }
}
