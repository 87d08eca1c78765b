//! Images: archives and directories as read-only filesystems, without unpacking them.
//!
//! An archive is indexed once, into a tree that never changes ([`crate::fixed`]). A plain tar and a
//! zip's stored entries are read in place; a zip's compressed entries are unpacked in memory while
//! they are open; a compressed tar is unpacked once, as a whole ([`spool`]).
//!
//! One law holds for both formats, and for the import of layers: an entry that cannot be served is
//! left out and reported ([`Omitted`]), a later entry of the same path replaces an earlier one, and
//! a path through a symbolic link resolves inside the archive.
//!
//! Archives are not trusted. No path leads out of the tree, which is built from names; symbolic
//! links are data; and every cost is bounded before it is spent ([`ImageLimits`]).

mod content;
mod entries;
mod entry_path;
mod error;
mod format;
mod omitted;
mod source;

#[cfg(all(feature = "host", target_os = "linux"))]
mod read_only;
#[cfg(feature = "tar")]
mod spool;
#[cfg(feature = "tar")]
pub(crate) mod tar;
#[cfg(feature = "tar")]
mod unpack;
#[cfg(feature = "zip")]
mod zip;
#[cfg(feature = "zip")]
mod zip_end;
#[cfg(feature = "zip")]
mod zip_header;
#[cfg(feature = "zip")]
mod zip_name;

use std::io::{Read, Seek};

#[cfg(feature = "tar")]
pub(crate) use entry_path::{clean, symlink_target};
pub use error::{EntryFault, ImageError, ImageLimit, ImageLimits};
pub use omitted::{ArchiveNotes, Omitted, OmittedEntry};
pub use source::ImageSource;
#[cfg(feature = "tar")]
pub(crate) use unpack::Unpacked;

#[cfg(all(feature = "host", target_os = "linux"))]
use self::source::HostBytes;
use self::source::{Bytes, Reader, Stretch};
use crate::DirRef;

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageFormat {
    /// A directory of the host.
    Directory,
    /// A zip.
    Zip,
    /// A plain tar.
    Tar,
    /// A tar, compressed with gzip.
    TarGzip,
    /// A tar, compressed with Zstandard.
    TarZstd,
    /// A tar, compressed with xz.
    TarXz,
    /// A tar, compressed with bzip2.
    TarBzip2,
    /// A tar, compressed with LZMA, the format before xz.
    TarLzma,
}

impl ImageFormat {
    /// The usual extension of the format, or `directory`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ImageFormat::Directory => "directory",
            ImageFormat::Zip => "zip",
            ImageFormat::Tar => "tar",
            ImageFormat::TarGzip => "tar.gz",
            ImageFormat::TarZstd => "tar.zst",
            ImageFormat::TarXz => "tar.xz",
            ImageFormat::TarBzip2 => "tar.bz2",
            ImageFormat::TarLzma => "tar.lzma",
        }
    }

    #[cfg(feature = "tar")]
    fn of_packing(packing: format::Packing) -> Self {
        use format::Packing;
        match packing {
            Packing::Gzip => ImageFormat::TarGzip,
            Packing::Zstd => ImageFormat::TarZstd,
            Packing::Xz => ImageFormat::TarXz,
            Packing::Bzip2 => ImageFormat::TarBzip2,
            Packing::Lzma => ImageFormat::TarLzma,
        }
    }
}

/// An archive or a directory as a read-only filesystem. A clone is the same filesystem.
///
/// - Directories on the path of an entry that have no entry are created, with the time 0.
/// - Of several entries with one path the last one holds, also if the types differ.
/// - A path that leads through a symbolic link of the archive is resolved inside the archive, as
///   container engines do. Leading slashes are dropped.
/// - An entry that cannot be served is left out: a device, FIFO or socket; an encrypted entry; a
///   path that leads out of the archive, and so on ([`EntryFault`]). [`Image::omitted`] lists them,
///   and [`ImageLimits::omitted_max`] limits them.
/// - Symbolic links are kept as they are. A target is resolved when a link is followed, and never
///   leads out.
/// - The nodes of an archive have the same numbers in every run.
/// - Every change is `Rofs`.
/// - A compressed file of a zip is held in memory while it is open for reading. An open that would
///   exceed [`ImageLimits::memory_max`] is `Nospc`, and one of damaged data `Io`. The checksum of a
///   stored file is not verified.
///
/// ```
/// # #[cfg(feature = "tar")] {
/// # use palisade_vfs::{Follow, Image, ImageLimits, path};
/// let mut archive = tar::Builder::new(Vec::new());
/// let mut header = tar::Header::new_ustar();
/// header.set_size(5);
/// archive.append_data(&mut header, "dir/file", &b"hello"[..])?;
///
/// let image = Image::from_bytes(archive.into_inner()?, &ImageLimits::default())?;
/// assert_eq!(path::stat(&*image.root(), "dir/file", Follow::Yes)?.size, 5);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Image {
    root: DirRef,
    format: ImageFormat,
    entries: u64,
    omitted: Omitted,
    notes: ArchiveNotes,
}

