/* What every file of `calls` shares: short names, checks, and the table of sub-tests.
 *
 * A sub-test is a function without arguments. Before each one, `D` is a fresh empty directory
 * beneath the preopen, opened with all rights that can be had, and named like the sub-test.
 * A check that fails prints `FAIL NAME: FILE:LINE: CALL: expected X got Y` and the sub-test goes
 * on, so that one run shows all that is wrong. */
#ifndef CALLS_H
#define CALLS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <wasi/api.h>

enum { /* errnos, by the names of the specification */
  OK = 0, TOOBIG = 1, ACCES = 2, AGAIN = 6, BADF = 8, BUSY = 10, EXIST_ = 20, FAULT = 21,
  FBIG = 22, ILSEQ = 25, INVAL = 28, ISDIR = 31, LOOP = 32, NAMETOOLONG = 37, NOENT = 44,
  NOSYS = 52, NOTDIR = 54, NOTEMPTY = 55, NOTSOCK = 57, NOTSUP = 58, OVERFLOW_ = 61, PERM = 63,
  SPIPE = 70, NOTCAPABLE = 76,
};

/* Rights, flags and types by the names of the specification, without the long prefix. */
#define R(name) ((__wasi_rights_t)__WASI_RIGHTS_##name)
#define R_ALL ((__wasi_rights_t)0x3fffffff)
#define FOLLOW __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW
#define CREAT __WASI_OFLAGS_CREAT
#define DIRECTORY __WASI_OFLAGS_DIRECTORY
#define EXCL __WASI_OFLAGS_EXCL
#define TRUNC __WASI_OFLAGS_TRUNC
#define APPEND __WASI_FDFLAGS_APPEND
#define SET __WASI_WHENCE_SET
#define CUR __WASI_WHENCE_CUR
#define END __WASI_WHENCE_END

/* What a program that reads and writes a file asks for. */
#define RW (R(FD_READ) | R(FD_WRITE) | R(FD_SEEK) | R(FD_TELL) | R(FD_FDSTAT_SET_FLAGS) | \
            R(FD_FILESTAT_GET) | R(FD_FILESTAT_SET_SIZE) | R(FD_FILESTAT_SET_TIMES) | \
            R(FD_ADVISE) | R(FD_ALLOCATE) | R(FD_SYNC) | R(FD_DATASYNC) | R(POLL_FD_READWRITE))
#define RO (R(FD_READ) | R(FD_SEEK) | R(FD_TELL) | R(FD_FILESTAT_GET) | R(FD_ADVISE))

typedef __wasi_fd_t fd_t;
typedef __wasi_filestat_t stat_t;
typedef __wasi_fdstat_t fdstat_t;
typedef uint64_t u64;

extern fd_t root; /* the preopen */
extern fd_t D;    /* this sub-test's own directory */

/* A set of one to four errnos. */
typedef uint32_t errnos_t;
#define ERRNOS(...) ERRNOS_(__VA_ARGS__, 0xff, 0xff, 0xff, 0xff)
#define ERRNOS_(a, b, c, d, ...) \
  ((errnos_t)(a) | (errnos_t)(b) << 8 | (errnos_t)(c) << 16 | (errnos_t)(d) << 24)

/* CHECK(call, errno...): the call answers one of these errnos. Its value is the errno. */
#define CHECK(call, ...) check_errno(__FILE__, __LINE__, #call, (call), ERRNOS(__VA_ARGS__))
/* ESCAPE(call): the path leaves its start. */
#define ESCAPE(call) check_errno(__FILE__, __LINE__, #call, (call), ERRNOS(PERM, NOTCAPABLE))
/* EQ(a, b): b is what is there, a is what should be. */
#define EQ(want, got) check_eq(__FILE__, __LINE__, #got, (u64)(want), (u64)(got))
#define TRUE(what) check_eq(__FILE__, __LINE__, #what, 1, !!(what))

uint16_t check_errno(const char *file, int line, const char *call, uint16_t got, errnos_t want);
void check_eq(const char *file, int line, const char *what, u64 want, u64 got);

/* Text without printf, which would be a third of the module. */
void say(const char *text);
void say_number(u64 number);
void flush(void); /* to stdout */
/* Writes `prefix` and a number of three digits into name. */
void name_of(char name[32], const char *prefix, unsigned number);

/* Opens; answers a descriptor, or one that is never open. A failure is a failed check. */
fd_t open_dir(fd_t at, const char *path);
fd_t open_file(fd_t at, const char *path, __wasi_oflags_t how, __wasi_rights_t rights);
/* The errno of an open whose descriptor is not wanted. */
uint16_t try_open(fd_t at, __wasi_lookupflags_t follow, const char *path, __wasi_oflags_t how,
                  __wasi_rights_t rights);
