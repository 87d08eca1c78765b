/* Rows 28 to 37: rights, and what a descriptor refuses. */
#include "calls.h"

static stat_t st;
static char buf[64];
static __wasi_size_t n;
static __wasi_iovec_t in1 = {(uint8_t *)buf, 1};
static __wasi_ciovec_t out1 = {(const uint8_t *)"x", 1};
#define SECOND 1000000000ull

/* `.` of D again, with exactly these rights. */
static fd_t limited(__wasi_rights_t base, __wasi_rights_t inheriting) {
  fd_t fd = -1;
  CHECK(__wasi_path_open(D, 0, ".", DIRECTORY, base, inheriting, 0, &fd), OK);
  return fd;
}

static uint16_t open_both(fd_t at, const char *path, __wasi_oflags_t how, __wasi_rights_t base,
                          __wasi_rights_t inheriting, __wasi_fdflags_t flags) {
  fd_t fd;
  uint16_t e = __wasi_path_open(at, 0, path, how, base, inheriting, flags, &fd);
  if (!e)
    shut(fd);
  return e;
}

static void row_28_rights_of_opened(void) {
  __wasi_rights_t base = fdstat_of(D).fs_rights_base;
  __wasi_rights_t few = R(FD_READ) | R(FD_SEEK) | R(FD_TELL) | R(FD_FILESTAT_GET);
  EQ(0, base & (R(FD_SEEK) | R(FD_FILESTAT_SET_SIZE)));
  EQ(0, fdstat_of(root).fs_rights_base & (R(FD_SEEK) | R(FD_FILESTAT_SET_SIZE)));
  put(D, "f", "f");
  dir(D, "d");
  fd_t f = open_file(D, "f", 0, R(FD_READ));
  EQ(R(FD_READ), fdstat_of(f).fs_rights_base);
  shut(f);
  fd_t lim = limited(base, few);
  EQ(base, fdstat_of(lim).fs_rights_base);
  EQ(few, fdstat_of(lim).fs_rights_inheriting);
  CHECK(open_both(lim, "f", 0, R(FD_READ), 0, 0), OK);
  CHECK(open_both(lim, "f", 0, R(FD_READ) | R(FD_WRITE), 0, 0), NOTCAPABLE);
  CHECK(open_both(lim, "f", 0, R(FD_WRITE), 0, 0), NOTCAPABLE);
  CHECK(open_both(lim, "d", DIRECTORY, R(FD_FILESTAT_GET), R(FD_WRITE), 0), NOTCAPABLE);
  f = open_file(lim, "f", 0, 0); /* 0 and 0: what may be passed on, and no more */
  EQ(few, fdstat_of(f).fs_rights_base);
  CHECK(__wasi_fd_read(f, &in1, 1, &n), OK);
  CHECK(__wasi_fd_write(f, &out1, 1, &n), NOTCAPABLE, BADF);
  shut(f);
  shut(lim);
  f = open_file(D, "f", 0, R(FD_READ) | 1ull << 40 | 1ull << 63); /* bits without a meaning */
  EQ(R(FD_READ), fdstat_of(f).fs_rights_base);
  shut(f);
}

