//! `input-stream` over a byte source, with a read-ahead buffer.
//!
//! After the end or an error a stream is closed. A read that may block moves the source to another
//! thread and back, so that it has one owner at a time and needs no lock.
//!
//! <https://github.com/WebAssembly/wasi-io/blob/main/wit/streams.wit>

use std::mem;

use palisade_kernel::{Limits, Reader};
use palisade_vfs::{Errno, Result};
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;

use crate::executor::{Task, spawn_blocking};

/// The largest number of bytes that one read returns: it amortizes the cost of a call and fits the
/// processor's cache.
pub(crate) const CHUNK_BYTES_MAX: usize = Limits::STREAM_BYTES_MAX;
/// Bytes that are read ahead for a guest that polls for readiness.
const AHEAD_BYTES: usize = 16 * 1024;

/// A source of bytes: a file or a standard stream.
pub(crate) trait ByteSource: Send + 'static {
    /// Reads at most `len` bytes into an empty `to`. No bytes mean the end, unless `len` is 0.
    fn read(&mut self, to: &mut Vec<u8>, len: usize) -> Result<usize>;

    /// Returns the epoch, which changes when bytes that were read ahead become invalid.
    fn epoch(&self) -> u64 {
        0
    }

    /// Moves the offset back by `len` bytes that were read ahead. Only called after the epoch has
    /// changed.
    fn put_back(&mut self, len: usize) {
        let _ = len;
    }
}

impl ByteSource for Reader {
    fn read(&mut self, to: &mut Vec<u8>, len: usize) -> Result<usize> {
        self.read_vec(to, len)
    }

    fn epoch(&self) -> u64 {
        Reader::epoch(self)
    }

    fn put_back(&mut self, len: usize) {
        Reader::put_back(self, len);
    }
}

/// Creates the stream of a file.
pub(crate) fn file(reader: Reader, offloads: bool) -> DynInputStream {
    let offloads = if offloads { Offload::Always } else { Offload::Never };
    Box::new(Input::new(reader, offloads))
}

/// Reads at most `len` and at most [`CHUNK_BYTES_MAX`] bytes.
pub(crate) fn chunk(source: &mut impl ByteSource, len: u64) -> Result<Vec<u8>> {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX);
    let mut bytes = Vec::new();
    source.read(&mut bytes, len)?;
    Ok(bytes)
}

/// The reads of a stream that run on another thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offload {
    /// None: reads never block, or the calling thread may block.
    Never,
    /// All but those of `blocking-read`.
    UnlessBlockingCall,
    /// All.
    Always,
}

/// An input stream over a source.
pub(crate) struct Input<S> {
    state: State<S>,
    offloads: Offload,
}

enum State<S> {
    Idle(S),
    Reading(Task<(S, u64, Result<Vec<u8>>)>),
    /// The source, the epoch of a read, and its bytes that were not returned yet. They are
    /// discarded when the epoch has changed.
    Ahead(S, u64, Bytes),
    Failed(Errno),
    Closed,
}

/// Converts an error to a stream error, which `filesystem-error-code` can downcast.
pub(crate) fn failed(errno: Errno) -> StreamError {
    match errno {
        Errno::Pipe => StreamError::Closed,
        errno => StreamError::LastOperationFailed(errno.into()),
    }
}

impl<S: ByteSource> Input<S> {
    pub(crate) fn new(source: S, offloads: Offload) -> Self {
        Input { state: State::Idle(source), offloads }
    }

    fn start(&mut self, len: usize) {
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Idle(mut source) => {
                let task = spawn_blocking(move || {
                    let epoch = source.epoch();
                    let bytes = chunk(&mut source, len as u64);
                    (source, epoch, bytes)
                });
                task.map_or_else(State::Failed, State::Reading)
            }
            other => other,
        };
    }

    /// Waits for the read in progress.
    async fn finish(&mut self) {
        if let State::Reading(task) = &mut self.state {
            self.state = match task.await {
                Ok((_, _, Ok(bytes))) if bytes.is_empty() => State::Closed,
                Ok((source, epoch, Ok(bytes))) => State::Ahead(source, epoch, bytes.into()),
                Ok((source, _, Err(Errno::Again))) => State::Idle(source),
                Ok((_, _, Err(errno))) | Err(errno) => State::Failed(errno),
            };
        }
    }

    /// Discards bytes that were read ahead in another epoch: a policy was narrowed or revoked.
    fn drop_outdated(&mut self) {
        match &self.state {
            State::Ahead(source, epoch, _) if source.epoch() != *epoch => {}
            _ => return,
        }
        if let State::Ahead(mut source, _, bytes) = mem::replace(&mut self.state, State::Closed) {
            source.put_back(bytes.len());
            self.state = State::Idle(source);
        }
    }

    /// Reads on the calling thread.
    fn read_here(&mut self, len: usize) -> StreamResult<Bytes> {
        let State::Idle(source) = &mut self.state else { return self.take(len) };
        match chunk(source, len as u64) {
            Ok(bytes) if bytes.is_empty() => {
                self.state = State::Closed;
                Err(StreamError::Closed)
            }
            Ok(bytes) => Ok(bytes.into()),
            Err(Errno::Again) => Ok(Bytes::new()),
            Err(errno) => {
                self.state = State::Closed;
                Err(failed(errno))
            }
        }
    }

    /// Returns buffered bytes.
    fn take(&mut self, len: usize) -> StreamResult<Bytes> {
        match mem::replace(&mut self.state, State::Closed) {
            State::Ahead(source, epoch, mut bytes) => {
                let taken = bytes.split_to(len.min(bytes.len()));
                self.state = if bytes.is_empty() {
                    State::Idle(source)
                } else {
                    State::Ahead(source, epoch, bytes)
                };
                Ok(taken)
            }
            State::Failed(errno) => Err(failed(errno)),
            State::Closed => Err(StreamError::Closed),
            other @ (State::Idle(_) | State::Reading(_)) => {
                self.state = other;
                Ok(Bytes::new())
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl<S: ByteSource> InputStream for Input<S> {
    fn read(&mut self, len: usize) -> StreamResult<Bytes> {
        self.drop_outdated();
        if len == 0 || self.offloads != Offload::Never {
            if len > 0 {
                self.start_if_idle(len);
            }
            return self.take(len);
        }
        self.read_here(len)
    }

    async fn blocking_read(&mut self, len: usize) -> StreamResult<Bytes> {
        self.finish().await;
        self.drop_outdated();
        if len > 0 && matches!(self.state, State::Idle(_)) {
            if self.offloads != Offload::Always {
                return self.read_here(len);
            }
            self.start(len);
            self.finish().await;
        }
        self.take(len)
    }

    async fn cancel(&mut self) {
        // A read in progress cannot be stopped; waiting for it bounds the threads of the guest.
        if let State::Reading(task) = mem::replace(&mut self.state, State::Closed) {
            task.cancel().await;
        }
    }
}

impl<S: ByteSource> Input<S> {
    fn start_if_idle(&mut self, len: usize) {
        if matches!(self.state, State::Idle(_)) {
            self.start(len);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl<S: ByteSource> Pollable for Input<S> {
    async fn ready(&mut self) {
        if self.offloads != Offload::Never {
            self.start_if_idle(AHEAD_BYTES);
            self.finish().await;
        }
    }
}
