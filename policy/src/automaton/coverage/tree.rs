//! Looks up a whole tree in a policy, so that its rules which match something in it are known.
//!
//! No link is followed and no file is opened.

use palisade_vfs::{DirRef, Errno, Name, PathError, VisitedName, visit_names};

use crate::automaton::policy::Policy;

/// Directories that could not be read and are named.
const UNREAD_NAMED_MAX: usize = 8;

/// What [`Policy::visit_tree`] went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeVisit {
    /// The names that were looked up in the policy.
    pub names: u64,
    /// The directories that could not be read: rules may match something in them.
    pub unread: Unread,
}

/// Directories that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unread {
    /// How many.
    pub count: u64,
    /// The first of them, by their paths, each with the reason.
    pub first: Vec<(String, Errno)>,
}

impl Policy {
    /// Looks up each name of the tree `dir`, which the guest knows as `guest_path`, so that
    /// [`Policy::unmatched_rules`] leaves out the rules that match something in it. The policy has
    /// to track its rules: see [`Policy::track_rules`].
    ///
    /// A directory is not read if all rules that can match in it have matched already.
    pub fn visit_tree(&self, dir: &DirRef, guest_path: &str) -> TreeVisit {
        let mut names = 0;
        let state = self.at(guest_path);
        self.visit(state);
        let unread = walk(dir, guest_path, state, &mut |entry, above| {
            names += 1;
            let state = self.step(*above, entry.name);
            self.visit(state);
            (!self.is_covered_beneath(state)).then_some(state)
        });
        TreeVisit { names, unread }
    }
}

/// A name that a walk meets.
pub(super) struct Met<'a> {
    pub(super) name: Name<'a>,
    /// The guest's path of it.
    pub(super) path: &'a str,
}

/// Calls `each` for every name in the tree `dir`, with what was kept for its directory. What it
/// returns for a directory is kept for that one; without it, the directory is not read.
pub(super) fn walk<T>(
    dir: &DirRef,
    guest_path: &str,
    kept: T,
    each: &mut dyn FnMut(Met<'_>, &T) -> Option<T>,
) -> Unread {
    let guest_path = guest_path.trim_matches('/');
    let mut path = if guest_path.is_empty() { String::new() } else { format!("/{guest_path}") };
    let above = path.len();
    let mut unread = Unread::default();
    let at = |error: &PathError| match (guest_path, &*error.path) {
        ("", below) => format!("/{below}"),
        (_, "") => format!("/{guest_path}"),
        (_, below) => format!("/{guest_path}/{below}"),
    };
    let visit = |met: VisitedName<'_>, kept: &T| {
        path.truncate(above);
        path.push('/');
        path.push_str(met.path);
        each(Met { name: met.name, path: &path }, kept)
    };
    let mut failed = |error: PathError| unread.add(&at(&error), error.errno);
    if let Err(error) = visit_names(dir, kept, visit, &mut failed) {
        failed(error);
    }
    unread
}

impl TreeVisit {
    /// Adds what was gone through in another tree.
    pub fn merge(&mut self, other: TreeVisit) {
        self.names += other.names;
        self.unread.count += other.unread.count;
        let room = UNREAD_NAMED_MAX.saturating_sub(self.unread.first.len());
        self.unread.first.extend(other.unread.first.into_iter().take(room));
    }
}

impl Unread {
    fn add(&mut self, path: &str, errno: Errno) {
        self.count += 1;
        if self.first.len() < UNREAD_NAMED_MAX {
            self.first.push((path.to_owned(), errno));
        }
    }
}
