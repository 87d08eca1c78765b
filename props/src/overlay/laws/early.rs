//! General laws of filesystems that overlays tend to violate.

use palisade_vfs::{Descent, Errno, FileType};

use super::{Row, code, each, op, row};
use crate::live::Run;
use crate::outcome::Outcome;
use crate::overlay::Bench;
use crate::record::{Record, consistent, listing};

const LOWERS: &str = "mkdir a\nwrite a/t \"top\"\nmkdir a/d\nwhiteout gone\n---\n\
                      mkdir a\nwrite a/f \"in a\"\nmkdir a/d\nwrite a/d/g \"deep\"\nmkdir e\n\
                      write f \"hello\"\nlink f h\nsymlink l -> a\nsymlink o -> o\nwrite gone \"\"";

pub(super) const FAILURES: &[Row] = &[
    code("failed_operation_changes_nothing", LOWERS, fails_without_trace),
    code("failed_operation_changes_nothing_after_copy_up", LOWERS, |bench| {
        bench.run("write f \"up\"\nwrite a/d/g \"up\"\nutimes e 5.0 6.0\nunlink a/t\nmkdir n")?;
        fails_without_trace(bench)
    }),
];

/// Failing operations with their errno.
const FAILING: [(&str, Errno); 44] = [
    ("mkdir a", Errno::Exist),
    ("mkdir a/d/g", Errno::Exist),
    ("mkdir x/y", Errno::Noent),
    ("mkdir gone/y", Errno::Noent),
    ("mkdir f/x", Errno::Notdir),
    ("mkdir o/x", Errno::Loop),
    ("symlink f -> x", Errno::Exist),
    ("symlink a/d -> x", Errno::Exist),
    ("symlink x/l -> x", Errno::Noent),
    ("link f a/f", Errno::Exist),
    ("link a b", Errno::Perm),
    ("link a/d e/d", Errno::Perm),
    ("link gone b", Errno::Noent),
    ("link f x/y", Errno::Noent),
    ("link f e/", Errno::Exist),
    ("rename gone b", Errno::Noent),
    ("rename a a/d/x", Errno::Inval),
    ("rename e a", Errno::Notempty),
    ("rename a/d a", Errno::Notempty),
    ("rename f a", Errno::Isdir),
    ("rename a f", Errno::Notdir),
    ("rename a/d f", Errno::Notdir),
    ("rename f x/y", Errno::Noent),
    ("rename f e/", Errno::Notdir),
    ("rename . b", Errno::Busy),
    ("unlink gone", Errno::Noent),
    ("unlink a", Errno::Isdir),
    ("unlink a/d", Errno::Isdir),
    ("unlink f/", Errno::Notdir),
    ("unlink x/y", Errno::Noent),
    ("rmdir a", Errno::Notempty),
    ("rmdir a/d", Errno::Notempty),
    ("rmdir f", Errno::Notdir),
    ("rmdir l", Errno::Notdir),
    ("rmdir gone", Errno::Noent),
    ("open f write create excl", Errno::Exist),
    ("open a write", Errno::Isdir),
    ("open a/d read trunc", Errno::Isdir),
    ("open f read dir", Errno::Notdir),
    ("open gone rdwr", Errno::Noent),
    ("open o write create", Errno::Loop),
    ("open f/ write create", Errno::Isdir),
    ("utimes gone 5.0 6.0", Errno::Noent),
    ("utimes f/ 5.0 6.0", Errno::Notdir),
];

fn fails_without_trace(bench: &mut Bench) -> Result<(), String> {
    let snapshot =
        |bench: &Bench| Record::of(&*bench.world.root).map_err(|errno| errno.to_string());
    for (line, want) in FAILING {
        let (before, used) = (snapshot(bench)?, bench.world.used());
        let got = bench.pair.live.run(&op(line)?);
        if got != Outcome::Fail(want) {
            return Err(format!("`{line}` returns `{got}` instead of `{}`", want.name()));
        }
        let after = snapshot(bench)?;
        if before != after {
            return Err(format!("`{line}` failed, and left:\n{}", before.diff(&after)));
        }
        if bench.world.used() != used {
            return Err(format!("`{line}`: {used:?} bytes became {:?}", bench.world.used()));
        }
    }
    Ok(())
}

