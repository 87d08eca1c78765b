//! Flattening: merges several lowers into one frozen upper.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::Identity;
use super::super::lowers::{LowerDir, LowerNode, Lowers, LowersBuilder, MergedDir, to_errno};
use super::super::upper::{CopyUp, NewName, UpperEntry, UpperRef};
use super::{PathError, whiteouts};
use crate::copy::copy_bytes;
use crate::shared_path::SharedPath;
use crate::tree_walk::{At, Entered, Leave, Visit, Visitor, WalkDir, enter_path, names, walk};
use crate::{Descent, Errno, File, FileType, Name, OpenHow, Result, Stat, bug};

/// Merges the topmost `count` of `lowers` into `into`, which must be empty, and freezes it. Returns
/// lowers with the same merged tree, where `into` replaces them: the same content, times and
/// identities. Whiteouts and opaque directories are kept where a remaining lower must be hidden.
///
/// An overlay switches to the result with [`Overlay::restore`](super::super::Overlay::restore).
///
/// # Errors
/// - `EINVAL`: `count` is 0 or exceeds [`Lowers::count`], or `into` is one of the lowers.
/// - `EPERM`: a node is neither a file nor a directory nor a symbolic link.
/// - The errors of the lowers and of `into`.
///
/// After an error `into` holds a part of the tree.
pub fn flatten(lowers: &Lowers, count: usize, into: &UpperRef) -> Result<Lowers, PathError> {
    let (top, rest) = lowers.split(count).ok_or(Errno::Inval).at("")?;
    if lowers.root.overlaps(into).at("")? {
        return Err(Errno::Inval).at("");
    }
    let below = if rest.is_empty() { None } else { Some(of(rest.clone()).at("")?.root) };
    let mut flatten = Flatten { firsts: HashMap::default(), into: Arc::clone(into) };
    let root = Stack { parts: top, below, into: Arc::clone(into) };
    walk(root.entered().at("")?, &mut flatten)?;
    into.freeze().at("")?;
    let flat = std::iter::once(LowerDir::Frozen(Arc::clone(into)));
    of(flat.chain(rest).collect()).at("")
}

fn of(parts: Vec<LowerDir>) -> Result<Lowers> {
    LowersBuilder::of(parts).build()
}

struct Flatten {
    /// The first name of each file with several names.
    firsts: HashMap<Identity, SharedPath, RandomState>,
    into: UpperRef,
}

/// The directories of one path in the merged lowers, and in the remaining lowers under them.
struct Stack {
    parts: Vec<LowerDir>,
    below: Option<Arc<MergedDir>>,
    into: UpperRef,
}

/// The merged entry of a name in several lowers.
enum StackEntry {
    Absent,
    Whiteout,
    Leaf(LowerDir),
    Dir { parts: Vec<LowerDir>, hides: bool },
}

impl WalkDir for Stack {
    type Id = Identity;

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        let StackEntry::Dir { parts, hides } = self.lookup(name)? else { return Err(Errno::Stale) };
        let below = match &self.below {
            Some(below) if !hides => match below.lookup(name)? {
                Some(LowerNode::Dir(dir)) => Some(dir),
                Some(LowerNode::Leaf(_)) | None => None,
            },
            Some(_) | None => None,
        };
        Ok(Stack { parts, below, into: WalkDir::enter(&self.into, name)? })
    }

    fn id(&self) -> Result<Identity> {
        self.into.id()
    }
}

impl Stack {
    fn entered(self) -> Result<Entered<Stack, ()>> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(names(part.dir())?);
            if let LowerDir::Frozen(upper) = part {
                all.extend(whiteouts(&**upper)?);
            }
        }
        all.sort_unstable();
        all.dedup();
        Ok(Entered { dir: self, names: all, data: () })
    }

    fn lookup(&self, name: Name<'_>) -> Result<StackEntry> {
        let mut dirs = Vec::new();
        let mut hides = false;
        for part in &self.parts {
            let kind = match part {
                LowerDir::Frozen(upper) => match upper.lookup(name)? {
                    UpperEntry::Absent => continue,
                    UpperEntry::Whiteout if dirs.is_empty() => return Ok(StackEntry::Whiteout),
                    UpperEntry::Whiteout => None,
                    UpperEntry::Node(stat) => Some(stat.kind),
                },
                LowerDir::Plain(dir) => match to_errno(dir.stat(name.into())) {
                    Ok(stat) => Some(stat.kind),
                    Err(Errno::Noent) => continue,
                    Err(errno) => return Err(errno),
                },
            };
            if kind == Some(FileType::Dir) {
                let dir = part.enter(name)?;
                hides = dir.is_opaque()?;
                dirs.push(dir);
            } else if kind.is_some() && dirs.is_empty() {
                return Ok(StackEntry::Leaf(part.clone()));
            } else {
                hides = true;
            }
            if hides {
                break;
            }
        }
        if dirs.is_empty() {
            return Ok(StackEntry::Absent);
        }
        Ok(StackEntry::Dir { parts: dirs, hides })
    }
}

