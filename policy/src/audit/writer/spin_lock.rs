//! A spin lock with backoff: one atomic operation takes it, and a plain store releases it.
//!
//! A lock that wakes its waiters needs a second atomic operation on release, which is a quarter of
//! the cost of a record. This lock is held for some nanoseconds and rarely contended, so a waiter
//! polls with increasing intervals.

use std::hint;
use std::thread;
use std::time::Duration;

use spin::mutex::{SpinMutex, SpinMutexGuard};

/// The number of polls without a pause.
const SPINS: u32 = 64;
/// The number of polls after which the thread yields: the holder may need the processor.
const YIELDS: u32 = 16;
/// The interval of all further polls, while the holder waits for a sink.
const SLEEP: Duration = Duration::from_micros(100);

/// A lock without poisoning: after a panic of its holder the value is kept as it is.
pub(crate) struct SpinLock<T>(SpinMutex<T>);

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T) -> Self {
        SpinLock(SpinMutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> SpinMutexGuard<'_, T> {
        self.0.try_lock().unwrap_or_else(|| self.wait())
    }

    /// Takes the lock unless another thread holds it.
    pub(crate) fn try_lock(&self) -> Option<SpinMutexGuard<'_, T>> {
        self.0.try_lock()
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    #[cold]
    fn wait(&self) -> SpinMutexGuard<'_, T> {
        let mut polls = 0_u32;
        loop {
            match polls {
                ..SPINS => hint::spin_loop(),
                SPINS.. if polls < SPINS + YIELDS => thread::yield_now(),
                _ => thread::sleep(SLEEP),
            }
            polls = polls.saturating_add(1);
            // A load does not take the cache line from the holder, as a failed exchange would.
            if !self.0.is_locked()
                && let Some(guard) = self.0.try_lock()
            {
                return guard;
            }
        }
    }
}
