/* echo_args_env: prints each argument as `arg N VALUE` and each variable as `env NAME=VALUE`. */
#include <stdio.h>

extern char **environ;

int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++)
    printf("arg %d %s\n", i, argv[i]);
  for (char **e = environ; e && *e; e++)
    printf("env %s\n", *e);
  return 0;
}
