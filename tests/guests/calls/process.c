/* Arguments, environment, clocks, randomness, polling, the end of the process, and sockets. */
#include "calls.h"

static uint8_t buf[4096];
static uint8_t *ptrs[128];

/* Checks a block of strings as args_get and environ_get give it: in order, packed, ended. */
static void check_strings(__wasi_size_t count, __wasi_size_t size) {
  size_t at = 0;
  TRUE(count <= 128 && size <= sizeof buf);
  for (size_t i = 0; i < count; i++) {
    EQ(PTR(buf) + at, PTR(ptrs[i]));
    at += strlen((char *)buf + at) + 1;
  }
  EQ(size, at);
}

static void args_get(void) {
  __wasi_size_t count = 0, size = 0;
  CHECK(__wasi_args_sizes_get(&count, &size), OK);
  TRUE(count >= 2 && count < 128 && size < sizeof buf);
  memset(buf, 0xaa, sizeof buf);
  CHECK(__wasi_args_get(ptrs, buf), OK);
  check_strings(count, size);
  EQ(0xaa, buf[size]);
  for (const char *c = (char *)ptrs[1]; *c; c++)
    TRUE(*c > ' ');
}

static void environ_get(void) {
  __wasi_size_t count = 0, size = 0;
  CHECK(__wasi_environ_sizes_get(&count, &size), OK);
  TRUE(count < 128 && size < sizeof buf);
  memset(buf, 0xaa, sizeof buf);
  CHECK(__wasi_environ_get(ptrs, buf), OK);
  check_strings(count, size);
  EQ(0xaa, buf[size]);
  for (size_t i = 0; i < count; i++)
    TRUE(strchr((char *)ptrs[i], '='));
}

static void clock_res_get(void) {
  for (uint32_t id = 0; id < 2; id++) {
    __wasi_timestamp_t res = 0;
    CHECK(__wasi_clock_res_get(id, &res), OK);
    TRUE(res > 0 && res <= 1000000000);
  }
}

static void clock_time_get(void) {
  __wasi_timestamp_t last = 0, now = 0;
  CHECK(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &now), OK);
  for (int i = 0; i < 1000; i++) {
    CHECK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &now), OK);
    TRUE(now >= last);
    last = now;
  }
}

/* The two clocks of CPU time are optional. */
static void clock_cpu_time(void) {
  for (uint32_t id = 2; id < 4; id++) {
    u64 t = 0;
    CHECK(raw_clock_time_get(id, 0, PTR(&t)), OK, INVAL, NOTSUP, BADF);
    CHECK(raw_clock_res_get(id, PTR(&t)), OK, INVAL, NOTSUP, BADF);
  }
}

static void clock_unknown(void) {
  u64 t = 77;
  CHECK(raw_clock_time_get(4, 0, PTR(&t)), INVAL);
  CHECK(raw_clock_time_get(~0u, 0, PTR(&t)), INVAL);
  CHECK(raw_clock_res_get(4, PTR(&t)), INVAL);
  EQ(77, t);
}

static void random_get(void) {
  static uint8_t big[70000];
  unsigned seen = 0;
  CHECK(__wasi_random_get(buf, 0), OK);
  memset(big, 0, sizeof big);
  CHECK(__wasi_random_get(big, sizeof big), OK);
  for (size_t i = 0; i + 64 <= sizeof big; i += 64) {
    bool any = false;
    for (size_t j = i; j < i + 64; j++)
      any |= big[j];
    seen += any;
  }
  EQ(sizeof big / 64, seen); /* every 64 bytes were written, up to the end */
  memcpy(buf, big, 64);
  CHECK(__wasi_random_get(buf + 64, 64), OK);
  TRUE(memcmp(buf, buf + 64, 64)); /* two calls do not give the same */
}

static void sched_yield(void) { CHECK(__wasi_sched_yield(), OK); }

static __wasi_subscription_t on_clock(u64 userdata, u64 timeout, uint16_t flags) {
  __wasi_subscription_t sub = {.userdata = userdata, .u = {.tag = __WASI_EVENTTYPE_CLOCK}};
  sub.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
  sub.u.u.clock.timeout = timeout;
  sub.u.u.clock.flags = flags;
  return sub;
}

static __wasi_subscription_t on_fd(u64 userdata, uint8_t tag, fd_t fd) {
  __wasi_subscription_t sub = {.userdata = userdata, .u = {.tag = tag}};
  sub.u.u.fd_read.file_descriptor = fd;
  return sub;
}

static void poll_clock(void) {
  __wasi_timestamp_t before = 0, after = 0;
  __wasi_event_t event;
  __wasi_size_t n = 0;
  __wasi_subscription_t sub = on_clock(0x1234567890abcdef, 2000000, 0);
  CHECK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &before), OK);
  CHECK(__wasi_poll_oneoff(&sub, &event, 1, &n), OK);
  CHECK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &after), OK);
  EQ(1, n);
  EQ(0x1234567890abcdef, event.userdata);
  EQ(OK, event.error);
  EQ(__WASI_EVENTTYPE_CLOCK, event.type);
  TRUE(after - before >= 2000000);
}

