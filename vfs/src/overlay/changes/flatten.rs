//! Making one layer of many.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::Identity;
use super::super::layer::{Adopted, LayerRef, Says};
use super::super::lowers::{Found, Lowers, LowersBuilder, MergedDir, Part, end};
use super::{At, PathError, join, nodes, whiteouts};
use crate::copy::copy_bytes;
use crate::{Descent, Errno, File, FileType, Name, OpenHow, Result, Stat};

/// Puts what the topmost `count` of `lowers` say into `into`, which must be empty, and freezes it.
/// Answers lowers that show the same, with `into` in the place of those: the same tree, the same
/// bytes, times and identities. Whiteouts and opaque directories are kept where something beneath
/// is to be hidden.
///
/// An overlay goes on upon them by [`Overlay::restore`](super::super::Overlay::restore).
///
/// Errors: `Inval` for a `count` of 0 or beyond [`Lowers::count`], and if `into` is one of the
/// lowers; `Perm` for a node that is neither file nor directory nor link; those of the layers.
/// After an error `into` holds a part.
pub fn flatten(lowers: &Lowers, count: usize, into: &LayerRef) -> Result<Lowers, PathError> {
    let (top, rest) = lowers.split(count).ok_or(Errno::Inval).at("")?;
    if lowers.root.is_entangled(into).at("")? {
        return Err(Errno::Inval).at("");
    }
    let beneath = if rest.is_empty() { None } else { Some(of(rest.clone()).at("")?.root) };
    let mut flatten = Flatten { firsts: HashMap::default(), into: Arc::clone(into) };
    let root = Frame::enter(String::new(), top, beneath, Arc::clone(into))?;
    let mut frames = vec![root];
    while let Some(frame) = frames.last_mut() {
        if let Some(name) = frame.names.pop_last() {
            if let Some(frame) = flatten.name(frame, &name)? {
                frames.push(frame);
            }
            continue;
        }
        let Some(done) = frames.pop() else { break };
        let first = done.parts.first().ok_or(Errno::Io).at(&done.path)?;
        let times = end(first.dir().stat(Descent::HERE)).at(&done.path)?.times();
        end(done.into.set_times(Descent::HERE, times)).at(&done.path)?;
    }
    into.freeze().at("")?;
    let flat = std::iter::once(Part::Layer(Arc::clone(into)));
    of(flat.chain(rest).collect()).at("")
}

fn of(parts: Vec<Part>) -> Result<Lowers> {
    LowersBuilder::of(parts).build()
}

struct Flatten {
    /// Where a file with several names was first put.
    firsts: HashMap<Identity, String, RandomState>,
    into: LayerRef,
}

/// One path's directories in the lowers that become one, and what lies beneath them.
struct Frame {
    path: String,
    parts: Vec<Part>,
    beneath: Option<Arc<MergedDir>>,
    into: LayerRef,
    names: BTreeSet<String>,
}

/// What some lowers together say of a name.
enum Together {
    Nothing,
    Whiteout,
    Leaf(Part),
    Dir { parts: Vec<Part>, hides: bool },
}

impl Frame {
    fn enter(
        path: String,
        parts: Vec<Part>,
        beneath: Option<Arc<MergedDir>>,
        into: LayerRef,
    ) -> Result<Frame, PathError> {
        let mut names = BTreeSet::new();
        for part in &parts {
            names.extend(nodes(part.dir()).at(&path)?);
            if let Part::Layer(layer) = part {
                names.extend(whiteouts(&**layer).at(&path)?);
            }
        }
        Ok(Frame { path, parts, beneath, into, names })
    }

    fn say(&self, name: Name<'_>) -> Result<Together> {
        let mut dirs = Vec::new();
        let mut hides = false;
        for part in &self.parts {
            let kind = match part {
                Part::Layer(layer) => match layer.look(name)? {
                    Says::Nothing => continue,
                    Says::Whiteout if dirs.is_empty() => return Ok(Together::Whiteout),
                    Says::Whiteout => None,
                    Says::Node(stat) => Some(stat.kind),
                },
                Part::Plain(dir) => match end(dir.stat(name.into())) {
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
                return Ok(Together::Leaf(part.clone()));
            } else {
                hides = true;
            }
            if hides {
                break;
            }
        }
        if dirs.is_empty() {
            return Ok(Together::Nothing);
        }
        Ok(Together::Dir { parts: dirs, hides })
    }
}

impl Flatten {
    /// Puts one name into the layer. Answers the frame of a directory.
    fn name(&mut self, at: &Frame, name: &str) -> Result<Option<Frame>, PathError> {
        let path = join(&at.path, name);
        let name = Name::new(name).at(&path)?;
        let beneath = match &at.beneath {
            Some(beneath) => beneath.find(name).at(&path)?,
            None => None,
        };
        match at.say(name).at(&path)? {
            Together::Nothing => Ok(None),
            Together::Whiteout => {
                if beneath.is_some() {
                    at.into.white_out(name).at(&path)?;
                }
                Ok(None)
            }
            Together::Leaf(part) => {
                let stat = end(part.dir().stat(name.into())).at(&path)?;
                self.leaf(at, name, &part, &stat, &path).at(&path)?;
                Ok(None)
            }
            Together::Dir { parts, hides } => {
                let first = parts.first().ok_or(Errno::Io).at(&path)?;
                let stat = end(first.dir().stat(Descent::HERE)).at(&path)?;
                at.into.adopt(Some(name), &stat, Adopted::Dir).at(&path)?;
                let into = at.into.enter(name).at(&path)?;
                let beneath = match beneath {
                    Some(Found::Dir(dir)) if !hides => Some(dir),
                    Some(Found::Dir(_)) => {
                        into.set_opaque().at(&path)?;
                        None
                    }
                    Some(Found::Leaf(_)) | None => None,
                };
                Frame::enter(path, parts, beneath, into).map(Some)
            }
        }
    }

    fn leaf(
        &mut self,
        at: &Frame,
        name: Name<'_>,
        part: &Part,
        stat: &Stat,
        path: &str,
    ) -> Result<()> {
        let id = (stat.dev, stat.ino);
        if stat.nlink > 1 {
            if let Some(first) = self.firsts.get(&id) {
                let (parent, first) = first.rsplit_once('/').unwrap_or(("", first));
                let mut dir = Arc::clone(&self.into);
                for name in Descent::new(parent)?.names() {
                    dir = dir.enter(name)?;
                }
                return dir.adopt_name(Name::new(first)?, &*at.into, name);
            }
            self.firsts.insert(id, path.to_owned());
        }
        match stat.kind {
            FileType::Symlink => {
                let target = part.dir().read_link(name)?;
                at.into.adopt(Some(name), stat, Adopted::Symlink(&target))?;
            }
            FileType::File => {
                let from = end(part.dir().open(name.into(), OpenHow::READ))?.into_file()?;
                let mut fill = |to: &dyn File| copy_bytes(&*from, to).map(drop);
                at.into.adopt(Some(name), stat, Adopted::File(&mut fill))?;
            }
            FileType::Dir => return Err(Errno::Isdir),
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                return Err(Errno::Perm);
            }
        }
        Ok(())
    }
}
