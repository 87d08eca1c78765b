//! A script is run again and again, with the fault one operation later each time, until a run ends
//! untouched.
//!
//! After the operation that the fault fell into, the tree is the old one if it failed: names,
//! bytes, identities, numbers of names and times. If it did not fail, it is the new one. Tried once
//! more it comes to what it would have come to, so does the rest of the script, and the lowers are
//! as they were.

use palisade_vfs::{Access, Errno, Follow, OpenFlags};

use super::{Faults, Kinds};
use crate::live::Run;
use crate::model::Model;
use crate::op::Op;
use crate::outcome::Outcome;
use crate::overlay::{Bench, OverlaySubject, Stack};
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

/// Puts a fault into each place of a script, in turn.
///
/// Errors: the first run in which something was lost. It says where the fault fell.
pub fn survive(
    subject: &dyn OverlaySubject,
    stack: &Stack,
    kinds: Kinds,
    errno: Errno,
) -> Result<Survived, Fault> {
    let mut survived = Survived::default();
    // The first run is whole, and tells how much room the end takes.
    let mut used = None;
    for nth in 0..FAULTS_MAX {
        let mut run = Faulted { subject, stack, nth, errno, kinds, at: None };
        let ended = run.run().and_then(|(ended, now)| {
            if used.is_some() && now != used {
                return Err(format!("{now:?} bytes are used in the end instead of {used:?}"));
            }
            used = now;
            Ok(ended)
        });
        match ended {
            Ok(Ended::Untouched) if nth > 0 => return Ok(survived),
            Ok(Ended::Untouched) => {}
            Ok(Ended::Hit { reported }) => {
                survived.faults += 1;
                survived.reported += u64::from(reported);
            }
            Err(what) => {
                return Err(Fault {
                    case: format!("operation {nth} of the upper fails with {}", errno.name()),
                    what,
                    script: stack.marked(run.at),
                });
            }
        }
    }
    Ok(survived)
}

/// Puts faults of every kind into each place of each stack.
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
        for (kinds, errno) in [
            (Kinds::Changes, Errno::Nospc),
            (Kinds::Changes, Errno::Dquot),
            (Kinds::All, Errno::Io),
        ] {
            match survive(subject, &stack, kinds, errno) {
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

struct Faulted<'s> {
    subject: &'s dyn OverlaySubject,
    stack: &'s Stack,
    nth: u64,
    errno: Errno,
    kinds: Kinds,
    /// The line that is being run.
    at: Option<usize>,
}

enum Ended {
    Untouched,
    Hit { reported: bool },
}

impl Faulted<'_> {
    /// How it ended, and how much room is used.
    fn run(&mut self) -> Result<(Ended, Option<u64>), String> {
        let faults = Faults::new(self.kinds);
        let world = self
            .subject
            .fresh_faulty(&self.stack.lowers, &faults)
            .map_err(|errno| format!("there is no fresh overlay: {errno}"))?;
        let mut bench = Bench::new(world, self.subject.promises(), self.stack)?;
        let mut ended = Ended::Untouched;
        let mut left = self.nth;
        for (at, line) in self.stack.script.lines.iter().enumerate() {
            self.at = Some(at);
            if !matches!(ended, Ended::Untouched) {
                bench.pair.step(line)?;
                continue;
            }
            let before = look(&bench)?;
            // Looks between the lines do not count.
            faults.arm(left, self.errno);
            let got = bench.pair.live.run(&line.op);
            if !faults.hit() {
                left = faults.left();
                faults.arm(0, self.errno);
                bench.pair.compare(line, got)?;
                continue;
            }
            let reported = got == Outcome::Fail(self.errno);
            self.settle(&mut bench, line, got, &before)?;
            ended = Ended::Hit { reported };
        }
        self.at = None;
        bench.settled()?;
        Ok((ended, bench.world.used()))
    }

    /// After the operation that the fault fell into.
    fn settle(
        &self,
        bench: &mut Bench,
        line: &Line,
        got: Outcome,
        before: &Record,
    ) -> Result<(), String> {
        if got != Outcome::Fail(self.errno) {
            // It found another way, or had failed before it came to that.
            bench.pair.compare(line, got)?;
            return bench.settled();
        }
        bench.lowers_unchanged()?;
        let after = look(bench)?;
        if after == *before {
            // And once more, whole.
            return bench.pair.step(line);
        }
        let half = half_done(&bench.pair.model, &line.op).and_then(|model| model.tree());
        if half.as_ref() == Some(after.tree()) {
            return match line.op {
                // The bytes are there; what failed was the question where they are.
                Op::Append(..) => {
                    bench.pair.model.run(&line.op);
                    Ok(())
                }
                _ => bench.pair.step(line),
            };
        }
        Err(format!("it failed with {}, and left:\n{}", self.errno.name(), before.diff(&after)))
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
