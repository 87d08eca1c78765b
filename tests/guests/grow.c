/* grow [PAGES]: grows its memory by 16 pages at a time, touches each page, and prints how many
 * pages it got. Stops at PAGES (65,536 without it) or when it is refused, and then exits with 0:
 * a refusal is an answer. Exits with 1 if a page that it was given does not hold what it wrote. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE 65536u
#define STEP 16u

int main(int argc, char **argv) {
  unsigned long want = argc > 1 ? strtoul(argv[1], 0, 10) : 65536;
  unsigned long got = 0;
  while (got < want) {
    size_t before = __builtin_wasm_memory_grow(0, STEP);
    if (before == (size_t)-1)
      break;
    for (size_t page = before; page < before + STEP; page++) {
      volatile uint32_t *at = (volatile uint32_t *)(page * PAGE);
      *at = (uint32_t)page;
      if (*at != (uint32_t)page)
        return 1;
    }
    got += STEP;
  }
  printf("grew by %lu pages\n", got);
  return 0;
}