pub(super) const LISTED: &[Row] = &[
    code("listed_entries_open_after_any_change", LOWERS, |bench| {
        for change in MANY_CHANGES {
            bench.run(change)?;
            consistent(&*bench.world.root).map_err(|what| format!("after `{change}`: {what}"))?;
        }
        Ok(())
    }),
    each("hidden_name_is_hidden_from_every_operation", hidden),
];

/// One change of each kind.
const MANY_CHANGES: [&str; 18] = [
    "unlink a/t",
    "write a/t \"again\"",
    "write a/d/g \"up\"",
    "link f a/d/h",
    "rename a b",
    "mkdir a",
    "mkdir a/d",
    "write gone \"back\"",
    "unlink f",
    "rename b/d a/d",
    "rename h f",
    "lutimes l 5.0 6.0",
    "rename l e/l",
    "rename e b/e",
    "unlink gone",
    "mkdir gone",
    "rename gone b/gone",
    "rmdir b/gone",
];

/// Each operation on a name that is hidden by a whiteout, by a removal, or by an opaque directory
/// must behave as if the name did not exist.
fn hidden() -> Vec<String> {
    let lower = "mkdir a\nmkdir a/n\nwrite a/n/f \"\"\nwrite a/g \"\"\nwrite s \"\"";
    let hiding = [
        format!("mkdir a\nwhiteout a/n\nwrite s \"\"\n---\n{lower}\n===\n"),
        format!("mkdir a\nopaque a\n---\n{lower}\n===\n"),
        format!("{lower}\n===\nunlink a/n/f\nrmdir a/n\n"),
        format!("{lower}\n===\nrename a/n elsewhere\n"),
        format!("{lower}\n===\nrename a b\nmkdir a\n"),
    ];
    let lines = [
        "stat a/n => noent\nlstat a/n => noent\nreadlink a/n => noent\nreaddir a/n => noent",
        "stat a/n/f => noent\nread a/n/f => noent\nopen a/n/f rdwr => noent",
        "open a/n read => noent\nopen a/n hold dir => noent\nopen a/n rdwr => noent",
        "unlink a/n => noent\nrmdir a/n => noent\nunlink a/n/f => noent",
        "rename a/n x => noent\nlink a/n x => noent\nutimes a/n 5.0 6.0 => noent",
        "mkdir a/n/x => noent\nwrite a/n/f \"\" => noent\nsymlink a/n/l -> x => noent",
        "write a/n \"new\" => done\nread a/n => \"new\"\nunlink a/n => done\nstat a/n => noent",
        "mkdir a/n => done\nreaddir a/n => names\nstat a/n/f => noent\nrmdir a/n => done",
        "symlink a/n -> ../s => done\nread a/n => \"\"\nunlink a/n => done\nstat a/n => noent",
        "link s a/n => done\nstat a/n => file nlink 2\nunlink s\nstat a/n => file nlink 1",
        "rename s a/n => done\nread a/n => \"\"\nrename a/n s\nstat a/n => noent",
    ];
    let each = |hide: &String| lines.map(|lines| format!("{hide}{lines}\n"));
    hiding.iter().flat_map(each).collect()
}

