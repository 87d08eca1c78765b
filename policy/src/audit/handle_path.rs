//! The path by which an observed handle was opened, for records.
//!
//! The path contains the names that were really walked, without links and `..`. It is a linked
//! list: a handle references the path of the directory handle through which it was opened. No node
//! is opened by this path and no decision depends on it.

use std::sync::Arc;

use palisade_vfs::{Descent, Errno, Result};

/// The most names of a path. It bounds host memory that a guest can take by opening a path in many
/// steps; a path that is opened in one step has at most 2,048 names.
const DEPTH_MAX: usize = 1 << 16;

/// The longest list that is rendered by recursion, which needs no allocation.
const RECURSION_MAX: usize = 16;

/// A path from the root of the guest's filesystem, as a segment and its parent.
pub(crate) struct HandlePath {
    parent: Option<Arc<HandlePath>>,
    /// The last segment, a relative path. Without a parent it starts at the root.
    names: Box<str>,
    /// The number of names of the whole path.
    depth: usize,
    /// The number of parents.
    parent_count: usize,
    /// The length in bytes of the whole path, with a slash before each name.
    rendered_len: usize,
}

impl HandlePath {
    pub(crate) fn root(guest_path: &str) -> Arc<Self> {
        let names = guest_path.split('/').filter(|name| !matches!(*name, "" | "."));
        let depth = names.clone().count();
        let names = names.collect::<Vec<_>>().join("/").into();
        Arc::new(HandlePath::new(None, names, depth))
    }

    /// Returns the path of the node at `path` under `parent`.
    ///
    /// # Errors
    ///
    /// As [`HandlePath::check`].
    pub(crate) fn descend(parent: &Arc<Self>, path: Descent<'_>) -> Result<Arc<Self>> {
        if path.is_here() {
            return Ok(Arc::clone(parent));
        }
        parent.check(path)?;
        let depth = parent.depth + path.depth();
        Ok(Arc::new(HandlePath::new(Some(Arc::clone(parent)), path.as_str().into(), depth)))
    }

    fn new(parent: Option<Arc<HandlePath>>, names: Box<str>, depth: usize) -> Self {
        let parent_count = parent.as_ref().map_or(0, |parent| parent.parent_count + 1);
        let own_len = if names.is_empty() { 0 } else { 1 + names.len() };
        let rendered_len = own_len + parent.as_ref().map_or(0, |parent| parent.rendered_len);
        HandlePath { parent, names, depth, parent_count, rendered_len }
    }

    /// Checks the length of the path of the node at `path`.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`: more than [`DEPTH_MAX`] names.
    #[inline]
    pub(crate) fn check(&self, path: Descent<'_>) -> Result<()> {
        // A path has no more names than bytes, so most paths need no count.
        let may_be_long = self.depth + path.as_str().len() > DEPTH_MAX;
        if may_be_long && self.depth + path.depth() > DEPTH_MAX {
            return Err(Errno::Nametoolong);
        }
        Ok(())
    }

    /// The segments, last first.
    fn segments(&self) -> Vec<&HandlePath> {
        let mut segments = Vec::new();
        let mut next = Some(self);
        while let Some(segment) = next {
            segments.push(segment);
            next = segment.parent.as_deref();
        }
        segments
    }

    /// The number of names.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The number of bytes that [`HandlePath::render`] appends.
    pub(crate) fn rendered_len(&self) -> usize {
        self.rendered_len
    }

    /// Appends the path to `path`, with a slash before each name.
    pub(crate) fn render(&self, path: &mut String) {
        if self.parent.is_some() {
            self.render_parents(path);
        }
        self.render_own(path);
    }

    fn render_parents(&self, path: &mut String) {
        if self.parent_count > RECURSION_MAX {
            for segment in self.segments().iter().skip(1).rev() {
                segment.render_own(path);
            }
        } else if let Some(parent) = &self.parent {
            parent.render(path);
        }
    }

    #[inline]
    fn render_own(&self, path: &mut String) {
        if !self.names.is_empty() {
            path.push('/');
            path.push_str(&self.names);
        }
    }
}

impl Drop for HandlePath {
    /// Drops the parents iteratively: a long list would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(segment) = next {
            next = Arc::into_inner(segment).and_then(|mut segment| segment.parent.take());
        }
    }
}
