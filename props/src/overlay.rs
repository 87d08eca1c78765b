//! The laws of overlays, and what any overlay is put through to see whether it obeys them.
//!
//! A subject makes overlays over literal lowers ([`LowerTree`]). Whatever is then done to one, two
//! things hold: it behaves as a plain copy of what its lowers merge to ([`merge`]), and the lowers
//! stay bit for bit as they were. Each law is a table of such runs ([`Law`]); [`assert_copy_of`]
//! makes up runs of its own.

use std::any::Any;
use std::sync::Arc;

use palisade_vfs::{DirRef, Errno, Result};

use crate::faulty::Faults;
use crate::model::Model;
use crate::record::{Record, consistent};
use crate::report::Fault;
use crate::run::Pair;
use crate::subject::Promises;
use crate::tree::{Leaf, Tree};

mod copy_of;
mod generate;
mod laws;
mod lower;

pub use copy_of::{assert_copy_of, copy_of_fault};
pub use generate::Stacks;
pub use laws::{Law, assert_apart, assert_law, check_law, check_laws};
pub use lower::{LowerTree, Stack, merge};

/// A maker of overlays that are put through the laws.
pub trait OverlaySubject: Sync {
    /// What to call it in a report.
    fn name(&self) -> String;

    /// What its overlays promise. `WRITE` is taken for granted.
    fn promises(&self) -> Promises {
        Promises::USUAL
    }

    /// What its lowers can hold.
    fn holds(&self) -> Holds {
        Holds::all()
    }

    /// A new overlay with an empty upper over fresh lowers, top first, that hold `lowers` and
    /// nothing else, with the times that [`LowerTree::fill`] gives them if they can have times.
    fn fresh(&self, lowers: &[LowerTree]) -> Result<OverlayWorld>;

    /// The same over an upper that fails as `faults` says ([`crate::faulty`]), once it is armed.
    ///
    /// Errors: `Notsup` if no upper of its kind can be made to fail.
    fn fresh_faulty(&self, lowers: &[LowerTree], faults: &Arc<Faults>) -> Result<OverlayWorld> {
        let _ = (lowers, faults);
        Err(Errno::Notsup)
    }
}

bitflags::bitflags! {
    /// What the lowers of a subject can hold. Laws that need more are skipped by name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Holds: u8 {
        /// More than one lower.
        const MANY = 1 << 0;
        /// Whiteouts and opaque directories.
        const MARKS = 1 << 1;
        /// Files with several names.
        const LINKS = 1 << 2;
        /// Files with several names, some of which a lower above hides: they are not counted.
        const HIDDEN_LINKS = 1 << 3;
    }
}

impl Holds {
    /// What a subject must hold for these lowers.
    #[must_use]
    pub fn needed(lowers: &[LowerTree]) -> Holds {
        let names = |tree: &Tree| tree.iter().filter(|(_, it)| matches!(it, Leaf::Same(_))).count();
        let linked: usize = lowers.iter().map(|lower| names(&lower.tree)).sum();
        let mut needed = Holds::empty();
        needed.set(Holds::MANY, lowers.len() > 1);
        needed.set(Holds::MARKS, lowers.iter().any(LowerTree::has_marks));
        needed.set(Holds::LINKS, linked > 0);
        // A file that loses its names but one loses a further name too; one that loses all of them
        // is missed by nobody, but that it cannot be told from here does no harm.
        needed.set(Holds::HIDDEN_LINKS, names(&merge(lowers)) < linked);
        needed
    }
}

/// One overlay under test.
pub struct OverlayWorld {
    /// What a guest sees.
    pub root: DirRef,
    /// The lowers, top first, by a way that does not lead through the overlay.
    pub lowers: Vec<DirRef>,
    used: Option<Box<dyn Fn() -> u64>>,
    _keep: Vec<Box<dyn Any>>,
}