static void poll_clock_absolute(void) {
  __wasi_timestamp_t now = 0;
  __wasi_event_t event;
  __wasi_size_t n = 0;
  CHECK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &now), OK);
  __wasi_subscription_t past =
      on_clock(5, now ? now - 1 : 0, __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME);
  CHECK(__wasi_poll_oneoff(&past, &event, 1, &n), OK);
  EQ(1, n);
  EQ(5, event.userdata);
  past.u.u.clock.timeout = now + 1000000;
  CHECK(__wasi_poll_oneoff(&past, &event, 1, &n), OK);
  __wasi_timestamp_t after = 0;
  CHECK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &after), OK);
  TRUE(after >= now + 1000000);
}

static void poll_files(void) {
  put(D, "f", "12345");
  fd_t f = open_file(D, "f", 0, RW);
  __wasi_event_t events[3];
  __wasi_size_t n = 0;
  __wasi_subscription_t subs[3] = {on_fd(1, __WASI_EVENTTYPE_FD_READ, f),
                                   on_fd(2, __WASI_EVENTTYPE_FD_WRITE, f),
                                   on_clock(3, 60000000000, 0)};
  CHECK(__wasi_poll_oneoff(subs, events, 3, &n), OK);
  TRUE(n >= 1 && n <= 2); /* a file is always ready; the minute is not over */
  for (size_t i = 0; i < n && i < 3; i++) {
    EQ(OK, events[i].error);
    TRUE(events[i].userdata == 1 || events[i].userdata == 2);
    EQ(events[i].userdata == 1 ? __WASI_EVENTTYPE_FD_READ : __WASI_EVENTTYPE_FD_WRITE,
       events[i].type);
  }
  shut(f);
}

/* The sub-tests that nothing may follow. */
static void proc_exit(void) {
  __wasi_proc_exit(0);
  TRUE(!"proc_exit came back"); /* unreachable, unless the host is wrong */
}

static void proc_raise(void) { CHECK(raw_proc_raise(15), NOSYS, NOTSUP); }

static void sock_calls(void) {
  put(D, "f", "12345");
  fd_t f = open_file(D, "f", 0, RW), none = 1000, got = 0;
  uint8_t byte = 'x';
  __wasi_iovec_t in = {&byte, 1};
  __wasi_ciovec_t out = {&byte, 1};
  __wasi_size_t n = 0;
  __wasi_roflags_t flags = 0;
  CHECK(__wasi_sock_accept(none, 0, &got), BADF);
  CHECK(__wasi_sock_recv(none, &in, 1, 0, &n, &flags), BADF);
  CHECK(__wasi_sock_send(none, &out, 1, 0, &n), BADF);
  CHECK(__wasi_sock_shutdown(none, __WASI_SDFLAGS_RD), BADF);
  CHECK(__wasi_sock_accept(f, 0, &got), NOTSOCK, BADF, NOTCAPABLE);
  CHECK(__wasi_sock_recv(f, &in, 1, 0, &n, &flags), NOTSOCK, BADF);
  CHECK(__wasi_sock_send(f, &out, 1, 0, &n), NOTSOCK, BADF);
  CHECK(__wasi_sock_shutdown(f, __WASI_SDFLAGS_RD | __WASI_SDFLAGS_WR), NOTSOCK, BADF, NOTCAPABLE);
  shut(f);
  TRUE(holds(D, "f", "12345"));
}

static void row_42_poll_errors(void) {
  __wasi_event_t events[2] = {{0}};
  __wasi_size_t n = 9;
  __wasi_subscription_t subs[2] = {on_fd(7, __WASI_EVENTTYPE_FD_READ, 1000),
                                   on_clock(8, 60000000000, 0)};
  CHECK(__wasi_poll_oneoff(subs, events, 0, &n), INVAL);
  CHECK(__wasi_poll_oneoff(subs, events, 2, &n), OK);
  EQ(1, n);
  EQ(7, events[0].userdata);
  EQ(BADF, events[0].error);
  EQ(__WASI_EVENTTYPE_FD_READ, events[0].type);
  /* A clock that cannot be waited for: the call or its event says so. */
  subs[0] = on_clock(9, 0, 0);
  subs[0].u.u.clock.id = __WASI_CLOCKID_PROCESS_CPUTIME_ID;
  if (CHECK(__wasi_poll_oneoff(subs, events, 1, &n), OK, INVAL, NOTSUP) == OK) {
    EQ(9, events[0].userdata);
    CHECK(events[0].error, INVAL, NOTSUP);
  }
  subs[0].u.tag = 9; /* no event is of this type */
  CHECK(__wasi_poll_oneoff(subs, events, 1, &n), INVAL);
}

const test_t process_tests[] = {
    TEST(args_get),         TEST(environ_get),         TEST(clock_res_get), TEST(clock_time_get),
    TEST(clock_cpu_time),   TEST(clock_unknown),       TEST(random_get),    TEST(sched_yield),
    TEST(poll_clock),       TEST(poll_clock_absolute), TEST(poll_files),    TEST(sock_calls),
    TEST(row_42_poll_errors), {"proc_exit", proc_exit, ENDS}, {"proc_raise", proc_raise, ENDS},
    TESTS_END};
