//! The laws of overlays, each a table of lowers and operations.
//!
//! Each row is compared with the model ([`super::run_stack`]). The outcomes after `=>` document the
//! behavior and check the model. At the end of each row, the overlay equals the model and is
//! consistent, and the lowers are unchanged.

use palisade_vfs::{DirRef, Errno, Result};

use super::{Bench, Holds, OverlaySubject, Stack, run_stack};
use crate::op::Op;
use crate::report::{Fault, Report};
use crate::subject::Capabilities;

/// A script over one lower that contains each kind of node.
macro_rules! one {
    ($lines:literal) => {
        concat!(
            "mkdir a\nwrite a/f \"in a\"\nmkdir a/d\nwrite a/d/g \"deep\"\nsymlink a/l -> f\n",
            "mkdir e\nwrite f \"hello\"\nlink f h\nwrite a/k \"linked\"\nlink a/k k\n",
            "symlink l -> a\nwrite m \"\"\n===\n",
            $lines
        )
    };
}

/// A script over two lowers that are merged in `a` and in `a/d`.
macro_rules! two {
    ($lines:literal) => {
        concat!(
            "mkdir a\nwrite a/t \"top\"\nmkdir a/d\nwrite a/d/t \"top\"\nwrite b \"file\"\n---\n",
            "mkdir a\nwrite a/f \"in a\"\nwrite a/t \"hidden\"\nmkdir a/d\nwrite a/d/g \"deep\"\n",
            "mkdir b\nwrite b/x \"hidden\"\nmkdir c\nwrite c/f \"only here\"\n===\n",
            $lines
        )
    };
}

mod bytes;
mod early;
mod entries;
mod identity;
mod listing;

macro_rules! laws {
    ($($law:ident $table:path, $text:literal;)*) => {
        /// A law of overlays.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Law { $(#[doc = $text] $law,)* }

        impl Law {
            /// All laws that are tables.
            pub const ALL: &'static [Law] = &[$(Law::$law,)*];

            /// The text of the law.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Law::$law => $text,)* }
            }

            fn rows(self) -> &'static [Row] {
                match self { $(Law::$law => $table,)* }
            }
        }
    };
}

laws! {
    Whiteouts entries::WHITEOUTS, "A whiteout of a directory hides all its descendants.";
    FullDirs entries::FULL_DIRS, "A merged directory with any entry cannot be removed.";
    NewDirs entries::NEW_DIRS, "A recreated directory is empty.";
    TakenNames entries::TAKEN_NAMES, "A name that exists in a lower is taken.";
    Exclusive entries::EXCLUSIVE, "Exclusive creation fails on a lower file as on an upper file.";
    Lowers bytes::LOWERS, "No handle changes a lower, regardless of its access mode.";
    Lengths bytes::LENGTHS, "Truncation and `set_len` keep the bytes before the new length.";
    CopyUp identity::COPY_UP, "A copy-up is not observable: bytes, times and inode numbers stay.";
    Identity identity::IDENTITY, "Identities are stable, and hard links stay linked.";
    Renames entries::RENAMES, "A renamed directory keeps its entries.";
    Metadata entries::METADATA, "Changing the metadata of a lower directory keeps its listing.";
    Listings listing::LISTINGS, "Listings have a stable order and stable cookies.";
    Markers entries::MARKERS, "Markers reserve no name that a guest can use, list or remove.";
    OpenHandles bytes::OPEN_HANDLES, "An open handle observes later changes.";
    Failures early::FAILURES, "A failed operation changes neither the tree nor the space in use.";
    Listed early::LISTED, "Listed entries can be opened; hidden names are neither listed nor opened.";
    DirHandles early::DIR_HANDLES, "A directory handle refers to the directory, not to its path.";
    Errors early::ERRORS, "Errors have precise errnos.";
    Numbers early::NUMBERS, "Inode numbers are not 0, and listings contain the same numbers.";
    Unlinked early::UNLINKED, "An unlinked open file stays readable and does not reappear.";
}

