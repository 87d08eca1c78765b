//! From a table of values that know where they stand to a [`Document`].

mod table;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use palisade_vfs::Rights;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::variables::{self, expand};
use super::{
    AuditOnly, AuditSettings, AuditTo, Document, DocumentError, DocumentFault, Loader,
    QuotaSettings, Text, Variables, WhenFull, size,
};
use crate::document::SourceText;
use crate::{Effect, Glob, Place, PolicyBuilder, Rule, right_words, rights_of_word};
use table::{Table, value_words};

/// Faults that are told at once.
const FAULTS_MAX: usize = 20;
/// The version of documents that this reads.
const VERSION: i64 = 1;

/// Reads a document, or one table of it.
pub(super) fn read(
    text: Text,
    section: Option<&str>,
    variables: &Variables,
    loader: &mut dyn Loader,
) -> Result<Document, DocumentError> {
    let mut reader = Reader {
        variables: variables.clone(),
        rights: BTreeMap::new(),
        loader,
        read: Vec::new(),
        document: Document::default(),
        faults: Vec::new(),
        has_more: false,
    };
    reader.file(&text, section, 0);
    if reader.faults.is_empty() {
        return Ok(reader.document);
    }
    let order = |name: &Arc<str>| reader.read.iter().position(|read| read == name);
    reader.faults.sort_by_key(|fault| (order(&fault.source.name), fault.span.start));
    Err(DocumentError { faults: reader.faults, has_more: reader.has_more })
}

