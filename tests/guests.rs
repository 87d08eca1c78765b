//! Runs the C guests on each engine and each stack.
//!
//! `calls.wasm` has a sub-test for each function of Preview 1 and each observable behavior; its
//! source documents the expected results.

use palisade_kernel::{Config, Input};
use palisade_vfs::{HostDir, MemFs, Resolver};

use crate::harness::{Engine, Stack, config, run};

const CALLS: &[u8] = include_bytes!("guests/calls.wasm");

/// Returns the names of the sub-tests.
fn sub_tests() -> Vec<String> {
    let outcome = run(Engine::Wasmtime, CALLS, Config::builder().args(["calls", "list"]));
    outcome.assert_success("calls list");
    let names: Vec<_> = outcome.stdout.lines().map(str::to_owned).collect();
    assert!(names.len() > 60, "{names:?}");
    names
}

/// Runs each sub-test on `engine` and each stack, and reports all failures.
fn all_sub_tests_pass_on(engine: Engine) {
    let mut faults = Vec::new();
    for name in sub_tests() {
        for stack in Stack::writable() {
            let given = config(&stack.root, &["calls", &name]).env("NAME", "value");
            let outcome = run(engine, CALLS, given);
            let passed = outcome.end == Ok(0) && outcome.stdout.contains(&format!("ok {name}"));
            if !passed {
                let (out, err) = (outcome.stdout.trim(), outcome.stderr.trim());
                faults.push(format!("{name} on {}: {:?} {out} {err}", stack.name, outcome.end));
            }
        }
    }
    assert!(faults.is_empty(), "{} failed:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn sub_tests_pass_on_wasmtime_on_each_stack() {
    all_sub_tests_pass_on(Engine::Wasmtime);
}

#[test]
fn sub_tests_pass_on_wasmi_on_each_stack() {
    all_sub_tests_pass_on(Engine::Wasmi);
}

#[test]
fn sandbox_guest_passes_on_each_stack() {
    let guest = include_bytes!("guests/sandbox.wasm");
    for engine in Engine::ALL {
        for stack in Stack::writable() {
            run(engine, guest, config(&stack.root, &["sandbox"])).assert_success(stack.name);
        }
    }
}

#[test]
fn exit_code_is_passed_through_unchanged() {
    let guest = include_bytes!("guests/exit_code.wasm");
    for engine in Engine::ALL {
        for code in ["0", "1", "42", "125", "126", "134", "255"] {
            let outcome = run(engine, guest, Config::builder().args(["exit_code", code]));
            assert_eq!(outcome.end, Ok(code.parse().unwrap()), "{engine:?}");
        }
    }
}

#[test]
fn trap_message_has_the_function_name() {
    let guest = include_bytes!("guests/trap.wasm");
    let outcome = run(Engine::Wasmtime, guest, Config::builder().arg("trap"));
    assert!(outcome.end.unwrap_err().contains("unreachable"));
}

#[test]
fn standard_input_is_read_to_its_end() {
    let guest = include_bytes!("guests/cat.wasm");
    let input = "one\ntwo\n".repeat(5000);
    for engine in Engine::ALL {
        let given = config(&MemFs::new().root(), &["cat"]).stdin(Input::bytes(input.as_str()));
        let outcome = run(engine, guest, given);
        outcome.assert_success("cat");
        assert!(outcome.stdout == input, "{engine:?}: {} bytes", outcome.stdout.len());
    }
}

/// Nodes that only the host can create: an absolute symbolic link, and a FIFO without a writer.
#[test]
fn absolute_links_and_fifos_of_the_host_are_refused() {
    let names = run(Engine::Wasmtime, CALLS, Config::builder().args(["calls", "list-host"]));
    let names: Vec<_> = names.stdout.lines().map(str::to_owned).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for resolver in [Resolver::Openat2, Resolver::Components] {
        for engine in Engine::ALL {
            for name in &names {
                let tempdir = tempfile::tempdir().unwrap();
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                let kind = rustix::fs::FileType::Fifo;
                let fifo = tempdir.path().join("fifo");
                rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", tempdir.path().join("absolute")).unwrap();
                let root = HostDir::open_ambient_with(tempdir.path(), resolver).unwrap();
                let outcome = run(engine, CALLS, config(&root, &["calls", name]));
                outcome.assert_success(name);
                assert!(outcome.stdout.contains(&format!("ok {name}")));
            }
        }
    }
}
