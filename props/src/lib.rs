//! A conformance kit for filesystems: test cases, a model, laws and fault injection.
//!
//! A *law* is a property that holds for each operation of a layer or an overlay; it is checked on
//! tables of cases or on generated runs. A *mark* is a whiteout or an opaque directory of a lower.
//!
//! Public modules; those with (o) need the feature `oracle`:
//!
//! - `ambient` (o): reads a directory of the host through `std::fs`, to compare with.
//! - `confinement` (o): checks from outside that a confined filesystem does not leave its root.
//! - [`faulty`]: fault injection, a layer whose operations fail from the n-th on.
//! - [`hammer`]: a stress test, many threads on one filesystem and then a consistency check.
//! - `kernel` (o): runs operations as Linux system calls, to compare outcomes.
//! - [`laws`]: the laws of layers, such as "an operation that succeeds also succeeds without it".
//! - [`overlay`]: the laws of overlays, and a comparison with a copy of the merged lowers.
//!   [`overlay::Holds`] is the set of features that a subject's lowers support.
//! - [`spy`]: a layer that logs each access to a back end, to check it against the policy.
//! - [`widening`]: checks that no sequence of allowed operations widens the rights to a content.
//!
//! Private modules, whose items are exported here:
//!
//! - `cases`: hand-written cases, one row per behavior. The `Proof` of a row is its script, or
//!   code for a behavior that no script expresses.
//! - `conformance`: the kit as `#[test]` functions.
//! - `generate`: generators of runs. [`Flavor`] selects an ordinary or a hostile program.
//! - `live`, `run`: run operations on a filesystem, and on the model in lockstep.
//! - `model`: the reference filesystem, written from POSIX.
//! - `op`, `outcome`: an operation of a guest, and its outcome in a comparable form.
//! - `record`: snapshots of the metadata of a tree, and the consistency check.
//! - `report`: found faults with their scripts, and skipped cases.
//! - `script`, `text`: scripts, one operation per line, and their lexer.
//! - `subject`: the factory of the filesystems under test.
//! - `tree`: a literal filesystem as a value.
//!
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
