//! Diff: computes the changes of an upper relative to its lowers.

use std::io::IoSliceMut;
use std::sync::Arc;

use super::super::lowers::{LowerNode, Lowers, MergedDir, to_errno};
use super::super::upper::{UpperEntry, UpperRef};
use super::dir_pair::{DirPair, DirPairData, LowerLocation};
use super::renames::{Renames, stat_of};
use super::{Changes, Entry, EntryKind, PathError, node, whiteouts};
use crate::shared_path::SharedPath;
use crate::tree_walk::{At, Entered, Leave, Visit, Visitor, WalkDir, enter_path, names, walk};
use crate::{Descent, Dir, Errno, File, FileType, Name, OpenHow, Result, Stat};

/// The buffer size for comparing files, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Returns the changes that `upper` makes to `lowers`.
///
/// - A copied-up node that equals the original is no change. Contents are compared if the lengths
///   and the modification times are equal. A different access time is no change.
/// - A directory is not modified by changes of its entries. It is modified if its modification time
///   was set to another value than that of the last change of an entry.
/// - The removal of a directory is one change, and so is its rename. If a directory was removed and
///   another one created under its name, the old entries are listed as removed.
/// - Renames are detected by identities, which an upper keeps for copied-up nodes
///   ([`UpperDir::lookup`](super::super::UpperDir::lookup)). An upper that was imported from an
///   archive has no identities, so a rename appears as a removal and an addition.
/// - A new hard link is an addition; the file is not modified.
///
/// Uses memory proportional to the upper, not to the lowers.
///
/// # Errors
/// - Those of the upper and of the lowers.
pub fn diff(upper: &UpperRef, lowers: &Lowers) -> Result<Changes, PathError> {
    let renames = Renames::detect(upper, &lowers.root)?;
    let root = &lowers.root;
    let mut diff = Diff { renames, root, last: Arc::clone(root), found: Vec::new() };
    let dir = DirPair { upper: Arc::clone(upper), lower: Some(Arc::clone(&lowers.root)) };
    let names = names(&**upper).at("")?;
    let hides = upper.is_opaque().at("")?;
    let pair = DirPairData { lower: LowerLocation::SameName, hides };
    walk(Entered { dir, names, data: DiffData { pair, is_reported: false } }, &mut diff)?;
    Ok(Changes::sorted(diff.found))
}

struct Diff<'a> {
    renames: Renames,
    root: &'a Arc<MergedDir>,
    /// The directory of the lowers of the previous lookup. The next one is mostly near.
    last: Arc<MergedDir>,
    found: Vec<Entry>,
}

struct DiffData {
    pair: DirPairData,
    /// Whether the directory itself has been reported as added or modified.
    is_reported: bool,
}

/// A node of the upper to compare.
type Node<'a> = Visit<'a, DirPair, DiffData>;

impl Visitor for Diff<'_> {
    type Dir = DirPair;
    type Data = DiffData;
    type Error = PathError;

    /// Compares a node of the upper with the lowers.
    fn node(&mut self, at: Node<'_>) -> Result<Option<Entered<DirPair, DiffData>>, PathError> {
        self.compare(&at).at(at.path)
    }

    /// Reports removed entries of the lowers, and changed times of the directory.
    fn leave(&mut self, at: Leave<'_, DirPair, DiffData>) -> Result<(), PathError> {
        self.removed(&at).at(at.path)
    }

    fn enter_again(&self, parent: &DirPair, name: Name<'_>, data: &DiffData) -> Result<DirPair> {
        match &data.pair.lower {
            LowerLocation::Absent => parent.enter_upper(name),
            LowerLocation::SameName => parent.enter(name),
            LowerLocation::Renamed(path) => {
                let lower = Some(enter_path(self.root, path)?);
                Ok(DirPair { lower, ..parent.enter_upper(name)? })
            }
        }
    }
}

