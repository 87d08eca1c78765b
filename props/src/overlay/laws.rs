//! The laws, each a table of lowers and of what is done over them.
//!
//! A row runs beside the model ([`super::run_stack`]): what stands behind `=>` is there to be
//! read, and to be a second opinion. At the end of each row the trees are equal, what is seen
//! agrees with itself, and the lowers are as they were.

use palisade_vfs::{DirRef, Errno, Result};

use super::{Bench, Holds, OverlaySubject, Stack, run_stack};
use crate::op::Op;
use crate::report::{Fault, Report};
use crate::subject::Promises;

/// A script over one lower, with something of everything in it.
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
            /// Every law that is a table.
            pub const ALL: &'static [Law] = &[$(Law::$law,)*];

            /// What it says.
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
    Whiteouts entries::WHITEOUTS, "A whiteout of a directory hides everything beneath it.";
    FullDirs entries::FULL_DIRS, "A merged directory with anything in it is not removed.";
    NewDirs entries::NEW_DIRS, "A directory that is made anew is empty.";
    TakenNames entries::TAKEN_NAMES, "A name that a lower has is taken.";
    Exclusive entries::EXCLUSIVE, "Exclusive creation fails on a lower file as on an upper one.";
    Lowers bytes::LOWERS, "No handle, however opened, ever changes a lower.";
    Lengths bytes::LENGTHS, "Truncation takes effect, and another length keeps the beginning.";
    CopyUp identity::COPY_UP, "A copy-up is not seen: bytes, times and numbers stay.";
    Identity identity::IDENTITY, "Identity is stable, and names linked together stay linked.";
    Renames entries::RENAMES, "A renamed directory takes along what is in it.";
    Metadata entries::METADATA, "New metadata of a lower directory leave its listing.";
    Listings listing::LISTINGS, "Listings have a stable order and stable cookies.";
    Markers entries::MARKERS, "No marker has a name that a guest could use, list or remove.";
    OpenHandles bytes::OPEN_HANDLES, "A handle opened before a change sees the change.";
    Failures early::FAILURES, "A failed operation leaves the tree and the room that it takes.";
    Listed early::LISTED, "What is listed can be opened, and what is hidden is neither.";
    DirHandles early::DIR_HANDLES, "A handle on a directory is the directory, not its path.";
    Errors early::ERRORS, "Errors keep their whole meaning.";
    Numbers early::NUMBERS, "No node has the number 0, and listings say the same numbers.";
    Unlinked early::UNLINKED, "An open file without a name stays readable and does not come back.";
}

/// Makes one test of each law, one of the property that an overlay behaves as a plain copy of its
/// lowers, and, if the subject can be made to fail, one of what it then loses.
///
/// The subject is an expression that makes an [`OverlaySubject`].
#[macro_export]
macro_rules! overlay_laws {
    ($subject:expr) => {
        $crate::overlay_laws!(@laws $subject,
            a_whiteout_of_a_directory_hides_everything_beneath_it Whiteouts,
            a_merged_directory_with_anything_in_it_is_not_removed FullDirs,
            a_directory_that_is_made_anew_is_empty NewDirs,
            a_name_that_a_lower_has_is_taken TakenNames,
            exclusive_creation_fails_on_a_lower_file Exclusive,
            no_handle_ever_changes_a_lower Lowers,
            truncation_takes_effect_and_another_length_keeps_the_beginning Lengths,
            a_copy_up_is_not_seen CopyUp,
            identity_is_stable_and_linked_names_stay_linked Identity,
            a_renamed_directory_takes_along_what_is_in_it Renames,
            new_metadata_of_a_lower_directory_leave_its_listing Metadata,
            listings_have_a_stable_order_and_stable_cookies Listings,
            no_marker_has_a_name_that_a_guest_could_use Markers,
            a_handle_opened_before_a_change_sees_the_change OpenHandles,
            a_failed_operation_leaves_the_tree_and_its_room Failures,
            what_is_listed_can_be_opened_and_what_is_hidden_is_neither Listed,
            a_handle_on_a_directory_is_the_directory_and_not_its_path DirHandles,
            errors_keep_their_whole_meaning Errors,
            no_node_has_the_number_0 Numbers,
            an_open_file_without_a_name_stays_readable Unlinked);

        #[test]
        fn behaves_as_a_plain_copy_of_its_lowers() {
            $crate::overlay::assert_copy_of(&$subject, $crate::cases(150));
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
    /// What no script can say, over these lowers.
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

/// Puts overlays through all laws, and reports every fault.
#[must_use]
pub fn check_laws(subject: &dyn OverlaySubject) -> Report {
    let mut report = Report { subject: subject.name(), ..Report::default() };
    for law in Law::ALL {
        check_into(subject, *law, &mut report);
    }
    report
}

/// Puts overlays through one law.
#[must_use]
pub fn check_law(subject: &dyn OverlaySubject, law: Law) -> Report {
    let mut report = Report { subject: subject.name(), ..Report::default() };
    check_into(subject, law, &mut report);
    report
}

/// Puts overlays through one law.
///
/// # Panics
/// With the whole report if there is a fault, or if nothing was put through it.
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

/// Answers what the subject lacks, if that is why the row was left out.
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
        let lacking = needs.fold(Promises::empty(), Promises::union);
        let lacking = lacking.difference(subject.promises());
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
    let mut bench = Bench::new(world, subject.promises(), stack)?;
    check(&mut bench)?;
    bench.settled()
}

impl Bench {
    /// Runs lines on the overlay and on the model.
    ///
    /// Errors: the line, and what came instead.
    fn run(&mut self, lines: &str) -> Result<(), String> {
        let script = crate::Script::parse(lines)?;
        for line in &script.lines {
            self.pair.step(line).map_err(|what| format!("`{line}`: {what}"))?;
        }
        Ok(())
    }

    /// Opens something on the overlay alone.
    fn open(&self, path: &str, how: palisade_vfs::OpenHow) -> Result<palisade_vfs::Node, String> {
        let root = &*self.world.root;
        let node = palisade_vfs::path::open(root, path, palisade_vfs::Follow::No, how);
        node.map_err(|errno| format!("`{path}` cannot be opened: {errno}"))
    }
}

/// An overlay whose upper is one of its lowers, or lies in one, or holds one, is refused when it is
/// made: `make` is given the upper and the lower.
///
/// # Panics
/// If one is made all the same, or if one over a directory that lies apart is refused.
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

/// The operation of a line of a table.
fn op(line: &str) -> Result<Op, String> {
    Op::parse(line)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::live::Run;
    use crate::model::Model;

    /// Two hands wrote the tables and the model: where both agree, both are right.
    #[test]
    fn the_model_gives_what_every_row_asks_for() {
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
    fn rows_have_names_of_their_own_and_each_asks_for_something() {
        let mut names = BTreeSet::new();
        for row in Law::ALL.iter().flat_map(|law| law.rows()) {
            assert!(names.insert(row.name), "{} twice", row.name);
            if let Proof::Stack(text) = row.proof {
                assert!(text.contains("=>"), "{} asks for nothing", row.name);
            }
        }
        assert!(names.len() > 60, "{}", names.len());
    }
}
