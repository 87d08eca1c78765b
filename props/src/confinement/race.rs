//! A race test: each operation on paths, while another thread swaps the nodes at these paths.
//!
//! The swaps exchange directories and files for symbolic links that lead outside, for FIFOs and for
//! each other, and rename the ancestors. Each swap is followed by its reverse, so that each path
//! leads inside about half of the time. A counter is incremented after each swap; an operation
//! during which the counter changed has raced. [`Races`] counts these operations by outcome.
//!
//! The test is bounded by operations instead of time, and the guest waits for the mover if too few
//! swaps were made, so that the coverage does not depend on the number of processors.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_vfs::{DirRef, Errno};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

use super::{HuntStats, Outer};
use crate::live::{Live, Run};
use crate::op::Op;

/// The end of a race test.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// After at least this number of operations, and further ones until each verb has raced.
    Operations(u64),
    /// After at least this time.
    Time(Duration),
}

/// Counts of the outcomes of one verb.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    /// Operations.
    pub ran: u64,
    /// Operations during which a swap happened.
    pub raced: u64,
    /// Raced operations that succeeded.
    pub raced_inside: u64,
    /// Raced operations that were refused as escapes.
    pub raced_escapes: u64,
    /// Operations that succeeded.
    pub inside: u64,
    /// Operations that failed.
    pub refused: u64,
}

/// The result of a race test.
#[derive(Clone, Debug, Default)]
pub struct Races {
    /// The counts of each verb, the first word of an operation.
    pub by_verb: BTreeMap<String, Outcomes>,
    /// The number of swaps by the mover.
    pub swaps: u64,
}

impl Races {
    /// Returns the sum over all verbs.
    #[must_use]
    pub fn total(&self) -> Outcomes {
        self.by_verb.values().fold(Outcomes::default(), |sum, one| Outcomes {
            ran: sum.ran + one.ran,
            raced: sum.raced + one.raced,
            raced_inside: sum.raced_inside + one.raced_inside,
            raced_escapes: sum.raced_escapes + one.raced_escapes,
            inside: sum.inside + one.inside,
            refused: sum.refused + one.refused,
        })
    }
}

/// A swap of two names.
#[derive(Clone, Copy)]
enum Swap {
    /// Exchanges both names.
    Exchange(&'static str, &'static str),
    /// Renames one name to the other, and back.
    Move(&'static str, &'static str),
}

const SWAPS: &[Swap] = &[
    // A directory with a symbolic link that leads outside, to a directory with the same names.
    Swap::Exchange("d", "out"),
    Swap::Exchange("d/s", "d/out_s"),
    Swap::Exchange("d", "abs"),
    // A file with a symbolic link that leads outside.
    Swap::Exchange("d/f", "d/out_f"),
    Swap::Exchange("d/s/f", "d/s/abs_f"),
    // A file with a FIFO and with a directory.
    Swap::Exchange("d/f", "fifo"),
    Swap::Exchange("d/f", "e"),
    // An ancestor with another directory, with a deeper one, and with none.
    Swap::Exchange("d", "far/d"),
    Swap::Exchange("d/s", "far/d/s"),
    Swap::Move("d", "far/moved"),
    Swap::Move("d/s", "s"),
];

/// Operations on swapped paths. `{N}` is a handle that was opened before.
const OPERATIONS: &[&str] = &[
    "read d/f",
    "read d/s/f",
    "read d/s/../f",
    "read d/../d/s/f",
    "read in/f",
    "read far/../d/f",
    "write d/f \"x\"",
    "write d/s/f \"x\"",
    "write d/s/new \"x\"",
    "unlink d/s/new",
    "open d/f hold",
    "open d/f rdwr",
    "open d/s/f write trunc",
    "open d/s/f rdwr create",
    "open d/s/made write create excl",
    "unlink d/s/made",
    "open d/f read nofollow",
    "stat d/f",
    "stat d/s",
    "stat d/s/f",
    "stat d/s/..",
    "lstat d/f",
    "lstat d/s/f",
    "utimes d/f 1.0 2.0",
    "utimes d/s 1.0 2.0",
    "lutimes d/s/f now now",
    "readdir d",
    "readdir d/s",
    "readlink d/s/link",
    "readlink d",
    "mkdir d/made",
    "mkdir d/s/made",
    "rmdir d/s/made",
    "rmdir d/made",
    "symlink d/s/new -> f",
    "unlink d/s/new",
    "link d/f d/s/again",
    "link d/s/f again",
    "link again d/s/third",
    "unlink again",
    "unlink d/s/again",
    "unlink d/s/third",
    "rename d/f d/s/f",
    "rename d/s/f d/f",
    "rename d/f moved",
    "rename moved d/s/f",
    "rename d/s sub",
    "rename sub d/s",
    "unlink d/f",
    "rmdir d/s",
];

