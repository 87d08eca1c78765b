//! Tests of limits that engines enforce: streams, memory, compile time.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Case, ENGINES, Outcome, PRELUDE, errno};

/// A component that opens many resources of one kind.
const STREAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/streams.wasm");

/// A timeout far above the delays of a slow machine.
const SOON: Duration = Duration::from_secs(60);

/// The code `insufficient-memory` of `wasi:filesystem`, as a number.
const INSUFFICIENT_MEMORY: u32 = 22;

/// Runs the command under `ulimit`, for example with `-n 256`.
fn run_under(case: &Case, ulimit: &str, args: &[&str]) -> Outcome {
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
    Outcome::new(&shell.output().unwrap())
}

/// Creates a directory with the files that `streams.wasm` opens.
fn with_files() -> Case {
    let case = Case::new();
    case.file("w/f", "content");
    for n in 0..300 {
        case.file(&format!("w/d/{n:0200}"), "");
    }
    case
}

#[test]
fn large_function_runs_with_a_timeout() {
    let case = Case::new();
    let guest = case.guest(&"(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(60_000));
    for engine in ENGINES {
        case.run(&["--engine", engine, "--timeout", "60s", &guest]).exits(0);
    }
}

#[test]
fn streams_over_the_limit_are_an_error_or_a_trap() {
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
fn host_descriptor_exhaustion_is_a_guest_error() {
    let case = with_files();
    let options = ["--max-descriptors", "5000", "--max-streams", "5000"];
    for kind in ["descriptors", "directories", "readers", "writers"] {
        // Rising limits make each open of the host fail once.
        for limit in (12..40).step_by(3).chain([255, 256]) {
            let args = [&options[..], &["--dir", "w::/", STREAMS, kind, "5000"]].concat();
            let outcome = run_under(&case, &format!("-n {limit}"), &args);
            assert!(outcome.code == 0 || outcome.code == 2, "{kind}, {limit}: {outcome:#?}");
            if outcome.code == 0 {
                assert!(outcome.stdout.contains("refused at"), "{kind}, {limit}: {outcome:#?}");
            }
            assert!(!outcome.stderr.contains("panicked"), "{kind}, {limit}: {outcome:#?}");
        }
    }
}

#[test]
fn host_descriptor_exhaustion_is_a_preview1_guest_error() {
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
fn guest_has_one_stdin_thread() {
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
    Outcome::new(&child.wait_with_output().unwrap()).prints("kept 400\n");
}

/// Writes a guest that grows each of `count` memories by 60 MiB and exits with the number of
/// successes.
fn many_memories(case: &Case, count: usize) -> String {
    let mut fields =
        r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#.to_owned();
    let mut body = "(local $n i32)".to_owned();
    for n in 0..count {
        fields += &format!("(memory $m{n} 1)");
        body += &format!(
            "(if (i32.ne (memory.grow $m{n} (i32.const 960)) (i32.const -1))
                (then (local.set $n (i32.add (local.get $n) (i32.const 1)))))"
        );
    }
    body += "(call $exit (local.get $n))";
    case.module("guest.wasm", &format!(r#"{fields} (func (export "_start") {body})"#))
}

#[test]
fn memories_share_one_limit() {
    let case = Case::new();
    let guest = many_memories(&case, 10);
    for engine in ENGINES {
        let run = |args: &[&str]| case.run(&[&["--engine", engine], args, &[&guest]].concat());
        run(&["--max-memory", "1G"]).exits(10);
        run(&["--max-memory", "200M"]).exits(3);
        run(&["--max-memory", "655360"]).exits(0);
        // The initial size of all memories is ten pages.
        run(&["--max-memory", "655359"]).refuses(&["655360", "--max-memory"]);
    }
}

#[test]
fn tables_count_as_memory() {
    let case = Case::new();
    let guest = case.module(
        "guest.wasm",
        r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (table $f 1 funcref)
        (func (export "_start") (local $n i32)
            (loop $again
                (if (i32.ne (table.grow $f (ref.null func) (i32.const 1000000)) (i32.const -1))
                    (then (local.set $n (i32.add (local.get $n) (i32.const 1)))
                        (br_if $again (i32.lt_u (local.get $n) (i32.const 30))))))
            (call $exit (local.get $n)))"#,
    );
    for engine in ENGINES {
        let run = |args: &[&str]| case.run(&[&["--engine", engine], args, &[&guest]].concat());
        run(&[]).exits(30);
        run(&["--max-memory", "64M"]).exits(4);
    }
    let guest = case.module("large.wasm", r#"(table 9000000 funcref) (func (export "_start"))"#);
    for engine in ENGINES {
        let outcome = case.run(&["--engine", engine, "--max-memory", "64M", &guest]);
        outcome.refuses(&["tables", "--max-memory"]);
    }
}

#[test]
fn instances_of_a_component_share_one_limit() {
    let case = Case::new();
    let component = |instances: &str, fields: &str| {
        let text = format!(
            r#"(component
            (core module $m {fields} (func (export "run") (result i32) (i32.const 0)))
            (core instance $i (instantiate $m)) {instances}
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $out (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $out)))"#
        );
        case.file("guest.wasm", wat::parse_str(text).unwrap())
    };
    let more = |count: usize| "(core instance (instantiate $m))".repeat(count);
    let guest = component(&more(99), "(memory 16)");
    case.run(&["--max-memory", "101M", &guest]).exits(0);
    case.run(&["--max-memory", "99M", &guest]).refuses(&["--max-memory", "bytes"]);
    // Each instance has its own globals.
    let guest = component(&more(900), &"(global (mut i64) (i64.const 1))".repeat(1000));
    case.run(&["--max-memory", "1G", &guest]).exits(0);
    case.run(&["--max-memory", "32M", &guest]).refuses(&["instances", "--max-memory"]);
}

#[test]
fn nested_instantiations_are_refused_before_compilation() {
    let case = Case::new();
    let mut text = "(core module $m) (core instance (instantiate $m))".to_owned();
    for level in 0..40 {
        text = format!(
            "(component $c{level} {text}) (instance (instantiate $c{level}))
            (instance (instantiate $c{level}))"
        );
    }
    let guest = case.file("guest.wasm", wat::parse_str(format!("(component {text})")).unwrap());
    case.run(&[&guest]).refuses(&["1099511627776", "10000"]);
}

#[test]
fn shared_and_gc_memories_are_refused() {
    let case = Case::new();
    for (name, fields) in [
        ("shared memory", "(memory 1 10 shared)"),
        (
            "garbage collection",
            "(type $t (array (mut i8)))
            (func (result (ref $t)) (array.new_default $t (i32.const 9)))",
        ),
    ] {
        let guest = case.module("guest.wasm", &format!(r#"{fields} (func (export "_start"))"#));
        for engine in ENGINES {
            let outcome = case.run(&["--engine", engine, &guest]);
            assert_eq!(outcome.code, 2, "{name}, {engine}: {outcome:#?}");
        }
    }
}

/// Writes a module of a few KiB that takes minutes to compile: nested loops with locals that are
/// live in all of them.
fn compile_bomb(case: &Case) -> String {
    let (locals, loops) = (500, 500);
    let mut body = format!("(local {})", "i32 ".repeat(locals));
    body += &"loop ".repeat(loops);
    for n in 0..loops {
        let (a, b, to) = (n % locals, (n * 7 + 1) % locals, (n * 13) % locals);
        let label = n.min(loops - 1 - n);
        body += &format!(
            "local.get {a} local.get {b} i32.add local.set {to} local.get {a} br_if {label} end "
        );
    }
    case.module("bomb.wasm", &format!(r#"(memory 1) (func (export "_start") {body})"#))
}

#[test]
fn compile_time_limit_ends_the_command() {
    let case = Case::new();
    let bomb = compile_bomb(&case);
    for (options, code, facts) in [
        (["--timeout", "500ms"], 124, ["500ms", "--timeout"]),
        (["--max-compile-time", "500ms"], 2, ["500ms", "--max-compile-time"]),
        (["--max-compile-memory", "1M"], 2, ["1048576", "--max-compile-memory"]),
    ] {
        let started = Instant::now();
        case.run(&[&options[..], &[&bomb]].concat()).fails(code, &facts);
        assert!(started.elapsed() < SOON, "{options:?}");
    }
    let file = case.file("palisade.toml", "limits.compile-time = '500ms'");
    case.run(&["--config", &file, &bomb]).fails(2, &["--max-compile-time"]);
    let outcome = case.run(&["--json", "--max-compile-time", "500ms", &bomb]);
    outcome.fails(2, &[r#""code":"palisade::compile_time""#]);
    // wasmi translates the module without the expensive optimizations.
    case.run(&["--engine", "wasmi", &bomb]).exits(0);
}

#[test]
fn analysis_time_limit_ends_the_command() {
    let case = Case::new();
    let module = case.module("slow.wasm", &format!("(func {})", "nop ".repeat(2_000_000)));
    let bounds = ["--max-compile-time", "30ms"];
    case.palisade(&[&["inspect"], &bounds[..], &[&module]].concat())
        .fails(2, &["30ms", "--max-compile-time"]);
    let out = case.path("out.wasm");
    let args = ["componentize", &module, "-o", out.to_str().unwrap()];
    case.palisade(&[&args[..], &bounds].concat()).fails(2, &["30ms", "--max-compile-time"]);
    assert!(!out.exists());
    // Finding the reason of a refusal is an analysis too.
    case.run(&[&["--engine", "wasmi"], &bounds[..], &[&module]].concat())
        .fails(2, &["30ms", "--max-compile-time"]);
}

#[test]
fn long_constant_expression_is_refused() {
    let case = Case::new();
    let sum = |terms: usize| "i32.const 1 ".repeat(terms) + &"i32.add ".repeat(terms - 1);
    let places: [fn(&str) -> String; 3] = [
        |sum| format!("(global i32 {sum})"),
        |sum| format!("(memory 1) (data (offset {sum}))"),
        |sum| format!("(table 9 funcref) (elem (offset {sum}) func)"),
    ];
    for place in places {
        for engine in ENGINES {
            let fields = place(&sum(300_000)) + r#"(func (export "_start"))"#;
            let guest = case.module("guest.wasm", &fields);
            case.run(&["--engine", engine, &guest]).refuses(&["constant expression", "4096"]);
            let fields = place(&sum(9)) + r#"(func (export "_start"))"#;
            let guest = case.module("guest.wasm", &fields);
            case.run(&["--engine", engine, &guest]).exits(0);
        }
    }
}
