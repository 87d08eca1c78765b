//! The guest of a run: generates operations that look for a way around a policy.
//!
//! It holds directories across renames and links, moves them, their parents and their content,
//! moves other nodes into them, and operates through the handles. It chooses operands from the tree
//! as the back end holds it, so that most operations name nodes that exist.

use palisade_vfs::{Access, FileType, Follow, OpenFlags};

use super::handles::Handles;
use super::scene::{Scene, is_under, join, path_under};
use super::{DIRS, Dice, NAMES, OPS_MAX, token};
use crate::op::{At, Op};
use crate::outcome::Outcome;

/// The state of the generator.
pub(super) struct Guest {
    dice: Dice,
    len: usize,
    /// The number of an open directory that was moved, by its own name or that of a parent.
    moved: Option<usize>,
    /// The last path, under the moved directory, to which a node was moved.
    moved_into: Option<String>,
}

/// Names of directories. Some rules name them, some do not.
const DIR_NAMES: [&str; 4] = ["d", "x", "s", "f"];

impl Guest {
    /// Returns the guest with this seed.
    pub(super) fn new(nth: u64) -> Self {
        let mut dice = Dice::new(nth);
        let most = u64::try_from(OPS_MAX).unwrap_or(u64::MAX);
        // Most runs are long: it takes some operations to get around a policy.
        let len = usize::try_from(dice.below(most).max(dice.below(most))).unwrap_or(0) + 1;
        Guest { dice, len, moved: None, moved_into: None }
    }

    /// Returns the number of operations of the run.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns operation number `nth`, or `None` at the end of the run.
    pub(super) fn next(&mut self, nth: usize, scene: &Scene, handles: &Handles) -> Option<Op> {
        if nth >= self.len {
            return None;
        }
        let bytes = token(nth + 100);
        let has_handles = handles.dir_count() > 1;
        Some(match self.dice.below(20) {
            0..6 if !has_handles => self.hold(scene),
            0..2 => self.hold(scene),
            2..6 => self.move_handle(scene, handles),
            6..10 => self.move_into_handle(scene, handles),
            10..16 => self.operate_through_handle(scene, handles, bytes),
            _ => any_op(&mut self.dice, bytes),
        })
    }

    /// Records a successful rename or link of `op`. `scene` is the tree before it.
    pub(super) fn observe(&mut self, op: &Op, outcome: &Outcome, scene: &Scene, handles: &Handles) {
        let (Op::Rename(old, new) | Op::Link(old, new), Outcome::Done) = (op, outcome) else {
            return;
        };
        let new = handles.full_path(new, scene).unwrap_or_default();
        let moved = self.moved.and_then(|moved| handles.path_of(moved, scene));
        if let Some(moved) = moved
            && is_under(moved, &new)
        {
            self.moved_into = path_under(moved, &new).map(str::to_owned);
            return;
        }
        let (Some(old), Op::Rename(..)) = (handles.full_path(old, scene), op) else { return };
        let moved = (1..handles.dir_count()).find(|nth| {
            let path = handles.path_of(*nth, scene);
            path.is_some_and(|path| path == old || is_under(&old, path))
        });
        if moved.is_some() {
            (self.moved, self.moved_into) = (moved, None);
        }
    }

