//! Runs components on wasmtime.

use palisade::Exit;
use palisade::preview1::ZeroRights;
use palisade::preview2::bindings::sync::Command;
use palisade::preview2::{PalisadeCtx, PalisadeCtxView, PalisadeView, add_to_linker_sync};
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};

use super::budget::MemoryBudget;
use super::wasmtime::{ended, engine, is_guest_error, refuse};
use super::{Ended, Form, Guest, Watchdog};

struct Data {
    ctx: PalisadeCtx,
    table: ResourceTable,
    budget: MemoryBudget,
}

impl PalisadeView for Data {
    fn palisade(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

pub(super) fn run(guest: Guest<'_>) -> Ended {
    match try_run(guest) {
        Ok(ended) | Err(ended) => ended,
    }
}

fn try_run(guest: Guest<'_>) -> Result<Ended, Ended> {
    let budget = MemoryBudget::new(&guest.bounds)?;
    let engine = engine(&guest.bounds, guest.cache)?;
    let component = Component::new(&engine, guest.bytes).map_err(refuse)?;
    let mut linker = Linker::new(&engine);
    add_to_linker_sync(&mut linker).map_err(refuse)?;

    let interrupt = guest.process.interrupt().clone();
    let ctx = match (guest.form, guest.zero_rights) {
        // The C library of Preview 2 requests `mutate-directory` only together with write access,
        // which programs do not request for directories: they open one for reading, and then remove
        // its entries.
        (Form::WrappedModule, _) | (Form::Component | Form::Module, ZeroRights::Inherited) => {
            PalisadeCtx::for_preview1_guest(guest.process)
        }
        (Form::Component | Form::Module, ZeroRights::Literal) => PalisadeCtx::new(guest.process),
    };
    let data = Data { ctx, table: ResourceTable::new(), budget };
    let mut store = Store::new(&engine, data);
    store.limiter(|data| &mut data.budget);
    store.set_epoch_deadline(1);
    drop(guest.compiling);
    let watchdog =
        Watchdog::start(guest.bounds.stop, &interrupt, move || engine.increment_epoch())?;
    let command = Command::instantiate(&mut store, &component, &linker);
    let command = command.map_err(|error| match store.data().budget.over() {
        _ if is_guest_error(&error) => ended(Err(error), &watchdog),
        over => over.unwrap_or_else(|| refuse(error)),
    })?;
    let result = command.wasi_cli_run().call_run(&mut store);
    // `wasi:cli/run` returns no code with a failure.
    let result = result.and_then(|run| run.map_err(|()| Exit(1).into()));
    let ended = ended(result, &watchdog);
    // Closing a handle can emit audit records.
    let Data { ctx, table, .. } = store.data_mut();
    drop(std::mem::take(table));
    if let Some(process) = ctx.process_mut() {
        process.close_all();
    }
    // The process ends next, so freeing the store would only delay the exit.
    std::mem::forget(store);
    Ok(ended)
}
