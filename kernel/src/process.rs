//! The state of one guest, and the calls that manage descriptors, clocks and random numbers.

use std::sync::Arc;

use palisade_vfs::{DirRef, Errno, FileRef, FileType, Result, bug};

use crate::clock::Clocks;
use crate::descriptor::{Description, Descriptor, Resource, Status};
use crate::random::Generator;
use crate::stream_slots::StreamSlots;
use crate::table::{Fd, Table};
use crate::{Alarm, ClockId, Config, FdRights, Interrupt, Limits, StreamRef};

/// The exit code of a guest. It is an error value that ends the guest, not the host process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the guest exited with code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// The attributes of a descriptor, returned by [`Process::fdstat`].
// perf: store forwarding, see docs/performance.md. A reference to the table entry, not a copy.
#[derive(Clone, Copy)]
pub struct FdStat<'p>(&'p Descriptor);

impl FdStat<'_> {
    /// Returns the file type.
    #[inline(always)]
    #[must_use]
    pub fn kind(self) -> FileType {
        self.0.kind
    }

    /// Returns the status flags.
    #[inline(always)]
    #[must_use]
    pub fn status(self) -> Status {
        self.0.description.status()
    }

    /// Returns the rights of the descriptor.
    #[inline(always)]
    #[must_use]
    pub fn base(self) -> FdRights {
        self.0.base
    }

    /// Returns the rights that descriptors opened under it can have at most.
    #[inline(always)]
    #[must_use]
    pub fn inheriting(self) -> FdRights {
        self.0.inheriting
    }
}

/// One running guest: its descriptor table, streams, clocks and random numbers.
///
/// Calls take `&self` unless they change the table or draw random numbers; a guest makes one call
/// at a time.
pub struct Process {
    pub(crate) config: Config,
    pub(crate) table: Table,
    pub(crate) streams: StreamSlots,
    pub(crate) clocks: Clocks,
    pub(crate) random: Generator,
    pub(crate) interrupt: Interrupt,
}

impl Process {
    pub(crate) fn new(config: Config, interrupt: Interrupt) -> Self {
        let settings = &config.0;
        let mut table = Table::new(settings.limits.descriptors_max);
        let (none, all) = (FdRights::empty(), FdRights::all());
        let (reads, writes) = (all - FdRights::WRITE, all - FdRights::READ);
        let streams = [
            (&settings.stdin.0, reads),
            (&settings.stdout.0, writes),
            (&settings.stderr.0, writes),
        ];
        for (stream, base) in streams {
            let stream = Resource::Stream(Arc::clone(stream));
            let stream = Descriptor::new(stream, Status::empty(), base, none);
            assert_opened(table.open(stream));
        }
        for preopen in &settings.preopens {
            let dir = Resource::Dir(Arc::clone(&preopen.dir));
            let mut descriptor =
                Descriptor::new(dir, Status::empty(), preopen.base, preopen.inheriting);
            descriptor.preopen = Some(preopen.name.clone());
            assert_opened(table.open(descriptor));
        }
        let clocks = Clocks::new(settings.clock);
        let random = Generator::new(settings.random);
        let streams = StreamSlots::new(settings.limits.streams_max);
        Process { table, streams, clocks, random, interrupt, config }
    }

