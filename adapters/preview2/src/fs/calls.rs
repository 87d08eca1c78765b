//! The functions of `wasi:filesystem`, each a call of the kernel.
//!
//! The handle of a descriptor is its number in the kernel's descriptor table. Each function
//! converts its arguments, calls the method of [`Process`](palisade_kernel::Process) and converts
//! the result; its errors are those of that method, as `error-code`. The WIT definitions are
//!
//! - <https://github.com/WebAssembly/wasi-filesystem/blob/main/wit/types.wit> for `types`,
//! - <https://github.com/WebAssembly/wasi-filesystem/blob/main/wit/preopens.wit> for `preopens`.

use std::io::IoSlice;

use palisade_kernel::{DirStream, OpenRequest, RightsRequest};
use palisade_vfs::{Errno, Follow, SetTimes, Stat, SyncScope};
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

use crate::ctx::ListedEntry;
use crate::errno::{error_code, mutation_refused, refused};
use crate::executor::spawn_blocking;
use crate::fs::hash::HashInput;
use crate::io::{input, output};
use crate::{PalisadeCtxView, convert};

/// The largest number of bytes that one `read` returns.
const READ_BYTES_MAX: u64 = input::CHUNK_BYTES_MAX as u64;

/// The table entry of a directory stream. `stream` is `None` while another thread reads it, and
/// stays `None` if that call was abandoned or failed.
pub(crate) struct DirectoryEntries {
    stream: Option<DirStream>,
    /// The descriptor that the stream was opened from.
    fd: u32,
}

impl preopens::Host for PalisadeCtxView<'_> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let process = self.ctx.process_for_mut_call()?;
        let named: Vec<_> = process.preopens().map(|(fd, name)| (fd, name.to_owned())).collect();
        let mut dirs = Vec::with_capacity(named.len());
        for (fd, name) in named {
            // Dropping a handle closes its descriptor, so each call returns new duplicates.
            match process.duplicate(fd) {
                Ok(fd) => dirs.push((Resource::new_own(fd), name)),
                Err(errno) => {
                    for (dir, _) in dirs {
                        process.close(dir.rep())?;
                    }
                    return Err(errno.into());
                }
            }
        }
        Ok(dirs)
    }
}

impl types::Host for PalisadeCtxView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> Result<types::ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<IoError>,
    ) -> Result<Option<types::ErrorCode>> {
        let error = self.table.get(&error)?;
        if let Some(errno) = error.downcast_ref::<Errno>() {
            return Ok(Some(error_code(*errno)));
        }
        // The error of a stream of another crate.
        Ok(error.downcast_ref::<std::io::Error>().map(types::ErrorCode::from))
    }
}

impl PalisadeCtxView<'_> {
    /// Returns the attributes of a path, and caches them for a following `metadata-hash-at`.
    async fn stat_path(&mut self, fd: u32, follow: Follow, path: String) -> Result<Stat, Errno> {
        if !self.ctx.offloads_blocking_calls() {
            return self.stat_path_inline(fd, follow, path, |stat| *stat);
        }
        let looked = self.ctx.call([fd], move |process| {
            let stat = process.stat_at(fd, &path, follow)?;
            Ok((stat, path))
        });
        let (stat, path) = looked.await?;
        self.ctx.cache_lookup(fd, Some((follow, path)), HashInput::from(&stat));
        Ok(stat)
    }

    /// As `stat_path`, on the calling thread.
    // perf: store forwarding, see docs/performance.md. `convert` reads the `Stat` in place; a
    // future would copy it.
    #[inline]
    pub(super) fn stat_path_inline<T>(
        &mut self,
        fd: u32,
        follow: Follow,
        path: String,
        convert: impl FnOnce(&Stat) -> T,
    ) -> Result<T, Errno> {
        let looked = self.ctx.process_for_call().stat_at(fd, &path, follow);
        let stat = looked.as_ref().map_err(|errno| *errno)?;
        self.ctx.cache_lookup(fd, Some((follow, path)), HashInput::from(stat));
        Ok(convert(stat))
    }

    /// Returns the hash of an entry that was just listed but whose `stat` fails: a policy denies
    /// it, or the entry was removed. Preview 1 and POSIX return the inode number with the entry, so
    /// it is no new information.
    async fn hash_listed_entry(
        &mut self,
        listed: &ListedEntry,
    ) -> Result<types::MetadataHashValue, Errno> {
        let fd = listed.fd;
        let around = self.ctx.call([fd], move |process| process.stat(fd)).await?;
        self.ctx.hasher.number(around.dev, listed.ino)
    }

    /// Returns the attributes of a descriptor, and caches them for a following `metadata-hash`.
    async fn stat_descriptor(&mut self, fd: u32) -> Result<Stat, Errno> {
        let stat = self.ctx.call([fd], move |process| process.stat(fd)).await?;
        self.ctx.cache_lookup(fd, None, HashInput::from(&stat));
        Ok(stat)
    }
}

