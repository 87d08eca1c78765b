//! What was renamed: which node of the upper is one that lay elsewhere in the lowers.
//!
//! A node is *fresh* if the lowers do not have it at its path, and *gone* if the merged tree does
//! not have it at its path any more. A fresh node with the identity of a gone one has moved. All
//! fresh nodes are remembered, and of the gone ones only those that have moved, so the cost in
//! memory is the upper's and not the lowers'.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::Identity;
use super::super::layer::{LayerRef, Says};
use super::super::lowers::{Found, MergedDir, end};
use super::{At, PathError, join, node, nodes, whiteouts};
use crate::{Descent, Dir, FileType, Name, Result, Stat};

/// Where nodes have moved.
#[derive(Default)]
pub(super) struct Moves {
    /// The path in the lowers of a node of the upper, by its path in the upper.
    from: HashMap<String, String, RandomState>,
    sources: HashSet<String, RandomState>,
}

#[derive(Default)]
struct Scan {
    fresh: HashMap<Identity, Vec<(String, FileType)>, RandomState>,
    gone: HashMap<Identity, Vec<String>, RandomState>,
}

/// A directory of the upper, and what it is merged or compared with.
struct Frame {
    path: String,
    upper: LayerRef,
    lower: Option<Arc<MergedDir>>,
    names: Vec<String>,
    /// Whether it, or one above it, is opaque: then nothing of the lowers shows in it.
    hides: bool,
}

/// What is gone, before it is known whether it has moved.
struct Gone {
    path: String,
    found: Found,
}

impl Moves {
    pub(super) fn find(upper: &LayerRef, lower: &Arc<MergedDir>) -> Result<Self, PathError> {
        let (mut scan, mut gone) = (Scan::default(), Vec::new());
        let hides = upper.is_opaque().at("")?;
        let root = Frame {
            path: String::new(),
            upper: Arc::clone(upper),
            lower: Some(Arc::clone(lower)),
            names: Vec::new(),
            hides,
        };
        let frame = root.begin(&mut gone)?;
        let mut frames = vec![frame];
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.names.pop() else {
                frames.pop();
                continue;
            };
            if let Some(frame) = scan.node(frame, &name, &mut gone)? {
                frames.push(frame);
            }
        }
        if !scan.fresh.is_empty() {
            for gone in gone {
                scan.gone(gone)?;
            }
        }
        Ok(scan.pair())
    }

    /// Where the node at `path` of the upper lay, if it has moved or stayed; `None` if it is new.
    pub(super) fn from(&self, path: &str) -> Option<&str> {
        self.from.get(path).map(String::as_str)
    }

    /// Whether what lay at `path` of the lowers is somewhere in the upper.
    pub(super) fn has_left(&self, path: &str) -> bool {
        self.sources.contains(path)
    }
}

impl Frame {
    /// Lists the names, and notes what of the lowers is gone.
    fn begin(mut self, gone: &mut Vec<Gone>) -> Result<Frame, PathError> {
        self.names = nodes(&*self.upper).at(&self.path)?;
        let Some(lower) = &self.lower else { return Ok(self) };
        let mut hidden = self.names.clone();
        if self.hides {
            let list = lower.list().at(&self.path)?;
            hidden = list.behind(0).map(|entry| entry.name.as_str().to_owned()).collect();
        } else {
            hidden.extend(whiteouts(&*self.upper).at(&self.path)?);
        }
        for name in hidden {
            let path = join(&self.path, &name);
            let name = Name::new(&name).at(&path)?;
            let Some(found) = lower.find(name).at(&path)? else { continue };
            if !self.stays(name, &found).at(&path)? {
                gone.push(Gone { path, found });
            }
        }
        Ok(self)
    }

    /// Whether the upper's node of that name is the one that the lowers have there.
    fn stays(&self, name: Name<'_>, found: &Found) -> Result<bool> {
        let stat = match self.upper.look(name)? {
            Says::Node(stat) => stat,
            Says::Nothing => return Ok(!self.hides),
            Says::Whiteout => return Ok(false),
        };
        let lower = match found {
            Found::Dir(dir) if stat.kind == FileType::Dir => {
                if !self.hides && !self.upper.enter(name)?.is_opaque()? {
                    return Ok(true);
                }
                end(dir.stat(Descent::HERE))?
            }
            Found::Leaf(part) if stat.kind != FileType::Dir => match part.dir().stat(name.into()) {
                Ok(stat) => stat,
                Err(_) => return Ok(false),
            },
            Found::Dir(_) | Found::Leaf(_) => return Ok(false),
        };
        Ok((stat.dev, stat.ino, stat.kind) == (lower.dev, lower.ino, lower.kind))
    }
}