static void row_28_file_rights_enforced(void) {
  __wasi_filesize_t at;
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, R(FD_READ));
  CHECK(__wasi_fd_read(f, &in1, 1, &n), OK);
  CHECK(__wasi_fd_write(f, &out1, 1, &n), NOTCAPABLE, BADF);
  CHECK(__wasi_fd_seek(f, 1, SET, &at), NOTCAPABLE);
  CHECK(__wasi_fd_tell(f, &at), NOTCAPABLE);
  CHECK(__wasi_fd_filestat_get(f, &st), NOTCAPABLE);
  CHECK(__wasi_fd_filestat_set_size(f, 0), NOTCAPABLE, BADF, INVAL);
  CHECK(__wasi_fd_filestat_set_times(f, 1, 1, __WASI_FSTFLAGS_MTIM), NOTCAPABLE);
  CHECK(__wasi_fd_fdstat_set_flags(f, APPEND), NOTCAPABLE);
  CHECK(__wasi_fd_advise(f, 0, 0, 0), NOTCAPABLE);
  CHECK(__wasi_fd_allocate(f, 0, 100), NOTCAPABLE, BADF);
  CHECK(__wasi_fd_sync(f), NOTCAPABLE);
  CHECK(__wasi_fd_datasync(f), NOTCAPABLE);
  shut(f);
  f = open_file(D, "f", 0, R(FD_WRITE) | R(FD_SEEK));
  CHECK(__wasi_fd_read(f, &in1, 1, &n), NOTCAPABLE, BADF);
  CHECK(__wasi_fd_pread(f, &in1, 1, 0, &n), NOTCAPABLE, BADF);
  shut(f);
  f = open_file(D, "f", 0, R(FD_SEEK));
  CHECK(__wasi_fd_read(f, &in1, 1, &n), NOTCAPABLE, BADF);
  CHECK(__wasi_fd_write(f, &out1, 1, &n), NOTCAPABLE, BADF);
  shut(f);
  TRUE(holds(D, "f", "f"));
}

