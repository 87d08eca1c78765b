//! Cases of rename.

use super::{Case, on, row};

pub(super) const CASES: &[Case] = &[
    row(
        "a_file_gets_another_name",
        "rename f n => done\n stat f => noent\n read n => \"hello\"\n
         rename n d/n => done\n read d/n => \"hello\"\n stat n => noent",
    ),
    row(
        "a_file_takes_the_place_of_a_file",
        "rename f d/f => done\n read d/f => \"hello\"\n stat f => noent\n readdir d => names f up@",
    ),
    row(
        "a_file_onto_a_directory_is_isdir",
        "rename f d => isdir\n rename f e => isdir\n read f => \"hello\"",
    ),
    row(
        "a_directory_onto_a_file_is_notdir",
        "rename d f => notdir\n rename e ln_f => notdir\n stat d/f => file",
    ),
    row(
        "a_directory_takes_the_place_of_an_empty_one",
        "rename d e => done\n stat d => noent\n readdir e => names f up@\n read e/f => \"abc\"",
    ),
    row(
        "a_directory_onto_one_that_is_not_empty_is_notempty",
        "rename e d => notempty\n stat e => dir\n readdir d => names f up@",
    ),
    row(
        "a_directory_cannot_come_to_lie_in_itself",
        "rename d d/x => inval\n rename d d/f => inval\n mkdir d/s\n rename d d/s/x => inval\n
         rename d d/s => inval\n stat d/f => file",
    ),
    row(
        "onto_a_directory_above_is_notempty",
        "rename d/f d => notempty\n mkdir d/s\n rename d/s d => notempty\n stat d/s => dir",
    ),
    row(
        "dots_are_busy",
        "rename . x => busy\n rename d/. x => busy\n rename d/.. x => busy\n rename f . => busy\n
         rename f d/. => busy\n rename f d/.. => busy\n stat f => file",
    ),
    row(
        "a_missing_source_is_noent",
        "rename x y => noent\n rename x f => noent\n rename d/x y => noent\n read f => \"hello\"",
    ),
    row(
        "a_file_with_a_trailing_slash_stays",
        "rename f/ n => notdir\n rename f n/ => notdir\n rename f d/ => notdir\n
         rename f d/f/ => notdir\n stat n => noent\n read f => \"hello\"\n read d/f => \"abc\"",
    ),
    row(
        "a_directory_may_have_trailing_slashes",
        "rename d/ n/ => done\n stat n/f => file\n rename n/ e/// => done\n stat e/f => file",
    ),
    row(
        "a_link_is_renamed_itself",
        "rename ln_f n => done\n readlink n => -> f\n lstat ln_f => noent\n read f => \"hello\"\n
         rename dang d/dang => done\n readlink d/dang => -> nowhere\n rename loop l2 => done\n
         stat l2 => noent",
    ),
    row(
        "a_link_with_a_trailing_slash_is_not_renamed",
        "rename ln_d/ n => notdir\n rename ln_f/ n => notdir\n lstat ln_d => symlink\n
         stat n => noent\n rename out/ n => notdir\n rename f out/ => notdir",
    ),
    row(
        "a_link_in_the_way_is_replaced_not_followed",
        "rename f ln_d => done\n lstat ln_d => file size 5\n stat d/f => file size 3\n
         rename ln_f out => done\n readlink out => -> f",
    ),
    row(
        "a_directory_onto_a_link_to_one_is_notdir",
        "rename e ln_d => notdir\n rename e ln_d/ => notdir\n lstat ln_d => symlink",
    ),
    on(
        "write a \"x\"\n link a b",
        "onto_a_name_of_the_same_node_changes_nothing",
        "rename a b => done\n stat a => file nlink 2\n stat b => file nlink 2\n
         rename a a => done\n stat a => file size 1 nlink 2",
    ),
    row(
        "a_directory_onto_itself_changes_nothing",
        "rename d d => done\n stat d/f => file\n rename e e/ => done\n stat e => dir",
    ),
    on(
        "write a \"x\"\n link a b\n write c \"y\"",
        "rename_decrements_the_link_count_of_the_target",
        "rename c a => done\n stat b => file size 1 nlink 1\n read a => \"y\"\n stat c => noent",
    ),
    row(
        "replaced_file_stays_usable_while_open",
        "open d/f read\n rename f d/f\n fstat 0 => file size 3 nlink 0\n fread 0 9 0 => \"abc\"",
    ),
    row(
        "renamed_file_stays_open",
        "open f rdwr\n rename f d/n\n fwrite 0 \"J\" 0\n read d/n => \"Jello\"\n unlink d/n\n
         fstat 0 => file nlink 0",
    ),
    row(
        "from_one_open_directory_into_another",
        "open d hold dir\n open e hold dir\n rename 1:f 2:g => done\n read e/g => \"abc\"\n
         stat d/f => noent\n rename 2:g g => done\n read g => \"abc\"\n rename 1:. 2:x => busy",
    ),
    row(
        "rename_into_a_non_directory",
        "rename f x/y => noent\n rename f d/f/y => notdir\n rename f dang/y => noent\n
         rename f ln_d/n => done\n read d/n => \"hello\"",
    ),
    on(
        "mkdir a\n mkdir a/b\n mkdir a/b/c\n mkdir d\n write a/b/c/f \"x\"",
        "a_whole_tree_moves",
        "rename a/b d/b => done\n read d/b/c/f => \"x\"\n readdir a => names\n
         rename d/b a/b => done\n rename a d/a => done\n read d/a/b/c/f => \"x\"\n
         rename d d/a/b/x => inval",
    ),
];
