//! Decompression of a stream, within limits.
//!
//! Members of gzip, frames of Zstandard and streams of bzip2 and xz that follow each other are one
//! stream; skippable frames of Zstandard are skipped. Other bytes after the compressed data are
//! ignored, as gzip ignores them, and counted.

use std::io::{self, BufRead, ErrorKind, Read};

use super::error::{ImageError, ImageLimit, ImageLimits};
use super::format::{self, PROBE_BYTES, Packing};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 * 1024;
/// A buffered reader that can be looked into, and counts the bytes that were consumed.
pub(crate) struct Input<R> {
    inner: R,
    buf: Vec<u8>,
    at: usize,
    consumed: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(inner: R) -> Self {
        Input { inner, buf: Vec::new(), at: 0, consumed: 0 }
    }

    /// Returns the next bytes without consuming them: `len`, or fewer at the end.
    pub(crate) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.buf.len() - self.at < len {
            if self.at > 0 {
                self.buf.drain(..self.at);
                self.at = 0;
            }
            let filled = self.buf.len();
            let want = len.max(PIECE_BYTES);
            self.buf.resize(want.max(filled), 0);
            let read = match self.buf.get_mut(filled..) {
                Some(rest) => self.inner.read(rest),
                None => Ok(0),
            };
            let n = match &read {
                Ok(n) => (*n).min(self.buf.len() - filled),
                Err(_) => 0,
            };
            self.buf.truncate(filled + n);
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let rest = self.buf.get(self.at..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }

    /// Consumes `len` bytes, or all that are left.
    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let n = self.fill_buf()?.len();
            if n == 0 {
                break;
            }
            let n = usize::try_from(len).map_or(n, |len| len.min(n));
            self.consume(n);
            len -= n as u64;
        }
        Ok(())
    }

    fn skip_skippable_frames(&mut self) -> io::Result<()> {
        while let Some(len) = format::skippable_frame(self.peek(8)?) {
            self.skip(len)?;
        }
        Ok(())
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(self.buf.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.buf.len() - self.at);
        self.at += n;
        self.consumed += n as u64;
    }
}

/// The decoder of one member, frame or stream.
enum Decoder<R: Read> {
    Gzip(Box<flate2::bufread::GzDecoder<Input<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<R>>),
    Bzip2(bzip2::bufread::BzDecoder<Input<R>>),
    Xz(Box<lzma_rust2::XzReader<Input<R>>>),
    Lzma(Box<lzma_rust2::LzmaReader<Input<R>>>),
    /// Not compressed.
    Plain(Input<R>),
}

impl<R: Read> Decoder<R> {
    fn new(packing: Packing, input: Input<R>, memory_max: u64) -> io::Result<Self> {
        let memory_kib = u32::try_from(memory_max / 1024).unwrap_or(u32::MAX);
        Ok(match packing {
            Packing::Gzip => Decoder::Gzip(Box::new(flate2::bufread::GzDecoder::new(input))),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(format::window_log_max(memory_max))?;
                Decoder::Zstd(decoder)
            }
            Packing::Bzip2 => Decoder::Bzip2(bzip2::bufread::BzDecoder::new(input)),
            Packing::Xz => {
                Decoder::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, memory_kib)))
            }
            Packing::Lzma => Decoder::Lzma(Box::new(lzma_rust2::LzmaReader::new_mem_limit(
                input, memory_kib, None,
            )?)),
        })
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Gzip(decoder) => decoder.read(buf),
            Decoder::Zstd(decoder) => decoder.read(buf),
            Decoder::Bzip2(decoder) => decoder.read(buf),
            Decoder::Xz(decoder) => decoder.read(buf),
            Decoder::Lzma(decoder) => decoder.read(buf),
            Decoder::Plain(input) => input.read(buf),
        }
    }

    fn input(&self) -> Option<&Input<R>> {
        match self {
            Decoder::Gzip(decoder) => Some(decoder.get_ref()),
            Decoder::Zstd(decoder) => Some(decoder.get_ref()),
            Decoder::Bzip2(decoder) => Some(decoder.get_ref()),
            Decoder::Plain(input) => Some(input),
            Decoder::Xz(_) | Decoder::Lzma(_) => None,
        }
    }

    /// The input after a member that another member may follow.
    fn into_input(self) -> Option<Input<R>> {
        match self {
            Decoder::Gzip(decoder) => Some(decoder.into_inner()),
            Decoder::Zstd(decoder) => Some(decoder.finish()),
            Decoder::Bzip2(decoder) => Some(decoder.into_inner()),
            Decoder::Plain(input) => Some(input),
            // These read on by themselves.
            Decoder::Xz(_) | Decoder::Lzma(_) => None,
        }
    }
}

/// A stream, decompressed. A stream that is not compressed is unchanged.
pub(crate) struct Unpacked<R: Read> {
    /// Absent after an error or the end.
    decoder: Option<Decoder<R>>,
    packing: Option<Packing>,
    limits: ImageLimits,
    /// The size of the compressed data, if it is known before its end.
    packed_len: Option<u64>,
    unpacked: u64,
    trailing: u64,
}

