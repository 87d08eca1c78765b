//! Generators of operations that mostly use existing paths, with random distortions.
//!
//! Uniformly random paths would mostly return `Noent`. This generator runs the model alongside and
//! chooses paths in the current tree. A test below asserts that success and each errno have a fair
//! share of all outcomes.
//!
//! Shrinking removes operations and simplifies the rest. Each subsequence of a run is a valid run
//! ([`Op`]), so shrinking needs no further rules.

use palisade_vfs::{Access, FileType, Follow, OpenFlags, SetTime, SetTimes, Timestamp};
use proptest::prelude::Rng;
use proptest::strategy::{NewTree, Strategy};
use proptest::test_runner::{TestRng, TestRunner};

use crate::live::Run;
use crate::model::Model;
use crate::op::{At, Op};
use crate::tree::Leaf;

mod shrink;

pub use shrink::Shrink;

/// The maximum number of operations in a run, after those of the initial tree.
const OPS_MAX: usize = 40;
/// The operations that create the initial tree.
const SEED: [&str; 13] = [
    "mkdir a",
    "mkdir b",
    "mkdir a/b",
    "mkdir b/a",
    "mkdir a/a",
    "write f \"hello\"",
    "write a/f \"a\"",
    "write a/b/f \"\"",
    "symlink l -> a",
    "symlink a/l -> ..",
    "symlink m -> f",
    "symlink a/b/m -> ../../b",
    "symlink c -> c",
];

/// The kind of generated paths and targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// The operations of an ordinary program, including mistakes.
    Plain,
    /// Generates operations of an attacker that try to reach `canary` next to the root.
    Hostile,
}

/// A strategy for runs of operations.
#[derive(Clone, Copy, Debug)]
pub struct Runs(pub Flavor);

impl Strategy for Runs {
    type Tree = Shrink;
    type Value = Vec<Op>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let mut maker = Maker { rng: runner.new_rng(), model: Model::new(), flavor: self.0 };
        Ok(Shrink::new(maker.run()))
    }
}

/// Generates operations on the current tree of `model`.
pub(crate) fn ops_over(rng: TestRng, model: Model) -> Vec<Op> {
    let mut maker = Maker { rng, model, flavor: Flavor::Plain };
    maker.further(Vec::new())
}

struct Maker {
    rng: TestRng,
    model: Model,
    flavor: Flavor,
}

impl Maker {
    fn run(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        for line in SEED {
            if self.chance(90) {
                ops.extend(Op::parse(line));
            }
        }
        for op in &ops {
            self.model.run(op);
        }
        self.further(ops)
    }

    fn further(&mut self, mut ops: Vec<Op>) -> Vec<Op> {
        for _ in 0..self.below(OPS_MAX) + 1 {
            let op = self.op();
            self.model.run(&op);
            ops.push(op);
        }
        ops
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(1);
        usize::try_from(self.rng.next_u64() % end).unwrap_or(0)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }

    fn word(&mut self, from: &[&str]) -> String {
        self.pick(from).unwrap_or("a").to_owned()
    }

    fn name(&mut self) -> String {
        match self.below(60) {
            0 => "n".repeat(255),
            1 => "n".repeat(256),
            2 | 3 => "é".to_owned(),
            4 | 5 => ".wh.a".to_owned(),
            6 if self.chance(40) => "a\0".to_owned(),
            _ => self.word(&["a", "b", "c", "l", "m", "f"]),
        }
    }

    /// Generates a path; 60 % are existing paths, most of them with one distortion.
    fn path(&mut self, wanted: &[FileType]) -> String {
        if self.flavor == Flavor::Hostile && self.chance(25) {
            return self.way_out();
        }
        if self.chance(60) {
            let mut paths = self.model.paths();
            paths.retain(|(_, kind)| wanted.contains(kind));
            if let Some((path, _)) = self.pick(&paths) {
                return if self.chance(55) { path } else { self.bend(&path) };
            }
        }
        if self.chance(50) {
            return self.fresh();
        }
        let count = self.below(4) + 1;
        let mut parts: Vec<String> = (0..count).map(|_| self.part()).collect();
        if self.chance(12) {
            parts.push(String::new());
        }
        parts.join("/")
    }

    fn part(&mut self) -> String {
        if self.chance(75) { self.name() } else { self.word(&["..", "..", ".", ""]) }
    }

    /// Generates a name in an existing directory; the name may exist.
    fn fresh(&mut self) -> String {
        let mut paths = self.model.paths();
        paths.retain(|(_, kind)| *kind != FileType::File);
        let name = self.name();
        match self.pick(&paths) {
            Some((dir, _)) if self.chance(70) => format!("{dir}/{name}"),
            _ => name,
        }
    }

