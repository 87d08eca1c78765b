//! The state of one guest in a store, and the choice of the thread that runs a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_kernel::{Modes, Process};
use palisade_vfs::{Errno, Follow, Result};
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::sockets::WasiSocketsCtx;

use crate::executor::spawn_blocking;
use crate::fs::hash::{HashInput, MetadataHasher};

/// Resources for standard streams, terminals and errors, in addition to `Limits::streams_max`.
const STANDARD_MAX: usize = 16;

/// The state of one guest in a store.
pub struct PalisadeCtx {
    /// Shared with a call on another thread while that runs, even if the call was abandoned.
    process: Arc<Process>,
    pub(crate) hasher: MetadataHasher,
    /// A one-entry cache of the last `stat` or listed entry, for the next `metadata-hash`.
    last_lookup: Option<LastLookup>,
    /// Counts writes of streams, which invalidate `last_lookup`.
    pub(crate) stream_writes: Arc<AtomicU64>,
    /// Whether a thread waits for standard input; a guest has at most one.
    pub(crate) input_waiter: Arc<AtomicBool>,
    pub(crate) sockets: WasiSocketsCtx,
    subdirs: SubdirMutation,
    /// Whether all calls run on the calling thread, as the embedder requested.
    runs_inline: bool,
    pub(crate) linker: LinkerKind,
}

/// The kind of linker that linked the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkerKind {
    Sync,
    Async,
}

/// Whether a directory that is opened without `mutate-directory` can be changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SubdirMutation {
    AsRequested,
    AsParent,
}

enum LastLookup {
    Node {
        fd: u32,
        /// `None` for the descriptor itself.
        path: Option<(Follow, String)>,
        node: HashInput,
        stream_writes: u64,
        /// The epoch of `fd` before the `stat`.
        epoch: u64,
    },
    Entry {
        listed: ListedEntry,
        /// The epoch of the directory when the entry was listed.
        epoch: u64,
    },
}

/// An entry that a directory stream of `fd` has returned.
pub(crate) struct ListedEntry {
    pub(crate) fd: u32,
    pub(crate) name: String,
    pub(crate) ino: u64,
}

/// Projects the store's data to the state of the guest.
pub trait PalisadeView: Send {
    /// Returns the state of the guest and the resource table.
    fn palisade(&mut self) -> PalisadeCtxView<'_>;
}

/// The state of a guest, and the table of its streams and pollables.
pub struct PalisadeCtxView<'a> {
    /// The state of the guest.
    pub ctx: &'a mut PalisadeCtx,
    /// The embedder's resource table, which other interfaces can share. Its capacity is reduced to
    /// [`PalisadeCtx::resources_max`].
    pub table: &'a mut ResourceTable,
}

impl PalisadeCtxView<'_> {
    /// Reduces the capacity of the table to the limit of the guest.
    ///
    /// Every access of a linker to the table calls this, so that resources which wasmtime-wasi
    /// pushes are bounded too.
    pub(crate) fn with_capacity_limit(self) -> Self {
        let max = self.ctx.resources_max();
        if self.table.max_capacity() > max {
            self.table.set_max_capacity(max);
        }
        self
    }

    /// Adds a resource to the table.
    ///
    /// # Errors
    ///
    /// - `Mfile`: the table is full.
    pub(crate) fn push<T: Send + 'static>(&mut self, resource: T) -> Result<Resource<T>> {
        let view =
            PalisadeCtxView { ctx: &mut *self.ctx, table: &mut *self.table }.with_capacity_limit();
        view.table.push(resource).map_err(|error| match error {
            ResourceTableError::Full => Errno::Mfile,
            ResourceTableError::NotPresent
            | ResourceTableError::WrongType
            | ResourceTableError::HasChildren => Errno::Io,
        })
    }

    /// Returns the trap for a full table, for a function without an error result.
    pub(crate) fn too_many(&self) -> wasmtime::Error {
        too_many(self.ctx.process.limits().streams_max)
    }
}

/// Returns the trap of a guest that exceeds the resources of a limit of `max` streams.
pub(crate) fn too_many(max: u32) -> wasmtime::Error {
    wasmtime::Error::msg(format!(
        "the guest has as many streams, timers and pollables as the limit of {max} streams allows"
    ))
}

impl PalisadeCtx {
    /// Creates the state of a guest. A directory that the guest opens without `mutate-directory`
    /// cannot be changed; C and Rust programs need [`PalisadeCtx::for_preview1_guest`].
    #[must_use]
    pub fn new(process: Process) -> Self {
        PalisadeCtx {
            hasher: MetadataHasher::new(process.secret_key().ok()),
            process: Arc::new(process),
            last_lookup: None,
            stream_writes: Arc::default(),
            input_waiter: Arc::default(),
            sockets: WasiSocketsCtx::default(),
            subdirs: SubdirMutation::AsRequested,
            runs_inline: false,
            // The safe default: the synchronous linker sets `Sync` in each call.
            linker: LinkerKind::Async,
        }
    }

    /// Creates the state of a component that wraps a Preview 1 module or uses wasi-libc, as Rust
    /// programs do. A directory can be changed through its descriptor if its parent can.
    ///
    /// The standard Preview 1 adapter never requests `mutate-directory`, and wasi-libc requests it
    /// only together with write access, so that Rust's `remove_dir_all` would fail.
    #[must_use]
    pub fn for_preview1_guest(process: Process) -> Self {
        PalisadeCtx { subdirs: SubdirMutation::AsParent, ..PalisadeCtx::new(process) }
    }

