//! Rename detection: finds nodes of the upper that had another path in the lowers.
//!
//! A node of the upper is *fresh* if the lowers do not have it at its path. A node of the lowers is
//! *gone* if the merged tree does not have it at its path. A fresh node with the identity of a gone
//! node was renamed. The scan keeps all fresh nodes and only the gone nodes that match one, so it
//! uses memory proportional to the upper, not to the lowers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::Identity;
use super::super::lowers::{LowerNode, MergedDir, to_errno};
use super::super::upper::{UpperEntry, UpperRef};
use super::dir_pair::{DirPair, DirPairData, LowerLocation};
use super::{PathError, join, node, whiteouts};
use crate::shared_path::SharedPath;
use crate::tree_walk::{self, At, Entered, Visit, Visitor, WalkDir, names, walk};
use crate::{Descent, Dir, FileType, Name, Result, Stat};

/// The detected renames.
#[derive(Default)]
pub(super) struct Renames {
    /// The path in the lowers of a node of the upper, by its path in the upper.
    from: HashMap<SharedPath, SharedPath, RandomState>,
    sources: HashSet<SharedPath, RandomState>,
}

#[derive(Default)]
struct RenameScan {
    /// The paths of the fresh nodes in the upper.
    fresh: HashMap<Identity, Vec<(SharedPath, FileType)>, RandomState>,
    /// The paths in the lowers of gone nodes with the identity of a fresh node.
    gone: HashMap<Identity, Vec<SharedPath>, RandomState>,
    pass: Pass,
}

/// The first pass collects the fresh nodes, the second compares the gone nodes with them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Pass {
    #[default]
    Fresh,
    Gone,
}

impl Renames {
    pub(super) fn detect(upper: &UpperRef, lower: &Arc<MergedDir>) -> Result<Self, PathError> {
        let mut scan = RenameScan::default();
        for pass in [Pass::Fresh, Pass::Gone] {
            if pass == Pass::Gone && scan.fresh.is_empty() {
                break;
            }
            scan.pass = pass;
            let pair = DirPair { upper: Arc::clone(upper), lower: Some(Arc::clone(lower)) };
            let hides = upper.is_opaque().at("")?;
            let data = DirPairData { lower: LowerLocation::SameName, hides };
            walk(scan.enter(pair, data, "")?, &mut scan)?;
        }
        Ok(scan.pair())
    }

    /// Returns the path in the lowers of the upper's node at `path`; `None` if the node is new.
    pub(super) fn from(&self, path: &SharedPath) -> Option<&SharedPath> {
        self.from.get(path)
    }

    /// Returns whether the lowers' node at `path` has another path in the upper.
    pub(super) fn has_left(&self, path: &SharedPath) -> bool {
        self.sources.contains(path)
    }
}

/// Returns whether the upper's node `name` is the lowers' node of the same path.
fn stays(pair: &DirPair, hides: bool, name: Name<'_>, found: &LowerNode) -> Result<bool> {
    let stat = match pair.upper.lookup(name)? {
        UpperEntry::Node(stat) => stat,
        UpperEntry::Absent => return Ok(!hides),
        UpperEntry::Whiteout => return Ok(false),
    };
    let lower = match found {
        LowerNode::Dir(dir) if stat.kind == FileType::Dir => {
            if !hides && !WalkDir::enter(&pair.upper, name)?.is_opaque()? {
                return Ok(true);
            }
            to_errno(dir.stat(Descent::HERE))?
        }
        LowerNode::Leaf(part) if stat.kind != FileType::Dir => match part.dir().stat(name.into()) {
            Ok(stat) => stat,
            Err(_) => return Ok(false),
        },
        LowerNode::Dir(_) | LowerNode::Leaf(_) => return Ok(false),
    };
    Ok((stat.dev, stat.ino, stat.kind) == (lower.dev, lower.ino, lower.kind))
}

impl Visitor for RenameScan {
    type Dir = DirPair;
    type Data = DirPairData;
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, DirPair, DirPairData>,
    ) -> Result<Option<Entered<DirPair, DirPairData>>, PathError> {
        let Some((pair, data)) = self.lookup(&at).at(at.path)? else { return Ok(None) };
        self.enter(pair, data, at.path).map(Some)
    }

    fn enter_again(&self, parent: &DirPair, name: Name<'_>, data: &DirPairData) -> Result<DirPair> {
        match data.lower {
            LowerLocation::SameName => parent.enter(name),
            LowerLocation::Absent | LowerLocation::Renamed(_) => parent.enter_upper(name),
        }
    }
}

impl RenameScan {
    /// Lists the names of the upper. In the second pass, also records the gone nodes.
    fn enter(
        &mut self,
        pair: DirPair,
        data: DirPairData,
        path: &str,
    ) -> Result<Entered<DirPair, DirPairData>, PathError> {
        let names = names(&*pair.upper).at(path)?;
        let Some(lower) = pair.lower.as_ref().filter(|_| self.pass == Pass::Gone) else {
            return Ok(Entered { dir: pair, names, data });
        };
        let mut hidden = names.clone();
        if data.hides {
            let list = lower.list().at(path)?;
            hidden = list.after(0).map(|entry| entry.name.as_str().into()).collect();
        } else {
            hidden.extend(whiteouts(&*pair.upper).at(path)?);
        }
        for name in hidden {
            let path = join(path, &name);
            let name = Name::new(&name).at(&path)?;
            let Some(found) = lower.lookup(name).at(&path)? else { continue };
            if stays(&pair, data.hides, name, &found).at(&path)? {
                continue;
            }
            self.gone(&lower.path().join(name.as_str()), &found);
            if let LowerNode::Dir(dir) = found {
                let names = tree_walk::names(&*dir).at(&path)?;
                let within = |error: PathError| {
                    let path = join(&path, &error.path);
                    PathError { path, ..error }
                };
                walk(Entered { dir, names, data: () }, &mut RemovedWalk(self)).map_err(within)?;
            }
        }
        Ok(Entered { dir: pair, names, data })
    }

