//! Components, on wasmtime.

use palisade::Exit;
use palisade::preview1::ZeroRights;
use palisade::preview2::bindings::sync::Command;
use palisade::preview2::{PalisadeCtx, PalisadeCtxView, PalisadeView, add_to_linker_sync};
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};

use super::budget::MemoryBudget;
use super::wasmtime::{ended, engine, is_the_guests, refuse};
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
    let engine = engine(&guest.bounds, guest.keep)?;
    let component = Component::new(&engine, guest.bytes).map_err(refuse)?;
    let mut linker = Linker::new(&engine);
    add_to_linker_sync(&mut linker).map_err(refuse)?;

    let interrupt = guest.process.interrupt().clone();
    let ctx = match (guest.form, guest.zero_rights) {
        // The C library of Preview 2 asks for `mutate-directory` only with write access, which no
        // program asks of a directory: it opens one to be read, and removes what is in it.
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
        _ if is_the_guests(&error) => ended(Err(error), &watchdog),
        over => over.unwrap_or_else(|| refuse(error)),
    })?;
    let result = command.wasi_cli_run().call_run(&mut store);
    // Of a failure the interface tells no more than that it is one.
    let result = result.and_then(|run| run.map_err(|()| Exit(1).into()));
    let ended = ended(result, &watchdog);
    // Some handles have something to tell at their end.
    let Data { ctx, table, .. } = store.data_mut();
    drop(std::mem::take(table));
    if let Some(process) = ctx.process_mut() {
        process.close_all();
    }
    // The process ends next; taking its memory apart would only delay that.
    std::mem::forget(store);
    Ok(ended)
}
