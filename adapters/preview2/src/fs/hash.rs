//! `metadata-hash`: what tells two states of two nodes apart, and nothing else about them.
//!
//! The lower half is of a node's identity alone, the upper one of all that the interface names. So
//! two values are equal if and only if identity, time and size are; and the lower half, which the
//! standard Preview 1 adapter makes an inode's number of, stays what it is when a file is written,
//! as programs expect of inode numbers. An entry that may not be looked at has the lower half that
//! it would have, and an upper one without a state.

use std::hash::Hasher as _;

use palisade_vfs::{Errno, Result, Stat, Timestamp};
use siphasher::sip::SipHasher13;
use wasmtime_wasi::p2::bindings::filesystem::types::MetadataHashValue;

/// What is hashed of a node.
#[derive(Clone, Copy)]
pub(crate) struct HashInput {
    dev: u64,
    ino: u64,
    modified: Timestamp,
    size: u64,
}

impl From<&Stat> for HashInput {
    fn from(stat: &Stat) -> Self {
        HashInput { dev: stat.dev, ino: stat.ino, modified: stat.modified, size: stat.size }
    }
}

/// Hashes with a key that the guest does not know, so that no value tells a number of the host.
pub(crate) struct MetadataHasher(Option<SipHasher13>);

impl MetadataHasher {
    pub(crate) fn new(key: Option<[u8; 16]>) -> Self {
        MetadataHasher(key.map(|key| SipHasher13::new_with_key(&key)))
    }

    /// Of a node of which only the number is known.
    ///
    /// Errors: `Io` if the operating system had no key to give.
    pub(crate) fn number(&self, dev: u64, ino: u64) -> Result<MetadataHashValue> {
        let mut hasher = self.0.ok_or(Errno::Io)?;
        hasher.write_u64(dev);
        hasher.write_u64(ino);
        let lower = hasher.finish();
        hasher.write_u8(0);
        Ok(MetadataHashValue { lower, upper: hasher.finish() })
    }

    /// Errors: `Io` if the operating system had no key to give.
    pub(crate) fn hash(&self, node: &HashInput) -> Result<MetadataHashValue> {
        let mut hasher = self.0.ok_or(Errno::Io)?;
        hasher.write_u64(node.dev);
        hasher.write_u64(node.ino);
        let lower = hasher.finish();
        hasher.write_i64(node.modified.seconds());
        hasher.write_u32(node.modified.nanos());
        hasher.write_u64(node.size);
        Ok(MetadataHashValue { lower, upper: hasher.finish() })
    }
}
