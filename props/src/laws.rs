//! Algebraic laws of layers, that is, of directories that wrap a directory.
//!
//! *Attenuation*: an operation that succeeds through the layer also succeeds without it, has the
//! same result, and leaves the same tree; a listing may be shorter. *Transparency*: a layer that
//! grants everything is indistinguishable from no layer, including errors. *Idempotence*: the
//! layer applied twice is indistinguishable from the layer applied once.

use std::cell::RefCell;

use palisade_vfs::{DirRef, Result};
use proptest::test_runner::{TestCaseError, TestError};

use crate::generate::{Flavor, Runs};
use crate::live::{Live, Run};
use crate::op::Op;
use crate::outcome::{Outcome, StatSummary};
use crate::report::Fault;
use crate::run::marked;
use crate::script::Script;
use crate::tree::Tree;

/// A layer and the filesystem under it.
pub struct Layered<'l> {
    /// The name in reports.
    pub name: &'l str,
    /// Creates an empty filesystem, the same each time.
    pub base: &'l dyn Fn() -> Result<DirRef>,
    /// Wraps a filesystem in the layer.
    pub layer: &'l dyn Fn(DirRef) -> DirRef,
    /// The initial tree of each run, as the text form of a [`Tree`].
    pub tree: &'l str,
}

/// The relation between two filesystems.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// All outcomes are equal.
    Equal,
    /// Each success of the second filesystem is a success of the first.
    Successes,
}

impl Layered<'_> {
    /// Returns the smallest run that succeeds through the layer but not without it.
    #[must_use]
    pub fn attenuation_fault(&self, runs: u32) -> Option<Fault> {
        let bare = |dir: DirRef| dir;
        self.fault("attenuation", runs, &bare, self.layer, Relation::Successes)
    }

    /// Returns the smallest run that distinguishes the layer from no layer.
    #[must_use]
    pub fn transparency_fault(&self, runs: u32) -> Option<Fault> {
        let bare = |dir: DirRef| dir;
        self.fault("transparency", runs, &bare, self.layer, Relation::Equal)
    }

    /// Returns the smallest run that distinguishes the layer applied twice from the layer.
    #[must_use]
    pub fn idempotence_fault(&self, runs: u32) -> Option<Fault> {
        let twice = |dir: DirRef| (self.layer)((self.layer)(dir));
        self.fault("idempotence", runs, self.layer, &twice, Relation::Equal)
    }

    /// Asserts attenuation.
    ///
    /// # Panics
    ///
    /// With the smallest run that succeeds through the layer but not without it.
    pub fn assert_attenuates(&self, runs: u32) {
        self.assert(self.attenuation_fault(runs));
    }

    /// Asserts transparency.
    ///
    /// # Panics
    ///
    /// With the smallest run that distinguishes the layer from no layer.
    pub fn assert_transparent(&self, runs: u32) {
        self.assert(self.transparency_fault(runs));
    }

    /// Asserts idempotence.
    ///
    /// # Panics
    ///
    /// With the smallest run that distinguishes the layer applied twice from the layer.
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
        relation: Relation,
    ) -> Option<Fault> {
        let last = RefCell::new(None);
        let run = |ops: &[Op]| {
            self.compare(ops, one, two, relation).map_err(|(at, what)| Fault {
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

    /// Runs operations on both filesystems. If only successes count, an operation that fails on the
    /// second is skipped on the first, so that both trees stay equal.
    fn compare(
        &self,
        ops: &[Op],
        one: &dyn Fn(DirRef) -> DirRef,
        two: &dyn Fn(DirRef) -> DirRef,
        relation: Relation,
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
            if relation == Relation::Successes && under.errno().is_some() {
                continue;
            }
            let without = one.run(op);
            if !alike(&without, &under, relation) {
                let what = format!("the first returns `{without}`, the second `{under}`");
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

/// Returns whether two outcomes agree, except for node identities and current times.
fn alike(without: &Outcome, under: &Outcome, relation: Relation) -> bool {
    match (without, under) {
        (Outcome::Stat(one), Outcome::Stat(two)) => {
            let timeless =
                |seen: &StatSummary| StatSummary { modified: None, id: (0, 0), ..seen.clone() };
            timeless(one) == timeless(two)
        }
        (Outcome::Names(all), Outcome::Names(some)) if relation == Relation::Successes => {
            some.iter().all(|name| all.contains(name))
        }
        (one, two) => one == two,
    }
}
