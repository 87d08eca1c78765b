/* sleep N: sleeps N milliseconds (1 without N) and prints how many milliseconds passed on the
 * monotonic clock. Exits with 1 if the sleep was too short or was refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int argc, char **argv) {
  long ms = argc > 1 ? strtol(argv[1], 0, 10) : 1;
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  long long start = now_ns();
  if (nanosleep(&t, 0) != 0) {
    fprintf(stderr, "sleep: %s\n", strerror(errno));
    return 1;
  }
  long long slept = now_ns() - start;
  printf("slept %lld ms\n", slept / 1000000);
  return slept < ms * 1000000ll;
}
