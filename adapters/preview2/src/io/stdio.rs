//! The guest's standard streams.
//!
//! Input that has a descriptor of the host is never read before there is something to read: that
//! would take what another handle, or whoever reads it after the guest, should get.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_kernel::{Interrupt, StreamRef, is_readable, traced_call, wait_readable};
use palisade_vfs::{Errno, Result};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, InputStream, Pollable, StreamResult};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn_blocking};
use wasmtime_wasi_io::bytes::Bytes;

use super::input::{Hops, Input, Source, failed};
use super::output::{Output, Sink};

/// How long a thread waits for input without looking whether anyone still wants it.
const LOOK_UP_EVERY: Duration = Duration::from_millis(20);
/// The most bytes of input that are read at once: what a pipe of Linux holds.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// How often a write is tried on an output that does not wait and takes nothing.
const TRIES_MAX: u32 = 500;

/// Standard input.
pub(crate) fn input(stream: &StreamRef, interrupt: &Interrupt, hops: bool) -> DynInputStream {
    let source = Standard { stream: Arc::clone(stream), fd: 0 };
    if stream.waits_for().is_some() {
        let input = Input::new(source, Hops::Never);
        let stream = Arc::clone(stream);
        let (interrupt, unwanted) = (interrupt.clone(), Arc::default());
        return Box::new(HostInput { stream, input, hops, interrupt, waiting: None, unwanted });
    }
    let hops = match (stream.may_block(), hops) {
        (false, _) => Hops::Never,
        (true, false) => Hops::UnlessBlocking,
        (true, true) => Hops::Always,
    };
    Box::new(Input::new(source, hops))
}

/// Standard output or error.
pub(crate) fn output(stream: &StreamRef, fd: u32, hops: bool) -> DynOutputStream {
    let hops = hops && stream.may_block();
    Box::new(Output::new(Standard { stream: Arc::clone(stream), fd }, hops))
}

struct Standard {
    stream: StreamRef,
    /// Its number in Preview 1, for traces.
    fd: u32,
}

impl Source for Standard {
    fn read(&mut self, to: &mut Vec<u8>, len: usize) -> Result<usize> {
        let _span = traced_call("read", self.fd);
        let mut buf = vec![0; len.min(INPUT_BYTES_MAX)];
        let done = self.stream.read(&mut [IoSliceMut::new(&mut buf)])?;
        buf.truncate(done);
        *to = buf;
        Ok(done)
    }
}

impl Sink for Standard {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let _span = traced_call("write", self.fd);
        for _ in 0..TRIES_MAX {
            match self.stream.write(&[IoSlice::new(bytes)]) {
                // Someone else has made the host's descriptor one that does not wait.
                Err(Errno::Again) => std::thread::sleep(LOOK_UP_EVERY),
                done => return done,
            }
        }
        Err(Errno::Again)
    }
}

/// Input with a descriptor of the host.
struct HostInput {
    stream: StreamRef,
    input: Input<Standard>,
    /// Whether a wait must not be made here.
    hops: bool,
    /// Ends a wait that is made here.
    interrupt: Interrupt,
    /// A thread that waits until there is something to read.
    waiting: Option<AbortOnDropJoinHandle<()>>,
    unwanted: Arc<AtomicBool>,
}

impl Drop for HostInput {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
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
            if self.hops {
                self.ready().await;
            } else {
                // Whoever calls waits for this alone, so no other thread has to.
                while !wait_readable(&*self.stream, LOOK_UP_EVERY) {
                    if self.interrupt.is_raised() {
                        return Err(failed(Errno::Intr));
                    }
                }
            }
            let bytes = self.read(len)?;
            // Another handle may have been quicker.
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
            let waiting = self.waiting.get_or_insert_with(|| {
                let (stream, unwanted) = (Arc::clone(&self.stream), Arc::clone(&self.unwanted));
                spawn_blocking(move || {
                    while !unwanted.load(Ordering::Relaxed)
                        && !wait_readable(&*stream, LOOK_UP_EVERY)
                    {}
                })
            });
            waiting.await;
            self.waiting = None;
        }
    }
}
