//! The commands on the changes of an overlay: `diff`, `commit`, `discard`, `export` and `import`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use palisade::overlay::{
    Changes, Committed, Exported, Imported, Lost, Lowers, Note, PathError, Progress, UpperRef,
    commit, diff, discard,
};
use palisade::vfs::{Cookie, DirRef, Errno, escape};
use palisade::{HostDir, Image};

use crate::error::{Error, HostError};
use crate::image_notes;
use crate::layer_archive::{self, LayerArchive};
use crate::origin::Origin;
use crate::output_file::{ProtectedPaths, Usage};
use crate::preopens::MountError;
use crate::print::{Format, json_line};
use crate::upper_dir::{
    UpperError, create_to_write, open_to_read, open_to_write, refuse_inside, require_changes_dir,
};
use crate::{ambient, args, change_format, print};

const PROGRESS_TEMPLATE: &str = "{bar:32} {binary_bytes}/{binary_total_bytes} {wide_msg}";

/// Runs `palisade diff`. Returns the exit code.
pub(crate) fn run_diff(args: &args::Diff) -> Result<u8, Error> {
    print_changes(&compare(&args.upper, &args.lower)?, args.json)
}

fn print_changes(changes: &Changes, json: bool) -> Result<u8, Error> {
    let format = Format::from_json_flag(json);
    print::out_with(|out| change_format::write(out, format, [(None, changes)])).map(|()| 0)
}

/// Runs `palisade commit`. Returns the text for standard output.
pub(crate) fn run_commit(args: &args::Commit) -> Result<String, Error> {
    let origin = Origin::Option("UPPER");
    refuse_inside(&args.upper, &origin, std::slice::from_ref(&args.lower))?;
    if args.dry_run {
        let changes = compare(&args.upper, std::slice::from_ref(&args.lower))?;
        return print_changes(&changes, args.json).map(|_| String::new());
    }
    require_changes_dir(&args.upper)?;
    // The lock of a writable layer keeps other processes from changing it during the commit.
    let upper = open_to_write(&args.upper)?;
    let lower = HostDir::open_ambient(&args.lower).map_err(|why| HostError::OpenDir {
        option: "--lower",
        path: args.lower.clone(),
        why,
    })?;
    // The bar draws nothing unless standard error is a terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(PROGRESS_TEMPLATE) {
        bar.set_style(style);
    }
    let committed = commit(&upper, &lower, &mut |progress| show_progress(&bar, progress));
    bar.finish_and_clear();
    let committed = committed.map_err(|why| {
        let (action, path) = ("committed", args.lower.clone());
        UpperError::Failed { action, path, why }
    })?;
    for note in &committed.notes {
        print::err(&format!("note: {note}\n"));
    }
    if committed.notes_left_out > 0 {
        let more = committed.notes_left_out;
        print::err(&format!("note: {more} more attributes could not be preserved\n"));
    }
    if !args.keep {
        discard_all(&upper, &args.upper)?;
    }
    if args.json { committed_json(&committed) } else { Ok(committed_text(&committed)) }
}

/// Runs `palisade discard`. Returns the text for standard output.
pub(crate) fn run_discard(args: &args::Discard) -> Result<String, Error> {
    require_changes_dir(&args.upper)?;
    let upper = open_to_write(&args.upper)?;
    discard_all(&upper, &args.upper)?;
    Ok(String::new())
}

fn discard_all(upper: &UpperRef, path: &Path) -> Result<(), Error> {
    discard(upper).map_err(|why| failed("discarded", path, why))
}

/// Runs `palisade export`. Returns the text for standard output.
pub(crate) fn run_export(args: &args::Export) -> Result<String, Error> {
    let mut protected = ProtectedPaths::default();
    protected.add(&args.upper, "UPPER", Usage::Read);
    let archive = LayerArchive::new(&args.output, &protected)?;
    let exported = archive.write(&open_to_read(&args.upper)?)?;
    if args.json { exported_json(&exported) } else { Ok(exported_text(&exported)) }
}

/// Runs `palisade import`. Returns the text for standard output.
pub(crate) fn run_import(args: &args::Import) -> Result<String, Error> {
    // Checked before the directory is created, so that a mistyped name leaves nothing in place.
    drop(ambient::open("import", &args.archive)?);
    let mut protected = ProtectedPaths::default();
    protected.add(&args.upper, "UPPER", Usage::Written);
    protected.refuse_input(&args.archive)?;
    let layer = create_to_write(&args.upper)?;
    let is_empty = is_unwritten(&layer)
        .map_err(|errno| failed("read", &args.upper, PathError { path: String::new(), errno }))?;
    if !is_empty {
        return Err(UpperError::NotEmpty { path: args.upper.clone() }.into());
    }
    let imported = layer_archive::read(&args.archive, &layer).inspect_err(|_| {
        // The error of the import is reported; an error of this cleanup is not.
        let _ = discard(&layer);
    })?;
    if args.json { imported_json(&imported) } else { Ok(imported_text(&imported)) }
}