/// Operations on an opened file.
const ON_FILE: &[&str] =
    &["fread 0 32 0", "fwrite 0 \"x\" 0", "fappend 0 \"x\"", "fsetlen 0 1", "fstat 0", "close 0"];

/// The maximum time that the guest waits for the mover.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The factor by which a test may exceed its budget until each verb has raced.
const PATIENCE: u64 = 100;
/// The number of rounds between two checks of the oracle.
const ROUNDS_PER_CHECK: u64 = 50;

/// The mover, with the state that it shares with the guest.
struct Mover {
    base: PathBuf,
    /// Held during each swap and while the tree is rebuilt.
    turn: Mutex<()>,
    swaps: AtomicU64,
    stop: AtomicBool,
}

impl Mover {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            for swap in SWAPS {
                self.swap(*swap, Direction::There);
                self.swap(*swap, Direction::Back);
            }
        }
    }

    fn swap(&self, swap: Swap, direction: Direction) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to, flags) = match (swap, direction) {
            (Swap::Exchange(one, other), _) => (one, other, RenameFlags::EXCHANGE),
            (Swap::Move(one, other), Direction::There) => (one, other, RenameFlags::NOREPLACE),
            (Swap::Move(one, other), Direction::Back) => (other, one, RenameFlags::NOREPLACE),
        };
        if self.rename(from, to, flags).is_ok() {
            self.swaps.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> rustix::io::Result<()> {
        let ((from_dir, from), (to_dir, to)) = (self.parent(from)?, self.parent(to)?);
        rustix::fs::renameat_with(from_dir, from, to_dir, to, flags)
    }

    /// Opens the parent directory and returns it with the name. Does not follow symbolic links, so
    /// that the mover never changes nodes outside.
    fn parent<'p>(&self, path: &'p str) -> rustix::io::Result<(OwnedFd, &'p str)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = rustix::fs::openat(CWD, &self.base, flags, Mode::empty())?;
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in above.split('/').filter(|part| !part.is_empty()) {
            dir = rustix::fs::openat(&dir, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok((dir, name))
    }

    /// Rebuilds the tree from any state.
    fn build(&self, token_at: &Path) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in std::fs::read_dir(&self.base)? {
            let entry = entry?;
            // Symbolic links are removed instead of followed.
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        let at = |path: &str| self.base.join(path);
        for dir in ["d", "d/s", "e", "far", "far/d", "far/d/s"] {
            std::fs::create_dir(at(dir))?;
        }
        for file in ["d/f", "d/s/f", "far/d/f", "far/d/s/f"] {
            std::fs::write(at(file), "inside")?;
        }
        let canary = token_at.to_string_lossy();
        let depth = token_at.parent().and_then(|outer| self.base.strip_prefix(outer).ok());
        let up = "../".repeat(depth.map_or(1, |inside| inside.components().count()));
        for (link, target) in [
            ("out", format!("{up}canary")),
            ("d/out_s", format!("../{up}canary/dir")),
            ("abs", canary.to_string()),
            ("d/out_f", format!("../{up}canary/f")),
            ("d/s/abs_f", format!("{canary}/f")),
            ("d/s/link", "f".to_owned()),
            ("in", "d/s".to_owned()),
        ] {
            symlink(target, at(link))?;
        }
        rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o600))?;
        Ok(())
    }

    /// Waits for a swap since `before`.
    fn keep_up(&self, before: u64) -> Result<(), String> {
        let start = Instant::now();
        while self.swaps.load(Ordering::SeqCst) == before {
            if start.elapsed() > WAIT_MAX {
                return Err("the mover swaps nothing any more".to_owned());
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Direction {
    There,
    Back,
}

/// Runs each operation concurrently with a mover. `open` creates a filesystem on a directory of the
/// host. The mover works in its subdirectory `within`, which must be the root of the filesystem or
/// be visible there.
///
/// # Errors
///
/// A description of the escape, or of an error of the oracle itself.
pub fn race(
    open: &dyn Fn(&Path) -> io::Result<DirRef>,
    within: &str,
    budget: Budget,
) -> Result<Races, String> {
    let text = |why: io::Error| why.to_string();
    let world = Outer::new().map_err(text)?;
    let base = world.root.join(within);
    std::fs::create_dir_all(&base).map_err(text)?;
    let mover = Mover {
        base,
        turn: Mutex::new(()),
        swaps: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let canary = world.outer.join("canary");
    mover.build(&canary).map_err(text)?;
    let before = world.outside().map_err(text)?;
    let operations = OPERATIONS.iter().map(|line| Op::parse(line).map(|op| (*line, op)));
    let operations = operations.collect::<Result<Vec<_>, _>>()?;
    let mut guest = Guest { world: &world, open, races: Races::default() };
    let result = std::thread::scope(|scope| {
        scope.spawn(|| mover.run());
        let result = guest.run(&mover, &canary, budget, &operations, &before);
        mover.stop.store(true, Ordering::Relaxed);
        result
    });
    result?;
    guest.races.swaps = mover.swaps.into_inner();
    Ok(guest.races)
}

struct Guest<'w> {
    world: &'w Outer,
    open: &'w dyn Fn(&Path) -> io::Result<DirRef>,
    races: Races,
}

impl Guest<'_> {
    fn run(
        &mut self,
        mover: &Mover,
        canary: &Path,
        budget: Budget,
        operations: &[(&str, Op)],
        before: &std::collections::BTreeSet<String>,
    ) -> Result<(), String> {
        let (start, mut ran, mut round) = (Instant::now(), 0_u64, 0_u64);
        loop {
            let is_over = match budget {
                Budget::Operations(operations) => {
                    ran >= operations && (self.has_raced() || ran >= operations * PATIENCE)
                }
                Budget::Time(time) => start.elapsed() >= time,
            };
            if is_over || round % ROUNDS_PER_CHECK == ROUNDS_PER_CHECK - 1 {
                let after = self.world.outside().map_err(|why| why.to_string())?;
                if let Some(line) = before.symmetric_difference(&after).next() {
                    return Err(format!("something outside changed: {line}"));
                }
                self.world.descriptors()?;
            }
            if is_over {
                return Ok(());
            }
            mover.build(canary).map_err(|why| why.to_string())?;
            // Reopened in each round, because an overlay's upper hides removed nodes permanently.
            let dir = (self.open)(&self.world.root).map_err(|why| why.to_string())?;
            let mut live = Live::new(dir);
            let swaps = mover.swaps.load(Ordering::SeqCst);
            for (line, op) in operations {
                self.operate(mover, &mut live, line, op)?;
                ran += 1;
            }
            mover.keep_up(swaps)?;
            round += 1;
        }
    }

    /// Returns whether an operation raced, and each verb both succeeded and failed.
    fn has_raced(&self) -> bool {
        let mut all = self.races.by_verb.values();
        self.races.total().raced > 0 && all.all(|one| one.inside > 0 && one.refused > 0)
    }

    fn operate(
        &mut self,
        mover: &Mover,
        live: &mut Live,
        line: &str,
        op: &Op,
    ) -> Result<(), String> {
        let before = mover.swaps.load(Ordering::SeqCst);
        let outcome = live.run(op);
        let has_raced = mover.swaps.load(Ordering::SeqCst) != before;
        let checked = self.world.check_outcome(&outcome, 0, &mut HuntStats::default());
        checked.map_err(|why| format!("{line}: {why}"))?;
        let verb = line.split(' ').next().unwrap_or_default();
        let counts = self.races.by_verb.entry(verb.to_owned()).or_default();
        counts.ran += 1;
        counts.raced += u64::from(has_raced);
        match outcome.errno() {
            None => {
                counts.inside += 1;
                counts.raced_inside += u64::from(has_raced);
            }
            Some(errno) => {
                counts.refused += 1;
                counts.raced_escapes += u64::from(has_raced && errno == Errno::Escape);
            }
        }
        while let Some(last) = live.dirs().len().checked_sub(1).filter(|last| *last > 0) {
            live.run(&Op::CloseDir(u8::try_from(last).unwrap_or(u8::MAX)));
        }
        while !live.files().is_empty() {
            for line in ON_FILE {
                let outcome = live.run(&Op::parse(line)?);
                self.world.check_outcome(&outcome, 0, &mut HuntStats::default())?;
            }
        }
        Ok(())
    }
}
