//! One guest's open world, and the calls that need no path and no descriptor.

use std::sync::Arc;

use palisade_vfs::{DirRef, Errno, FileRef, FileType, Result, bug};

use crate::clock::Clocks;
use crate::descriptor::{Description, Descriptor, Resource, Status};
use crate::random::Generator;
use crate::stream_slots::StreamSlots;
use crate::table::{Fd, Table};
use crate::{Alarm, ClockId, Config, FdRights, Interrupt, Limits, StreamRef};

/// A guest's exit code: a value, not an end of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the guest exited with code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// What [`Process::fdstat`] tells of a descriptor, as it stands in the table.
///
/// A view and not a copy: a small struct that is written in pieces and read as a whole right behind
/// that waits for its own stores, which cost more than all the rest of the cheapest call.
#[derive(Clone, Copy)]
pub struct FdStat<'p>(&'p Descriptor);

impl FdStat<'_> {
    /// The type of what it leads to.
    #[inline(always)]
    #[must_use]
    pub fn kind(self) -> FileType {
        self.0.kind
    }

    /// The status flags.
    #[inline(always)]
    #[must_use]
    pub fn status(self) -> Status {
        self.0.description.status()
    }

    /// What may be done through it.
    #[inline(always)]
    #[must_use]
    pub fn base(self) -> FdRights {
        self.0.base
    }

    /// What may at most be done through what is opened beneath it.
    #[inline(always)]
    #[must_use]
    pub fn inheriting(self) -> FdRights {
        self.0.inheriting
    }
}