impl Scan {
    /// Takes note of one node of the upper. Answers the frame of a directory.
    fn node(
        &mut self,
        at: &Frame,
        name: &str,
        gone: &mut Vec<Gone>,
    ) -> Result<Option<Frame>, PathError> {
        let path = join(&at.path, name);
        let name = Name::new(name).at(&path)?;
        let stat = node(&*at.upper, name).at(&path)?;
        let found = match &at.lower {
            Some(lower) => lower.find(name).at(&path)?,
            None => None,
        };
        let stays = match &found {
            Some(found) => at.stays(name, found).at(&path)?,
            None => false,
        };
        if !stays {
            self.fresh.entry((stat.dev, stat.ino)).or_default().push((path.clone(), stat.kind));
        }
        if stat.kind != FileType::Dir {
            return Ok(None);
        }
        let lower = match found {
            Some(Found::Dir(dir)) if stays => Some(dir),
            Some(Found::Dir(_) | Found::Leaf(_)) | None => None,
        };
        let upper = at.upper.enter(name).at(&path)?;
        let hides = at.hides || upper.is_opaque().at(&path)?;
        Frame { path, upper, lower, names: Vec::new(), hides }.begin(gone).map(Some)
    }

    /// Looks for fresh nodes in what is gone.
    fn gone(&mut self, gone: Gone) -> Result<(), PathError> {
        let mut pending = vec![gone];
        while let Some(Gone { path, found }) = pending.pop() {
            // What may not be looked at cannot have been renamed either.
            if let Ok(stat) = stat_of(&path, &found)
                && let Some(fresh) = self.fresh.get(&(stat.dev, stat.ino))
                && fresh.iter().any(|(_, kind)| *kind == stat.kind)
            {
                self.gone.entry((stat.dev, stat.ino)).or_default().push(path.clone());
            }
            let Found::Dir(dir) = found else { continue };
            for entry in dir.list().at(&path)?.behind(0) {
                let path = join(&path, entry.name.as_str());
                if let Some(found) = dir.find(entry.name).at(&path)? {
                    pending.push(Gone { path, found });
                }
            }
        }
        Ok(())
    }

    /// Directories first, so that what is in them is known to have come along.
    fn pair(mut self) -> Moves {
        let mut moves = Moves::default();
        let mut groups: Vec<_> = Vec::new();
        for (id, sources) in self.gone {
            let Some(mut targets) = self.fresh.remove(&id) else { continue };
            let mut sources = sources;
            targets.sort();
            sources.sort();
            groups.push((targets, sources));
        }
        let is_dir = |targets: &[(String, FileType)]| {
            targets.first().is_some_and(|(_, kind)| *kind == FileType::Dir)
        };
        groups.sort_by_cached_key(|(targets, _)| (!is_dir(targets), targets.first().cloned()));
        for (targets, mut sources) in groups {
            let mut left = Vec::new();
            for (target, _) in targets {
                // Of the names of one file those that stayed where they were stay together.
                match sources.iter().position(|source| *source == moves.home(&target)) {
                    Some(nth) => moves.add(target, sources.remove(nth)),
                    None => left.push(target),
                }
            }
            for (target, source) in left.into_iter().zip(sources) {
                moves.add(target, source);
            }
        }
        moves
    }
}

impl Moves {
    fn add(&mut self, target: String, source: String) {
        self.sources.insert(source.clone());
        self.from.insert(target, source);
    }

    /// Where `path` lay if nothing but directories above it has moved.
    fn home(&self, path: &str) -> String {
        let mut end = path.len();
        while let Some(at) = path.get(..end).and_then(|above| above.rfind('/')) {
            if let (Some(above), Some(rest)) = (path.get(..at), path.get(at..))
                && let Some(from) = self.from.get(above)
            {
                return format!("{from}{rest}");
            }
            end = at;
        }
        path.to_owned()
    }
}

/// What the node of the lowers at `path` is.
pub(super) fn stat_of(path: &str, found: &Found) -> Result<Stat> {
    match found {
        Found::Dir(dir) => end(dir.stat(Descent::HERE)),
        Found::Leaf(part) => {
            let name = path.rsplit('/').next().unwrap_or_default();
            end(part.dir().stat(Name::new(name)?.into()))
        }
    }
}
