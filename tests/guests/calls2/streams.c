/* The functions of wasi:io: streams of files, their errors, and what waits for them. */
#include "calls2.h"

#define BIN streams_borrow_input_stream
#define BOUT streams_borrow_output_stream
#define HUGE_LEN (~0ull)
#define SIGNED_MAX (~0ull >> 1)

static wasip2_list_u8_t got;
static u64 done;

static in_t digits(void) {
  put("f", "0123456789");
  return reader("f", 0);
}

static void input_stream_read(void) {
  in_t in = digits();
  STREAM(IN(read)(BIN(in), 0, &got, &fault), OK);
  EQ(0, got.len);
  wait_in(in);
  STREAM(IN(read)(BIN(in), 4, &got, &fault), OK);
  TRUE(bytes_are(got, "0123"));
  wait_in(in);
  STREAM(IN(read)(BIN(in), HUGE_LEN, &got, &fault), OK); /* no length is too long */
  TRUE(bytes_are(got, "456789"));
  wait_in(in);
  STREAM(IN(read)(BIN(in), 1, &got, &fault), CLOSED);
  STREAM(IN(read)(BIN(in), 1, &got, &fault), CLOSED); /* for good */
  shut_in(in);
}

static void input_stream_blocking_read(void) {
  in_t in = digits();
  STREAM(IN(blocking_read)(BIN(in), 3, &got, &fault), OK);
  TRUE(bytes_are(got, "012"));
  STREAM(IN(blocking_read)(BIN(in), HUGE_LEN, &got, &fault), OK);
  TRUE(bytes_are(got, "3456789"));
  STREAM(IN(blocking_read)(BIN(in), HUGE_LEN, &got, &fault), CLOSED);
  STREAM(IN(blocking_read)(BIN(in), 0, &got, &fault), CLOSED);
  shut_in(in);
}

static void input_stream_skip(void) {
  in_t in = digits();
  wait_in(in);
  STREAM(IN(skip)(BIN(in), 4, &done, &fault), OK);
  EQ(4, done);
  TRUE(reads(in, "45"));
  wait_in(in);
  STREAM(IN(skip)(BIN(in), HUGE_LEN, &done, &fault), OK);
  EQ(4, done);
  wait_in(in);
  STREAM(IN(skip)(BIN(in), 1, &done, &fault), CLOSED);
  shut_in(in);
}

static void input_stream_blocking_skip(void) {
  in_t in = digits();
  STREAM(IN(blocking_skip)(BIN(in), 4, &done, &fault), OK);
  EQ(4, done);
  TRUE(reads(in, "45"));
  STREAM(IN(blocking_skip)(BIN(in), HUGE_LEN, &done, &fault), OK);
  EQ(4, done);
  STREAM(IN(blocking_skip)(BIN(in), 1, &done, &fault), CLOSED);
  shut_in(in);
}

static void input_stream_subscribe(void) {
  in_t in = digits();
  poll_own_pollable_t ready = IN(subscribe)(BIN(in)), again = IN(subscribe)(BIN(in));
  poll_method_pollable_block(poll_borrow_pollable(ready));
  TRUE(poll_method_pollable_ready(poll_borrow_pollable(again)));
  poll_pollable_drop_own(ready);
  poll_pollable_drop_own(again);
  TRUE(reads(in, "0123456789"));
  STREAM(IN(blocking_read)(BIN(in), 1, &got, &fault), CLOSED);
  wait_in(in); /* what has ended is ready */
  shut_in(in);
}

const test_t input_tests[] = {
    TEST(input_stream_read), TEST(input_stream_blocking_read), TEST(input_stream_skip),
    TEST(input_stream_blocking_skip), TEST(input_stream_subscribe), TESTS_END};

/* Waits until something may be written, and answers how much. */
static u64 budget(out_t out) {
  u64 may = 0;
  wait_out(out);
  STREAM(OUT(check_write)(BOUT(out), &may, &fault), OK);
  TRUE(may > 0);
  return may;
}

