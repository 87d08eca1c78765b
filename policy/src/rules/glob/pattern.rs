//! Patterns of one name as atoms, with the analyses that need no automaton.

use palisade_vfs::Name;

/// A pattern of one path component.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    pub(crate) atoms: Box<[Atom]>,
}

/// An element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Atom {
    /// This character.
    Char(char),
    /// `?`: one character.
    One,
    /// `*`: any number of characters.
    Run,
    /// One character of these ranges, which are sorted, disjoint, and without `/` and NUL.
    Class(Box<[(char, char)]>),
    /// One of these alternatives.
    Either(Box<[Box<[Atom]>]>),
}

/// The maximum number of names that alternatives expand to; above it the part stays a pattern.
const WORDS_MAX: usize = 64;

impl Pattern {
    /// Returns whether the pattern matches all of `name`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut at = vec![false; name.len() + 1];
        if let Some(start) = at.first_mut() {
            *start = true;
        }
        after(&self.atoms, name, at).last().copied().unwrap_or(false)
    }

    /// Returns whether the pattern is a lone `*`, which matches every name.
    pub(crate) fn is_all(&self) -> bool {
        *self.atoms == [Atom::Run]
    }

    /// Returns the literal suffix of a pattern that is `*` and a literal.
    #[cfg(feature = "document")]
    pub(crate) fn literal_tail(&self) -> Option<String> {
        let [Atom::Run, tail @ ..] = &*self.atoms else { return None };
        let char = |atom: &Atom| match atom {
            Atom::Char(c) => Some(*c),
            Atom::One | Atom::Run | Atom::Class(_) | Atom::Either(_) => None,
        };
        tail.iter().map(char).collect()
    }

    /// Returns the valid names of a pattern that is alternatives of at most [`WORDS_MAX`] literals.
    pub(crate) fn words(&self) -> Option<Vec<String>> {
        let mut words = self.texts()?;
        words.sort();
        words.dedup();
        // No path contains a word that is not a valid name.
        words.retain(|word| Name::new(word).is_ok());
        Some(words)
    }

    /// Returns the expanded texts, valid names or not, if there are at most [`WORDS_MAX`] of them.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        words(&self.atoms)
    }

    /// Returns the number of atoms, including those of alternatives.
    pub(crate) fn size(&self) -> usize {
        size(&self.atoms)
    }

    /// Returns the length in bytes of the shortest valid name that matches, which is above
    /// [`Name::LEN_MAX`] if there is none.
    pub(crate) fn len_min(&self) -> usize {
        let [.., dots, other] = Shortest::of_all(&self.atoms).0;
        dots.min(other)
    }
}

/// Returns the offsets in `name` that are reachable after `atoms` from the offsets in `at`.
fn after(atoms: &[Atom], name: &str, mut at: Vec<bool>) -> Vec<bool> {
    for atom in atoms {
        at = match atom {
            Atom::Char(c) => after_char(name, &at, |other| other == *c),
            Atom::One => after_char(name, &at, |_| true),
            Atom::Class(ranges) => after_char(name, &at, |c| {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
            }),
            Atom::Run => {
                let first = at.iter().position(|here| *here).unwrap_or(at.len());
                (0..at.len()).map(|i| i >= first && name.is_char_boundary(i)).collect()
            }
            Atom::Either(choices) => {
                let ends = choices.iter().map(|choice| after(choice, name, at.clone()));
                ends.reduce(|left, right| left.iter().zip(&right).map(|(l, r)| l | r).collect())
                    .unwrap_or_default()
            }
        };
    }
    at
}

fn after_char(name: &str, at: &[bool], fits: impl Fn(char) -> bool) -> Vec<bool> {
    let mut next = vec![false; at.len()];
    for (i, c) in name.char_indices() {
        if at.get(i).copied().unwrap_or(false)
            && fits(c)
            && let Some(slot) = next.get_mut(i + c.len_utf8())
        {
            *slot = true;
        }
    }
    next
}

fn size(atoms: &[Atom]) -> usize {
    let of = |atom: &Atom| match atom {
        Atom::Either(choices) => 1 + choices.iter().map(|choice| 1 + size(choice)).sum::<usize>(),
        Atom::Char(_) | Atom::One | Atom::Run | Atom::Class(_) => 1,
    };
    atoms.iter().map(of).sum()
}

fn words(atoms: &[Atom]) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    for atom in atoms {
        match atom {
            Atom::Char(c) => words.iter_mut().for_each(|word| word.push(*c)),
            Atom::Either(choices) => {
                let mut ends = Vec::new();
                for choice in choices {
                    ends.extend(self::words(choice)?);
                    if words.len() * ends.len() > WORDS_MAX {
                        return None;
                    }
                }
                let longer =
                    |word: &String| ends.iter().map(|end| format!("{word}{end}")).collect();
                words = words.iter().flat_map::<Vec<String>, _>(longer).collect();
            }
            Atom::One | Atom::Run | Atom::Class(_) => return None,
        }
    }
    Some(words)
}

/// The minimum length in bytes of an empty text, `.`, `..`, a longer run of dots, and any other.
#[derive(Clone, Copy)]
struct Shortest([usize; 5]);

/// No text of this kind matches.
const NONE: usize = usize::MAX;

impl Shortest {
    const EMPTY: Shortest = Shortest([0, NONE, NONE, NONE, NONE]);

    fn of_all(atoms: &[Atom]) -> Self {
        atoms.iter().fold(Self::EMPTY, |before, atom| before.then(Self::of(atom)))
    }

    fn of(atom: &Atom) -> Self {
        let dot = |has: bool| if has { 1 } else { NONE };
        match atom {
            Atom::Char(c) if *c == '.' => Shortest([NONE, 1, NONE, NONE, NONE]),
            Atom::Char(c) => Shortest([NONE, NONE, NONE, NONE, c.len_utf8()]),
            Atom::One => Shortest([NONE, 1, NONE, NONE, 1]),
            Atom::Run => Shortest([0, 1, 2, 3, 1]),
            Atom::Class(ranges) => {
                let has_dot = ranges.iter().any(|(first, last)| (*first..=*last).contains(&'.'));
                let other = ranges.iter().filter_map(|(first, last)| match (*first, *last) {
                    ('.', '.') => None,
                    ('.', _) => Some(1),
                    (first, _) => Some(first.len_utf8()),
                });
                Shortest([NONE, dot(has_dot), NONE, NONE, other.min().unwrap_or(NONE)])
            }
            Atom::Either(choices) => choices
                .iter()
                .map(|choice| Self::of_all(choice))
                .reduce(Self::or)
                .unwrap_or(Shortest([NONE; 5])),
        }
    }

    fn or(self, other: Self) -> Self {
        let mut least = self.0;
        least.iter_mut().zip(other.0).for_each(|(l, r)| *l = (*l).min(r));
        Shortest(least)
    }

    fn then(self, other: Self) -> Self {
        let mut sums = [NONE; 5];
        for (i, left) in self.0.into_iter().enumerate() {
            for (j, right) in other.0.into_iter().enumerate() {
                // Concatenated dots are a run of dots; every other concatenation is "any other".
                let kind = if i == 4 || j == 4 { 4 } else { (i + j).min(3) };
                if let Some(slot) = sums.get_mut(kind)
                    && left != NONE
                    && right != NONE
                {
                    *slot = (*slot).min(left.saturating_add(right));
                }
            }
        }
        Shortest(sums)
    }
}
