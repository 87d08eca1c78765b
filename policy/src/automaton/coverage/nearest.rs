//! Suggests what a rule that matches nothing may have meant: the most similar name in a tree.
//!
//! Each glob is matched along the walk, component by component. Where a component that the glob
//! writes out could come next, it is compared with each name that is there. The deepest such place
//! counts first, then the likeness: in `/src/sercet.key` it is `sercet.key` that is compared with
//! the names in `/src`.

use palisade_vfs::{DirRef, Name};

use super::tree::walk;
use crate::automaton::policy::Policy;
use crate::rules::glob::{Glob, Part};
use crate::rules::rule::RuleId;
use crate::rules::suggestions::likeness;

impl Policy {
    /// How many rules [`Policy::nearest_paths`] looks at: each costs time for each name.
    pub const NEAREST_RULES_MAX: usize = 64;

    /// For each of `rules`, the path in the tree `dir` whose last name is most like a name that
    /// the rule writes out at that place; `None` if none is like it. `dir` is what the guest knows
    /// as `guest_path`.
    ///
    /// Beyond [`Policy::NEAREST_RULES_MAX`] rules the answer is `None`.
    #[must_use]
    pub fn nearest_paths(
        &self,
        rules: &[RuleId],
        dir: &DirRef,
        guest_path: &str,
    ) -> Vec<Option<String>> {
        let looked_at = rules.iter().take(Self::NEAREST_RULES_MAX);
        let globs = looked_at.map(|rule| self.rule(*rule).map(|rule| &rule.glob)).collect();
        let mut nearest = Nearest { globs, best: Vec::new(), deepest: vec![0; rules.len()] };
        nearest.best.resize_with(rules.len(), || None);
        nearest.search(dir, guest_path);
        nearest.paths()
    }
}

struct Nearest<'p> {
    globs: Vec<Option<&'p Glob>>,
    /// The best candidate for each glob.
    best: Vec<Option<Candidate>>,
    /// For each glob, the most components that matched something.
    deepest: Vec<usize>,
}

struct Candidate {
    /// How many components of the glob come before the one that is like a name.
    depth: usize,
    likeness: f64,
    path: String,
}

/// For each glob, how many of its components can match the path to a directory.
type Reached = Vec<Vec<bool>>;

impl<'p> Nearest<'p> {
    fn search(&mut self, dir: &DirRef, guest_path: &str) {
        let mut reached: Reached =
            self.globs.iter().map(|glob| glob.map_or_else(Vec::new, Glob::start)).collect();
        let mut path = String::new();
        for name in guest_path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            let Ok(name) = Name::new(name) else { return };
            path.push('/');
            path.push_str(name.as_str());
            self.compare(&reached, name, &path);
            reached = self.step(&reached, name);
        }
        walk(dir, guest_path, reached, &mut |met, above| {
            self.compare(above, met.name, met.path);
            let reached = self.step(above, met.name);
            reached.iter().any(|reached| reached.contains(&true)).then_some(reached)
        });
    }

    /// The best candidates. One in the place of a component that does match something is none.
    fn paths(self) -> Vec<Option<String>> {
        let is_fault = |(best, deepest): (Option<Candidate>, usize)| {
            best.filter(|best| best.depth >= deepest).map(|best| best.path)
        };
        self.best.into_iter().zip(self.deepest).map(is_fault).collect()
    }

    fn step(&mut self, reached: &Reached, name: Name<'_>) -> Reached {
        let step = |(glob, reached): (&Option<&'p Glob>, &Vec<bool>)| match glob {
            Some(glob) => glob.step(reached, name),
            None => Vec::new(),
        };
        let next: Reached = self.globs.iter().zip(reached).map(step).collect();
        for (deepest, reached) in self.deepest.iter_mut().zip(&next) {
            let here = reached.iter().rposition(|reached| *reached);
            *deepest = here.map_or(*deepest, |here| here.max(*deepest));
        }
        next
    }

    /// Compares a name with the components that could come next.
    fn compare(&mut self, reached: &Reached, name: Name<'_>, path: &str) {
        for ((glob, reached), best) in self.globs.iter().zip(reached).zip(&mut self.best) {
            let Some(glob) = glob else { continue };
            for (depth, (part, _)) in
                glob.parts().iter().zip(reached).enumerate().filter(|(_, (_, here))| **here)
            {
                let Some(likeness) = likeness_of(part, name.as_str()) else { continue };
                let is_better = best
                    .as_ref()
                    .is_none_or(|best| (depth, likeness) > (best.depth, best.likeness));
                if is_better {
                    *best = Some(Candidate { depth, likeness, path: path.to_owned() });
                }
            }
        }
    }
}

/// How much `name` is like what `part` writes out, if it is like it and does not match it.
fn likeness_of(part: &Part, name: &str) -> Option<f64> {
    match part {
        _ if part.matches(name) => None,
        Part::Deep => None,
        Part::Literal(literal) => likeness(literal, name),
        Part::Words(words) => {
            words.iter().filter_map(|word| likeness(word, name)).max_by(f64::total_cmp)
        }
        Part::Pattern(pattern) => {
            // `*.kye` is like `a.key` as `.kye` is like `.key`.
            let tail = pattern.literal_tail()?;
            let start = name.chars().count().checked_sub(tail.chars().count())?;
            let (at, _) = name.char_indices().nth(start)?;
            likeness(&tail, name.get(at..)?)
        }
    }
}
