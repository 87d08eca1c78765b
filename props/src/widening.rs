//! The oracle that no sequence of operations widens what can be done to a piece of content.
//!
//! Content is marked with the rights of the path at which it was found, or at which the guest
//! created it. A guest then does what it is allowed to, through whatever layers, and after each
//! operation the tree is looked at from behind, where no policy is: which node is where, and what
//! is in it. A node that lost a name, or whose bytes changed, or whose bytes were read, must have a
//! mark that grants it, wherever it lies by now.
//!
//! Nodes are known by their identity, and bytes by tokens: what is in a file at the start, and what
//! each write puts there, can be told from all else. The oracle knows nothing of rules: it is given
//! a function from paths to rights.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IoSliceMut;
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, Descent, DirRef, Errno, FileType, Follow, OpenFlags, OpenHow, Result, Rights,
    Stop,
};

use crate::live::{Live, Run};
use crate::op::{At, Op};
use crate::outcome::Outcome;

/// A filesystem from before and from behind.
pub struct Stack {
    /// What the guest gets.
    pub guarded: DirRef,
    /// The same tree without any policy.
    pub bare: DirRef,
    /// Called before an operation in the middle of a run: what else happens meanwhile.
    pub meanwhile: Option<Box<dyn Fn()>>,
    /// What must live as long.
    pub keep: Option<Box<dyn Any>>,
}

/// The directories of the tree that a run begins with. `m` is there to be mounted upon.
pub const DIRS: [&str; 6] = ["a", "b", "m", "a/d", "b/d", "m/d"];
/// The names that files have, or get.
const NAMES: [&str; 5] = ["f", "g", "s", "d", "l"];
/// Operations in a run.
const OPS_MAX: u64 = 24;
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

/// Runs the run that `nth` stands for.
///
/// Errors: the operations that widened something, as few as a few tries find, and what it was.
pub fn check(
    nth: u64,
    fresh: &dyn Fn() -> Result<Stack>,
    rights: &dyn Fn(&str) -> Rights,
) -> Result<(), String> {
    let mut ops = ops(nth);
    let Err(mut what) = run(&ops, fresh, rights) else { return Ok(()) };
    let mut at = ops.len();
    while at > 0 {
        at -= 1;
        let mut fewer = ops.clone();
        fewer.remove(at);
        if let Err(still) = run(&fewer, fresh, rights) {
            (ops, what) = (fewer, still);
        }
    }
    let lines = ops.iter().fold(String::new(), |mut lines, op| {
        let _ = writeln!(lines, "{op}");
        lines
    });
    Err(format!("run {nth}: {what}, after\n{lines}"))
}

fn run(
    ops: &[Op],
    fresh: &dyn Fn() -> Result<Stack>,
    rights: &dyn Fn(&str) -> Rights,
) -> Result<(), String> {
    let stack = fresh().map_err(|errno| format!("there is no filesystem: {errno}"))?;
    let see = || look(&stack.bare).map_err(|errno| format!("there is no tree: {errno}"));
    let mut marks = Marks { rights, nodes: BTreeMap::new(), tokens: BTreeMap::new() };
    let mut before = see()?;
    marks.take(&before);
    let mut live = Live::new(stack.guarded.clone());
    for (nth, op) in ops.iter().enumerate() {
        if let Some(meanwhile) = &stack.meanwhile
            && nth == ops.len() / 2
        {
            meanwhile();
        }
        let outcome = live.run(op);
        marks.check_read(&outcome).map_err(|what| format!("`{op}` {what}"))?;
        if op.needs().is_empty() {
            continue;
        }
        let after = see()?;
        marks.check_changes(op, &before, &after).map_err(|what| format!("`{op}` {what}"))?;
        marks.take(&after);
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
    bytes: Vec<u8>,
}

struct Marks<'r> {
    rights: &'r dyn Fn(&str) -> Rights,
    nodes: BTreeMap<Id, Rights>,
    tokens: BTreeMap<Vec<u8>, Rights>,
}

impl Marks<'_> {
    /// Marks what is new, and forgets what is gone.
    fn take(&mut self, scene: &Scene) {
        let known = std::mem::take(&mut self.nodes);
        for (path, found) in scene {
            let mark = match known.get(&found.id) {
                Some(mark) => *mark,
                None => {
                    let others = self.nodes.get(&found.id).copied().unwrap_or(Rights::empty());
                    others | (self.rights)(path)
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
            scene.insert(path, Found { id: (stat.dev, stat.ino), bytes });
        }
    }
    Ok(scene)
}

/// A run: what a guest would try that knows the tree and looks for a way around.
fn ops(nth: u64) -> Vec<Op> {
    let mut dice = Dice::new(nth);
    let count = dice.below(OPS_MAX) + 1;
    (0..count).map(|at| op(&mut dice, token(usize::try_from(at).unwrap_or(0) + 100))).collect()
}

fn op(dice: &mut Dice, bytes: Vec<u8>) -> Op {
    let slot = u8::try_from(dice.below(4)).unwrap_or(0);
    match dice.below(32) {
        0..9 => Op::Rename(path(dice), path(dice)),
        9..13 => Op::Link(path(dice), path(dice)),
        13 => Op::Symlink(path(dice), format!("../{}", path(dice).path)),
        14 => Op::Symlink(path(dice), path(dice).path),
        15..17 => Op::Put(path(dice), bytes),
        17..20 => Op::Get(path(dice)),
        20..24 => open(dice),
        24 => Op::Read(slot, 64, 0),
        25 => Op::Write(slot, bytes, 5 * dice.below(3)),
        26 => Op::Append(slot, bytes),
        27 => Op::SetLen(slot, 5 * dice.below(3)),
        28 => Op::Unlink(path(dice)),
        29 => Op::Rmdir(path(dice)),
        _ => Op::Mkdir(path(dice)),
    }
}

fn open(dice: &mut Dice) -> Op {
    if dice.below(3) == 0 {
        let at = At { dir: 0, path: dice.pick(&DIRS).to_owned() };
        return Op::Open(at, Access::Hold, OpenFlags::DIRECTORY, Follow::Yes);
    }
    let mut flags = OpenFlags::empty();
    for (flag, odds) in
        [(OpenFlags::CREATE, 3), (OpenFlags::TRUNCATE, 5), (OpenFlags::EXCLUSIVE, 9)]
    {
        flags.set(flag, dice.below(odds) == 0);
    }
    let access = Access::ALL.get(usize::try_from(dice.below(4)).unwrap_or(0));
    let follow = if dice.below(4) == 0 { Follow::No } else { Follow::Yes };
    Op::Open(path(dice), *access.unwrap_or(&Access::Hold), flags, follow)
}

fn path(dice: &mut Dice) -> At {
    // A few begin in a directory that is held, whatever its name is by now.
    let dir = if dice.below(5) == 0 { 1 + dice.below(3) } else { 0 };
    let dir = u8::try_from(dir).unwrap_or(0);
    let path = match dice.below(8) {
        0 => dice.pick(&DIRS).to_owned(),
        1 => format!("a/l/{}", dice.pick(&NAMES)),
        2 if dir != 0 => dice.pick(&NAMES).to_owned(),
        _ => format!("{}/{}", dice.pick(&DIRS), dice.pick(&NAMES)),
    };
    At { dir, path }
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
