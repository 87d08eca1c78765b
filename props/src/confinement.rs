//! The escape oracle. It knows nothing of what an operation means; it looks at the world.
//!
//! The root of the filesystem under test lies in `outer/root`, beside `outer/canary`, which holds
//! a token that nobody can guess. Hostile runs are let loose. Afterwards
//! 1. all of `outer` but what is in the root is what it was: names, bytes, times, link counts;
//! 2. neither the token nor the identity of anything outside was in any answer;
//! 3. no descriptor of this process leads to `outer` but into the root, nor to the host's root;
//!
//! and all of it again while a mover exchanges directories of the root for links that lead out.
//! What a guest sees while a mover is at work is nobody's to predict, so nothing else is compared.

// The eye that looks from outside is the one place that may.
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

/// Whether somebody moves things about meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mover {
    /// Nobody does.
    Absent,
    /// Another thread exchanges directories for links that lead out, all the time.
    Busy,
}

/// What a hunt came upon, beside no escape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Operations that were refused as escapes.
    pub escapes: u64,
    /// Operations that succeeded.
    pub successes: u64,
    /// Exchanges that the mover made.
    pub moves: u64,
}

/// Lets `runs` hostile runs loose on what `open` makes of a directory of the host. Each starts
/// with an empty root.
///
/// Errors: how something got out, and the script; or what kept the oracle from looking.
pub fn hunt(
    open: &dyn Fn(&Path) -> io::Result<DirRef>,
    mover: Mover,
    runs: u32,
) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut runner = crate::runner(runs);
    for _ in 0..runs {
        let tree = Runs(Flavor::Hostile).new_tree(&mut runner).map_err(|why| why.to_string())?;
        let ops = tree.current();
        let result = one_run(open, mover, &ops, &mut tally);
        result.map_err(|why| format!("{why}:\n{}", marked(&Script::of_ops(&ops), None)))?;
    }
    Ok(tally)
}

/// Runs `ops` and looks at the world.
///
/// Errors: as for [`hunt`].
pub fn one_run(
    open: &dyn Fn(&Path) -> io::Result<DirRef>,
    mover: Mover,
    ops: &[Op],
    tally: &mut Tally,
) -> Result<(), String> {
    let world = Outer::new().map_err(|why| why.to_string())?;
    let before = world.outside().map_err(|why| why.to_string())?;
    let stop = AtomicBool::new(false);
    let moves = AtomicU64::new(0);
    let result = std::thread::scope(|scope| {
        let dir = open(&world.root).map_err(|why| why.to_string())?;
        let mut live = Live::new(dir);
        if mover == Mover::Busy {
            scope.spawn(|| while_moving(&world.root, &stop, &moves));
        }
        let result = world.let_loose(&mut live, ops, mover, tally);
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

/// How often a run is repeated while a mover is at work: a race is lost only now and then.
const ROUNDS: u32 = 4;
/// What the mover exchanges, all beneath the root.
const EXCHANGES: [(&str, &str); 3] = [("a", "out"), ("a/b", "out_a"), ("b", "a/out")];

struct Outer {
    _temp: tempfile::TempDir,
    outer: PathBuf,
    root: PathBuf,
    token: String,
    /// Identities that no answer may have.
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

    /// One line for each node outside the root, with all that may not change.
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

    fn let_loose(
        &self,
        live: &mut Live,
        ops: &[Op],
        mover: Mover,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let rounds = if mover == Mover::Busy { ROUNDS } else { 1 };
        for round in 0..rounds {
            if mover == Mover::Busy {
                // A guest that makes ways out, so that there is something to exchange.
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
                    self.judge(&live.run(&Op::parse(line)?), round, tally)?;
                }
            }
            for op in ops {
                self.judge(&live.run(op), round, tally)?;
            }
        }
        Ok(())
    }

    fn judge(&self, outcome: &Outcome, round: u32, tally: &mut Tally) -> Result<(), String> {
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

    /// Descriptors of other tests of this process lead elsewhere, and are none of ours.
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

fn while_moving(root: &Path, stop: &AtomicBool, moves: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        for (one, two) in EXCHANGES {
            let (one, two) = (root.join(one), root.join(two));
            if rustix::fs::renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).is_ok() {
                moves.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
