//! Named sets of rights, and the words for rights.
//!
//! A set may refer to other sets, in any order. The sets of a document are visible in the
//! documents that include it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use palisade_vfs::Rights;

use super::words::{instead, quoted};
use super::{Reader, Text, Value};
use crate::document::Document;
use crate::rules::right_names::{right_names, rights_by_name};
use crate::rules::rule::SourceLine;

/// A set with words that are not resolved yet.
struct Draft {
    span: Range<usize>,
    /// The distinct words, with their spans.
    words: BTreeMap<String, Range<usize>>,
}

impl Reader<'_> {
    pub(super) fn named_rights(&mut self, text: &Text, value: Value<'_>) {
        let example = "[rights]\neditor = [\"read\", \"write\"]";
        let Some(table) = self.table(text, "`rights`", value, example) else { return };
        let mut drafts = BTreeMap::new();
        for (key, value) in table.into_entries() {
            let (name, span) = (key.get_ref(), key.span());
            if rights_by_name(name).is_some() {
                let help = "choose another name for the set".to_owned();
                let message = format!("`{name}` is built in");
                self.fault(text, span, message, help);
                continue;
            }
            if let Some((_, place)) = self.sets.get(name.as_ref()) {
                let help = format!("its first definition is at {place}; choose another name");
                self.fault(text, span, format!("{} is already defined", quoted(name)), help);
                continue;
            }
            if self.sets.len() + drafts.len() >= Document::SETS_MAX {
                let message = format!("more than {} sets of rights", Document::SETS_MAX);
                return self.fault(text, span, message, "remove some of them".to_owned());
            }
            let words = self.strings(text, "a set of rights", value).into_iter().collect();
            drafts.insert(name.to_string(), Draft { span, words });
        }
        self.refuse_unknown_words(text, &mut drafts);
        self.resolve(text, drafts);
    }

    /// Reports and removes the words that name no right and no set.
    fn refuse_unknown_words(&mut self, text: &Text, drafts: &mut BTreeMap<String, Draft>) {
        let names: Vec<String> = drafts.keys().cloned().collect();
        for draft in drafts.values_mut() {
            draft.words.retain(|word, span| {
                let is_known = self.meaning(word).is_some() || names.binary_search(word).is_ok();
                if !is_known {
                    self.unknown_right(text, span.clone(), word, &names);
                }
                is_known
            });
        }
    }

    /// Resolves the drafts into sets, starting with those whose words are all resolved. Each round
    /// resolves at least one draft; the drafts and their words are limited in number.
    fn resolve(&mut self, text: &Text, mut drafts: BTreeMap<String, Draft>) {
        loop {
            let left = drafts.len();
            drafts.retain(|name, draft| {
                let meanings = draft.words.keys().map(|word| self.meaning(word));
                let Some(rights) = meanings.collect::<Option<Vec<Rights>>>() else { return true };
                let rights = rights.into_iter().fold(Rights::empty(), Rights::union);
                let line = text.line(draft.span.start);
                let place = SourceLine { file: Some(Arc::clone(&text.name)), line };
                self.sets.insert(name.clone(), (rights, place));
                false
            });
            if drafts.is_empty() || drafts.len() == left {
                break;
            }
        }
        let Some((name, draft)) = drafts.iter().next() else { return };
        let message = format!("the set {} includes itself", quoted(name));
        let help = "define it by words for rights, such as `read`".to_owned();
        self.fault(text, draft.span.clone(), message, help);
        for name in drafts.into_keys() {
            // A placeholder keeps the rules free of further faults; the document is refused anyway.
            let place = SourceLine { file: Some(Arc::clone(&text.name)), line: 0 };
            self.sets.insert(name, (Rights::empty(), place));
        }
    }

    /// Returns the union of the rights of the words.
    pub(super) fn rights(&mut self, text: &Text, what: &str, value: Value<'_>) -> Rights {
        let mut rights = Rights::empty();
        for (word, span) in self.strings(text, what, value) {
            match self.meaning(&word) {
                Some(meant) => rights |= meant,
                None => self.unknown_right(text, span, &word, &[]),
            }
        }
        rights
    }

    fn meaning(&self, word: &str) -> Option<Rights> {
        rights_by_name(word).or_else(|| self.sets.get(word).map(|(rights, _)| *rights))
    }

    fn unknown_right(&mut self, text: &Text, span: Range<usize>, word: &str, names: &[String]) {
        if self.is_full() {
            return;
        }
        let mut known: Vec<&str> = right_names().collect();
        known.extend(self.sets.keys().chain(names).map(String::as_str));
        let help = instead(word, &known);
        self.fault(text, span, format!("unknown right {}", quoted(word)), help);
    }
}
