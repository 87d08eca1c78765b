//! Hand-written conformance cases: one table row per behavior, which also serves as documentation.
//!
//! A row has an initial tree and a script. A line of the script must have the outcome after `=>`,
//! or must succeed if there is none. The few behaviors that scripts cannot express are functions.

use crate::live::{Live, Run};
use crate::op::Op;
use crate::report::{Fault, Report};
use crate::run::marked;
use crate::script::Script;
use crate::subject::{Capabilities, Subject, TestFs};
use crate::tree::{Leaf, Tree};

mod create;
mod dirents;
mod io;
mod limits;
mod link;
mod lookup;
mod rename;
mod symlink;
mod times;

/// The initial tree of most rows.
const TREE: &str = r#"
    mkdir d
    write d/f "abc"
    symlink d/up -> ../f
    mkdir e
    write f "hello"
    symlink ln_f -> f
    symlink ln_d -> d
    symlink ln_slash -> d/
    symlink ln_f_slash -> f/
    symlink dang -> nowhere
    symlink loop -> loop
    symlink out -> ../outside
"#;

/// The groups of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Path resolution: slashes, dots, symbolic links.
    Lookup,
    /// Creation and removal.
    Create,
    /// Rename.
    Rename,
    /// Hard links.
    Link,
    /// Symbolic links.
    Symlink,
    /// Listings.
    Dirents,
    /// Times.
    Times,
    /// Reading and writing.
    Io,
    /// Size limits.
    Limits,
}

impl Group {
    /// All groups.
    pub const ALL: [Group; 9] = [
        Group::Lookup,
        Group::Create,
        Group::Rename,
        Group::Link,
        Group::Symlink,
        Group::Dirents,
        Group::Times,
        Group::Io,
        Group::Limits,
    ];

    fn cases(self) -> &'static [Case] {
        match self {
            Group::Lookup => lookup::CASES,
            Group::Create => create::CASES,
            Group::Rename => rename::CASES,
            Group::Link => link::CASES,
            Group::Symlink => symlink::CASES,
            Group::Dirents => dirents::CASES,
            Group::Times => times::CASES,
            Group::Io => io::CASES,
            Group::Limits => limits::CASES,
        }
    }
}

/// One behavior.
struct Case {
    name: &'static str,
    proof: Proof,
}

enum Proof {
    Script { tree: &'static str, lines: &'static str },
    Code { needs: Capabilities, proof: fn(&TestFs) -> Result<(), String> },
}

/// A row on [`TREE`].
const fn row(name: &'static str, lines: &'static str) -> Case {
    on(TREE, name, lines)
}

/// A row on its own tree.
const fn on(tree: &'static str, name: &'static str, lines: &'static str) -> Case {
    Case { name, proof: Proof::Script { tree, lines } }
}

/// A behavior that a script cannot express, on an empty filesystem.
const fn code(
    name: &'static str,
    needs: Capabilities,
    proof: fn(&TestFs) -> Result<(), String>,
) -> Case {
    Case { name, proof: Proof::Code { needs, proof } }
}

/// Runs all cases on a subject and reports each fault.
#[must_use]
pub fn check(subject: &dyn Subject) -> Report {
    let mut report = Report { subject: subject.name(), ..Report::default() };
    for group in Group::ALL {
        check_into(subject, group, &mut report);
    }
    report
}

/// Runs the cases of one group on a subject.
#[must_use]
pub fn check_group(subject: &dyn Subject, group: Group) -> Report {
    let mut report = Report { subject: subject.name(), ..Report::default() };
    check_into(subject, group, &mut report);
    report
}

fn check_into(subject: &dyn Subject, group: Group, report: &mut Report) {
    for case in group.cases() {
        let result = match &case.proof {
            Proof::Script { tree, lines } => run_script(subject, case.name, tree, lines),
            Proof::Code { needs, proof } => run_code(subject, case.name, *needs, *proof),
        };
        match result {
            Ok(Ran::Yes) => report.ran += 1,
            Ok(Ran::No(lacking)) => report.skipped.push((case.name, format!("{lacking:?}"))),
            Err(fault) => {
                report.ran += 1;
                report.faults.push(fault);
            }
        }
    }
}