/// One document with all that it includes, on the way.
pub(super) struct Reader<'l> {
    /// What the host gave; what documents say is added where the host gave nothing.
    variables: Variables,
    /// The sets of rights that have been named.
    rights: BTreeMap<String, Rights>,
    loader: &'l mut dyn Loader,
    /// The names of the files that were read.
    read: Vec<Arc<str>>,
    document: Document,
    faults: Vec<DocumentFault>,
    has_more: bool,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    pub(super) fn fault(
        &mut self,
        text: &Text,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        if self.faults.len() >= FAULTS_MAX {
            self.has_more = true;
            return;
        }
        let (message, help) = (message.into(), help.into());
        self.faults.push(DocumentFault { source: Arc::clone(text), span, message, help });
    }

    /// Reads one file.
    fn file(&mut self, text: &Text, section: Option<&str>, depth: usize) {
        self.read.push(Arc::clone(&text.name));
        if text.text.len() > Document::TEXT_MAX {
            let message = format!("the document is larger than {} bytes", Document::TEXT_MAX);
            let help = "join rules with `*` or `{a,b}`, or split it with `include`";
            return self.fault(text, 0..0, message, help.to_owned());
        }
        let (table, errors) = DeTable::parse_recoverable(&text.text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            self.fault(text, span, error.message().trim_end_matches('.'), None);
        }
        if !self.faults.is_empty() {
            return;
        }
        let span = table.span();
        let mut whole = Table::new(text, table.into_inner(), span);
        match section {
            None => self.document(whole, depth),
            Some(key) => {
                let Some(value) = whole.take(key) else { return };
                if let Some(table) = self.table(text, &format!("`{key}`"), value) {
                    self.document(table, depth);
                }
            }
        }
    }

    fn document(&mut self, mut table: Table<'_>, depth: usize) {
        if let Some(version) = table.take("version") {
            self.version(table.text, &version);
        }
        if let Some(given) = table.take("variables") {
            self.named_values(table.text, given);
        }
        if let Some(include) = table.take("include") {
            self.include(table.text, include, depth);
        }
        if let Some(rights) = table.take("rights") {
            self.rights_table(table.text, rights);
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

    fn version(&mut self, text: &Text, value: &Value<'_>) {
        let said = value.get_ref().as_integer().and_then(|it| it.as_str().parse::<i64>().ok());
        if said != Some(VERSION) {
            let message = "a version that is not known here";
            self.fault(text, value.span(), message, format!("write `version = {VERSION}`"));
        }
    }

    fn named_values(&mut self, text: &Text, value: Value<'_>) {
        let Some(table) = self.table(text, "`variables`", value) else { return };
        for (key, value) in table.into_entries() {
            let what = format!("the variable `{}`", key.get_ref());
            if let Some(value) = self.string(text, &what, &value) {
                let name = key.into_inner().into_owned();
                self.variables.entry(name).or_insert_with(|| value.to_owned());
            }
        }
    }

    fn include(&mut self, text: &Text, value: Value<'_>, depth: usize) {
        for (path, span) in self.strings(text, "`include`", value) {
            let goes_up = path.split('/').any(|name| name == ".." || name.is_empty());
            if goes_up || path.contains('\\') {
                let help = "name a file in the directory of this one, or beneath it: \
                            `include = [\"base.toml\"]`";
                self.fault(text, span, "an include does not go up", help.to_owned());
                continue;
            }
            if depth >= Document::DEPTH_MAX || self.read.len() >= Document::FILES_MAX {
                let message = format!(
                    "too many includes: {} files, {} deep, are the most",
                    Document::FILES_MAX,
                    Document::DEPTH_MAX
                );
                let help = "does a document include itself?".to_owned();
                return self.fault(text, span, message, help);
            }
            match self.loader.load(&text.name, &path) {
                Err(why) => {
                    self.fault(text, span, format!("cannot include `{path}`: {why}"), None);
                }
                // Rules have no order, so once is enough.
                Ok((name, _)) if self.read.iter().any(|read| **read == name) => {}
                Ok((name, content)) => {
                    self.file(&SourceText::new(&name, &content), None, depth + 1)
                }
            }
        }
    }

    fn rights_table(&mut self, text: &Text, value: Value<'_>) {
        let Some(table) = self.table(text, "`rights`", value) else { return };
        for (key, value) in table.into_entries() {
            let (name, span) = (key.get_ref().to_string(), key.span());
            if rights_of_word(&name).is_some() || self.rights.contains_key(&name) {
                let help = "give the set a name of its own".to_owned();
                self.fault(text, span, format!("`{name}` means something already"), help);
                continue;
            }
            let rights = self.rights(text, &format!("the set `{name}`"), value);
            self.rights.insert(name, rights);
        }
    }

    /// The rights that words mean together.
    fn rights(&mut self, text: &Text, what: &str, value: Value<'_>) -> Rights {
        let mut rights = Rights::empty();
        for (word, span) in self.strings(text, what, value) {
            match self.rights.get(&word).copied().or_else(|| rights_of_word(&word)) {
                Some(meant) => rights |= meant,
                None => {
                    let mut known: Vec<&str> = self.rights.keys().map(String::as_str).collect();
                    right_words().for_each(|word| known.push(word));
                    let help = value_words(&word, &known);
                    self.fault(text, span, format!("unknown right `{word}`"), help);
                }
            }
        }
        rights
    }

    fn rules(&mut self, text: &Text, kind: Kind, value: Value<'_>) {
        let span = value.span();
        let DeValue::Array(tables) = value.into_inner() else {
            let key = kind.key();
            let help = format!("write `[[{key}]]`, with two brackets: there can be many of them");
            return self.fault(text, span, format!("`{key}` is a list of tables"), help);
        };
        for value in tables {
            if let Some(table) = self.table(text, "a rule", value) {
                self.rule(kind, table);
            }
        }
    }

    fn rule(&mut self, kind: Kind, mut table: Table<'_>) {
        let (text, span) = (table.text, table.span.clone());
        let Some(path) = table.take("path") else {
            let help = kind.example();
            self.fault(text, span, "a rule without `path`", help.to_owned());
            return;
        };
        let effect = match (kind, table.take("rights")) {
            (Kind::Hide, Some(rights)) => {
                let help = "leave it out: what is hidden is hidden from every operation";
                self.fault(text, rights.span(), "`hide` has no `rights`", help.to_owned());
                Effect::Hide
            }
            (Kind::Hide, None) => Effect::Hide,
            (Kind::Deny, None) => Effect::Deny(Rights::all()),
            (Kind::Deny, Some(rights)) => Effect::Deny(self.rights(text, "`rights`", rights)),
            (Kind::Allow, Some(rights)) => Effect::Allow(self.rights(text, "`rights`", rights)),
            (Kind::Allow, None) => {
                let help = kind.example().to_owned();
                self.fault(text, span, "`allow` without `rights`", help);
                Effect::Allow(Rights::empty())
            }
        };
        for (path, span) in self.strings(text, "`path`", path) {
            if let Some(glob) = self.glob(text, &path, span.clone()) {
                let place =
                    Place { file: Some(Arc::clone(&text.name)), line: text.line(span.start) };
                self.document.rules.push(Rule { glob, effect, place: Some(place) });
            }
        }
        if self.document.rules.len() > PolicyBuilder::RULES_MAX {
            self.document.rules.truncate(PolicyBuilder::RULES_MAX);
            let message = format!("more than {} rules", PolicyBuilder::RULES_MAX);
            self.fault(
                text,
                table.span.clone(),
                message,
                "join some with `*` or `{a,b}`".to_owned(),
            );
        }
        table.refuse_rest(self, "a rule");
    }

    fn glob(&mut self, text: &Text, path: &str, span: Range<usize>) -> Option<Glob> {
        let expanded = match expand(path, &self.variables) {
            Ok(expanded) => expanded,
            Err(variables::Fault::Open) => {
                let help = "write `${NAME}`, or `$${` for the characters themselves".to_owned();
                self.fault(text, span, "a variable that is not closed", help);
                return None;
            }
            Err(variables::Fault::Unknown(name)) => {
                let known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                let help = if known.is_empty() {
                    format!("give it a value: `--policy-var {name}=…`, or `[variables]` here")
                } else {
                    value_words(&name, &known)
                };
                self.fault(text, span, format!("nothing says what `${{{name}}}` is"), help);
                return None;
            }
        };
        match Glob::new(&expanded.text) {
            Ok(glob) => Some(glob),
            Err(error) => {
                // Where the text stands as it is, the fault can be pointed at.
                let inner = span.start + 1..span.end.saturating_sub(1);
                let is_as_written =
                    !expanded.has_variable && text.text.get(inner.clone()) == Some(path);
                let at = if is_as_written {
                    inner.start + error.span.start..inner.start + error.span.end
                } else {
                    span
                };
                let help = error.kind.help().to_owned();
                self.fault(text, at, format!("`{}`: {error}", expanded.text), help);
                None
            }
        }
    }

    fn quota(&mut self, text: &Text, value: Value<'_>) {
        let Some(mut table) = self.table(text, "`quota`", value) else { return };
        let mut take = |key: &str| {
            let value = table.take(key)?;
            let said = match value.get_ref() {
                DeValue::Integer(number) => number.as_str().replace('_', "").parse().ok(),
                DeValue::String(words) => size::bytes(words),
                _ => None,
            };
            if said.is_none() {
                let help =
                    format!("write a whole number, with or without a unit: `{key} = \"64 MiB\"`");
                self.fault(text, value.span(), format!("`{key}` is no amount"), help);
            }
            said
        };
        let quota = QuotaSettings {
            bytes: take("bytes"),
            inodes: take("inodes"),
            file_size: take("file-size"),
            dir_entries: take("dir-entries"),
            descriptors: take("descriptors"),
            read_bytes: take("read-bytes"),
            write_bytes: take("write-bytes"),
        };
        self.document.quota = self.document.quota.at_most(quota);
        table.refuse_rest(self, "`quota`");
    }

    fn audit(&mut self, text: &Text, value: Value<'_>) {
        let Some(mut table) = self.table(text, "`audit`", value) else { return };
        let to = match table.take("to") {
            None => AuditTo::Stderr,
            Some(value) => match self.string(text, "`to`", &value) {
                Some("stderr") | None => AuditTo::Stderr,
                Some(file) => AuditTo::File(file.to_owned()),
            },
        };
        let mut only = Vec::new();
        if let Some(value) = table.take("only") {
            for (word, span) in self.strings(text, "`only`", value) {
                match word.as_str() {
                    "denied" => only.push(AuditOnly::Denied),
                    "writes" => only.push(AuditOnly::Writes),
                    _ => {
                        let help = value_words(&word, &["denied", "writes"]);
                        self.fault(text, span, format!("unknown kind of decision `{word}`"), help);
                    }
                }
            }
        }
        let mut sample = 1;
        if let Some(value) = table.take("sample") {
            let number = value.get_ref().as_integer().and_then(|it| it.as_str().parse().ok());
            match number {
                Some(every) if every > 0 => sample = every,
                Some(_) | None => {
                    let help = "write every how many-th decision is recorded: `sample = 10`";
                    self.fault(text, value.span(), "`sample` is no such number", help.to_owned());
                }
            }
        }
        let mut when_full = WhenFull::Wait;
        if let Some(value) = table.take("when-full") {
            match self.string(text, "`when-full`", &value) {
                Some("drop") => when_full = WhenFull::Drop,
                Some("wait") | None => {}
                Some(word) => {
                    let help = value_words(word, &["wait", "drop"]);
                    self.fault(text, value.span(), format!("unknown word `{word}`"), help);
                }
            }
        }
        self.document.audit = Some(AuditSettings { to, only, sample, when_full });
        table.refuse_rest(self, "`audit`");
    }
}

/// What a table of rules is of.
#[derive(Clone, Copy)]
enum Kind {
    Allow,
    Deny,
    Hide,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Kind::Allow => "allow",
            Kind::Deny => "deny",
            Kind::Hide => "hide",
        }
    }

    /// How such a rule looks.
    fn example(self) -> &'static str {
        match self {
            Kind::Allow => "[[allow]]\n  path = \"/data/**\"\n  rights = [\"read\"]",
            Kind::Deny => "[[deny]]\n  path = \"/data/*.key\"\n  rights = [\"write\"]",
            Kind::Hide => "[[hide]]\n  path = \"/data/.git\"",
        }
    }
}
