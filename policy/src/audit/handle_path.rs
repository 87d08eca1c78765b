//! The names by which an observed handle was opened, as records tell them.
//!
//! The names are those that were really passed, without links and `..`; nothing is opened by them
//! again, and no decision rests on them. A handle shares its trail with the one that it was opened
//! through.

use std::sync::Arc;

use palisade_vfs::{Descent, Errno, Result};

/// Most names of a trail: what a guest opens piece by piece costs memory of the host. A path that
/// is opened at once has at most 2,048.
const DEPTH_MAX: usize = 1 << 16;

/// So many trails, one above the other, are written out by a recursion.
const FEW: usize = 16;

/// The names from the root of the guest's world down.
pub(crate) struct Trail {
    above: Option<Arc<Trail>>,
    /// A descent; without `above` it starts at the root of the guest's world.
    names: Box<str>,
    /// How many names there are, those above included.
    depth: usize,
    /// How many trails there are above.
    above_count: usize,
    /// Bytes of the names, those above included, and of the slashes before them.
    rendered_len: usize,
}

impl Trail {
    pub(crate) fn root(guest_path: &str) -> Arc<Self> {
        let names = guest_path.split('/').filter(|name| !matches!(*name, "" | "."));
        let depth = names.clone().count();
        let names = names.collect::<Vec<_>>().join("/").into();
        Arc::new(Trail::new(None, names, depth))
    }

    /// The trail of what `path` leads to.
    ///
    /// Errors: as [`Trail::check`].
    pub(crate) fn beneath(above: &Arc<Self>, path: Descent<'_>) -> Result<Arc<Self>> {
        if path.is_here() {
            return Ok(Arc::clone(above));
        }
        above.check(path)?;
        let depth = above.depth + path.depth();
        Ok(Arc::new(Trail::new(Some(Arc::clone(above)), path.as_str().into(), depth)))
    }

    fn new(above: Option<Arc<Trail>>, names: Box<str>, depth: usize) -> Self {
        let above_count = above.as_ref().map_or(0, |above| above.above_count + 1);
        let own_len = if names.is_empty() { 0 } else { 1 + names.len() };
        let rendered_len = own_len + above.as_ref().map_or(0, |above| above.rendered_len);
        Trail { above, names, depth, above_count, rendered_len }
    }

    /// Whether there can be a trail of what `path` leads to from here.
    ///
    /// Errors: `Nametoolong` above [`DEPTH_MAX`] names.
    #[inline]
    pub(crate) fn check(&self, path: Descent<'_>) -> Result<()> {
        // There are no more names than bytes: most paths need not be looked at.
        let may_be_long = self.depth + path.as_str().len() > DEPTH_MAX;
        if may_be_long && self.depth + path.depth() > DEPTH_MAX {
            return Err(Errno::Nametoolong);
        }
        Ok(())
    }

    /// This trail and those above it, lowest first.
    fn parts(&self) -> Vec<&Trail> {
        let mut parts = Vec::new();
        let mut next = Some(self);
        while let Some(trail) = next {
            parts.push(trail);
            next = trail.above.as_deref();
        }
        parts
    }

    /// How many names there are.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// How many bytes [`Trail::render`] adds.
    pub(crate) fn rendered_len(&self) -> usize {
        self.rendered_len
    }

    /// Adds the names to `path`, a slash before each.
    pub(crate) fn render(&self, path: &mut String) {
        if self.above.is_some() {
            self.render_above(path);
        }
        self.render_own(path);
    }

    fn render_above(&self, path: &mut String) {
        if self.above_count > FEW {
            for part in self.parts().iter().skip(1).rev() {
                part.render_own(path);
            }
        } else if let Some(above) = &self.above {
            above.render(path);
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

impl Drop for Trail {
    /// One by one: a trail may be longer than the stack is deep.
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(trail) = next {
            next = Arc::into_inner(trail).and_then(|mut trail| trail.above.take());
        }
    }
}
