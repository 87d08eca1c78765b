//! Modules that are made by hand to be wrong, each with one clear end and none with a panic.

use palisade_kernel::Config;
use palisade_vfs::MemFs;

use crate::harness::{Engine, config, run};

macro_rules! module {
    ($name:literal) => {
        wat::parse_str(include_str!(concat!("guests/bad/", $name, ".wat"))).unwrap()
    };
}

#[test]
fn no_pointer_and_no_length_makes_a_call_trap_or_answer_what_it_cannot() {
    for engine in Engine::ALL {
        let given = config(&MemFs::new().root(), &["pointers"]).env("NAME", "value");
        run(engine, &module!("pointers"), given).assert_success("pointers");
    }
}

#[test]
fn a_module_without_a_usable_memory_gets_a_trap_that_says_so() {
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
fn an_empty_memory_is_a_memory_in_which_every_pointer_is_wrong() {
    for engine in Engine::ALL {
        run(engine, &module!("empty_memory"), Config::builder()).assert_success("empty_memory");
    }
}

#[test]
fn a_module_may_call_while_it_is_instantiated() {
    for engine in Engine::ALL {
        let wasm = module!("calls_while_instantiating");
        run(engine, &wasm, Config::builder().arg("calls")).assert_success("instantiating");
    }
}

#[test]
fn a_module_that_wants_what_is_not_there_is_told_what() {
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
