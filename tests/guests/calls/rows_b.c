/* Rows 17 to 27: what names are given and taken, and how nodes are opened. */
#include "calls.h"

static stat_t st;

static void row_17_symlink_with_slash(void) {
  put(D, "f", "f");
  dir(D, "d");
  CHECK(symlink_at("t", D, "missing/"), NOENT);
  CHECK(symlink_at("t", D, "d/"), EXIST_);
  CHECK(symlink_at("t", D, "f/"), NOTDIR, EXIST_);
  TRUE(!exists(D, "missing"));
  TRUE(!exists(D, "d/t"));
}

static void row_18_rename_types(void) {
  dir(D, "d");
  dir(D, "d/child");
  dir(D, "full");
  put(D, "full/x", "x");
  dir(D, "empty");
  put(D, "f", "f");
  CHECK(rename_at(D, "d", D, "full"), NOTEMPTY);
  CHECK(rename_at(D, "f", D, "empty"), ISDIR);
  CHECK(rename_at(D, "d", D, "f"), NOTDIR);
  CHECK(rename_at(D, "d", D, "d/child/x"), INVAL);
  CHECK(rename_at(D, "d", D, "d/new"), INVAL);
  CHECK(rename_at(D, ".", D, "new"), BUSY);
  CHECK(rename_at(D, "d/.", D, "new"), BUSY);
  CHECK(rename_at(D, "d", D, "."), BUSY);
  u64 ino = stat_of(D, "d").ino;
  CHECK(rename_at(D, "d", D, "empty"), OK);
  EQ(ino, stat_of(D, "empty").ino);
  TRUE(exists(D, "empty/child") && !exists(D, "d"));
  CHECK(rename_at(D, "empty", D, "empty"), OK); /* onto itself: nothing */
  TRUE(exists(D, "empty/child"));
}

static void row_19_rename_to_slash(void) {
  put(D, "f", "f");
  dir(D, "d");
  CHECK(rename_at(D, "f", D, "missing/"), NOTDIR);
  CHECK(rename_at(D, "f/", D, "missing"), NOTDIR);
  TRUE(holds(D, "f", "f") && !exists(D, "missing"));
  CHECK(rename_at(D, "d", D, "e/"), OK); /* a directory may */
  CHECK(rename_at(D, "e//", D, "d"), OK);
  TRUE(exists(D, "d") && !exists(D, "e"));
}

static void row_20_rename_onto_hard_link(void) {
  put(D, "f", "f");
  CHECK(link_at(D, 0, "f", D, "g"), OK);
  CHECK(rename_at(D, "f", D, "g"), OK);
  TRUE(exists(D, "f") && exists(D, "g"));
  EQ(2, stat_of(D, "f").nlink);
}

static void row_21_rename_link(void) {
  dir(D, "d");
  ln(D, "d", "ln");
  CHECK(rename_at(D, "ln/", D, "moved"), NOTDIR);
  CHECK(rename_at(D, "ln", D, "moved"), OK);
  EQ(__WASI_FILETYPE_SYMBOLIC_LINK, stat_of(D, "moved").filetype);
  TRUE(exists(D, "d") && !exists(D, "ln"));
  put(D, "f", "f");
  CHECK(rename_at(D, "f", D, "moved"), OK); /* takes the link's place, not its target's */
  EQ(__WASI_FILETYPE_REGULAR_FILE, stat_of(D, "moved").filetype);
}

static void row_22_link_to_link(void) {
  put(D, "f", "f");
  ln(D, "f", "l");
  ln(D, "missing", "dangling");
  ln(D, "loop", "loop");
  CHECK(link_at(D, FOLLOW, "f", D, "new"), INVAL);
  CHECK(link_at(D, FOLLOW, "l", D, "new"), INVAL);
  CHECK(link_at(D, FOLLOW, "dangling", D, "new"), INVAL, NOENT);
  TRUE(!exists(D, "new"));
  CHECK(link_at(D, 0, "l", D, "l2"), OK);
  CHECK(link_at(D, 0, "dangling", D, "dangling2"), OK);
  CHECK(link_at(D, 0, "loop", D, "loop2"), OK);
  EQ(__WASI_FILETYPE_SYMBOLIC_LINK, stat_of(D, "l2").filetype);
  EQ(stat_of(D, "dangling").ino, stat_of(D, "dangling2").ino);
  EQ(2, stat_of(D, "loop").nlink);
}

static void row_23_link_refusals(void) {
  put(D, "f", "f");
  put(D, "g", "g");
  dir(D, "d");
  ln(D, "missing", "dangling");
  CHECK(link_at(D, 0, "d", D, "new"), PERM, ACCES);
  CHECK(link_at(D, 0, "f", D, "f"), EXIST_);
  CHECK(link_at(D, 0, "f", D, "g"), EXIST_);
  CHECK(link_at(D, 0, "f", D, "d"), EXIST_);
  CHECK(link_at(D, 0, "f", D, "dangling"), EXIST_);
  CHECK(link_at(D, 0, "f", D, "k/"), NOENT);
  TRUE(holds(D, "g", "g") && !exists(D, "new") && !exists(D, "k") && !exists(D, "missing"));
  EQ(1, stat_of(D, "f").nlink);
}

