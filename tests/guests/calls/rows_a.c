/* Rows 1 to 16 of what hosts get wrong: how paths are read. */
#include "calls.h"

static stat_t st;
static char buf[64];
static __wasi_size_t n;

/* Calls every operation that takes a path with this one, where a plain file `plain` exists.
 * `want` is what each has to say. */
static void every_operation(const char *path, errnos_t want) {
#define EACH(call) check_errno(__FILE__, __LINE__, #call, (call), want)
  EACH(try_open(D, FOLLOW, path, 0, RO));
  EACH(try_open(D, 0, path, 0, RO));
  EACH(try_open(D, FOLLOW, path, CREAT, RW));
  EACH(try_open(D, FOLLOW, path, DIRECTORY, R(FD_READDIR)));
  EACH(stat_at(D, FOLLOW, path, &st));
  EACH(stat_at(D, 0, path, &st));
  EACH(times_at(D, FOLLOW, path, 1, 1, __WASI_FSTFLAGS_MTIM));
  EACH(times_at(D, 0, path, 1, 1, __WASI_FSTFLAGS_MTIM));
  EACH(mkdir_at(D, path));
  EACH(rmdir_at(D, path));
  EACH(unlink_at(D, path));
  EACH(readlink_at(D, path, buf, sizeof buf, &n));
  EACH(symlink_at("plain", D, path));
  EACH(rename_at(D, path, D, "new"));
  EACH(rename_at(D, "plain", D, path));
  EACH(link_at(D, 0, path, D, "new"));
  EACH(link_at(D, 0, "plain", D, path));
#undef EACH
  TRUE(holds(D, "plain", "plain"));
  TRUE(!exists(D, "new"));
}

static const errnos_t escape = ERRNOS(PERM, NOTCAPABLE);

static void row_01_absolute_path(void) {
  put(D, "plain", "plain");
  every_operation("/", escape);
  every_operation("/plain", escape);
  every_operation("//plain", escape);
  every_operation("/row_01_absolute_path/plain", escape);
  every_operation("/etc/passwd", escape);
}

static void row_02_dotdot_above_base(void) {
  put(D, "plain", "plain");
  dir(D, "d");
  every_operation("../plain", escape);
  every_operation("../row_02_dotdot_above_base/plain", escape);
  every_operation("d/../../plain", escape);
  every_operation("d/../../row_02_dotdot_above_base/plain", escape);
  every_operation("./../plain", escape);
  every_operation("../../../../../../../../../../etc/passwd", escape);
  ESCAPE(try_open(D, 0, "..", 0, RO));
  ESCAPE(try_open(D, 0, "d/../..", 0, RO));
  ESCAPE(stat_at(D, 0, "..", &st));
  TRUE(holds(D, "d/../plain", "plain"));
  TRUE(holds(D, "d/../d/.././plain", "plain"));
}

static void row_03_link_target_above_fd(void) {
  put(D, "f", "f");
  dir(D, "sub");
  ln(D, "../f", "sub/l");
  TRUE(holds(D, "sub/l", "f"));
  fd_t sub = open_dir(D, "sub");
  ESCAPE(try_open(sub, FOLLOW, "l", 0, RO));
  ESCAPE(stat_at(sub, FOLLOW, "l", &st));
  ESCAPE(try_open(sub, FOLLOW, "l", CREAT | TRUNC, RW));
  CHECK(stat_at(sub, 0, "l", &st), OK);
  shut(sub);
  TRUE(holds(D, "f", "f"));
}

static void row_04_absolute_link_target(void) {
  ESCAPE(symlink_at("/etc/passwd", D, "l"));
  ESCAPE(symlink_at("/", D, "l"));
  TRUE(!exists(D, "l"));
  CHECK(symlink_at("../../../../x", D, "up"), OK); /* judged when it is used */
  ESCAPE(try_open(D, FOLLOW, "up", 0, RO));
  ESCAPE(try_open(D, FOLLOW, "up", CREAT, RW));
  ESCAPE(try_open(root, FOLLOW, "row_04_absolute_link_target/up", CREAT, RW));
  ESCAPE(stat_at(D, FOLLOW, "up", &st));
  CHECK(readlink_at(D, "up", buf, sizeof buf, &n), OK);
  EQ(13, n);
}

