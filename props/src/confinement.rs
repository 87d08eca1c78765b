//! The escape oracle: checks from outside that a confined filesystem does not leave its root.
//!
//! The root of the filesystem under test is `outer/root`, next to `outer/canary`, which contains
//! an unguessable token. After hostile operations have run, the oracle checks that
//! 1. everything in `outer` except the root is unchanged: names, bytes, times, link counts;
//! 2. no outcome contained the token or the identity of a node outside;
//! 3. no descriptor of this process refers to `outer` outside the root, or to the root of the host.
//!
//! All checks are repeated while another thread (the mover) exchanges directories of the root for
//! symbolic links that lead outside. The outcomes of operations are unpredictable meanwhile, so
//! nothing else is compared.

// This module observes the host from outside, so it may use `std::fs`.
#![allow(clippy::disallowed_methods)]

pub mod race;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_vfs::DirRef;
use proptest::strategy::{Strategy, ValueTree};
use rustix::fs::{CWD, RenameFlags};

use crate::ambient::nodes;
use crate::generate::{Flavor, Runs};
use crate::live::{Live, Run};
use crate::op::Op;
use crate::outcome::Outcome;
use crate::run::marked;
use crate::script::Script;

/// Whether another thread modifies the tree concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mover {
    /// No other thread runs.
    Absent,
    /// Another thread continuously exchanges directories for symbolic links that lead outside.
    Busy,
}

/// Statistics of a hunt without an escape.
#[derive(Clone, Copy, Debug, Default)]
pub struct HuntStats {
    /// The number of operations that were refused as escapes.
    pub escapes: u64,
    /// The number of successful operations.
    pub successes: u64,
    /// The number of exchanges by the mover.
    pub moves: u64,
}

/// Performs `runs` hostile runs, each on the filesystem that `open` creates on an empty directory
/// of the host.
///
/// # Errors
///
/// A description of the escape with its script, or of an error of the oracle itself.
pub fn hunt(
    open: &dyn Fn(&Path) -> io::Result<DirRef>,
    mover: Mover,
    runs: u32,
) -> Result<HuntStats, String> {
    let mut tally = HuntStats::default();
    let mut runner = crate::runner(runs);
    for _ in 0..runs {
        let tree = Runs(Flavor::Hostile).new_tree(&mut runner).map_err(|why| why.to_string())?;
        let ops = tree.current();
        let result = check_run(open, mover, &ops, &mut tally);
        result.map_err(|why| format!("{why}:\n{}", marked(&Script::of_ops(&ops), None)))?;
    }
    Ok(tally)
}

/// Runs `ops` and performs the checks of the oracle.
///
/// # Errors
///
/// As for [`hunt`].
pub fn check_run(
    open: &dyn Fn(&Path) -> io::Result<DirRef>,
    mover: Mover,
    ops: &[Op],
    tally: &mut HuntStats,
) -> Result<(), String> {
    let world = Outer::new().map_err(|why| why.to_string())?;
    let before = world.outside().map_err(|why| why.to_string())?;
    let stop = AtomicBool::new(false);
    let moves = AtomicU64::new(0);
    let result = std::thread::scope(|scope| {
        let dir = open(&world.root).map_err(|why| why.to_string())?;
        let mut live = Live::new(dir);
        if mover == Mover::Busy {
            scope.spawn(|| run_mover(&world.root, &stop, &moves));
        }
        let result = world.run_ops(&mut live, ops, mover, tally);
        let result = result.and_then(|()| world.descriptors());
        stop.store(true, Ordering::Relaxed);
        result
    });
    tally.moves += moves.into_inner();
    result?;
    let after = world.outside().map_err(|why| why.to_string())?;
    match before.symmetric_difference(&after).next() {
        None => Ok(()),
        Some(line) => Err(format!("something outside changed: {line}")),
    }
}

/// The repetitions of a run with a mover, because a race is rarely lost.
const ROUNDS: u32 = 4;
/// The pairs of paths under the root that the mover exchanges.
const EXCHANGES: [(&str, &str); 3] = [("a", "out"), ("a/b", "out_a"), ("b", "a/out")];

struct Outer {
    _temp: tempfile::TempDir,
    outer: PathBuf,
    root: PathBuf,
    token: String,
    /// The identities of nodes outside, which no outcome may contain.
    foreign: BTreeSet<(u64, u64)>,
}

