/* wasi:cli, wasi:clocks, the preopens, and waiting for several things at once; and what is left
 * when nothing may be changed. A sub-test has `test_` before its name where the header has a
 * function of that name. */
#include "calls2.h"

#define BIN streams_borrow_input_stream
#define BOUT streams_borrow_output_stream
#define MILLISECOND 1000000ull
#define HOUR (3600000ull * MILLISECOND)

static void test_preopens_get_directories(void) {
  filesystem_preopens_list_tuple2_own_descriptor_string_t dirs;
  filesystem_preopens_get_directories(&dirs);
  EQ(1, dirs.len);
  TRUE(is(dirs.ptr[0].f1, "/"));
  fd_t again = BORROW(dirs.ptr[0].f0);
  TRUE(FN(is_same_object)(root, again));
  TRUE(again.__handle != root.__handle); /* a handle of its own each time */
  shut(dirs.ptr[0].f0);
  stat_t st;
  CHECK(FN(stat)(root, &st, &code), OK);
}

static void test_environment_get_environment(void) {
  wasip2_list_tuple2_string_string_t all;
  environment_get_environment(&all);
  EQ(2, all.len);
  TRUE(is(all.ptr[0].f0, "NAME") && is(all.ptr[0].f1, "value=more"));
  TRUE(is(all.ptr[1].f0, "EMPTY") && is(all.ptr[1].f1, ""));
}

static void test_environment_get_arguments(void) {
  wasip2_list_string_t all;
  environment_get_arguments(&all);
  EQ(2, all.len);
  TRUE(is(all.ptr[0], "calls2"));
  TRUE(is(all.ptr[1], "environment_get_arguments"));
}

static void test_environment_initial_cwd(void) {
  wasip2_string_t cwd;
  TRUE(!environment_initial_cwd(&cwd)); /* there is no directory that a guest is in */
}

/* Standard input has the bytes `input`. */
static void test_stdin_get_stdin(void) {
  in_t in = stdin_get_stdin(), again = stdin_get_stdin();
  TRUE(in.__handle != again.__handle);
  TRUE(reads(in, "inp"));
  TRUE(reads(again, "ut")); /* two handles, one stream */
  wasip2_list_u8_t got;
  STREAM(IN(blocking_read)(BIN(in), 1, &got, &fault), CLOSED);
  wait_in(in);
  shut_in(in);
  shut_in(again);
}

static void test_stdout_get_stdout(void) {
  out_t out = stdout_get_stdout();
  write_all(out, "this is stdout\n");
  wait_out(out);
  shut_out(out);
  out = stdout_get_stdout(); /* dropping a handle does not close the stream */
  write_all(out, "and this\n");
  shut_out(out);
}

static void test_stderr_get_stderr(void) {
  out_t out = stderr_get_stderr();
  write_all(out, "this is stderr\n");
  u64 may;
  STREAM(OUT(check_write)(BOUT(out), &may, &fault), OK);
  shut_out(out);
}

/* None of the streams is a terminal. */
static void test_terminal_stdin_get_terminal_stdin(void) {
  terminal_stdin_own_terminal_input_t terminal;
  TRUE(!terminal_stdin_get_terminal_stdin(&terminal));
}

static void test_terminal_stdout_get_terminal_stdout(void) {
  terminal_stdout_own_terminal_output_t terminal;
  TRUE(!terminal_stdout_get_terminal_stdout(&terminal));
}

static void test_terminal_stderr_get_terminal_stderr(void) {
  terminal_stderr_own_terminal_output_t terminal;
  TRUE(!terminal_stderr_get_terminal_stderr(&terminal));
}

static void test_exit_exit(void) {
  exit_result_void_void_t failed = {true};
  exit_exit(&failed);
}

static void test_monotonic_clock_now(void) {
  u64 before = monotonic_clock_now();
  TRUE(monotonic_clock_now() >= before);
}

static void test_monotonic_clock_resolution(void) { TRUE(monotonic_clock_resolution() > 0); }

