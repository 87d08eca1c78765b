//! Tests of `palisade inspect`.

use super::{Case, PRELUDE};

#[test]
fn inspect_describes_a_command() {
    let case = Case::new();
    let guest = case.guest("");
    let outcome = case.palisade(&["inspect", &guest]).exits(0);
    for fact in [
        "WASI Preview 1 command",
        "wasi_snapshot_preview1 fd_read: func (i32, i32, i32, i32) -> i32",
        "_start: func () -> ()",
        "memory: memory 2..",
        "131072 bytes initially, no maximum",
    ] {
        assert!(outcome.stdout.contains(fact), "`{fact}` is missing: {}", outcome.stdout);
    }
}

#[test]
fn inspect_distinguishes_module_kinds() {
    let case = Case::new();
    for (wat, kind) in [
        (format!(r#"(module {PRELUDE} (func (export "_start")))"#), "preview1_command"),
        (format!("(module {PRELUDE})"), "preview1_reactor"),
        (r#"(module (func (export "add")))"#.to_owned(), "core_module"),
        ("(component)".to_owned(), "component"),
    ] {
        let path = case.file("it.wasm", wat::parse_str(&wat).unwrap());
        let outcome = case.palisade(&["inspect", "--json", &path]).exits(0);
        let facts: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(facts["kind"], kind, "{wat}");
    }
}

#[test]
fn inspect_json_is_complete() {
    let case = Case::new();
    let path = case.module(
        "it.wasm",
        r#"(import "env" "tick" (func (param i32)))
           (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
           (memory (export "memory") 1 4 shared)
           (func (export "spread") (param v128) (result i32 i32)
                (drop (i8x16.splat (i32.const 0))) (i32.const 0)
                (i32.atomic.load (i32.const 0)))
           (@custom "note" "four")
           (@producers (language "Rust" "1.95") (processed-by "wasm-ld" "21"))"#,
    );
    let outcome = case.palisade(&["inspect", "--json", &path]).exits(0);
    let facts: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(facts["imports"][0]["name"], "tick");
    assert_eq!(facts["imports"][0]["provided"], false);
    assert_eq!(facts["imports"][0]["type"], "func (i32) -> ()");
    assert_eq!(facts["imports"][1]["provided"], true);
    assert_eq!(facts["exports"][1]["type"], "func (v128) -> (i32, i32)");
    assert_eq!(facts["memories"][0]["maximum_bytes"], 4 * 65536);
    assert_eq!(facts["memories"][0]["shared"], true);
    assert_eq!(facts["features"], serde_json::json!(["multi-value", "simd", "threads"]));
    assert_eq!(facts["producers"][0]["name"], "Rust");
    assert_eq!(facts["producers"][0]["version"], "1.95");
    let sections = facts["custom_sections"].as_array().unwrap();
    assert!(sections.iter().any(|it| it["name"] == "note" && it["bytes"] == 4));
}

#[test]
fn invalid_module_is_refused_as_text_and_json() {
    let case = Case::new();
    let path = case.file("it.wasm", "GIF89a, it seems");
    case.palisade(&["inspect", &path]).refuses(&["not WebAssembly", "GIF8"]);
    let outcome = case.palisade(&["inspect", "--json", &path]);
    assert_eq!(outcome.code, 2);
    let error: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(error["error"]["code"], "palisade::magic");
}
