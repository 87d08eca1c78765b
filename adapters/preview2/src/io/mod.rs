//! Streams of `wasi:io`: files and standard streams as sources and sinks of bytes.
//!
//! Each is either used where it is, or moved to another thread for a read or a write and back.

pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod stdio;
pub(crate) mod streams;