impl Visitor for Flatten {
    type Dir = Stack;
    type Data = ();
    type Error = PathError;

    fn node(&mut self, at: Visit<'_, Stack, ()>) -> Result<Option<Entered<Stack, ()>>, PathError> {
        self.copy_entry(&at).at(at.path)
    }

    fn leave(&mut self, at: Leave<'_, Stack, ()>) -> Result<(), PathError> {
        let (dir, path) = (at.dir, at.path);
        let first = dir.parts.first().ok_or_else(|| bug!("a directory of no upper")).at(path)?;
        let times = to_errno(first.dir().stat(Descent::HERE)).at(path)?.times();
        to_errno(dir.into.set_times(Descent::HERE, times)).at(path)
    }
}

impl Flatten {
    /// Copies the entry of one name. Returns a directory to enter.
    fn copy_entry(&mut self, at: &Visit<'_, Stack, ()>) -> Result<Option<Entered<Stack, ()>>> {
        let (name, into) = (at.name, &at.dir.into);
        let below = match &at.dir.below {
            Some(below) => below.lookup(name)?,
            None => None,
        };
        match at.dir.lookup(name)? {
            StackEntry::Absent => Ok(None),
            StackEntry::Whiteout => {
                if below.is_some() {
                    into.create_whiteout(name)?;
                }
                Ok(None)
            }
            StackEntry::Leaf(part) => {
                let stat = to_errno(part.dir().stat(name.into()))?;
                self.copy_leaf(at, &part, &stat)?;
                Ok(None)
            }
            StackEntry::Dir { parts, hides } => {
                let first = parts.first().ok_or_else(|| bug!("a directory of no upper"))?;
                let stat = to_errno(first.dir().stat(Descent::HERE))?;
                into.copy_up(&[NewName { dir: &**into, name }], &stat, CopyUp::Dir)?;
                let into = WalkDir::enter(into, name)?;
                let below = match below {
                    Some(LowerNode::Dir(dir)) if !hides => Some(dir),
                    Some(LowerNode::Dir(_)) => {
                        into.set_opaque()?;
                        None
                    }
                    Some(LowerNode::Leaf(_)) | None => None,
                };
                Stack { parts, below, into }.entered().map(Some)
            }
        }
    }

    fn copy_leaf(&mut self, at: &Visit<'_, Stack, ()>, part: &LowerDir, stat: &Stat) -> Result<()> {
        let (name, into) = (at.name, &at.dir.into);
        let id = (stat.dev, stat.ino);
        if stat.nlink > 1 {
            if let Some(first) = self.firsts.get(&id) {
                let (parent, first) =
                    first.split_last().ok_or_else(|| bug!("a file at the root"))?;
                let dir = enter_path(&self.into, parent)?;
                return dir.copy_up_link(Name::new(first)?, &**into, name);
            }
            self.firsts.insert(id, at.shared_path());
        }
        let names = [NewName { dir: &**into, name }];
        match stat.kind {
            FileType::Symlink => {
                let target = part.dir().read_link(name)?;
                into.copy_up(&names, stat, CopyUp::Symlink(&target))?;
            }
            FileType::File => {
                let from = to_errno(part.dir().open(name.into(), OpenHow::READ))?.into_file()?;
                let mut fill = |to: &dyn File| copy_bytes(&*from, to).map(drop);
                into.copy_up(&names, stat, CopyUp::File(&mut fill))?;
            }
            FileType::Dir => return Err(Errno::Isdir),
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                return Err(Errno::Perm);
            }
        }
        Ok(())
    }
}
