//! The policy document: rules, quotas and audit settings in TOML.
//!
//! A document is read in two steps. The `toml` crate parses the text into a table of values with
//! spans; the reader converts the table into a [`Document`] and collects all faults on the way.
//! `docs/policy.md` describes the format for people and `docs/policy.schema.json` for editors; a
//! test checks that reader, reference and schema agree.
//!
//! Everything is bounded: the total size of the texts, the number of included files and their
//! nesting, the sets, the rules, and the number of reported faults.
//!
//! Deliberately absent: conditions, priorities, and any way for an included document to reduce
//! what another document allows, or for an including document to revoke a `deny`. Rules have no
//! order.

mod error;
mod reader;
mod settings;
mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use error::{DocumentError, DocumentFault, SourceText};
pub use settings::{AuditOnly, AuditSettings, AuditTo, WhenFull};

use crate::automaton::builder::{PolicyBuilder, PolicyError};
use crate::automaton::policy::Policy;
use crate::quota::Quota;
use crate::rules::rule::Rule;

/// The values that the host assigns to the variables of a document, by name.
pub type Variables = BTreeMap<String, String>;

/// A source of the files that a document includes.
pub trait Loader {
    /// Returns the name and the text of the file `path` that the document `from` includes.
    ///
    /// `path` is relative and has no `..`, no `.` and no empty component. The name identifies the
    /// file: an implementation must return the same name for the same file each time, because that
    /// ends the recursion of documents that include each other. An implementation should stop
    /// reading after [`Document::TEXT_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// The reason why the file cannot be read, as a message for users.
    fn load(&mut self, from: &str, path: &str) -> Result<(String, String), String>;
}

/// A loader that refuses each `include`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIncludes;

impl Loader for NoIncludes {
    fn load(&mut self, _from: &str, _path: &str) -> Result<(String, String), String> {
        Err("includes are not supported here".to_owned())
    }
}

/// A parsed policy document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The rules of the document and of its includes, each with its file and line.
    pub rules: Vec<Rule>,
    /// The quotas. If several documents set the same quota, the smallest applies.
    pub quota: Quota,
    /// The audit settings, if any. Only the outermost document can contain them.
    pub audit: Option<AuditSettings>,
    /// The variables that the document and its includes use in paths or define. A host value for
    /// any other variable is probably a mistake.
    pub variables: BTreeSet<String>,
}

impl Document {
    /// The maximum size of a document including its includes, in bytes.
    pub const TEXT_MAX: usize = 16 << 20;
    /// The maximum number of files of one document.
    pub const FILES_MAX: usize = 64;
    /// The maximum nesting of includes.
    pub const DEPTH_MAX: usize = 8;
    /// The maximum number of named sets of rights.
    pub const SETS_MAX: usize = 256;

    /// Parses a document called `name`.
    ///
    /// # Errors
    ///
    /// All faults of the document, up to a limit.
    pub fn parse(
        name: &str,
        text: &str,
        variables: &Variables,
        loader: &mut dyn Loader,
    ) -> Result<Self, DocumentError> {
        reader::read(SourceText::new(name, text), None, variables, loader)
    }

    /// Parses the table `key` of a larger document called `name`, such as the policy of a
    /// `palisade.toml`. The other tables are ignored.
    ///
    /// # Errors
    ///
    /// As for [`Document::parse`].
    pub fn parse_section(
        name: &str,
        text: &str,
        key: &str,
        variables: &Variables,
        loader: &mut dyn Loader,
    ) -> Result<Self, DocumentError> {
        reader::read(SourceText::new(name, text), Some(key), variables, loader)
    }

    /// Compiles the rules.
    pub fn to_policy(&self) -> Result<Policy, PolicyError> {
        let mut builder = PolicyBuilder::default();
        builder.extend(self.rules.iter().cloned());
        builder.build()
    }
}

/// A source text, shared by the faults that refer to it.
pub(crate) type Text = Arc<SourceText>;
