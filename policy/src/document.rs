//! The policy document: rules, quotas and audit settings, written down in TOML.
//!
//! A document is read in two steps: the text becomes a table of values that know where they stand
//! (the `toml` crate), and the reader turns that into a [`Document`], collecting everything that is
//! wrong on the way. What can be said is what the reader asks for; `docs/policy.md` says it to
//! people and `docs/policy.schema.json` to editors, and a test holds the three together.
//!
//! Everything is bounded: the size of all texts together, the number of included files and how
//! deep they include each other, the sets, the rules, and the faults that are told at once.
//!
//! Deliberately absent: conditions, priorities, and any way for an included document to allow less
//! than it says or for an including one to take back what was denied. Rules have no order.

mod error;
mod reader;
mod settings;
mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use error::{DocumentError, DocumentFault, SourceText};
pub use settings::{AuditOnly, AuditSettings, AuditTo, WhenFull};

use crate::{Policy, PolicyBuilder, PolicyError, Quota, Rule};

/// Values that the host gives to the variables of a document.
pub type Variables = BTreeMap<String, String>;

/// Reads the files that a document includes.
pub trait Loader {
    /// The name and the text of the file that `path` means in a document called `from`. `path` is
    /// relative, and has neither `..` nor `.` nor an empty name in it. The same file has the same
    /// name each time, which is how documents that include each other come to an end.
    ///
    /// Whoever reads files should stop behind [`Document::TEXT_MAX`] bytes.
    ///
    /// Errors: why it cannot be read, for a person.
    fn load(&mut self, from: &str, path: &str) -> Result<(String, String), String>;
}

/// Includes nothing: any `include` is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIncludes;

impl Loader for NoIncludes {
    fn load(&mut self, _from: &str, _path: &str) -> Result<(String, String), String> {
        Err("nothing can be included here".to_owned())
    }
}

/// A policy document that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The rules of the document and of all that it includes, each with its file and line.
    pub rules: Vec<Rule>,
    /// The quotas. Where several documents name one, the smallest counts.
    pub quota: Quota,
    /// What is recorded, if anything. Only the outermost document can say so.
    pub audit: Option<AuditSettings>,
    /// The variables that the document and all that it includes name, in paths or to say what they
    /// are. A value that the host gives to any other is surely a mistake.
    pub variables: BTreeSet<String>,
}

impl Document {
    /// The largest document, in bytes, with all that it includes.
    pub const TEXT_MAX: usize = 16 << 20;
    /// The most files that one document can consist of.
    pub const FILES_MAX: usize = 64;
    /// How deep documents can include each other.
    pub const DEPTH_MAX: usize = 8;
    /// The most sets of rights that have a name.
    pub const SETS_MAX: usize = 256;

    /// Reads a document called `name`.
    ///
    /// Errors: all that is wrong with it, up to a bound.
    pub fn parse(
        name: &str,
        text: &str,
        variables: &Variables,
        loader: &mut dyn Loader,
    ) -> Result<Self, DocumentError> {
        reader::read(SourceText::new(name, text), None, variables, loader)
    }

    /// Reads the table `key` of a larger document called `name`, such as the policy of a
    /// `palisade.toml`. Everything else in it is left alone.
    ///
    /// Errors: as for [`Document::parse`].
    pub fn parse_section(
        name: &str,
        text: &str,
        key: &str,
        variables: &Variables,
        loader: &mut dyn Loader,
    ) -> Result<Self, DocumentError> {
        reader::read(SourceText::new(name, text), Some(key), variables, loader)
    }

    /// The compiled rules.
    pub fn to_policy(&self) -> Result<Policy, PolicyError> {
        let mut builder = PolicyBuilder::default();
        builder.extend(self.rules.iter().cloned());
        builder.build()
    }
}

/// A text that is shared by everything that points into it.
pub(crate) type Text = Arc<SourceText>;
