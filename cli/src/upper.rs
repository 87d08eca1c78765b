//! The commands on a directory that keeps an overlay's changes: `diff`, `commit`, `discard`,
//! `export` and `import`.
//!
//! Such a directory is told by what is in it: `upper` has the changes, in the format of Linux's
//! overlay filesystem, and `work` is for what is being made. What has no `upper` in it is none, so
//! that a mistyped path is never emptied.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use palisade::overlay::{
    Changes, Committed, Lost, Lowers, Note, PathError, Progress, UpperRef, commit, diff, discard,
};
use palisade::vfs::{Cookie, DirRef, Errno, escape};
use palisade::{HostDir, HostUpper, Image};

use crate::archive::{self, Archive};
use crate::changes::Format;
use crate::error::Error;
use crate::fault::Said;
use crate::layout::names;
use crate::output::{Reach, Usage};
use crate::print::json_line;
use crate::{ambient, args, changes, print};

/// The directory in a directory of changes that has the nodes.
const NODES: &str = "upper";
/// The directory for what is being made.
const WORK: &str = "work";

const BAR: &str = "{bar:32} {binary_bytes}/{binary_total_bytes} {wide_msg}";

/// `palisade diff`.
pub(crate) fn run_diff(args: &args::Diff) -> Result<u8, Error> {
    print_changes(&changes_of(&args.upper, &args.lower)?, args.json)
}

fn print_changes(changes: &Changes, json: bool) -> Result<u8, Error> {
    print::out_with(|out| changes::write(out, Format::of(json), [(None, changes)])).map(|()| 0)
}

/// `palisade commit`: what to print.
pub(crate) fn run_commit(args: &args::Commit) -> Result<String, Error> {
    let said = Said::Option("UPPER");
    refuse_inside(&args.upper, &said, std::slice::from_ref(&args.lower))?;
    if args.dry_run {
        let changes = changes_of(&args.upper, std::slice::from_ref(&args.lower))?;
        return print_changes(&changes, args.json).map(|_| String::new());
    }
    ask_for_nodes(&args.upper)?;
    // Nobody else may write the changes meanwhile.
    let upper = open_to_write(&args.upper)?;
    let target = HostDir::open_ambient(&args.lower).map_err(|why| Error::HostDir {
        option: "--lower",
        path: args.lower.clone(),
        why,
    })?;
    // Draws nothing unless standard error is a terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    let committed = commit(&upper, &target, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let committed = committed.map_err(|why| {
        let (what, path) = ("committed", args.lower.clone());
        Error::Changes { what, path, why }
    })?;
    for note in &committed.notes {
        print::err(&format!("note: {note}\n"));
    }
    if committed.notes_left_out > 0 {
        let more = committed.notes_left_out;
        print::err(&format!(
            "note: {more} more could not be kept
"
        ));
    }
    if !args.keep {
        forget(&upper, &args.upper)?;
    }
    if args.json { committed_json(&committed) } else { Ok(committed_text(&committed)) }
}

/// `palisade discard`: what to print.
pub(crate) fn run_discard(args: &args::Discard) -> Result<String, Error> {
    ask_for_nodes(&args.upper)?;
    let upper = open_to_write(&args.upper)?;
    forget(&upper, &args.upper)?;
    Ok(String::new())
}

fn forget(upper: &UpperRef, path: &Path) -> Result<(), Error> {
    let path = path.to_owned();
    discard(upper).map_err(|why| Error::Changes { what: "emptied", path, why })
}

/// `palisade export`: what to print.
pub(crate) fn run_export(args: &args::Export) -> Result<String, Error> {
    let mut reach = Reach::default();
    reach.add(&args.upper, "UPPER", Usage::Read);
    let archive = Archive::new(&args.output, &reach)?;
    let it = archive.write(&open_to_read(&args.upper)?)?;
    if args.json {
        return json_line(&serde_json::json!({ "exported": {
            "nodes": it.nodes,
            "markers": it.markers,
            "bytes": it.bytes,
        } }));
    }
    Ok(format!(
        "{} ({}) and {} written\n",
        count(it.nodes, "node"),
        count(it.bytes, "byte"),
        count(it.markers, "marker"),
    ))
}

