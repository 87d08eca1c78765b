//! Fuzzes the commands with malformed upper directories: no escape, hang or panic.
//!
//! The generator produces nodes that no overlay writes: links in place of directories, devices,
//! FIFOs, extended attributes on the wrong nodes and with any value, names of temporary files,
//! names that are not UTF-8. A canary file with a token is beside the upper. No command may change
//! it or print the token, and no file of the lower or of an archive may contain it. A case is
//! identified by its number.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade::overlay::{Lowers, Overlay, commit, diff};
use palisade::vfs::{
    Access, Cookie, Descent, DirRef, Follow, Node, OpenFlags, OpenHow, SetTimes, path,
};
use palisade::{HostDir, HostUpper};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::Case;

/// The default number of cases; `PALISADE_HOSTILE_CASES` overrides it.
const CASES: u64 = 24;
const TOKEN: &str = "token-that-lies-outside";
/// The time limit of a command, ten times what any needs.
const HANG: Duration = Duration::from_secs(60);
/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;

fn cases() -> u64 {
    std::env::var("PALISADE_HOSTILE_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(CASES)
}

/// A pseudorandom generator (xorshift) of one case, with a log for failure messages.
struct Hostile {
    random: u64,
    outside: PathBuf,
    log: String,
}

const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"d",
    b"f",
    b"sub",
    b".wh.f",
    b".wh..wh..opq",
    b".palisade-commit-00000000",
    b"#0",
    b"upper",
    b"not\xffutf8",
    b"line\nbreak\x1b[31m",
    b"\xe2\x80\xaebidi",
];

const MARKS: &[&str] = &[
    "user.overlay.opaque",
    "user.overlay.whiteout",
    "user.overlay.redirect",
    "user.overlay.metacopy",
    "user.overlay.origin",
    "user.overlay.impure",
    "user.overlay.palisade.origin",
    "user.overlay.palisade.holds",
    "user.overlay.palisade.unknown",
    "user.other",
];

impl Hostile {
    fn new(case: u64, outside: &Path) -> Self {
        let random = case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Hostile { random, outside: outside.to_owned(), log: format!("case {case}:\n") }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn choose<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        let nth = usize::try_from(self.below(all.len() as u64)).unwrap();
        all.get(nth).unwrap()
    }

    fn note(&mut self, what: &str, at: &Path) {
        writeln!(self.log, "  {what} {}", at.display().to_string().escape_debug()).unwrap();
    }

    /// A link target: outside, upwards, a loop, or dangling.
    fn target(&mut self) -> PathBuf {
        let outside = self.outside.display().to_string();
        let dir = format!("{outside}/dir");
        let canary = format!("{outside}/canary");
        let long = "x/".repeat(2000);
        PathBuf::from(self.choose(&[
            outside.as_str(),
            &dir,
            &canary,
            "../../outside",
            "../../outside/canary",
            "../outside/dir",
            "../../../outside",
            "/",
            ".",
            "..",
            "f",
            "a",
            "missing",
            "/proc/self/root",
            "/proc/self/fd/0",
            "/dev/zero",
            &long,
        ]))
    }

    /// Fills a directory with nodes.
    fn fill(&mut self, dir: &Path, depth: u32) {
        for _ in 0..=self.below(6) {
            let name = self.choose(NAMES);
            let at = dir.join(OsStr::from_bytes(name));
            if at.symlink_metadata().is_ok() {
                continue;
            }
            self.node(&at, depth);
        }
        self.mark(dir);
    }