impl<R: Read> Unpacked<R> {
    /// Recognizes the compression.
    ///
    /// # Errors
    ///
    /// - those of `inner`
    /// - [`ImageError::Foreign`]: a format that is not supported
    pub(crate) fn new(
        inner: R,
        packed_len: Option<u64>,
        limits: &ImageLimits,
    ) -> Result<Self, ImageError> {
        let mut input = Input::new(inner);
        input.skip_skippable_frames()?;
        let start = input.peek(usize::try_from(PROBE_BYTES).unwrap_or(0))?;
        let packing = format::packing(start);
        let decoder = match packing {
            None => {
                if start.starts_with(b"PK\x03\x04") {
                    let hint = "mount it with `--image`; a layer is a tar";
                    return Err(ImageError::Foreign { name: "a zip", hint });
                }
                if let error @ ImageError::Foreign { .. } = format::unsupported(start) {
                    return Err(error);
                }
                Decoder::Plain(input)
            }
            Some(packing) => Decoder::new(packing, input, limits.memory_max)
                .map_err(|error| unpack_error(error, 0, limits))?,
        };
        let (decoder, limits) = (Some(decoder), *limits);
        Ok(Unpacked { decoder, packing, limits, packed_len, unpacked: 0, trailing: 0 })
    }

    /// The compression, if there is any.
    pub(in crate::image) fn packing(&self) -> Option<Packing> {
        self.packing
    }

    /// Bytes after the compressed data, as far as they were read.
    pub(crate) fn trailing(&self) -> u64 {
        self.trailing
    }

    /// Reads some unpacked bytes; 0 into a non-empty buffer means the end.
    ///
    /// # Errors
    ///
    /// - [`ImageError::Io`]: the input's error
    /// - [`ImageError::Damaged`]: the data cannot be unpacked
    /// - [`ImageError::Limit`]: of bytes, of the ratio, or of memory for a window
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<usize, ImageError> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Ok(0) };
            match decoder.read(buf) {
                Ok(0) if !buf.is_empty() => self.next_member()?,
                Ok(n) => {
                    self.unpacked += n as u64;
                    self.check_limits()?;
                    return Ok(n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.decoder = None;
                    return Err(unpack_error(error, self.unpacked, &self.limits));
                }
            }
        }
    }

    /// Reads compressed data to its end, which verifies its checksum and counts the bytes after it.
    /// A stream that is not compressed is left where it is.
    ///
    /// # Errors
    ///
    /// - those of [`Unpacked::read`]
    /// - [`ImageLimit::Bytes`]: more than `max` unpacked bytes are left
    #[cfg(feature = "tar")]
    pub(crate) fn finish(&mut self, max: u64) -> Result<(), ImageError> {
        if self.packing.is_none() {
            return Ok(());
        }
        let mut piece = [0; 4096];
        let mut left = max;
        loop {
            match self.read(&mut piece)? {
                0 => return Ok(()),
                n => {
                    left = left
                        .checked_sub(n as u64)
                        .ok_or_else(|| ImageError::limit(b"", ImageLimit::Bytes, max))?;
                }
            }
        }
    }

    fn check_limits(&self) -> Result<(), ImageError> {
        let limits = &self.limits;
        if self.packing.is_none() {
            return Ok(());
        }
        if self.unpacked > limits.bytes_max {
            return Err(ImageError::limit(b"", ImageLimit::Bytes, limits.bytes_max));
        }
        let consumed = self.decoder.as_ref().and_then(Decoder::input).map(|input| input.consumed);
        // If the packed size is unknown, the ratio uses the bytes consumed so far. A decoder that
        // does not report them is limited by `bytes_max` alone.
        let packed = self.packed_len.or(consumed).unwrap_or(u64::MAX);
        if !limits.allows_ratio(packed, self.unpacked) {
            return Err(ImageError::limit(b"", ImageLimit::Ratio, limits.ratio_max));
        }
        Ok(())
    }

    /// Continues with the next member, if one follows.
    fn next_member(&mut self) -> Result<(), ImageError> {
        let Some(packing) = self.packing else {
            self.decoder = None;
            return Ok(());
        };
        let Some(mut input) = self.decoder.take().and_then(Decoder::into_input) else {
            return Ok(());
        };
        if packing == Packing::Zstd {
            input.skip_skippable_frames()?;
        }
        let start = input.peek(16)?;
        if format::packing(start) == Some(packing) {
            let decoder = Decoder::new(packing, input, self.limits.memory_max);
            let decoder =
                decoder.map_err(|error| unpack_error(error, self.unpacked, &self.limits))?;
            self.decoder = Some(decoder);
            return Ok(());
        }
        self.trailing = match self.packed_len {
            Some(packed_len) => packed_len.saturating_sub(input.consumed),
            None => input.fill_buf()?.len() as u64,
        };
        Ok(())
    }
}

/// The error of a decoder at an offset of the unpacked data.
fn unpack_error(error: io::Error, at: u64, limits: &ImageLimits) -> ImageError {
    if error.raw_os_error().is_some() {
        return error.into();
    }
    // The libraries report a window that is too large only by these texts.
    let is_memory =
        error.kind() == ErrorKind::OutOfMemory || error.to_string().contains("too much memory");
    if is_memory {
        return ImageError::limit(b"", ImageLimit::Memory, limits.memory_max);
    }
    let what = match error.kind() {
        ErrorKind::UnexpectedEof => "the compressed data is cut off",
        _ => "the compressed data is damaged",
    };
    ImageError::Damaged { at, what }
}
