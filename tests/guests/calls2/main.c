/* calls2: every function of wasi:filesystem, wasi:cli, wasi:io and wasi:clocks, called as WIT
 * allows and as it does not. See ../README.md for how to run it. */
#include "calls2.h"

fd_t root, D;

static const test_t *const files[] = {descriptor_tests, path_tests,  input_tests,
                                      output_tests,     world_tests, read_only_tests,
                                      hostile_tests};
#define FILES (sizeof files / sizeof *files)

static const char *running = "calls2";
static unsigned failures, failures_all;

static const char *answer_name(uint8_t answer) {
  static const char *const names[] = {
      "access", "would-block", "already", "bad-descriptor", "busy", "deadlock", "quota", "exist",
      "file-too-large", "illegal-byte-sequence", "in-progress", "interrupted", "invalid", "io",
      "is-directory", "loop", "too-many-links", "message-size", "name-too-long", "no-device",
      "no-entry", "no-lock", "insufficient-memory", "insufficient-space", "not-directory",
      "not-empty", "not-recoverable", "unsupported", "no-tty", "no-such-device", "overflow",
      "not-permitted", "pipe", "read-only", "invalid-seek", "text-file-busy", "cross-device"};
  switch (answer) {
  case OK: return "ok";
  case CLOSED: return "closed";
  case NO_CODE: return "an error without a code";
  default: return answer < sizeof names / sizeof *names ? names[answer] : "no answer at all";
  }
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

uint8_t check(const char *file, int line, const char *call, uint8_t got, answers_t want) {
  for (int i = 0; i < 4; i++)
    if ((uint8_t)(want >> 8 * i) == got)
      return got;
  say_failure(file, line, call);
  for (int i = 0; i < 4 && (uint8_t)(want >> 8 * i) != 0xff; i++) {
    say(i ? " or " : "");
    say(answer_name((uint8_t)(want >> 8 * i)));
  }
  say(" got ");
  say(answer_name(got));
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
  flush();
}

static int usage(const char *text) {
  say(text);
  say("\nusage: calls2 list | list-read-only | list-traps | all | NAME...\n");
  flush();
  return 2;
}

/* Finds the preopen that is named "/". */
static bool find_root(void) {
  filesystem_preopens_list_tuple2_own_descriptor_string_t dirs;
  filesystem_preopens_get_directories(&dirs);
  bool found = false;
  for (size_t i = 0; i < dirs.len; i++)
    if (is(dirs.ptr[i].f1, "/")) {
      root = BORROW(dirs.ptr[i].f0);
      found = true;
    }
  return found;
}

static void run(const test_t *test) {
  running = test->name;
  failures = 0;
  own_t own = {0};
  D = root;
  if (test->kind != READ_ONLY_WORLD) {
    dir(test->name);
    own = open_dir(root, test->name);
    D = BORROW(own);
  }
  if (failures) {
    failures_all++;
    return;
  }
  if (test->kind == ENDS || test->kind == TRAPS)
    say_ok(test); /* there is no time for it behind the call */
  test->run();
  if (test->kind == TRAPS)
    TRUE(!"this comes back");
  D = root;
  if (test->kind != READ_ONLY_WORLD)
    shut(own);
  if (!failures)
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

static void each(kind_t kind, void (*what)(const test_t *)) {
  for (size_t f = 0; f < FILES; f++)
    for (const test_t *t = files[f]; t->name; t++)
      if (t->kind == kind)
        what(t);
}

static void say_name(const test_t *test) {
  say(test->name);
  say("\n");
}

int main(int argc, char **argv) {
  if (argc < 2)
    return usage("calls2: nothing to do");
  if (!strcmp(argv[1], "list")) {
    each(LISTED, say_name);
    each(ENDS, say_name);
    flush();
    return 0;
  }
  if (!strcmp(argv[1], "list-read-only")) {
    each(READ_ONLY_WORLD, say_name);
    flush();
    return 0;
  }
  if (!strcmp(argv[1], "list-traps")) {
    each(TRAPS, say_name);
    flush();
    return 0;
  }
  if (!find_root())
    return usage("calls2: there is no preopen named /");
  D = root;
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
