//! An oracle that no sequence of allowed operations widens the rights to any content.
//!
//! Each node is marked with the rights that the policy grants at its path, when the run begins or
//! when the guest creates the node. A guest then runs random operations through a stack of policy
//! layers, and after each one the oracle reads the tree from the back end, where no policy applies.
//! A node that lost a name, or whose content was changed or read, must have a mark that grants the
//! operation, also after the node was moved. Each name that appears or vanishes must do so by a
//! right that is granted at its path, also if the guest used a handle with more rights.
//!
//! A policy may be narrowed in the middle of a run. From then on a node has at most the rights that
//! the narrower policy grants at the current names of the node, or at its former ones.
//!
//! Nodes are identified by device and inode number, and content by tokens: the seed and each write
//! of a run put different tokens into files. The oracle knows nothing of rules: its input is a
//! function from paths to rights.
//!
//! After an operation the oracle reads only the names and files of the operation's footprint. It
//! scans the whole tree and compares it at the end of a run, after every `SCAN_INTERVAL`th
//! operation that can change the tree, and where the footprint is not known.

mod guest;
mod handles;
mod marks;
mod scene;

use std::any::Any;
use std::fmt::Write as _;

use palisade_vfs::{DirRef, Result, Rights};

use crate::live::{Live, Run};
use crate::op::{At, Op};
use crate::outcome::Outcome;
use guest::Guest;
use handles::Handles;
use marks::{Changes, DIGITS, Marks, check_names};
use scene::{Footprint, Scene};

/// Returns the rights that a policy grants at a path.
pub type RightsAt<'a> = dyn Fn(&str) -> Rights + 'a;

/// A filesystem as the guest sees it, and its back end.
pub struct Stack {
    /// The guest's root.
    pub guarded: DirRef,
    /// Further directories that the guest has open, with their paths from the root.
    pub preopens: Vec<(String, DirRef)>,
    /// The root of the same tree without any policy.
    pub bare: DirRef,
    /// Narrows the policy, and returns the rights that it grants from then on. It is called once,
    /// in the middle of a run.
    pub narrow: Option<Box<dyn Fn() -> Box<RightsAt<'static>>>>,
    /// Resources that must live as long as the stack.
    pub keep: Option<Box<dyn Any>>,
}

/// The directories of the tree at the start of a run. `m` is meant as a mount point.
pub const DIRS: [&str; 6] = ["a", "b", "m", "a/d", "b/d", "m/d"];
/// The names of files.
const NAMES: [&str; 5] = ["f", "g", "s", "d", "l"];
/// Operations in a run. The planted bugs that need several steps are found three times as often for
/// each operation as in runs of at most 24.
const OPS_MAX: usize = 96;
/// Operations that can change the tree, from one full scan to the next.
const SCAN_INTERVAL: usize = 32;

/// Creates the files of the tree at the start of a run: `f` and `s` in each of [`DIRS`], which must
/// exist, a hard link and a symbolic link.
///
/// # Errors
/// - Those of the directory.
pub fn seed(root: &DirRef) -> Result<()> {
    let mut live = Live::new(root.clone());
    let mut run = |op: Op| live.run(&op).errno().map_or(Ok(()), Err);
    for (nth, dir) in (0..).step_by(2).zip(DIRS) {
        run(Op::Put(At::root(&format!("{dir}/f")), token(nth)))?;
        run(Op::Put(At::root(&format!("{dir}/s")), token(nth + 1)))?;
    }
    run(Op::Symlink(At::root("a/l"), "../b".to_owned()))?;
    run(Op::Link(At::root("a/f"), At::root("a/g")))
}

/// Returns the content that write number `nth` of a run puts into a file.
fn token(nth: usize) -> Vec<u8> {
    format!("T{nth:0DIGITS$}").into_bytes()
}

/// Runs the random operations of seed `nth` on a new stack, and returns their number.
///
/// # Errors
/// - The operations that widened rights, without those that are not needed, and their effect.
pub fn check(
    nth: u64,
    fresh: &dyn Fn() -> Result<Stack>,
    rights: &RightsAt<'_>,
) -> Result<usize, String> {
    let mut ops = Vec::new();
    let Err(mut fault) = run(OpSource::Guest(Guest::new(nth)), &mut ops, fresh, rights) else {
        return Ok(ops.len());
    };
    let mut at = ops.len();
    while at > 0 {
        at -= 1;
        let mut fewer = ops.clone();
        fewer.remove(at);
        if let Err(same) = run(OpSource::Script(&fewer), &mut Vec::new(), fresh, rights) {
            (ops, fault) = (fewer, same);
        }
    }
    let lines = ops.iter().fold(String::new(), |mut lines, op| {
        let _ = writeln!(lines, "{op}");
        lines
    });
    Err(format!("run {nth}: {fault}, after\n{lines}"))
}

/// The source of the operations of a run.
enum OpSource<'a> {
    /// A guest that sees the tree and its handles.
    Guest(Guest),
    /// Recorded operations.
    Script(&'a [Op]),
}

