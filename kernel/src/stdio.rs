//! Standard streams: null, host descriptors, memory buffers and callbacks.
//!
//! This is the only file of the kernel that uses the host process's standard streams.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use palisade_vfs::{Errno, FileType, Result};
use parking_lot::Mutex;

/// A reference-counted stream.
pub type StreamRef = Arc<dyn Stream>;

/// A byte stream without offsets. Methods that are not implemented return `Badf`.
pub trait Stream: Send + Sync {
    /// Returns the file type. [`FileType::CharDevice`] is reserved for terminals.
    fn kind(&self) -> FileType {
        FileType::Fifo
    }

    /// Reads into `bufs`, in order, and returns the number of bytes. 0 means the end, unless all
    /// buffers are empty.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/readv.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not readable.
    /// - `Again`: non-blocking, and no data is available.
    /// - `Io`: an input error.
    fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        let _ = bufs;
        Err(Errno::Badf)
    }

    /// Writes `bufs`, in order, and returns the number of bytes.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/writev.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not writable.
    /// - `Again`: non-blocking, and the stream is full.
    /// - `Pipe`: the reader has closed the stream.
    /// - `Nospc`: no space is left.
    /// - `Io`: an output error.
    fn write(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        let _ = bufs;
        Err(Errno::Badf)
    }

    /// Returns whether a read or a write can wait. `true` is always correct.
    fn may_block(&self) -> bool {
        true
    }

    /// Returns the host's descriptor to poll, or `None` if the stream is always ready.
    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The standard input of a guest.
#[derive(Clone)]
pub struct Input(pub(crate) StreamRef);

/// The standard output or standard error stream of a guest.
#[derive(Clone)]
pub struct Output(pub(crate) StreamRef);

impl Input {
    /// Returns an empty input.
    #[must_use]
    pub fn null() -> Self {
        Input(Arc::new(Null))
    }

    /// Returns the host's standard input.
    #[must_use]
    pub fn inherit() -> Self {
        Input(Arc::new(Inherited::Stdin))
    }

    /// Returns an input with these bytes. All guests of a configuration share it.
    #[must_use]
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Input(Arc::new(InputBytes(Mutex::new(VecDeque::from(bytes.into())))))
    }

    /// Returns an input that reads an open host file from its current offset.
    #[must_use]
    pub fn file(file: File) -> Self {
        Input(Arc::new(HostFile(file)))
    }

    /// Returns an input that calls `read` with a buffer to fill. `read` returns the number of
    /// bytes, or 0 at the end.
    pub fn callback(read: impl FnMut(&mut [u8]) -> Result<usize> + Send + 'static) -> Self {
        Input(Arc::new(ReadCallback(Mutex::new(Box::new(read)))))
    }

    /// Returns an input that reads a custom stream.
    pub fn stream(stream: StreamRef) -> Self {
        Input(stream)
    }
}

impl Output {
    /// Returns an output that discards everything.
    #[must_use]
    pub fn null() -> Self {
        Output(Arc::new(Null))
    }

    /// Returns the host's standard output.
    #[must_use]
    pub fn inherit_stdout() -> Self {
        Output(Arc::new(Inherited::Stdout))
    }

    /// Returns the host's standard error stream.
    #[must_use]
    pub fn inherit_stderr() -> Self {
        Output(Arc::new(Inherited::Stderr))
    }

    /// Returns an output that writes to a memory buffer of at most `capacity` bytes. A write that
    /// does not fit is short; a write to a full buffer is `Nospc`.
    #[must_use]
    pub fn buffer(capacity: usize) -> (Self, OutputBuffer) {
        let buffer = OutputBuffer { bytes: Arc::default(), capacity };
        (Output(Arc::new(buffer.clone())), buffer)
    }

    /// Returns an output that writes an open host file from its current offset.
    #[must_use]
    pub fn file(file: File) -> Self {
        Output(Arc::new(HostFile(file)))
    }

    /// Returns an output that calls `write`, which returns the number of bytes written.
    pub fn callback(write: impl FnMut(&[u8]) -> Result<usize> + Send + 'static) -> Self {
        Output(Arc::new(WriteCallback(Mutex::new(Box::new(write)))))
    }

    /// Returns an output that writes to a custom stream.
    pub fn stream(stream: StreamRef) -> Self {
        Output(stream)
    }
}

/// The memory buffer of an [`Output::buffer`]. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct OutputBuffer {
    bytes: Arc<Mutex<Vec<u8>>>,
    capacity: usize,
}

