//! Cases of reading and writing.

use super::{Case, row};

pub(super) const CASES: &[Case] = &[
    row(
        "reads_end_with_the_file",
        "open f read\n fread 0 3 0 => \"hel\"\n fread 0 9 3 => \"lo\"\n fread 0 9 5 => \"\"\n
         fread 0 9 99 => \"\"\n fread 0 0 0 => \"\"\n fread 0 9 9223372036854775807 => \"\"",
    ),
    row(
        "an_offset_beyond_all_files_reads_nothing",
        "open f read\n fread 0 9 18446744073709551615 => \"\"\n
         fread 0 9 9223372036854775808 => \"\"",
    ),
    row(
        "writes_overwrite_and_lengthen",
        "open f rdwr\n fwrite 0 \"EL\" 1 => wrote 2\n fread 0 9 0 => \"hELlo\"\n
         fwrite 0 \"abc\" 4 => wrote 3\n fread 0 9 0 => \"hELlabc\"\n fstat 0 => file size 7",
    ),
    row(
        "a_write_beyond_the_end_leaves_zeros",
        "open f rdwr\n fwrite 0 \"x\" 8 => wrote 1\n fread 0 20 0 => \"hello\\0\\0\\0x\"\n
         stat f => file size 9",
    ),
    row(
        "truncated_bytes_do_not_come_back",
        "open f rdwr\n fsetlen 0 2 => done\n fread 0 9 0 => \"he\"\n fsetlen 0 4 => done\n
         fread 0 9 0 => \"he\\0\\0\"\n fsetlen 0 0\n fwrite 0 \"x\" 2\n
         fread 0 9 0 => \"\\0\\0x\"\n fsetlen 0 1\n fsetlen 0 9\n
         fread 0 20 0 => \"\\*9;\\0\" | \"\\0\\0\\0\\0\\0\\0\\0\\0\\0\"",
    ),
    row(
        "reading_needs_a_handle_that_reads",
        "open f write\n open f hold\n fread 0 9 0 => badf\n fread 1 9 0 => badf\n
         fread 1 0 0 => badf",
    ),
    row(
        "writing_needs_a_handle_that_writes",
        "open f read\n open f hold\n fwrite 0 \"x\" 0 => badf\n fwrite 1 \"x\" 0 => badf\n
         fappend 0 \"x\" => badf\n fappend 1 \"x\" => badf\n read f => \"hello\"",
    ),
    row(
        "changing_the_size_needs_a_handle_that_writes",
        "open f read\n open f hold\n fsetlen 0 0 => inval\n fsetlen 1 9 => inval\n
         falloc 0 0 9 => badf\n falloc 1 0 9 => badf\n stat f => file size 5",
    ),
    row(
        "writing_no_bytes_also_needs_write_access",
        "open f read\n fwrite 0 \"\" 0 => badf\n fappend 0 \"\" => badf\n open f write\n
         fwrite 1 \"\" 0 => wrote 0\n fwrite 1 \"\" 99 => wrote 0\n fstat 1 => file size 5",
    ),
    row(
        "append_writes_after_the_last_byte",
        "open f rdwr\n open f rdwr\n fappend 0 \"ab\" => appended 2 7\n
         fappend 1 \"c\" => appended 1 8\n read f => \"helloabc\"\n fsetlen 0 1\n
         fappend 1 \"x\" => appended 1 2\n read f => \"hx\"\n fappend 0 \"\" => appended 0 2",
    ),
    row(
        "handles_of_one_file_see_the_same_bytes",
        "open f rdwr\n open f read\n fwrite 0 \"J\" 0\n fread 1 9 0 => \"Jello\"\n
         open f read trunc\n fread 1 9 0 => \"\"\n fstat 0 => file size 0",
    ),
    row(
        "handle_permits_its_access_mode_only",
        "open n write create excl\n fwrite 0 \"abc\" 0 => wrote 3\n fread 0 9 0 => badf\n
         open n read\n fread 1 9 0 => \"abc\"\n fwrite 1 \"x\" 0 => badf",
    ),
    row(
        "allocate_lengthens_and_never_shortens",
        "open f rdwr\n falloc 0 0 3 => done\n fstat 0 => file size 5\n falloc 0 4 6 => done\n
         fread 0 20 0 => \"hello\\0\\0\\0\\0\\0\"",
    ),
    row(
        "allocate_of_nothing_is_inval",
        "open f rdwr\n falloc 0 0 0 => inval\n fstat 0 => file size 5",
    ),
    row(
        "a_directory_is_not_read_as_a_file",
        "read d => isdir\n write d \"x\" => isdir\n read ln_d => isdir",
    ),
    row(
        "synchronous_files_are_files",
        "open f rdwr sync\n fwrite 0 \"J\" 0 => wrote 1\n open f write dsync\n
         fwrite 1 \"K\" 0 => wrote 1\n read f => \"Kello\"",
    ),
    row(
        "closing_one_handle_leaves_the_other",
        "open f read\n open f read\n close 0\n fread 0 9 0 => \"hello\"\n close 0\n
         fread 0 9 0 => idle",
    ),
];
