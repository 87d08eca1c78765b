/* The functions on a descriptor that take no path. */
#include "calls2.h"

#define HUGE_OFFSET (~0ull)
#define SIGNED_MAX (~0ull >> 1)

/* A file `f` that holds the ten digits. */
static own_t digits(int flags) {
  put("f", "0123456789");
  return open_as(D, "f", 0, flags);
}

static void descriptor_read_via_stream(void) {
  own_t f = digits(READ);
  in_t one = {0}, other = {0}, none;
  CHECK(FN(read_via_stream)(BORROW(f), 0, &one, &code), OK);
  CHECK(FN(read_via_stream)(BORROW(f), 5, &other, &code), OK);
  TRUE(reads(one, "012")); /* they do not interfere with each other */
  TRUE(reads(other, "56"));
  TRUE(reads(one, "3456789"));
  TRUE(reads(other, "789"));
  shut_in(one);
  shut_in(other);
  wasip2_list_u8_t got;
  CHECK(FN(read_via_stream)(BORROW(f), 10, &one, &code), OK); /* at the end */
  STREAM(IN(blocking_read)(streams_borrow_input_stream(one), 1, &got, &fault), CLOSED);
  shut_in(one);
  CHECK(FN(read_via_stream)(BORROW(f), SIGNED_MAX, &one, &code), OK); /* far behind it */
  STREAM(IN(blocking_read)(streams_borrow_input_stream(one), 1, &got, &fault), CLOSED);
  shut_in(one);
  CHECK(FN(read_via_stream)(BORROW(f), HUGE_OFFSET, &none, &code), INVALID);
  shut(f);
  CHECK(FN(read_via_stream)(D, 0, &none, &code), IS_DIRECTORY);
  f = open_as(D, "f", 0, WRITE);
  CHECK(FN(read_via_stream)(BORROW(f), 0, &none, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  shut(f);
}

static void descriptor_write_via_stream(void) {
  own_t f = digits(WRITE);
  out_t one = {0}, other = {0}, none;
  CHECK(FN(write_via_stream)(BORROW(f), 2, &one, &code), OK);
  CHECK(FN(write_via_stream)(BORROW(f), 12, &other, &code), OK);
  shut(f); /* a stream outlives its descriptor */
  write_all(one, "ab");
  write_all(other, "y");
  write_all(one, "c");
  shut_out(one);
  shut_out(other);
  EQ(13, size_of("f")); /* what lies between is zeros */
  in_t in = reader("f", 0);
  TRUE(reads(in, "01abc56789"));
  wasip2_list_u8_t got;
  STREAM(IN(blocking_read)(streams_borrow_input_stream(in), 9, &got, &fault), OK);
  EQ(3, got.len);
  TRUE(!memcmp(got.ptr, "\0\0y", 3));
  shut_in(in);
  f = open_as(D, "f", 0, READ);
  CHECK(FN(write_via_stream)(BORROW(f), 0, &none, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  shut(f);
  CHECK(FN(write_via_stream)(D, 0, &none, &code), IS_DIRECTORY);
}

static void descriptor_append_via_stream(void) {
  own_t f = digits(WRITE);
  out_t one = {0}, other = {0}, none;
  CHECK(FN(append_via_stream)(BORROW(f), &one, &code), OK);
  CHECK(FN(append_via_stream)(BORROW(f), &other, &code), OK);
  shut(f);
  write_all(one, "a"); /* each at the end as it is then */
  write_all(other, "b");
  write_all(one, "c");
  shut_out(one);
  shut_out(other);
  TRUE(holds("f", "0123456789abc"));
  f = open_as(D, "f", 0, READ);
  CHECK(FN(append_via_stream)(BORROW(f), &none, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  shut(f);
  CHECK(FN(append_via_stream)(D, &none, &code), IS_DIRECTORY);
}

static void descriptor_advise(void) {
  own_t f = digits(READ);
  for (uint8_t advice = 0; advice <= FILESYSTEM_ADVICE_NO_REUSE; advice++) {
    CHECK(FN(advise)(BORROW(f), 0, 0, advice, &code), OK);
    CHECK(FN(advise)(BORROW(f), 5, 1000000, advice, &code), OK);
    CHECK(FN(advise)(D, 0, 0, advice, &code), BAD_DESCRIPTOR);
  }
  CHECK(FN(advise)(BORROW(f), HUGE_OFFSET, 1, 0, &code), OK, FILE_TOO_LARGE);
  CHECK(FN(advise)(BORROW(f), 0, HUGE_OFFSET, 0, &code), OK, FILE_TOO_LARGE);
  EQ(10, size_of("f"));
  shut(f);
}

static void descriptor_sync_data(void) {
  own_t f = digits(WRITE);
  CHECK(FN(sync_data)(BORROW(f), &code), OK);
  shut(f);
  f = open_as(D, "f", 0, READ);
  CHECK(FN(sync_data)(BORROW(f), &code), OK);
  shut(f);
  CHECK(FN(sync_data)(D, &code), OK);
}

static void descriptor_sync(void) {
  own_t f = digits(WRITE);
  CHECK(FN(sync)(BORROW(f), &code), OK);
  shut(f);
  f = open_as(D, "f", 0, READ);
  CHECK(FN(sync)(BORROW(f), &code), OK);
  shut(f);
  CHECK(FN(sync)(D, &code), OK);
}

/* What `get-flags` says of a descriptor that was opened so. */
static u64 flags_of(const char *path, int how, int flags) {
  own_t fd = open_as(D, path, how, flags);
  filesystem_descriptor_flags_t got = 0xff;
  CHECK(FN(get_flags)(BORROW(fd), &got, &code), OK);
  shut(fd);
  return got;
}

static void descriptor_get_flags(void) {
  put("f", "");
  dir("d");
  EQ(READ, flags_of("f", 0, 0)); /* who asks for nothing reads */
  EQ(READ, flags_of("f", 0, READ));
  EQ(WRITE, flags_of("f", 0, WRITE)); /* to write is not to read */
  EQ(READ | WRITE, flags_of("f", 0, READ | WRITE));
  EQ(WRITE, flags_of("f", TRUNCATE, WRITE));
  EQ(READ, flags_of("d", 0, READ));
  EQ(READ | MUTATE, flags_of("d", 0, READ | MUTATE));
  EQ(READ, flags_of("d", DIRECTORY, 0));
  filesystem_descriptor_flags_t got = 0;
  CHECK(FN(get_flags)(root, &got, &code), OK);
  EQ(READ | MUTATE, got);
}

static void descriptor_get_type(void) {
  own_t f = digits(READ);
  filesystem_descriptor_type_t kind = 0;
  CHECK(FN(get_type)(BORROW(f), &kind, &code), OK);
  EQ(KIND_FILE, kind);
  CHECK(FN(get_type)(D, &kind, &code), OK);
  EQ(KIND_DIRECTORY, kind);
  shut(f);
}

static void descriptor_set_size(void) {
  own_t f = digits(WRITE);
  CHECK(FN(set_size)(BORROW(f), 3, &code), OK);
  TRUE(holds("f", "012"));
  CHECK(FN(set_size)(BORROW(f), 5, &code), OK); /* what is new is zeros */
  in_t in = reader("f", 2);
  wasip2_list_u8_t got;
  STREAM(IN(blocking_read)(streams_borrow_input_stream(in), 9, &got, &fault), OK);
  EQ(3, got.len);
  TRUE(!memcmp(got.ptr, "2\0\0", 3));
  shut_in(in);
  CHECK(FN(set_size)(BORROW(f), HUGE_OFFSET, &code), INVALID, FILE_TOO_LARGE);
  EQ(5, size_of("f"));
  shut(f);
  f = open_as(D, "f", 0, READ);
  CHECK(FN(set_size)(BORROW(f), 0, &code), INVALID);
  shut(f);
  EQ(5, size_of("f"));
  CHECK(FN(set_size)(D, 0, &code), IS_DIRECTORY, INVALID, BAD_DESCRIPTOR);
}

static void descriptor_set_times(void) {
  own_t f = digits(WRITE);
  CHECK(FN(set_times)(BORROW(f), &(when_t){0}, &keep, &code), OK);
  when_t accessed = at(100, 5), modified = at(200, 999999999), late = at(1, 1000000000);
  CHECK(FN(set_times)(BORROW(f), &accessed, &modified, &code), OK);
  stat_t st = stat_of("f");
  TRUE(st.data_access_timestamp.is_some && st.data_modification_timestamp.is_some);
  EQ(100, st.data_access_timestamp.val.seconds);
  EQ(5, st.data_access_timestamp.val.nanoseconds);
  EQ(200, st.data_modification_timestamp.val.seconds);
  EQ(999999999, st.data_modification_timestamp.val.nanoseconds);
  CHECK(FN(set_times)(BORROW(f), &keep, &keep, &code), OK);
  EQ(200, stat_of("f").data_modification_timestamp.val.seconds);
  CHECK(FN(set_times)(BORROW(f), &keep, &at_once, &code), OK);
  st = stat_of("f");
  EQ(100, st.data_access_timestamp.val.seconds);
  TRUE(st.data_modification_timestamp.val.seconds > 1000000);
  CHECK(FN(set_times)(BORROW(f), &late, &keep, &code), INVALID);
  EQ(100, stat_of("f").data_access_timestamp.val.seconds);
  shut(f);
  CHECK(FN(set_times)(D, &keep, &modified, &code), OK);
}

static void descriptor_read(void) {
  own_t f = digits(READ);
  wasip2_tuple2_list_u8_bool_t got;
  CHECK(FN(read)(BORROW(f), 4, 3, &got, &code), OK);
  TRUE(bytes_are(got.f0, "3456"));
  TRUE(!got.f1);
  CHECK(FN(read)(BORROW(f), 100, 10, &got, &code), OK);
  TRUE(!got.f0.len && got.f1);
  CHECK(FN(read)(BORROW(f), 0, 0, &got, &code), OK);
  TRUE(!got.f0.len && !got.f1);
  CHECK(FN(read)(BORROW(f), HUGE_OFFSET, 8, &got, &code), OK); /* no length is too long */
  TRUE(bytes_are(got.f0, "89"));
  CHECK(FN(read)(BORROW(f), 1, HUGE_OFFSET, &got, &code), INVALID);
  shut(f);
  CHECK(FN(read)(D, 1, 0, &got, &code), IS_DIRECTORY, BAD_DESCRIPTOR);
  f = open_as(D, "f", 0, WRITE);
  CHECK(FN(read)(BORROW(f), 1, 0, &got, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  shut(f);
}

static void descriptor_write(void) {
  own_t f = digits(WRITE);
  u64 done = 9;
  CHECK(FN(write)(BORROW(f), B("abc"), 4, &done, &code), OK);
  EQ(3, done);
  TRUE(holds("f", "0123abc789"));
  CHECK(FN(write)(BORROW(f), B(""), 4, &done, &code), OK);
  EQ(0, done);
  CHECK(FN(write)(BORROW(f), B("z"), 11, &done, &code), OK);
  EQ(12, size_of("f"));
  CHECK(FN(write)(BORROW(f), B("z"), HUGE_OFFSET, &done, &code), INVALID);
  CHECK(FN(write)(BORROW(f), B("z"), SIGNED_MAX, &done, &code), FILE_TOO_LARGE, INVALID);
  EQ(12, size_of("f"));
  shut(f);
  f = open_as(D, "f", 0, READ);
  CHECK(FN(write)(BORROW(f), B("z"), 0, &done, &code), NOT_PERMITTED, BAD_DESCRIPTOR);
  shut(f);
  CHECK(FN(write)(D, B("z"), 0, &done, &code), IS_DIRECTORY, BAD_DESCRIPTOR);
}

static void descriptor_stat(void) {
  own_t f = digits(READ);
  stat_t st, by_path = stat_of("f");
  CHECK(FN(stat)(BORROW(f), &st, &code), OK);
  EQ(KIND_FILE, st.type);
  EQ(10, st.size);
  EQ(1, st.link_count);
  TRUE(st.data_modification_timestamp.is_some);
  EQ(by_path.data_modification_timestamp.val.seconds, st.data_modification_timestamp.val.seconds);
  CHECK(FN(link_at)(D, 0, S("f"), D, S("g"), &code), OK);
  CHECK(FN(stat)(BORROW(f), &st, &code), OK);
  EQ(2, st.link_count);
  CHECK(FN(unlink_file_at)(D, S("f"), &code), OK);
  CHECK(FN(unlink_file_at)(D, S("g"), &code), OK);
  CHECK(FN(stat)(BORROW(f), &st, &code), OK); /* it is open, so it is there */
  EQ(10, st.size);
  shut(f);
  CHECK(FN(stat)(D, &st, &code), OK);
  EQ(KIND_DIRECTORY, st.type);
}

static void descriptor_is_same_object(void) {
  own_t f = digits(READ), again = open_as(D, "f", 0, WRITE);
  put("g", "0123456789");
  own_t g = open_as(D, "g", 0, READ), here = open_as(D, ".", DIRECTORY, READ);
  TRUE(FN(is_same_object)(BORROW(f), BORROW(f)));
  TRUE(FN(is_same_object)(BORROW(f), BORROW(again)));
  TRUE(FN(is_same_object)(D, BORROW(here)));
  TRUE(!FN(is_same_object)(BORROW(f), BORROW(g)));
  TRUE(!FN(is_same_object)(BORROW(f), D));
  CHECK(FN(rename_at)(D, S("f"), D, S("h"), &code), OK);
  CHECK(FN(link_at)(D, 0, S("h"), D, S("i"), &code), OK);
  own_t i = open_as(D, "i", 0, READ);
  TRUE(FN(is_same_object)(BORROW(f), BORROW(i)));
  shut(f);
  shut(again);
  shut(g);
  shut(here);
  shut(i);
}

static void descriptor_metadata_hash(void) {
  own_t f = digits(READ | WRITE);
  hash_t one, other;
  CHECK(FN(metadata_hash)(BORROW(f), &one, &code), OK);
  CHECK(FN(metadata_hash)(BORROW(f), &other, &code), OK);
  TRUE(same_hash(one, other));
  TRUE(same_hash(one, hash_of("f"))); /* the same computation as by a path */
  CHECK(FN(set_size)(BORROW(f), 3, &code), OK);
  CHECK(FN(metadata_hash)(BORROW(f), &other, &code), OK);
  TRUE(!same_hash(one, other));
  when_t modified = at(1000, 0);
  CHECK(FN(set_times)(BORROW(f), &keep, &modified, &code), OK);
  CHECK(FN(metadata_hash)(BORROW(f), &one, &code), OK);
  TRUE(!same_hash(one, other));
  CHECK(FN(metadata_hash)(D, &other, &code), OK);
  TRUE(!same_hash(one, other));
  shut(f);
}

const test_t descriptor_tests[] = {
    TEST(descriptor_read_via_stream), TEST(descriptor_write_via_stream),
    TEST(descriptor_append_via_stream), TEST(descriptor_advise), TEST(descriptor_sync_data),
    TEST(descriptor_sync), TEST(descriptor_get_flags), TEST(descriptor_get_type),
    TEST(descriptor_set_size), TEST(descriptor_set_times), TEST(descriptor_read),
    TEST(descriptor_write), TEST(descriptor_stat), TEST(descriptor_is_same_object),
    TEST(descriptor_metadata_hash), TESTS_END};
