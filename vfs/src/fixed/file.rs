//! The `File` of an immutable tree.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::{Content, FileBytes, Index, Tree};
use crate::{Access, Errno, File, Result, SetTimes, Stat, SyncScope};

/// An open file. A read copies bytes once, from the source to the caller's buffers.
pub(super) struct FixedFile {
    tree: Arc<Tree>,
    index: Index,
    content: Content,
    access: Access,
    bytes: FileBytes,
}

impl FixedFile {
    pub(super) fn open(
        tree: &Arc<Tree>,
        index: Index,
        content: Content,
        access: Access,
    ) -> Result<Self> {
        // A handle that cannot read opens no content.
        let bytes =
            if access.reads() { tree.source.open(content)? } else { FileBytes::Static(&[]) };
        Ok(FixedFile { tree: Arc::clone(tree), index, content, access, bytes })
    }

    /// Reads bytes that are not in memory.
    #[cfg(any(feature = "tar", feature = "zip"))]
    fn read_in_place(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let mut done = 0;
        for buf in bufs {
            let mut filled = 0;
            while filled < buf.len() {
                let at = offset + (done + filled) as u64;
                let left = usize::try_from(self.content.len - at).unwrap_or(usize::MAX);
                let end = buf.len().min(filled.saturating_add(left));
                let Some(rest) = buf.get_mut(filled..end).filter(|rest| !rest.is_empty()) else {
                    return Ok(done + filled);
                };
                match self.tree.source.read_at(self.content.at + at, rest) {
                    Ok(n) if n > 0 && n <= rest.len() => filled += n,
                    Ok(_) | Err(_) if done + filled == 0 => return Err(Errno::Io),
                    Ok(_) | Err(_) => return Ok(done + filled),
                }
            }
            done += filled;
        }
        Ok(done)
    }
}

/// Copies the part of `bytes` after `offset` into `bufs`. Returns the number of bytes.
fn copy(bytes: &[u8], bufs: &mut [IoSliceMut<'_>], offset: u64) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut rest = bytes.get(start..).unwrap_or_default();
    let mut done = 0;
    for buf in bufs {
        let n = buf.len().min(rest.len());
        let (now, later) = rest.split_at(n);
        if let Some(buf) = buf.get_mut(..n) {
            buf.copy_from_slice(now);
        }
        (rest, done) = (later, done + n);
    }
    done
}

impl File for FixedFile {
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        if offset >= self.content.len {
            return Ok(0);
        }
        match &self.bytes {
            FileBytes::Static(bytes) => Ok(copy(bytes, bufs, offset)),
            #[cfg(any(feature = "embed", feature = "zip"))]
            FileBytes::Shared(bytes) => Ok(copy((**bytes).as_ref(), bufs, offset)),
            #[cfg(any(feature = "tar", feature = "zip"))]
            FileBytes::InPlace => self.read_in_place(bufs, offset),
        }
    }

    fn write_at(&self, _bufs: &[IoSlice<'_>], _offset: u64) -> Result<usize> {
        Err(Errno::Badf)
    }

    fn append(&self, _bufs: &[IoSlice<'_>]) -> Result<usize> {
        Err(Errno::Badf)
    }

    fn appended_to(&self) -> Result<u64> {
        Ok(0)
    }

    fn stat(&self) -> Result<Stat> {
        self.tree.stat(self.index)
    }

    fn set_len(&self, _len: u64) -> Result<()> {
        Err(Errno::Inval)
    }

    fn allocate(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::Badf)
    }

    fn set_times(&self, _times: SetTimes) -> Result<()> {
        Err(Errno::Rofs)
    }

    fn sync(&self, _scope: SyncScope) -> Result<()> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        match &self.bytes {
            FileBytes::Static(_) => false,
            #[cfg(any(feature = "embed", feature = "zip"))]
            FileBytes::Shared(_) => false,
            #[cfg(any(feature = "tar", feature = "zip"))]
            FileBytes::InPlace => self.tree.source.may_block(),
        }
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        let bytes = match &self.bytes {
            FileBytes::Static(bytes) => *bytes,
            #[cfg(any(feature = "embed", feature = "zip"))]
            FileBytes::Shared(bytes) => (**bytes).as_ref(),
            #[cfg(any(feature = "tar", feature = "zip"))]
            FileBytes::InPlace => {
                let before = to.len();
                to.resize(before.saturating_add(len), 0);
                let Some(buf) = to.get_mut(before..) else {
                    return Err(crate::bug!("a resized vector is shorter than {before} bytes"));
                };
                let done = self.read_at(&mut [IoSliceMut::new(buf)], offset);
                to.truncate(before.saturating_add(*done.as_ref().unwrap_or(&0)));
                return done;
            }
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(start..).unwrap_or_default();
        let taken = rest.get(..len).unwrap_or(rest);
        to.extend_from_slice(taken);
        Ok(taken.len())
    }
}
