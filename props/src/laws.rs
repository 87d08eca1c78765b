//! The laws of layers: of whatever holds a directory and shows it in another way.
//!
//! *Attenuation*: what succeeds under the layer succeeds without it, comes to the same, and leaves
//! the same tree; a listing may be shorter. *Transparency*: a layer that grants everything cannot
//! be told from none, errors included. *Idempotence*: the layer twice is the layer once.

use std::cell::RefCell;

use palisade_vfs::{DirRef, Result};
use proptest::test_runner::{TestCaseError, TestError};

use crate::generate::{Flavor, Runs};
use crate::live::{Live, Run};
use crate::op::Op;
use crate::outcome::{Outcome, Seen};
use crate::report::Fault;
use crate::run::marked;
use crate::script::Script;
use crate::tree::Tree;

/// A layer, and what it is laid over.
pub struct Layered<'l> {
    /// What to call it in a report.
    pub name: &'l str,
    /// A new empty filesystem, the same each time.
    pub base: &'l dyn Fn() -> Result<DirRef>,
    /// The layer over a filesystem.
    pub layer: &'l dyn Fn(DirRef) -> DirRef,
    /// What every run begins with, on the bare filesystem: the text form of a [`Tree`].
    pub tree: &'l str,
}

/// What two filesystems are held to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// All that comes of the one comes of the other.
    Equal,
    /// What succeeds under the layer, alone.
    Successes,
}

impl Layered<'_> {
    /// The smallest run that succeeds under the layer, and not without.
    #[must_use]
    pub fn attenuation_fault(&self, runs: u32) -> Option<Fault> {
        let bare = |dir: DirRef| dir;
        self.fault("attenuation", runs, &bare, self.layer, Held::Successes)
    }

    /// The smallest run by which the layer can be told from none.
    #[must_use]
    pub fn transparency_fault(&self, runs: u32) -> Option<Fault> {
        let bare = |dir: DirRef| dir;
        self.fault("transparency", runs, &bare, self.layer, Held::Equal)
    }

    /// The smallest run by which the layer twice can be told from the layer once.
    #[must_use]
    pub fn idempotence_fault(&self, runs: u32) -> Option<Fault> {
        let twice = |dir: DirRef| (self.layer)((self.layer)(dir));
        self.fault("idempotence", runs, self.layer, &twice, Held::Equal)
    }

    /// # Panics
    /// With the smallest run that succeeds under the layer, and not without.
    pub fn assert_attenuates(&self, runs: u32) {
        self.assert(self.attenuation_fault(runs));
    }

    /// # Panics
    /// With the smallest run by which the layer can be told from none.
    pub fn assert_transparent(&self, runs: u32) {
        self.assert(self.transparency_fault(runs));
    }

    /// # Panics
    /// With the smallest run by which the layer twice can be told from the layer once.
    pub fn assert_idempotent(&self, runs: u32) {
        self.assert(self.idempotence_fault(runs));
    }

    fn assert(&self, fault: Option<Fault>) {
        if let Some(fault) = fault {
            panic!("{}: {fault}", self.name);
        }
    }

    fn fault(
        &self,
        law: &str,
        runs: u32,
        one: &dyn Fn(DirRef) -> DirRef,
        two: &dyn Fn(DirRef) -> DirRef,
        held: Held,
    ) -> Option<Fault> {
        let last = RefCell::new(None);
        let run = |ops: &[Op]| {
            self.compare(ops, one, two, held).map_err(|(at, what)| Fault {
                case: law.to_owned(),
                what,
                script: format!("{}\n# ---\n{}", self.tree, marked(&Script::of_ops(ops), at)),
            })
        };
        let result = crate::runner(runs).run(&Runs(Flavor::Plain), |ops: Vec<Op>| {
            run(&ops).map_err(|fault| {
                *last.borrow_mut() = Some(fault);
                TestCaseError::fail("differs")
            })
        });
        match result {
            Ok(()) => None,
            Err(TestError::Fail(_, ops)) => run(&ops).err().or_else(|| last.take()),
            Err(TestError::Abort(why)) => Some(Fault {
                case: law.to_owned(),
                what: format!("the run was aborted: {why}"),
                script: String::new(),
            }),
        }
    }

    /// Runs operations on both. One that the second does not grant is not put to the first, if only
    /// successes count: so both go on from the same tree.
    fn compare(
        &self,
        ops: &[Op],
        one: &dyn Fn(DirRef) -> DirRef,
        two: &dyn Fn(DirRef) -> DirRef,
        held: Held,
    ) -> Result<(), (Option<usize>, String)> {
        let fresh = || -> Result<DirRef, String> {
            let dir = (self.base)().map_err(|errno| format!("there is no base: {errno}"))?;
            let tree = Tree::parse(self.tree)?;
            tree.build(&*dir).map_err(|errno| format!("there is no tree: {errno}"))?;
            Ok(dir)
        };
        let (below_one, below_two) =
            (fresh().map_err(|it| (None, it))?, fresh().map_err(|it| (None, it))?);
        let mut one = Live::new(one(below_one.clone()));
        let mut two = Live::new(two(below_two.clone()));
        for (nth, op) in ops.iter().enumerate() {
            let under = two.run(op);
            if held == Held::Successes && under.errno().is_some() {
                continue;
            }
            let without = one.run(op);
            if !alike(&without, &under, held) {
                let what = format!("one says `{without}`, the other `{under}`");
                return Err((Some(nth), what));
            }
        }
        let see = |dir: &DirRef| {
            Tree::snapshot(&**dir).map_err(|errno| (None, format!("there is no tree: {errno}")))
        };
        let (left, right) = (see(&below_one)?, see(&below_two)?);
        if left != right {
            return Err((None, format!("the trees differ:\n{}", left.diff(&right))));
        }
        Ok(())
    }
}

/// Whether two outcomes are the same, identities and the times of two moments aside.
fn alike(without: &Outcome, under: &Outcome, held: Held) -> bool {
    match (without, under) {
        (Outcome::Stat(one), Outcome::Stat(two)) => {
            let timeless = |seen: &Seen| Seen { modified: None, id: (0, 0), ..seen.clone() };
            timeless(one) == timeless(two)
        }
        (Outcome::Names(all), Outcome::Names(some)) if held == Held::Successes => {
            some.iter().all(|name| all.contains(name))
        }
        (one, two) => one == two,
    }
}
