//! The fault injection layer for an overlay's upper, with the methods of [`UpperDir`].

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::overlay::{CopiedUp, CopyUp, NewName, UpperDir, UpperEntry, UpperOpen, UpperRef};
use palisade_vfs::{
    Cookie, Descent, Dir, Entry, Errno, File, FileRef, Name, Node, OpenHow, Result, SetTimes, Stat,
    Stop,
};

use super::{Faults, FaultyFile, Step, opens, unwrap_faulty, wrapped};

/// Wraps `layer` in a layer that injects `faults`.
#[must_use]
pub fn faulty_upper(layer: UpperRef, faults: &Arc<Faults>) -> UpperRef {
    Arc::new(FaultyUpper { inner: layer, faults: faults.clone() })
}

pub(super) struct FaultyUpper {
    pub(super) inner: UpperRef,
    faults: Arc<Faults>,
}

fn unwrap_faulty_upper(layer: &dyn UpperDir) -> Result<&dyn UpperDir> {
    let any: &dyn Any = layer;
    any.downcast_ref::<FaultyUpper>().map(|layer| &*layer.inner).ok_or(Errno::Xdev)
}

fn inner_name<'a>(new: &NewName<'a>) -> Result<NewName<'a>> {
    Ok(NewName { dir: unwrap_faulty_upper(new.dir)?, name: new.name })
}

#[deny(clippy::missing_trait_methods)]
impl UpperDir for FaultyUpper {
    fn set_node_dev(&self, dev: u64) {
        self.inner.set_node_dev(dev);
    }

    fn lookup(&self, name: Name<'_>) -> Result<UpperEntry> {
        self.faults.step(Step::Reads)?;
        self.inner.lookup(name)
    }

    fn open_leaf(&self, name: Name<'_>, how: OpenHow) -> Result<UpperOpen, Stop> {
        self.faults.step(opens(how))?;
        Ok(match self.inner.open_leaf(name, how)? {
            UpperOpen::File(inner) => {
                UpperOpen::File(Arc::new(FaultyFile { inner, faults: self.faults.clone() }))
            }
            other @ (UpperOpen::Absent | UpperOpen::Whiteout | UpperOpen::Dir) => other,
        })
    }

    fn enter(&self, name: Name<'_>) -> Result<UpperRef> {
        self.faults.step(Step::Reads)?;
        Ok(faulty_upper(self.inner.enter(name)?, &self.faults))
    }

    fn is_opaque(&self) -> Result<bool> {
        self.faults.step(Step::Reads)?;
        self.inner.is_opaque()
    }

    fn whiteouts(&self, each: &mut dyn FnMut(Name<'_>)) -> Result<()> {
        self.faults.step(Step::Reads)?;
        self.inner.whiteouts(each)
    }

    fn copy_up(&self, names: &[NewName<'_>], stat: &Stat, what: CopyUp<'_>) -> Result<CopiedUp> {
        let names = names.iter().map(inner_name).collect::<Result<Vec<_>>>()?;
        self.faults.step(Step::Changes)?;
        let made = match what {
            what @ (CopyUp::Dir | CopyUp::Symlink(_) | CopyUp::Truncated(_)) => {
                self.inner.copy_up(&names, stat, what)?
            }
            CopyUp::File(fill) => {
                let faults = &self.faults;
                // The file is borrowed and cannot be wrapped, so the fault falls before its first
                // byte or after its last.
                let mut fill = |file: &dyn File| {
                    faults.step(Step::Changes)?;
                    fill(file)?;
                    faults.step(Step::Changes)
                };
                self.inner.copy_up(&names, stat, CopyUp::File(&mut fill))?
            }
        };
        let wrap =
            |inner| -> FileRef { Arc::new(FaultyFile { inner, faults: self.faults.clone() }) };
        Ok(match made {
            CopiedUp::Named => CopiedUp::Named,
            CopiedUp::File(file) => CopiedUp::File(wrap(file)),
            CopiedUp::Truncated { file, opened } => {
                CopiedUp::Truncated { file: wrap(file), opened: wrap(opened) }
            }
        })
    }

    fn copy_up_link(&self, name: Name<'_>, into: &dyn UpperDir, new_name: Name<'_>) -> Result<()> {
        let into = unwrap_faulty_upper(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.copy_up_link(name, into, new_name)
    }

    fn create_whiteout(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.create_whiteout(name)
    }

    fn create_opaque_dir(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.create_opaque_dir(name)
    }

    fn commit_token(&self) -> Result<u128> {
        self.faults.step(Step::Reads)?;
        self.inner.commit_token()
    }

    fn begin_discard(&self) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.begin_discard()
    }

    fn end_discard(&self) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.end_discard()
    }

    fn set_opaque(&self) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.set_opaque()
    }

    fn rename_with_whiteout(
        &self,
        name: Name<'_>,
        into: &dyn UpperDir,
        new_name: Name<'_>,
    ) -> Result<()> {
        let into = unwrap_faulty_upper(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.rename_with_whiteout(name, into, new_name)
    }

    fn is_in(&self, dir: (u64, u64)) -> Result<bool> {
        self.faults.step(Step::Reads)?;
        self.inner.is_in(dir)
    }

    fn freeze(&self) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.freeze()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for FaultyUpper {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.faults.step(opens(how))?;
        Ok(wrapped(self.inner.open(path, how)?, &self.faults))
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.faults.step(Step::Reads)?;
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.faults.step(Step::Reads)?;
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.faults.step(Step::Reads)?;
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.faults.step(Step::Reads)?;
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = unwrap_faulty(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.rename(name, into, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = unwrap_faulty(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.link(name, into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.faults.step(Step::Changes)?;
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.faults.step(Step::Reads)?;
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
