;; Calls the host from its start function, before it is instantiated and before its memory can be
;; found among its exports. Must end in an error, an errno (the module exits with it) or in exit
;; code 0 with the time written; never in a panic.
(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $early
    (local $errno i32)
    (local.set $errno (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))
    (if (local.get $errno) (then (call $proc_exit (local.get $errno))))
    (if (i64.eqz (i64.load (i32.const 0))) (then (unreachable))))
  (start $early)
  (func (export "_start")))
