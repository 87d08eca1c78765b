/* fill N [PATH]: writes N MiB to PATH (`filled` without it), 64 KiB at a time, and prints how many
 * bytes arrived. A refusal is printed as `refused after BYTES bytes: WHY`, and exits with 1. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  static char block[65536];
  unsigned long long want = (argc > 1 ? strtoull(argv[1], 0, 10) : 1) << 20, done = 0;
  const char *path = argc > 2 ? argv[2] : "filled";
  memset(block, 'x', sizeof block);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  while (fd >= 0 && done < want) {
    unsigned long long left = want - done;
    ssize_t n = write(fd, block, left < sizeof block ? (size_t)left : sizeof block);
    if (n <= 0)
      break;
    done += (unsigned long long)n;
  }
  if (fd < 0 || done < want) {
    printf("refused after %llu bytes: %s\n", done, strerror(errno));
    return 1;
  }
  printf("filled %llu bytes\n", done);
  return 0;
}
