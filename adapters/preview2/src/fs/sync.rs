//! `wasi:filesystem` for the synchronous bindings: wrappers of the asynchronous functions.
//!
//! Under the synchronous linker no call is offloaded to another thread, so each future completes at
//! its first poll. The wrappers only convert between the types of the two bindings.
//!
//! <https://github.com/WebAssembly/wasi-filesystem/blob/main/wit/types.wit>

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use palisade_vfs::Stat;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types as calls;
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

use crate::ctx::LinkerKind;
use crate::errno::refused;
use crate::{PalisadeCtxView, convert};

/// Returns the result of a future that completes at its first poll.
#[inline]
fn now<T>(call: impl Future<Output = FsResult<T>>) -> FsResult<T> {
    poll_once(call).unwrap_or_else(|| Err(FsError::trap(waited())))
}

fn poll_once<F: Future>(call: F) -> Option<F::Output> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn waited() -> wasmtime::Error {
    wasmtime::Error::msg("a call that is made where it is did not end")
}

impl PalisadeCtxView<'_> {
    /// Marks the guest as linked synchronously: calls may block the calling thread.
    fn here(&mut self) -> &mut Self {
        self.ctx.linker = LinkerKind::Sync;
        self
    }
}

impl types::Host for PalisadeCtxView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> Result<types::ErrorCode> {
        Ok(calls::Host::convert_error_code(self, error)?.into())
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<IoError>,
    ) -> Result<Option<types::ErrorCode>> {
        Ok(calls::Host::filesystem_error_code(self, error)?.map(Into::into))
    }
}

impl types::HostDescriptor for PalisadeCtxView<'_> {
    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<DynInputStream>> {
        calls::HostDescriptor::read_via_stream(self.here(), fd, offset)
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<DynOutputStream>> {
        calls::HostDescriptor::write_via_stream(self.here(), fd, offset)
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        calls::HostDescriptor::append_via_stream(self.here(), fd)
    }

    fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: u64,
        len: u64,
        advice: types::Advice,
    ) -> FsResult<()> {
        now(calls::HostDescriptor::advise(self.here(), fd, offset, len, advice.into()))
    }

    fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        now(calls::HostDescriptor::sync_data(self.here(), fd))
    }

    fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorFlags> {
        Ok(now(calls::HostDescriptor::get_flags(self.here(), fd))?.into())
    }

    fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorType> {
        Ok(now(calls::HostDescriptor::get_type(self.here(), fd))?.into())
    }

    fn set_size(&mut self, fd: Resource<Descriptor>, size: u64) -> FsResult<()> {
        now(calls::HostDescriptor::set_size(self.here(), fd, size))
    }

    fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        now(calls::HostDescriptor::set_times(self.here(), fd, accessed.into(), modified.into()))
    }

    fn read(
        &mut self,
        fd: Resource<Descriptor>,
        len: u64,
        offset: u64,
    ) -> FsResult<(Vec<u8>, bool)> {
        now(calls::HostDescriptor::read(self.here(), fd, len, offset))
    }

    fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        now(calls::HostDescriptor::write(self.here(), fd, bytes, offset))
    }

    fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<types::DirectoryEntryStream>> {
        now(calls::HostDescriptor::read_directory(self.here(), fd))
    }

    fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        now(calls::HostDescriptor::sync(self.here(), fd))
    }

    fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        now(calls::HostDescriptor::create_directory_at(self.here(), fd, path))
    }

    fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorStat> {
        Ok(now(calls::HostDescriptor::stat(self.here(), fd))?.into())
    }

    fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        let follow = convert::follow(flags.into());
        let convert = |stat: &Stat| convert::stat(stat).into();
        self.here().stat_path_inline(fd.rep(), follow, path, convert).map_err(refused)
    }

    fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        now(calls::HostDescriptor::set_times_at(
            self.here(),
            fd,
            flags.into(),
            path,
            accessed.into(),
            modified.into(),
        ))
    }

    fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        into: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        now(calls::HostDescriptor::link_at(self.here(), fd, flags.into(), path, into, new_path))
    }

    fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        now(calls::HostDescriptor::open_at(
            self.here(),
            fd,
            path_flags.into(),
            path,
            open_flags.into(),
            flags.into(),
        ))
    }

    fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        now(calls::HostDescriptor::readlink_at(self.here(), fd, path))
    }

    fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        now(calls::HostDescriptor::remove_directory_at(self.here(), fd, path))
    }

    fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
        into: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        now(calls::HostDescriptor::rename_at(self.here(), fd, path, into, new_path))
    }

    fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FsResult<()> {
        now(calls::HostDescriptor::symlink_at(self.here(), fd, target, path))
    }

    fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        now(calls::HostDescriptor::unlink_file_at(self.here(), fd, path))
    }

    fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> Result<bool> {
        poll_once(calls::HostDescriptor::is_same_object(self.here(), one, other))
            .unwrap_or_else(|| Err(waited()))
    }

    fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<types::MetadataHashValue> {
        Ok(now(calls::HostDescriptor::metadata_hash(self.here(), fd))?.into())
    }

    fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        Ok(now(calls::HostDescriptor::metadata_hash_at(self.here(), fd, flags.into(), path))?
            .into())
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> Result<()> {
        calls::HostDescriptor::drop(self.here(), fd)
    }
}

impl types::HostDirectoryEntryStream for PalisadeCtxView<'_> {
    fn read_directory_entry(
        &mut self,
        entries: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        let entry =
            now(calls::HostDirectoryEntryStream::read_directory_entry(self.here(), entries))?;
        Ok(entry.map(Into::into))
    }

    fn drop(&mut self, entries: Resource<types::DirectoryEntryStream>) -> Result<()> {
        calls::HostDirectoryEntryStream::drop(self, entries)
    }
}
