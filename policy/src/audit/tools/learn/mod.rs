//! Policy learning: computes the smallest policy under which a recorded run succeeds.
//!
//! Each path is granted the rights that operations used on it, and no other path is granted any. An
//! operation that failed by itself needs the rights to see that error. In addition, renames and
//! links need equal rights on two paths: the new name must grant at most the rights of the old one,
//! so the old name is granted the rights needed at the new one, until a fixed point is reached.
//! Both names of a renamed directory must be equivalent, so each is granted the rights needed at
//! the other.
//!
//! A rule never covers a whole directory unless the options request it. Shorter patterns are only
//! proposed (`generalize.rs`), with the number of names that they cover, and never match a name
//! that looks like a secret.
//!
//! Paths, rounds and proposals are bounded.

mod document;
mod generalize;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use palisade_vfs::{Errno, Rights};

use crate::audit::decision::Observation;
use crate::audit::event::{Action, Decision, Event, Mode, Ruling};
use crate::audit::log::reader::{Record, RecordedPath};
use crate::automaton::builder::PolicyError;
use crate::automaton::policy::{Movable, Policy};
use crate::rules::glob::Glob;
use crate::rules::operation::Operation;

pub use generalize::is_sensitive;

/// The memory limit for paths, counted as their length plus [`ENTRY_BYTES`] each: about 30,000
/// paths. The learned policy and its text take a few times as much.
const BYTES_MAX: usize = 4 << 20;
/// The overhead of an entry, in bytes.
const ENTRY_BYTES: usize = 96;
/// The most renames and links.
const MOVES_MAX: usize = 1 << 16;
/// The most rounds of the fixed-point iteration, after which renamed trees get equal rights.
const ROUNDS_MAX: usize = 16;
/// The most paths that the iteration may add, besides doubling their number.
const WIDENED_MAX: usize = 1024;

/// Options of learning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnOptions {
    /// The least number of names in one directory with equal rights that a pattern replaces. `None`
    /// only proposes patterns.
    pub generalize: Option<NonZeroUsize>,
}

/// A learner, which is fed with the events of a run without denials.
#[derive(Debug, Default)]
pub struct Learner {
    needs: BTreeMap<String, Need>,
    /// Renames and links: old path, new path.
    moves: BTreeSet<(String, String, Moved)>,
    /// Files whose size could not be set. The failure is a denial only if the policy grants
    /// `WRITE`.
    resized: BTreeSet<String>,
    /// Operations for which either of two sets of rights suffices.
    either: BTreeSet<Either>,
    decisions: u64,
    left_out: u64,
    /// The memory of all of these, at most [`BYTES_MAX`] plus one event.
    bytes: usize,
}

/// The parts of an event that are learned from.
struct LearnedEvent<'a> {
    path: &'a str,
    to: Option<&'a str>,
    observation: Observation,
    was_denied: bool,
}

/// A path, the rights that suffice there, if any are needed, and the alternative rights.
type Choice = (String, Option<Rights>, Rights);

/// An operation for which either of two sets of rights suffices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Either {
    here: Choice,
    there: Option<Choice>,
}

impl Either {
    fn choices(&self) -> impl Iterator<Item = &Choice> {
        [&self.here].into_iter().chain(&self.there)
    }

    /// Whether the first set is not a subset of the second.
    fn has_other_rights(&self) -> bool {
        self.choices().any(|(_, less, full)| !full.contains(less.unwrap_or_default()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moved {
    /// A renamed directory, with its tree.
    Directory,
    /// Another renamed node.
    Renamed,
    Linked,
}

/// The rights that a path needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    rights: Rights,
    accesses: u64,
}

/// One pattern of a learned policy, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedRule {
    /// The glob.
    pub glob: String,
    /// The rights.
    pub rights: Rights,
    /// The number of accesses.
    pub accesses: u64,
    /// The number of accessed paths that the glob matches.
    pub paths: usize,
    /// Whether the name looks like that of a secret.
    pub is_sensitive: bool,
}

/// A learned policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The allow rules.
    pub rules: Vec<LearnedRule>,
    /// The globs that are denied within patterns.
    pub denied: Vec<String>,
    /// Proposed patterns, which would grant more than was used.
    pub proposals: Vec<LearnedRule>,
    /// The number of decisions.
    pub decisions: u64,
    /// The number of ignored events: those that were denied when they were recorded, and those over
    /// the memory limit.
    pub left_out: u64,
}

impl Learner {
    /// Learns from a record of a log.
    pub fn add(&mut self, record: &Record) {
        self.learn_from(&LearnedEvent {
            path: record.path.as_str(),
            to: record.to.as_ref().map(RecordedPath::as_str),
            observation: record.observation(),
            was_denied: was_denied(record.decision, record.mode),
        });
    }

