//! Runs guests that call Preview 2 directly, without an adapter.
//!
//! `calls2.wasm` has a sub-test for each function of `wasi:filesystem`, `wasi:cli`, `wasi:io` and
//! `wasi:clocks`; its source documents the expected results.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use palisade_kernel::{Config, ConfigBuilder, Exit, Input, Limits, Output};
use palisade_policy::read_only;
use palisade_preview2::bindings::{Command, sync};
use palisade_preview2::{
    PalisadeCtx, PalisadeCtxView, PalisadeView, add_to_linker_async, add_to_linker_sync,
};
use palisade_vfs::{
    Access, DirRef, Follow, HostDir, MemFs, OpenFlags, OpenHow, copy_tree, path as paths,
};
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};
use wit_component::DecodedWasm;

use crate::harness::{Outcome, Stack, config, wasmtime_engine};

const CALLS2: &[u8] = include_bytes!("guests/calls2.wasm");

/// The limit on the memory of a guest, in bytes.
const MEMORY_MAX: usize = 64 << 20;
/// The limit on the streams and pollables of a guest.
const RESOURCES_MAX: usize = 2000;
/// The limit on the descriptors of a guest.
const DESCRIPTORS_MAX: u32 = 500;

struct State {
    ctx: PalisadeCtx,
    table: ResourceTable,
    limits: StoreLimits,
}

impl PalisadeView for State {
    fn palisade(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// The linker and the way of calling a component.
#[derive(Clone, Copy, Debug)]
enum Linked {
    Sync,
    Async,
    /// Asynchronous, with each call run inline.
    AsyncInline,
}

const ALL: [Linked; 3] = [Linked::Sync, Linked::Async, Linked::AsyncInline];

fn calls2() -> &'static Component {
    static COMPILED: OnceLock<Component> = OnceLock::new();
    COMPILED.get_or_init(|| Component::new(wasmtime_engine(), CALLS2).unwrap())
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    })
}

fn run(linked: Linked, config: ConfigBuilder) -> Outcome {
    let ((stdout, out), (stderr, err)) = (Output::buffer(1 << 20), Output::buffer(1 << 20));
    let config = config.stdout(stdout).stderr(stderr).build().unwrap();
    let mut linker = Linker::<State>::new(wasmtime_engine());
    let ctx = PalisadeCtx::new(config.start());
    let ctx = if matches!(linked, Linked::AsyncInline) { ctx.wait_inline() } else { ctx };
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    let limits = StoreLimitsBuilder::new().memory_size(MEMORY_MAX).build();
    let mut store = Store::new(wasmtime_engine(), State { ctx, table, limits });
    store.limiter(|state| &mut state.limits);
    let ended = match linked {
        Linked::Sync => {
            add_to_linker_sync(&mut linker).unwrap();
            let command = sync::Command::instantiate(&mut store, calls2(), &linker).unwrap();
            command.wasi_cli_run().call_run(&mut store)
        }
        Linked::Async | Linked::AsyncInline => {
            add_to_linker_async(&mut linker).unwrap();
            runtime().block_on(async {
                let command = Command::instantiate_async(&mut store, calls2(), &linker).await;
                command.unwrap().wasi_cli_run().call_run(&mut store).await
            })
        }
    };
    let end = match ended {
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

/// Returns the configuration of a sub-test.
fn given(root: &DirRef, name: &str) -> ConfigBuilder {
    let config = config(root, &["calls2", name]).env("NAME", "value=more").env("EMPTY", "");
    let limits = Limits { descriptors_max: DESCRIPTORS_MAX, ..Limits::default() };
    config.limits(limits).stdin(Input::bytes("input"))
}

fn list(what: &str) -> Vec<String> {
    let outcome = run(Linked::Sync, Config::builder().args(["calls2", what]));
    outcome.assert_success(what);
    outcome.stdout.lines().map(str::to_owned).collect()
}

/// Runs a sub-test and returns its failure, if any.
fn fault_of(linked: Linked, name: &str, stack: &str, root: &DirRef) -> Option<String> {
    let outcome = run(linked, given(root, name));
    // The sub-test of `exit` exits with a failure.
    let want = u32::from(name == "exit_exit");
    let passed = outcome.end == Ok(want) && outcome.stdout.contains(&format!("ok {name}\n"));
    let report = || {
        let (out, err) = (outcome.stdout.trim(), outcome.stderr.trim());
        format!("{name} on {stack}, {linked:?}: {:?} {out} {err}", outcome.end)
    };
    (!passed).then(report)
}

/// Returns the writable stacks, including overlays and a copy of a host directory.
fn stacks() -> Vec<(&'static str, Stack)> {
    let all = Stack::writable().into_iter().chain(Stack::overlays());
    all.map(|stack| (stack.name, stack)).collect()
}

/// Copies a directory of the host to memory.
fn copied() -> DirRef {
    let dir = tempfile::tempdir().unwrap();
    let fs = MemFs::new();
    copy_tree(&HostDir::open_ambient(dir.path()).unwrap(), &fs.root()).unwrap();
    fs.root()
}

#[test]
fn sub_tests_pass_on_each_stack_and_linker() {
    let names = list("list");
    assert!(names.len() > 60, "{names:?}");
    let mut faults = Vec::new();
    for linked in ALL {
        // Each sub-test creates its own directory.
        for (what, stack) in stacks() {
            faults
                .extend(names.iter().filter_map(|name| fault_of(linked, name, what, &stack.root)));
        }
        let copy = copied();
        faults.extend(names.iter().filter_map(|name| fault_of(linked, name, "a copy", &copy)));
    }
    assert!(faults.is_empty(), "{} failed:\n{}", faults.len(), faults.join("\n"));
}

/// Creates the file `f`, the directory `d` and the link `l` to `f`.
fn filled(root: &DirRef) {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let file = paths::open(&**root, "f", Follow::No, how).unwrap().into_file().unwrap();
    file.write_at(&[IoSlice::new(b"content")], 0).unwrap();
    paths::create_dir(&**root, "d").unwrap();
    paths::create_symlink(&**root, "f", "l").unwrap();
}

#[test]
fn read_only_stacks_refuse_changes() {
    let names = list("list-read-only");
    assert_eq!(names.len(), 3, "{names:?}");
    let mut faults = Vec::new();
    for linked in ALL {
        for (what, stack) in stacks() {
            filled(&stack.root);
            let fixed = read_only(Arc::clone(&stack.root));
            faults.extend(names.iter().filter_map(|name| fault_of(linked, name, what, &fixed)));
        }
    }
    assert!(faults.is_empty(), "{} failed:\n{}", faults.len(), faults.join("\n"));
}

/// Returns the number of descriptors of this process on nodes under `dir`.
fn descriptors_in(dir: &Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.starts_with(dir)).count()
}

#[test]
fn contract_violations_trap_and_leak_nothing() {
    let names = list("list-traps");
    assert!(names.len() > 20, "{names:?}");
    let mut faults = Vec::new();
    for linked in ALL {
        let dir = tempfile::tempdir().unwrap();
        let memory = MemFs::new();
        let host = HostDir::open_ambient(dir.path()).unwrap();
        assert_eq!(descriptors_in(dir.path()), 1);
        for (what, root) in [("memory", memory.root()), ("the host", host)] {
            for name in &names {
                let outcome = run(linked, given(&root, name));
                let printed = outcome.stdout == format!("ok {name}\n");
                let trapped = outcome.end.as_ref().is_err_and(|text| !text.contains("panicked"));
                if !printed || !trapped {
                    faults.push(format!("{name} on {what}, {linked:?}: {outcome:?}"));
                }
            }
        }
        // Work on another thread may outlive the guest for a moment.
        let is_closed = || descriptors_in(dir.path()) == 0;
        let mut attempts = 0..200;
        while !is_closed() && attempts.next().is_some() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_closed(), "{linked:?}");
        assert!(memory.usage().bytes < 1 << 20, "{:?}", memory.usage());
    }
    assert!(faults.is_empty(), "{} failed:\n{}", faults.len(), faults.join("\n"));
}

