//! The conformance kit for overlays: laws as tables of cases, and a comparison with a merged copy.
//!
//! A subject creates overlays over literal lowers ([`LowerTree`]). Two properties hold for each
//! run of operations: the overlay behaves like a plain copy of its merged lowers ([`merge`]), and
//! the lowers stay bit for bit unchanged. Each law is a table of such runs ([`Law`]);
//! [`assert_equals_merged_copy`] generates runs.

use std::any::Any;
use std::sync::Arc;

use palisade_vfs::{DirRef, Errno, Result};

use crate::faulty::Faults;
use crate::model::Model;
use crate::record::{Record, consistent};
use crate::report::Fault;
use crate::run::Pair;
use crate::subject::Capabilities;
use crate::tree::{Leaf, Tree};

mod generate;
mod laws;
mod lower;
mod merged_copy;

pub use generate::Stacks;
pub use laws::{Law, assert_apart, assert_law, check_law, check_laws};
pub use lower::{LowerTree, Stack, merge};
pub use merged_copy::{assert_equals_merged_copy, merged_copy_fault};

/// A factory of overlays under test.
pub trait OverlaySubject: Sync {
    /// Returns the name in reports.
    fn name(&self) -> String;

    /// Returns the capabilities of the overlays. `WRITE` is required.
    fn capabilities(&self) -> Capabilities {
        Capabilities::USUAL
    }

    /// Returns the kinds of lowers that the subject supports.
    fn holds(&self) -> Holds {
        Holds::all()
    }

    /// Creates an overlay with an empty upper over fresh lowers that contain exactly `lowers`, top
    /// first, with the times of [`LowerTree::fill`] if the lowers can store times.
    fn fresh(&self, lowers: &[LowerTree]) -> Result<TestOverlay>;

    /// Creates the same overlay over an upper that injects `faults` ([`crate::faulty`]).
    ///
    /// # Errors
    ///
    /// - `Notsup` if fault injection is not supported.
    fn fresh_faulty(&self, lowers: &[LowerTree], faults: &Arc<Faults>) -> Result<TestOverlay> {
        let _ = (lowers, faults);
        Err(Errno::Notsup)
    }
}

bitflags::bitflags! {
    /// The kinds of lowers that a subject supports. Laws that need more are skipped and reported.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Holds: u8 {
        /// More than one lower.
        const MANY = 1 << 0;
        /// Whiteouts and opaque directories.
        const MARKS = 1 << 1;
        /// Files with hard links.
        const LINKS = 1 << 2;
        /// Files with hard links of which an upper lower hides some; the link count includes these.
        const HIDDEN_LINKS = 1 << 3;
    }
}

impl Holds {
    /// Returns the support that these lowers need.
    #[must_use]
    pub fn needed(lowers: &[LowerTree]) -> Holds {
        let names =
            |tree: &Tree| tree.iter().filter(|(_, it)| matches!(it, Leaf::HardLink(_))).count();
        let linked: usize = lowers.iter().map(|lower| names(&lower.tree)).sum();
        let mut needed = Holds::empty();
        needed.set(Holds::MANY, lowers.len() > 1);
        needed.set(Holds::MARKS, lowers.iter().any(LowerTree::has_marks));
        needed.set(Holds::LINKS, linked > 0);
        // If a lower hides all names but one, it hides a hard link. If it hides all of them, the
        // result may be too large, which only skips a case.
        needed.set(Holds::HIDDEN_LINKS, names(&merge(lowers)) < linked);
        needed
    }
}

/// An overlay under test.
pub struct TestOverlay {
    /// The root of the overlay.
    pub root: DirRef,
    /// The lowers, top first, accessed without the overlay.
    pub lowers: Vec<DirRef>,
    used: Option<Box<dyn Fn() -> u64>>,
    _keep: Vec<Box<dyn Any>>,
}

impl TestOverlay {
    /// Creates a test overlay from its root and its lowers, top first.
    #[must_use]
    pub fn new(root: DirRef, lowers: Vec<DirRef>) -> Self {
        TestOverlay { root, lowers, used: None, _keep: Vec::new() }
    }

    /// Keeps `keep`, such as a temporary directory, alive as long as the overlay.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any) -> Self {
        self._keep.push(Box::new(keep));
        self
    }

    /// Sets a function that returns the space in use by the upper, in bytes, which a failed
    /// operation must not change.
    #[must_use]
    pub fn metered_by(mut self, used: impl Fn() -> u64 + 'static) -> Self {
        self.used = Some(Box::new(used));
        self
    }

    /// Returns the space in use by the upper, in bytes, if it is known.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        self.used.as_ref().map(|used| used())
    }
}

