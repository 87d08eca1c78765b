//! Shrinking of runs: removes operations, from halves down to single ones, then simplifies.

use palisade_vfs::{Follow, OpenFlags};
use proptest::strategy::ValueTree;

use crate::op::Op;

/// A run that shrinks.
#[derive(Clone, Debug)]
pub struct Shrink {
    /// The smallest run that is known to fail.
    best: Vec<Op>,
    current: Vec<Op>,
    step: Step,
    became_plainer: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Remove `size` operations from index `at` on.
    Cut {
        size: usize,
        at: usize,
    },
    /// Simplify operation `at` in variant `way`.
    Plain {
        at: usize,
        way: usize,
    },
    Done,
}

impl Shrink {
    pub(crate) fn new(ops: Vec<Op>) -> Self {
        let step = Step::Cut { size: ops.len().div_ceil(2), at: 0 };
        Shrink { best: ops.clone(), current: ops, step, became_plainer: false }
    }

    fn advance(&mut self) -> bool {
        loop {
            match self.step {
                Step::Done => return false,
                Step::Cut { size, at } if at < self.best.len() => {
                    self.step = Step::Cut { size, at: at + size };
                    let end = (at + size).min(self.best.len());
                    self.current = self.best.clone();
                    self.current.drain(at..end);
                    return true;
                }
                Step::Cut { size: 0 | 1, .. } => self.step = Step::Plain { at: 0, way: 0 },
                Step::Cut { size, .. } => self.step = Step::Cut { size: size / 2, at: 0 },
                Step::Plain { at, way } => {
                    let Some(op) = self.best.get(at) else {
                        // A simplified operation may need fewer lines around it.
                        let again = std::mem::replace(&mut self.became_plainer, false);
                        self.step = if again { Step::Cut { size: 1, at: 0 } } else { Step::Done };
                        continue;
                    };
                    let Some(op) = plainer(op).into_iter().nth(way) else {
                        self.step = Step::Plain { at: at + 1, way: 0 };
                        continue;
                    };
                    self.step = Step::Plain { at, way: way + 1 };
                    self.current = self.best.clone();
                    if let Some(slot) = self.current.get_mut(at) {
                        *slot = op;
                    }
                    return true;
                }
            }
        }
    }
}

impl ValueTree for Shrink {
    type Value = Vec<Op>;

    fn current(&self) -> Vec<Op> {
        self.current.clone()
    }

    fn simplify(&mut self) -> bool {
        let before = std::mem::replace(&mut self.best, self.current.clone());
        match self.step {
            // The cut succeeded, so the next operations have moved to its index.
            Step::Cut { size, at } if self.best.len() < before.len() => {
                self.step = Step::Cut { size, at: at.saturating_sub(size) };
            }
            Step::Plain { at, .. } => {
                self.became_plainer = true;
                self.step = Step::Plain { at, way: 0 };
            }
            Step::Cut { .. } | Step::Done => {}
        }
        self.advance()
    }

    fn complicate(&mut self) -> bool {
        let more = self.advance();
        if !more {
            self.current = self.best.clone();
        }
        more
    }
}

/// Returns simpler variants of the operation; each is strictly simpler, so shrinking terminates.
fn plainer(op: &Op) -> Vec<Op> {
    let mut out = Vec::new();
    let count = op.clone().paths_mut().len();
    for nth in 0..count {
        let with = |change: &dyn Fn(&str) -> String| {
            let mut op = op.clone();
            if let Some(at) = op.paths_mut().get_mut(nth) {
                let path = change(&at.path);
                (path.len() < at.path.len()).then(|| at.path = path)?;
            }
            Some(op)
        };
        let parts = op.clone().paths_mut().get(nth).map_or(0, |at| at.path.split('/').count());
        for part in 0..parts {
            out.extend(with(&|path| {
                let kept = path.split('/').enumerate().filter(|(nth, _)| *nth != part);
                kept.map(|(_, part)| part).collect::<Vec<_>>().join("/")
            }));
        }
        out.extend(with(&|path| path.replace(&"n".repeat(200), "n")));
        let mut from_root = op.clone();
        if let Some(at) = from_root.paths_mut().get_mut(nth)
            && at.dir != 0
        {
            at.dir = 0;
            out.push(from_root);
        }
    }
    match op {
        Op::Symlink(at, target) if target.contains('/') => {
            for part in target.split('/') {
                out.push(Op::Symlink(at.clone(), part.to_owned()));
            }
        }
        Op::Put(at, bytes) if bytes.len() > 1 => out.push(Op::Put(at.clone(), vec![b'a'])),
        Op::Write(n, bytes, offset) => {
            if bytes.len() > 1 {
                out.push(Op::Write(*n, vec![b'a'], *offset));
            }
            if *offset > 0 {
                out.push(Op::Write(*n, bytes.clone(), offset / 2));
            }
        }
        Op::Append(n, bytes) if bytes.len() > 1 => out.push(Op::Append(*n, vec![b'a'])),
        Op::Read(n, len, offset) if *offset > 0 => out.push(Op::Read(*n, *len, offset / 2)),
        Op::SetLen(n, len) if *len > 0 => out.push(Op::SetLen(*n, len / 2)),
        Op::Allocate(n, offset, len) if *offset > 0 => {
            out.push(Op::Allocate(*n, offset / 2, *len));
        }
        Op::Open(at, access, flags, follow) => {
            for flag in flags.iter() {
                out.push(Op::Open(at.clone(), *access, flags.difference(flag), *follow));
            }
            if *follow == Follow::No {
                out.push(Op::Open(at.clone(), *access, OpenFlags::empty(), Follow::Yes));
            }
        }
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shrinks a failure that needs two of forty operations.
    #[test]
    fn run_shrinks_to_the_relevant_operations() {
        let line = |nth: usize| Op::parse(&format!("mkdir a/b/c{nth}/d")).unwrap();
        let mut tree = Shrink::new((0..40).map(line).collect());
        let fails = |ops: &[Op]| {
            let has = |what: &str| ops.iter().any(|op| op.to_string().contains(what));
            has("c7") && has("c31")
        };
        let mut more = tree.simplify();
        while more {
            more = if fails(&tree.current()) { tree.simplify() } else { tree.complicate() };
        }
        let left: Vec<_> = tree.current().iter().map(Op::to_string).collect();
        assert_eq!(left, ["mkdir c7", "mkdir c31"]);
    }
}