static void test_monotonic_clock_subscribe_instant(void) {
  u64 when = monotonic_clock_now() + 2 * MILLISECOND;
  poll_own_pollable_t timer = monotonic_clock_subscribe_instant(when);
  poll_method_pollable_block(poll_borrow_pollable(timer));
  TRUE(monotonic_clock_now() >= when);
  poll_pollable_drop_own(timer);
  timer = monotonic_clock_subscribe_instant(0); /* it is over */
  poll_method_pollable_block(poll_borrow_pollable(timer));
  poll_pollable_drop_own(timer);
}

static void test_monotonic_clock_subscribe_duration(void) {
  u64 start = monotonic_clock_now();
  poll_own_pollable_t timer = monotonic_clock_subscribe_duration(2 * MILLISECOND);
  poll_method_pollable_block(poll_borrow_pollable(timer));
  TRUE(monotonic_clock_now() >= start + 2 * MILLISECOND);
  poll_pollable_drop_own(timer);
  timer = monotonic_clock_subscribe_duration(~0ull); /* never */
  TRUE(!poll_method_pollable_ready(poll_borrow_pollable(timer)));
  poll_pollable_drop_own(timer);
}

static void test_wall_clock_now(void) {
  wall_clock_datetime_t now = {0, ~0u};
  wall_clock_now(&now);
  TRUE(now.seconds > 1000000 && now.nanoseconds < 1000000000);
}

static void test_wall_clock_resolution(void) {
  wall_clock_datetime_t step = {~0ull, ~0u};
  wall_clock_resolution(&step);
  TRUE(step.seconds < 2 && step.nanoseconds < 1000000000 && (step.seconds || step.nanoseconds));
}

static void test_pollable_ready(void) {
  poll_own_pollable_t timer = monotonic_clock_subscribe_duration(HOUR);
  TRUE(!poll_method_pollable_ready(poll_borrow_pollable(timer)));
  poll_pollable_drop_own(timer);
  out_t out = writer("f", 0);
  poll_own_pollable_t ready = OUT(subscribe)(BOUT(out));
  TRUE(poll_method_pollable_ready(poll_borrow_pollable(ready)));
  poll_pollable_drop_own(ready);
  shut_out(out);
}

static void test_pollable_block(void) {
  put("f", "x");
  in_t in = reader("f", 0);
  wait_in(in);
  wasip2_list_u8_t got;
  STREAM(IN(read)(BIN(in), 1, &got, &fault), OK);
  TRUE(bytes_are(got, "x")); /* what was waited for is there */
  shut_in(in);
}

static void test_poll_poll(void) {
  put("f", "x");
  in_t in = reader("f", 0);
  out_t out = writer("g", 0);
  poll_own_pollable_t own[] = {
      monotonic_clock_subscribe_duration(HOUR), IN(subscribe)(BIN(in)),
      OUT(subscribe)(BOUT(out)), monotonic_clock_subscribe_duration(~0ull)};
  poll_borrow_pollable_t all[5];
  for (int i = 0; i < 4; i++)
    all[i] = poll_borrow_pollable(own[i]);
  all[4] = all[1]; /* the same one twice */
  poll_list_borrow_pollable_t list = {all, 5};
  wasip2_list_u32_t ready;
  poll_poll(&list, &ready);
  TRUE(ready.len >= 1 && ready.len <= 3);
  for (size_t i = 0; i < ready.len; i++)
    TRUE(ready.ptr[i] == 1 || ready.ptr[i] == 2 || ready.ptr[i] == 4);
  u64 start = monotonic_clock_now();
  poll_pollable_drop_own(own[3]);
  own[3] = monotonic_clock_subscribe_duration(2 * MILLISECOND);
  all[1] = poll_borrow_pollable(own[3]);
  list.len = 2; /* the hour and the milliseconds */
  poll_poll(&list, &ready);
  EQ(1, ready.len);
  EQ(1, ready.ptr[0]);
  TRUE(monotonic_clock_now() >= start + 2 * MILLISECOND);
  for (int i = 0; i < 4; i++)
    poll_pollable_drop_own(own[i]);
  shut_in(in);
  shut_out(out);
}

