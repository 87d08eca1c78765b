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

static void say_failure(const char *file, int line, const char *what) {
  failures++;
  say("FAIL ");
  say(running);
  say(": ");
  say(file);
  say(":");
  say_number((u64)line);
  say(": ");
  say(what);
  say(": expected ");
}

uint16_t check_errno(const char *file, int line, const char *call, uint16_t got, errnos_t want) {
  for (int i = 0; i < 4; i++)
    if ((uint8_t)(want >> 8 * i) == got)
      return got;
  say_failure(file, line, call);
  for (int i = 0; i < 4 && (uint8_t)(want >> 8 * i) != 0xff; i++) {
    say(i ? " or " : "");
    say(errno_name((uint8_t)(want >> 8 * i)));
  }
  say(" got ");
  say(errno_name(got));
  say("\n");
  flush(); /* what follows may trap */
  return got;
}

void check_eq(const char *file, int line, const char *what, u64 want, u64 got) {
  if (want == got)
    return;
  say_failure(file, line, what);
  say_number(want);
  say(" got ");
  say_number(got);
  say("\n");
  flush();
}

static void say_ok(const test_t *test) {
  say("ok ");
  say(test->name);
  say("\n");
}

static int usage(const char *text) {
  say(text);
  say("\nusage: calls list | list-host | all | NAME...\n");
  flush();
  return 2;
}

/* Finds the preopen that is named "/". */
static bool find_root(void) {
  __wasi_prestat_t ps;
  for (root = 3; __wasi_fd_prestat_get(root, &ps) == OK; root++) {
    uint8_t name[256];
    if (ps.u.dir.pr_name_len == 1 && !__wasi_fd_prestat_dir_name(root, name, 1) && name[0] == '/')
      return true;
  }
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
    say_ok(test); /* there may be no time for it behind the call */
    flush();
  }
  test->run();
  shut(D);
  if (!failures && test->when != ENDS)
    say_ok(test);
  flush();
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

static void say_name(const test_t *test) {
  say(test->name);
  say("\n");
}

int main(int argc, char **argv) {
  if (argc < 2)
    return usage("calls: nothing to do");
  if (!strcmp(argv[1], "list")) {
    each(LISTED, say_name);
    each(ENDS, say_name);
    flush();
    return 0;
  }
  if (!strcmp(argv[1], "list-host")) {
    each(HOST, say_name);
    flush();
    return 0;
  }
  if (!find_root())
    return usage("calls: there is no preopen named /");
  if (!strcmp(argv[1], "all")) {
    each(LISTED, run);
    return failures_all != 0;
  }
  for (int i = 1; i < argc; i++)
    if (!run_named(argv[i])) {
      say(argv[i]);
      return usage(": there is no such sub-test");
    }
  return failures_all != 0;
}
