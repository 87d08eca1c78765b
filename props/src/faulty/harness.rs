//! Repeats a script with the fault one call later each time, until a run meets no fault.
//!
//! After an operation that met a fault: if it failed, the tree is unchanged (names, bytes,
//! identities, link counts and times); otherwise the tree is the new one. A failed operation is
//! retried while the fault lasts and must leave the tree unchanged each time. Then the fault is
//! disarmed, the operation and the rest of the script must have their normal outcomes, and the
//! lowers must be unchanged.
//!
//! The errno of a failed operation must be that of its first failing call.

use palisade_vfs::{Access, Errno, Follow, OpenFlags};
use proptest::strategy::{Strategy, ValueTree};

use super::{Faults, Kinds};
use crate::live::Run;
use crate::model::Model;
use crate::op::Op;
use crate::outcome::Outcome;
use crate::overlay::{Bench, OverlaySubject, Stack, Stacks};
use crate::record::Record;
use crate::report::Fault;
use crate::script::Line;

/// The maximum number of fault positions in a script, far above those of any script.
const FAULTS_MAX: u64 = 100_000;

/// Statistics of fault injection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultStats {
    /// The number of injected faults.
    pub faults: u64,
    /// The number of faults that made their operation fail.
    pub reported: u64,
}

/// The number of attempts of an operation while the fault lasts.
const TRIES_MAX: u32 = 3;

/// The calls that fail, their errno, and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The calls that are counted.
    pub kinds: Kinds,
    /// The errno of the first failing call of an operation.
    pub errno: Errno,
    /// The number of consecutive failing calls; [`Faults::FOREVER`] fails all.
    pub calls: u64,
}

impl Outage {
    /// Faults of one call, of a few calls (so that some fail a rollback), and of all calls.
    const LASTING: [u64; 3] = [1, 3, Faults::FOREVER];

    fn all() -> impl Iterator<Item = Outage> {
        let kinds = [
            (Kinds::Changes, Errno::Nospc),
            (Kinds::Changes, Errno::Dquot),
            (Kinds::All, Errno::Io),
        ];
        let outage = move |calls| kinds.map(|(kinds, errno)| Outage { kinds, errno, calls });
        Self::LASTING.into_iter().flat_map(outage)
    }
}

/// Injects a fault at each position of a script, one position per run.
///
/// # Errors
///
/// The first run that violates the property, with the position of the fault.
pub fn inject_faults(
    subject: &dyn OverlaySubject,
    stack: &Stack,
    outage: Outage,
) -> Result<FaultStats, Fault> {
    let mut survived = FaultStats::default();
    // The first run has no fault and measures the space in use at the end.
    let mut used = None;
    for nth in 0..FAULTS_MAX {
        let mut run = Faulted { subject, stack, nth, outage, at: None, met: FaultsMet::default() };
        let ended = run.run().and_then(|now| {
            if used.is_some() && now != used {
                return Err(format!("{now:?} bytes are used in the end instead of {used:?}"));
            }
            used = now;
            Ok(())
        });
        if let Err(what) = ended {
            let calls = if outage.calls == Faults::FOREVER {
                "all calls".to_owned()
            } else {
                format!("{} calls", outage.calls)
            };
            return Err(Fault {
                case: format!(
                    "{calls} of the upper from number {nth} on fail, first with {}",
                    outage.errno.name()
                ),
                what,
                script: stack.marked(run.at),
            });
        }
        if !run.met.is_hit && nth > 0 {
            return Ok(survived);
        }
        survived.faults += u64::from(run.met.is_hit);
        survived.reported += u64::from(run.met.is_reported);
    }
    Ok(survived)
}

/// Injects faults of each kind and duration at each position of each stack.
///
/// # Panics
///
/// With the run that violates the property, or if no fault was injected.
pub fn assert_fault_tolerant(subject: &dyn OverlaySubject, stacks: &[&str]) {
    let mut survived = FaultStats::default();
    for text in stacks {
        let stack = match Stack::parse(text) {
            Ok(stack) => stack,
            Err(why) => panic!("{why}: {text}"),
        };
        for outage in Outage::all() {
            match inject_faults(subject, &stack, outage) {
                Ok(more) => {
                    survived.faults += more.faults;
                    survived.reported += more.reported;
                }
                Err(fault) => panic!("{}: {fault}", subject.name()),
            }
        }
    }
    assert!(survived.reported > 0, "{}: no fault was ever met: {survived:?}", subject.name());
}