impl Image {
    /// Opens an archive or a directory of the host by a host path, with the process's own authority
    /// and [`ImageLimits::default`]. The content decides the format, not the name. Links in `path`
    /// are followed.
    ///
    /// A compressed tar may be unpacked into a temporary file without a name.
    ///
    /// # Errors
    ///
    /// - [`ImageError::Io`]: the kernel's error
    /// - [`ImageError::Foreign`], [`ImageError::Unknown`]: the format
    /// - the others: the archive
    #[cfg(all(feature = "host", target_os = "linux"))]
    pub fn open_ambient(path: &std::path::Path) -> Result<Self, ImageError> {
        Self::open_ambient_with(path, &ImageLimits::default())
    }

    /// [`Image::open_ambient`] with the caller's limits.
    #[cfg(all(feature = "host", target_os = "linux"))]
    pub fn open_ambient_with(
        path: &std::path::Path,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        use rustix::fs::{FileType, Mode, OFlags, fstat, open};
        // A device must not block, nor a terminal become the process's controlling terminal.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = open(path, flags, Mode::empty()).map_err(std::io::Error::from)?;
        match FileType::from_raw_mode(fstat(&fd).map_err(std::io::Error::from)?.st_mode) {
            FileType::Directory => {
                let dir = cap_std::fs::Dir::from_std_file(fd.into());
                Ok(Self::from_dir(crate::HostDir::from_opened(dir, crate::Resolver::Auto)?))
            }
            FileType::RegularFile => Self::from_source(Box::new(HostBytes::new(fd)?), limits),
            // A read would wait for a writer, perhaps forever.
            FileType::Fifo => {
                let hint = "write its data to a file, or read it with `Image::from_stream`";
                Err(ImageError::Foreign { name: "a pipe", hint })
            }
            _ => Err(ImageError::Unknown),
        }
    }

    /// Makes `dir`, a directory of any filesystem, read-only.
    #[cfg(all(feature = "host", target_os = "linux"))]
    #[must_use]
    pub fn from_dir(dir: DirRef) -> Self {
        Image {
            root: read_only::read_only(dir),
            format: ImageFormat::Directory,
            entries: 0,
            omitted: Omitted::default(),
            notes: ArchiveNotes::default(),
        }
    }

    /// Opens the archive in `bytes`, which are not copied.
    ///
    /// # Errors
    ///
    /// As for [`Image::open_ambient`].
    pub fn from_bytes(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        Self::from_source(Box::new(Bytes(bytes)), limits)
    }

    /// Opens the archive in `reader`, which one guest can read at a time.
    ///
    /// # Errors
    ///
    /// As for [`Image::open_ambient`].
    pub fn from_reader(
        reader: impl Read + Seek + Send + 'static,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        Self::from_source(Box::new(Reader::new(reader)?), limits)
    }

    /// Opens the archive in `stream`, such as a pipe: reads it to its end, and stores it in memory
    /// or in a temporary file without a name.
    ///
    /// # Errors
    ///
    /// - [`ImageLimit::Bytes`]
    /// - as for [`Image::open_ambient`]
    #[cfg(feature = "tar")]
    pub fn from_stream(mut stream: impl Read, limits: &ImageLimits) -> Result<Self, ImageError> {
        Self::from_source(spool::store_stream(&mut stream, limits)?, limits)
    }

