//! Clocks, sleeping and interrupts: the host's clocks, or a fixed clock for reproducible runs.
//!
//! A fixed clock does not follow the host's time. It advances by a constant at each reading, and by
//! the duration of each sleep, which returns at once. If several tasks wait on a fixed clock, it
//! advances to the earliest deadline only when none of them has anything else to do
//! ([`FixedClockWait`]).
//!
//! Lock order, for an [`Interrupt`]:
//!
//! - `InterruptState::wakers`
//!   - `InterruptState::raised`
//!
//! `Clocks::fixed_waits` is never locked together with another lock.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use palisade_vfs::{Errno, Result};
use parking_lot::{Condvar, Mutex};
use slab::Slab;

/// The identifier of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockId {
    /// Nanoseconds since 1970.
    Realtime,
    /// Nanoseconds since an unspecified time; never decreases.
    Monotonic,
    /// The CPU time of the process. Not supported: it would disclose the load of the host.
    ProcessCpu,
    /// The CPU time of the thread. Not supported: it would disclose the load of the host.
    ThreadCpu,
}

/// The source of a guest's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The host's clocks.
    #[default]
    Host,
    /// A clock that starts at `realtime_ns` (the monotonic clock at 0), and advances by `step_ns`
    /// at each reading and by the duration of each sleep. A sleep returns at once.
    Fixed {
        /// Nanoseconds since 1970 at the start.
        realtime_ns: u64,
        /// Nanoseconds that pass at each reading.
        step_ns: u64,
    },
}

/// Interrupts a sleeping or waiting guest from another thread. Once it is raised, every present and
/// later sleep or wait of the guest ends with `Intr`.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<InterruptState>);

#[derive(Debug, Default)]
struct InterruptState {
    raised: Mutex<bool>,
    changed: Condvar,
    /// The wakers of tasks that wait for the interrupt. Locked before `raised`.
    wakers: Mutex<Slab<Waker>>,
}

impl Interrupt {
    /// The interval at which a wait for host descriptors checks for an interrupt.
    pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

    /// Interrupts the guest.
    pub fn raise(&self) {
        *self.0.raised.lock() = true;
        self.0.changed.notify_all();
        for waker in self.0.wakers.lock().drain() {
            waker.wake();
        }
    }

    /// Returns a future that completes when the interrupt is raised.
    #[must_use]
    pub fn raised(&self) -> Raised {
        Raised { interrupt: self.clone(), waker: None }
    }

    /// Returns whether the interrupt was raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.raised.lock()
    }

    /// Waits until `deadline`, or forever. Returns `Intr` if the interrupt is raised.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Result<()> {
        let mut raised = self.0.raised.lock();
        while !*raised {
            match deadline {
                None => self.0.changed.wait(&mut raised),
                Some(deadline) => {
                    if self.0.changed.wait_until(&mut raised, deadline).timed_out() {
                        return if *raised { Err(Errno::Intr) } else { Ok(()) };
                    }
                }
            }
        }
        Err(Errno::Intr)
    }
}

/// The future that [`Interrupt::raised`] returns.
#[derive(Debug)]
pub struct Raised {
    interrupt: Interrupt,
    /// The key of the task's waker in `wakers`.
    waker: Option<usize>,
}

impl Future for Raised {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let interrupt = self.interrupt.clone();
        let mut wakers = interrupt.0.wakers.lock();
        // Checked with `wakers` locked: either this sees a concurrent raise, or the raise finds the
        // waker.
        if interrupt.is_raised() {
            return Poll::Ready(());
        }
        match self.waker.and_then(|at| wakers.get_mut(at)) {
            Some(waker) => waker.clone_from(task.waker()),
            None => self.waker = Some(wakers.insert(task.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let mut wakers = self.interrupt.0.wakers.lock();
        // After a raise the slab is empty, and the key may be reused.
        if let Some(at) = self.waker.filter(|_| !self.interrupt.is_raised()) {
            wakers.try_remove(at);
        }
    }
}

/// A deadline on a guest's monotonic clock.
#[derive(Clone, Debug)]
pub struct Alarm {
    clocks: Clocks,
    due_ns: u64,
}

impl Alarm {
    /// Returns the deadline as an [`Instant`] of the host, or `None` if the clock is fixed or the
    /// deadline is out of range.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // Reading a fixed clock would advance it.
        if self.is_fixed() {
            return None;
        }
        let now_ns = self.clocks.now_ns(ClockId::Monotonic).unwrap_or(0);
        self.clocks.deadline(self.due_ns.saturating_sub(now_ns))
    }

    /// Returns whether the clock is fixed, so that a wait takes no host time.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.clocks.is_fixed()
    }