impl Diff<'_> {
    fn record(&mut self, path: &SharedPath, kind: EntryKind, stat: &Stat, old: Option<FileType>) {
        let (path, file_type, size) = (path.clone(), stat.kind, stat.size);
        self.found.push(Entry { path, kind, file_type, size, replaces: old });
    }

    fn compare(&mut self, at: &Node<'_>) -> Result<Option<Entered<DirPair, DiffData>>> {
        let path = at.shared_path();
        let stat = node(&*at.dir.upper, at.name)?;
        let home = match &at.dir.lower {
            Some(dir) => {
                dir.lookup(at.name)?.map(|found| (dir.path().join(at.name.as_str()), found))
            }
            None => None,
        };
        let in_place = self.in_place(&path, &stat, home)?;
        if stat.kind == FileType::Dir {
            return self.enter(at, &path, in_place).map(Some);
        }
        if let Some((lower_path, LowerNode::Leaf(part))) = in_place {
            let old_name = Name::new(lower_path.name())?;
            let old = to_errno(part.dir().stat(old_name.into()))?;
            let is_other = (old.dev, old.ino) != (stat.dev, stat.ino);
            let was_linked = is_other && (old.nlink > 1 || stat.nlink > 1);
            let (one, other) = ((&*at.dir.upper as &dyn Dir, at.name), (part.dir(), old_name));
            if was_linked || !is_same(one, &stat, other, &old)? {
                self.record(&path, EntryKind::Modified, &stat, None);
            }
        }
        Ok(None)
    }

    /// Returns the lower's node that the upper's node at `path` is, with its path. Reports the
    /// change if there is none, or if the node was renamed. `home` is the lower's node at the same
    /// path.
    fn in_place(
        &mut self,
        path: &SharedPath,
        stat: &Stat,
        home: Option<(SharedPath, LowerNode)>,
    ) -> Result<Option<(SharedPath, LowerNode)>> {
        Ok(match (self.renames.from(path).cloned(), home) {
            (Some(from), Some((lower_path, found))) if from == lower_path => {
                Some((lower_path, found))
            }
            (Some(from), home) => {
                let replaces = home.map(|(lower_path, found)| kind_of(&lower_path, &found));
                let kind = EntryKind::Renamed { from: from.clone() };
                self.record(path, kind, stat, replaces);
                let (above, name) = from.split_last().ok_or(Errno::Noent)?;
                if self.last.path() != above {
                    let is_within =
                        above.split_last().is_some_and(|(it, _)| it == self.last.path());
                    self.last = match is_within {
                        true => self.last.enter(Name::new(above.name())?)?,
                        false => enter_path(self.root, above)?,
                    };
                }
                let found = self.last.lookup(Name::new(name)?)?;
                Some((from, found.ok_or(Errno::Noent)?))
            }
            (None, None) => {
                self.record(path, EntryKind::Added, stat, None);
                None
            }
            (None, Some((lower_path, found))) => {
                let old = kind_of(&lower_path, &found);
                if old == stat.kind && !self.renames.has_left(&lower_path) {
                    Some((lower_path, found))
                } else {
                    self.record(path, EntryKind::Modified, stat, Some(old));
                    None
                }
            }
        })
    }

    fn enter(
        &self,
        at: &Node<'_>,
        path: &SharedPath,
        in_place: Option<(SharedPath, LowerNode)>,
    ) -> Result<Entered<DirPair, DiffData>> {
        let upper = WalkDir::enter(&at.dir.upper, at.name)?;
        let is_reported = in_place.is_none();
        let (lower, lower_at) = match in_place {
            Some((lower_path, LowerNode::Dir(dir))) => {
                let home = at.dir.lower.as_ref().map(|lower| lower.path());
                let is_home = lower_path.split_last() == home.map(|home| (home, at.name.as_str()));
                let lower_at = if is_home {
                    LowerLocation::SameName
                } else {
                    LowerLocation::Renamed(lower_path)
                };
                (Some(dir), lower_at)
            }
            Some((_, LowerNode::Leaf(_))) | None => (None, LowerLocation::Absent),
        };
        // A renamed directory was copied up whole.
        let has_moved = lower.as_ref().is_some_and(|lower| lower.path() != path);
        let hides = at.data.pair.hides || has_moved || upper.is_opaque()?;
        let names = names(&*upper)?;
        let data = DiffData { pair: DirPairData { lower: lower_at, hides }, is_reported };
        Ok(Entered { dir: DirPair { upper, lower }, names, data })
    }

    fn removed(&mut self, at: &Leave<'_, DirPair, DiffData>) -> Result<()> {
        let DirPair { upper, lower } = at.dir;
        let Some(lower) = lower else { return Ok(()) };
        let names = if at.data.pair.hides {
            let list = lower.list()?;
            list.after(0).map(|entry| entry.name.as_str().into()).collect()
        } else {
            whiteouts(&**upper)?
        };
        for name in names {
            let lower_path = lower.path().join(&name);
            let checked = Name::new(&name)?;
            if matches!(upper.lookup(checked)?, UpperEntry::Node(_)) {
                continue;
            }
            let Some(found) = lower.lookup(checked)? else { continue };
            if !self.renames.has_left(&lower_path) {
                let stat = stat_of(&lower_path, &found)?;
                self.record(&lower_path, EntryKind::Removed, &stat, None);
            }
        }
        if at.data.is_reported {
            return Ok(());
        }
        let new = to_errno(upper.stat(Descent::HERE))?;
        let old = to_errno(lower.stat(Descent::HERE))?;
        // A change of an entry sets both times to the same value.
        if new.modified != old.modified && new.modified != new.changed {
            self.record(at.dir_path, EntryKind::Modified, &new, None);
        }
        Ok(())
    }
}

