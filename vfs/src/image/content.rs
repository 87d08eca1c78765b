//! The contents of an archive's files: read in place, from sparse maps, or unpacked on open.
//!
//! An unpacked entry is held once, as long as a file is open for reading; its memory is counted
//! before it is allocated. Lock order: one lock ([`packed`]), under which nothing blocks.

use std::io;

use super::source::ImageSource;
use crate::Result;
use crate::fixed::{Content, ContentSource, FileBytes};

#[cfg(feature = "zip")]
pub(super) use packed::{Method, Packed};
#[cfg(feature = "tar")]
pub(super) use sparse::SparseFiles;

/// The contents of an archive's files.
pub(super) struct Archive {
    source: Box<dyn ImageSource>,
    #[cfg(feature = "tar")]
    sparse: SparseFiles,
    #[cfg(feature = "zip")]
    packed: packed::Entries,
}

impl Archive {
    /// Files that are stored in `source`, some of them with holes.
    #[cfg(feature = "tar")]
    pub(super) fn stored(source: Box<dyn ImageSource>, sparse: SparseFiles) -> Self {
        Archive {
            source,
            sparse,
            #[cfg(feature = "zip")]
            packed: packed::Entries::new(Vec::new(), 0),
        }
    }

    /// Files that are stored in `source`, and compressed ones that take `memory_max` bytes of
    /// memory together while they are open.
    #[cfg(feature = "zip")]
    pub(super) fn packed(
        source: Box<dyn ImageSource>,
        packed: Vec<Packed>,
        memory_max: u64,
    ) -> Self {
        Archive {
            source,
            #[cfg(feature = "tar")]
            sparse: SparseFiles::default(),
            packed: packed::Entries::new(packed, memory_max),
        }
    }
}

impl ContentSource for Archive {
    fn open(&self, content: Content) -> Result<FileBytes> {
        if content.len == 0 {
            return Ok(FileBytes::Static(&[]));
        }
        #[cfg(feature = "zip")]
        if let Some(at) = Packed::index(content) {
            return self.packed.open(&*self.source, at, content.len);
        }
        Ok(FileBytes::InPlace)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tar")]
        if SparseFiles::contains(at) {
            return self.sparse.read_at(&*self.source, at, buf);
        }
        crate::image::source::read_at(&*self.source, buf, at)
    }

    fn may_block(&self) -> bool {
        self.source.may_block()
    }
}

#[cfg(feature = "tar")]
mod sparse {
    use std::io;

    use crate::fixed::Content;
    use crate::image::source::{ImageSource, read_at};
    use crate::image::tar::SparseMap;

    /// The first virtual offset. Offsets in an archive are lower.
    pub(in crate::image) const VIRTUAL_START: u64 = 1 << 62;
    /// The first offset that is not virtual any more.
    const VIRTUAL_END: u64 = 1 << 63;
    /// Extents of all sparse files of an archive. They take 96 MiB of memory.
    const EXTENTS_MAX: usize = 4 << 20;

    /// The sparse files of an archive.
    ///
    /// Each has a range of virtual offsets as long as the file. An extent maps a range of virtual
    /// offsets to the archive; offsets between extents read as zeros.
    #[derive(Default)]
    pub(in crate::image) struct SparseFiles {
        /// Sorted by virtual offset.
        extents: Vec<Stored>,
        /// The length of the virtual offsets that are taken.
        len: u64,
    }

    struct Stored {
        virtual_at: u64,
        at: u64,
        len: u64,
    }

    impl SparseFiles {
        /// Whether an offset is virtual.
        pub(in crate::image) fn contains(at: u64) -> bool {
            (VIRTUAL_START..VIRTUAL_END).contains(&at)
        }

        /// Adds a file whose stored data begins at `data_at`. Returns `None` if there are too many
        /// extents or virtual offsets.
        pub(in crate::image) fn add(&mut self, data_at: u64, map: &SparseMap) -> Option<Content> {
            let virtual_at = VIRTUAL_START.checked_add(self.len)?;
            let len = self.len.checked_add(map.len)?;
            let is_full = self.extents.len() + map.extents.len() > EXTENTS_MAX;
            if is_full || len > VIRTUAL_END - VIRTUAL_START {
                return None;
            }
            let mut at = data_at;
            for extent in map.extents.iter().filter(|extent| extent.len > 0) {
                let virtual_at = virtual_at + extent.offset;
                self.extents.push(Stored { virtual_at, at, len: extent.len });
                at = at.checked_add(extent.len)?;
            }
            self.len = len;
            Some(Content { at: virtual_at, len: map.len })
        }

