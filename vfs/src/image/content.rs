//! The content of an archive's files: stretches of it, and entries that are unpacked when they are
//! opened.
//!
//! An unpacked entry is held once as long as someone has it open. What all of them take is counted
//! before it is taken. Lock order: one lock, and nothing is done while it is held.

use std::io;

use super::source::ImageSource;
use crate::Result;
use crate::fixed::{Content, ContentSource, FileBytes};

#[cfg(feature = "zip")]
pub(super) use packed::Packed;

/// What the files of an archive hold.
pub(super) struct Archive {
    source: Box<dyn ImageSource>,
    #[cfg(feature = "zip")]
    packed: packed::Entries,
}

impl Archive {
    /// All files are stretches of `source`.
    #[cfg(feature = "tar")]
    pub(super) fn plain(source: Box<dyn ImageSource>) -> Self {
        Archive {
            source,
            #[cfg(feature = "zip")]
            packed: packed::Entries::new(Vec::new(), 0),
        }
    }

    /// Some files are in `packed`; they may take `memory_max` bytes at once.
    #[cfg(feature = "zip")]
    pub(super) fn packed(
        source: Box<dyn ImageSource>,
        packed: Vec<Packed>,
        memory_max: u64,
    ) -> Self {
        Archive { source, packed: packed::Entries::new(packed, memory_max) }
    }
}

impl ContentSource for Archive {
    fn open(&self, content: Content) -> Result<FileBytes> {
        if content.len == 0 {
            return Ok(FileBytes::Static(&[]));
        }
        #[cfg(feature = "zip")]
        if let Some(at) = Packed::place(content) {
            return self.packed.open(&*self.source, at, content.len);
        }
        Ok(FileBytes::InPlace)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        crate::image::source::read_at(&*self.source, buf, at)
    }

    fn may_block(&self) -> bool {
        self.source.may_block()
    }
}

#[cfg(feature = "zip")]
mod packed {
    use std::collections::HashMap;
    use std::io::{BufReader, Read};
    use std::sync::{Arc, Weak};

    use flate2::bufread::DeflateDecoder;
    use parking_lot::Mutex;

    use crate::fixed::{Content, FileBytes};
    use crate::image::source::{ImageSource, Stretch};
    use crate::{Errno, Result, bug};

    /// Marks the number of a content as a place among the packed ones.
    const PLACE: u64 = 1 << 63;

    /// A deflated entry.
    #[derive(Clone, Copy)]
    pub(in crate::image) struct Packed {
        pub(in crate::image) at: u64,
        pub(in crate::image) end: u64,
        pub(in crate::image) crc32: u32,
    }

    impl Packed {
        /// The content that is packed at `place`.
        pub(in crate::image) fn content(place: usize, len: u64) -> Content {
            Content { at: PLACE | place as u64, len }
        }

        pub(super) fn place(content: Content) -> Option<u64> {
            (content.at & PLACE != 0).then_some(content.at & !PLACE)
        }

        /// The `len` bytes that it unpacks to; `None` if it unpacks to anything else.
        pub(in crate::image) fn unpack(
            self,
            source: &dyn ImageSource,
            len: u64,
        ) -> Option<Vec<u8>> {
            let len = usize::try_from(len).ok()?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(len).ok()?;
            bytes.resize(len, 0);
            let packed = Stretch { source, at: self.at, end: self.end };
            let mut unpacked = DeflateDecoder::new(BufReader::new(packed));
            unpacked.read_exact(&mut bytes).ok()?;
            // It must end here, and say so.
            if unpacked.read(&mut [0]).ok()? != 0 || unpacked.total_in() != self.end - self.at {
                return None;
            }
            let mut crc = flate2::Crc::new();
            crc.update(&bytes);
            (crc.sum() == self.crc32).then_some(bytes)
        }
    }

    /// All packed entries, and those that are unpacked now.
    pub(super) struct Entries {
        packed: Box<[Packed]>,
        memory_max: u64,
        open: Arc<Mutex<Open>>,
    }

    #[derive(Default)]
    struct Open {
        bytes: u64,
        entries: HashMap<u64, Weak<Unpacked>>,
    }

    /// An unpacked entry, which gives its memory back when nobody holds it any more.
    struct Unpacked {
        bytes: Vec<u8>,
        _paid: Paid,
    }

    /// Memory that is counted.
    struct Paid {
        place: u64,
        bytes: u64,
        open: Arc<Mutex<Open>>,
    }

    impl AsRef<[u8]> for Unpacked {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    impl Drop for Paid {
        fn drop(&mut self) {
            let mut open = self.open.lock();
            open.bytes -= self.bytes;
            // Another may have unpacked it anew meanwhile.
            if open.entries.get(&self.place).is_some_and(|entry| entry.strong_count() == 0) {
                open.entries.remove(&self.place);
            }
        }
    }

    impl Entries {
        pub(super) fn new(packed: Vec<Packed>, memory_max: u64) -> Self {
            Entries { packed: packed.into(), memory_max, open: Arc::default() }
        }

        pub(super) fn open(
            &self,
            source: &dyn ImageSource,
            place: u64,
            len: u64,
        ) -> Result<FileBytes> {
            let packed = usize::try_from(place).ok().and_then(|at| self.packed.get(at));
            let packed = packed.ok_or_else(|| bug!("there is no packed entry {place}"))?;
            let paid = {
                let mut open = self.open.lock();
                if let Some(unpacked) = open.entries.get(&place).and_then(Weak::upgrade) {
                    return Ok(FileBytes::Shared(unpacked));
                }
                if len > self.memory_max.saturating_sub(open.bytes) {
                    return Err(Errno::Nospc);
                }
                open.bytes += len;
                Paid { place, bytes: len, open: Arc::clone(&self.open) }
            };
            // A corrupt archive is input, not an internal error.
            let Some(bytes) = packed.unpack(source, len) else { return Err(Errno::Io) };
            let unpacked = Arc::new(Unpacked { bytes, _paid: paid });
            self.open.lock().entries.insert(place, Arc::downgrade(&unpacked));
            Ok(FileBytes::Shared(unpacked))
        }
    }
}
