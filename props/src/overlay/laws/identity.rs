//! Laws of identity: a copied-up node keeps the identity of its original.

use std::collections::BTreeMap;

use palisade_vfs::{Access, Follow, OpenFlags, OpenHow, Stat, path};

use super::{Row, code, each, row};
use crate::overlay::Bench;

const LOWER: &str = "mkdir a\nwrite a/f \"in a\"\nmkdir a/d\nwrite a/d/g \"deep\"\n\
write a/k \"k\"\n\
                     write f \"hello\"\nlink f h\nlink a/k k\nsymlink l -> a\nmkdir e";
const PATHS: [&str; 10] = ["", "a", "a/f", "a/d", "a/d/g", "a/k", "f", "h", "k", "l"];

pub(super) const COPY_UP: &[Row] = &[
    code("copy_up_by_opening_is_not_observable", LOWER, by_opening),
    code("copy_up_by_a_hard_link_is_not_observable", LOWER, by_link),
    code("copy_up_of_a_child_is_not_observable_in_ancestors", LOWER, by_child),
    code("a_copy_up_by_a_rename_takes_all_times_along", LOWER, by_rename),
    row(
        "times_survive_a_copy_up_that_changes_others",
        one!(
            "utimes f keep 5.000000001\nutimes a/d/g keep 6.0\nutimes a/d keep 7.0\n\
              utimes a keep 8.0\nopen a/d/g write\nstat a/d/g => file size 4 mtime 6.0\n\
              stat a/d => dir mtime 7.0\nstat a => dir mtime 8.0\nfwrite 0 \"D\" 0\n\
              stat a/d => dir mtime 7.0\nstat a => dir mtime 8.0\nlink f n\n\
              stat h => file nlink 3 mtime 5.1"
        ),
    ),
    row(
        "a_change_of_content_moves_only_the_time_of_the_file",
        one!(
            "open a/d/g write\nfwrite 0 \"x\" 0\nstat a/d\nstat a\nstat .\nstat a/f\n\
            utimes a/d/g keep 5.0\n\
              stat a/d/g => file mtime 5.0\nstat a/d\nstat a"
        ),
    ),
    each("every_time_that_is_set_is_kept", times),
];

fn times() -> Vec<String> {
    let mut out = Vec::new();
    for file in ["f", "a/d/g", "a", "a/d", "k", "e", "l"] {
        for time in ["0.0", "1.1", "999999999.999999999", "2147483647.5"] {
            out.push(format!(
                "{}lutimes {file} keep {time}\nlstat {file}\nstat .\nstat a\n\
                lutimes {file} 3.3 keep\n\
                 lstat {file}\n",
                one!("")
            ));
        }
    }
    out
}

fn stats(bench: &Bench) -> Result<BTreeMap<&'static str, Stat>, String> {
    let stat = |at: &'static str| {
        let path = if at.is_empty() { "." } else { at };
        let stat = path::stat(&*bench.world.root, path, Follow::No);
        stat.map(|stat| (at, stat)).map_err(|errno| format!("`{at}`: {errno}"))
    };
    PATHS.into_iter().map(stat).collect()
}

/// Returns the metadata that must not change: everything except the change time, and the size and
/// link count of a directory.
fn stable_metadata(stat: &Stat) -> Stat {
    let changed = palisade_vfs::Timestamp::EPOCH;
    match stat.kind {
        palisade_vfs::FileType::Dir => Stat { changed, size: 0, nlink: 0, ..*stat },
        _ => Stat { changed, ..*stat },
    }
}

fn same(
    before: &BTreeMap<&str, Stat>,
    after: &BTreeMap<&str, Stat>,
    of: &[&str],
) -> Result<(), String> {
    for path in of {
        let (before, after) =
            (before.get(path).map(stable_metadata), after.get(path).map(stable_metadata));
        if before != after {
            return Err(format!("`{path}` was {before:?}, and is {after:?}"));
        }
    }
    Ok(())
}

