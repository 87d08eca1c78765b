//! Runs modules on wasmi, an interpreter.

use palisade::preview1::Preview1;
use palisade::preview1::engines::wasmi::{HostPanic, State, add_to_linker};
use wasmi::{CompilationMode, Config, Engine, Error, Linker, Module, Store, TypedResumableCall};

use super::budget::MemoryBudget;
use super::{Ended, Guest, Watchdog};

/// Fuel between two checks of the stop cause: about a millisecond.
const SLICE_FUEL: u64 = 1_000_000;

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
    let refuse = |why: Error| Ended::Refused(why.to_string());
    let can_stop = guest.bounds.stop.is_some();
    let budget = MemoryBudget::new(&guest.bounds)?;
    let mut config = Config::default();
    config.consume_fuel(can_stop);
    if can_stop {
        // Lazy translation of a function at its first call consumes fuel, and a call that runs out
        // of fuel there cannot be resumed.
        config.compilation_mode(CompilationMode::Eager);
    }
    let engine = Engine::new(&config);
    let module = Module::new(&engine, guest.bytes).map_err(refuse)?;
    let mut linker = Linker::new(&engine);
    add_to_linker(&mut linker, |data: &mut Data| &mut data.state).map_err(refuse)?;

    let interrupt = guest.process.interrupt().clone();
    let preview1 = Preview1::new(guest.process).with_zero_rights(guest.zero_rights);
    let data = Data { state: State::new(preview1), budget };
    let mut store = Store::new(&engine, data);
    store.limiter(|data| &mut data.budget);
    if can_stop {
        // A start function cannot be resumed, so it gets all its fuel at once. If it does not end,
        // the watchdog ends the process.
        store.set_fuel(u64::MAX).map_err(refuse)?;
    }
    drop(guest.compiling);
    let watchdog = Watchdog::start(guest.bounds.stop, &interrupt, || {})?;
    let instance = linker.instantiate_and_start(&mut store, &module);
    let instance = instance.map_err(|error| {
        if error.as_trap_code().is_some() || error.i32_exit_status().is_some() {
            return ended(Err(&error), &watchdog);
        }
        store.data().budget.over().unwrap_or_else(|| refuse(error))
    })?;
    let start = instance.get_typed_func::<(), ()>(&store, "_start").map_err(refuse)?;
    match instance.get_memory(&store, "memory") {
        Some(memory) => store.data_mut().state.bind_memory(memory),
        // A guest that only exits needs no memory.
        None if module.imports().all(|import| import.name() == "proc_exit") => {}
        None => return Err(Ended::Refused("there is no memory".to_owned())),
    }
    if !can_stop {
        return Ok(ended(start.call(&mut store, ()).as_ref().copied(), &watchdog));
    }
    store.set_fuel(SLICE_FUEL).map_err(refuse)?;
    let mut call = start.call_resumable(&mut store, ());
    loop {
        let paused = match call {
            Ok(TypedResumableCall::Finished(())) => return Ok(ended(Ok(()), &watchdog)),
            Ok(TypedResumableCall::HostTrap(trap)) => {
                return Ok(ended(Err(trap.host_error()), &watchdog));
            }
            Err(error) => return Ok(ended(Err(&error), &watchdog)),
            Ok(TypedResumableCall::OutOfFuel(paused)) => paused,
        };
        if let Some(cause) = watchdog.cause() {
            return Ok(Ended::Stopped(cause));
        }
        // One instruction, such as `memory.fill`, may need more than a slice.
        store.set_fuel(paused.required_fuel().max(SLICE_FUEL)).map_err(refuse)?;
        call = paused.resume(&mut store);
    }
}

fn ended(result: Result<(), &Error>, watchdog: &Watchdog) -> Ended {
    if let Some(cause) = watchdog.cause() {
        return Ended::Stopped(cause);
    }
    let error = match result {
        Ok(()) => return Ended::Exited(0),
        Err(error) => error,
    };
    if let Some(HostPanic { message }) = error.downcast_ref() {
        return Ended::Panicked(message.clone());
    }
    match error.i32_exit_status() {
        Some(code) => Ended::Exited(code.cast_unsigned()),
        // wasmi provides no backtrace.
        None => Ended::Trapped { why: error.to_string(), frames: Vec::new() },
    }
}
