//! Laws of file contents: lowers never change, and all handles see the same bytes.

use super::{Row, each, row};

pub(super) const LOWERS: &[Row] = &[
    each("no_way_of_opening_and_no_change_reaches_a_lower", every_handle),
    each("no_change_by_path_reaches_a_lower", every_path),
    row(
        "truncating_through_a_handle_that_only_reads_stays_above",
        one!(
            "open f read trunc => opened file\nfread 0 9 0 => \"\"\nstat f => file size 0\n\
              stat h => file size 0 nlink 2\nfwrite 0 \"x\" 0 => badf"
        ),
    ),
    row(
        "truncating_through_a_handle_that_only_holds_stays_above",
        one!(
            "open a/d/g hold trunc => opened file\nstat a/d/g => file size 0\n\
              fstat 0 => file size 0"
        ),
    ),
    row(
        "times_set_through_a_handle_that_only_reads_stay_above",
        one!(
            "open f read\nftimes 0 5.0 6.0 => done\nfstat 0 => file mtime 6.0\n\
              stat f => file mtime 6.0\nstat h => file mtime 6.0\nopen k hold\n\
              ftimes 1 7.0 8.0 => done\nstat a/k => file mtime 8.0"
        ),
    ),
    row(
        "a_handle_that_was_opened_first_writes_above",
        one!(
            "open f rdwr\nopen f read\nfwrite 0 \"J\" 0 => wrote 1\nfread 1 9 0 => \"Jello\"\n\
              unlink f\nfwrite 0 \"M\" 0\nfread 1 9 0 => \"Mello\"\nread h => \"Mello\""
        ),
    ),
    row(
        "entries_of_a_held_directory_change_in_the_upper",
        one!(
            "open a hold\nwrite 1:f \"x\"\nunlink 1:k\nmkdir 1:n\nwrite 1:d/g \"y\"\n\
              readdir a => names d/ f l@ n/\nread a/f => \"x\"\nread a/d/g => \"y\"\n\
              read k => \"linked\"\nstat k => file nlink 1"
        ),
    ),
];

const CHANGES: [&str; 7] = [
    "fwrite 0 \"XY\" 1",
    "fappend 0 \"XY\"",
    "fsetlen 0 2",
    "fsetlen 0 70000",
    "falloc 0 0 9000",
    "ftimes 0 5.0 6.0",
    "fwrite 0 \"\" 0",
];

fn every_handle() -> Vec<String> {
    let mut out = Vec::new();
    for file in ["f", "h", "k", "a/d/g", "m"] {
        for access in ["hold", "read", "write", "rdwr"] {
            for flags in ["", "trunc", "create", "create trunc"] {
                let mut lines = String::new();
                for change in CHANGES {
                    lines += &format!("{change}\nfstat 0\nstat {file}\nread {file}\nfread 0 9 0\n");
                }
                out.push(format!("{}open {file} {access} {flags}\n{lines}", one!("")));
                // Each change separately, on an unmodified file.
                if flags.is_empty() || file == "f" {
                    out.extend(CHANGES.map(|change| {
                        let open = format!("open {file} {access} {flags}");
                        format!("{}{open}\n{change}\nfstat 0\nread {file}\nstat a/k\n", one!(""))
                    }));
                }
            }
        }
    }
    out
}

fn every_path() -> Vec<String> {
    let lines = [
        "utimes X 5.0 6.0",
        "utimes X now now",
        "lutimes X 5.0 6.0",
        "write X \"new\"",
        "link X n\nwrite n \"new\"",
        "link X a/n\nutimes a/n 5.0 6.0",
        "rename X n\nwrite n \"new\"",
        "rename X a/d/n\nutimes a/d/n 5.0 6.0",
        "unlink X\nwrite X \"new\"",
        "unlink X\nmkdir X",
        "rename m X",
        "rename a/d/g X",
        "rename X m",
        "unlink X\nsymlink X -> m\nwrite X \"through\"",
    ];
    let mut out = Vec::new();
    for file in ["f", "h", "a/f", "a/k", "k", "l", "a/l", "a/d/g", "a", "a/d", "e"] {
        for line in lines {
            out.push(format!("{}{}\nreaddir .\nreaddir a\n", one!(""), line.replace('X', file)));
        }
    }
    out
}