/* For each right of a directory: a descriptor without it is refused, and nothing has happened. */
static void row_28_path_rights_enforced(void) {
  __wasi_rights_t base = fdstat_of(D).fs_rights_base;
  __wasi_rights_t inheriting = fdstat_of(D).fs_rights_inheriting;
  put(D, "f", "f");
  dir(D, "d");
  ln(D, "f", "l");
#define WITHOUT(right, call)                                                                       \
  do {                                                                                             \
    fd_t lim = limited(base & ~R(right), inheriting);                                              \
    EQ(0, fdstat_of(lim).fs_rights_base & R(right));                                               \
    check_errno(__FILE__, __LINE__, #call, (call), ERRNOS(NOTCAPABLE));                            \
    shut(lim);                                                                                     \
  } while (0)
  WITHOUT(PATH_CREATE_DIRECTORY, mkdir_at(lim, "new"));
  WITHOUT(PATH_CREATE_FILE, try_open(lim, 0, "new", CREAT, RW));
  WITHOUT(PATH_LINK_SOURCE, link_at(lim, 0, "f", D, "new"));
  WITHOUT(PATH_LINK_TARGET, link_at(D, 0, "f", lim, "new"));
  WITHOUT(PATH_OPEN, try_open(lim, 0, "f", 0, RO));
  WITHOUT(FD_READDIR, __wasi_fd_readdir(lim, (uint8_t *)buf, sizeof buf, 0, &n));
  WITHOUT(PATH_READLINK, readlink_at(lim, "l", buf, sizeof buf, &n));
  WITHOUT(PATH_RENAME_SOURCE, rename_at(lim, "f", D, "new"));
  WITHOUT(PATH_RENAME_TARGET, rename_at(D, "f", lim, "new"));
  WITHOUT(PATH_FILESTAT_GET, stat_at(lim, 0, "f", &st));
  WITHOUT(PATH_FILESTAT_SET_TIMES, times_at(lim, 0, "f", 1, 1, __WASI_FSTFLAGS_MTIM));
  WITHOUT(PATH_SYMLINK, symlink_at("t", lim, "new"));
  WITHOUT(PATH_REMOVE_DIRECTORY, rmdir_at(lim, "d"));
  WITHOUT(PATH_UNLINK_FILE, unlink_at(lim, "f"));
  WITHOUT(FD_FILESTAT_GET, __wasi_fd_filestat_get(lim, &st));
#undef WITHOUT
  TRUE(!exists(D, "new"));
  TRUE(exists(D, "d") && holds(D, "f", "f"));
}

/* Either right allows it: who is passed FD_FILESTAT_SET_SIZE can open and then truncate. Go opens
   every directory without PATH_FILESTAT_SET_SIZE, and creates files beneath it. But what is given up
   is given up. */
static void row_28_rights_to_truncate(void) {
  __wasi_rights_t base = fdstat_of(D).fs_rights_base & ~R(PATH_FILESTAT_SET_SIZE);
  __wasi_rights_t none = fdstat_of(D).fs_rights_inheriting & ~R(FD_FILESTAT_SET_SIZE);
  __wasi_rights_t rw = R(FD_READ) | R(FD_WRITE);
  put(D, "f", "f");
  fd_t lim = limited(base, none);
  EQ(0, fdstat_of(lim).fs_rights_base & R(PATH_FILESTAT_SET_SIZE));
  CHECK(open_both(lim, "f", TRUNC, rw, 0, 0), NOTCAPABLE);
  CHECK(open_both(lim, "new", CREAT | TRUNC, rw, 0, 0), NOTCAPABLE);
  TRUE(!exists(D, "new") && holds(D, "f", "f"));
  shut(lim);
  lim = limited(base | R(PATH_FILESTAT_SET_SIZE), none);
  CHECK(open_both(lim, "new", CREAT | TRUNC, rw, 0, 0), OK);
  shut(lim);
  lim = limited(base, none | R(FD_FILESTAT_SET_SIZE));
  EQ(0, fdstat_of(lim).fs_rights_base & R(PATH_FILESTAT_SET_SIZE));
  CHECK(open_both(lim, "newer", CREAT | TRUNC, rw, 0, 0), OK);
  CHECK(open_both(lim, "f", TRUNC, rw, 0, 0), OK);
  TRUE(exists(D, "newer") && holds(D, "f", ""));
  CHECK(__wasi_fd_fdstat_set_rights(lim, base, none | R(FD_FILESTAT_SET_SIZE)), OK);
  CHECK(open_both(lim, "f", TRUNC, rw, 0, 0), NOTCAPABLE);
  shut(lim);
}

static void row_29_set_rights(void) {
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RW);
  __wasi_rights_t keep = R(FD_READ) | R(FD_SEEK);
  CHECK(__wasi_fd_fdstat_set_rights(f, keep, 0), OK);
  EQ(keep, fdstat_of(f).fs_rights_base & ~R(FD_TELL));
  CHECK(__wasi_fd_fdstat_set_rights(f, RW, 0), NOTCAPABLE);
  CHECK(__wasi_fd_fdstat_set_rights(f, keep | R(FD_WRITE), 0), NOTCAPABLE);
  EQ(keep, fdstat_of(f).fs_rights_base & ~R(FD_TELL));
  CHECK(__wasi_fd_write(f, &out1, 1, &n), NOTCAPABLE, BADF);
  CHECK(__wasi_fd_fdstat_set_rights(f, 0, 0), OK);
  EQ(0, fdstat_of(f).fs_rights_base);
  CHECK(__wasi_fd_read(f, &in1, 1, &n), NOTCAPABLE, BADF);
  CHECK(__wasi_fd_fdstat_set_rights(1000, 0, 0), BADF);
  shut(f);
  fd_t d = open_dir(D, ".");
  fdstat_t have = fdstat_of(d);
  CHECK(__wasi_fd_fdstat_set_rights(d, have.fs_rights_base, R(FD_READ)), OK);
  CHECK(__wasi_fd_fdstat_set_rights(d, have.fs_rights_base, R(FD_READ) | R(FD_WRITE)), NOTCAPABLE);
  CHECK(open_both(d, "f", 0, R(FD_WRITE), 0, 0), NOTCAPABLE);
  CHECK(open_both(d, "f", 0, R(FD_READ), 0, 0), OK);
  shut(d);
}

static void row_30_rights_in_pairs(void) {
  __wasi_filesize_t at;
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, R(FD_READ) | R(FD_WRITE));
  CHECK(__wasi_fd_pread(f, &in1, 1, 0, &n), NOTCAPABLE);
  CHECK(__wasi_fd_pwrite(f, &out1, 1, 0, &n), NOTCAPABLE);
  shut(f);
  f = open_file(D, "f", 0, R(FD_READ) | R(FD_WRITE) | R(FD_SEEK));
  CHECK(__wasi_fd_pread(f, &in1, 1, 0, &n), OK);
  CHECK(__wasi_fd_pwrite(f, &out1, 1, 0, &n), OK);
  CHECK(__wasi_fd_tell(f, &at), OK); /* FD_SEEK implies FD_TELL */
  shut(f);
  f = open_file(D, "f", 0, R(FD_READ) | R(FD_TELL));
  CHECK(__wasi_fd_tell(f, &at), OK);
  CHECK(__wasi_fd_seek(f, 0, CUR, &at), OK); /* moves nothing: FD_TELL is enough */
  CHECK(__wasi_fd_seek(f, 1, CUR, &at), NOTCAPABLE);
  CHECK(__wasi_fd_seek(f, 0, SET, &at), NOTCAPABLE);
  shut(f);
}

