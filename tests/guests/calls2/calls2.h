/* What every file of `calls2` shares: short names, checks, and the table of sub-tests.
 *
 * The interfaces are called as `<wasi/wasip2.h>` has them, with no libc and no adapter between.
 * A sub-test is a function without arguments, named like the function that it is about: the
 * resource (or the interface, for a function that belongs to none) and the name of WIT, with
 * underlines. Before each one, `D` is a fresh empty directory beneath the preopen, named like the
 * sub-test; for those that want a read-only world, `D` is the preopen. */
#ifndef CALLS2_H
#define CALLS2_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/wasip2.h>

enum { /* answers: the codes of `error-code`, and what a call can answer beside them */
  OK = 0xf0, CLOSED = 0xf1, NO_CODE = 0xf2,
  ACCESS = 0, BAD_DESCRIPTOR = 3, EXIST = 7, FILE_TOO_LARGE = 8, INVALID = 12, IS_DIRECTORY = 14,
  LOOP = 15, NAME_TOO_LONG = 18, NO_ENTRY = 20, INSUFFICIENT_SPACE = 23, NOT_DIRECTORY = 24,
  NOT_EMPTY = 25, OVERFLOW = 30, NOT_PERMITTED = 31, READ_ONLY = 33, BUSY = 4,
};

/* Flags, kinds and functions without their prefixes. */
enum { READ = 1, WRITE = 2, MUTATE = 32, FOLLOW = 1 };
enum { CREATE = 1, DIRECTORY = 2, EXCLUSIVE = 4, TRUNCATE = 8 };
enum { KIND_DIRECTORY = 3, KIND_LINK = 5, KIND_FILE = 6 };
#define FN(name) filesystem_method_descriptor_##name
#define IN(name) streams_method_input_stream_##name
#define OUT(name) streams_method_output_stream_##name
#define BORROW filesystem_borrow_descriptor

typedef uint64_t u64;
typedef filesystem_borrow_descriptor_t fd_t;
typedef filesystem_own_descriptor_t own_t;
typedef streams_own_input_stream_t in_t;
typedef streams_own_output_stream_t out_t;
typedef filesystem_descriptor_stat_t stat_t;
typedef filesystem_metadata_hash_value_t hash_t;
typedef filesystem_new_timestamp_t when_t;

extern fd_t root; /* the preopen */
extern fd_t D;    /* this sub-test's own directory */

/* A set of one to four answers. */
typedef uint32_t answers_t;
#define ANSWERS(...) ANSWERS_(__VA_ARGS__, 0xff, 0xff, 0xff, 0xff)
#define ANSWERS_(a, b, c, d, ...) \
  ((answers_t)(a) | (answers_t)(b) << 8 | (answers_t)(c) << 16 | (answers_t)(d) << 24)

extern filesystem_error_code_t code; /* of the last call on a descriptor */
extern streams_stream_error_t fault; /* of the last call on a stream */
uint8_t stream_answer(bool is_ok); /* its answer; the error is dropped */

/* CHECK(call, answer...): the call, whose error is `&code`, answers one of these. */
#define CHECK(call, ...) check(__FILE__, __LINE__, #call, (call) ? OK : code, ANSWERS(__VA_ARGS__))
/* The same of a call on a stream, whose error is `&fault`. */
#define STREAM(call, ...) \
  check(__FILE__, __LINE__, #call, stream_answer(call), ANSWERS(__VA_ARGS__))
/* EQ(a, b): b is what is there, a is what should be. */
#define EQ(want, got) check_eq(__FILE__, __LINE__, #got, (u64)(want), (u64)(got))
#define TRUE(what) check_eq(__FILE__, __LINE__, #what, 1, !!(what))

uint8_t check(const char *file, int line, const char *call, uint8_t got, answers_t want);
void check_eq(const char *file, int line, const char *what, u64 want, u64 got);

/* Text without printf. */
void say(const char *text);
void say_number(u64 number);
void flush(void); /* to stdout */

/* Text as an argument; the last eight are kept. */
wasip2_string_t *S(const char *text);
wasip2_list_u8_t *B(const char *text);
bool is(wasip2_string_t got, const char *want);
bool bytes_are(wasip2_list_u8_t got, const char *want);

/* Opens; a failure is a failed check. */
own_t open_as(fd_t at, const char *path, int how, int flags);
own_t open_dir(fd_t at, const char *path); /* to change what is beneath it */
/* The answer of an open whose descriptor is not wanted. */
uint8_t try_open(fd_t at, int follow, const char *path, int how, int flags);
#define OPEN(want, ...) check(__FILE__, __LINE__, "open " #__VA_ARGS__, try_open(__VA_ARGS__), want)
void put(const char *path, const char *text);        /* makes a file of D that holds text */
bool holds(const char *path, const char *text);      /* whether it does */
bool exists(const char *path);                       /* links are not followed */
void dir(const char *path);
void ln(const char *target, const char *path);
void shut(own_t fd);
stat_t stat_of(const char *path);                    /* links are not followed */
u64 size_of(const char *path);
hash_t hash_of(const char *path);
bool same_hash(hash_t one, hash_t other);
when_t at(u64 seconds, uint32_t nanoseconds);
extern when_t keep, at_once;

/* Streams of the file `path` of D. */
in_t reader(const char *path, u64 offset);
out_t writer(const char *path, u64 offset);
void wait_in(in_t stream);  /* until it is ready */
void wait_out(out_t stream);
void shut_in(in_t stream);
void shut_out(out_t stream);
/* Reads on until `text` is whole or nothing comes. */
bool reads(in_t stream, const char *text);
void write_all(out_t stream, const char *text);

typedef enum {
  LISTED,    /* in `list` and in `all` */
  ENDS,      /* in `list`: ends the program with the code that its name has */
  TRAPS,     /* in `list-traps`: ends in a trap */
  READ_ONLY_WORLD, /* in `list-read-only`: the preopen is one that nobody may change */
} kind_t;

typedef struct {
  const char *name;
  void (*run)(void);
  kind_t kind;
} test_t;

/* The sub-tests of each file; each list ends with a name of 0. */
extern const test_t descriptor_tests[], path_tests[], input_tests[], output_tests[], world_tests[],
    read_only_tests[], hostile_tests[];

#define TEST(name) {#name, name, LISTED}
#define TESTS_END {0, 0, LISTED}

#endif
