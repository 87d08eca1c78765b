/* The calls on descriptors, each as the specification allows it. What is refused is in rows_*.c. */
#include "calls.h"

static char text[512];
static size_t got;

/* A file `f` that holds the ten digits, open for reading and writing, at offset 0. */
static fd_t digits(void) {
  put(D, "f", "0123456789");
  return open_file(D, "f", 0, RW);
}

static void fd_advise(void) {
  fd_t f = digits();
  for (uint8_t advice = 0; advice <= __WASI_ADVICE_NOREUSE; advice++) {
    CHECK(__wasi_fd_advise(f, 0, 0, advice), OK);
    CHECK(__wasi_fd_advise(f, 5, 1000000, advice), OK);
  }
  CHECK(raw_fd_advise((uint32_t)f, 0, 0, 6), INVAL);
  CHECK(__wasi_fd_advise(1000, 0, 0, 0), BADF);
  EQ(10, fstat_of(f).size);
  shut(f);
}

static void fd_close(void) {
  fd_t f = digits();
  CHECK(__wasi_fd_close(f), OK);
  CHECK(__wasi_fd_close(f), BADF);
  CHECK(__wasi_fd_close(-1), BADF);
  fd_t again = open_file(D, "f", 0, RO);
  EQ(f, again); /* the lowest number that is free */
  shut(again);
}

static void fd_sync(void) {
  fd_t f = digits();
  write_all(f, "ab");
  CHECK(__wasi_fd_datasync(f), OK);
  CHECK(__wasi_fd_sync(f), OK);
  CHECK(__wasi_fd_sync(1000), BADF);
  CHECK(__wasi_fd_datasync(1000), BADF);
  shut(f);
  TRUE(holds(D, "f", "ab23456789"));
}

static void fd_fdstat_get(void) {
  fd_t f = open_file(D, "f", CREAT, RW);
  fdstat_t st = fdstat_of(f);
  EQ(__WASI_FILETYPE_REGULAR_FILE, st.fs_filetype);
  EQ(0, st.fs_flags);
  shut(f);
  EQ(__WASI_FILETYPE_DIRECTORY, fdstat_of(D).fs_filetype);
  CHECK(__wasi_fd_fdstat_get(1000, &st), BADF);
  CHECK(__wasi_path_open(D, 0, "f", 0, RW, 0, APPEND, &f), OK);
  EQ(APPEND, fdstat_of(f).fs_flags);
  shut(f);
}

static void fd_fdstat_set_flags(void) {
  fd_t f = digits();
  CHECK(__wasi_fd_fdstat_set_flags(f, APPEND), OK);
  EQ(APPEND, fdstat_of(f).fs_flags);
  write_all(f, "ab");
  CHECK(__wasi_fd_fdstat_set_flags(f, 0), OK);
  EQ(0, fdstat_of(f).fs_flags);
  __wasi_filesize_t at;
  CHECK(__wasi_fd_seek(f, 0, SET, &at), OK);
  write_all(f, "x");
  CHECK(__wasi_fd_fdstat_set_flags(1000, 0), BADF);
  shut(f);
  TRUE(holds(D, "f", "x123456789ab"));
}

static void fd_filestat_get(void) {
  fd_t f = digits();
  stat_t st = fstat_of(f), by_path = stat_of(D, "f");
  EQ(__WASI_FILETYPE_REGULAR_FILE, st.filetype);
  EQ(10, st.size);
  EQ(1, st.nlink);
  EQ(by_path.ino, st.ino);
  EQ(by_path.dev, st.dev);
  EQ(by_path.mtim, st.mtim);
  EQ(__WASI_FILETYPE_DIRECTORY, fstat_of(D).filetype);
  CHECK(__wasi_fd_filestat_get(1000, &st), BADF);
  shut(f);
}

static void fd_filestat_set_size(void) {
  fd_t f = digits();
  __wasi_filesize_t at;
  CHECK(__wasi_fd_seek(f, 8, SET, &at), OK);
  CHECK(__wasi_fd_filestat_set_size(f, 3), OK);
  EQ(3, fstat_of(f).size);
  EQ(8, tell(f)); /* the offset stays */
  CHECK(__wasi_fd_filestat_set_size(f, 6), OK);
  CHECK(__wasi_fd_seek(f, 0, SET, &at), OK);
  CHECK(read_text(f, text, sizeof text, &got), OK);
  EQ(6, got);
  TRUE(!memcmp(text, "012\0\0\0", 6));
  CHECK(__wasi_fd_filestat_set_size(1000, 0), BADF);
  shut(f);
}

