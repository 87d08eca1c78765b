//! Tests of `palisade run`: arguments, environment, clock, random numbers, traps and exit codes.

use std::io::Write;
use std::process::Stdio;

use super::{Case, ENGINES, Outcome};

const HELLO: &str = r#"
    (i64.store (i32.const 1024) (i64.const 0x0a6f6c6c6568))
    (call $print (i32.const 1024) (i32.const 6))"#;

/// Prints the argument buffer, in which each argument ends with a NUL.
const ARGS: &str = r#"
    (call $check (call $args_sizes (i32.const 16) (i32.const 20)))
    (call $check (call $args_get (i32.const 1024) (i32.const 4096)))
    (call $print (i32.const 4096) (i32.load (i32.const 20)))"#;

const ENV: &str = r#"
    (call $check (call $env_sizes (i32.const 16) (i32.const 20)))
    (call $check (call $env_get (i32.const 1024) (i32.const 4096)))
    (call $print (i32.const 4096) (i32.load (i32.const 20)))"#;

const CAT: &str = r#"
    (i32.store (i32.const 0) (i32.const 4096))
    (i32.store (i32.const 4) (i32.const 4096))
    (call $check (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 20)))
    (call $print (i32.const 4096) (i32.load (i32.const 20)))"#;

#[test]
fn guest_prints_on_both_engines() {
    let case = Case::new();
    let guest = case.guest(HELLO);
    case.run(&[&guest]).prints("hello\n");
    for engine in ENGINES {
        case.run(&["--engine", engine, &guest]).prints("hello\n");
    }
}

#[test]
fn exit_code_is_that_of_the_guest() {
    let case = Case::new();
    for (code, seen) in [(0, 0), (1, 1), (42, 42), (126, 126), (255, 255), (256, 255), (-1, 255)] {
        let guest = case.guest(&format!("(call $exit (i32.const {code}))"));
        for engine in ENGINES {
            case.run(&["--engine", engine, &guest]).exits(seen);
        }
    }
}

#[test]
fn trap_has_demangled_frames() {
    let case = Case::new();
    let guest = case.module(
        "guest.wasm",
        r#"(memory (export "memory") 1)
           (func $_ZN5guest5crash17h0123456789abcdefE unreachable)
           (func (export "_start") (call $_ZN5guest5crash17h0123456789abcdefE))"#,
    );
    case.run(&[&guest]).fails(134, &["unreachable", "guest::crash"]);
    case.run(&["--engine", "wasmi", &guest]).fails(134, &["unreachable"]);
}

#[test]
fn trap_in_a_start_function_is_a_trap() {
    let case = Case::new();
    let guest = case.module(
        "guest.wasm",
        r#"(memory (export "memory") 1) (func $boom unreachable) (start $boom)
           (func (export "_start"))"#,
    );
    for engine in ENGINES {
        case.run(&["--engine", engine, &guest]).fails(134, &["unreachable"]);
    }
}

#[test]
fn stack_overflow_is_a_trap() {
    let case = Case::new();
    let guest = case.guest("(call $deep)) (func $deep (call $deep)");
    for engine in ENGINES {
        case.run(&["--engine", engine, &guest]).fails(134, &["stack"]);
    }
}

#[test]
fn arguments_are_passed_unchanged() {
    let case = Case::new();
    let guest = case.guest(ARGS);
    case.run(&[&guest]).prints("guest.wasm\0");
    case.run(&[&guest, "--dir", "-x", "--", "", "ü"]).prints("guest.wasm\0--dir\0-x\0--\0\0ü\0");
    case.run(&["--arg0", "busybox", &guest, "ls"]).prints("busybox\0ls\0");
}

#[test]
fn variables_are_set_or_inherited() {
    let case = Case::new();
    let guest = case.guest(ENV);
    let run = |args: &[&str]| {
        let mut command = case.command(&[&["run"], args, &[&guest]].concat());
        Outcome::new(&command.env("COLOR", "red").output().unwrap())
    };
    run(&[]).prints("");
    run(&["--env", "A=1", "--env", "B=x=y", "--env", "E="]).prints("A=1\0B=x=y\0E=\0");
    run(&["--env", "A=1", "--env", "A=2"]).prints("A=2\0");
    run(&["--env", "COLOR"]).prints("COLOR=red\0");
    let outcome = run(&["--inherit-env", "--env", "COLOR=blue"]).exits(0);
    assert!(outcome.stdout.contains("COLOR=blue\0"), "{outcome:?}");
    assert!(outcome.stdout.contains("XDG_CACHE_HOME="), "{outcome:?}");
    run(&["--env", "SHAPE"]).refuses(&["SHAPE", "--env SHAPE=VALUE"]);
    run(&["--env", "=x"]).refuses(&["environment variable"]);
}

#[test]
fn standard_input_is_inherited_or_a_file() {
    let case = Case::new();
    let guest = case.guest(CAT);
    let input = case.file("in.txt", "from a file");
    case.run(&["--stdin", &input, &guest]).prints("from a file");
    case.run(&["--stdin", "missing", &guest]).refuses(&["--stdin", "missing"]);
    case.run(&["--stdin", ".", &guest]).refuses(&["--stdin", "directory"]);

    let mut child = case.command(&["run", &guest]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"from a pipe");
}

