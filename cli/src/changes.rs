//! What overlays have changed, for people and for programs.

use std::io::{self, Write};

use palisade::overlay::{Change, ChangeKind, Changes};
use palisade::vfs::{FileType, escape};

/// How changes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One line for each change: `A path`, `M path`, `D path`, `R from -> path`.
    Lines,
    /// One JSON value: an object whose `changes` is a list.
    Json,
}

impl Format {
    pub(crate) fn of(json: bool) -> Self {
        if json { Format::Json } else { Format::Lines }
    }
}

/// Writes changes one at a time: paths of a deep tree together may be much longer than the tree is
/// large. With a guest path, paths are those that a guest would write.
pub(crate) fn write<'c>(
    out: &mut dyn Write,
    format: Format,
    trees: impl IntoIterator<Item = (Option<&'c str>, &'c Changes)>,
) -> io::Result<()> {
    let all = trees.into_iter().flat_map(|(at, changes)| {
        changes.iter().map(move |change| match at {
            Some(at) => placed(at, change),
            None => change,
        })
    });
    match format {
        Format::Lines => {
            for change in all {
                writeln!(out, "{change}")?;
            }
        }
        Format::Json => {
            write!(out, "{{\"changes\":[")?;
            for (nth, change) in all.enumerate() {
                let comma = if nth == 0 { "" } else { "," };
                let change = change_json(&change).to_string();
                write!(out, "{comma}{}", escape::json(&change))?;
            }
            writeln!(out, "]}}")?;
        }
    }
    out.flush()
}

/// The same change, with the paths that a guest would write.
fn placed(at: &str, change: Change) -> Change {
    let kind = match change.kind {
        ChangeKind::Renamed { from } => {
            ChangeKind::Renamed { from: join(at, &from).into_boxed_str() }
        }
        kind @ (ChangeKind::Removed | ChangeKind::Added | ChangeKind::Modified) => kind,
    };
    Change { path: join(at, &change.path).into_boxed_str(), kind, ..change }
}

fn join(at: &str, path: &str) -> String {
    match (at.trim_end_matches('/'), path) {
        ("." | "./", path) => path.to_owned(),
        (at, "") => at.to_owned(),
        (at, path) => format!("{at}/{path}"),
    }
}

fn change_json(change: &Change) -> serde_json::Value {
    let (kind, from) = match &change.kind {
        ChangeKind::Removed => ("removed", None),
        ChangeKind::Renamed { from } => ("renamed", Some(from)),
        ChangeKind::Added => ("added", None),
        ChangeKind::Modified => ("modified", None),
    };
    let mut json = serde_json::json!({
        "path": change.path,
        "kind": kind,
        "type": type_word(change.file_type),
        "size": change.size,
    });
    if let Some(fields) = json.as_object_mut() {
        fields.extend(from.map(|from| ("from".to_owned(), from.as_ref().into())));
        let replaces = change.replaces.map(type_word);
        fields.extend(replaces.map(|word| ("replaces".to_owned(), word.into())));
    }
    json
}

fn type_word(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Dir => "directory",
        FileType::File => "file",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_a_guest_would_write() {
        let cases = [
            ("/", "a", "/a"),
            ("/", "", ""),
            ("/w", "a/b", "/w/a/b"),
            ("/w/", "a", "/w/a"),
            ("/w", "", "/w"),
            (".", "a", "a"),
            ("w", "a", "w/a"),
        ];
        for (at, path, joined) in cases {
            assert_eq!(join(at, path), joined, "{at} {path}");
        }
    }
}
