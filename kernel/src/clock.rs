//! Clocks and sleep: the host's, or a clock of the guest's own that only stands or steps.

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

/// Which clock is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockId {
    /// Nanoseconds since 1970.
    Realtime,
    /// Nanoseconds since a moment of the host's choice; never goes back.
    Monotonic,
    /// The processor time of the process. Not supported: it would tell about the host.
    ProcessCpu,
    /// The processor time of the thread. Not supported: it would tell about the host.
    ThreadCpu,
}

/// Where a guest's time comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The host's clocks; a sleep takes its time.
    #[default]
    Host,
    /// A clock that starts at `realtime_ns` (the monotonic one at 0), goes on by `step_ns` at
    /// every look, and by the whole length of a sleep, which takes no time.
    Fixed {
        /// Nanoseconds since 1970 at the start.
        realtime_ns: u64,
        /// Nanoseconds that pass at every look.
        step_ns: u64,
    },
}

/// Wakes a guest that sleeps or waits, from another thread, once and for all: every sleep and
/// every wait from then on ends at once with `Intr`.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<InterruptState>);

#[derive(Debug, Default)]
struct InterruptState {
    raised: Mutex<bool>,
    changed: Condvar,
    /// Tasks that wait for it. Taken before `raised`, if both are.
    wakers: Mutex<Slab<Waker>>,
}

impl Interrupt {
    /// How long a wait for the host's descriptors goes on without looking up.
    pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

    /// Wakes the guest.
    pub fn raise(&self) {
        *self.0.raised.lock() = true;
        self.0.changed.notify_all();
        for waker in self.0.wakers.lock().drain() {
            waker.wake();
        }
    }

    /// Completes when the guest is woken, for whoever waits in a task.
    #[must_use]
    pub fn raised(&self) -> Raised {
        Raised { interrupt: self.clone(), waker: None }
    }

    /// Whether the guest was woken.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.raised.lock()
    }

    /// Waits until `deadline`, or for ever. `Intr` if the guest is woken.
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

/// What [`Interrupt::raised`] answers.
#[derive(Debug)]
pub struct Raised {
    interrupt: Interrupt,
    /// Where its waker is.
    waker: Option<usize>,
}

impl Future for Raised {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let interrupt = self.interrupt.clone();
        let mut wakers = interrupt.0.wakers.lock();
        // Looked at with the wakers held, so that a raise either is seen or finds the waker.
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
        // Once it is raised, all wakers have been taken out and no other has come in.
        if let Some(at) = self.waker.filter(|_| !self.interrupt.is_raised()) {
            wakers.try_remove(at);
        }
    }
}

/// A moment on a guest's monotonic clock that someone waits for.
#[derive(Clone, Debug)]
pub struct Alarm {
    clocks: Clocks,
    due_ns: u64,
}

impl Alarm {
    /// The host's moment to wait for; `None` if the clock is fixed, or if it never comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // A look at a fixed clock makes it step.
        if self.is_fixed() {
            return None;
        }
        let now_ns = self.clocks.now_ns(ClockId::Monotonic).unwrap_or(0);
        self.clocks.deadline(self.due_ns.saturating_sub(now_ns))
    }

    /// Whether the clock only stands and steps, so that nobody has to wait.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.clocks.is_fixed()
    }

    /// Whether a fixed clock has reached the moment. This is no look, so it makes no step.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.is_fixed() && self.clocks.elapsed_ns.load(Ordering::Relaxed) >= self.due_ns
    }

    /// Waits for the moment on a fixed clock, among all that are waited for on it.
    #[must_use]
    pub fn wait_on_fixed_clock(&self) -> FixedClockWait {
        let mut fixed_waits = self.clocks.fixed_waits.lock();
        *fixed_waits.due.entry(self.due_ns).or_default() += 1;
        FixedClockWait { alarm: self.clone(), advances_seen: fixed_waits.advances }
    }
}

/// What is waited for on a fixed clock.
#[derive(Debug, Default)]
struct FixedClockWaits {
    /// The moments, with how many wait for each.
    due: BTreeMap<u64, usize>,
    /// How often the clock went on to one.
    advances: u64,
}

/// A wait on a fixed clock. The clock goes on to the earliest moment that is waited for, and no
/// further until whoever waited for that had time to see it.
#[derive(Debug)]
pub struct FixedClockWait {
    alarm: Alarm,
    /// The clock's count when this one last looked.
    advances_seen: u64,
}

