//! From a table of values that know where they stand to a [`Document`].
//!
//! What a hostile text can make of this is bounded: all texts of a document together, the files,
//! how deep they include each other, the sets, the rules, the faults and the length of each. Work
//! is in proportion to the text; what is not, such as the search for the nearest word, is done
//! only for a fault that is told.

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
use crate::Place;
use crate::document::SourceText;
use crate::glob::is_name;
use rules::Kind;
use table::Table;
use words::quoted;

/// Faults that are told at once.
const FAULTS_MAX: usize = 20;
/// Files that are asked for, those included that turn out to have been read.
const LOADS_MAX: usize = 4 * Document::FILES_MAX;
/// The largest text of which more than one fault of the syntax is told: each takes memory.
const RECOVER_MAX: usize = 1 << 18;
/// The version of documents that this reads.
const VERSION: u64 = 1;

/// Reads a document, or one table of it.
pub(super) fn read(
    text: Text,
    section: Option<&str>,
    variables: &Variables,
    loader: &mut dyn Loader,
) -> Result<Document, DocumentError> {
    let mut reader = Reader {
        variables: variables.clone(),
        said: BTreeMap::new(),
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

/// One document with all that it includes, on the way.
struct Reader<'l> {
    /// What the host gave; what documents say is added where the host gave nothing.
    variables: Variables,
    /// The document from which a variable has its value, of those that the host did not give.
    said: BTreeMap<String, Arc<str>>,
    /// The documents that are being read: each includes the next.
    open: Vec<Arc<str>>,
    /// The sets of rights that have been named, and where.
    sets: BTreeMap<String, (Rights, Place)>,
    loader: &'l mut dyn Loader,
    /// The names of the files that were read.
    read: Vec<Arc<str>>,
    /// How many files the loader was asked for.
    loads: usize,
    /// The bytes that were read.
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

    /// Whether no further fault is told. To be asked before a fault is told.
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
            let help = "join rules with `*` or `{a,b}`; what is included counts too";
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

    /// The text as a table, if it is TOML.
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
            // What another version means is not known: its keys are no faults.
            let help = format!("write `version = {VERSION}`");
            let message = "a version that is not known here";
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
                let help = "say it in the document that includes this one".to_owned();
                self.fault(table.text, span, "an included document cannot say `audit`", help);
            }
        }
        table.refuse_rest(self, "this document");
    }

    fn named_values(&mut self, text: &Text, value: Value<'_>) {
        let example = "[variables]\nWORK = \"/work\"";
        let Some(table) = self.table(text, "`variables`", value, example) else { return };
        for (key, value) in table.into_entries() {
            if !is_name(key.get_ref()) {
                let message = format!("{} is no name for a variable", quoted(key.get_ref()));
                let help = "letters of ASCII, digits and `_` make a name".to_owned();
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

    /// Takes the value of a variable, unless the host or a document that includes this one says it.
    /// Two documents of which neither includes the other must agree: they have no order.
    fn named_value(&mut self, text: &Text, span: Range<usize>, name: String, value: &str) {
        match (self.variables.get(&name), self.said.get(&name)) {
            (None, _) => {
                self.said.insert(name.clone(), Arc::clone(&text.name));
                self.variables.insert(name, value.to_owned());
            }
            (Some(known), Some(by)) if known != value && !self.open.contains(by) => {
                let message = format!("{} has another value in {}", quoted(&name), quoted(by));
                let help = "say it in the document that includes both, or by `--policy-var`";
                self.fault(text, span, message, help.to_owned());
            }
            (Some(_), _) => {}
        }
    }

    fn include(&mut self, text: &Text, value: Value<'_>, depth: usize) {
        for (path, span) in self.strings(text, "`include`", value) {
            let names = || path.split('/').filter(|name| *name != ".");
            if path.contains("${") {
                let help = "name the file as it is: variables stand in the `path` of rules alone";
                self.fault(text, span, "an include has no variables", help.to_owned());
                continue;
            }
            let is_odd = path.contains(['\\', '\0']) || names().next().is_none();
            if is_odd || names().any(|name| name == ".." || name.is_empty()) {
                let help = "name a file in the directory of this one, or beneath it: \
                            `include = [\"base.toml\"]`";
                self.fault(
                    text,
                    span,
                    "an include names a file, and does not go up",
                    help.to_owned(),
                );
                continue;
            }
            let is_too_much = depth >= Document::DEPTH_MAX
                || self.read.len() >= Document::FILES_MAX
                || self.loads >= LOADS_MAX;
            if is_too_much {
                let message = format!(
                    "too many includes: at most {} files, {} deep, named {LOADS_MAX} times",
                    Document::FILES_MAX,
                    Document::DEPTH_MAX
                );
                let help = "put some of them together".to_owned();
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
                // Rules have no order, so once is enough.
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