/// `palisade import`: what to print.
pub(crate) fn run_import(args: &args::Import) -> Result<String, Error> {
    // Before anything is made: a mistyped name leaves nothing behind.
    drop(ambient::open("import", &args.archive)?);
    let mut reach = Reach::default();
    reach.add(&args.upper, "UPPER", Usage::Written);
    reach.refuse_input(&args.archive)?;
    ambient::make_dir(&args.upper).map_err(|why| not_opened(&args.upper, why))?;
    refuse_links(&args.upper)?;
    let layer = open_to_write(&args.upper)?;
    let is_empty = is_unwritten(&layer).map_err(|errno| {
        let why = PathError { path: String::new(), errno };
        Error::Changes { what: "looked at", path: args.upper.clone(), why }
    })?;
    if !is_empty {
        return Err(Error::NotEmpty { path: args.upper.clone() });
    }
    let it = archive::read(&args.archive, &layer).inspect_err(|_| {
        // What is told is why there is nothing to keep.
        let _ = discard(&layer);
    })?;
    if args.json {
        return json_line(&serde_json::json!({ "imported": {
            "files": it.files,
            "bytes": it.bytes,
            "directories": it.dirs,
            "symlinks": it.symlinks,
            "hard_links": it.hard_links,
            "whiteouts": it.whiteouts,
            "opaque_directories": it.opaque,
            "left_out": it.specials,
        } }));
    }
    let mut text = format!(
        "{} ({}), {}, {}, {} and {} taken in\n",
        count(it.files, "file"),
        count(it.bytes, "byte"),
        count(it.dirs, "directory"),
        count(it.symlinks, "symbolic link"),
        count(it.hard_links, "hard link"),
        count(it.whiteouts, "whiteout"),
    );
    if it.specials > 0 {
        text.push_str(&format!("left out what is no file: {}\n", names(&it.left_out)));
    }
    Ok(text)
}

/// Whether there is nothing in a layer, not even a mark.
fn is_unwritten(layer: &UpperRef) -> Result<bool, Errno> {
    let mut is_unwritten = !layer.is_opaque()?;
    layer.whiteouts(&mut |_| is_unwritten = false)?;
    layer.read_dir(Cookie::START, &mut |_| {
        is_unwritten = false;
        ControlFlow::Break(())
    })?;
    Ok(is_unwritten)
}

/// Refuses a directory of changes that lies in one of these, or the other way round: what is
/// written would show up beneath, where nothing may change.
pub(crate) fn refuse_inside(upper: &Path, said: &Said, lowers: &[PathBuf]) -> Result<(), Error> {
    let Some(above) = ambient::resolved(upper) else { return Ok(()) };
    for path in lowers {
        let Some(below) = ambient::resolved(path) else { continue };
        if above.starts_with(&below) || below.starts_with(&above) {
            let (upper, lower) = (upper.to_owned(), path.clone());
            return Err(said.blame(Error::UpperInside { by: said.by(), upper, lower }));
        }
    }
    Ok(())
}

fn changes_of(upper: &Path, lowers: &[PathBuf]) -> Result<Changes, Error> {
    let layer = open_to_read(upper)?;
    let mut parts = Lowers::builder();
    for lower in lowers {
        parts = parts.dir(open_lower(lower)?);
    }
    let lowers = parts.build().map_err(|errno| PathError { path: String::new(), errno });
    lowers.and_then(|lowers| diff(&layer, &lowers)).map_err(|why| {
        let (what, path) = ("compared", upper.to_owned());
        Error::Changes { what, path, why }
    })
}

/// What lies beneath: a directory, or an archive.
fn open_lower(path: &Path) -> Result<DirRef, Error> {
    let image = Image::open_ambient(path);
    let image = image.map_err(|why| Error::Image { by: "--lower", path: path.to_owned(), why })?;
    Ok(image.root())
}

fn open_to_read(upper: &Path) -> Result<UpperRef, Error> {
    ask_for_nodes(upper)?;
    HostUpper::open_ambient_frozen_in(upper).map_err(|why| not_opened(upper, why))
}

fn open_to_write(upper: &Path) -> Result<UpperRef, Error> {
    HostUpper::open_ambient(upper).map_err(|why| not_opened(upper, why))
}

fn not_opened(upper: &Path, why: std::io::Error) -> Error {
    Error::Upper { by: "UPPER", path: upper.to_owned(), why }
}

fn ask_for_nodes(upper: &Path) -> Result<(), Error> {
    refuse_links(upper)?;
    match ambient::file_type(&upper.join(NODES)) {
        Some(kind) if kind.is_dir() => Ok(()),
        Some(_) | None => Err(Error::NoUpper { path: upper.to_owned() }),
    }
}

/// Refuses a directory of changes whose parts are links. Opening them follows none; this tells why.
pub(crate) fn refuse_links(upper: &Path) -> Result<(), Error> {
    for part in [NODES, WORK] {
        let path = upper.join(part);
        if ambient::file_type(&path).is_some_and(|kind| kind.is_symlink()) {
            return Err(Error::UpperLink { path });
        }
    }
    Ok(())
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
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
        "{} ({}), {}, {} and {} written; {} removed; {} there already\n",
        count(it.files, "file"),
        count(it.bytes, "byte"),
        count(it.dirs, "new directory"),
        count(it.symlinks, "symbolic link"),
        count(it.hard_links, "hard link"),
        count(it.removed, "name"),
        count(it.kept, "file"),
    )
}

/// `1 file`, `2 files`.
fn count(count: u64, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(start)) => format!("{count} {start}ies"),
        (_, None) => format!("{count} {what}s"),
    }
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
