//! A trie over glob components: the rules as one nondeterministic automaton.
//!
//! Globs share the nodes of their common prefix. A node is reached by the paths that match the
//! components above it. A `**` is a separate child node, a *deep node*, that is reached without
//! consuming a name and leads to itself by every name.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use palisade_vfs::{Rights, bug};

use crate::rules::glob::Part;
use crate::rules::glob::pattern::Pattern;
use crate::rules::rule::{Effect, Rule};

type Map<K, V> = HashMap<K, V, FixedState>;

/// The placeholder for "no node".
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Trie<'r> {
    pub(crate) nodes: Vec<TrieNode>,
    pub(crate) names: Names<'r>,
    pub(crate) patterns: Vec<&'r Pattern>,
    literals: Grouped,
    by_pattern: Grouped,
    accepts: Grouped,
}

/// A node of the trie. Parents precede their children.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrieNode {
    parent: u32,
    /// The deep child, for `**`.
    pub(crate) deep: u32,
    /// The `*` child, which all names lead to.
    pub(crate) star: u32,
    /// Whether this is a deep node (`**`), which leads to itself by every name.
    pub(crate) is_deep: bool,
    /// The first rule that passes through this node.
    pub(crate) rule: u32,
    /// The conjuncts with a rule that allows something under this node, one bit each.
    pub(crate) allowing: u64,
    /// Whether a rule hides the paths that reach this node.
    pub(crate) hides: bool,
    /// Whether a rule hides a path under this node.
    pub(crate) hides_descendants: bool,
}

/// The interned literal names of all rules.
#[derive(Debug, Default)]
pub(crate) struct Names<'r> {
    ids: Map<&'r str, u32>,
    texts: Vec<&'r str>,
}

/// Pairs, grouped by their node.
#[derive(Debug, Default)]
struct Grouped {
    pairs: Vec<(u32, u32)>,
    /// The start of each node's pairs, and the end of the last.
    starts: Vec<u32>,
}

impl Grouped {
    /// Groups triples of (node, first, second).
    fn new(mut all: Vec<(u32, u32, u32)>, nodes: usize) -> Self {
        all.sort_unstable();
        let mut starts = Vec::with_capacity(nodes + 1);
        let mut at = 0;
        for node in 0..=nodes {
            while all.get(at).is_some_and(|(owner, ..)| (*owner as usize) < node) {
                at += 1;
            }
            starts.push(number(at));
        }
        Grouped { pairs: all.into_iter().map(|(_, a, b)| (a, b)).collect(), starts }
    }

    fn of(&self, node: u32) -> &[(u32, u32)] {
        let node = node as usize;
        let pairs = match (self.starts.get(node), self.starts.get(node + 1)) {
            (Some(start), Some(end)) => self.pairs.get(*start as usize..*end as usize),
            _ => None,
        };
        pairs.unwrap_or_else(|| bug!(&[]; "the rules have no node {node}"))
    }
}

impl<'r> Names<'r> {
    fn intern(&mut self, text: &'r str) -> u32 {
        let next = number(self.texts.len());
        let id = *self.ids.entry(text).or_insert(next);
        if id == next {
            self.texts.push(text);
        }
        id
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn text(&self, id: u32) -> &'r str {
        let text = self.texts.get(id as usize).copied();
        text.unwrap_or_else(|| bug!(""; "the rules have no name {id}"))
    }
}

/// A component as the key of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Literal(u32),
    Words(u32),
    Pattern(u32),
    Star,
    Deep,
}

struct Builder<'r> {
    nodes: Vec<TrieNode>,
    names: Names<'r>,
    patterns: Vec<&'r Pattern>,
    pattern_ids: Map<&'r Pattern, u32>,
    words_ids: Map<&'r [Box<str>], u32>,
    children: Map<(u32, Key), u32>,
    literals: Vec<(u32, u32, u32)>,
    by_pattern: Vec<(u32, u32, u32)>,
    accepts: Vec<(u32, u32, u32)>,
}

impl<'r> Trie<'r> {
    /// The root, which the empty path reaches.
    pub(crate) const ROOT: u32 = 0;

    /// Builds the trie of `rules`; `conjuncts` holds the conjunct of each rule, less than 64.
    pub(crate) fn new(rules: &'r [Rule], conjuncts: &[u8]) -> Self {
        let mut builder = Builder {
            nodes: vec![TrieNode::new(NONE, 0)],
            names: Names::default(),
            patterns: Vec::new(),
            pattern_ids: Map::default(),
            words_ids: Map::default(),
            children: Map::with_capacity_and_hasher(rules.len(), FixedState::default()),
            literals: Vec::new(),
            by_pattern: Vec::new(),
            accepts: Vec::new(),
        };
        for (id, (rule, conjunct)) in rules.iter().zip(conjuncts).enumerate() {
            builder.add(number(id), rule, *conjunct);
        }
        builder.finish()
    }

    pub(crate) fn node(&self, node: u32) -> TrieNode {
        let found = self.nodes.get(node as usize).copied();
        found.unwrap_or_else(|| bug!(TrieNode::new(NONE, 0); "the rules have no node {node}"))
    }

    /// Returns pairs of (name, child), sorted by name.
    pub(crate) fn literals(&self, node: u32) -> &[(u32, u32)] {
        self.literals.of(node)
    }

