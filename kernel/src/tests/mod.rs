//! Tests of processes over an in-memory filesystem, through the calls that adapters make.

mod files;
mod rights;
