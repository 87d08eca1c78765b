//! Preview 1 on wasmi.

use wasmi::{Caller, Error, Extern, Linker, Memory as EngineMemory};

use crate::functions::for_each_function;
use crate::memory::Memory;
use crate::{MODULE, Preview1, errno};

/// What a store holds for one guest.
pub type State = super::Bound<EngineMemory>;

/// Defines all functions of `wasi_snapshot_preview1` in `linker`. `state` finds the [`State`] in
/// what the store holds.
///
/// `proc_exit` ends the guest with an error whose
/// [`i32_exit_status`](wasmi::Error::i32_exit_status) is the code. A guest that exports no memory
/// gets a trap that says so.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    state: impl Fn(&mut T) -> &mut State + Send + Sync + Copy + 'static,
) -> Result<(), Error> {
    macro_rules! define {
        ($($name:ident($($arg:ident: $ty:ty),*))*) => {$(
            linker.func_wrap(
                MODULE,
                stringify!($name),
                move |mut caller: Caller<'_, T>, $($arg: $ty),*| -> Result<i32, Error> {
                    let memory = memory_of(&mut caller, state)?;
                    let (bytes, data) = memory.data_and_store_mut(&mut caller);
                    let mut memory = Memory::new(bytes);
                    Ok(errno::number(state(data).preview1.$name(&mut memory, $($arg),*)))
                },
            )?;
        )*};
    }
    for_each_function!(define);
    linker.func_wrap(MODULE, "proc_exit", |code: u32| -> Result<(), Error> {
        Err(Error::i32_exit(Preview1::proc_exit(code).0.cast_signed()))
    })?;
    Ok(())
}

/// The memory of the guest that calls: bound, or looked up.
#[inline(always)]
fn memory_of<T: 'static>(
    caller: &mut Caller<'_, T>,
    state: impl Fn(&mut T) -> &mut State,
) -> Result<EngineMemory, Error> {
    if let Some(memory) = state(caller.data_mut()).memory {
        return Ok(memory);
    }
    exported_memory(caller)
}

#[cold]
fn exported_memory<T: 'static>(caller: &mut Caller<'_, T>) -> Result<EngineMemory, Error> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(Error::new(
            "the guest calls WASI but exports no memory named `memory` that it could use",
        )),
    }
}
