//! A concurrency stress test: many threads on one filesystem, then a consistency check.
//!
//! The outcome of each operation depends on the other threads, so it is ignored. The test checks
//! that no thread panics or deadlocks, and that names, inode numbers, link counts and listings are
//! consistent in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use palisade_vfs::DirRef;
use proptest::strategy::{Strategy, ValueTree};

use crate::generate::{Flavor, Runs};
use crate::live::{Live, Run};
use crate::op::Op;
use crate::outcome::Outcome;
use crate::record::consistent;

/// The amount of work.
#[derive(Clone, Copy, Debug)]
pub struct HammerLoad {
    /// The number of threads.
    pub threads: usize,
    /// The number of runs of each thread. Each run starts from the tree of the previous runs.
    pub rounds: usize,
}

/// Statistics of a stress test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HammerStats {
    /// The number of operations.
    pub ops: u64,
    /// The number of successful operations.
    pub successes: u64,
}

/// Runs operations on `root` from many threads and checks the result for consistency.
///
/// # Panics
///
/// If a thread panics.
///
/// # Errors
///
/// A description of the first inconsistency ([`consistent`]).
pub fn hammer(root: &DirRef, blows: HammerLoad) -> Result<HammerStats, String> {
    let mut runner = crate::runner(1);
    let mut scripts = Vec::new();
    for _ in 0..blows.threads {
        let mut rounds = Vec::new();
        for _ in 0..blows.rounds {
            let tree = Runs(Flavor::Plain).new_tree(&mut runner).map_err(|it| it.to_string())?;
            rounds.push(tree.current());
        }
        scripts.push(rounds);
    }
    let (ops, successes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    thread::scope(|scope| {
        for rounds in &scripts {
            let (ops, successes) = (ops.clone(), successes.clone());
            scope.spawn(move || {
                for round in rounds {
                    let mut live = Live::new(root.clone());
                    for op in round.iter().filter(|op| short(op)) {
                        let outcome = live.run(op);
                        ops.fetch_add(1, Ordering::Relaxed);
                        let fine = outcome.errno().is_none() && outcome != Outcome::Idle;
                        successes.fetch_add(u64::from(fine), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    consistent(&**root)?;
    Ok(HammerStats {
        ops: ops.load(Ordering::Relaxed),
        successes: successes.load(Ordering::Relaxed),
    })
}

/// Asserts that `root` is consistent after a stress test.
///
/// # Panics
///
/// If it is inconsistent, or if no operation succeeded.
pub fn assert_consistent_under_load(root: &DirRef, blows: HammerLoad) {
    match hammer(root, blows) {
        Ok(done) => assert!(done.successes > 0, "{done:?}"),
        Err(what) => panic!("after {blows:?}: {what}"),
    }
}

/// Returns whether the operation keeps files short enough to be read at the end.
fn short(op: &Op) -> bool {
    const LONG: u64 = 1 << 20;
    match op {
        Op::Write(_, _, offset) => *offset < LONG,
        Op::SetLen(_, len) => *len < LONG,
        Op::Allocate(_, offset, len) => offset.saturating_add(*len) < LONG,
        _ => true,
    }
}
