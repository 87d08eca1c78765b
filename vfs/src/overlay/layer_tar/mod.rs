//! Layers as archives: what the image specification of the OCI calls a layer.
//!
//! A whiteout is an empty file `.wh.<name>` beside where the name was, an opaque directory has a
//! file `.wh..wh..opq` in it; all else is a tar archive. See
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md>.
//!
//! Both directions are streams: no more than a piece of a file is held. Compression is the
//! caller's. An archive is hostile: it is read by this module's own loop, block by block, with the
//! header's fields taken apart by the `tar` crate, so that whatever it claims, no more memory is
//! asked for than the limits say.
//!
//! Deliberately absent: owners, modes, extended attributes and devices, of which our filesystems
//! know nothing.

mod dir_times;
mod export;
mod import;
mod pax;

pub use export::{ExportError, Exported, export_layer};
pub use import::{ImportError, ImportFault, ImportLimits, Imported, import_layer};

/// What the names of markers begin with.
const MARKER: &str = ".wh.";
/// The marker of an opaque directory.
const OPAQUE: &str = ".wh..wh..opq";
/// Bytes of a block; everything in an archive is a multiple of it.
const BLOCK: usize = 512;
/// The highest number that eleven octal digits say.
const OCTAL_MAX: u64 = 0o777_7777_7777;
/// Bytes of a file that are held at once.
const PIECE_BYTES: usize = 64 * 1024;

/// How many bytes fill up the last block.
fn padding(size: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - size % block) % block).unwrap_or(0)
}
