//! Executors: a runtime for the synchronous linker, and blocking calls on other threads.
//!
//! A lack of host threads or descriptors never causes a panic. The runtime is built when an
//! embedder builds its linker, which returns the error. If the operating system refuses a thread
//! later, the guest's call is `Again`. wasmtime-wasi's ambient runtime, which is built on demand
//! and panics if that fails, is never used.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use palisade_vfs::{Errno, Result};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

/// The largest number of threads that read for guests of synchronous embedders: tokio's default.
const READING_THREADS_MAX: usize = 512;

static SYNC_RUNTIME: OnceLock<Handle> = OnceLock::new();

/// Builds the runtime of the synchronous linker, once per process.
///
/// The runtime has one thread, which only fires timers: futures are polled on the calling thread.
///
/// # Errors
///
/// - That of the operating system if it refuses a thread.
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

/// Runs a future to completion on this thread.
// perf: most calls of a synchronous guest complete at the first poll, which needs no waker.
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

/// A blocking call on another thread. Dropping it cancels the call if it has not started.
pub(crate) struct Task<R>(JoinHandle<R>);

/// Runs `call` on the blocking pool of the current tokio runtime, or of the synchronous linker's.
///
/// # Errors
///
/// - `Again`: there is no runtime, or the operating system refuses a thread.
pub(crate) fn spawn_blocking<R: Send + 'static>(
    call: impl FnOnce() -> R + Send + 'static,
) -> Result<Task<R>> {
    let current = Handle::try_current().ok();
    let handle = current.as_ref().or_else(|| SYNC_RUNTIME.get()).ok_or(Errno::Again)?;
    // tokio panics if the operating system refuses the first thread, and has no fallible variant.
    let spawned = catch_unwind(AssertUnwindSafe(|| handle.spawn_blocking(call)));
    spawned.map(Task).map_err(|_| Errno::Again)
}

impl<R> Task<R> {
    /// Cancels the call, or waits for its end if it has started.
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
    /// The error is `Io` if the call panicked or its runtime has shut down.
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
    fn panic_on_another_thread_is_an_error() {
        prepare().unwrap();
        let panics = spawn_blocking(|| -> u32 { panic!("expected by this test") }).unwrap();
        assert_eq!(block_on(panics), Err(Errno::Io));
        assert_eq!(block_on(spawn_blocking(|| 7).unwrap()), Ok(7));
    }

    #[test]
    fn block_on_inside_a_runtime_does_not_panic() {
        prepare().unwrap();
        // A runtime without timers: sleeps use the timers of the synchronous linker's runtime.
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        });
    }
}