static void row_24_open_nofollow(void) {
  put(D, "f", "f");
  dir(D, "d");
  ln(D, "f", "lf");
  ln(D, "d", "ld");
  ln(D, "missing", "dangling");
  CHECK(try_open(D, 0, "lf", 0, RO), LOOP);
  CHECK(try_open(D, 0, "ld", 0, R(FD_READDIR)), LOOP);
  CHECK(try_open(D, 0, "dangling", 0, RO), LOOP);
  CHECK(try_open(D, 0, "ld", DIRECTORY, R(FD_READDIR)), LOOP, NOTDIR);
  CHECK(try_open(D, 0, "lf", DIRECTORY, R(FD_READDIR)), LOOP, NOTDIR);
  CHECK(try_open(D, 0, "lf", TRUNC, RW), LOOP);
  TRUE(holds(D, "f", "f"));
  CHECK(try_open(D, 0, "ld/", 0, R(FD_READDIR)), OK);
  CHECK(try_open(D, 0, "ld/.", DIRECTORY, R(FD_READDIR)), OK);
  put(D, "ld/x", "x"); /* links on the way are followed in any case */
  TRUE(holds(D, "d/x", "x"));
}

static void row_25_dangling_link(void) {
  ln(D, "target", "l");
  CHECK(try_open(D, FOLLOW, "l", 0, RO), NOENT);
  CHECK(stat_at(D, FOLLOW, "l", &st), NOENT);
  CHECK(try_open(D, 0, "l", CREAT, RW), LOOP);
  CHECK(try_open(D, FOLLOW, "l", CREAT | EXCL, RW), EXIST_);
  CHECK(try_open(D, 0, "l", CREAT | EXCL, RW), EXIST_);
  TRUE(!exists(D, "target"));
  CHECK(try_open(D, FOLLOW, "l", CREAT, RW), OK);
  EQ(__WASI_FILETYPE_REGULAR_FILE, stat_of(D, "target").filetype);
  EQ(__WASI_FILETYPE_SYMBOLIC_LINK, stat_of(D, "l").filetype);
}

static void row_26_open_contradictions(void) {
  put(D, "f", "f");
  dir(D, "d");
  CHECK(try_open(D, 0, "new", CREAT | DIRECTORY, R(FD_READDIR)), INVAL);
  CHECK(try_open(D, 0, "d", CREAT | DIRECTORY, R(FD_READDIR)), INVAL);
  CHECK(try_open(D, 0, "d", DIRECTORY | TRUNC, R(FD_READDIR)), INVAL);
  CHECK(try_open(D, 0, "f", EXCL, RO), OK);
  CHECK(try_open(D, 0, "d", 0, R(FD_READ) | R(FD_WRITE)), ISDIR);
  CHECK(try_open(D, 0, "d", CREAT, R(FD_READ)), ISDIR);
  CHECK(try_open(D, 0, "d", TRUNC, R(FD_READ)), ISDIR);
  CHECK(try_open(D, 0, ".", CREAT, R(FD_READ)), ISDIR);
  CHECK(try_open(D, 0, "f", DIRECTORY, R(FD_READDIR)), NOTDIR);
  TRUE(!exists(D, "new"));
  TRUE(holds(D, "f", "f"));
}

static void row_27_paths_beneath_a_file(void) {
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RW);
  char buf[8];
  __wasi_size_t n;
  CHECK(try_open(f, 0, "x", 0, RO), NOTDIR, NOTCAPABLE);
  CHECK(try_open(f, 0, ".", 0, RO), NOTDIR, NOTCAPABLE);
  CHECK(try_open(f, 0, "x", CREAT, RW), NOTDIR, NOTCAPABLE);
  CHECK(stat_at(f, 0, "x", &st), NOTDIR, NOTCAPABLE);
  CHECK(times_at(f, 0, "x", 1, 1, __WASI_FSTFLAGS_MTIM), NOTDIR, NOTCAPABLE);
  CHECK(mkdir_at(f, "x"), NOTDIR, NOTCAPABLE);
  CHECK(rmdir_at(f, "x"), NOTDIR, NOTCAPABLE);
  CHECK(unlink_at(f, "x"), NOTDIR, NOTCAPABLE);
  CHECK(symlink_at("t", f, "x"), NOTDIR, NOTCAPABLE);
  CHECK(readlink_at(f, "x", buf, sizeof buf, &n), NOTDIR, NOTCAPABLE);
  CHECK(rename_at(f, "x", D, "y"), NOTDIR, NOTCAPABLE);
  CHECK(rename_at(D, "f", f, "y"), NOTDIR, NOTCAPABLE);
  CHECK(link_at(f, 0, "x", D, "y"), NOTDIR, NOTCAPABLE);
  CHECK(link_at(D, 0, "f", f, "y"), NOTDIR, NOTCAPABLE);
  shut(f);
}

const test_t rows_17_to_27[] = {TEST(row_17_symlink_with_slash),
                                TEST(row_18_rename_types),
                                TEST(row_19_rename_to_slash),
                                TEST(row_20_rename_onto_hard_link),
                                TEST(row_21_rename_link),
                                TEST(row_22_link_to_link),
                                TEST(row_23_link_refusals),
                                TEST(row_24_open_nofollow),
                                TEST(row_25_dangling_link),
                                TEST(row_26_open_contradictions),
                                TEST(row_27_paths_beneath_a_file),
                                TESTS_END};
