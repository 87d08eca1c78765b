#!/usr/bin/env python3
"""Writes pointers.wat: every function of Preview 1 that takes a pointer, called with every
combination of nasty pointers and lengths. Run by ../build.sh.

The module wants a writable preopen as descriptor 3 and at least one argument. It exits with 0 if
every call answered an errno (0 to 76), and not 0 where what the guest said cannot be in its
memory. Otherwise it exits with 100 + the number of the function, in the order of FUNCTIONS below,
and a trap of the host is a trap of the module. 99 means that it could not make its file."""

PAGE = 65536
POINTERS = [0, 1, 7, PAGE - 64, PAGE - 8, PAGE - 4, PAGE - 1, PAGE, PAGE + 1,
            0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF]
LENGTHS = [0, 1, 8, PAGE, 0x7FFFFFFF, 0x20000001, 0xFFFFFFFF]

# What a parameter is: a number (i32) or a number with "L" (i64) is given as it is; FILE and DIR
# are descriptors; out(n) is a pointer to n bytes that the host fills if all else is right (0:
# perhaps none); text and array(n) are a pointer with a length behind it that the host reads; buf
# is one that it fills; iov is a pointer and a count, once nasty themselves and once a good pair
# that holds a nasty one.
HELD = 32768  # where the pair that holds a nasty one lies
GOOD = 40960  # a place to write to
FILE, DIR = "file", "dir"


def out(size):
    return ("out", size)


def array(size):
    return ("array", size)


TEXT = array(1)
BUF = ("buf", 1)
IOV = ("iov", 8)

FUNCTIONS = [
    ("args_get", [out(4), out(1)]),
    ("args_sizes_get", [out(4), out(4)]),
    ("environ_get", [out(0), out(0)]),
    ("environ_sizes_get", [out(4), out(4)]),
    ("clock_res_get", [0, out(8)]),
    ("clock_time_get", [0, "0L", out(8)]),
    ("fd_fdstat_get", [FILE, out(24)]),
    ("fd_filestat_get", [FILE, out(64)]),
    ("fd_pread", [FILE, IOV, "0L", out(4)]),
    ("fd_prestat_get", [DIR, out(8)]),
    ("fd_prestat_dir_name", [DIR, BUF]),
    ("fd_pwrite", [FILE, IOV, "0L", out(4)]),
    ("fd_read", [FILE, IOV, out(4)]),
    ("fd_readdir", [DIR, BUF, "0L", out(4)]),
    ("fd_seek", [FILE, "0L", 0, out(8)]),
    ("fd_tell", [FILE, out(8)]),
    ("fd_write", [FILE, IOV, out(4)]),
    ("path_create_directory", [DIR, TEXT]),
    ("path_filestat_get", [DIR, 1, TEXT, out(64)]),
    ("path_filestat_set_times", [DIR, 1, TEXT, "0L", "0L", 4]),
    ("path_link", [DIR, 0, TEXT, DIR, TEXT]),
    ("path_open", [DIR, 1, TEXT, 1, "2L", "0L", 0, out(4)]),
    ("path_readlink", [DIR, TEXT, BUF, GOOD]),
    ("path_remove_directory", [DIR, TEXT]),
    ("path_rename", [DIR, TEXT, DIR, TEXT]),
    ("path_symlink", [TEXT, DIR, TEXT]),
    ("path_unlink_file", [DIR, TEXT]),
    # Zeroed memory is a subscription to a clock that is over at once.
    ("poll_oneoff", [("in", 48), ("out of events", 32), "count", out(4)]),
    ("random_get", [BUF]),
    ("sock_accept", [DIR, 0, out(4)]),
    ("sock_recv", [DIR, IOV, 0, out(4), out(2)]),
    ("sock_send", [DIR, IOV, 0, out(4)]),
]

