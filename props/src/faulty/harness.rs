//! Runs a script again and again, with the fault one call later each time, until a run meets none.
//!
//! After an operation that met the fault, the tree is the old one if the operation failed: names,
//! bytes, identities, link counts and times. If it did not fail, the tree is the new one. An
//! operation that failed is tried again while the fault lasts, and must leave the old tree each
//! time; then the fault ends, and the operation comes to what it would have come to, as does the
//! rest of the script, and the lowers are as they were.
//!
//! The errno of a failed operation is that of its first call that failed.

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

/// Faults in one script: far above what any script needs, so that there is an end.
const FAULTS_MAX: u64 = 100_000;

/// What the property has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survived {
    /// Faults.
    pub faults: u64,
    /// Those that the operation they fell into reported.
    pub reported: u64,
}

/// How often an operation is tried while the fault lasts.
const TRIES_MAX: u32 = 3;

/// What fails, how, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Which calls count.
    pub kinds: Kinds,
    /// What the first call of an operation that fails returns.
    pub errno: Errno,
    /// How many calls fail, one after the other; [`Faults::FOREVER`] fails all.
    pub calls: u64,
}

impl Outage {
    /// Faults of one call, of a few, so that a rollback meets some of them, and of all calls.
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

/// Puts a fault into each place of a script, in turn.
///
/// Errors: the first run in which something was lost. It says where the fault fell.
pub fn survive(
    subject: &dyn OverlaySubject,
    stack: &Stack,
    outage: Outage,
) -> Result<Survived, Fault> {
    let mut survived = Survived::default();
    // The first run is whole, and tells how much room the end takes.
    let mut used = None;
    for nth in 0..FAULTS_MAX {
        let mut run = Faulted { subject, stack, nth, outage, at: None, seen: Seen::default() };
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
        if !run.seen.is_hit && nth > 0 {
            return Ok(survived);
        }
        survived.faults += u64::from(run.seen.is_hit);
        survived.reported += u64::from(run.seen.is_reported);
    }
    Ok(survived)
}

/// Puts faults of every kind and length into each place of each stack.
///
/// # Panics
/// With the run in which something was lost; if no fault fell anywhere.
pub fn assert_survives(subject: &dyn OverlaySubject, stacks: &[&str]) {
    let mut survived = Survived::default();
    for text in stacks {
        let stack = match Stack::parse(text) {
            Ok(stack) => stack,
            Err(why) => panic!("{why}: {text}"),
        };
        for outage in Outage::all() {
            match survive(subject, &stack, outage) {
                Ok(more) => {
                    survived.faults += more.faults;
                    survived.reported += more.reported;
                }
                Err(fault) => panic!("{}: {fault}", subject.name()),
            }
        }
    }
    assert!(survived.reported > 0, "{}: no fault was ever seen: {survived:?}", subject.name());
}

/// Puts faults into each place of `runs` random stacks, as long as each lasts.
///
/// # Panics
/// With the run in which something was lost; if no fault fell anywhere.
pub fn assert_survives_runs(subject: &dyn OverlaySubject, runs: u32) {
    let mut runner = crate::runner(runs);
    let mut survived = Survived::default();
    for _ in 0..runs {
        let Ok(made) = Stacks(subject.holds()).new_tree(&mut runner) else {
            panic!("no stack can be made");
        };
        let stack = made.current();
        for calls in Outage::LASTING {
            let outage = Outage { kinds: Kinds::All, errno: Errno::Io, calls };
            match survive(subject, &stack, outage) {
                Ok(more) => survived.reported += more.reported,
                Err(fault) => panic!("{}: {fault}", subject.name()),
            }
        }
    }
    assert!(survived.reported > 0, "{}: no fault was ever seen: {survived:?}", subject.name());
}

struct Faulted<'s> {
    subject: &'s dyn OverlaySubject,
    stack: &'s Stack,
    nth: u64,
    outage: Outage,
    /// The line that is being run.
    at: Option<usize>,
    seen: Seen,
}

/// What a run has met.
#[derive(Default)]
struct Seen {
    is_hit: bool,
    is_reported: bool,
}

/// How one try of an operation ended.
enum Tried {
    /// It is done, and is what the model says.
    Done,
    /// It failed, and the tree is as it was.
    Failed,
}

impl Faulted<'_> {
    /// Returns how much room is used in the end.
    fn run(&mut self) -> Result<Option<u64>, String> {
        let faults = Faults::new(self.outage.kinds);
        let world = self
            .subject
            .fresh_faulty(&self.stack.lowers, &faults)
            .map_err(|errno| format!("there is no fresh overlay: {errno}"))?;
        let mut bench = Bench::new(world, self.subject.promises(), self.stack)?;
        faults.arm_for(self.nth, self.outage.calls, self.outage.errno);
        faults.pause();
        for (at, line) in self.stack.script.lines.iter().enumerate() {
            self.at = Some(at);
            for tries in 1.. {
                if tries > TRIES_MAX {
                    faults.arm(0, self.outage.errno);
                    faults.pause();
                }
                if let Tried::Done = self.attempt(&mut bench, line, &faults)? {
                    break;
                }
            }
        }
        self.at = None;
        faults.arm(0, self.outage.errno);
        bench.settled()?;
        Ok(bench.world.used())
    }

    fn attempt(
        &mut self,
        bench: &mut Bench,
        line: &Line,
        faults: &Faults,
    ) -> Result<Tried, String> {
        // Looks between the lines neither count nor fail.
        let before = look(bench)?;
        faults.resume();
        let got = bench.pair.live.run(&line.op);
        faults.pause();
        if !faults.hit() {
            bench.pair.compare(line, got)?;
            return Ok(Tried::Done);
        }
        self.seen.is_hit = true;
        let errno = self.outage.errno;
        if got == Outcome::Fail(Faults::later(errno)) {
            return Err(format!(
                "it failed with {}, but the first call that failed returned {}",
                Faults::later(errno).name(),
                errno.name()
            ));
        }
        if got != Outcome::Fail(errno) {
            // It found another way, or had failed before it came to that.
            bench.pair.compare(line, got)?;
            bench.settled()?;
            return Ok(Tried::Done);
        }
        self.seen.is_reported = true;
        bench.lowers_unchanged()?;
        let after = look(bench)?;
        if after == before {
            return Ok(Tried::Failed);
        }
        let half = half_done(&bench.pair.model, &line.op).and_then(|model| model.tree());
        if half.as_ref() == Some(after.tree()) {
            return Ok(match line.op {
                // The bytes are there; what failed was the question where they are.
                Op::Append(..) => {
                    bench.pair.model.run(&line.op);
                    Tried::Done
                }
                _ => Tried::Failed,
            });
        }
        Err(format!("it failed with {}, and left:\n{}", errno.name(), before.diff(&after)))
    }
}

/// What an operation may leave when it fails, besides the old tree: what stands between the two
/// steps that it takes of the overlay, if it takes two.
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

fn look(bench: &Bench) -> Result<Record, String> {
    let record = Record::of(&*bench.world.root);
    record.map(Record::essence).map_err(|errno| format!("it shows no tree: {errno}"))
}
