/* heldmove: tries to get around a policy through a directory that it holds while it is renamed.
 *
 * Expects a policy that allows everything in /tmp, and in /data reading and renaming, but neither
 * *.key nor *.hid; and the files /data/ro.txt, /data/sub/x.key and /data/sub/y.hid. Renames a held
 * directory from /tmp to /data, renames the files into it, and uses them through the handle. Then
 * the same with a directory above the held one, and with links. Prints one line for each attempt.
 * Exits with 0 if nothing was done that the policy does not allow. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int escapes;

static void told(const char *what, const char *path, int failed) {
  printf("  %-8s %-24s %s\n", what, path, failed ? strerror(errno) : "DONE");
  if (!failed)
    escapes++;
}

static void try_open(int dir, const char *path, int flags) {
  int fd = openat(dir, path, flags);
  told((flags & O_ACCMODE) == O_RDONLY ? "read" : "write", path, fd < 0);
  if (fd >= 0)
    close(fd);
}

/* No way to these but what the policy grants in /data. */
static void try_all(int dir) {
  try_open(dir, "sub/x.key", O_RDONLY);
  try_open(dir, "sub/y.hid", O_RDONLY);
  try_open(dir, "ro.txt", O_WRONLY | O_APPEND);
  try_open(dir, "ro.txt", O_WRONLY | O_TRUNC);
  told("unlink", "ro.txt", unlinkat(dir, "ro.txt", 0));
  told("rename", "sub", renameat(dir, "sub", AT_FDCWD, "/tmp/sub"));
  told("link", "sub/x.key", linkat(dir, "sub/x.key", AT_FDCWD, "/tmp/x.key", 0));
  told("rename", "sub/x.key", renameat(dir, "sub/x.key", AT_FDCWD, "/tmp/x.key"));
}

/* Holds `held`, renames `moved`, which is it or lies above it, to `to`, and brings what it wants
 * into where the held directory is then or would be. */
static void attack(const char *held, const char *moved, const char *to, const char *into) {
  char path[256];
  int dir = open(held, O_RDONLY | O_DIRECTORY);
  if (dir < 0) {
    printf("  cannot hold %s: %s\n", held, strerror(errno));
    escapes++;
    return;
  }
  printf("%s to %s, holding %s\n", moved, to, held);
  int is_moved = !rename(moved, to);
  printf("  %-8s %-24s %s\n", "rename", moved, is_moved ? "done" : strerror(errno));
  snprintf(path, sizeof path, "%s/sub", into);
  (void)!rename("/data/sub", path);
  (void)!renameat(AT_FDCWD, "/data/sub", dir, "sub");
  snprintf(path, sizeof path, "%s/ro.txt", into);
  (void)!rename("/data/ro.txt", path);
  (void)!renameat(AT_FDCWD, "/data/ro.txt", dir, "ro.txt");
  try_all(dir);
  close(dir);
}

int main(void) {
  if (mkdir("/tmp/d", 0777) || mkdir("/tmp/p", 0777) || mkdir("/tmp/p/d", 0777)) {
    printf("cannot make directories: %s\n", strerror(errno));
    return 1;
  }
  int data = open("/data", O_RDONLY | O_DIRECTORY);
  printf("/data itself\n");
  try_all(data);
  attack("/tmp/d", "/tmp/d", "/data/d", "/data/d");
  attack("/tmp/p/d", "/tmp/p", "/data/p", "/data/p/d");
  printf("%d attempts succeeded\n", escapes);
  return escapes > 0;
}
