//! What the layers promise, as laws over sequences of operations and as tables.

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

/// How many cases a property looks at: `fallback`, or what `PALISADE_PROPS_CASES` says.
fn cases(fallback: u32) -> u32 {
    #[expect(clippy::disallowed_methods, reason = "the one variable that makes tests look longer")]
    let asked = std::env::var("PALISADE_PROPS_CASES");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(fallback)
}

/// How a property is run over that many cases, or as many as were asked for.
fn config(fallback: u32) -> Config {
    Config { failure_persistence: None, cases: cases(fallback), ..Config::default() }
}

/// The tree that all of these tests start from.
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
