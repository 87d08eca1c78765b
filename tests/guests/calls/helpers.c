/* What the sub-tests stand on. A helper checks its own calls, so that a test need not. */
#include "calls.h"

#define NEVER_OPEN 0x7ffffff0u

static char said[2048];
static size_t said_len;

void flush(void) {
  size_t done = 0;
  while (done < said_len) {
    __wasi_ciovec_t iov = {(const uint8_t *)said + done, said_len - done};
    __wasi_size_t n = 0;
    if (__wasi_fd_write(1, &iov, 1, &n) || !n)
      break;
    done += n;
  }
  said_len = 0;
}

void say(const char *text) {
  for (; *text; text++) {
    if (said_len == sizeof said)
      flush();
    said[said_len++] = *text;
  }
}

void say_number(u64 number) {
  char digits[21] = {0}, *at = digits + 20;
  do
    *--at = (char)('0' + number % 10);
  while (number /= 10);
  say(at);
}

void name_of(char name[32], const char *prefix, unsigned number) {
  size_t len = strlen(prefix);
  memcpy(name, prefix, len);
  for (size_t i = 3; i-- > 0; number /= 10)
    name[len + i] = (char)('0' + number % 10);
  name[len + 3] = 0;
}

fd_t open_dir(fd_t at, const char *path) {
  fd_t fd = NEVER_OPEN;
  CHECK(__wasi_path_open(at, FOLLOW, path, DIRECTORY, 0, 0, 0, &fd), OK);
  return fd;
}

fd_t open_file(fd_t at, const char *path, __wasi_oflags_t how, __wasi_rights_t rights) {
  fd_t fd = NEVER_OPEN;
  CHECK(__wasi_path_open(at, FOLLOW, path, how, rights, 0, 0, &fd), OK);
  return fd;
}

uint16_t try_open(fd_t at, __wasi_lookupflags_t follow, const char *path, __wasi_oflags_t how,
                  __wasi_rights_t rights) {
  fd_t fd = NEVER_OPEN;
  uint16_t e = __wasi_path_open(at, follow, path, how, rights, 0, 0, &fd);
  if (!e)
    shut(fd);
  return e;
}

size_t write_all(fd_t fd, const char *text) {
  __wasi_ciovec_t iov = {(const uint8_t *)text, strlen(text)};
  __wasi_size_t n = 0;
  CHECK(__wasi_fd_write(fd, &iov, 1, &n), OK);
  EQ(strlen(text), n);
  return n;
}

uint16_t read_text(fd_t fd, char *buf, size_t cap, size_t *got) {
  __wasi_iovec_t iov = {(uint8_t *)buf, cap - 1};
  __wasi_size_t n = 0;
  uint16_t e = __wasi_fd_read(fd, &iov, 1, &n);
  buf[e ? 0 : n] = 0;
  *got = e ? 0 : n;
  return e;
}

void put(fd_t at, const char *path, const char *text) {
  fd_t fd = open_file(at, path, CREAT | TRUNC, RW);
  write_all(fd, text);
  shut(fd);
}

bool holds(fd_t at, const char *path, const char *text) {
  char buf[256];
  size_t got;
  fd_t fd = open_file(at, path, 0, RO);
  bool same = !read_text(fd, buf, sizeof buf, &got) && !strcmp(buf, text);
  shut(fd);
  return same;
}

bool exists(fd_t at, const char *path) {
  stat_t st;
  return CHECK(stat_at(at, 0, path, &st), OK, NOENT) == OK;
}

void dir(fd_t at, const char *path) { CHECK(mkdir_at(at, path), OK); }
void ln(fd_t at, const char *target, const char *path) { CHECK(symlink_at(target, at, path), OK); }
void shut(fd_t fd) { CHECK(__wasi_fd_close(fd), OK); }

stat_t stat_of(fd_t at, const char *path) {
  stat_t st = {0};
  CHECK(stat_at(at, 0, path, &st), OK);
  return st;
}

stat_t fstat_of(fd_t fd) {
  stat_t st = {0};
  CHECK(__wasi_fd_filestat_get(fd, &st), OK);
  return st;
}

fdstat_t fdstat_of(fd_t fd) {
  fdstat_t st = {0};
  CHECK(__wasi_fd_fdstat_get(fd, &st), OK);
  return st;
}

u64 tell(fd_t fd) {
  __wasi_filesize_t at = ~0ull;
  CHECK(__wasi_fd_tell(fd, &at), OK);
  return at;
}

#define LIST_CALLS_MAX 1000 /* a listing that does not end is a failure, not a hang */

size_t list(fd_t dir, u64 cookie, size_t buf_len, entry_t *into, size_t cap) {
  static uint8_t buf[8192];
  size_t count = 0;
  for (int calls = 0; calls < LIST_CALLS_MAX; calls++) {
    __wasi_size_t used = 0;
    size_t at = 0;
    if (CHECK(__wasi_fd_readdir(dir, buf, buf_len, cookie, &used), OK))
      return count;
    TRUE(used <= buf_len);
    bool whole = false; /* whether this call gave at least one whole entry */
    while (at + sizeof(__wasi_dirent_t) <= used) {
      __wasi_dirent_t d;
      memcpy(&d, buf + at, sizeof d);
      at += sizeof d;
      if (at + d.d_namlen > used)
        break;
      if (count == cap)
        return count;
      entry_t *e = &into[count++];
      *e = (entry_t){.next = d.d_next, .ino = d.d_ino, .type = d.d_type};
      memcpy(e->name, buf + at, d.d_namlen < 63 ? d.d_namlen : 63);
      at += d.d_namlen;
      cookie = d.d_next;
      whole = true;
    }
    if (used < buf_len)
      return count;
    TRUE(whole);
    if (!whole)
      return count;
  }
  TRUE(!"the listing ends");
  return count;
}
