//! Stops a guest early: at its timeout, for a signal, or when the audit fails.
//!
//! A watchdog thread waits for a [`StopCause`] and then interrupts the guest: sleeps and waits end,
//! compiled code traps at the next epoch, interpreted code stops after its slice of fuel. A guest
//! that blocks in a host call does not notice the interrupt. If it has not ended after
//! [`GRACE_PERIOD`], the watchdog writes the outputs of the run and ends the process.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use palisade::Interrupt;

use super::Ended;
use crate::error::{CommandError, EXIT_REFUSED, EXIT_SIGNAL, EXIT_TIMED_OUT};

/// How long a stopped guest may take to end: far longer than a slice of the interpreter, even if
/// each of its instructions is a host call.
const GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The reason to stop a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopCause {
    /// The time of `--timeout` has passed.
    Timeout,
    /// The process received this signal.
    Signal(i32),
    /// The audit log cannot be written.
    AuditFailed,
}

/// The error of a guest that was stopped.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum StopError {
    #[error("the guest was stopped after {}", humantime::format_duration(*.after))]
    #[diagnostic(
        code(palisade::timeout),
        help("raise or remove `--timeout`, which includes the time of compiling")
    )]
    Timeout { after: Duration },

    #[error("the guest was stopped: the process received {}", signal_name(*.signal))]
    #[diagnostic(
        code(palisade::signal),
        help("the outputs of the run were written; a second signal ends the process at once")
    )]
    Signal { signal: i32 },

    #[error("the guest was stopped: the audit log cannot be written")]
    #[diagnostic(
        code(palisade::audit),
        help(
            "make room for the log, or let the guest continue without it: `--audit-when-failing continue`"
        )
    )]
    AuditFailed,
}

impl StopError {
    /// Returns the error of a cause. `timeout` is the value of `--timeout`.
    pub(crate) fn new(cause: StopCause, timeout: Option<Duration>) -> Self {
        match cause {
            StopCause::Timeout => StopError::Timeout { after: timeout.unwrap_or_default() },
            StopCause::Signal(signal) => StopError::Signal { signal },
            StopCause::AuditFailed => StopError::AuditFailed,
        }
    }
}

impl CommandError for StopError {
    fn exit_code(&self) -> u8 {
        match self {
            StopError::Timeout { .. } => EXIT_TIMED_OUT,
            StopError::Signal { signal } => {
                EXIT_SIGNAL.saturating_add(u8::try_from(*signal).unwrap_or(0))
            }
            StopError::AuditFailed => EXIT_REFUSED,
        }
    }
}

/// Returns the name of a signal, such as `SIGTERM`.
fn signal_name(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// When to stop a guest, and the last resort if it does not end.
pub(crate) struct Stop {
    pub(crate) after: Option<Duration>,
    /// The start of the timeout: before the guest was compiled.
    pub(crate) since: Instant,
    pub(crate) stopper: Stopper,
    pub(crate) give_up: Box<dyn FnOnce(StopCause) + Send>,
}

/// A handle that stops the guest from other threads.
#[derive(Clone, Default)]
pub(crate) struct Stopper(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    NotStarted,
    /// The guest will be stopped as soon as it starts.
    Pending(StopCause),
    Running(Sender<Message>),
    Ended,
}

enum Message {
    Stop(StopCause),
    Ended,
}

/// The state of the guest when it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The guest did not run yet; it will be stopped at its start.
    BeforeStart,
    Running,
    /// The guest had ended; its outputs are being written.
    AfterEnd,
}

impl Stopper {
    /// Stops the guest. Later causes are ignored.
    pub(crate) fn stop(&self, cause: StopCause) -> Stopped {
        let mut state = self.state();
        match &*state {
            State::NotStarted => *state = State::Pending(cause),
            State::Pending(_) => {}
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

    /// Marks the guest as running. Causes go to the returned channel.
    fn start(&self) -> (Sender<Message>, Receiver<Message>) {
        let (to, messages) = channel();
        let mut state = self.state();
        if let State::Pending(cause) = &*state {
            let _ = to.send(Message::Stop(*cause));
        }
        *state = State::Running(to.clone());
        (to, messages)
    }

    fn end(&self) {
        *self.state() = State::Ended;
    }
}

/// The watchdog of a running guest. Dropping it marks the guest as ended.
pub(super) struct Watchdog {
    cause: Arc<OnceLock<StopCause>>,
    ended: Option<(Stopper, Sender<Message>)>,
}

impl Watchdog {
    /// Starts the watchdog thread. On a cause it calls `halt` and interrupts sleeps and waits.
    ///
    /// # Errors
    ///
    /// [`Ended::Refused`]: the operating system refuses a thread.
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
        let (shared_cause, interrupt) = (Arc::clone(&cause), interrupt.clone());
        let watch = move || {
            let message = match after {
                Some(after) => messages.recv_timeout(after.saturating_sub(since.elapsed())),
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let cause = match message {
                Ok(Message::Stop(cause)) => cause,
                Err(RecvTimeoutError::Timeout) => StopCause::Timeout,
                Ok(Message::Ended) | Err(RecvTimeoutError::Disconnected) => return,
            };
            let _ = shared_cause.set(cause);
            halt();
            interrupt.raise();
            if !has_ended_within(GRACE_PERIOD, &messages) {
                give_up(cause);
            }
        };
        let thread = thread::Builder::new().name("palisade-watchdog".to_owned()).spawn(watch);
        thread.map_err(|why| Ended::Refused(format!("cannot start the watchdog thread: {why}")))?;
        Ok(Watchdog { cause, ended: Some((stopper, to)) })
    }

    /// Returns the cause, if the guest was stopped.
    pub(super) fn cause(&self) -> Option<StopCause> {
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

/// Waits until the guest ends or the time is up. Ignores further causes.
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
