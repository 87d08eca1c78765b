//! The guest of a run: it knows the tree and what it holds, and looks for a way around a policy.
//!
//! It holds directories across renames and links, moves them, what is above and what is beneath
//! them, moves other things into them, and works through what it holds. What it chooses depends on
//! where things are by then, seen from behind.

use palisade_vfs::{Access, FileType, Follow, OpenFlags};

use super::{DIRS, Dice, Id, NAMES, OPS_MAX, Scene, token};
use crate::op::{At, Op};
use crate::outcome::Outcome;

/// A guest, with what it holds.
pub(super) struct Guest {
    dice: Dice,
    len: usize,
    /// The directories that are open, in their order: the root first.
    held: Vec<Held>,
    /// The number of one that was moved, by its name or by one above it.
    moved: Option<usize>,
    /// The last name that something was moved to in it.
    brought: Option<String>,
}

/// A directory that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Root,
    Node(Id),
    /// Opened through a link, so that it is not known which one it is.
    Unknown,
}

/// Names that directories get, which some rules know and some do not.
const DIR_NAMES: [&str; 4] = ["d", "x", "s", "f"];

impl Guest {
    /// Another one for each `nth`.
    pub(super) fn new(nth: u64) -> Self {
        let mut dice = Dice::new(nth);
        let most = u64::try_from(OPS_MAX).unwrap_or(u64::MAX);
        // Most are long: it takes some operations to get around anything.
        let len = usize::try_from(dice.below(most).max(dice.below(most))).unwrap_or(0) + 1;
        Guest { dice, len, held: vec![Held::Root], moved: None, brought: None }
    }

