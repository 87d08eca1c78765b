//! Handwritten invalid modules: each ends in a defined error and never in a panic.

use palisade_kernel::Config;
use palisade_vfs::MemFs;

use crate::harness::{Engine, config, run};

macro_rules! module {
    ($name:literal) => {
        wat::parse_str(include_str!(concat!("guests/bad/", $name, ".wat"))).unwrap()
    };
}

#[test]
fn invalid_pointers_and_lengths_return_errnos() {
    for engine in Engine::ALL {
        let given = config(&MemFs::new().root(), &["pointers"]).env("NAME", "value");
        run(engine, &module!("pointers"), given).assert_success("pointers");
    }
}

#[test]
fn module_without_a_memory_traps_with_a_message() {
    for (name, wasm) in [
        ("no_memory", module!("no_memory")),
        ("memory_is_a_function", module!("memory_is_a_function")),
    ] {
        for engine in Engine::ALL {
            let end = run(engine, &wasm, Config::builder().arg(name)).end;
            let text = end.expect_err(name);
            assert!(text.contains("exports no memory named `memory`"), "{engine:?} {text}");
        }
    }
}

#[test]
fn empty_memory_makes_every_pointer_invalid() {
    for engine in Engine::ALL {
        run(engine, &module!("empty_memory"), Config::builder()).assert_success("empty_memory");
    }
}

#[test]
fn module_may_call_during_instantiation() {
    for engine in Engine::ALL {
        let wasm = module!("calls_while_instantiating");
        run(engine, &wasm, Config::builder().arg("calls")).assert_success("instantiating");
    }
}

#[test]
fn unknown_imports_are_errors() {
    for (wasm, missing) in [
        (module!("unknown_import"), "wasi_snapshot_preview1"),
        (module!("unknown_module"), "unknown"),
        (module!("wrong_signature"), "wasi_snapshot_preview1"),
    ] {
        for engine in Engine::ALL {
            let text = run(engine, &wasm, Config::builder()).end.expect_err(missing);
            assert!(!text.is_empty(), "{engine:?}");
        }
    }
}
