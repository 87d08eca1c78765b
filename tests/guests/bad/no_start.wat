;; Has nothing to start: no `_start`. Must be refused, not taken for a program that did nothing.
(module
  (memory (export "memory") 1)
  (func (export "run")))
