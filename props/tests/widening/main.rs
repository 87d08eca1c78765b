//! No sequence of allowed operations widens rights, on any stack, under random policies.

#![allow(clippy::unwrap_used)]

mod broken;
#[path = "../common/mod.rs"]
mod common;
mod policies;
mod stacks;

use std::sync::Arc;
use std::time::Instant;

use broken::Bug;
use palisade_policy::Policy;
use palisade_props::cases;
use palisade_props::widening::check;
use policies::random_policy;
use stacks::{Backend, Confinement, Fixture, stack};

/// Consecutive sequences that share a policy: compiling one takes as long as many operations.
const SEQUENCES_PER_POLICY: u64 = 8;

/// Runs sequences of operations on one kind of stack.
struct Worker {
    fixture: Fixture,
    confinement: Confinement,
    /// The number of the policies that were compiled last.
    batch: Option<u64>,
    policy: Arc<Policy>,
    /// The policy that a stack is narrowed to, if it is.
    narrower: Arc<Policy>,
}

impl Worker {
    fn new(backend: Backend, confinement: Confinement) -> Self {
        let fixture = Fixture::new(backend).unwrap();
        let [policy, narrower] = [(); 2].map(|()| Arc::new(Policy::builder().build().unwrap()));
        Worker { fixture, confinement, batch: None, policy, narrower }
    }

    /// Runs the sequence with this seed, and returns the number of its operations.
    fn run(&mut self, seed: u64) -> Result<usize, String> {
        let batch = seed / SEQUENCES_PER_POLICY;
        if self.batch != Some(batch) {
            let [policy, narrower] = [2 * batch, 2 * batch + 1].map(random_policy);
            (self.batch, self.policy, self.narrower) =
                (Some(batch), Arc::new(policy), Arc::new(narrower));
        }
        let fresh = || {
            let backend = self.fixture.fresh()?;
            stack(backend, self.confinement, &self.policy, &self.narrower)
        };
        let rights = |path: &str| self.policy.rights(self.policy.at(path));
        check(seed, &fresh, &rights).map_err(|fault| self.report(&fault))
    }

    fn report(&self, fault: &str) -> String {
        let mut report = format!("{:?}, {fault}under\n", self.confinement);
        for rule in self.policy.rules() {
            report += &format!("{rule:?}\n");
        }
        if self.confinement.is_narrowed() {
            for rule in self.narrower.rules() {
                report += &format!("narrowed by {rule:?}\n");
            }
        }
        report
    }
}

/// Returns the number in an environment variable. Three of them make a long run:
/// `PALISADE_WIDENING_OPS` is the number of operations on each stack, `PALISADE_WIDENING_SEED` the
/// first seed, and `PALISADE_WIDENING_SECONDS` a limit of the time for each stack.
fn variable(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the variables that make tests look longer")]
    let value = std::env::var(name);
    value.ok()?.parse().ok()
}

fn assert_nothing_is_widened(backend: Backend, confinement: Confinement, fallback: u32) {
    let mut worker = Worker::new(backend, confinement);
    let mut run = |seed| worker.run(seed).unwrap_or_else(|fault| panic!("{fault}"));
    let Some(ops_min) = variable("PALISADE_WIDENING_OPS") else {
        (0..u64::from(cases(fallback))).for_each(|seed| _ = run(seed));
        return;
    };
    let seconds = variable("PALISADE_WIDENING_SECONDS").unwrap_or(u64::MAX);
    let first = variable("PALISADE_WIDENING_SEED").unwrap_or(0);
    let (started, mut seed, mut ops) = (Instant::now(), first, 0);
    while ops < ops_min && started.elapsed().as_secs() < seconds {
        ops += run(seed) as u64;
        seed += 1;
    }
    let elapsed = started.elapsed().as_secs();
    let last = seed - 1;
    println!("{backend:?} {confinement:?}: {ops} operations, seeds {first} to {last}, {elapsed} s");
}

macro_rules! nothing_is_widened {
    ($($test:ident $backend:ident $confinement:ident $sequences:expr;)*) => {$(
        #[test]
        fn $test() {
            assert_nothing_is_widened(Backend::$backend, Confinement::$confinement, $sequences);
        }
    )*};
}

mod nothing_is_widened {
    use super::*;

    nothing_is_widened! {
        memory Memory Once 500;
        memory_confined_twice Memory Twice 250;
        memory_confined_in_parts Memory Parts 250;
        memory_with_preopens Memory Preopens 250;
        memory_with_preopens_narrowed Memory NarrowedPreopens 250;
        memory_narrowed Memory Narrowed 250;
        mounts Mounts Once 250;
        mounts_narrowed Mounts Narrowed 250;
        memory_overlay MemoryOverlay Once 250;
        memory_overlay_confined_twice MemoryOverlay Twice 100;
        memory_overlay_narrowed MemoryOverlay Narrowed 100;
        host_directory Host Once 50;
        host_overlay HostOverlay Once 25;
    }
}

#[test]
fn each_bug_of_a_layer_is_detected() {
    let detected = |bug| {
        let mut worker = Worker::new(Backend::Memory, Confinement::Broken(bug));
        (0..u64::from(cases(1000))).find_map(|seed| worker.run(seed).err())
    };
    for bug in Bug::ALL {
        assert!(detected(bug).is_some(), "{bug:?} is not detected");
    }
    assert_eq!(detected(Bug::None), None);
}

/// The layer compares the rights of a directory's old and new path in one direction only. A handle
/// of the directory keeps the rights of the old path, and so reads and changes the files that are
/// moved into it.
#[test]
fn one_directional_rename_check_is_detected_within_ten_thousand_sequences() {
    let detected = |effect: &str| {
        let bug = Confinement::Broken(Bug::DirectoriesNarrow);
        let mut worker = Worker::new(Backend::Memory, bug);
        (0..10_000).any(|seed| worker.run(seed).is_err_and(|fault| fault.contains(effect)))
    };
    assert!(detected("` read T"), "content that may not be read");
    assert!(detected("` changed the content of "), "content that may not be changed");
}
