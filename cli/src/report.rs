//! `palisade report`: renders a recorded run as an HTML page.

use palisade::policy::audit::Report;

use crate::args;
use crate::audit_reader::for_each_record;
use crate::error::Error;
use crate::output_file::{OutputFile, ProtectedPaths, Usage};

/// Runs `palisade report`. Returns the text for standard output: the page, unless a file was given.
pub(crate) fn run(args: &args::Report) -> Result<String, Error> {
    let mut protected = ProtectedPaths::default();
    protected.add(&args.log, "LOG", Usage::Read);
    let output =
        args.output.as_deref().map(|path| OutputFile::new(path, &protected)).transpose()?;
    let mut report = Report::default();
    let only_run = args.only_run.as_deref();
    let headers = for_each_record("LOG", &args.log, only_run, |record| report.add(record))?;
    let page = report.to_html(&headers);
    match output {
        Some(output) => Ok(output.write_all(page.as_bytes()).map(|()| String::new())?),
        None => Ok(page),
    }
}
