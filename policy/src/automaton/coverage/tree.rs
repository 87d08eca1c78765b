//! Evaluates all names of a tree, to find the rules that match one of them.
//!
//! The walk follows no links and opens no files.

use palisade_vfs::{DirRef, Errno, Name, PathError, VisitedName, visit_names};

use crate::automaton::policy::Policy;

/// The most unreadable directories that are listed by path.
const UNREAD_NAMED_MAX: usize = 8;

/// The result of [`Policy::visit_tree`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeVisit {
    /// The number of evaluated names.
    pub names: u64,
    /// The directories that could not be read. Rules may match names in them.
    pub unread: Unread,
}

/// Directories that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unread {
    /// The number of directories.
    pub count: u64,
    /// The paths of the first ones, each with its errno.
    pub first: Vec<(String, Errno)>,
}

impl Policy {
    /// Evaluates each name of the tree `dir`, whose guest path is `guest_path`, so that
    /// [`Policy::unmatched_rules`] excludes the rules that match in it. Tracking must be enabled by
    /// [`Policy::track_rules`].
    ///
    /// A directory is skipped if all rules that can match in it have already matched.
    pub fn visit_tree(&self, dir: &DirRef, guest_path: &str) -> TreeVisit {
        let mut names = 0;
        let state = self.at(guest_path);
        self.visit(state);
        let unread = walk(dir, guest_path, state, &mut |entry, parent| {
            names += 1;
            let state = self.step(*parent, entry.name);
            self.visit(state);
            (!self.is_covered_under(state)).then_some(state)
        });
        TreeVisit { names, unread }
    }
}

/// A name found by a walk.
pub(super) struct WalkedName<'a> {
    pub(super) name: Name<'a>,
    /// Its absolute guest path.
    pub(super) path: &'a str,
}

/// Calls `each` for every name in the tree `dir`, with the value of its directory. The result for a
/// directory is the value of that directory; without a value the directory is skipped.
pub(super) fn walk<T>(
    dir: &DirRef,
    guest_path: &str,
    value: T,
    each: &mut dyn FnMut(WalkedName<'_>, &T) -> Option<T>,
) -> Unread {
    let guest_path = guest_path.trim_matches('/');
    let mut path = if guest_path.is_empty() { String::new() } else { format!("/{guest_path}") };
    let prefix_len = path.len();
    let mut unread = Unread::default();
    let at = |error: &PathError| match (guest_path, &*error.path) {
        ("", rest) => format!("/{rest}"),
        (_, "") => format!("/{guest_path}"),
        (_, rest) => format!("/{guest_path}/{rest}"),
    };
    let visit = |met: VisitedName<'_>, value: &T| {
        path.truncate(prefix_len);
        path.push('/');
        path.push_str(met.path);
        each(WalkedName { name: met.name, path: &path }, value)
    };
    let mut failed = |error: PathError| unread.add(&at(&error), error.errno);
    if let Err(error) = visit_names(dir, value, visit, &mut failed) {
        failed(error);
    }
    unread
}

impl TreeVisit {
    /// Adds the result of another tree.
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
