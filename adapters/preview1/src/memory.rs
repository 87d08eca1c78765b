//! Bounds-checked access to a guest's linear memory.
//!
//! Pointers and lengths from a guest are untrusted: every access goes through [`Memory`], which
//! returns `Fault` for a range outside the memory. Nothing else in this crate indexes memory.
//!
//! `iovec` arrays are parsed into [`Buffers`]. A call with one buffer, which is the common case,
//! skips that table ([`Memory::single_buffer`]).

use std::io::{IoSlice, IoSliceMut};

use palisade_vfs::{Errno, Result, bug};

/// A guest's linear memory, borrowed from an engine for one call.
pub trait GuestMemory {
    /// Returns the whole memory.
    fn bytes(&self) -> &[u8];
    /// Returns the whole memory, writable.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl GuestMemory for [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl GuestMemory for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// A guest pointer: an offset into its linear memory.
pub(crate) type Ptr = u32;

/// Buffers of one vectored call that are stored on the stack; longer arrays are heap-allocated.
const BUFFERS_INLINE: usize = 16;

/// A bounds-checked view of a guest's linear memory.
pub(crate) struct Memory<'a>(&'a mut [u8]);

/// A byte range that was checked against the memory's length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    start: usize,
    end: usize,
}

/// Limits of one vectored call.
#[derive(Clone, Copy)]
pub(crate) struct TransferLimits {
    /// The longest `iovec` array; a longer one is `Inval`.
    pub(crate) buffers_max: u32,
    /// Bytes that one call transfers; longer buffers are truncated.
    pub(crate) bytes_max: u32,
}

/// The checked buffers of a vectored call.
#[expect(clippy::large_enum_variant, reason = "on the stack, to avoid a heap allocation per call")]
enum Buffers {
    /// At most [`BUFFERS_INLINE`] buffers, and their count.
    Inline([Range; BUFFERS_INLINE], usize),
    Heap(Vec<Range>),
}

impl Buffers {
    fn ranges(&self) -> &[Range] {
        match self {
            Buffers::Inline(ranges, len) => {
                ranges.get(..*len).unwrap_or_else(|| bug!(&[]; "more than {len} buffers"))
            }
            Buffers::Heap(ranges) => ranges,
        }
    }
}

impl<'a> Memory<'a> {
    #[inline]
    pub(crate) fn new(memory: &'a mut (impl GuestMemory + ?Sized)) -> Self {
        Memory(memory.bytes_mut())
    }

    /// Checks that `len` bytes at `ptr` are inside the memory, else `Fault`.
    ///
    /// Calls check their result pointer before they change anything, so that no call takes effect
    /// and then fails to report its result.
    #[inline]
    pub(crate) fn check(&self, ptr: Ptr, len: usize) -> Result<()> {
        self.range(ptr, len).map(drop)
    }

    /// Returns `len` bytes at `ptr`, or `Fault`.
    #[inline]
    pub(crate) fn slice(&self, ptr: Ptr, len: u32) -> Result<&[u8]> {
        let range = self.range(ptr, len as usize)?;
        self.0.get(range.start..range.end).ok_or(Errno::Fault)
    }

    /// Returns `len` writable bytes at `ptr`, or `Fault`.
    #[inline]
    pub(crate) fn slice_mut(&mut self, ptr: Ptr, len: u32) -> Result<&mut [u8]> {
        let range = self.range(ptr, len as usize)?;
        self.0.get_mut(range.start..range.end).ok_or(Errno::Fault)
    }

    /// Returns the UTF-8 string of `len` bytes at `ptr`.
    ///
    /// # Errors
    ///
    /// - `Fault`: outside the memory.
    /// - `Ilseq`: not UTF-8.
    #[inline]
    pub(crate) fn text(&self, ptr: Ptr, len: u32) -> Result<&str> {
        utf8(self.slice(ptr, len)?).ok_or(Errno::Ilseq)
    }

    /// Copies `bytes` to `ptr`, or returns `Fault`.
    #[inline]
    pub(crate) fn write(&mut self, ptr: Ptr, bytes: &[u8]) -> Result<()> {
        let range = self.range(ptr, bytes.len())?;
        self.0.get_mut(range.start..range.end).ok_or(Errno::Fault)?.copy_from_slice(bytes);
        Ok(())
    }

    #[inline]
    pub(crate) fn write_u32(&mut self, ptr: Ptr, value: u32) -> Result<()> {
        self.write(ptr, &value.to_le_bytes())
    }