impl OverlayWorld {
    /// An overlay and its lowers, top first.
    #[must_use]
    pub fn new(root: DirRef, lowers: Vec<DirRef>) -> Self {
        OverlayWorld { root, lowers, used: None, _keep: Vec::new() }
    }

    /// Keeps something alive as long as the overlay: a temporary directory.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any) -> Self {
        self._keep.push(Box::new(keep));
        self
    }

    /// Tells how much of its room the upper uses, in bytes. A failed operation must leave it.
    #[must_use]
    pub fn metered_by(mut self, used: impl Fn() -> u64 + 'static) -> Self {
        self.used = Some(Box::new(used));
        self
    }

    /// How much of its room the upper uses, in bytes, if it can tell.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        self.used.as_ref().map(|used| used())
    }
}

/// An overlay under test beside the model of what it must be, and its lowers as they were.
pub(crate) struct Bench {
    pub(crate) world: OverlayWorld,
    pub(crate) pair: Pair,
    before: Vec<Record>,
}

impl Bench {
    /// Sets up the overlay and the model. What the overlay shows must be what the lowers merge to,
    /// and its times are those of the lowers.
    ///
    /// Errors: a sentence.
    pub(crate) fn new(
        world: OverlayWorld,
        promises: Promises,
        stack: &Stack,
    ) -> Result<Bench, String> {
        let record = |dir: &DirRef| {
            Record::of(&**dir).map_err(|errno| format!("a lower cannot be looked at: {errno}"))
        };
        let before = world.lowers.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let mut model = Model::of(&stack.merged());
        let shown =
            Record::of(&*world.root).map_err(|errno| format!("it shows no tree: {errno}"))?;
        for (path, at) in shown.modified() {
            model.know_modified(path, at);
        }
        let bench = Bench { pair: Pair::new(&world.root, promises, model), world, before };
        bench.settled()?;
        bench.shows_lower_times(stack, &shown)?;
        Ok(bench)
    }

    /// Whether the overlay is the model and agrees with itself, and the lowers are as they were.
    ///
    /// Errors: a sentence.
    pub(crate) fn settled(&self) -> Result<(), String> {
        self.pair.same_tree(&*self.world.root, None)?;
        consistent(&*self.world.root)?;
        self.lowers_unchanged()
    }

    /// Whether the lowers are bit for bit as they were.
    ///
    /// Errors: what changed.
    pub(crate) fn lowers_unchanged(&self) -> Result<(), String> {
        for (nth, (lower, before)) in self.world.lowers.iter().zip(&self.before).enumerate() {
            let after = Record::of(&**lower).map_err(|errno| format!("lower {nth}: {errno}"))?;
            if after != *before {
                return Err(format!("lower {nth} changed:\n{}", before.diff(&after)));
            }
        }
        Ok(())
    }

    /// What shows from the topmost lower has that one's times.
    fn shows_lower_times(&self, stack: &Stack, shown: &Record) -> Result<(), String> {
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

/// Runs a stack: the overlay beside the model, line by line.
///
/// Errors: the first difference, from the model or from what the script expects; a lower that
/// changed; a tree that does not agree with itself.
pub fn run_stack(subject: &dyn OverlaySubject, case: &str, stack: &Stack) -> Result<(), Fault> {
    let fault = |at: Option<usize>, what: String| Fault {
        case: case.to_owned(),
        what,
        script: stack.marked(at),
    };
    let world = subject
        .fresh(&stack.lowers)
        .map_err(|errno| fault(None, format!("there is no fresh overlay: {errno}")))?;
    let mut bench =
        Bench::new(world, subject.promises(), stack).map_err(|what| fault(None, what))?;
    for (nth, line) in stack.script.lines.iter().enumerate() {
        bench.pair.step(line).map_err(|what| fault(Some(nth), what))?;
    }
    bench.settled().map_err(|what| fault(None, what))
}

/// Runs stacks that were failures once.
///
/// # Panics
/// With the stack that shows a difference, or that cannot be read.
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