static void fd_filestat_set_times(void) {
  fd_t f = digits();
  u64 second = 1000000000;
  CHECK(__wasi_fd_filestat_set_times(f, 100 * second, 200 * second,
                                     __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM), OK);
  EQ(100 * second, fstat_of(f).atim);
  EQ(200 * second, fstat_of(f).mtim);
  CHECK(__wasi_fd_filestat_set_times(f, 7, 300 * second, __WASI_FSTFLAGS_MTIM), OK);
  EQ(100 * second, fstat_of(f).atim);
  EQ(300 * second, fstat_of(f).mtim);
  CHECK(__wasi_fd_filestat_set_times(f, 7, 7, 0), OK); /* nothing asked, nothing done */
  EQ(300 * second, fstat_of(f).mtim);
  CHECK(__wasi_fd_filestat_set_times(f, 0, 0, __WASI_FSTFLAGS_MTIM_NOW), OK);
  TRUE(fstat_of(f).mtim > 1000000 * second);
  CHECK(__wasi_fd_filestat_set_times(1000, 0, 0, 0), BADF);
  shut(f);
}

static void fd_pread_pwrite(void) {
  fd_t f = digits();
  __wasi_iovec_t in[2] = {{(uint8_t *)text, 2}, {(uint8_t *)text + 2, 3}};
  __wasi_ciovec_t out[2] = {{(const uint8_t *)"AB", 2}, {(const uint8_t *)"C", 1}};
  __wasi_size_t n = 0;
  CHECK(__wasi_fd_pread(f, in, 2, 4, &n), OK);
  EQ(5, n);
  TRUE(!memcmp(text, "45678", 5));
  CHECK(__wasi_fd_pread(f, in, 2, 8, &n), OK);
  EQ(2, n);
  CHECK(__wasi_fd_pread(f, in, 2, 10, &n), OK);
  EQ(0, n);
  CHECK(__wasi_fd_pread(f, in, 2, 1ull << 40, &n), OK);
  EQ(0, n);
  CHECK(__wasi_fd_pwrite(f, out, 2, 1, &n), OK);
  EQ(3, n);
  CHECK(__wasi_fd_pwrite(f, out, 2, 12, &n), OK); /* past the end: zeros between */
  EQ(0, tell(f));
  CHECK(read_text(f, text, sizeof text, &got), OK);
  EQ(15, got);
  TRUE(!memcmp(text, "0ABC456789\0\0ABC", 15));
  CHECK(__wasi_fd_pread(1000, in, 2, 0, &n), BADF);
  CHECK(__wasi_fd_pwrite(1000, out, 2, 0, &n), BADF);
  shut(f);
}

static void fd_read_write(void) {
  fd_t f = open_file(D, "f", CREAT, RW);
  EQ(5, write_all(f, "hello"));
  EQ(5, tell(f));
  CHECK(read_text(f, text, sizeof text, &got), OK);
  EQ(0, got); /* the end */
  __wasi_filesize_t at;
  CHECK(__wasi_fd_seek(f, 1, SET, &at), OK);
  CHECK(read_text(f, text, 4, &got), OK);
  TRUE(!strcmp(text, "ell"));
  EQ(4, tell(f));
  __wasi_iovec_t in = {(uint8_t *)text, 4};
  __wasi_ciovec_t out = {(const uint8_t *)text, 4};
  __wasi_size_t n;
  CHECK(__wasi_fd_read(1000, &in, 1, &n), BADF);
  CHECK(__wasi_fd_write(1000, &out, 1, &n), BADF);
  shut(f);
}

#define MANY 600

static void fd_read_write_many_iovecs(void) {
  static __wasi_ciovec_t out[MANY];
  static __wasi_iovec_t in[MANY];
  static uint8_t from[MANY], to[MANY];
  fd_t f = open_file(D, "f", CREAT, RW);
  __wasi_size_t n = 0, done = 0;
  __wasi_filesize_t at;
  for (int i = 0; i < MANY; i++) {
    from[i] = (uint8_t)(i * 7);
    out[i] = (__wasi_ciovec_t){from + i, 1};
    in[i] = (__wasi_iovec_t){to + i, 1};
  }
  /* A host may take fewer than it was given, but then it says so. */
  for (int calls = 0; done < MANY && calls < MANY; calls++) {
    CHECK(__wasi_fd_write(f, out + done, MANY - done, &n), OK);
    TRUE(n > 0);
    done += n;
  }
  EQ(MANY, done);
  EQ(MANY, fstat_of(f).size);
  CHECK(__wasi_fd_seek(f, 0, SET, &at), OK);
  done = 0;
  for (int calls = 0; done < MANY && calls < MANY; calls++) {
    CHECK(__wasi_fd_read(f, in + done, MANY - done, &n), OK);
    TRUE(n > 0);
    done += n;
  }
  EQ(MANY, done);
  TRUE(!memcmp(from, to, MANY));
  shut(f);
}