    /// Opens the archive in `source`.
    ///
    /// # Errors
    ///
    /// As for [`Image::open_ambient`].
    pub fn from_source(
        source: Box<dyn ImageSource>,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        let start = read_start(&*source, format::START_BYTES)?;
        if format::packing(&start).is_some() || format::skippable_frame(&start).is_some() {
            return Self::compressed_tar(source, limits);
        }
        Self::uncompressed(source, &start, limits)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> DirRef {
        DirRef::clone(&self.root)
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// The number of entries of the archive, those that were left out included.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The entries that were left out.
    #[must_use]
    pub fn omitted(&self) -> &Omitted {
        &self.omitted
    }

    /// Irregularities of the archive that leave no entry out.
    #[must_use]
    pub fn notes(&self) -> ArchiveNotes {
        self.notes
    }

    #[cfg(feature = "tar")]
    fn compressed_tar(
        source: Box<dyn ImageSource>,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        let spool::Spooled { source, packing, trailing } = spool::unpack(&*source, limits)?;
        let Some(packing) = packing else { return Err(ImageError::Unknown) };
        let start = read_start(&*source, format::START_BYTES)?;
        if let Some(mut image) =
            Self::tar(source, &start, ImageFormat::of_packing(packing), limits)?
        {
            image.notes.trailing_bytes = trailing;
            return image.checked(limits);
        }
        Err(format::unsupported(&start))
    }

    #[cfg(not(feature = "tar"))]
    fn compressed_tar(
        _source: Box<dyn ImageSource>,
        _limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        Err(ImageError::NotBuilt("tar"))
    }

    /// Opens an archive that is not compressed as a whole.
    fn uncompressed(
        source: Box<dyn ImageSource>,
        start: &[u8],
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        const ZIP_STARTS: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK00PK\x03\x04"];
        if ZIP_STARTS.iter().any(|magic| start.starts_with(magic)) {
            return Self::zip(source, limits)?.checked(limits);
        }
        let probe = read_start(&*source, format::PROBE_BYTES)?;
        let foreign = format::unsupported(&probe);
        #[cfg(feature = "zip")]
        if !matches!(foreign, ImageError::Foreign { .. }) && zip_end::is_zip(&*source)? {
            return Self::zip(source, limits)?.checked(limits);
        }
        #[cfg(feature = "tar")]
        match Self::tar(source, start, ImageFormat::Tar, limits)? {
            Some(image) => image.checked(limits),
            None => Err(foreign),
        }
        #[cfg(not(feature = "tar"))]
        match start.get(257..262) {
            Some(b"ustar") => Err(ImageError::NotBuilt("tar")),
            _ => Err(foreign),
        }
    }

    /// Opens a tar. Returns `None` if it is not one.
    #[cfg(feature = "tar")]
    fn tar(
        source: Box<dyn ImageSource>,
        start: &[u8],
        format: ImageFormat,
        limits: &ImageLimits,
    ) -> Result<Option<Self>, ImageError> {
        let is_tar = match start.first_chunk() {
            Some(block) => tar::is_header(block) || start.iter().all(|byte| *byte == 0),
            // Part of a zero block, or nothing, is an empty archive.
            None => start.iter().all(|byte| *byte == 0),
        };
        if !is_tar {
            return Ok(None);
        }
        let Some(tar::index::Index { entries, sparse, notes }) =
            tar::index::index(&*source, limits)?
        else {
            return Ok(None);
        };
        let tree = entries.builder.build(Box::new(content::Archive::stored(source, sparse)));
        let (root, omitted) = (tree.root(), entries.omitted);
        Ok(Some(Image { root, format, entries: entries.count, omitted, notes }))
    }

    #[cfg(feature = "zip")]
    fn zip(source: Box<dyn ImageSource>, limits: &ImageLimits) -> Result<Self, ImageError> {
        let zip::Index { entries, packed, notes } = zip::index(&*source, limits)?;
        let archive = content::Archive::packed(source, packed, limits.memory_max);
        let tree = entries.builder.build(Box::new(archive));
        let (root, omitted) = (tree.root(), entries.omitted);
        Ok(Image { root, format: ImageFormat::Zip, entries: entries.count, omitted, notes })
    }

    #[cfg(not(feature = "zip"))]
    fn zip(_source: Box<dyn ImageSource>, _limits: &ImageLimits) -> Result<Self, ImageError> {
        Err(ImageError::NotBuilt("zip"))
    }

    /// Refuses an irregular archive if `limits` allow no omitted entries.
    fn checked(self, limits: &ImageLimits) -> Result<Self, ImageError> {
        let what = match self.notes {
            _ if limits.omitted_max > 0 => return Ok(self),
            ArchiveNotes { missing_end: true, .. } => "the archive has no end marker",
            ArchiveNotes { odd_times: 1.., .. } => "the time of an entry cannot be parsed",
            ArchiveNotes { trailing_bytes: 1.., .. } => "the archive has bytes after its end",
            ArchiveNotes { wrong_count: true, .. } => "the number of entries is wrong",
            // Programs before a zip are common and harmless.
            _ => return Ok(self),
        };
        Err(ImageError::Damaged { at: 0, what })
    }
}

/// The first bytes of a source: `len`, or fewer at its end.
fn read_start(source: &dyn ImageSource, len: u64) -> Result<Vec<u8>, ImageError> {
    let mut start = Vec::new();
    let end = source.size().min(len);
    Stretch { source, at: 0, end }.read_to_end(&mut start)?;
    Ok(start)
}
