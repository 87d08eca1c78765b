//! Formats the changes of overlays as text or JSON.

use std::io::{self, Write};

use palisade::overlay::{Change, ChangeKind, Changes};
use palisade::vfs::{FileType, escape};

use crate::print::Format;

/// Writes changes: one line each, or a JSON object whose `changes` is a list. Each tree may have a
/// mount point, which prefixes its paths.
///
/// The changes are streamed, because the paths of a deep tree together can be much larger than the
/// tree.
pub(crate) fn write<'c>(
    out: &mut dyn Write,
    format: Format,
    trees: impl IntoIterator<Item = (Option<&'c str>, &'c Changes)>,
) -> io::Result<()> {
    let all = trees.into_iter().flat_map(|(mount_point, changes)| {
        changes.iter().map(move |change| match mount_point {
            Some(mount_point) => with_prefix(mount_point, change),
            None => change,
        })
    });
    match format {
        Format::Text => {
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

/// Returns the change with guest paths.
fn with_prefix(mount_point: &str, change: Change) -> Change {
    let kind = match change.kind {
        ChangeKind::Renamed { from } => {
            ChangeKind::Renamed { from: join(mount_point, &from).into_boxed_str() }
        }
        kind @ (ChangeKind::Removed | ChangeKind::Added | ChangeKind::Modified) => kind,
    };
    Change { path: join(mount_point, &change.path).into_boxed_str(), kind, ..change }
}

fn join(mount_point: &str, path: &str) -> String {
    match (mount_point.trim_end_matches('/'), path) {
        ("." | "./", path) => path.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}/{path}"),
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
        "type": type_name(change.file_type),
        "size": change.size,
    });
    if let Some(fields) = json.as_object_mut() {
        fields.extend(from.map(|from| ("from".to_owned(), from.as_ref().into())));
        let replaces = change.replaces.map(type_name);
        fields.extend(replaces.map(|word| ("replaces".to_owned(), word.into())));
    }
    json
}

fn type_name(file_type: FileType) -> &'static str {
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
    fn join_prefixes_paths_with_the_mount_point() {
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
