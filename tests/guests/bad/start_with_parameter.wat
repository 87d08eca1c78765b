;; `_start` takes a parameter, which no command does. Must be refused.
(module
  (memory (export "memory") 1)
  (func (export "_start") (param i32)))
