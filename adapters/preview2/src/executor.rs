//! Executors: the runtime of the synchronous linker, and threads for calls that may block.
//!
//! Nothing here panics for want of a thread or of a descriptor of the host. The synchronous runtime
//! is built when an embedder makes its linker, which fails if that fails; a thread that the
//! operating system refuses later is `Again` for the guest. wasmtime-wasi's own ambient runtime,
//! which is built in the first call that needs it and panics if it cannot be, is never used.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use palisade_vfs::{Errno, Result};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

/// The most threads that read for guests of synchronous embedders: as many as tokio's pools have.
const READING_THREADS_MAX: usize = 512;

static SYNC_RUNTIME: OnceLock<Handle> = OnceLock::new();

/// Builds the runtime of the synchronous linker, unless it is there.
///
/// It is one thread, which only fires timers: calls are polled on the thread that makes them.
///
/// # Errors
///
/// The operating system's, if it has no thread to give.
pub(crate) fn prepare() -> io::Result<()> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if SYNC_RUNTIME.get().is_some() {
        return Ok(());
    }
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().max_blocking_threads(READING_THREADS_MAX).build()?;
    let handle = runtime.handle().clone();
    let drive = move || runtime.block_on(std::future::pending::<()>());
    thread::Builder::new().name("palisade-timers".to_owned()).spawn(drive)?;
    let _ = SYNC_RUNTIME.set(handle);
    Ok(())
}

/// Polls `call` once, and blocks this thread until it is done if it is not done yet.
///
/// Most calls of a synchronous guest are done at once.
pub(crate) fn block_on<F: Future>(call: F) -> F::Output {
    let mut call = pin!(call);
    let _entered = SYNC_RUNTIME.get().map(Handle::enter);
    if let Poll::Ready(done) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return done;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut task = Context::from_waker(&waker);
    loop {
        match call.as_mut().poll(&mut task) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

/// Wakes a thread that is parked in [`block_on`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A call on another thread. Dropping it cancels the call if no thread has begun it.
pub(crate) struct Task<R>(JoinHandle<R>);

/// Runs `call` on a thread of the current tokio runtime, or of the synchronous linker's.
///
/// # Errors
///
/// `Again` if there is neither a runtime nor a thread.
pub(crate) fn spawn_blocking<R: Send + 'static>(
    call: impl FnOnce() -> R + Send + 'static,
) -> Result<Task<R>> {
    let current = Handle::try_current().ok();
    let handle = current.as_ref().or_else(|| SYNC_RUNTIME.get()).ok_or(Errno::Again)?;
    // tokio has no way to ask: it panics if the operating system refuses the first thread.
    let spawned = catch_unwind(AssertUnwindSafe(|| handle.spawn_blocking(call)));
    spawned.map(Task).map_err(|_| Errno::Again)
}

impl<R> Task<R> {
    /// Cancels the call, or waits for it if a thread has begun it.
    pub(crate) async fn cancel(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<R> Future for Task<R> {
    /// `Io` if the call panicked, or was cancelled by the end of its runtime.
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<R>> {
        Pin::new(&mut self.0).poll(task).map(|done| done.map_err(|_| Errno::Io))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_that_panics_on_another_thread_is_an_error() {
        prepare().unwrap();
        let panics = spawn_blocking(|| -> u32 { panic!("expected by this test") }).unwrap();
        assert_eq!(block_on(panics), Err(Errno::Io));
        assert_eq!(block_on(spawn_blocking(|| 7).unwrap()), Ok(7));
    }

    #[test]
    fn blocking_inside_of_a_runtime_does_not_panic() {
        prepare().unwrap();
        // A runtime without timers, which a guest's sleep must not depend on.
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        });
    }
}
