/* The functions on a descriptor that take a path, and listings. */
#include "calls2.h"

/* A name of 256 bytes. */
static const char *long_name(void) {
  static char name[257];
  memset(name, 'n', 256);
  return name;
}

/* Calls with paths that no operation takes. */
#define BAD_PATHS(call) \
  do { \
    static const char *const out[] = {"/", "/f", "..", "../f", "d/../..", "d/../../x"}; \
    for (size_t i = 0; i < 6; i++) { \
      const char *path = out[i]; \
      CHECK(call, NOT_PERMITTED); \
    } \
    const char *path = ""; \
    CHECK(call, NO_ENTRY); \
    path = long_name(); \
    CHECK(call, NAME_TOO_LONG); \
    path = "f/x"; \
    CHECK(call, NOT_DIRECTORY); \
    path = "no/x"; \
    CHECK(call, NO_ENTRY); \
  } while (0)

static void scene(void) {
  dir("d");
  put("f", "0123456789");
  ln("f", "l");
  ln("nowhere", "dangling");
  ln("loop", "loop");
  ln("d", "ld");
}

static void descriptor_create_directory_at(void) {
  scene();
  BAD_PATHS(FN(create_directory_at)(D, S(path), &code));
  CHECK(FN(create_directory_at)(D, S("new"), &code), OK);
  CHECK(FN(create_directory_at)(D, S("d/deep/"), &code), OK); /* a slash behind a directory */
  EQ(KIND_DIRECTORY, stat_of("d/deep").type);
  CHECK(FN(create_directory_at)(D, S("d"), &code), EXIST);
  CHECK(FN(create_directory_at)(D, S("f"), &code), EXIST);
  CHECK(FN(create_directory_at)(D, S("f/"), &code), EXIST, NOT_DIRECTORY);
  CHECK(FN(create_directory_at)(D, S("dangling"), &code), EXIST);
  CHECK(FN(create_directory_at)(D, S("."), &code), EXIST);
}

static void descriptor_stat_at(void) {
  scene();
  stat_t st;
  BAD_PATHS(FN(stat_at)(D, 0, S(path), &st, &code));
  EQ(KIND_FILE, stat_of("f").type);
  EQ(KIND_LINK, stat_of("l").type);
  EQ(KIND_DIRECTORY, stat_of("d").type);
  EQ(KIND_DIRECTORY, stat_of("ld/").type); /* what stands behind is a directory */
  EQ(10, stat_of("f").size);
  CHECK(FN(stat_at)(D, FOLLOW, S("l"), &st, &code), OK);
  EQ(KIND_FILE, st.type);
  CHECK(FN(stat_at)(D, FOLLOW, S("dangling"), &st, &code), NO_ENTRY);
  CHECK(FN(stat_at)(D, FOLLOW, S("loop"), &st, &code), LOOP);
  CHECK(FN(stat_at)(D, 0, S("loop"), &st, &code), OK);
  CHECK(FN(stat_at)(D, 0, S("f/"), &st, &code), NOT_DIRECTORY);
  CHECK(FN(stat_at)(D, 0, S("d/../f"), &st, &code), OK);
  own_t f = open_as(D, "f", 0, READ);
  CHECK(FN(stat_at)(BORROW(f), 0, S("x"), &st, &code), NOT_DIRECTORY);
  shut(f);
}

