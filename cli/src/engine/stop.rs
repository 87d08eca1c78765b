//! Stopping a guest before its end: when its time is up, for a signal, or when the audit fails.
//!
//! A watchdog thread waits for the cause. It interrupts the guest: sleeps and waits end, compiled
//! code traps at the next epoch, interpreted code stops after its slice of fuel. A guest that sits
//! in a call of the host does not notice. If it has not ended after [`GRACE`], the watchdog ends
//! the process itself, with everything written that a run leaves behind.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use palisade::Interrupt;

use super::Ended;

/// How long a guest that was stopped may take to come to its end: far longer than an interpreter's
/// slice takes, also if each of its instructions is a call of the host.
const GRACE: Duration = Duration::from_secs(1);

/// Why a guest is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its time is up.
    TimedOut,
    /// The process got this signal.
    Signal(i32),
    /// The audit cannot be written.
    Unrecorded,
}

/// When to stop a guest, and what to do if it does not end then.
pub(crate) struct Stop {
    pub(crate) after: Option<Duration>,
    /// Since when: before the guest was compiled.
    pub(crate) since: Instant,
    pub(crate) stopper: Stopper,
    pub(crate) give_up: Box<dyn FnOnce(Cause) + Send>,
}

/// Stops the guest from other threads.
#[derive(Clone, Default)]
pub(crate) struct Stopper(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    NotStarted,
    /// It is stopped as soon as it starts.
    Due(Cause),
    Running(Sender<Message>),
    Ended,
}

enum Message {
    Stop(Cause),
    Ended,
}

/// Whether there was a guest to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It does not run yet, and will be stopped at its start.
    BeforeStart,
    Running,
    /// It has ended by itself; what it leaves behind is being written.
    AfterEnd,
}

impl Stopper {
    /// Stops the guest. Only the first cause counts.
    pub(crate) fn stop(&self, cause: Cause) -> Stopped {
        let mut state = self.state();
        match &*state {
            State::NotStarted => *state = State::Due(cause),
            State::Due(_) => {}
            State::Running(to) => {
                let _ = to.send(Message::Stop(cause));
                return Stopped::Running;
            }
            State::Ended => return Stopped::AfterEnd,
        }
        Stopped::BeforeStart
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on causes go to the watchdog.
    fn start(&self) -> (Sender<Message>, Receiver<Message>) {
        let (to, messages) = channel();
        let mut state = self.state();
        if let State::Due(cause) = &*state {
            let _ = to.send(Message::Stop(*cause));
        }
        *state = State::Running(to.clone());
        (to, messages)
    }

    fn end(&self) {
        *self.state() = State::Ended;
    }
}

/// Stops a guest when there is a cause. The drop says that the guest has ended.
pub(super) struct Watchdog {
    cause: Arc<OnceLock<Cause>>,
    ended: Option<(Stopper, Sender<Message>)>,
}

impl Watchdog {
    /// Watches from now on. When there is a cause, `halt` is called, and sleeps and waits end.
    ///
    /// # Errors
    ///
    /// [`Ended::Refused`] if the operating system has no thread to give.
    pub(super) fn start(
        stop: Option<Stop>,
        interrupt: &Interrupt,
        halt: impl FnOnce() + Send + 'static,
    ) -> Result<Self, Ended> {
        let cause = Arc::new(OnceLock::new());
        let Some(Stop { after, since, stopper, give_up }) = stop else {
            return Ok(Watchdog { cause, ended: None });
        };
        let (to, messages) = stopper.start();
        let (told, interrupt) = (Arc::clone(&cause), interrupt.clone());
        let watch = move || {
            let message = match after {
                Some(after) => messages.recv_timeout(after.saturating_sub(since.elapsed())),
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let cause = match message {
                Ok(Message::Stop(cause)) => cause,
                Err(RecvTimeoutError::Timeout) => Cause::TimedOut,
                Ok(Message::Ended) | Err(RecvTimeoutError::Disconnected) => return,
            };
            let _ = told.set(cause);
            halt();
            interrupt.raise();
            if !has_ended_within(GRACE, &messages) {
                give_up(cause);
            }
        };
        let thread = thread::Builder::new().name("palisade-watchdog".to_owned()).spawn(watch);
        thread.map_err(|why| Ended::Refused(format!("there is no thread to stop it: {why}")))?;
        Ok(Watchdog { cause, ended: Some((stopper, to)) })
    }

    /// Why the guest was stopped, if it was.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((stopper, to)) = self.ended.take() {
            stopper.end();
            let _ = to.send(Message::Ended);
        }
    }
}

/// Waits for the end of the guest; further causes change nothing.
fn has_ended_within(limit: Duration, messages: &Receiver<Message>) -> bool {
    let until = std::time::Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match messages.recv_timeout(left) {
            Ok(Message::Stop(_)) => {}
            Ok(Message::Ended) | Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}
