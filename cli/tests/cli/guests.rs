//! Programs as a C compiler makes them, through the whole command.

use super::{Case, ENGINES, Told};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");

/// Runs a program on every engine and has each judged.
fn on_every_engine(options: &[&str], guest: &str, args: &[&str], judge: impl Fn(&Case, Told)) {
    let guest = format!("{GUESTS}/{guest}.wasm");
    for engine in ENGINES {
        let case = Case::new();
        case.file("data/a.txt", "alpha\n");
        let all = [&["--engine", engine], options, &[guest.as_str()], args].concat();
        let told = case.run(&all);
        judge(&case, told);
    }
}

#[test]
fn hello_prints() {
    on_every_engine(&[], "hello", &[], |_, told| {
        let told = told.exits(0);
        assert_eq!(told.stdout.lines().count(), 1);
    });
}

#[test]
fn exit_codes_arrive() {
    for (code, seen) in [("0", 0), ("7", 7), ("255", 255), ("256", 255), ("4294967295", 255)] {
        on_every_engine(&[], "exit_code", &[code], |_, told| {
            told.exits(seen);
        });
    }
}

#[test]
fn what_was_printed_before_a_trap_arrives_and_its_frames_are_named() {
    on_every_engine(&[], "trap", &[], |_, told| {
        let told = told.fails(134, &["unreachable"]);
        assert_eq!(told.stdout, "before the trap\n");
    });
    let case = Case::new();
    let facts = ["falls_into_the_pit", "walks_to_the_pit"];
    case.run(&[&format!("{GUESTS}/trap.wasm")]).fails(134, &facts);
}

#[test]
fn arguments_and_variables_arrive() {
    let options = ["--env", "LANG=C", "--arg0", "echo"];
    on_every_engine(&options, "echo_args_env", &["-n", "a b"], |_, told| {
        told.prints("arg 0 echo\narg 1 -n\narg 2 a b\nenv LANG=C\n");
    });
}

#[test]
fn files_are_found_by_absolute_and_relative_paths() {
    let options = ["--dir", "data::/in:ro", "--dir", "data", "--copy", "data::/in/copy"];
    let args = ["/in/a.txt", "data/a.txt", "/in/copy/a.txt", "/in/./a.txt"];
    on_every_engine(&options, "cat", &args, |_, told| told.prints(&"alpha\n".repeat(4)));
    on_every_engine(&options, "cat", &["/elsewhere"], |_, told| {
        told.fails(1, &["/elsewhere"]);
    });
}

#[test]
fn a_guest_that_sleeps_or_spins_is_stopped() {
    for (guest, args) in [("sleep", &["60000"][..]), ("spin", &[])] {
        on_every_engine(&["--timeout", "300ms"], guest, args, |_, told| {
            told.fails(124, &["300ms"]);
        });
    }
}

#[test]
fn a_sleep_on_a_fixed_clock_takes_no_time() {
    let started = std::time::Instant::now();
    on_every_engine(&["--fixed-clock", "0"], "sleep", &["600000"], |_, told| {
        told.exits(0);
    });
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn memory_grows_up_to_the_limit() {
    on_every_engine(&["--max-memory", "8M"], "grow", &[], |_, told| {
        let told = told.exits(0);
        let pages: u32 =
            told.stdout.split_whitespace().nth(2).and_then(|word| word.parse().ok()).unwrap();
        // All but what the program begins with: less than a step of 16 pages.
        assert!((112..=128).contains(&pages), "{told:?}");
    });
}

#[test]
fn nothing_escapes_from_any_kind_of_directory() {
    for options in [&["--dir", "data::/"][..], &["--mem", "/"], &["--copy", "data::/"]] {
        on_every_engine(options, "sandbox", &[], |case, told| {
            let told = told.exits(0);
            assert!(told.stdout.ends_with("nothing escaped\n"), "{told:?}");
            let kept = case.path("data/note.txt").exists();
            assert_eq!(kept, options.contains(&"--dir"));
        });
    }
    on_every_engine(&[], "sandbox", &[], |_, told| {
        let told = told.exits(0);
        assert!(told.stdout.contains("nothing can be reached"), "{told:?}");
    });
}

#[test]
fn modules_that_no_compiler_makes_are_refused_or_run_to_their_end() {
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
            let told = case.run(&["--engine", engine, &guest]);
            assert_eq!(told.code, *code, "{name} on {engine}: {told:?}");
        }
    }
}
