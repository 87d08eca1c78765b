//! Many threads on one filesystem at once; and afterwards it must agree with itself.
//!
//! What each operation comes to depends on the others, so it is not looked at. That nobody panics
//! or waits for ever, and that names, numbers and listings agree in the end, does not depend on
//! anything.

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

/// How hard.
#[derive(Clone, Copy, Debug)]
pub struct Blows {
    /// Threads.
    pub threads: usize,
    /// Runs of operations that each thread makes. All begin from what the others left.
    pub rounds: usize,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hammered {
    /// Operations.
    pub ops: u64,
    /// Those that succeeded.
    pub successes: u64,
}

/// Runs operations on `root` from many threads, and looks at what they leave.
///
/// # Panics
/// If one of them does.
///
/// Errors: the first disagreement ([`consistent`]), in a sentence.
pub fn hammer(root: &DirRef, blows: Blows) -> Result<Hammered, String> {
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
    Ok(Hammered { ops: ops.load(Ordering::Relaxed), successes: successes.load(Ordering::Relaxed) })
}

/// # Panics
/// If what the threads leave does not agree with itself, or if they did nothing.
pub fn assert_withstands(root: &DirRef, blows: Blows) {
    match hammer(root, blows) {
        Ok(done) => assert!(done.successes > 0, "{done:?}"),
        Err(what) => panic!("after {blows:?}: {what}"),
    }
}

/// Whether the file that an operation may leave can be looked at in the end.
fn short(op: &Op) -> bool {
    const LONG: u64 = 1 << 20;
    match op {
        Op::Write(_, _, offset) => *offset < LONG,
        Op::SetLen(_, len) => *len < LONG,
        Op::Allocate(_, offset, len) => offset.saturating_add(*len) < LONG,
        _ => true,
    }
}
