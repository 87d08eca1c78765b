//! Unpacking a compressed tar, once, into memory or an anonymous temporary file.
//!
//! The file has no name from its beginning to its end, so nothing is left of it. It lies where the
//! host has its temporary files.

use std::io::{self, BufReader, Read, Write};

use super::ImageFormat;
use super::error::{ImageError, ImageLimit, ImageLimits};
#[cfg(unix)]
use super::source::HostBytes;
#[cfg(not(unix))]
use super::source::Reader;
use super::source::{Bytes, ImageSource, Stretch};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 * 1024;
/// Unpacked bytes that go to memory whatever more is allowed: a file does as well beyond.
const MEMORY_BYTES_MAX: u64 = 32 << 20;
/// The least window of zstd that every decoder must know, as a power of two: RFC 8878's 8 MiB.
const WINDOW_LOG_MIN: u32 = 23;
/// The largest window of zstd, as a power of two: what its own tools take.
const WINDOW_LOG_MAX: u32 = 27;

/// Unpacks the whole of `source`.
pub(super) fn unpack(
    source: &dyn ImageSource,
    format: ImageFormat,
    limits: &ImageLimits,
) -> Result<Box<dyn ImageSource>, ImageError> {
    let stretch = Stretch { source, at: 0, end: source.size() };
    let packed = BufReader::with_capacity(PIECE_BYTES, stretch);
    match format {
        ImageFormat::TarGzip => {
            drain(flate2::bufread::MultiGzDecoder::new(packed), source.size(), limits)
        }
        ImageFormat::TarZstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(
                limits.memory_max.max(1).ilog2().clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX),
            )?;
            drain(decoder, source.size(), limits)
        }
        ImageFormat::Directory | ImageFormat::Zip | ImageFormat::Tar => Err(ImageError::Unknown),
    }
}

fn drain(
    mut unpacked: impl Read,
    packed_bytes: u64,
    limits: &ImageLimits,
) -> Result<Box<dyn ImageSource>, ImageError> {
    let memory_max = limits.memory_max.min(MEMORY_BYTES_MAX);
    let (mut memory, mut file, mut total) = (Vec::new(), None, 0_u64);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n = match unpacked.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(damaged(err, total)),
        };
        total += n as u64;
        if total > limits.bytes_max {
            return Err(ImageError::limit(b"", ImageLimit::Bytes, limits.bytes_max));
        }
        if !limits.allows_ratio(packed_bytes, total) {
            return Err(ImageError::limit(b"", ImageLimit::Ratio, limits.ratio_max));
        }
        let Some(bytes) = piece.get(..n) else {
            return Err(damaged(io::Error::other("the decoder claims too many bytes"), total));
        };
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

/// What a decoder says of bytes that it cannot read is of no more use than that it cannot.
fn damaged(err: io::Error, at: u64) -> ImageError {
    if err.raw_os_error().is_some() {
        return err.into();
    }
    ImageError::Damaged { at, what: "it cannot be unpacked any further" }
}
