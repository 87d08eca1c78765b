//! The oracle that no sequence of operations widens what can be done to a piece of content.
//!
//! Content is marked with the rights of the path at which it was found, or at which the guest
//! created it. A guest then does what it is allowed to, through whatever layers, and after each
//! operation the tree is looked at from behind, where no policy is: which node is where, and what
//! is in it. A node that lost a name, or whose bytes changed, or whose bytes were read, must have a
//! mark that grants it, wherever it lies by now. And each name that appears or vanishes must do so
//! by a right that is granted at its path, through whatever handle it was done.
//!
//! A policy may be narrowed in the middle of a run. From then on a node has at most the rights that
//! the narrower policy grants at the names that it has then, or that were removed before.
//!
//! Nodes are known by their identity, and bytes by tokens: what is in a file at the start, and what
//! each write puts there, can be told from all else. The oracle knows nothing of rules: it is given
//! a function from paths to rights.

mod guest;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IoSliceMut;
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, Descent, DirRef, Errno, FileType, OpenFlags, OpenHow, Result, Rights, Stop,
};

use crate::live::{Live, Run};
use crate::op::{At, Op};
use crate::outcome::Outcome;
use guest::Guest;

/// Which rights a policy grants at a path.
pub type RightsAt<'a> = dyn Fn(&str) -> Rights + 'a;

/// A filesystem from before and from behind.
pub struct Stack {
    /// What the guest gets.
    pub guarded: DirRef,
    /// What it gets besides, and the paths of that from the root.
    pub preopens: Vec<(String, DirRef)>,
    /// The same tree without any policy.
    pub bare: DirRef,
    /// Called before an operation in the middle of a run: narrows the policy, and returns which
    /// rights it grants from then on.
    pub meanwhile: Option<Box<dyn Fn() -> Box<RightsAt<'static>>>>,
    /// What must live as long.
    pub keep: Option<Box<dyn Any>>,
}

/// The directories of the tree that a run begins with. `m` is there to be mounted upon.
pub const DIRS: [&str; 6] = ["a", "b", "m", "a/d", "b/d", "m/d"];
/// The names that files have, or get.
const NAMES: [&str; 5] = ["f", "g", "s", "d", "l"];
/// Operations in a run.
const OPS_MAX: usize = 24;
/// Bytes of a file that are looked at.
const LEN_MAX: usize = 512;
/// A letter and as many digits are a token.
const DIGITS: usize = 4;

/// Makes the tree that a run begins with: a file `f` and a file `s` in each of [`DIRS`], which must
/// be there, of which some have a further name.
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

fn token(nth: usize) -> Vec<u8> {
    format!("T{nth:0DIGITS$}").into_bytes()
}

/// Runs the run that `nth` stands for, and returns how many operations it has.
///
/// Errors: the operations that widened something, as few as a few tries find, and what it was.
pub fn check(
    nth: u64,
    fresh: &dyn Fn() -> Result<Stack>,
    rights: &RightsAt<'_>,
) -> Result<usize, String> {
    let mut ops = Vec::new();
    let Err(mut what) = run(Source::Guest(Guest::new(nth)), &mut ops, fresh, rights) else {
        return Ok(ops.len());
    };
    let mut at = ops.len();
    while at > 0 {
        at -= 1;
        let mut fewer = ops.clone();
        fewer.remove(at);
        // The policy is narrowed before the operation with the same number.
        if let Err(still) = run(Source::Script(&fewer), &mut Vec::new(), fresh, rights) {
            (ops, what) = (fewer, still);
        }
    }
    let lines = ops.iter().fold(String::new(), |mut lines, op| {
        let _ = writeln!(lines, "{op}");
        lines
    });
    Err(format!("run {nth}: {what}, after\n{lines}"))
}

/// Where the operations of a run come from.
enum Source<'a> {
    /// A guest that knows what came of those before.
    Guest(Guest),
    Script(&'a [Op]),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Source::Guest(guest) => guest.len(),
            Source::Script(ops) => ops.len(),
        }
    }

    fn next(&mut self, nth: usize, scene: &Scene) -> Option<Op> {
        match self {
            Source::Guest(guest) => guest.next(nth, scene),
            Source::Script(ops) => ops.get(nth).cloned(),
        }
    }
}

