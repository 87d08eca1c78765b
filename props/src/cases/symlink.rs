//! Cases of symbolic links.

use super::{Case, on, row};

pub(super) const CASES: &[Case] = &[
    row(
        "readlink_returns_the_target_unchanged",
        "symlink n -> f => done\n readlink n => -> f\n symlink m -> d//./../f/ => done\n
         readlink m => -> d//./../f/\n lstat m => symlink size 10\n symlink é -> \"é ü\"\n
         readlink é => -> \"é ü\"",
    ),
    row(
        "link_target_is_checked_when_followed",
        "symlink n -> ../../x => done\n readlink n => -> ../../x\n stat n => escape\n
         symlink m -> missing => done\n stat m => noent",
    ),
    row(
        "an_absolute_target_is_refused",
        "symlink n -> /f => escape\n symlink n -> / => escape\n symlink n -> /etc/passwd => escape\n
         lstat n => noent",
    ),
    row("an_empty_target_is_noent", "symlink n -> \"\" => noent\n lstat n => noent"),
    row(
        "symlink_onto_an_existing_name_is_eexist",
        "symlink f -> x => exist\n symlink d -> x => exist\n symlink ln_f -> x => exist\n
         symlink dang -> x => exist\n symlink loop -> x => exist\n symlink . -> x => exist\n
         symlink d/.. -> x => exist\n readlink ln_f => -> f",
    ),
    row(
        "a_new_link_with_a_trailing_slash",
        "symlink n/ -> f => noent\n symlink d/ -> f => exist\n symlink f/ -> x => exist | notdir\n
         symlink dang/ -> f => exist\n lstat n => noent",
    ),
    row("symlink_under_a_non_directory", "symlink f/n -> x => notdir\n
         symlink x/n -> x => noent"),
    row(
        "only_links_can_be_read_as_such",
        "readlink f => inval\n readlink d => inval\n readlink . => inval\n readlink d/ => inval\n
         readlink x => noent\n readlink ln_d/ => inval\n readlink ln_f/ => notdir\n
         readlink dang/ => noent",
    ),
    row("reading_a_link_does_not_follow_it", "readlink ln_d => -> d\n readlink loop => -> loop\n
         readlink ln_d/up => -> ../f\n readlink out => -> ../outside"),
    row(
        "link_target_is_relative_to_the_directory_of_the_link",
        "read d/up => \"hello\"\n rename d/up up => done\n stat up => escape\n
         rename up e/up\n read e/up => \"hello\"",
    ),
    on(
        "mkdir a\n mkdir a/b\n symlink a/b/l -> ../../c\n mkdir c\n write c/f \"x\"\n
         symlink m -> a/b/l/f",
        "links_lead_through_links",
        "read m => \"x\"\n read a/b/l/f => \"x\"\n stat a/b/l/../a => dir\n
         write a/b/l/n \"y\"\n read c/n => \"y\"",
    ),
    on(
        "symlink a -> b\n symlink b -> a\n symlink c -> c/x\n symlink d -> ./d",
        "loops_of_any_shape_are_loop",
        "stat a => loop\n stat b/ => loop\n stat c => loop\n stat d => loop\n
         open a read => loop\n readdir a => loop\n mkdir a/x => loop\n rename c a => done\n
         stat a => noent | loop",
    ),
    row(
        "a_link_to_a_directory_is_one_in_the_middle",
        "stat ln_d/f => file size 3\n mkdir ln_d/n => done\n stat d/n => dir\n
         unlink ln_d/f => done\n stat d/f => noent\n readdir ln_d => names n/ up@",
    ),
];
