//! Guest processes: descriptor tables, system calls, standard streams, clocks and limits.
//!
//! A [`Config`] describes one guest: arguments, environment, standard streams, clock, source of
//! random numbers, limits, and preopened directories. [`Config::start`] creates a [`Process`] with
//! a descriptor table, whose methods are POSIX-like calls on descriptors:
//!
//! ```
//! use std::io::IoSlice;
//!
//! use palisade_kernel::{Config, OpenRequest, RightsRequest, Status, Whence};
//! use palisade_vfs::{Follow, MemFs, OpenFlags};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder().arg("guest").preopen("/", MemFs::new().root()).build()?;
//! let mut process = config.start();
//!
//! let request = OpenRequest {
//!     follow: Follow::Yes,
//!     flags: OpenFlags::CREATE,
//!     status: Status::empty(),
//!     rights: RightsRequest::Inherited,
//! };
//! // Descriptors 0 to 2 are the standard streams; 3 is the first preopened directory.
//! let fd = process.open(3, "notes.txt", request)?;
//! assert_eq!(process.write(fd, &[IoSlice::new(b"hello")])?, 5);
//! assert_eq!(process.seek(fd, 0, Whence::Current)?, 5);
//! assert_eq!(process.stat(fd)?.size, 5);
//! process.close(fd)?;
//! # Ok(())
//! # }
//! ```
//!
//! An ABI adapter (`palisade-preview1`, `palisade-preview2`) decodes a guest's arguments, calls a
//! method of [`Process`], and encodes the result. This crate contains no WebAssembly and no numbers
//! of an ABI.
//!
//! # Types
//!
//! - [`Config`], [`ConfigBuilder`], [`Limits`]: the description of a guest.
//! - [`Process`]: one running guest. [`Fd`], [`FdStat`], [`Status`] describe its descriptors.
//! - [`FdRights`], [`Modes`]: the capabilities of a descriptor. [`OpenRequest`] and
//!   [`RightsRequest`] are the arguments of an open, [`PendingDescriptor`] its result before it has
//!   a number.
//! - [`Reader`], [`Writer`], [`DirStream`]: streams that outlive their descriptor.
//! - [`Input`], [`Output`], [`Stream`]: standard streams.
//! - [`Clock`], [`Alarm`], [`Interrupt`]: time, and waking a sleeping guest.
//! - [`Subscription`], [`Event`]: polling.
//!
//! # Security
//!
//! A preopened directory is a [`Dir`](palisade_vfs::Dir), which may be wrapped in a policy; the
//! kernel does not know whether it is. Independently of the policy, each call checks the rights of
//! the descriptor.

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
mod positions;
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