fn by_opening(bench: &mut Bench) -> Result<(), String> {
    let before = stats(bench)?;
    let mut kept = Vec::new();
    for path in ["f", "a/d/g", "a/k", "a/f"] {
        for access in [Access::Write, Access::ReadWrite] {
            for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::APPEND] {
                let file = bench.open(path, OpenHow::new(access, flags))?.into_file();
                let file = file.map_err(|errno| errno.to_string())?;
                let seen = file.stat().map_err(|errno| errno.to_string())?;
                if before.get(path).map(stable_metadata) != Some(stable_metadata(&seen)) {
                    return Err(format!("`{path}` was opened, and is {seen:?}: {before:?}"));
                }
                // Writing no bytes must not change the file.
                let wrote = file.write_at(&[], 0);
                if wrote != Ok(0) {
                    return Err(format!("`{path}`: nothing was written: {wrote:?}"));
                }
                kept.push(file);
            }
        }
    }
    same(&before, &stats(bench)?, &PATHS)
}

fn by_link(bench: &mut Bench) -> Result<(), String> {
    let before = stats(bench)?;
    bench.run("link a/d/g e/n\nlink l e/l\nlink f e/f")?;
    // The hard link is counted; the times are unchanged.
    let mut after = stats(bench)?;
    for path in ["a/d/g", "l", "f", "h"] {
        if let Some(stat) = after.get_mut(path) {
            stat.nlink -= 1;
        }
    }
    same(&before, &after, &PATHS)
}

fn by_child(bench: &mut Bench) -> Result<(), String> {
    let before = stats(bench)?;
    bench.run("open a/d/g write\nfwrite 0 \"DEEP\" 0\nopen k write\nfappend 1 \"!\"")?;
    let after = stats(bench)?;
    same(&before, &after, &["", "a", "a/d", "a/f", "f", "h", "l"])?;
    // Only the parent directory of the new file changes.
    bench.run("write a/d/n \"\"")?;
    same(&after, &stats(bench)?, &["", "a", "a/f", "a/d/g", "f", "k"])
}

fn by_rename(bench: &mut Bench) -> Result<(), String> {
    let before = stats(bench)?;
    bench.run("rename a e/x\nrename e/x a")?;
    let after = stats(bench)?;
    same(&before, &after, &["a", "a/f", "a/d", "a/d/g", "a/k", "f", "h", "k", "l"])
}

/// Stats each node, so that the runner compares the identities.
const LOOK: &str = "stat f\nstat h\nstat k\nstat a/k\nstat a\nstat a/d\nstat a/d/g\nstat a/f\n\
stat e\n\
                    lstat l\nlstat a/l\nstat m\nstat .\n";