/// One guest's open world. Not shared: a guest makes one call at a time.
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

    /// The arguments.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &str> {
        self.config.0.args.iter().map(|arg| &**arg)
    }

    /// The environment, each as `NAME=VALUE`.
    pub fn env(&self) -> impl ExactSizeIterator<Item = &str> {
        self.config.0.env.iter().map(|entry| &**entry)
    }

    /// The limits.
    #[must_use]
    #[inline]
    pub fn limits(&self) -> &Limits {
        &self.config.0.limits
    }

    /// The handle that wakes this guest.
    #[must_use]
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// How many descriptors are open.
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        self.table.len()
    }

    /// How many streams are open, those included whose descriptor is closed.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Closes every descriptor.
    pub fn close_all(&mut self) {
        self.table.close_all();
    }

    /// Nanoseconds on a clock. `Notsup` for a processor's clock.
    #[inline]
    pub fn clock_now_ns(&self, id: ClockId) -> Result<u64> {
        self.clocks.now_ns(id)
    }

    /// The smallest step of a clock in nanoseconds, never 0. `Notsup` for a processor's clock.
    pub fn clock_resolution_ns(&self, id: ClockId) -> Result<u64> {
        self.clocks.resolution_ns(id)
    }

    /// Fills `bytes` with random numbers.
    ///
    /// Errors, in order: `Inval` above `Limits::random_bytes_max`; `Io`.
    pub fn random(&mut self, bytes: &mut [u8]) -> Result<()> {
        if bytes.len() > self.limits().random_bytes_max as usize {
            return Err(Errno::Inval);
        }
        self.random.fill(bytes)
    }

    /// The name of a preopened directory.
    ///
    /// Errors: `Badf` for any other descriptor.
    pub fn preopen_name(&self, fd: Fd) -> Result<&str> {
        self.table.get(fd)?.preopen.as_deref().ok_or(Errno::Badf)
    }

    /// The preopened directories, by their numbers.
    pub fn preopens(&self) -> impl Iterator<Item = (Fd, &str)> {
        self.table.iter().filter_map(|(fd, it)| Some((fd, it.preopen.as_deref()?)))
    }

    /// A further descriptor of the same description, with the same rights; not preopened.
    ///
    /// Errors, in order: `Badf`; `Mfile`.
    pub fn duplicate(&mut self, fd: Fd) -> Result<Fd> {
        self.table.duplicate(fd)
    }

    /// Whether a call on the descriptor, or on what lies beneath it, can wait for a disk or a
    /// device. Not for one that is not open.
    #[inline]
    #[must_use]
    pub fn may_block(&self, fd: Fd) -> bool {
        self.table.get(fd).is_ok_and(|it| it.description.resource.may_block())
    }

    /// The epoch of what a descriptor leads to ([`Dir::epoch`](palisade_vfs::Dir::epoch)); 0 for a
    /// stream, and for what is no descriptor.
    #[must_use]
    pub fn epoch(&self, fd: Fd) -> u64 {
        self.table.get(fd).map_or(0, |it| it.description.resource.epoch())
    }

    /// Standard input.
    #[must_use]
    pub fn stdin(&self) -> &StreamRef {
        &self.config.0.stdin.0
    }

    /// Standard output.
    #[must_use]
    pub fn stdout(&self) -> &StreamRef {
        &self.config.0.stdout.0
    }

    /// Standard error.
    #[must_use]
    pub fn stderr(&self) -> &StreamRef {
        &self.config.0.stderr.0
    }

    /// The moment `after_ns` nanoseconds from now on the monotonic clock.
    #[must_use]
    pub fn alarm_after(&self, after_ns: u64) -> Alarm {
        self.clocks.alarm_after(after_ns)
    }

    /// The moment `at_ns` of the monotonic clock.
    #[must_use]
    pub fn alarm_at(&self, at_ns: u64) -> Alarm {
        self.clocks.alarm_at(at_ns)
    }

    /// A key of the host's own, which nothing tells the guest: another one for each call, or the
    /// same one in every run if the random numbers are.
    ///
    /// Errors: `Io` if the operating system has none to give.
    pub fn secret_key(&self) -> Result<[u8; 16]> {
        self.random.key()
    }

    /// Closes a descriptor, preopened or not.
    ///
    /// Errors: `Badf` if it is not open.
    pub fn close(&mut self, fd: Fd) -> Result<()> {
        self.table.close(fd)
    }

    /// Moves `from` to the number `to`, which must be open, and closes what was there.
    ///
    /// Errors: `Badf` if either is not open.
    pub fn renumber(&mut self, from: Fd, to: Fd) -> Result<()> {
        self.table.renumber(from, to)
    }

    /// What a descriptor is. Costs no system call for a directory or a file.
    ///
    /// Errors: `Badf`.
    #[inline(always)]
    pub fn fdstat(&self, fd: Fd) -> Result<FdStat<'_>> {
        self.table.get(fd).map(FdStat)
    }

    /// Replaces a descriptor's rights by fewer ones.
    ///
    /// Errors, in order: `Badf`; `Notcapable` if a right would be gained.
    pub fn set_rights(&mut self, fd: Fd, base: FdRights, inheriting: FdRights) -> Result<()> {
        self.table.attenuate(fd, base, inheriting)
    }

    /// Changes the status flags. Only [`Status::CHANGEABLE`] ones may differ from what they are.
    ///
    /// Errors, in order: `Badf`; `Notcapable`; `Inval`.
    pub fn set_status(&self, fd: Fd, status: Status) -> Result<()> {
        let description = &self.table.with(fd, FdRights::SET_STATUS)?.description;
        let changed = description.status() ^ status;
        if !Status::CHANGEABLE.contains(changed) {
            return Err(Errno::Inval);
        }
        description.set_status(status);
        Ok(())
    }

    /// The directory of a descriptor that has all of `rights`.
    ///
    /// Errors, in order: `Badf`; `Notdir` for anything else; `Notcapable`.
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

    /// The file of a descriptor that has all of `rights`.
    ///
    /// Errors, in order: `Badf`; `Isdir` for a directory; `stream` for a stream; `Badf` if it
    /// lacks the right to read or write, as POSIX has it for a descriptor that was not opened for
    /// it; `Notcapable`.
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

/// The configuration made sure that the streams and the preopens fit into the table.
fn assert_opened(opened: Result<Fd>) {
    if let Err(errno) = opened {
        bug!((); "the table is too small for what a guest is started with: {errno}");
    }
}
