//! What is different in the merged tree.

use std::io::IoSliceMut;
use std::sync::Arc;

use super::super::layer::{LayerRef, Says};
use super::super::lowers::{Found, Lowers, MergedDir, end};
use super::moves::{Moves, stat_of};
use super::{At, Change, ChangeKind, Changes, PathError, join, node, nodes, whiteouts};
use crate::{Descent, Dir, Errno, File, FileType, Name, OpenHow, Result, Stat};

/// Bytes of each file that are compared at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What `upper` changes about `lowers`.
///
/// - What was copied up but is the same is no change: bytes are compared where length and time of
///   the last change are equal. The time of the last access alone is no change.
/// - A directory is no change because of what was changed in it. It is if the time of its last
///   change was set to another than what the change of an entry had made it.
/// - The removal of a directory is one change, and so is its renaming. Where a directory was
///   removed and another of its name created, what was in it is listed as removed.
/// - A rename is told from the identity, which a layer keeps of what it adopted
///   ([`Layer::look`](super::super::Layer::look)). In a layer that came from elsewhere, an archive
///   say, there are no renames but removals and additions.
/// - A node with a new further name is not changed; the name is added.
///
/// The cost in memory is that of the upper's own nodes, whatever the size of the lowers.
///
/// Errors: those of the layers.
pub fn diff(upper: &LayerRef, lowers: &Lowers) -> Result<Changes, PathError> {
    let moves = Moves::find(upper, &lowers.root)?;
    let mut diff = Diff { moves, root: &lowers.root, found: Vec::new() };
    let root = Frame {
        path: String::new(),
        upper: Arc::clone(upper),
        lower: Some((String::new(), Arc::clone(&lowers.root))),
        names: nodes(&**upper).at("")?,
        hides: upper.is_opaque().at("")?,
        is_named: false,
    };
    let mut frames = vec![root];
    while let Some(frame) = frames.last_mut() {
        match frame.names.pop() {
            Some(name) => {
                if let Some(frame) = diff.node(frame, &name)? {
                    frames.push(frame);
                }
            }
            None => {
                if let Some(frame) = frames.pop() {
                    diff.removed(&frame)?;
                }
            }
        }
    }
    Ok(Changes::sorted(diff.found))
}

struct Diff<'a> {
    moves: Moves,
    root: &'a Arc<MergedDir>,
    found: Vec<Change>,
}

/// A directory of the upper, and the one of the lowers that it is, with that one's path.
struct Frame {
    path: String,
    upper: LayerRef,
    lower: Option<(String, Arc<MergedDir>)>,
    names: Vec<String>,
    /// Whether nothing of the lowers shows in it.
    hides: bool,
    /// Whether the directory itself is already named as added or modified.
    is_named: bool,
}

impl Frame {
    /// Whether the upper has a node of that name.
    fn has_node(&self, name: Name<'_>) -> Result<bool> {
        Ok(matches!(self.upper.look(name)?, Says::Node(_)))
    }
}