static void row_30_rights_for_flags(void) {
  fdstat_t all = fdstat_of(D);
  __wasi_rights_t sync = R(FD_SYNC) | R(FD_DATASYNC);
  put(D, "f", "f");
  CHECK(open_both(D, "f", 0, RW, 0, __WASI_FDFLAGS_DSYNC), OK);
  CHECK(open_both(D, "f", 0, RW, 0, __WASI_FDFLAGS_SYNC), OK);
  fd_t lim = limited(all.fs_rights_base & ~sync, all.fs_rights_inheriting & ~sync);
  CHECK(open_both(lim, "f", 0, R(FD_WRITE), 0, 0), OK);
  CHECK(open_both(lim, "f", 0, R(FD_WRITE), 0, __WASI_FDFLAGS_DSYNC), NOTCAPABLE);
  CHECK(open_both(lim, "f", 0, R(FD_WRITE), 0, __WASI_FDFLAGS_SYNC), NOTCAPABLE);
  CHECK(open_both(lim, "f", 0, R(FD_WRITE), 0, __WASI_FDFLAGS_RSYNC), NOTCAPABLE);
  shut(lim);
}

static void row_30_rights_for_poll(void) {
  __wasi_event_t event = {0};
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, R(FD_READ) | R(FD_WRITE));
  __wasi_subscription_t sub = {.userdata = 1, .u = {.tag = __WASI_EVENTTYPE_FD_READ}};
  sub.u.u.fd_read.file_descriptor = f;
  CHECK(__wasi_poll_oneoff(&sub, &event, 1, &n), OK);
  EQ(1, n);
  CHECK(event.error, NOTCAPABLE);
  shut(f);
}

static void row_31_renumber(void) {
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RW);
  CHECK(__wasi_fd_renumber(f, f), OK);
  CHECK(__wasi_fd_renumber(f, 1000), BADF);
  CHECK(__wasi_fd_renumber(1000, f), BADF);
  CHECK(__wasi_fd_renumber(1000, 1000), BADF);
  CHECK(__wasi_fd_renumber(-1, f), BADF);
  CHECK(__wasi_fd_renumber(f, -1), BADF);
  EQ(1, fstat_of(f).size); /* still open */
  CHECK(__wasi_fd_filestat_get(1000, &st), BADF);
  shut(f);
}

static void row_31_renumber_onto_preopen(void) {
  fd_t copy = open_dir(root, ".");
  CHECK(__wasi_fd_renumber(copy, root), OK);
  CHECK(__wasi_fd_close(copy), BADF);
  CHECK(stat_at(root, 0, "row_31_renumber_onto_preopen", &st), OK);
  EQ(fstat_of(D).ino, st.ino);
}

static void row_31_renumber_onto_stdio(void) {
  put(D, "f", "input");
  fd_t f = open_file(D, "f", 0, RO);
  size_t got;
  CHECK(__wasi_fd_renumber(f, 0), OK);
  CHECK(__wasi_fd_close(f), BADF);
  CHECK(read_text(0, buf, sizeof buf, &got), OK);
  TRUE(!strcmp(buf, "input"));
}

