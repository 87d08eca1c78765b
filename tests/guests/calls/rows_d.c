/* Rows 38 to 46: listings, names of preopens, removed nodes, pointers, identity. */
#include "calls.h"

#include <dirent.h>

#define FILES 60

static entry_t all[FILES + 64], some[FILES + 64];
static stat_t st;
static char buf[128];
static __wasi_size_t n;

static void make_files(const char *prefix, int count) {
  char name[32];
  for (int i = 0; i < count; i++) {
    name_of(name, prefix, (unsigned)i);
    put(D, name, "");
  }
}

static void row_38_readdir_dots_first(void) {
  put(D, "f", "f");
  EQ(3, list(D, 0, 4096, all, 8));
  TRUE(!strcmp(all[0].name, "."));
  TRUE(!strcmp(all[1].name, ".."));
  EQ(fstat_of(D).ino, all[0].ino);
  EQ(__WASI_FILETYPE_DIRECTORY, all[0].type);
  EQ(__WASI_FILETYPE_DIRECTORY, all[1].type);
  TRUE(!strcmp(all[2].name, "f"));
  EQ(stat_of(D, "f").ino, all[2].ino);
}

/* The same listing whatever the buffer: the last entry is cut so that the buffer is full, which
 * says that there is more. */
static void row_38_readdir_truncates(void) {
  make_files("f", FILES);
  EQ(FILES + 2, list(D, 0, 8192, all, FILES + 8));
  for (size_t len = 29; len < 100; len++) {
    size_t count = list(D, 0, len, some, FILES + 8);
    EQ(FILES + 2, count);
    for (size_t i = 0; i < count; i++)
      TRUE(!strcmp(all[i].name, some[i].name) && all[i].ino == some[i].ino);
  }
  memset(buf, 0x55, sizeof buf);
  for (size_t len = 0; len < 60; len++) {
    CHECK(__wasi_fd_readdir(D, (uint8_t *)buf, len, 0, &n), OK);
    EQ(len, n);
    EQ(0x55, buf[len]);
  }
}

static void row_38_readdir_cookies(void) {
  make_files("f", FILES);
  size_t count = list(D, 0, 8192, all, FILES + 8);
  EQ(FILES + 2, count);
  for (size_t i = 0; i < count; i++) {
    size_t rest = list(D, all[i].next, 8192, some, FILES + 8);
    EQ(count - i - 1, rest);
    for (size_t j = 0; j < rest; j++)
      TRUE(!strcmp(all[i + 1 + j].name, some[j].name));
  }
}

/* telldir returns a long of 32 bits, so cookies have to be small. */
static void row_38_readdir_telldir_seekdir(void) {
  static long positions[FILES + 2];
  make_files("f", FILES);
  size_t count = list(D, 0, 8192, all, FILES + 8);
  EQ(FILES + 2, count);
  DIR *stream = fdopendir(open_dir(D, "."));
  if (!stream) {
    TRUE(stream);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    TRUE(all[i].next <= INT32_MAX);
    positions[i] = telldir(stream);
    struct dirent *entry = readdir(stream);
    TRUE(entry && !strcmp(all[i].name, entry->d_name));
  }
  TRUE(!readdir(stream));
  /* 37 and the count have no common factor: each position once, in another order. */
  for (size_t i = 0; i < count; i++) {
    size_t nth = i * 37 % count;
    seekdir(stream, positions[nth]);
    struct dirent *entry = readdir(stream);
    TRUE(entry && !strcmp(all[nth].name, entry->d_name));
  }
  closedir(stream);
}

/* Counts, per file `f000` and on, how often a listing showed it. */
static void count_names(const entry_t *entries, size_t count, int seen[FILES]) {
  for (size_t i = 0; i < count; i++)
    if (entries[i].name[0] == 'f')
      seen[(entries[i].name[1] - '0') * 100 + (entries[i].name[2] - '0') * 10 +
           entries[i].name[3] - '0']++;
}