static void output_stream_check_write(void) {
  out_t out = writer("f", 0);
  TRUE(budget(out) >= 4096);
  STREAM(OUT(write)(BOUT(out), B("ab"), &fault), OK);
  TRUE(budget(out) >= 4096); /* once it is written, there is room again */
  shut_out(out);
  TRUE(holds("f", "ab"));
}

static void output_stream_write(void) {
  out_t out = writer("f", 0);
  for (int i = 0; i < 3; i++) {
    budget(out);
    STREAM(OUT(write)(BOUT(out), B("abc"), &fault), OK);
  }
  budget(out);
  STREAM(OUT(write)(BOUT(out), B(""), &fault), OK);
  STREAM(OUT(blocking_flush)(BOUT(out), &fault), OK);
  TRUE(holds("f", "abcabcabc"));
  budget(out);
  STREAM(OUT(write)(BOUT(out), B("z"), &fault), OK);
  shut_out(out); /* what was accepted is written */
  TRUE(holds("f", "abcabcabcz"));
}

static void output_stream_blocking_write_and_flush(void) {
  out_t out = writer("f", 2);
  STREAM(OUT(blocking_write_and_flush)(BOUT(out), B("ab"), &fault), OK);
  EQ(4, size_of("f")); /* there, at once */
  static uint8_t most[4096];
  wasip2_list_u8_t bytes = {most, sizeof most};
  STREAM(OUT(blocking_write_and_flush)(BOUT(out), &bytes, &fault), OK);
  EQ(4100, size_of("f"));
  shut_out(out);
}

static void output_stream_flush(void) {
  out_t out = writer("f", 0);
  STREAM(OUT(flush)(BOUT(out), &fault), OK);
  budget(out);
  STREAM(OUT(write)(BOUT(out), B("ab"), &fault), OK);
  STREAM(OUT(flush)(BOUT(out), &fault), OK);
  budget(out); /* the flush has ended */
  TRUE(holds("f", "ab"));
  shut_out(out);
}

static void output_stream_blocking_flush(void) {
  out_t out = writer("f", 0);
  STREAM(OUT(blocking_flush)(BOUT(out), &fault), OK);
  budget(out);
  STREAM(OUT(write)(BOUT(out), B("ab"), &fault), OK);
  STREAM(OUT(blocking_flush)(BOUT(out), &fault), OK);
  TRUE(holds("f", "ab"));
  shut_out(out);
}

static void output_stream_subscribe(void) {
  out_t out = writer("f", 0);
  poll_own_pollable_t ready = OUT(subscribe)(BOUT(out));
  poll_method_pollable_block(poll_borrow_pollable(ready));
  TRUE(poll_method_pollable_ready(poll_borrow_pollable(ready)));
  budget(out);
  STREAM(OUT(write)(BOUT(out), B("ab"), &fault), OK);
  poll_method_pollable_block(poll_borrow_pollable(ready)); /* one may wait with it again */
  poll_pollable_drop_own(ready);
  shut_out(out);
}

/* Whether `f` is `len` bytes, of which those behind the first `from` are zeros. */
static void zeros_behind(u64 from, u64 len) {
  EQ(len, size_of("f"));
  in_t in = reader("f", from);
  for (u64 left = len - from; left;) {
    if (STREAM(IN(blocking_read)(BIN(in), left, &got, &fault), OK) != OK)
      break;
    for (size_t i = 0; i < got.len; i++)
      if (got.ptr[i])
        TRUE(!"zeros only");
    left -= got.len;
    wasip2_list_u8_free(&got);
  }
  shut_in(in);
}

static void output_stream_write_zeroes(void) {
  put("f", "0123456789");
  out_t out = writer("f", 3);
  budget(out);
  STREAM(OUT(write_zeroes)(BOUT(out), 10000, &fault), OK);
  STREAM(OUT(blocking_flush)(BOUT(out), &fault), OK);
  zeros_behind(3, 10003);
  budget(out);
  STREAM(OUT(write_zeroes)(BOUT(out), 0, &fault), OK);
  shut_out(out);
  EQ(10003, size_of("f"));
}