    /// Returns the pairs of the children that `name` leads to.
    pub(crate) fn literal(&self, node: u32, name: u32) -> &[(u32, u32)] {
        let all = self.literals(node);
        let start = all.partition_point(|(other, _)| *other < name);
        let end = all.partition_point(|(other, _)| *other <= name);
        all.get(start..end).unwrap_or_else(|| bug!(&[]; "names of node {node} are not sorted"))
    }

    /// Returns whether the paths that reach `node` are hidden, by it or by its deep child.
    pub(crate) fn hides(&self, node: u32) -> bool {
        let here = self.node(node);
        here.hides || (here.deep != NONE && self.node(here.deep).hides)
    }

    /// Returns whether `node` has a transition by a name. A deep node leads to itself.
    pub(crate) fn has_children(&self, node: u32) -> bool {
        let here = self.node(node);
        here.is_deep
            || here.star != NONE
            || !self.literals(node).is_empty()
            || !self.by_pattern(node).is_empty()
    }

    /// Returns pairs of (pattern, child), sorted by pattern.
    pub(crate) fn by_pattern(&self, node: u32) -> &[(u32, u32)] {
        self.by_pattern.of(node)
    }

    /// Returns the rules whose globs end at `node`, in ascending order.
    pub(crate) fn accepts(&self, node: u32) -> impl Iterator<Item = u32> {
        self.accepts.of(node).iter().map(|(rule, _)| *rule)
    }
}

impl TrieNode {
    fn new(parent: u32, rule: u32) -> Self {
        TrieNode {
            parent,
            deep: NONE,
            star: NONE,
            is_deep: false,
            rule,
            allowing: 0,
            hides: false,
            hides_descendants: false,
        }
    }
}

impl<'r> Builder<'r> {
    fn add(&mut self, id: u32, rule: &'r Rule, conjunct: u8) {
        let mut node = Trie::ROOT;
        for part in rule.glob.parts() {
            node = self.child(node, part, id);
        }
        self.accepts.push((node, id, 0));
        let Some(node) = self.nodes.get_mut(node as usize) else {
            return bug!((); "rule {id} has no node");
        };
        match rule.effect {
            // `finish` completes this; here it holds the rules that end at the node.
            Effect::Allow(rights) if rights != Rights::empty() => node.allowing |= bit(conjunct),
            Effect::Hide => node.hides = true,
            Effect::Allow(_) | Effect::Deny(_) => {}
        }
    }

    fn child(&mut self, node: u32, part: &'r Part, rule: u32) -> u32 {
        let key = match part {
            Part::Deep => Key::Deep,
            Part::Literal(name) => Key::Literal(self.names.intern(name)),
            Part::Words(words) => {
                let next = number(self.words_ids.len());
                Key::Words(*self.words_ids.entry(&**words).or_insert(next))
            }
            Part::Pattern(pattern) if pattern.is_all() => Key::Star,
            Part::Pattern(pattern) => {
                let next = number(self.patterns.len());
                let id = *self.pattern_ids.entry(&**pattern).or_insert(next);
                if id == next {
                    self.patterns.push(pattern);
                }
                Key::Pattern(id)
            }
        };
        let next = number(self.nodes.len());
        let child = *self.children.entry((node, key)).or_insert(next);
        if child != next {
            return child;
        }
        self.nodes.push(TrieNode { is_deep: key == Key::Deep, ..TrieNode::new(node, rule) });
        match (key, part) {
            (Key::Literal(name), _) => self.literals.push((node, name, child)),
            (Key::Words(_), Part::Words(words)) => {
                for word in words {
                    let name = self.names.intern(word);
                    self.literals.push((node, name, child));
                }
            }
            (Key::Pattern(pattern), _) => self.by_pattern.push((node, pattern, child)),
            (Key::Star, _) => self.set(node, |node| node.star = child),
            (Key::Deep, _) => self.set(node, |node| node.deep = child),
            (Key::Words(_), _) => {}
        }
        child
    }

    fn set(&mut self, node: u32, change: impl FnOnce(&mut TrieNode)) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            change(node);
        }
    }

    fn finish(mut self) -> Trie<'r> {
        // Children follow their parents, so the reverse order visits each node after its children.
        let mut allowing = vec![0; self.nodes.len()];
        for at in (0..self.nodes.len()).rev() {
            let (Some(node), Some(below)) = (self.nodes.get_mut(at), allowing.get(at).copied())
            else {
                bug!((); "the rules have no node {at}");
                continue;
            };
            let ends = node.allowing;
            // A path that reaches a deep node also reaches it from every descendant.
            node.allowing = if node.is_deep { ends | below } else { below };
            let (parent, hides) = (node.parent, node.hides || node.hides_descendants);
            if let Some(above) = allowing.get_mut(parent as usize) {
                *above |= ends | below;
            }
            self.set(parent, |parent| parent.hides_descendants |= hides);
        }
        let count = self.nodes.len();
        Trie {
            nodes: self.nodes,
            names: self.names,
            patterns: self.patterns,
            literals: Grouped::new(self.literals, count),
            by_pattern: Grouped::new(self.by_pattern, count),
            accepts: Grouped::new(self.accepts, count),
        }
    }
}

fn bit(conjunct: u8) -> u64 {
    let bit = 1_u64.checked_shl(conjunct.into());
    bit.unwrap_or_else(|| bug!(0; "conjunct {conjunct} has no bit"))
}

/// Converts an index to `u32`. The budget is exhausted long before the conversion can fail.
pub(crate) fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or_else(|_| bug!(NONE; "{at} has no number"))
}