/* What `rm -r` does: each entry is removed as soon as it is seen. */
static void row_38_readdir_delete_all(void) {
  int seen[FILES] = {0};
  u64 cookie = 0;
  make_files("f", FILES);
  for (int calls = 0; calls < 2 * FILES; calls++) {
    size_t count = list(D, cookie, 200, some, 4);
    if (!count)
      break;
    count_names(some, count, seen);
    cookie = some[count - 1].next;
    for (size_t i = 0; i < count; i++)
      if (some[i].name[0] == 'f')
        CHECK(unlink_at(D, some[i].name), OK);
  }
  for (int i = 0; i < FILES; i++)
    EQ(1, seen[i]);
  EQ(2, list(D, 0, 4096, all, 8));
}

/* Files come and go between two calls; what stays is seen exactly once. */
static void row_38_readdir_concurrent(void) {
  int seen[FILES] = {0};
  char name[32];
  make_files("f", FILES);
  size_t first = list(D, 0, 4096, some, 20);
  EQ(20, first);
  count_names(some, first, seen);
  for (int i = 0; i < FILES; i += 3) {
    name_of(name, "f", (unsigned)i);
    CHECK(unlink_at(D, name), OK);
  }
  make_files("new", 40);
  count_names(all, list(D, some[first - 1].next, 4096, all, FILES + 60), seen);
  for (int i = 0; i < FILES; i++)
    if (i % 3)
      EQ(1, seen[i]);
    else
      TRUE(seen[i] <= 1);
}

static void row_39_readlink_truncates(void) {
  ln(D, "0123456789", "l");
  put(D, "f", "f");
  memset(buf, '#', sizeof buf);
  CHECK(readlink_at(D, "l", buf, 4, &n), OK);
  EQ(4, n);
  TRUE(!memcmp(buf, "0123####", 8));
  CHECK(readlink_at(D, "l", buf, 20, &n), OK);
  EQ(10, n);
  TRUE(!memcmp(buf, "0123456789####", 14));
  CHECK(readlink_at(D, "l", buf, 0, &n), OK, INVAL);
  CHECK(readlink_at(D, "f", buf, 20, &n), INVAL);
  CHECK(readlink_at(D, ".", buf, 20, &n), INVAL);
}

static void row_40_prestat(void) {
  __wasi_prestat_t ps;
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RO);
  CHECK(__wasi_fd_prestat_get(D, &ps), BADF);
  CHECK(__wasi_fd_prestat_get(f, &ps), BADF);
  CHECK(__wasi_fd_prestat_get(0, &ps), BADF);
  CHECK(__wasi_fd_prestat_get(1000, &ps), BADF);
  CHECK(__wasi_fd_prestat_dir_name(D, (uint8_t *)buf, 20), BADF, NOTDIR);
  CHECK(__wasi_fd_prestat_dir_name(1000, (uint8_t *)buf, 20), BADF);
  shut(f);
  memset(buf, '#', sizeof buf);
  CHECK(__wasi_fd_prestat_dir_name(root, (uint8_t *)buf, 0), NAMETOOLONG, INVAL);
  CHECK(__wasi_fd_prestat_dir_name(root, (uint8_t *)buf, 20), OK);
  TRUE(!memcmp(buf, "/#", 2));
}

static void row_41_removed_but_open_file(void) {
  size_t got;
  __wasi_filesize_t at;
  put(D, "f", "old");
  fd_t f = open_file(D, "f", 0, RW);
  u64 ino = fstat_of(f).ino;
  CHECK(unlink_at(D, "f"), OK);
  EQ(0, fstat_of(f).nlink);
  put(D, "f", "new");
  TRUE(stat_of(D, "f").ino != ino);
  CHECK(read_text(f, buf, sizeof buf, &got), OK);
  TRUE(!strcmp(buf, "old"));
  write_all(f, "er");
  CHECK(__wasi_fd_seek(f, 0, SET, &at), OK);
  CHECK(read_text(f, buf, sizeof buf, &got), OK);
  TRUE(!strcmp(buf, "older"));
  CHECK(__wasi_fd_filestat_set_size(f, 1), OK);
  EQ(1, fstat_of(f).size);
  shut(f);
  TRUE(holds(D, "f", "new"));
}