/// Returns the type of a lower's node. A node that a policy layer does not allow to stat is a
/// symbolic link.
fn kind_of(path: &SharedPath, found: &LowerNode) -> FileType {
    match stat_of(path, found) {
        Ok(stat) => stat.kind,
        Err(_) => FileType::Symlink,
    }
}

/// Returns whether two files or links are equal, except for their access times.
fn is_same(
    (dir, name): (&dyn Dir, Name<'_>),
    stat: &Stat,
    (old_dir, old_name): (&dyn Dir, Name<'_>),
    old: &Stat,
) -> Result<bool> {
    if (stat.kind, stat.size, stat.modified) != (old.kind, old.size, old.modified) {
        return Ok(false);
    }
    match stat.kind {
        FileType::File => {
            let one = to_errno(dir.open(name.into(), OpenHow::READ))?.into_file()?;
            let other = to_errno(old_dir.open(old_name.into(), OpenHow::READ))?.into_file()?;
            same_bytes(&*one, &*other, stat.size)
        }
        FileType::Symlink => Ok(dir.read_link(name)? == old_dir.read_link(old_name)?),
        FileType::Dir
        | FileType::CharDevice
        | FileType::BlockDevice
        | FileType::Fifo
        | FileType::Socket => Ok(true),
    }
}

/// Returns whether two files of `size` bytes have equal content.
pub(super) fn same_bytes(one: &dyn File, other: &dyn File, size: u64) -> Result<bool> {
    // One byte more than the size, so that the first read also detects the end.
    let len =
        usize::try_from(size).map_or(PIECE_BYTES, |size| PIECE_BYTES.min(size.saturating_add(1)));
    let (mut left, mut right) = (vec![0; len], vec![0; len]);
    let mut at = 0_u64;
    loop {
        let n = read_full(one, &mut left, at)?;
        let m = read_full(other, &mut right, at)?;
        if left.get(..n) != right.get(..m) {
            return Ok(false);
        }
        if n < len {
            return Ok(true);
        }
        at += n as u64;
    }
}

/// Reads until `piece` is full or the file ends. Returns the number of bytes.
pub(in super::super) fn read_full(file: &dyn File, piece: &mut [u8], at: u64) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = piece.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(&mut [IoSliceMut::new(rest)], at + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
