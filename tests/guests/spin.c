/* spin: prints one line and never ends. For deadlines, fuel and interrupts. */
#include <stdio.h>

int main(void) {
  volatile unsigned long rounds = 0;
  puts("spinning");
  fflush(stdout);
  for (;;)
    rounds = rounds + 1;
}
