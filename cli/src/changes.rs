//! What overlays have changed, for people and for programs.

use palisade::overlay::{Change, ChangeKind, Changes};
use palisade::vfs::FileType;

/// One line for each change: `A path`, `M path`, `D path`, `R from -> path`.
pub(crate) fn lines(changes: &Changes) -> String {
    changes.to_string()
}

/// The same as one JSON value: a list.
pub(crate) fn json(changes: &Changes) -> serde_json::Value {
    changes.iter().map(change_json).collect()
}

/// The lines of changes that a guest sees at `at`.
pub(crate) fn lines_at(at: &str, changes: &Changes) -> String {
    changes.iter().map(|change| format!("{}\n", placed(at, change))).collect()
}

/// The list of changes that a guest sees at `at`.
pub(crate) fn json_at(at: &str, changes: &Changes) -> Vec<serde_json::Value> {
    changes.iter().map(|change| change_json(&placed(at, change))).collect()
}

/// The same change, with the paths that a guest would write.
fn placed(at: &str, change: &Change) -> Change {
    let kind = match &change.kind {
        ChangeKind::Renamed { from } => {
            ChangeKind::Renamed { from: join(at, from).into_boxed_str() }
        }
        kind @ (ChangeKind::Removed | ChangeKind::Added | ChangeKind::Modified) => kind.clone(),
    };
    Change { path: join(at, &change.path).into_boxed_str(), kind, ..change.clone() }
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