enum Ran {
    Yes,
    /// These capabilities are missing.
    No(Capabilities),
}

fn run_code(
    subject: &dyn Subject,
    name: &str,
    needs: Capabilities,
    proof: fn(&TestFs) -> Result<(), String>,
) -> Result<Ran, Fault> {
    let lacking = needs.difference(subject.capabilities());
    if !lacking.is_empty() {
        return Ok(Ran::No(lacking));
    }
    let fault = |what| Fault { case: name.to_owned(), what, script: String::new() };
    let world = subject
        .fresh(&Tree::new())
        .map_err(|errno| fault(format!("creating a filesystem failed: {errno}")))?;
    proof(&world).map_err(fault)?;
    Ok(Ran::Yes)
}

fn run_script(subject: &dyn Subject, name: &str, tree: &str, lines: &str) -> Result<Ran, Fault> {
    let broken = |what| Fault { case: name.to_owned(), what, script: lines.to_owned() };
    let (tree, script) =
        (Tree::parse(tree).map_err(broken)?, Script::parse(lines).map_err(broken)?);
    let lacking = needs(&tree, &script.ops()).difference(subject.capabilities());
    if !lacking.is_empty() {
        return Ok(Ran::No(lacking));
    }
    let whole = |at| format!("{tree}# ---\n{}", marked(&script, at));
    let fault = |at, what| Fault { case: name.to_owned(), what, script: whole(at) };
    let world = subject
        .fresh(&tree)
        .map_err(|errno| fault(None, format!("creating a filesystem failed: {errno}")))?;
    let mut live = Live::new(world.dir.clone());
    for (nth, line) in script.lines.iter().enumerate() {
        let got = live.run(&line.op);
        let fine = if line.expect.is_empty() {
            got.errno().is_none()
        } else {
            line.expect.iter().any(|want| want.allows_on(subject.capabilities(), &got))
        };
        if !fine {
            return Err(fault(Some(nth), format!("the subject returns `{got}`")));
        }
    }
    Ok(Ran::Yes)
}

/// Returns the capabilities that the tree and the operations need.
fn needs(tree: &Tree, ops: &[Op]) -> Capabilities {
    let leaves = tree.iter().map(|(_, leaf)| match leaf {
        Leaf::Symlink(_) => Capabilities::SYMLINK,
        Leaf::HardLink(_) => Capabilities::LINK,
        Leaf::Dir | Leaf::File(_) => Capabilities::empty(),
    });
    leaves.chain(ops.iter().map(Op::needs)).fold(Capabilities::empty(), Capabilities::union)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Model;

    /// The tables and the model were written independently, so each one checks the other.
    #[test]
    fn model_satisfies_every_case() {
        let mut wrong = Vec::new();
        for case in Group::ALL.iter().flat_map(|group| group.cases()) {
            let Proof::Script { tree, lines } = &case.proof else { continue };
            let mut model = Model::new();
            for op in Script::parse(tree).unwrap().ops() {
                assert_eq!(model.run(&op).errno(), None, "{}: {op}", case.name);
            }
            for line in Script::parse(lines).unwrap().lines {
                let got = model.apply(&line.op);
                let accepted = |got: &_| line.expect.iter().any(|want| want.allows(got));
                let fine = match line.expect.is_empty() {
                    true => got[0].errno().is_none(),
                    false => got.iter().any(accepted),
                };
                if !fine {
                    wrong.push(format!("{}: {line}: {got:?}", case.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn cases_have_unique_names_and_an_expectation() {
        let mut names = BTreeSet::new();
        for case in Group::ALL.iter().flat_map(|group| group.cases()) {
            assert!(names.insert(case.name), "{} twice", case.name);
            if let Proof::Script { lines, .. } = &case.proof {
                assert!(lines.contains("=>"), "{} expects nothing", case.name);
            }
        }
        assert!(names.len() > 100, "{}", names.len());
    }
}
