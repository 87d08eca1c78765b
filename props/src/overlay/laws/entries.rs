//! Laws of names: whiteouts, existing names, and renames.

use super::{Row, each, row};

pub(super) const WHITEOUTS: &[Row] = &[
    row(
        "a_whiteout_hides_a_file",
        "whiteout f\n---\nwrite f \"x\"\nwrite g \"\"\n===\n\
         stat f => noent\nopen f read => noent\nread f => noent\nreaddir . => names g",
    ),
    row(
        "a_whiteout_hides_a_directory_and_all_in_it",
        "whiteout a\n---\nmkdir a\nmkdir a/b\nwrite a/b/f \"x\"\n===\n\
         stat a => noent\nstat a/b => noent\nread a/b/f => noent\nopen a/b read dir => noent\n\
         readdir . => names\nmkdir a/c => noent",
    ),
    row(
        "a_whiteout_hides_the_whole_depth",
        "whiteout a\n---\nmkdir a\nwrite a/f \"1\"\n---\nmkdir a\nwrite a/f \"2\"\n\
        write a/g \"3\"\n\
         ===\nreaddir . => names\nread a/f => noent\nread a/g => noent",
    ),
    row(
        "node_above_a_whiteout_is_visible",
        "mkdir a\nwrite a/t \"t\"\n---\nwhiteout a\n---\nmkdir a\nwrite a/f \"\"\n===\n\
         readdir a => names t\nstat a/f => noent\nwrite a/f \"new\"\nreaddir a => names f t",
    ),
    row(
        "directory_above_a_file_is_not_merged_with_lower_directories",
        "mkdir a\n---\nwrite a \"\"\n---\nmkdir a\nwrite a/f \"\"\n===\n\
         readdir a => names\nstat a/f => noent",
    ),
    row(
        "a_whiteout_in_a_directory_hides_only_that_name",
        "mkdir a\nwhiteout a/f\n---\nmkdir a\nwrite a/f \"\"\nwrite a/g \"\"\n===\n\
         readdir a => names g\nstat a/f => noent\nwrite a/f \"x\"\nreaddir a => names f g",
    ),
    row(
        "opaque_directory_hides_lower_directories",
        "mkdir a\nwrite a/t \"\"\nopaque a\n---\nmkdir a\nwrite a/f \"\"\nmkdir a/d\n===\n\
         readdir a => names t\nstat a/d => noent\nmkdir a/d => done\nreaddir a/d => names",
    ),
    row(
        "a_whiteout_hides_a_link",
        "whiteout l\n---\nmkdir a\nsymlink l -> a\n===\nlstat l => noent\nstat l => noent\n\
         readlink l => noent\nsymlink l -> b => done\nreadlink l => -> b",
    ),
    row(
        "removed_name_is_hidden",
        two!(
            "unlink a/f\nstat a/f => noent\nreaddir a => names d/ t\nunlink a/t\n\
              stat a/t => noent\nread a/t => noent\nreaddir a => names d/\nunlink b\n\
              stat b => noent\nstat b/x => noent\nreaddir . => names a/ c/"
        ),
    ),
    row(
        "removed_name_can_be_recreated_and_removed_again",
        one!(
            "unlink m\nwrite m \"1\"\nread m => \"1\"\nunlink m\nstat m => noent\n\
              mkdir m\nreaddir m => names\nrmdir m\nsymlink m -> f\nread m => \"hello\"\n\
              unlink m\nstat m => noent\nunlink m => noent"
        ),
    ),
];

pub(super) const FULL_DIRS: &[Row] = &[
    row(
        "a_directory_full_of_a_lower_is_full",
        one!("rmdir a => notempty\nrmdir a/d => notempty\nreaddir a/d => names g\nrmdir e => done"),
    ),
    row(
        "a_merged_directory_is_full_while_either_has_something",
        two!(
            "unlink a/d/t\nrmdir a/d => notempty\nunlink a/d/g\nrmdir a/d => done\n\
              stat a/d => noent\nreaddir a => names f t"
        ),
    ),
    row(
        "a_directory_that_is_full_of_new_things_is_full",
        one!("write e/n \"\"\nrmdir e => notempty\nunlink e/n\nrmdir e => done\nstat e => noent"),
    ),
    row(
        "a_directory_emptied_by_renames_is_empty",
        one!("rename a/d/g g\nrmdir a/d => done\nread g => \"deep\"\nreaddir a => names f k l@"),
    ),
    row(
        "nothing_takes_the_place_of_a_full_directory",
        one!(
            "mkdir n\nrename n a => notempty\nrename e a/d => notempty\nreaddir a/d => names g\n\
              unlink a/d/g\nrename n a/d => done\nreaddir a/d => names"
        ),
    ),
    row(
        "a_file_is_not_removed_as_a_directory",
        one!("rmdir f => notdir\nrmdir l => notdir\nunlink a => isdir\nread f => \"hello\""),
    ),
];

