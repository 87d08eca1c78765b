//! Embedder filesystems that violate the contract of `Dir` and `File`.
//!
//! The layers above and the kernel must return errors or results for each violation, without a
//! panic.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_kernel::Config;
use palisade_policy::audit::{AuditOptions, Auditor, Mode, Tracing, observe};
use palisade_policy::{Live, Policy, Quota, QuotaGroup, confine, confine_live, read_only};
use palisade_preview1::Preview1;
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, FileType, Follow, MemFs,
    Mounts, Name, Node, OpenFlags, OpenHow, Result, Rights, SetTimes, Stat, Stop, SyncScope,
    copy_tree, path,
};

/// A violation of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breach {
    /// Reads return more bytes than the buffers have.
    ReadsTooMuch,
    /// `read_vec` removes earlier bytes from the buffer.
    ReadVecShrinks,
    /// `read_vec` appends more bytes than requested.
    ReadVecGrows,
    /// Writes return more bytes than they were given.
    WritesTooMuch,
    /// Writes return 0.
    WritesNothing,
    /// Files and directories have the length and the link count `u64::MAX`.
    Huge,
    /// The identity of a node changes with each call.
    NewIdentities,
    /// `Stop::Link` for the directory itself.
    LinkHere,
    /// `Stop::Link` at a position after the last name.
    LinkFar,
    /// `Stop::Link` for a single name, in `stat` too.
    LinkAtName,
    /// Each name is a link to itself.
    LinkLoop,
    /// The cookie of an entry is the one before the entry.
    CookieStays,
    /// All entries have the same cookie.
    CookieRepeats,
    /// A cookie with the top bit set.
    CookieTop,
    /// Directories are listed as files, and files as directories.
    WrongKinds,
    /// A directory is opened as a file, and a file as a directory.
    WrongNodes,
    /// Every name is listed twice.
    Twice,
}

const ALL: &[Breach] = &[
    Breach::ReadsTooMuch,
    Breach::ReadVecShrinks,
    Breach::ReadVecGrows,
    Breach::WritesTooMuch,
    Breach::WritesNothing,
    Breach::Huge,
    Breach::NewIdentities,
    Breach::LinkHere,
    Breach::LinkFar,
    Breach::LinkAtName,
    Breach::LinkLoop,
    Breach::CookieStays,
    Breach::CookieRepeats,
    Breach::CookieTop,
    Breach::WrongKinds,
    Breach::WrongNodes,
    Breach::Twice,
];

/// The number of calls after which a caller is considered to loop forever.
const CALLS_MAX: u64 = 200_000;

#[derive(Clone)]
struct Broken {
    breach: Breach,
    calls: Arc<AtomicU64>,
}

impl Broken {
    fn new(breach: Breach) -> Self {
        Broken { breach, calls: Arc::default() }
    }

    fn is(&self, breach: Breach) -> bool {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < CALLS_MAX, "{:?}: endless loop", self.breach);
        self.breach == breach
    }

    fn stat(&self, stat: Stat) -> Stat {
        let stat = match self.is(Breach::Huge) {
            true => Stat { size: u64::MAX, nlink: u64::MAX, ..stat },
            false => stat,
        };
        match self.is(Breach::NewIdentities) {
            true => Stat { ino: 1 << 40 | self.calls.load(Ordering::Relaxed), ..stat },
            false => stat,
        }
    }

    fn stop(&self, at: Descent<'_>) -> Result<(), Stop> {
        let link = |at, target: &str| Err(Stop::Link { at, target: target.into() });
        match self.breach {
            Breach::LinkHere if at.is_here() => link(0, "x"),
            Breach::LinkFar if !at.is_here() => link(at.depth() + 3, "x"),
            Breach::LinkAtName if at.as_name().is_some() => link(0, "b"),
            Breach::LinkLoop if !at.is_here() => link(0, at.as_str()),
            _ => Ok(()),
        }
    }

    fn dir(&self, dir: DirRef) -> DirRef {
        Arc::new(BrokenDir { inner: dir, broken: self.clone() })
    }

    fn file(&self, file: FileRef) -> FileRef {
        Arc::new(BrokenFile { inner: file, broken: self.clone() })
    }
}

struct BrokenDir {
    inner: DirRef,
    broken: Broken,
}

struct BrokenFile {
    inner: FileRef,
    broken: Broken,
}

