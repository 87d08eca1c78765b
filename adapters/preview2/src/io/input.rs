//! Input streams.
//!
//! The end of a stream is final, as is an error. A read that waits is made on another thread, to
//! which the source goes and from which it comes back: there is one owner at any time, and no lock.

use std::mem;

use palisade_kernel::{Limits, Reader};
use palisade_vfs::{Errno, Result};
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;

use crate::executor::{Task, spawn_blocking};

/// The most bytes that one read answers: enough to make a call worth its cost, and little enough to
/// stay in a processor's cache on its way to the guest.
pub(crate) const CHUNK_BYTES_MAX: usize = Limits::STREAM_BYTES_MAX;
/// Bytes that are read ahead for a guest that only waits until there are some.
const AHEAD_BYTES: usize = 16 * 1024;

/// What bytes come from.
pub(crate) trait ByteSource: Send + 'static {
    /// Reads on, at most `len` bytes, into an empty `to`. Nothing for a `len` that is not 0 means
    /// the end.
    fn read(&mut self, to: &mut Vec<u8>, len: usize) -> Result<usize>;

    /// Differs once bytes that were read ahead have to be read again.
    fn epoch(&self) -> u64 {
        0
    }

    /// Goes back by `len` bytes that were read ahead. Only called under another epoch.
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

/// A stream of a file.
pub(crate) fn file(reader: Reader, offloads: bool) -> DynInputStream {
    let offloads = if offloads { Offload::Always } else { Offload::Never };
    Box::new(Input::new(reader, offloads))
}

/// At most `len` bytes, with a bound of its own.
pub(crate) fn chunk(source: &mut impl ByteSource, len: u64) -> Result<Vec<u8>> {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX);
    let mut bytes = Vec::new();
    source.read(&mut bytes, len)?;
    Ok(bytes)
}

/// When a read is made on another thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offload {
    /// It never waits, or whoever calls may wait for it.
    Never,
    /// Unless the guest itself asked to wait.
    UnlessBlockingCall,
    /// Always.
    Always,
}

/// A source as a stream.
pub(crate) struct Input<S> {
    state: State<S>,
    offloads: Offload,
}

enum State<S> {
    Idle(S),
    Reading(Task<(S, u64, Result<Vec<u8>>)>),
    /// Some bytes have been read, and were not asked for yet. Under another epoch than this one
    /// they are read again.
    Ahead(S, u64, Bytes),
    Failed(Errno),
    Closed,
}

/// A stream's error, which `filesystem-error-code` can tell the guest.
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

    /// Waits for the read that is under way.
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

    /// Drops the bytes that were read ahead under another epoch: a policy was narrowed or revoked.
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

    /// Reads here and now.
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

    /// What there is already.
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
        // A thread that reads cannot be stopped, and the guest shall not have any number of them.
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
