;; Writes `greeting.txt` into its first directory, by the interfaces of WASI Preview 2.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-t))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $out (sub resource)))
    (alias outer 1 $error-t (type $outer-error))
    (export "error" (type $err (eq $outer-error)))
    (type $variant (variant (case "last-operation-failed" (own $err)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $variant)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $out)) (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $out-t))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (alias outer 1 $out-t (type $outer-out))
    (export "output-stream" (type $out (eq $outer-out)))
    (export "descriptor" (type $descriptor (sub resource)))
    (type $flags-flags (flags "read" "write" "file-integrity-sync" "data-integrity-sync"
      "requested-write-sync" "mutate-directory"))
    (export "descriptor-flags" (type $descriptor-flags (eq $flags-flags)))
    (type $path-flags-flags (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $path-flags-flags)))
    (type $open-flags-flags (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $open-flags-flags)))
    (type $code-enum (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock"
      "quota" "exist" "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted"
      "invalid" "io" "is-directory" "loop" "too-many-links" "message-size" "name-too-long"
      "no-device" "no-entry" "no-lock" "insufficient-memory" "insufficient-space"
      "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty" "no-such-device"
      "overflow" "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy"
      "cross-device"))
    (export "error-code" (type $code (eq $code-enum)))
    (export "[method]descriptor.open-at" (func
      (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
      (param "path" string) (param "open-flags" $open-flags) (param "flags" $descriptor-flags)
      (result (result (own $descriptor) (error $code)))))
    (export "[method]descriptor.write-via-stream" (func
      (param "self" (borrow $descriptor)) (param "offset" u64)
      (result (result (own $out) (error $code)))))))
  (alias export $types "descriptor" (type $descriptor-t))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor-t (type $outer-descriptor))
    (export "descriptor" (type $descriptor (eq $outer-descriptor)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  (core module $memory-module
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $get-directories (canon lower (func $preopens "get-directories")
    (memory $mem) (realloc $realloc)))
  (core func $open-at (canon lower (func $types "[method]descriptor.open-at")
    (memory $mem) (realloc $realloc)))
  (core func $write-via-stream (canon lower (func $types "[method]descriptor.write-via-stream")
    (memory $mem)))
  (core func $blocking-write-and-flush
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
      (memory $mem) (realloc $realloc)))
  (core func $drop-output (canon resource.drop $out-t))

  (core module $main-module
    (import "host" "memory" (memory 1))
    (import "host" "get-directories" (func $get-directories (param i32)))
    (import "host" "open-at"
      (func $open-at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "write-via-stream" (func $write-via-stream (param i32 i64 i32)))
    (import "host" "blocking-write-and-flush"
      (func $blocking-write-and-flush (param i32 i32 i32 i32)))
    (import "host" "drop-output" (func $drop-output (param i32)))
    (data (i32.const 1000) "greeting.txt")
    (data (i32.const 1016) "hello from a component\n")
    (func (export "run") (result i32)
      (local $stream i32)
      ;; The first preopened directory; results are written at 0.
      (call $get-directories (i32.const 0))
      (call $open-at (i32.load (i32.load (i32.const 0))) (i32.const 0)
        (i32.const 1000) (i32.const 12) (i32.const 1) (i32.const 2) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then (return (i32.const 1))))
      (call $write-via-stream (i32.load (i32.const 4)) (i64.const 0) (i32.const 0))
      (local.set $stream (i32.load (i32.const 4)))
      (call $blocking-write-and-flush
        (local.get $stream) (i32.const 1016) (i32.const 23) (i32.const 0))
      (call $drop-output (local.get $stream))
      (i32.load8_u (i32.const 0))))
  (core instance $main (instantiate $main-module (with "host" (instance
    (export "memory" (memory $mem))
    (export "get-directories" (func $get-directories))
    (export "open-at" (func $open-at))
    (export "write-via-stream" (func $write-via-stream))
    (export "blocking-write-and-flush" (func $blocking-write-and-flush))
    (export "drop-output" (func $drop-output))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $run-instance (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run-instance)))
