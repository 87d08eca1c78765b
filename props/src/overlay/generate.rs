//! Generators of lowers and of runs over them, with shrinking.
//!
//! The bottom lower is generated first. Each further lower prefers names that the lowers below it
//! use, so that it merges with, hides or replaces their nodes.

use palisade_vfs::FileType;
use proptest::prelude::Rng;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::{TestRng, TestRunner};

use super::{Holds, LowerTree, Stack, merge};
use crate::generate::{Shrink, ops_over};
use crate::model::Model;
use crate::script::Script;
use crate::tree::{Leaf, Tree};

const LOWERS_MAX: usize = 4;
/// The maximum number of nodes in one lower besides its directories.
const LEAVES_MAX: usize = 8;
const MARKS_MAX: usize = 5;
const DIRS: [&str; 9] = ["a", "a/a", "a/b", "a/b/a", "a/b/a/c", "b", "b/a", "c", "c/b"];
const NAMES: [&str; 7] = ["a", "b", "c", "f", "g", "l", "m"];
const TARGETS: [&str; 9] = ["a", "f", "..", "../a", "b/a", "m", "../b/f", "l", "a/b/"];

/// A strategy for lowers that a subject supports, with runs of operations over them.
#[derive(Clone, Copy, Debug)]
pub struct Stacks(pub Holds);

impl Strategy for Stacks {
    type Tree = ShrinkStack;
    type Value = Stack;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let mut maker = Maker { rng: runner.new_rng(), holds: self.0 };
        let lowers = maker.lowers();
        let ops = ops_over(runner.new_rng(), Model::of(&merge(&lowers)));
        Ok(ShrinkStack {
            best: lowers.clone(),
            lowers,
            ops: Shrink::new(ops),
            at: None,
            less: false,
        })
    }
}

struct Maker {
    rng: TestRng,
    holds: Holds,
}

impl Maker {
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

    fn lowers(&mut self) -> Vec<LowerTree> {
        let max = if self.holds.contains(Holds::MANY) { LOWERS_MAX } else { 1 };
        let mut lowers = Vec::new();
        for _ in 0..self.below(max) + 1 {
            let merged = merge(&lowers);
            lowers.insert(0, self.lower(&merged));
        }
        if !self.holds.contains(Holds::needed(&lowers)) {
            lowers.iter_mut().for_each(split_hard_links);
        }
        lowers
    }

    fn lower(&mut self, merged: &Tree) -> LowerTree {
        let mut lower = LowerTree::default();
        for dir in DIRS {
            if is_dir(&lower.tree, parent(dir)) && self.chance(55) {
                lower.tree.insert(dir, Leaf::Dir);
            }
        }
        for _ in 0..self.below(LEAVES_MAX) + 1 {
            self.add_leaf(&mut lower.tree);
        }
        if self.holds.contains(Holds::MARKS) && merged.iter().next().is_some() {
            self.mark(&mut lower, merged);
        }
        lower
    }

    fn add_leaf(&mut self, tree: &mut Tree) {
        let dirs = paths(tree, FileType::Dir);
        let name = self.pick(&NAMES).unwrap_or("a");
        let path = match self.pick(&dirs) {
            Some(dir) if self.chance(70) => format!("{dir}/{name}"),
            _ => name.to_owned(),
        };
        if tree.get(&path).is_some() {
            return;
        }
        let firsts = [paths(tree, FileType::File), paths(tree, FileType::Symlink)].concat();
        let leaf = match (self.below(10), self.pick(&firsts)) {
            (0..4, Some(first)) if self.holds.contains(Holds::LINKS) => {
                // The first name of a file must sort before its hard links.
                if first > path {
                    return;
                }
                Leaf::HardLink(first)
            }
            (0..7, _) => {
                let len = if self.chance(10) { 5000 } else { self.below(8) };
                let byte = self.pick(b"xyz").unwrap_or(b'x');
                Leaf::File(vec![byte; len])
            }
            _ => Leaf::Symlink(self.pick(&TARGETS).unwrap_or("a").to_owned()),
        };
        tree.insert(&path, leaf);
    }

    fn mark(&mut self, lower: &mut LowerTree, merged: &Tree) {
        let taken: Vec<String> = merged.iter().map(|(path, _)| path.to_owned()).collect();
        for _ in 0..self.below(MARKS_MAX) {
            let Some(path) = self.pick(&taken) else { return };
            let has_parent = is_dir(&lower.tree, parent(&path));
            if has_parent && lower.tree.get(&path).is_none() {
                lower.whiteouts.insert(path);
            }
        }
        for dir in paths(&lower.tree, FileType::Dir) {
            if self.chance(12) {
                lower.opaque.insert(dir);
            }
        }
        if self.chance(2) {
            lower.opaque.insert(String::new());
        }
    }
}

