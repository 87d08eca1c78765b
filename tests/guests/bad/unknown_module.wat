;; Imports from a module that nobody offers. Must be refused by name, before anything runs.
(module
  (import "env" "system" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (unreachable)))