    #[inline]
    pub(crate) fn write_u64(&mut self, ptr: Ptr, value: u64) -> Result<()> {
        self.write(ptr, &value.to_le_bytes())
    }

    /// Writes a byte count as a WASI `size` (32 bits), or returns `Overflow`.
    #[inline]
    pub(crate) fn write_size(&mut self, ptr: Ptr, value: usize) -> Result<()> {
        self.write_u32(ptr, u32::try_from(value).map_err(|_| Errno::Overflow)?)
    }

    /// Parses the array of `count` pairs of pointer and length at `ptr`. The buffers are truncated
    /// to `limits.bytes_max` bytes in total.
    ///
    /// # Errors
    ///
    /// - `Inval`: more than `limits.buffers_max` buffers.
    /// - `Fault`: the array or a buffer is outside the memory.
    /// - `Inval`: the sum of the lengths overflows 32 bits.
    #[inline]
    fn buffers(&self, ptr: Ptr, count: u32, limits: TransferLimits) -> Result<Buffers> {
        if count > limits.buffers_max {
            return Err(Errno::Inval);
        }
        let pairs = self.slice(ptr, count.checked_mul(8).ok_or(Errno::Fault)?)?;
        let len = count as usize;
        let mut inline = [Range::default(); BUFFERS_INLINE];
        let mut heap = Vec::new();
        let slots = if len > BUFFERS_INLINE {
            heap.resize(len, Range::default());
            &mut heap[..]
        } else {
            &mut inline[..]
        };
        let mut total: u32 = 0;
        for (pair, slot) in pairs.as_chunks().0.iter().zip(slots) {
            let (range, full_len) = self.buffer(pair, limits.bytes_max.saturating_sub(total))?;
            total = total.checked_add(full_len).ok_or(Errno::Inval)?;
            *slot = range;
        }
        Ok(if heap.is_empty() { Buffers::Inline(inline, len) } else { Buffers::Heap(heap) })
    }

    /// Fast path: returns the bounds of the buffer of a one-element array, else `None`.
    ///
    /// # Errors
    ///
    /// As for [`Memory::buffers`].
    #[inline(always)]
    fn single_buffer(
        &self,
        ptr: Ptr,
        count: u32,
        limits: TransferLimits,
    ) -> Result<Option<(usize, usize)>> {
        if count != 1 || limits.buffers_max == 0 {
            return Ok(None);
        }
        let pairs = self.slice(ptr, 8)?;
        let pair = <&[u8; 8]>::try_from(pairs).map_err(|_| Errno::Fault)?;
        let (range, _) = self.buffer(pair, limits.bytes_max)?;
        Ok(Some((range.start, range.end)))
    }

    /// Calls `write` once with the buffers of the `iovec` array at `ptr`.
    ///
    /// # Errors
    ///
    /// - Those of [`Memory::buffers`].
    /// - Those of `write`.
    #[inline]
    pub(crate) fn write_from<T>(
        &self,
        ptr: Ptr,
        count: u32,
        limits: TransferLimits,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<T>,
    ) -> Result<T> {
        if let Some((start, end)) = self.single_buffer(ptr, count, limits)? {
            return write(&[IoSlice::new(self.checked_slice(start, end))]);
        }
        self.gather(&self.buffers(ptr, count, limits)?, write)
    }

