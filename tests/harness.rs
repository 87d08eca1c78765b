//! Runs a guest on an engine and a filesystem stack, and returns its outcome.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use palisade_kernel::{Config, ConfigBuilder, Exit, Output};
use palisade_policy::{Policy, Refusal, confine};
use palisade_preview1::engines;
use palisade_preview1::{Preview1, ZeroRights};
use palisade_vfs::overlay::{Lowers, Overlay, UpperRef};
use palisade_vfs::{DirRef, HostDir, HostUpper, MemFs, Mounts, Resolver, Rights};

/// The engines with Preview 1 bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Wasmtime,
    Wasmi,
}

impl Engine {
    pub const ALL: [Engine; 2] = [Engine::Wasmtime, Engine::Wasmi];
}

/// The outcome of a guest.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code, or the text of the trap.
    pub end: Result<u32, String>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Panics with the output of the guest unless it exited with 0.
    #[track_caller]
    pub fn assert_success(&self, what: &str) {
        assert_eq!(self.end, Ok(0), "{what}\n{}\n{}", self.stdout, self.stderr);
    }
}

/// A filesystem stack for a guest, with the resources that must live as long.
pub struct Stack {
    pub name: &'static str,
    pub root: DirRef,
    _tempdir: Option<tempfile::TempDir>,
}

impl Stack {
    /// Returns the writable stacks, each empty.
    pub fn writable() -> Vec<Stack> {
        let all = || Policy::uniform(Rights::all(), Refusal::Denied).into();
        let mut stacks = vec![
            Stack::of("memory", MemFs::new().root()),
            Stack::of("memory, confined", confine(MemFs::new().root(), all())),
            Stack::of("memory, mounted", mounted(MemFs::new().root())),
            Stack::of("memory, confined and mounted", mounted(confine(MemFs::new().root(), all()))),
        ];
        for (name, resolver) in [
            ("host directory", Resolver::Openat2),
            ("host directory by components", Resolver::Components),
        ] {
            stacks.push(Stack::host(name, resolver, |dir| dir));
        }
        stacks.push(Stack::host("host directory, confined", Resolver::Auto, |dir| {
            confine(dir, all())
        }));
        stacks.push(Stack::host("host directory, mounted", Resolver::Auto, mounted));
        stacks
    }

    /// Returns empty overlays: one with an upper in memory, one with an upper on the host.
    pub fn overlays() -> Vec<Stack> {
        let over = |upper: UpperRef| {
            let lowers = Lowers::of(MemFs::new().root());
            Overlay::new(upper, &lowers).unwrap().root()
        };
        let upper = tempfile::tempdir().unwrap();
        let on_host = over(HostUpper::open_ambient(upper.path()).unwrap());
        vec![
            Stack::of("overlay in memory", over(MemFs::new().upper())),
            Stack { name: "overlay in a host directory", root: on_host, _tempdir: Some(upper) },
        ]
    }

    fn of(name: &'static str, root: DirRef) -> Self {
        Stack { name, root, _tempdir: None }
    }

    fn host(name: &'static str, resolver: Resolver, wrap: impl Fn(DirRef) -> DirRef) -> Self {
        let tempdir = tempfile::tempdir().unwrap();
        let root = HostDir::open_ambient_with(tempdir.path(), resolver).unwrap();
        Stack { name, root: wrap(root), _tempdir: Some(tempdir) }
    }
}

/// Mounts `dir` deep in a namespace and opens it through the mount.
fn mounted(dir: DirRef) -> DirRef {
    let space = Mounts::builder(MemFs::new().root()).mount("deep/down/here", dir).unwrap().build();
    let here = palisade_vfs::path::open(
        &*space,
        "deep/down/here",
        palisade_vfs::Follow::No,
        palisade_vfs::OpenHow::HOLD_DIR,
    );
    here.unwrap().into_dir().unwrap()
}

/// Returns a configuration with `root` as `/` and these arguments.
pub fn config(root: &DirRef, args: &[&str]) -> ConfigBuilder {
    Config::builder().args(args.iter().copied()).preopen("/", root.clone())
}

/// Runs a command module.
pub fn run(engine: Engine, wasm: &[u8], config: ConfigBuilder) -> Outcome {
    run_with(engine, wasm, config, ZeroRights::default())
}