    /// Learns from an event during the run, without a log.
    pub fn add_event(&mut self, event: &Event<'_>) {
        let Ruling { action, wanted, result, same, is_dir, decision, mode, .. } = **event.ruling;
        self.learn_from(&LearnedEvent {
            path: event.path,
            to: event.to.map(|to| to.path),
            observation: Observation { action, wanted, result, same, is_dir },
            was_denied: was_denied(decision, mode),
        });
    }

    fn learn_from(&mut self, event: &LearnedEvent<'_>) {
        self.decisions += 1;
        let LearnedEvent { path, to, observation, was_denied } = event;
        let full = self.bytes >= BYTES_MAX || self.moves.len() >= MOVES_MAX;
        let is_known = to.is_none() && self.needs.contains_key(*path);
        if *was_denied || (full && !is_known) || !(is_known || is_path(path)) {
            self.left_out += 1;
            return;
        }
        let action = observation.action;
        if matches!(observation.result, Err(Errno::Badf | Errno::Inval))
            && matches!(action, Action::One(Operation::Read | Operation::Write | Operation::SetLen))
        {
            if observation.result == Err(Errno::Inval) && !self.resized.contains(*path) {
                self.bytes += ENTRY_BYTES + path.len();
                self.resized.insert((*path).to_owned());
            }
            return;
        }
        let mut taken = observation.wanted().map(Some);
        if let Some(less) = observation.rights_to_see_result() {
            // Seeing the error needs fewer rights than the operation. The wanted rights are an
            // alternative if they are needed anyway.
            let [here, there] = observation.wanted();
            let other = to.map(|to| (to.to_owned(), less[1], there));
            let either = Either { here: ((*path).to_owned(), less[0], here), there: other };
            if either.has_other_rights() {
                self.need(path, Rights::empty());
                let bytes = 2 * ENTRY_BYTES + path.len() + to.map_or(0, str::len);
                if self.either.insert(either) {
                    self.bytes += bytes;
                }
                taken = [None, None];
            } else {
                taken = less;
            }
        }
        let [here, there] = taken;
        match (action, here) {
            // Following a link needs `LOOKUP` on the directories of its path.
            (Action::Follow, _) => self.need(above(path), Rights::LOOKUP),
            (_, Some(rights)) => self.need(path, rights),
            (_, None) => {}
        }
        if let Some(to) = to {
            if let Some(rights) = there {
                self.need(to, rights);
            }
            let moved = match action {
                Action::Link => Moved::Linked,
                _ if observation.is_dir => Moved::Directory,
                _ => Moved::Renamed,
            };
            if self.moves.insert(((*path).to_owned(), (*to).to_owned(), moved)) {
                self.bytes += 2 * ENTRY_BYTES + path.len() + to.len();
            }
        }
    }

    fn need(&mut self, path: &str, rights: Rights) {
        match self.needs.get_mut(path) {
            Some(need) => {
                need.rights |= rights;
                need.accesses += 1;
            }
            None => {
                self.bytes += ENTRY_BYTES + path.len();
                self.needs.insert(path.to_owned(), Need { rights, accesses: 1 });
            }
        }
    }

    /// Returns the policy.
    ///
    /// # Errors
    ///
    /// Those of [`PolicyBuilder::build`](crate::PolicyBuilder::build).
    pub fn learn(&self, options: &LearnOptions) -> Result<Learned, PolicyError> {
        let mut needs = self.needs.clone();
        let mut wide = self.widen(&mut needs);
        for either in &self.either {
            let has = |path: &str, rights| {
                needs.get(path).is_some_and(|need| need.rights.contains(rights))
            };
            if either.choices().all(|(path, _, full)| has(path, *full)) {
                continue;
            }
            for (path, less, _) in either.choices() {
                let Some(rights) = less else { continue };
                needs.entry(path.clone()).or_default().rights |= *rights;
            }
            if wide.is_none() {
                wide = self.widen(&mut needs);
            }
        }
        // Include the rights of the last round.
        wide = wide.map(|_| needs.values().fold(Rights::empty(), |all, need| all | need.rights));
        let mut learned = Learned { decisions: self.decisions, ..Learned::default() };
        learned.left_out = self.left_out;
        let below = |path: &str| beneath(&needs, path).next().is_some();
        for (path, need) in &needs {
            // `LOOKUP` is implied by rules for paths under this one, and by any other right.
            let more = need.rights - Rights::LOOKUP;
            let rights = if more.is_empty() { need.rights } else { more };
            if rights.is_empty() || (more.is_empty() && below(path)) {
                continue;
            }
            learned.rules.push(LearnedRule {
                glob: Glob::escape(path),
                rights,
                accesses: need.accesses,
                paths: 1,
                is_sensitive: path.split('/').any(is_sensitive),
            });
        }
        if let Some(rights) = wide {
            let wide = self.moves.iter().flat_map(|(old, new, moved)| {
                [old].into_iter().chain((*moved == Moved::Directory).then_some(new))
            });
            for path in wide.collect::<BTreeSet<_>>() {
                let glob = format!("{}/**", Glob::escape(path).trim_end_matches('/'));
                let (accesses, paths, is_sensitive) = (0, 0, false);
                learned.rules.push(LearnedRule { glob, rights, accesses, paths, is_sensitive });
            }
        }
        generalize::generalize(&mut learned, &needs, options, |policy| self.may_move(policy))?;
        Ok(learned)
    }