    /// Returns whether a fixed clock has reached the deadline, without advancing the clock.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.is_fixed() && self.clocks.elapsed_ns.load(Ordering::Relaxed) >= self.due_ns
    }

    /// Registers a wait for the deadline on a fixed clock.
    #[must_use]
    pub fn wait_on_fixed_clock(&self) -> FixedClockWait {
        let mut fixed_waits = self.clocks.fixed_waits.lock();
        *fixed_waits.due.entry(self.due_ns).or_default() += 1;
        FixedClockWait { alarm: self.clone(), advances_seen: fixed_waits.advances }
    }
}

/// The registered waits on a fixed clock.
#[derive(Debug, Default)]
struct FixedClockWaits {
    /// The number of waits per deadline.
    due: BTreeMap<u64, usize>,
    /// How often the clock has advanced to a deadline.
    advances: u64,
}

/// A wait on a fixed clock. The clock advances to the earliest deadline of all waits, and no
/// further until the tasks of that deadline had a chance to run.
#[derive(Debug)]
pub struct FixedClockWait {
    alarm: Alarm,
    /// The value of `advances` at the last poll of this wait.
    advances_seen: u64,
}

impl FixedClockWait {
    /// Polls the wait: returns whether the deadline has passed, and advances the clock if it has
    /// not advanced since the last poll.
    pub fn is_due(&mut self) -> bool {
        let mut fixed_waits = self.alarm.clocks.fixed_waits.lock();
        if self.alarm.has_passed() {
            return true;
        }
        if self.advances_seen != fixed_waits.advances {
            // The clock has advanced for another wait, whose task has to run first.
            self.advances_seen = fixed_waits.advances;
            return false;
        }
        if let Some((&earliest_ns, _)) = fixed_waits.due.first_key_value() {
            self.alarm.clocks.elapsed_ns.fetch_max(earliest_ns, Ordering::Relaxed);
        }
        fixed_waits.advances += 1;
        self.advances_seen = fixed_waits.advances;
        self.alarm.has_passed()
    }
}

impl Drop for FixedClockWait {
    fn drop(&mut self) {
        let mut fixed_waits = self.alarm.clocks.fixed_waits.lock();
        if let Entry::Occupied(mut waiting) = fixed_waits.due.entry(self.alarm.due_ns) {
            *waiting.get_mut() -= 1;
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
    }
}

/// The clocks of one guest. A clone shares the state.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    clock: Clock,
    /// The zero of the monotonic clock.
    origin: Instant,
    /// The time that has passed on a fixed clock.
    elapsed_ns: Arc<AtomicU64>,
    /// The registered waits on a fixed clock.
    fixed_waits: Arc<Mutex<FixedClockWaits>>,
}

impl Clocks {
    pub(crate) fn new(clock: Clock) -> Self {
        Clocks {
            clock,
            origin: Instant::now(),
            elapsed_ns: Arc::default(),
            fixed_waits: Arc::default(),
        }
    }

