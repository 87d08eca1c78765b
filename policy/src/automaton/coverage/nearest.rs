//! Spelling suggestions for rules that match nothing: the most similar path in a tree.
//!
//! The walk matches each glob component by component. Where the next component of a glob contains
//! literal text, it is compared with each name in the directory. A deeper match ranks first, then
//! the similarity: for `/src/sercet.key`, `sercet.key` is compared with the names in `/src`.

use palisade_vfs::{DirRef, Name};

use super::tree::walk;
use crate::automaton::policy::Policy;
use crate::rules::glob::{Glob, Part};
use crate::rules::rule::RuleId;
use crate::rules::suggestions::similarity;

impl Policy {
    /// The most rules that [`Policy::nearest_paths`] processes: each is compared with each name.
    pub const NEAREST_RULES_MAX: usize = 64;

    /// Returns for each of `rules` the path in the tree `dir` whose last name is most similar to
    /// the component of the glob at that depth, or `None` if no name is similar. `guest_path` is
    /// the guest path of `dir`.
    ///
    /// The result is `None` for all rules after the first [`Policy::NEAREST_RULES_MAX`].
    #[must_use]
    pub fn nearest_paths(
        &self,
        rules: &[RuleId],
        dir: &DirRef,
        guest_path: &str,
    ) -> Vec<Option<String>> {
        let processed = rules.iter().take(Self::NEAREST_RULES_MAX);
        let globs = processed.map(|rule| self.rule(*rule).map(|rule| &rule.glob)).collect();
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
    /// For each glob, the most components that matched a path.
    deepest: Vec<usize>,
}

struct Candidate {
    /// The number of components of the glob before the compared one.
    depth: usize,
    similarity: f64,
    path: String,
}

/// For each glob, the components that can match next, as a set of indices.
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
        walk(dir, guest_path, reached, &mut |entry, parent| {
            self.compare(parent, entry.name, entry.path);
            let reached = self.step(parent, entry.name);
            reached.iter().any(|reached| reached.contains(&true)).then_some(reached)
        });
    }

    /// Returns the best candidates, without those for a component that matches some path.
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

    /// Compares a name with the components that can match next.
    fn compare(&mut self, reached: &Reached, name: Name<'_>, path: &str) {
        for ((glob, reached), best) in self.globs.iter().zip(reached).zip(&mut self.best) {
            let Some(glob) = glob else { continue };
            for (depth, (part, _)) in
                glob.parts().iter().zip(reached).enumerate().filter(|(_, (_, here))| **here)
            {
                let Some(similarity) = similarity_to(part, name.as_str()) else { continue };
                let is_better = best
                    .as_ref()
                    .is_none_or(|best| (depth, similarity) > (best.depth, best.similarity));
                if is_better {
                    *best = Some(Candidate { depth, similarity, path: path.to_owned() });
                }
            }
        }
    }
}

/// Returns the similarity of `name` to the literal text of `part`, if it is similar and does not
/// match.
fn similarity_to(part: &Part, name: &str) -> Option<f64> {
    match part {
        _ if part.matches(name) => None,
        Part::Deep => None,
        Part::Literal(literal) => similarity(literal, name),
        Part::Words(words) => {
            words.iter().filter_map(|word| similarity(word, name)).max_by(f64::total_cmp)
        }
        Part::Pattern(pattern) => {
            // `*.kye` is as similar to `a.key` as `.kye` is to `.key`.
            let tail = pattern.literal_tail()?;
            let start = name.chars().count().checked_sub(tail.chars().count())?;
            let (at, _) = name.char_indices().nth(start)?;
            similarity(&tail, name.get(at..)?)
        }
    }
}