    /// Chooses an open directory, most often the moved one, and returns its number and path.
    fn handle<'s>(&mut self, scene: &'s Scene, handles: &Handles) -> (u8, &'s str) {
        let others = u64::try_from(handles.dir_count().saturating_sub(1)).unwrap_or(0);
        let nth = match self.moved {
            Some(moved) if self.dice.below(4) > 0 => u64::try_from(moved).unwrap_or(0),
            _ if others == 0 => 0,
            _ => 1 + self.dice.below(others),
        };
        match handles.path_of(usize::try_from(nth).unwrap_or(0), scene) {
            Some(path) => (u8::try_from(nth).unwrap_or(0), path),
            None => (0, ""),
        }
    }

    /// Opens a directory.
    fn hold(&mut self, scene: &Scene) -> Op {
        let at = At::root(self.dice.pick(&scene.dirs()));
        Op::Open(at, Access::Hold, OpenFlags::DIRECTORY, Follow::Yes)
    }

    /// Returns a path in some directory, with the name of a directory.
    fn new_path(&mut self, scene: &Scene) -> String {
        let parent = self.dice.pick(&scene.dirs());
        join(parent, self.dice.pick(&DIR_NAMES))
    }

    /// Renames an open directory, or a directory above or under it.
    fn move_handle(&mut self, scene: &Scene, handles: &Handles) -> Op {
        let (_, path) = self.handle(scene, handles);
        let old = match self.dice.below(3) {
            0 => {
                let mut related = scene.dirs();
                related.retain(|dir| is_under(dir, path) || is_under(path, dir) || *dir == path);
                self.dice.pick(&related)
            }
            _ => path,
        };
        let new = self.new_path(scene);
        let old = self.operand(old, scene, handles);
        Op::Rename(old, self.operand(&new, scene, handles))
    }

    /// Renames or links a node into an open directory.
    fn move_into_handle(&mut self, scene: &Scene, handles: &Handles) -> Op {
        let (dir, path) = self.handle(scene, handles);
        // Most nodes next to the directory can be moved, because the same rights hold there.
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let is_near = self.dice.below(3) > 0;
        let candidates: Vec<&str> = scene
            .paths()
            .filter(|other| !is_under(path, other) && (!is_near || is_under(parent, other)))
            .collect();
        let old = self.dice.pick(&candidates);
        let name = match (self.dice.below(3), old.rsplit('/').next()) {
            (0, _) | (_, None) => self.dice.pick(&NAMES),
            (_, Some(name)) => name,
        };
        let is_dir = scene.get(old).is_some_and(|node| node.kind == FileType::Dir);
        // The policy judges a path by the current place of the directory, and a handle by the place
        // where the directory was opened.
        let new = match self.dice.below(4) {
            0 => At { dir, path: name.to_owned() },
            _ => At { dir: 0, path: join(path, name) },
        };
        let old = self.operand(old, scene, handles);
        if !is_dir && self.dice.below(4) == 0 { Op::Link(old, new) } else { Op::Rename(old, new) }
    }

    /// Operates on a node under an open directory, or on a name that may not exist there.
    fn operate_through_handle(&mut self, scene: &Scene, handles: &Handles, bytes: Vec<u8>) -> Op {
        let (dir, above) = self.handle(scene, handles);
        let path = match (self.dice.below(6), &self.moved_into) {
            (0..3, Some(path)) => path.clone(),
            (5, _) => self.dice.pick(&NAMES).to_owned(),
            _ => {
                let under = scene.paths().filter_map(|path| path_under(above, path));
                self.dice.pick(&under.collect::<Vec<_>>()).to_owned()
            }
        };
        let at = At { dir, path };
        match self.dice.below(16) {
            0..6 => Op::Get(at),
            6 => Op::Put(at, bytes),
            7 => Op::Unlink(at),
            8 => Op::Rmdir(at),
            9 => Op::Mkdir(at),
            10 => Op::Link(at, At { dir: 0, path: self.new_path(scene) }),
            11..14 => Op::Rename(at, At { dir: 0, path: self.new_path(scene) }),
            _ => Op::Open(at, self.access(), OpenFlags::empty(), Follow::Yes),
        }
    }

    fn access(&mut self) -> Access {
        access(&mut self.dice)
    }

    /// Returns `path` as a path from the root, or from an open directory above it.
    fn operand(&mut self, path: &str, scene: &Scene, handles: &Handles) -> At {
        let (dir, above) = self.handle(scene, handles);
        match path_under(above, path) {
            Some(rest) if self.dice.below(2) == 0 => At { dir, path: rest.to_owned() },
            _ => At::root(path),
        }
    }
}

/// Returns any operation, on names that may exist.
fn any_op(dice: &mut Dice, bytes: Vec<u8>) -> Op {
    let file = u8::try_from(dice.below(4)).unwrap_or(0);
    match dice.below(32) {
        0..9 => Op::Rename(path(dice), path(dice)),
        9..13 => Op::Link(path(dice), path(dice)),
        13 => Op::Symlink(path(dice), format!("../{}", path(dice).path)),
        14 => Op::Symlink(path(dice), path(dice).path),
        15..17 => Op::Put(path(dice), bytes),
        17..20 => Op::Get(path(dice)),
        20..24 => open(dice),
        24 => Op::Read(file, 64, 0),
        25 => Op::Write(file, bytes, 5 * dice.below(3)),
        26 => Op::Append(file, bytes),
        27 => Op::SetLen(file, 5 * dice.below(3)),
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
    let access = access(dice);
    let follow = if dice.below(4) == 0 { Follow::No } else { Follow::Yes };
    Op::Open(path(dice), access, flags, follow)
}

fn access(dice: &mut Dice) -> Access {
    let access = Access::ALL.get(usize::try_from(dice.below(4)).unwrap_or(0));
    *access.unwrap_or(&Access::Hold)
}

fn path(dice: &mut Dice) -> At {
    // Some paths begin in an open directory.
    let dir = if dice.below(5) == 0 { 1 + dice.below(3) } else { 0 };
    let dir = u8::try_from(dir).unwrap_or(0);
    let path = match dice.below(8) {
        0 => dice.pick(&DIRS).to_owned(),
        1 => join("a/l", dice.pick(&NAMES)),
        2 if dir != 0 => dice.pick(&NAMES).to_owned(),
        _ => join(dice.pick(&DIRS), dice.pick(&NAMES)),
    };
    At { dir, path }
}
