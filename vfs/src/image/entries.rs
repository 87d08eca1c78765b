//! What both formats do with an entry: clean its path, count it, put it into the tree.

use std::borrow::Cow;

use super::error::{EntryFault, ImageError, ImageLimit, ImageLimits};
use super::{LEFT_OUT_MAX, Omitted};
use crate::fixed::{Builder, Content, OnDuplicate};
use crate::walk::PATH_LEN_MAX;
use crate::{Timestamp, TreeFault};

/// The entries of an archive, on their way into a tree.
pub(super) struct Entries<'l> {
    pub(super) builder: Builder,
    pub(super) limits: &'l ImageLimits,
    pub(super) omitted: Omitted,
}

/// An entry's path as the tree has it, and how it was given.
pub(super) struct EntryPath<'p> {
    /// Without `.` and doubled slashes; empty for the root.
    pub(super) clean: Cow<'p, str>,
    pub(super) raw: &'p [u8],
    /// Whether slashes follow it.
    pub(super) is_dir: bool,
}

impl<'l> Entries<'l> {
    pub(super) fn new(limits: &'l ImageLimits, twice: OnDuplicate) -> Self {
        Entries { builder: Builder::new(twice), limits, omitted: Omitted::default() }
    }

    /// Checks and cleans a path: `./` and doubled slashes go. Whatever could lead up or elsewhere
    /// is refused.
    pub(super) fn path<'p>(&self, raw: &'p [u8]) -> Result<EntryPath<'p>, ImageError> {
        if raw.len() > self.limits.path_len_max {
            let max = self.limits.path_len_max as u64;
            return Err(ImageError::limit(raw, ImageLimit::PathLen, max));
        }
        let text =
            std::str::from_utf8(raw).map_err(|_| ImageError::entry(raw, EntryFault::NotUtf8))?;
        if text.is_empty() {
            return Err(ImageError::entry(raw, TreeFault::EmptyName));
        }
        if text.starts_with('/') {
            return Err(ImageError::entry(raw, TreeFault::Absolute));
        }
        let trimmed = text.trim_end_matches('/');
        let is_dir = trimmed.len() < text.len();
        let clean = if trimmed.split('/').any(|part| matches!(part, "" | ".")) {
            let parts: Vec<_> =
                trimmed.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
            Cow::Owned(parts.join("/"))
        } else {
            Cow::Borrowed(trimmed)
        };
        Ok(EntryPath { clean, raw, is_dir })
    }

    /// Checks the target of a symbolic link. Where it leads is the walker's business.
    pub(super) fn target<'t>(path: &EntryPath<'_>, raw: &'t [u8]) -> Result<&'t str, ImageError> {
        if raw.is_empty() || raw.len() > PATH_LEN_MAX || raw.contains(&0) {
            return Err(ImageError::entry(path.raw, EntryFault::BadTarget));
        }
        std::str::from_utf8(raw).map_err(|_| ImageError::entry(path.raw, EntryFault::NotUtf8))
    }

    pub(super) fn dir(&mut self, path: &EntryPath<'_>, time: Timestamp) -> Result<(), ImageError> {
        self.add(path, |builder, at| builder.dir(at, time))
    }

    pub(super) fn file(
        &mut self,
        path: &EntryPath<'_>,
        content: Content,
        time: Timestamp,
    ) -> Result<(), ImageError> {
        self.add(path, |builder, at| builder.file(at, content, time))
    }

    pub(super) fn symlink(
        &mut self,
        path: &EntryPath<'_>,
        target: &str,
        time: Timestamp,
    ) -> Result<(), ImageError> {
        self.add(path, |builder, at| builder.symlink(at, target, time))
    }

    /// Something that is neither file, directory nor link.
    pub(super) fn special(&mut self, path: &EntryPath<'_>) {
        self.omitted.specials += 1;
        if self.omitted.left_out.len() < LEFT_OUT_MAX {
            self.omitted.left_out.push(path.clean.clone().into_owned());
        }
    }

    pub(super) fn add(
        &mut self,
        path: &EntryPath<'_>,
        add: impl FnOnce(&mut Builder, &str) -> Result<(), TreeFault>,
    ) -> Result<(), ImageError> {
        add(&mut self.builder, &path.clean).map_err(|fault| ImageError::entry(path.raw, fault))?;
        let limits = self.limits;
        for (limit, is, max) in [
            (ImageLimit::Nodes, self.builder.nodes(), limits.nodes_max),
            (ImageLimit::NamesBytes, self.builder.text_bytes(), limits.names_bytes_max),
        ] {
            if is as u64 > max {
                return Err(ImageError::limit(path.raw, limit, max));
            }
        }
        Ok(())
    }
}
