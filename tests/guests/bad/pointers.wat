;; Written by pointers.py, which says what it does. Exit codes name the function:
;;   100 args_get
;;   101 args_sizes_get
;;   102 environ_get
;;   103 environ_sizes_get
;;   104 clock_res_get
;;   105 clock_time_get
;;   106 fd_fdstat_get
;;   107 fd_filestat_get
;;   108 fd_pread
;;   109 fd_prestat_get
;;   110 fd_prestat_dir_name
;;   111 fd_pwrite
;;   112 fd_read
;;   113 fd_readdir
;;   114 fd_seek
;;   115 fd_tell
;;   116 fd_write
;;   117 path_create_directory
;;   118 path_filestat_get
;;   119 path_filestat_set_times
;;   120 path_link
;;   121 path_open
;;   122 path_readlink
;;   123 path_remove_directory
;;   124 path_rename
;;   125 path_symlink
;;   126 path_unlink_file
;;   127 poll_oneoff
;;   128 random_get
;;   129 sock_accept
;;   130 sock_recv
;;   131 sock_send
(module
(import "wasi_snapshot_preview1" "args_get"
  (func $args_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_sizes_get"
  (func $args_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_get"
  (func $environ_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_sizes_get"
  (func $environ_sizes_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_res_get"
  (func $clock_res_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get"
  (func $clock_time_get (param i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_fdstat_get"
  (func $fd_fdstat_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_filestat_get"
  (func $fd_filestat_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_pread"
  (func $fd_pread (param i32 i32 i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_prestat_get"
  (func $fd_prestat_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_prestat_dir_name"
  (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_pwrite"
  (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_read"
  (func $fd_read (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_readdir"
  (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_seek"
  (func $fd_seek (param i32 i64 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_tell"
  (func $fd_tell (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write"
  (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_create_directory"
  (func $path_create_directory (param i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_filestat_get"
  (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_filestat_set_times"
  (func $path_filestat_set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_link"
  (func $path_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_open"
  (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_readlink"
  (func $path_readlink (param i32 i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_remove_directory"
  (func $path_remove_directory (param i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_rename"
  (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_symlink"
  (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_unlink_file"
  (func $path_unlink_file (param i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "poll_oneoff"
  (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "random_get"
  (func $random_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "sock_accept"
  (func $sock_accept (param i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "sock_recv"
  (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "sock_send"
  (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(memory (export "memory") 1 1)
(global $dir (mut i32) (i32.const 3))
(global $file (mut i32) (i32.const -1))
(func $pointer (param $i i32) (result i32)
  (if (i32.eq (local.get $i) (i32.const 0)) (then (return (i32.const 0x0))))
  (if (i32.eq (local.get $i) (i32.const 1)) (then (return (i32.const 0x1))))
  (if (i32.eq (local.get $i) (i32.const 2)) (then (return (i32.const 0x7))))
  (if (i32.eq (local.get $i) (i32.const 3)) (then (return (i32.const 0xffc0))))
  (if (i32.eq (local.get $i) (i32.const 4)) (then (return (i32.const 0xfff8))))
  (if (i32.eq (local.get $i) (i32.const 5)) (then (return (i32.const 0xfffc))))
  (if (i32.eq (local.get $i) (i32.const 6)) (then (return (i32.const 0xffff))))
  (if (i32.eq (local.get $i) (i32.const 7)) (then (return (i32.const 0x10000))))
  (if (i32.eq (local.get $i) (i32.const 8)) (then (return (i32.const 0x10001))))
  (if (i32.eq (local.get $i) (i32.const 9)) (then (return (i32.const 0x7fffffff))))
  (if (i32.eq (local.get $i) (i32.const 10)) (then (return (i32.const 0x80000000))))
  (if (i32.eq (local.get $i) (i32.const 11)) (then (return (i32.const 0xfffffff8))))
  (if (i32.eq (local.get $i) (i32.const 12)) (then (return (i32.const 0xffffffff))))
  (unreachable))

(func $length (param $i i32) (result i32)
  (if (i32.eq (local.get $i) (i32.const 0)) (then (return (i32.const 0x0))))
  (if (i32.eq (local.get $i) (i32.const 1)) (then (return (i32.const 0x1))))
  (if (i32.eq (local.get $i) (i32.const 2)) (then (return (i32.const 0x8))))
  (if (i32.eq (local.get $i) (i32.const 3)) (then (return (i32.const 0x10000))))
  (if (i32.eq (local.get $i) (i32.const 4)) (then (return (i32.const 0x7fffffff))))
  (if (i32.eq (local.get $i) (i32.const 5)) (then (return (i32.const 0x20000001))))
  (if (i32.eq (local.get $i) (i32.const 6)) (then (return (i32.const 0xffffffff))))
  (unreachable))

;; Whether length elements of size bytes at pointer do not all lie in memory. Nothing lies
;; everywhere. A size of 0 asks for one byte: all that is sure to be looked at.
(func $outside (param $pointer i32) (param $length i32) (param $size i64) (result i32)
  (if (i32.eqz (local.get $length)) (then (return (i32.const 0))))
  (if (i64.eqz (local.get $size)) (then
    (return (i32.ge_u (local.get $pointer) (i32.const 65536)))))
  (i64.gt_u
    (i64.add (i64.extend_i32_u (local.get $pointer))
      (i64.mul (i64.extend_i32_u (local.get $length)) (local.get $size)))
    (i64.const 65536)))
(func $check (param $code i32) (param $errno i32) (param $outside i32)
  (if (i32.gt_u (local.get $errno) (i32.const 76)) (then
    (call $proc_exit (local.get $code))))
  (if (i32.and (local.get $outside) (i32.eqz (local.get $errno))) (then
    (call $proc_exit (local.get $code)))))
;; A file `f`, for the calls that want one.
(func $make_file
  (i32.store8 (i32.const 0) (i32.const 0x66))
  (if (call $path_open (global.get $dir) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 1)
      (i64.const 0x3fffffff) (i64.const 0) (i32.const 0) (i32.const 8))
    (then (call $proc_exit (i32.const 99))))
  (global.set $file (i32.load (i32.const 8))))
(func $try_args_get
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $args_get
    (call $pointer (local.get $n0))
    (call $pointer (local.get $n1))
  ))
  (call $check (i32.const 100) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 4)))
      (call $outside (call $pointer (local.get $n1)) (i32.const 1) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 13)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_args_sizes_get
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $args_sizes_get
    (call $pointer (local.get $n0))
    (call $pointer (local.get $n1))
  ))
  (call $check (i32.const 101) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 4)))
      (call $outside (call $pointer (local.get $n1)) (i32.const 1) (i64.const 4))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 13)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_environ_get
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $environ_get
    (call $pointer (local.get $n0))
    (call $pointer (local.get $n1))
  ))
  (call $check (i32.const 102) (local.get $errno)
    (i32.const 0))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 13)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_environ_sizes_get
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $environ_sizes_get
    (call $pointer (local.get $n0))
    (call $pointer (local.get $n1))
  ))
  (call $check (i32.const 103) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 4)))
      (call $outside (call $pointer (local.get $n1)) (i32.const 1) (i64.const 4))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 13)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_clock_res_get
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $clock_res_get
    (i32.const 0)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 104) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 8))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_clock_time_get
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $clock_time_get
    (i32.const 0)
    (i64.const 0)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 105) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 8))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_fdstat_get
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_fdstat_get
    (global.get $file)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 106) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 24))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_filestat_get
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_filestat_get
    (global.get $file)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 107) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 64))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_pread
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_pread
    (global.get $file)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (i64.const 0)
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 108) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 8)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_pread_held
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (i32.store (i32.const 32768) (call $pointer (local.get $n0)))
  (i32.store (i32.const 32772) (call $length (local.get $n1)))
  (local.set $errno (call $fd_pread
    (global.get $file)
    (i32.const 32768)
    (i32.const 1)
    (i64.const 0)
    (i32.const 40960)
  ))
  (call $check (i32.const 108) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_prestat_get
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_prestat_get
    (global.get $dir)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 109) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 8))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_prestat_dir_name
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_prestat_dir_name
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
  ))
  (call $check (i32.const 110) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 0))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_pwrite
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_pwrite
    (global.get $file)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (i64.const 0)
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 111) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 8)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_pwrite_held
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (i32.store (i32.const 32768) (call $pointer (local.get $n0)))
  (i32.store (i32.const 32772) (call $length (local.get $n1)))
  (local.set $errno (call $fd_pwrite
    (global.get $file)
    (i32.const 32768)
    (i32.const 1)
    (i64.const 0)
    (i32.const 40960)
  ))
  (call $check (i32.const 111) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_read
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_read
    (global.get $file)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 112) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 8)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_read_held
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (i32.store (i32.const 32768) (call $pointer (local.get $n0)))
  (i32.store (i32.const 32772) (call $length (local.get $n1)))
  (local.set $errno (call $fd_read
    (global.get $file)
    (i32.const 32768)
    (i32.const 1)
    (i32.const 40960)
  ))
  (call $check (i32.const 112) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_readdir
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_readdir
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (i64.const 0)
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 113) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 0)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_seek
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_seek
    (global.get $file)
    (i64.const 0)
    (i32.const 0)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 114) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 8))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_tell
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_tell
    (global.get $file)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 115) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 8))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_write
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $fd_write
    (global.get $file)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 116) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 8)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_fd_write_held
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (i32.store (i32.const 32768) (call $pointer (local.get $n0)))
  (i32.store (i32.const 32772) (call $length (local.get $n1)))
  (local.set $errno (call $fd_write
    (global.get $file)
    (i32.const 32768)
    (i32.const 1)
    (i32.const 40960)
  ))
  (call $check (i32.const 116) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_create_directory
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_create_directory
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
  ))
  (call $check (i32.const 117) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_filestat_get
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_filestat_get
    (global.get $dir)
    (i32.const 1)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 118) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 64))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_filestat_set_times
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_filestat_set_times
    (global.get $dir)
    (i32.const 1)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (i64.const 0)
    (i64.const 0)
    (i32.const 4)
  ))
  (call $check (i32.const 119) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_link
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $n3 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (local.set $n3 (i32.const 0))
  (loop $loop3
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_link
    (global.get $dir)
    (i32.const 0)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (global.get $dir)
    (call $pointer (local.get $n2))
    (call $length (local.get $n3))
  ))
  (call $check (i32.const 120) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1)))
      (call $outside (call $pointer (local.get $n2)) (call $length (local.get $n3)) (i64.const 1))))
  (local.set $n3 (i32.add (local.get $n3) (i32.const 1)))
  (br_if $loop3 (i32.lt_u (local.get $n3) (i32.const 7)))
  )
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_open
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_open
    (global.get $dir)
    (i32.const 1)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (i32.const 1)
    (i64.const 2)
    (i64.const 0)
    (i32.const 0)
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 121) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_readlink
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $n3 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (local.set $n3 (i32.const 0))
  (loop $loop3
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_readlink
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (call $pointer (local.get $n2))
    (call $length (local.get $n3))
    (i32.const 40960)
  ))
  (call $check (i32.const 122) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1)))
      (call $outside (call $pointer (local.get $n2)) (call $length (local.get $n3)) (i64.const 0))))
  (local.set $n3 (i32.add (local.get $n3) (i32.const 1)))
  (br_if $loop3 (i32.lt_u (local.get $n3) (i32.const 7)))
  )
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_remove_directory
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_remove_directory
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
  ))
  (call $check (i32.const 123) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_rename
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $n3 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (local.set $n3 (i32.const 0))
  (loop $loop3
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_rename
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (global.get $dir)
    (call $pointer (local.get $n2))
    (call $length (local.get $n3))
  ))
  (call $check (i32.const 124) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1)))
      (call $outside (call $pointer (local.get $n2)) (call $length (local.get $n3)) (i64.const 1))))
  (local.set $n3 (i32.add (local.get $n3) (i32.const 1)))
  (br_if $loop3 (i32.lt_u (local.get $n3) (i32.const 7)))
  )
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_symlink
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $n3 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (local.set $n3 (i32.const 0))
  (loop $loop3
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_symlink
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (global.get $dir)
    (call $pointer (local.get $n2))
    (call $length (local.get $n3))
  ))
  (call $check (i32.const 125) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1)))
      (call $outside (call $pointer (local.get $n2)) (call $length (local.get $n3)) (i64.const 1))))
  (local.set $n3 (i32.add (local.get $n3) (i32.const 1)))
  (br_if $loop3 (i32.lt_u (local.get $n3) (i32.const 7)))
  )
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_path_unlink_file
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $path_unlink_file
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
  ))
  (call $check (i32.const 126) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_poll_oneoff
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $n3 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (local.set $n3 (i32.const 0))
  (loop $loop3
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $poll_oneoff
    (call $pointer (local.get $n0))
    (call $pointer (local.get $n2))
    (call $length (local.get $n1))
    (call $pointer (local.get $n3))
  ))
  (call $check (i32.const 127) (local.get $errno)
    (i32.or (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 48)))
      (call $outside (call $pointer (local.get $n2)) (call $length (local.get $n1)) (i64.const 0)))
      (call $outside (call $pointer (local.get $n3)) (i32.const 1) (i64.const 4))))
  (local.set $n3 (i32.add (local.get $n3) (i32.const 1)))
  (br_if $loop3 (i32.lt_u (local.get $n3) (i32.const 13)))
  )
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_random_get
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $random_get
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
  ))
  (call $check (i32.const 128) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 0))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_sock_accept
  (local $n0 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $sock_accept
    (global.get $dir)
    (i32.const 0)
    (call $pointer (local.get $n0))
  ))
  (call $check (i32.const 129) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (i32.const 1) (i64.const 4))))
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_sock_recv
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $n3 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (local.set $n3 (i32.const 0))
  (loop $loop3
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $sock_recv
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (i32.const 0)
    (call $pointer (local.get $n2))
    (call $pointer (local.get $n3))
  ))
  (call $check (i32.const 130) (local.get $errno)
    (i32.or (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 8)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4)))
      (call $outside (call $pointer (local.get $n3)) (i32.const 1) (i64.const 2))))
  (local.set $n3 (i32.add (local.get $n3) (i32.const 1)))
  (br_if $loop3 (i32.lt_u (local.get $n3) (i32.const 13)))
  )
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_sock_recv_held
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (i32.store (i32.const 32768) (call $pointer (local.get $n0)))
  (i32.store (i32.const 32772) (call $length (local.get $n1)))
  (local.set $errno (call $sock_recv
    (global.get $dir)
    (i32.const 32768)
    (i32.const 1)
    (i32.const 0)
    (i32.const 40960)
    (i32.const 40960)
  ))
  (call $check (i32.const 130) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_sock_send
  (local $n0 i32)
  (local $n1 i32)
  (local $n2 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (local.set $n2 (i32.const 0))
  (loop $loop2
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (local.set $errno (call $sock_send
    (global.get $dir)
    (call $pointer (local.get $n0))
    (call $length (local.get $n1))
    (i32.const 0)
    (call $pointer (local.get $n2))
  ))
  (call $check (i32.const 131) (local.get $errno)
    (i32.or (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 8)))
      (call $outside (call $pointer (local.get $n2)) (i32.const 1) (i64.const 4))))
  (local.set $n2 (i32.add (local.get $n2) (i32.const 1)))
  (br_if $loop2 (i32.lt_u (local.get $n2) (i32.const 13)))
  )
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func $try_sock_send_held
  (local $n0 i32)
  (local $n1 i32)
  (local $errno i32)
  (local.set $n0 (i32.const 0))
  (loop $loop0
  (local.set $n1 (i32.const 0))
  (loop $loop1
  (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536))
  (i32.store (i32.const 32768) (call $pointer (local.get $n0)))
  (i32.store (i32.const 32772) (call $length (local.get $n1)))
  (local.set $errno (call $sock_send
    (global.get $dir)
    (i32.const 32768)
    (i32.const 1)
    (i32.const 0)
    (i32.const 40960)
  ))
  (call $check (i32.const 131) (local.get $errno)
    (i32.or (i32.const 0)
      (call $outside (call $pointer (local.get $n0)) (call $length (local.get $n1)) (i64.const 1))))
  (local.set $n1 (i32.add (local.get $n1) (i32.const 1)))
  (br_if $loop1 (i32.lt_u (local.get $n1) (i32.const 7)))
  )
  (local.set $n0 (i32.add (local.get $n0) (i32.const 1)))
  (br_if $loop0 (i32.lt_u (local.get $n0) (i32.const 13)))
  ))

