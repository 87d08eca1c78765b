/* exit_code N: ends with proc_exit(N), without a word. Without N it returns from main. */
#include <stdlib.h>
#include <wasi/api.h>

int main(int argc, char **argv) {
  if (argc > 1)
    __wasi_proc_exit((__wasi_exitcode_t)strtoul(argv[1], 0, 10));
  return 0;
}