/// An overlay under test with the model of the merged lowers and snapshots of the lowers.
pub(crate) struct Bench {
    pub(crate) world: TestOverlay,
    pub(crate) pair: Pair,
    before: Vec<Record>,
}

impl Bench {
    /// Creates the overlay and the model. The overlay must show the merged lowers with the times of
    /// the lowers.
    ///
    /// # Errors
    ///
    /// A description of the difference.
    pub(crate) fn new(
        world: TestOverlay,
        capabilities: Capabilities,
        stack: &Stack,
    ) -> Result<Bench, String> {
        let record = |dir: &DirRef| {
            Record::of(&**dir).map_err(|errno| format!("a lower cannot be read: {errno}"))
        };
        let before = world.lowers.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let mut model = Model::of(&stack.merged());
        let shown = Record::of(&*world.root)
            .map_err(|errno| format!("the overlay has no tree: {errno}"))?;
        for (path, at) in shown.modified() {
            model.expect_modified(path, at);
        }
        let bench = Bench { pair: Pair::new(&world.root, capabilities, model), world, before };
        bench.check_state()?;
        bench.check_lower_times(stack, &shown)?;
        Ok(bench)
    }

    /// Checks that the overlay equals the model and is consistent, and the lowers are unchanged.
    ///
    /// # Errors
    ///
    /// A description of the difference.
    pub(crate) fn check_state(&self) -> Result<(), String> {
        self.pair.same_tree(&*self.world.root, None)?;
        consistent(&*self.world.root)?;
        self.lowers_unchanged()
    }

    /// Checks that the lowers are bit for bit unchanged.
    ///
    /// # Errors
    ///
    /// A description of the change.
    pub(crate) fn lowers_unchanged(&self) -> Result<(), String> {
        for (nth, (lower, before)) in self.world.lowers.iter().zip(&self.before).enumerate() {
            let after = Record::of(&**lower).map_err(|errno| format!("lower {nth}: {errno}"))?;
            if after != *before {
                return Err(format!("lower {nth} changed:\n{}", before.diff(&after)));
            }
        }
        Ok(())
    }

    /// Checks that the nodes of the topmost lower keep its modification times.
    fn check_lower_times(&self, stack: &Stack, shown: &Record) -> Result<(), String> {
        let shown = shown.modified().collect::<std::collections::BTreeMap<_, _>>();
        let (Some(top), Some(before)) = (stack.lowers.first(), self.before.first()) else {
            return Ok(());
        };
        for (path, at) in before.modified().filter(|(path, _)| top.tree.get(path).is_some()) {
            if shown.get(path) != Some(&at) {
                return Err(format!("`{path}` has {:?}, the lower {at:?}", shown.get(path)));
            }
        }
        Ok(())
    }
}

/// Compares a fresh overlay with the model on a stack, line by line.
///
/// # Errors
///
/// The first difference from the model or from an expectation of the script, a change of a lower,
/// or an inconsistency.
pub fn run_stack(subject: &dyn OverlaySubject, case: &str, stack: &Stack) -> Result<(), Fault> {
    let fault = |at: Option<usize>, what: String| Fault {
        case: case.to_owned(),
        what,
        script: stack.marked(at),
    };
    let world = subject
        .fresh(&stack.lowers)
        .map_err(|errno| fault(None, format!("creating an overlay failed: {errno}")))?;
    let mut bench =
        Bench::new(world, subject.capabilities(), stack).map_err(|what| fault(None, what))?;
    for (nth, line) in stack.script.lines.iter().enumerate() {
        bench.pair.step(line).map_err(|what| fault(Some(nth), what))?;
    }
    bench.check_state().map_err(|what| fault(None, what))
}

/// Replays regression stacks.
///
/// # Panics
///
/// With the stack that shows a difference or does not parse.
pub fn assert_stacks(subject: &dyn OverlaySubject, stacks: &[(String, String)]) {
    for (name, text) in stacks {
        let stack = match Stack::parse(text) {
            Ok(stack) => stack,
            Err(why) => panic!("{name}: {why}"),
        };
        if !subject.holds().contains(Holds::needed(&stack.lowers)) {
            continue;
        }
        if let Err(fault) = run_stack(subject, name, &stack) {
            panic!("{}: {fault}", subject.name());
        }
    }
}
