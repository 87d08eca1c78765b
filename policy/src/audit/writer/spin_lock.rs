//! The auditor's lock: one atomic operation takes it, and a plain store leaves it.
//!
//! A lock that wakes who waits has to find out, by a second atomic operation, whether anyone does,
//! and that is a quarter of what a record costs. It is held for some nanoseconds, and hardly ever
//! waited for; so who waits here looks again, ever more seldom.

use std::hint;
use std::thread;
use std::time::Duration;

use spin::mutex::{SpinMutex, SpinMutexGuard};

/// So often a waiter looks again at once: while another one records.
const SPINS: u32 = 64;
/// So often it lets others run before it sleeps: its processor may be the one that is needed.
const YIELDS: u32 = 16;
/// For so long it sleeps, while a sink is waited for.
const SLEEP: Duration = Duration::from_micros(100);

/// Something that one thread at a time uses. One that panics leaves it as it is by then.
pub(crate) struct Lock<T>(SpinMutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(of: T) -> Self {
        Lock(SpinMutex::new(of))
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
        let mut turns = 0;
        loop {
            match turns {
                ..SPINS => hint::spin_loop(),
                SPINS.. if turns < SPINS + YIELDS => thread::yield_now(),
                _ => thread::sleep(SLEEP),
            }
            turns = turns.saturating_add(1);
            // A look does not take the line from whoever holds it.
            if !self.0.is_locked()
                && let Some(guard) = self.0.try_lock()
            {
                return guard;
            }
        }
    }
}
