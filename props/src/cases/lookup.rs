//! Cases of path resolution: slashes, dots, and symbolic links on the way.

use super::{Case, on, row};

pub(super) const CASES: &[Case] = &[
    row(
        "absolute_paths_escape_in_every_operation",
        "stat /f => escape\n lstat / => escape\n open /d read dir => escape\n
         readlink /ln_f => escape\n readdir / => escape\n read /f => escape",
    ),
    row(
        "absolute_paths_escape_in_every_change",
        "mkdir /x => escape\n unlink /f => escape\n rmdir /e => escape\n
         rename /f x => escape\n rename f /x => escape\n link /f x => escape\n
         link f /x => escape\n symlink /x -> f => escape\n write /x \"\" => escape\n
         utimes /f now now => escape",
    ),
    row(
        "dot_dot_above_the_start_escapes_even_if_it_would_return",
        "stat .. => escape\n stat ../f => escape\n stat d/../../f => escape\n
         stat ./.. => escape\n stat d/../.. => escape\n readdir .. => escape",
    ),
    row("dot_dot_within_the_start_is_fine", "stat d/../f => file size 5\n stat d/.. => dir"),
    row(
        "changes_through_dot_dot_above_the_start_escape",
        "mkdir ../x => escape\n unlink ../f => escape\n rmdir .. => escape\n
         rename f ../x => escape\n rename ../x f => escape\n link f ../x => escape\n
         symlink ../x -> f => escape\n write ../x \"\" => escape",
    ),
    row(
        "the_start_is_the_open_directory_not_the_root",
        "open d hold dir => opened dir\n stat 1:f => file size 3\n stat 1:up => escape\n
         stat d/up => file size 5\n stat 1:.. => escape\n stat 1:../f => escape",
    ),
    row(
        "an_empty_path_is_noent",
        "stat \"\" => noent\n lstat \"\" => noent\n open \"\" read => noent\n
         readlink \"\" => noent\n readdir \"\" => noent",
    ),
    row(
        "an_empty_path_is_noent_in_every_change",
        "mkdir \"\" => noent\n unlink \"\" => noent\n rmdir \"\" => noent\n
         rename \"\" x => noent\n rename f \"\" => noent\n link \"\" x => noent\n
         link f \"\" => noent\n symlink \"\" -> f => noent\n symlink x -> \"\" => noent\n
         open \"\" write create => noent\n utimes \"\" now now => noent",
    ),
    row(
        "a_nul_in_a_path_is_inval",
        "stat \"a\\0\" => inval\n open \"\\0\" read => inval\n stat \"d\\0/f\" => inval",
    ),
    row(
        "a_nul_in_a_new_path_is_inval",
        "mkdir \"a\\0\" => inval\n rename f \"a\\0\" => inval\n symlink \"a\\0\" -> f => inval\n
         symlink x -> \"a\\0\" => inval\n lstat x => noent",
    ),
    row(
        "a_file_with_a_trailing_slash_is_notdir",
        "open f/ read => notdir\n open f/// read => notdir\n open f/. read => notdir\n
         stat f/ => notdir\n lstat f/ => notdir\n stat f/. => notdir\n readlink f/ => notdir\n
         stat f/.. => notdir\n stat f/x => notdir\n read ln_f/ => notdir",
    ),
    row(
        "a_file_with_a_trailing_slash_is_notdir_in_every_change",
        "unlink f/ => notdir\n unlink f/. => notdir\n rename f/ x => notdir\n
         link f/ x => notdir\n rmdir f/ => notdir\n utimes f/ now now => notdir\n
         stat f => file size 5",
    ),
    row(
        "a_directory_may_have_trailing_slashes_and_dots",
        "stat d/ => dir\n stat d//// => dir\n stat d/. => dir\n lstat d/./. => dir\n
         open d/ read => opened dir\n stat d//f => file size 3\n stat ./d/./f => file size 3",
    ),
    row(
        "missing_component_is_enoent_at_any_position",
        "stat x => noent\n stat x/ => noent\n stat x/y => noent\n stat x/.. => noent\n
         stat x/../f => noent\n stat d/x/../f => noent\n stat x/. => noent",
    ),
    row(
        "lstat_of_a_link_with_a_slash_is_the_directory",
        "lstat ln_d => symlink size 1\n lstat ln_d/ => dir\n lstat ln_d/. => dir\n
         lstat ln_f/ => notdir\n lstat dang/ => noent\n lstat loop/ => loop",
    ),
    row(
        "dot_dot_after_a_link_is_the_parent_of_the_target",
        "stat ln_d/.. => dir\n stat ln_d/../f => file size 5\n stat ln_d/up => file size 5",
    ),
    on(
        "mkdir a\n mkdir a/b\n write a/f \"up\"\n write f \"root\"\n symlink l -> a/b",
        "dot_dot_after_a_deep_link_is_not_the_parent_of_the_link",
        "read l/../f => \"up\"\n read l/../../f => \"root\"\n stat l/../../.. => escape",
    ),
    on(
        "mkdir a\n symlink a/l -> ..\n symlink l -> a/l/a/../f\n write f \"hi\"",
        "a_link_to_dot_dot_within_the_start_is_followed",
        "read l => \"hi\"\n stat a/l => dir\n stat a/../l => file size 2\n
         stat a/l/../f => escape\n stat a/l/a/l/f => file size 2",
    ),
    row(
        "link_out_of_the_start_escapes_when_followed",
        "lstat out => symlink\n readlink out => -> ../outside\n stat out => escape\n
         open out read => escape\n stat out/x => escape\n readdir out => escape",
    ),
    row(
        "no_change_goes_through_a_link_out_of_the_start",
        "write out \"x\" => escape\n open out write create => escape\n
         open out write create trunc => escape\n open out read trunc => escape\n
         mkdir out/x => escape\n rename f out/x => escape\n link f out/x => escape\n
         utimes out now now => escape\n unlink out/x => escape\n rmdir out/x => escape",
    ),
    row(
        "links_with_slashes_in_their_target_demand_a_directory",
        "stat ln_slash => dir\n stat ln_slash/f => file size 3\n stat ln_f_slash => notdir\n
         lstat ln_f_slash => symlink\n open ln_f_slash read => notdir\n
         read ln_f_slash => notdir",
    ),
    on(
        "mkdir in\n symlink in/evil -> ../..\n symlink in/link1 -> evil/\n write f \"\"",
        "slash_after_a_target_does_not_bypass_the_next_link",
        "stat in/link1 => escape\n stat in/link1/x => escape\n open in/link1 read dir => escape\n
         lstat in/link1/ => escape\n readdir in/link1/. => escape\n
         open in/link1/. hold nofollow => escape\n mkdir in/link1/x => escape",
    ),
    row(
        "loops_are_loop",
        "stat loop => loop\n lstat loop => symlink\n open loop read => loop\n
         stat loop/x => loop\n mkdir loop/x => loop\n open loop write create => loop",
    ),
    row(
        "nofollow_of_a_link_is_loop",
        "open ln_f read nofollow => loop\n open dang read nofollow => loop\n
         open dang write create nofollow => loop\n open ln_d read dir nofollow => loop | notdir\n
         open ln_d/ read nofollow => opened dir\n open f read nofollow => opened file\n
         open ln_f hold nofollow => loop",
    ),
    row(
        "open_directory_of_a_file_is_enotdir",
        "open f read dir => notdir\n open d read dir => opened dir\n
         open ln_f read dir => notdir\n open ln_d read dir => opened dir\n
         open x read dir => noent",
    ),
    row(
        "directories_cannot_be_opened_for_writing",
        "open d write => isdir\n open d rdwr => isdir\n open d/ write => isdir\n
         open . write => isdir\n open ln_d write => isdir\n open d rdwr dir => isdir\n
         open d read => opened dir\n open d hold => opened dir",
    ),
    row(
        "directory_with_create_or_truncate_is_inval",
        "open d read dir create => inval\n open d read dir trunc => inval\n
         open x read dir create => inval\n stat x => noent\n open f rdwr dir trunc => inval\n
         read f => \"hello\"",
    ),
    row(
        "names_are_uninterpreted_bytes",
        "mkdir ...\n mkdir \" \"\n mkdir \"C:\"\n mkdir \"a\\\\b\"\n mkdir .wh.a\n mkdir é\n
         stat ... => dir\n stat \" \" => dir\n stat \"C:\" => dir\n stat \"a\\\\b\" => dir\n
         stat \"a/b\" => noent\n stat .wh.a => dir\n stat É => noent\n stat é => dir\n
         stat D => noent\n stat \"d \" => noent\n stat d. => noent",
    ),
];
