/* fsbench: what a guest sees of a filesystem's speed. One source for wasm32-wasi and native.
 * usage: fsbench DIR WORKLOAD COUNT [WORKLOAD COUNT ...]
 * prints one JSON line per workload; 1 warm-up + REPS repeats, median (and min) ns per op,
 * measured inside the guest with CLOCK_MONOTONIC.
 * `fsbench DIR setup 0` creates the fixture (f, d1/../d7/f, link, big, dir1k, dir10k).
 * The cheapest call is `fd_fdstat_get`; `loop` is what the measuring itself costs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __wasm__
#include <wasi/api.h>
#else
#include <sys/random.h>
#include <sys/syscall.h>
#include <linux/openat2.h>
#endif

#ifndef REPS
#define REPS 5
#endif
#define BIG (64u << 20)
#define NDIR 10000

#ifdef __wasm__
/* As a component: the standard adapter gets the memory for its state from here. It would grow the memory
 * otherwise, and this libc's malloc takes all that there is at its first call for its own. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t had, size_t align, size_t size) {
  void *new = aligned_alloc(align < sizeof(void *) ? sizeof(void *) : align, size);
  if (!new) abort();
  if (old) { memcpy(new, old, had < size ? had : size); free(old); }
  return new;
}
#endif

static char base[512];
static char P[16][1024]; /* path slots */
static char *buf, *abuf;
static volatile uint64_t sink;

static void die(const char *w) {
  fprintf(stderr, "fsbench: %s: %s\n", w, strerror(errno));
  printf("{\"workload\":\"%s\",\"error\":\"%s\"}\n", w, strerror(errno));
  fflush(stdout);
  exit(1);
}
#define CK(e, w) do { if ((e) < 0) die(w); } while (0)

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
static const char *path(int slot, const char *rel) {
#ifdef __wasm__
  snprintf(P[slot], sizeof P[slot], "%s/%s", base, rel);
#else
  snprintf(P[slot], sizeof P[slot], "%s", rel); /* native: chdir(DIR), relative, same walk length */
#endif
  return P[slot];
}
#define DEEPDIR "d1/d2/d3/d4/d5/d6/d7"
#define DEEP DEEPDIR "/f"

static uint64_t rng = 0x9E3779B97F4A7C15ull;
static uint64_t rnd(void) { rng ^= rng << 13; rng ^= rng >> 7; rng ^= rng << 17; return rng; }

/* direct preopen fd for the raw_* workloads */
static int rootfd(void) {
#ifdef __wasm__
  for (int fd = 3; fd < 16; fd++) {
    __wasi_prestat_t ps;
    if (__wasi_fd_prestat_get(fd, &ps)) break;
    uint8_t nm[600];
    size_t n = ps.u.dir.pr_name_len;
    if (n >= sizeof nm) continue;
    if (__wasi_fd_prestat_dir_name(fd, nm, n)) continue;
    nm[n] = 0;
    if (!strcmp((char *)nm, base)) return fd;
  }
  errno = ENOENT; die("rootfd");
#endif
  return open(".", O_RDONLY | O_DIRECTORY);
}

static void wopenclose(const char *p, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) { int fd = open(p, O_RDONLY | O_CLOEXEC); CK(fd, "open"); close(fd); }
}
static void wstat(const char *p, uint64_t n) {
  struct stat st;
  for (uint64_t i = 0; i < n; i++) { CK(stat(p, &st), "stat"); }
  sink += (uint64_t)st.st_size;
}

