/* What the sub-tests stand on. A helper checks its own calls, so that a test need not. */
#include "calls2.h"

#define TURNS_MAX 10000 /* what does not end is a failure, not a hang */

filesystem_error_code_t code;
streams_stream_error_t fault;
when_t keep = {.tag = FILESYSTEM_NEW_TIMESTAMP_NO_CHANGE};
when_t at_once = {.tag = FILESYSTEM_NEW_TIMESTAMP_NOW};

static char said[2048];
static size_t said_len;

void flush(void) {
  static streams_own_output_stream_t out;
  if (!out.__handle)
    out = stdout_get_stdout();
  wasip2_list_u8_t bytes = {(uint8_t *)said, said_len};
  if (said_len)
    OUT(blocking_write_and_flush)(streams_borrow_output_stream(out), &bytes, &fault);
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

uint8_t stream_answer(bool is_ok) {
  if (is_ok)
    return OK;
  if (fault.tag == STREAMS_STREAM_ERROR_CLOSED)
    return CLOSED;
  filesystem_error_code_t told;
  bool has_code = filesystem_filesystem_error_code(
      io_error_borrow_error(fault.val.last_operation_failed), &told);
  io_error_error_drop_own(fault.val.last_operation_failed);
  return has_code ? told : NO_CODE;
}

wasip2_string_t *S(const char *text) {
  static wasip2_string_t kept[8];
  static unsigned turn;
  wasip2_string_t *to = &kept[turn++ % 8];
  *to = (wasip2_string_t){(uint8_t *)(uintptr_t)text, strlen(text)};
  return to;
}

wasip2_list_u8_t *B(const char *text) {
  static wasip2_list_u8_t kept[8];
  static unsigned turn;
  wasip2_list_u8_t *to = &kept[turn++ % 8];
  *to = (wasip2_list_u8_t){(uint8_t *)(uintptr_t)text, strlen(text)};
  return to;
}

bool is(wasip2_string_t got, const char *want) {
  return got.len == strlen(want) && !memcmp(got.ptr, want, got.len);
}

bool bytes_are(wasip2_list_u8_t got, const char *want) {
  return got.len == strlen(want) && !memcmp(got.ptr, want, got.len);
}

own_t open_as(fd_t at, const char *path, int how, int flags) {
  own_t fd = {0};
  CHECK(FN(open_at)(at, FOLLOW, S(path), (uint8_t)how, (uint8_t)flags, &fd, &code), OK);
  return fd;
}

own_t open_dir(fd_t at, const char *path) { return open_as(at, path, DIRECTORY, READ | MUTATE); }

uint8_t try_open(fd_t at, int follow, const char *path, int how, int flags) {
  own_t fd;
  if (!FN(open_at)(at, (uint8_t)follow, S(path), (uint8_t)how, (uint8_t)flags, &fd, &code))
    return code;
  shut(fd);
  return OK;
}

void shut(own_t fd) { filesystem_descriptor_drop_own(fd); }

void put(const char *path, const char *text) {
  own_t fd = open_as(D, path, CREATE | TRUNCATE, WRITE);
  u64 done = 0;
  CHECK(FN(write)(BORROW(fd), B(text), 0, &done, &code), OK);
  EQ(strlen(text), done);
  shut(fd);
}

bool holds(const char *path, const char *text) {
  own_t fd = open_as(D, path, 0, READ);
  wasip2_tuple2_list_u8_bool_t got;
  bool same = FN(read)(BORROW(fd), 4096, 0, &got, &code) && bytes_are(got.f0, text);
  shut(fd);
  return same;
}

bool exists(const char *path) {
  stat_t st;
  return CHECK(FN(stat_at)(D, 0, S(path), &st, &code), OK, NO_ENTRY) == OK;
}

void dir(const char *path) { CHECK(FN(create_directory_at)(D, S(path), &code), OK); }
void ln(const char *target, const char *path) {
  CHECK(FN(symlink_at)(D, S(target), S(path), &code), OK);
}

stat_t stat_of(const char *path) {
  stat_t st = {0};
  CHECK(FN(stat_at)(D, 0, S(path), &st, &code), OK);
  return st;
}

u64 size_of(const char *path) { return stat_of(path).size; }

hash_t hash_of(const char *path) {
  hash_t hash = {0};
  CHECK(FN(metadata_hash_at)(D, 0, S(path), &hash, &code), OK);
  return hash;
}

bool same_hash(hash_t one, hash_t other) {
  return one.lower == other.lower && one.upper == other.upper;
}

when_t at(u64 seconds, uint32_t nanoseconds) {
  return (when_t){.tag = FILESYSTEM_NEW_TIMESTAMP_TIMESTAMP,
                  .val.timestamp = {seconds, nanoseconds}};
}

in_t reader(const char *path, u64 offset) {
  own_t fd = open_as(D, path, 0, READ);
  in_t stream = {0};
  CHECK(FN(read_via_stream)(BORROW(fd), offset, &stream, &code), OK);
  shut(fd);
  return stream;
}

out_t writer(const char *path, u64 offset) {
  own_t fd = open_as(D, path, CREATE, WRITE);
  out_t stream = {0};
  CHECK(FN(write_via_stream)(BORROW(fd), offset, &stream, &code), OK);
  shut(fd);
  return stream;
}

static void wait_for(poll_own_pollable_t pollable) {
  poll_method_pollable_block(poll_borrow_pollable(pollable));
  TRUE(poll_method_pollable_ready(poll_borrow_pollable(pollable)));
  poll_pollable_drop_own(pollable);
}

void wait_in(in_t stream) { wait_for(IN(subscribe)(streams_borrow_input_stream(stream))); }
void wait_out(out_t stream) { wait_for(OUT(subscribe)(streams_borrow_output_stream(stream))); }
void shut_in(in_t stream) { streams_input_stream_drop_own(stream); }
void shut_out(out_t stream) { streams_output_stream_drop_own(stream); }

bool reads(in_t stream, const char *text) {
  size_t left = strlen(text);
  for (int turn = 0; left && turn < TURNS_MAX; turn++) {
    wasip2_list_u8_t got;
    streams_borrow_input_stream_t from = streams_borrow_input_stream(stream);
    if (STREAM(IN(blocking_read)(from, left, &got, &fault), OK) != OK)
      return false;
    if (got.len > left || memcmp(got.ptr, text, got.len))
      return false;
    text += got.len;
    left -= got.len;
    wasip2_list_u8_free(&got);
  }
  return !left;
}

void write_all(out_t stream, const char *text) {
  STREAM(OUT(blocking_write_and_flush)(streams_borrow_output_stream(stream), B(text), &fault), OK);
}
