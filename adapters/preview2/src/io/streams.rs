//! `wasi:io/streams` for the synchronous linker: wasmtime-wasi's functions, each looked at once
//! before a runtime is asked to wait for it.
//!
//! Most streams of a guest (files, memory, output) never make a synchronous embedder wait, and to
//! enter a runtime costs more than many a read.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sync::io::streams;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::{in_tokio, with_ambient_tokio_runtime};
use wasmtime_wasi_io::bindings::wasi::io::streams as calls;

/// The table of streams, for the synchronous linker.
pub(crate) struct SyncStreams<'a>(pub(crate) &'a mut ResourceTable);

type In = Resource<DynInputStream>;
type Out = Resource<DynOutputStream>;

/// The result of a call that most often does not wait.
fn soon<F: Future>(call: F) -> F::Output {
    let mut call = pin!(call);
    // What it does may need a runtime to be there, even if it does not wait.
    let looked =
        with_ambient_tokio_runtime(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    match looked {
        Poll::Ready(done) => done,
        Poll::Pending => in_tokio(call),
    }
}

impl streams::Host for SyncStreams<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        Ok(calls::Host::convert_stream_error(self.0, error)?.into())
    }
}

impl streams::HostInputStream for SyncStreams<'_> {
    fn read(&mut self, stream: In, len: u64) -> StreamResult<Vec<u8>> {
        calls::HostInputStream::read(self.0, stream, len)
    }

    fn blocking_read(&mut self, stream: In, len: u64) -> StreamResult<Vec<u8>> {
        soon(calls::HostInputStream::blocking_read(self.0, stream, len))
    }

    fn skip(&mut self, stream: In, len: u64) -> StreamResult<u64> {
        calls::HostInputStream::skip(self.0, stream, len)
    }

    fn blocking_skip(&mut self, stream: In, len: u64) -> StreamResult<u64> {
        soon(calls::HostInputStream::blocking_skip(self.0, stream, len))
    }

    fn subscribe(&mut self, stream: In) -> Result<Resource<DynPollable>> {
        calls::HostInputStream::subscribe(self.0, stream)
    }

    fn drop(&mut self, stream: In) -> Result<()> {
        soon(calls::HostInputStream::drop(self.0, stream))
    }
}

impl streams::HostOutputStream for SyncStreams<'_> {
    fn check_write(&mut self, stream: Out) -> StreamResult<u64> {
        calls::HostOutputStream::check_write(self.0, stream)
    }

    fn write(&mut self, stream: Out, bytes: Vec<u8>) -> StreamResult<()> {
        calls::HostOutputStream::write(self.0, stream, bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Out, bytes: Vec<u8>) -> StreamResult<()> {
        soon(calls::HostOutputStream::blocking_write_and_flush(self.0, stream, bytes))
    }

    fn flush(&mut self, stream: Out) -> StreamResult<()> {
        calls::HostOutputStream::flush(self.0, stream)
    }

    fn blocking_flush(&mut self, stream: Out) -> StreamResult<()> {
        soon(calls::HostOutputStream::blocking_flush(self.0, stream))
    }

    fn subscribe(&mut self, stream: Out) -> Result<Resource<DynPollable>> {
        calls::HostOutputStream::subscribe(self.0, stream)
    }

    fn write_zeroes(&mut self, stream: Out, len: u64) -> StreamResult<()> {
        calls::HostOutputStream::write_zeroes(self.0, stream, len)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Out, len: u64) -> StreamResult<()> {
        soon(calls::HostOutputStream::blocking_write_zeroes_and_flush(self.0, stream, len))
    }

    fn splice(&mut self, to: Out, from: In, len: u64) -> StreamResult<u64> {
        calls::HostOutputStream::splice(self.0, to, from, len)
    }

    fn blocking_splice(&mut self, to: Out, from: In, len: u64) -> StreamResult<u64> {
        soon(calls::HostOutputStream::blocking_splice(self.0, to, from, len))
    }

    fn drop(&mut self, stream: Out) -> Result<()> {
        soon(calls::HostOutputStream::drop(self.0, stream))
    }
}