/// Generates one test for each law, and one for the property that an overlay behaves like a plain
/// copy of its merged lowers.
///
/// The argument is an expression of an [`OverlaySubject`].
#[macro_export]
macro_rules! overlay_laws {
    ($subject:expr) => {
        $crate::overlay_laws!(@laws $subject,
            whiteout_of_a_directory_hides_its_descendants Whiteouts,
            nonempty_merged_directory_is_not_removed FullDirs,
            recreated_directory_is_empty NewDirs,
            lower_name_is_taken TakenNames,
            exclusive_creation_fails_on_a_lower_file Exclusive,
            no_handle_ever_changes_a_lower Lowers,
            truncation_and_set_len_keep_the_prefix Lengths,
            copy_up_is_not_observable CopyUp,
            identity_is_stable_and_linked_names_stay_linked Identity,
            renamed_directory_keeps_its_entries Renames,
            metadata_changes_keep_the_listing Metadata,
            listings_have_a_stable_order_and_stable_cookies Listings,
            markers_reserve_no_names Markers,
            open_handle_observes_later_changes OpenHandles,
            failed_operation_changes_no_tree_and_no_space Failures,
            listed_entries_open_and_hidden_names_do_not Listed,
            directory_handle_is_independent_of_its_path DirHandles,
            errors_have_precise_errnos Errors,
            inode_numbers_are_nonzero Numbers,
            unlinked_open_file_stays_readable Unlinked);

        #[test]
        fn equals_a_copy_of_the_merged_lowers() {
            $crate::overlay::assert_equals_merged_copy(&$subject, $crate::cases(150));
        }
    };
    (@laws $subject:expr, $($test:ident $law:ident),*) => {
        $(#[test]
        fn $test() {
            $crate::overlay::assert_law(&$subject, $crate::overlay::Law::$law);
        })*
    };
}

/// One row of a law.
struct Row {
    name: &'static str,
    proof: Proof,
}

type Check = fn(&mut Bench) -> Result<(), String>;

enum Proof {
    Stack(&'static str),
    /// Many stacks of one pattern.
    Each(fn() -> Vec<String>),
    /// A behavior that a script cannot express, over these lowers.
    Code {
        lowers: &'static str,
        check: Check,
    },
}

const fn row(name: &'static str, stack: &'static str) -> Row {
    Row { name, proof: Proof::Stack(stack) }
}

const fn each(name: &'static str, stacks: fn() -> Vec<String>) -> Row {
    Row { name, proof: Proof::Each(stacks) }
}

const fn code(name: &'static str, lowers: &'static str, check: Check) -> Row {
    Row { name, proof: Proof::Code { lowers, check } }
}

/// Checks all laws on a subject and reports each fault.
#[must_use]
pub fn check_laws(subject: &dyn OverlaySubject) -> Report {
    let mut report = Report { subject: subject.name(), ..Report::default() };
    for law in Law::ALL {
        check_into(subject, *law, &mut report);
    }
    report
}

/// Checks one law on a subject.
#[must_use]
pub fn check_law(subject: &dyn OverlaySubject, law: Law) -> Report {
    let mut report = Report { subject: subject.name(), ..Report::default() };
    check_into(subject, law, &mut report);
    report
}

/// Asserts one law.
///
/// # Panics
///
/// With the whole report if there is a fault or no row ran.
pub fn assert_law(subject: &dyn OverlaySubject, law: Law) {
    check_law(subject, law).assert();
}

fn check_into(subject: &dyn OverlaySubject, law: Law, report: &mut Report) {
    for row in law.rows() {
        match check_row(subject, row) {
            Ok(None) => report.ran += 1,
            Ok(Some(lacking)) => report.skipped.push((row.name, lacking)),
            Err(mut fault) => {
                report.ran += 1;
                fault.case = format!("{} {}", law.text(), fault.case);
                report.faults.push(fault);
            }
        }
    }
}

/// Checks one row. Returns the missing support if the row was skipped.
fn check_row(subject: &dyn OverlaySubject, row: &Row) -> Result<Option<String>, Fault> {
    let texts = match &row.proof {
        Proof::Stack(text) => vec![(*text).to_owned()],
        Proof::Each(make) => make(),
        Proof::Code { lowers, .. } => vec![format!("{lowers}\n===\n")],
    };
    for text in texts {
        let broken = |what| Fault { case: row.name.to_owned(), what, script: text.clone() };
        let stack = Stack::parse(&text).map_err(broken)?;
        let needs = stack.script.lines.iter().map(|line| line.op.needs());
        let lacking = needs.fold(Capabilities::empty(), Capabilities::union);
        let lacking = lacking.difference(subject.capabilities());
        if !lacking.is_empty() {
            return Ok(Some(format!("{lacking:?}")));
        }
        let lacking = Holds::needed(&stack.lowers).difference(subject.holds());
        if !lacking.is_empty() {
            return Ok(Some(format!("{lacking:?}")));
        }
        match row.proof {
            Proof::Stack(_) | Proof::Each(_) => run_stack(subject, row.name, &stack)?,
            Proof::Code { check, .. } => run_code(subject, &stack, check).map_err(broken)?,
        }
    }
    Ok(None)
}

fn run_code(subject: &dyn OverlaySubject, stack: &Stack, check: Check) -> Result<(), String> {
    let world = subject.fresh(&stack.lowers);
    let world = world.map_err(|errno| format!("there is no fresh overlay: {errno}"))?;
    let mut bench = Bench::new(world, subject.capabilities(), stack)?;
    check(&mut bench)?;
    bench.check_state()
}

impl Bench {
    /// Compares the overlay with the model on some lines.
    ///
    /// # Errors
    ///
    /// The line that differs, and its outcome.
    fn run(&mut self, lines: &str) -> Result<(), String> {
        let script = crate::Script::parse(lines)?;
        for line in &script.lines {
            self.pair.step(line).map_err(|what| format!("`{line}`: {what}"))?;
        }
        Ok(())
    }

