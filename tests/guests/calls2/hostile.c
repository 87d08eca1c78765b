/* What no guest should do. Most of it ends in a trap, as the component model says of a handle that
 * is not there or not of its type, and wasi:io of what it does not permit. */
#include "calls2.h"

#define BIN streams_borrow_input_stream
#define BOUT streams_borrow_output_stream
#define MANY 1000000
#define PAGE 65536u

static wasip2_list_u8_t got;
static stat_t st;

static own_t file(void) {
  put("f", "content");
  return open_as(D, "f", 0, READ | WRITE);
}

static in_t input(void) {
  put("f", "content");
  return reader("f", 0);
}

static void a_descriptor_dropped_twice(void) {
  own_t f = file();
  shut(f);
  shut(f);
}

static void a_descriptor_used_after_its_end(void) {
  own_t f = file();
  fd_t fd = BORROW(f);
  shut(f);
  FN(stat)(fd, &st, &code);
}

static void a_handle_that_was_made_up(void) { FN(stat)((fd_t){0x7ffffff}, &st, &code); }

static void a_handle_below_zero(void) { FN(stat)((fd_t){-1}, &st, &code); }

static void a_stream_as_a_descriptor(void) { FN(stat)((fd_t){input().__handle}, &st, &code); }

static void a_descriptor_as_a_stream(void) {
  IN(blocking_read)((streams_borrow_input_stream_t){file().__handle}, 1, &got, &fault);
}

static void an_input_as_an_output(void) {
  OUT(flush)((streams_borrow_output_stream_t){input().__handle}, &fault);
}

static void a_stream_used_after_its_end(void) {
  in_t in = input();
  shut_in(in);
  IN(read)((streams_borrow_input_stream_t){in.__handle}, 1, &got, &fault);
}

static void a_stream_dropped_before_what_waits_for_it(void) {
  in_t in = input();
  IN(subscribe)(BIN(in));
  shut_in(in);
}

static void a_listing_dropped_twice(void) {
  filesystem_own_directory_entry_stream_t entries;
  CHECK(FN(read_directory)(D, &entries, &code), OK);
  filesystem_directory_entry_stream_drop_own(entries);
  filesystem_directory_entry_stream_drop_own(entries);
}

static void a_pollable_used_after_its_end(void) {
  poll_own_pollable_t timer = monotonic_clock_subscribe_duration(1);
  poll_borrow_pollable_t borrowed = poll_borrow_pollable(timer);
  poll_pollable_drop_own(timer);
  poll_method_pollable_block(borrowed);
}

static void a_poll_of_nothing(void) {
  wasip2_list_u32_t ready;
  poll_poll(&(poll_list_borrow_pollable_t){0, 0}, &ready);
}

static void an_error_used_after_its_end(void) {
  put("f", "");
  out_t out = writer("f", ~0ull >> 1);
  TRUE(!OUT(blocking_write_and_flush)(BOUT(out), B("ab"), &fault));
  io_error_borrow_error_t borrowed = io_error_borrow_error(fault.val.last_operation_failed);
  io_error_error_drop_own(fault.val.last_operation_failed);
  filesystem_filesystem_error_code(borrowed, &code);
}

static void a_write_of_more_than_is_permitted(void) {
  out_t out = writer("f", 0);
  u64 may = 0;
  STREAM(OUT(check_write)(BOUT(out), &may, &fault), OK);
  wasip2_list_u8_t bytes = {malloc(may + 1), may + 1};
  TRUE(bytes.ptr != 0);
  OUT(write)(BOUT(out), &bytes, &fault);
}

static void zeros_without_end(void) { OUT(write_zeroes)(BOUT(writer("f", 0)), ~0ull, &fault); }

static void a_flushed_write_of_too_much(void) {
  static uint8_t most[4097];
  wasip2_list_u8_t bytes = {most, sizeof most};
  OUT(blocking_write_and_flush)(BOUT(writer("f", 0)), &bytes, &fault);
}

static void flushed_zeros_of_too_much(void) {
  OUT(blocking_write_zeroes_and_flush)(BOUT(writer("f", 0)), ~0ull, &fault);
}

static void random_bytes_without_end(void) { random_get_random_bytes(~0ull, &got); }

static void timers_without_end(void) {
  for (int i = 0; i < MANY; i++)
    monotonic_clock_subscribe_duration(~0ull);
}

static void waits_for_one_stream_without_end(void) {
  in_t in = input();
  for (int i = 0; i < MANY; i++)
    IN(subscribe)(BIN(in));
}

