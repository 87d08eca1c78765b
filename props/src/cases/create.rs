//! Cases of creation and removal.

use super::{Case, on, row};

pub(super) const CASES: &[Case] = &[
    row(
        "a_new_directory_is_empty",
        "mkdir d/n => done\n stat d/n => dir\n readdir d/n => names\n
         readdir d => names f n/ up@",
    ),
    row("a_new_directory_may_have_a_trailing_slash", "mkdir n/ => done\n stat n => dir"),
    row(
        "mkdir_of_an_existing_name_is_eexist",
        "mkdir d => exist\n mkdir f => exist\n mkdir f/ => exist\n mkdir d/ => exist\n
         mkdir ln_f => exist\n mkdir dang => exist\n mkdir dang/ => exist\n mkdir loop => exist\n
         mkdir . => exist\n mkdir d/. => exist\n mkdir d/.. => exist\n stat nowhere => noent",
    ),
    row(
        "mkdir_under_a_non_directory",
        "mkdir f/x => notdir\n mkdir x/y => noent\n mkdir dang/y => noent\n mkdir ln_f/y => notdir",
    ),
    row(
        "rmdir_removes_only_empty_directories",
        "rmdir d => notempty\n rmdir e => done\n stat e => noent\n rmdir e => noent\n
         unlink d/f\n unlink d/up\n rmdir d => done",
    ),
    row("rmdir_may_have_a_trailing_slash", "rmdir e/ => done\n stat e => noent"),
    row(
        "rmdir_of_anything_else_is_notdir",
        "rmdir f => notdir\n rmdir ln_d => notdir\n rmdir ln_d/ => notdir\n rmdir dang => notdir\n
         rmdir f/ => notdir\n lstat ln_d => symlink",
    ),
    row("rmdir_of_dots", "rmdir . => inval\n rmdir e/. => inval\n rmdir e/.. => notempty"),
    row(
        "unlink_removes_files_and_links_but_never_link_targets",
        "unlink f => done\n stat f => noent\n lstat ln_f => symlink\n unlink ln_f => done\n
         unlink ln_d => done\n stat d/f => file\n unlink dang => done\n unlink loop => done\n
         unlink out => done\n lstat out => noent",
    ),
    row(
        "unlink_of_a_directory_is_isdir",
        "unlink d => isdir\n unlink e => isdir\n unlink d/ => isdir\n unlink e/ => isdir\n
         unlink . => isdir\n unlink d/. => isdir\n unlink d/.. => isdir\n
         unlink ln_d/ => isdir | notdir\n stat e => dir",
    ),
    row(
        "unlink_of_a_missing_name_is_enoent",
        "unlink x => noent\n unlink x/ => noent\n unlink d/x => noent",
    ),
    row(
        "create_makes_an_empty_file",
        "open n write create => opened file\n stat n => file size 0 nlink 1\n
         open d/n read create => opened file\n read d/n => \"\"",
    ),
    row(
        "create_keeps_the_bytes_of_an_existing_file",
        "open f write create => opened file\n read f => \"hello\"\n
         open f hold create => opened file\n read f => \"hello\"",
    ),
    row(
        "create_of_a_directory_is_isdir",
        "open d read create => isdir\n open d write create => isdir\n open . read create => isdir\n
         open d/.. read create => isdir\n open ln_d read create => isdir",
    ),
    row(
        "create_with_a_trailing_slash_is_isdir",
        "open n/ write create => isdir\n stat n => noent\n open d/ write create => isdir\n
         open f/ write create => isdir\n open n/ write create excl => isdir",
    ),
    row(
        "exclusive_create_of_an_existing_name_is_eexist",
        "open f write create excl => exist\n open d read create excl => exist\n
         open ln_f write create excl => exist\n open dang write create excl => exist\n
         open loop write create excl => exist\n open . read create excl => exist\n
         stat nowhere => noent\n open n write create excl => opened file",
    ),
    row(
        "exclusive_without_create_has_no_meaning",
        "open f read excl => opened file\n open n read excl => noent\n open ln_f read excl => ok",
    ),
    row(
        "exclusive_create_with_truncate_leaves_the_bytes",
        "open f write create excl trunc => exist\n read f => \"hello\"",
    ),
    row(
        "create_through_a_dangling_link_makes_its_target",
        "open dang write create => opened file\n stat nowhere => file size 0\n
         lstat dang => symlink\n stat dang => file",
    ),
    row("opening_a_dangling_link_is_enoent", "open dang read => noent\n stat dang => noent"),
    on(
        "mkdir d\n symlink d/l -> ../n\n symlink m -> d/l\n symlink bad -> x/y\n symlink s -> n/",
        "create_follows_chains_of_links",
        "open m write create => opened file\n stat n => file\n stat d/n => noent\n
         open bad write create => noent\n unlink n\n open s write create => isdir\n
         stat n => noent",
    ),
    row(
        "create_under_a_non_directory",
        "open f/x write create => notdir\n open x/y write create => noent",
    ),
    row(
        "truncate_empties",
        "open f write trunc => opened file\n stat f => file size 0\n write f \"hello\"\n
         open f read trunc => opened file\n stat f => file size 0\n write f \"x\"\n
         open ln_f write create trunc => opened file\n stat f => file size 0",
    ),
    row(
        "truncate_of_a_directory_is_isdir",
        "open d read trunc => isdir\n open d/ read trunc => isdir\n open . hold trunc => isdir",
    ),
    row(
        "truncate_creates_nothing",
        "open n write trunc => noent\n stat n => noent\n open dang write trunc => noent",
    ),
    row(
        "a_removed_file_that_is_open_stays_usable",
        "open f rdwr\n unlink f\n fstat 0 => file size 5 nlink 0\n fread 0 9 0 => \"hello\"\n
         fwrite 0 \"J\" 0 => wrote 1\n fread 0 9 0 => \"Jello\"\n stat f => noent\n
         write f \"new\"\n fread 0 9 0 => \"Jello\"\n read f => \"new\"",
    ),
    row(
        "a_removed_directory_that_is_open_is_empty_and_stays_so",
        "open e read dir\n rmdir e\n readdir 1:. => names\n stat 1:. => dir\n stat 1:x => noent\n
         mkdir 1:x => noent\n open 1:x write create => noent\n symlink 1:x -> y => noent\n
         rename f 1:x => noent\n link f 1:x => noent\n mkdir e => done\n stat 1:f => noent\n
         write e/new \"\"\n readdir 1:. => names",
    ),
    row(
        "a_directory_that_is_open_goes_with_its_name",
        "open d hold dir\n rename d e/moved\n stat 1:f => file size 3\n write 1:n \"x\"\n
         read e/moved/n => \"x\"\n stat 1:.. => escape",
    ),
];
