//! Streams of `wasi:io` over files and standard streams.
//!
//! A stream that may block is moved to another thread for a read or write, and back.
//!
//! - <https://github.com/WebAssembly/wasi-io/blob/main/wit/streams.wit>
//! - <https://github.com/WebAssembly/wasi-io/blob/main/wit/poll.wit>

pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod stdio;
pub(crate) mod streams;
