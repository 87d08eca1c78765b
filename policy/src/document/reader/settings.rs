//! Reads the quotas and the audit settings of a document.

use super::table::{Table, whole_number};
use super::words::{instead, quoted};
use super::{Reader, Text, Value};
use crate::document::{AuditOnly, AuditSettings, AuditTo, WhenFull, size};
use crate::quota::Quota;

impl Reader<'_> {
    pub(super) fn quota(&mut self, text: &Text, value: Value<'_>) {
        let example = "[quota]\nbytes = \"64 MiB\"";
        let Some(mut table) = self.table(text, "`quota`", value, example) else { return };
        let quota = Quota {
            bytes: self.bytes(&mut table, "bytes"),
            inodes: self.count(&mut table, "inodes"),
            file_size: self.bytes(&mut table, "file-size"),
            dir_entries: self.count(&mut table, "dir-entries"),
            descriptors: self.count(&mut table, "descriptors"),
            read_bytes: self.bytes(&mut table, "read-bytes"),
            write_bytes: self.bytes(&mut table, "write-bytes"),
            ..Quota::default()
        };
        self.document.quota = self.document.quota.at_most(quota);
        table.refuse_rest(self, "`quota`");
    }

    /// Takes a size in bytes, with or without a unit.
    fn bytes(&mut self, table: &mut Table<'_>, key: &str) -> Option<u64> {
        let value = table.take(key)?;
        let size = match value.get_ref().as_str() {
            Some(words) => size::bytes(words),
            None => whole_number(&value),
        };
        if size.is_none() {
            let units = size::units().collect::<Vec<_>>().join("`, `");
            let help = format!(
                "write a whole number, with or without a unit: `{key} = \"64 MiB\"`; \
                 units are `{units}`"
            );
            self.fault(table.text, value.span(), format!("`{key}` must be a size"), help);
        }
        size
    }

    /// Takes a count.
    fn count(&mut self, table: &mut Table<'_>, key: &str) -> Option<u64> {
        let value = table.take(key)?;
        let count = whole_number(&value);
        if count.is_none() {
            let help = format!("write a whole number without a unit: `{key} = 1_000`");
            self.fault(table.text, value.span(), format!("`{key}` must be a count"), help);
        }
        count
    }

    pub(super) fn audit(&mut self, text: &Text, value: Value<'_>) {
        let example = "[audit]\nto = \"audit.jsonl\"";
        let Some(mut table) = self.table(text, "`audit`", value, example) else { return };
        let to = self.audit_to(&mut table);
        let only = self.audit_only(&mut table);
        let mut sample = 1;
        if let Some(value) = table.take("sample") {
            match whole_number(&value) {
                Some(every) if every > 0 => sample = every,
                Some(_) | None => {
                    let help = "record every n-th decision: `sample = 10`";
                    let message = "`sample` must be a positive whole number";
                    self.fault(text, value.span(), message, help.to_owned());
                }
            }
        }
        let mut when_full = WhenFull::Wait;
        if let Some(value) = table.take("when-full") {
            match self.string(text, "`when-full`", &value) {
                Some("drop") => when_full = WhenFull::Drop,
                Some("wait") | None => {}
                Some(word) => {
                    let help = instead(word, &["wait", "drop"]);
                    self.fault(text, value.span(), format!("unknown value {}", quoted(word)), help);
                }
            }
        }
        self.document.audit = Some(AuditSettings { to, only, sample, when_full });
        table.refuse_rest(self, "`audit`");
    }

    fn audit_to(&mut self, table: &mut Table<'_>) -> AuditTo {
        let Some(value) = table.take("to") else { return AuditTo::Stderr };
        match self.string(table.text, "`to`", &value) {
            Some("stderr") | None => AuditTo::Stderr,
            Some("") => {
                let help = "write `\"stderr\"` or a file name".to_owned();
                self.fault(table.text, value.span(), "`to` is empty", help);
                AuditTo::Stderr
            }
            Some(file) if file.contains("${") => {
                let help = "write the file name literally: only the `path` of a rule has variables";
                let message = "`to` cannot contain variables";
                self.fault(table.text, value.span(), message, help.to_owned());
                AuditTo::Stderr
            }
            Some(file) => AuditTo::File(file.to_owned()),
        }
    }

    fn audit_only(&mut self, table: &mut Table<'_>) -> Vec<AuditOnly> {
        let mut only = Vec::new();
        let Some(value) = table.take("only") else { return only };
        for (word, span) in self.strings(table.text, "`only`", value) {
            let meant = match word.as_str() {
                "denied" => AuditOnly::Denied,
                "writes" => AuditOnly::Writes,
                _ => {
                    let help = instead(&word, &["denied", "writes"]);
                    let message = format!("unknown filter {}", quoted(&word));
                    self.fault(table.text, span, message, help);
                    continue;
                }
            };
            if !only.contains(&meant) {
                only.push(meant);
            }
        }
        only
    }
}
