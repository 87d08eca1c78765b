//! Tests with trees that are deeper and wider than the limit of file descriptors.

use std::process::{Command, Stdio};

use super::{Case, Outcome};

/// The depth of the tree, above [`LIMIT`].
const DEPTH: usize = 700;
const WIDTH: usize = 600;
const LIMIT: &str = "-n 256";

/// Runs the command under `ulimit`.
fn limited(case: &Case, args: &[&str]) -> Outcome {
    let palisade = case.command(args);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit {LIMIT} && exec \"$@\""), "sh"])
        .arg(palisade.get_program())
        .args(palisade.get_args())
        .current_dir(case.dir.path())
        .env_clear()
        .env("XDG_CACHE_HOME", case.path("cache"))
        .stdin(Stdio::null());
    Outcome::new(&shell.output().unwrap())
}

/// Writes a guest that creates [`DEPTH`] nested directories and keeps only the last one open.
fn digger(case: &Case) -> String {
    let fields = format!(
        r#"
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "path_create_directory"
            (func $mkdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 64) "d")
        (func $check (param $errno i32)
            (if (local.get $errno) (then (call $exit (local.get $errno)))))
        (func (export "_start") (local $fd i32) (local $left i32)
            (local.set $fd (i32.const 3))
            (local.set $left (i32.const {DEPTH}))
            (loop $next
                (call $check (call $mkdir (local.get $fd) (i32.const 64) (i32.const 1)))
                (call $check (call $open (local.get $fd) (i32.const 0) (i32.const 64) (i32.const 1)
                    (i32.const 2) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 16)))
                (if (i32.gt_u (local.get $fd) (i32.const 3))
                    (then (call $check (call $close (local.get $fd)))))
                (local.set $fd (i32.load (i32.const 16)))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $next (local.get $left))))"#
    );
    case.module("digger.wasm", &fields)
}

#[test]
fn every_command_handles_a_deep_upper() {
    let case = Case::new();
    case.file("d/in", "text");
    let guest = digger(&case);
    let kept = ["run", "--max-descriptors", "8", "--overlay", "d::/w", "--upper", "up"];
    limited(&case, &[&kept[..], &["--diff=outcome"], &[&guest]].concat()).exits(0);
    let outcome = std::fs::read_to_string(case.path("outcome")).unwrap();
    assert_eq!(outcome.lines().count(), DEPTH);
    let outcome = limited(&case, &["diff", "up", "--lower", "d"]).exits(0);
    assert_eq!(outcome.stdout.lines().count(), DEPTH);
    let longest = outcome.stdout.lines().last().unwrap();
    assert_eq!(longest.len(), "A ".len() + 2 * DEPTH);
    limited(&case, &["export", "up", "-o", "up.tar"]).exits(0);
    limited(&case, &["import", "up.tar", "again"]).exits(0);
    limited(&case, &["commit", "up", "--lower", "d"]).exits(0);
    limited(&case, &["diff", "again", "--lower", "d"]).exits(0);
    limited(&case, &["discard", "again"]).exits(0);
    let reader = case.reader(3, "in");
    limited(&case, &["run", "--copy", "d::/w", &reader]).prints("text");
    limited(&case, &["run", "--overlay", "d::/w", "--diff=-", &reader]).prints("text");
    // A quota counts the existing files first.
    let all = "[[allow]]\npath = \"/**\"\nrights = \"all\"\n[quota]\ninodes = 10000\n";
    let policy = case.file("quota.toml", format!("version = 1\n{all}"));
    limited(&case, &["run", "--dir", "d::/w", "--policy", &policy, &reader]).prints("text");
    // Removes the tree through the command, because it is too deep for `remove_dir_all`.
    std::fs::create_dir(case.path("end")).unwrap();
    std::fs::rename(case.path("d"), case.path("end/upper")).unwrap();
    limited(&case, &["discard", "end"]).exits(0);
    assert_eq!(std::fs::read_dir(case.path("end/upper")).unwrap().count(), 0);
}

#[test]
fn wide_directory_is_copied_and_overlaid() {
    let case = Case::new();
    for nth in 0..WIDTH {
        case.file(&format!("d/{nth}/file"), "x");
    }
    std::fs::hard_link(case.path("d/0/file"), case.path("d/7/other")).unwrap();
    let reader = case.reader(3, "599/file");
    limited(&case, &["run", "--copy", "d::/w", &reader]).prints("x");
    // Copy-up of a hard-linked file searches the whole tree for its other names.
    let writer = case.writer(3, "0/file");
    limited(&case, &["run", "--overlay", "d::/w", "--upper", "up", &writer]).exits(0);
    limited(&case, &["diff", "up", "--lower", "d"]).prints("M 0/file\nM 7/other\n");
}