/* The host put an absolute link `absolute` into the preopen. */
static void host_05_readlink_absolute(void) {
  ESCAPE(readlink_at(root, "absolute", buf, sizeof buf, &n));
  ESCAPE(try_open(root, FOLLOW, "absolute", 0, RO));
  ESCAPE(stat_at(root, FOLLOW, "absolute", &st));
  CHECK(stat_at(root, 0, "absolute", &st), OK);
}

static void row_06_empty_path(void) {
  const errnos_t noent = ERRNOS(NOENT);
  put(D, "plain", "plain");
  every_operation("", noent);
  CHECK(symlink_at("", D, "l"), NOENT);
  TRUE(!exists(D, "l"));
}

/* Every operation on the len bytes at p, which need not be a string. */
static void every_raw_operation(const char *p, uint32_t len, errnos_t want) {
  fd_t fd;
  uint32_t d = (uint32_t)D, at = PTR(p), stat = PTR(&st), plain = PTR("plain"), new = PTR("new");
#define EACH(call) check_errno(__FILE__, __LINE__, #call, (call), want)
  EACH(raw_path_open(d, FOLLOW, at, len, 0, R(FD_READ), 0, 0, PTR(&fd)));
  EACH(raw_path_open(d, 0, at, len, CREAT, R(FD_READ), 0, 0, PTR(&fd)));
  EACH(raw_path_filestat_get(d, 0, at, len, stat));
  EACH(raw_path_filestat_set_times(d, 0, at, len, 0, 0, __WASI_FSTFLAGS_MTIM));
  EACH(raw_path_create_directory(d, at, len));
  EACH(raw_path_remove_directory(d, at, len));
  EACH(raw_path_unlink_file(d, at, len));
  EACH(raw_path_readlink(d, at, len, PTR(buf), sizeof buf, PTR(&n)));
  EACH(raw_path_symlink(plain, 5, d, at, len));
  /* A target is text: only as a whole can it be too long. */
  if (len != 256)
    EACH(raw_path_symlink(at, len, d, new, 3));
  EACH(raw_path_rename(d, at, len, d, new, 3));
  EACH(raw_path_rename(d, plain, 5, d, at, len));
  EACH(raw_path_link(d, 0, at, len, d, new, 3));
  EACH(raw_path_link(d, 0, plain, 5, d, at, len));
#undef EACH
  TRUE(holds(D, "plain", "plain"));
  TRUE(!exists(D, "new"));
}

static void row_07_nul_in_path(void) {
  const errnos_t refused = ERRNOS(INVAL, ILSEQ, NOENT);
  put(D, "plain", "plain");
  every_raw_operation("plain\0", 6, refused);
  every_raw_operation("pla\0in", 6, refused);
  every_raw_operation("\0", 1, refused);
}

static void row_08_invalid_utf8(void) {
  const errnos_t ilseq = ERRNOS(ILSEQ);
  put(D, "plain", "plain");
  every_raw_operation("a\xff", 2, ilseq);
  every_raw_operation("\xc0\xae\xc0\xae/x", 6, ilseq);  /* overlong dots */
  every_raw_operation("\xed\xa0\x80", 3, ilseq);        /* a surrogate */
  every_raw_operation("caf\xc3", 4, ilseq);             /* cut short */
  CHECK(mkdir_at(D, "caf\xc3\xa9 \xf0\x9f\xa6\x80"), OK);
}

static void row_08_long_names(void) {
  const errnos_t toolong = ERRNOS(NAMETOOLONG);
  static char name[257], path[6001];
  put(D, "plain", "plain");
  memset(name, 'n', 256);
  every_raw_operation(name, 256, toolong);
  name[255] = 0;
  CHECK(mkdir_at(D, name), OK);
  for (size_t i = 0; i < sizeof path - 1; i += 2)
    memcpy(path + i, "./", 2);
  every_raw_operation(path, 6000, toolong);
}