pub(super) const NEW_DIRS: &[Row] = &[
    row(
        "a_directory_made_where_one_was_is_empty",
        one!(
            "unlink a/d/g\nrmdir a/d\nmkdir a/d => done\nreaddir a/d => names\n\
              stat a/d/g => noent\nwrite a/d/g \"new\"\nread a/d/g => \"new\""
        ),
    ),
    row(
        "a_directory_made_where_a_merged_one_was_is_empty",
        two!(
            "unlink a/d/g\nunlink a/d/t\nrmdir a/d\nmkdir a/d\nreaddir a/d => names\n\
              stat a/d/g => noent\nrmdir a/d => done\nmkdir a/d => done\nreaddir a/d => names"
        ),
    ),
    row(
        "a_directory_made_where_a_full_one_was_renamed_away_is_empty",
        one!(
            "rename a n\nmkdir a => done\nreaddir a => names\nstat a/f => noent\n\
              mkdir a/d => done\nreaddir a/d => names\nreaddir n => names d/ f k l@"
        ),
    ),
    row(
        "a_directory_made_where_a_file_was_is_empty",
        two!("unlink b\nmkdir b => done\nreaddir b => names\nstat b/x => noent"),
    ),
    row(
        "a_directory_renamed_to_where_a_full_one_was_brings_only_its_own",
        one!("rename a n\nrename e a => done\nreaddir a => names\nstat a/d/g => noent"),
    ),
    row(
        "a_directory_made_under_a_whiteout_is_empty",
        "whiteout a\n---\nmkdir a\nwrite a/f \"\"\nmkdir a/d\nwrite a/d/g \"\"\n===\n\
         mkdir a => done\nreaddir a => names\nmkdir a/d => done\nreaddir a/d => names\nrmdir a/d\n\
         rmdir a => done",
    ),
];

pub(super) const TAKEN_NAMES: &[Row] = &[
    each("every_kind_of_new_thing_finds_every_kind_of_name_taken", taken),
    row(
        "names_of_any_lower_are_taken",
        two!(
            "mkdir c => exist\nmkdir a => exist\nmkdir a/f => exist\nmkdir a/t => exist\n\
              mkdir b => exist\nmkdir b/x => notdir\nmkdir a/d/g => exist"
        ),
    ),
    row(
        "a_hidden_name_is_free",
        "mkdir a\nwhiteout a/f\nwhiteout b\n---\nmkdir a\nwrite a/f \"\"\nmkdir b\nwrite b/x \"\"\n\
         ===\nsymlink a/f -> x => done\nmkdir b => done\nreaddir b => names",
    ),
];

fn taken() -> Vec<String> {
    let mut out = Vec::new();
    for name in ["a", "a/d", "a/f", "f", "h", "k", "l", "a/l", "m", "a/d/g"] {
        for line in
            ["mkdir X", "symlink X -> q", "link m X", "open X write create excl", "mkdir X/"]
        {
            let line = line.replace('X', name);
            let stack = one!("LINE => exist\nLINE => exist\nreaddir . => names a/ e/ f h k l@ m");
            out.push(stack.replace("LINE", &line));
        }
    }
    out
}

pub(super) const EXCLUSIVE: &[Row] = &[
    row(
        "lower_file_exists_for_exclusive_creation",
        one!(
            "open f write create excl => exist\nopen f rdwr create excl trunc => exist\n\
              open a/d/g read create excl => exist\nread f => \"hello\"\nread a/d/g => \"deep\""
        ),
    ),
    row(
        "lower_link_exists_for_exclusive_creation",
        one!("open l write create excl => exist\nopen a/l write create excl nofollow => exist"),
    ),
    row(
        "copied_up_file_exists_for_exclusive_creation",
        one!(
            "open f write\nfwrite 0 \"J\" 0\nopen f write create excl => exist\n\
              read f => \"Jello\""
        ),
    ),
    row(
        "removed_file_does_not_exist_for_exclusive_creation",
        one!(
            "unlink f\nopen f write create excl => opened file\nopen f read create excl => exist\n\
              stat f => file size 0 nlink 1\nread h => \"hello\""
        ),
    ),
    row(
        "hidden_file_does_not_exist_for_exclusive_creation",
        "whiteout f\n---\nwrite f \"x\"\n===\nopen f write create excl => opened file\n\
         open f write create excl => exist\nread f => \"\"",
    ),
    row(
        "plain_creation_opens_a_lower_file_as_it_is",
        one!("open f rdwr create => opened file\nfread 0 9 0 => \"hello\"\nfstat 0 => file size 5"),
    ),
];

