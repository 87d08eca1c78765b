//! Literal lowers, and the tree that an overlay shows over them.
//!
//! `merge` follows the overlayfs documentation of Linux, name by name from the top down, and shares
//! no code with the overlay under test.
//! See <https://docs.kernel.org/filesystems/overlayfs.html>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use palisade_vfs::{Descent, Dir, DirRef, Errno, Result, SetTime, SetTimes, Stop, Timestamp};
#[cfg(feature = "overlay")]
use palisade_vfs::{Name, overlay::UpperRef};

use crate::script::Script;
use crate::text;
use crate::tree::{Leaf, Tree};

/// A literal lower: a tree with whiteouts and opaque directories, which hide nodes of lowers below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LowerTree {
    /// The nodes.
    pub tree: Tree,
    /// Names that are hidden in all lowers below. Their parents are directories of `tree`.
    pub whiteouts: BTreeSet<String>,
    /// Directories of `tree` that are not merged with those of the lowers below.
    pub opaque: BTreeSet<String>,
}

impl LowerTree {
    /// Parses the text form: that of a [`Tree`], with lines `whiteout PATH` and `opaque PATH`.
    ///
    /// # Errors
    ///
    /// A message for people.
    pub fn parse(text: &str) -> Result<LowerTree, String> {
        let mut lower = LowerTree::default();
        let mut rest = String::new();
        for line in text.lines() {
            let words = text::words(line)?;
            let marks = match words.first().and_then(text::Word::bare) {
                Some("whiteout") => &mut lower.whiteouts,
                Some("opaque") => &mut lower.opaque,
                _ => {
                    rest.push_str(line);
                    rest.push('\n');
                    continue;
                }
            };
            match words.as_slice() {
                [_, path] => marks.insert(path.text()?),
                _ => return Err(format!("`{}`: one path is wanted", line.trim())),
            };
        }
        lower.tree = Tree::parse(&rest)?;
        lower.check()?;
        Ok(lower)
    }

    /// Checks that whiteouts and opaque marks have valid paths.
    fn check(&self) -> Result<(), String> {
        let is_dir = |path: &str| path.is_empty() || self.tree.get(path) == Some(&Leaf::Dir);
        for path in &self.whiteouts {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if !is_dir(parent) || self.tree.get(path).is_some() {
                return Err(format!("there can be no whiteout at `{path}`"));
            }
        }
        match self.opaque.iter().find(|path| !is_dir(path)) {
            Some(path) => Err(format!("there is no directory to be opaque at `{path}`")),
            None => Ok(()),
        }
    }

    /// Returns whether there is a whiteout or an opaque directory, which only an upper can store.
    #[must_use]
    pub fn has_marks(&self) -> bool {
        !self.whiteouts.is_empty() || !self.opaque.is_empty()
    }

    /// Fills an empty directory. The times are long past, so that a lost time is detected.
    ///
    /// # Errors
    ///
    /// - `Notsup` for whiteouts and opaque directories.
    /// - The errors of the directory.
    pub fn fill(&self, dir: &DirRef) -> Result<()> {
        if self.has_marks() {
            return Err(Errno::Notsup);
        }
        self.tree.build(&**dir)?;
        self.age(&**dir)
    }

    /// Fills an empty upper, including whiteouts, with times long past. Does not freeze it.
    #[cfg(feature = "overlay")]
    pub fn fill_layer(&self, layer: &UpperRef) -> Result<()> {
        self.tree.build(&**layer)?;
        for path in &self.opaque {
            entered(layer, Descent::new(path)?)?.set_opaque()?;
        }
        for path in &self.whiteouts {
            let (parent, name) = Descent::new(path)?.split_last().ok_or(Errno::Inval)?;
            let parent: UpperRef = entered(layer, parent)?;
            parent.create_whiteout(Name::new(name.as_str())?)?;
        }
        self.age(&**layer)
    }

    /// Sets distinct times on each node, including the root.
    fn age(&self, root: &dyn Dir) -> Result<()> {
        let nodes = self.tree.iter().filter(|(_, leaf)| !matches!(leaf, Leaf::HardLink(_)));
        for (nth, path) in (1..).zip(nodes.map(|(path, _)| path).chain([""])) {
            let at = |seconds: i64| SetTime::At(Timestamp::new(seconds, 123_456_789));
            let modified = at(1_000_000_000 + nth * 1000);
            let times = SetTimes { accessed: at(1_100_000_000 + nth * 1000), modified };
            match root.set_times(Descent::new(path)?, times) {
                // Filesystems without times are accepted.
                Ok(()) | Err(Stop::Errno(Errno::Notsup | Errno::Perm)) => {}
                Err(Stop::Errno(errno)) => return Err(errno),
                Err(Stop::Link { .. }) => return Err(Errno::Loop),
            }
        }
        Ok(())
    }