/// Runs operations, and adds them to `done`. In their middle the policy is narrowed, if it can be.
fn run(
    mut source: Source<'_>,
    done: &mut Vec<Op>,
    fresh: &dyn Fn() -> Result<Stack>,
    rights: &RightsAt<'_>,
) -> Result<(), String> {
    let stack = fresh().map_err(|errno| format!("there is no filesystem: {errno}"))?;
    let see = || look(&stack.bare).map_err(|errno| format!("there is no tree: {errno}"));
    let (mut before, mut marks) = (see()?, Marks::default());
    marks.take(&before, rights);
    let (mut narrowed, middle) = (None, source.len() / 2);
    let preopens = stack.preopens.iter();
    let roots = [&stack.guarded].into_iter().chain(preopens.clone().map(|(_, dir)| dir));
    let mut live = Live::with_preopens(roots.cloned().collect());
    if let Source::Guest(guest) = &mut source {
        guest.start(preopens.map(|(at, _)| at.as_str()), &before);
    }
    for nth in 0.. {
        let Some(op) = source.next(nth, &before) else { break };
        done.push(op.clone());
        if nth == middle
            && let Some(narrow) = &stack.meanwhile
        {
            let narrower = narrow();
            marks.narrow(&before, &*narrower);
            narrowed = Some(narrower);
        }
        let rights = narrowed.as_deref().unwrap_or(rights);
        let outcome = live.run(&op);
        if let Source::Guest(guest) = &mut source {
            guest.observe(&op, &outcome, &before);
        }
        marks.check_read(&outcome).map_err(|what| format!("`{op}` {what}"))?;
        if op.needs().is_empty() {
            continue;
        }
        let after = see()?;
        let changed = marks.check_changes(&op, &before, &after);
        let named = changed.and_then(|()| check_names(&op, &before, &after, rights));
        named.map_err(|what| format!("`{op}` {what}"))?;
        marks.lose(&op, &before, &after);
        marks.take(&after, rights);
        before = after;
    }
    Ok(())
}

type Id = (u64, u64);
/// What is where, from behind.
type Scene = BTreeMap<String, Found>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    id: Id,
    kind: FileType,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Marks {
    nodes: BTreeMap<Id, Rights>,
    tokens: BTreeMap<Vec<u8>, Rights>,
    /// The names that nodes have lost, and did not get others for.
    lost: BTreeMap<Id, BTreeSet<String>>,
}

impl Marks {
    /// Marks what is new, and forgets what is gone.
    fn take(&mut self, scene: &Scene, rights: &RightsAt<'_>) {
        let known = std::mem::take(&mut self.nodes);
        for (path, found) in scene {
            let mark = match known.get(&found.id) {
                Some(mark) => *mark,
                None => {
                    let others = self.nodes.get(&found.id).copied().unwrap_or(Rights::empty());
                    others | rights(path)
                }
            };
            self.nodes.insert(found.id, mark);
        }
        for found in scene.values() {
            let Some(mark) = self.nodes.get(&found.id) else { continue };
            for token in tokens(&found.bytes) {
                self.tokens.entry(token.to_vec()).or_insert(*mark);
            }
        }
    }

    /// Takes away what a narrower policy does not grant at any name that a node has or has lost.
    fn narrow(&mut self, scene: &Scene, rights: &RightsAt<'_>) {
        let mut granted: BTreeMap<Id, Rights> = BTreeMap::new();
        for (path, found) in scene {
            *granted.entry(found.id).or_insert(Rights::empty()) |= rights(path);
        }
        for (id, paths) in &self.lost {
            let lost = paths.iter().fold(Rights::empty(), |all, path| all | rights(path));
            *granted.entry(*id).or_insert(Rights::empty()) |= lost;
        }
        for (id, mark) in &mut self.nodes {
            *mark &= granted.get(id).copied().unwrap_or(Rights::empty());
        }
        let mut held: BTreeMap<&[u8], Rights> = BTreeMap::new();
        for found in scene.values() {
            let mark = self.nodes.get(&found.id).copied().unwrap_or(Rights::empty());
            for token in tokens(&found.bytes) {
                *held.entry(token).or_insert(Rights::empty()) |= mark;
            }
        }
        for (token, mark) in &mut self.tokens {
            if let Some(held) = held.get(&**token) {
                *mark &= *held;
            }
        }
    }

    /// Remembers the names that were removed or replaced. A file that is open goes on having the
    /// name that it was opened by.
    fn lose(&mut self, op: &Op, before: &Scene, after: &Scene) {
        if !matches!(op, Op::Unlink(_) | Op::Rename(..)) {
            return;
        }
        let (names_before, names_after) = (counts(before), counts(after));
        for (path, found) in before {
            let is_still = after.get(path).is_some_and(|now| now.id == found.id);
            let left = names_after.get(&found.id).copied().unwrap_or(0);
            if !is_still && names_before.get(&found.id).is_some_and(|count| *count > left) {
                self.lost.entry(found.id).or_default().insert(path.clone());
            }
        }
    }

    fn check_read(&self, outcome: &Outcome) -> Result<(), String> {
        let Outcome::Bytes(bytes) = outcome else { return Ok(()) };
        for token in tokens(bytes) {
            if self.tokens.get(token).is_some_and(|mark| !mark.contains(Rights::READ)) {
                return Err(format!("read {}", String::from_utf8_lossy(token)));
            }
        }
        Ok(())
    }

    fn check_changes(&self, op: &Op, before: &Scene, after: &Scene) -> Result<(), String> {
        let (names_before, names_after) = (counts(before), counts(after));
        for (path, found) in before {
            let mark = self.nodes.get(&found.id).copied().unwrap_or(Rights::empty());
            let left = names_after.get(&found.id).copied().unwrap_or(0);
            if names_before.get(&found.id).is_some_and(|count| *count > left)
                && !mark.contains(removing(op))
            {
                return Err(format!("took away what was at {path}, marked {mark:?}"));
            }
            let now = after.values().find(|other| other.id == found.id);
            if now.is_some_and(|now| now.bytes != found.bytes) && !mark.contains(writing(op)) {
                return Err(format!("changed what was at {path}, marked {mark:?}"));
            }
        }
        Ok(())
    }
}

