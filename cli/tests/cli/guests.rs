//! Tests with programs that a C compiler produced.

use super::{Case, ENGINES, Outcome};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");

/// Runs a program on each engine and checks the outcome.
fn on_every_engine(options: &[&str], guest: &str, args: &[&str], judge: impl Fn(&Case, Outcome)) {
    let guest = format!("{GUESTS}/{guest}.wasm");
    for engine in ENGINES {
        let case = Case::new();
        case.file("data/a.txt", "alpha\n");
        let all = [&["--engine", engine], options, &[guest.as_str()], args].concat();
        let outcome = case.run(&all);
        judge(&case, outcome);
    }
}

#[test]
fn hello_world_prints() {
    on_every_engine(&[], "hello", &[], |_, outcome| {
        let outcome = outcome.exits(0);
        assert_eq!(outcome.stdout.lines().count(), 1);
    });
}

#[test]
fn exit_code_is_passed_on() {
    for (code, seen) in [("0", 0), ("7", 7), ("255", 255), ("256", 255), ("4294967295", 255)] {
        on_every_engine(&[], "exit_code", &[code], |_, outcome| {
            outcome.exits(seen);
        });
    }
}

#[test]
fn trap_keeps_earlier_output_and_names_its_frames() {
    on_every_engine(&[], "trap", &[], |_, outcome| {
        let outcome = outcome.fails(134, &["unreachable"]);
        assert_eq!(outcome.stdout, "before the trap\n");
    });
    let case = Case::new();
    let facts = ["falls_into_the_pit", "walks_to_the_pit"];
    case.run(&[&format!("{GUESTS}/trap.wasm")]).fails(134, &facts);
}

#[test]
fn arguments_and_variables_are_passed_on() {
    let options = ["--env", "LANG=C", "--arg0", "echo"];
    on_every_engine(&options, "echo_args_env", &["-n", "a b"], |_, outcome| {
        outcome.prints("arg 0 echo\narg 1 -n\narg 2 a b\nenv LANG=C\n");
    });
}

#[test]
fn files_open_by_absolute_and_relative_paths() {
    let options = ["--dir", "data::/in:ro", "--dir", "data", "--copy", "data::/in/copy"];
    let args = ["/in/a.txt", "data/a.txt", "/in/copy/a.txt", "/in/./a.txt"];
    on_every_engine(&options, "cat", &args, |_, outcome| outcome.prints(&"alpha\n".repeat(4)));
    on_every_engine(&options, "cat", &["/elsewhere"], |_, outcome| {
        outcome.fails(1, &["/elsewhere"]);
    });
}

#[test]
fn timeout_stops_a_sleeping_or_spinning_program() {
    for (guest, args) in [("sleep", &["60000"][..]), ("spin", &[])] {
        on_every_engine(&["--timeout", "300ms"], guest, args, |_, outcome| {
            outcome.fails(124, &["300ms"]);
        });
    }
}

#[test]
fn sleep_on_a_fixed_clock_takes_no_time() {
    let started = std::time::Instant::now();
    on_every_engine(&["--fixed-clock", "0"], "sleep", &["600000"], |_, outcome| {
        outcome.exits(0);
    });
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn memory_grows_up_to_the_limit() {
    on_every_engine(&["--max-memory", "8M"], "grow", &[], |_, outcome| {
        let outcome = outcome.exits(0);
        let pages: u32 =
            outcome.stdout.split_whitespace().nth(2).and_then(|word| word.parse().ok()).unwrap();
        // The limit minus the initial memory, which is less than a step of 16 pages.
        assert!((112..=128).contains(&pages), "{outcome:?}");
    });
}

#[test]
fn no_mount_kind_allows_escapes() {
    for options in [&["--dir", "data::/"][..], &["--mem", "/"], &["--copy", "data::/"]] {
        on_every_engine(options, "sandbox", &[], |case, outcome| {
            let outcome = outcome.exits(0);
            assert!(outcome.stdout.ends_with("nothing escaped\n"), "{outcome:?}");
            let kept = case.path("data/note.txt").exists();
            assert_eq!(kept, options.contains(&"--dir"));
        });
    }
    on_every_engine(&[], "sandbox", &[], |_, outcome| {
        let outcome = outcome.exits(0);
        assert!(outcome.stdout.contains("nothing can be reached"), "{outcome:?}");
    });
}

#[test]
fn unusual_modules_are_refused_or_run_to_their_end() {
    let cases: &[(&str, i32)] = &[
        ("empty_memory", 0),
        ("memory_is_a_function", 2),
        ("no_memory", 2),
        ("no_start", 2),
        ("start_with_parameter", 2),
        ("unknown_import", 2),
        ("unknown_module", 2),
        ("wrong_signature", 2),
    ];
    for (name, code) in cases {
        let text = std::fs::read(format!("{GUESTS}/bad/{name}.wat")).unwrap();
        let case = Case::new();
        let guest = case.file("guest.wasm", wat::parse_bytes(&text).unwrap());
        for engine in ENGINES {
            let outcome = case.run(&["--engine", engine, &guest]);
            assert_eq!(outcome.code, *code, "{name} on {engine}: {outcome:?}");
        }
    }
}