static void descriptor_set_times_at(void) {
  scene();
  when_t modified = at(200, 7), accessed = at(300, 8), late = at(1, 1000000000);
  BAD_PATHS(FN(set_times_at)(D, 0, S(path), &keep, &modified, &code));
  CHECK(FN(set_times_at)(D, 0, S("f"), &accessed, &modified, &code), OK);
  stat_t st = stat_of("f");
  EQ(300, st.data_access_timestamp.val.seconds);
  EQ(8, st.data_access_timestamp.val.nanoseconds);
  EQ(200, st.data_modification_timestamp.val.seconds);
  CHECK(FN(set_times_at)(D, 0, S("l"), &keep, &accessed, &code), OK); /* the link's own */
  EQ(300, stat_of("l").data_modification_timestamp.val.seconds);
  EQ(200, stat_of("f").data_modification_timestamp.val.seconds);
  CHECK(FN(set_times_at)(D, FOLLOW, S("l"), &keep, &accessed, &code), OK);
  EQ(300, stat_of("f").data_modification_timestamp.val.seconds);
  CHECK(FN(set_times_at)(D, FOLLOW, S("f"), &keep, &at_once, &code), OK);
  TRUE(stat_of("f").data_modification_timestamp.val.seconds > 1000000);
  CHECK(FN(set_times_at)(D, 0, S("f"), &keep, &late, &code), INVALID);
  CHECK(FN(set_times_at)(D, FOLLOW, S("dangling"), &keep, &modified, &code), NO_ENTRY);
}

static void descriptor_link_at(void) {
  scene();
  BAD_PATHS(FN(link_at)(D, 0, S("f"), D, S(path), &code));
  BAD_PATHS(FN(link_at)(D, 0, S(path), D, S("new"), &code));
  own_t d = open_dir(D, "d");
  CHECK(FN(link_at)(D, 0, S("f"), BORROW(d), S("g"), &code), OK);
  EQ(2, stat_of("f").link_count);
  TRUE(holds("d/g", "0123456789"));
  CHECK(FN(link_at)(D, 0, S("no"), D, S("new"), &code), NO_ENTRY);
  CHECK(FN(link_at)(D, 0, S("f"), D, S("l"), &code), EXIST);
  CHECK(FN(link_at)(D, 0, S("f"), D, S("f"), &code), EXIST);
  CHECK(FN(link_at)(D, 0, S("f"), D, S("dangling"), &code), EXIST);
  CHECK(FN(link_at)(D, 0, S("d"), D, S("new"), &code), NOT_PERMITTED);
  CHECK(FN(link_at)(D, FOLLOW, S("l"), D, S("new"), &code), INVALID);
  CHECK(FN(link_at)(D, 0, S("l"), D, S("m"), &code), OK); /* the link itself */
  EQ(KIND_LINK, stat_of("m").type);
  TRUE(!exists("new"));
  shut(d);
}

static void descriptor_open_at(void) {
  scene();
  own_t none;
  BAD_PATHS(FN(open_at)(D, FOLLOW, S(path), 0, READ, &none, &code));
  OPEN(OK, D, 0, "f", 0, READ);
  OPEN(NO_ENTRY, D, 0, "no", 0, READ);
  OPEN(IS_DIRECTORY, D, 0, "d", 0, WRITE);
  OPEN(IS_DIRECTORY, D, 0, "d", CREATE, READ);
  OPEN(NOT_DIRECTORY, D, 0, "f", DIRECTORY, READ);
  OPEN(NOT_DIRECTORY, D, 0, "f/", 0, READ);
  OPEN(INVALID, D, 0, "d", DIRECTORY | CREATE, READ);
  OPEN(INVALID, D, 0, "d", DIRECTORY | TRUNCATE, READ);
  OPEN(EXIST, D, 0, "f", CREATE | EXCLUSIVE, WRITE);
  OPEN(EXIST, D, FOLLOW, "dangling", CREATE | EXCLUSIVE, WRITE);
  OPEN(OK, D, 0, "f", EXCLUSIVE, READ); /* without `create` it says nothing */
  OPEN(LOOP, D, 0, "l", 0, READ);
  OPEN(LOOP, D, FOLLOW, "loop", 0, READ);
  OPEN(OK, D, FOLLOW, "l", 0, READ);
  OPEN(NO_ENTRY, D, FOLLOW, "dangling", 0, READ);
  OPEN(OK, D, FOLLOW, "dangling", CREATE, WRITE); /* makes what the link means */
  EQ(0, size_of("nowhere"));
  OPEN(OK, D, 0, "f", TRUNCATE, WRITE);
  EQ(0, size_of("f"));
  own_t fixed = open_as(D, "d", DIRECTORY, READ); /* without mutate-directory */
  fd_t f = BORROW(fixed);
  put("d/g", "x");
  OPEN(OK, f, 0, "g", 0, READ);
  OPEN(READ_ONLY, f, 0, "g", 0, WRITE);
  OPEN(READ_ONLY, f, 0, "g", TRUNCATE, READ);
  OPEN(READ_ONLY, f, 0, "new", CREATE, READ);
  OPEN(READ_ONLY, f, 0, ".", 0, READ | MUTATE);
  CHECK(FN(create_directory_at)(f, S("new"), &code), READ_ONLY);
  CHECK(FN(unlink_file_at)(f, S("g"), &code), READ_ONLY);
  CHECK(FN(symlink_at)(f, S("g"), S("new"), &code), READ_ONLY);
  CHECK(FN(rename_at)(f, S("g"), f, S("h"), &code), READ_ONLY);
  CHECK(FN(rename_at)(f, S("g"), D, S("h"), &code), READ_ONLY);
  CHECK(FN(link_at)(D, 0, S("f"), f, S("h"), &code), READ_ONLY);
  CHECK(FN(set_times_at)(f, 0, S("g"), &keep, &at_once, &code), READ_ONLY);
  TRUE(holds("d/g", "x"));
  shut(fixed);
}

