//! The calls of a commit on its target: syncs precede renames, and a replaced file passes on its
//! permissions without the set-id bits.

#![cfg(all(feature = "host", feature = "mem", target_os = "linux"))]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the tests arrange the host's side, and fail by panicking"
)]

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use palisade_vfs::overlay::{Lost, Lowers, Overlay, UpperRef, commit};
use palisade_vfs::{
    Access, Advice, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, FileType, Follow,
    HostDir, MemFs, Name, Node, OpenFlags, OpenHow, Result, SetTimes, Stat, Stop, SyncScope, path,
};

/// A call that changes the target or makes a change durable.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// A file is written, truncated, or its times are set.
    Change { path: String },
    /// A file's content and metadata are synced.
    SyncFile { path: String },
    /// A node gets or loses a name.
    Name { dir: String, from: Option<String>, to: Option<String> },
    /// A directory's entries are synced.
    SyncDir { path: String },
}

type Log = Arc<Mutex<Vec<Call>>>;

/// A directory that logs its changes, by the paths of its handles.
struct LoggedDir {
    inner: DirRef,
    path: String,
    log: Log,
}

struct LoggedFile {
    inner: FileRef,
    path: String,
    log: Log,
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() || name.is_empty() { format!("{dir}{name}") } else { format!("{dir}/{name}") }
}

impl LoggedDir {
    fn add(&self, call: Call) {
        self.log.lock().unwrap().push(call);
    }

    fn named(&self, name: Name<'_>) {
        let (dir, to) = (self.path.clone(), Some(join(&self.path, name.as_str())));
        self.add(Call::Name { dir, from: None, to });
    }

    fn removed(&self, name: Name<'_>) {
        let (dir, from) = (self.path.clone(), Some(join(&self.path, name.as_str())));
        self.add(Call::Name { dir, from, to: None });
    }