fn set_times(
    accessed: types::NewTimestamp,
    modified: types::NewTimestamp,
) -> Result<SetTimes, Errno> {
    Ok(SetTimes { accessed: convert::set_time(accessed)?, modified: convert::set_time(modified)? })
}

impl types::HostDescriptor for PalisadeCtxView<'_> {
    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<DynInputStream>> {
        let reader = self.ctx.process_for_call().reader(fd.rep(), offset).map_err(refused)?;
        let offloads = self.ctx.offloads_blocking_calls() && reader.may_block();
        self.push(input::file(reader, offloads)).map_err(refused)
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<DynOutputStream>> {
        let writer = self.ctx.process_for_call().writer(fd.rep(), offset).map_err(refused)?;
        let offloads = self.ctx.offloads_blocking_calls() && writer.may_block();
        let stream = output::file(writer, offloads, &self.ctx.stream_writes);
        self.push(stream).map_err(refused)
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let writer = self.ctx.process_for_call().appender(fd.rep()).map_err(refused)?;
        let offloads = self.ctx.offloads_blocking_calls() && writer.may_block();
        let stream = output::file(writer, offloads, &self.ctx.stream_writes);
        self.push(stream).map_err(refused)
    }

    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: u64,
        len: u64,
        advice: types::Advice,
    ) -> FsResult<()> {
        let (fd, advice) = (fd.rep(), convert::advice(advice));
        let done = self.ctx.call([fd], move |process| process.advise(fd, offset, len, advice));
        // The kernel's `Inval` means a range above `i64::MAX`, which is `file-too-large` here.
        done.await.map_err(|errno| refused(if errno == Errno::Inval { Errno::Fbig } else { errno }))
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| process.sync(fd, SyncScope::Data));
        done.await.map_err(refused)
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorFlags> {
        let stat = self.ctx.process().fdstat(fd.rep()).map_err(refused)?;
        Ok(convert::descriptor_flags(stat))
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorType> {
        let kind = self.ctx.process().kind(fd.rep()).map_err(refused)?;
        Ok(convert::file_type(kind))
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: u64) -> FsResult<()> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| process.set_len(fd, size)).await;
        // POSIX `ftruncate`: `EINVAL` for a descriptor that is not open for writing.
        done.map_err(|errno| refused(if errno == Errno::Notcapable { Errno::Inval } else { errno }))
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        let fd = fd.rep();
        let times = set_times(accessed, modified).map_err(refused)?;
        let done = self.ctx.call([fd], move |process| process.set_times(fd, times));
        done.await.map_err(mutation_refused)
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        len: u64,
        offset: u64,
    ) -> FsResult<(Vec<u8>, bool)> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| {
            let (mut bytes, at_most) = (Vec::new(), len.min(READ_BYTES_MAX));
            process.read_vec_at(fd, &mut bytes, usize::try_from(at_most).unwrap_or(0), offset)?;
            let is_end = bytes.is_empty() && len > 0;
            Ok((bytes, is_end))
        });
        done.await.map_err(refused)
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: u64,
    ) -> FsResult<u64> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| {
            process.write_at(fd, &[IoSlice::new(&bytes)], offset).map(|done| done as u64)
        });
        done.await.map_err(refused)
    }

    async fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<types::DirectoryEntryStream>> {
        let fd = fd.rep();
        let stream = Some(self.ctx.process_for_call().dir_stream(fd).map_err(refused)?);
        let entries = self.push(DirectoryEntries { stream, fd }).map_err(refused)?;
        Ok(Resource::new_own(entries.rep()))
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| process.sync(fd, SyncScope::All));
        done.await.map_err(refused)
    }

    async fn create_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| process.create_dir(fd, &path));
        done.await.map_err(mutation_refused)
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<types::DescriptorStat> {
        Ok(convert::stat(&self.stat_descriptor(fd.rep()).await.map_err(refused)?))
    }

    async fn stat_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        let stat = self.stat_path(fd.rep(), convert::follow(flags), path).await.map_err(refused)?;
        Ok(convert::stat(&stat))
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        let (fd, follow) = (fd.rep(), convert::follow(flags));
        let times = set_times(accessed, modified).map_err(refused)?;
        let done =
            self.ctx.call([fd], move |process| process.set_times_at(fd, &path, follow, times));
        done.await.map_err(mutation_refused)
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        into: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (fd, into, follow) = (fd.rep(), into.rep(), convert::follow(flags));
        let done = self
            .ctx
            .call([fd, into], move |process| process.link((fd, &path), follow, (into, &new_path)));
        done.await.map_err(mutation_refused)
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let fd = fd.rep();
        let requested = OpenRequest {
            follow: convert::follow(path_flags),
            flags: convert::open_flags(open_flags),
            status: convert::status(flags),
            rights: RightsRequest::For(self.ctx.modes(fd, convert::modes(flags))),
        };
        let opened =
            self.ctx.call([fd], move |process| process.open_pending(fd, &path, requested)).await;
        let mutates = open_flags.intersects(types::OpenFlags::CREATE | types::OpenFlags::TRUNCATE)
            || flags.intersects(
                types::DescriptorFlags::WRITE | types::DescriptorFlags::MUTATE_DIRECTORY,
            );
        let opened = opened.map_err(if mutates { mutation_refused } else { refused })?;
        let process = self.ctx.process_for_mut_call().map_err(refused)?;
        Ok(Resource::new_own(process.install(opened).map_err(refused)?))
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        let fd = fd.rep();
        let target = self.ctx.call([fd], move |process| process.read_link(fd, &path)).await;
        target.map(String::from).map_err(refused)
    }

    async fn remove_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| process.remove_dir(fd, &path));
        done.await.map_err(mutation_refused)
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
        into: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (fd, into) = (fd.rep(), into.rep());
        let done = self
            .ctx
            .call([fd, into], move |process| process.rename((fd, &path), (into, &new_path)));
        done.await.map_err(mutation_refused)
    }

    async fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FsResult<()> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| process.create_symlink(&target, fd, &path));
        done.await.map_err(mutation_refused)
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let fd = fd.rep();
        let done = self.ctx.call([fd], move |process| process.remove_file(fd, &path));
        done.await.map_err(mutation_refused)
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> Result<bool> {
        let (one, other) = (one.rep(), other.rep());
        let same = self.ctx.call([one, other], move |process| process.is_same_object(one, other));
        match same.await {
            Ok(same) => Ok(same),
            // A guest cannot have a handle of a closed descriptor: a trap.
            Err(Errno::Badf) => Err(Errno::Badf.into()),
            // The function has no error result; a node without attributes is not known to be equal.
            Err(_) => Ok(false),
        }
    }

    async fn metadata_hash(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<types::MetadataHashValue> {
        let fd = fd.rep();
        let node = match self.ctx.cached_lookup(fd, None) {
            Some(node) => node,
            None => HashInput::from(&self.stat_descriptor(fd).await.map_err(refused)?),
        };
        self.ctx.hasher.hash(&node).map_err(refused)
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        let (fd, follow) = (fd.rep(), convert::follow(flags));
        if let Some(node) = self.ctx.cached_lookup(fd, Some((follow, &path))) {
            return self.ctx.hasher.hash(&node).map_err(refused);
        }
        let listed = self.ctx.cached_listed(fd, follow, &path);
        match (self.stat_path(fd, follow, path).await, listed) {
            (Ok(stat), _) => self.ctx.hasher.hash(&HashInput::from(&stat)).map_err(refused),
            (Err(errno @ (Errno::Acces | Errno::Noent)), Some(listed)) => {
                self.hash_listed_entry(&listed).await.map_err(|_| refused(errno))
            }
            (Err(errno), _) => Err(refused(errno)),
        }
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> Result<()> {
        Ok(self.ctx.process_for_mut_call()?.close(fd.rep())?)
    }
}

impl types::HostDirectoryEntryStream for PalisadeCtxView<'_> {
    async fn read_directory_entry(
        &mut self,
        entries: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.ctx.process_for_call();
        let offloads = self.ctx.offloads_blocking_calls();
        let entries = Resource::<DirectoryEntries>::new_borrow(entries.rep());
        let DirectoryEntries { stream: slot, fd } = self.table.get_mut(&entries)?;
        if offloads && let Some(mut stream) = slot.take_if(|stream| stream.may_block()) {
            let fetched = spawn_blocking(move || (stream.fetch(), stream));
            let (fetched, stream) = fetched.map_err(refused)?.await.map_err(refused)?;
            *slot = Some(stream);
            fetched.map_err(refused)?;
        }
        // The stream was lost with a cancelled or failed fetch.
        let Some(stream) = slot else { return Err(refused(Errno::Io)) };
        let is_here = self.ctx.process().is_stream_of(*fd, stream);
        let Some(entry) = stream.next_entry().map_err(refused)? else { return Ok(None) };
        let (type_, name) = (convert::file_type(entry.kind), entry.name.to_owned());
        if is_here {
            let (fd, ino) = (*fd, entry.ino);
            self.ctx.cache_listed(ListedEntry { fd, name: name.clone(), ino });
        }
        Ok(Some(types::DirectoryEntry { type_, name }))
    }

    fn drop(&mut self, entries: Resource<types::DirectoryEntryStream>) -> Result<()> {
        self.table.delete(Resource::<DirectoryEntries>::new_own(entries.rep()))?;
        Ok(())
    }
}