impl FixedClockWait {
    /// Whether the moment has come. With nothing else to happen first, the clock goes on.
    pub fn is_due(&mut self) -> bool {
        let mut fixed_waits = self.alarm.clocks.fixed_waits.lock();
        if self.alarm.has_passed() {
            return true;
        }
        if self.advances_seen != fixed_waits.advances {
            // It went on for someone else, whose turn it is.
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

/// One guest's clocks. A clone is the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    clock: Clock,
    /// The host's moment that the monotonic clock counts from.
    origin: Instant,
    /// What has passed on a fixed clock.
    elapsed_ns: Arc<AtomicU64>,
    /// What is waited for on a fixed clock.
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

    /// Nanoseconds on a clock.
    pub(crate) fn now_ns(&self, id: ClockId) -> Result<u64> {
        match (self.clock, id) {
            (_, ClockId::ProcessCpu | ClockId::ThreadCpu) => Err(Errno::Notsup),
            (Clock::Host, ClockId::Realtime) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_nanos()).map_err(|_| Errno::Overflow)
            }
            (Clock::Host, ClockId::Monotonic) => {
                // Counted from 1 s before the start, so that no reading is 0.
                let since = self.origin.elapsed().saturating_add(Duration::from_secs(1));
                u64::try_from(since.as_nanos()).map_err(|_| Errno::Overflow)
            }
            (Clock::Fixed { realtime_ns, step_ns }, ClockId::Realtime) => {
                Ok(realtime_ns.saturating_add(self.advance(step_ns)))
            }
            (Clock::Fixed { step_ns, .. }, ClockId::Monotonic) => Ok(self.advance(step_ns)),
        }
    }

    /// The smallest step of a clock in nanoseconds, never 0.
    pub(crate) fn resolution_ns(&self, id: ClockId) -> Result<u64> {
        match (self.clock, id) {
            (_, ClockId::ProcessCpu | ClockId::ThreadCpu) => Err(Errno::Notsup),
            (Clock::Host, ClockId::Realtime | ClockId::Monotonic) => Ok(1),
            (Clock::Fixed { step_ns, .. }, ClockId::Realtime | ClockId::Monotonic) => {
                Ok(step_ns.max(1))
            }
        }
    }

    /// The host's moment at which `wait_ns` from now are over, for a clock of the host; `None` if
    /// the clock is fixed, or the moment lies beyond the host's time.
    pub(crate) fn deadline(&self, wait_ns: u64) -> Option<Instant> {
        match self.clock {
            Clock::Host => Instant::now().checked_add(Duration::from_nanos(wait_ns)),
            Clock::Fixed { .. } => None,
        }
    }

    /// The moment `after_ns` from now.
    pub(crate) fn alarm_after(&self, after_ns: u64) -> Alarm {
        // A look at a fixed clock makes it step; this is none.
        let now_ns = match self.clock {
            Clock::Host => self.now_ns(ClockId::Monotonic).unwrap_or(0),
            Clock::Fixed { .. } => self.elapsed_ns.load(Ordering::Relaxed),
        };
        self.alarm_at(now_ns.saturating_add(after_ns))
    }

    /// The moment `due_ns` of the monotonic clock.
    pub(crate) fn alarm_at(&self, due_ns: u64) -> Alarm {
        Alarm { clocks: self.clone(), due_ns }
    }

    /// Whether waiting takes time.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.clock, Clock::Fixed { .. })
    }

    /// Lets `ns` pass on a fixed clock, and answers what had passed before.
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
    fn a_fixed_clock_steps_at_every_look_and_sleeps_at_once() {
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
    fn a_wait_is_interrupted_from_another_thread() {
        let interrupt = Interrupt::default();
        let other = interrupt.clone();
        let thread = std::thread::spawn(move || other.raise());
        assert_eq!(interrupt.wait_until(None), Err(Errno::Intr));
        thread.join().unwrap();
        assert_eq!(interrupt.wait_until(Some(Instant::now())), Err(Errno::Intr));
    }

    #[test]
    fn a_task_is_woken_once_the_interrupt_is_raised() {
        let interrupt = Interrupt::default();
        let mut task = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (interrupt.raised(), interrupt.raised());
        assert!(Pin::new(&mut first).poll(&mut task).is_pending());
        assert!(Pin::new(&mut second).poll(&mut task).is_pending());
        drop(second);
        assert_eq!(interrupt.0.wakers.lock().len(), 1, "who waits no more leaves nothing behind");
        interrupt.raise();
        assert!(Pin::new(&mut first).poll(&mut task).is_ready());
        drop(first);
        assert!(interrupt.0.wakers.lock().is_empty());
    }

    #[test]
    fn the_processors_clocks_are_not_told() {
        let clocks = Clocks::new(Clock::Host);
        assert_eq!(clocks.now_ns(ClockId::ProcessCpu), Err(Errno::Notsup));
        assert_eq!(clocks.resolution_ns(ClockId::ThreadCpu), Err(Errno::Notsup));
    }
}