impl Diff<'_> {
    fn say(&mut self, path: &str, kind: ChangeKind, stat: &Stat, replaces: Option<FileType>) {
        let (path, file_type, size) = (path.into(), stat.kind, stat.size);
        self.found.push(Change { path, kind, file_type, size, replaces });
    }

    /// Compares one node of the upper. Answers the frame of a directory.
    fn node(&mut self, at: &Frame, name: &str) -> Result<Option<Frame>, PathError> {
        let path = join(&at.path, name);
        let checked = Name::new(name).at(&path)?;
        let stat = node(&*at.upper, checked).at(&path)?;
        let home = match &at.lower {
            Some((above, dir)) => {
                dir.find(checked).at(&path)?.map(|found| (join(above, name), found))
            }
            None => None,
        };
        let in_place = match (self.moves.from(&path).map(str::to_owned), home) {
            (Some(from), Some((there, found))) if from == there => Some((there, found)),
            (Some(from), home) => {
                let replaces = home.map(|(there, found)| kind_of(&there, &found));
                let kind = ChangeKind::Renamed { from: from.as_str().into() };
                self.say(&path, kind, &stat, replaces);
                let found = self.look(&from).at(&from)?;
                Some((from, found))
            }
            (None, None) => {
                self.say(&path, ChangeKind::Added, &stat, None);
                None
            }
            (None, Some((there, found))) => {
                let old = kind_of(&there, &found);
                if old == stat.kind && !self.moves.has_left(&there) {
                    Some((there, found))
                } else {
                    self.say(&path, ChangeKind::Modified, &stat, Some(old));
                    None
                }
            }
        };
        let is_named = in_place.is_none();
        if stat.kind == FileType::Dir {
            let upper = at.upper.enter(checked).at(&path)?;
            let lower = in_place.and_then(|(there, found)| match found {
                Found::Dir(dir) => Some((there, dir)),
                Found::Leaf(_) => None,
            });
            // What was renamed brought along all that it has.
            let has_moved = lower.as_ref().is_some_and(|(there, _)| *there != path);
            let hides = at.hides || has_moved || upper.is_opaque().at(&path)?;
            let names = nodes(&*upper).at(&path)?;
            return Ok(Some(Frame { path, upper, lower, names, hides, is_named }));
        }
        if let Some((there, Found::Leaf(part))) = in_place {
            let (_, old_name) = split(&there);
            let old_name = Name::new(old_name).at(&there)?;
            let old = end(part.dir().stat(old_name.into())).at(&there)?;
            let is_other = (old.dev, old.ino) != (stat.dev, stat.ino);
            let was_linked = is_other && (old.nlink > 1 || stat.nlink > 1);
            let (one, other) = ((&*at.upper as &dyn Dir, checked), (part.dir(), old_name));
            if was_linked || !is_same(one, &stat, other, &old).at(&path)? {
                self.say(&path, ChangeKind::Modified, &stat, None);
            }
        }
        Ok(None)
    }

    /// What of the lowers is not in the directory any more, and the directory itself.
    fn removed(&mut self, at: &Frame) -> Result<(), PathError> {
        let Some((above, lower)) = &at.lower else { return Ok(()) };
        let names = if at.hides {
            let list = lower.list().at(above)?;
            list.behind(0).map(|entry| entry.name.as_str().to_owned()).collect()
        } else {
            whiteouts(&*at.upper).at(&at.path)?
        };
        for name in names {
            let there = join(above, &name);
            let checked = Name::new(&name).at(&there)?;
            if at.has_node(checked).at(&there)? {
                continue;
            }
            let Some(found) = lower.find(checked).at(&there)? else { continue };
            if !self.moves.has_left(&there) {
                let stat = stat_of(&there, &found).at(&there)?;
                self.say(&there, ChangeKind::Removed, &stat, None);
            }
        }
        if at.is_named {
            return Ok(());
        }
        let new = end(at.upper.stat(Descent::HERE)).at(&at.path)?;
        let old = end(lower.stat(Descent::HERE)).at(above)?;
        // An entry that comes or goes sets both times at once.
        if new.modified != old.modified && new.modified != new.changed {
            self.say(&at.path, ChangeKind::Modified, &new, None);
        }
        Ok(())
    }

    /// What is at `path` of the lowers.
    fn look(&self, path: &str) -> Result<Found> {
        let mut at = Arc::clone(self.root);
        let (parent, name) = split(path);
        for name in Descent::new(parent)?.names() {
            match at.find(name)?.ok_or(Errno::Noent)? {
                Found::Dir(dir) => at = dir,
                Found::Leaf(_) => return Err(Errno::Notdir),
            }
        }
        at.find(Name::new(name)?)?.ok_or(Errno::Noent)
    }
}

/// A guard may not show what a link is.
fn kind_of(path: &str, found: &Found) -> FileType {
    match stat_of(path, found) {
        Ok(stat) => stat.kind,
        Err(_) => FileType::Symlink,
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether two files or links are equal, but for the time of the last access.
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
            let one = end(dir.open(name.into(), OpenHow::READ))?.into_file()?;
            let other = end(old_dir.open(old_name.into(), OpenHow::READ))?.into_file()?;
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

/// Whether two files of `size` bytes have the same ones.
pub(super) fn same_bytes(one: &dyn File, other: &dyn File, size: u64) -> Result<bool> {
    // One byte more, so that the end is seen.
    let len =
        usize::try_from(size).map_or(PIECE_BYTES, |size| PIECE_BYTES.min(size.saturating_add(1)));
    let (mut here, mut there) = (vec![0; len], vec![0; len]);
    let mut at = 0_u64;
    loop {
        let n = read_full(one, &mut here, at)?;
        let m = read_full(other, &mut there, at)?;
        if here.get(..n) != there.get(..m) {
            return Ok(false);
        }
        if n < len {
            return Ok(true);
        }
        at += n as u64;
    }
}

/// Reads until `piece` is full or the file ends.
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