static void row_32_append(void) {
  fd_t f = -1;
  __wasi_filesize_t at;
  put(D, "f", "abc");
  CHECK(__wasi_path_open(D, 0, "f", 0, RW, 0, APPEND, &f), OK);
  CHECK(__wasi_fd_seek(f, 1, SET, &at), OK);
  write_all(f, "X");
  EQ(4, tell(f));
  CHECK(__wasi_fd_pwrite(f, &(__wasi_ciovec_t){(const uint8_t *)"Y", 1}, 1, 0, &n), OK);
  EQ(4, tell(f));
  shut(f);
  bool as_linux = fstat_of(f = open_file(D, "f", 0, RO)).size == 5;
  shut(f);
  TRUE(holds(D, "f", as_linux ? "abcXY" : "YbcX"));
}

static void row_33_set_flags(void) {
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RW);
  CHECK(__wasi_fd_fdstat_set_flags(f, APPEND | __WASI_FDFLAGS_NONBLOCK), OK);
  EQ(APPEND | __WASI_FDFLAGS_NONBLOCK, fdstat_of(f).fs_flags);
  CHECK(__wasi_fd_fdstat_set_flags(f, __WASI_FDFLAGS_DSYNC), INVAL);
  CHECK(__wasi_fd_fdstat_set_flags(f, __WASI_FDFLAGS_SYNC), INVAL);
  CHECK(__wasi_fd_fdstat_set_flags(f, __WASI_FDFLAGS_RSYNC), INVAL);
  EQ(APPEND | __WASI_FDFLAGS_NONBLOCK, fdstat_of(f).fs_flags);
  CHECK(__wasi_fd_fdstat_set_flags(f, 0), OK);
  EQ(0, fdstat_of(f).fs_flags);
  shut(f);
}

static void row_34_times_contradict(void) {
  static const uint16_t bad[] = {__WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW,
                                 __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW, 0xf};
  u64 a = 11 * SECOND, m = 22 * SECOND;
  uint16_t both = __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM;
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RW);
  CHECK(__wasi_fd_filestat_set_times(f, a, m, both), OK);
  for (size_t i = 0; i < 3; i++) {
    CHECK(__wasi_fd_filestat_set_times(f, 1, 1, bad[i]), INVAL);
    CHECK(times_at(D, 0, "f", 1, 1, bad[i]), INVAL);
    EQ(a, fstat_of(f).atim);
    EQ(m, fstat_of(f).mtim);
  }
  shut(f);
}

static void row_34_times_of_link(void) {
  put(D, "f", "f");
  ln(D, "f", "l");
  CHECK(times_at(D, 0, "f", 1, 5 * SECOND, __WASI_FSTFLAGS_MTIM), OK);
  CHECK(times_at(D, 0, "l", 1, 6 * SECOND, __WASI_FSTFLAGS_MTIM), OK);
  EQ(5 * SECOND, stat_of(D, "f").mtim);
  EQ(6 * SECOND, stat_of(D, "l").mtim);
  CHECK(times_at(D, FOLLOW, "l", 1, 7 * SECOND, __WASI_FSTFLAGS_MTIM), OK);
  EQ(7 * SECOND, stat_of(D, "f").mtim);
  EQ(6 * SECOND, stat_of(D, "l").mtim);
}

static void row_35_set_size(void) {
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RO);
  CHECK(__wasi_fd_filestat_set_size(f, 0), INVAL, BADF, ACCES, NOTCAPABLE);
  EQ(1, fstat_of(f).size);
  shut(f);
  f = open_file(D, "f", 0, RW);
  CHECK(__wasi_fd_filestat_set_size(f, 1ull << 63), INVAL, FBIG);
  CHECK(__wasi_fd_filestat_set_size(f, ~0ull), INVAL, FBIG);
  EQ(1, fstat_of(f).size);
  shut(f);
}

static void row_36_allocate(void) {
  put(D, "f", "0123456789");
  fd_t f = open_file(D, "f", 0, RW);
  uint16_t e = CHECK(__wasi_fd_allocate(f, 5, 20), OK, NOTSUP);
  EQ(e ? 10 : 25, fstat_of(f).size);
  CHECK(__wasi_fd_allocate(f, 0, 5), OK, NOTSUP);
  EQ(e ? 10 : 25, fstat_of(f).size); /* never shorter */
  CHECK(__wasi_fd_allocate(f, ~0ull, 2), FBIG, INVAL, NOTSUP);
  EQ(e ? 10 : 25, fstat_of(f).size);
  CHECK(__wasi_fd_pread(f, &(__wasi_iovec_t){(uint8_t *)buf, 30}, 1, 0, &n), OK);
  TRUE(!memcmp(buf, "0123456789", 10));
  for (size_t i = 10; i < n; i++)
    EQ(0, buf[i]);
  shut(f);
  CHECK(__wasi_fd_allocate(D, 0, 5), BADF, ISDIR, NOTCAPABLE);
  CHECK(__wasi_fd_allocate(1000, 0, 5), BADF);
}