/// The functions that are tested elsewhere. The C header predates `exit-with-code`, for which
/// `adapters/preview2/tests/preview2/components.rs` has a guest.
const ELSEWHERE: &[&str] = &["exit_exit_with_code"];

/// Returns the functions of the tested interfaces in a WIT world, by the names of their sub-tests.
macro_rules! functions {
    ($resolve:expr) => {{
        let resolve = &$resolve;
        let mut found = BTreeSet::new();
        for interface in resolve.interfaces.iter().map(|(_, interface)| interface) {
            let Some(package) = interface.package else { continue };
            let package = &resolve.packages[package].name;
            let tested = ["filesystem", "cli", "io", "clocks"];
            if package.namespace != "wasi" || !tested.contains(&package.name.as_str()) {
                continue;
            }
            let interface_name = interface.name.clone().unwrap();
            for name in interface.functions.keys() {
                let name = match name.strip_prefix("[method]") {
                    Some(method) => method.to_owned(),
                    None => format!("{interface_name}.{name}"),
                };
                found.insert(name.replace(['.', '-'], "_"));
            }
        }
        found.remove("run_run");
        found
    }};
}

#[test]
fn each_function_of_the_standard_has_a_sub_test() {
    let (_, standard) =
        wit_component::metadata::decode(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER).unwrap();
    let standard = functions!(standard.resolve);
    assert!(standard.len() > 60 && standard.contains("descriptor_is_same_object"), "{standard:?}");
    let DecodedWasm::Component(resolve, _) = wit_component::decode(CALLS2).unwrap() else {
        panic!("not a component");
    };
    let imported = functions!(resolve);
    let tested: BTreeSet<String> = list("list").into_iter().collect();
    for name in standard {
        if !ELSEWHERE.contains(&name.as_str()) {
            assert!(tested.contains(&name), "no sub-test is named {name}");
            assert!(imported.contains(&name), "{name} is not imported by calls2.wasm");
        }
    }
}
