//! A read-only filesystem of files embedded in the program by [`rust_embed`].
//!
//! A read copies bytes once, from the program to the caller's buffer. Only names and inode numbers
//! are built at run time.

use std::borrow::Cow;
use std::sync::Arc;

use rust_embed::RustEmbed;

use crate::fixed::{Builder, Content, ContentSource, FileBytes, OnDuplicate, Tree, TreeFault};
use crate::{DirRef, Result, Timestamp, bug, escape};

/// A read-only filesystem of files embedded in the program. A clone is the same filesystem.
///
/// - Directories are synthesized from the paths of the files. Their times are 1970-01-01.
/// - The times of a file are those that `rust_embed` records, else 1970-01-01.
/// - Inode numbers are the same in every run of a program. Device numbers differ between any two
///   filesystems, also of the same type.
/// - The cost of a lookup does not depend on the number of files.
/// - Every change fails with `EROFS`.
///
/// Without its feature `debug-embed`, `rust_embed` does not embed in a build with
/// `debug_assertions` but reads the host's directory on each call. This filesystem reads once, on
/// construction, and keeps the bytes in memory. With that feature enabled, debug builds have
/// the same content as release builds.
///
/// ```
/// # use palisade_vfs::{EmbeddedFs, Follow, path};
/// #[derive(rust_embed::RustEmbed)]
/// #[folder = "src/fixed"]
/// struct Sources;
///
/// let fs = EmbeddedFs::new::<Sources>()?;
/// assert!(path::stat(&*fs.root(), "mod.rs", Follow::Yes)?.size > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct EmbeddedFs(Arc<Tree>);

/// An asset whose path is not valid in a filesystem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("asset `{}`: {fault}", escape::name(path))]
pub struct EmbedError {
    /// The path of the asset.
    pub path: String,
    /// The fault of the path.
    #[source]
    pub fault: TreeFault,
}

impl EmbeddedFs {
    /// Builds a filesystem of all assets.
    ///
    /// # Errors
    ///
    /// - [`EmbedError`] for the first path that is not a descent (absolute, with `..`, an empty
    ///   name, a NUL or a name longer than 255 bytes), or that makes one name both a file and a
    ///   directory.
    pub fn new<Assets: RustEmbed>() -> Result<Self, EmbedError> {
        // A file removed between listing and reading is skipped; only debug builds read the host.
        Self::from_files(Assets::iter().filter_map(|path| {
            let file = Assets::get(&path)?;
            let seconds = file.metadata.last_modified().or(file.metadata.created()).unwrap_or(0);
            let time = Timestamp::new(i64::try_from(seconds).unwrap_or(i64::MAX), 0);
            Some((path, file.data, time))
        }))
    }

    /// Builds a filesystem of paths, bytes and times, for assets embedded in another way. Borrowed
    /// bytes are never copied.
    ///
    /// # Errors
    ///
    /// - As for [`EmbeddedFs::new`], and for a duplicate path.
    pub fn from_files<P: AsRef<str>>(
        files: impl IntoIterator<Item = (P, Cow<'static, [u8]>, Timestamp)>,
    ) -> Result<Self, EmbedError> {
        let mut builder = Builder::new(OnDuplicate::Refuse);
        let mut assets = Vec::new();
        for (path, bytes, time) in files {
            let content = Content { at: assets.len() as u64, len: bytes.len() as u64 };
            assets.push(match bytes {
                Cow::Borrowed(bytes) => Asset::Static(bytes),
                Cow::Owned(bytes) => Asset::Shared(Arc::new(bytes)),
            });
            let path = path.as_ref();
            builder
                .file(path, content, time)
                .map_err(|fault| EmbedError { path: path.to_owned(), fault })?;
        }
        Ok(EmbeddedFs(builder.build(Box::new(Assets(assets.into_boxed_slice())))))
    }

    /// Returns the root.
    #[must_use]
    pub fn root(&self) -> DirRef {
        self.0.root()
    }

    /// Returns the number of directories and files, including the root.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.0.nodes()
    }

    /// Returns the bytes of memory for names and inode numbers, without embedded bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

enum Asset {
    Static(&'static [u8]),
    Shared(Arc<Vec<u8>>),
}

/// The assets. [`Content::at`] is an index.
struct Assets(Box<[Asset]>);

impl ContentSource for Assets {
    fn open(&self, content: Content) -> Result<FileBytes> {
        let asset = usize::try_from(content.at).ok().and_then(|at| self.0.get(at));
        match asset.ok_or_else(|| bug!("there is no asset {}", content.at))? {
            Asset::Static(bytes) => Ok(FileBytes::Static(bytes)),
            Asset::Shared(bytes) => Ok(FileBytes::Shared(Arc::clone(bytes) as _)),
        }
    }

    #[cfg(any(feature = "tar", feature = "zip"))]
    fn read_at(&self, _at: u64, _buf: &mut [u8]) -> std::io::Result<usize> {
        // No asset is `InPlace`.
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn may_block(&self) -> bool {
        false
    }
}
