//! Opens upper directories of overlays, given to `--upper` and to the commands on changes.
//!
//! An upper directory holds `upper`, the changes in the format of Linux's overlay filesystem, and
//! `work`, for temporary files. The commands refuse a directory without `upper`, so that a mistyped
//! path is never emptied.

use std::path::{Path, PathBuf};

use palisade::HostUpper;
use palisade::overlay::{PathError, UpperRef};
use palisade::vfs::escape;

use crate::ambient;
use crate::error::{CommandError, Error};
use crate::origin::Origin;

/// The subdirectory with the changes.
const CHANGES_DIR: &str = "upper";
/// The subdirectory for temporary files.
const WORK_DIR: &str = "work";

/// Errors about upper directories and the changes in them.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum UpperError {
    #[error("{option} `{}`: cannot store changes there: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::upper),
        help(
            "use a directory of your own that no other run uses, on a filesystem with extended attributes (ext4, xfs, btrfs, tmpfs); its parent directory must exist"
        )
    )]
    Open { option: &'static str, path: PathBuf, why: std::io::Error },

    #[error("`{}` is not an upper directory: it has no subdirectory `upper`", escape::name(.path))]
    #[diagnostic(
        code(palisade::no_upper),
        help("give the directory that `palisade run --upper DIR` stored its changes in")
    )]
    Missing { path: PathBuf },

    #[error("`{}` is a symbolic link; upper directories must not contain links here", escape::name(.path))]
    #[diagnostic(
        code(palisade::upper_link),
        help("replace the link by a directory, or remove it; the commands do not follow it")
    )]
    Link { path: PathBuf },

    #[error(
        "{option} `{}`: the upper directory and the lower directory `{}` must not contain each other",
        escape::name(.upper), escape::name(.lower)
    )]
    #[diagnostic(
        code(palisade::upper_inside),
        help("store the changes in a directory outside of the lower directory")
    )]
    InsideLower { option: &'static str, upper: PathBuf, lower: PathBuf },

    #[error("`{}`: the changes cannot be {action}: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::changes),
        help(
            "no other process may use the directory at the same time; completed steps are kept, so repeat the command to finish"
        )
    )]
    Failed { action: &'static str, path: PathBuf, why: PathError },

    #[error("`{}` contains changes already", escape::name(.path))]
    #[diagnostic(
        code(palisade::not_empty),
        help("use another directory, or delete its changes first: `palisade discard {}`", escape::name(.path))
    )]
    NotEmpty { path: PathBuf },
}

impl CommandError for UpperError {}

/// Opens an upper directory for a run; creates it if it does not exist.
pub(crate) fn create(path: &Path, origin: &Origin) -> Result<UpperRef, Error> {
    let fail = |why| origin.locate(open_error(origin.name(), path, why));
    ambient::make_dir(path).map_err(fail)?;
    refuse_links(path).map_err(|why| origin.locate(why))?;
    HostUpper::open_ambient(path).map_err(fail)
}

/// Opens the upper directory of an earlier run as a read-only lower.
pub(crate) fn open_as_lower(path: &Path, origin: &Origin) -> Result<UpperRef, Error> {
    refuse_links(path)?;
    HostUpper::open_ambient_frozen_in(path)
        .map_err(|why| origin.locate(open_error(origin.name(), path, why)))
}

/// Opens the argument `UPPER` of a command for reading.
pub(crate) fn open_to_read(path: &Path) -> Result<UpperRef, Error> {
    require_changes_dir(path)?;
    HostUpper::open_ambient_frozen_in(path).map_err(|why| open_error("UPPER", path, why).into())
}

/// Opens the argument `UPPER` of a command for writing, with an exclusive lock.
pub(crate) fn open_to_write(path: &Path) -> Result<UpperRef, Error> {
    HostUpper::open_ambient(path).map_err(|why| open_error("UPPER", path, why).into())
}

/// Creates the argument `UPPER` of a command if it does not exist, and opens it for writing.
pub(crate) fn create_to_write(path: &Path) -> Result<UpperRef, Error> {
    ambient::make_dir(path).map_err(|why| open_error("UPPER", path, why))?;
    refuse_links(path)?;
    open_to_write(path)
}

fn open_error(option: &'static str, path: &Path, why: std::io::Error) -> UpperError {
    UpperError::Open { option, path: path.to_owned(), why }
}

/// Refuses a directory that is not an upper directory.
pub(crate) fn require_changes_dir(path: &Path) -> Result<(), UpperError> {
    refuse_links(path)?;
    match ambient::file_type(&path.join(CHANGES_DIR)) {
        Some(kind) if kind.is_dir() => Ok(()),
        Some(_) | None => Err(UpperError::Missing { path: path.to_owned() }),
    }
}

/// Refuses an upper directory whose subdirectories are links. Opening them follows no link anyway;
/// this check reports the reason.
fn refuse_links(path: &Path) -> Result<(), UpperError> {
    for part in [CHANGES_DIR, WORK_DIR] {
        let path = path.join(part);
        if ambient::file_type(&path).is_some_and(|kind| kind.is_symlink()) {
            return Err(UpperError::Link { path });
        }
    }
    Ok(())
}

/// Refuses an upper directory inside of a lower directory, or the reverse: writes to the upper
/// would change the lower, which must not change.
pub(crate) fn refuse_inside(
    upper: &Path,
    origin: &Origin,
    lowers: &[PathBuf],
) -> Result<(), Error> {
    let Some(resolved_upper) = ambient::resolved(upper) else { return Ok(()) };
    for path in lowers {
        let Some(lower) = ambient::resolved(path) else { continue };
        if resolved_upper.starts_with(&lower) || lower.starts_with(&resolved_upper) {
            let (option, upper, lower) = (origin.name(), upper.to_owned(), path.clone());
            return Err(origin.locate(UpperError::InsideLower { option, upper, lower }));
        }
    }
    Ok(())
}
