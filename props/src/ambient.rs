//! Reads a directory of the host through `std::fs`, independently of the code under test.

// This module observes the host from outside, so it may use `std::fs`.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::tree::{Leaf, Tree};

/// Returns the tree under `root`.
///
/// # Errors
///
/// - The errors of the system.
/// - `InvalidData` for a name or a symlink target that is not UTF-8.
pub fn tree(root: &Path) -> io::Result<Tree> {
    let mut out = Tree::new();
    let mut first_names = BTreeMap::new();
    for (path, meta) in nodes(root, &|_| true)? {
        let whole = root.join(&path);
        let id = (meta.dev(), meta.ino());
        let leaf = match first_names.get(&id) {
            Some(first) if !meta.is_dir() => Leaf::HardLink(String::clone(first)),
            _ if meta.is_dir() => Leaf::Dir,
            _ if meta.is_symlink() => Leaf::Symlink(text(std::fs::read_link(whole)?.as_os_str())?),
            _ => Leaf::File(std::fs::read(whole)?),
        };
        first_names.entry(id).or_insert_with(|| path.clone());
        out.insert(&path, leaf);
    }
    Ok(out)
}

/// Returns the path and the metadata of each node under `root`, without following symbolic links.
/// Descends only into the directories that `enter` accepts.
pub(crate) fn nodes(
    root: &Path,
    enter: &dyn Fn(&str) -> bool,
) -> io::Result<BTreeMap<String, std::fs::Metadata>> {
    let mut out = BTreeMap::new();
    let mut pending = vec![String::new()];
    while let Some(path) = pending.pop() {
        for entry in std::fs::read_dir(root.join(&path))? {
            let entry = entry?;
            let name = text(&entry.file_name())?;
            let child = if path.is_empty() { name } else { format!("{path}/{name}") };
            let meta = entry.path().symlink_metadata()?;
            if meta.is_dir() && enter(&child) {
                pending.push(child.clone());
            }
            out.insert(child, meta);
        }
    }
    Ok(out)
}

fn text(name: &std::ffi::OsStr) -> io::Result<String> {
    let text = std::str::from_utf8(name.as_bytes());
    text.map(str::to_owned).map_err(|_| io::ErrorKind::InvalidData.into())
}
