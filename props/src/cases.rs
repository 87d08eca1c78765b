//! The cases: hand-written tables, one behavior per row, which are also the documentation.
//!
//! A row is a tree and a script; what a line must come to stands behind `=>`, and a line without
//! it must succeed. The few behaviors that no script can say are functions.

use crate::live::{Live, Run};
use crate::op::Op;
use crate::report::{Fault, Report};
use crate::run::marked;
use crate::script::Script;
use crate::subject::{Promises, Subject, World};
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

/// The tree that most rows begin with.
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

/// The cases, by what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Paths: slashes, dots, links on the way.
    Lookup,
    /// Creating and removing.
    Create,
    /// Renaming.
    Rename,
    /// Hard links.
    Link,
    /// Symbolic links.
    Symlink,
    /// Listings.
    Dirents,
    /// Times.
    Times,
    /// Bytes.
    Io,
    /// The longest, the deepest, the most.
    Limits,
}

impl Group {
    /// Every group.
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
    Code { needs: Promises, proof: fn(&World) -> Result<(), String> },
}

/// A row on [`TREE`].
const fn row(name: &'static str, lines: &'static str) -> Case {
    on(TREE, name, lines)
}

/// A row on a tree of its own.
const fn on(tree: &'static str, name: &'static str, lines: &'static str) -> Case {
    Case { name, proof: Proof::Script { tree, lines } }
}

/// What no script can say, on an empty filesystem.
const fn code(
    name: &'static str,
    needs: Promises,
    proof: fn(&World) -> Result<(), String>,
) -> Case {
    Case { name, proof: Proof::Code { needs, proof } }
}

/// Puts a filesystem through all cases, and reports every fault.
#[must_use]
pub fn check(subject: &dyn Subject) -> Report {
    let mut report = Report { subject: subject.name(), ..Report::default() };
    for group in Group::ALL {
        check_into(subject, group, &mut report);
    }
    report
}

/// Puts a filesystem through the cases of one group.
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
    /// These promises are lacking.
    No(Promises),
}

fn run_code(
    subject: &dyn Subject,
    name: &str,
    needs: Promises,
    proof: fn(&World) -> Result<(), String>,
) -> Result<Ran, Fault> {
    let lacking = needs.difference(subject.promises());
    if !lacking.is_empty() {
        return Ok(Ran::No(lacking));
    }
    let fault = |what| Fault { case: name.to_owned(), what, script: String::new() };
    let world = subject
        .fresh(&Tree::new())
        .map_err(|errno| fault(format!("there is no fresh filesystem: {errno}")))?;
    proof(&world).map_err(fault)?;
    Ok(Ran::Yes)
}

fn run_script(subject: &dyn Subject, name: &str, tree: &str, lines: &str) -> Result<Ran, Fault> {
    let broken = |what| Fault { case: name.to_owned(), what, script: lines.to_owned() };
    let (tree, script) =
        (Tree::parse(tree).map_err(broken)?, Script::parse(lines).map_err(broken)?);
    let lacking = needs(&tree, &script.ops()).difference(subject.promises());
    if !lacking.is_empty() {
        return Ok(Ran::No(lacking));
    }
    let whole = |at| format!("{tree}# ---\n{}", marked(&script, at));
    let fault = |at, what| Fault { case: name.to_owned(), what, script: whole(at) };
    let world = subject
        .fresh(&tree)
        .map_err(|errno| fault(None, format!("there is no such filesystem: {errno}")))?;
    let mut live = Live::new(world.dir.clone());
    for (nth, line) in script.lines.iter().enumerate() {
        let got = live.run(&line.op);
        let fine = if line.expect.is_empty() {
            got.errno().is_none()
        } else {
            line.expect.iter().any(|want| want.allows_on(subject.promises(), &got))
        };
        if !fine {
            return Err(fault(Some(nth), format!("it says `{got}`")));
        }
    }
    Ok(Ran::Yes)
}

/// What a filesystem must promise for the operations to mean anything on the tree.
fn needs(tree: &Tree, ops: &[Op]) -> Promises {
    let leaves = tree.iter().map(|(_, leaf)| match leaf {
        Leaf::Symlink(_) => Promises::SYMLINK,
        Leaf::Same(_) => Promises::LINK,
        Leaf::Dir | Leaf::File(_) => Promises::empty(),
    });
    leaves.chain(ops.iter().map(Op::needs)).fold(Promises::empty(), Promises::union)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Model;

    /// Two hands wrote the tables and the model: where both agree, both are right.
    #[test]
    fn the_model_gives_what_every_row_asks_for() {
        let mut wrong = Vec::new();
        for case in Group::ALL.iter().flat_map(|group| group.cases()) {
            let Proof::Script { tree, lines } = &case.proof else { continue };
            let mut model = Model::new();
            for op in Script::parse(tree).unwrap().ops() {
                assert_eq!(model.run(&op).errno(), None, "{}: {op}", case.name);
            }
            for line in Script::parse(lines).unwrap().lines {
                let got = model.apply(&line.op);
                let asked = |got: &_| line.expect.iter().any(|want| want.allows(got));
                let fine = match line.expect.is_empty() {
                    true => got[0].errno().is_none(),
                    false => got.iter().any(asked),
                };
                if !fine {
                    wrong.push(format!("{}: {line}: {got:?}", case.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn rows_have_names_of_their_own_and_each_asks_for_something() {
        let mut names = BTreeSet::new();
        for case in Group::ALL.iter().flat_map(|group| group.cases()) {
            assert!(names.insert(case.name), "{} twice", case.name);
            if let Proof::Script { lines, .. } = &case.proof {
                assert!(lines.contains("=>"), "{} asks for nothing", case.name);
            }
        }
        assert!(names.len() > 100, "{}", names.len());
    }
}
