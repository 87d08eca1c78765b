/* hello: prints one line. The smallest ordinary program. */
#include <stdio.h>

int main(void) {
  puts("hello from the sandbox");
  return 0;
}
