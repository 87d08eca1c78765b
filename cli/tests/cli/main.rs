//! Integration tests of the `palisade` binary: exit codes, outputs and the content of messages.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests act as the host, and panic on failure"
)]

mod audit;
mod componentized;
mod deep;
mod engine_limits;
mod file;
mod files;
mod guests;
mod hostile_text;
mod hostile_uppers;
mod inputs;
mod inspect;
mod killed;
mod limits;
mod outputs;
mod overlays;
mod policy;
mod refusals;
mod run;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Imports, memory and the helpers `$print` and `$check` of the test guests.
const PRELUDE: &str = r#"
(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
(import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "environ_get" (func $env_get (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock (param i32 i64 i32) (result i32)))
(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_prestat_dir_name"
    (func $prestat_name (param i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
(memory (export "memory") 2)
;; Prints bytes. The iovec is at 0, results are at 8 and above.
(func $print (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (call $check (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
;; Exits with the errno, unless it is 0.
(func $check (param $errno i32)
    (if (local.get $errno) (then (call $exit (local.get $errno)))))
"#;

/// Errno values that test guests exit with.
mod errno {
    pub(crate) const ACCES: i32 = 2;
    pub(crate) const BADF: i32 = 8;
    pub(crate) const DQUOT: i32 = 19;
    pub(crate) const FBIG: i32 = 22;
    pub(crate) const MFILE: i32 = 33;
    pub(crate) const NOENT: i32 = 44;
    pub(crate) const PIPE: i32 = 64;
    pub(crate) const ROFS: i32 = 69;
}

/// A temporary directory for one test, with its own module cache.
struct Case {
    dir: TempDir,
}

impl Case {
    fn new() -> Self {
        Case { dir: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file and creates its parent directories.
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a module with these fields.
    fn module(&self, name: &str, fields: &str) -> String {
        self.file(name, wat::parse_str(format!("(module {fields})")).unwrap())
    }

    /// Writes a guest with this body of `_start`.
    fn guest(&self, body: &str) -> String {
        self.module("guest.wasm", &format!(r#"{PRELUDE} (func (export "_start") {body})"#))
    }

    /// Writes a guest that prints a file of the preopen `fd`, or exits with the errno.
    fn reader(&self, fd: u32, path: &str) -> String {
        self.opener(
            fd,
            path,
            0,
            2,
            "
            (i32.store (i32.const 0) (i32.const 4096))
            (i32.store (i32.const 4) (i32.const 4096))
            (call $check (call $fd_read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1)
                (i32.const 20)))
            (call $print (i32.const 4096) (i32.load (i32.const 20)))",
        )
    }

    /// Writes a guest that writes `path` into the file `path`, or exits with the errno.
    fn writer(&self, fd: u32, path: &str) -> String {
        let len = path.len();
        self.opener(
            fd,
            path,
            1,
            64,
            &format!(
                "
            (i32.store (i32.const 0) (i32.const 1024))
            (i32.store (i32.const 4) (i32.const {len}))
            (call $check (call $fd_write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1)
                (i32.const 20)))"
            ),
        )
    }

    /// Writes a guest that opens a file, stores its descriptor at 16, and continues with `rest`.
    fn opener(&self, fd: u32, path: &str, flags: u32, rights: u64, rest: &str) -> String {
        let len = path.len();
        self.module(
            "guest.wasm",
            &format!(
                r#"{PRELUDE}
            (data (i32.const 1024) "{path}")
            (func (export "_start")
                (call $check (call $path_open (i32.const {fd}) (i32.const 1)
                    (i32.const 1024) (i32.const {len}) (i32.const {flags})
                    (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 16)))
                {rest})"#
            ),
        )
    }

    /// Writes a guest that prints the name of every preopen, each on a line.
    fn lister(&self) -> String {
        self.guest(
            r#"
            (local $fd i32)
            (local.set $fd (i32.const 3))
            (i32.store8 (i32.const 900) (i32.const 10))
            (loop $next
                (if (i32.eqz (call $prestat (local.get $fd) (i32.const 16))) (then
                    (call $check (call $prestat_name (local.get $fd) (i32.const 1024)
                        (i32.load (i32.const 20))))
                    (call $print (i32.const 1024) (i32.load (i32.const 20)))
                    (call $print (i32.const 900) (i32.const 1))
                    (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
                    (br $next))))"#,
        )
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("XDG_CACHE_HOME", self.path("cache"))
            .stdin(Stdio::null());
        command
    }

    fn palisade(&self, args: &[&str]) -> Outcome {
        Outcome::new(&self.command(args).output().unwrap())
    }

    /// Runs `palisade run`.
    fn run(&self, args: &[&str]) -> Outcome {
        self.palisade(&[&["run"], args].concat())
    }
}

/// The exit code and the output of a process.
#[derive(Debug)]
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn new(output: &Output) -> Self {
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts an exit code and an empty standard error.
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.stderr, "", "{self:#?}");
        self
    }

    /// Asserts success and the exact standard output.
    #[track_caller]
    fn prints(self, text: &str) {
        let it = self.exits(0);
        assert_eq!(it.stdout, text);
    }

    /// Asserts an exit code and parts of standard error.
    #[track_caller]
    fn fails(self, code: i32, facts: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for fact in facts {
            assert!(self.stderr.contains(fact), "`{fact}` is missing: {self:#?}");
        }
        self
    }

    /// Asserts a refusal before the guest ran, with parts of the message.
    #[track_caller]
    fn refuses(self, facts: &[&str]) {
        let it = self.fails(2, facts);
        assert_eq!(it.stdout, "");
    }
}

/// The engines that tests run on.
const ENGINES: [&str; 2] = ["wasmtime", "wasmi"];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