void put(fd_t at, const char *path, const char *text); /* makes a file that holds text */
bool holds(fd_t at, const char *path, const char *text); /* whether it does */
bool exists(fd_t at, const char *path); /* links are not followed */
void dir(fd_t at, const char *path);
void ln(fd_t at, const char *target, const char *path);
void shut(fd_t fd);
stat_t stat_of(fd_t at, const char *path); /* links are not followed */
stat_t fstat_of(fd_t fd);
fdstat_t fdstat_of(fd_t fd);
size_t write_all(fd_t fd, const char *text);
uint16_t read_text(fd_t fd, char *buf, size_t cap, size_t *got);
u64 tell(fd_t fd);

/* One entry of a listing. */
typedef struct {
  u64 next, ino;
  uint8_t type;
  char name[64];
} entry_t;
/* Lists up to cap entries behind cookie with a buffer of buf_len bytes (at most 8 KiB), as often
 * as it takes. Answers how many. */
size_t list(fd_t dir, u64 cookie, size_t buf_len, entry_t *into, size_t cap);

/* The calls, short. */
#define mkdir_at __wasi_path_create_directory
#define rmdir_at __wasi_path_remove_directory
#define unlink_at __wasi_path_unlink_file
#define symlink_at __wasi_path_symlink
#define rename_at __wasi_path_rename
#define link_at __wasi_path_link
#define stat_at __wasi_path_filestat_get
#define times_at __wasi_path_filestat_set_times
#define readlink_at(fd, path, buf, len, got) \
  __wasi_path_readlink(fd, path, (uint8_t *)(buf), len, got)

/* The same, with pointers and lengths that no string has. */
#define IMPORT(name) \
  __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) uint16_t raw_##name
IMPORT(args_get)(uint32_t, uint32_t);
IMPORT(args_sizes_get)(uint32_t, uint32_t);
IMPORT(clock_res_get)(uint32_t, uint32_t);
IMPORT(clock_time_get)(uint32_t, u64, uint32_t);
IMPORT(environ_sizes_get)(uint32_t, uint32_t);
IMPORT(fd_advise)(uint32_t, u64, u64, uint32_t);
IMPORT(fd_fdstat_get)(uint32_t, uint32_t);
IMPORT(fd_fdstat_set_flags)(uint32_t, uint32_t);
IMPORT(fd_filestat_get)(uint32_t, uint32_t);
IMPORT(fd_filestat_set_times)(uint32_t, u64, u64, uint32_t);
IMPORT(fd_prestat_get)(uint32_t, uint32_t);
IMPORT(fd_read)(uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(fd_readdir)(uint32_t, uint32_t, uint32_t, u64, uint32_t);
IMPORT(fd_seek)(uint32_t, u64, uint32_t, uint32_t);
IMPORT(fd_tell)(uint32_t, uint32_t);
IMPORT(fd_write)(uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(path_create_directory)(uint32_t, uint32_t, uint32_t);
IMPORT(path_filestat_get)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(path_filestat_set_times)(uint32_t, uint32_t, uint32_t, uint32_t, u64, u64, uint32_t);
IMPORT(path_link)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(path_open)
(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, u64, u64, uint32_t, uint32_t);
IMPORT(path_readlink)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(path_remove_directory)(uint32_t, uint32_t, uint32_t);
IMPORT(path_rename)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(path_symlink)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(path_unlink_file)(uint32_t, uint32_t, uint32_t);
IMPORT(poll_oneoff)(uint32_t, uint32_t, uint32_t, uint32_t);
IMPORT(proc_raise)(uint32_t);
IMPORT(random_get)(uint32_t, uint32_t);
#define PTR(x) ((uint32_t)(uintptr_t)(x))

typedef enum {
  LISTED, /* in `list` and in `all` */
  ENDS,   /* in `list`; may end the program, so it is the last one */
  HOST,   /* in `list-host`: needs something that only the host can put there */
} when_t;

typedef struct {
  const char *name;
  void (*run)(void);
  when_t when;
} test_t;

/* The sub-tests of each file; each list ends with a name of 0. */
extern const test_t process_tests[], descriptor_tests[], path_tests[], rows_01_to_16[],
    rows_17_to_27[], rows_28_to_37[], rows_38_to_46[];

#define TEST(name) {#name, name, LISTED}
#define TESTS_END {0, 0, LISTED}

#endif
