//! Images: archives and directories as read-only filesystems, without unpacking them.
//!
//! An archive is indexed once, into a tree that never changes ([`crate::fixed`]). The contents of a
//! plain tar and of a zip's stored entries are read from where they lie; a zip's deflated entries
//! are unpacked in memory as long as someone has them open; a compressed tar is unpacked once, as a
//! whole.
//!
//! Whatever the archive says, no path in it can lead up (the tree is built from names), nothing of
//! it is followed (links are data), and what it costs is bounded before it is spent
//! ([`ImageLimits`]).

mod content;
mod entries;
mod error;
mod source;

#[cfg(all(feature = "host", target_os = "linux"))]
mod read_only;
#[cfg(feature = "tar")]
mod spool;
#[cfg(feature = "tar")]
mod tar;
#[cfg(feature = "zip")]
mod zip;
#[cfg(feature = "zip")]
mod zip_end;
#[cfg(feature = "zip")]
mod zip_header;

use std::io::{Read, Seek};

pub use error::{EntryFault, ImageError, ImageLimit, ImageLimits};
pub use source::ImageSource;

#[cfg(all(feature = "host", target_os = "linux"))]
use self::source::HostBytes;
use self::source::{Bytes, Reader, Stretch};
use crate::DirRef;

/// Special files whose paths are remembered for the report.
const LEFT_OUT_MAX: usize = 64;
/// Bytes that tell one format from the others: a block of a tar.
const START_BYTES: u64 = 512;

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// A directory of the host.
    Directory,
    /// A zip.
    Zip,
    /// A plain tar.
    Tar,
    /// A tar, compressed by gzip.
    TarGzip,
    /// A tar, compressed by Zstandard.
    TarZstd,
}

/// What was left out of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Omitted {
    specials: u64,
    left_out: Vec<String>,
}

/// An archive or a directory as a read-only filesystem. A clone is the same filesystem.
///
/// - What an archive does not list but leads through are directories of the first moment of 1970.
/// - Of a name that comes twice, the last stays in a tar; in a zip it is an error. A name that is
///   both a directory and something else is an error in both.
/// - Symbolic links are kept as they are. Where they lead is decided when they are followed, and
///   never outside.
/// - Devices, FIFOs and sockets are left out of an archive, and counted.
/// - Nodes of one archive have the same numbers in every run.
/// - Whatever would change something is `Rofs`.
/// - A zip's deflated file is held in memory as long as it is open for reading; an open that would
///   take more than [`ImageLimits::memory_max`] is `Nospc`, and one of damaged content `Io`.
///   The checksum of a stored one is not looked at.
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
    omitted: Omitted,
}

impl Image {
    /// Opens an archive or a directory of the host by a path of the host, with the process's own
    /// authority, and takes as much of it as [`ImageLimits::default`] says. What it is is seen by
    /// its content, and not by its name. Links in `path` are followed.
    ///
    /// A compressed tar may be unpacked into a temporary file without a name.
    ///
    /// Errors, in order: the kernel's; [`ImageError::Unknown`]; what is wrong with the archive.
    #[cfg(all(feature = "host", target_os = "linux"))]
    pub fn open_ambient(path: &std::path::Path) -> Result<Self, ImageError> {
        Self::open_ambient_with(path, &ImageLimits::default())
    }

    /// As [`Image::open_ambient`], with limits of the caller's choice.
    #[cfg(all(feature = "host", target_os = "linux"))]
    pub fn open_ambient_with(
        path: &std::path::Path,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        use rustix::fs::{FileType, Mode, OFlags, fstat, open};
        // A FIFO must not make anyone wait, nor a terminal become the process's own.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = open(path, flags, Mode::empty()).map_err(std::io::Error::from)?;
        match FileType::from_raw_mode(fstat(&fd).map_err(std::io::Error::from)?.st_mode) {
            FileType::Directory => {
                let dir = cap_std::fs::Dir::from_std_file(fd.into());
                Ok(Self::from_dir(crate::HostDir::from_opened(dir, crate::Resolver::Auto)?))
            }
            FileType::RegularFile => Self::from_source(Box::new(HostBytes::new(fd)?), limits),
            _ => Err(ImageError::Unknown),
        }
    }