static void row_41_removed_but_open_directory(void) {
  dir(D, "d");
  fd_t d = open_dir(D, "d");
  u64 ino = fstat_of(d).ino;
  CHECK(rmdir_at(D, "d"), OK);
  EQ(ino, fstat_of(d).ino);
  CHECK(try_open(d, 0, "x", CREAT, RW), NOENT);
  CHECK(mkdir_at(d, "x"), NOENT);
  CHECK(stat_at(d, 0, "x", &st), NOENT);
  TRUE(list(d, 0, 4096, all, 8) <= 2);
  dir(D, "d");
  put(D, "d/x", "x");
  CHECK(stat_at(d, 0, "x", &st), NOENT); /* the new directory is another one */
  shut(d);
}

/* Pointers that lead out of memory are FAULT, and what a call would have done is not done. */
static void row_43_pointers_out_of_bounds(void) {
  uint32_t d = (uint32_t)D, end = (uint32_t)__builtin_wasm_memory_size(0) * 65536u;
  uint32_t out[] = {end, end - 4, end - 1, 0x80000000u, 0xfffffff0u, 0xffffffffu};
  put(D, "f", "0123456789");
  uint32_t f = (uint32_t)open_file(D, "f", 0, RW);
  for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
    uint32_t p = out[i];
    CHECK(raw_clock_time_get(1, 0, p), FAULT);
    CHECK(raw_random_get(p, 16), FAULT);
    CHECK(raw_fd_filestat_get(f, p), FAULT);
    CHECK(raw_fd_fdstat_get(f, p), FAULT);
    CHECK(raw_fd_prestat_get((uint32_t)root, p), FAULT);
    CHECK(raw_fd_tell(f, p), FAULT);
    CHECK(raw_fd_read(f, p, 1, PTR(&n)), FAULT);
    CHECK(raw_fd_write(f, p, 1, PTR(&n)), FAULT);
    CHECK(raw_fd_readdir(d, p, 64, 0, PTR(&n)), FAULT);
    CHECK(raw_path_create_directory(d, p, 8), FAULT);
    CHECK(raw_path_unlink_file(d, p, 8), FAULT);
    CHECK(raw_path_filestat_get(d, 0, PTR("f"), 1, p), FAULT);
    CHECK(raw_path_open(d, 0, p, 8, 0, R(FD_READ), 0, 0, PTR(&n)), FAULT);
    CHECK(raw_poll_oneoff(p, PTR(buf), 1, PTR(&n)), FAULT);
    if (p != end - 4) { /* where a size fits */
      CHECK(raw_args_sizes_get(p, PTR(&n)), FAULT);
      CHECK(raw_environ_sizes_get(PTR(&n), p), FAULT);
    }
    __wasi_iovec_t bad = {(uint8_t *)p, 8};
    CHECK(raw_fd_read(f, PTR(&bad), 1, PTR(&n)), FAULT);
    CHECK(raw_fd_write(f, PTR(&bad), 1, PTR(&n)), FAULT);
    EQ(10, fstat_of((fd_t)f).size);
  }
  CHECK(raw_path_create_directory(d, PTR("new"), 0xffffffffu), FAULT, NAMETOOLONG);
  CHECK(raw_fd_read(f, PTR(buf), 0xffffffffu, PTR(&n)), FAULT, INVAL);
  shut((fd_t)f);
  TRUE(holds(D, "f", "0123456789"));
}

static void row_43_misaligned_pointers(void) {
  uint8_t *odd = (uint8_t *)buf + 1;
  stat_t want;
  put(D, "f", "0123456789");
  fd_t f = open_file(D, "f", 0, RW);
  want = fstat_of(f);
  CHECK(raw_fd_filestat_get((uint32_t)f, PTR(odd)), OK);
  memcpy(&st, odd, sizeof st);
  EQ(want.ino, st.ino);
  EQ(want.size, st.size);
  CHECK(raw_clock_time_get(1, 0, PTR(odd)), OK);
  __wasi_iovec_t iov = {(uint8_t *)buf + 64, 3};
  memcpy(odd, &iov, sizeof iov);
  CHECK(raw_fd_read((uint32_t)f, PTR(odd), 1, PTR(odd) + 12), OK);
  TRUE(!memcmp(buf + 64, "012", 3));
  memcpy(&n, odd + 12, 4);
  EQ(3, n);
  shut(f);
}