/* returns number of ops really done */
static uint64_t run(const char *w, uint64_t n, uint64_t *ns) {
  uint64_t t0, ops = n;
  const char *m16 = strstr(w, "_m16");
  buf = abuf + (m16 ? 16 : 0);
#define BEGIN t0 = now()
#define END *ns = now() - t0
  if (!strcmp(w, "open_close")) { const char *p = path(0, "f"); BEGIN; wopenclose(p, n); END; }
  else if (!strcmp(w, "open_close_deep")) { const char *p = path(0, DEEP); BEGIN; wopenclose(p, n); END; }
  else if (!strcmp(w, "open_close_symlink")) { const char *p = path(0, "link"); BEGIN; wopenclose(p, n); END; }
  else if (!strcmp(w, "stat")) { const char *p = path(0, "f"); BEGIN; wstat(p, n); END; }
  else if (!strcmp(w, "stat_deep")) { const char *p = path(0, DEEP); BEGIN; wstat(p, n); END; }
  else if (!strcmp(w, "stat_symlink")) { const char *p = path(0, "link"); BEGIN; wstat(p, n); END; }
  else if (!strcmp(w, "stat_missing")) {
    const char *p = path(0, "nope"); struct stat st; BEGIN;
    for (uint64_t i = 0; i < n; i++) if (stat(p, &st) == 0) die("stat_missing");
    END;
  } else if (!strcmp(w, "fstat")) {
    int fd = open(path(0, "f"), O_RDONLY); CK(fd, w); struct stat st; BEGIN;
    for (uint64_t i = 0; i < n; i++) CK(fstat(fd, &st), w);
    END; close(fd);
  } else if (!strncmp(w, "read_4k", 7) || !strncmp(w, "read_1m", 7) || !strcmp(w, "read_64b")) {
    size_t sz = w[5] == '4' ? 4096 : w[5] == '1' ? (1 << 20) : 64;
    int fd = open(path(0, "big"), O_RDONLY); CK(fd, w); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
      for (size_t got = 0; got < sz;) { /* a host may return short reads: an op is sz bytes */
        ssize_t r = read(fd, buf + got, sz - got); CK(r, w);
        if (r == 0) lseek(fd, 0, SEEK_SET);
        got += (size_t)r;
      }
      sink += (uint8_t)buf[0];
    }
    END; close(fd);
  } else if (!strcmp(w, "pread_4k_random")) {
    int fd = open(path(0, "big"), O_RDONLY); CK(fd, w); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
      ssize_t r = pread(fd, buf, 4096, (off_t)((rnd() % (BIG / 4096)) * 4096)); CK(r, w);
      if (r != 4096) { errno = EIO; die("short pread"); }
      sink += (uint8_t)buf[0];
    }
    END; close(fd);
  } else if (!strcmp(w, "write_4k")) { /* n ops, wraps after 64 MiB */
    int fd = open(path(0, "wbig"), O_WRONLY | O_CREAT | O_TRUNC, 0644); CK(fd, w); uint64_t done = 0; BEGIN;
    for (uint64_t i = 0; i < n; i++) {
      ssize_t r = write(fd, buf, 4096); CK(r, w);
      if (r != 4096) { errno = EIO; die("short write"); }
      if ((done += 4096) >= BIG) { lseek(fd, 0, SEEK_SET); done = 0; }
    }
    END; close(fd); unlink(path(0, "wbig"));
  } else if (!strcmp(w, "overwrite_4k")) { /* in-place, pages already there */
    int fd = open(path(0, "big"), O_RDWR); CK(fd, w); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
      if ((i & 1023) == 0) lseek(fd, 0, SEEK_SET);
      ssize_t r = write(fd, buf, 4096); CK(r, w);
    }
    END; close(fd);
  } else if (!strcmp(w, "write_64b_append")) {
    int fd = open(path(0, "wapp"), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644); CK(fd, w); BEGIN;
    for (uint64_t i = 0; i < n; i++) { ssize_t r = write(fd, buf, 64); CK(r, w); }
    END; close(fd); unlink(path(0, "wapp"));
  } else if (!strcmp(w, "create_unlink")) {
    const char *p = path(0, "cu"); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
      int fd = open(p, O_WRONLY | O_CREAT | O_EXCL, 0644); CK(fd, w); close(fd); CK(unlink(p), w);
    }
    END;
  } else if (!strcmp(w, "rename")) {
    const char *a = path(0, "ra"), *b = path(1, "rb");
    int fd = open(a, O_WRONLY | O_CREAT, 0644); CK(fd, w); close(fd); BEGIN;
    for (uint64_t i = 0; i < n; i++) { CK(rename(a, b), w); const char *t = a; a = b; b = t; }
    END; unlink(a);
  } else if (!strcmp(w, "mkdir_rmdir")) {
    const char *p = path(0, "md"); BEGIN;
    for (uint64_t i = 0; i < n; i++) { CK(mkdir(p, 0755), w); CK(rmdir(p), w); }
    END;
  } else if (!strncmp(w, "readdir_", 8)) { /* readdir_1k, readdir_10k: n passes, ops = entries */
    const char *p = path(0, w[9] == 'k' ? "dir1k" : "dir10k"); ops = 0; BEGIN;
    for (uint64_t i = 0; i < n; i++) {
      DIR *d = opendir(p); if (!d) die(w);
      while (readdir(d)) ops++;
      closedir(d);
    }
    END;
    if (ops < (uint64_t)(w[9] == 'k' ? NDIR / 10 : NDIR) * n) { errno = EIO; die("short listing"); }
  } else if (!strcmp(w, "seek_tell")) {
    int fd = open(path(0, "big"), O_RDONLY); CK(fd, w); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
#ifdef __wasm__
      __wasi_filesize_t o; if (__wasi_fd_seek(fd, (int64_t)(i & 0xfffff), __WASI_WHENCE_SET, &o)) die(w);
      if (__wasi_fd_tell(fd, &o)) die(w); sink += o;
#else
      sink += (uint64_t)lseek(fd, (off_t)(i & 0xfffff), SEEK_SET); sink += (uint64_t)lseek(fd, 0, SEEK_CUR);
#endif
    }
    END; close(fd);
  } else if (!strcmp(w, "clock_gettime")) { BEGIN; for (uint64_t i = 0; i < n; i++) sink += now(); END; }
  else if (!strcmp(w, "random_get")) {
    BEGIN;
    for (uint64_t i = 0; i < n; i++) {
#ifdef __wasm__
      if (__wasi_random_get((uint8_t *)buf, 64)) die(w);
#else
      if (getrandom(buf, 64, 0) != 64) die(w);
#endif
    }
    END;
  } else if (!strcmp(w, "fd_fdstat_get")) {
    int fd = open(path(0, "f"), O_RDONLY); CK(fd, w); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
#ifdef __wasm__
      __wasi_fdstat_t s; if (__wasi_fd_fdstat_get(fd, &s)) die(w);
#else
      sink += (uint64_t)fcntl(fd, F_GETFL);
#endif
    }
    END; close(fd);
  } else if (!strcmp(w, "raw_open_close") || !strcmp(w, "raw_open_close_deep")) { /* one path_open + one fd_close, no libc */
    const char *rel = w[14] ? DEEP : "f"; int r = rootfd(); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
#ifdef __wasm__
      __wasi_fd_t fd;
      if ((errno = __wasi_path_open(r, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, rel, 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd))) die(w);
      if (__wasi_fd_close(fd)) die(w);
#else
      struct open_how h = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
      int fd = (int)syscall(SYS_openat2, r, rel, &h, sizeof h); CK(fd, w); close(fd);
#endif
    }
    END;
  } else if (!strcmp(w, "raw_stat") || !strcmp(w, "raw_stat_deep")) {
    const char *rel = w[8] ? DEEP : "f"; int r = rootfd(); BEGIN;
    for (uint64_t i = 0; i < n; i++) {
#ifdef __wasm__
      __wasi_filestat_t st;
      if ((errno = __wasi_path_filestat_get(r, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, rel, &st))) die(w);
#else
      struct stat st; CK(fstatat(r, rel, &st, 0), w);
#endif
    }
    END;
  } else if (!strcmp(w, "loop")) { BEGIN; for (uint64_t i = 0; i < n; i++) sink += i; END; }
  else { errno = EINVAL; die(w); }
  return ops;
}

