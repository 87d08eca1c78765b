//! The log format: JSON lines, written by [`JsonLines`](json_lines::JsonLines) and read back by
//! [`LogReader`](reader::LogReader).

pub(crate) mod json_lines;
pub(crate) mod reader;
