//! Reports of rules that match nothing: in the trees that `check` is given, and in a run.

use std::fmt::Write as _;

use palisade::policy::{Effect, Policy, RuleId, TreeVisit};
use palisade::vfs::escape;
use serde_json::{Value, json};

use crate::args::Mounts;
use crate::changes::Format;
use crate::error::Error;
use crate::guard::Guard;
use crate::layout::{self, Layout};
use crate::place::Place;
use crate::policy::{rule_json, rule_line};
use crate::{print, sandbox};

/// Rules that a run names at its end.
const NAMED_IN_RUN_MAX: usize = 4;

/// What holding a policy against trees found.
pub(crate) struct TreeReport {
    /// The rules that match nothing, each with the nearest path if one is like it.
    pub(crate) unmatched: Vec<(RuleId, Option<String>)>,
    visit: TreeVisit,
}

impl TreeReport {
    /// Holds `policy` against what `mounts` open; `None` without any.
    pub(crate) fn new(policy: &Policy, mounts: &Mounts) -> Result<Option<Self>, Error> {
        let mounts = sandbox::mounts(mounts)?;
        if mounts.is_empty() {
            return Ok(None);
        }
        let Layout { preopens, .. } = layout::open(&mounts, &Guard::none())?;
        let mut visit = TreeVisit::default();
        let mut trees = Vec::new();
        for preopen in preopens {
            let at = format!("/{}", Place::new(&preopen.name)?.below_root());
            visit.merge(policy.visit_tree(&preopen.dir, &at));
            trees.push((at, preopen.dir));
        }
        let rules = policy.unmatched_rules().unwrap_or_default();
        let mut nearest = vec![None; rules.len()];
        for (at, dir) in trees {
            let found = policy.nearest_paths(&rules, &dir, &at);
            for (nearest, found) in nearest.iter_mut().zip(found) {
                *nearest = nearest.take().or(found);
            }
        }
        Ok(Some(TreeReport { unmatched: rules.into_iter().zip(nearest).collect(), visit }))
    }

    /// As lines, one for each rule and each directory that could not be read.
    pub(crate) fn text(&self, policy: &Policy) -> String {
        let mut text = String::new();
        for (id, nearest) in &self.unmatched {
            let Some(rule) = policy.rule(*id) else { continue };
            let _ = write!(text, "{}\n  matches nothing in what is given", rule_line(*id, rule));
            if let Some(path) = nearest {
                let _ = write!(text, "; the nearest name is `{}`", escape::name(path));
            }
            text.push('\n');
        }
        let unread = &self.visit.unread;
        for (path, errno) in &unread.first {
            let _ = writeln!(text, "cannot read `{}`: {errno}", escape::name(path));
        }
        let more = unread.count.saturating_sub(unread.first.len() as u64);
        if more > 0 {
            let _ = writeln!(text, "cannot read {more} more directories");
        }
        text
    }

    pub(crate) fn json(&self, policy: &Policy) -> Value {
        let rule = |(id, nearest): &(RuleId, Option<String>)| json!({ "rule": rule_json(policy, *id), "nearest": nearest });
        let unread = &self.visit.unread;
        let paths = unread.first.iter();
        json!({
            "names": self.visit.names,
            "unmatched": self.unmatched.iter().map(rule).collect::<Vec<_>>(),
            "unread": unread.count,
            "unreadPaths": paths.map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        })
    }
}

/// At the end of a run, names the rules that hide or deny something and matched no path. An allow
/// rule that matches nothing shows by a refusal; a fault in these shows by nothing else.
pub(crate) fn report_run(policy: &Policy, format: Format) -> Result<(), Error> {
    let mut rules = policy.unmatched_rules().unwrap_or_default();
    let takes_away = |id: &RuleId| match policy.rule(*id).map(|rule| rule.effect) {
        Some(Effect::Hide | Effect::Deny(_)) => true,
        Some(Effect::Allow(_)) | None => false,
    };
    rules.retain(takes_away);
    rules.sort_by_key(|id| policy.rule(*id).map(|rule| rule.effect != Effect::Hide));
    if rules.is_empty() {
        return Ok(());
    }
    let (count, named) = (rules.len(), rules.iter().take(NAMED_IN_RUN_MAX));
    if format == Format::Json {
        let named: Vec<_> = named.map(|id| rule_json(policy, *id)).collect();
        let report = json!({ "unmatchedRules": named, "unmatchedCount": count });
        print::err(&print::json_line(&report)?);
        return Ok(());
    }
    let mut text = String::new();
    for (id, rule) in named.filter_map(|id| Some((*id, policy.rule(*id)?))) {
        let _ = writeln!(text, "palisade: no path matched {}", rule_line(id, rule));
    }
    if let Some(more) = count.checked_sub(NAMED_IN_RUN_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "palisade: no path matched {more} more rules that hide or deny");
    }
    print::err(&text);
    Ok(())
}