static void output_stream_blocking_write_zeroes_and_flush(void) {
  put("f", "0123456789");
  out_t out = writer("f", 1);
  STREAM(OUT(blocking_write_zeroes_and_flush)(BOUT(out), 4096, &fault), OK);
  zeros_behind(1, 4097);
  shut_out(out);
}

static void output_stream_splice(void) {
  in_t in = digits();
  out_t out = writer("g", 0);
  wait_in(in);
  budget(out);
  STREAM(OUT(splice)(BOUT(out), BIN(in), 4, &done, &fault), OK);
  EQ(4, done);
  budget(out);
  wait_in(in);
  STREAM(OUT(splice)(BOUT(out), BIN(in), HUGE_LEN, &done, &fault), OK); /* as much as there is */
  EQ(6, done);
  budget(out);
  TRUE(holds("g", "0123456789"));
  wait_in(in);
  STREAM(OUT(splice)(BOUT(out), BIN(in), 1, &done, &fault), CLOSED);
  shut_in(in);
  shut_out(out);
}

static void output_stream_blocking_splice(void) {
  in_t in = digits();
  out_t out = writer("g", 0);
  STREAM(OUT(blocking_splice)(BOUT(out), BIN(in), 4, &done, &fault), OK);
  EQ(4, done);
  STREAM(OUT(blocking_splice)(BOUT(out), BIN(in), HUGE_LEN, &done, &fault), OK);
  EQ(6, done);
  STREAM(OUT(blocking_splice)(BOUT(out), BIN(in), 1, &done, &fault), CLOSED);
  STREAM(OUT(blocking_flush)(BOUT(out), &fault), OK); /* the output is none the worse */
  TRUE(holds("g", "0123456789"));
  shut_in(in);
  shut_out(out);
}

/* A stream that ends behind the largest file there can be: its next write fails. */
static out_t failing(void) {
  put("f", "");
  return writer("f", SIGNED_MAX);
}

static void types_filesystem_error_code(void) {
  out_t out = failing();
  bool is_ok = OUT(blocking_write_and_flush)(BOUT(out), B("ab"), &fault);
  TRUE(!is_ok);
  EQ(STREAMS_STREAM_ERROR_LAST_OPERATION_FAILED, fault.tag);
  filesystem_error_code_t told = 0xff;
  TRUE(filesystem_filesystem_error_code(
      io_error_borrow_error(fault.val.last_operation_failed), &told));
  TRUE(told == FILE_TOO_LARGE || told == INVALID);
  io_error_error_drop_own(fault.val.last_operation_failed);
  STREAM(OUT(check_write)(BOUT(out), &done, &fault), CLOSED); /* an error is told once */
  STREAM(OUT(blocking_write_and_flush)(BOUT(out), B("ab"), &fault), CLOSED);
  STREAM(OUT(blocking_flush)(BOUT(out), &fault), CLOSED);
  shut_out(out);
  EQ(0, size_of("f"));
}

static void error_to_debug_string(void) {
  out_t out = failing();
  TRUE(!OUT(blocking_write_and_flush)(BOUT(out), B("ab"), &fault));
  wasip2_string_t text;
  io_error_method_error_to_debug_string(
      io_error_borrow_error(fault.val.last_operation_failed), &text);
  TRUE(text.len > 0);
  io_error_error_drop_own(fault.val.last_operation_failed);
  shut_out(out);
}

const test_t output_tests[] = {
    TEST(output_stream_check_write), TEST(output_stream_write),
    TEST(output_stream_blocking_write_and_flush), TEST(output_stream_flush),
    TEST(output_stream_blocking_flush), TEST(output_stream_subscribe),
    TEST(output_stream_write_zeroes), TEST(output_stream_blocking_write_zeroes_and_flush),
    TEST(output_stream_splice), TEST(output_stream_blocking_splice),
    TEST(types_filesystem_error_code), TEST(error_to_debug_string), TESTS_END};
