//! The rights that each node and each token is marked with, and the checks against them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use palisade_vfs::{FileType, Rights};

use super::RightsAt;
use super::scene::{Id, Scene, SceneEntry};
use crate::op::Op;
use crate::outcome::Outcome;

/// Digits after the letter of a token.
pub(super) const DIGITS: usize = 4;

/// The differences between the trees before and after an operation, each list sorted by path.
pub(super) struct Changes<'s> {
    before: &'s Scene,
    after: &'s Scene,
    /// Names that lead to a node to which they did not lead before.
    added: Vec<&'s SceneEntry>,
    /// Names that led to a node to which they no longer lead.
    removed: Vec<&'s SceneEntry>,
    /// Names that lead to the same file, whose content changed.
    rewritten: Vec<(&'s SceneEntry, &'s SceneEntry)>,
}

impl<'s> Changes<'s> {
    /// Compares two trees.
    pub(super) fn between(before: &'s Scene, after: &'s Scene) -> Self {
        let (mut added, mut removed, mut rewritten) = (vec![], vec![], vec![]);
        let (mut olds, mut news) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (Some(old), Some(new)) => old.0.cmp(&new.0),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => break,
            };
            let old = if order.is_le() { olds.next() } else { None };
            let new = if order.is_ge() { news.next() } else { None };
            match (old, new) {
                (Some(old), Some(new)) if old.1.id == new.1.id => {
                    if old.1.bytes != new.1.bytes {
                        rewritten.push((old, new));
                    }
                }
                (old, new) => {
                    removed.extend(old);
                    added.extend(new);
                }
            }
        }
        Changes { before, after, added, removed, rewritten }
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.rewritten.is_empty()
    }

    /// Whether the node of a removed name has fewer names than before.
    fn lost_a_name(&self, id: Id) -> bool {
        self.after.name_count(id) < self.before.name_count(id)
    }
}

impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rewritten = self.rewritten.iter().map(|(old, _)| old);
        let paths = |entries: &[&SceneEntry]| {
            entries.iter().map(|(path, _)| &**path).collect::<Vec<_>>().join(" ")
        };
        let rewritten: Vec<&SceneEntry> = rewritten.copied().collect();
        let (added, removed) = (paths(&self.added), paths(&self.removed));
        write!(f, "added [{added}], removed [{removed}], rewritten [{}]", paths(&rewritten))
    }
}

/// The marks of the nodes that have a name, and of all tokens that were ever written.
#[derive(Default)]
pub(super) struct Marks {
    nodes: BTreeMap<Id, Rights>,
    tokens: BTreeMap<u32, Rights>,
    /// The former names of nodes: removed, or replaced in a rename.
    lost: BTreeMap<Id, BTreeSet<Rc<str>>>,
}

impl Marks {
    fn of(&self, id: Id) -> Rights {
        self.nodes.get(&id).copied().unwrap_or(Rights::empty())
    }

    /// Marks new nodes and tokens, and removes the marks of nodes that have no name left.
    pub(super) fn update(&mut self, changes: &Changes<'_>, rights: &RightsAt<'_>) {
        let mut new: BTreeMap<Id, Rights> = BTreeMap::new();
        for (path, node) in &changes.added {
            if !self.nodes.contains_key(&node.id) {
                *new.entry(node.id).or_insert(Rights::empty()) |= rights(path);
            }
        }
        for (_, node) in &changes.removed {
            if changes.after.name_count(node.id) == 0 {
                self.nodes.remove(&node.id);
            }
        }
        self.nodes.append(&mut new);
        let rewritten = changes.rewritten.iter().map(|(_, new)| new);
        for (_, node) in changes.added.iter().chain(rewritten) {
            for token in tokens(&node.bytes) {
                let mark = self.of(node.id);
                self.tokens.entry(token).or_insert(mark);
            }
        }
    }

    /// Intersects each mark with the rights of a narrower policy at the names, present and lost, of
    /// the node.
    pub(super) fn narrow(&mut self, scene: &Scene, rights: &RightsAt<'_>) {
        let mut granted: BTreeMap<Id, Rights> = BTreeMap::new();
        for (path, node) in scene.iter() {
            *granted.entry(node.id).or_insert(Rights::empty()) |= rights(path);
        }
        for (id, paths) in &self.lost {
            let lost = paths.iter().fold(Rights::empty(), |all, path| all | rights(path));
            *granted.entry(*id).or_insert(Rights::empty()) |= lost;
        }
        for (id, mark) in &mut self.nodes {
            *mark &= granted.get(id).copied().unwrap_or(Rights::empty());
        }
        let mut present: BTreeMap<u32, Rights> = BTreeMap::new();
        for (_, node) in scene.iter() {
            for token in tokens(&node.bytes) {
                *present.entry(token).or_insert(Rights::empty()) |= self.of(node.id);
            }
        }
        for (token, mark) in &mut self.tokens {
            if let Some(present) = present.get(token) {
                *mark &= *present;
            }
        }
    }

