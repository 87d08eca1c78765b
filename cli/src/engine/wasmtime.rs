//! Runs modules on wasmtime, with a cache of compiled code.

use std::path::PathBuf;

use palisade::Exit;
use palisade::preview1::engines::wasmtime::{State, add_to_linker};
use palisade::preview1::{MODULE, Preview1};
use wasmtime::{
    Cache, CacheConfig, Config, Engine, FrameInfo, Instance, Linker, Module, Store, Trap,
    WasmBacktrace, WasmBacktraceDetails,
};

use super::budget::MemoryBudget;
use super::{Bounds, Ended, Guest, ModuleCache, Watchdog};

struct Data {
    state: State,
    budget: MemoryBudget,
}

pub(super) fn run(guest: Guest<'_>) -> Ended {
    match try_run(guest) {
        Ok(ended) | Err(ended) => ended,
    }
}

fn try_run(guest: Guest<'_>) -> Result<Ended, Ended> {
    let budget = MemoryBudget::new(&guest.bounds)?;
    let engine = engine(&guest.bounds, guest.cache)?;
    let module = Module::new(&engine, guest.bytes).map_err(refuse)?;
    let mut linker = Linker::new(&engine);
    if module.imports().any(|import| import.module() == MODULE) {
        add_to_linker(&mut linker, |data: &mut Data| &mut data.state).map_err(refuse)?;
    }

    let interrupt = guest.process.interrupt().clone();
    let preview1 = Preview1::new(guest.process).with_zero_rights(guest.zero_rights);
    let data = Data { state: State::new(preview1), budget };
    let mut store = Store::new(&engine, data);
    store.limiter(|data| &mut data.budget);
    store.set_epoch_deadline(1);
    drop(guest.compiling);
    let watchdog =
        Watchdog::start(guest.bounds.stop, &interrupt, move || engine.increment_epoch())?;
    // A trap of the start function is a trap of the guest, not a refusal of the engine.
    let instance = linker.instantiate(&mut store, &module);
    let instance = instance.map_err(|error| match store.data().budget.over() {
        _ if is_guest_error(&error) => ended(Err(error), &watchdog),
        over => over.unwrap_or_else(|| refuse(error)),
    })?;
    // A guest that only exits needs no memory.
    if instance.get_memory(&mut store, "memory").is_none()
        && module.imports().any(|import| import.name() != "proc_exit")
    {
        return Err(Ended::Refused("there is no memory".to_owned()));
    }
    let result = call(&mut store, instance).map_err(refuse)?;
    let ended = ended(result, &watchdog);
    // Closing a handle can emit audit records.
    store.data_mut().state.preview1_mut().process_mut().close_all();
    // The process ends next, so freeing the store would only delay the exit.
    std::mem::forget(store);
    Ok(ended)
}

/// Creates an engine.
///
/// Shared memories and the GC proposal are disabled: wasmtime does not call the limiter for them.
pub(super) fn engine(bounds: &Bounds, cache: ModuleCache) -> Result<Engine, Ended> {
    let mut config = Config::new();
    // Details of backtraces would make each start read an environment variable and each module keep
    // its debug information, for the rare trap.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.shared_memory(false);
    config.epoch_interruption(bounds.stop.is_some());
    config.cache(match cache {
        ModuleCache::Disabled => None,
        ModuleCache::Optional(dir) => open_cache(dir).ok(),
        ModuleCache::Required(dir) => {
            Some(open_cache(dir).map_err(|why| Ended::NoCache(format!("{why:#}")))?)
        }
    });
    Engine::new(&config).map_err(refuse)
}

/// Converts an error before the start of the guest.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn refuse(why: wasmtime::Error) -> Ended {
    Ended::Refused(format!("{why:#}"))
}

fn open_cache(dir: PathBuf) -> wasmtime::Result<Cache> {
    let mut cache = CacheConfig::new();
    cache.with_directory(dir);
    Cache::new(cache)
}

/// Calls `_start`. The outer error means that it cannot be called.
fn call(store: &mut Store<Data>, instance: Instance) -> wasmtime::Result<wasmtime::Result<()>> {
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    if let Some(memory) = instance.get_memory(&mut *store, "memory") {
        store.data_mut().state.bind_memory(memory);
    }
    Ok(start.call(store, ()))
}

/// Returns whether an error of the instantiation comes from the start function of the guest.
pub(super) fn is_guest_error(error: &wasmtime::Error) -> bool {
    error.is::<Trap>() || error.is::<Exit>()
}

pub(super) fn ended(result: wasmtime::Result<()>, watchdog: &Watchdog) -> Ended {
    if let Some(cause) = watchdog.cause() {
        return Ended::Stopped(cause);
    }
    let error = match result {
        Ok(()) => return Ended::Exited(0),
        Err(error) => error,
    };
    if let Some(Exit(code)) = error.downcast_ref() {
        return Ended::Exited(*code);
    }
    // The backtrace is a separate context above the root cause.
    let trace = error.downcast_ref::<WasmBacktrace>();
    let frames = trace.map(|trace| trace.frames().iter().enumerate().map(frame).collect());
    let why = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        None => error.root_cause().to_string(),
    };
    Ended::Trapped { why, frames: frames.unwrap_or_default() }
}

/// Formats a frame of a backtrace as `0: 0x1c - module!function`.
///
/// The `Display` of the backtrace is not used: a newline in the name of a function would look like
/// another frame.
fn frame((number, frame): (usize, &FrameInfo)) -> String {
    let module = frame.module().name().unwrap_or("<unknown>");
    let offset = frame.module_offset().map(|it| format!("{it:#x} - ")).unwrap_or_default();
    let function = match frame.func_name() {
        Some(name) => demangled(name),
        None => format!("<wasm function {}>", frame.func_index()),
    };
    format!("{number}: {offset}{module}!{function}")
}

/// Demangles a Rust or C++ name; returns other names unchanged.
fn demangled(name: &str) -> String {
    if let Ok(demangled) = rustc_demangle::try_demangle(name) {
        return demangled.to_string();
    }
    let symbol = cpp_demangle::Symbol::new(name).ok();
    symbol.and_then(|symbol| symbol.demangle().ok()).unwrap_or_else(|| name.to_owned())
}