(func (export "_start")
  (call $make_file)
  (call $try_args_get)
  (call $try_args_sizes_get)
  (call $try_environ_get)
  (call $try_environ_sizes_get)
  (call $try_clock_res_get)
  (call $try_clock_time_get)
  (call $try_fd_fdstat_get)
  (call $try_fd_filestat_get)
  (call $try_fd_pread)
  (call $try_fd_pread_held)
  (call $try_fd_prestat_get)
  (call $try_fd_prestat_dir_name)
  (call $try_fd_pwrite)
  (call $try_fd_pwrite_held)
  (call $try_fd_read)
  (call $try_fd_read_held)
  (call $try_fd_readdir)
  (call $try_fd_seek)
  (call $try_fd_tell)
  (call $try_fd_write)
  (call $try_fd_write_held)
  (call $try_path_create_directory)
  (call $try_path_filestat_get)
  (call $try_path_filestat_set_times)
  (call $try_path_link)
  (call $try_path_open)
  (call $try_path_readlink)
  (call $try_path_remove_directory)
  (call $try_path_rename)
  (call $try_path_symlink)
  (call $try_path_unlink_file)
  (call $try_poll_oneoff)
  (call $try_random_get)
  (call $try_sock_accept)
  (call $try_sock_recv)
  (call $try_sock_recv_held)
  (call $try_sock_send)
  (call $try_sock_send_held)
))