static void descriptor_readlink_at(void) {
  scene();
  wasip2_string_t target;
  BAD_PATHS(FN(readlink_at)(D, S(path), &target, &code));
  CHECK(FN(readlink_at)(D, S("l"), &target, &code), OK);
  TRUE(is(target, "f"));
  CHECK(FN(readlink_at)(D, S("loop"), &target, &code), OK);
  TRUE(is(target, "loop"));
  CHECK(FN(readlink_at)(D, S("f"), &target, &code), INVALID);
  CHECK(FN(readlink_at)(D, S("d"), &target, &code), INVALID);
  CHECK(FN(readlink_at)(D, S("no"), &target, &code), NO_ENTRY);
}

static void descriptor_remove_directory_at(void) {
  scene();
  BAD_PATHS(FN(remove_directory_at)(D, S(path), &code));
  dir("d/deep");
  CHECK(FN(remove_directory_at)(D, S("d"), &code), NOT_EMPTY);
  CHECK(FN(remove_directory_at)(D, S("d/deep/"), &code), OK);
  CHECK(FN(remove_directory_at)(D, S("f"), &code), NOT_DIRECTORY);
  CHECK(FN(remove_directory_at)(D, S("ld"), &code), NOT_DIRECTORY);
  CHECK(FN(remove_directory_at)(D, S("ld/"), &code), NOT_DIRECTORY);
  CHECK(FN(remove_directory_at)(D, S("."), &code), INVALID);
  CHECK(FN(remove_directory_at)(D, S("no"), &code), NO_ENTRY);
  own_t d = open_dir(D, "d");
  CHECK(FN(remove_directory_at)(D, S("d"), &code), OK);
  TRUE(!exists("d"));
  CHECK(FN(create_directory_at)(BORROW(d), S("x"), &code), NO_ENTRY); /* open, and removed */
  shut(d);
}

