/* calls: every function of wasi_snapshot_preview1, called as the specification allows and as it
 * does not. See ../README.md for how to run it, and calls.h for what a sub-test is. */
#include "calls.h"

fd_t root, D;

static const test_t *const files[] = {process_tests, descriptor_tests, path_tests,
                                      rows_01_to_16, rows_17_to_27,    rows_28_to_37,
                                      rows_38_to_46};
#define FILES (sizeof files / sizeof *files)

static const char *running = "calls";
static unsigned failures, failures_all;

static const char *errno_name(uint16_t e) {
  static const char *const names[] = {
      "SUCCESS",  "2BIG",        "ACCES",          "ADDRINUSE",   "ADDRNOTAVAIL", "AFNOSUPPORT",
      "AGAIN",    "ALREADY",     "BADF",           "BADMSG",      "BUSY",         "CANCELED",
      "CHILD",    "CONNABORTED", "CONNREFUSED",    "CONNRESET",   "DEADLK",       "DESTADDRREQ",
      "DOM",      "DQUOT",       "EXIST",          "FAULT",       "FBIG",         "HOSTUNREACH",
      "IDRM",     "ILSEQ",       "INPROGRESS",     "INTR",        "INVAL",        "IO",
      "ISCONN",   "ISDIR",       "LOOP",           "MFILE",       "MLINK",        "MSGSIZE",
      "MULTIHOP", "NAMETOOLONG", "NETDOWN",        "NETRESET",    "NETUNREACH",   "NFILE",
      "NOBUFS",   "NODEV",       "NOENT",          "NOEXEC",      "NOLCK",        "NOLINK",
      "NOMEM",    "NOMSG",       "NOPROTOOPT",     "NOSPC",       "NOSYS",        "NOTCONN",
      "NOTDIR",   "NOTEMPTY",    "NOTRECOVERABLE", "NOTSOCK",     "NOTSUP",       "NOTTY",
      "NXIO",     "OVERFLOW",    "OWNERDEAD",      "PERM",        "PIPE",         "PROTO",
      "PROTONOSUPPORT", "PROTOTYPE", "RANGE",      "ROFS",        "SPIPE",        "SRCH",
      "STALE",    "TIMEDOUT",    "TXTBSY",         "XDEV",        "NOTCAPABLE"};
  return e < sizeof names / sizeof *names ? names[e] : "no errno at all";
}

uint16_t check_errno(const char *file, int line, const char *call, uint16_t got,
                     const uint16_t *want) {
  for (const uint16_t *w = want; *w != ERRNO_END; w++)
    if (*w == got)
      return got;
  failures++;
  printf("FAIL %s: %s:%d: %s: expected", running, file, line, call);
  for (const uint16_t *w = want; *w != ERRNO_END; w++)
    printf("%s %s", w == want ? "" : " or", errno_name(*w));
  printf(" got %s (%u)\n", errno_name(got), got);
  return got;
}

void check_eq(const char *file, int line, const char *what, u64 want, u64 got) {
  if (want == got)
    return;
  failures++;
  printf("FAIL %s: %s:%d: %s: expected %llu got %llu\n", running, file, line, what,
         (unsigned long long)want, (unsigned long long)got);
}

/* Finds the preopen that is named "/". */
static bool find_root(void) {
  __wasi_prestat_t ps;
  for (root = 3; __wasi_fd_prestat_get(root, &ps) == OK; root++) {
    uint8_t name[256];
    if (ps.u.dir.pr_name_len == 1 && !__wasi_fd_prestat_dir_name(root, name, 1) && name[0] == '/')
      return true;
  }
  fprintf(stderr, "calls: there is no preopen named /\n");
  return false;
}

/* Makes the fresh directory that a sub-test works in. */
static void enter(const char *name) {
  CHECK(mkdir_at(root, name), OK);
  D = open_dir(root, name);
}

static void run(const test_t *test) {
  running = test->name;
  failures = 0;
  enter(test->name);
  if (test->when == ENDS) {
    printf("ok %s\n", test->name); /* there may be no time for it behind the call */
    fflush(stdout);
  }
  test->run();
  shut(D);
  if (!failures && test->when != ENDS)
    printf("ok %s\n", test->name);
  fflush(stdout);
  failures_all += failures;
}

static bool run_named(const char *name) {
  for (size_t f = 0; f < FILES; f++)
    for (const test_t *t = files[f]; t->name; t++)
      if (!strcmp(t->name, name)) {
        run(t);
        return true;
      }
  return false;
}

static void each(when_t when, void (*what)(const test_t *)) {
  for (size_t f = 0; f < FILES; f++)
    for (const test_t *t = files[f]; t->name; t++)
      if (t->when == when)
        what(t);
}

static void print_name(const test_t *test) { puts(test->name); }

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: calls list | list-host | all | NAME...\n");
    return 2;
  }
  if (!strcmp(argv[1], "list")) {
    each(LISTED, print_name);
    each(ENDS, print_name);
    return 0;
  }
  if (!strcmp(argv[1], "list-host")) {
    each(HOST, print_name);
    return 0;
  }
  if (!find_root())
    return 2;
  if (!strcmp(argv[1], "all")) {
    each(LISTED, run);
    return failures_all != 0;
  }
  for (int i = 1; i < argc; i++)
    if (!run_named(argv[i])) {
      fprintf(stderr, "calls: there is no sub-test %s\n", argv[i]);
      return 2;
    }
  return failures_all != 0;
}
