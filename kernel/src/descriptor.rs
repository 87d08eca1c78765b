//! Descriptors and open file descriptions.
//!
//! As in POSIX, a [`Description`] holds the resource, the offset and the status flags; duplicated
//! descriptors share it. A [`Descriptor`] is an entry of the descriptor table: a reference to a
//! description, with rights.
//!
//! Offset and status are atomics, because calls on other threads (Preview 2) share the process by
//! reference. The only lock is that of `Description::listing`.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use palisade_vfs::{DirRef, File, FileRef, FileType, Result};
use parking_lot::Mutex;

use crate::dirents::NumberedListing;
use crate::{FdRights, StreamRef};

bitflags::bitflags! {
    /// File status flags of an open file description.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/fcntl.h.html>
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Status: u8 {
        /// Writes append to the end of the file (`O_APPEND`).
        const APPEND = 1 << 0;
        /// Writes return after the data is on disk (`O_DSYNC`).
        const DSYNC = 1 << 1;
        /// Reads and writes do not wait (`O_NONBLOCK`).
        const NONBLOCK = 1 << 2;
        /// Reads synchronize pending writes first (`O_RSYNC`).
        const RSYNC = 1 << 3;
        /// Writes return after data and metadata are on disk (`O_SYNC`).
        const SYNC = 1 << 4;
    }
}

impl Status {
    /// The flags that [`Process::set_status`](crate::Process::set_status) can change.
    pub const CHANGEABLE: Status = Status::APPEND.union(Status::NONBLOCK);
}

/// The resource of an open file description.
pub(crate) enum Resource {
    Dir(DirRef),
    File(FileRef),
    Stream(StreamRef),
}

impl Resource {
    /// Returns the file type, for a directory or a file without a system call.
    #[inline]
    pub(crate) fn kind(&self) -> FileType {
        match self {
            Resource::Dir(_) => FileType::Dir,
            Resource::File(file) => file.kind(),
            Resource::Stream(stream) => stream.kind(),
        }
    }

    /// Returns whether a call on the resource can block on a disk, a network or a device.
    #[inline]
    pub(crate) fn may_block(&self) -> bool {
        match self {
            Resource::Dir(dir) => dir.may_block(),
            Resource::File(file) => file.may_block(),
            Resource::Stream(stream) => stream.may_block(),
        }
    }

    /// Returns the epoch, which changes when cached results become invalid.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Resource::Dir(dir) => dir.epoch(),
            Resource::File(file) => file.epoch(),
            Resource::Stream(_) => 0,
        }
    }
}

/// Marks an offset that has to be fetched with [`File::appended_to`]. No offset is this large.
const AFTER_APPEND: u64 = u64::MAX;

/// An open file description, shared by duplicated descriptors.
pub(crate) struct Description {
    pub(crate) resource: Resource,
    offset: AtomicU64,
    status: AtomicU8,
    /// The directory stream: entries that were read ahead, and the positions of cookies.
    pub(crate) listing: Mutex<Option<Box<NumberedListing>>>,
}

impl Description {
    #[inline(always)]
    pub(crate) fn new(resource: Resource, status: Status) -> Self {
        Description {
            resource,
            offset: AtomicU64::new(0),
            status: AtomicU8::new(status.bits()),
            listing: Mutex::new(None),
        }
    }

    /// Returns the offset of the next read or write. After an append it is fetched from the file
    /// once.
    #[inline]
    pub(crate) fn offset(&self, file: &dyn File) -> Result<u64> {
        match self.offset.load(Ordering::Relaxed) {
            AFTER_APPEND => {
                let offset = file.appended_to()?;
                self.set_offset(offset);
                Ok(offset)
            }
            offset => Ok(offset),
        }
    }

    /// Sets the offset to the end of the last append of the file's handle, fetched lazily.
    pub(crate) fn set_offset_after_append(&self) {
        self.set_offset(AFTER_APPEND);
    }

    pub(crate) fn set_offset(&self, offset: u64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn status(&self) -> Status {
        Status::from_bits_truncate(self.status.load(Ordering::Relaxed))
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.status.store(status.bits(), Ordering::Relaxed);
    }
}

/// An owned or shared reference to a [`Description`].
// perf: most descriptors are never duplicated, and an `Arc` allocation is a measurable part of the
// cost of opening and closing a file.
pub(crate) enum DescriptionRef {
    Unique(Description),
    Shared(Arc<Description>),
}

impl Deref for DescriptionRef {
    type Target = Description;

    #[inline(always)]
    fn deref(&self) -> &Description {
        match self {
            DescriptionRef::Unique(description) => description,
            DescriptionRef::Shared(description) => description,
        }
    }
}

/// An entry of the descriptor table: a description and the rights to it.
pub(crate) struct Descriptor {
    pub(crate) description: DescriptionRef,
    /// The rights of the descriptor itself.
    pub(crate) base: FdRights,
    /// The rights that descriptors opened under this directory can have at most.
    pub(crate) inheriting: FdRights,
    /// The rights that opens under this directory are checked against:
    /// [`FdRights::for_opens_under`], or `base` after a guest has reduced the rights.
    pub(crate) open_rights: FdRights,
    /// The type of the resource.
    // perf: kept here so that `fd_fdstat_get` does not match on the resource.
    pub(crate) kind: FileType,
    /// The name of a preopened directory.
    pub(crate) preopen: Option<Box<str>>,
}

impl Descriptor {
    /// Creates a descriptor for `resource`. Rights that do not apply to its type are removed.
    #[inline(always)]
    pub(crate) fn new(
        resource: Resource,
        status: Status,
        base: FdRights,
        inheriting: FdRights,
    ) -> Self {
        let applicable = match &resource {
            Resource::Dir(_) => FdRights::OF_DIRS,
            Resource::File(_) => FdRights::OF_FILES,
            Resource::Stream(_) => FdRights::OF_STREAMS,
        };
        let base = base & applicable;
        Descriptor {
            base,
            inheriting,
            open_rights: FdRights::for_opens_under(base, inheriting),
            kind: resource.kind(),
            description: DescriptionRef::Unique(Description::new(resource, status)),
            preopen: None,
        }
    }

    /// Returns this descriptor and a duplicate with the same rights, which is not preopened.
    pub(crate) fn duplicate(self) -> (Self, Self) {
        let Descriptor { description, base, inheriting, open_rights, kind, preopen } = self;
        let description = match description {
            DescriptionRef::Unique(description) => Arc::new(description),
            DescriptionRef::Shared(description) => description,
        };
        let with = |description, preopen| {
            let description = DescriptionRef::Shared(description);
            Descriptor { description, base, inheriting, open_rights, kind, preopen }
        };
        (with(Arc::clone(&description), preopen), with(description, None))
    }
}