    /// `dir`, of whatever filesystem, without any way to change it.
    #[cfg(all(feature = "host", target_os = "linux"))]
    #[must_use]
    pub fn from_dir(dir: DirRef) -> Self {
        let (root, format) = (read_only::read_only(dir), ImageFormat::Directory);
        Image { root, format, omitted: Omitted::default() }
    }

    /// The archive that these bytes are. They are not copied.
    ///
    /// Errors: as for [`Image::open_ambient`], without the kernel's.
    pub fn from_bytes(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        Self::from_source(Box::new(Bytes(bytes)), limits)
    }

    /// The archive in `reader`, which one guest can read at a time.
    ///
    /// Errors: as for [`Image::open_ambient`].
    pub fn from_reader(
        reader: impl Read + Seek + Send + 'static,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        Self::from_source(Box::new(Reader::new(reader)?), limits)
    }

    /// The archive in `source`.
    ///
    /// Errors: as for [`Image::open_ambient`].
    pub fn from_source(
        source: Box<dyn ImageSource>,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        let mut start = Vec::new();
        let end = source.size().min(START_BYTES);
        Stretch { source: &*source, at: 0, end }.read_to_end(&mut start)?;
        if start.starts_with(&[0x1f, 0x8b]) {
            return Self::compressed_tar(source, ImageFormat::TarGzip, limits);
        }
        if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Self::compressed_tar(source, ImageFormat::TarZstd, limits);
        }
        Self::plain(source, &start, limits)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> DirRef {
        DirRef::clone(&self.root)
    }

    /// What it was made from.
    #[must_use]
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// How many devices, FIFOs and sockets of an archive were left out.
    #[must_use]
    pub fn specials(&self) -> u64 {
        self.omitted.specials
    }

    /// The first few paths of those.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.omitted.left_out
    }

    #[cfg(feature = "tar")]
    fn compressed_tar(
        source: Box<dyn ImageSource>,
        format: ImageFormat,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        let source = spool::unpack(&*source, format, limits)?;
        let mut block = [0; tar::BLOCK];
        match source::read_exact(&*source, &mut block, 0) {
            Ok(()) if tar::is_tar(&block) => Self::tar(source, format, limits),
            Ok(()) => Err(ImageError::Unknown),
            Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => Err(ImageError::Unknown),
            Err(err) => Err(err.into()),
        }
    }

    #[cfg(not(feature = "tar"))]
    fn compressed_tar(
        _source: Box<dyn ImageSource>,
        _format: ImageFormat,
        _limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        Err(ImageError::NotBuilt("tar"))
    }

    /// An archive that is not compressed as a whole.
    fn plain(
        source: Box<dyn ImageSource>,
        start: &[u8],
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        if start.starts_with(b"PK\x03\x04") {
            return Self::zip(source, limits);
        }
        #[cfg(feature = "tar")]
        if start.first_chunk().is_some_and(tar::is_tar) {
            return Self::tar(source, ImageFormat::Tar, limits);
        }
        #[cfg(feature = "zip")]
        if zip_end::find(&*source).is_ok() {
            return Self::zip(source, limits);
        }
        #[cfg(not(feature = "tar"))]
        if start.get(257..262) == Some(b"ustar") {
            return Err(ImageError::NotBuilt("tar"));
        }
        let _ = (source, limits);
        Err(ImageError::Unknown)
    }

    #[cfg(feature = "tar")]
    fn tar(
        source: Box<dyn ImageSource>,
        format: ImageFormat,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        let entries = tar::index(&*source, limits)?;
        let tree = entries.builder.build(Box::new(content::Archive::plain(source)));
        Ok(Image { root: tree.root(), format, omitted: entries.omitted })
    }

    #[cfg(feature = "zip")]
    fn zip(source: Box<dyn ImageSource>, limits: &ImageLimits) -> Result<Self, ImageError> {
        let zip::Index { entries, packed } = zip::index(&*source, limits)?;
        let archive = content::Archive::packed(source, packed, limits.memory_max);
        let tree = entries.builder.build(Box::new(archive));
        Ok(Image { root: tree.root(), format: ImageFormat::Zip, omitted: entries.omitted })
    }

    #[cfg(not(feature = "zip"))]
    fn zip(_source: Box<dyn ImageSource>, _limits: &ImageLimits) -> Result<Self, ImageError> {
        Err(ImageError::NotBuilt("zip"))
    }
}
