/* cat: copies the files that are named, or stdin (also for `-`), to stdout.
 * Prints to stderr what could not be read, goes on, and exits with 1 in that case. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int copy(int fd, const char *name) {
  static char buf[65536];
  for (;;) {
    ssize_t n = read(fd, buf, sizeof buf);
    if (n == 0)
      return 0;
    for (ssize_t done = 0; n > 0 && done < n;) {
      ssize_t w = write(1, buf + done, (size_t)(n - done));
      if (w < 0) {
        n = -1;
        break;
      }
      done += w;
    }
    if (n < 0) {
      fprintf(stderr, "cat: %s: %s\n", name, strerror(errno));
      return 1;
    }
  }
}

int main(int argc, char **argv) {
  int failed = 0;
  if (argc < 2)
    return copy(0, "stdin");
  for (int i = 1; i < argc; i++) {
    int fd = strcmp(argv[i], "-") ? open(argv[i], O_RDONLY) : 0;
    if (fd < 0) {
      fprintf(stderr, "cat: %s: %s\n", argv[i], strerror(errno));
      failed = 1;
      continue;
    }
    failed |= copy(fd, argv[i]);
    if (fd != 0)
      close(fd);
  }
  return failed;
}