/// Runs a command module with the given meaning of an open without rights.
pub fn run_with(
    engine: Engine,
    wasm: &[u8],
    config: ConfigBuilder,
    zero_rights: ZeroRights,
) -> Outcome {
    const OUTPUT_MAX: usize = 1 << 22;
    let ((stdout, out), (stderr, err)) = (Output::buffer(OUTPUT_MAX), Output::buffer(OUTPUT_MAX));
    let config = config.stdout(stdout).stderr(stderr).build().unwrap();
    let preview1 = Preview1::new(config.start()).with_zero_rights(zero_rights);
    let end = match engine {
        Engine::Wasmtime => on_wasmtime(wasm, preview1),
        Engine::Wasmi => on_wasmi(wasm, preview1),
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { end, stdout: text(out.take()), stderr: text(err.take()) }
}

/// Returns the engine that all tests share.
pub fn wasmtime_engine() -> &'static wasmtime::Engine {
    static ENGINE: OnceLock<wasmtime::Engine> = OnceLock::new();
    ENGINE.get_or_init(wasmtime::Engine::default)
}

/// Returns the compiled module from a cache, compiling it on a miss.
fn wasmtime_module(wasm: &[u8]) -> wasmtime::Result<wasmtime::Module> {
    static COMPILED: Mutex<BTreeMap<Vec<u8>, wasmtime::Module>> = Mutex::new(BTreeMap::new());
    if let Some(module) = COMPILED.lock().unwrap().get(wasm) {
        return Ok(module.clone());
    }
    let module = wasmtime::Module::new(wasmtime_engine(), wasm)?;
    COMPILED.lock().unwrap().insert(wasm.to_vec(), module.clone());
    Ok(module)
}

fn on_wasmtime(wasm: &[u8], preview1: Preview1) -> Result<u32, String> {
    use engines::wasmtime::{State, add_to_linker};
    let engine = wasmtime_engine();
    let text = |error: wasmtime::Error| format!("{error:?}");
    let module = wasmtime_module(wasm).map_err(text)?;
    let mut linker = wasmtime::Linker::new(engine);
    add_to_linker(&mut linker, |state: &mut State| state).map_err(text)?;
    let mut store = wasmtime::Store::new(engine, State::new(preview1));
    let instance = linker.instantiate(&mut store, &module).map_err(text)?;
    if let Some(memory) = instance.get_memory(&mut store, "memory") {
        store.data_mut().bind_memory(memory);
    }
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(text)?;
    match start.call(&mut store, ()) {
        Ok(()) => Ok(0),
        Err(end) => match end.downcast_ref::<Exit>() {
            Some(Exit(code)) => Ok(*code),
            None => Err(text(end)),
        },
    }
}

fn on_wasmi(wasm: &[u8], preview1: Preview1) -> Result<u32, String> {
    use engines::wasmi::{State, add_to_linker};
    static COMPILED: Mutex<BTreeMap<Vec<u8>, wasmi::Module>> = Mutex::new(BTreeMap::new());
    let text = |error: wasmi::Error| format!("{error:?}");
    let cached = COMPILED.lock().unwrap().get(wasm).cloned();
    let module = match cached {
        Some(module) => module,
        None => {
            let module = wasmi::Module::new(&wasmi::Engine::default(), wasm).map_err(text)?;
            COMPILED.lock().unwrap().insert(wasm.to_vec(), module.clone());
            module
        }
    };
    let engine = module.engine();
    let mut linker = wasmi::Linker::new(engine);
    add_to_linker(&mut linker, |state: &mut State| state).map_err(text)?;
    let mut store = wasmi::Store::new(engine, State::new(preview1));
    let instance = linker.instantiate_and_start(&mut store, &module).map_err(text)?;
    if let Some(memory) = instance.get_memory(&store, "memory") {
        store.data_mut().bind_memory(memory);
    }
    let start = instance.get_typed_func::<(), ()>(&store, "_start").map_err(text)?;
    match start.call(&mut store, ()) {
        Ok(()) => Ok(0),
        Err(end) => match end.i32_exit_status() {
            Some(code) => Ok(code.cast_unsigned()),
            None => Err(text(end)),
        },
    }
}