    fn bend(&mut self, path: &str) -> String {
        let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        let at = self.below(parts.len() + 1);
        let insert = match self.below(9) {
            0 => "..".to_owned(),
            1 => ".".to_owned(),
            2 => String::new(),
            3 | 4 => {
                let end = self.word(&["", ".", "..", "/"]);
                parts.push(end);
                return parts.join("/");
            }
            5 => self.word(&["l", "m", "a/l", "c"]),
            6 => self.name(),
            7 => "l/..".to_owned(),
            _ if self.chance(30) => return format!("/{path}"),
            _ => {
                let name = self.name();
                parts.push(name);
                return parts.join("/");
            }
        };
        parts.insert(at.min(parts.len()), insert);
        // An empty first component would make the path absolute, which is a separate case.
        parts.join("/").trim_start_matches('/').to_owned()
    }

    fn way_out(&mut self) -> String {
        let out = self.word(&[
            "../canary/file",
            "../canary/dir",
            "../canary/link",
            "..",
            "a/../../canary/file",
            "l/../canary/file",
            "a/l/../canary/dir",
            "../root/f",
            "/proc/self/root",
            "/etc/passwd",
            "a/../../canary",
            "/proc/self/cwd",
            "m/../../canary/dir",
            "../canary/dir/",
            "./../canary",
        ]);
        let end = self.word(&["", "", "", "/", "/.", "//", "/file", "/new", "/.."]);
        format!("{out}{end}")
    }

    fn target(&mut self) -> String {
        if self.flavor == Flavor::Hostile && self.chance(60) {
            let mut out = self.way_out();
            // The creation of an absolute target is refused, so relative targets test more.
            if self.chance(80) {
                out = out.trim_start_matches('/').to_owned();
            }
            return out;
        }
        match self.below(10) {
            0 => "..".to_owned(),
            1 => ".".to_owned(),
            2 => format!("../{}", self.name()),
            3 => format!("{}/", self.name()),
            4 => self.word(&["l", "m", "a/l", "../l", "", "/", "/a", "a/b/m", "c"]),
            5 => format!("../{}", self.path(&ANY)),
            _ => self.path(&ANY),
        }
    }

    fn at(&mut self, wanted: &[FileType]) -> At {
        let dirs = self.model.open_counts().0;
        let dir = if dirs > 1 && self.chance(15) { self.below(dirs) } else { 0 };
        At { dir: u8::try_from(dir).unwrap_or(0), path: self.path(wanted) }
    }

    fn slot(&mut self) -> u8 {
        let files = self.model.open_counts().1;
        u8::try_from(self.below(files)).unwrap_or(0)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.below(10) {
            0 => 0,
            1 => 5000,
            _ => self.below(12),
        };
        let first = self.rng.next_u32().to_le_bytes()[0] % 26 + b'a';
        vec![first; len]
    }

    fn offset(&mut self) -> u64 {
        match self.below(12) {
            0 => 4090 + self.rng.next_u64() % 12,
            1 => 70_000,
            2..5 => u64::MAX - self.rng.next_u64() % 2,
            _ => self.rng.next_u64() % 16,
        }
    }

    fn times(&mut self) -> SetTimes {
        let mut time = || match self.below(3) {
            0 => SetTime::Keep,
            1 => SetTime::Now,
            _ => SetTime::At(Timestamp::new(
                i64::from(self.rng.next_u32() >> 1),
                self.rng.next_u32() % 1_000_000_000,
            )),
        };
        SetTimes { accessed: time(), modified: time() }
    }

    fn follow(&mut self) -> Follow {
        if self.chance(75) { Follow::Yes } else { Follow::No }
    }

    fn open(&mut self) -> Op {
        if self.chance(12) {
            let flags = if self.chance(20) { OpenFlags::CREATE } else { OpenFlags::empty() };
            return Op::Open(self.at(&[FileType::Symlink]), Access::Read, flags, Follow::No);
        }
        let access = match self.below(6) {
            0 => Access::Hold,
            1 | 2 => Access::Read,
            3 => Access::Write,
            _ => Access::ReadWrite,
        };
        let mut flags = OpenFlags::empty();
        for (flag, percent) in [
            (OpenFlags::CREATE, 35),
            (OpenFlags::EXCLUSIVE, 20),
            (OpenFlags::TRUNCATE, 15),
            (OpenFlags::DIRECTORY, 15),
            (OpenFlags::DSYNC, 3),
        ] {
            flags.set(flag, self.chance(percent));
        }
        let files = self.chance(40);
        let at = self.at(if files { &[FileType::File] } else { &ANY });
        Op::Open(at, access, flags, self.follow())
    }

