//! Files that are part of the program, as a filesystem.
//!
//! What [`rust_embed`] puts into the program is served from there: a byte is copied once, from the
//! program to the reader's buffer. Only names and numbers are built at run time.

use std::borrow::Cow;
use std::sync::Arc;

use rust_embed::RustEmbed;

use crate::fixed::{Builder, Content, Held, Source, Tree, TreeFault, Twice};
use crate::{DirRef, Result, Timestamp, bug, escape};

/// A filesystem of files that are part of the program. A clone is the same filesystem.
///
/// - Directories are synthesized from the files' paths. Their times are the first moment of 1970.
/// - A file's times are those that `rust_embed` remembers, else the first moment of 1970.
/// - Nodes keep their numbers from run to run of one program. Between two filesystems, also of one
///   type, the devices differ.
/// - A look-up costs the same however many files there are.
/// - Whatever would change something is `Rofs`.
///
/// Without its feature `debug-embed`, `rust_embed` does not embed in a build with
/// `debug_assertions`, but reads the host's directory when it is asked. This filesystem asks once,
/// when it is made: it holds what was there then in memory. Give `rust_embed` that feature to have
/// in every build what the release has.
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

/// An asset whose path cannot stand in a filesystem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("asset `{}`: {fault}", escape::name(path))]
pub struct EmbedError {
    /// The asset's path.
    pub path: String,
    /// What is wrong with it.
    #[source]
    pub fault: TreeFault,
}

impl EmbeddedFs {
    /// The filesystem of everything in `Assets`.
    ///
    /// Errors: the first path that is no descent (absolute, with `..`, an empty name or a NUL in
    /// it, or a name above 255 bytes), or that makes one name both a file and a directory.
    pub fn new<Assets: RustEmbed>() -> Result<Self, EmbedError> {
        // What went between the listing and the look is left out: only debug builds can see that.
        Self::from_files(Assets::iter().filter_map(|path| {
            let file = Assets::get(&path)?;
            let seconds = file.metadata.last_modified().or(file.metadata.created()).unwrap_or(0);
            let time = Timestamp::new(i64::try_from(seconds).unwrap_or(i64::MAX), 0);
            Some((path, file.data, time))
        }))
    }

    /// The filesystem of these paths, bytes and times, for what was embedded in another way. Bytes
    /// that are borrowed are never copied.
    ///
    /// Errors: as for [`EmbeddedFs::new`]; the same path twice.
    pub fn from_files<P: AsRef<str>>(
        files: impl IntoIterator<Item = (P, Cow<'static, [u8]>, Timestamp)>,
    ) -> Result<Self, EmbedError> {
        let mut builder = Builder::new(Twice::Refuse);
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

    /// The root.
    #[must_use]
    pub fn root(&self) -> DirRef {
        self.0.root()
    }

    /// Directories and files, the root included.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.0.nodes()
    }

    /// Bytes of memory that names and numbers take; what is part of the program is not counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

enum Asset {
    Static(&'static [u8]),
    Shared(Arc<Vec<u8>>),
}

/// The assets, each known by its place.
struct Assets(Box<[Asset]>);

impl Source for Assets {
    fn open(&self, content: Content) -> Result<Held> {
        let asset = usize::try_from(content.at).ok().and_then(|at| self.0.get(at));
        match asset.ok_or_else(|| bug!("there is no asset {}", content.at))? {
            Asset::Static(bytes) => Ok(Held::Static(bytes)),
            Asset::Shared(bytes) => Ok(Held::Shared(Arc::clone(bytes) as _)),
        }
    }

    #[cfg(any(feature = "tar", feature = "zip"))]
    fn read_at(&self, _at: u64, _buf: &mut [u8]) -> std::io::Result<usize> {
        // Nothing of this is held in place.
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn may_block(&self) -> bool {
        false
    }
}