    /// Grants old names the rights of new ones until a fixed point. If the iteration does not
    /// terminate within its bounds, grants all renamed paths the union of their rights.
    fn widen(&self, needs: &mut BTreeMap<String, Need>) -> Option<Rights> {
        let room = needs.len() * 2 + WIDENED_MAX;
        for _ in 0..ROUNDS_MAX {
            let mut gained = Vec::new();
            for (old, new, moved) in &self.moves {
                let both = [(new, old), (old, new)];
                let ways = if *moved == Moved::Directory { 2 } else { 1 };
                for (from, to) in both.into_iter().take(ways) {
                    gain(needs, (from, to), *moved, room, &mut gained);
                }
            }
            for path in &self.resized {
                match needs.get(path) {
                    Some(need) if need.rights.contains(Rights::WRITE) => {
                        if !need.rights.contains(Rights::SET_LEN) {
                            gained.push((path.clone(), Rights::SET_LEN));
                        }
                    }
                    Some(_) | None => {}
                }
            }
            if gained.is_empty() {
                return None;
            }
            if needs.len() > room {
                break;
            }
            for (path, rights) in gained {
                needs.entry(path).or_default().rights |= rights;
            }
        }
        Some(needs.values().fold(Rights::empty(), |all, need| all | need.rights))
    }

    /// Whether every rename and link of the run succeeds under `policy`.
    fn may_move(&self, policy: &Policy) -> bool {
        self.moves.iter().all(|(old, new, moved)| {
            let (old, new) = (policy.at(old), policy.at(new));
            match moved {
                Moved::Directory => policy.movable(old, new) == Movable::Everything,
                Moved::Renamed => policy.movable(old, new) != Movable::Nothing,
                Moved::Linked => policy.rights(old).contains(policy.rights(new)),
            }
        })
    }
}

impl Learned {
    /// Returns the policy.
    ///
    /// # Errors
    ///
    /// Those of [`PolicyBuilder::build`](crate::PolicyBuilder::build).
    pub fn to_policy(&self) -> Result<Policy, PolicyError> {
        let mut builder = Policy::builder();
        for rule in &self.rules {
            builder = builder.allow(&rule.glob, rule.rights);
        }
        for glob in &self.denied {
            builder = builder.deny(glob, Rights::all());
        }
        builder.build()
    }
}

/// Adds to `gained` the rights that `from` needs and `to` lacks, and for a rename those of all
/// paths under it, up to `room` entries.
fn gain(
    needs: &BTreeMap<String, Need>,
    (from, to): (&str, &str),
    moved: Moved,
    room: usize,
    gained: &mut Vec<(String, Rights)>,
) {
    let lacks = |path: &str, rights: Rights| {
        let has = needs.get(path).map(|need| need.rights).unwrap_or_default();
        !has.contains(rights)
    };
    if let Some(need) = needs.get(from)
        && lacks(to, need.rights)
    {
        gained.push((to.to_owned(), need.rights));
    }
    if moved == Moved::Linked {
        return;
    }
    for (path, need) in beneath(needs, from) {
        let rest = path.strip_prefix(from).unwrap_or_default();
        let path = format!("{to}{rest}");
        if gained.len() < room && lacks(&path, need.rights) {
            gained.push((path, need.rights));
        }
    }
}

/// Whether the event was denied, so that its result without the policy is unknown.
fn was_denied(decision: Decision, mode: Mode) -> bool {
    decision != Decision::Allow && mode == Mode::Enforce
}

/// Whether a glob can match the path.
fn is_path(path: &str) -> bool {
    Glob::new(&Glob::escape(path)).is_ok()
}

/// Returns the parent directory of a path.
fn above(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((above, _)) => above,
    }
}

/// Returns the needs of all paths under `path`.
fn beneath<'n>(
    needs: &'n BTreeMap<String, Need>,
    path: &str,
) -> impl Iterator<Item = (&'n String, &'n Need)> {
    let start = format!("{}/", path.trim_end_matches('/'));
    let is_root = path == "/";
    needs
        .range(start.clone()..)
        .take_while(move |(path, _)| path.starts_with(&start))
        .filter(move |(path, _)| !is_root || path.as_str() != "/")
}
