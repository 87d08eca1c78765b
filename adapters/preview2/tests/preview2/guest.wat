(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-t))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (alias outer 1 $error-t (type $outer-error))
    (export "error" (type $err (eq $outer-error)))
    (type $variant (variant (case "last-operation-failed" (own $err)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $variant)))
    (export "[method]input-stream.blocking-read" (func
      (param "self" (borrow $in)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $out)) (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "input-stream" (type $in-t))
  (alias export $streams "output-stream" (type $out-t))
  (import "wasi:clocks/wall-clock@0.2.0" (instance $wall
    (type $record (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type (eq $record)))))
  (alias export $wall "datetime" (type $datetime-t))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (alias outer 1 $in-t (type $outer-in))
    (export "input-stream" (type $in (eq $outer-in)))
    (alias outer 1 $out-t (type $outer-out))
    (export "output-stream" (type $out (eq $outer-out)))
    (alias outer 1 $datetime-t (type $outer-datetime))
    (export "datetime" (type $datetime (eq $outer-datetime)))
    (export "descriptor" (type $descriptor (sub resource)))
    (type $type-enum (enum "unknown" "block-device" "character-device" "directory" "fifo"
      "symbolic-link" "regular-file" "socket"))
    (export "descriptor-type" (type $descriptor-type (eq $type-enum)))
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
    (type $stat-record (record
      (field "type" $descriptor-type) (field "link-count" u64) (field "size" u64)
      (field "data-access-timestamp" (option $datetime))
      (field "data-modification-timestamp" (option $datetime))
      (field "status-change-timestamp" (option $datetime))))
    (export "descriptor-stat" (type $descriptor-stat (eq $stat-record)))
    (export "[method]descriptor.open-at" (func
      (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
      (param "path" string) (param "open-flags" $open-flags) (param "flags" $descriptor-flags)
      (result (result (own $descriptor) (error $code)))))
    (export "[method]descriptor.read-via-stream" (func
      (param "self" (borrow $descriptor)) (param "offset" u64)
      (result (result (own $in) (error $code)))))
    (export "[method]descriptor.write-via-stream" (func
      (param "self" (borrow $descriptor)) (param "offset" u64)
      (result (result (own $out) (error $code)))))
    (export "[method]descriptor.stat-at" (func
      (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
      (param "path" string) (result (result $descriptor-stat (error $code)))))))
  (alias export $types "descriptor" (type $descriptor-t))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor-t (type $outer-descriptor))
    (export "descriptor" (type $descriptor (eq $outer-descriptor)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $out-t (type $outer-out))
    (export "output-stream" (type $out (eq $outer-out)))
    (export "get-stdout" (func (result (own $out))))))
  (import "wasi:cli/exit@0.2.12" (instance $exit
    (export "exit-with-code" (func (param "status-code" u8)))))

  (core module $memory-module
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      ;; What a guest that asks for ever is given is always the same.
      (if (i32.gt_u (global.get $next) (i32.const 60000))
        (then (global.set $next (i32.const 4096))))
      (local.get $at)))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $get-directories (canon lower (func $preopens "get-directories")
    (memory $mem) (realloc $realloc)))
  (core func $open-at (canon lower (func $types "[method]descriptor.open-at")
    (memory $mem) (realloc $realloc)))
  (core func $read-via-stream (canon lower (func $types "[method]descriptor.read-via-stream")
    (memory $mem)))
  (core func $write-via-stream (canon lower (func $types "[method]descriptor.write-via-stream")
    (memory $mem)))
  (core func $stat-at (canon lower (func $types "[method]descriptor.stat-at") (memory $mem)))
  (core func $blocking-read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory $mem) (realloc $realloc)))
  (core func $blocking-write-and-flush
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
      (memory $mem) (realloc $realloc)))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $exit-with-code (canon lower (func $exit "exit-with-code")))
  (core func $drop-descriptor (canon resource.drop $descriptor-t))
  (core func $drop-input (canon resource.drop $in-t))
  (core func $drop-output (canon resource.drop $out-t))

  (core module $main-module
    (import "host" "memory" (memory 1))
    (import "host" "get-directories" (func $get-directories (param i32)))
    (import "host" "open-at"
      (func $open-at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "read-via-stream" (func $read-via-stream (param i32 i64 i32)))
    (import "host" "write-via-stream" (func $write-via-stream (param i32 i64 i32)))
    (import "host" "stat-at" (func $stat-at (param i32 i32 i32 i32 i32)))
    (import "host" "blocking-read" (func $blocking-read (param i32 i64 i32)))
    (import "host" "blocking-write-and-flush"
      (func $blocking-write-and-flush (param i32 i32 i32 i32)))
    (import "host" "get-stdout" (func $get-stdout (result i32)))
    (import "host" "exit-with-code" (func $exit-with-code (param i32)))
    (import "host" "drop-descriptor" (func $drop-descriptor (param i32)))
    (import "host" "drop-input" (func $drop-input (param i32)))
    (import "host" "drop-output" (func $drop-output (param i32)))
    (data (i32.const 1000) "f")
    (data (i32.const 1008) "hello")
    (func (export "run") (result i32)
      (local $dir i32) (local $file i32) (local $stream i32)
      (;body;)
      (i32.const 0)))
  (core instance $main (instantiate $main-module (with "host" (instance
    (export "memory" (memory $mem))
    (export "get-directories" (func $get-directories))
    (export "open-at" (func $open-at))
    (export "read-via-stream" (func $read-via-stream))
    (export "write-via-stream" (func $write-via-stream))
    (export "stat-at" (func $stat-at))
    (export "blocking-read" (func $blocking-read))
    (export "blocking-write-and-flush" (func $blocking-write-and-flush))
    (export "get-stdout" (func $get-stdout))
    (export "exit-with-code" (func $exit-with-code))
    (export "drop-descriptor" (func $drop-descriptor))
    (export "drop-input" (func $drop-input))
    (export "drop-output" (func $drop-output))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $run-instance (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run-instance)))
