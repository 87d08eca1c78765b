//! Crash tests: `SIGKILL` at random points of a commit, a copy-up and an export.
//!
//! Each file must be the old or the new one, and repeating the command must complete it.
//! `PALISADE_KILLS` sets the number of kills of each command.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade::overlay::{Lowers, Overlay};
use palisade::vfs::{
    Access, Dir, DirRef, Follow, OpenFlags, OpenHow, SetTime, SetTimes, Timestamp, path,
};
use palisade::{HostDir, HostUpper};

use super::Case;

/// The default number of kills of each command; `PALISADE_KILLS` overrides it.
const KILLS: u32 = 12;
/// The number of attempts for each kill: a command that ends before the kill does not count.
const ATTEMPTS: u32 = 20;
/// The prefix of temporary names of a commit.
const TEMPORARY: &str = ".palisade-commit-";

fn kills() -> u32 {
    std::env::var("PALISADE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

/// A pseudorandom generator (xorshift) of delays. The kill points differ in each run anyway.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn part_of(&mut self, whole: Duration) -> Duration {
        let permille = u32::try_from(self.next() % 1000).unwrap();
        whole * permille / 1000
    }
}

/// A command and the invariants of its result.
struct Killed<'a> {
    fresh: &'a dyn Fn() -> Case,
    command: &'a dyn Fn(&Case) -> Command,
    /// The invariant after a kill at any point.
    between: &'a dyn Fn(&Case),
    /// The invariant after a complete run.
    done: &'a dyn Fn(&Case),
}

impl Killed<'_> {
    /// Runs the command to its end and returns the duration.
    fn complete(&self, case: &Case) -> Duration {
        let start = Instant::now();
        let output = (self.command)(case).output().unwrap();
        let took = start.elapsed();
        assert!(output.status.success(), "{output:?}");
        (self.done)(case);
        took
    }

    /// Kills the command after `delay`. Returns `false` if it ended before.
    fn kill(&self, case: &Case, delay: Duration) -> bool {
        let mut command = (self.command)(case);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.signal().is_some() || status.success(), "{status:?}");
        (self.between)(case);
        status.signal().is_some()
    }

    fn check(&self) {
        let took = (0..3).map(|_| self.complete(&(self.fresh)())).max().unwrap();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (wanted, mut killed) = (kills(), 0);
        for _ in 0..wanted * ATTEMPTS {
            if killed == wanted {
                break;
            }
            let case = (self.fresh)();
            killed += u32::from(self.kill(&case, random.part_of(took)));
            // The repeat may be killed too.
            if random.next().is_multiple_of(3) {
                self.kill(&case, random.part_of(took));
            }
            self.complete(&case);
        }
        assert_eq!(killed, wanted, "the command was done before it was killed");
    }
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: &'static str,
    content: Content,
    mode: u32,
    nlink: u64,
    mtime: i64,
}

/// The content of a file, or the target of a link.
#[derive(Clone, PartialEq, Eq)]
struct Content(Vec<u8>);

impl Node {
    /// A directory without times and links, which change with its entries.
    fn dir(mode: u32) -> Node {
        Node { kind: "dir", content: Content(Vec::new()), mode, nlink: 0, mtime: 0 }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = self.0.get(..12).unwrap_or(&self.0);
        write!(f, "{} bytes: {}...", self.0.len(), start.escape_ascii())
    }
}

type Nodes = BTreeMap<String, Node>;

/// Returns all nodes in a host directory, except temporary ones.
fn nodes(root: &Path) -> Nodes {
    let mut all = Nodes::new();
    let mut pending = vec![String::new()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(root.join(&dir)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with(TEMPORARY) {
                continue;
            }
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let at = root.join(&path);
            let meta = at.symlink_metadata().unwrap();
            let mode = meta.mode() & 0o7777;
            let (kind, content, mode) = if meta.is_dir() {
                pending.push(path.clone());
                all.insert(path, Node::dir(mode));
                continue;
            } else if meta.is_symlink() {
                ("link", std::fs::read_link(&at).unwrap().into_os_string().into_encoded_bytes(), 0)
            } else {
                ("file", std::fs::read(&at).unwrap(), mode)
            };
            let (content, nlink, mtime) = (Content(content), meta.nlink(), meta.mtime());
            let node = Node { kind, content, mode, nlink, mtime };
            all.insert(path, node);
        }
    }
    all
}

/// Content that identifies its file and its length.
fn bytes(what: &str, len: usize) -> Vec<u8> {
    format!("{what};").into_bytes().into_iter().cycle().take(len).collect()
}

