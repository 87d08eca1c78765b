//! Policies compiled to a deterministic automaton over path components, and analyses of them.
//!
//! [`compile`] turns the rules of a [`PolicyBuilder`](builder::PolicyBuilder) into a
//! [`Table`](table::Table) of states, and a [`Policy`](policy::Policy) owns both. [`compare`] and
//! [`check`] analyze whole policies; [`coverage`] records which rules matched a path.

pub(crate) mod builder;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod compile;
pub(crate) mod coverage;
pub(crate) mod policy;
pub(crate) mod table;
