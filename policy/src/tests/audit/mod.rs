//! Audit records: they match the enforced decisions and can be replayed.

mod agrees_with_enforcement;
mod learn;
mod lines;
mod live;
mod log;
mod report;
mod write_behind;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use palisade_vfs::{DirRef, Rights};

use crate::Policy;
use crate::audit::{
    AuditOptions, Auditor, Header, JsonLines, LogReader, Mode, Record, Transfers, observe,
};

/// The policy of the guests in these tests.
pub(super) fn policy() -> Arc<Policy> {
    let builder = Policy::builder().allow("/a/**", Rights::all()).allow("/b/**", Rights::READ_ONLY);
    Arc::new(builder.deny("/a/d/g", Rights::WRITE).hide("/f").build().unwrap())
}

/// A shared buffer that implements `Write` and can be read while the log is open.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Returns the bytes written so far, as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// An observed directory and the log of its records.
pub(super) struct Watched {
    pub(super) dir: DirRef,
    pub(super) auditor: Arc<Auditor>,
    pub(super) log: Shared,
}

impl Watched {
    pub(super) fn new(dir: DirRef, policy: Arc<Policy>, mode: Mode) -> Self {
        let options = AuditOptions { transfers: Transfers::AtClose, ..AuditOptions::default() };
        Self::with(dir, policy, mode, options)
    }

    pub(super) fn with(
        dir: DirRef,
        policy: Arc<Policy>,
        mode: Mode,
        options: AuditOptions,
    ) -> Self {
        Self::by(options, |auditor| observe(dir, policy, "/", mode, auditor))
    }

    /// Observes the directory that `observe` returns for the auditor.
    pub(super) fn by(options: AuditOptions, observe: impl FnOnce(Arc<Auditor>) -> DirRef) -> Self {
        let log = Shared::default();
        let auditor = Auditor::new(JsonLines::new(log.clone(), &Header::default()), options);
        Watched { dir: observe(Arc::clone(&auditor)), auditor, log }
    }

    pub(super) fn text(&self) -> String {
        self.auditor.finish().unwrap();
        self.log.text()
    }

    /// Returns the records since the last call.
    pub(super) fn take(&self) -> Vec<Record> {
        let text = self.text();
        self.log.0.lock().unwrap().clear();
        LogReader::new(text.as_bytes()).map(Result::unwrap).collect()
    }
}