static void descriptor_rename_at(void) {
  scene();
  BAD_PATHS(FN(rename_at)(D, S("f"), D, S(path), &code));
  BAD_PATHS(FN(rename_at)(D, S(path), D, S("new"), &code));
  dir("e");
  own_t d = open_dir(D, "d");
  CHECK(FN(rename_at)(D, S("f"), BORROW(d), S("g"), &code), OK);
  TRUE(!exists("f"));
  TRUE(holds("d/g", "0123456789"));
  CHECK(FN(rename_at)(D, S("e"), D, S("d"), &code), NOT_EMPTY);
  CHECK(FN(rename_at)(D, S("d"), D, S("d/x"), &code), INVALID);
  CHECK(FN(rename_at)(BORROW(d), S("g"), D, S("e"), &code), IS_DIRECTORY);
  CHECK(FN(rename_at)(D, S("e"), BORROW(d), S("g"), &code), NOT_DIRECTORY);
  CHECK(FN(rename_at)(BORROW(d), S("g"), D, S("missing/"), &code), NOT_DIRECTORY, NO_ENTRY);
  CHECK(FN(rename_at)(D, S("d"), D, S("e"), &code), OK); /* onto an empty directory */
  TRUE(holds("e/g", "0123456789"));
  put("e/h", "old");
  CHECK(FN(rename_at)(D, S("e/g"), D, S("e/h"), &code), OK); /* onto a file */
  TRUE(holds("e/h", "0123456789"));
  CHECK(FN(link_at)(D, 0, S("e/h"), D, S("e/i"), &code), OK);
  CHECK(FN(rename_at)(D, S("e/h"), D, S("e/i"), &code), OK); /* two names of one file stay */
  TRUE(exists("e/h") && exists("e/i"));
  CHECK(FN(rename_at)(D, S("l"), D, S("m"), &code), OK); /* the link, not what it means */
  EQ(KIND_LINK, stat_of("m").type);
  CHECK(FN(rename_at)(D, S("."), D, S("x"), &code), BUSY, INVALID);
  shut(d);
}

static void descriptor_symlink_at(void) {
  scene();
  BAD_PATHS(FN(symlink_at)(D, S("f"), S(path), &code));
  CHECK(FN(symlink_at)(D, S("d/x"), S("new"), &code), OK);
  wasip2_string_t target;
  CHECK(FN(readlink_at)(D, S("new"), &target, &code), OK);
  TRUE(is(target, "d/x"));
  CHECK(FN(symlink_at)(D, S("/etc/passwd"), S("abs"), &code), NOT_PERMITTED);
  CHECK(FN(symlink_at)(D, S(""), S("empty"), &code), NO_ENTRY);
  CHECK(FN(symlink_at)(D, S("x"), S("f"), &code), EXIST);
  CHECK(FN(symlink_at)(D, S("x"), S("dangling"), &code), EXIST);
  CHECK(FN(symlink_at)(D, S("x"), S("y/"), &code), NO_ENTRY);
  CHECK(FN(symlink_at)(D, S("../../x"), S("out"), &code), OK); /* looked at when it is used */
  OPEN(NOT_PERMITTED, D, FOLLOW, "out", 0, READ);
}

static void descriptor_unlink_file_at(void) {
  scene();
  BAD_PATHS(FN(unlink_file_at)(D, S(path), &code));
  CHECK(FN(unlink_file_at)(D, S("l"), &code), OK); /* the link, not what it means */
  TRUE(exists("f"));
  CHECK(FN(unlink_file_at)(D, S("d"), &code), IS_DIRECTORY);
  CHECK(FN(unlink_file_at)(D, S("d/"), &code), IS_DIRECTORY);
  CHECK(FN(unlink_file_at)(D, S("f/"), &code), NOT_DIRECTORY);
  CHECK(FN(unlink_file_at)(D, S("no"), &code), NO_ENTRY);
  own_t f = open_as(D, "f", 0, READ);
  CHECK(FN(unlink_file_at)(D, S("f"), &code), OK);
  TRUE(!exists("f"));
  wasip2_tuple2_list_u8_bool_t got;
  CHECK(FN(read)(BORROW(f), 3, 0, &got, &code), OK); /* it is open, so it is there */
  TRUE(bytes_are(got.f0, "012"));
  shut(f);
}