/// Injects faults of each duration at each position of `runs` generated stacks.
///
/// # Panics
///
/// With the run that violates the property, or if no fault was injected.
pub fn assert_fault_tolerant_runs(subject: &dyn OverlaySubject, runs: u32) {
    let mut runner = crate::runner(runs);
    let mut survived = FaultStats::default();
    for _ in 0..runs {
        let Ok(made) = Stacks(subject.holds()).new_tree(&mut runner) else {
            panic!("no stack can be made");
        };
        let stack = made.current();
        for calls in Outage::LASTING {
            let outage = Outage { kinds: Kinds::All, errno: Errno::Io, calls };
            match inject_faults(subject, &stack, outage) {
                Ok(more) => survived.reported += more.reported,
                Err(fault) => panic!("{}: {fault}", subject.name()),
            }
        }
    }
    assert!(survived.reported > 0, "{}: no fault was ever met: {survived:?}", subject.name());
}

struct Faulted<'s> {
    subject: &'s dyn OverlaySubject,
    stack: &'s Stack,
    nth: u64,
    outage: Outage,
    /// The current line.
    at: Option<usize>,
    met: FaultsMet,
}

/// The faults that a run has met.
#[derive(Default)]
struct FaultsMet {
    is_hit: bool,
    is_reported: bool,
}

/// The result of one attempt of an operation.
enum Attempt {
    /// The operation ended with the outcome of the model.
    Done,
    /// The operation failed and left the tree unchanged.
    Failed,
}

impl Faulted<'_> {
    /// Returns the space in use at the end.
    fn run(&mut self) -> Result<Option<u64>, String> {
        let faults = Faults::new(self.outage.kinds);
        let world = self
            .subject
            .fresh_faulty(&self.stack.lowers, &faults)
            .map_err(|errno| format!("there is no fresh overlay: {errno}"))?;
        let mut bench = Bench::new(world, self.subject.capabilities(), self.stack)?;
        faults.arm_for(self.nth, self.outage.calls, self.outage.errno);
        faults.pause();
        for (at, line) in self.stack.script.lines.iter().enumerate() {
            self.at = Some(at);
            for tries in 1.. {
                if tries > TRIES_MAX {
                    faults.arm(0, self.outage.errno);
                    faults.pause();
                }
                if let Attempt::Done = self.attempt(&mut bench, line, &faults)? {
                    break;
                }
            }
        }
        self.at = None;
        faults.arm(0, self.outage.errno);
        bench.check_state()?;
        Ok(bench.world.used())
    }

    fn attempt(
        &mut self,
        bench: &mut Bench,
        line: &Line,
        faults: &Faults,
    ) -> Result<Attempt, String> {
        // The snapshots between operations neither count nor fail.
        let before = snapshot(bench)?;
        faults.resume();
        let got = bench.pair.live.run(&line.op);
        faults.pause();
        if !faults.hit() {
            bench.pair.compare(line, got)?;
            return Ok(Attempt::Done);
        }
        self.met.is_hit = true;
        let errno = self.outage.errno;
        if got == Outcome::Fail(Faults::later(errno)) {
            return Err(format!(
                "it failed with {}, but the first call that failed returned {}",
                Faults::later(errno).name(),
                errno.name()
            ));
        }
        if got != Outcome::Fail(errno) {
            // The operation recovered from the fault, or fails with its normal errno.
            bench.pair.compare(line, got)?;
            bench.check_state()?;
            return Ok(Attempt::Done);
        }
        self.met.is_reported = true;
        bench.lowers_unchanged()?;
        let after = snapshot(bench)?;
        if after == before {
            return Ok(Attempt::Failed);
        }
        let half = half_done(&bench.pair.model, &line.op).and_then(|model| model.tree());
        if half.as_ref() == Some(after.tree()) {
            return Ok(match line.op {
                // The bytes were appended; the call that failed was the query of their offset.
                Op::Append(..) => {
                    bench.pair.model.run(&line.op);
                    Attempt::Done
                }
                _ => Attempt::Failed,
            });
        }
        Err(format!("it failed with {}, and left:\n{}", errno.name(), before.diff(&after)))
    }
}

/// Returns the permitted intermediate state of a failed operation that consists of two operations
/// on the overlay.
fn half_done(model: &Model, op: &Op) -> Option<Model> {
    let first = match op {
        Op::Put(at, _) => {
            let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
            Op::Open(at.clone(), Access::Write, flags, Follow::Yes)
        }
        Op::Append(..) => op.clone(),
        _ => return None,
    };
    let mut model = model.clone();
    model.run(&first);
    Some(model)
}

fn snapshot(bench: &Bench) -> Result<Record, String> {
    let record = Record::of(&*bench.world.root);
    record.map(Record::without_volatile).map_err(|errno| format!("it shows no tree: {errno}"))
}
