//! Resolution of paths through symbolic links inside a tree, confined to its root.
//!
//! Container engines unpack an archive this way: a name in an entry's path may be a symbolic link
//! that an earlier entry has created. An absolute target starts at the tree's root, and `..` at the
//! root stays there, so no path can leave the tree.

use super::TreeFault;

/// Symbolic links on one path: Linux's `MAXSYMLINKS`.
const LINKS_MAX: usize = 40;
/// Names in the targets of all links on one path, so that no entry costs much time.
const TARGET_NAMES_MAX: usize = 1024;

/// The node of a name on a path.
pub(crate) enum Step<D> {
    /// A directory.
    Dir(D),
    /// A symbolic link, and its target.
    Symlink(String),
}

/// A tree with symbolic links.
pub(crate) trait LinkedTree {
    type Dir: Clone;
    type Error: From<TreeFault>;

    /// Looks up `name` in `dir`, or creates a directory of this name, as the tree requires.
    fn step(&mut self, dir: &Self::Dir, name: &str) -> Result<Step<Self::Dir>, Self::Error>;
}

/// Resolves the directory `path`. Returns the names and the directories from the root to it; none
/// for the root itself.
///
/// # Errors
///
/// - [`TreeFault::TooManyLinks`]
/// - those of the tree
pub(crate) fn resolve<T: LinkedTree>(
    tree: &mut T,
    root: T::Dir,
    path: &str,
) -> Result<Vec<(String, T::Dir)>, T::Error> {
    let mut stack: Vec<(String, T::Dir)> = Vec::new();
    // The names that are left, the next one last.
    let mut left: Vec<String> = Vec::new();
    push_names(&mut left, path);
    let (mut links, mut target_names) = (0, 0);
    while let Some(name) = left.pop() {
        if name == ".." {
            stack.pop();
            continue;
        }
        let dir = stack.last().map_or(&root, |(_, dir)| dir);
        match tree.step(dir, &name)? {
            Step::Dir(dir) => stack.push((name, dir)),
            Step::Symlink(target) => {
                links += 1;
                target_names += target.split('/').count();
                if links > LINKS_MAX || target_names > TARGET_NAMES_MAX {
                    return Err(TreeFault::TooManyLinks.into());
                }
                if target.starts_with('/') {
                    stack.clear();
                }
                push_names(&mut left, &target);
            }
        }
    }
    Ok(stack)
}

fn push_names(left: &mut Vec<String>, path: &str) {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    left.extend(names.rev().map(str::to_owned));
}
