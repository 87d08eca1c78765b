//! The tree of an archive while its entries are read: limits, omissions, and the builder.

use super::entry_path::{EntryPath, clean, symlink_target};
use super::error::{EntryFault, ImageError, ImageLimit, ImageLimits};
use super::omitted::Omitted;
use crate::fixed::{Added, Builder, Content, OnDuplicate};
use crate::{Timestamp, TreeFault};

/// The entries of an archive.
pub(super) struct Entries<'l> {
    pub(super) builder: Builder,
    pub(super) limits: &'l ImageLimits,
    pub(super) omitted: Omitted,
    /// Entries that were read, also those that were left out.
    pub(super) count: u64,
}

impl<'l> Entries<'l> {
    pub(super) fn new(limits: &'l ImageLimits) -> Self {
        let builder = Builder::new(OnDuplicate::LastWins);
        Entries { builder, limits, omitted: Omitted::default(), count: 0 }
    }

    /// Counts an entry and cleans its path. Returns `None` if the entry was left out.
    ///
    /// # Errors
    ///
    /// - [`ImageLimit::PathLen`]
    /// - those of [`Entries::omit`]
    pub(super) fn path<'p>(&mut self, raw: &'p [u8]) -> Result<Option<EntryPath<'p>>, ImageError> {
        self.count += 1;
        if raw.len() > self.limits.path_len_max {
            let max = self.limits.path_len_max as u64;
            return Err(ImageError::limit(raw, ImageLimit::PathLen, max));
        }
        match clean(raw) {
            Ok(path) => Ok(Some(path)),
            Err(fault) => self.omit(raw, fault).map(|()| None),
        }
    }

    /// Leaves an entry out.
    ///
    /// # Errors
    ///
    /// - [`ImageError::Entry`]: the limit is 0
    /// - [`ImageLimit::Omitted`]
    pub(super) fn omit(
        &mut self,
        raw: &[u8],
        fault: impl Into<EntryFault>,
    ) -> Result<(), ImageError> {
        let (fault, max) = (fault.into(), self.limits.omitted_max);
        if max == 0 {
            return Err(ImageError::entry(raw, fault));
        }
        self.omitted.push(raw, fault);
        if self.omitted.count() > max {
            return Err(ImageError::limit(raw, ImageLimit::Omitted, max));
        }
        Ok(())
    }

    pub(super) fn dir(
        &mut self,
        raw: &[u8],
        path: &EntryPath<'_>,
        time: Timestamp,
    ) -> Result<(), ImageError> {
        self.add(raw, Repeated::Ignore, |builder| builder.dir(&path.clean, time))
    }

    pub(super) fn file(
        &mut self,
        raw: &[u8],
        path: &EntryPath<'_>,
        content: Content,
        time: Timestamp,
        repeated: Repeated,
    ) -> Result<(), ImageError> {
        if path.clean.is_empty() {
            return self.omit(raw, TreeFault::FileAndDir);
        }
        self.add(raw, repeated, |builder| builder.file(&path.clean, content, time))
    }

    pub(super) fn symlink(
        &mut self,
        raw: &[u8],
        path: &EntryPath<'_>,
        target: &[u8],
        time: Timestamp,
        repeated: Repeated,
    ) -> Result<(), ImageError> {
        if path.clean.is_empty() {
            return self.omit(raw, TreeFault::FileAndDir);
        }
        match symlink_target(target) {
            Ok(target) => {
                self.add(raw, repeated, |builder| builder.symlink(&path.clean, target, time))
            }
            Err(fault) => self.omit(raw, fault),
        }
    }

    /// Adds a further name for a file or symbolic link that is there.
    #[cfg(feature = "tar")]
    pub(super) fn hard_link(
        &mut self,
        raw: &[u8],
        path: &EntryPath<'_>,
        target: &[u8],
    ) -> Result<(), ImageError> {
        let target = match clean(target) {
            Ok(target) => target,
            Err(fault) => return self.omit(raw, fault),
        };
        if path.clean.is_empty() || target.clean.is_empty() {
            return self.omit(raw, TreeFault::LinkToDir);
        }
        let (path, to) = (&path.clean, &target.clean);
        self.add(raw, Repeated::Ignore, |builder| builder.hard_link(path, to))
    }

    fn add(
        &mut self,
        raw: &[u8],
        repeated: Repeated,
        add: impl FnOnce(&mut Builder) -> Result<Added, TreeFault>,
    ) -> Result<(), ImageError> {
        match (add(&mut self.builder), repeated) {
            (Ok(Added::New), _) | (Ok(Added::Replaced), Repeated::Ignore) => {}
            (Ok(Added::ReplacedType), _) | (Ok(Added::Replaced), Repeated::Report) => {
                self.omit(raw, EntryFault::Replaced)?;
            }
            (Err(TreeFault::TooMany), _) => return Err(ImageError::entry(raw, TreeFault::TooMany)),
            (Err(fault), _) => self.omit(raw, fault)?,
        }
        let limits = self.limits;
        for (limit, used, max) in [
            (ImageLimit::Nodes, self.builder.nodes(), limits.nodes_max),
            (ImageLimit::NamesBytes, self.builder.text_bytes(), limits.names_bytes_max),
        ] {
            if used as u64 > max {
                return Err(ImageError::limit(raw, limit, max));
            }
        }
        Ok(())
    }
}

/// The report of an entry whose path an earlier entry of the same type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// The earlier entry is reported as left out.
    #[cfg(feature = "zip")]
    Report,
    /// Nothing is reported: appending a newer version is how a tar is updated.
    Ignore,
}