class Call:
    """One function's loop: nested over each nasty parameter, then the call and its checks."""

    def __init__(self, number, name, params, held):
        self.number, self.name, self.params, self.held = number, name, params, held
        self.types, self.args, self.loops, self.outside, self.before = [], [], [], [], []

    def nasty(self, table):
        local = f"$n{len(self.loops)}"
        self.loops.append((local, table))
        return f"(call ${table} (local.get {local}))"

    def i32(self, expression):
        self.types.append("i32")
        self.args.append(expression)

    def must_hold(self, pointer, length, size):
        """Notes that length * size bytes at pointer have to lie in memory."""
        self.outside.append(f"(call $outside {pointer} {length} (i64.const {size}))")

    def add(self, param):
        one = "(i32.const 1)"
        if isinstance(param, int):
            self.i32(f"(i32.const {param})")
        elif param in (FILE, DIR):
            self.i32(f"(global.get ${param})")
        elif param == "count":
            self.i32(self.count)
        elif isinstance(param, str):
            self.types.append("i64")
            self.args.append(f"(i64.const {param[:-1]})")
        elif param[0] == "out":
            pointer = self.nasty("pointer")
            self.i32(pointer)
            if param[1]:
                self.must_hold(pointer, one, param[1])
        elif param[0] == "in":
            # The number of subscriptions stands behind the pointer to the events.
            pointer, self.count = self.nasty("pointer"), self.nasty("length")
            self.i32(pointer)
            self.must_hold(pointer, self.count, param[1])
        elif param[0] == "out of events":
            pointer = self.nasty("pointer")
            self.i32(pointer)
            self.must_hold(pointer, self.count, 0)
        elif param[0] == "iov" and self.held:
            pointer, length = self.nasty("pointer"), self.nasty("length")
            self.before += [f"(i32.store (i32.const {HELD}) {pointer})",
                            f"(i32.store (i32.const {HELD + 4}) {length})"]
            self.i32(f"(i32.const {HELD})")
            self.i32(one)
            self.must_hold(pointer, length, 1)
        else:
            pointer, length = self.nasty("pointer"), self.nasty("length")
            self.i32(pointer)
            self.i32(length)
            if param[0] == "buf":
                # A host may look only at the bytes that it fills.
                self.must_hold(pointer, length, 0)
            else:
                self.must_hold(pointer, length, param[1])

    def text(self):
        for param in self.params:
            # In the second round only the held pair is nasty, not the way to the answer.
            if self.held and isinstance(param, tuple) and param[0] == "out":
                self.i32(f"(i32.const {GOOD})")
            else:
                self.add(param)
        lines = [f"(func ${self.label()}"]
        lines += [f"  (local {name} i32)" for name, _ in self.loops] + ["  (local $errno i32)"]
        # Set inside the outer loop, so that an inner one starts anew in each of its rounds.
        for depth, (local, _) in enumerate(self.loops):
            lines += [f"  (local.set {local} (i32.const 0))", f"  (loop $loop{depth}"]
        lines += ["  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))"]
        lines += [f"  {line}" for line in self.before]
        lines += [f"  (local.set $errno (call ${self.name}"]
        lines += [f"    {arg}" for arg in self.args]
        lines += ["  ))"]
        lines += [f"  (call $check (i32.const {100 + self.number}) (local.get $errno)"]
        expression = "(i32.const 0)"
        for outside in self.outside:
            expression = f"(i32.or {expression}\n      {outside})"
        lines += [f"    {expression})"]
        for depth, (local, table) in reversed(list(enumerate(self.loops))):
            count = len(POINTERS if table == "pointer" else LENGTHS)
            lines += [f"  (local.set {local} (i32.add (local.get {local}) (i32.const 1)))",
                      f"  (br_if $loop{depth} (i32.lt_u (local.get {local}) (i32.const {count})))",
                      "  )"]
        return "\n".join(lines) + ")\n"

    def label(self):
        return f"try_{self.name}{'_held' if self.held else ''}"


def choose(name, values):
    lines = [f"(func ${name} (param $i i32) (result i32)"]
    for i, value in enumerate(values):
        lines.append(f"  (if (i32.eq (local.get $i) (i32.const {i})) "
                     f"(then (return (i32.const {value:#x}))))")
    return "\n".join(lines) + "\n  (unreachable))\n"


def main():
    calls = []
    for number, (name, params) in enumerate(FUNCTIONS):
        calls.append(Call(number, name, params, False))
        if IOV in params:
            calls.append(Call(number, name, params, True))
    bodies = [call.text() for call in calls]
    print(";; Written by pointers.py, which says what it does. Exit codes name the function:")
    for number, (name, _) in enumerate(FUNCTIONS):
        print(f";;   {100 + number} {name}")
    print("(module")
    for name in dict.fromkeys(call.name for call in calls):
        types = " ".join(next(c for c in calls if c.name == name).types)
        print(f'(import "wasi_snapshot_preview1" "{name}"\n'
              f"  (func ${name} (param {types}) (result i32)))")
    print('(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))')
    print('(memory (export "memory") 1 1)')
    print("(global $dir (mut i32) (i32.const 3))\n(global $file (mut i32) (i32.const -1))")
    print(choose("pointer", POINTERS))
    print(choose("length", LENGTHS))
    print(""";; Whether length elements of size bytes at pointer do not all lie in memory. Nothing lies
;; everywhere. A size of 0 asks for one byte: all that is sure to be looked at.
(func $outside (param $pointer i32) (param $length i32) (param $size i64) (result i32)
  (if (i32.eqz (local.get $length)) (then (return (i32.const 0))))
  (if (i64.eqz (local.get $size)) (then
    (return (i32.ge_u (local.get $pointer) (i32.const 65536)))))
  (i64.gt_u
    (i64.add (i64.extend_i32_u (local.get $pointer))
      (i64.mul (i64.extend_i32_u (local.get $length)) (local.get $size)))
    (i64.const 65536)))
(func $check (param $code i32) (param $errno i32) (param $outside i32)
  (if (i32.gt_u (local.get $errno) (i32.const 76)) (then
    (call $proc_exit (local.get $code))))
  (if (i32.and (local.get $outside) (i32.eqz (local.get $errno))) (then
    (call $proc_exit (local.get $code)))))
;; A file `f`, for the calls that want one.
(func $make_file
  (i32.store8 (i32.const 0) (i32.const 0x66))
  (if (call $path_open (global.get $dir) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 1)
      (i64.const 0x3fffffff) (i64.const 0) (i32.const 0) (i32.const 8))
    (then (call $proc_exit (i32.const 99))))
  (global.set $file (i32.load (i32.const 8))))""")
    for body in bodies:
        print(body)
    print('(func (export "_start")\n  (call $make_file)')
    for call in calls:
        print(f"  (call ${call.label()})")
    print("))")


if __name__ == "__main__":
    main()
