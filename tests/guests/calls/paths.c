/* The calls on paths, each as the specification allows it. What is refused is in rows_*.c. */
#include "calls.h"

static void path_create_directory(void) {
  CHECK(mkdir_at(D, "d"), OK);
  EQ(__WASI_FILETYPE_DIRECTORY, stat_of(D, "d").filetype);
  CHECK(mkdir_at(D, "d"), EXIST_);
  CHECK(mkdir_at(D, "d/e"), OK);
  CHECK(mkdir_at(D, "d/./x//../f"), NOENT); /* x is looked up before it is left again */
  CHECK(mkdir_at(D, "missing/e"), NOENT);
  put(D, "f", "");
  CHECK(mkdir_at(D, "f"), EXIST_);
  CHECK(mkdir_at(D, "f/e"), NOTDIR);
  CHECK(mkdir_at(1000, "d"), BADF);
}

static void path_filestat_get(void) {
  stat_t st;
  put(D, "f", "12345");
  ln(D, "f", "l");
  CHECK(stat_at(D, FOLLOW, "l", &st), OK);
  EQ(__WASI_FILETYPE_REGULAR_FILE, st.filetype);
  EQ(5, st.size);
  CHECK(stat_at(D, 0, "l", &st), OK);
  EQ(__WASI_FILETYPE_SYMBOLIC_LINK, st.filetype);
  EQ(1, st.size);
  CHECK(stat_at(D, 0, ".", &st), OK);
  EQ(fstat_of(D).ino, st.ino);
  CHECK(stat_at(D, 0, "missing", &st), NOENT);
  CHECK(stat_at(D, 0, "f/x", &st), NOTDIR);
  CHECK(stat_at(1000, 0, "f", &st), BADF);
}

static void path_filestat_set_times(void) {
  u64 second = 1000000000;
  put(D, "f", "");
  ln(D, "f", "l");
  CHECK(times_at(D, FOLLOW, "l", 5 * second, 6 * second,
                 __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM), OK);
  EQ(5 * second, stat_of(D, "f").atim);
  EQ(6 * second, stat_of(D, "f").mtim);
  CHECK(times_at(D, 0, "f", 1, 1, __WASI_FSTFLAGS_MTIM_NOW), OK);
  TRUE(stat_of(D, "f").mtim > 1000000 * second);
  CHECK(times_at(D, 0, "missing", 1, 1, __WASI_FSTFLAGS_MTIM), NOENT);
  CHECK(times_at(1000, 0, "f", 1, 1, __WASI_FSTFLAGS_MTIM), BADF);
}

static void path_link(void) {
  put(D, "f", "12345");
  dir(D, "d");
  CHECK(link_at(D, 0, "f", D, "d/g"), OK);
  EQ(2, stat_of(D, "f").nlink);
  EQ(stat_of(D, "f").ino, stat_of(D, "d/g").ino);
  put(D, "d/g", "ab");
  TRUE(holds(D, "f", "ab"));
  CHECK(unlink_at(D, "f"), OK);
  EQ(1, stat_of(D, "d/g").nlink);
  CHECK(link_at(D, 0, "missing", D, "x"), NOENT);
  CHECK(link_at(1000, 0, "d/g", D, "x"), BADF);
  CHECK(link_at(D, 0, "d/g", 1000, "x"), BADF);
}

/* Every combination of the open flags, on what is missing, a file, a directory and a link. */
static void path_open_flags(void) {
  static const char *const names[] = {"missing", "f", "d", "l"};
  /* [flags][name]; flags: 1 CREAT, 2 DIRECTORY, 4 EXCL, 8 TRUNC; links are followed, to f */
  static const uint16_t want[16][4] = {
      {NOENT, OK, OK, OK},           {OK, OK, ISDIR, OK},
      {NOENT, NOTDIR, OK, NOTDIR},   {INVAL, INVAL, INVAL, INVAL},
      {NOENT, OK, OK, OK},           {OK, EXIST_, EXIST_, EXIST_},
      {NOENT, NOTDIR, OK, NOTDIR},   {INVAL, INVAL, INVAL, INVAL},
      {NOENT, OK, ISDIR, OK},        {OK, OK, ISDIR, OK},
      {INVAL, INVAL, INVAL, INVAL},  {INVAL, INVAL, INVAL, INVAL},
      {NOENT, OK, ISDIR, OK},        {OK, EXIST_, EXIST_, EXIST_},
      {INVAL, INVAL, INVAL, INVAL},  {INVAL, INVAL, INVAL, INVAL}};
  put(D, "f", "");
  dir(D, "d");
  ln(D, "f", "l");
  for (uint16_t flags = 0; flags < 16; flags++)
    for (size_t i = 0; i < 4; i++) {
      char call[32];
      name_of(call, names[i], flags); /* such as f013: the file, with CREAT, EXCL and TRUNC */
      put(D, "f", "12345");
      uint16_t e = try_open(D, FOLLOW, names[i], flags, R(FD_READ));
      check_errno(__FILE__, __LINE__, call, e, ERRNOS(want[flags][i]));
      bool cut = flags & TRUNC && e == OK && (i == 1 || i == 3);
      check_eq(__FILE__, __LINE__, call, cut ? 0 : 5, stat_of(D, "f").size);
      if (e == OK && i == 0)
        CHECK(unlink_at(D, "missing"), OK);
    }
}

