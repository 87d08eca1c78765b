//! Guest memory: the one type that turns a guest's pointers into bytes, or into `Fault`.
//!
//! A pointer and a length from a guest are allegations. Nothing else in this crate indexes memory.

use std::io::{IoSlice, IoSliceMut};

use palisade_vfs::{Errno, Result, bug};

/// A guest's linear memory, as an engine lends it for one call.
pub trait GuestMemory {
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// The bytes, to write.
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

/// A guest's pointer.
pub(crate) type Ptr = u32;

/// The buffers of a vectored call that need no memory of the host's.
const BUFFERS_INLINE: usize = 16;

/// A view of guest memory that answers every allegation with bytes or `Fault`.
pub(crate) struct Memory<'a>(&'a mut [u8]);

/// Where a buffer lies: checked against the memory that it was made for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    start: usize,
    end: usize,
}

/// What a vectored call may ask for.
#[derive(Clone, Copy)]
pub(crate) struct TransferLimits {
    pub(crate) buffers_max: u32,
    pub(crate) bytes_max: u32,
}

/// The buffers of a vectored call, checked.
#[expect(clippy::large_enum_variant, reason = "on the stack, so that a few buffers take no memory")]
pub(crate) enum Buffers {
    /// What nearly every call has.
    One(Range),
    /// A few.
    Few([Range; BUFFERS_INLINE], usize),
    /// Many.
    Many(Vec<Range>),
}

impl Buffers {
    fn ranges(&self) -> &[Range] {
        match self {
            Buffers::One(range) => std::slice::from_ref(range),
            Buffers::Few(ranges, len) => {
                ranges.get(..*len).unwrap_or_else(|| bug!(&[]; "more than {len} buffers"))
            }
            Buffers::Many(ranges) => ranges,
        }
    }
}

impl<'a> Memory<'a> {
    #[inline]
    pub(crate) fn new(memory: &'a mut (impl GuestMemory + ?Sized)) -> Self {
        Memory(memory.bytes_mut())
    }

    /// `Fault` unless `len` bytes lie at `ptr`: asked before a call does anything that it could
    /// not tell the guest about.
    #[inline]
    pub(crate) fn check(&self, ptr: Ptr, len: usize) -> Result<()> {
        self.range(ptr, len).map(drop)
    }

    #[inline]
    pub(crate) fn slice(&self, ptr: Ptr, len: u32) -> Result<&[u8]> {
        let range = self.range(ptr, len as usize)?;
        self.0.get(range.start..range.end).ok_or(Errno::Fault)
    }

    #[inline]
    pub(crate) fn slice_mut(&mut self, ptr: Ptr, len: u32) -> Result<&mut [u8]> {
        let range = self.range(ptr, len as usize)?;
        self.0.get_mut(range.start..range.end).ok_or(Errno::Fault)
    }

    /// Text. Errors, in order: `Fault`, `Ilseq`.
    #[inline]
    pub(crate) fn text(&self, ptr: Ptr, len: u32) -> Result<&str> {
        utf8(self.slice(ptr, len)?).ok_or(Errno::Ilseq)
    }

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

    /// A count of bytes, which is never more than what fits into the memory.
    #[inline]
    pub(crate) fn write_size(&mut self, ptr: Ptr, value: usize) -> Result<()> {
        self.write_u32(ptr, u32::try_from(value).map_err(|_| Errno::Overflow)?)
    }

    /// The buffers that an array of `count` pairs of pointer and length at `ptr` speaks of, cut to
    /// `bytes_max` bytes in all.
    ///
    /// Errors, in order: `Inval` above `count_max` buffers; `Fault`; `Inval` for lengths that add
    /// up to more than a guest can count.
    #[inline]
    fn buffers(&self, ptr: Ptr, count: u32, count_max: u32, bytes_max: u32) -> Result<Buffers> {
        if count > count_max {
            return Err(Errno::Inval);
        }
        let pairs = self.slice(ptr, count.checked_mul(8).ok_or(Errno::Fault)?)?;
        if let Ok(pair) = <&[u8; 8]>::try_from(pairs) {
            return Ok(Buffers::One(self.buffer(pair, bytes_max)?.0));
        }
        let len = count as usize;
        let mut few = [Range::default(); BUFFERS_INLINE];
        let mut many = Vec::new();
        let slots = if len > BUFFERS_INLINE {
            many.resize(len, Range::default());
            &mut many[..]
        } else {
            &mut few[..]
        };
        let mut total: u32 = 0;
        for (pair, slot) in pairs.as_chunks().0.iter().zip(slots) {
            let (range, said) = self.buffer(pair, bytes_max.saturating_sub(total))?;
            total = total.checked_add(said).ok_or(Errno::Inval)?;
            *slot = range;
        }
        Ok(if many.is_empty() { Buffers::Few(few, len) } else { Buffers::Many(many) })
    }