pub(super) const LENGTHS: &[Row] = &[
    row(
        "opening_with_truncation_empties_a_lower_file",
        one!(
            "open f write trunc => opened file\nstat f => file size 0 nlink 2\nread f => \"\"\n\
              fwrite 0 \"x\" 0\nread f => \"x\"\nread h => \"x\""
        ),
    ),
    row(
        "creation_with_truncation_empties_a_lower_file",
        one!(
            "open a/f rdwr create trunc\nstat a/f => file size 0 nlink 1\n\
              fwrite 0 \"ab\" 3 => wrote 2\nread a/f => \"\\x00\\x00\\x00ab\""
        ),
    ),
    row(
        "a_shorter_length_keeps_the_beginning",
        one!(
            "open f write\nfsetlen 0 2 => done\nread f => \"he\"\nfsetlen 0 4\n\
              read f => \"he\\x00\\x00\"\nread h => \"he\\x00\\x00\""
        ),
    ),
    row(
        "a_longer_length_keeps_all",
        one!(
            "open f write\nfsetlen 0 7 => done\nread f => \"hello\\x00\\x00\"\n\
              stat h => file size 7"
        ),
    ),
    row(
        "the_same_length_keeps_all",
        one!(
            "open f write\nfsetlen 0 5 => done\nread f => \"hello\"\nopen m write\nfsetlen 1 0\n\
              read m => \"\""
        ),
    ),
    row(
        "writing_in_the_middle_keeps_both_ends",
        one!("open f write\nfwrite 0 \"LL\" 2 => wrote 2\nread f => \"heLLo\""),
    ),
    row(
        "writing_after_the_end_keeps_the_beginning",
        one!("open f write\nfwrite 0 \"x\" 7\nread f => \"hello\\x00\\x00x\""),
    ),
    row(
        "appending_keeps_the_beginning",
        one!(
            "open f write\nfappend 0 \"!\" => appended 1 6\nread f => \"hello!\"\n\
              open a/d/g write create\nfappend 1 \"er\" => appended 2 6\nread a/d/g => \"deeper\""
        ),
    ),
    row(
        "allocating_keeps_the_existing_bytes",
        one!(
            "open f write\nfalloc 0 0 3 => done\nread f => \"hello\"\nfalloc 0 4 3\n\
              read f => \"hello\\x00\\x00\""
        ),
    ),
    row(
        "a_file_of_many_blocks_keeps_them_all",
        "write f \"\\*60000;x\"\nwrite g \"\\*60000;y\"\n===\nopen f rdwr\nfwrite 0 \"A\" 30000\n\
         fread 0 3 29999 => \"xAx\"\nfread 0 9 59998 => \"xx\"\nfstat 0 => file size 60000\n\
         open g write\nfsetlen 1 59999\nstat g => file size 59999\nread g",
    ),
];

pub(super) const OPEN_HANDLES: &[Row] = &[
    row(
        "reader_sees_later_writes",
        one!(
            "open f read\nfread 0 9 0 => \"hello\"\nopen f write\nfwrite 1 \"J\" 0\n\
              fread 0 9 0 => \"Jello\"\nwrite f \"anew\"\nfread 0 9 0 => \"anew\"\n\
              fstat 0 => file size 4 nlink 2"
        ),
    ),
    row(
        "reader_sees_writes_through_another_name",
        one!(
            "open f read\nopen k read\nwrite h \"by h\"\nfread 0 9 0 => \"by h\"\n\
              write a/k \"by a/k\"\nfread 1 9 0 => \"by a/k\"\nfstat 1 => file size 6 nlink 2"
        ),
    ),
    row(
        "a_reader_sees_a_truncation",
        one!("open f read\nopen f read trunc\nfread 0 9 0 => \"\"\nfstat 0 => file size 0"),
    ),
    row(
        "a_holder_sees_new_sizes_and_times",
        one!(
            "open f hold\nwrite f \"longer than it was\"\nfstat 0 => file size 18\n\
              utimes f 5.0 6.0\nfstat 0 => file size 18 nlink 2 mtime 6.0"
        ),
    ),
    row(
        "a_reader_sees_new_names_and_their_end",
        one!(
            "open f read\nlink f n\nfstat 0 => file nlink 3\nunlink h\nfstat 0 => file nlink 2\n\
              unlink n\nunlink f\nfstat 0 => file nlink 0\nfread 0 9 0 => \"hello\""
        ),
    ),
    row(
        "reader_continues_after_renames",
        one!(
            "open a/d/g read\nrename a/d/g n\nwrite n \"moved\"\nfread 0 9 0 => \"moved\"\n\
              rename a b\nfread 0 9 0 => \"moved\"\nfstat 0 => file size 5 nlink 1"
        ),
    ),
    row(
        "reader_in_a_moved_directory_sees_later_writes",
        one!(
            "open a/d/g read\nrename a b\nwrite b/d/g \"new\"\nfread 0 9 0 => \"new\"\n\
              unlink b/d/g\nfread 0 9 0 => \"new\"\nfstat 0 => file nlink 0"
        ),
    ),
    row(
        "reader_keeps_the_replaced_file",
        one!(
            "open f read\nopen h read\nrename m f\nfread 0 9 0 => \"hello\"\n\
              fstat 0 => file nlink 1\nwrite h \"still\"\nfread 0 9 0 => \"still\""
        ),
    ),
    row(
        "times_set_through_a_reader_are_seen_by_path",
        one!("open f read\nwrite f \"x\"\nftimes 0 5.0 6.0\nstat h => file size 1 mtime 6.0"),
    ),
    row(
        "two_writers_see_each_other",
        one!(
            "open f rdwr\nopen f rdwr\nfwrite 0 \"A\" 0\nfwrite 1 \"B\" 1\n\
            fread 0 9 0 => \"ABllo\"\n\
              fappend 1 \"!\"\nfread 0 9 0 => \"ABllo!\"\nfsetlen 0 2\nfread 1 9 0 => \"AB\""
        ),
    ),
    row(
        "held_directory_reflects_changes",
        one!(
            "open a/d read\nwrite a/d/n \"\"\nreaddir 1:. => names g n\nunlink a/d/g\n\
              readdir 1:. => names n\nutimes a/d 5.0 6.0\nstat 1:. => dir mtime 6.0\n\
              write 1:x \"\"\nreaddir a/d => names n x"
        ),
    ),
];