impl Outer {
    fn new() -> io::Result<Outer> {
        let temp = tempfile::tempdir()?;
        let outer = temp.path().canonicalize()?.join("outer");
        let (root, canary) = (outer.join("root"), outer.join("canary"));
        let token = format!("{:016x}", RandomState::new().hash_one(&outer));
        std::fs::create_dir_all(&root)?;
        std::fs::create_dir_all(canary.join("dir"))?;
        std::fs::write(canary.join("file"), &token)?;
        std::fs::write(canary.join("f"), &token)?;
        std::fs::write(canary.join("dir").join("f"), &token)?;
        std::fs::write(canary.join("dir").join(&token), "")?;
        symlink(&token, canary.join("link"))?;
        let mut foreign = BTreeSet::new();
        for meta in nodes(&outer, &|path| path != "root")?.into_iter() {
            if meta.0 != "root" {
                foreign.insert((meta.1.dev(), meta.1.ino()));
            }
        }
        for path in [&*outer, temp.path(), Path::new("/"), Path::new("/proc"), Path::new("/etc")] {
            let meta = path.metadata()?;
            foreign.insert((meta.dev(), meta.ino()));
        }
        Ok(Outer { _temp: temp, outer, root, token, foreign })
    }

    /// Returns one line per node outside the root, with everything that must not change.
    fn outside(&self) -> io::Result<BTreeSet<String>> {
        let mut out = BTreeSet::new();
        let outer = self.outer.symlink_metadata()?;
        out.insert(format!(". {} {}", outer.mtime(), outer.mtime_nsec()));
        for (path, meta) in nodes(&self.outer, &|path| path != "root")? {
            if path == "root" {
                continue;
            }
            let whole = self.outer.join(&path);
            let bytes = match &meta {
                link if link.is_symlink() => format!("{:?}", std::fs::read_link(whole)?),
                file if file.is_file() => format!("{:?}", std::fs::read(whole)?),
                _ => String::new(),
            };
            let (seconds, nanos) = (meta.mtime(), meta.mtime_nsec());
            let id = (meta.ino(), meta.nlink(), meta.mode(), meta.len());
            out.insert(format!("{path} {seconds} {nanos} {id:?} {bytes}"));
        }
        Ok(out)
    }

    fn run_ops(
        &self,
        live: &mut Live,
        ops: &[Op],
        mover: Mover,
        tally: &mut HuntStats,
    ) -> Result<(), String> {
        let rounds = if mover == Mover::Busy { ROUNDS } else { 1 };
        for round in 0..rounds {
            if mover == Mover::Busy {
                // Creates symbolic links that lead outside, for the mover to exchange.
                for line in [
                    "mkdir a",
                    "mkdir b",
                    "mkdir a/b",
                    "symlink out -> ../canary",
                    "symlink out_a -> ../../canary",
                    "symlink a/out -> ../canary/dir",
                ] {
                    live.run(&Op::parse(line)?);
                }
                for line in ["read a/f", "read a/b/f", "write a/f \"x\"", "mkdir a/b/x"] {
                    self.check_outcome(&live.run(&Op::parse(line)?), round, tally)?;
                }
            }
            for op in ops {
                self.check_outcome(&live.run(op), round, tally)?;
            }
        }
        Ok(())
    }

    fn check_outcome(
        &self,
        outcome: &Outcome,
        round: u32,
        tally: &mut HuntStats,
    ) -> Result<(), String> {
        let leaks = match outcome {
            Outcome::Bytes(bytes) => {
                bytes.windows(self.token.len()).any(|part| part == self.token.as_bytes())
            }
            Outcome::Target(target) => target.contains(&self.token),
            Outcome::Names(names) => names.iter().any(|(name, _)| name.contains(&self.token)),
            Outcome::Stat(seen) => self.foreign.contains(&seen.id),
            Outcome::Idle | Outcome::Fail(_) | Outcome::Done | Outcome::Dir | Outcome::File => {
                false
            }
            Outcome::Wrote(_) | Outcome::Appended(..) => false,
        };
        if leaks {
            return Err(format!("something outside was seen in round {round}: {outcome}"));
        }
        match outcome.errno() {
            Some(palisade_vfs::Errno::Escape) => tally.escapes += 1,
            Some(_) => {}
            None => tally.successes += 1,
        }
        Ok(())
    }

    /// Checks the descriptors of this process. Those of other tests are outside `outer`.
    fn descriptors(&self) -> Result<(), String> {
        let fds = std::fs::read_dir("/proc/self/fd").map_err(|why| why.to_string())?;
        for fd in fds.flatten() {
            let Ok(target) = std::fs::read_link(fd.path()) else { continue };
            let inside = target.starts_with(&self.root);
            if target == Path::new("/") || (target.starts_with(&self.outer) && !inside) {
                return Err(format!("a descriptor leads to {}", target.display()));
            }
        }
        Ok(())
    }
}

fn run_mover(root: &Path, stop: &AtomicBool, moves: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        for (one, two) in EXCHANGES {
            let (one, two) = (root.join(one), root.join(two));
            if rustix::fs::renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).is_ok() {
                moves.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
