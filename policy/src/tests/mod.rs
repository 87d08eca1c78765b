//! Tests of the policy layers: properties of operation sequences, and tables.

#[cfg(feature = "audit")]
mod audit;
mod comparison;
mod coverage;
mod evaluator;
mod explained;
mod held;
mod hidden;
mod hostile;
mod laws;
mod live;
mod moves;
mod op;
mod quota;
mod quota_groups;
mod revoked;
pub(crate) mod rows;
mod semantics;
mod spy;
mod tables;

use palisade_vfs::{DirRef, MemFs};
use proptest::test_runner::Config;

/// Returns the number of cases of a property: `PALISADE_PROPS_CASES`, or `fallback` if unset.
fn cases(fallback: u32) -> u32 {
    #[expect(clippy::disallowed_methods, reason = "the one variable that makes tests look longer")]
    let asked = std::env::var("PALISADE_PROPS_CASES");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(fallback)
}

/// Returns the proptest configuration with [`cases`] of `fallback`.
fn config(fallback: u32) -> Config {
    Config { failure_persistence: None, cases: cases(fallback), ..Config::default() }
}

/// The initial tree of these tests.
const SEED: &[(&str, &str)] = &[
    ("mkdir", "a"),
    ("mkdir", "a/d"),
    ("mkdir", "b"),
    ("file", "f"),
    ("file", "a/f"),
    ("file", "a/d/g"),
    ("link a", "l"),
    ("link ../f", "a/l"),
    ("link gone", "b/l"),
];

/// A filesystem with [`SEED`] in it.
fn seeded() -> DirRef {
    let root = MemFs::new().root();
    op::seed(&root, SEED);
    root
}