    /// Returns the arguments.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &str> {
        self.config.0.args.iter().map(|arg| &**arg)
    }

    /// Returns the environment variables as `NAME=VALUE`.
    pub fn env(&self) -> impl ExactSizeIterator<Item = &str> {
        self.config.0.env.iter().map(|entry| &**entry)
    }

    /// Returns the limits.
    #[must_use]
    #[inline]
    pub fn limits(&self) -> &Limits {
        &self.config.0.limits
    }

    /// Returns the handle that interrupts this guest.
    #[must_use]
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Returns the number of open descriptors.
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        self.table.len()
    }

    /// Returns the number of open streams, including those whose descriptor is closed.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Closes every descriptor.
    pub fn close_all(&mut self) {
        self.table.close_all();
    }

    /// Returns the time of a clock in nanoseconds.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/clock_gettime.html>
    ///
    /// # Errors
    ///
    /// - `Notsup`: a CPU time clock.
    #[inline]
    pub fn clock_now_ns(&self, id: ClockId) -> Result<u64> {
        self.clocks.now_ns(id)
    }

    /// Returns the resolution of a clock in nanoseconds, never 0.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/clock_getres.html>
    ///
    /// # Errors
    ///
    /// - `Notsup`: a CPU time clock.
    pub fn clock_resolution_ns(&self, id: ClockId) -> Result<u64> {
        self.clocks.resolution_ns(id)
    }

    /// Fills `bytes` with random bytes.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/getentropy.html>
    ///
    /// # Errors
    ///
    /// - `Inval`: more than `Limits::random_bytes_max` bytes.
    /// - `Io`: the operating system has no entropy.
    pub fn random(&mut self, bytes: &mut [u8]) -> Result<()> {
        if bytes.len() > self.limits().random_bytes_max as usize {
            return Err(Errno::Inval);
        }
        self.random.fill(bytes)
    }

    /// Returns the name of a preopened directory.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open, or not preopened.
    pub fn preopen_name(&self, fd: Fd) -> Result<&str> {
        self.table.get(fd)?.preopen.as_deref().ok_or(Errno::Badf)
    }

    /// Returns the open preopened directories and their names, in the order of their numbers.
    pub fn preopens(&self) -> impl Iterator<Item = (Fd, &str)> {
        self.table.iter().filter_map(|(fd, it)| Some((fd, it.preopen.as_deref()?)))
    }

    /// Duplicates a descriptor. The duplicate shares the description, has the same rights, and is
    /// not preopened.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/dup.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Mfile`: `Limits::descriptors_max` descriptors are open.
    pub fn duplicate(&mut self, fd: Fd) -> Result<Fd> {
        self.table.duplicate(fd)
    }

    /// Returns whether a call on the descriptor, or on a path under it, can block on a disk,
    /// a network or a device; false if it is not open.
    #[inline]
    #[must_use]
    pub fn may_block(&self, fd: Fd) -> bool {
        self.table.get(fd).is_ok_and(|it| it.description.resource.may_block())
    }

    /// Returns the epoch of the file or directory of a descriptor
    /// ([`Dir::epoch`](palisade_vfs::Dir::epoch)), or 0 for a stream or a closed descriptor.
    #[must_use]
    pub fn epoch(&self, fd: Fd) -> u64 {
        self.table.get(fd).map_or(0, |it| it.description.resource.epoch())
    }

    /// Returns the standard input.
    #[must_use]
    pub fn stdin(&self) -> &StreamRef {
        &self.config.0.stdin.0
    }

    /// Returns the standard output.
    #[must_use]
    pub fn stdout(&self) -> &StreamRef {
        &self.config.0.stdout.0
    }

    /// Returns the standard error stream.
    #[must_use]
    pub fn stderr(&self) -> &StreamRef {
        &self.config.0.stderr.0
    }

    /// Returns an alarm `after_ns` nanoseconds from now on the monotonic clock.
    #[must_use]
    pub fn alarm_after(&self, after_ns: u64) -> Alarm {
        self.clocks.alarm_after(after_ns)
    }

    /// Returns an alarm at the time `at_ns` of the monotonic clock.
    #[must_use]
    pub fn alarm_at(&self, at_ns: u64) -> Alarm {
        self.clocks.alarm_at(at_ns)
    }

    /// Returns a secret key that is independent of the guest's random numbers: a new one for each
    /// call, or a fixed one with [`Random::Seeded`](crate::Random::Seeded).
    ///
    /// # Errors
    ///
    /// - `Io`: the operating system has no entropy.
    pub fn secret_key(&self) -> Result<[u8; 16]> {
        self.random.key()
    }

    /// Closes a descriptor, including a preopened one.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/close.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    pub fn close(&mut self, fd: Fd) -> Result<()> {
        self.table.close(fd)
    }

    /// Moves the descriptor `from` to the number `to`, closing the descriptor `to`. This is `dup2`
    /// and `close(from)` in one step, but requires `to` to be open.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/dup2.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: `from` or `to` is not open.
    pub fn renumber(&mut self, from: Fd, to: Fd) -> Result<()> {
        self.table.renumber(from, to)
    }

    /// Returns the type, status flags and rights of a descriptor. Makes no system call for a
    /// directory or a file.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    #[inline(always)]
    pub fn fdstat(&self, fd: Fd) -> Result<FdStat<'_>> {
        self.table.get(fd).map(FdStat)
    }

    /// Replaces the rights of a descriptor by a subset of them.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notcapable`: a right is not a present one.
    pub fn set_rights(&mut self, fd: Fd, base: FdRights, inheriting: FdRights) -> Result<()> {
        self.table.attenuate(fd, base, inheriting)
    }

    /// Replaces the status flags of a description (`F_SETFL`).
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fcntl.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notcapable`: without the right `SET_STATUS`.
    /// - `Inval`: a flag changes that is not in [`Status::CHANGEABLE`].
    pub fn set_status(&self, fd: Fd, status: Status) -> Result<()> {
        let description = &self.table.with(fd, FdRights::SET_STATUS)?.description;
        let changed = description.status() ^ status;
        if !Status::CHANGEABLE.contains(changed) {
            return Err(Errno::Inval);
        }
        description.set_status(status);
        Ok(())
    }

    /// Returns the directory of a descriptor that has all of `rights`.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: a right is missing.
    #[inline]
    pub(crate) fn dir(&self, fd: Fd, rights: FdRights) -> Result<(&DirRef, &Descriptor)> {
        let descriptor = self.table.get(fd)?;
        let Resource::Dir(dir) = &descriptor.description.resource else {
            return Err(Errno::Notdir);
        };
        if !descriptor.base.contains(rights) {
            return Err(Errno::Notcapable);
        }
        Ok((dir, descriptor))
    }

    /// Returns the file of a descriptor that has all of `rights`.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - The errno `stream`: a stream.
    /// - `Badf`: `READ` or `WRITE` is missing, as in POSIX for a descriptor with another access
    ///   mode.
    /// - `Notcapable`: another right is missing.
    #[inline]
    pub(crate) fn file(
        &self,
        fd: Fd,
        rights: FdRights,
        stream: Errno,
    ) -> Result<(&FileRef, &Description)> {
        let descriptor = self.table.get(fd)?;
        match &descriptor.description.resource {
            Resource::Dir(_) => Err(Errno::Isdir),
            Resource::Stream(_) => Err(stream),
            Resource::File(file) => {
                let missing = rights - descriptor.base;
                if missing.is_empty() {
                    return Ok((file, &descriptor.description));
                }
                let bytes = FdRights::READ | FdRights::WRITE;
                Err(if missing.intersects(bytes) { Errno::Badf } else { Errno::Notcapable })
            }
        }
    }
}

/// Asserts that a standard stream or a preopen was opened: [`ConfigBuilder::build`] has checked
/// that they fit the table.
///
/// [`ConfigBuilder::build`]: crate::ConfigBuilder::build
fn assert_opened(opened: Result<Fd>) {
    if let Err(errno) = opened {
        bug!((); "the table is too small for the standard streams and preopens: {errno}");
    }
}