        /// Reads at a virtual offset. The caller does not read past the end of the file.
        pub(in crate::image) fn read_at(
            &self,
            source: &dyn ImageSource,
            at: u64,
            buf: &mut [u8],
        ) -> io::Result<usize> {
            let next = self.extents.partition_point(|stored| stored.virtual_at <= at);
            let stored = next.checked_sub(1).and_then(|index| self.extents.get(index));
            if let Some(stored) = stored.filter(|stored| at - stored.virtual_at < stored.len) {
                let offset = at - stored.virtual_at;
                let len = length(buf, stored.len - offset);
                let buf = buf.get_mut(..len).unwrap_or_default();
                return read_at(source, buf, stored.at + offset);
            }
            let hole_end = self.extents.get(next).map_or(VIRTUAL_END, |next| next.virtual_at);
            let len = length(buf, hole_end - at);
            buf.get_mut(..len).unwrap_or_default().fill(0);
            Ok(len)
        }
    }

    /// The length of `buf`, but `max` at most.
    fn length(buf: &[u8], max: u64) -> usize {
        usize::try_from(max).map_or(buf.len(), |max| buf.len().min(max))
    }
}

#[cfg(feature = "zip")]
mod packed {
    use std::collections::HashMap;
    use std::io::{self, BufRead, BufReader, Read};
    use std::sync::{Arc, Weak};

    use parking_lot::Mutex;

    use crate::fixed::{Content, FileBytes};
    use crate::image::format::window_log_max;
    use crate::image::source::{ImageSource, Stretch};
    use crate::{Errno, Result, bug};

    /// Marks the number of a content as an index of a packed entry.
    const INDEX: u64 = 1 << 63;
    /// Bytes before the data of an LZMA entry: a version, and the length of the properties, which
    /// is 5. APPNOTE 5.8.8.
    const LZMA_HEADER_LEN: usize = 4;

