//! Polling: waits for clocks and descriptors until at least one subscription is ready.
//!
//! Regular files are always ready. Streams with a host descriptor are waited for with `poll(2)`, in
//! intervals of [`Interrupt::POLL_INTERVAL`], so that an interrupt ends the wait.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use palisade_vfs::{Errno, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;

use crate::descriptor::Resource;
use crate::table::Fd;
use crate::trace::traced;
use crate::{ClockId, FdRights, Interrupt, Process, Stream};

/// A condition that a guest waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// A relative timeout.
    Clock {
        /// The clock.
        id: ClockId,
        /// Nanoseconds from now.
        after_ns: u64,
    },
    /// An absolute timeout.
    Moment {
        /// The clock.
        id: ClockId,
        /// Nanoseconds on that clock.
        at_ns: u64,
    },
    /// The descriptor is readable.
    Read(Fd),
    /// The descriptor is writable.
    Write(Fd),
    /// An invalid subscription, which produces an event with this error.
    Refused(Errno),
}

/// The event of one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The index of the subscription.
    pub index: usize,
    /// The readiness, or the error of this subscription.
    pub result: Result<Ready>,
}

/// The readiness of a descriptor or a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The minimum number of readable bytes; 0 if it is unknown.
    pub bytes: u64,
    /// Whether the peer has closed the stream.
    pub hung_up: bool,
}

impl Ready {
    const NOW: Ready = Ready { bytes: 0, hung_up: false };
}

/// A subscription that waits for a descriptor of the host.
struct Waiting<'a> {
    index: usize,
    fd: BorrowedFd<'a>,
    flags: PollFlags,
}

impl Process {
    /// Waits until at least one subscription is ready, and returns the events of all ready ones, in
    /// order. An invalid subscription is ready with an error.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/poll.html>
    ///
    /// # Errors
    ///
    /// - `Inval`: no subscription, or more than `Limits::subscriptions_max`.
    /// - `Intr`: the guest was interrupted.
    pub fn poll(&self, subscriptions: &[Subscription]) -> Result<Vec<Event>> {
        traced!("poll", subscriptions.len());
        if subscriptions.is_empty()
            || subscriptions.len() > self.limits().subscriptions_max as usize
        {
            return Err(Errno::Inval);
        }
        let mut events = Vec::new();
        let mut waiting = Vec::new();
        let mut waits: Vec<(usize, u64)> = Vec::new();
        for (index, subscription) in subscriptions.iter().enumerate() {
            let found = match *subscription {
                Subscription::Refused(errno) => Err(errno),
                Subscription::Clock { id, after_ns } => {
                    self.clocks.resolution_ns(id).map(|_| Some(after_ns))
                }
                Subscription::Moment { id, at_ns } => {
                    self.clocks.now_ns(id).map(|now_ns| Some(at_ns.saturating_sub(now_ns)))
                }
                Subscription::Read(fd) => self.host_descriptor(fd, FdRights::READ).map(|fd| {
                    waiting.extend(fd.map(|fd| Waiting { index, fd, flags: PollFlags::IN }));
                    None
                }),
                Subscription::Write(fd) => self.host_descriptor(fd, FdRights::WRITE).map(|fd| {
                    waiting.extend(fd.map(|fd| Waiting { index, fd, flags: PollFlags::OUT }));
                    None
                }),
            };
            match found {
                Ok(Some(ns)) => waits.push((index, ns)),
                Ok(None) if waiting.last().is_some_and(|it| it.index == index) => {}
                Ok(None) => events.push(Event { index, result: self.ready(*subscription) }),
                Err(errno) => events.push(Event { index, result: Err(errno) }),
            }
        }
        self.wait(&mut events, &waiting, &waits)?;
        events.sort_by_key(|event| event.index);
        Ok(events)
    }

