//! Mutation tests of the kit: each mutant is a memory filesystem with one bug to be detected.

mod common;

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_props::{Subject, SubjectFn, TestFs, cases, check, model_fault};
use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, MemFs, Name, Node,
    OpenFlags, OpenHow, Result, SetTimes, Stat, Stop, SyncScope, path,
};

/// A bug of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// No bug: the kit must pass.
    None,
    /// A rename onto another name of the same node removes the old name.
    RenameOntoSameNode,
    /// A non-empty directory can be removed.
    RemoveDirOfFull,
    /// `EXCLUSIVE` is ignored.
    ExclusiveIgnored,
    /// A cookie is the number of entries before it.
    CookiesAreIndices,
    /// Each link count is 1.
    NlinkIsOne,
    /// `TRUNCATE` is ignored.
    TruncateIgnored,
    /// `DIRECTORY` is ignored.
    DirectoryIgnored,
    /// A directory can be opened for writing.
    DirsCanBeWritten,
    /// Symlink targets are normalized.
    TargetsAreCleaned,
    /// A hard link to a symbolic link follows it.
    LinkFollows,
    /// An append writes at the end of the file as of its opening.
    AppendsAreNotOneStep,
    /// Each handle can write.
    ReadersWrite,
    /// Times have a resolution of one second.
    CoarseTimes,
    /// The inode number depends on the name.
    InoOfTheName,
    /// An overlong name is truncated.
    NamesAreCut,
    /// Listings omit names that begin with a dot.
    DotFilesHidden,
    /// A rename replaces a node of any type.
    FileOverDirectory,
}

const BUGS: [Bug; 17] = [
    Bug::RenameOntoSameNode,
    Bug::RemoveDirOfFull,
    Bug::ExclusiveIgnored,
    Bug::CookiesAreIndices,
    Bug::NlinkIsOne,
    Bug::TruncateIgnored,
    Bug::DirectoryIgnored,
    Bug::DirsCanBeWritten,
    Bug::TargetsAreCleaned,
    Bug::LinkFollows,
    Bug::AppendsAreNotOneStep,
    Bug::ReadersWrite,
    Bug::CoarseTimes,
    Bug::InoOfTheName,
    Bug::NamesAreCut,
    Bug::DotFilesHidden,
    Bug::FileOverDirectory,
];

struct Mutant {
    bug: Bug,
    inner: DirRef,
}

struct MutantFile {
    bug: Bug,
    inner: FileRef,
    len_at_open: u64,
}

impl Mutant {
    fn stat_as(&self, mut stat: Stat, name: Option<Name<'_>>) -> Stat {
        match (self.bug, name) {
            (Bug::NlinkIsOne, _) => stat.nlink = 1,
            (Bug::InoOfTheName, Some(name)) => {
                stat.ino = name
                    .as_str()
                    .bytes()
                    .fold(7, |sum: u64, b| sum.wrapping_mul(31) ^ u64::from(b));
            }
            (Bug::CoarseTimes, _) => {
                let at = stat.modified.seconds();
                stat.modified = palisade_vfs::Timestamp::new(at, 0);
            }
            _ => {}
        }
        stat
    }

    fn into(&self, dir: &dyn Dir) -> Result<DirRef> {
        let any: &dyn Any = dir;
        any.downcast_ref::<Mutant>().map(|it| it.inner.clone()).ok_or(Errno::Xdev)
    }
}

