/* sandbox: what a program in a sandbox can do, and what it is told when it tries to leave.
 *
 * Writes a file, reads it back, lists the directory; then tries every way out that a path can
 * express, with raw calls on the preopened directory so that no library stands between. Prints
 * one line for each. Exits with 0 if nothing escaped. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

#define UP "../../../../../../../.."
#define SECRET "etc/passwd"

static int escapes;

/* The first preopened directory. */
static __wasi_fd_t preopen(void) {
  __wasi_prestat_t ps;
  return __wasi_fd_prestat_get(3, &ps) ? (__wasi_fd_t)-1 : 3;
}

static void told(const char *what, __wasi_errno_t e) {
  printf("  %-44s %s\n", what, e ? strerror(e) : "ESCAPED");
  if (!e)
    escapes++;
}

static __wasi_errno_t try_open(__wasi_fd_t dir, const char *path, __wasi_oflags_t how) {
  __wasi_fd_t fd;
  __wasi_errno_t e = __wasi_path_open(dir, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, how,
                                      __WASI_RIGHTS_FD_READ, 0, 0, &fd);
  if (!e)
    (void)!__wasi_fd_close(fd);
  return e;
}

static int at_home(void) {
  char line[64] = {0};
  FILE *f = fopen("note.txt", "w");
  if (!f || fputs("kept inside\n", f) < 0 || fclose(f) != 0) {
    printf("cannot write: %s\n", strerror(errno));
    return 1;
  }
  f = fopen("note.txt", "r");
  if (!f || !fgets(line, sizeof line, f)) {
    printf("cannot read: %s\n", strerror(errno));
    return 1;
  }
  fclose(f);
  printf("wrote note.txt and read it back: %s", line);
  printf("the directory holds:");
  DIR *d = opendir(".");
  for (struct dirent *e; d && (e = readdir(d));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
      printf(" %s", e->d_name);
  printf("\n");
  if (d)
    closedir(d);
  return strcmp(line, "kept inside\n") != 0;
}

static void try_to_leave(__wasi_fd_t dir) {
  __wasi_filestat_t st;
  printf("trying to leave:\n");
  told("open ../" SECRET, try_open(dir, UP "/" SECRET, 0));
  told("open sub/../../" SECRET, try_open(dir, "sub/../" UP "/" SECRET, 0));
  told("open /" SECRET, try_open(dir, "/" SECRET, 0));
  told("create ../evil", try_open(dir, "../evil", __WASI_OFLAGS_CREAT));
  told("stat ..", __wasi_path_filestat_get(dir, 0, "..", &st));
  told("symbolic link to /" SECRET, __wasi_path_symlink("/" SECRET, dir, "absolute"));
  /* A link that points up may be made, as on every POSIX system: it is judged when it is used. */
  (void)!__wasi_path_symlink(UP "/" SECRET, dir, "up");
  told("open a symbolic link to ../" SECRET, try_open(dir, "up", 0));
  told("truncate through that link", try_open(dir, "up", __WASI_OFLAGS_TRUNC));
  (void)!__wasi_path_symlink("..", dir, "above");
  told("open through a symbolic link to ..", try_open(dir, "above/" SECRET, 0));
  told("hard link of ../" SECRET, __wasi_path_link(dir, 0, UP "/" SECRET, dir, "hard"));
  told("hard link through the symbolic link", __wasi_path_link(dir, 1, "up", dir, "hard"));
  told("rename note.txt to ../note.txt", __wasi_path_rename(dir, "note.txt", dir, "../note.txt"));
  told("rename ../" SECRET " to here", __wasi_path_rename(dir, UP "/" SECRET, dir, "stolen"));
  told("create a directory ../evil", __wasi_path_create_directory(dir, "../evil"));
  told("remove ../note.txt", __wasi_path_unlink_file(dir, "../note.txt"));
}

int main(void) {
  __wasi_fd_t dir = preopen();
  if (dir == (__wasi_fd_t)-1) {
    printf("there is no preopened directory: nothing can be reached\n");
    return 0;
  }
  int failed = at_home();
  (void)!__wasi_path_create_directory(dir, "sub");
  try_to_leave(dir);
  (void)!__wasi_path_unlink_file(dir, "up");
  (void)!__wasi_path_unlink_file(dir, "above");
  (void)!__wasi_path_remove_directory(dir, "sub");
  printf(escapes ? "%d escaped\n" : "nothing escaped\n", escapes);
  return failed || escapes;
}
