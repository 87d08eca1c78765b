;; Exports no memory, and calls a function that needs one. The call must end in an error of the
;; host or in an errno: with any errno but 0 the module exits with it, with 0 it traps.
(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory 1)
  (func (export "_start")
    (local $errno i32)
    (local.set $errno (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))
    (if (local.get $errno) (then (call $proc_exit (local.get $errno))))
    (unreachable)))
