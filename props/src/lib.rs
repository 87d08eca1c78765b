//! A conformance kit for filesystems: test cases, a model, laws and fault injection.
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
pub use outcome::{Expect, Outcome, StatSummary};
pub use record::{Record, consistent};
pub use report::{Fault, Report};
pub use run::compare_with_model;
pub use script::{Line, Script};
pub use subject::{Capabilities, Subject, SubjectFn, TestFs};
pub use tree::{FILE_LEN_MAX, Leaf, NODES_MAX, Tree};

/// Returns the number of generated runs of a property: `PALISADE_PROPS_CASES`, or `fallback`.
#[must_use]
pub fn cases(fallback: u32) -> u32 {
    requested_cases().unwrap_or(fallback)
}

/// Returns a test runner for `runs` runs.
///
/// The seed is fixed, so that results are reproducible. It is random if `PALISADE_PROPS_CASES` is
/// set, to search further. `PROPTEST_RNG_SEED` overrides it in either case.
#[must_use]
pub fn runner(runs: u32) -> TestRunner {
    let mut config = Config { failure_persistence: None, ..Config::with_cases(runs) };
    config.max_shrink_iters = 4096;
    if config.rng_seed == RngSeed::Random && requested_cases().is_none() {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    TestRunner::new(config)
}

/// The fixed seed; an arbitrary number.
const SEED: u64 = 0x7061_6c69_7361_6465;

fn requested_cases() -> Option<u32> {
    // This environment variable is the only ambient input of the kit.
    #[expect(clippy::disallowed_methods)]
    let text = std::env::var("PALISADE_PROPS_CASES");
    text.ok().and_then(|text| text.parse().ok())
}