    /// A compression method that is read.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::image) enum Method {
        Deflate,
        Bzip2,
        Lzma,
        Zstd,
        Xz,
    }

    impl Method {
        /// The method of this number; `None` if it is not supported. APPNOTE 4.4.5.
        pub(in crate::image) fn from_number(number: u16) -> Option<Self> {
            match number {
                8 => Some(Method::Deflate),
                12 => Some(Method::Bzip2),
                14 => Some(Method::Lzma),
                20 | 93 => Some(Method::Zstd),
                95 => Some(Method::Xz),
                _ => None,
            }
        }
    }

    /// A compressed entry.
    #[derive(Clone, Copy)]
    pub(in crate::image) struct Packed {
        pub(in crate::image) method: Method,
        pub(in crate::image) at: u64,
        pub(in crate::image) end: u64,
        pub(in crate::image) crc32: u32,
    }

    impl Packed {
        /// The content of the packed entry `index`.
        pub(in crate::image) fn content(index: usize, len: u64) -> Content {
            Content { at: INDEX | index as u64, len }
        }

        pub(super) fn index(content: Content) -> Option<u64> {
            (content.at & INDEX != 0).then_some(content.at & !INDEX)
        }

        /// Unpacks the entry. Returns `None` if the result does not have this length and the
        /// checksum, or if a window takes more than `memory_max` bytes.
        pub(in crate::image) fn unpack(
            self,
            source: &dyn ImageSource,
            len: u64,
            memory_max: u64,
        ) -> Option<Vec<u8>> {
            let size = usize::try_from(len).ok()?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(size).ok()?;
            bytes.resize(size, 0);
            let mut packed = BufReader::new(Stretch { source, at: self.at, end: self.end });
            self.decode(&mut packed, &mut bytes, memory_max).ok()?;
            let mut crc = flate2::Crc::new();
            crc.update(&bytes);
            (crc.sum() == self.crc32).then_some(bytes)
        }

        /// Fills `bytes`, after which the data must end.
        fn decode(
            self,
            packed: &mut BufReader<Stretch<'_>>,
            bytes: &mut [u8],
            memory_max: u64,
        ) -> io::Result<()> {
            let memory_kib = u32::try_from(memory_max / 1024).unwrap_or(u32::MAX);
            match self.method {
                Method::Deflate => {
                    let mut decoder = flate2::bufread::DeflateDecoder::new(packed);
                    fill(&mut decoder, bytes)?;
                    match decoder.total_in() == self.end - self.at {
                        true => Ok(()),
                        false => Err(io::ErrorKind::InvalidData.into()),
                    }
                }
                Method::Bzip2 => fill(&mut bzip2::bufread::BzDecoder::new(packed), bytes),
                Method::Xz => {
                    let decoder = lzma_rust2::XzReader::new_mem_limit(packed, true, memory_kib);
                    fill(&mut { decoder }, bytes)
                }
                Method::Lzma => lzma(packed, bytes, memory_kib),
                Method::Zstd => {
                    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                    decoder.window_log_max(window_log_max(memory_max))?;
                    fill(&mut decoder, bytes)
                }
            }
        }
    }

    /// Fills `bytes` from a decoder that must end there.
    fn fill(decoder: &mut dyn Read, bytes: &mut [u8]) -> io::Result<()> {
        decoder.read_exact(bytes)?;
        match decoder.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn lzma(packed: &mut dyn BufRead, bytes: &mut [u8], memory_kib: u32) -> io::Result<()> {
        let mut header = [0; LZMA_HEADER_LEN];
        packed.read_exact(&mut header)?;
        let [_, _, props_len @ ..] = header;
        let (mut props, mut dictionary) = ([0; 1], [0; 4]);
        if u16::from_le_bytes(props_len) != 5 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        packed.read_exact(&mut props)?;
        packed.read_exact(&mut dictionary)?;
        let ([props], dictionary) = (props, u32::from_le_bytes(dictionary));
        if lzma_rust2::lzma_get_memory_usage_by_props(dictionary, props)? > memory_kib {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let len = bytes.len() as u64;
        let mut decoder =
            lzma_rust2::LzmaReader::new_with_props(packed, len, props, dictionary, None)?;
        // The length is known, so an end mark need not follow.
        decoder.read_exact(bytes)
    }

    /// All packed entries, and those that are unpacked now.
    pub(super) struct Entries {
        packed: Box<[Packed]>,
        memory_max: u64,
        open: Arc<Mutex<Open>>,
    }

    /// Guarded by [`Entries::open`].
    #[derive(Default)]
    struct Open {
        bytes: u64,
        entries: HashMap<u64, Weak<Unpacked>>,
    }

    /// An unpacked entry. Its memory is given back when the last reference is dropped.
    struct Unpacked {
        bytes: Vec<u8>,
        _reservation: Reservation,
    }

    /// Memory that is counted in [`Open::bytes`].
    struct Reservation {
        index: u64,
        bytes: u64,
        open: Arc<Mutex<Open>>,
    }

    impl AsRef<[u8]> for Unpacked {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    impl Drop for Reservation {
        fn drop(&mut self) {
            let mut open = self.open.lock();
            open.bytes -= self.bytes;
            // Another thread may have unpacked the entry again.
            if open.entries.get(&self.index).is_some_and(|entry| entry.strong_count() == 0) {
                open.entries.remove(&self.index);
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
            index: u64,
            len: u64,
        ) -> Result<FileBytes> {
            let packed = usize::try_from(index).ok().and_then(|at| self.packed.get(at));
            let packed = packed.ok_or_else(|| bug!("there is no packed entry {index}"))?;
            let reservation = {
                let mut open = self.open.lock();
                if let Some(unpacked) = open.entries.get(&index).and_then(Weak::upgrade) {
                    return Ok(FileBytes::Shared(unpacked));
                }
                if len > self.memory_max.saturating_sub(open.bytes) {
                    return Err(Errno::Nospc);
                }
                open.bytes += len;
                Reservation { index, bytes: len, open: Arc::clone(&self.open) }
            };
            // A corrupt archive is input, not an internal error.
            let bytes = packed.unpack(source, len, self.memory_max);
            let Some(bytes) = bytes else { return Err(Errno::Io) };
            let unpacked = Arc::new(Unpacked { bytes, _reservation: reservation });
            self.open.lock().entries.insert(index, Arc::downgrade(&unpacked));
            Ok(FileBytes::Shared(unpacked))
        }
    }
}