    /// Returns the variants of one shrinking step.
    pub(super) fn plainer(&self) -> Vec<LowerTree> {
        let mut out = Vec::new();
        for (path, leaf) in self.tree.iter() {
            let mut less = self.clone();
            less.tree.remove(path);
            let gone: Vec<_> = less
                .tree
                .iter()
                .filter(
                    |(_, leaf)| matches!(leaf, Leaf::HardLink(it) if less.tree.get(it).is_none()),
                )
                .map(|(path, _)| path.to_owned())
                .collect();
            for path in gone {
                less.tree.remove(&path);
            }
            let dir = |path: &str| path.is_empty() || less.tree.get(path) == Some(&Leaf::Dir);
            less.opaque.retain(|path| dir(path));
            less.whiteouts.retain(|path| dir(path.rsplit_once('/').map_or("", |(dir, _)| dir)));
            out.push(less);
            let plain = match leaf {
                Leaf::HardLink(_) => Leaf::File(Vec::new()),
                Leaf::File(bytes) if bytes.len() > 1 => Leaf::File(vec![b'a']),
                Leaf::File(_) | Leaf::Dir | Leaf::Symlink(_) => continue,
            };
            let mut less = self.clone();
            less.tree.insert(path, plain);
            out.push(less);
        }
        for path in &self.whiteouts {
            let mut less = self.clone();
            less.whiteouts.remove(path);
            out.push(less);
        }
        for path in &self.opaque {
            let mut less = self.clone();
            less.opaque.remove(path);
            out.push(less);
        }
        out
    }
}

#[cfg(feature = "overlay")]
fn entered(layer: &UpperRef, path: Descent<'_>) -> Result<UpperRef> {
    path.names().try_fold(layer.clone(), |layer, name| layer.enter(name))
}

impl fmt::Display for LowerTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tree)?;
        for path in &self.whiteouts {
            writeln!(f, "whiteout {}", text::path(path))?;
        }
        for path in &self.opaque {
            writeln!(f, "opaque {}", text::path(path))?;
        }
        Ok(())
    }
}

/// Returns the tree that an overlay with an empty upper shows over `lowers`, top first.
///
/// The topmost lower with a name determines its node: a whiteout hides the name, a file or a
/// symbolic link is shown, and a directory is merged with the directories of the same name below,
/// down to the first whiteout, file or symbolic link, or including the first opaque directory.
/// Hard links within a lower are preserved between the visible names.
#[must_use]
pub fn merge(lowers: &[LowerTree]) -> Tree {
    let mut shown = BTreeMap::new();
    let opaque = lowers.iter().position(|lower| lower.opaque.contains(""));
    let parts: Vec<_> = (0..opaque.map_or(lowers.len(), |nth| nth + 1)).collect();
    merge_dir(lowers, "", &parts, &mut shown);
    let mut tree = Tree::new();
    let mut first_names: BTreeMap<(usize, String), String> = BTreeMap::new();
    for (path, lower) in shown {
        let Some(leaf) = lowers.get(lower).and_then(|it| it.tree.get(&path)) else { continue };
        let node = match leaf {
            Leaf::HardLink(first) => (lower, first.clone()),
            Leaf::Dir | Leaf::File(_) | Leaf::Symlink(_) => (lower, path.clone()),
        };
        let leaf = match (leaf, first_names.get(&node)) {
            (Leaf::Dir, _) => Leaf::Dir,
            (_, Some(first)) => Leaf::HardLink(first.clone()),
            (Leaf::HardLink(first), None) => {
                match lowers.get(lower).and_then(|it| it.tree.get(first)) {
                    Some(leaf) => leaf.clone(),
                    None => continue,
                }
            }
            (leaf, None) => leaf.clone(),
        };
        first_names.entry(node).or_insert_with(|| path.clone());
        tree.insert(&path, leaf);
    }
    tree
}

/// Records for each path under `dir` the topmost lower that is visible there. `parts` are the
/// lowers that the directory is merged from, top first.
fn merge_dir(
    lowers: &[LowerTree],
    dir: &str,
    parts: &[usize],
    shown: &mut BTreeMap<String, usize>,
) {
    let part = |nth: &usize| lowers.get(*nth).map(|lower| (*nth, lower));
    let names: BTreeSet<&str> =
        parts.iter().filter_map(part).flat_map(|(_, it)| names_in(&it.tree, dir)).collect();
    for name in names {
        let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        let mut merged = Vec::new();
        for (nth, lower) in parts.iter().filter_map(part) {
            match lower.tree.get(&path) {
                _ if lower.whiteouts.contains(&path) => break,
                None => {}
                Some(Leaf::Dir) => {
                    shown.entry(path.clone()).or_insert(nth);
                    merged.push(nth);
                    if lower.opaque.contains(&path) {
                        break;
                    }
                }
                Some(Leaf::File(_) | Leaf::Symlink(_) | Leaf::HardLink(_)) => {
                    shown.entry(path.clone()).or_insert(nth);
                    break;
                }
            }
        }
        if !merged.is_empty() {
            merge_dir(lowers, &path, &merged, shown);
        }
    }
}

