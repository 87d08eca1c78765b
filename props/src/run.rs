//! Runs a script on a filesystem and on the model in lockstep.
//!
//! Besides the outcome of each operation, the comparison checks that equal nodes keep equal
//! identities and different nodes have different ones, and that the final tree equals the model's,
//! both through the filesystem and in its backing store.

use std::collections::BTreeMap;

use palisade_vfs::{Dir, DirRef};

use crate::live::{Live, Run};
use crate::model::Model;
use crate::outcome::{Outcome, StatSummary};
use crate::report::Fault;
use crate::script::{Line, Script};
use crate::subject::{Capabilities, Subject};
use crate::tree::Tree;

/// Compares a fresh filesystem with the model on `script`. Skips operations that need capabilities
/// that the subject lacks.
///
/// # Errors
///
/// The first difference from the model or from an expectation of the script.
pub fn compare_with_model(subject: &dyn Subject, case: &str, script: &Script) -> Result<(), Fault> {
    let fault = |at: Option<usize>, what: String| Fault {
        case: case.to_owned(),
        what,
        script: marked(script, at),
    };
    let world = subject
        .fresh(&Tree::new())
        .map_err(|errno| fault(None, format!("creating a filesystem failed: {errno}")))?;
    let mut pair = Pair::new(&world.dir, subject.capabilities(), Model::new());
    for (nth, line) in script.lines.iter().enumerate() {
        pair.step(line).map_err(|what| fault(Some(nth), what))?;
    }
    pair.same_tree(&*world.dir, world.backing_tree()).map_err(|what| fault(None, what))
}

/// Returns the script with line `at` marked.
pub(crate) fn marked(script: &Script, at: Option<usize>) -> String {
    let mut out = String::new();
    for (nth, line) in script.lines.iter().enumerate() {
        let mark = if Some(nth) == at { "      # <- here" } else { "" };
        out.push_str(&format!("{line}{mark}\n"));
    }
    out
}

/// A filesystem and the model that it is compared with.
pub(crate) struct Pair {
    pub(crate) live: Live,
    pub(crate) model: Model,
    capabilities: Capabilities,
    ids: Identities,
}

impl Pair {
    /// Starts with equal trees.
    pub(crate) fn new(dir: &DirRef, capabilities: Capabilities, model: Model) -> Self {
        Pair { live: Live::new(dir.clone()), model, capabilities, ids: Identities::default() }
    }

    /// Runs one line on both.
    ///
    /// # Errors
    ///
    /// A description of the difference.
    pub(crate) fn step(&mut self, line: &Line) -> Result<(), String> {
        if !self.capabilities.contains(line.op.needs()) {
            return Ok(());
        }
        let got = self.live.run(&line.op);
        self.compare(line, got)
    }

    /// Runs one line on the model and compares its outcome with `got`.
    pub(crate) fn compare(&mut self, line: &Line, got: Outcome) -> Result<(), String> {
        let allowed: Vec<_> =
            self.model.apply(&line.op).into_iter().map(|it| it.on(self.capabilities)).collect();
        if !allowed.iter().any(|want| want.allows(&got)) {
            let want: Vec<_> = allowed.iter().map(Outcome::to_string).collect();
            return Err(format!("the model returns `{}`, the subject `{got}`", want.join(" | ")));
        }
        if !line.expect.is_empty()
            && !line.expect.iter().any(|want| want.allows_on(self.capabilities, &got))
        {
            return Err(format!("the subject returns `{got}`"));
        }
        match (allowed.first(), &got) {
            (Some(Outcome::Stat(want)), Outcome::Stat(got)) => {
                self.ids.same(want, got, &self.model)
            }
            _ => Ok(()),
        }
    }

    /// Compares the trees; `backing_tree` is the tree of the backing store.
    pub(crate) fn same_tree(
        &self,
        dir: &dyn Dir,
        backing_tree: Option<palisade_vfs::Result<Tree>>,
    ) -> Result<(), String> {
        let Some(want) = self.model.tree() else { return Ok(()) };
        let looks =
            [("the filesystem", Some(Tree::snapshot(dir))), ("the backing store", backing_tree)];
        for (how, got) in looks {
            match got {
                None => {}
                Some(Err(errno)) => return Err(format!("{how} has no tree: {errno}")),
                Some(Ok(got)) if got == want => {}
                Some(Ok(got)) => {
                    return Err(format!("{how} has another tree:\n{}", want.diff(&got)));
                }
            }
        }
        Ok(())
    }
}

/// A bijection between the nodes of the model and the identities of the filesystem.
#[derive(Default)]
struct Identities {
    of: BTreeMap<u64, (u64, u64)>,
    whose: BTreeMap<(u64, u64), u64>,
}

impl Identities {
    fn same(&mut self, want: &StatSummary, got: &StatSummary, model: &Model) -> Result<(), String> {
        let node = want.id.1;
        if got.id.1 == 0 {
            return Err("a node has the inode number 0".to_owned());
        }
        if let Some(before) = self.of.insert(node, got.id)
            && before != got.id
        {
            return Err(format!("the identity of a node changed from {before:?} to {:?}", got.id));
        }
        match self.whose.insert(got.id, node) {
            // The inode number of a deleted node may be reused.
            Some(other) if other != node && model.is_alive(other) => {
                Err(format!("two nodes have the identity {:?}", got.id))
            }
            _ => Ok(()),
        }
    }
}