/// Whether each name that has appeared or vanished has done so by a right that is granted at it.
/// What lies beneath such a name has moved with it.
fn check_names(
    op: &Op,
    before: &Scene,
    after: &Scene,
    rights: &RightsAt<'_>,
) -> Result<(), String> {
    let changes = |one: &Scene, other: &Scene| -> Vec<String> {
        let is_other =
            |path: &str, found: &Found| other.get(path).is_none_or(|other| other.id != found.id);
        let changed = one.iter().filter(|(path, found)| is_other(path, found));
        let is_top = |path: &str| match path.rsplit_once('/') {
            Some((above, _)) => one.get(above).is_none_or(|found| !is_other(above, found)),
            None => true,
        };
        changed.map(|(path, _)| path.clone()).filter(|path| is_top(path)).collect()
    };
    for path in changes(after, before) {
        let kind = after.get(&path).map(|found| found.kind);
        let needed = match op {
            Op::Rename(..) => Rights::RENAME_INTO,
            Op::Link(..) => Rights::LINK_INTO,
            _ if kind == Some(FileType::Dir) => Rights::CREATE_DIR,
            _ if kind == Some(FileType::Symlink) => Rights::CREATE_SYMLINK,
            _ => Rights::CREATE_FILE,
        };
        if !rights(&path).contains(needed) {
            return Err(format!("brought something to {path}, where that is not granted"));
        }
    }
    for path in changes(before, after).into_iter().filter(|path| !after.contains_key(path)) {
        let needed = match op {
            Op::Rename(..) => Rights::RENAME_FROM,
            Op::Rmdir(_) => Rights::REMOVE_DIR,
            _ => Rights::REMOVE_FILE,
        };
        if !rights(&path).contains(needed) {
            return Err(format!("took something from {path}, where that is not granted"));
        }
    }
    Ok(())
}

/// The right by which an operation takes a name away; all if it should not.
fn removing(op: &Op) -> Rights {
    match op {
        Op::Unlink(_) => Rights::REMOVE_FILE,
        Op::Rmdir(_) => Rights::REMOVE_DIR,
        Op::Rename(..) => Rights::RENAME_INTO,
        _ => Rights::all(),
    }
}

/// The right by which an operation changes bytes; all if it should not.
fn writing(op: &Op) -> Rights {
    match op {
        Op::Put(..) | Op::SetLen(..) => Rights::WRITE | Rights::SET_LEN,
        Op::Open(..) => Rights::SET_LEN,
        Op::Write(..) | Op::Append(..) => Rights::WRITE,
        _ => Rights::all(),
    }
}

fn counts(scene: &Scene) -> BTreeMap<Id, usize> {
    let mut counts = BTreeMap::new();
    for found in scene.values() {
        *counts.entry(found.id).or_default() += 1;
    }
    counts
}

fn tokens(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.windows(DIGITS + 1).filter(|part| match part.split_first() {
        Some((letter, digits)) => *letter == b'T' && digits.iter().all(u8::is_ascii_digit),
        None => false,
    })
}

fn look(root: &DirRef) -> Result<Scene> {
    const LIST: OpenHow = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    let plain = |stop| match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Loop,
    };
    let mut scene = Scene::new();
    let mut pending = vec![String::new()];
    while let Some(at) = pending.pop() {
        let dir = root.open(Descent::new(&at)?, LIST).map_err(plain)?.into_dir()?;
        let mut names = Vec::new();
        dir.read_dir(Cookie::START, &mut |entry| {
            names.push((entry.name.as_str().to_owned(), entry.kind));
            ControlFlow::Continue(())
        })?;
        for (name, kind) in names {
            let below = Descent::new(&name)?;
            let stat = dir.stat(below).map_err(plain)?;
            let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
            let mut bytes = Vec::new();
            if kind == FileType::File {
                bytes = vec![0; LEN_MAX];
                let file = dir.open(below, OpenHow::READ).map_err(plain)?.into_file()?;
                let len = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0)?;
                bytes.truncate(len);
            } else if kind == FileType::Dir {
                pending.push(path.clone());
            }
            scene.insert(path, Found { id: (stat.dev, stat.ino), kind, bytes });
        }
    }
    Ok(scene)
}

/// Numbers that look random, and are the same for the same start: splitmix64.
pub struct Dice(u64);

impl Dice {
    /// Other numbers for each `start`.
    #[must_use]
    pub fn new(start: u64) -> Self {
        Dice(start.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// A number less than `end`, or 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    /// One of `from`, which is not empty.
    pub fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let len = u64::try_from(from.len()).unwrap_or(1);
        let at = usize::try_from(self.below(len)).unwrap_or(0);
        from.get(at).copied().unwrap_or_default()
    }
}