impl OpSource<'_> {
    fn len(&self) -> usize {
        match self {
            OpSource::Guest(guest) => guest.len(),
            OpSource::Script(ops) => ops.len(),
        }
    }

    fn next(&mut self, nth: usize, scene: &Scene, handles: &Handles) -> Option<Op> {
        match self {
            OpSource::Guest(guest) => guest.next(nth, scene, handles),
            OpSource::Script(ops) => ops.get(nth).cloned(),
        }
    }
}

/// Runs operations on a new stack and appends them to `done`. The policy is narrowed before the
/// middle one, if the stack can be narrowed.
fn run(
    mut source: OpSource<'_>,
    done: &mut Vec<Op>,
    fresh: &dyn Fn() -> Result<Stack>,
    rights: &RightsAt<'_>,
) -> Result<(), String> {
    let stack = fresh().map_err(|errno| format!("cannot create the stack: {errno}"))?;
    let mut tree = Tree::new(&stack, rights)?;
    let mut live = Live::with_preopens(
        [&stack.guarded]
            .into_iter()
            .chain(stack.preopens.iter().map(|it| &it.1))
            .cloned()
            .collect(),
    );
    let (mut narrowed, middle) = (None, source.len() / 2);
    for nth in 0.. {
        let Some(op) = source.next(nth, &tree.scene, &tree.handles) else { break };
        if nth == middle
            && let Some(narrow) = &stack.narrow
        {
            let narrower = narrow();
            tree.marks.narrow(&tree.scene, &*narrower);
            narrowed = Some(narrower);
        }
        let outcome = live.run(&op);
        if let OpSource::Guest(guest) = &mut source {
            guest.observe(&op, &outcome, &tree.scene, &tree.handles);
        }
        let checked = tree.check(&op, &outcome, narrowed.as_deref().unwrap_or(rights));
        let checked = checked.map_err(|fault| format!("`{op}` {fault}"));
        done.push(op);
        checked?;
    }
    tree.compare_with_scan()
}

/// The tree of a run as the oracle knows it.
struct Tree<'s> {
    root: &'s DirRef,
    scene: Scene,
    handles: Handles,
    marks: Marks,
    /// Operations since the last full scan that can have changed the tree.
    unscanned: usize,
}

impl<'s> Tree<'s> {
    fn new(stack: &'s Stack, rights: &RightsAt<'_>) -> Result<Self, String> {
        let scene = scan(&stack.bare)?;
        let mut marks = Marks::default();
        marks.update(&Changes::between(&Scene::default(), &scene), rights);
        let handles = Handles::new(stack.preopens.iter().map(|(path, _)| path.as_str()), &scene);
        Ok(Tree { root: &stack.bare, scene, handles, marks, unscanned: 0 })
    }

    /// Checks the effect of an operation, and updates the tree.
    fn check(&mut self, op: &Op, outcome: &Outcome, rights: &RightsAt<'_>) -> Result<(), String> {
        self.marks.check_read(outcome)?;
        if !op.needs().is_empty() {
            let footprint = self.handles.footprint(op, outcome, &self.scene);
            self.unscanned += 1;
            if footprint != Footprint::Nothing {
                self.refresh(op, &footprint, rights)?;
            }
            if footprint == Footprint::Unknown {
                self.unscanned = 0;
            } else if self.unscanned >= SCAN_INTERVAL {
                self.compare_with_scan()?;
                self.unscanned = 0;
            }
        }
        self.handles.observe(op, outcome, &self.scene);
        Ok(())
    }

    fn refresh(
        &mut self,
        op: &Op,
        footprint: &Footprint,
        rights: &RightsAt<'_>,
    ) -> Result<(), String> {
        let after = self.scene.refresh(self.root, footprint).map_err(unreadable)?;
        let changes = Changes::between(&self.scene, &after);
        if !changes.is_empty() {
            self.marks.check_nodes(op, &changes)?;
            check_names(op, &changes, rights)?;
            self.marks.record_lost_names(op, &changes);
            self.marks.update(&changes, rights);
            self.scene = after;
        }
        Ok(())
    }

    /// Compares the tree with a full scan: no operation may change more than its footprint.
    fn compare_with_scan(&self) -> Result<(), String> {
        let whole = scan(self.root)?;
        match Changes::between(&self.scene, &whole) {
            changes if changes.is_empty() => Ok(()),
            changes => Err(format!("changed more than its operands: {changes}")),
        }
    }
}

fn scan(root: &DirRef) -> Result<Scene, String> {
    Scene::scan(root).map_err(unreadable)
}

fn unreadable(errno: palisade_vfs::Errno) -> String {
    format!("left a tree that cannot be read: {errno}")
}

/// A deterministic pseudorandom number generator: splitmix64.
pub struct Dice(u64);

impl Dice {
    /// Returns a generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Returns a number less than `end`, or 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    /// Returns a random element of `from`, or the default if `from` is empty.
    pub fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let len = u64::try_from(from.len()).unwrap_or(1);
        let at = usize::try_from(self.below(len)).unwrap_or(0);
        from.get(at).copied().unwrap_or_default()
    }
}