fn failed(action: &'static str, path: &Path, why: PathError) -> Error {
    UpperError::Failed { action, path: path.to_owned(), why }.into()
}

/// Returns whether a layer has no entries, whiteouts or opaque marks.
fn is_unwritten(layer: &UpperRef) -> Result<bool, Errno> {
    let mut is_unwritten = !layer.is_opaque()?;
    layer.whiteouts(&mut |_| is_unwritten = false)?;
    layer.read_dir(Cookie::START, &mut |_| {
        is_unwritten = false;
        ControlFlow::Break(())
    })?;
    Ok(is_unwritten)
}

fn compare(upper: &Path, lowers: &[PathBuf]) -> Result<Changes, Error> {
    let layer = open_to_read(upper)?;
    let mut builder = Lowers::builder();
    for lower in lowers {
        builder = builder.dir(open_lower(lower)?);
    }
    let lowers = builder.build().map_err(|errno| PathError { path: String::new(), errno });
    lowers
        .and_then(|lowers| diff(&layer, &lowers))
        .map_err(|why| failed("compared with the lower directories", upper, why))
}

/// Opens a lower: a directory or an archive.
fn open_lower(path: &Path) -> Result<DirRef, Error> {
    let image = Image::open_ambient(path).map_err(|why| MountError::Image {
        option: "--lower",
        path: path.to_owned(),
        why,
    })?;
    Ok(image.root())
}

fn show_progress(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_length(progress.bytes_total);
    bar.set_position(progress.bytes_done);
    bar.set_message(format!(
        "{}/{} {}",
        progress.done,
        progress.total,
        escape::name(progress.path)
    ));
}

fn committed_text(it: &Committed) -> String {
    format!(
        "wrote {} ({}), {}, {} and {}; removed {}; {} unchanged\n",
        count(it.files, "file"),
        count(it.bytes, "byte"),
        count(it.dirs, "new directory"),
        count(it.symlinks, "symbolic link"),
        count(it.hard_links, "hard link"),
        count(it.removed, "name"),
        count(it.kept, "file"),
    )
}

fn committed_json(it: &Committed) -> Result<String, Error> {
    let note = |note: &Note| {
        serde_json::json!({
            "path": note.path,
            "lost": match note.lost {
                Lost::Times => "times",
                Lost::Permissions => "permissions",
                Lost::Owner => "owner",
                _ => "other",
            },
            "errno": note.errno.name(),
        })
    };
    let notes: Vec<_> = it.notes.iter().map(note).collect();
    json_line(&serde_json::json!({ "committed": {
        "files": it.files,
        "bytes": it.bytes,
        "directories": it.dirs,
        "symlinks": it.symlinks,
        "hard_links": it.hard_links,
        "removed": it.removed,
        "kept": it.kept,
        "notes": notes,
        "notes_left_out": it.notes_left_out,
    } }))
}

fn exported_text(it: &Exported) -> String {
    format!(
        "exported {} ({}) and {}\n",
        count(it.nodes, "node"),
        count(it.bytes, "byte"),
        count(it.markers, "marker"),
    )
}

fn exported_json(it: &Exported) -> Result<String, Error> {
    json_line(&serde_json::json!({ "exported": {
        "nodes": it.nodes,
        "markers": it.markers,
        "bytes": it.bytes,
    } }))
}

fn imported_text(it: &Imported) -> String {
    format!(
        "imported {} ({}), {}, {}, {} and {}\n",
        count(it.files, "file"),
        count(it.bytes, "byte"),
        count(it.dirs, "directory"),
        count(it.symlinks, "symbolic link"),
        count(it.hard_links, "hard link"),
        count(it.whiteouts, "whiteout"),
    )
}

fn imported_json(it: &Imported) -> Result<String, Error> {
    json_line(&serde_json::json!({ "imported": {
        "files": it.files,
        "bytes": it.bytes,
        "directories": it.dirs,
        "symlinks": it.symlinks,
        "hard_links": it.hard_links,
        "whiteouts": it.whiteouts,
        "opaque_directories": it.opaque,
        "left_out": it.omitted.count(),
        "omitted": image_notes::omitted_json(&it.omitted),
    } }))
}

/// Formats a count with its noun: `1 file`, `2 files`.
fn count(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(start)) => format!("{count} {start}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}
