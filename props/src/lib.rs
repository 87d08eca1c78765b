//! A kit that any filesystem is put through: ours, and yours.
#![doc = include_str!("../README.md")]

#[cfg(feature = "oracle")]
pub mod ambient;
mod cases;
#[cfg(feature = "oracle")]
pub mod confinement;
mod conformance;
pub mod faulty;
mod generate;
pub mod hammer;
#[cfg(feature = "oracle")]
pub mod kernel;
pub mod laws;
mod live;
mod model;
mod op;
mod outcome;
pub mod overlay;
mod record;
mod report;
mod run;
mod script;
pub mod spy;
mod subject;
mod text;
mod tree;
pub mod widening;

pub use cases::{Group, check, check_group};
use proptest::test_runner::{Config, RngSeed, TestRunner};

pub use conformance::{assert_group, assert_model, assert_scripts, model_fault};
pub use generate::{Flavor, Runs, Shrink};
pub use live::{Live, Run};
pub use model::Model;
pub use op::{At, Op, READ_MAX};
pub use outcome::{Expect, Outcome, Seen};
pub use record::{Record, consistent};
pub use report::{Fault, Report};
pub use run::differ;
pub use script::{Line, Script};
pub use subject::{Made, Promises, Subject, World};
pub use tree::{FILE_LEN_MAX, Leaf, NODES_MAX, Tree};

/// How many runs a property makes: `fallback`, or what `PALISADE_PROPS_CASES` says.
#[must_use]
pub fn cases(fallback: u32) -> u32 {
    asked_cases().unwrap_or(fallback)
}

/// A runner of `runs` runs. They are the same ones each time, so that a test that passed once
/// passes again; with `PALISADE_PROPS_CASES` set they are others each time, to look further.
/// `PROPTEST_RNG_SEED` chooses them in either case.
#[must_use]
pub fn runner(runs: u32) -> TestRunner {
    let mut config = Config { failure_persistence: None, ..Config::with_cases(runs) };
    config.max_shrink_iters = 4096;
    if config.rng_seed == RngSeed::Random && asked_cases().is_none() {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    TestRunner::new(config)
}

/// Any number will do.
const SEED: u64 = 0x7061_6c69_7361_6465;

fn asked_cases() -> Option<u32> {
    // A kit for tests reads the one variable that makes it look longer.
    #[expect(clippy::disallowed_methods)]
    let asked = std::env::var("PALISADE_PROPS_CASES");
    asked.ok().and_then(|text| text.parse().ok())
}