pub(super) const IDENTITY: &[Row] = &[
    each("every_change_leaves_every_identity", every_change),
    row(
        "hard_links_of_a_lower_are_one_file_before_and_after_copy_up",
        one!(
            "stat f => file nlink 2\nstat h => file nlink 2\nopen h write\nfappend 0 \"!\"\n\
              read f => \"hello!\"\nstat f => file size 6 nlink 2\nstat h => file size 6 nlink 2"
        ),
    ),
    row(
        "names_linked_across_directories_stay_linked_after_a_copy_up_of_either",
        one!(
            "open a/k write\nfsetlen 0 0\nread k => \"\"\nopen k write\nfwrite 1 \"again\" 0\n\
              read a/k => \"again\"\nstat a/k => file size 5 nlink 2"
        ),
    ),
    row(
        "removing_one_name_is_counted_at_the_other",
        one!(
            "unlink k => done\nstat a/k => file size 6 nlink 1\nread a/k => \"linked\"\n\
              unlink f\nstat h => file nlink 1\nlink h f\nstat h => file nlink 2\n\
              read f => \"hello\""
        ),
    ),
    row(
        "removing_one_name_after_a_copy_up_is_counted_too",
        one!(
            "open k write\nunlink k\nstat a/k => file nlink 1\nfstat 0 => file nlink 1\n\
              fwrite 0 \"L\" 0\nread a/k => \"Linked\"\nunlink a/k\nfstat 0 => file nlink 0"
        ),
    ),
    row(
        "new_hard_link_is_counted_at_each_name",
        one!(
            "link k e/k => done\nstat k => file nlink 3\nstat a/k => file nlink 3\n\
              stat e/k => file nlink 3\nwrite e/k \"x\"\nread a/k => \"x\"\nrmdir e => notempty"
        ),
    ),
    row(
        "a_replaced_name_is_counted_at_the_other",
        one!(
            "rename m k => done\nstat a/k => file nlink 1\nread k => \"\"\nread a/k => \"linked\"\n\
              write a/k \"x\"\nread k => \"\""
        ),
    ),
    row(
        "linked_names_stay_linked_when_their_directory_moves",
        one!(
            "rename a b\nstat b/k => file nlink 2\nwrite b/k \"x\"\nread k => \"x\"\n\
              write k \"y\"\nread b/k => \"y\"\nunlink k\nstat b/k => file nlink 1"
        ),
    ),
    row(
        "linked_links_stay_linked",
        "symlink l -> x\nlink l m\nmkdir a\n===\nlstat l => symlink nlink 2\nlutimes m keep 5.0\n\
         lstat l => symlink nlink 2 mtime 5.0\nrename l a/l\nlstat m => symlink nlink 2\nunlink m\n\
         lstat a/l => symlink nlink 1 mtime 5.0",
    ),
    row(
        "many_names_stay_together",
        "mkdir a\nmkdir b\nwrite a/a \"x\"\nlink a/a a/b\nlink a/a b/a\nlink a/a b/b\nlink a/a c\n\
         ===\nstat c => file nlink 5\nwrite b/b \"y\"\nread a/a => \"y\"\nread a/b => \"y\"\n\
         read b/a => \"y\"\nread c => \"y\"\nunlink a/a\nunlink b/b\nstat c => file nlink 3\n\
         rename b d\nwrite d/a \"z\"\nread c => \"z\"\nread a/b => \"z\"",
    ),
    row(
        "equal_paths_of_two_lowers_are_two_files",
        "write a \"1\"\nlink a d\n---\nwrite a \"2\"\nlink a b\nlink a c\n===\n\
        stat a => file nlink 2\n\
         stat b => file nlink 2\nwrite a \"x\"\nread d => \"x\"\nread b => \"2\"\nwrite c \"y\"\n\
         read b => \"y\"\nread a => \"x\"",
    ),
    row(
        "hidden_hard_links_do_not_count",
        "whiteout a\nwrite b \"own\"\n---\nwrite a \"x\"\nlink a b\nlink a c\nlink a d\n===\n\
         stat c => file nlink 2\nwrite c \"y\"\nread d => \"y\"\nread b => \"own\"\n\
         stat d => file nlink 2\nstat a => noent\nunlink c\nstat d => file nlink 1",
    ),
];

fn every_change() -> Vec<String> {
    let changes = [
        "open X write",
        "open X rdwr\nfwrite 0 \"Z\" 0",
        "open X write\nfappend 0 \"Z\"",
        "open X read trunc",
        "open X write\nfsetlen 0 1",
        "open X write\nfalloc 0 0 99",
        "utimes X 5.0 6.0",
        "open X read\nftimes 0 5.0 6.0",
        "link X n\nstat n\nstat X",
        "link X n\nunlink X\nrename n X",
        "rename X n\nstat n\nrename n X",
        "rename X e/n\nstat e/n\nrename e/n X",
        "open X read\nfstat 0\nwrite X \"z\"\nfstat 0",
        "open X hold\nfstat 0\nunlink X\nfstat 0",
    ];
    let mut out = Vec::new();
    for file in ["f", "k", "a/k", "a/d/g", "h"] {
        for change in changes {
            let change = change.replace('X', file);
            out.push(format!("{}{LOOK}{change}\n{LOOK}", one!("")));
        }
    }
    for change in [
        "write a/d/n \"\"",
        "mkdir a/n\nstat a/n",
        "utimes a/d 5.0 6.0",
        "rename a n\nstat n\nstat n/d\nstat n/d/g\nstat n/k\nlstat n/l\nrename n a",
        "rename a/d e/n\nstat e/n\nstat e/n/g\nrename e/n a/d",
        "open a hold\nstat 1:.\nwrite a/n \"\"\nstat 1:.\nrename a n\nstat 1:.\nstat n",
        "lutimes l 5.0 6.0",
        "rename l n\nlstat n\nrename n l",
        "link l n\nlstat n\nlstat l",
        "unlink a/f\nwrite a/f \"\"\nunlink m\nmkdir m",
    ] {
        out.push(format!("{}{LOOK}{change}\n{LOOK}", one!("")));
    }
    out
}
