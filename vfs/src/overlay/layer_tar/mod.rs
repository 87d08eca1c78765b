//! Layers as tar archives: export and import of OCI image layers.
//!
//! A whiteout is an empty file `.wh.<name>` in the directory of the name; an opaque directory
//! contains a file `.wh..wh..opq`. See
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md>.
//!
//! Both directions are streams: no more than a piece of a file is held. An export writes an
//! uncompressed archive, and the caller compresses it. An import reads with the tar reader of
//! images ([`crate::image`]), which recognizes compression, so both accept the same archives.
//!
//! Deliberately absent: owners, modes, devices, and extended attributes other than the marks of
//! Linux's overlay filesystem, because our filesystems do not have them.

mod dir_times;
mod export;
mod import;
mod import_report;

pub use export::{ExportError, Exported, export_layer};
pub use import::import_layer;
pub use import_report::{ImportError, ImportFault, ImportLimits, Imported};

use crate::image::tar::BLOCK;

/// The prefix of markers.
const MARKER: &str = ".wh.";
/// The prefix of names that aufs keeps for itself, and of the opaque marker.
const META_MARKER: &str = ".wh..wh.";
/// The marker of an opaque directory.
const OPAQUE: &str = ".wh..wh..opq";
/// The highest number of eleven octal digits.
const OCTAL_MAX: u64 = 0o777_7777_7777;
/// Bytes of a file that are held at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The number of bytes that fill the last block.
fn padding(size: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - size % block) % block).unwrap_or(0)
}
