/* trap: runs into `unreachable`, three named functions deep, for tests of backtraces.
 * Prints one line first, to show that what was printed before a trap arrives.
 * This guest alone keeps its name section. */
#include <stdio.h>

__attribute__((noinline)) void falls_into_the_pit(volatile int *depth) {
  if (*depth == 2)
    __builtin_trap();
  *depth += 1;
}

__attribute__((noinline)) void walks_to_the_pit(volatile int *depth) {
  *depth += 1;
  falls_into_the_pit(depth);
  *depth += 1;
}

int main(void) {
  volatile int depth = 1;
  puts("before the trap");
  fflush(stdout);
  walks_to_the_pit(&depth);
  puts("behind the trap");
  return depth;
}