static void fd_read_write_empty_iovecs(void) {
  fd_t f = digits();
  __wasi_iovec_t in[4] = {{(uint8_t *)text, 0}, {(uint8_t *)text, 2}, {0, 0},
                          {(uint8_t *)text + 2, 2}};
  __wasi_ciovec_t out[3] = {{0, 0}, {(const uint8_t *)"ab", 2}, {(const uint8_t *)"c", 0}};
  __wasi_size_t n = 0;
  CHECK(__wasi_fd_read(f, in, 4, &n), OK);
  /* It may stop early, but an empty buffer in front is not the end of the file. */
  TRUE(n == 2 || n == 4);
  TRUE(!memcmp(text, "0123", n));
  __wasi_filesize_t at;
  CHECK(__wasi_fd_seek(f, 0, SET, &at), OK);
  CHECK(__wasi_fd_write(f, out, 3, &n), OK);
  EQ(2, n);
  CHECK(__wasi_fd_read(f, in, 0, &n), OK);
  EQ(0, n);
  CHECK(__wasi_fd_read(f, in, 1, &n), OK);
  EQ(0, n);
  CHECK(__wasi_fd_write(f, out, 0, &n), OK);
  EQ(0, n);
  CHECK(__wasi_fd_write(f, out, 1, &n), OK);
  EQ(0, n);
  EQ(2, tell(f));
  shut(f);
  TRUE(holds(D, "f", "ab23456789"));
}

/* Both buffers are the same bytes. Which one wins is the host's choice (they are filled in order,
 * or at once), but nothing else may be written, and the count is the whole one. */
static void fd_read_overlapping_iovecs(void) {
  fd_t f = digits();
  memset(text, '.', 8);
  __wasi_iovec_t in[2] = {{(uint8_t *)text, 4}, {(uint8_t *)text + 2, 4}};
  __wasi_size_t n = 0;
  CHECK(__wasi_fd_read(f, in, 2, &n), OK);
  TRUE(n == 8 || n == 4);
  EQ(n, tell(f));
  if (n == 8)
    TRUE(!memcmp(text, "01", 2) && !memcmp(text + 4, "67..", 4));
  else
    TRUE(!memcmp(text, "0123....", 8));
  shut(f);
}

static void fd_prestat(void) {
  __wasi_prestat_t ps;
  uint8_t name[8];
  CHECK(__wasi_fd_prestat_get(root, &ps), OK);
  EQ(__WASI_PREOPENTYPE_DIR, ps.tag);
  EQ(1, ps.u.dir.pr_name_len);
  memset(name, 0xaa, sizeof name);
  CHECK(__wasi_fd_prestat_dir_name(root, name, 1), OK);
  EQ('/', name[0]);
  EQ(0xaa, name[1]);
}

static void fd_readdir(void) {
  static entry_t entries[16];
  put(D, "file", "x");
  dir(D, "dir");
  ln(D, "file", "link");
  size_t n = list(D, 0, 4096, entries, 16);
  EQ(5, n);
  for (size_t i = 0; i < n; i++) {
    stat_t st = stat_of(D, strcmp(entries[i].name, "..") ? entries[i].name : ".");
    EQ(st.filetype, entries[i].type);
    if (strcmp(entries[i].name, ".."))
      EQ(st.ino, entries[i].ino);
  }
  EQ(5, list(D, 0, 4096, entries, 16)); /* cookie 0 starts again */
  CHECK(__wasi_fd_readdir(1000, (uint8_t *)text, 100, 0, &(__wasi_size_t){0}), BADF);
}

static void fd_renumber(void) {
  fd_t f = digits(), g = open_file(D, "g", CREAT, RW);
  write_all(g, "gg");
  CHECK(__wasi_fd_renumber(f, g), OK);
  CHECK(__wasi_fd_close(f), BADF);
  CHECK(read_text(g, text, sizeof text, &got), OK);
  TRUE(!strcmp(text, "0123456789"));
  shut(g);
  TRUE(holds(D, "g", "gg"));
}

static void fd_seek_tell(void) {
  fd_t f = digits();
  __wasi_filesize_t at = 99;
  EQ(0, tell(f));
  CHECK(__wasi_fd_seek(f, 4, SET, &at), OK);
  EQ(4, at);
  CHECK(__wasi_fd_seek(f, 3, CUR, &at), OK);
  EQ(7, at);
  CHECK(__wasi_fd_seek(f, -5, CUR, &at), OK);
  EQ(2, at);
  CHECK(__wasi_fd_seek(f, -1, END, &at), OK);
  EQ(9, at);
  CHECK(__wasi_fd_seek(f, 90, END, &at), OK);
  EQ(100, at);
  EQ(100, tell(f));
  EQ(10, fstat_of(f).size); /* seeking makes nothing longer */
  CHECK(__wasi_fd_seek(1000, 0, SET, &at), BADF);
  CHECK(__wasi_fd_tell(1000, &at), BADF);
  shut(f);
}

const test_t descriptor_tests[] = {TEST(fd_advise),
                                   TEST(fd_close),
                                   TEST(fd_sync),
                                   TEST(fd_fdstat_get),
                                   TEST(fd_fdstat_set_flags),
                                   TEST(fd_filestat_get),
                                   TEST(fd_filestat_set_size),
                                   TEST(fd_filestat_set_times),
                                   TEST(fd_pread_pwrite),
                                   TEST(fd_read_write),
                                   TEST(fd_read_write_many_iovecs),
                                   TEST(fd_read_write_empty_iovecs),
                                   TEST(fd_read_overlapping_iovecs),
                                   TEST(fd_prestat),
                                   TEST(fd_readdir),
                                   TEST(fd_renumber),
                                   TEST(fd_seek_tell),
                                   TESTS_END};