    fn op(&mut self) -> Op {
        match self.below(100) {
            0..7 => Op::Mkdir(self.new_at()),
            7..18 => Op::Symlink(self.new_at(), self.target()),
            18..25 => {
                let dirs = self.chance(45);
                let old = self.at(if dirs { &[FileType::Dir] } else { &ANY });
                Op::Link(old, self.new_at())
            }
            25..37 => {
                if self.chance(12)
                    && let Some((one, two)) = self.twins()
                {
                    return Op::Rename(At::root(&one), At::root(&two));
                }
                let old = self.at(&ANY);
                if self.chance(6) {
                    let dots = self.word(&["/.", "/.."]);
                    return Op::Rename(At { path: old.path.clone() + &dots, ..old.clone() }, old);
                }
                if self.chance(8) {
                    let name = self.name();
                    return Op::Rename(
                        old.clone(),
                        At { path: format!("{}/{name}", old.path), ..old },
                    );
                }
                let new = if self.chance(50) { self.at(&ANY) } else { self.new_at() };
                Op::Rename(old, new)
            }
            37..41 => Op::Unlink(self.at(&ANY)),
            41..46 => Op::Rmdir(self.at(&[FileType::Dir])),
            46..51 => Op::Put(self.at(&[FileType::File, FileType::Symlink]), self.bytes()),
            51..54 => Op::Get(self.at(&[FileType::File, FileType::Symlink])),
            54..67 => self.open(),
            67 => Op::CloseDir(self.slot()),
            68 => Op::Close(self.slot()),
            69..73 => Op::Read(self.slot(), self.len(), self.offset()),
            73..77 => Op::Write(self.slot(), self.bytes(), self.offset()),
            77..79 => Op::Append(self.slot(), self.bytes()),
            79..81 => Op::SetLen(self.slot(), self.offset()),
            81..83 => {
                let len = self.rng.next_u64() % 5000;
                Op::Allocate(self.slot(), self.offset(), len)
            }
            83..85 => Op::Fstat(self.slot()),
            85 => Op::Ftimes(self.slot(), self.times()),
            86..91 => Op::Stat(self.at(&ANY), self.follow()),
            91..95 => {
                let dirs = self.chance(35);
                Op::ReadLink(self.at(if dirs { &[FileType::Dir] } else { &[FileType::Symlink] }))
            }
            95..98 => Op::ReadDir(self.at(&[FileType::Dir, FileType::Symlink])),
            _ => Op::SetTimes(self.at(&ANY), self.follow(), self.times()),
        }
    }

    fn len(&mut self) -> u16 {
        u16::try_from(self.below(40)).unwrap_or(0)
    }

    /// Picks two names of one node, in either order.
    fn twins(&mut self) -> Option<(String, String)> {
        let tree = self.model.tree()?;
        let twins = tree.iter().filter_map(|(path, leaf)| match leaf {
            Leaf::HardLink(first) => Some((path.to_owned(), first.clone())),
            Leaf::Dir | Leaf::File(_) | Leaf::Symlink(_) => None,
        });
        let (one, two) = self.pick(&twins.collect::<Vec<_>>())?;
        Some(if self.chance(50) { (one, two) } else { (two, one) })
    }

    /// Generates a path for a new node.
    fn new_at(&mut self) -> At {
        let mut at = self.at(&ANY);
        if self.flavor == Flavor::Plain && self.chance(60) {
            at.path = self.fresh();
        }
        at
    }
}

const ANY: [FileType; 3] = [FileType::Dir, FileType::File, FileType::Symlink];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use palisade_vfs::Errno;
    use proptest::strategy::ValueTree;

    use super::*;
    use crate::outcome::Outcome;

    fn tally(ops: &[Op], counts: &mut BTreeMap<Option<Errno>, usize>) {
        let mut model = Model::new();
        for op in ops {
            let outcome = model.run(op);
            if outcome != Outcome::Idle {
                *counts.entry(outcome.errno()).or_default() += 1;
            }
        }
    }

    /// Success and each errno of a path operation must have a minimum share of the outcomes.
    #[test]
    fn each_errno_has_a_minimum_share_of_the_outcomes() {
        let mut runner = TestRunner::deterministic();
        let mut counts = BTreeMap::new();
        for _ in 0..1500 {
            tally(&Runs(Flavor::Plain).new_tree(&mut runner).unwrap().current(), &mut counts);
        }
        let total: usize = counts.values().sum();
        let percent = |errno| counts.get(&errno).copied().unwrap_or(0) * 1000 / total;
        let shares: Vec<_> = counts.keys().map(|errno| (errno, percent(*errno))).collect();
        let floor = |errno, per_mille| {
            assert!(percent(errno) >= per_mille, "{errno:?} below {per_mille}: {shares:?}");
        };
        floor(None, 300);
        for errno in [Errno::Noent, Errno::Notdir, Errno::Exist, Errno::Isdir, Errno::Escape] {
            floor(Some(errno), 30);
        }
        for errno in [Errno::Loop, Errno::Inval] {
            floor(Some(errno), 20);
        }
        for errno in [Errno::Badf, Errno::Notempty, Errno::Perm, Errno::Busy] {
            floor(Some(errno), 4);
        }
        for errno in [Errno::Fbig, Errno::Nametoolong] {
            floor(Some(errno), 1);
        }
    }

    #[test]
    fn generated_operations_round_trip_through_their_text_form() {
        let mut runner = TestRunner::deterministic();
        for flavor in [Flavor::Plain, Flavor::Hostile] {
            for _ in 0..50 {
                for op in Runs(flavor).new_tree(&mut runner).unwrap().current() {
                    assert_eq!(Op::parse(&op.to_string()), Ok(op));
                }
            }
        }
    }
}
