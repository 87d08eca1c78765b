//! `metadata-hash`: a keyed SipHash of a node's identity, modification time and size.
//!
//! The lower half hashes the device and inode number; the upper half also hashes the modification
//! time and the size. So two values are equal exactly if identity, time and size are (up to hash
//! collisions). The standard Preview 1 adapter uses the lower half as the inode number, which stays
//! the same when a file is written. For a listed entry whose attributes are unknown, the lower half
//! is the usual one and the upper half hashes the identity and a marker.
//!
//! The key is secret, so that a hash does not disclose inode numbers of the host.

use std::hash::Hasher as _;

use palisade_vfs::{Errno, Result, Stat, Timestamp};
use siphasher::sip::SipHasher13;
use wasmtime_wasi::p2::bindings::filesystem::types::MetadataHashValue;

/// The attributes of a node that are hashed.
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

/// A SipHash-1-3 state with a secret key; `None` if the operating system had no entropy.
pub(crate) struct MetadataHasher(Option<SipHasher13>);

impl MetadataHasher {
    pub(crate) fn new(key: Option<[u8; 16]>) -> Self {
        MetadataHasher(key.map(|key| SipHasher13::new_with_key(&key)))
    }

    /// Returns a new hasher.
    ///
    /// # Errors
    ///
    /// - `EIO`: the operating system had no random key.
    fn hasher(&self) -> Result<SipHasher13> {
        match self.0 {
            Some(hasher) => Ok(hasher),
            None => Err(Errno::Io),
        }
    }

    /// Returns the hash of a node whose attributes are unknown.
    ///
    /// # Errors
    ///
    /// - `Io`: the operating system had no entropy for a key.
    pub(crate) fn number(&self, dev: u64, ino: u64) -> Result<MetadataHashValue> {
        let mut hasher = self.hasher()?;
        hasher.write_u64(dev);
        hasher.write_u64(ino);
        let lower = hasher.finish();
        hasher.write_u8(0);
        Ok(MetadataHashValue { lower, upper: hasher.finish() })
    }

    /// Returns the hash of a node.
    ///
    /// # Errors
    ///
    /// - `Io`: the operating system had no entropy for a key.
    pub(crate) fn hash(&self, node: &HashInput) -> Result<MetadataHashValue> {
        let mut hasher = self.hasher()?;
        hasher.write_u64(node.dev);
        hasher.write_u64(node.ino);
        let lower = hasher.finish();
        hasher.write_i64(node.modified.seconds());
        hasher.write_u32(node.modified.nanos());
        hasher.write_u64(node.size);
        Ok(MetadataHashValue { lower, upper: hasher.finish() })
    }
}
