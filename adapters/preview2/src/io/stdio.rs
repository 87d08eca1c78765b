//! Standard input, output and error as streams of `wasi:io`.
//!
//! Standard input with a host descriptor is only read when it is readable and the guest reads:
//! reading ahead would take bytes from other handles, and from processes that read after the guest.
//! One thread per guest polls the host descriptor, however many handles wait; the other handles
//! poll in intervals.
//!
//! <https://github.com/WebAssembly/wasi-cli/blob/main/wit/stdio.wit>

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use palisade_kernel::{Interrupt, StreamRef, is_readable, traced_call, wait_readable};
use palisade_vfs::{Errno, Result};
use tokio::sync::oneshot;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, InputStream, Pollable, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;

use super::input::{ByteSource, Input, Offload, failed};
use super::output::{ByteSink, Output};
use crate::PalisadeCtx;

/// The interval at which a waiting thread checks whether its handle was dropped.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The largest number of input bytes per read: the default capacity of a Linux pipe.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// The number of attempts to write to a non-blocking output that is full.
const TRIES_MAX: u32 = 500;

/// Creates a stream of the standard input.
pub(crate) fn input(ctx: &PalisadeCtx) -> DynInputStream {
    let (stream, offloads) = (ctx.process().stdin(), ctx.offloads_blocking_calls());
    let source = Standard { stream: Arc::clone(stream), fd: 0 };
    if stream.waits_for().is_some() {
        return Box::new(HostInput {
            stream: Arc::clone(stream),
            input: Input::new(source, Offload::Never),
            offloads,
            interrupt: ctx.process().interrupt().clone(),
            waiter: Arc::clone(&ctx.input_waiter),
            waiting: None,
            is_dropped: Arc::default(),
        });
    }
    let offloads = match (stream.may_block(), offloads) {
        (false, _) => Offload::Never,
        (true, false) => Offload::UnlessBlockingCall,
        (true, true) => Offload::Always,
    };
    Box::new(Input::new(source, offloads))
}

/// Creates a stream of the standard output or standard error.
pub(crate) fn output(stream: &StreamRef, fd: u32, offloads: bool) -> DynOutputStream {
    let offloads = offloads && stream.may_block();
    Box::new(Output::new(Standard { stream: Arc::clone(stream), fd }, offloads))
}

struct Standard {
    stream: StreamRef,
    /// The descriptor number in Preview 1, for traces.
    fd: u32,
}

impl ByteSource for Standard {
    fn read(&mut self, to: &mut Vec<u8>, len: usize) -> Result<usize> {
        let _span = traced_call("read", self.fd);
        let mut buf = vec![0; len.min(INPUT_BYTES_MAX)];
        let done = self.stream.read(&mut [IoSliceMut::new(&mut buf)])?;
        buf.truncate(done);
        *to = buf;
        Ok(done)
    }
}

impl ByteSink for Standard {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let _span = traced_call("write", self.fd);
        for _ in 0..TRIES_MAX {
            match self.stream.write(&[IoSlice::new(bytes)]) {
                // Another process has set `O_NONBLOCK` on the shared description.
                Err(Errno::Again) => thread::sleep(POLL_INTERVAL),
                done => return done,
            }
        }
        Err(Errno::Again)
    }
}

/// A handle on standard input with a host descriptor.
struct HostInput {
    stream: StreamRef,
    input: Input<Standard>,
    /// Whether waits must not block the calling thread.
    offloads: bool,
    /// Ends a wait on the calling thread.
    interrupt: Interrupt,
    /// Whether a thread waits for input, on behalf of any handle of the guest.
    waiter: Arc<AtomicBool>,
    /// Completes when the thread of this handle ends, because input is readable.
    waiting: Option<oneshot::Receiver<()>>,
    is_dropped: Arc<AtomicBool>,
}

/// The guest's slot for a thread that waits for input, released on drop.
struct WaiterSlot(Arc<AtomicBool>);

impl Drop for WaiterSlot {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl HostInput {
    /// Starts a thread that waits until input is readable. Returns `None` if the guest already has
    /// one, or if the operating system refuses it.
    fn start_waiting(&self) -> Option<oneshot::Receiver<()>> {
        if self.waiter.swap(true, Ordering::Acquire) {
            return None;
        }
        let place = WaiterSlot(Arc::clone(&self.waiter));
        let (stream, is_dropped) = (Arc::clone(&self.stream), Arc::clone(&self.is_dropped));
        let (ended, has_ended) = oneshot::channel();
        let wait = move || {
            while !is_dropped.load(Ordering::Relaxed) && !wait_readable(&*stream, POLL_INTERVAL) {}
            drop(place);
            // The receiver is gone if the handle was dropped.
            let _ = ended.send(());
        };
        thread::Builder::new().name("palisade-stdin".to_owned()).spawn(wait).ok()?;
        Some(has_ended)
    }
}

impl Drop for HostInput {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Relaxed);
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for HostInput {
    fn read(&mut self, len: usize) -> StreamResult<Bytes> {
        if len > 0 && !is_readable(&*self.stream) {
            return Ok(Bytes::new());
        }
        self.input.read(len)
    }

    async fn blocking_read(&mut self, len: usize) -> StreamResult<Bytes> {
        loop {
            if self.offloads {
                self.ready().await;
            } else {
                // The calling thread may block, so it waits itself.
                while !wait_readable(&*self.stream, POLL_INTERVAL) {
                    if self.interrupt.is_raised() {
                        return Err(failed(Errno::Intr));
                    }
                }
            }
            let bytes = self.read(len)?;
            // Another handle may have read the input first.
            if len == 0 || !bytes.is_empty() {
                return Ok(bytes);
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for HostInput {
    async fn ready(&mut self) {
        while !is_readable(&*self.stream) {
            if self.waiting.is_none() {
                self.waiting = self.start_waiting();
            }
            match &mut self.waiting {
                Some(waiting) => {
                    let _ = waiting.await;
                    self.waiting = None;
                }
                None => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}
