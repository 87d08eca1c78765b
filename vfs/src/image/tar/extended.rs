//! The values that extended headers give the entries after them.

use super::header::until_nul;
use super::pax;
use super::sparse::SparseRecords;
use crate::Timestamp;

/// Extended attributes of Linux's overlay filesystem that mark an opaque directory.
const OPAQUE_KEYS: [&[u8]; 2] =
    [b"SCHILY.xattr.trusted.overlay.opaque", b"SCHILY.xattr.user.overlay.opaque"];

/// A value of a pax record.
#[derive(Debug, Default)]
pub(super) enum Value<T> {
    /// There is no record.
    #[default]
    Unset,
    /// The record is empty, which deletes the value that a global header has set.
    Deleted,
    Set(T),
}

impl<T> Value<T> {
    fn into_option(self) -> Option<T> {
        match self {
            Value::Set(value) => Some(value),
            Value::Unset | Value::Deleted => None,
        }
    }

    /// The value parsed from a record. A record that cannot be parsed is ignored.
    fn parsed(value: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Self {
        match value {
            b"" => Value::Deleted,
            value => parse(value).map_or(Value::Unset, Value::Set),
        }
    }
}

/// The values for the next entry.
#[derive(Debug, Default)]
pub(super) struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    modified: Value<Timestamp>,
    pub(super) sparse: SparseRecords,
    pub(super) is_opaque: bool,
    /// Whether a time could not be parsed.
    pub(super) has_odd_time: bool,
}

/// The values that a global header gives all entries after it. Values that can only hold for one
/// entry, such as a path, are ignored there; GNU tar gives all entries the same path.
#[derive(Debug, Default)]
pub(super) struct Global {
    modified: Option<Timestamp>,
}

impl Global {
    /// Takes the records of a global header. Returns `None` if they are malformed.
    pub(super) fn take_records(&mut self, records: &[u8]) -> Option<()> {
        pax::for_each(records, &mut |key, value| {
            if key == b"mtime" {
                self.modified = Value::parsed(value, pax::parse_time).into_option();
            }
            Some(())
        })
    }
}

impl Extended {
    /// Takes the records of an extended header. Returns `None` if they are malformed.
    pub(super) fn take_records(&mut self, records: &[u8]) -> Option<()> {
        pax::for_each(records, &mut |key, value| {
            match key {
                b"path" => self.path = non_empty(value),
                b"linkpath" => self.target = non_empty(value),
                b"size" if value.is_empty() => self.size = None,
                b"size" => self.size = Some(pax::decimal_digits(value)?),
                b"mtime" => {
                    self.modified = Value::parsed(value, pax::parse_time);
                    self.has_odd_time = matches!(self.modified, Value::Unset);
                }
                key if OPAQUE_KEYS.contains(&key) => self.is_opaque = value == b"y",
                key => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.take(key, value);
                    }
                }
            }
            Some(())
        })
    }

    /// Takes a path of GNU's long name header.
    pub(super) fn take_long_name(&mut self, name: &[u8]) {
        self.path = non_empty(until_nul(name));
    }

    /// Takes a target of GNU's long link header.
    pub(super) fn take_long_target(&mut self, target: &[u8]) {
        self.target = non_empty(until_nul(target));
    }

    /// The path, if an extended header has one.
    pub(super) fn take_path(&mut self) -> Option<Vec<u8>> {
        // The path of a sparse file's header is made up; its own record has the real one.
        self.sparse.name.take().or(self.path.take())
    }

    /// The link's target, if an extended header has one.
    pub(super) fn take_target(&mut self) -> Option<Vec<u8>> {
        self.target.take()
    }

    /// The modification time, if an extended or global header has one.
    pub(super) fn modified(&self, global: &Global) -> Option<Timestamp> {
        match self.modified {
            Value::Set(time) => Some(time),
            Value::Deleted => None,
            Value::Unset => global.modified,
        }
    }
}

fn non_empty(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_owned())
}