    /// Records the names that were removed or replaced. A file that is open keeps the rights of the
    /// name by which it was opened.
    pub(super) fn record_lost_names(&mut self, op: &Op, changes: &Changes<'_>) {
        if !matches!(op, Op::Unlink(_) | Op::Rename(..)) {
            return;
        }
        for (path, node) in &changes.removed {
            if changes.lost_a_name(node.id) {
                self.lost.entry(node.id).or_default().insert(Rc::clone(path));
            }
        }
    }

    /// Checks that the guest may read each token that it has read.
    pub(super) fn check_read(&self, outcome: &Outcome) -> Result<(), String> {
        let Outcome::Bytes(bytes) = outcome else { return Ok(()) };
        for token in tokens(bytes) {
            if self.tokens.get(&token).is_some_and(|mark| !mark.contains(Rights::READ)) {
                return Err(format!("read T{token:0DIGITS$}"));
            }
        }
        Ok(())
    }

    /// Checks that the mark of each node that lost a name, or whose content changed, grants it.
    pub(super) fn check_nodes(&self, op: &Op, changes: &Changes<'_>) -> Result<(), String> {
        let changed = |path: &str, mark| format!("changed the content of {path}, marked {mark:?}");
        for (path, node) in &changes.removed {
            let mark = self.of(node.id);
            if changes.lost_a_name(node.id) && !mark.contains(removing(op)) {
                return Err(format!("removed {path}, marked {mark:?}"));
            }
            let now = changes.after.node(node.id);
            if now.is_some_and(|now| now.bytes != node.bytes) && !mark.contains(writing(op)) {
                return Err(changed(path, mark));
            }
        }
        for ((path, node), _) in &changes.rewritten {
            let mark = self.of(node.id);
            if !mark.contains(writing(op)) {
                return Err(changed(path, mark));
            }
        }
        Ok(())
    }
}

/// Checks that each name that appeared or vanished did so by a right that is granted at its path.
/// Names under such a name moved with it.
pub(super) fn check_names(
    op: &Op,
    changes: &Changes<'_>,
    rights: &RightsAt<'_>,
) -> Result<(), String> {
    for (path, node) in topmost(&changes.added) {
        let needed = match op {
            Op::Rename(..) => Rights::RENAME_INTO,
            Op::Link(..) => Rights::LINK_INTO,
            _ if node.kind == FileType::Dir => Rights::CREATE_DIR,
            _ if node.kind == FileType::Symlink => Rights::CREATE_SYMLINK,
            _ => Rights::CREATE_FILE,
        };
        if !rights(path).contains(needed) {
            return Err(format!("created the name {path}, where {needed:?} is not granted"));
        }
    }
    for (path, _) in topmost(&changes.removed) {
        if changes.after.get(path).is_some() {
            continue;
        }
        let needed = match op {
            Op::Rename(..) => Rights::RENAME_FROM,
            Op::Rmdir(_) => Rights::REMOVE_DIR,
            _ => Rights::REMOVE_FILE,
        };
        if !rights(path).contains(needed) {
            return Err(format!("removed the name {path}, where {needed:?} is not granted"));
        }
    }
    Ok(())
}

/// Returns the entries whose parent directory is not an entry of the list.
fn topmost<'s>(entries: &[&'s SceneEntry]) -> impl Iterator<Item = &'s SceneEntry> {
    let is_listed = |path: &str| entries.binary_search_by(|(other, _)| (**other).cmp(path)).is_ok();
    entries
        .iter()
        .copied()
        .filter(move |(path, _)| path.rsplit_once('/').is_none_or(|(parent, _)| !is_listed(parent)))
}

/// Returns the right that removes a name; all rights for an operation that must remove none.
fn removing(op: &Op) -> Rights {
    match op {
        Op::Unlink(_) => Rights::REMOVE_FILE,
        Op::Rmdir(_) => Rights::REMOVE_DIR,
        Op::Rename(..) => Rights::RENAME_INTO,
        _ => Rights::all(),
    }
}

/// Returns the right that changes content; all rights for an operation that must change none.
fn writing(op: &Op) -> Rights {
    match op {
        Op::Put(..) | Op::SetLen(..) => Rights::WRITE | Rights::SET_LEN,
        Op::Open(..) => Rights::SET_LEN,
        Op::Write(..) | Op::Append(..) => Rights::WRITE,
        _ => Rights::all(),
    }
}

/// Returns the numbers of the tokens in `bytes`.
fn tokens(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.windows(DIGITS + 1).filter_map(|part| match part.split_first() {
        Some((b'T', digits)) => digits.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        }),
        _ => None,
    })
}
