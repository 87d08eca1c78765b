//! A layer with planted bugs: it falls back to the back end where the policy denies an operation.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_policy::{Policy, State};
use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, Name, Node, OpenHow, Result, SetTimes, Stat, Stop,
};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// No bug: nothing must be detected.
    None,
    /// A rename does not check the rights of the new path.
    RenameRefers,
    /// A link does not check the rights of the new path.
    LinkRefers,
    /// A rename replaces a node without the right to remove it.
    RenameReplaces,
    /// A file is removed without the right of its own path.
    Removes,
    /// A file is opened for reading without the right to read it.
    Reads,
    /// A file is truncated without the right to write to it.
    Truncates,
    /// A directory can be renamed to a path with fewer rights, which only a file may be.
    DirectoriesNarrow,
}

impl Bug {
    pub(crate) const ALL: [Bug; 7] = [
        Bug::RenameRefers,
        Bug::LinkRefers,
        Bug::RenameReplaces,
        Bug::Removes,
        Bug::Reads,
        Bug::Truncates,
        Bug::DirectoriesNarrow,
    ];
}

/// A directory of the layer.
pub(crate) struct Broken {
    bug: Bug,
    guarded: DirRef,
    bare: DirRef,
    policy: Arc<Policy>,
    state: State,
}

impl Broken {
    /// Wraps `guarded`, the confined root of `bare`.
    pub(crate) fn root(bug: Bug, guarded: DirRef, bare: DirRef, policy: Arc<Policy>) -> DirRef {
        Arc::new(Broken { bug, guarded, bare, policy, state: Policy::START })
    }

    fn of(dir: &dyn Dir) -> Result<&Broken> {
        (dir as &dyn Any).downcast_ref::<Broken>().ok_or(Errno::Xdev)
    }

    fn bare_if(&self, bug: Bug) -> Option<&DirRef> {
        (self.bug == bug).then_some(&self.bare)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Broken {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let result = match (self.guarded.open(path, how), self.bug) {
            (Err(Stop::Errno(Errno::Acces)), Bug::Reads) if how == OpenHow::READ => {
                self.bare.open(path, how)
            }
            (Err(Stop::Errno(Errno::Acces)), Bug::Truncates)
                if !how.access.writes() && !how.creates() =>
            {
                self.bare.open(path, how)
            }
            (result, _) => result,
        };
        match result? {
            Node::File(file) => Ok(Node::File(file)),
            Node::Dir(guarded) => {
                let bare = self.bare.open(path, OpenHow::HOLD_DIR)?.into_dir()?;
                let (bug, policy) = (self.bug, self.policy.clone());
                let state = path.names().fold(self.state, |at, name| policy.step(at, name));
                Ok(Node::Dir(Arc::new(Broken { bug, guarded, bare, policy, state })))
            }
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.guarded.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.guarded.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.guarded.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.guarded.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.guarded.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.guarded.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match (self.guarded.remove_file(name), self.bare_if(Bug::Removes)) {
            (Err(Errno::Acces), Some(bare)) => bare.remove_file(name),
            (result, _) => result,
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.guarded.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Broken::of(into)?;
        let result = self.guarded.rename(name, &*into.guarded, new_name);
        let (old, new) =
            (self.policy.step(self.state, name), into.policy.step(into.state, new_name));
        match (result, self.bug) {
            (Err(Errno::Xdev), Bug::DirectoriesNarrow) if self.policy.is_at_most(new, old) => {
                self.bare.rename(name, &*into.bare, new_name)
            }
            (Err(Errno::Xdev), Bug::RenameRefers) | (Err(Errno::Acces), Bug::RenameReplaces) => {
                self.bare.rename(name, &*into.bare, new_name)
            }
            (result, _) => result,
        }
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Broken::of(into)?;
        match (self.guarded.link(name, &*into.guarded, new_name), self.bare_if(Bug::LinkRefers)) {
            (Err(Errno::Xdev), Some(bare)) => bare.link(name, &*into.bare, new_name),
            (result, _) => result,
        }
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.guarded.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.guarded.sync()
    }

    fn may_block(&self) -> bool {
        false
    }

    fn epoch(&self) -> u64 {
        self.guarded.epoch()
    }
}
