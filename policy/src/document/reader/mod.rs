//! Converts a table of values with spans into a [`Document`].
//!
//! The work for a hostile text is bounded: the total size of the texts, the files, their nesting,
//! the sets, the rules, and the number and the length of the faults. The work is proportional to
//! the text. Costlier work, such as the search for the nearest word, is done only for a fault
//! that is reported.

mod rules;
mod sets;
mod settings;
mod table;
mod words;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use palisade_vfs::{Rights, escape};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Document, DocumentError, DocumentFault, Loader, Text, Variables};
use crate::document::SourceText;
use crate::rules::glob::is_name;
use crate::rules::rule::SourceLine;
use rules::Kind;
use table::Table;
use words::quoted;

/// The maximum number of reported faults.
const FAULTS_MAX: usize = 20;
/// The maximum number of loader calls, including calls for files that were read before.
const LOADS_MAX: usize = 4 * Document::FILES_MAX;
/// The largest text with more than one reported syntax error: each further error takes memory.
const RECOVER_MAX: usize = 1 << 18;
/// The supported version of the format.
const VERSION: u64 = 1;

/// Reads a document, or one table of a larger document.
pub(super) fn read(
    text: Text,
    section: Option<&str>,
    variables: &Variables,
    loader: &mut dyn Loader,
) -> Result<Document, DocumentError> {
    let mut reader = Reader {
        variables: variables.clone(),
        defined_by: BTreeMap::new(),
        open: vec![Arc::clone(&text.name)],
        sets: BTreeMap::new(),
        loader,
        read: Vec::new(),
        loads: 0,
        bytes: 0,
        document: Document::default(),
        faults: Vec::new(),
        has_more: false,
    };
    reader.file(&text, section, 0);
    if reader.faults.is_empty() {
        return Ok(reader.document);
    }
    let Reader { mut faults, has_more, read, .. } = reader;
    let file = |fault: &DocumentFault| read.iter().position(|name| *name == fault.source.name);
    faults.sort_by_key(|fault| (file(fault), fault.span.start));
    Err(DocumentError { faults, has_more })
}