/// Replaces each hard link by a separate file.
fn split_hard_links(lower: &mut LowerTree) {
    let linked = lower.tree.iter().filter(|(_, leaf)| matches!(leaf, Leaf::HardLink(_)));
    let paths: Vec<_> = linked.map(|(path, _)| path.to_owned()).collect();
    for path in paths {
        lower.tree.insert(&path, Leaf::File(b"parted".to_vec()));
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_dir(tree: &Tree, path: &str) -> bool {
    path.is_empty() || tree.get(path) == Some(&Leaf::Dir)
}

/// Returns the paths of one type, without hard links.
fn paths(tree: &Tree, kind: FileType) -> Vec<String> {
    let is = |leaf: &Leaf| match leaf {
        Leaf::Dir => kind == FileType::Dir,
        Leaf::File(_) => kind == FileType::File,
        Leaf::Symlink(_) => kind == FileType::Symlink,
        Leaf::HardLink(_) => false,
    };
    tree.iter().filter(|(_, leaf)| is(leaf)).map(|(path, _)| path.to_owned()).collect()
}

/// A stack that shrinks: first the run, then the lowers, until neither gets smaller.
#[derive(Clone, Debug)]
pub struct ShrinkStack {
    lowers: Vec<LowerTree>,
    /// The smallest lowers that are known to fail.
    best: Vec<LowerTree>,
    ops: Shrink,
    /// The index of the next variant of the lowers; `None` while the run shrinks.
    at: Option<usize>,
    /// Whether the lowers have shrunk since the run last shrank.
    less: bool,
}

impl ShrinkStack {
    /// Shrinks the lowers, after the run cannot shrink further.
    fn advance(&mut self) -> bool {
        loop {
            let at = self.at.unwrap_or(0);
            if let Some(lowers) = smaller(&self.best).into_iter().nth(at) {
                self.at = Some(at + 1);
                self.lowers = lowers;
                return true;
            }
            self.lowers = self.best.clone();
            if !std::mem::take(&mut self.less) {
                return false;
            }
            // Smaller lowers may allow the run to shrink further.
            self.at = None;
            self.ops = Shrink::new(self.ops.current());
            if self.ops.simplify() {
                return true;
            }
        }
    }
}

fn smaller(lowers: &[LowerTree]) -> Vec<Vec<LowerTree>> {
    let mut out = Vec::new();
    for nth in 0..lowers.len() {
        if lowers.len() > 1 {
            let mut less = lowers.to_vec();
            less.remove(nth);
            out.push(less);
        }
        for plain in lowers.get(nth).map(LowerTree::plainer).unwrap_or_default() {
            let mut less = lowers.to_vec();
            if let Some(slot) = less.get_mut(nth) {
                *slot = plain;
                out.push(less);
            }
        }
    }
    out
}

impl ValueTree for ShrinkStack {
    type Value = Stack;

    fn current(&self) -> Stack {
        Stack { lowers: self.lowers.clone(), script: Script::of_ops(&self.ops.current()) }
    }

    fn simplify(&mut self) -> bool {
        if self.at.is_none() {
            return self.ops.simplify() || self.advance();
        }
        self.best.clone_from(&self.lowers);
        self.less = true;
        self.at = Some(0);
        self.advance()
    }

    fn complicate(&mut self) -> bool {
        if self.at.is_none() && self.ops.complicate() {
            return true;
        }
        self.advance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_lowers_hide_merge_and_link() {
        let mut runner = TestRunner::deterministic();
        let (mut hides, mut merges, mut links, mut hidden_names) = (0, 0, 0, 0);
        for _ in 0..400 {
            let stack = Stacks(Holds::all()).new_tree(&mut runner).unwrap().current();
            let read = Stack::parse(&stack.to_string());
            assert_eq!(read.as_ref(), Ok(&stack));
            let merged = stack.merged();
            let count =
                |it: &dyn Fn(&LowerTree) -> usize| -> usize { stack.lowers.iter().map(it).sum() };
            let same = |tree: &Tree| {
                tree.iter().filter(|(_, leaf)| matches!(leaf, Leaf::HardLink(_))).count()
            };
            let (all, linked) = (count(&|it| it.tree.iter().count()), count(&|it| same(&it.tree)));
            hides += usize::from(stack.lowers.iter().any(LowerTree::has_marks));
            merges += usize::from(stack.lowers.len() > 1 && merged.iter().count() < all);
            links += usize::from(linked > 0);
            hidden_names += usize::from(same(&merged) < linked);
        }
        for (what, count) in
            [("hides", hides), ("merges", merges), ("links", links), ("hidden", hidden_names)]
        {
            assert!(count > 60, "{what}: {count} of 400");
        }
    }

    #[test]
    fn stack_shrinks_to_the_relevant_run_and_lowers() {
        let text = "mkdir a\nwrite a/f \"xx\"\n---\nmkdir b\nwrite b/f \"\"\nlink b/f c\n===\n\
                    mkdir d\nmkdir e\nunlink a/f\n";
        let stack = Stack::parse(text).unwrap();
        let mut tree = ShrinkStack {
            lowers: stack.lowers.clone(),
            best: stack.lowers.clone(),
            ops: Shrink::new(stack.script.ops()),
            at: None,
            less: false,
        };
        let fails = |it: &Stack| {
            let linked = matches!(it.merged().get("c"), Some(Leaf::HardLink(_)));
            linked && it.script.to_string().contains("f\n")
        };
        let mut more = tree.simplify();
        while more {
            more = if fails(&tree.current()) { tree.simplify() } else { tree.complicate() };
        }
        let left = tree.current().to_string();
        assert_eq!(left, "mkdir b\nwrite b/f \"\"\nlink b/f c\n===\nunlink f\n");
    }
}
