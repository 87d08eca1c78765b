//! File contents of the model: a map from offsets to the bytes written there.

use palisade_vfs::Errno;

use super::{FILE_END_MAX, Ino, Model, NodeData, Open, Res};
use crate::op::Op;
use crate::outcome::Outcome;

impl Model {
    pub(super) fn set_len(&mut self, ino: Ino, to: u64) {
        if let Some(node) = self.nodes.get_mut(&ino)
            && let NodeData::File { bytes, len } = &mut node.body
        {
            bytes.retain(|at, _| *at < to);
            *len = to;
            node.modified = None;
        }
    }

    pub(super) fn len(&self, ino: Ino) -> u64 {
        match self.nodes.get(&ino).map(|node| &node.body) {
            Some(NodeData::File { len, .. }) => *len,
            Some(NodeData::Link(target)) => u64::try_from(target.len()).unwrap_or(u64::MAX),
            Some(NodeData::Dir { .. }) | None => 0,
        }
    }

    pub(super) fn read(&self, ino: Ino, count: u64, offset: u64) -> Outcome {
        let end = offset.saturating_add(count).min(self.len(ino));
        match self.nodes.get(&ino).map(|node| &node.body) {
            Some(NodeData::File { bytes, .. }) => {
                let at = |at| *bytes.get(&at).unwrap_or(&0);
                Outcome::Bytes((offset.min(end)..end).map(at).collect())
            }
            _ => Outcome::Fail(Errno::Isdir),
        }
    }

    pub(super) fn write(&mut self, ino: Ino, data: &[u8], offset: u64) -> Res<u64> {
        let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
        if count == 0 {
            return Ok(0);
        }
        match offset.checked_add(count) {
            Some(end) if end <= FILE_END_MAX => {}
            _ => return Err(Errno::Fbig),
        }
        if let Some(node) = self.nodes.get_mut(&ino)
            && let NodeData::File { bytes, len } = &mut node.body
        {
            bytes.extend((offset..).zip(data.iter().copied()));
            *len = (*len).max(offset + count);
            node.modified = None;
        }
        Ok(count)
    }

    pub(super) fn run_on_file(&mut self, op: &Op, nth: u8) -> Res<Outcome> {
        let nth = usize::from(nth) % self.files.len().max(1);
        let Some(Open { ino, access }) = self.files.get(nth).copied() else {
            return Ok(Outcome::Idle);
        };
        let writable = if access.writes() { Ok(()) } else { Err(Errno::Badf) };
        match op {
            Op::Close(_) => {
                self.files.remove(nth);
                Ok(Outcome::Done)
            }
            Op::Read(_, len, offset) if access.reads() => {
                Ok(self.read(ino, u64::from(*len), *offset))
            }
            Op::Read(..) => Err(Errno::Badf),
            Op::Write(_, bytes, offset) => {
                writable?;
                self.write(ino, bytes, *offset).map(Outcome::Wrote)
            }
            Op::Append(_, bytes) => {
                writable?;
                let end = self.len(ino);
                let count = self.write(ino, bytes, end)?;
                Ok(Outcome::Appended(count, end + count))
            }
            Op::SetLen(_, len) => {
                // `ftruncate` returns `EINVAL` for a descriptor that is not writable.
                writable.map_err(|_| Errno::Inval)?;
                if *len > FILE_END_MAX {
                    return Err(Errno::Fbig);
                }
                self.set_len(ino, *len);
                Ok(Outcome::Done)
            }
            Op::Allocate(_, offset, len) => {
                writable?;
                if *len == 0 {
                    return Err(Errno::Inval);
                }
                match offset.checked_add(*len) {
                    Some(end) if end <= FILE_END_MAX => {
                        self.set_len(ino, self.len(ino).max(end));
                        Ok(Outcome::Done)
                    }
                    _ => Err(Errno::Fbig),
                }
            }
            Op::Fstat(_) => Ok(self.stat(ino)),
            Op::Ftimes(_, times) => Ok(self.set_times(ino, *times)),
            _ => Ok(Outcome::Idle),
        }
    }
}