pub(super) const DIR_HANDLES: &[Row] = &[
    row(
        "a_held_directory_follows_its_renames",
        one!(
            "open a/d hold\nrename a/d n\nwrite 1:x \"1\" => done\nread n/x => \"1\"\n\
              rename n e/n\nreaddir 1:. => names g x\nunlink 1:g => done\nreaddir e/n => names x\n\
              mkdir a/d\nreaddir 1:. => names x\nreaddir a/d => names"
        ),
    ),
    row(
        "a_held_directory_follows_the_renames_above_it",
        one!(
            "open a/d hold\nrename a n\nwrite 1:x \"1\" => done\nread n/d/x => \"1\"\nmkdir a\n\
              mkdir a/d\nwrite a/d/y \"\"\nreaddir 1:. => names g x\nread 1:g => \"deep\"\n\
              write 1:g \"up\"\nread n/d/g => \"up\"\nstat a/d/g => noent"
        ),
    ),
    row(
        "a_held_directory_that_is_removed_takes_nothing",
        one!(
            "open e hold\nrmdir e\nwrite 1:x \"\" => noent\nmkdir 1:x => noent\n\
              symlink 1:x -> y => noent\nlink f 1:x => noent\nreaddir 1:. => names\n\
              mkdir e\nwrite e/y \"\"\nreaddir 1:. => names\nstat 1:y => noent"
        ),
    ),
    row(
        "a_held_directory_that_is_replaced_is_not_the_new_one",
        one!(
            "open e hold\nrename a e\nreaddir 1:. => names\nstat 1:f => noent\n\
              readdir e => names d/ f k l@\nwrite 1:x \"\" => noent"
        ),
    ),
    row(
        "a_held_merged_directory_stays_merged",
        two!(
            "open a/d hold\nrename a n\nreaddir 1:. => names g t\nread 1:g => \"deep\"\n\
              unlink 1:t\nreaddir n/d => names g\nrename n a\nreaddir 1:. => names g\nunlink 1:g\n\
              rmdir a/d => done\nreaddir 1:. => names"
        ),
    ),
    row(
        "nodes_move_between_held_directories",
        one!(
            "open a/d hold\nopen e hold\nrename 1:g 2:g => done\nread e/g => \"deep\"\n\
              link 2:g 1:h => done\nstat a/d/h => file nlink 2\nrename a n\nrename 1:h 2:i\n\
              readdir e => names g i\nreaddir n/d => names"
        ),
    ),
];

pub(super) const ERRORS: &[Row] = &[
    row(
        "overlong_names_and_paths_are_enametoolong",
        one!(
            "mkdir \"\\*256;n\" => nametoolong\nstat a/ => dir\n\
              mkdir \"\\*255;n\" => done\n\
              rename f \"\\*256;n\" => nametoolong\nread f => \"hello\""
        ),
    ),
    row(
        "each_failure_has_its_errno",
        one!(
            "symlink o -> o\nopen o read => loop\nstat f/x => notdir\nstat ../x => escape\n\
              readlink f => inval\nlink a n => perm\nrename . n => busy\nrmdir . => inval\n\
              rmdir a => notempty\nopen f read\nfwrite 0 \"x\" 0 => badf\nfsetlen 0 9 => inval\n\
              open f write\nfread 1 1 0 => badf\nfsetlen 1 18446744073709551615 => fbig\n\
              fwrite 1 \"x\" 9223372036854775807 => fbig\nfalloc 1 0 0 => inval\n\
              read f => \"hello\""
        ),
    ),
    code("another_filesystem_is_another_device", LOWERS, other_filesystem),
];

/// Nodes of the overlay and of a lower belong to different filesystems.
fn other_filesystem(bench: &mut Bench) -> Result<(), String> {
    let root = &*bench.world.root;
    for lower in &bench.world.lowers {
        for (from, into) in [(root, &**lower), (&**lower, root)] {
            let renamed = palisade_vfs::path::rename(from, "a", into, "stolen");
            let linked = palisade_vfs::path::link(from, "a/t", into, "stolen");
            for result in [renamed, linked] {
                match result {
                    Err(Errno::Xdev | Errno::Noent | Errno::Rofs) => {}
                    other => return Err(format!("across filesystems: {other:?}")),
                }
            }
        }
    }
    Ok(())
}

pub(super) const NUMBERS: &[Row] =
    &[code("listed_inode_numbers_equal_those_of_stat", LOWERS, |bench| {
        numbers(bench)?;
        for change in MANY_CHANGES {
            bench.run(change)?;
            numbers(bench).map_err(|what| format!("after `{change}`: {what}"))?;
        }
        Ok(())
    })];