fn empty_out(dir: &DirRef) -> Result<()> {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push(entry.name.as_str().to_owned());
        ControlFlow::Continue(())
    })?;
    for name in names {
        let name = Name::new(&name)?;
        if dir.remove_file(name).is_err() {
            let child = dir.open(name.into(), OpenHow::READ).map_err(|_| Errno::Io)?;
            empty_out(&child.into_dir()?)?;
            dir.remove_dir(name)?;
        }
    }
    Ok(())
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Mutant {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let (bug, mut how) = (self.bug, how);
        match bug {
            Bug::ExclusiveIgnored => how.flags.remove(OpenFlags::EXCLUSIVE),
            Bug::TruncateIgnored => how.flags.remove(OpenFlags::TRUNCATE),
            Bug::DirectoryIgnored => how.flags.remove(OpenFlags::DIRECTORY),
            Bug::ReadersWrite if how.access == Access::Read && !how.wants_dir() => {
                how.access = Access::ReadWrite;
            }
            _ => {}
        }
        let node = match self.inner.open(path, how) {
            Err(Stop::Errno(Errno::Isdir)) if bug == Bug::DirsCanBeWritten => {
                self.inner.open(path, OpenHow::READ)?
            }
            Err(Stop::Errno(Errno::Isdir)) if bug == Bug::ReadersWrite => {
                self.inner.open(path, OpenHow::READ)?
            }
            other => other?,
        };
        Ok(match node {
            Node::Dir(inner) => Node::Dir(Arc::new(Mutant { bug, inner })),
            Node::File(inner) => {
                let len_at_open = inner.stat()?.size;
                Node::File(Arc::new(MutantFile { bug, inner, len_at_open }))
            }
        })
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let name = path.split_last().map(|(_, name)| name);
        Ok(self.stat_as(self.inner.stat(path)?, name))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat_following(path)?;
        self.stat(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.bug {
            Bug::CookiesAreIndices => {
                let mut nth = 0;
                self.inner.read_dir(Cookie::START, &mut |entry| {
                    nth += 1;
                    if nth <= from.0 {
                        return ControlFlow::Continue(());
                    }
                    each(Entry { next: Cookie(nth), ..entry })
                })
            }
            Bug::DotFilesHidden => self.inner.read_dir(from, &mut |entry| {
                if entry.name.as_str().starts_with('.') {
                    return ControlFlow::Continue(());
                }
                each(entry)
            }),
            _ => self.inner.read_dir(from, each),
        }
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        if self.bug == Bug::NamesAreCut {
            let cut: String = name.as_str().chars().take(100).collect();
            return self.inner.create_dir(Name::new(&cut)?);
        }
        self.inner.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        if self.bug == Bug::TargetsAreCleaned {
            return self.inner.create_symlink(name, &target.replace("./", ""));
        }
        self.inner.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        if self.bug == Bug::RemoveDirOfFull
            && let Ok(Node::Dir(dir)) = self.inner.open(name.into(), OpenHow::READ)
        {
            empty_out(&dir)?;
        }
        self.inner.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.into(into)?;
        let id = |dir: &DirRef, name: Name<'_>| dir.stat(name.into()).ok().map(|it| it.ino);
        let same = id(&self.inner, name).is_some_and(|ino| id(&into, new_name) == Some(ino));
        let same_place = id(&self.inner, name).is_some()
            && self.inner.stat(Descent::HERE).ok() == into.stat(Descent::HERE).ok()
            && name == new_name;
        if self.bug == Bug::RenameOntoSameNode && same && !same_place {
            return self.inner.remove_file(name);
        }
        if self.bug == Bug::FileOverDirectory {
            let _ = into.remove_dir(new_name);
        }
        self.inner.rename(name, &*into, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.into(into)?;
        if self.bug == Bug::LinkFollows
            && let Ok(target) = self.inner.read_link(name)
        {
            return path::link(&*self.inner, &target, &*into, new_name.as_str());
        }
        self.inner.link(name, &*into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for MutantFile {
    fn kind(&self) -> palisade_vfs::FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.inner.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        if self.bug == Bug::AppendsAreNotOneStep {
            return self.inner.write_at(bufs, self.len_at_open);
        }
        self.inner.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        if self.bug == Bug::AppendsAreNotOneStep {
            return Ok(self.inner.stat()?.size);
        }
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        let mut stat = self.inner.stat()?;
        if self.bug == Bug::CoarseTimes {
            stat.modified = palisade_vfs::Timestamp::new(stat.modified.seconds(), 0);
        }
        Ok(stat)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.allocate(offset, len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.inner.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.inner.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: palisade_vfs::Advice) -> Result<()> {
        self.inner.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.inner.read_vec(to, len, offset)
    }
}

fn mutant(bug: Bug) -> impl Subject {
    SubjectFn::new("mutant", common::MEMORY, move || {
        Ok(TestFs::new(Arc::new(Mutant { bug, inner: MemFs::new().root() })))
    })
}

#[test]
fn cases_detect_every_mutant() {
    let alive: Vec<_> = BUGS.iter().filter(|bug| check(&mutant(**bug)).faults.is_empty()).collect();
    assert!(alive.is_empty(), "{alive:?}");
}

/// Bugs that the model cannot detect: runs do not use cookies.
const UNDETECTABLE_BY_THE_MODEL: [Bug; 1] = [Bug::CookiesAreIndices];

#[test]
fn model_detects_every_detectable_mutant() {
    let runs = cases(2000);
    let unseen = |bug: &&Bug| {
        !UNDETECTABLE_BY_THE_MODEL.contains(bug) && model_fault(&mutant(**bug), runs).is_none()
    };
    let alive: Vec<_> = BUGS.iter().filter(unseen).collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn mutant_without_a_bug_passes() {
    check(&mutant(Bug::None)).assert();
    let fault = model_fault(&mutant(Bug::None), 100);
    assert!(fault.is_none(), "{}", fault.unwrap());
}
