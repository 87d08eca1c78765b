//! Validation of byte counts that filesystems and streams return.
//!
//! Filesystems and streams may be implemented by an embedder. A count above the total length of the
//! buffers would advance an offset too far and report bytes to the guest that do not exist.

use std::io::{IoSlice, IoSliceMut};

use palisade_vfs::{File, Result, broken_contract};

/// Returns `done` if it fits the buffers of a read, else the error of a broken contract.
#[inline]
pub(crate) fn of_read(done: usize, bufs: &[IoSliceMut<'_>]) -> Result<usize> {
    within(done, bufs.iter().map(|buf| buf.len()))
}

/// Returns `done` if it fits the buffers of a write, else the error of a broken contract.
#[inline]
pub(crate) fn of_write(done: usize, bufs: &[IoSlice<'_>]) -> Result<usize> {
    within(done, bufs.iter().map(|buf| buf.len()))
}

#[inline]
fn within(done: usize, lens: impl Iterator<Item = usize>) -> Result<usize> {
    // The sum cannot overflow: the buffers are in one address space.
    if done > lens.fold(0, usize::saturating_add) {
        return Err(broken_contract("a read or write returned more bytes than its buffers have"));
    }
    Ok(done)
}

/// Calls [`File::read_vec`] and checks its count. On an error `to` keeps its length.
pub(crate) fn read_vec(
    file: &dyn File,
    to: &mut Vec<u8>,
    len: usize,
    offset: u64,
) -> Result<usize> {
    let before = to.len();
    match file.read_vec(to, len, offset) {
        Ok(done) if done <= len && to.len() == before + done => Ok(done),
        Err(errno) if to.len() == before => Err(errno),
        Ok(_) | Err(_) => {
            to.resize(before, 0);
            Err(broken_contract("`read_vec` returned another count than it added bytes"))
        }
    }
}
