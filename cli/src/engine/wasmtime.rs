//! wasmtime: compiled code, kept between runs.

use std::path::PathBuf;

use palisade::Exit;
use palisade::preview1::engines::wasmtime::{State, add_to_linker};
use palisade::preview1::{MODULE, Preview1};
use wasmtime::{
    Cache, CacheConfig, Config, Engine, FrameInfo, Instance, Linker, Module, Store, Trap,
    WasmBacktrace, WasmBacktraceDetails,
};

use super::budget::MemoryBudget;
use super::{Bounds, Ended, Guest, Keep, Watchdog};

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
    let engine = engine(&guest.bounds, guest.keep)?;
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
    // What the module itself does at its start may trap already, and that is no refusal.
    let instance = linker.instantiate(&mut store, &module);
    let instance = instance.map_err(|error| match store.data().budget.over() {
        _ if is_the_guests(&error) => ended(Err(error), &watchdog),
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
    // Some handles have something to tell at their end.
    store.data_mut().state.preview1_mut().process_mut().close_all();
    // The process ends next; taking its memory apart would only delay that.
    std::mem::forget(store);
    Ok(ended)
}

/// An engine with what is asked of every guest.
///
/// Shared memories and the GC proposal are not built into it: their memory would not be asked for
/// through a limiter.
pub(super) fn engine(bounds: &Bounds, keep: Keep) -> Result<Engine, Ended> {
    let mut config = Config::new();
    // The details would cost every start an environment variable and every module its debug
    // information, for the rare trap.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.shared_memory(false);
    config.epoch_interruption(bounds.stop.is_some());
    config.cache(match keep {
        Keep::Nowhere => None,
        Keep::IfPossible(dir) => cache(dir).ok(),
        Keep::Exactly(dir) => Some(cache(dir).map_err(|why| Ended::NoCache(format!("{why:#}")))?),
    });
    Engine::new(&config).map_err(refuse)
}

/// It never started.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn refuse(why: wasmtime::Error) -> Ended {
    Ended::Refused(format!("{why:#}"))
}

fn cache(dir: PathBuf) -> wasmtime::Result<Cache> {
    let mut cache = CacheConfig::new();
    cache.with_directory(dir);
    Cache::new(cache)
}

/// Calls `_start`. The outer error is why it cannot be called.
fn call(store: &mut Store<Data>, instance: Instance) -> wasmtime::Result<wasmtime::Result<()>> {
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    if let Some(memory) = instance.get_memory(&mut *store, "memory") {
        store.data_mut().state.bind_memory(memory);
    }
    Ok(start.call(store, ()))
}

pub(super) fn is_the_guests(error: &wasmtime::Error) -> bool {
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
    // The backtrace is a context of its own, above the reason.
    let trace = error.downcast_ref::<WasmBacktrace>();
    let frames = trace.map(|trace| trace.frames().iter().enumerate().map(frame).collect());
    let why = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        None => error.root_cause().to_string(),
    };
    Ended::Trapped { why, frames: frames.unwrap_or_default() }
}

/// One frame of a backtrace as `0: 0x1c - module!function`.
///
/// The `Display` of a backtrace is not used: a newline in a function's name would be a frame.
fn frame((number, frame): (usize, &FrameInfo)) -> String {
    let module = frame.module().name().unwrap_or("<unknown>");
    let offset = frame.module_offset().map(|it| format!("{it:#x} - ")).unwrap_or_default();
    let function = match frame.func_name() {
        Some(name) => demangled(name),
        None => format!("<wasm function {}>", frame.func_index()),
    };
    format!("{number}: {offset}{module}!{function}")
}

/// The name that a Rust or C++ compiler was given, or `name` if it is not mangled.
fn demangled(name: &str) -> String {
    if let Ok(demangled) = rustc_demangle::try_demangle(name) {
        return demangled.to_string();
    }
    let symbol = cpp_demangle::Symbol::new(name).ok();
    symbol.and_then(|symbol| symbol.demangle().ok()).unwrap_or_else(|| name.to_owned())
}