    /// Runs all calls on the calling thread, even if they wait for a disk under the asynchronous
    /// linker. For an executor that runs a single guest: it saves two thread switches per call.
    #[must_use]
    pub fn wait_inline(self) -> Self {
        PalisadeCtx { runs_inline: true, ..self }
    }

    /// Returns the process of the guest.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Returns the capacity of the resource table: `Limits::streams_max` streams with one pollable
    /// each, and a few standard streams, so that a guest at its limit can still report it.
    #[must_use]
    pub fn resources_max(&self) -> usize {
        (self.process.limits().streams_max as usize).saturating_mul(2).saturating_add(STANDARD_MAX)
    }

    /// Returns the process of the guest, mutable; `None` while an abandoned call still runs on
    /// another thread.
    pub fn process_mut(&mut self) -> Option<&mut Process> {
        self.last_lookup = None;
        Arc::get_mut(&mut self.process)
    }

    /// Starts a call: clears the lookup cache and returns the process.
    #[inline]
    pub(crate) fn process_for_call(&mut self) -> &Process {
        self.last_lookup = None;
        &self.process
    }

    /// Starts a call that changes the process; `Busy` while an abandoned call still runs.
    #[inline]
    pub(crate) fn process_for_mut_call(&mut self) -> Result<&mut Process> {
        self.process_mut().ok_or(Errno::Busy)
    }

    /// Returns whether calls that may block have to run on another thread.
    #[inline]
    pub(crate) fn offloads_blocking_calls(&self) -> bool {
        self.linker == LinkerKind::Async && !self.runs_inline
    }

    /// Runs a call on the descriptors `fds`: on another thread if it may block and
    /// [`PalisadeCtx::offloads_blocking_calls`], else inline.
    ///
    /// # Errors
    ///
    /// - `Again`: the operating system refuses a thread.
    /// - Those of `call`.
    pub(crate) async fn call<T: Send + 'static, const N: usize>(
        &mut self,
        fds: [u32; N],
        call: impl FnOnce(&Process) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.last_lookup = None;
        if !self.offloads_blocking_calls() || !fds.iter().any(|fd| self.process.may_block(*fd)) {
            return call(&self.process);
        }
        let process = Arc::clone(&self.process);
        spawn_blocking(move || call(&process))?.await?
    }

    /// Caches the node of a `stat`.
    pub(crate) fn cache_lookup(
        &mut self,
        fd: u32,
        path: Option<(Follow, String)>,
        node: HashInput,
    ) {
        let (stream_writes, epoch) =
            (self.stream_writes.load(Ordering::Acquire), self.process.epoch(fd));
        self.last_lookup = Some(LastLookup::Node { fd, path, node, stream_writes, epoch });
    }

    /// Caches a listed entry.
    pub(crate) fn cache_listed(&mut self, listed: ListedEntry) {
        let epoch = self.process.epoch(listed.fd);
        self.last_lookup = Some(LastLookup::Entry { listed, epoch });
    }

    /// Returns the node of the previous call's `stat` if that was of the same path and is still
    /// valid. wasi-libc calls `stat-at` and then `metadata-hash-at` to get an inode number.
    pub(crate) fn cached_lookup(
        &mut self,
        fd: u32,
        path: Option<(Follow, &str)>,
    ) -> Option<HashInput> {
        let last_lookup = self
            .last_lookup
            .take_if(|last_lookup| matches!(last_lookup, LastLookup::Node { .. }))?;
        let LastLookup::Node { fd: last_fd, path: last_path, node, stream_writes, epoch } =
            last_lookup
        else {
            return None;
        };
        let same_path = match (&last_path, path) {
            (None, None) => true,
            (Some((follow, text)), Some((requested, path))) => *follow == requested && text == path,
            (None, Some(_)) | (Some(_), None) => false,
        };
        let is_fresh = stream_writes == self.stream_writes.load(Ordering::Acquire)
            && epoch == self.process.epoch(last_fd);
        (last_fd == fd && same_path && is_fresh).then_some(node)
    }

    /// Returns the entry that the previous call has listed, if it has this name and is still valid.
    pub(crate) fn cached_listed(
        &mut self,
        fd: u32,
        follow: Follow,
        path: &str,
    ) -> Option<ListedEntry> {
        match self.last_lookup.take()? {
            LastLookup::Entry { listed, epoch } => {
                let is_same = follow == Follow::No && listed.fd == fd && listed.name == path;
                (is_same && epoch == self.process.epoch(fd)).then_some(listed)
            }
            LastLookup::Node { .. } => None,
        }
    }

    /// Returns the modes of an open under `fd` that requests the modes `requested`.
    pub(crate) fn modes(&self, fd: u32, requested: Modes) -> Modes {
        let is_mutable = || {
            self.process.fdstat(fd).is_ok_and(|stat| stat.base().modes().contains(Modes::MUTATE))
        };
        match self.subdirs {
            SubdirMutation::AsParent if is_mutable() => requested | Modes::MUTATE,
            SubdirMutation::AsParent | SubdirMutation::AsRequested => requested,
        }
    }
}
