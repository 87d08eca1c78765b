//! Tests of the limits of a run.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Case, ENGINES, Outcome, errno};

/// Sleeps for a minute in a loop.
const SLEEP: &str = r#"
    (loop $again
        (i64.store (i32.const 1024) (i64.const 7))
        (i32.store8 (i32.const 1032) (i32.const 0))
        (i32.store (i32.const 1040) (i32.const 1))
        (i64.store (i32.const 1048) (i64.const 60000000000))
        (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 16)))
        (br $again))"#;

/// A limit far below the duration of the guests and far above the delays of a slow machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn timeout_stops_a_spinning_or_sleeping_guest() {
    let case = Case::new();
    for body in ["(loop $again (br $again))", SLEEP] {
        let guest = case.guest(body);
        for engine in ENGINES {
            let started = Instant::now();
            let outcome = case.run(&["--timeout", "300ms", "--engine", engine, &guest]);
            outcome.fails(124, &["300ms", "--timeout"]);
            assert!(started.elapsed() < SOON);
            assert!(started.elapsed() >= Duration::from_millis(300));
        }
    }
}

#[test]
fn timeout_stops_a_spinning_start_function() {
    let case = Case::new();
    let guest = case.module(
        "guest.wasm",
        r#"(memory (export "memory") 1) (func $spin (loop $again (br $again))) (start $spin)
           (func (export "_start"))"#,
    );
    for engine in ENGINES {
        case.run(&["--timeout", "200ms", "--engine", engine, &guest]).fails(124, &["200ms"]);
    }
}

#[test]
fn timeout_stops_a_blocking_read() {
    let case = Case::new();
    let guest = case.guest(
        r#"
        (i32.store (i32.const 0) (i32.const 4096))
        (i32.store (i32.const 4) (i32.const 4096))
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 20)))"#,
    );
    for engine in ENGINES {
        let started = Instant::now();
        let mut child = case.command(&["run", "--timeout", "200ms", "--engine", engine, &guest]);
        let mut child = child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Kept open, and never written to.
        let input = child.stdin.take();
        Outcome::new(&child.wait_with_output().unwrap()).fails(124, &["200ms"]);
        assert!(started.elapsed() < SOON);
        drop(input);
    }
}

#[test]
fn timeout_does_not_affect_a_fast_guest() {
    let case = Case::new();
    // Long enough for many fuel slices of the interpreter.
    let guest = case.guest(
        r#"
        (local $n i32)
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 5000000))))
        (call $exit (i32.const 9))"#,
    );
    for engine in ENGINES {
        case.run(&["--timeout", "10m", "--engine", engine, &guest]).exits(9);
    }
}

#[test]
fn timeout_must_be_a_positive_duration() {
    let case = Case::new();
    let guest = case.guest("");
    for text in ["0s", "soon", "-1s"] {
        case.run(&[&format!("--timeout={text}"), &guest]).fails(2, &["--timeout"]);
    }
}

#[test]
fn memory_growth_over_the_limit_fails() {
    let case = Case::new();
    // Exits with 7 if the memory cannot grow from 2 to 32 pages.
    let guest = case.guest(r#"
        (if (i32.eq (memory.grow (i32.const 30)) (i32.const -1)) (then (call $exit (i32.const 7))))"#);
    for engine in ENGINES {
        let run = |args: &[&str]| case.run(&[&["--engine", engine], args, &[&guest]].concat());
        run(&[]).exits(0);
        run(&["--max-memory", "2M"]).exits(0);
        run(&["--max-memory", "2097151"]).exits(7);
        run(&["--max-memory", "128K"]).exits(7);
        run(&["--max-memory", "127K"]).refuses(&["131072", "130048", "--max-memory"]);
    }
    case.run(&["--max-memory", "lots", &guest]).fails(2, &["--max-memory"]);
}

#[test]
fn component_with_too_much_initial_memory_is_refused() {
    let case = Case::new();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/calls2.wasm");
    case.run(&["--max-memory", "64M", guest, "list"]).exits(0);
    let outcome = case.run(&["--max-memory", "64K", guest, "list"]);
    outcome.refuses(&["65536", "give at least", "--max-memory"]);
}

#[test]
fn descriptors_over_the_limit_are_emfile() {
    let case = Case::new();
    case.file("x", "x");
    let guest = case.reader(3, "x");
    case.run(&["--dir", ".", "--max-descriptors", "5", &guest]).prints("x");
    case.run(&["--dir", ".", "--max-descriptors", "4", &guest]).exits(errno::MFILE);
    case.run(&["--dir", ".", "--max-descriptors", "3", &guest])
        .refuses(&["descriptor", "--max-descriptors"]);
}

#[test]
fn unrequested_rights_are_granted_unless_strict() {
    let case = Case::new();
    case.file("x", "x");
    let guest = case.opener(
        3,
        "x",
        0,
        0,
        "
        (i32.store (i32.const 0) (i32.const 4096))
        (i32.store (i32.const 4) (i32.const 16))
        (call $check (call $fd_read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1)
            (i32.const 20)))",
    );
    case.run(&["--dir", ".", &guest]).exits(0);
    case.run(&["--dir", ".", "--strict-rights", &guest]).exits(errno::BADF);
}