fn numbers(bench: &Bench) -> Result<(), String> {
    let root = &*bench.world.root;
    let mut seen = std::collections::BTreeMap::new();
    let record = Record::of(root).map_err(|errno| errno.to_string())?;
    let paths =
        record.tree().iter().map(|(path, leaf)| (path, matches!(leaf, crate::Leaf::HardLink(_))));
    for (path, again) in std::iter::once(("", false)).chain(paths) {
        let at = Descent::new(path).map_err(|errno| errno.to_string())?;
        let stat = root.stat(at).map_err(|stop| format!("`{path}`: {stop:?}"))?;
        if stat.ino == 0 {
            return Err(format!("`{path}` has the number 0"));
        }
        if let Some(other) = seen.insert((stat.dev, stat.ino), path)
            && !again
        {
            return Err(format!("`{path}` and `{other}` are one node"));
        }
        if stat.kind == FileType::Dir {
            let how = palisade_vfs::OpenHow::READ;
            let dir = root.open(at, how).map_err(|stop| format!("`{path}`: {stop:?}"))?;
            for (name, _, ino) in listing(&*dir.into_dir().map_err(|it| it.to_string())?)? {
                let child = if path.is_empty() { name } else { format!("{path}/{name}") };
                let at = Descent::new(&child).map_err(|errno| errno.to_string())?;
                let stat = root.stat(at).map_err(|stop| format!("`{child}`: {stop:?}"))?;
                if stat.ino != ino {
                    return Err(format!("`{child}` is listed as {ino} and is {}", stat.ino));
                }
            }
        }
    }
    Ok(())
}

pub(super) const UNLINKED: &[Row] = &[
    row(
        "a_lower_file_that_is_removed_while_it_is_open_stays_readable",
        one!(
            "open m rdwr\nopen a/d/g read\nunlink a/d/g\nfread 1 9 0 => \"deep\"\n\
              fstat 1 => file size 4 nlink 0\nstat a/d/g => noent\nunlink m\n\
              fwrite 0 \"still\" 0 => wrote 5\nfread 0 9 0 => \"still\"\nfsetlen 0 2\n\
              fappend 0 \"!\" => appended 1 3\nfstat 0 => file size 3 nlink 0\nstat m => noent\n\
              readdir . => names a/ e/ f h k l@"
        ),
    ),
    row(
        "bytes_of_a_removed_file_do_not_come_back",
        one!(
            "open a/f rdwr\nunlink a/f\nfwrite 0 \"ghost\" 0\nwrite a/f \"new\"\n\
              fread 0 9 0 => \"ghost\"\nread a/f => \"new\"\nfwrite 0 \"more\" 0\n\
              read a/f => \"new\"\nclose 0\nread a/f => \"new\"\nreaddir a => names d/ f k l@"
        ),
    ),
    row(
        "a_removed_file_that_is_only_read_from_a_lower_stays_as_it_is",
        one!(
            "open a/f read\nunlink a/f\nmkdir a/f\nfread 0 9 0 => \"in a\"\n\
            ftimes 0 5.0 6.0 => done\n\
              fstat 0 => file size 4 nlink 0 mtime 6.0\nrmdir a/f\nstat a/f => noent"
        ),
    ),
    row(
        "a_file_that_is_replaced_while_it_is_open_stays_readable",
        one!(
            "open a/d/g rdwr\nrename m a/d/g\nread a/d/g => \"\"\nfread 0 9 0 => \"deep\"\n\
              fwrite 0 \"D\" 0\nfread 0 9 0 => \"Deep\"\nread a/d/g => \"\"\n\
              fstat 0 => file nlink 0"
        ),
    ),
    row(
        "a_file_with_another_name_goes_on_under_it",
        one!(
            "open f rdwr\nunlink f\nfwrite 0 \"J\" 0\nread h => \"Jello\"\n\
            fstat 0 => file nlink 1\n\
              unlink h\nfstat 0 => file nlink 0\nfwrite 0 \"M\" 0\nfread 0 9 0 => \"Mello\"\n\
              stat h => noent\nlink k h\nread h => \"linked\""
        ),
    ),
    row(
        "a_file_removed_after_a_copy_up_does_not_come_back_from_below",
        one!(
            "write f \"up\"\nunlink f\nstat f => noent\nread h => \"up\"\nunlink h\n\
            stat h => noent\n\
              readdir . => names a/ e/ k l@ m\nwrite a/d/g \"up\"\nunlink a/d/g\n\
              readdir a/d => names\nrmdir a/d => done\nstat a/d => noent"
        ),
    ),
];
