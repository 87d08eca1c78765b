//! `output-stream` over a byte sink.
//!
//! A write completes before it returns, or runs on another thread, to which the sink is moved and
//! from which it is returned. Nothing is buffered, so `flush` has nothing to do. An error is
//! returned once, by the next call; after it the stream is closed.
//!
//! <https://github.com/WebAssembly/wasi-io/blob/main/wit/streams.wit>

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_kernel::{Limits, Writer};
use palisade_vfs::{Errno, Result, broken_contract, bug};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;

use super::input::failed;
use crate::executor::{Task, spawn_blocking};

/// Bytes that `check-write` permits for a stream that writes before it returns.
const BUDGET_BYTES: usize = 1024 * 1024;

/// The buffer of `write-zeroes`.
static ZEROS: [u8; 4096] = [0; 4096];

/// A sink of bytes: a file or a standard stream.
pub(crate) trait ByteSink: Send + 'static {
    /// Writes a prefix of `bytes` and returns its length, which is 0 only if `bytes` is empty.
    fn write(&mut self, bytes: &[u8]) -> Result<usize>;
}

/// A file, and the counter of writes that invalidates the lookup cache.
struct FileSink {
    writer: Writer,
    stream_writes: Arc<AtomicU64>,
}

impl ByteSink for FileSink {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let done = self.writer.write(bytes);
        self.stream_writes.fetch_add(1, Ordering::Release);
        done
    }
}

/// Creates the stream of a file.
pub(crate) fn file(
    writer: Writer,
    offloads: bool,
    stream_writes: &Arc<AtomicU64>,
) -> DynOutputStream {
    Box::new(Output::new(FileSink { writer, stream_writes: Arc::clone(stream_writes) }, offloads))
}

/// An output stream over a sink.
pub(crate) struct Output<K> {
    state: State<K>,
    /// Whether writes run on another thread.
    offloads: bool,
}

enum State<K> {
    Idle(K),
    Writing(Task<(K, Result<()>)>),
    Failed(Errno),
    Closed,
}

fn write_all(sink: &mut impl ByteSink, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let done = sink.write(rest)?;
        if done == 0 {
            return Err(Errno::Io);
        }
        let left = rest.get(done..);
        rest = left.ok_or_else(|| broken_contract("a stream claims to have written too much"))?;
    }
    Ok(())
}

fn write_zeros(sink: &mut impl ByteSink, len: usize) -> Result<()> {
    let mut left = len;
    while left > 0 {
        let piece = ZEROS.get(..left.min(ZEROS.len()));
        let piece = piece.ok_or_else(|| bug!("fewer than {left} zeros"))?;
        write_all(sink, piece)?;
        left -= piece.len();
    }
    Ok(())
}

impl<K: ByteSink> Output<K> {
    pub(crate) fn new(sink: K, offloads: bool) -> Self {
        Output { state: State::Idle(sink), offloads }
    }

    /// Runs `write` on the calling thread or on another one.
    fn start(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut K) -> Result<()> + Send + 'static,
    ) -> StreamResult<()> {
        self.check()?;
        if len > self.budget() {
            return Err(StreamError::trap("a write of more than `check-write` permits"));
        }
        match mem::replace(&mut self.state, State::Closed) {
            State::Idle(mut sink) if self.offloads => {
                let task = spawn_blocking(move || {
                    let done = write(&mut sink);
                    (sink, done)
                });
                self.state = State::Writing(task.map_err(failed)?);
                Ok(())
            }
            State::Idle(mut sink) => match write(&mut sink) {
                Ok(()) => {
                    self.state = State::Idle(sink);
                    Ok(())
                }
                Err(errno) => Err(failed(errno)),
            },
            State::Writing(task) => {
                self.state = State::Writing(task);
                Err(StreamError::trap("a write that `check-write` has not permitted"))
            }
            State::Failed(_) | State::Closed => Err(StreamError::Closed),
        }
    }

    /// Returns the number of bytes that `check-write` permits. A write on another thread keeps its
    /// bytes in memory until it completes.
    fn budget(&self) -> usize {
        if self.offloads { Limits::STREAM_BYTES_MAX } else { BUDGET_BYTES }
    }

    /// Returns the stored error once; after it the stream is closed.
    fn check(&mut self) -> StreamResult<()> {
        match mem::replace(&mut self.state, State::Closed) {
            State::Failed(errno) => Err(failed(errno)),
            State::Closed => Err(StreamError::Closed),
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// Waits for the write in progress.
    async fn finish(&mut self) {
        if let State::Writing(task) = &mut self.state {
            self.state = match task.await {
                Ok((sink, Ok(()))) => State::Idle(sink),
                Ok((_, Err(errno))) | Err(errno) => State::Failed(errno),
            };
        }
    }
}

#[wasmtime_wasi::async_trait]
impl<K: ByteSink> OutputStream for Output<K> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.start(bytes.len(), move |sink| write_all(sink, &bytes))
    }

    fn write_zeroes(&mut self, len: usize) -> StreamResult<()> {
        self.start(len, move |sink| write_zeros(sink, len))
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        Ok(if matches!(self.state, State::Writing(_)) { 0 } else { self.budget() })
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.finish().await;
        self.write(bytes)?;
        self.finish().await;
        self.check()
    }

    async fn cancel(&mut self) {
        // Accepted bytes are written even if the guest drops the stream.
        self.finish().await;
        self.state = State::Closed;
    }
}

#[wasmtime_wasi::async_trait]
impl<K: ByteSink> Pollable for Output<K> {
    async fn ready(&mut self) {
        self.finish().await;
    }
}
