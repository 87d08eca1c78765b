;; Has a memory of no pages: every pointer is outside. Exits with 0 if clock_time_get answered
;; FAULT (21), else with the errno or, for 0, with 99.
(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 0)
  (func (export "_start")
    (local $errno i32)
    (local.set $errno (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))
    (if (i32.eq (local.get $errno) (i32.const 21)) (then (call $proc_exit (i32.const 0))))
    (if (local.get $errno) (then (call $proc_exit (local.get $errno))))
    (call $proc_exit (i32.const 99))))
