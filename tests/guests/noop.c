/* noop: does nothing. What is left of its run time is the host's start and end. */
int main(void) { return 0; }