static int cmpd(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return x < y ? -1 : x > y; }

static void setup(void) {
  buf = abuf;
  char t[128]; int fd;
  CK(fd = open(path(0, "f"), O_WRONLY | O_CREAT | O_TRUNC, 0644), "f"); CK(write(fd, buf, 4096), "f"); close(fd);
  strcpy(t, "d1");
  for (int i = 2; i <= 8; i++) { mkdir(path(0, t), 0755); char q[16]; snprintf(q, sizeof q, "/d%d", i); if (i < 8) strcat(t, q); }
  CK(fd = open(path(0, DEEP), O_WRONLY | O_CREAT | O_TRUNC, 0644), "deep"); CK(write(fd, buf, 4096), "f"); close(fd);
  unlink(path(0, "link")); symlink("f", path(0, "link"));
  CK(fd = open(path(0, "big"), O_WRONLY | O_CREAT | O_TRUNC, 0644), "big");
  for (unsigned i = 0; i < BIG; i += 1 << 20) CK(write(fd, buf, 1 << 20), "big");
  close(fd);
  mkdir(path(0, "dir1k"), 0755);
  for (int i = 0; i < NDIR / 10; i++) { snprintf(t, sizeof t, "dir1k/e%05d", i); CK(fd = open(path(0, t), O_WRONLY | O_CREAT, 0644), t); close(fd); }
  mkdir(path(0, "dir10k"), 0755);
  for (int i = 0; i < NDIR; i++) { snprintf(t, sizeof t, "dir10k/e%05d", i); CK(fd = open(path(0, t), O_WRONLY | O_CREAT, 0644), t); close(fd); }
}

int main(int argc, char **argv) {
  if (argc < 4) { fprintf(stderr, "usage: fsbench DIR WORKLOAD COUNT ...\n"); return 2; }
  snprintf(base, sizeof base, "%s", argv[1]);
  /* page-aligned: on Zen 3 the kernel's `rep movsb` copy is 2-4x slower when the destination is 1..31 bytes
   * past a page start, which is where malloc puts big blocks (+16). The *_m16 workloads measure that case. */
  abuf = aligned_alloc(1 << 16, (1 << 20) + (1 << 16));
  memset(abuf, 'x', (1 << 20) + (1 << 16));
#ifndef __wasm__
  if (chdir(base)) die("chdir");
#endif
  for (int a = 2; a + 1 < argc; a += 2) {
    const char *w = argv[a];
    uint64_t n = strtoull(argv[a + 1], 0, 10), ns = 0, ops = 0;
    if (!strcmp(w, "setup")) { setup(); continue; }
    double v[REPS];
    if (strcmp(w, "readdir_10k")) run(w, n / 4 + 1, &ns); else run(w, 1, &ns);
    for (int r = 0; r < REPS; r++) { ops = run(w, n, &ns); v[r] = (double)ns / (double)ops; }
    qsort(v, REPS, sizeof v[0], cmpd);
    printf("{\"workload\":\"%s\",\"ops\":%llu,\"ns_per_op\":%.1f,\"min\":%.1f,\"max\":%.1f}\n", w, (unsigned long long)ops, v[REPS / 2], v[0], v[REPS - 1]);
    fflush(stdout);
  }
  return 0;
}