#define WORLD(name) {#name, test_##name, LISTED}

const test_t world_tests[] = {
    WORLD(preopens_get_directories), WORLD(environment_get_environment),
    WORLD(environment_get_arguments), WORLD(environment_initial_cwd), WORLD(stdin_get_stdin),
    WORLD(stdout_get_stdout), WORLD(stderr_get_stderr), WORLD(terminal_stdin_get_terminal_stdin),
    WORLD(terminal_stdout_get_terminal_stdout), WORLD(terminal_stderr_get_terminal_stderr),
    WORLD(monotonic_clock_now), WORLD(monotonic_clock_resolution),
    WORLD(monotonic_clock_subscribe_instant), WORLD(monotonic_clock_subscribe_duration),
    WORLD(wall_clock_now), WORLD(wall_clock_resolution), WORLD(pollable_ready),
    WORLD(pollable_block), WORLD(poll_poll), {"exit_exit", test_exit_exit, ENDS}, TESTS_END};

/* The preopen has the file `f`, which holds `content`, the directory `d`, the link `l` to `f`. */
static void read_only_reads(void) {
  TRUE(holds("f", "content"));
  TRUE(holds("l", "content"));
  EQ(7, size_of("f"));
  in_t in = reader("f", 3);
  TRUE(reads(in, "tent"));
  shut_in(in);
  wasip2_string_t target;
  CHECK(FN(readlink_at)(root, S("l"), &target, &code), OK);
  TRUE(is(target, "f"));
  hash_of("d");
  filesystem_own_directory_entry_stream_t entries;
  CHECK(FN(read_directory)(root, &entries, &code), OK);
  filesystem_directory_entry_stream_drop_own(entries);
}

static void read_only_is_told(void) {
  CHECK(FN(create_directory_at)(root, S("new"), &code), READ_ONLY);
  CHECK(FN(remove_directory_at)(root, S("d"), &code), READ_ONLY);
  CHECK(FN(unlink_file_at)(root, S("f"), &code), READ_ONLY);
  CHECK(FN(symlink_at)(root, S("f"), S("new"), &code), READ_ONLY);
  CHECK(FN(link_at)(root, 0, S("f"), root, S("new"), &code), READ_ONLY);
  CHECK(FN(rename_at)(root, S("f"), root, S("new"), &code), READ_ONLY);
  CHECK(FN(set_times_at)(root, 0, S("f"), &keep, &at_once, &code), READ_ONLY);
  OPEN(READ_ONLY, root, 0, "f", 0, WRITE);
  OPEN(READ_ONLY, root, 0, "f", 0, READ | WRITE);
  OPEN(READ_ONLY, root, 0, "f", TRUNCATE, READ);
  OPEN(READ_ONLY, root, 0, "new", CREATE, READ);
  OPEN(READ_ONLY, root, 0, "new", CREATE, WRITE);
  TRUE(holds("f", "content"));
  TRUE(!exists("new"));
}

static void read_only_streams_are_refused_when_made(void) {
  own_t f = open_as(root, "f", 0, READ);
  out_t none;
  u64 done;
  CHECK(FN(write_via_stream)(BORROW(f), 0, &none, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  CHECK(FN(append_via_stream)(BORROW(f), &none, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  CHECK(FN(write)(BORROW(f), B("x"), 0, &done, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  CHECK(FN(set_size)(BORROW(f), 0, &code), INVALID);
  shut(f);
  TRUE(holds("f", "content"));
}

#define FIXED(name) {#name, name, READ_ONLY_WORLD}

const test_t read_only_tests[] = {FIXED(read_only_reads), FIXED(read_only_is_told),
                                  FIXED(read_only_streams_are_refused_when_made), TESTS_END};
