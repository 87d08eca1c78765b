//! The commands on a directory that keeps an overlay's changes: `diff`, `commit`, `discard`,
//! `export` and `import`.
//!
//! Such a directory is told by what is in it: `upper` has the changes, in the format of Linux's
//! overlay filesystem, and `work` is for what is being made. What has no `upper` in it is none, so
//! that a mistyped path is never emptied.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use palisade::overlay::{
    Changes, Committed, LayerRef, Lowers, Progress, commit, diff, discard, export_layer,
    import_layer,
};
use palisade::vfs::DirRef;
use palisade::{HostDir, HostLayer, Image};

use crate::ambient;
use crate::args;
use crate::archive::Packing;
use crate::changes;
use crate::error::Error;

/// The directory in a directory of changes that has the nodes.
const NODES: &str = "upper";

const BAR: &str = "{bar:32} {binary_bytes}/{binary_total_bytes} {wide_msg}";

/// `palisade diff`: what to print.
pub(crate) fn run_diff(args: &args::Diff) -> Result<String, Error> {
    let changes = changes_of(&args.upper, &args.lower)?;
    if args.json {
        return Ok(format!("{}\n", serde_json::json!({ "changes": changes::json(&changes) })));
    }
    Ok(changes::lines(&changes))
}

/// `palisade commit`: what to print.
pub(crate) fn run_commit(args: &args::Commit) -> Result<String, Error> {
    refuse_inside(&args.upper, &args.lower)?;
    if args.dry_run {
        let changes = changes_of(&args.upper, std::slice::from_ref(&args.lower))?;
        if args.json {
            let changes = changes::json(&changes);
            return Ok(format!("{}\n", serde_json::json!({ "would_change": changes })));
        }
        return Ok(changes::lines(&changes));
    }
    let upper = open_to_read(&args.upper)?;
    let target = open_dir(&args.lower)?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    let committed = commit(&upper, &target, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let committed = committed.map_err(|why| Error::Commit { path: args.lower.clone(), why })?;
    Ok(if args.json { committed_json(&committed) } else { committed_text(&committed) })
}

/// `palisade discard`: what to print.
pub(crate) fn run_discard(args: &args::Discard) -> Result<String, Error> {
    ask_for_nodes(&args.upper)?;
    let upper = open_to_write(&args.upper)?;
    discard(&upper).map_err(|why| failed("discarded", &args.upper, why))?;
    Ok(if args.json { "{\"discarded\":true}\n".to_owned() } else { String::new() })
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_length(progress.bytes_total);
    bar.set_position(progress.bytes_done);
    bar.set_message(format!("{}/{} {}", progress.done, progress.total, progress.path));
}