static void preopens_without_end(void) {
  filesystem_preopens_list_tuple2_own_descriptor_string_t dirs;
  for (int i = 0; i < MANY; i++)
    filesystem_preopens_get_directories(&dirs);
}

/* All the memory that there is. */
static void take_all_memory(void) {
  for (unsigned pages = 65536; pages; pages /= 2)
    while (__builtin_wasm_memory_grow(0, pages) != (size_t)-1)
      ;
}

static void an_answer_that_has_no_room(void) {
  own_t f = file();
  CHECK(FN(set_size)(BORROW(f), 100000, &code), OK);
  take_all_memory();
  for (size_t len = 1 << 20; len; len /= 2)
    while (malloc(len))
      ;
  wasip2_tuple2_list_u8_bool_t bytes;
  FN(read)(BORROW(f), 100000, 0, &bytes, &code);
}

static void memory_that_ends(void) {
  take_all_memory();
  TRUE(__builtin_wasm_memory_size(0) <= (64u << 20) / PAGE);
  put("f", "x"); /* and the guest goes on */
  TRUE(holds("f", "x"));
}

static void descriptors_without_end(void) {
  put("f", "x");
  static own_t open[100000];
  unsigned count = 0;
  while (count < 100000 && FN(open_at)(D, 0, S("f"), 0, READ, &open[count], &code))
    count++;
  TRUE(count > 10 && count < 100000);
  EQ(22, code); /* insufficient-memory */
  OPEN(22, D, 0, "new", CREATE, WRITE);
  TRUE(!exists("new")); /* nothing was made for what could not be opened */
  while (count)
    shut(open[--count]);
  TRUE(holds("f", "x"));
}

/* Opens streams until that is refused, and drops them. Their descriptor is of no use to them. */
#define STREAMS_WITHOUT_END(type, drop, open)                                                      \
  static type streams[100000];                                                                     \
  unsigned count = 0;                                                                              \
  while (count < 100000 && open(&streams[count]))                                                  \
    count++;                                                                                       \
  TRUE(count > 10 && count < 100000);                                                              \
  EQ(22, code); /* insufficient-memory */                                                          \
  while (count)                                                                                    \
    drop(streams[--count])

static bool open_input(in_t *to) {
  own_t f = file();
  bool opened = FN(read_via_stream)(BORROW(f), 0, to, &code);
  shut(f);
  return opened;
}

static bool open_output(out_t *to) {
  own_t f = file();
  bool opened = FN(append_via_stream)(BORROW(f), to, &code);
  shut(f);
  return opened;
}

static bool open_listing(filesystem_own_directory_entry_stream_t *to) {
  return FN(read_directory)(D, to, &code);
}

static void inputs_without_end(void) {
  STREAMS_WITHOUT_END(in_t, streams_input_stream_drop_own, open_input);
}

static void outputs_without_end(void) {
  STREAMS_WITHOUT_END(out_t, streams_output_stream_drop_own, open_output);
}

static void listings_without_end(void) {
  STREAMS_WITHOUT_END(filesystem_own_directory_entry_stream_t,
                      filesystem_directory_entry_stream_drop_own, open_listing);
}

#define TRAPS_(name) {#name, name, TRAPS}

const test_t hostile_tests[] = {
    TEST(memory_that_ends), TEST(descriptors_without_end), TEST(inputs_without_end),
    TEST(outputs_without_end), TEST(listings_without_end), TRAPS_(a_descriptor_dropped_twice),
    TRAPS_(a_descriptor_used_after_its_end), TRAPS_(a_handle_that_was_made_up),
    TRAPS_(a_handle_below_zero), TRAPS_(a_stream_as_a_descriptor),
    TRAPS_(a_descriptor_as_a_stream), TRAPS_(an_input_as_an_output),
    TRAPS_(a_stream_used_after_its_end), TRAPS_(a_stream_dropped_before_what_waits_for_it),
    TRAPS_(a_listing_dropped_twice), TRAPS_(a_pollable_used_after_its_end),
    TRAPS_(a_poll_of_nothing), TRAPS_(an_error_used_after_its_end),
    TRAPS_(a_write_of_more_than_is_permitted), TRAPS_(zeros_without_end),
    TRAPS_(a_flushed_write_of_too_much), TRAPS_(flushed_zeros_of_too_much),
    TRAPS_(random_bytes_without_end), TRAPS_(timers_without_end),
    TRAPS_(waits_for_one_stream_without_end), TRAPS_(preopens_without_end),
    TRAPS_(an_answer_that_has_no_room), TESTS_END};