    /// Records a node of the upper. Returns a directory to enter.
    fn lookup(
        &mut self,
        at: &Visit<'_, DirPair, DirPairData>,
    ) -> Result<Option<(DirPair, DirPairData)>> {
        let DirPair { upper, lower } = at.dir;
        let stat = node(&**upper, at.name)?;
        let found = match lower {
            Some(lower) => lower.lookup(at.name)?,
            None => None,
        };
        let stays = match &found {
            Some(found) => stays(at.dir, at.data.hides, at.name, found)?,
            None => false,
        };
        if !stays && self.pass == Pass::Fresh {
            let fresh = self.fresh.entry((stat.dev, stat.ino)).or_default();
            fresh.push((at.shared_path(), stat.kind));
        }
        if stat.kind != FileType::Dir {
            return Ok(None);
        }
        let (lower, lower_at) = match found {
            Some(LowerNode::Dir(dir)) if stays => (Some(dir), LowerLocation::SameName),
            // No node under it can be gone.
            Some(LowerNode::Dir(_) | LowerNode::Leaf(_)) | None if self.pass == Pass::Gone => {
                return Ok(None);
            }
            Some(LowerNode::Dir(_) | LowerNode::Leaf(_)) | None => (None, LowerLocation::Absent),
        };
        let upper = WalkDir::enter(upper, at.name)?;
        let hides = at.data.hides || upper.is_opaque()?;
        Ok(Some((DirPair { upper, lower }, DirPairData { lower: lower_at, hides })))
    }

    /// Records a gone node, if a fresh node has its identity.
    fn gone(&mut self, path: &SharedPath, found: &LowerNode) {
        // A node that a policy layer hides cannot have been renamed.
        if let Ok(stat) = stat_of(path, found)
            && let Some(fresh) = self.fresh.get(&(stat.dev, stat.ino))
            && fresh.iter().any(|(_, kind)| *kind == stat.kind)
        {
            self.gone.entry((stat.dev, stat.ino)).or_default().push(path.clone());
        }
    }

    /// Pairs directories first, so that their entries count as renamed with them.
    fn pair(mut self) -> Renames {
        let mut renames = Renames::default();
        let mut groups: Vec<_> = Vec::new();
        for (id, sources) in self.gone {
            let Some(mut targets) = self.fresh.remove(&id) else { continue };
            let mut sources = sources;
            targets.sort();
            sources.sort();
            groups.push((targets, sources));
        }
        let is_dir = |targets: &[(SharedPath, FileType)]| {
            targets.first().is_some_and(|(_, kind)| *kind == FileType::Dir)
        };
        groups.sort_by_cached_key(|(targets, _)| (!is_dir(targets), targets.first().cloned()));
        for (targets, mut sources) in groups {
            let mut left = Vec::new();
            for (target, _) in targets {
                // Names of one file that kept their place are paired with themselves.
                match sources.iter().position(|source| *source == renames.home(&target)) {
                    Some(nth) => renames.add(target, sources.remove(nth)),
                    None => left.push(target),
                }
            }
            for (target, source) in left.into_iter().zip(sources) {
                renames.add(target, source);
            }
        }
        renames
    }
}

/// Records all nodes of a removed directory of the lowers.
struct RemovedWalk<'a>(&'a mut RenameScan);

impl Visitor for RemovedWalk<'_> {
    type Dir = Arc<MergedDir>;
    type Data = ();
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, Arc<MergedDir>, ()>,
    ) -> Result<Option<Entered<Arc<MergedDir>, ()>>, PathError> {
        let Some(found) = at.dir.lookup(at.name).at(at.path)? else { return Ok(None) };
        self.0.gone(&at.dir.path().join(at.name.as_str()), &found);
        let LowerNode::Dir(dir) = found else { return Ok(None) };
        let names = names(&*dir).at(at.path)?;
        Ok(Some(Entered { dir, names, data: () }))
    }
}

impl Renames {
    fn add(&mut self, target: SharedPath, source: SharedPath) {
        self.sources.insert(source.clone());
        self.from.insert(target, source);
    }

    /// Returns the former path of `path` if only its ancestors were renamed.
    fn home(&self, path: &SharedPath) -> SharedPath {
        let (mut at, mut names) = (path, Vec::new());
        while let Some((parent, name)) = at.split_last() {
            names.push(name);
            if let Some(from) = self.from.get(parent) {
                return names.iter().rev().fold(from.clone(), |path, name| path.join(name));
            }
            at = parent;
        }
        path.clone()
    }
}

/// Returns the [`Stat`] of the lowers' node at `path`.
pub(super) fn stat_of(path: &SharedPath, found: &LowerNode) -> Result<Stat> {
    match found {
        LowerNode::Dir(dir) => to_errno(dir.stat(Descent::HERE)),
        LowerNode::Leaf(part) => to_errno(part.dir().stat(Name::new(path.name())?.into())),
    }
}
