//! Conversions between the flags and records of Preview 2 and those of the kernel.
//!
//! <https://github.com/WebAssembly/wasi-filesystem/blob/main/wit/types.wit>

use palisade_kernel::{FdStat, Modes, Status};
use palisade_vfs::{Advice, Errno, FileType, Follow, OpenFlags, Result, SetTime, Stat, Timestamp};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types;

/// Nanoseconds per second.
const SECOND_NS: u32 = 1_000_000_000;

pub(crate) fn follow(flags: types::PathFlags) -> Follow {
    if flags.contains(types::PathFlags::SYMLINK_FOLLOW) { Follow::Yes } else { Follow::No }
}

pub(crate) fn open_flags(flags: types::OpenFlags) -> OpenFlags {
    let mut to = OpenFlags::empty();
    to.set(OpenFlags::CREATE, flags.contains(types::OpenFlags::CREATE));
    to.set(OpenFlags::DIRECTORY, flags.contains(types::OpenFlags::DIRECTORY));
    to.set(OpenFlags::EXCLUSIVE, flags.contains(types::OpenFlags::EXCLUSIVE));
    to.set(OpenFlags::TRUNCATE, flags.contains(types::OpenFlags::TRUNCATE));
    to
}

/// Returns the requested access modes. Without `write`, `read` is implied.
pub(crate) fn modes(flags: types::DescriptorFlags) -> Modes {
    let mut to = Modes::empty();
    to.set(Modes::WRITE, flags.contains(types::DescriptorFlags::WRITE));
    to.set(Modes::MUTATE, flags.contains(types::DescriptorFlags::MUTATE_DIRECTORY));
    let reads = flags.contains(types::DescriptorFlags::READ);
    to.set(Modes::READ, reads || !to.contains(Modes::WRITE));
    to
}

pub(crate) fn status(flags: types::DescriptorFlags) -> Status {
    let mut to = Status::empty();
    to.set(Status::SYNC, flags.contains(types::DescriptorFlags::FILE_INTEGRITY_SYNC));
    to.set(Status::DSYNC, flags.contains(types::DescriptorFlags::DATA_INTEGRITY_SYNC));
    to.set(Status::RSYNC, flags.contains(types::DescriptorFlags::REQUESTED_WRITE_SYNC));
    to
}

/// Returns the result of `get-flags`.
pub(crate) fn descriptor_flags(stat: FdStat<'_>) -> types::DescriptorFlags {
    let (modes, status) = (stat.base().modes(), stat.status());
    let mut to = types::DescriptorFlags::empty();
    for (is_set, flag) in [
        (modes.contains(Modes::READ), types::DescriptorFlags::READ),
        (modes.contains(Modes::WRITE), types::DescriptorFlags::WRITE),
        (modes.contains(Modes::MUTATE), types::DescriptorFlags::MUTATE_DIRECTORY),
        (status.contains(Status::SYNC), types::DescriptorFlags::FILE_INTEGRITY_SYNC),
        (status.contains(Status::DSYNC), types::DescriptorFlags::DATA_INTEGRITY_SYNC),
        (status.contains(Status::RSYNC), types::DescriptorFlags::REQUESTED_WRITE_SYNC),
    ] {
        if is_set {
            to |= flag;
        }
    }
    to
}

pub(crate) fn file_type(kind: FileType) -> types::DescriptorType {
    match kind {
        FileType::Dir => types::DescriptorType::Directory,
        FileType::File => types::DescriptorType::RegularFile,
        FileType::Symlink => types::DescriptorType::SymbolicLink,
        FileType::CharDevice => types::DescriptorType::CharacterDevice,
        FileType::BlockDevice => types::DescriptorType::BlockDevice,
        FileType::Fifo => types::DescriptorType::Fifo,
        FileType::Socket => types::DescriptorType::Socket,
    }
}

#[inline]
pub(crate) fn stat(stat: &Stat) -> types::DescriptorStat {
    types::DescriptorStat {
        type_: file_type(stat.kind),
        link_count: stat.nlink,
        size: stat.size,
        data_access_timestamp: datetime(stat.accessed),
        data_modification_timestamp: datetime(stat.modified),
        status_change_timestamp: datetime(stat.changed),
    }
}

/// Converts a time, or returns `None` before 1970, which `datetime` cannot represent.
#[inline]
fn datetime(time: Timestamp) -> Option<Datetime> {
    let seconds = u64::try_from(time.seconds()).ok()?;
    Some(Datetime { seconds, nanoseconds: time.nanos() })
}

/// Converts a timestamp to set.
///
/// # Errors
///
/// - `Inval`: the nanoseconds are a second or more.
/// - `Overflow`: the seconds exceed `i64`.
pub(crate) fn set_time(time: types::NewTimestamp) -> Result<SetTime> {
    Ok(match time {
        types::NewTimestamp::NoChange => SetTime::Keep,
        types::NewTimestamp::Now => SetTime::Now,
        types::NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            if nanoseconds >= SECOND_NS {
                return Err(Errno::Inval);
            }
            let seconds = i64::try_from(seconds).map_err(|_| Errno::Overflow)?;
            SetTime::At(Timestamp::new(seconds, nanoseconds))
        }
    })
}

pub(crate) fn advice(advice: types::Advice) -> Advice {
    match advice {
        types::Advice::Normal => Advice::Normal,
        types::Advice::Sequential => Advice::Sequential,
        types::Advice::Random => Advice::Random,
        types::Advice::WillNeed => Advice::WillNeed,
        types::Advice::DontNeed => Advice::DontNeed,
        types::Advice::NoReuse => Advice::NoReuse,
    }
}

/// Converts nanoseconds since 1970.
pub(crate) fn datetime_of_ns(ns: u64) -> Datetime {
    let time = Timestamp::from_nanos(ns);
    Datetime { seconds: u64::try_from(time.seconds()).unwrap_or(0), nanoseconds: time.nanos() }
}
