//! A kit that any filesystem is put through: ours, and yours.
#![doc = include_str!("../README.md")]

#[cfg(feature = "oracle")]
pub mod ambient;
mod cases;
#[cfg(feature = "oracle")]
pub mod confinement;
mod conformance;
mod generate;
#[cfg(feature = "oracle")]
pub mod kernel;
mod live;
mod model;
mod op;
mod outcome;
mod report;
mod run;
mod script;
mod subject;
mod text;
mod tree;

pub use cases::{Group, check, check_group};
pub use conformance::{assert_group, assert_model, assert_scripts, model_fault};
pub use generate::{Flavor, Runs, Shrink};
pub use live::{Live, Run};
pub use model::Model;
pub use op::{At, Op, READ_MAX};
pub use outcome::{Expect, Outcome, Seen};
pub use report::{Fault, Report};
pub use run::differ;
pub use script::{Line, Script};
pub use subject::{Made, Promises, Subject, World};
pub use tree::{FILE_LEN_MAX, Leaf, NODES_MAX, Tree};

/// How many runs a property makes: `fallback`, or what `PALISADE_PROPS_CASES` says.
#[must_use]
pub fn cases(fallback: u32) -> u32 {
    // A kit for tests reads the one variable that makes it look longer.
    #[expect(clippy::disallowed_methods)]
    let asked = std::env::var("PALISADE_PROPS_CASES");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(fallback)
}
