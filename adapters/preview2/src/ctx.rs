//! What a store holds for one guest, and where a call is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_kernel::{Modes, Process};
use palisade_vfs::{Errno, Follow, Result};
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::sockets::WasiSocketsCtx;

use crate::executor::spawn_blocking;
use crate::fs::hash::{HashInput, MetadataHasher};

/// Resources for standard streams, terminals and errors, beside those of `Limits::streams_max`.
const STANDARD_MAX: usize = 16;

/// What a store holds for one guest.
pub struct PalisadeCtx {
    /// Shared only with a call that is made on another thread, and with one that was abandoned
    /// there.
    process: Arc<Process>,
    pub(crate) hasher: MetadataHasher,
    /// What the last call has looked at, or listed.
    last_lookup: Option<LastLookup>,
    /// Counts what streams have written, which no call of ours sees.
    pub(crate) written: Arc<AtomicU64>,
    /// Whether a thread waits for standard input: one guest has at most one.
    pub(crate) input_waiter: Arc<AtomicBool>,
    pub(crate) sockets: WasiSocketsCtx,
    subdirs: SubdirMutation,
    /// Whether the embedder wants every call to be made where it is.
    runs_inline: bool,
    pub(crate) linker: LinkerKind,
}

/// The kind of linker that the guest is linked by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkerKind {
    Sync,
    Async,
}

/// What a directory that is opened without `mutate-directory` may be used for.
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
        written: u64,
        /// The epoch of `fd` when it was looked at.
        epoch: u64,
    },
    Entry {
        listed: ListedEntry,
        /// The epoch of the directory when it was listed.
        epoch: u64,
    },
}

/// An entry that a listing of `fd` has returned.
pub(crate) struct ListedEntry {
    pub(crate) fd: u32,
    pub(crate) name: String,
    pub(crate) ino: u64,
}

/// How the linker finds a guest's state in what a store holds.
pub trait PalisadeView: Send {
    /// The guest's state, and the table of its streams and pollables.
    fn palisade(&mut self) -> PalisadeCtxView<'_>;
}

/// A guest's state, and the table of its streams and pollables.
pub struct PalisadeCtxView<'a> {
    /// The guest's state.
    pub ctx: &'a mut PalisadeCtx,
    /// The embedder's table, which other interfaces can share. It holds at most
    /// [`PalisadeCtx::resources_max`] resources.
    pub table: &'a mut ResourceTable,
}

impl PalisadeCtxView<'_> {
    /// Lowers the capacity of the table to what `Limits::streams_max` allows.
    ///
    /// Every way from a linker to the table leads through here, so the resources that wasmtime-wasi
    /// itself puts into the table are bounded too.
    pub(crate) fn bounded(self) -> Self {
        let max = self.ctx.resources_max();
        if self.table.max_capacity() > max {
            self.table.set_max_capacity(max);
        }
        self
    }

    /// Puts a resource into the table.
    ///
    /// # Errors
    ///
    /// `Mfile` if the table is full.
    pub(crate) fn push<T: Send + 'static>(&mut self, resource: T) -> Result<Resource<T>> {
        let view = PalisadeCtxView { ctx: &mut *self.ctx, table: &mut *self.table }.bounded();
        view.table.push(resource).map_err(|error| match error {
            ResourceTableError::Full => Errno::Mfile,
            ResourceTableError::NotPresent
            | ResourceTableError::WrongType
            | ResourceTableError::HasChildren => Errno::Io,
        })
    }

    /// The trap of a function that has no error to return for a table that is full.
    pub(crate) fn too_many(&self) -> wasmtime::Error {
        too_many(self.ctx.process.limits().streams_max)
    }
}

/// The trap of a guest that wants one more resource than a limit of `max` streams allows.
pub(crate) fn too_many(max: u32) -> wasmtime::Error {
    wasmtime::Error::msg(format!(
        "the guest has as many streams, timers and pollables as the limit of {max} streams allows"
    ))
}

impl PalisadeCtx {
    /// For this guest, which is taken at its word: through a directory that it opens without
    /// `mutate-directory` nothing is changed. Programs of C and Rust want
    /// [`PalisadeCtx::for_preview1_guest`].
    #[must_use]
    pub fn new(process: Process) -> Self {
        PalisadeCtx {
            hasher: MetadataHasher::new(process.secret_key().ok()),
            process: Arc::new(process),
            last_lookup: None,
            written: Arc::default(),
            input_waiter: Arc::default(),
            sockets: WasiSocketsCtx::default(),
            subdirs: SubdirMutation::AsRequested,
            runs_inline: false,
            // The safe answer, until a linker says otherwise.
            linker: LinkerKind::Async,
        }
    }

    /// The same, for a component that wraps a Preview 1 module, and for one whose C library is
    /// wasi-libc, as Rust's is. The standard adapter does not know `mutate-directory`, and
    /// wasi-libc asks for it only with write access, so that Rust's `remove_dir_all` would remove
    /// nothing. So a directory can be changed through a descriptor if its parent can.
    #[must_use]
    pub fn for_preview1_guest(process: Process) -> Self {
        PalisadeCtx { subdirs: SubdirMutation::AsParent, ..PalisadeCtx::new(process) }
    }