static void row_43_unknown_enums_and_flags(void) {
  fd_t g;
  u64 at;
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RW);
  uint32_t u = (uint32_t)f, d = (uint32_t)D, name = PTR("f");
  CHECK(raw_fd_seek(u, 0, 3, PTR(&at)), INVAL);
  CHECK(raw_fd_seek(u, 0, 255, PTR(&at)), INVAL);
  CHECK(raw_fd_advise(u, 0, 0, 6), INVAL);
  CHECK(raw_clock_time_get(77, 0, PTR(&at)), INVAL);
  CHECK(raw_fd_fdstat_set_flags(u, 0x20), INVAL);
  CHECK(raw_fd_filestat_set_times(u, 0, 0, 0x10), INVAL);
  CHECK(raw_path_filestat_set_times(d, 0, name, 1, 0, 0, 0x10), INVAL);
  CHECK(raw_path_open(d, 2, name, 1, 0, R(FD_READ), 0, 0, PTR(&g)), INVAL);
  CHECK(raw_path_open(d, 0, name, 1, 0x10, R(FD_READ), 0, 0, PTR(&g)), INVAL);
  CHECK(raw_path_open(d, 0, name, 1, 0, R(FD_READ), 0, 0x20, PTR(&g)), INVAL);
  CHECK(raw_path_filestat_get(d, 2, name, 1, PTR(&st)), INVAL);
  CHECK(raw_path_link(d, 2, name, 1, d, PTR("g"), 1), INVAL);
  TRUE(!exists(D, "g"));
  shut(f);
}

static void row_44_identity(void) {
  put(D, "a", "");
  put(D, "b", "");
  dir(D, "d");
  CHECK(link_at(D, 0, "a", D, "a2"), OK);
  stat_t a = stat_of(D, "a"), b = stat_of(D, "b"), d = stat_of(D, "d"), a2 = stat_of(D, "a2");
  TRUE(a.ino != b.ino && a.ino != d.ino && b.ino != d.ino);
  TRUE(a.ino != 0 && b.ino != 0 && d.ino != 0);
  TRUE(a.dev == b.dev && a.dev == d.dev);
  EQ(a.ino, a2.ino);
  EQ(a.dev, a2.dev);
  CHECK(rename_at(D, "a", D, "d/moved"), OK);
  EQ(a.ino, stat_of(D, "d/moved").ino);
}

static void row_45_empty_writes(void) {
  put(D, "f", "f");
  fd_t f = open_file(D, "f", 0, RO);
  __wasi_ciovec_t empty = {(const uint8_t *)buf, 0};
  CHECK(__wasi_fd_write(f, &empty, 1, &n), BADF, NOTCAPABLE);
  shut(f);
  f = open_file(D, "f", 0, RW);
  n = 99;
  CHECK(__wasi_fd_write(f, &empty, 0, &n), OK);
  EQ(0, n);
  EQ(0, tell(f));
  shut(f);
}

/* The host put a FIFO `fifo`, which nobody has open, into the preopen. */
static void host_46_special_files(void) {
  enum { NXIO = 60 };
  CHECK(try_open(root, 0, "fifo", 0, RO), NXIO);
  CHECK(try_open(root, 0, "fifo", 0, R(FD_WRITE)), NXIO);
  CHECK(try_open(root, FOLLOW, "fifo", CREAT | TRUNC, RW), NXIO);
  CHECK(stat_at(root, 0, "fifo", &st), OK);
}

const test_t rows_38_to_46[] = {TEST(row_38_readdir_dots_first),
                                TEST(row_38_readdir_truncates),
                                TEST(row_38_readdir_cookies),
                                TEST(row_38_readdir_telldir_seekdir),
                                TEST(row_38_readdir_delete_all),
                                TEST(row_38_readdir_concurrent),
                                TEST(row_39_readlink_truncates),
                                TEST(row_40_prestat),
                                TEST(row_41_removed_but_open_file),
                                TEST(row_41_removed_but_open_directory),
                                TEST(row_43_pointers_out_of_bounds),
                                TEST(row_43_misaligned_pointers),
                                TEST(row_43_unknown_enums_and_flags),
                                TEST(row_44_identity),
                                TEST(row_45_empty_writes),
                                {"host_46_special_files", host_46_special_files, HOST},
                                TESTS_END};
