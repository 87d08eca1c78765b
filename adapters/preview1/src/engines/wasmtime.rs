//! Preview 1 on wasmtime.

use wasmtime::{Caller, Extern, Linker, Memory as EngineMemory};

use crate::functions::for_each_function;
use crate::memory::Memory;
use crate::{MODULE, Preview1, errno};

/// What a store holds for one guest.
pub type State = super::Bound<EngineMemory>;

/// Defines all functions of `wasi_snapshot_preview1` in `linker`. `state` finds the [`State`] in
/// what the store holds.
///
/// `proc_exit` ends the guest with a [`palisade_kernel::Exit`] as the error. A guest that exports
/// no memory gets a trap that says so.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    state: impl Fn(&mut T) -> &mut State + Send + Sync + Copy + 'static,
) -> wasmtime::Result<()> {
    macro_rules! define {
        ($($name:ident($($arg:ident: $ty:ty),*))*) => {$(
            linker.func_wrap(
                MODULE,
                stringify!($name),
                move |mut caller: Caller<'_, T>, $($arg: $ty),*| -> wasmtime::Result<i32> {
                    let memory = memory_of(&mut caller, state)?;
                    let (bytes, data) = memory.data_and_store_mut(&mut caller);
                    let mut memory = Memory::new(bytes);
                    Ok(errno::number(state(data).preview1.$name(&mut memory, $($arg),*)))
                },
            )?;
        )*};
    }
    for_each_function!(define);
    linker.func_wrap(MODULE, "proc_exit", |code: u32| -> wasmtime::Result<()> {
        Err(Preview1::proc_exit(code).into())
    })?;
    Ok(())
}

/// The memory of the guest that calls: bound, or looked up.
#[inline(always)]
fn memory_of<T: 'static>(
    caller: &mut Caller<'_, T>,
    state: impl Fn(&mut T) -> &mut State,
) -> wasmtime::Result<EngineMemory> {
    if let Some(memory) = state(caller.data_mut()).memory {
        return Ok(memory);
    }
    exported_memory(caller)
}

#[cold]
fn exported_memory<T: 'static>(caller: &mut Caller<'_, T>) -> wasmtime::Result<EngineMemory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(wasmtime::Error::msg(
            "the guest calls WASI but exports no memory named `memory` that it could use",
        )),
    }
}
