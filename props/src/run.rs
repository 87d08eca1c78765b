//! Runs a script on a filesystem and on the model, side by side.
//!
//! Beyond what each operation answers, two things are compared: equal nodes must have equal
//! identities and different nodes different ones, all along; and at the end the whole tree must be
//! the model's, also when it is looked at from behind.

use std::collections::BTreeMap;

use palisade_vfs::{Dir, DirRef};

use crate::live::{Live, Run};
use crate::model::Model;
use crate::outcome::{Outcome, Seen};
use crate::report::Fault;
use crate::script::{Line, Script};
use crate::subject::{Promises, Subject};
use crate::tree::Tree;

/// Runs `script` on a fresh filesystem and on the model. Operations that need what the subject
/// does not promise are left out.
///
/// Errors: the first difference, from the model or from what the script expects.
pub fn differ(subject: &dyn Subject, case: &str, script: &Script) -> Result<(), Fault> {
    let fault = |at: Option<usize>, what: String| Fault {
        case: case.to_owned(),
        what,
        script: marked(script, at),
    };
    let world = subject
        .fresh(&Tree::new())
        .map_err(|errno| fault(None, format!("there is no fresh filesystem: {errno}")))?;
    let mut pair = Pair::new(&world.dir, subject.promises(), Model::new());
    for (nth, line) in script.lines.iter().enumerate() {
        pair.step(line).map_err(|what| fault(Some(nth), what))?;
    }
    pair.same_tree(&*world.dir, world.reveal()).map_err(|what| fault(None, what))
}

/// The script with an arrow before line `at`.
pub(crate) fn marked(script: &Script, at: Option<usize>) -> String {
    let mut out = String::new();
    for (nth, line) in script.lines.iter().enumerate() {
        let mark = if Some(nth) == at { "      # <- here" } else { "" };
        out.push_str(&format!("{line}{mark}\n"));
    }
    out
}

/// A filesystem, and the model that it is compared with.
pub(crate) struct Pair {
    pub(crate) live: Live,
    pub(crate) model: Model,
    promises: Promises,
    ids: Identities,
}

impl Pair {
    /// Both hold the same.
    pub(crate) fn new(dir: &DirRef, promises: Promises, model: Model) -> Self {
        Pair { live: Live::new(dir.clone()), model, promises, ids: Identities::default() }
    }

    /// Runs one line on both.
    ///
    /// Errors: how they differ, in a sentence.
    pub(crate) fn step(&mut self, line: &Line) -> Result<(), String> {
        if !self.promises.contains(line.op.needs()) {
            return Ok(());
        }
        let got = self.live.run(&line.op);
        self.compare(line, got)
    }

    /// Runs one line on the model, and compares what the filesystem came to.
    pub(crate) fn compare(&mut self, line: &Line, got: Outcome) -> Result<(), String> {
        let allowed: Vec<_> =
            self.model.apply(&line.op).into_iter().map(|it| it.on(self.promises)).collect();
        if !allowed.iter().any(|want| want.allows(&got)) {
            let want: Vec<_> = allowed.iter().map(Outcome::to_string).collect();
            return Err(format!("the model says `{}`, it says `{got}`", want.join(" | ")));
        }
        if !line.expect.is_empty()
            && !line.expect.iter().any(|want| want.allows_on(self.promises, &got))
        {
            return Err(format!("it says `{got}`"));
        }
        match (allowed.first(), &got) {
            (Some(Outcome::Stat(want)), Outcome::Stat(got)) => {
                self.ids.same(want, got, &self.model)
            }
            _ => Ok(()),
        }
    }

    /// Compares the trees; `reveal` is what is seen from behind.
    pub(crate) fn same_tree(
        &self,
        dir: &dyn Dir,
        reveal: Option<palisade_vfs::Result<Tree>>,
    ) -> Result<(), String> {
        let Some(want) = self.model.tree() else { return Ok(()) };
        let looks = [("it shows", Some(Tree::snapshot(dir))), ("there is", reveal)];
        for (how, got) in looks {
            match got {
                None => {}
                Some(Err(errno)) => return Err(format!("{how} no tree: {errno}")),
                Some(Ok(got)) if got == want => {}
                Some(Ok(got)) => return Err(format!("{how} another tree:\n{}", want.diff(&got))),
            }
        }
        Ok(())
    }
}

/// Which node of the model has which identity.
#[derive(Default)]
struct Identities {
    of: BTreeMap<u64, (u64, u64)>,
    whose: BTreeMap<(u64, u64), u64>,
}

impl Identities {
    fn same(&mut self, want: &Seen, got: &Seen, model: &Model) -> Result<(), String> {
        let node = want.id.1;
        if got.id.1 == 0 {
            return Err("a node has the number 0".to_owned());
        }
        if let Some(before) = self.of.insert(node, got.id)
            && before != got.id
        {
            return Err(format!("a node that was {before:?} is now {:?}", got.id));
        }
        match self.whose.insert(got.id, node) {
            // The number of a node that is gone may be used again.
            Some(other) if other != node && model.lives(other) => {
                Err(format!("two nodes are both {:?}", got.id))
            }
            _ => Ok(()),
        }
    }
}
