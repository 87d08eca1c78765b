//! `wasi:io` for the synchronous linker, and a bounded `wasi:io/poll` for both linkers.
//!
//! The functions are wasmtime-wasi's, run by [`block_on`] on the calling thread: most streams never
//! block, and entering a tokio runtime costs more than a typical read.
//!
//! - <https://github.com/WebAssembly/wasi-io/blob/main/wit/streams.wit>
//! - <https://github.com/WebAssembly/wasi-io/blob/main/wit/poll.wit>

use palisade_kernel::Limits;
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};
use wasmtime_wasi_io::bindings::wasi::io::poll as async_poll;
use wasmtime_wasi_io::bindings::wasi::io::streams as calls;

use crate::ctx::too_many;
use crate::executor::block_on;

/// The table of streams and pollables, and the limits of the guest.
pub(crate) struct StreamTable<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) limits: &'a Limits,
}

/// A [`StreamTable`] for the synchronous bindings.
pub(crate) struct SyncStreamTable<'a>(pub(crate) StreamTable<'a>);

type In = Resource<DynInputStream>;
type Out = Resource<DynOutputStream>;
type Pollables = Vec<Resource<DynPollable>>;

impl StreamTable<'_> {
    /// Converts the error of a full table to a trap that names the limit.
    fn pushed<T>(&self, pushed: Result<T>) -> Result<T> {
        pushed.map_err(|error| match error.downcast_ref() {
            Some(ResourceTableError::Full) => too_many(self.limits.streams_max),
            Some(_) | None => error,
        })
    }
}

impl async_poll::Host for StreamTable<'_> {
    async fn poll(&mut self, pollables: Pollables) -> Result<Vec<u32>> {
        let (len, max) = (pollables.len(), self.limits.subscriptions_max);
        if len > max as usize {
            let text = format!("a poll of {len} pollables at once; the limit is {max}");
            return Err(wasmtime::Error::msg(text));
        }
        async_poll::Host::poll(self.table, pollables).await
    }
}

impl async_poll::HostPollable for StreamTable<'_> {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        async_poll::HostPollable::ready(self.table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        async_poll::HostPollable::block(self.table, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        async_poll::HostPollable::drop(self.table, pollable)
    }
}

impl poll::Host for SyncStreamTable<'_> {
    fn poll(&mut self, pollables: Pollables) -> Result<Vec<u32>> {
        block_on(async_poll::Host::poll(&mut self.0, pollables))
    }
}

impl poll::HostPollable for SyncStreamTable<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        block_on(async_poll::HostPollable::ready(&mut self.0, pollable))
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        block_on(async_poll::HostPollable::block(&mut self.0, pollable))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        async_poll::HostPollable::drop(&mut self.0, pollable)
    }
}

impl streams::Host for SyncStreamTable<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        let converted = calls::Host::convert_stream_error(self.0.table, error);
        Ok(self.0.pushed(converted)?.into())
    }
}

impl streams::HostInputStream for SyncStreamTable<'_> {
    fn read(&mut self, stream: In, len: u64) -> StreamResult<Vec<u8>> {
        calls::HostInputStream::read(self.0.table, stream, len)
    }

    fn blocking_read(&mut self, stream: In, len: u64) -> StreamResult<Vec<u8>> {
        block_on(calls::HostInputStream::blocking_read(self.0.table, stream, len))
    }

    fn skip(&mut self, stream: In, len: u64) -> StreamResult<u64> {
        calls::HostInputStream::skip(self.0.table, stream, len)
    }

    fn blocking_skip(&mut self, stream: In, len: u64) -> StreamResult<u64> {
        block_on(calls::HostInputStream::blocking_skip(self.0.table, stream, len))
    }

    fn subscribe(&mut self, stream: In) -> Result<Resource<DynPollable>> {
        let pollable = calls::HostInputStream::subscribe(self.0.table, stream);
        self.0.pushed(pollable)
    }

    fn drop(&mut self, stream: In) -> Result<()> {
        block_on(calls::HostInputStream::drop(self.0.table, stream))
    }
}

impl streams::HostOutputStream for SyncStreamTable<'_> {
    fn check_write(&mut self, stream: Out) -> StreamResult<u64> {
        calls::HostOutputStream::check_write(self.0.table, stream)
    }

    fn write(&mut self, stream: Out, bytes: Vec<u8>) -> StreamResult<()> {
        calls::HostOutputStream::write(self.0.table, stream, bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Out, bytes: Vec<u8>) -> StreamResult<()> {
        block_on(calls::HostOutputStream::blocking_write_and_flush(self.0.table, stream, bytes))
    }

    fn flush(&mut self, stream: Out) -> StreamResult<()> {
        calls::HostOutputStream::flush(self.0.table, stream)
    }

    fn blocking_flush(&mut self, stream: Out) -> StreamResult<()> {
        block_on(calls::HostOutputStream::blocking_flush(self.0.table, stream))
    }

    fn subscribe(&mut self, stream: Out) -> Result<Resource<DynPollable>> {
        let pollable = calls::HostOutputStream::subscribe(self.0.table, stream);
        self.0.pushed(pollable)
    }

    fn write_zeroes(&mut self, stream: Out, len: u64) -> StreamResult<()> {
        calls::HostOutputStream::write_zeroes(self.0.table, stream, len)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Out, len: u64) -> StreamResult<()> {
        block_on(calls::HostOutputStream::blocking_write_zeroes_and_flush(
            self.0.table,
            stream,
            len,
        ))
    }

    fn splice(&mut self, to: Out, from: In, len: u64) -> StreamResult<u64> {
        calls::HostOutputStream::splice(self.0.table, to, from, len)
    }

    fn blocking_splice(&mut self, to: Out, from: In, len: u64) -> StreamResult<u64> {
        block_on(calls::HostOutputStream::blocking_splice(self.0.table, to, from, len))
    }

    fn drop(&mut self, stream: Out) -> Result<()> {
        block_on(calls::HostOutputStream::drop(self.0.table, stream))
    }
}