pub(super) const RENAMES: &[Row] = &[
    row(
        "a_directory_of_a_lower_moves_with_its_children",
        one!(
            "rename a n => done\nstat a => noent\nread n/f => \"in a\"\nread n/d/g => \"deep\"\n\
              readdir n => names d/ f k l@\nreadlink n/l => -> f\nread n/l => \"in a\"\n\
              read k => \"linked\"\nstat n/k => file nlink 2"
        ),
    ),
    row(
        "a_merged_directory_moves_with_all_its_children",
        two!(
            "rename a n => done\nreaddir n => names d/ f t\nread n/t => \"top\"\n\
              readdir n/d => names g t\nread n/d/g => \"deep\"\nstat a => noent"
        ),
    ),
    row(
        "directory_moves_without_hidden_or_removed_entries",
        "mkdir a\nwhiteout a/f\n---\nmkdir a\nwrite a/f \"\"\nwrite a/g \"\"\nwrite a/h \"\"\n===\n\
         unlink a/g\nrename a n => done\nreaddir n => names h\nstat n/f => noent\n\
         stat n/g => noent\nmkdir a\nreaddir a => names",
    ),
    row(
        "a_directory_moves_there_and_back",
        one!(
            "rename a n\nrename n a => done\nreaddir a => names d/ f k l@\nread a/d/g => \"deep\"\n\
              stat n => noent"
        ),
    ),
    row(
        "a_directory_moves_into_another_of_a_lower",
        one!(
            "rename a e/x => done\nread e/x/d/g => \"deep\"\nrename e/x/d d => done\n\
              read d/g => \"deep\"\nreaddir e/x => names f k l@"
        ),
    ),
    row(
        "a_directory_moves_onto_an_empty_one",
        one!("rename a e => done\nreaddir e => names d/ f k l@\nstat a => noent"),
    ),
    row(
        "moved_directory_does_not_merge_at_its_new_name",
        two!(
            "unlink b\nrename c b => done\nreaddir b => names f\nstat b/x => noent\n\
              rename a c => done\nreaddir c => names d/ f t"
        ),
    ),
    row(
        "a_directory_does_not_move_into_itself",
        one!(
            "rename a a/x => inval\nrename a a/d/x => inval\nrename a/d a => notempty\n\
              readdir a => names d/ f k l@"
        ),
    ),
    row(
        "files_move_and_replace",
        one!(
            "rename f n => done\nread n => \"hello\"\nstat f => noent\nstat h => file nlink 2\n\
              rename n a/f => done\nread a/f => \"hello\"\nrename a/d/g m\nread m => \"deep\"\n\
              readdir a/d => names"
        ),
    ),
    row(
        "links_move_as_they_are",
        one!(
            "rename l n => done\nreadlink n => -> a\nread n/f => \"in a\"\nlstat l => noent\n\
              rename a/l l => done\nread l => \"hello\""
        ),
    ),
    row(
        "a_rename_between_two_names_of_one_file_does_nothing",
        one!(
            "rename f h => done\nstat f => file nlink 2\nstat h => file nlink 2\n\
              rename k a/k => done\nread k => \"linked\"\nread a/k => \"linked\""
        ),
    ),
    row(
        "types_do_not_replace_each_other",
        one!(
            "rename f e => isdir\nrename e f => notdir\nrename l e => isdir\nrename e l => notdir\n\
              readdir e => names\nread f => \"hello\""
        ),
    ),
];

