//! Reads audit logs for `learn`, `replay` and `report`.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use palisade::policy::audit::{LogError, LogHeader, LogReader, Record};
use palisade::vfs::escape;

use crate::error::{CommandError, Error};
use crate::{ambient, print};

/// The maximum number of runs that the help text of [`AuditLogError::NoRun`] lists.
const RUNS_LISTED_MAX: usize = 20;

/// Errors about audit logs that are read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum AuditLogError {
    #[error("`{}` is not an audit log: {why}", escape::name(.path))]
    #[diagnostic(code(palisade::log), help("record a run with `palisade run --audit FILE`"))]
    Format { path: PathBuf, why: LogError },

    #[error("`{}` has no run `{}`", escape::name(.path), escape::name(.run))]
    #[diagnostic(code(palisade::log), help("the runs in it are `{}`", escape::line(.known)))]
    NoRun { path: PathBuf, run: String, known: String },
}

impl CommandError for AuditLogError {}

/// Calls `visit` for each record of a log, or of one run in it. Returns the headers of these runs.
/// Prints notes about records that the log does not contain.
///
/// # Errors
///
/// - `palisade::read`: the file cannot be opened.
/// - `palisade::log`: the file is not an audit log, or has no such run.
pub(crate) fn for_each_record(
    option: &'static str,
    path: &Path,
    only_run: Option<&str>,
    mut visit: impl FnMut(&Record),
) -> Result<Vec<LogHeader>, Error> {
    let fail = |why| AuditLogError::Format { path: path.to_owned(), why };
    let is_selected = |run: &str| only_run.is_none_or(|only| only == run);
    let mut log = LogReader::new(BufReader::new(ambient::open(option, path)?));
    for record in log.by_ref() {
        let record = record.map_err(fail)?;
        if is_selected(&record.run) {
            visit(&record);
        }
    }
    let (selected, others): (Vec<_>, Vec<_>) =
        log.headers().iter().cloned().partition(|header| is_selected(&header.run));
    if let Some(run) = only_run
        && selected.is_empty()
    {
        let known: Vec<_> =
            others.into_iter().map(|header| header.run).take(RUNS_LISTED_MAX).collect();
        let (path, run, known) = (path.to_owned(), run.to_owned(), known.join("`, `"));
        return Err(AuditLogError::NoRun { path, run, known }.into());
    }
    note_gaps(path, &selected, log.cut());
    Ok(selected)
}

/// Prints notes about filters, dropped records and partial lines.
fn note_gaps(path: &Path, headers: &[LogHeader], partial_lines: u64) {
    let path = escape::name(path);
    let filters: BTreeSet<_> = headers.iter().filter_map(LogHeader::filter).collect();
    for filter in filters {
        let filter = escape::line(filter.as_str());
        print::err(&format!(
            "note: `{path}` was recorded with a filter, so the result is incomplete: {filter}\n"
        ));
    }
    if headers.iter().any(|header| header.may_drop) {
        print::err(&format!("note: `{path}` may lack records: the run was allowed to drop some\n"));
    }
    if partial_lines > 0 {
        let noun = if partial_lines == 1 { "line" } else { "lines" };
        print::err(&format!(
            "note: `{path}` has {partial_lines} partial {noun}, left by a run that was killed\n"
        ));
    }
}
