//! The faulty layer of an overlay's upper: as [`super`], with the methods of a [`Layer`].

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::overlay::{Adopted, Layer, LayerRef, Made, NewName, Opened, Says};
use palisade_vfs::{
    Cookie, Descent, Dir, Entry, Errno, File, FileRef, Name, Node, OpenHow, Result, SetTimes, Stat,
    Stop,
};

use super::{Faults, FaultyFile, Step, beneath, opens, wrapped};

/// Lets operations beneath `layer` fail as `faults` says.
#[must_use]
pub fn faulty_layer(layer: LayerRef, faults: &Arc<Faults>) -> LayerRef {
    Arc::new(FaultyLayer { inner: layer, faults: faults.clone() })
}

pub(super) struct FaultyLayer {
    pub(super) inner: LayerRef,
    faults: Arc<Faults>,
}

fn layer_beneath(layer: &dyn Layer) -> Result<&dyn Layer> {
    let any: &dyn Any = layer;
    any.downcast_ref::<FaultyLayer>().map(|layer| &*layer.inner).ok_or(Errno::Xdev)
}

fn inner_name<'a>(new: &NewName<'a>) -> Result<NewName<'a>> {
    Ok(NewName { dir: layer_beneath(new.dir)?, name: new.name })
}

#[deny(clippy::missing_trait_methods)]
impl Layer for FaultyLayer {
    fn number_as(&self, dev: u64) {
        self.inner.number_as(dev);
    }

    fn look(&self, name: Name<'_>) -> Result<Says> {
        self.faults.step(Step::Looks)?;
        self.inner.look(name)
    }

    fn open_leaf(&self, name: Name<'_>, how: OpenHow) -> Result<Opened, Stop> {
        self.faults.step(opens(how))?;
        Ok(match self.inner.open_leaf(name, how)? {
            Opened::File(inner) => {
                Opened::File(Arc::new(FaultyFile { inner, faults: self.faults.clone() }))
            }
            other @ (Opened::Nothing | Opened::Whiteout | Opened::Dir) => other,
        })
    }

    fn enter(&self, name: Name<'_>) -> Result<LayerRef> {
        self.faults.step(Step::Looks)?;
        Ok(faulty_layer(self.inner.enter(name)?, &self.faults))
    }

    fn is_opaque(&self) -> Result<bool> {
        self.faults.step(Step::Looks)?;
        self.inner.is_opaque()
    }

    fn whiteouts(&self, each: &mut dyn FnMut(Name<'_>)) -> Result<()> {
        self.faults.step(Step::Looks)?;
        self.inner.whiteouts(each)
    }

    fn adopt(&self, names: &[NewName<'_>], stat: &Stat, what: Adopted<'_>) -> Result<Made> {
        let names = names.iter().map(inner_name).collect::<Result<Vec<_>>>()?;
        self.faults.step(Step::Changes)?;
        let made = match what {
            what @ (Adopted::Dir | Adopted::Symlink(_) | Adopted::Truncated(_)) => {
                self.inner.adopt(&names, stat, what)?
            }
            Adopted::File(fill) => {
                let faults = &self.faults;
                // The file is only borrowed and cannot be wrapped: it fails before the first byte
                // and after the last.
                let mut fill = |file: &dyn File| {
                    faults.step(Step::Changes)?;
                    fill(file)?;
                    faults.step(Step::Changes)
                };
                self.inner.adopt(&names, stat, Adopted::File(&mut fill))?
            }
        };
        let wrap =
            |inner| -> FileRef { Arc::new(FaultyFile { inner, faults: self.faults.clone() }) };
        Ok(match made {
            Made::Named => Made::Named,
            Made::File(file) => Made::File(wrap(file)),
            Made::Truncated { file, opened } => {
                Made::Truncated { file: wrap(file), opened: wrap(opened) }
            }
        })
    }

    fn adopt_name(&self, name: Name<'_>, into: &dyn Layer, new_name: Name<'_>) -> Result<()> {
        let into = layer_beneath(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.adopt_name(name, into, new_name)
    }

    fn white_out(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.white_out(name)
    }

    fn create_opaque_dir(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.create_opaque_dir(name)
    }

    fn commit_token(&self) -> Result<u128> {
        self.faults.step(Step::Looks)?;
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

    fn rename_and_white_out(
        &self,
        name: Name<'_>,
        into: &dyn Layer,
        new_name: Name<'_>,
    ) -> Result<()> {
        let into = layer_beneath(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.rename_and_white_out(name, into, new_name)
    }

    fn lies_in(&self, dir: (u64, u64)) -> Result<bool> {
        self.faults.step(Step::Looks)?;
        self.inner.lies_in(dir)
    }

    fn freeze(&self) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.freeze()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for FaultyLayer {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.faults.step(opens(how))?;
        Ok(wrapped(self.inner.open(path, how)?, &self.faults))
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.faults.step(Step::Looks)?;
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.faults.step(Step::Looks)?;
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.faults.step(Step::Looks)?;
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.faults.step(Step::Looks)?;
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
        let into = beneath(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.rename(name, into, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = beneath(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.link(name, into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.faults.step(Step::Changes)?;
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.faults.step(Step::Looks)?;
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