#[test]
fn component_may_mutate_directories_unless_strict() {
    let case = Case::new();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/calls2.wasm");
    // The guest opens a directory without `mutate-directory` and changes it.
    let run = |options: &[&str]| {
        case.run(&[options, &["--mem", "/", guest, "descriptor_get_flags"]].concat())
    };
    let outcome = run(&[]).exits(1);
    assert!(
        outcome.stdout.contains(r#"flags_of("d", 0, READ): expected 1 got 33"#),
        "{outcome:#?}"
    );
    run(&["--strict-rights"]).exits(0);
}

/// The file size limit of the process is an error of the guest, and does not end the host.
#[test]
fn write_over_the_file_size_limit_is_efbig() {
    let case = Case::new();
    case.file("d/there", "x".repeat(4 << 20));
    // The engine writes files too.
    let limited = |args: &[&str]| {
        let mut command = std::process::Command::new("sh");
        let exe = env!("CARGO_BIN_EXE_palisade");
        command.args(["-c", "ulimit -f 1024 && exec \"$0\" \"$@\"", exe]).args(args);
        Outcome::new(&command.current_dir(case.path("")).output().unwrap())
    };
    let filler = || {
        let body = "
            (i32.store (i32.const 0) (i32.const 4096))
            (i32.store (i32.const 4) (i32.const 32768))
            (loop $again
                (call $check (call $fd_write (i32.load (i32.const 16)) (i32.const 0)
                    (i32.const 1) (i32.const 20)))
                (br $again))";
        case.opener(3, "out", 1, 64, body)
    };
    for engine in ENGINES {
        let run = ["run", "--no-cache", "--engine", engine];
        let overlay = ["--overlay", "d::/w", "--upper", "changes"];
        limited(&[&run[..], &["--dir", "d::/w"], &[&filler()]].concat()).exits(errno::FBIG);
        limited(&[&run[..], &overlay, &[&filler()]].concat()).exits(errno::FBIG);
        // The copy-up of a large file exceeds the limit before the guest has written anything.
        let there = case.writer(3, "there");
        limited(&[&run[..], &overlay, &[&there]].concat()).exits(errno::FBIG);
    }
    // A commit reports the error and leaves no temporary file, and the next commit completes it.
    let overlay = ["--overlay", "d::/w", "--upper", "kept"];
    let there = case.writer(3, "there");
    case.run(&[&overlay[..], &[&there]].concat()).exits(0);
    let commit = ["commit", "kept", "--lower", "d"];
    limited(&commit).fails(2, &["there", "d"]);
    assert_eq!(std::fs::read_dir(case.path("d")).unwrap().count(), 2, "debris");
    case.palisade(&commit).exits(0);
    assert!(super::read(&case.path("d/there")).starts_with("therexx"));
}

/// Bytes of copy-ups count like bytes that the guest writes.
#[test]
fn quota_counts_copied_up_bytes() {
    let case = Case::new();
    case.file("d/small", "x".repeat(1000));
    std::fs::create_dir_all(case.path("d")).unwrap();
    std::fs::File::create(case.path("d/huge")).unwrap().set_len(1 << 40).unwrap();
    case.file(
        "policy.toml",
        "version = 1\n[[allow]]\npath = \"/**\"\nrights = [\"all\"]\n[quota]\nbytes = \"1 MiB\"\n",
    );
    for (upper, engine) in [(None, "wasmtime"), (Some("changes"), "wasmi")] {
        let mut args = vec!["--policy", "policy.toml", "--engine", engine, "--overlay", "d::/w"];
        args.extend(upper.into_iter().flat_map(|upper| ["--upper", upper]));
        let with = |guest: &str| case.run(&[&args[..], &[guest]].concat());
        // Opening a file of the lower with `O_RDWR` copies it up.
        let started = Instant::now();
        with(&case.writer(3, "huge")).exits(errno::DQUOT);
        with(&case.writer(3, "small")).exits(0);
        assert!(started.elapsed() < SOON);
        if let Some(upper) = upper {
            let huge = case.path(upper).join("upper/huge");
            assert!(!huge.exists(), "it was copied all the same");
        }
    }
}
