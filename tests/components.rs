//! Checks that the guests behave as components (with the standard adapter) as they do as modules.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use palisade_kernel::{Config, ConfigBuilder, Exit, Input, Output};
use palisade_preview2::bindings::sync::Command;
use palisade_preview2::{PalisadeCtx, PalisadeCtxView, PalisadeView, add_to_linker_sync};
use palisade_vfs::{Cookie, DirRef, Follow, Node, OpenHow, path};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};
use wit_component::ComponentEncoder;

use crate::harness::{Engine, Outcome, Stack, config, run, wasmtime_engine};

const CALLS: &[u8] = include_bytes!("guests/calls.wasm");

struct State {
    ctx: PalisadeCtx,
    table: ResourceTable,
}

impl PalisadeView for State {
    fn palisade(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// Wraps the module in the standard adapter and compiles it as a component.
fn component_of(module: &[u8]) -> Component {
    let bytes = ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| {
            let adapter = WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)
        })
        .and_then(|encoder| encoder.validate(true).encode())
        .unwrap();
    Component::new(wasmtime_engine(), bytes).unwrap()
}

fn run_component(component: &Component, config: ConfigBuilder) -> Outcome {
    let ((stdout, out), (stderr, err)) = (Output::buffer(1 << 22), Output::buffer(1 << 22));
    let config = config.stdout(stdout).stderr(stderr).build().unwrap();
    let mut linker = Linker::<State>::new(wasmtime_engine());
    add_to_linker_sync(&mut linker).unwrap();
    let ctx = PalisadeCtx::for_preview1_guest(config.start());
    let state = State { ctx, table: ResourceTable::new() };
    let mut store = Store::new(wasmtime_engine(), state);
    let command = Command::instantiate(&mut store, component, &linker).unwrap();
    let end = match command.wasi_cli_run().call_run(&mut store) {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref() {
            Some(Exit(code)) => Ok(*code),
            None => Err(format!("{error:?}")),
        },
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { end, stdout: text(out.take()), stderr: text(err.take()) }
}

/// Returns the writable stacks, including overlays.
fn stacks() -> Vec<Stack> {
    Stack::writable().into_iter().chain(Stack::overlays()).collect()
}

/// Collects each path with the bytes of its file, or `None` for a directory.
fn tree(dir: &DirRef, at: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push(entry.name.as_str().to_owned());
        ControlFlow::Continue(())
    })
    .unwrap();
    for name in names {
        let path = format!("{at}/{name}");
        match path::open(&**dir, &name, Follow::No, OpenHow::READ) {
            Ok(Node::Dir(below)) => {
                tree(&below, &path, found);
                found.insert(path, None);
            }
            Ok(Node::File(file)) => {
                let mut bytes = Vec::new();
                file.read_vec(&mut bytes, 1 << 20, 0).unwrap();
                found.insert(path, Some(bytes));
            }
            Err(errno) => drop(found.insert(path, Some(errno.to_string().into()))),
        }
    }
}

#[test]
fn guests_behave_as_their_core_modules_on_every_stack() {
    let guests: [(&str, &[u8], &[&str]); 5] = [
        ("hello", include_bytes!("guests/hello.wasm"), &["hello"]),
        ("sandbox", include_bytes!("guests/sandbox.wasm"), &["sandbox"]),
        ("echo_args_env", include_bytes!("guests/echo_args_env.wasm"), &["echo", "a b", "", "ü"]),
        ("fill", include_bytes!("guests/fill.wasm"), &["fill", "1"]),
        ("cat", include_bytes!("guests/cat.wasm"), &["cat"]),
    ];
    for (name, module, args) in guests {
        let component = component_of(module);
        for (plain, within) in stacks().into_iter().zip(stacks()) {
            let given =
                |root: &DirRef| config(root, args).env("NAME", "value").stdin(Input::bytes("in"));
            let expected = run(Engine::Wasmtime, module, given(&plain.root));
            let found = run_component(&component, given(&within.root));
            let context = format!("{name} on {}", plain.name);
            assert_eq!(found.end, expected.end, "{context}: {} {}", found.stdout, found.stderr);
            assert_eq!(
                (&found.stdout, &found.stderr),
                (&expected.stdout, &expected.stderr),
                "{context}"
            );
            let (mut left, mut right) = (BTreeMap::new(), BTreeMap::new());
            tree(&plain.root, "", &mut left);
            tree(&within.root, "", &mut right);
            assert_eq!(left, right, "{context}");
        }
    }
}

#[test]
fn exit_code_becomes_success_or_failure() {
    let component = component_of(include_bytes!("guests/exit_code.wasm"));
    for code in ["0", "1", "42", "255"] {
        let outcome = run_component(&component, Config::builder().args(["exit_code", code]));
        // The adapter uses `exit`, which only reports success or failure.
        assert_eq!(outcome.end, Ok(u32::from(code != "0")), "{code}");
    }
}

#[test]
fn trap_message_has_the_function_name() {
    let component = component_of(include_bytes!("guests/trap.wasm"));
    let outcome = run_component(&component, Config::builder().arg("trap"));
    assert!(outcome.end.unwrap_err().contains("unreachable"));
}

/// The sub-tests that fail through the standard adapter, because it deviates or Preview 2 has no
/// equivalent. `tests/README.md` lists the reasons.
const FAILS_THROUGH_THE_ADAPTER: &[&str] = &[
    "clock_unknown",
    "fd_pread_pwrite",
    "proc_raise",
    "row_08_invalid_utf8",
    "row_28_file_rights_enforced",
    "row_28_path_rights_enforced",
    "row_28_rights_of_opened",
    "row_28_rights_to_truncate",
    "row_29_set_rights",
    "row_30_rights_for_flags",
    "row_30_rights_for_poll",
    "row_30_rights_in_pairs",
    "row_37_stdio_has_no_offset",
    "row_38_readdir_concurrent",
    "row_38_readdir_delete_all",
    "row_38_readdir_truncates",
    "row_42_poll_errors",
    "row_43_pointers_out_of_bounds",
    "row_43_unknown_enums_and_flags",
    "sock_calls",
];

#[test]
fn calls_pass_through_the_adapter_except_for_known_failures() {
    let component = component_of(CALLS);
    let names = run(Engine::Wasmtime, CALLS, Config::builder().args(["calls", "list"]));
    let names: Vec<_> = names.stdout.lines().collect();
    let expected: BTreeSet<_> = FAILS_THROUGH_THE_ADAPTER.iter().copied().collect();
    // The list is the same for all stacks, because each deviation is one of the adapter.
    let mut failed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in names {
        for stack in stacks() {
            let given = config(&stack.root, &["calls", name]).env("NAME", "value");
            let outcome = run_component(&component, given);
            let failed = failed.entry(stack.name).or_default();
            if outcome.end != Ok(0) || !outcome.stdout.contains(&format!("ok {name}")) {
                failed.insert(name);
            }
        }
    }
    for (stack, failed) in failed {
        assert_eq!(failed, expected, "{stack}");
    }
}
