//! Finds the rules of a policy that match nothing in a file tree, for `palisade check`.

use std::fmt::Write as _;

use palisade::policy::{Policy, RuleId, TreeVisit};
use palisade::vfs::escape;
use serde_json::{Value, json};

use crate::args::Mounts;
use crate::confinement::Confinement;
use crate::error::Error;
use crate::guest_path::GuestPath;
use crate::preopens::{self, Preopens};
use crate::rule_format::{rule_json, rule_line};
use crate::sandbox;

/// The unmatched rules of a policy after a walk of file trees.
pub(crate) struct TreeReport {
    /// Each unmatched rule, with the path that is most similar to its pattern, if there is one.
    pub(crate) unmatched: Vec<(RuleId, Option<String>)>,
    visit: TreeVisit,
}

impl TreeReport {
    /// Walks the trees of `mounts` with `policy`. Returns `None` if there are no mounts.
    pub(crate) fn new(policy: &Policy, mounts: &Mounts) -> Result<Option<Self>, Error> {
        let mounts = sandbox::mounts(mounts)?;
        if mounts.is_empty() {
            return Ok(None);
        }
        let Preopens { dirs, .. } = preopens::open(&mounts, &Confinement::default())?;
        let mut visit = TreeVisit::default();
        let mut trees = Vec::new();
        for preopen in dirs {
            let path = format!("/{}", GuestPath::new(&preopen.name)?.path_from_root());
            visit.merge(policy.visit_tree(&preopen.dir, &path));
            trees.push((path, preopen.dir));
        }
        let rules = policy.unmatched_rules().unwrap_or_default();
        let mut nearest = vec![None; rules.len()];
        for (path, dir) in trees {
            let candidates = policy.nearest_paths(&rules, &dir, &path);
            for (nearest, candidate) in nearest.iter_mut().zip(candidates) {
                *nearest = nearest.take().or(candidate);
            }
        }
        Ok(Some(TreeReport { unmatched: rules.into_iter().zip(nearest).collect(), visit }))
    }

    /// Formats one entry for each unmatched rule and each directory that could not be read.
    pub(crate) fn text(&self, policy: &Policy) -> String {
        let mut text = String::new();
        for (id, nearest) in &self.unmatched {
            let Some(rule) = policy.rule(*id) else { continue };
            let _ = write!(text, "{}\n  matches no path of the mounts", rule_line(*id, rule));
            if let Some(path) = nearest {
                let _ = write!(text, "; the nearest path is `{}`", escape::name(path));
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

    /// Formats the report as a JSON object.
    pub(crate) fn json(&self, policy: &Policy) -> Value {
        let unmatched = self
            .unmatched
            .iter()
            .map(|(id, nearest)| json!({ "rule": rule_json(policy, *id), "nearest": nearest }));
        let unread = &self.visit.unread;
        let paths = unread.first.iter();
        json!({
            "names": self.visit.names,
            "unmatched": unmatched.collect::<Vec<_>>(),
            "unread": unread.count,
            "unreadPaths": paths.map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        })
    }
}