    fn node(&mut self, at: &Path, depth: u32) {
        let kind = self.below(12);
        match kind {
            0..=2 if depth < 4 => {
                std::fs::create_dir(at).unwrap();
                self.note("directory", at);
                self.fill(at, depth + 1);
            }
            0..=4 => {
                let bytes = self.choose(&["", "inside", "more that is inside"]);
                std::fs::write(at, bytes).unwrap();
                let mode = self.choose(&[&0o644, &0o4755, &0o0, &0o7777]);
                std::fs::set_permissions(at, PermissionsExt::from_mode(*mode)).unwrap();
                self.note("file", at);
                self.mark(at);
            }
            5..=7 => {
                let target = self.target();
                symlink(&target, at).unwrap();
                self.note(&format!("link to {:.60}:", target.display().to_string()), at);
            }
            8 => {
                rustix::fs::mkfifoat(CWD, at, Mode::from_raw_mode(0o666)).unwrap();
                self.note("FIFO", at);
            }
            9 => {
                drop(std::os::unix::net::UnixListener::bind(at));
                self.note("socket", at);
            }
            _ => {
                let (major, minor) = match self.below(4) {
                    0 => (1, 3),
                    1 => (1, 5),
                    _ => (0, 0),
                };
                let device = rustix::fs::makedev(major, minor);
                let mode = Mode::from_raw_mode(0o666);
                let made = rustix::fs::mknodat(CWD, at, FileType::CharacterDevice, mode, device);
                // Creating devices may be forbidden in a container.
                self.note(&format!("device {major}:{minor} ({made:?})"), at);
            }
        }
    }

    /// Sets overlay attributes of a file or a directory.
    fn mark(&mut self, at: &Path) {
        let meta = std::fs::metadata(&self.outside).unwrap();
        let foreign = format!("{}:{}", meta.dev(), meta.ino());
        let long = "y".repeat(2000);
        for _ in 0..self.below(3) {
            let mark = self.choose(MARKS);
            let value = self.choose(&[
                "y",
                "x",
                "",
                "n",
                "/../../outside",
                "../outside/dir",
                "\u{0}\u{1}\u{7f}",
                "1:1",
                "0:0",
                &foreign,
                &long,
            ]);
            // Values that are too long for the filesystem are skipped.
            let set = rustix::fs::lsetxattr(at, mark, value.as_bytes(), XattrFlags::empty());
            if set.is_ok() {
                self.note(&format!("{mark} = {:.40?} on", value), at);
            }
        }
    }

    /// Creates an upper directory, or another node in its place.
    fn upper(&mut self, up: &Path) {
        std::fs::create_dir(up).unwrap();
        let upper = up.join("upper");
        match self.below(12) {
            0 => self.in_place(&upper),
            _ => {
                std::fs::create_dir(&upper).unwrap();
                self.fill(&upper, 0);
            }
        }
        let (work, area) = (up.join("work"), up.join("work/palisade"));
        match self.below(6) {
            0 => self.in_place(&work),
            1 => {
                std::fs::create_dir(&work).unwrap();
                self.in_place(&area);
                self.fill(&work, 3);
            }
            2 => {
                std::fs::create_dir_all(&area).unwrap();
                self.fill(&area, 2);
            }
            _ => {}
        }
        if self.below(8) == 0 {
            let begun = "user.overlay.palisade.discarded";
            let _ = rustix::fs::lsetxattr(&upper, begun, b"y", XattrFlags::empty());
            self.note(begun, &upper);
        }
    }

    /// Creates a node that is not a directory, or a link to an outside directory.
    fn in_place(&mut self, at: &Path) {
        match self.below(4) {
            0 => std::fs::write(at, "a file").unwrap(),
            1 => rustix::fs::mkfifoat(CWD, at, Mode::from_raw_mode(0o666)).unwrap(),
            _ => {
                let outside = self.outside.clone();
                let targets = [outside.clone(), outside.join("dir"), PathBuf::from("/")];
                symlink(self.choose(&targets.each_ref()), at).unwrap();
            }
        }
        self.note("in place of a directory:", at);
    }
}

