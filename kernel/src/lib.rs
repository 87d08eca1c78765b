//! One guest's open world: what every ABI needs and none of them is.
//!
//! A [`Config`] says what a guest is given; [`Config::start`] makes a [`Process`] of it: args,
//! env, standard streams, clocks, random numbers, preopened directories, the descriptor table, and
//! the calls on it. There is no WebAssembly in this crate and no number of any ABI: an adapter
//! turns a guest's numbers into these calls and their answers back into numbers.
//!
//! The kernel is given directories and cannot tell whether anything guards them. It masks by the
//! rights of descriptors all the same.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "tests fail by panicking"
    )
)]

mod byte_counts;
mod clock;
mod config;
mod descriptor;
mod dirents;
mod file_calls;
mod limits;
mod path_calls;
mod poll;
mod process;
mod random;
mod rights;
mod stdio;
mod stream_slots;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod trace;

pub use clock::{Alarm, Clock, ClockId, FixedClockWait, Interrupt, Raised};
pub use config::{Config, ConfigBuilder, ConfigError};
pub use descriptor::Status;
pub use dirents::{DirEntry, DirStream, Dots};
pub use file_calls::Whence;
pub use limits::Limits;
pub use path_calls::{OpenRequest, PendingDescriptor, RightsRequest};
pub use poll::{Event, Ready, Subscription, is_readable, wait_readable};
pub use process::{Exit, FdStat, Process};
pub use random::Random;
pub use rights::{FdRights, Modes};
pub use stdio::{Input, Output, OutputBuffer, Stream, StreamRef};
pub use streams::{Reader, Writer};
pub use table::Fd;
pub use trace::traced_call;