    fn logged(dir: &dyn Dir) -> Result<&LoggedDir> {
        (dir as &dyn Any).downcast_ref().ok_or(Errno::Xdev)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for LoggedDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let was_there = self.inner.stat(path).is_ok();
        let node = self.inner.open(path, how)?;
        if let (false, Some(name)) = (was_there, path.as_name()) {
            self.named(name);
        }
        let (path, log) = (join(&self.path, path.as_str()), Arc::clone(&self.log));
        Ok(match node {
            Node::Dir(inner) => Node::Dir(Arc::new(LoggedDir { inner, path, log })),
            Node::File(inner) => Node::File(Arc::new(LoggedFile { inner, path, log })),
        })
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.create_dir(name)?;
        self.named(name);
        Ok(())
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.inner.create_symlink(name, target)?;
        self.named(name);
        Ok(())
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_file(name)?;
        self.removed(name);
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_dir(name)?;
        self.removed(name);
        Ok(())
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = LoggedDir::logged(into)?;
        self.inner.rename(name, &*into.inner, new_name)?;
        let from = Some(join(&self.path, name.as_str()));
        let to = Some(join(&into.path, new_name.as_str()));
        into.add(Call::Name { dir: into.path.clone(), from, to });
        Ok(())
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = LoggedDir::logged(into)?;
        self.inner.link(name, &*into.inner, new_name)?;
        into.named(new_name);
        Ok(())
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.inner.set_times(path, times)?;
        self.add(Call::Change { path: join(&self.path, path.as_str()) });
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()?;
        self.add(Call::SyncDir { path: self.path.clone() });
        Ok(())
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

impl LoggedFile {
    fn changed<T>(&self, done: Result<T>) -> Result<T> {
        self.log.lock().unwrap().push(Call::Change { path: self.path.clone() });
        done
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for LoggedFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.changed(self.inner.write_at(bufs, offset))
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.changed(self.inner.append(bufs))
    }

    fn appended_to(&self) -> Result<u64> {
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.inner.stat()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.changed(self.inner.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.changed(self.inner.allocate(offset, len))
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.changed(self.inner.set_times(times))
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.inner.sync(scope)?;
        if scope == SyncScope::All {
            self.log.lock().unwrap().push(Call::SyncFile { path: self.path.clone() });
        }
        Ok(())
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
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

fn write(root: &DirRef, at: &str, text: &str) {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::TRUNCATE);
    let file = path::open(&**root, at, Follow::Yes, how).unwrap().into_file().unwrap();
    file.write_at(&[IoSlice::new(text.as_bytes())], 0).unwrap();
}

/// Creates an overlay over `lower`. Also returns its upper.
fn over(lower: DirRef) -> (UpperRef, Overlay) {
    let upper = MemFs::new().upper();
    let overlay = Overlay::new(Arc::clone(&upper), &Lowers::of(lower)).unwrap();
    (upper, overlay)
}

/// Commits changes of every kind, and returns the calls.
fn committed() -> Vec<Call> {
    let lower = MemFs::new().root();
    for dir in ["d", "gone", "was_dir"] {
        path::create_dir(&*lower, dir).unwrap();
    }
    for at in ["changed", "d/changed", "gone/f", "was_file", "was_dir/f", "removed"] {
        write(&lower, at, "old");
    }
    let (upper, overlay) = over(Arc::clone(&lower));
    let root = overlay.root();
    for at in ["changed", "d/changed", "new", "d/new", "d/linked"] {
        write(&root, at, "newer");
    }
    path::link(&*root, "d/linked", &*root, "link").unwrap();
    path::create_symlink(&*root, "new", "symlink").unwrap();
    path::remove_file(&*root, "removed").unwrap();
    path::remove_file(&*root, "gone/f").unwrap();
    path::remove_dir(&*root, "gone").unwrap();
    path::remove_file(&*root, "was_file").unwrap();
    path::create_dir(&*root, "was_file").unwrap();
    write(&root, "was_file/in", "in");
    path::remove_file(&*root, "was_dir/f").unwrap();
    path::remove_dir(&*root, "was_dir").unwrap();
    write(&root, "was_dir", "file");
    drop((root, overlay));
    let log = Log::default();
    let (inner, path) = (Arc::clone(&lower), String::new());
    let target: DirRef = Arc::new(LoggedDir { inner, path, log: Arc::clone(&log) });
    commit(&upper, &target, &mut |_| {}).unwrap();
    std::mem::take(&mut *log.lock().unwrap())
}

/// A crash keeps only synced content, so a file with its times must be synced before its rename.
#[test]
fn commit_syncs_each_file_before_its_rename() {
    let calls = committed();
    let mut placed = Vec::new();
    for (nth, call) in calls.iter().enumerate() {
        let Call::Name { from: Some(from), to: Some(to), .. } = call else { continue };
        let before = &calls[..nth];
        let is_change = |call: &Call| matches!(call, Call::Change { path } if path == from);
        let Some(last_change) = before.iter().rposition(is_change) else { continue };
        let synced = before.iter().rposition(|call| *call == Call::SyncFile { path: from.clone() });
        let is_link = to == "symlink";
        assert!(is_link || synced > Some(last_change), "{to} was not synced: {calls:#?}");
        placed.push(to.as_str());
        let later = calls[nth..].iter().find(
            |call| matches!(call, Call::Change { path } | Call::SyncFile { path } if path == to),
        );
        assert_eq!(later, None, "{to} was changed in its place");
    }
    // One of the two names of a file is a hard link to the other.
    placed.retain(|at| !["link", "d/linked"].contains(at));
    placed.sort_unstable();
    let files = ["changed", "d/changed", "d/new", "new", "symlink", "was_dir", "was_file/in"];
    assert_eq!(placed, files);
}

#[test]
fn commit_syncs_each_directory_after_its_last_change() {
    let calls = committed();
    let mut dirs: Vec<_> = calls
        .iter()
        .filter_map(|call| match call {
            Call::Name { dir, .. } => Some(dir.clone()),
            Call::Change { .. } | Call::SyncFile { .. } | Call::SyncDir { .. } => None,
        })
        .collect();
    dirs.sort();
    dirs.dedup();
    // A directory that was renamed out of the way is removed, so it needs no sync.
    dirs.retain(|dir| !dir.contains(".palisade-commit-"));
    for dir in dirs.iter().filter(|dir| *dir != "gone" && *dir != "was_dir") {
        let is_in = |call: &Call| match call {
            Call::Name { dir: at, .. } => at == dir,
            Call::Change { path } => path == dir,
            Call::SyncFile { .. } | Call::SyncDir { .. } => false,
        };
        let last_change = calls.iter().rposition(is_in);
        let synced = calls.iter().rposition(|call| *call == Call::SyncDir { path: dir.clone() });
        assert!(synced > last_change, "{dir} was not synced: {calls:#?}");
    }
    for dir in ["", "d", "was_file"] {
        assert!(dirs.iter().any(|at| at == dir), "{dir:?} was not changed");
    }
}

#[test]
fn commit_drops_set_id_bits() {
    for mode in [0o4755, 0o2755, 0o1755, 0o6711, 0o7777, 0o0750, 0o0600] {
        let temp = tempfile::tempdir().unwrap();
        let tool = temp.path().join("tool");
        std::fs::write(&tool, "old").unwrap();
        std::fs::set_permissions(&tool, PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(std::fs::metadata(&tool).unwrap().permissions().mode() & 0o7777, mode);
        let lower = HostDir::open_ambient(temp.path()).unwrap();
        let (upper, overlay) = over(Arc::clone(&lower));
        write(&overlay.root(), "tool", "written by a guest");
        commit(&upper, &lower, &mut |_| {}).unwrap();
        assert_eq!(std::fs::read(&tool).unwrap(), b"written by a guest");
        let now = std::fs::metadata(&tool).unwrap().permissions().mode() & 0o7777;
        assert_eq!(now, mode & 0o777, "{mode:o} became {now:o}");
    }
}

/// The directory that the child process commits to.
const JOB: &str = "PALISADE_COMMIT_AS_ANOTHER";
/// A user that owns neither the target nor its files.
const NOBODY: u32 = 65534;

/// Commits as another user to a directory with mode 0777.
fn commit_as_another(dir: &std::path::Path) {
    let lower = HostDir::open_ambient(&dir.join("lower")).unwrap();
    let upper = palisade_vfs::HostUpper::open_ambient(&dir.join("changes")).unwrap();
    let overlay = Overlay::new(Arc::clone(&upper), &Lowers::of(Arc::clone(&lower))).unwrap();
    let root = overlay.root();
    write(&root, "theirs", "new");
    write(&root, "d/new", "new");
    write(&root, "d/theirs", "new");
    let at = palisade_vfs::SetTime::At(palisade_vfs::Timestamp::new(5, 0));
    let times = SetTimes { accessed: at, modified: at };
    for equal in ["equal", "d"] {
        path::set_times(&*root, equal, Follow::No, times).unwrap();
    }
    drop((root, overlay));
    let committed = commit(&upper, &lower, &mut |_| {}).unwrap();
    let notes: Vec<_> =
        committed.notes.iter().map(|note| (note.path.as_str(), note.lost, note.errno)).collect();
    for (path, lost) in [
        ("theirs", Lost::Owner),
        ("d/theirs", Lost::Owner),
        ("equal", Lost::Times),
        ("d", Lost::Times),
        ("", Lost::Times),
    ] {
        assert!(notes.contains(&(path, lost, Errno::Perm)), "{path} {lost:?}: {notes:?}");
    }
    assert_eq!((notes.len(), committed.notes_left_out), (5, 0), "{notes:?}");
}

#[test]
fn commit_to_files_of_another_owner_completes_with_notes() {
    use std::os::unix::fs::{MetadataExt, chown};
    use std::os::unix::process::CommandExt;
    if let Ok(dir) = std::env::var(JOB) {
        return commit_as_another(std::path::Path::new(&dir));
    }
    let temp = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let (lower, changes) = (temp.path().join("lower"), temp.path().join("changes"));
    std::fs::create_dir_all(lower.join("d")).unwrap();
    std::fs::create_dir(&changes).unwrap();
    for file in ["theirs", "equal", "d/theirs"] {
        std::fs::write(lower.join(file), "old").unwrap();
        mode(&lower.join(file), 0o664);
    }
    mode(temp.path(), 0o755);
    mode(&lower, 0o777);
    mode(&lower.join("d"), 0o777);
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root, "this test commits as another user, so it has to be run by root");
    chown(&changes, Some(NOBODY), Some(NOBODY)).unwrap();
    // Only root can enter the directory of the test executable.
    let exe = temp.path().join("child");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let test = "commit_to_files_of_another_owner_completes_with_notes";
    let mut child = std::process::Command::new(&exe);
    child.args(["--exact", test]).env(JOB, temp.path()).current_dir("/");
    let output = child.uid(NOBODY).gid(NOBODY).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    for (file, text) in [("theirs", "new"), ("d/theirs", "new"), ("d/new", "new"), ("equal", "old")]
    {
        assert_eq!(std::fs::read_to_string(lower.join(file)).unwrap(), text, "{file}");
    }
    let theirs = std::fs::metadata(lower.join("theirs")).unwrap();
    assert_eq!((theirs.uid(), theirs.mode() & 0o777), (NOBODY, 0o664));
    assert_eq!(std::fs::read_dir(&lower).unwrap().count(), 3, "a temporary file is left");
}

/// Root may change the owner of a file.
#[test]
fn commit_as_root_keeps_the_owner() {
    use std::os::unix::fs::{MetadataExt, chown};
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "old").unwrap();
    assert!(rustix::process::geteuid().is_root(), "this test gives a file away: run it as root");
    chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let lower = HostDir::open_ambient(temp.path()).unwrap();
    let (upper, overlay) = over(Arc::clone(&lower));
    write(&overlay.root(), "file", "new");
    let committed = commit(&upper, &lower, &mut |_| {}).unwrap();
    let now = std::fs::metadata(&file).unwrap();
    assert_eq!((now.uid(), now.gid(), now.mode() & 0o777), (NOBODY, NOBODY, 0o640));
    assert_eq!((committed.notes, std::fs::read(&file).unwrap()), (Vec::new(), b"new".to_vec()));
}

/// The temporary file never has wider permissions than the replaced file.
#[test]
fn temporary_file_of_a_commit_has_no_wider_mode_than_the_replaced_file() {
    let temp = tempfile::tempdir_in("/dev/shm").unwrap();
    let secret = temp.path().join("secret");
    std::fs::write(&secret, "old").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let lower = HostDir::open_ambient(temp.path()).unwrap();
    let (upper, overlay) = over(Arc::clone(&lower));
    write(&overlay.root(), "secret", &"s".repeat(32 << 20));
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mut seen = 0;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                for entry in std::fs::read_dir(temp.path()).unwrap().flatten() {
                    let Ok(metadata) = entry.metadata() else { continue };
                    let mode = metadata.permissions().mode() & 0o777;
                    assert_eq!(mode & 0o077, 0, "{:?} has {mode:o}", entry.file_name());
                    seen += u32::from(entry.file_name() != "secret");
                }
            }
            seen
        });
        commit(&upper, &lower, &mut |_| {}).unwrap();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(look.join().unwrap() > 0, "the temporary file was never seen");
    });
}