/// Records the types, modes, links, times and contents of a tree.
fn record(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(at) = pending.pop() {
        let meta = at.symlink_metadata().unwrap();
        let bytes = if meta.is_file() { std::fs::read(&at).unwrap() } else { Vec::new() };
        let (mode, nlink, ino) = (meta.mode(), meta.nlink(), meta.ino());
        let changed = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let xattrs = rustix::fs::llistxattr(&at, &mut [0_u8; 0][..]).unwrap_or(0);
        all.insert(at.clone(), format!("{mode:o} {nlink} {ino} {changed:?} {xattrs} {bytes:?}"));
        if meta.is_dir() {
            pending.extend(std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all
}

fn holds_token(bytes: &[u8]) -> bool {
    bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes())
}

/// Returns the regular files of a tree that contain the token. Does not follow links.
fn leaked_into(root: &Path) -> Vec<PathBuf> {
    let mut leaked = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(at) = pending.pop() {
        let meta = at.symlink_metadata().unwrap();
        if meta.is_dir() {
            pending.extend(std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        } else if meta.is_file() && holds_token(&std::fs::read(&at).unwrap()) {
            leaked.push(at);
        }
    }
    leaked
}

/// Creates a canary, a lower and the generator of a case.
fn furnished(nth: u64) -> (Case, Hostile) {
    let case = Case::new();
    for dir in ["d/a", "d/sub/deep", "outside/dir"] {
        std::fs::create_dir_all(case.path(dir)).unwrap();
    }
    for file in ["d/f", "d/a/f", "d/b", "d/sub/deep/f"] {
        case.file(file, "lower");
    }
    for file in ["outside/canary", "outside/f", "outside/dir/f", "outside/dir/b"] {
        case.file(file, TOKEN);
    }
    let hostile = Hostile::new(nth, &case.path("outside"));
    (case, hostile)
}

/// Runs a command with a time limit.
fn run(mut command: Command, what: &str) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |from: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (status, bytes) = std::thread::scope(|scope| {
        let stdout = scope.spawn(|| read(&mut stdout));
        let stderr = scope.spawn(|| read(&mut stderr));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if start.elapsed() > HANG {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        (status, [stdout.join().unwrap(), stderr.join().unwrap()].concat())
    });
    let said = String::from_utf8_lossy(&bytes);
    let status = status.unwrap_or_else(|| panic!("{what} hangs: {said}"));
    assert_eq!(status.signal(), None, "{what}: {said}");
    assert_ne!(status.code(), Some(PANICKED), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert!(!holds_token(&bytes), "{what} prints what lies outside: {said}");
    // These commands print names, and no content of files.
    assert!(!bytes.contains(&0x1b), "{what} prints an escape: {said:?}");
}

#[test]
fn hostile_upper_cannot_escape_hang_or_panic_a_command() {
    let cat = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/cat.wasm");
    for nth in 0..cases() {
        let (case, mut hostile) = furnished(nth);
        hostile.upper(&case.path("up"));
        let before = record(&case.path("outside"));
        let commands: &[&[&str]] = &[
            &["diff", "up", "--lower", "d"],
            &["diff", "up", "--lower", "d", "--json"],
            &["export", "up", "--output", "out.tar"],
            &["run", "--overlay", "d::/", "--upper", "up", cat, "f", "a/f", "b", "sub/f", "d/f"],
            &["commit", "up", "--lower", "d", "--dry-run"],
            &["commit", "up", "--lower", "d", "--keep"],
            &["commit", "up", "--lower", "d"],
            &["import", "out.tar", "up"],
            &["discard", "up"],
            &["import", "out.tar", "fresh"],
            &["diff", "fresh", "--lower", "d"],
        ];
        for args in commands {
            let what = format!("{}{args:?}", hostile.log);
            run(case.command(args), &what);
            assert_eq!(record(&case.path("outside")), before, "{what}");
            assert_eq!(leaked_into(&case.path("d")), Vec::<PathBuf>::new(), "{what}");
            let archive = std::fs::read(case.path("out.tar")).unwrap_or_default();
            assert!(!holds_token(&archive), "{what}: the archive has what lies outside");
        }
    }
}

/// Performs each operation on each name of the generator. `seen` collects the bytes that are read.
fn use_everything(root: &DirRef, seen: &mut Vec<u8>) {
    let names = ["a", "b", "d", "f", "sub", ".wh.f", "#0", "upper"];
    let mut paths: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for one in names {
        paths.extend(names.iter().map(|other| format!("{one}/{other}")));
    }
    for at in &paths {
        let _ = path::stat(&**root, at, Follow::Yes);
        let _ = path::read_link(&**root, at);
        let flags = [OpenFlags::empty(), OpenFlags::CREATE];
        for (access, flags) in [Access::Read, Access::ReadWrite].into_iter().zip(flags) {
            match path::open(&**root, at, Follow::Yes, OpenHow::new(access, flags)) {
                Ok(Node::File(file)) => {
                    let _ = file.read_vec(seen, 4096, 0);
                    let _ = file.append(&[std::io::IoSlice::new(b"guest")]);
                }
                Ok(Node::Dir(dir)) => {
                    let _ = dir.read_dir(Cookie::START, &mut |entry| {
                        seen.extend(entry.name.as_str().bytes());
                        std::ops::ControlFlow::Continue(())
                    });
                }
                Err(_) => {}
            }
        }
        let _ = path::set_times(&**root, at, Follow::Yes, SetTimes::default());
        let _ = path::create_dir(&**root, &format!("{at}/new"));
        let _ = path::link(&**root, at, &**root, "linked");
        let _ = path::rename(&**root, at, &**root, "moved");
        let _ = path::rename(&**root, "moved", &**root, at);
        let _ = path::remove_file(&**root, "linked");
    }
    for at in &paths {
        let _ = path::remove_file(&**root, at);
        let _ = path::remove_dir(&**root, at);
    }
}

/// The overlay caches names of the upper before it becomes hostile.
#[test]
fn upper_made_hostile_while_open_cannot_escape() {
    for nth in 0..cases() {
        let (case, mut hostile) = furnished(nth);
        std::fs::create_dir(case.path("up")).unwrap();
        let layer = HostUpper::open_ambient(&case.path("up")).unwrap();
        let lower = HostDir::open_ambient(&case.path("d")).unwrap();
        let lowers = Lowers::of(lower);
        let overlay = Overlay::new(layer.clone(), &lowers).unwrap();
        let root = overlay.root();
        let mut seen = Vec::new();
        for at in ["a", "d", "f", "sub"] {
            let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
            let _ = path::create_dir(&*root, at);
            let _ = path::open(&*root, &format!("{at}/f"), Follow::Yes, how);
            let _ = path::stat(&*root, at, Follow::Yes);
        }
        let before = record(&case.path("outside"));
        // The generator replaces existing nodes.
        let upper = case.path("up/upper");
        for name in ["a", "f", "sub", "d/f"] {
            if hostile.below(3) > 0 {
                let at = upper.join(name);
                let _ = std::fs::rename(&at, case.path(&format!("away-{}", name.len())));
                if at.symlink_metadata().is_err() && at.parent().unwrap().is_dir() {
                    hostile.node(&at, 2);
                }
            }
        }
        hostile.fill(&upper, 1);
        use_everything(&root, &mut seen);
        let _ = diff(&layer, &lowers);
        std::fs::create_dir(case.path("target")).unwrap();
        let target = HostDir::open_ambient(&case.path("target")).unwrap();
        let _ = commit(&layer, &target, &mut |_| {});
        let _ = root.stat(Descent::HERE);
        assert!(!holds_token(&seen), "{}", hostile.log);
        assert_eq!(record(&case.path("outside")), before, "{}", hostile.log);
        for dir in ["d", "target", "up"] {
            let leaked = leaked_into(&case.path(dir));
            assert_eq!(leaked, Vec::<PathBuf>::new(), "{}", hostile.log);
        }
    }
}
