//! The bytes of an image: in memory, in a reader, or in a file of the host.

use std::io::{self, Read, Seek, SeekFrom};

use parking_lot::Mutex;

/// The bytes of an image, at offsets.
///
/// The bytes must not change while the image is in use. If they do, reads return other bytes or
/// `Io`; nothing else depends on them.
pub trait ImageSource: Send + Sync {
    /// Returns the number of bytes.
    fn size(&self) -> u64;

    /// Reads at the offset `at`. Returns 0 for a non-empty buffer only at the end.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Whether a read can block on a disk, a network or a device.
    fn may_block(&self) -> bool {
        true
    }
}

/// Bytes in memory.
pub(super) struct Bytes<B>(pub(super) B);

impl<B: AsRef<[u8]> + Send + Sync> ImageSource for Bytes<B> {
    fn size(&self) -> u64 {
        self.0.as_ref().len() as u64
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let mut rest = self.0.as_ref().get(at..).unwrap_or_default();
        rest.read(buf)
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// A reader with a position, which one thread uses at a time.
pub(super) struct Reader<R> {
    size: u64,
    inner: Mutex<R>,
}

impl<R: Read + Seek> Reader<R> {
    pub(super) fn new(mut inner: R) -> io::Result<Self> {
        Ok(Reader { size: inner.seek(SeekFrom::End(0))?, inner: Mutex::new(inner) })
    }
}

impl<R: Read + Seek + Send> ImageSource for Reader<R> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut inner = self.inner.lock();
        inner.seek(SeekFrom::Start(at))?;
        inner.read(buf)
    }
}

/// A file of the host.
#[cfg(all(unix, any(feature = "tar", all(feature = "host", target_os = "linux"))))]
pub(super) struct HostBytes {
    fd: std::os::fd::OwnedFd,
    size: u64,
}

#[cfg(all(unix, any(feature = "tar", all(feature = "host", target_os = "linux"))))]
impl HostBytes {
    pub(super) fn new(fd: std::os::fd::OwnedFd) -> io::Result<Self> {
        let size = rustix::fs::fstat(&fd)?.st_size;
        Ok(HostBytes { fd, size: u64::try_from(size).unwrap_or(0) })
    }
}

#[cfg(all(unix, any(feature = "tar", all(feature = "host", target_os = "linux"))))]
impl ImageSource for HostBytes {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut *buf, at))?)
    }
}

/// A range of a source, read from front to back.
pub(super) struct Stretch<'s> {
    pub(super) source: &'s dyn ImageSource,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// Calls [`ImageSource::read_at`] and checks the count that it returns: an embedder may implement
/// it.
pub(super) fn read_at(source: &dyn ImageSource, buf: &mut [u8], at: u64) -> io::Result<usize> {
    match source.read_at(buf, at)? {
        n if n > buf.len() => {
            Err(io::Error::other("the source returned more bytes than requested"))
        }
        n => Ok(n),
    }
}

impl Read for Stretch<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let Some(buf) = buf.get_mut(..len) else {
            return Err(io::Error::other(crate::bug!("a buffer is shorter than {len}")));
        };
        let n = read_at(self.source, buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Fills `buf` from the offset `at`. The end of the source is `UnexpectedEof`.
pub(super) fn read_exact(source: &dyn ImageSource, buf: &mut [u8], at: u64) -> io::Result<()> {
    Stretch { source, at, end: source.size() }.read_exact(buf)
}