#[test]
fn fixed_clock_advances_by_steps() {
    let case = Case::new();
    let read_seconds = r#"
        (call $check (call $clock (i32.const 0) (i64.const 1) (i32.const 16)))
        (call $exit (i32.wrap_i64 (i64.div_u (i64.load (i32.const 16)) (i64.const 1000000000))))"#;
    let guest = case.guest(read_seconds);
    case.run(&["--fixed-clock", "5", &guest]).exits(5);
    case.run(&["--fixed-clock", "1970-01-01T00:01:00Z", &guest]).exits(60);
    case.run(&["--fixed-clock", "noon", &guest]).fails(2, &["--fixed-clock"]);

    let guest = case.guest(
        r#"
        (call $check (call $clock (i32.const 0) (i64.const 1) (i32.const 16)))
        (call $check (call $clock (i32.const 0) (i64.const 1) (i32.const 24)))
        (call $exit (i32.wrap_i64 (i64.div_u
            (i64.sub (i64.load (i32.const 24)) (i64.load (i32.const 16))) (i64.const 1000000))))"#,
    );
    case.run(&["--fixed-clock", "5", &guest]).exits(1);
    case.run(&["--fixed-clock", "5", "--clock-step", "7ms", &guest]).exits(7);
    case.run(&["--clock-step", "7ms", &guest]).fails(2, &["--fixed-clock"]);
}

#[test]
fn seed_makes_random_numbers_reproducible() {
    let case = Case::new();
    let guest = case.guest(
        r#"
        (call $check (call $random (i32.const 1024) (i32.const 16)))
        (call $print (i32.const 1024) (i32.const 16))"#,
    );
    let draw = |args: &[&str]| case.run(&[args, &[&guest]].concat()).exits(0).stdout;
    assert_eq!(draw(&["--seed", "1"]), draw(&["--seed", "1", "--engine", "wasmi"]));
    assert_ne!(draw(&["--seed", "1"]), draw(&["--seed", "2"]));
    assert_ne!(draw(&[]), draw(&[]));
}

#[test]
fn trace_has_a_line_for_each_call() {
    let case = Case::new();
    let guest = case.reader(3, "notes.txt");
    case.file("notes.txt", "x");
    let outcome = case.run(&["--trace", "--dir", ".", &guest]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "x"));
    let calls: Vec<_> = outcome.stderr.lines().collect();
    assert!(calls.iter().all(|line| line.starts_with("trace: ")), "{outcome:?}");
    assert!(
        calls.iter().any(|line| line.contains("open") && line.contains("notes.txt")),
        "{outcome:?}"
    );
    case.run(&["--dir", ".", &guest]).prints("x");
}

#[test]
fn trace_of_a_component_includes_streams() {
    let case = Case::new();
    std::fs::create_dir(case.path("d")).unwrap();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/calls2.wasm");
    let outcome = case.run(&["--trace", "--dir", "d::/", guest, "output_stream_splice"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "ok output_stream_splice\n"),
        "{outcome:?}"
    );
    let has = |what: &str| outcome.stderr.lines().any(|line| line.starts_with(what));
    assert!(has("trace: write fd=1 ") && has("trace: reader fd="), "{outcome:?}");
    let calls = |what: &str| outcome.stderr.matches(what).count();
    // A splice is a read and a write; the trace has both, and a stat of the filled file.
    let writes = calls("trace: write fd=") + calls("trace: write_at fd=");
    assert!(calls("trace: read fd=") >= 3 && writes >= 4, "{outcome:?}");
}

#[test]
fn compiled_modules_are_cached_in_the_given_directory() {
    let case = Case::new();
    let guest = case.guest(HELLO);
    let kept = |dir: &str| case.path(dir).join("modules").exists();
    case.run(&["--no-cache", &guest]).prints("hello\n");
    assert!(!case.path("cache").exists());
    case.run(&["--cache-dir", "kept", &guest]).prints("hello\n");
    assert!(kept("kept") && !case.path("cache").exists());
    for _ in 0..2 {
        case.run(&[&guest]).prints("hello\n");
    }
    assert!(kept("cache/palisade"));
    case.file("file", "");
    case.run(&["--cache-dir", "file", &guest]).refuses(&["cache", "file", "--no-cache"]);
}

#[test]
fn unusable_default_cache_is_ignored() {
    let case = Case::new();
    let guest = case.guest(HELLO);
    case.file("cache", "no directory");
    case.run(&[&guest]).prints("hello\n");
}

#[test]
fn version_and_completions_are_printed() {
    let case = Case::new();
    let outcome = case.palisade(&["--version"]).exits(0);
    assert_eq!(outcome.stdout.trim(), concat!("palisade ", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        let outcome = case.palisade(&["completions", shell]).exits(0);
        assert!(outcome.stdout.contains("max-memory"), "{shell}");
    }
    for args in [&["--help"][..], &["run", "--help"], &["inspect", "--help"]] {
        let outcome = case.palisade(args).exits(0);
        assert!(outcome.stdout.contains("Usage: palisade"), "{outcome:?}");
    }
    let outcome = case.palisade(&["run", "--help"]);
    assert!(outcome.stdout.contains("Examples:") && outcome.stdout.contains("Exit codes:"));
}