fn put(root: &dyn Dir, at: &str, what: &str, len: usize) {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::TRUNCATE);
    let file = path::open(root, at, Follow::Yes, how).unwrap().into_file().unwrap();
    let bytes = bytes(what, len);
    let mut at = 0;
    while at < bytes.len() {
        at += file.write_at(&[IoSlice::new(bytes.get(at..).unwrap())], at as u64).unwrap();
    }
    file.set_times(times(len)).unwrap();
}

/// Fixed times.
fn times(nth: usize) -> SetTimes {
    let time = SetTime::At(Timestamp::new(1_000_000_000 + i64::try_from(nth).unwrap(), 0));
    SetTimes { accessed: time, modified: time }
}

/// File lengths up to many blocks.
fn lens() -> impl Iterator<Item = (usize, usize)> {
    (0..12).map(|nth| (nth, nth * nth * 1_500 + nth))
}

fn furnish(root: &dyn Dir) {
    for dir in ["sub", "was", "was/deep", "moves", "becomes_file"] {
        path::create_dir(root, dir).unwrap();
    }
    for (nth, len) in lens() {
        put(root, &format!("f{nth:02}"), "old", len + 700);
        put(root, &format!("sub/f{nth:02}"), "old", len / 2);
    }
    for at in ["r0", "r1", "was/x", "was/deep/y", "moves/m", "becomes_file/z", "becomes_dir"] {
        put(root, at, "old", 900);
    }
}

/// Changes of every kind.
fn change(root: &dyn Dir) {
    for (nth, len) in lens() {
        put(root, &format!("f{nth:02}"), "new", len);
        put(root, &format!("a{nth:02}"), "added", len);
        put(root, &format!("sub/a{nth:02}"), "added", len / 2);
    }
    for file in ["r0", "r1", "was/x", "was/deep/y", "becomes_file/z", "becomes_dir"] {
        path::remove_file(root, file).unwrap();
    }
    for dir in ["was/deep", "was", "becomes_file"] {
        path::remove_dir(root, dir).unwrap();
    }
    // An opaque directory, whose files hide those of the lower.
    path::create_dir(root, "was").unwrap();
    for at in ["was/one", "was/two", "becomes_file"] {
        put(root, at, "new", 5_000);
    }
    path::create_dir(root, "becomes_dir").unwrap();
    put(root, "becomes_dir/in", "new", 3_000);
    path::rename(root, "moves", root, "moved").unwrap();
    path::create_symlink(root, "f00", "link").unwrap();
    path::set_times(root, "link", Follow::No, times(5)).unwrap();
    path::link(root, "a05", root, "sub/linked").unwrap();
}

impl Case {
    fn host_dir(&self, name: &str) -> DirRef {
        HostDir::open_ambient(&self.path(name)).unwrap()
    }

    /// An overlay of the upper `up` over `d`.
    fn overlay(&self) -> Overlay {
        let upper = HostUpper::open_ambient(&self.path("up")).unwrap();
        Overlay::new(upper, &Lowers::of(self.host_dir("d"))).unwrap()
    }

    fn furnished() -> Case {
        let case = Case::new();
        std::fs::create_dir(case.path("d")).unwrap();
        std::fs::create_dir(case.path("up")).unwrap();
        furnish(&*case.host_dir("d"));
        case
    }

    fn to_commit() -> Case {
        let case = Case::furnished();
        change(&*case.overlay().root());
        case
    }

    /// The names in `up/upper` and in the work area.
    fn left_in_upper(&self) -> Vec<String> {
        let mut left = Vec::new();
        for dir in ["up/upper", "up/work/palisade"] {
            for entry in std::fs::read_dir(self.path(dir)).unwrap() {
                left.push(format!("{dir}/{:?}", entry.unwrap().file_name()));
            }
        }
        left
    }
}

#[test]
fn killed_commit_is_atomic_per_file_and_resumable() {
    let case = Case::furnished();
    let old = nodes(&case.path("d"));
    let case = Case::to_commit();
    case.palisade(&["commit", "up", "--lower", "d"]).exits(0);
    let new = nodes(&case.path("d"));
    assert_ne!(old, new);
    let between = |case: &Case| {
        let now = nodes(&case.path("d"));
        for path in old.keys().chain(new.keys()) {
            let content = |nodes: &Nodes| nodes.get(path).map(|it| (it.kind, it.content.clone()));
            let (old, new, now) = (content(&old), content(&new), content(&now));
            let is_either = now == old || now == new;
            // A directory and a file cannot change places in one step.
            let changes_kind = old.as_ref().map(|it| it.0) != new.as_ref().map(|it| it.0);
            assert!(is_either || (now.is_none() && changes_kind), "{path} is neither: {now:?}");
        }
    };
    let done = |case: &Case| {
        let now = nodes(&case.path("d"));
        for path in new.keys().chain(now.keys()) {
            assert_eq!(now.get(path), new.get(path), "{path}");
        }
        let temporary = std::fs::read_dir(case.path("d")).unwrap();
        let temporary = temporary.filter(|it| {
            it.as_ref().unwrap().file_name().into_string().unwrap().starts_with(TEMPORARY)
        });
        assert_eq!(temporary.count(), 0);
        assert_eq!(case.left_in_upper(), [""; 0]);
    };
    let command = |case: &Case| case.command(&["commit", "up", "--lower", "d"]);
    Killed { fresh: &Case::to_commit, command: &command, between: &between, done: &done }.check();
}

