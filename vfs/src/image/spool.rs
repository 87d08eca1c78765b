//! Storage of unpacked or piped data, in memory or in an anonymous temporary file.
//!
//! The file never has a name, so nothing of it remains after the process. It is created in the
//! host's directory for temporary files.

use std::io::{self, Read, Write};

use super::error::{ImageError, ImageLimit, ImageLimits};
use super::format::Packing;
#[cfg(unix)]
use super::source::HostBytes;
#[cfg(not(unix))]
use super::source::Reader;
use super::source::{Bytes, ImageSource, Stretch};
use super::unpack::Unpacked;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 * 1024;
/// Bytes that are kept in memory even if the limit is higher: a file is as fast for more.
const MEMORY_BYTES_MAX: u64 = 32 << 20;

/// The data of a compressed file.
pub(super) struct Spooled {
    pub(super) source: Box<dyn ImageSource>,
    /// `None` if it was not compressed.
    pub(super) packing: Option<Packing>,
    /// Bytes after the compressed data.
    pub(super) trailing: u64,
}

/// Unpacks the whole of `source`.
pub(super) fn unpack(
    source: &dyn ImageSource,
    limits: &ImageLimits,
) -> Result<Spooled, ImageError> {
    let len = source.size();
    let mut unpacked = Unpacked::new(Stretch { source, at: 0, end: len }, Some(len), limits)?;
    let source = store(&mut |piece| unpacked.read(piece), limits)?;
    Ok(Spooled { source, packing: unpacked.packing(), trailing: unpacked.trailing() })
}

/// Stores the bytes of a pipe.
///
/// # Errors
///
/// - those of `reader`
/// - [`ImageLimit::Bytes`]
pub(super) fn store_stream(
    reader: &mut dyn Read,
    limits: &ImageLimits,
) -> Result<Box<dyn ImageSource>, ImageError> {
    let mut total = 0;
    store(
        &mut |piece| {
            let n = loop {
                match reader.read(piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            total += n as u64;
            if total > limits.bytes_max {
                return Err(ImageError::limit(b"", ImageLimit::Bytes, limits.bytes_max));
            }
            Ok(n)
        },
        limits,
    )
}

/// Stores all that `read` returns, up to the first 0.
fn store(
    read: &mut dyn FnMut(&mut [u8]) -> Result<usize, ImageError>,
    limits: &ImageLimits,
) -> Result<Box<dyn ImageSource>, ImageError> {
    let memory_max = limits.memory_max.min(MEMORY_BYTES_MAX);
    let (mut memory, mut file, mut total) = (Vec::new(), None, 0_u64);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n = read(&mut piece)?;
        let Some(bytes) = piece.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
        total += n as u64;
        if total <= memory_max {
            memory.extend_from_slice(bytes);
            continue;
        }
        let file = match &mut file {
            Some(file) => file,
            None => {
                let mut fresh = tempfile::tempfile()?;
                fresh.write_all(&memory)?;
                memory = Vec::new();
                file.insert(fresh)
            }
        };
        file.write_all(bytes)?;
    }
    match file {
        None => Ok(Box::new(Bytes(memory))),
        #[cfg(unix)]
        Some(file) => Ok(Box::new(HostBytes::new(file.into())?)),
        #[cfg(not(unix))]
        Some(file) => Ok(Box::new(Reader::new(file)?)),
    }
}