static void descriptor_metadata_hash_at(void) {
  scene();
  hash_t hash, followed;
  BAD_PATHS(FN(metadata_hash_at)(D, 0, S(path), &hash, &code));
  TRUE(same_hash(hash_of("f"), hash_of("f")));
  TRUE(!same_hash(hash_of("f"), hash_of("l")));
  CHECK(FN(metadata_hash_at)(D, FOLLOW, S("l"), &followed, &code), OK);
  TRUE(same_hash(hash_of("f"), followed));
  hash = hash_of("f");
  put("f", "other content");
  TRUE(!same_hash(hash, hash_of("f")));
  CHECK(FN(metadata_hash_at)(D, FOLLOW, S("dangling"), &hash, &code), NO_ENTRY);
  CHECK(FN(link_at)(D, 0, S("f"), D, S("g"), &code), OK);
  TRUE(same_hash(hash_of("f"), hash_of("g")));
}

/* The next entry; false at the end, and for an error, which is a failed check. */
static bool next(filesystem_own_directory_entry_stream_t stream,
                 filesystem_option_directory_entry_t *entry) {
  entry->is_some = false;
  CHECK(filesystem_method_directory_entry_stream_read_directory_entry(
            filesystem_borrow_directory_entry_stream(stream), entry, &code), OK);
  return entry->is_some;
}

static filesystem_own_directory_entry_stream_t listing(fd_t of) {
  filesystem_own_directory_entry_stream_t stream = {0};
  CHECK(FN(read_directory)(of, &stream, &code), OK);
  return stream;
}

static unsigned count(fd_t of) {
  filesystem_own_directory_entry_stream_t stream = listing(of);
  filesystem_option_directory_entry_t entry;
  unsigned found = 0;
  while (found < 10000 && next(stream, &entry))
    found++;
  TRUE(!next(stream, &entry)); /* the end stays the end */
  filesystem_directory_entry_stream_drop_own(stream);
  return found;
}

static void descriptor_read_directory(void) {
  EQ(0, count(D)); /* no "." and no ".." */
  scene();
  EQ(6, count(D));
  EQ(6, count(D)); /* each stream starts at the beginning */
  own_t f = open_as(D, "f", 0, READ);
  filesystem_own_directory_entry_stream_t none;
  CHECK(FN(read_directory)(BORROW(f), &none, &code), NOT_DIRECTORY, BAD_DESCRIPTOR);
  shut(f);
}

static void directory_entry_stream_read_directory_entry(void) {
  scene();
  filesystem_own_directory_entry_stream_t one = listing(D), other = listing(D);
  filesystem_option_directory_entry_t entry, same;
  unsigned kinds[8] = {0};
  while (next(one, &entry)) { /* two at once, and neither sees the other */
    TRUE(next(other, &same));
    TRUE(entry.val.name.len == same.val.name.len);
    TRUE(!memcmp(entry.val.name.ptr, same.val.name.ptr, entry.val.name.len));
    kinds[entry.val.type % 8]++;
  }
  TRUE(!next(other, &same));
  EQ(1, kinds[KIND_DIRECTORY]);
  EQ(1, kinds[KIND_FILE]);
  EQ(4, kinds[KIND_LINK]);
  filesystem_directory_entry_stream_drop_own(one);
  filesystem_directory_entry_stream_drop_own(other);
  own_t d = open_dir(D, "d");
  for (unsigned i = 0; i < 300; i++) {
    char name[4] = {(char)('a' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10), 0};
    CHECK(FN(create_directory_at)(BORROW(d), S(name), &code), OK);
  }
  EQ(300, count(BORROW(d)));
  one = listing(BORROW(d));
  shut(d); /* a listing outlives its descriptor */
  TRUE(next(one, &entry));
  filesystem_directory_entry_stream_drop_own(one);
}

const test_t path_tests[] = {
    TEST(descriptor_create_directory_at), TEST(descriptor_stat_at), TEST(descriptor_set_times_at),
    TEST(descriptor_link_at), TEST(descriptor_open_at), TEST(descriptor_readlink_at),
    TEST(descriptor_remove_directory_at), TEST(descriptor_rename_at), TEST(descriptor_symlink_at),
    TEST(descriptor_unlink_file_at), TEST(descriptor_metadata_hash_at),
    TEST(descriptor_read_directory), TEST(directory_entry_stream_read_directory_entry),
    TESTS_END};