    /// Returns the host's descriptor to poll for `fd`, or `None` if `fd` is always ready.
    fn host_descriptor(&self, fd: Fd, right: FdRights) -> Result<Option<BorrowedFd<'_>>> {
        let descriptor = self.table.get(fd)?;
        match &descriptor.description.resource {
            Resource::Dir(_) => Err(Errno::Badf),
            _ if !descriptor.base.contains(right) => Err(Errno::Badf),
            _ if !descriptor.base.contains(FdRights::POLL) => Err(Errno::Notcapable),
            Resource::File(_) => Ok(None),
            Resource::Stream(stream) => Ok(stream.waits_for()),
        }
    }

    /// Returns the readiness of a subscription that never waits.
    fn ready(&self, subscription: Subscription) -> Result<Ready> {
        let Subscription::Read(fd) = subscription else { return Ok(Ready::NOW) };
        let descriptor = self.table.get(fd)?;
        let Resource::File(file) = &descriptor.description.resource else {
            return Ok(Ready::NOW);
        };
        let bytes = file.stat()?.size.saturating_sub(descriptor.description.offset(&**file)?);
        Ok(Ready { bytes, hung_up: false })
    }

    /// Waits for the host's descriptors and the clocks, and adds their events. Does not wait if
    /// there are events already.
    fn wait(
        &self,
        events: &mut Vec<Event>,
        waiting: &[Waiting<'_>],
        waits: &[(usize, u64)],
    ) -> Result<()> {
        let shortest_ns = waits.iter().map(|(_, ns)| *ns).min();
        let has_events = !events.is_empty();
        let started = Instant::now();
        let limit_ns = if has_events { Some(0) } else { shortest_ns };
        if self.clocks.is_fixed() {
            // A fixed clock advances without waiting, unless a host descriptor is ready now.
            let host_waits = limit_ns.is_none();
            poll_host(
                events,
                waiting,
                if host_waits { None } else { started.into() },
                &self.interrupt,
            )?;
            if events.is_empty() {
                self.clocks.advance(shortest_ns.unwrap_or(0));
                push_due_events(events, waits, shortest_ns.unwrap_or(0));
            } else {
                push_due_events(events, waits, 0);
            }
            return Ok(());
        }
        let deadline = limit_ns.and_then(|ns| self.clocks.deadline(ns));
        if waiting.is_empty() {
            if limit_ns != Some(0) {
                self.interrupt.wait_until(deadline)?;
            }
        } else {
            poll_host(events, waiting, deadline, &self.interrupt)?;
        }
        let passed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Without another event the shortest timeout has expired, even if the host's clock measures
        // slightly less.
        let passed_ns =
            if events.is_empty() { passed_ns.max(shortest_ns.unwrap_or(0)) } else { passed_ns };
        push_due_events(events, waits, passed_ns);
        Ok(())
    }
}

/// Adds an event for each clock subscription that has expired.
fn push_due_events(events: &mut Vec<Event>, waits: &[(usize, u64)], passed_ns: u64) {
    for (index, ns) in waits {
        if *ns <= passed_ns {
            events.push(Event { index: *index, result: Ok(Ready::NOW) });
        }
    }
}

/// Waits until a host descriptor is ready or `deadline` has passed, and adds the events.
///
/// # Errors
///
/// - `Io`: `poll(2)` failed.
/// - `Intr`: the guest was interrupted.
fn poll_host(
    events: &mut Vec<Event>,
    waiting: &[Waiting<'_>],
    deadline: Option<Instant>,
    interrupt: &Interrupt,
) -> Result<()> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice =
            left.map_or(Interrupt::POLL_INTERVAL, |left| left.min(Interrupt::POLL_INTERVAL));
        let mut fds: Vec<_> =
            waiting.iter().map(|it| PollFd::from_borrowed_fd(it.fd, it.flags)).collect();
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(slice.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: slice.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Errno::Io),
        }
        for (it, fd) in waiting.iter().zip(&fds) {
            let revents = fd.revents();
            if revents.is_empty() {
                continue;
            }
            let result = if revents.contains(PollFlags::NVAL) {
                Err(Errno::Badf)
            } else {
                Ok(Ready { bytes: readable(it), hung_up: revents.contains(PollFlags::HUP) })
            };
            events.push(Event { index: it.index, result });
        }
        if !events.is_empty() || left == Some(Duration::ZERO) {
            return Ok(());
        }
        if interrupt.is_raised() {
            return Err(Errno::Intr);
        }
    }
}

/// Waits until a stream is readable. Returns at once if the stream has no host descriptor, or a
/// non-blocking one.
///
/// # Errors
///
/// - `Intr`: the guest was interrupted.
pub(crate) fn wait_to_read(stream: &dyn Stream, interrupt: &Interrupt) -> Result<()> {
    if is_readable(stream) {
        return Ok(());
    }
    let flags = stream.waits_for().map(rustix::fs::fcntl_getfl);
    if flags.is_some_and(|flags| flags.is_ok_and(|it| it.contains(OFlags::NONBLOCK))) {
        // Non-blocking: the read returns `EAGAIN`.
        return Ok(());
    }
    while !wait_readable(stream, Interrupt::POLL_INTERVAL) {
        if interrupt.is_raised() {
            return Err(Errno::Intr);
        }
    }
    Ok(())
}

/// Returns whether a read of the stream returns at once, with data, the end or an error.
#[must_use]
pub fn is_readable(stream: &dyn Stream) -> bool {
    wait_readable(stream, Duration::ZERO)
}

/// Waits at most `limit` until a stream is readable, and returns whether it is. A stream without a
/// host descriptor is always readable.
pub fn wait_readable(stream: &dyn Stream, limit: Duration) -> bool {
    let Some(fd) = stream.waits_for() else { return true };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let timeout = rustix::event::Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(count) => count > 0,
        Err(rustix::io::Errno::INTR) => false,
        // The read returns the error.
        Err(_) => true,
    }
}

/// Returns the number of bytes that can be read from the host's descriptor.
fn readable(it: &Waiting<'_>) -> u64 {
    if !it.flags.contains(PollFlags::IN) {
        return 0;
    }
    rustix::io::ioctl_fionread(it.fd).unwrap_or(0)
}