    /// How many operations it makes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// It is given the root, and these preopens.
    pub(super) fn start<'p>(&mut self, preopens: impl Iterator<Item = &'p str>, scene: &Scene) {
        self.held.extend(preopens.map(|at| held_at(scene, at)));
    }

    /// Its operation number `nth`, in a tree that looks like `scene`.
    pub(super) fn next(&mut self, nth: usize, scene: &Scene) -> Option<Op> {
        if nth >= self.len {
            return None;
        }
        let bytes = token(nth + 100);
        let has_held = self.held.len() > 1;
        Some(match self.dice.below(20) {
            0..6 if !has_held => self.hold(scene),
            0..2 => self.hold(scene),
            2..6 => self.move_around_held(scene),
            6..10 => self.move_into_held(scene),
            10..16 => self.work_through_held(scene, bytes),
            _ => any_op(&mut self.dice, bytes),
        })
    }

    /// Learns what came of `op` in a tree that looked like `scene` before.
    pub(super) fn observe(&mut self, op: &Op, outcome: &Outcome, scene: &Scene) {
        match (op, outcome) {
            (Op::Open(at, ..), Outcome::Dir) => {
                let nth = usize::from(at.dir) % self.held.len();
                let held = match self.path_of(nth, scene) {
                    Some(above) => held_at(scene, &join(&above, &at.path)),
                    None => Held::Unknown,
                };
                self.held.push(held);
            }
            (Op::CloseDir(nth), Outcome::Done) => {
                let nth = usize::from(*nth) % self.held.len();
                self.held.remove(nth);
                (self.moved, self.brought) = (None, None);
            }
            (Op::Rename(old, new) | Op::Link(old, new), Outcome::Done) => {
                self.learn_move(op, old, new, scene);
            }
            _ => {}
        }
    }

    /// Remembers what was moved of what is held, and what was moved into that.
    fn learn_move(&mut self, op: &Op, old: &At, new: &At, scene: &Scene) {
        let to = self.path_of(usize::from(new.dir) % self.held.len(), scene);
        let to = to.map(|above| join(&above, &new.path)).unwrap_or_default();
        let moved = self.moved.and_then(|moved| self.path_of(moved, scene));
        if let Some(rest) =
            moved.and_then(|moved| Some(to.strip_prefix(&prefix(&moved))?.to_owned()))
        {
            self.brought = Some(rest);
            return;
        }
        let above = self.path_of(usize::from(old.dir) % self.held.len(), scene);
        let (Some(above), Op::Rename(..)) = (above, op) else { return };
        let old = join(&above, &old.path);
        let moved = (1..self.held.len()).find(|nth| {
            self.path_of(*nth, scene).is_some_and(|path| path == old || is_beneath(&old, &path))
        });
        if moved.is_some() {
            (self.moved, self.brought) = (moved, None);
        }
    }

    /// Where what is held lies now, if it has a name.
    fn path_of(&self, nth: usize, scene: &Scene) -> Option<String> {
        match self.held.get(nth)? {
            Held::Root => Some(String::new()),
            Held::Unknown => None,
            Held::Node(id) => {
                scene.iter().find(|(_, found)| found.id == *id).map(|(path, _)| path.clone())
            }
        }
    }

    /// Something that is held: its number, and where it lies.
    fn some_held(&mut self, scene: &Scene) -> (u8, String) {
        let others = u64::try_from(self.held.len().saturating_sub(1)).unwrap_or(0);
        let nth = match self.moved {
            Some(moved) if self.dice.below(4) > 0 => u64::try_from(moved).unwrap_or(0),
            _ if others == 0 => 0,
            _ => 1 + self.dice.below(others),
        };
        let path = self.path_of(usize::try_from(nth).unwrap_or(0), scene);
        match path {
            Some(path) => (u8::try_from(nth).unwrap_or(0), path),
            None => (0, String::new()),
        }
    }

    fn pick<'s>(&mut self, paths: &[&'s str]) -> &'s str {
        self.dice.pick(paths)
    }

    fn hold(&mut self, scene: &Scene) -> Op {
        let dirs = dirs(scene);
        let at = At::root(self.pick(&dirs));
        Op::Open(at, Access::Hold, OpenFlags::DIRECTORY, Follow::Yes)
    }

    /// A path in some directory, that a directory may get.
    fn some_new_path(&mut self, scene: &Scene) -> String {
        let dirs = dirs(scene);
        let above = self.pick(&dirs);
        join(above, self.dice.pick(&DIR_NAMES))
    }

    /// Renames what is held, or what is above it or beneath it.
    fn move_around_held(&mut self, scene: &Scene) -> Op {
        let (_, path) = self.some_held(scene);
        let related: Vec<&str> = dirs(scene)
            .into_iter()
            .filter(|dir| is_beneath(dir, &path) || is_beneath(&path, dir) || *dir == path)
            .collect();
        let old = match self.dice.below(3) {
            0 => self.pick(&related).to_owned(),
            _ => path,
        };
        let new = self.some_new_path(scene);
        Op::Rename(self.through_some(&old, scene), self.through_some(&new, scene))
    }

    /// Renames or links something into what is held.
    fn move_into_held(&mut self, scene: &Scene) -> Op {
        let (dir, path) = self.some_held(scene);
        let all = scene.keys().map(String::as_str).filter(|it| !is_beneath(&path, it));
        // Where it lies now, most can be moved by the rights that hold there.
        let around = path.rsplit_once('/').map_or("", |(above, _)| above);
        let near: Vec<&str> = all.clone().filter(|it| is_beneath(around, it)).collect();
        let (all, is_near) = (all.collect::<Vec<_>>(), self.dice.below(3) > 0);
        let old = self.pick(if is_near { &near } else { &all }).to_owned();
        let name = match (self.dice.below(3), old.rsplit('/').next()) {
            (0, _) | (_, None) => self.dice.pick(&NAMES).to_owned(),
            (_, Some(name)) => name.to_owned(),
        };
        let is_dir = scene.get(&old).is_some_and(|found| found.kind == FileType::Dir);
        // By its path it is judged where what is held lies now, and through the handle where that
        // may have been.
        let new = match self.dice.below(4) {
            0 => At { dir, path: name },
            _ => At::root(&join(&path, &name)),
        };
        let old = self.through_some(&old, scene);
        if !is_dir && self.dice.below(4) == 0 { Op::Link(old, new) } else { Op::Rename(old, new) }
    }

    /// Does something to what lies in what is held, or to what could.
    fn work_through_held(&mut self, scene: &Scene, bytes: Vec<u8>) -> Op {
        let (dir, above) = self.some_held(scene);
        let beneath: Vec<&str> =
            scene.keys().filter_map(|path| path.strip_prefix(&prefix(&above))).collect();
        let path = match (self.dice.below(6), &self.brought) {
            (0..3, Some(brought)) => brought.clone(),
            (5, _) => self.dice.pick(&NAMES).to_owned(),
            _ => self.pick(&beneath).to_owned(),
        };
        let at = At { dir, path };
        match self.dice.below(16) {
            0..6 => Op::Get(at),
            6 => Op::Put(at, bytes),
            7 => Op::Unlink(at),
            8 => Op::Rmdir(at),
            9 => Op::Mkdir(at),
            10 => Op::Link(at, At::root(&self.some_new_path(scene))),
            11..14 => Op::Rename(at, At::root(&self.some_new_path(scene))),
            _ => {
                let access = *Access::ALL
                    .get(usize::try_from(self.dice.below(4)).unwrap_or(0))
                    .unwrap_or(&Access::Hold);
                Op::Open(at, access, OpenFlags::empty(), Follow::Yes)
            }
        }
    }

    /// The way to `path`: from the root, or through something that is held above it.
    fn through_some(&mut self, path: &str, scene: &Scene) -> At {
        let (dir, above) = self.some_held(scene);
        match path.strip_prefix(&prefix(&above)) {
            Some(rest) if self.dice.below(2) == 0 => At { dir, path: rest.to_owned() },
            _ => At::root(path),
        }
    }
}

fn held_at(scene: &Scene, path: &str) -> Held {
    match scene.get(path) {
        _ if path.is_empty() => Held::Root,
        Some(found) if found.kind == FileType::Dir => Held::Node(found.id),
        Some(_) | None => Held::Unknown,
    }
}

fn dirs(scene: &Scene) -> Vec<&str> {
    let is_dir = scene.iter().filter(|(_, found)| found.kind == FileType::Dir);
    is_dir.map(|(path, _)| path.as_str()).collect()
}

fn prefix(above: &str) -> String {
    if above.is_empty() { String::new() } else { format!("{above}/") }
}

fn join(above: &str, name: &str) -> String {
    format!("{}{name}", prefix(above))
}

fn is_beneath(above: &str, path: &str) -> bool {
    path.starts_with(&prefix(above)) && path != above
}

/// Any operation, on names that there may be.
fn any_op(dice: &mut Dice, bytes: Vec<u8>) -> Op {
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
