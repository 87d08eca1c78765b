//! An in-memory filesystem of the crate with fault injection.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use vfs::error::VfsErrorKind;
use vfs::{FileSystem, MemoryFS, SeekAndRead, SeekAndWrite, VfsMetadata, VfsResult};

/// The faults to inject.
#[derive(Debug, Default)]
pub struct Faults {
    /// Writes to a stream fail.
    pub write: AtomicBool,
    /// A stream silently discards all bytes.
    pub swallow: AtomicBool,
    /// Removing a file fails.
    pub remove: AtomicBool,
    /// All changes are `NotSupported`.
    pub read_only: AtomicBool,
    /// Listings contain invalid names.
    pub names: AtomicBool,
}

/// The in-memory filesystem of the crate, with faults.
#[derive(Debug)]
pub struct Faulty {
    pub inner: Arc<MemoryFS>,
    pub faults: Arc<Faults>,
}

impl Faulty {
    pub fn new() -> (Faulty, Arc<MemoryFS>, Arc<Faults>) {
        let (inner, faults) = (Arc::new(MemoryFS::new()), Arc::new(Faults::default()));
        (Faulty { inner: Arc::clone(&inner), faults: Arc::clone(&faults) }, inner, faults)
    }

    fn change(&self) -> VfsResult<()> {
        if self.faults.read_only.load(Relaxed) {
            return Err(VfsErrorKind::NotSupported.into());
        }
        Ok(())
    }
}

/// A stream that fails or discards bytes.
struct Bad {
    faults: Arc<Faults>,
}

impl Write for Bad {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.faults.swallow.load(Relaxed) {
            return Ok(buf.len());
        }
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Bad {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(0)
    }
}

impl FileSystem for Faulty {
    fn read_dir(&self, path: &str) -> VfsResult<Box<dyn Iterator<Item = String> + Send>> {
        let names = self.inner.read_dir(path)?;
        if !self.faults.names.load(Relaxed) {
            return Ok(names);
        }
        let bad = ["", ".", "..", "../f", "a/b", "/", "/etc", "nul\0", "f", "missing"];
        let long = "x".repeat(256);
        Ok(Box::new(names.chain(bad.map(str::to_owned)).chain([long])))
    }

    fn create_dir(&self, path: &str) -> VfsResult<()> {
        self.change()?;
        self.inner.create_dir(path)
    }

    fn open_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndRead + Send>> {
        self.inner.open_file(path)
    }

    fn create_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndWrite + Send>> {
        self.change()?;
        let stream = self.inner.create_file(path)?;
        if self.faults.write.load(Relaxed) || self.faults.swallow.load(Relaxed) {
            return Ok(Box::new(Bad { faults: Arc::clone(&self.faults) }));
        }
        Ok(stream)
    }

    fn append_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndWrite + Send>> {
        self.change()?;
        self.inner.append_file(path)
    }

    fn metadata(&self, path: &str) -> VfsResult<VfsMetadata> {
        self.inner.metadata(path)
    }

    fn set_modification_time(&self, path: &str, time: SystemTime) -> VfsResult<()> {
        self.change()?;
        self.inner.set_modification_time(path, time)
    }

    fn exists(&self, path: &str) -> VfsResult<bool> {
        self.inner.exists(path)
    }

    fn remove_file(&self, path: &str) -> VfsResult<()> {
        self.change()?;
        if self.faults.remove.load(Relaxed) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
        }
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &str) -> VfsResult<()> {
        self.change()?;
        self.inner.remove_dir(path)
    }
}

/// Returns the contents of a file of the crate.
pub fn read(fs: &MemoryFS, path: &str) -> String {
    let mut text = String::new();
    fs.open_file(path).unwrap().read_to_string(&mut text).unwrap();
    text
}