    /// Makes every call where it is, also one that waits for a disk in an asynchronous embedder.
    /// For an executor that runs one guest alone, which saves a way to another thread and back.
    #[must_use]
    pub fn wait_inline(self) -> Self {
        PalisadeCtx { runs_inline: true, ..self }
    }

    /// The guest.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The most resources in the table: `Limits::streams_max` streams with one pollable each, and a
    /// few for standard streams, so that a guest without a free stream can still say so.
    #[must_use]
    pub fn resources_max(&self) -> usize {
        (self.process.limits().streams_max as usize).saturating_mul(2).saturating_add(STANDARD_MAX)
    }

    /// The guest, to change. `None` while a call that was abandoned still runs on another thread.
    pub fn process_mut(&mut self) -> Option<&mut Process> {
        self.last_lookup = None;
        Arc::get_mut(&mut self.process)
    }

    /// The guest, for a call that is made now.
    #[inline]
    pub(crate) fn process_for_call(&mut self) -> &Process {
        self.last_lookup = None;
        &self.process
    }

    /// The guest, for a call that changes its table. `Busy` after an abandoned call.
    #[inline]
    pub(crate) fn process_for_mut_call(&mut self) -> Result<&mut Process> {
        self.process_mut().ok_or(Errno::Busy)
    }

    /// Whether a wait must not be made here.
    #[inline]
    pub(crate) fn offloads(&self) -> bool {
        self.linker == LinkerKind::Async && !self.runs_inline
    }

    /// Makes a call on what lies beneath `fds`: here, or on another thread if it may have to wait
    /// and must not do so here.
    ///
    /// # Errors
    ///
    /// `Again` if there is no thread for it; those of `call`.
    pub(crate) async fn call<T: Send + 'static, const N: usize>(
        &mut self,
        fds: [u32; N],
        call: impl FnOnce(&Process) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.last_lookup = None;
        if !self.offloads() || !fds.iter().any(|fd| self.process.may_block(*fd)) {
            return call(&self.process);
        }
        let process = Arc::clone(&self.process);
        spawn_blocking(move || call(&process))?.await?
    }

    /// Keeps what the call that ends now has looked at.
    pub(crate) fn remember(&mut self, fd: u32, path: Option<(Follow, String)>, node: HashInput) {
        let (written, epoch) = (self.written.load(Ordering::Acquire), self.process.epoch(fd));
        self.last_lookup = Some(LastLookup::Node { fd, path, node, written, epoch });
    }

    /// Keeps what the call that ends now has listed.
    pub(crate) fn remember_listed(&mut self, listed: ListedEntry) {
        let epoch = self.process.epoch(listed.fd);
        self.last_lookup = Some(LastLookup::Entry { listed, epoch });
    }

    /// What the last call has looked at, if that was the same, and nothing was done since: whoever
    /// wants a node's number calls `stat-at` and then `metadata-hash-at`.
    pub(crate) fn recall(&mut self, fd: u32, path: Option<(Follow, &str)>) -> Option<HashInput> {
        let last_lookup = self
            .last_lookup
            .take_if(|last_lookup| matches!(last_lookup, LastLookup::Node { .. }))?;
        let LastLookup::Node { fd: last_fd, path: last_path, node, written, epoch } = last_lookup
        else {
            return None;
        };
        let same_path = match (&last_path, path) {
            (None, None) => true,
            (Some((follow, text)), Some((asked, path))) => *follow == asked && text == path,
            (None, Some(_)) | (Some(_), None) => false,
        };
        let is_fresh =
            written == self.written.load(Ordering::Acquire) && epoch == self.process.epoch(last_fd);
        (last_fd == fd && same_path && is_fresh).then_some(node)
    }

    /// What the last call has listed, if it was this name.
    pub(crate) fn recall_listed(
        &mut self,
        fd: u32,
        follow: Follow,
        path: &str,
    ) -> Option<ListedEntry> {
        match self.last_lookup.take()? {
            LastLookup::Entry { listed: it, epoch } => {
                let is_it = follow == Follow::No && it.fd == fd && it.name == path;
                (is_it && epoch == self.process.epoch(fd)).then_some(it)
            }
            LastLookup::Node { .. } => None,
        }
    }

    /// The modes of what is opened beneath `fd`, if these are asked for.
    pub(crate) fn modes(&self, fd: u32, asked: Modes) -> Modes {
        let is_mutable = || {
            self.process.fdstat(fd).is_ok_and(|stat| stat.base().modes().contains(Modes::MUTATE))
        };
        match self.subdirs {
            SubdirMutation::AsParent if is_mutable() => asked | Modes::MUTATE,
            SubdirMutation::AsParent | SubdirMutation::AsRequested => asked,
        }
    }
}
