//! Output streams.
//!
//! A write is made whole before it is answered, or on another thread, to which the sink goes and
//! from which it comes back. Nothing is kept, so there is nothing to flush. An error is returned
//! once, by the next call, and then the stream is closed.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_kernel::{Limits, Writer};
use palisade_vfs::{Errno, Result, broken_contract, bug};
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;

use super::input::failed;
use crate::executor::{Task, spawn_blocking};

/// Bytes that `check-write` permits at once, for a stream that writes before it returns.
const BUDGET_BYTES: usize = 1024 * 1024;

/// Zeros to be written.
static ZEROS: [u8; 4096] = [0; 4096];

/// Where bytes go.
pub(crate) trait ByteSink: Send + 'static {
    /// Writes some of `bytes`: none only if there are none.
    fn write(&mut self, bytes: &[u8]) -> Result<usize>;
}

/// A file, and the number that counts what was written.
struct FileSink {
    writer: Writer,
    written: Arc<AtomicU64>,
}

impl ByteSink for FileSink {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let done = self.writer.write(bytes);
        self.written.fetch_add(1, Ordering::Release);
        done
    }
}

/// A stream of a file.
pub(crate) fn file(writer: Writer, offloads: bool, written: &Arc<AtomicU64>) -> DynOutputStream {
    Box::new(Output::new(FileSink { writer, written: Arc::clone(written) }, offloads))
}

/// A sink as a stream.
pub(crate) struct Output<K> {
    state: State<K>,
    /// Whether writes are made on another thread.
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

    /// Writes with `write`: here, or on another thread.
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

    /// Bytes that one write takes. Those of a write on another thread are kept until it is done.
    fn budget(&self) -> usize {
        if self.offloads { Limits::STREAM_BYTES_MAX } else { BUDGET_BYTES }
    }

    /// Tells an error, once.
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

    /// Waits for the write that is under way.
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
        // What was accepted is written: a guest that drops its stream has written all the same.
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