fn names_in<'t>(tree: &'t Tree, dir: &str) -> Vec<&'t str> {
    let inside = |path: &'t str| match dir {
        "" => Some(path),
        dir => path.strip_prefix(dir)?.strip_prefix('/'),
    };
    tree.iter().filter_map(|(path, _)| inside(path)).filter(|it| !it.contains('/')).collect()
}

/// Lowers, top first, and a script: the text form of all overlay cases.
///
/// Lines `---` separate the lowers, and a line `===` precedes the script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The lowers, top first.
    pub lowers: Vec<LowerTree>,
    /// The operations.
    pub script: Script,
}

impl Stack {
    /// Parses the text form.
    ///
    /// # Errors
    ///
    /// A message for people.
    pub fn parse(text: &str) -> Result<Stack, String> {
        let is = |what: &'static str| move |line: &&str| line.trim() == what;
        let lines: Vec<&str> = text.lines().collect();
        let mut halves = lines.splitn(2, |line| is("===")(line));
        let (lowers, script) = (halves.next().unwrap_or(&[]), halves.next());
        let script = script.ok_or("there is no line `===` before the script")?;
        let lowers = lowers.split(|line| is("---")(line));
        Ok(Stack {
            lowers: lowers.map(|it| LowerTree::parse(&it.join("\n"))).collect::<Result<_, _>>()?,
            script: Script::parse(&script.join("\n"))?,
        })
    }

    /// Returns the tree of the overlay before the script.
    #[must_use]
    pub fn merged(&self) -> Tree {
        merge(&self.lowers)
    }

    /// Returns the text form with line `at` of the script marked.
    pub(crate) fn marked(&self, at: Option<usize>) -> String {
        let lowers: Vec<_> = self.lowers.iter().map(LowerTree::to_string).collect();
        format!("{}===\n{}", lowers.join("---\n"), crate::run::marked(&self.script, at))
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.marked(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowers(texts: &[&str]) -> Vec<LowerTree> {
        texts.iter().map(|text| LowerTree::parse(text).unwrap()).collect()
    }

    #[test]
    fn lower_round_trips_through_its_text_form() {
        let text = "mkdir a\nwrite a/f \"\"\nwhiteout a/g\nwhiteout b\nopaque a\n";
        assert_eq!(LowerTree::parse(text).unwrap().to_string(), text);
        for bad in ["whiteout", "whiteout a/b", "write f \"\"\nopaque f", "mkdir a\nwhiteout a"] {
            assert!(LowerTree::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lowers_merge_from_the_top_down() {
        for (texts, want) in [
            (
                &["mkdir a\nwrite a/f \"1\"", "mkdir a\nwrite a/f \"2\"\nwrite a/g \"\""][..],
                "mkdir a\nwrite a/f \"1\"\nwrite a/g \"\"\n",
            ),
            (&["whiteout a", "mkdir a\nwrite a/f \"\"\nmkdir b"], "mkdir b\n"),
            (&["mkdir a\nopaque a", "mkdir a\nwrite a/f \"\""], "mkdir a\n"),
            (&["write a \"\"", "mkdir a\nwrite a/f \"\""], "write a \"\"\n"),
            // A file or a whiteout ends the merge with the lowers below it.
            (&["mkdir a", "write a \"\"", "mkdir a\nwrite a/f \"\""], "mkdir a\n"),
            (&["mkdir a", "whiteout a", "mkdir a\nwrite a/f \"\""], "mkdir a\n"),
            // The merge includes an opaque directory and ends there.
            (
                &[
                    "mkdir a\nwrite a/f \"\"",
                    "mkdir a\nwrite a/g \"\"\nopaque a",
                    "mkdir a\nwrite a/h \"\"",
                ],
                "mkdir a\nwrite a/f \"\"\nwrite a/g \"\"\n",
            ),
            (&["write f \"\"\nopaque \"\"", "write g \"\""], "write f \"\"\n"),
            // The first name of a file may be hidden.
            (&["whiteout a", "write a \"x\"\nlink a b\nlink a c"], "write b \"x\"\nlink b c\n"),
            // Equal paths in different lowers are different files.
            (
                &["write a \"1\"\nlink a d", "write a \"2\"\nlink a b\nlink a c"],
                "write a \"1\"\nwrite b \"2\"\nlink b c\nlink a d\n",
            ),
        ] {
            assert_eq!(merge(&lowers(texts)).to_string(), want, "{texts:?}");
        }
    }
}
