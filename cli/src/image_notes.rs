//! Notes about the entries of an archive that were left out, and its other irregularities.

use palisade::vfs::{ArchiveNotes, Omitted, escape};

use crate::print;

/// Omitted entries that a note names.
const NAMED_MAX: usize = 8;

/// Prints a note for each irregularity of the archive that `option` names.
pub(crate) fn print_notes(option: &str, host: &str, omitted: &Omitted, notes: ArchiveNotes) {
    let mut all = Vec::new();
    if omitted.count() > 0 {
        all.push(omitted_text(omitted));
    }
    if notes.missing_end {
        all.push("the tar has no end marker; it may be cut off".to_owned());
    }
    if notes.odd_times > 0 {
        all.push(format!("{} times cannot be parsed", notes.odd_times));
    }
    if notes.trailing_bytes > 0 {
        all.push(format!("{} bytes after the end are ignored", notes.trailing_bytes));
    }
    if notes.wrong_count {
        all.push("the zip's number of entries is wrong; its directory was read".to_owned());
    }
    for note in all {
        print::err(&format!("note: {option} `{host}`: {note}\n"));
    }
}

/// Lists the omitted entries on one line.
fn omitted_text(omitted: &Omitted) -> String {
    let named = omitted.first().iter().take(NAMED_MAX);
    let named: Vec<_> =
        named.map(|it| format!("`{}` ({})", escape::name(&it.path), it.reason)).collect();
    let more = match omitted.count() - named.len() as u64 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("left out: {}{more}", named.join(", "))
}

/// The omitted entries as JSON: all are counted, the first are listed.
pub(crate) fn omitted_json(omitted: &Omitted) -> serde_json::Value {
    let entry = |it: &palisade::vfs::OmittedEntry| serde_json::json!({ "path": it.path, "reason": it.reason.to_string() });
    let first: Vec<_> = omitted.first().iter().map(entry).collect();
    serde_json::json!({ "count": omitted.count(), "first": first })
}
