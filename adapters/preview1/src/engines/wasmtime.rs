//! Preview 1 for wasmtime.

use wasmtime::{Caller, Extern, Linker, Memory as EngineMemory};

use crate::functions::for_each_function;
use crate::memory::Memory;
use crate::{MODULE, Preview1, errno};

/// The state of one guest in a wasmtime store.
pub type State = super::GuestState<EngineMemory>;

/// Defines all functions of `wasi_snapshot_preview1` in `linker`. `state` projects the store's data
/// to the [`State`].
///
/// `proc_exit` ends the guest with a [`palisade_kernel::Exit`] as the error. A call of a guest
/// without an exported memory traps.
///
/// # Errors
///
/// - A function is already defined in `linker`.
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
                    let call = |memory: EngineMemory, caller: &mut Caller<'_, T>| {
                        let (bytes, data) = memory.data_and_store_mut(caller);
                        let mut memory = Memory::new(bytes);
                        errno::number(state(data).preview1.$name(&mut memory, $($arg),*))
                    };
                    // perf: two separate calls, so that the first keeps the memory in registers.
                    match state(caller.data_mut()).memory {
                        Some(memory) => Ok(call(memory, &mut caller)),
                        None => with_exported_memory(&mut caller, call),
                    }
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

/// Runs `call` with the exported memory of the guest.
#[cold]
fn with_exported_memory<T: 'static>(
    caller: &mut Caller<'_, T>,
    call: impl FnOnce(EngineMemory, &mut Caller<'_, T>) -> i32,
) -> wasmtime::Result<i32> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(call(memory, caller)),
        _ => Err(wasmtime::Error::msg(
            "the guest calls WASI but exports no memory named `memory` that it could use",
        )),
    }
}