    /// Calls `read` with the buffers of the `iovec` array at `ptr`; see [`Memory::scatter`] for the
    /// second argument of `read`.
    ///
    /// # Errors
    ///
    /// - Those of [`Memory::buffers`].
    /// - Those of `read`.
    #[inline]
    pub(crate) fn read_into(
        &mut self,
        ptr: Ptr,
        count: u32,
        limits: TransferLimits,
        mut read: impl FnMut(&mut [IoSliceMut<'_>], usize) -> Result<usize>,
    ) -> Result<usize> {
        if let Some((start, end)) = self.single_buffer(ptr, count, limits)? {
            let slice = self.checked_slice_mut(start, end);
            return read(&mut [IoSliceMut::new(slice)], 0);
        }
        let buffers = self.buffers(ptr, count, limits)?;
        self.scatter(&buffers, read)
    }

    /// Returns one buffer, truncated to `bytes_max` bytes, and its length before truncation.
    #[inline]
    fn buffer(&self, pair: &[u8; 8], bytes_max: u32) -> Result<(Range, u32)> {
        let [p0, p1, p2, p3, l0, l1, l2, l3] = *pair;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let mut range = self.range(u32::from_le_bytes([p0, p1, p2, p3]), len as usize)?;
        range.end = range.start + len.min(bytes_max) as usize;
        Ok((range, len))
    }

    /// Calls `write` with slices of all buffers.
    #[inline]
    fn gather<T>(
        &self,
        buffers: &Buffers,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<T>,
    ) -> Result<T> {
        let slice = |range: &Range| IoSlice::new(self.checked_slice(range.start, range.end));
        let ranges = buffers.ranges();
        if ranges.len() > BUFFERS_INLINE {
            return write(&ranges.iter().map(slice).collect::<Vec<_>>());
        }
        let mut slices = [IoSlice::new(&[]); BUFFERS_INLINE];
        for (to, range) in slices.iter_mut().zip(ranges) {
            *to = slice(range);
        }
        match slices.get(..ranges.len()) {
            Some(slices) => write(slices),
            None => Err(bug!("more than {} buffers", slices.len())),
        }
    }

    /// Calls `read` once with slices of all buffers and 0. Overlapping buffers cannot be borrowed
    /// together: then `read` is called once per buffer, with the number of bytes read before, until
    /// a buffer is not filled.
    #[inline]
    fn scatter(
        &mut self,
        buffers: &Buffers,
        mut read: impl FnMut(&mut [IoSliceMut<'_>], usize) -> Result<usize>,
    ) -> Result<usize> {
        let ranges = buffers.ranges();
        if ranges.len() <= BUFFERS_INLINE {
            let mut slots = [const { None }; BUFFERS_INLINE];
            let mut order = [0; BUFFERS_INLINE];
            let Some(order) = order.get_mut(..ranges.len()) else {
                return Err(bug!("more than {BUFFERS_INLINE} buffers"));
            };
            if split_disjoint(self.0, ranges, order, &mut slots) {
                let mut slices: [IoSliceMut<'_>; BUFFERS_INLINE] =
                    std::array::from_fn(|_| IoSliceMut::new(&mut []));
                for (to, mut slot) in slices.iter_mut().zip(slots) {
                    *to = IoSliceMut::new(slot.take().unwrap_or_default());
                }
                return match slices.get_mut(..ranges.len()) {
                    Some(slices) => read(slices, 0),
                    None => Err(bug!("more than {BUFFERS_INLINE} buffers")),
                };
            }
        } else {
            let mut slots: Vec<_> = ranges.iter().map(|_| None).collect();
            let mut order = vec![0; ranges.len()];
            if split_disjoint(self.0, ranges, &mut order, &mut slots) {
                let mut slices: Vec<_> = slots
                    .into_iter()
                    .map(|slot| IoSliceMut::new(slot.unwrap_or_default()))
                    .collect();
                return read(&mut slices, 0);
            }
        }
        let mut done = 0;
        for range in ranges.iter().filter(|range| range.start < range.end) {
            let slice = self.checked_slice_mut(range.start, range.end);
            let len = slice.len();
            let n = match read(&mut [IoSliceMut::new(slice)], done) {
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
                Ok(n) => n,
            };
            done += n;
            if n < len {
                break;
            }
        }
        Ok(done)
    }

    /// Returns the bytes of a checked range.
    // INVARIANT: a memory does not shrink during a call.
    #[inline]
    fn checked_slice(&self, start: usize, end: usize) -> &[u8] {
        let bytes = self.0.get(start..end);
        bytes.unwrap_or_else(|| bug!(&[]; "the memory lacks {start}..{end}, which was checked"))
    }

    #[inline]
    fn checked_slice_mut(&mut self, start: usize, end: usize) -> &mut [u8] {
        match self.0.get_mut(start..end) {
            Some(bytes) => bytes,
            None => bug!(&mut []; "the memory lacks {start}..{end}, which was checked"),
        }
    }

    /// Checks a range against the memory's length, or returns `Fault`.
    #[inline]
    fn range(&self, ptr: Ptr, len: usize) -> Result<Range> {
        let start = ptr as usize;
        match start.checked_add(len) {
            Some(end) if end <= self.0.len() => Ok(Range { start, end }),
            Some(_) | None => Err(Errno::Fault),
        }
    }
}

/// Validates UTF-8.
// perf: store forwarding, see docs/performance.md. Not inlined, so that the slice is returned in
// registers.
#[inline(never)]
fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Borrows each range of `memory` into the slot of the same index. Returns false, with the slots
/// in an unspecified state, if two ranges overlap. `order` is scratch space.
fn split_disjoint<'m>(
    memory: &'m mut [u8],
    ranges: &[Range],
    order: &mut [usize],
    slots: &mut [Option<&'m mut [u8]>],
) -> bool {
    for (at, index) in order.iter_mut().enumerate() {
        *index = at;
    }
    order.sort_unstable_by_key(|at| ranges.get(*at).map_or(0, |range| range.start));
    let (mut rest, mut rest_start) = (memory, 0);
    for at in order.iter() {
        let (Some(range), Some(slot)) = (ranges.get(*at), slots.get_mut(*at)) else {
            return false;
        };
        if range.start >= range.end {
            continue;
        }
        let Some(gap) = range.start.checked_sub(rest_start) else { return false };
        let Some((_, tail)) = rest.split_at_mut_checked(gap) else { return false };
        let Some((slice, tail)) = tail.split_at_mut_checked(range.end - range.start) else {
            return false;
        };
        *slot = Some(slice);
        (rest, rest_start) = (tail, range.end);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(buffers: &[(u32, u32)]) -> Vec<u8> {
        buffers.iter().flat_map(|(p, l)| [p.to_le_bytes(), l.to_le_bytes()].concat()).collect()
    }

    #[test]
    fn no_pointer_reaches_past_the_memory() {
        let mut bytes = vec![0; 64];
        let memory = Memory::new(&mut bytes);
        for (ptr, len, ok) in [
            (0, 64, true),
            (64, 0, true),
            (63, 1, true),
            (63, 2, false),
            (65, 0, false),
            (u32::MAX, 1, false),
            (1, u32::MAX, false),
        ] {
            assert_eq!(memory.slice(ptr, len).is_ok(), ok, "{ptr} {len}");
        }
        for (ptr, count, buffers_max, errno) in [
            (0, 9, 8, Errno::Inval),
            (0, 1, 0, Errno::Inval),
            (0, 9, 9, Errno::Fault),
            (57, 1, 9, Errno::Fault),
            (8, u32::MAX, u32::MAX, Errno::Fault),
        ] {
            let limits = TransferLimits { buffers_max, bytes_max: 100 };
            let written = memory.write_from(ptr, count, limits, |_| Ok(()));
            assert_eq!(written, Err(errno), "{ptr} {count}");
        }
    }

    proptest! {
        /// The oracle fills the buffers byte by byte; they may overlap.
        #[test]
        fn scattering_fills_the_buffers_in_order(
            list in prop::collection::vec((0u32..96, 0u32..40), 0..24),
            source_len in 0usize..300,
            bytes_max in 0u32..400,
        ) {
            const AT: usize = 256;
            let mut memory = vec![0u8; AT + 24 * 8];
            let table = pairs(&list);
            memory[AT..AT + table.len()].copy_from_slice(&table);
            let source: Vec<u8> = (0..source_len).map(|i| (i % 251) as u8 + 1).collect();

            let mut want = memory.clone();
            let mut at = 0;
            let (count, max) = (list.len() as u32, bytes_max as usize);
            for (ptr, len) in &list {
                for i in 0..*len as usize {
                    if at < source.len().min(max) {
                        want[*ptr as usize + i] = source[at];
                        at += 1;
                    }
                }
            }

            let mut view = Memory::new(&mut memory);
            let limits = TransferLimits { buffers_max: 64, bytes_max };
            let done = view.read_into(AT as u32, count, limits, |slices, before| {
                let mut n = 0;
                for slice in slices.iter_mut() {
                    let left = &source[(before + n).min(source.len())..];
                    let len = slice.len().min(left.len());
                    slice[..len].copy_from_slice(&left[..len]);
                    n += len;
                }
                Ok(n)
            }).unwrap();
            prop_assert_eq!(done, at);
            prop_assert_eq!(&memory, &want);
        }

        #[test]
        fn gathering_takes_the_buffers_in_order(
            list in prop::collection::vec((0u32..96, 0u32..40), 0..24),
            bytes_max in 0u32..400,
        ) {
            const AT: usize = 256;
            let mut memory: Vec<u8> = (0..AT + 24 * 8).map(|i| (i % 251) as u8).collect();
            let table = pairs(&list);
            memory[AT..AT + table.len()].copy_from_slice(&table);
            let mut want: Vec<u8> = list
                .iter()
                .flat_map(|(ptr, len)| memory[*ptr as usize..(*ptr + *len) as usize].to_vec())
                .collect();
            want.truncate(bytes_max as usize);
            let view = Memory::new(&mut memory);
            let limits = TransferLimits { buffers_max: 64, bytes_max };
            let got = view.write_from(AT as u32, list.len() as u32, limits, |slices| {
                Ok(slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
            }).unwrap();
            prop_assert_eq!(got, want);
        }
    }
}