    /// Opens a node on the overlay only.
    fn open(&self, path: &str, how: palisade_vfs::OpenHow) -> Result<palisade_vfs::Node, String> {
        let root = &*self.world.root;
        let node = palisade_vfs::path::open(root, path, palisade_vfs::Follow::No, how);
        node.map_err(|errno| format!("`{path}` cannot be opened: {errno}"))
    }
}

/// Asserts that an overlay is refused if its upper is one of its lowers, or is inside one, or
/// contains one. `make` receives the upper and the lower.
///
/// # Panics
///
/// If such an overlay is created, or if an overlay over a separate lower is refused.
pub fn assert_apart(fresh: &dyn Fn() -> DirRef, make: &dyn Fn(&DirRef, &DirRef) -> Result<()>) {
    let at = |root: &DirRef, path: &str| {
        let how = palisade_vfs::OpenHow::HOLD_DIR;
        palisade_vfs::path::open(&**root, path, palisade_vfs::Follow::No, how)
            .and_then(palisade_vfs::Node::into_dir)
    };
    for (upper, lower, apart) in [
        (".", ".", false),
        ("a", "a", false),
        ("a/b", "a", false),
        ("a/b/c", "a", false),
        ("a", "a/b", false),
        (".", "a/b/c", false),
        ("a", "d", true),
        ("a/b", "a/e", true),
    ] {
        let root = fresh();
        for path in ["a", "a/b", "a/b/c", "a/e", "d"] {
            let made = palisade_vfs::path::create_dir(&*root, path);
            assert_eq!(made, Ok(()), "{path}");
        }
        let (Ok(upper_dir), Ok(lower_dir)) = (at(&root, upper), at(&root, lower)) else {
            panic!("`{upper}` and `{lower}` cannot be held");
        };
        match (make(&upper_dir, &lower_dir), apart) {
            (Ok(()), true) | (Err(Errno::Inval | Errno::Loop | Errno::Busy), false) => {}
            (result, _) => panic!("upper `{upper}` over lower `{lower}`: {result:?}"),
        }
    }
}

/// Parses a line of a table.
fn op(line: &str) -> Result<Op, String> {
    Op::parse(line)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::live::Run;
    use crate::model::Model;

    /// The tables and the model were written independently, so each one checks the other.
    #[test]
    fn model_satisfies_every_row() {
        let mut wrong = Vec::new();
        for row in Law::ALL.iter().flat_map(|law| law.rows()) {
            let Proof::Stack(text) = row.proof else { continue };
            let stack = Stack::parse(text).unwrap_or_else(|why| panic!("{}: {why}", row.name));
            let mut model = Model::of(&stack.merged());
            for line in &stack.script.lines {
                let got = model.run(&line.op);
                let fine = line.expect.is_empty() || line.expect.iter().any(|it| it.allows(&got));
                if !fine {
                    wrong.push(format!("{}: {line}: {got}", row.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn rows_have_unique_names_and_an_expectation() {
        let mut names = BTreeSet::new();
        for row in Law::ALL.iter().flat_map(|law| law.rows()) {
            assert!(names.insert(row.name), "{} twice", row.name);
            if let Proof::Stack(text) = row.proof {
                assert!(text.contains("=>"), "{} expects nothing", row.name);
            }
        }
        assert!(names.len() > 60, "{}", names.len());
    }
}
