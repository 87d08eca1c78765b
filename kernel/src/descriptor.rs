//! Open file descriptions: what a descriptor leads to, and the state that duplicates share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use palisade_vfs::{DirRef, File, FileRef, FileType, Result};
use parking_lot::Mutex;

use crate::dirents::Listing;
use crate::{FdRights, StreamRef};

bitflags::bitflags! {
    /// How an open description behaves: POSIX's file status flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Status: u8 {
        /// Every write goes to the end.
        const APPEND = 1 << 0;
        /// Every write reaches the disk with its data.
        const DSYNC = 1 << 1;
        /// Do not wait.
        const NONBLOCK = 1 << 2;
        /// Every read sees what has reached the disk.
        const RSYNC = 1 << 3;
        /// Every write reaches the disk with all metadata.
        const SYNC = 1 << 4;
    }
}

impl Status {
    /// What can be changed on an open description.
    pub const CHANGEABLE: Status = Status::APPEND.union(Status::NONBLOCK);
}

/// What a descriptor leads to.
pub(crate) enum Resource {
    /// A directory.
    Dir(DirRef),
    /// A file.
    File(FileRef),
    /// A stream.
    Stream(StreamRef),
}

impl Resource {
    /// The type. Costs no system call for a directory or a file.
    #[inline]
    pub(crate) fn kind(&self) -> FileType {
        match self {
            Resource::Dir(_) => FileType::Dir,
            Resource::File(file) => file.kind(),
            Resource::Stream(stream) => stream.kind(),
        }
    }

    /// Whether a call on it can wait for a disk or a device.
    #[inline]
    pub(crate) fn may_block(&self) -> bool {
        match self {
            Resource::Dir(dir) => dir.may_block(),
            Resource::File(file) => file.may_block(),
            Resource::Stream(stream) => stream.may_block(),
        }
    }

    /// Differs once results of earlier calls may be out of date.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Resource::Dir(dir) => dir.epoch(),
            Resource::File(file) => file.epoch(),
            Resource::Stream(_) => 0,
        }
    }
}

/// An offset that only the file knows; no offset is this large.
const AFTER_APPEND: u64 = u64::MAX;

/// An open file description: shared by every descriptor that is a duplicate of another.
pub(crate) struct Description {
    pub(crate) resource: Resource,
    offset: AtomicU64,
    status: AtomicU8,
    /// What was read of a directory and not yet handed out.
    pub(crate) listing: Mutex<Option<Box<Listing>>>,
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

    /// Where the next read or write begins. Behind an append the file is asked, once.
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

    /// The offset is where the file's handle has appended to.
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

/// A description, for one descriptor or for several. Nearly all are for one, and memory and a count
/// of their own would be a good part of what opening and closing take.
pub(crate) enum DescriptionRef {
    /// By one.
    Unique(Description),
    /// By several.
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

/// An entry of the descriptor table: a description, and what may be done through it.
pub(crate) struct Descriptor {
    pub(crate) description: DescriptionRef,
    pub(crate) base: FdRights,
    pub(crate) inheriting: FdRights,
    /// What it has for opening beneath it: [`FdRights::for_opens_under`], until a guest says which
    /// rights it keeps; then just `base`.
    pub(crate) open_rights: FdRights,
    /// What the description leads to, beside it: the cheapest calls ask for nothing else.
    pub(crate) kind: FileType,
    /// The name that a preopened directory is known by.
    pub(crate) preopen: Option<Box<str>>,
}

impl Descriptor {
    /// A descriptor for `resource` with the rights that make sense for it.
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

    /// This descriptor, and another one of its description with the same rights, not preopened.
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
