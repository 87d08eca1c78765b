//! Reads an audit log from standard input and writes its page to standard output.

use std::io::{self, Write};
use std::process::ExitCode;

use palisade_policy::audit::{LogReader, Report};

fn main() -> ExitCode {
    let mut log = LogReader::new(io::stdin().lock());
    let mut report = Report::default();
    for record in &mut log {
        match record {
            Ok(record) => report.add(&record),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    match io::stdout().write_all(report.to_html(log.header()).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