    /// Reads a clock, in nanoseconds. A fixed clock advances by its step.
    pub(crate) fn now_ns(&self, id: ClockId) -> Result<u64> {
        match (self.clock, id) {
            (_, ClockId::ProcessCpu | ClockId::ThreadCpu) => Err(Errno::Notsup),
            (Clock::Host, ClockId::Realtime) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_nanos()).map_err(|_| Errno::Overflow)
            }
            (Clock::Host, ClockId::Monotonic) => {
                // Starts at 1 s, so that no reading is 0.
                let since = self.origin.elapsed().saturating_add(Duration::from_secs(1));
                u64::try_from(since.as_nanos()).map_err(|_| Errno::Overflow)
            }
            (Clock::Fixed { realtime_ns, step_ns }, ClockId::Realtime) => {
                Ok(realtime_ns.saturating_add(self.advance(step_ns)))
            }
            (Clock::Fixed { step_ns, .. }, ClockId::Monotonic) => Ok(self.advance(step_ns)),
        }
    }

    /// Returns the resolution of a clock in nanoseconds, never 0.
    pub(crate) fn resolution_ns(&self, id: ClockId) -> Result<u64> {
        match (self.clock, id) {
            (_, ClockId::ProcessCpu | ClockId::ThreadCpu) => Err(Errno::Notsup),
            (Clock::Host, ClockId::Realtime | ClockId::Monotonic) => Ok(1),
            (Clock::Fixed { step_ns, .. }, ClockId::Realtime | ClockId::Monotonic) => {
                Ok(step_ns.max(1))
            }
        }
    }

    /// Returns the [`Instant`] `wait_ns` from now, or `None` if the clock is fixed or the result is
    /// out of range.
    pub(crate) fn deadline(&self, wait_ns: u64) -> Option<Instant> {
        match self.clock {
            Clock::Host => Instant::now().checked_add(Duration::from_nanos(wait_ns)),
            Clock::Fixed { .. } => None,
        }
    }

    /// Returns an alarm `after_ns` from now.
    pub(crate) fn alarm_after(&self, after_ns: u64) -> Alarm {
        // A fixed clock is not advanced by this.
        let now_ns = match self.clock {
            Clock::Host => self.now_ns(ClockId::Monotonic).unwrap_or(0),
            Clock::Fixed { .. } => self.elapsed_ns.load(Ordering::Relaxed),
        };
        self.alarm_at(now_ns.saturating_add(after_ns))
    }

    /// Returns an alarm at the time `due_ns` of the monotonic clock.
    pub(crate) fn alarm_at(&self, due_ns: u64) -> Alarm {
        Alarm { clocks: self.clone(), due_ns }
    }

    /// Returns whether the clock is fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.clock, Clock::Fixed { .. })
    }

    /// Advances a fixed clock by `ns` and returns the elapsed time before that.
    pub(crate) fn advance(&self, ns: u64) -> u64 {
        self.elapsed_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |passed| {
                Some(passed.saturating_add(ns))
            })
            .unwrap_or_else(|passed| passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_clock_advances_by_readings_and_sleeps() {
        let clocks = Clocks::new(Clock::Fixed { realtime_ns: 1000, step_ns: 10 });
        assert_eq!(clocks.now_ns(ClockId::Realtime), Ok(1000));
        assert_eq!(clocks.now_ns(ClockId::Realtime), Ok(1010));
        clocks.advance(500);
        assert_eq!(clocks.now_ns(ClockId::Monotonic), Ok(520));
        assert_eq!(clocks.resolution_ns(ClockId::Monotonic), Ok(10));
        clocks.advance(u64::MAX);
        assert_eq!(clocks.now_ns(ClockId::Realtime), Ok(u64::MAX));
    }

    #[test]
    fn interrupt_ends_a_wait_of_another_thread() {
        let interrupt = Interrupt::default();
        let other = interrupt.clone();
        let thread = std::thread::spawn(move || other.raise());
        assert_eq!(interrupt.wait_until(None), Err(Errno::Intr));
        thread.join().unwrap();
        assert_eq!(interrupt.wait_until(Some(Instant::now())), Err(Errno::Intr));
    }

    #[test]
    fn interrupt_wakes_waiting_tasks() {
        let interrupt = Interrupt::default();
        let mut task = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (interrupt.raised(), interrupt.raised());
        assert!(Pin::new(&mut first).poll(&mut task).is_pending());
        assert!(Pin::new(&mut second).poll(&mut task).is_pending());
        drop(second);
        assert_eq!(interrupt.0.wakers.lock().len(), 1, "a dropped future removes its waker");
        interrupt.raise();
        assert!(Pin::new(&mut first).poll(&mut task).is_ready());
        drop(first);
        assert!(interrupt.0.wakers.lock().is_empty());
    }

    #[test]
    fn cpu_time_clocks_are_notsup() {
        let clocks = Clocks::new(Clock::Host);
        assert_eq!(clocks.now_ns(ClockId::ProcessCpu), Err(Errno::Notsup));
        assert_eq!(clocks.resolution_ns(ClockId::ThreadCpu), Err(Errno::Notsup));
    }
}
