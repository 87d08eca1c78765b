//! Checks the byte counts that filesystems and streams return: they may be an embedder's.
//!
//! A count above the length of the buffers would move an offset too far and tell a guest of bytes
//! that are not there.

use std::io::{IoSlice, IoSliceMut};

use palisade_vfs::{File, Result, broken_contract};

/// The count of bytes that were read into `bufs`.
#[inline]
pub(crate) fn of_read(done: usize, bufs: &[IoSliceMut<'_>]) -> Result<usize> {
    within(done, bufs.iter().map(|buf| buf.len()))
}

/// The count of bytes that were written from `bufs`.
#[inline]
pub(crate) fn of_write(done: usize, bufs: &[IoSlice<'_>]) -> Result<usize> {
    within(done, bufs.iter().map(|buf| buf.len()))
}

#[inline]
fn within(done: usize, lens: impl Iterator<Item = usize>) -> Result<usize> {
    // Lengths of buffers that exist at the same time do not overflow together.
    if done > lens.fold(0, usize::saturating_add) {
        return Err(broken_contract("a read or write returned more bytes than its buffers have"));
    }
    Ok(done)
}

/// [`File::read_vec`], whose count is checked; after an error `to` is as long as before.
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
