;; Imports a function that no version of WASI has. Must be refused by name, before anything runs.
(module
  (import "wasi_snapshot_preview1" "fd_teleport" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (unreachable)))