impl OutputBuffer {
    /// Returns a copy of the buffered bytes.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        self.bytes.lock().clone()
    }

    /// Returns the buffered bytes and empties the buffer.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.lock())
    }
}

impl Stream for OutputBuffer {
    fn may_block(&self) -> bool {
        false
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        let mut bytes = self.bytes.lock();
        let mut written = 0;
        for buf in bufs {
            let room = self.capacity.saturating_sub(bytes.len());
            let (taken, rest) = buf.split_at(buf.len().min(room));
            bytes.extend_from_slice(taken);
            written += taken.len();
            if !rest.is_empty() {
                return if written == 0 { Err(Errno::Nospc) } else { Ok(written) };
            }
        }
        Ok(written)
    }
}

struct Null;

impl Stream for Null {
    fn may_block(&self) -> bool {
        false
    }

    fn read(&self, _bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        Ok(0)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        Ok(bufs.iter().map(|buf| buf.len()).sum())
    }
}

struct InputBytes(Mutex<VecDeque<u8>>);

impl Stream for InputBytes {
    fn may_block(&self) -> bool {
        false
    }

    fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        let mut bytes = self.0.lock();
        let mut done = 0;
        for buf in bufs {
            let n = buf.len().min(bytes.len());
            for (to, from) in buf.iter_mut().zip(bytes.drain(..n)) {
                *to = from;
            }
            done += n;
        }
        Ok(done)
    }
}

type ReadFn = Box<dyn FnMut(&mut [u8]) -> Result<usize> + Send>;
type WriteFn = Box<dyn FnMut(&[u8]) -> Result<usize> + Send>;

struct ReadCallback(Mutex<ReadFn>);

impl Stream for ReadCallback {
    fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        // One call per read: a second call might wait for input although data was read.
        match bufs.iter_mut().find(|buf| !buf.is_empty()) {
            Some(buf) => Ok((self.0.lock())(buf)?.min(buf.len())),
            None => Ok(0),
        }
    }
}

struct WriteCallback(Mutex<WriteFn>);

impl Stream for WriteCallback {
    fn write(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        let mut write = self.0.lock();
        let mut written = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match write(buf) {
                Ok(n) if n < buf.len() => return Ok(written + n),
                Ok(_) => written += buf.len(),
                Err(errno) if written == 0 => return Err(errno),
                Err(_) => return Ok(written),
            }
        }
        Ok(written)
    }
}

enum Inherited {
    Stdin,
    Stdout,
    Stderr,
}

impl Inherited {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Inherited::Stdin => rustix::stdio::stdin(),
            Inherited::Stdout => rustix::stdio::stdout(),
            Inherited::Stderr => rustix::stdio::stderr(),
        }
    }
}

impl Stream for Inherited {
    fn kind(&self) -> FileType {
        if rustix::termios::isatty(self.fd()) { FileType::CharDevice } else { FileType::Fifo }
    }

    fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        match self {
            Inherited::Stdin => read_fd(self.fd(), bufs),
            Inherited::Stdout | Inherited::Stderr => Err(Errno::Badf),
        }
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        match self {
            Inherited::Stdin => Err(Errno::Badf),
            Inherited::Stdout | Inherited::Stderr => write_fd(self.fd(), bufs),
        }
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd())
    }
}

struct HostFile(File);

impl Stream for HostFile {
    fn read(&self, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        read_fd(self.0.as_fd(), bufs)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        write_fd(self.0.as_fd(), bufs)
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

fn read_fd(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
    loop {
        match rustix::io::readv(fd, bufs) {
            Err(rustix::io::Errno::INTR) => {}
            done => return done.map_err(errno),
        }
    }
}

fn write_fd(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> Result<usize> {
    loop {
        match rustix::io::writev(fd, bufs) {
            Err(rustix::io::Errno::INTR) => {}
            done => return done.map_err(errno),
        }
    }
}

fn errno(errno: rustix::io::Errno) -> Errno {
    match errno {
        rustix::io::Errno::AGAIN => Errno::Again,
        rustix::io::Errno::BADF => Errno::Badf,
        rustix::io::Errno::PIPE => Errno::Pipe,
        rustix::io::Errno::NOSPC => Errno::Nospc,
        rustix::io::Errno::INVAL => Errno::Inval,
        rustix::io::Errno::ISDIR => Errno::Isdir,
        _ => Errno::Io,
    }
}
