//! What a guest cannot take of its host through the engine: streams, memory, time to compile.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Case, ENGINES, PRELUDE, Told, errno};

/// A component that opens resources of one kind and keeps them.
const STREAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/streams.wasm");

/// Much more than the machine can be late.
const SOON: Duration = Duration::from_secs(60);

/// The code `insufficient-memory` of `wasi:filesystem`, as a number.
const INSUFFICIENT_MEMORY: u32 = 22;

/// Runs the command under a limit of the operating system, such as `-n 256`.
fn run_under(case: &Case, ulimit: &str, args: &[&str]) -> Told {
    let palisade = case.command(&[&["run"], args].concat());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit {ulimit} && exec \"$@\""), "sh"])
        .arg(palisade.get_program())
        .args(palisade.get_args())
        .current_dir(case.dir.path())
        .env_clear()
        .env("XDG_CACHE_HOME", case.path("cache"))
        .stdin(Stdio::null());
    Told::new(&shell.output().unwrap())
}

/// A directory with what `streams.wasm` opens.
fn with_files() -> Case {
    let case = Case::new();
    case.file("w/f", "content");
    for n in 0..300 {
        case.file(&format!("w/d/{n:0200}"), "");
    }
    case
}

#[test]
fn streams_beyond_the_limit_are_an_error_or_a_trap() {
    let case = with_files();
    let run = |args: &[&str]| case.run(&[&["--dir", "w::/"], args].concat());
    let refused = |count: u32| format!("refused at {count}: {INSUFFICIENT_MEMORY}\n");
    for kind in ["directories", "readers", "writers"] {
        run(&[STREAMS, kind, "5000"]).prints(&refused(1024));
        run(&["--max-streams", "100", STREAMS, kind, "5000"]).prints(&refused(100));
    }
    for kind in ["timers", "pollables", "inputs", "errors"] {
        run(&[STREAMS, kind, "5000"]).fails(134, &["limit of 1024 streams"]);
        run(&["--max-streams", "100", STREAMS, kind, "5000"]).fails(134, &["limit of 100 streams"]);
    }
    let file = case.file("palisade.toml", "limits.streams = 7");
    run(&["--config", &file, STREAMS, "readers", "50"]).prints(&refused(7));
}

#[test]
fn a_host_without_descriptors_is_the_guests_error() {
    let case = with_files();
    let options = ["--max-descriptors", "5000", "--max-streams", "5000"];
    for kind in ["descriptors", "directories", "readers", "writers"] {
        // A rising limit meets every place where the host opens something.
        for limit in (12..40).step_by(3).chain([255, 256]) {
            let args = [&options[..], &["--dir", "w::/", STREAMS, kind, "5000"]].concat();
            let told = run_under(&case, &format!("-n {limit}"), &args);
            assert!(told.code == 0 || told.code == 2, "{kind}, {limit}: {told:#?}");
            if told.code == 0 {
                assert!(told.stdout.contains("refused at"), "{kind}, {limit}: {told:#?}");
            }
            assert!(!told.stderr.contains("panicked"), "{kind}, {limit}: {told:#?}");
        }
    }
}

#[test]
fn a_host_without_descriptors_is_the_error_of_a_preview1_guest() {
    let case = with_files();
    let guest = case.module(
        "guest.wasm",
        &format!(
            r#"{PRELUDE} (data (i32.const 1024) "w/d")
            (func (export "_start") (local $errno i32)
                (loop $again
                    (local.set $errno (call $path_open (i32.const 3) (i32.const 1)
                        (i32.const 1024) (i32.const 3) (i32.const 2)
                        (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 16)))
                    (br_if $again (i32.eqz (local.get $errno))))
                (call $exit (local.get $errno)))"#
        ),
    );
    for engine in ENGINES {
        for limit in [40, 64, 256] {
            let options = ["--dir", ".", "--max-descriptors", "5000", "--engine", engine, &guest];
            run_under(&case, &format!("-n {limit}"), &options).exits(errno::MFILE);
        }
    }
}

#[test]
fn a_guest_has_one_thread_that_waits_for_input() {
    let case = with_files();
    let mut child = case.command(&["run", "--dir", "w::/", STREAMS, "inputs", "400"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let tasks = format!("/proc/{}/task", child.id());
    let names = || {
        let tasks = std::fs::read_dir(&tasks).unwrap();
        let name = |path: PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        tasks.map(|task| name(task.unwrap().path())).collect::<Vec<_>>()
    };
    let waiters = |names: &[String]| names.iter().filter(|it| it.contains("stdin")).count();
    let started = Instant::now();
    while waiters(&names()) == 0 {
        assert!(started.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..20 {
        let names = names();
        assert_eq!(waiters(&names), 1, "{names:?}");
        assert!(names.len() < 20, "{names:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(child.stdin.take());
    Told::new(&child.wait_with_output().unwrap()).prints("kept 400\n");
}
