//! Tests of audit logs: termination of the process, several runs in one log, failing sinks.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Case, ENGINES, Outcome, errno, read};

/// A timeout far above the duration of any step here.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Creates the file `new` of three bytes in the first preopen, and stores its descriptor at 16.
const CREATE: &str = r#"
    (i32.store (i32.const 1024) (i32.const 0x0077656e))
    (call $check (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 3)
        (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 3))
    (call $check (call $fd_write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1)
        (i32.const 20)))"#;

const SPIN: &str = "(loop $again (br $again))";

const SLEEP: &str = r#"
    (loop $again
        (i64.store (i32.const 2048) (i64.const 7))
        (i32.store8 (i32.const 2056) (i32.const 0))
        (i32.store (i32.const 2064) (i32.const 1))
        (i64.store (i32.const 2072) (i64.const 60000000000))
        (drop (call $poll (i32.const 2048) (i32.const 4096) (i32.const 1) (i32.const 20)))
        (br $again))"#;

const READ_STDIN: &str = r#"
    (i32.store (i32.const 0) (i32.const 4096))
    (i32.store (i32.const 4) (i32.const 4096))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 20)))"#;

/// Opens a file that does not exist, this many times; 0 is for ever.
fn failing_opens(times: &str) -> String {
    format!(
        r#"
    (i32.store (i32.const 1024) (i32.const 0x656e6f6e))
    (i32.store (i32.const 1200) (i32.const {times}))
    (loop $again
        (drop (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 4)
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
        (i32.store (i32.const 1200) (i32.sub (i32.load (i32.const 1200)) (i32.const 1)))
        (br_if $again (i32.load (i32.const 1200))))"#
    )
}

/// A child process that is killed on drop.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the process and returns its output.
    #[track_caller]
    fn ends(mut self) -> Outcome {
        let started = Instant::now();
        while self.is_running() {
            assert!(started.elapsed() < TIMEOUT, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut outcome = Outcome { code: -1, stdout: String::new(), stderr: String::new() };
        outcome.code = self.0.wait().unwrap().code().unwrap_or(-1);
        self.0.stdout.take().unwrap().read_to_string(&mut outcome.stdout).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut outcome.stderr).unwrap();
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn wait_until(event: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < TIMEOUT, "{event}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a guest over an overlay of `d` with an audit, a diff and an export.
fn start_with_all_outputs(case: &Case, engine: &str, options: &[&str], guest: &str) -> Running {
    let outputs = ["--audit", "log", "--diff=changes", "--export", "layer.tar"];
    let args = ["run", "--engine", engine, "--overlay", "d::/work"];
    Running::start(&mut case.command(&[&args, &outputs[..], options, &[guest]].concat()))
}

/// Creates the FIFO `log` and opens it. The returned file keeps it open without reading.
fn unread_fifo(case: &Case) -> std::fs::File {
    fifo(case);
    std::fs::OpenOptions::new().read(true).write(true).open(case.path("log")).unwrap()
}

fn fifo(case: &Case) {
    assert!(Command::new("mkfifo").arg(case.path("log")).status().unwrap().success());
}

/// Writes the module of a guest that creates a file and then runs `body`. Creates the directory
/// `d`.
fn creator(case: &Case, body: &str) -> String {
    std::fs::create_dir(case.path("d")).unwrap();
    case.guest(&format!("{CREATE} {body}"))
}

/// Runs the command in a shell script, which gets the binary as `$0` and `args` after it.
fn start_script(case: &Case, script: &str, args: &[&str]) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_palisade")]).args(args);
    Running::start(shell.current_dir(case.path("")))
}

fn has(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|it| it.contains(text))
}

/// Parses the lines of a log.
#[track_caller]
fn lines(path: &Path) -> Vec<serde_json::Value> {
    read(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn signal_stops_the_guest_and_writes_audit_diff_and_export() {
    let signals = [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)];
    let bodies = [SPIN, SLEEP, READ_STDIN];
    let cases = bodies.into_iter().flat_map(|body| ENGINES.map(|engine| (body, engine)));
    for ((body, engine), (signal, code)) in cases.zip(signals.into_iter().cycle()) {
        let case = Case::new();
        let guest = creator(&case, body);
        let running = start_with_all_outputs(&case, engine, &[], &guest);
        wait_until("a record", || has(&case.path("log"), "\"/work/new\""));
        running.send(signal);
        running.ends().fails(code, &["stopped", "signal"]);
        assert_eq!(read(&case.path("changes")), "A /work/new\n", "{engine} {body}");
        assert!(case.path("layer.tar").exists());
        // The record of the bytes is written although the file was still open.
        let log = lines(&case.path("log"));
        let last = log.last().unwrap();
        assert_eq!((&last["op"], &last["bytes"]), (&"write".into(), &3.into()), "{engine} {body}");
    }
}

#[test]
fn timeout_during_a_blocking_read_writes_audit_and_changes() {
    for engine in ENGINES {
        let case = Case::new();
        let guest = creator(&case, READ_STDIN);
        let running = start_with_all_outputs(&case, engine, &["--timeout", "2s"], &guest);
        running.ends().fails(124, &["2s"]);
        assert_eq!(read(&case.path("changes")), "A /work/new\n");
        assert!(case.path("layer.tar").exists() && has(&case.path("log"), "/work/new"));
    }
}

#[test]
fn signal_stops_a_component_during_a_blocking_read() {
    let case = Case::new();
    let guest = case.guest(&format!("{CREATE} {READ_STDIN}"));
    case.palisade(&["componentize", &guest, "-o", "component.wasm"]).exits(0);
    let args = ["run", "--mem", "/work", "--audit", "log", "component.wasm"];
    let running = Running::start(&mut case.command(&args));
    wait_until("a record", || has(&case.path("log"), "\"/work/new\""));
    running.send(Signal::TERM);
    running.ends().fails(143, &["SIGTERM"]);
}

#[test]
fn signal_ends_a_run_without_outputs_at_once() {
    let case = Case::new();
    let guest = creator(&case, SPIN);
    let running = Running::start(&mut case.command(&["run", "--dir", "d::/work", &guest]));
    wait_until("a file", || case.path("d/new").exists());
    running.send(Signal::TERM);
    assert_eq!(running.ends().code, 143);
}

#[test]
fn signal_ignored_at_start_stays_ignored() {
    let case = Case::new();
    let guest = case.guest(&format!("{CREATE} {SLEEP}"));
    let script = r#"trap "" HUP; exec "$0" run --no-cache --mem /work --audit log "$1""#;
    let mut running = start_script(&case, script, &[&guest]);
    wait_until("a record", || has(&case.path("log"), "\"/work/new\""));
    running.send(Signal::HUP);
    std::thread::sleep(Duration::from_millis(600));
    assert!(running.is_running());
    running.send(Signal::TERM);
    assert_eq!(running.ends().code, 143);
}

#[test]
fn killed_run_has_its_header_and_records_in_the_log() {
    for engine in ENGINES {
        let case = Case::new();
        let guest = case.guest(&format!("{CREATE} {SLEEP}"));
        let args = ["run", "--engine", engine, "--mem", "/work", "--audit", "log", &guest];
        let running = Running::start(&mut case.command(&args));
        // The guest performs no further operation that could flush the record.
        wait_until("a record", || has(&case.path("log"), "\"/work/new\""));
        running.send(Signal::KILL);
        assert_eq!(running.ends().code, -1);
        let log = lines(&case.path("log"));
        assert!(log[0]["palisade"].is_string() && log[0]["run"] == log[1]["run"], "{log:?}");
        case.palisade(&["learn", "--from", "log"]).exits(0);
        // A partial line does not corrupt the records of a later run.
        let text = read(&case.path("log"));
        std::fs::write(case.path("log"), &text[..text.len() - 9]).unwrap();
        case.run(&["--mem", "/work", "--audit", "log", &case.guest("")]).exits(0);
        let outcome =
            case.palisade(&["learn", "--from", "log"]).fails(0, &["1 partial line,", "killed"]);
        assert!(outcome.stdout.contains("version = 1"), "{outcome:?}");
    }
}

#[test]
fn second_signal_ends_the_process_at_once() {
    let case = Case::new();
    let guest = case.guest(&failing_opens("0"));
    let held = unread_fifo(&case);
    let args = ["run", "--mem", "/work", "--audit", "log", &guest];
    let mut running = Running::start(&mut case.command(&args));
    wait_until("a full pipe", || rustix::io::ioctl_fionread(&held).unwrap() > 30_000);
    std::thread::sleep(Duration::from_millis(300));
    running.send(Signal::TERM);
    std::thread::sleep(Duration::from_millis(700));
    assert!(running.is_running(), "{:?}", running.ends());
    running.send(Signal::TERM);
    let sent = Instant::now();
    assert_eq!(running.ends().code, 143);
    assert!(sent.elapsed() < Duration::from_secs(3));
}

#[test]
fn unread_audit_pipe_does_not_delay_the_timeout() {
    let case = Case::new();
    let guest = case.guest(&failing_opens("0"));
    let _held = unread_fifo(&case);
    let args = ["run", "--timeout", "1s", "--mem", "/work", "--audit", "log", &guest];
    Running::start(&mut case.command(&args)).ends().fails(2, &["audit", "1s"]);
}

#[test]
fn learned_policy_is_written_after_a_signal() {
    let case = Case::new();
    let guest = creator(&case, SLEEP);
    let args = ["learn", "-o", "learned", "--", "run", "--dir", "d::/work", &guest];
    let running = Running::start(&mut case.command(&args));
    wait_until("a file", || case.path("d/new").exists());
    running.send(Signal::INT);
    running.ends().fails(130, &["SIGINT"]);
    assert!(has(&case.path("learned"), "\"/work/new\""));
}

#[test]
fn concurrent_runs_share_a_log_without_loss() {
    const RUNS: usize = 4;
    const OPENS: u64 = 20_000;
    let case = Case::new();
    let guest = case.guest(&failing_opens(&OPENS.to_string()));
    let args = ["run", "--mem", "/work", "--audit", "log", &guest];
    let runs: Vec<_> = (0..RUNS).map(|_| Running::start(&mut case.command(&args))).collect();
    for run in runs {
        run.ends().exits(0);
    }
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in lines(&case.path("log")) {
        let run = line["run"].as_str().unwrap().to_owned();
        let (headers, records) = counts.entry(run).or_default();
        match line["seq"].as_u64() {
            None => *headers += 1,
            Some(seq) => {
                assert_eq!(seq, *records);
                *records += 1;
            }
        }
    }
    assert_eq!(counts.len(), RUNS);
    assert!(counts.values().all(|it| *it == (1, OPENS)), "{counts:?}");
    let all = case.palisade(&["replay", "log", &case.file("all.toml", "")]).exits(0).stdout;
    assert_eq!(all.lines().count() as u64, RUNS as u64 * OPENS);
    let run = counts.keys().next().unwrap();
    let one = case.palisade(&["replay", "--run", run, "log", "all.toml"]).exits(0).stdout;
    assert_eq!(one.lines().count() as u64, OPENS);
    case.palisade(&["report", "--run", "other", "log"]).fails(2, &["no run `other`", run]);
}

#[test]
fn audit_appends_unless_truncation_is_requested() {
    let case = Case::new();
    case.file("d/a", "content");
    let guest = case.reader(3, "a");
    let run = |options: &[&str]| {
        let args = ["--dir", "d::/work", "--audit", "log"];
        case.run(&[&args, options, &[&guest]].concat()).exits(0);
        lines(&case.path("log")).iter().filter(|line| line["palisade"].is_string()).count()
    };
    assert_eq!([run(&[]), run(&[]), run(&["--audit-truncate"])], [1, 2, 1]);
    case.run(&["--audit-truncate", &guest]).fails(2, &["--audit"]);
    // A file that is not an audit log is not appended to.
    let other = case.file("notes", "{\"some\": \"notes\"}\n");
    case.run(&["--dir", "d::/work", "--audit", &other, &guest])
        .refuses(&["notes", "not an audit log"]);
    assert_eq!(read(Path::new(&other)), "{\"some\": \"notes\"}\n");
}

#[test]
fn failing_audit_stops_the_guest_and_writes_its_changes() {
    for engine in ENGINES {
        let case = Case::new();
        let guest = creator(&case, &format!("{} {SPIN}", failing_opens("100000")));
        // Files are limited to 64 KiB; a second run has the remainder.
        let script = r#"ulimit -f 128; exec "$0" run --no-cache --engine "$1" \
            --overlay d::/work --audit log --diff=changes --export layer.tar "$2""#;
        let running = start_script(&case, script, &[engine, &guest]);
        running.ends().fails(2, &["audit log is incomplete", "--audit-when-failing continue"]);
        assert_eq!(read(&case.path("changes")), "A /work/new\n");
        assert!(case.path("layer.tar").exists());
    }
}

#[test]
fn closed_audit_pipe_stops_the_guest() {
    let case = Case::new();
    let guest = creator(&case, &failing_opens("0"));
    fifo(&case);
    let args = ["run", "--overlay", "d::/work", "--audit", "log", "--diff=changes", &guest];
    let running = Running::start(&mut case.command(&args));
    let mut start = [0; 64];
    let mut reader = std::fs::File::open(case.path("log")).unwrap();
    reader.read_exact(&mut start).unwrap();
    assert!(start.starts_with(b"{\"v\":1,\"palisade\":"));
    drop(reader);
    running.ends().fails(2, &["audit", "Broken pipe"]);
    assert_eq!(read(&case.path("changes")), "A /work/new\n");
}

#[test]
fn closed_stdout_pipe_is_epipe_for_the_guest() {
    let case = Case::new();
    let guest = case.guest(&format!(
        "{CREATE} (loop $again (call $print (i32.const 1024) (i32.const 3)) (br $again))"
    ));
    for engine in ENGINES {
        let args = ["run", "--engine", engine, "--mem", "/work", "--audit", "log", &guest];
        let mut child = case.command(&args);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(errno::PIPE));
        assert!(has(&case.path("log"), "\"/work/new\""));
    }
}

#[test]
fn guest_continues_without_audit_on_request() {
    let case = Case::new();
    let guest = case.guest(&format!("{} (call $exit (i32.const 9))", failing_opens("100000")));
    let script = r#"ulimit -f 128; exec "$0" run --no-cache --mem /work --audit log \
        --audit-when-failing continue "$1""#;
    let running = start_script(&case, script, &[&guest]);
    running.ends().fails(9, &["audit log is incomplete", "were dropped"]);
    let outcome = case.palisade(&["learn", "--from", "log"]);
    outcome.fails(0, &["may lack records"]);
}

#[test]
fn audit_without_header_is_refused_before_the_guest_runs() {
    let case = Case::new();
    std::fs::create_dir(case.path("d")).unwrap();
    let guest = case.writer(3, "new");
    case.run(&["--dir", "d::/work", "--audit", "/dev/full", &guest]).refuses(&["audit"]);
    assert!(!case.path("d/new").exists());
}

#[test]
fn audit_option_ignores_the_filters_of_the_policy() {
    let case = Case::new();
    case.file("d/a", "content");
    let rules = "[[allow]]\npath = \"/work/**\"\nrights = \"read\"\n";
    let policy =
        case.file("policy.toml", format!("{rules}[audit]\nto = \"log\"\nonly = [\"denied\"]\n"));
    let run = |options: &[&str], guest: &str, code: i32| {
        let args = ["--dir", "d::/work", "--policy", &policy];
        case.run(&[&args, options, &[guest]].concat()).exits(code);
    };
    run(&[], &case.reader(3, "a"), 0);
    run(&[], &case.writer(3, "b"), errno::ACCES);
    assert!(!has(&case.path("log"), "/work/a") && has(&case.path("log"), "/work/b"));
    // Commands that read the log warn that it lacks the allowed operations.
    let outcome = case.palisade(&["learn", "--from", "log"]);
    outcome.fails(0, &["recorded with a filter", "only denied"]);
    run(&["--audit", "all"], &case.reader(3, "a"), 0);
    assert!(has(&case.path("all"), "/work/a"));
    case.palisade(&["replay", "all", &policy]).exits(0);
    run(&["--audit", "some", "--audit-only", "writes"], &case.reader(3, "a"), 0);
    assert!(!has(&case.path("some"), "/work/a"));
    case.palisade(&["report", "some", "-o", "page"])
        .fails(0, &["recorded with a filter", "only writes"]);
    assert!(has(&case.path("page"), "only writes"));
}

#[test]
fn learned_policy_is_not_mixed_with_guest_output() {
    let case = Case::new();
    let guest = case.guest(
        r#"(i64.store (i32.const 1024) (i64.const 0x0a5d5b6e69617274))
        (call $print (i32.const 1024) (i32.const 8))"#,
    );
    let outcome = case.palisade(&["learn", "--", "run", "--mem", "/", &guest]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, "train[]\n"));
    assert!(
        !outcome.stdout.contains("train") && outcome.stdout.contains("version = 1"),
        "{outcome:?}"
    );
    case.palisade(&["check", &case.file("learned.toml", &outcome.stdout)]).exits(0);
    let outcome = case.palisade(&["learn", "-o", "learned", "--", "run", "--mem", "/", &guest]);
    assert_eq!(outcome.exits(0).stdout, "train[]\n");
    for option in ["--audit=x", "--policy=x", "--dry-run-policy"] {
        let name = option.split('=').next().unwrap();
        case.palisade(&["learn", "--", "run", option, &guest])
            .refuses(&[name, "cannot be combined"]);
    }
    // Operations before a trap or a signal are learned too.
    case.file("d/a", "x");
    let trap = case.opener(3, "a", 0, 2, "unreachable");
    let learn = ["learn", "-o", "trapped", "--", "run", "--dir", "d::/work", &trap];
    case.palisade(&learn).fails(134, &["unreachable"]);
    assert!(has(&case.path("trapped"), "\"/work/a\""));
}
