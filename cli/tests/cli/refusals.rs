//! Tests of the errors for modules that cannot run.

use super::{Case, ENGINES, PRELUDE};

/// Runs the bytes on each engine and expects the same refusal.
#[track_caller]
fn refused(bytes: &[u8], facts: &[&str]) {
    let case = Case::new();
    let path = case.file("guest.wasm", bytes);
    for engine in ENGINES {
        case.run(&["--engine", engine, &path]).refuses(facts);
    }
}

/// Runs a component on wasmtime and expects a refusal.
#[track_caller]
fn refused_component(text: &str, facts: &[&str]) {
    let case = Case::new();
    let path = case.file("guest.wasm", wat::parse_str(text).unwrap());
    case.run(&[&path]).refuses(facts);
}

#[track_caller]
fn refused_fields(fields: &str, facts: &[&str]) {
    refused(&wat::parse_str(format!("(module {fields})")).unwrap(), facts);
}

#[test]
fn non_modules_are_refused() {
    refused(b"", &["empty"]);
    refused(b"\x7fELF\x02\x01\x01\0", &["not WebAssembly", "ELF"]);
    refused(b"(module)", &["text", "wat2wasm"]);
    refused(b"  ;; a comment\n(module)", &["text"]);
    refused(b"\0asm\x01\0", &["truncated"]);
    refused(b"\0asm\x07\0\0\0", &["not a valid module"]);
    refused(b"\0asm\x01\0\0\0\x63\0", &["not a valid module"]);
}

#[test]
fn truncated_module_is_refused() {
    let whole = wat::parse_str(format!(r#"(module {PRELUDE} (func (export "_start")))"#)).unwrap();
    refused(&whole[..whole.len() / 2], &["truncated", "again"]);
}

#[test]
fn ill_typed_module_is_refused() {
    refused_fields(r#"(func (export "_start") (drop))"#, &["not a valid module", "type mismatch"]);
}

#[test]
fn non_command_components_are_refused_with_their_kind() {
    refused_component("(component)", &["not export `wasi:cli/run`", "exports nothing"]);
    let library = r#"(component (instance $math)
        (export "my:math/add@1.0.0" (instance $math)))"#;
    refused_component(library, &["a library", "my:math/add@1.0.0"]);
    let server = r#"(component (instance $handler)
        (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;
    refused_component(server, &["HTTP component", "wasi:http/incoming-handler"]);
}

#[test]
fn missing_interfaces_are_listed_with_versions() {
    let command = r#"(component
        (import "wasi:cli/environment@0.2.0" (instance))
        (import "wasi:http/types@0.2.3" (instance))
        (import "my:own/thing@1.2.3" (instance))
        (instance $run)
        (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    refused_component(command, &["wasi:http/types@0.2.3", "my:own/thing@1.2.3", "0.2"]);
}

#[test]
fn unknown_imports_are_listed() {
    refused_fields(
        r#"(import "env" "now" (func (param i32 i64) (result f64)))
           (import "wasi_snapshot_preview1" "fd_teleport" (func (param i32)))
           (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
           (import "env" "memory" (memory 1))
           (import "js" "count" (global (mut i32)))
           (func (export "_start"))"#,
        &[
            "env now: func (i32, i64) -> f64",
            "wasi_snapshot_preview1 fd_teleport: func (i32) -> ()",
            "env memory: memory 1..",
            "js count: global mut i32",
            "wasi_snapshot_preview1",
        ],
    );
}

#[test]
fn import_with_the_wrong_type_is_refused() {
    refused_fields(
        r#"(import "wasi_snapshot_preview1" "fd_close" (func (param i64) (result i32)))
           (memory (export "memory") 1) (func (export "_start"))"#,
        &["fd_close"],
    );
}

#[test]
fn library_module_is_refused() {
    let facts = ["_start", "reactor", "main"];
    refused_fields(r#"(memory (export "memory") 1) (func (export "_initialize"))"#, &facts);
    refused_fields("", &facts);
}

#[test]
fn start_with_the_wrong_type_is_refused() {
    refused_fields(
        r#"(memory (export "memory") 1) (func (export "_start") (param i32))"#,
        &["_start", "func (i32) -> ()"],
    );
    refused_fields(r#"(memory (export "_start") 1)"#, &["_start", "memory 1.."]);
}

#[test]
fn guest_without_exported_memory_is_refused() {
    let import = r#"(import "wasi_snapshot_preview1" "random_get"
        (func (param i32 i32) (result i32)))"#;
    let start = r#"(func (export "_start") (drop (call 0 (i32.const 0) (i32.const 1))))"#;
    refused_fields(&format!("{import} {start}"), &["memory", "export"]);
    refused_fields(&format!("{import} (memory 1) {start}"), &["memory", "export"]);
}

#[test]
fn guest_that_only_exits_needs_no_memory() {
    let case = Case::new();
    let guest = case.module(
        "guest.wasm",
        r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
           (func (export "_start") (call 0 (i32.const 3)))"#,
    );
    for engine in ENGINES {
        case.run(&["--engine", engine, &guest]).exits(3);
    }
}

#[test]
fn features_unsupported_by_the_engine_are_refused() {
    let case = Case::new();
    let guest = case.module(
        "guest.wasm",
        r#"(memory (export "memory") 1 1 shared) (func (export "_start")
            (drop (i32.atomic.load (i32.const 0))))"#,
    );
    for engine in ENGINES {
        case.run(&["--engine", engine, &guest]).refuses(&[engine, "--engine"]);
    }
}

#[test]
fn unreadable_module_is_refused() {
    let case = Case::new();
    for command in ["run", "inspect"] {
        case.palisade(&[command, "missing.wasm"]).refuses(&["missing.wasm", "exists"]);
        case.palisade(&[command, "."]).refuses(&["directory"]);
    }
}

#[test]
fn non_utf8_arguments_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let case = Case::new();
    let guest = case.guest("");
    let output = case.command(&["run", &guest]).arg(OsStr::from_bytes(b"a\xff")).output().unwrap();
    super::Outcome::new(&output).refuses(&["UTF-8"]);
}

#[test]
fn unknown_options_are_refused() {
    let case = Case::new();
    let guest = case.guest("");
    case.run(&["--bogus", &guest]).refuses(&["--bogus"]);
    case.run(&[]).refuses(&["MODULE"]);
    case.run(&["--engine", "v8", &guest]).refuses(&["wasmtime", "wasmi"]);
    case.run(&["--no-cache", "--cache-dir", "x", &guest]).refuses(&["--cache-dir"]);
    case.palisade(&["fly"]).refuses(&["fly"]);
}

#[test]
fn refusals_traps_and_timeouts_as_json() {
    let case = Case::new();
    let json = |args: &[&str], code: i32| -> serde_json::Value {
        let outcome = case.run(&[&["--json"], args].concat());
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        let value: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(value["error"]["exit_code"], code);
        value["error"].clone()
    };
    assert_eq!(json(&["missing"], 2)["code"], "palisade::read");
    let guest = case.module("guest.wasm", r#"(import "a" "b" (func)) (func (export "_start"))"#);
    let error = json(&[&guest], 2);
    assert_eq!(error["code"], "palisade::imports");
    assert_eq!(error["details"][0], "a b: func () -> ()");
    assert!(error["help"].is_string());
    let guest = case.guest("unreachable");
    assert_eq!(json(&[&guest], 134)["code"], "palisade::trap");
    let guest = case.guest("(loop $again (br $again))");
    assert_eq!(json(&["--timeout", "100ms", &guest], 124)["code"], "palisade::timeout");
}
