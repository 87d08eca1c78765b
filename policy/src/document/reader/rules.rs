//! Reads the rules of a document: `allow`, `deny` and `hide`.

use std::ops::Range;
use std::sync::Arc;

use palisade_vfs::Rights;
use toml::de::DeValue;

use super::table::Table;
use super::words::quoted;
use super::{Reader, Text, Value};
use crate::automaton::builder::PolicyBuilder;
use crate::rules::glob::{Glob, GlobError, GlobErrorKind};
use crate::rules::rule::{Effect, Rule, SourceLine};
use crate::rules::suggestions::suggest_words;

/// The longest variable name that an example in a help text repeats.
const NAME_SHOWN_MAX: usize = 64;

/// The kind of a table of rules.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Allow,
    Deny,
    Hide,
}

impl Kind {
    pub(super) fn key(self) -> &'static str {
        match self {
            Kind::Allow => "allow",
            Kind::Deny => "deny",
            Kind::Hide => "hide",
        }
    }

    /// Returns an example of such a rule.
    fn example(self) -> &'static str {
        match self {
            Kind::Allow => "[[allow]]\npath = \"/data/**\"\nrights = [\"read\"]",
            Kind::Deny => "[[deny]]\npath = \"/data/*.key\"\nrights = [\"write\"]",
            Kind::Hide => "[[hide]]\npath = \"/data/.git\"",
        }
    }
}

impl Reader<'_> {
    pub(super) fn rules(&mut self, text: &Text, kind: Kind, value: Value<'_>) {
        let span = value.span();
        let DeValue::Array(tables) = value.into_inner() else {
            let key = kind.key();
            let help = format!("write `[[{key}]]`, with two brackets, once for each rule");
            return self.fault(text, span, format!("`{key}` must be an array of tables"), help);
        };
        for value in tables {
            if let Some(table) = self.table(text, "a rule", value, kind.example()) {
                self.rule(kind, table);
            }
        }
    }

    fn rule(&mut self, kind: Kind, mut table: Table<'_>) {
        let (text, span) = (table.text, table.span.clone());
        let path = table.take("path");
        let rights = match kind {
            Kind::Hide => table.take_misplaced("rights"),
            Kind::Allow | Kind::Deny => table.take("rights"),
        };
        let effect = match (kind, rights) {
            (Kind::Hide, Some(rights)) => {
                let help = "remove it: a hidden path is hidden from every operation";
                self.fault(text, rights.span(), "`hide` takes no `rights`", help.to_owned());
                Effect::Hide
            }
            (Kind::Hide, None) => Effect::Hide,
            (Kind::Deny, None) => Effect::Deny(Rights::all()),
            (Kind::Deny, Some(rights)) => Effect::Deny(self.rights(text, "`rights`", rights)),
            (Kind::Allow, Some(rights)) => Effect::Allow(self.rights(text, "`rights`", rights)),
            (Kind::Allow, None) => {
                let help = format!("write it like this:\n{}", kind.example());
                self.fault(text, span.clone(), "`allow` without `rights`", help);
                Effect::Allow(Rights::empty())
            }
        };
        match path {
            Some(path) => self.globs(text, effect, path),
            None => {
                let help = format!("write it like this:\n{}", kind.example());
                self.fault(text, span.clone(), "a rule without `path`", help);
            }
        }
        if self.document.rules.len() > PolicyBuilder::RULES_MAX {
            self.document.rules.truncate(PolicyBuilder::RULES_MAX);
            let message = format!("more than {} rules", PolicyBuilder::RULES_MAX);
            let help = "join some with `*` or `{a,b}`".to_owned();
            self.fault(text, span, message, help);
        }
        table.refuse_rest(self, "a rule");
    }

    /// Adds one rule for each path.
    fn globs(&mut self, text: &Text, effect: Effect, paths: Value<'_>) {
        for (path, span) in self.strings(text, "`path`", paths) {
            let line = text.line(span.start);
            if let Some(glob) = self.glob(text, &path, span) {
                let place = Some(SourceLine { file: Some(Arc::clone(&text.name)), line });
                self.document.rules.push(Rule { glob, effect, place });
            }
        }
    }

    fn glob(&mut self, text: &Text, path: &str, span: Range<usize>) -> Option<Glob> {
        match Glob::with_variables(path, &self.variables) {
            Ok((glob, names)) => {
                for name in names {
                    if !self.document.variables.contains(name) {
                        self.document.variables.insert(name.to_owned());
                    }
                }
                Some(glob)
            }
            Err(error) => {
                self.glob_fault(text, path, &span, &error);
                None
            }
        }
    }

    fn glob_fault(&mut self, text: &Text, path: &str, span: &Range<usize>, error: &GlobError) {
        if self.is_full() {
            return;
        }
        let part = path.get(error.span.clone()).unwrap_or(path);
        let (message, help) = match error.kind {
            GlobErrorKind::UnknownVariable => {
                let name = part.trim_start_matches("${").trim_end_matches('}');
                let shown = if name.len() <= NAME_SHOWN_MAX { name } else { "NAME" };
                let give = format!("define it with `--policy-var {shown}=…` or in `[variables]`");
                let known: Vec<_> = self.variables.keys().map(String::as_str).collect();
                let help = match suggest_words(name, &known).first() {
                    Some(near) => format!("did you mean `${{{near}}}`? If not, {give}"),
                    None => give,
                };
                (format!("undefined variable {}", quoted(part)), help)
            }
            // These errors concern the variable, which `part` is.
            GlobErrorKind::VariableName
            | GlobErrorKind::ValueNotAbsolute
            | GlobErrorKind::ValueEmpty
            | GlobErrorKind::ValueDots
            | GlobErrorKind::ValueSlash
            | GlobErrorKind::ValueNul
            | GlobErrorKind::ValueTooLong => {
                (format!("{}: {}", quoted(part), error.kind), error.kind.help().to_owned())
            }
            kind => (format!("{}: {kind}", quoted(path)), kind.help().to_owned()),
        };
        let at = text.within(path, span, error.span.clone());
        self.fault(text, at, message, help);
    }
}