/// Writes a guest that writes one byte at the start of `f00` to `f11`.
fn toucher(case: &Case) -> String {
    let names: String = lens().map(|(nth, _)| format!("f{nth:02}")).collect();
    case.module(
        "toucher.wasm",
        &format!(
            r#"{prelude}
            (data (i32.const 1024) "{names}") (data (i32.const 2000) "X")
            (func (export "_start") (local $at i32)
                (i32.store (i32.const 0) (i32.const 2000))
                (i32.store (i32.const 4) (i32.const 1))
                (local.set $at (i32.const 1024))
                (loop $next
                    (call $check (call $path_open (i32.const 3) (i32.const 1)
                        (local.get $at) (i32.const 3) (i32.const 0)
                        (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
                    (call $check (call $fd_write (i32.load (i32.const 16)) (i32.const 0)
                        (i32.const 1) (i32.const 20)))
                    (local.set $at (i32.add (local.get $at) (i32.const 3)))
                    (br_if $next (i32.lt_u (local.get $at) (i32.const {end})))))"#,
            prelude = super::PRELUDE,
            end = 1024 + names.len(),
        ),
    )
}

#[test]
fn killed_copy_up_is_atomic_and_leaves_no_temporary_files() {
    let fresh = || {
        let case = Case::furnished();
        toucher(&case);
        case
    };
    let old = nodes(&fresh().path("d"));
    let seen = |case: &Case, is_done: bool| {
        let overlay = case.overlay();
        let root = overlay.root();
        for (nth, _) in lens() {
            let name = format!("f{nth:02}");
            let file = path::open(&*root, &name, Follow::Yes, OpenHow::READ).unwrap();
            let mut now = Vec::new();
            let (file, whole) = (file.into_file().unwrap(), &old[&name].content.0);
            let mut at = 0;
            loop {
                let read = file.read_vec(&mut now, 1 << 16, at).unwrap();
                if read == 0 {
                    break;
                }
                at += read as u64;
            }
            let mut touched = whole.clone();
            touched[0] = b'X';
            assert!(now == touched || (!is_done && now == *whole), "{name} is torn: {}", now.len());
        }
        drop((root, overlay));
        assert_eq!(nodes(&case.path("d")), old, "the lower has changed");
        let debris = std::fs::read_dir(case.path("up/work/palisade")).unwrap().count();
        assert_eq!(debris, 0);
    };
    let between = |case: &Case| seen(case, false);
    let done = |case: &Case| seen(case, true);
    let command =
        |case: &Case| case.command(&["run", "--overlay", "d::/w", "--upper", "up", "toucher.wasm"]);
    Killed { fresh: &fresh, command: &command, between: &between, done: &done }.check();
}

#[test]
fn killed_export_leaves_the_old_or_the_new_archive() {
    let case = Arc::new(Case::to_commit());
    case.palisade(&["export", "up", "--output", "wanted.tar"]).exits(0);
    let wanted = std::fs::read(case.path("wanted.tar")).unwrap();
    let old = b"the old archive".to_vec();
    // One case for all kills: an export changes only its archive.
    let fresh = || {
        let other = Case::new();
        std::fs::create_dir(other.path("out")).unwrap();
        std::fs::write(other.path("out/it.tar"), &old).unwrap();
        other
    };
    let upper = case.path("up");
    let between = |case: &Case| {
        let now = std::fs::read(case.path("out/it.tar")).unwrap();
        assert!(now == old || now == wanted, "{} bytes of {}", now.len(), wanted.len());
    };
    let done = |case: &Case| {
        assert!(std::fs::read(case.path("out/it.tar")).unwrap() == wanted);
        let names = std::fs::read_dir(case.path("out")).unwrap();
        let names: Vec<_> = names.map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["it.tar"], "leftovers");
    };
    let command =
        |case: &Case| case.command(&["export", upper.to_str().unwrap(), "--output", "out/it.tar"]);
    Killed { fresh: &fresh, command: &command, between: &between, done: &done }.check();
}