static void path_open(void) {
  fd_t f = -1;
  CHECK(__wasi_path_open(D, 0, "f", CREAT | EXCL, RW, 0, __WASI_FDFLAGS_NONBLOCK, &f), OK);
  EQ(0, fstat_of(f).size);
  shut(f);
  CHECK(try_open(1000, 0, "f", 0, RO), BADF);
  CHECK(try_open(D, 0, "missing/f", CREAT, RO), NOENT);
  CHECK(try_open(D, 0, "f/g", CREAT, RO), NOTDIR);
  fd_t here = open_dir(D, ".");
  EQ(fstat_of(D).ino, fstat_of(here).ino);
  shut(here);
}

static void path_readlink(void) {
  char buf[16];
  __wasi_size_t n = 0;
  ln(D, "some/../target", "l");
  memset(buf, '#', sizeof buf);
  CHECK(readlink_at(D, "l", buf, sizeof buf, &n), OK);
  EQ(14, n);
  TRUE(!memcmp(buf, "some/../target##", 16)); /* as it was given */
  CHECK(readlink_at(D, "missing", buf, sizeof buf, &n), NOENT);
  CHECK(readlink_at(1000, "l", buf, sizeof buf, &n), BADF);
}

static void path_remove_directory(void) {
  dir(D, "d");
  dir(D, "d/e");
  CHECK(rmdir_at(D, "d"), NOTEMPTY);
  CHECK(rmdir_at(D, "d/e"), OK);
  CHECK(rmdir_at(D, "d"), OK);
  CHECK(rmdir_at(D, "d"), NOENT);
  put(D, "f", "");
  CHECK(rmdir_at(D, "f"), NOTDIR);
  CHECK(rmdir_at(1000, "d"), BADF);
}

static void path_rename(void) {
  put(D, "f", "f");
  put(D, "g", "g");
  dir(D, "d");
  CHECK(rename_at(D, "f", D, "g"), OK); /* a file takes a file's place */
  TRUE(!exists(D, "f"));
  TRUE(holds(D, "g", "f"));
  fd_t d = open_dir(D, "d");
  CHECK(rename_at(D, "g", d, "h"), OK); /* from one descriptor to another */
  TRUE(holds(D, "d/h", "f"));
  CHECK(rename_at(D, "d", D, "e"), OK);
  TRUE(holds(d, "h", "f")); /* an open directory goes with its node */
  CHECK(rename_at(D, "missing", D, "x"), NOENT);
  CHECK(rename_at(1000, "e", D, "x"), BADF);
  CHECK(rename_at(D, "e", 1000, "x"), BADF);
  shut(d);
}

static void path_symlink(void) {
  dir(D, "d");
  CHECK(symlink_at("../f", D, "d/l"), OK);
  put(D, "f", "f");
  TRUE(holds(D, "d/l", "f"));
  CHECK(symlink_at("x", D, "d/l"), EXIST_);
  CHECK(symlink_at("x", D, "missing/l"), NOENT);
  CHECK(symlink_at("x", 1000, "l"), BADF);
  ln(D, "loop", "loop");
  CHECK(try_open(D, FOLLOW, "loop", 0, RO), LOOP);
  CHECK(try_open(D, 0, "loop/x", 0, RO), LOOP);
}

static void path_unlink_file(void) {
  put(D, "f", "");
  ln(D, "f", "l");
  CHECK(unlink_at(D, "l"), OK);
  TRUE(exists(D, "f"));
  CHECK(unlink_at(D, "f"), OK);
  CHECK(unlink_at(D, "f"), NOENT);
  CHECK(unlink_at(D, "missing/f"), NOENT);
  CHECK(unlink_at(1000, "f"), BADF);
}

const test_t path_tests[] = {
    TEST(path_create_directory), TEST(path_filestat_get), TEST(path_filestat_set_times),
    TEST(path_link),             TEST(path_open_flags),   TEST(path_open),
    TEST(path_readlink),         TEST(path_remove_directory), TEST(path_rename),
    TEST(path_symlink),          TEST(path_unlink_file),  TESTS_END};
