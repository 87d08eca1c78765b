//! Learning: the smallest policy under which a recorded run passes.
//!
//! Each path gets the rights that were taken at it, and no other path gets any. An operation that
//! failed by itself takes what it takes to be told so. Beside what was taken there is only what
//! renames and links ask for: the new name must grant at most what the old one grants, so the old
//! one is given what the new one needs, as long as that brings anything new. Both names of a
//! directory must grant the same, so each is given what the other one needs.
//!
//! A directory never stands for its files unless that is asked for: what could be said shorter is
//! proposed (`generalize.rs`), with the number of names behind it. Nothing that is proposed covers
//! a name that looks like a secret.
//!
//! Everything is bounded: paths, rounds, proposals.

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

/// Memory that paths may take, counted as their bytes and [`ENTRY_BYTES`] each: about 30,000
/// paths. A learned policy and its text take a few times as much at the end.
const BYTES_MAX: usize = 4 << 20;
/// What an entry takes beside the bytes of its paths.
const ENTRY_BYTES: usize = 96;
/// Most pairs of names that were renamed or linked.
const MOVES_MAX: usize = 1 << 16;
/// How often what new names need is given to old ones, before everything beneath them is.
const ROUNDS_MAX: usize = 16;
/// How many paths that brings at most, beside as many again as there were.
const WIDENED_MAX: usize = 1024;

/// What may be said shorter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnOptions {
    /// From how many names of one directory that need the same rights on, a pattern stands for
    /// them. Without it that is only proposed.
    pub generalize: Option<NonZeroUsize>,
}

/// Takes the events of a run that was not hindered.
#[derive(Debug, Default)]
pub struct Learner {
    needs: BTreeMap<String, Need>,
    /// Renamed or linked: from, to.
    moves: BTreeSet<(String, String, Moved)>,
    /// Handles whose size was changed in vain: refused only to one who might write.
    resized: BTreeSet<String>,
    /// What one of two sets of rights will do for.
    either: BTreeSet<Either>,
    decisions: u64,
    left_out: u64,
    /// What all of these take, at most [`BYTES_MAX`] and an event's.
    bytes: usize,
}

/// What is learned from one event.
struct Seen<'a> {
    path: &'a str,
    to: Option<&'a str>,
    observation: Observation,
    was_refused: bool,
}

/// A path, the rights that will do there if any are asked for, and those that will do as well.
type Choice = (String, Option<Rights>, Rights);

/// Something that was done with one of two sets of rights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Either {
    here: Choice,
    there: Option<Choice>,
}

impl Either {
    fn choices(&self) -> impl Iterator<Item = &Choice> {
        [&self.here].into_iter().chain(&self.there)
    }

    /// Whether what will do is not a part of what will do as well.
    fn has_other_rights(&self) -> bool {
        self.choices().any(|(_, less, full)| !full.contains(less.unwrap_or_default()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moved {
    /// A directory, with all that lies beneath.
    Directory,
    /// Anything else that was renamed.
    Renamed,
    Linked,
}

/// What is needed at a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    rights: Rights,
    accesses: u64,
}

/// One pattern of a learned policy, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedRule {
    /// The paths.
    pub glob: String,
    /// The rights there.
    pub rights: Rights,
    /// How often they were used.
    pub accesses: u64,
    /// How many paths were seen that it matches.
    pub paths: usize,
    /// Whether its name looks like that of a secret.
    pub is_sensitive: bool,
}

/// A policy that was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// What is allowed.
    pub rules: Vec<LearnedRule>,
    /// What is denied within patterns that stand for several names.
    pub denied: Vec<String>,
    /// What could be said shorter.
    pub proposals: Vec<LearnedRule>,
    /// Decisions that it was learned from.
    pub decisions: u64,
    /// Events of which nothing was learned: they were refused when they were recorded, or there was
    /// no room.
    pub left_out: u64,
}

impl Learner {
    /// Learns from one event that was read back.
    pub fn add(&mut self, record: &Record) {
        self.learn_from(&Seen {
            path: record.path.as_str(),
            to: record.to.as_ref().map(RecordedPath::as_str),
            observation: record.observation(),
            was_refused: was_refused(record.decision, record.mode),
        });
    }

    /// Learns from one event while it happens, so that a run need not be recorded.
    pub fn add_event(&mut self, event: &Event<'_>) {
        let Ruling { action, wanted, result, same, is_dir, decision, mode, .. } = **event.ruling;
        self.learn_from(&Seen {
            path: event.path,
            to: event.to.map(|to| to.path),
            observation: Observation { action, wanted, result, same, is_dir },
            was_refused: was_refused(decision, mode),
        });
    }

    fn learn_from(&mut self, seen: &Seen<'_>) {
        self.decisions += 1;
        let Seen { path, to, observation, was_refused } = seen;
        let full = self.bytes >= BYTES_MAX || self.moves.len() >= MOVES_MAX;
        let is_known = to.is_none() && self.needs.contains_key(*path);
        if *was_refused || (full && !is_known) || !(is_known || is_path(path)) {
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
            // An error takes looking, and either of two things will do: what is wanted is only
            // taken if that is needed anyway.
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
            // The way to a link is the way to where it lies.
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

    /// The policy.
    ///
    /// Errors: as for [`PolicyBuilder::build`](crate::PolicyBuilder::build).
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
        // What was needed last is a part of it too.
        wide = wide.map(|_| needs.values().fold(Rights::empty(), |all, need| all | need.rights));
        let mut learned = Learned { decisions: self.decisions, ..Learned::default() };
        learned.left_out = self.left_out;
        let below = |path: &str| beneath(&needs, path).next().is_some();
        for (path, need) in &needs {
            // What lies beneath can be reached, so that need not be said; and whoever may do
            // anything may reach it.
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

    /// Gives old names what new ones need; if that does not come to an end, the rights that all
    /// that was renamed has to have everywhere.
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

    /// Whether every rename and link of the run is one under `policy`.
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
    /// The policy.
    ///
    /// Errors: as for [`PolicyBuilder::build`](crate::PolicyBuilder::build).
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

/// Adds to `gained` what `from` needs and `to` lacks, and for a rename everything beneath, as long
/// as there is `room`.
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

/// Whether an event tells nothing of what it would have taken.
fn was_refused(decision: Decision, mode: Mode) -> bool {
    decision != Decision::Allow && mode == Mode::Enforce
}

/// Whether a glob can be about it.
fn is_path(path: &str) -> bool {
    Glob::new(&Glob::escape(path)).is_ok()
}

/// The path of the directory above.
fn above(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((above, _)) => above,
    }
}

/// What is needed beneath `path`.
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