/// The state of reading one document and its includes.
struct Reader<'l> {
    /// The variables of the host, and those that documents define in addition.
    variables: Variables,
    /// For each variable that the host does not set, the document that defines it.
    defined_by: BTreeMap<String, Arc<str>>,
    /// The documents that are being read: each includes the next.
    open: Vec<Arc<str>>,
    /// The named sets of rights, with their source lines.
    sets: BTreeMap<String, (Rights, SourceLine)>,
    loader: &'l mut dyn Loader,
    /// The names of the files that were read.
    read: Vec<Arc<str>>,
    /// The number of loader calls.
    loads: usize,
    /// The total size of the files that were read.
    bytes: usize,
    document: Document,
    faults: Vec<DocumentFault>,
    has_more: bool,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn fault(
        &mut self,
        text: &Text,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        if self.is_full() {
            return;
        }
        let (message, help, span) = (message.into(), help.into(), text.on_characters(span));
        self.faults.push(DocumentFault { source: Arc::clone(text), span, message, help });
    }

    /// Returns whether the limit of reported faults is reached. Called before each report.
    fn is_full(&mut self) -> bool {
        self.has_more |= self.faults.len() >= FAULTS_MAX;
        self.has_more
    }

    /// Reads one file.
    fn file(&mut self, text: &Text, section: Option<&str>, depth: usize) {
        self.read.push(Arc::clone(&text.name));
        self.bytes = self.bytes.saturating_add(text.text.len());
        if self.bytes > Document::TEXT_MAX {
            let message = format!("the document is larger than {} bytes", Document::TEXT_MAX);
            let help = "join rules with `*` or `{a,b}`; included documents count as well";
            return self.fault(text, 0..0, message, help.to_owned());
        }
        let Some(table) = self.syntax(text) else { return };
        let span = table.span();
        let mut whole = Table::new(text, table.into_inner(), span);
        match section {
            None => self.document(whole, depth),
            Some(key) => {
                let Some(value) = whole.take(key) else { return };
                let example = "[policy]\nversion = 1";
                if let Some(table) = self.table(text, &format!("`{key}`"), value, example) {
                    self.document(table, depth);
                }
            }
        }
    }

    /// Parses the text as TOML, or reports its syntax errors.
    fn syntax<'t>(&mut self, text: &'t Text) -> Option<Spanned<DeTable<'t>>> {
        let (table, errors) = if text.text.len() <= RECOVER_MAX {
            DeTable::parse_recoverable(&text.text)
        } else {
            match DeTable::parse(&text.text) {
                Ok(table) => (table, Vec::new()),
                Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
            }
        };
        for error in &errors {
            if self.is_full() {
                break;
            }
            let span = error.span().unwrap_or_default();
            let message = escape::line(error.message().trim_end_matches('.')).to_string();
            self.fault(text, span, message, None);
        }
        errors.is_empty().then_some(table)
    }

    fn document(&mut self, mut table: Table<'_>, depth: usize) {
        if let Some(version) = table.take("version")
            && table::whole_number(&version) != Some(VERSION)
        {
            // The keys of another version are unknown, so they are not reported as faults.
            let help = format!("write `version = {VERSION}`");
            let message = "unsupported version";
            return self.fault(table.text, version.span(), message, help);
        }
        if let Some(given) = table.take("variables") {
            self.named_values(table.text, given);
        }
        if let Some(include) = table.take("include") {
            self.include(table.text, include, depth);
        }
        if let Some(rights) = table.take("rights") {
            self.named_rights(table.text, rights);
        }
        for kind in [Kind::Allow, Kind::Deny, Kind::Hide] {
            if let Some(rules) = table.take(kind.key()) {
                self.rules(table.text, kind, rules);
            }
        }
        if let Some(quota) = table.take("quota") {
            self.quota(table.text, quota);
        }
        if let Some(audit) = table.take("audit") {
            let span = audit.span();
            if depth == 0 {
                self.audit(table.text, audit);
            } else {
                let help = "move it to the document that includes this one".to_owned();
                self.fault(table.text, span, "an included document cannot contain `audit`", help);
            }
        }
        table.refuse_rest(self, "this document");
    }

    fn named_values(&mut self, text: &Text, value: Value<'_>) {
        let example = "[variables]\nWORK = \"/work\"";
        let Some(table) = self.table(text, "`variables`", value, example) else { return };
        for (key, value) in table.into_entries() {
            if !is_name(key.get_ref()) {
                let message = format!("{} is not a valid variable name", quoted(key.get_ref()));
                let help = "a variable's name has only ASCII letters, digits and `_`".to_owned();
                self.fault(text, key.span(), message, help);
                continue;
            }
            let what = "a variable's value";
            if let Some(value) = self.string(text, what, &value) {
                let key_span = key.span();
                let name = key.into_inner().into_owned();
                self.document.variables.insert(name.clone());
                self.named_value(text, key_span, name, value);
            }
        }
    }

    /// Defines a variable, unless the host or an including document defines it. Two documents of
    /// which neither includes the other must agree, because they have no order.
    fn named_value(&mut self, text: &Text, span: Range<usize>, name: String, value: &str) {
        match (self.variables.get(&name), self.defined_by.get(&name)) {
            (None, _) => {
                self.defined_by.insert(name.clone(), Arc::clone(&text.name));
                self.variables.insert(name, value.to_owned());
            }
            (Some(known), Some(by)) if known != value && !self.open.contains(by) => {
                let message = format!("{} has a different value in {}", quoted(&name), quoted(by));
                let help = "define it in the document that includes both, or with `--policy-var`";
                self.fault(text, span, message, help.to_owned());
            }
            (Some(_), _) => {}
        }
    }

    fn include(&mut self, text: &Text, value: Value<'_>, depth: usize) {
        for (path, span) in self.strings(text, "`include`", value) {
            let names = || path.split('/').filter(|name| *name != ".");
            if path.contains("${") {
                let help = "write the file name literally: only the `path` of a rule has variables";
                self.fault(text, span, "an include cannot contain variables", help.to_owned());
                continue;
            }
            let is_odd = path.contains(['\\', '\0']) || names().next().is_none();
            if is_odd || names().any(|name| name == ".." || name.is_empty()) {
                let help = "name a file in the directory of this one or in a subdirectory: \
                            `include = [\"base.toml\"]`";
                self.fault(
                    text,
                    span,
                    "an include must be a relative path without `..`",
                    help.to_owned(),
                );
                continue;
            }
            let is_too_much = depth >= Document::DEPTH_MAX
                || self.read.len() >= Document::FILES_MAX
                || self.loads >= LOADS_MAX;
            if is_too_much {
                let message = format!(
                    "too many includes: at most {} files, {} deep, included {LOADS_MAX} times",
                    Document::FILES_MAX,
                    Document::DEPTH_MAX
                );
                let help = "merge some of the included documents".to_owned();
                return self.fault(text, span, message, help);
            }
            self.loads += 1;
            let path = names().collect::<Vec<_>>().join("/");
            match self.loader.load(&text.name, &path) {
                Err(why) => {
                    self.fault(
                        text,
                        span,
                        format!("cannot include {}: {why}", quoted(&path)),
                        None,
                    );
                }
                // Rules have no order, so each file is read once.
                Ok((name, _)) if self.read.iter().any(|read| **read == name) => {}
                Ok((name, content)) => {
                    let included = SourceText::new(&name, &content);
                    self.open.push(Arc::clone(&included.name));
                    self.file(&included, None, depth + 1);
                    self.open.pop();
                }
            }
        }
    }
}