    /// The buffer, if the array has one: nearly every call has, and it goes by no table then.
    ///
    /// Errors: as for [`Memory::buffers`].
    #[inline(always)]
    fn sole_buffer(
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

    /// Calls `write` with the buffers of the array at `ptr`.
    ///
    /// Errors: as for [`Memory::buffers`], then those of `write`.
    #[inline]
    pub(crate) fn write_from<T>(
        &self,
        ptr: Ptr,
        count: u32,
        limits: TransferLimits,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<T>,
    ) -> Result<T> {
        if let Some((start, end)) = self.sole_buffer(ptr, count, limits)? {
            return write(&[IoSlice::new(self.checked(start, end))]);
        }
        self.gather(&self.buffers(ptr, count, limits.buffers_max, limits.bytes_max)?, write)
    }

    /// Calls `read` with the buffers of the array at `ptr`, as [`Memory::scatter`] does.
    ///
    /// Errors: as for [`Memory::buffers`], then those of `read`.
    #[inline]
    pub(crate) fn read_into(
        &mut self,
        ptr: Ptr,
        count: u32,
        limits: TransferLimits,
        mut read: impl FnMut(&mut [IoSliceMut<'_>], usize) -> Result<usize>,
    ) -> Result<usize> {
        if let Some((start, end)) = self.sole_buffer(ptr, count, limits)? {
            let slice = self.checked_mut(start, end);
            return read(&mut [IoSliceMut::new(slice)], 0);
        }
        let buffers = self.buffers(ptr, count, limits.buffers_max, limits.bytes_max)?;
        self.scatter(&buffers, read)
    }

    /// One buffer, cut to `bytes_max` bytes, and the length that the guest said.
    #[inline]
    fn buffer(&self, pair: &[u8; 8], bytes_max: u32) -> Result<(Range, u32)> {
        let [p0, p1, p2, p3, l0, l1, l2, l3] = *pair;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let mut range = self.range(u32::from_le_bytes([p0, p1, p2, p3]), len as usize)?;
        range.end = range.start + len.min(bytes_max) as usize;
        Ok((range, len))
    }

    /// Calls `write` with the buffers.
    #[inline]
    fn gather<T>(
        &self,
        buffers: &Buffers,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<T>,
    ) -> Result<T> {
        let slice = |range: &Range| IoSlice::new(self.checked(range.start, range.end));
        let ranges = buffers.ranges();
        if let [range] = ranges {
            return write(&[slice(range)]);
        }
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

    /// Calls `read` with the buffers: once, or where they overlap once for each until one is not
    /// filled, with the number of bytes that were read before.
    #[inline]
    fn scatter(
        &mut self,
        buffers: &Buffers,
        mut read: impl FnMut(&mut [IoSliceMut<'_>], usize) -> Result<usize>,
    ) -> Result<usize> {
        let ranges = buffers.ranges();
        if let [range] = ranges {
            let slice = self.checked_mut(range.start, range.end);
            return read(&mut [IoSliceMut::new(slice)], 0);
        }
        if ranges.len() <= BUFFERS_INLINE {
            let mut slots = [const { None }; BUFFERS_INLINE];
            let mut order = [0; BUFFERS_INLINE];
            let Some(order) = order.get_mut(..ranges.len()) else {
                return Err(bug!("more than {BUFFERS_INLINE} buffers"));
            };
            if carve(self.0, ranges, order, &mut slots) {
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
            if carve(self.0, ranges, &mut order, &mut slots) {
                let mut slices: Vec<_> = slots
                    .into_iter()
                    .map(|slot| IoSliceMut::new(slot.unwrap_or_default()))
                    .collect();
                return read(&mut slices, 0);
            }
        }
        let mut done = 0;
        for range in ranges.iter().filter(|range| range.start < range.end) {
            let slice = self.checked_mut(range.start, range.end);
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

    /// The bytes of a range that was checked. A memory does not shrink during a call.
    #[inline]
    fn checked(&self, start: usize, end: usize) -> &[u8] {
        let bytes = self.0.get(start..end);
        bytes.unwrap_or_else(|| bug!(&[]; "the memory lacks {start}..{end}, which was checked"))
    }

    #[inline]
    fn checked_mut(&mut self, start: usize, end: usize) -> &mut [u8] {
        match self.0.get_mut(start..end) {
            Some(bytes) => bytes,
            None => bug!(&mut []; "the memory lacks {start}..{end}, which was checked"),
        }
    }

    #[inline]
    fn range(&self, ptr: Ptr, len: usize) -> Result<Range> {
        let start = ptr as usize;
        match start.checked_add(len) {
            Some(end) if end <= self.0.len() => Ok(Range { start, end }),
            Some(_) | None => Err(Errno::Fault),
        }
    }
}

/// `bytes` as text, in registers: inlined, both halves of it go through memory, are written one by
/// one and read as one, and that read waits for both writes.
#[inline(never)]
fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Cuts the ranges out of `memory` into `slots`, each at its own place. Answers false, with
/// nothing promised, if two of them overlap.
fn carve<'m>(
    memory: &'m mut [u8],
    ranges: &[Range],
    order: &mut [usize],
    slots: &mut [Option<&'m mut [u8]>],
) -> bool {
    for (at, place) in order.iter_mut().enumerate() {
        *place = at;
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
        let Some((_, behind)) = rest.split_at_mut_checked(gap) else { return false };
        let Some((slice, behind)) = behind.split_at_mut_checked(range.end - range.start) else {
            return false;
        };
        *slot = Some(slice);
        (rest, rest_start) = (behind, range.end);
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
        assert_eq!(memory.buffers(0, 9, 8, 100).err(), Some(Errno::Inval));
        assert_eq!(memory.buffers(0, 9, 9, 100).err(), Some(Errno::Fault));
        assert_eq!(memory.buffers(8, u32::MAX, u32::MAX, 100).err(), Some(Errno::Fault));
    }

    proptest! {
        /// Reading into buffers, overlapping or not, does what reading byte by byte does.
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
            let buffers = view.buffers(AT as u32, count, 64, bytes_max).unwrap();
            let mut calls = 0;
            let done = view.scatter(&buffers, |slices, before| {
                calls += 1;
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
            let buffers = view.buffers(AT as u32, list.len() as u32, 64, bytes_max).unwrap();
            let got = view.gather(&buffers, |slices| {
                Ok(slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
            }).unwrap();
            prop_assert_eq!(got, want);
        }
    }
}