pub(super) const METADATA: &[Row] = &[
    row(
        "times_of_a_directory_leave_its_listing",
        one!(
            "utimes a 5.0 6.0 => done\nreaddir a => names d/ f k l@\nstat a => dir mtime 6.0\n\
              read a/d/g => \"deep\"\nutimes a/d 7.0 8.0\nreaddir a/d => names g\n\
              stat a/d => dir mtime 8.0"
        ),
    ),
    row(
        "times_of_a_merged_directory_leave_its_listing",
        two!(
            "utimes a 5.0 6.0\nreaddir a => names d/ f t\nreaddir a/d => names g t\n\
              utimes c 5.0 6.0\nreaddir c => names f\nunlink c/f\nreaddir c => names"
        ),
    ),
    row(
        "times_of_the_root_leave_its_listing",
        one!(
            "utimes . 5.0 6.0 => done\nreaddir . => names a/ e/ f h k l@ m\n\
              stat . => dir mtime 6.0"
        ),
    ),
    row(
        "times_of_a_file_leave_its_bytes",
        one!(
            "utimes f 5.0 6.0\nread f => \"hello\"\nstat f => file size 5 nlink 2 mtime 6.0\n\
              stat h => file size 5 nlink 2 mtime 6.0\nutimes a/k keep 9.0\n\
              stat k => file size 6 nlink 2 mtime 9.0\nread k => \"linked\""
        ),
    ),
    row(
        "times_of_a_link_leave_its_target",
        one!(
            "lutimes l 5.0 6.0 => done\nreadlink l => -> a\nlstat l => symlink mtime 6.0\n\
              read l/f => \"in a\""
        ),
    ),
    row(
        "times_of_a_directory_with_something_hidden_leave_it_hidden",
        "mkdir a\nwhiteout a/f\n---\nmkdir a\nwrite a/f \"\"\nwrite a/g \"\"\n===\n\
         utimes a 5.0 6.0\nreaddir a => names g\nstat a/f => noent",
    ),
];

pub(super) const MARKERS: &[Row] = &[
    each("names_that_are_marks_elsewhere_are_plain_names_here", markers),
    row(
        "removing_leaves_nothing_to_list",
        one!(
            "unlink f\nunlink l\nrmdir e\nunlink a/d/g\nrmdir a/d\nreaddir . => names a/ h k m\n\
              readdir a => names f k l@\nstat .wh.f => noent\nstat .wh.e => noent\n\
              stat a/.wh.d => noent\nstat .wh..wh..opq => noent"
        ),
    ),
    row(
        "a_directory_made_anew_shows_no_mark",
        one!(
            "unlink a/d/g\nrmdir a/d\nmkdir a/d\nreaddir a/d => names\n\
              stat a/d/.wh..wh..opq => noent\nunlink a/d/.wh..wh..opq => noent\nrmdir a/d => done"
        ),
    ),
    row(
        "a_mark_cannot_be_made_by_its_name",
        one!(
            "write .wh.f \"\" \nwrite a/.wh..wh..opq \"\"\nread f => \"hello\"\n\
              readdir a => names .wh..wh..opq d/ f k l@\nunlink .wh.f => done\nread f => \"hello\""
        ),
    ),
    row(
        "a_removed_name_does_not_come_back_with_its_mark",
        one!(
            "unlink m\nunlink .wh.m => noent\nstat m => noent\nwrite .wh.m \"\"\nunlink .wh.m\n\
              stat m => noent\nrename .wh.m x => noent"
        ),
    ),
];

fn markers() -> Vec<String> {
    let mut out = Vec::new();
    for name in [".wh.f", ".wh.", ".wh..wh..opq", ".wh..wh.aufs", "trusted.overlay.opaque", ".wh.x"]
    {
        out.push(
            one!(
                "write MARK \"x\" => done\nread MARK => \"x\"\nstat MARK => file size 1 nlink 1\n\
                  read f => \"hello\"\nmkdir n\nrename MARK n/MARK => done\nrmdir n => notempty\n\
                  unlink n/MARK => done\nrmdir n => done\nmkdir a/MARK => done\n\
                  rmdir a/MARK => done\nread a/f => \"in a\"\nread f => \"hello\""
            )
            .replace("MARK", name),
        );
        // In a lower that contains such a name.
        out.push(
            "mkdir a\nwrite a/MARK \"x\"\nwrite a/f \"f\"\nwrite f \"f\"\n===\n\
             read a/MARK => \"x\"\nread a/f => \"f\"\nunlink a/MARK => done\nstat a/MARK => noent\n\
             read a/f => \"f\"\nreaddir a => names f\nutimes a 5.0 6.0\nreaddir a => names f"
                .replace("MARK", name),
        );
    }
    out
}