impl Dir for BrokenDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.broken.stop(path)?;
        let swapped = self.broken.is(Breach::WrongNodes) && !path.is_here();
        match self.inner.open(path, how) {
            Ok(Node::Dir(_)) if swapped => {
                let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
                let file = path::open(&*MemFs::new().root(), "f", Follow::No, how)?;
                Ok(Node::File(self.broken.file(file.into_file()?)))
            }
            Ok(Node::File(_)) if swapped => Ok(Node::Dir(self.broken.dir(MemFs::new().root()))),
            Ok(Node::Dir(dir)) => Ok(Node::Dir(self.broken.dir(dir))),
            Ok(Node::File(file)) => Ok(Node::File(self.broken.file(file))),
            Err(stop) => Err(stop),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.broken.stop(path)?;
        Ok(self.broken.stat(self.inner.stat(path)?))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.broken.stop(path)?;
        Ok(self.broken.stat(self.inner.stat_following(path)?))
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let broken = &self.broken;
        let from_inner = match broken.breach {
            Breach::CookieStays | Breach::CookieRepeats | Breach::CookieTop => Cookie::START,
            _ => from,
        };
        self.inner.read_dir(from_inner, &mut |entry| {
            let next = match broken.breach {
                _ if broken.is(Breach::CookieStays) => from,
                Breach::CookieRepeats => Cookie(7),
                Breach::CookieTop => Cookie(u64::MAX),
                _ => entry.next,
            };
            let kind = match entry.kind {
                FileType::Dir if broken.is(Breach::WrongKinds) => FileType::File,
                FileType::File if broken.is(Breach::WrongKinds) => FileType::Dir,
                kind => kind,
            };
            let entry = Entry { next, kind, ..entry };
            if broken.is(Breach::Twice) {
                each(entry)?;
            }
            each(entry)
        })
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.inner.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = (into as &dyn Any).downcast_ref::<BrokenDir>().ok_or(Errno::Xdev)?;
        self.inner.rename(name, &*into.inner, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = (into as &dyn Any).downcast_ref::<BrokenDir>().ok_or(Errno::Xdev)?;
        self.inner.link(name, &*into.inner, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.broken.stop(path)?;
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl File for BrokenFile {
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let done = self.inner.read_at(bufs, offset)?;
        Ok(if self.broken.is(Breach::ReadsTooMuch) { total + 1 } else { done })
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        let done = self.inner.read_vec(to, len, offset)?;
        match self.broken.breach {
            _ if self.broken.is(Breach::ReadsTooMuch) => Ok(len + 1),
            Breach::ReadVecShrinks => {
                to.clear();
                Ok(done)
            }
            Breach::ReadVecGrows => {
                to.resize(to.len() + len + 1, 0);
                Ok(done)
            }
            _ => Ok(done),
        }
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        let done = self.inner.write_at(bufs, offset)?;
        Ok(match self.broken.breach {
            _ if self.broken.is(Breach::WritesTooMuch) => done + 1,
            Breach::WritesNothing => 0,
            _ => done,
        })
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        let done = self.inner.append(bufs)?;
        Ok(match self.broken.breach {
            _ if self.broken.is(Breach::WritesTooMuch) => done + 1,
            Breach::WritesNothing => 0,
            _ => done,
        })
    }

    fn appended_to(&self) -> Result<u64> {
        Ok(if self.broken.is(Breach::Huge) { u64::MAX } else { self.inner.appended_to()? })
    }

    fn stat(&self) -> Result<Stat> {
        Ok(self.broken.stat(self.inner.stat()?))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.inner.set_len(len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.inner.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.inner.sync(scope)
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// Returns a tree with each kind of node.
fn seeded(breach: Breach) -> DirRef {
    let root = MemFs::new().root();
    for dir in ["a", "a/b", "c"] {
        path::create_dir(&*root, dir).unwrap();
    }
    for file in ["f", "a/g", "a/b/h"] {
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
        let file = path::open(&*root, file, Follow::No, how).unwrap().into_file().unwrap();
        file.write_at(&[IoSlice::new(b"some bytes")], 0).unwrap();
    }
    path::link(&*root, "f", &*root, "c/second").unwrap();
    path::create_symlink(&*root, "../f", "a/link").unwrap();
    Broken::new(breach).dir(root)
}

fn all() -> Arc<Policy> {
    Arc::new(Policy::builder().allow("/**", Rights::all()).hide("/**/x").build().unwrap())
}

type Wrap = fn(DirRef) -> Result<DirRef>;

/// The stacks over such a filesystem.
const STACKS: &[(&str, Wrap)] = &[
    ("bare", Ok),
    ("confined", |dir| Ok(confine(dir, all()))),
    ("live", |dir| Ok(confine_live(dir, &Live::new(all()), "/"))),
    ("audited", |dir| {
        let auditor = Auditor::new(Tracing, AuditOptions::default());
        Ok(observe(dir, all(), "/", Mode::Enforce, auditor))
    }),
    ("read-only", |dir| Ok(read_only(dir))),
    ("quota", |dir| {
        let quota = Quota {
            bytes: Some(1 << 40),
            inodes: Some(1000),
            file_size: Some(1 << 39),
            dir_entries: Some(100),
            descriptors: Some(1000),
            read_bytes: Some(1 << 30),
            write_bytes: Some(1 << 30),
            ..Quota::default()
        };
        QuotaGroup::new(quota).guard(dir)
    }),
    ("quota, counted", |dir| QuotaGroup::new(Quota::default()).guard_counted(dir)),
    ("mounted", |dir| Ok(Mounts::builder(MemFs::new().root()).mount("m/n", dir)?.build())),
    ("a base of mounts", |dir| Ok(Mounts::builder(dir).mount("a/m", MemFs::new().root())?.build())),
    ("a lower", |dir| Ok(Overlay::new(MemFs::new().upper(), &Lowers::of(dir))?.root())),
    ("the upper of two lowers", |dir| {
        let lowers = Lowers::builder().dir(dir).dir(seeded(Breach::Twice)).build()?;
        Ok(Overlay::new(MemFs::new().upper(), &lowers)?.root())
    }),
    ("copied", |dir| {
        let copy = MemFs::new().root();
        copy_tree(&dir, &copy)?;
        Ok(copy)
    }),
];

/// Calls each method of the traits on each path and ignores the results.
fn use_natively(root: &DirRef) {
    let at = ["", "f", "a", "a/b/h", "a/link", "a/link/x", "c/second", "new", "m/n/f", "m/n/a/g"];
    let how = [
        OpenHow::READ,
        OpenHow::HOLD,
        OpenHow::HOLD_DIR,
        OpenHow::new(Access::ReadWrite, OpenFlags::CREATE),
        OpenHow::new(Access::Write, OpenFlags::TRUNCATE),
    ];
    for at in at {
        let _ = path::stat(&**root, at, Follow::Yes);
        let _ = path::stat(&**root, at, Follow::No);
        let _ = path::read_link(&**root, at);
        let _ = path::set_times(&**root, at, Follow::Yes, SetTimes::default());
        for how in how {
            match path::open(&**root, at, Follow::Yes, how) {
                Ok(Node::File(file)) => use_file(&*file),
                Ok(Node::Dir(dir)) => {
                    let _ = dir.stat(Descent::HERE);
                    let _ = dir.read_dir(Cookie::START, &mut |_| ControlFlow::Continue(()));
                    let _ = dir.sync();
                }
                Err(_) => {}
            }
        }
    }
    let _ = path::rename(&**root, "a/g", &**root, "c/g");
    let _ = path::rename(&**root, "a", &**root, "c/a");
    let _ = path::rename(&**root, "c", &**root, "a");
    let _ = path::link(&**root, "f", &**root, "c/third");
    let _ = path::create_dir(&**root, "c/d");
    let _ = path::create_symlink(&**root, "f", "c/l");
    for at in ["c/second", "f", "c/l", "a/b/h", "new"] {
        let _ = path::remove_file(&**root, at);
    }
    for at in ["c/d", "a/b", "a", "c"] {
        let _ = path::remove_dir(&**root, at);
    }
}

fn use_file(file: &dyn File) {
    let mut bytes = [0; 8];
    let (one, two) = bytes.split_at_mut(3);
    let _ = file.read_at(&mut [IoSliceMut::new(one), IoSliceMut::new(two)], 2);
    let _ = file.read_vec(&mut vec![1, 2, 3], 64, 0);
    let _ = file.write_at(&[IoSlice::new(b"a"), IoSlice::new(b"bc")], 4);
    let _ = file.append(&[IoSlice::new(b"abc")]);
    let _ = file.appended_to();
    let _ = (file.stat(), file.set_len(3), file.allocate(0, 5), file.sync(SyncScope::All));
    let _ = file.set_times(SetTimes::default());
}

/// Makes the same calls through Preview 1.
fn use_as_guest(root: &DirRef) {
    let config = Config::builder().preopen("/", root.clone()).build().unwrap();
    let mut guest = Preview1::new(config.start());
    let mut memory = vec![0; 1 << 16];
    let (text, iovs, out) = (1024, 2048, 4096_u64);
    // Two buffers of 16 bytes.
    for (at, word) in [(0, 8192_u32), (4, 16), (8, 8300), (12, 16)] {
        memory[iovs + at..iovs + at + 4].copy_from_slice(&word.to_le_bytes());
    }
    for at in ["f", "a/b/h", "a", "a/link", "c", "new", "m/n/f"] {
        memory[text..text + at.len()].copy_from_slice(at.as_bytes());
        let (text, len) = (text as u64, at.len() as u64);
        for oflags in [0, 1, 2, 8] {
            let rights = (1 << 30) - 1;
            let open = [3, 1, text, len, oflags, 0, rights, 0, out];
            let opened = guest.call(&mut memory, "path_open", &open);
            let fd = match opened {
                Some(Ok(0)) => u32::from_le_bytes(memory[4096..4100].try_into().unwrap()),
                _ => 3,
            };
            let fd = u64::from(fd);
            for (name, args) in [
                ("fd_read", vec![fd, iovs as u64, 2, out]),
                ("fd_pread", vec![fd, iovs as u64, 2, 3, out]),
                ("fd_write", vec![fd, iovs as u64, 2, out]),
                ("fd_pwrite", vec![fd, iovs as u64, 2, u64::MAX >> 1, out]),
                ("fd_fdstat_set_flags", vec![fd, 1]),
                ("fd_write", vec![fd, iovs as u64, 2, out]),
                ("fd_seek", vec![fd, u64::MAX >> 1, 2, out]),
                ("fd_tell", vec![fd, out]),
                ("fd_filestat_get", vec![fd, out]),
                ("fd_readdir", vec![fd, 12_000, 300, 0, out]),
                ("fd_readdir", vec![fd, 12_000, 300, 7, out]),
                ("path_filestat_get", vec![fd, 1, text, len, out]),
                ("path_readlink", vec![fd, text, len, 12_000, 100, out]),
                ("fd_close", vec![if fd == 3 { 99 } else { fd }]),
            ] {
                assert!(guest.call(&mut memory, name, &args).is_some(), "{name}");
            }
        }
    }
}

#[test]
fn violations_never_panic_in_any_stack() {
    let mut faults = Vec::new();
    for breach in ALL {
        for (name, wrap) in STACKS {
            for (way, use_it) in [("guest", use_as_guest as fn(&DirRef)), ("native", use_natively)]
            {
                let used = catch_unwind(AssertUnwindSafe(|| {
                    // A stack may also refuse such a filesystem.
                    if let Ok(root) = wrap(seeded(*breach)) {
                        use_it(&root);
                    }
                }));
                if used.is_err() {
                    faults.push(format!("{breach:?}, {name}, {way}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn copy_of_an_oversized_read_is_an_error() {
    // Copying uses `read_at` instead of `read_vec`.
    let copy = |from, to| {
        let to = Broken::new(to).dir(MemFs::new().root());
        copy_tree(&seeded(from), &to).map(|report| report.files)
    };
    assert_eq!(copy(Breach::ReadVecShrinks, Breach::ReadVecShrinks), Ok(3));
    assert_eq!(copy(Breach::ReadsTooMuch, Breach::ReadVecShrinks), Err(Errno::Io));
    for breach in [Breach::WritesTooMuch, Breach::WritesNothing] {
        assert_eq!(copy(Breach::ReadVecShrinks, breach), Err(Errno::Io), "{breach:?}");
    }
}

/// Calls `name` on an open file and returns its errno and the offset after it.
fn read_and_tell(breach: Breach, name: &str) -> (i32, u64) {
    let config = Config::builder().preopen("/", seeded(breach)).build().unwrap();
    let mut guest = Preview1::new(config.start());
    let mut memory = vec![0; 64];
    memory[0] = b'f';
    memory[16..24].copy_from_slice(&[32, 0, 0, 0, 4, 0, 0, 0]);
    let mut call = |name, args: &[u64]| {
        let errno = guest.call(&mut memory, name, args).unwrap().unwrap();
        (errno, u64::from_le_bytes(memory[48..56].try_into().unwrap()))
    };
    let rights = (1 << 1) | (1 << 2) | (1 << 5) | (1 << 6);
    assert_eq!(call("path_open", &[3, 0, 0, 1, 0, rights, 0, 0, 48]), (0, 4));
    let (errno, _) = call(name, &[4, 16, 1, 40]);
    let (errno_of_tell, offset) = call("fd_tell", &[4, 48]);
    assert_eq!(errno_of_tell, 0);
    (errno, offset)
}

#[test]
fn count_above_the_buffers_is_eio_and_keeps_the_offset() {
    const IO: i32 = 29;
    assert_eq!(read_and_tell(Breach::Twice, "fd_read"), (0, 4));
    assert_eq!(read_and_tell(Breach::Twice, "fd_write"), (0, 4));
    assert_eq!(read_and_tell(Breach::ReadsTooMuch, "fd_read"), (IO, 0));
    assert_eq!(read_and_tell(Breach::WritesTooMuch, "fd_write"), (IO, 0));
}

#[test]
fn invalid_cookie_is_eio() {
    const IO: i32 = 29;
    for breach in [Breach::CookieStays, Breach::CookieRepeats, Breach::CookieTop] {
        let config = Config::builder().preopen("/", seeded(breach)).build().unwrap();
        let mut guest = Preview1::new(config.start());
        let mut memory = vec![0; 4096];
        let listed = guest.call(&mut memory, "fd_readdir", &[3, 64, 4000, 0, 0]);
        assert_eq!(listed, Some(Ok(IO)), "{breach:?}");
    }
}