static void row_37_file_calls_on_directory(void) {
  __wasi_filesize_t at;
  CHECK(__wasi_fd_read(D, &in1, 1, &n), ISDIR, BADF, NOTCAPABLE);
  CHECK(__wasi_fd_write(D, &out1, 1, &n), ISDIR, BADF, NOTCAPABLE);
  CHECK(__wasi_fd_pread(D, &in1, 1, 0, &n), ISDIR, BADF, NOTCAPABLE);
  CHECK(__wasi_fd_pwrite(D, &out1, 1, 0, &n), ISDIR, BADF, NOTCAPABLE);
  CHECK(__wasi_fd_seek(D, 0, SET, &at), ISDIR, BADF, NOTCAPABLE);
  CHECK(__wasi_fd_tell(D, &at), ISDIR, BADF, NOTCAPABLE);
  CHECK(__wasi_fd_filestat_set_size(D, 0), ISDIR, BADF, NOTCAPABLE);
}

static void row_37_seek_bounds(void) {
  __wasi_filesize_t at;
  put(D, "f", "0123456789");
  fd_t f = open_file(D, "f", 0, RW);
  CHECK(__wasi_fd_seek(f, 3, SET, &at), OK);
  CHECK(__wasi_fd_seek(f, -1, SET, &at), INVAL);
  CHECK(__wasi_fd_seek(f, -4, CUR, &at), INVAL);
  CHECK(__wasi_fd_seek(f, -11, END, &at), INVAL);
  CHECK(__wasi_fd_seek(f, INT64_MIN, CUR, &at), INVAL);
  CHECK(__wasi_fd_seek(f, INT64_MAX, CUR, &at), INVAL, OVERFLOW_);
  EQ(3, tell(f));
  CHECK(__wasi_fd_seek(f, 1000, CUR, &at), OK);
  EQ(1003, at);
  shut(f);
}

static void row_37_stdio_has_no_offset(void) {
  __wasi_filesize_t at;
  for (fd_t fd = 0; fd < 3; fd++) {
    CHECK(__wasi_fd_tell(fd, &at), SPIPE, NOTCAPABLE);
    CHECK(__wasi_fd_seek(fd, 0, SET, &at), SPIPE, NOTCAPABLE);
  }
  CHECK(__wasi_fd_pread(0, &in1, 1, 0, &n), SPIPE, NOTCAPABLE);
  CHECK(__wasi_fd_pwrite(1, &out1, 1, 0, &n), SPIPE, NOTCAPABLE);
}

const test_t rows_28_to_37[] = {TEST(row_37_stdio_has_no_offset), /* before stdin is replaced */
                                TEST(row_28_rights_of_opened),
                                TEST(row_28_file_rights_enforced),
                                TEST(row_28_path_rights_enforced),
                                TEST(row_28_rights_to_truncate),
                                TEST(row_29_set_rights),
                                TEST(row_30_rights_in_pairs),
                                TEST(row_30_rights_for_flags),
                                TEST(row_30_rights_for_poll),
                                TEST(row_31_renumber),
                                TEST(row_31_renumber_onto_preopen),
                                TEST(row_31_renumber_onto_stdio),
                                TEST(row_32_append),
                                TEST(row_33_set_flags),
                                TEST(row_34_times_contradict),
                                TEST(row_34_times_of_link),
                                TEST(row_35_set_size),
                                TEST(row_36_allocate),
                                TEST(row_37_file_calls_on_directory),
                                TEST(row_37_seek_bounds),
                                TESTS_END};
