//! Tests of processes over an in-memory filesystem, through the calls that adapters make.

mod cookies;
mod files;
mod rights;
