;; A guest that calls wasi:filesystem itself, without a libc and without an adapter: each export does
;; one thing `n` times, in the first directory that it is given. `f` and `big` must be there, `n` not.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-t))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $in (sub resource)))
    (alias outer 1 $error-t (type $outer-error))
    (export "error" (type $err (eq $outer-error)))
    (type $variant (variant (case "last-operation-failed" (own $err)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $variant)))
    (export "[method]input-stream.blocking-read" (func
      (param "self" (borrow $in)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))))
  (alias export $streams "input-stream" (type $in-t))
  (import "wasi:clocks/wall-clock@0.2.0" (instance $wall
    (type $record (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type (eq $record)))))
  (alias export $wall "datetime" (type $datetime-t))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (alias outer 1 $in-t (type $outer-in))
    (export "input-stream" (type $in (eq $outer-in)))
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
    (export "[method]descriptor.stat-at" (func
      (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
      (param "path" string) (result (result $descriptor-stat (error $code)))))
    (export "[method]descriptor.create-directory-at" (func
      (param "self" (borrow $descriptor)) (param "path" string)
      (result (result (error $code)))))
    (export "[method]descriptor.remove-directory-at" (func
      (param "self" (borrow $descriptor)) (param "path" string)
      (result (result (error $code)))))
    (export "[method]descriptor.unlink-file-at" (func
      (param "self" (borrow $descriptor)) (param "path" string)
      (result (result (error $code)))))
    (export "[method]descriptor.rename-at" (func
      (param "self" (borrow $descriptor)) (param "old-path" string)
      (param "new-descriptor" (borrow $descriptor)) (param "new-path" string)
      (result (result (error $code)))))
    (export "[method]descriptor.open-at" (func
      (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
      (param "path" string) (param "open-flags" $open-flags) (param "flags" $descriptor-flags)
      (result (result (own $descriptor) (error $code)))))
    (export "[method]descriptor.read-via-stream" (func
      (param "self" (borrow $descriptor)) (param "offset" u64)
      (result (result (own $in) (error $code)))))))
  (alias export $types "descriptor" (type $descriptor-t))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor-t (type $outer-descriptor))
    (export "descriptor" (type $descriptor (eq $outer-descriptor)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  (core module $memory-module
    (memory (export "memory") 8)
    ;; Bytes lie where the last bytes lay, and a list of other things elsewhere: nothing is read twice.
    (func (export "realloc") (param i32 i32) (param $align i32) (param i32) (result i32)
      (i32.shl (local.get $align) (i32.const 16))))
  (core instance $memory (instantiate $memory-module))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $get-directories (canon lower (func $preopens "get-directories")
    (memory $mem) (realloc $realloc)))
  (core func $stat-at (canon lower (func $types "[method]descriptor.stat-at")
    (memory $mem)))
  (core func $create-directory-at (canon lower (func $types "[method]descriptor.create-directory-at")
    (memory $mem)))
  (core func $remove-directory-at (canon lower (func $types "[method]descriptor.remove-directory-at")
    (memory $mem)))
  (core func $unlink-file-at (canon lower (func $types "[method]descriptor.unlink-file-at")
    (memory $mem)))
  (core func $rename-at (canon lower (func $types "[method]descriptor.rename-at")
    (memory $mem)))
  (core func $open-at (canon lower (func $types "[method]descriptor.open-at")
    (memory $mem)))
  (core func $read-via-stream (canon lower (func $types "[method]descriptor.read-via-stream")
    (memory $mem)))
  (core func $blocking-read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory $mem) (realloc $realloc)))
  (core func $drop-descriptor (canon resource.drop $descriptor-t))
  (core func $drop-input (canon resource.drop $in-t))

  (core module $main-module
    (import "host" "memory" (memory 1))
    (import "host" "get-directories" (func $get-directories (param i32)))
    (import "host" "stat-at" (func $stat-at (param i32 i32 i32 i32 i32)))
    (import "host" "create-directory-at" (func $create-directory-at (param i32 i32 i32 i32)))
    (import "host" "remove-directory-at" (func $remove-directory-at (param i32 i32 i32 i32)))
    (import "host" "unlink-file-at" (func $unlink-file-at (param i32 i32 i32 i32)))
    (import "host" "rename-at" (func $rename-at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "open-at" (func $open-at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "read-via-stream" (func $read-via-stream (param i32 i64 i32)))
    (import "host" "blocking-read" (func $blocking-read (param i32 i64 i32)))
    (import "host" "drop-descriptor" (func $drop (param i32)))
    (import "host" "drop-input" (func $drop-input (param i32)))
    (global $dir (mut i32) (i32.const -1))
    (data (i32.const 1000) "f")
    (data (i32.const 1008) "big")
    (data (i32.const 1016) "n")
    ;; Traps unless the last call was answered without an error.
    (func $check
      (if (i32.load8_u (i32.const 0)) (then unreachable)))
    (func $begin
      (if (i32.eq (global.get $dir) (i32.const -1))
        (then
          (call $get-directories (i32.const 0))
          (global.set $dir (i32.load (i32.load (i32.const 0)))))))
    ;; Opens a name of one or three letters.
    (func $open (param $name i32) (param $how i32) (param $flags i32) (result i32)
      (call $open-at (global.get $dir) (i32.const 1) (local.get $name)
        (select (i32.const 3) (i32.const 1) (i32.eq (local.get $name) (i32.const 1008)))
        (local.get $how) (local.get $flags) (i32.const 0))
      (call $check)
      (i32.load (i32.const 4)))
    (func (export "stat") (param $n i32)
      (call $begin)
      (loop $again
        (call $stat-at (global.get $dir) (i32.const 1) (i32.const 1000) (i32.const 1) (i32.const 0))
        (call $check)
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "stat-nofollow") (param $n i32)
      (call $begin)
      (loop $again
        (call $stat-at (global.get $dir) (i32.const 0) (i32.const 1000) (i32.const 1) (i32.const 0))
        (call $check)
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "open-close") (param $n i32)
      (call $begin)
      (loop $again
        (call $drop (call $open (i32.const 1000) (i32.const 0) (i32.const 1)))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "create-unlink") (param $n i32)
      (call $begin)
      (loop $again
        (call $drop (call $open (i32.const 1016) (i32.const 1) (i32.const 2)))
        (call $unlink-file-at (global.get $dir) (i32.const 1016) (i32.const 1) (i32.const 0))
        (call $check)
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "mkdir-rmdir") (param $n i32)
      (call $begin)
      (loop $again
        (call $create-directory-at (global.get $dir) (i32.const 1016) (i32.const 1) (i32.const 0))
        (call $check)
        (call $remove-directory-at (global.get $dir) (i32.const 1016) (i32.const 1) (i32.const 0))
        (call $check)
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "rename") (param $n i32)
      (call $begin)
      (loop $again
        (call $rename-at (global.get $dir) (i32.const 1000) (i32.const 1)
          (global.get $dir) (i32.const 1016) (i32.const 1) (i32.const 0))
        (call $check)
        (call $rename-at (global.get $dir) (i32.const 1016) (i32.const 1)
          (global.get $dir) (i32.const 1000) (i32.const 1) (i32.const 0))
        (call $check)
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "stream") (param $n i32)
      (local $file i32) (local $stream i32)
      (call $begin)
      (local.set $file (call $open (i32.const 1008) (i32.const 0) (i32.const 1)))
      (loop $again
        (call $read-via-stream (local.get $file) (i64.const 0) (i32.const 0))
        (call $check)
        (local.set $stream (i32.load (i32.const 4)))
        (loop $more
          (call $blocking-read (local.get $stream) (i64.const 65536) (i32.const 0))
          (br_if $more (i32.eqz (i32.load8_u (i32.const 0)))))
        (call $drop-input (local.get $stream))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (call $drop (local.get $file))))
  (core instance $main (instantiate $main-module (with "host" (instance
    (export "memory" (memory $mem))
    (export "get-directories" (func $get-directories))
    (export "stat-at" (func $stat-at))
    (export "create-directory-at" (func $create-directory-at))
    (export "remove-directory-at" (func $remove-directory-at))
    (export "unlink-file-at" (func $unlink-file-at))
    (export "rename-at" (func $rename-at))
    (export "open-at" (func $open-at))
    (export "read-via-stream" (func $read-via-stream))
    (export "blocking-read" (func $blocking-read))
    (export "drop-descriptor" (func $drop-descriptor))
    (export "drop-input" (func $drop-input))))))
  (func (export "stat") (param "n" u32) (canon lift (core func $main "stat")))
  (func (export "stat-nofollow") (param "n" u32) (canon lift (core func $main "stat-nofollow")))
  (func (export "open-close") (param "n" u32) (canon lift (core func $main "open-close")))
  (func (export "create-unlink") (param "n" u32) (canon lift (core func $main "create-unlink")))
  (func (export "mkdir-rmdir") (param "n" u32) (canon lift (core func $main "mkdir-rmdir")))
  (func (export "rename") (param "n" u32) (canon lift (core func $main "rename")))
  (func (export "stream") (param "n" u32) (canon lift (core func $main "stream"))))