static void row_09_slash_behind_file(void) {
  static const char *const paths[] = {"f/", "f/.", "f///", "f/./", "lf/", "lf/."};
  put(D, "f", "f");
  ln(D, "f", "lf");
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    const char *p = paths[i];
    CHECK(try_open(D, FOLLOW, p, 0, RO), NOTDIR, NOENT);
    CHECK(try_open(D, 0, p, 0, RO), NOTDIR, NOENT);
    CHECK(try_open(D, FOLLOW, p, TRUNC, RW), NOTDIR, NOENT);
    CHECK(stat_at(D, FOLLOW, p, &st), NOTDIR, NOENT);
    CHECK(stat_at(D, 0, p, &st), NOTDIR, NOENT);
    CHECK(times_at(D, FOLLOW, p, 1, 1, __WASI_FSTFLAGS_MTIM), NOTDIR, NOENT);
    CHECK(unlink_at(D, p), NOTDIR, NOENT);
    CHECK(rename_at(D, p, D, "new"), NOTDIR, NOENT);
    CHECK(link_at(D, 0, p, D, "new"), NOTDIR, NOENT);
    TRUE(holds(D, "f", "f"));
    TRUE(!exists(D, "new"));
  }
}

static void row_10_lstat_link_slash(void) {
  dir(D, "d");
  ln(D, "d", "ln");
  EQ(__WASI_FILETYPE_SYMBOLIC_LINK, stat_of(D, "ln").filetype);
  EQ(__WASI_FILETYPE_DIRECTORY, stat_of(D, "ln/").filetype);
  EQ(__WASI_FILETYPE_DIRECTORY, stat_of(D, "ln/.").filetype);
  EQ(stat_of(D, "d").ino, stat_of(D, "ln/").ino);
}

static void row_11_create_with_slash(void) {
  CHECK(try_open(D, 0, "new/", CREAT, RW), ISDIR);
  CHECK(try_open(D, FOLLOW, "new//", CREAT | EXCL, RW), ISDIR);
  TRUE(!exists(D, "new"));
}

static void row_12_mkdir_endings(void) {
  put(D, "f", "f");
  ln(D, "missing", "dangling");
  CHECK(mkdir_at(D, "d/"), OK);
  CHECK(mkdir_at(D, "e///"), OK);
  EQ(__WASI_FILETYPE_DIRECTORY, stat_of(D, "d").filetype);
  CHECK(mkdir_at(D, "f/"), EXIST_);
  CHECK(mkdir_at(D, "dangling"), EXIST_);
  CHECK(mkdir_at(D, "."), EXIST_);
  TRUE(!exists(D, "missing"));
}

static void row_13_rmdir_slash(void) {
  dir(D, "d");
  dir(D, "e");
  CHECK(rmdir_at(D, "d/"), OK);
  CHECK(rmdir_at(D, "e///"), OK);
  TRUE(!exists(D, "d") && !exists(D, "e"));
}

static void row_14_rmdir_link(void) {
  dir(D, "d");
  ln(D, "d", "ln");
  CHECK(rmdir_at(D, "ln"), NOTDIR);
  CHECK(rmdir_at(D, "ln/"), NOTDIR);
  TRUE(exists(D, "ln") && exists(D, "d"));
}

static void row_15_rmdir_dots(void) {
  CHECK(rmdir_at(D, "."), INVAL);
  ESCAPE(rmdir_at(D, ".."));
  dir(D, "d");
  CHECK(rmdir_at(D, "d/."), INVAL);
  TRUE(exists(D, "d"));
}

static void row_16_unlink_directory(void) {
  dir(D, "d");
  ln(D, "d", "ln");
  CHECK(unlink_at(D, "d"), ISDIR);
  CHECK(unlink_at(D, "d/"), ISDIR);
  CHECK(unlink_at(D, "ln/"), ISDIR, NOTDIR);
  TRUE(exists(D, "d") && exists(D, "ln"));
}

const test_t rows_01_to_16[] = {TEST(row_01_absolute_path),
                                TEST(row_02_dotdot_above_base),
                                TEST(row_03_link_target_above_fd),
                                TEST(row_04_absolute_link_target),
                                {"host_05_readlink_absolute", host_05_readlink_absolute, HOST},
                                TEST(row_06_empty_path),
                                TEST(row_07_nul_in_path),
                                TEST(row_08_invalid_utf8),
                                TEST(row_08_long_names),
                                TEST(row_09_slash_behind_file),
                                TEST(row_10_lstat_link_slash),
                                TEST(row_11_create_with_slash),
                                TEST(row_12_mkdir_endings),
                                TEST(row_13_rmdir_slash),
                                TEST(row_14_rmdir_link),
                                TEST(row_15_rmdir_dots),
                                TEST(row_16_unlink_directory),
                                TESTS_END};
