//! Preview 1 for wasmi.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmi::errors::HostError;
use wasmi::{Caller, Error, Extern, Linker, Memory as EngineMemory};

use crate::functions::for_each_function;
use crate::memory::Memory;
use crate::{MODULE, Preview1, errno};

/// The state of one guest in a wasmi store.
pub type State = super::GuestState<EngineMemory>;

/// A panic of a host function, converted to a trap of the guest.
///
/// wasmi calls host functions through frames that cannot unwind, so a panic would abort the
/// embedder's process. (wasmtime propagates panics to its embedder and needs no conversion.) The
/// state of the guest must not be used after it.
#[derive(Debug)]
pub struct HostPanic {
    /// The panic's message.
    pub message: String,
}

impl fmt::Display for HostPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "internal error: the host panicked: {}", self.message)
    }
}

impl std::error::Error for HostPanic {}

impl HostError for HostPanic {}

impl HostPanic {
    #[cold]
    fn new(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        HostPanic { message: text.unwrap_or_default() }
    }
}

/// Defines all functions of `wasi_snapshot_preview1` in `linker`. `state` projects the store's data
/// to the [`State`].
///
/// `proc_exit` ends the guest with an error whose
/// [`i32_exit_status`](wasmi::Error::i32_exit_status) is the code. A call of a guest without an
/// exported memory traps, and a panic of the host becomes a trap with [`HostPanic`].
///
/// # Errors
///
/// - A function is already defined in `linker`.
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
                    let call = AssertUnwindSafe(|| {
                        let memory = memory_of(&mut caller, state)?;
                        let (bytes, data) = memory.data_and_store_mut(&mut caller);
                        let mut memory = Memory::new(bytes);
                        Ok(errno::number(state(data).preview1.$name(&mut memory, $($arg),*)))
                    });
                    catch_unwind(call).unwrap_or_else(|panic| {
                        Err(Error::host(HostPanic::new(&*panic)))
                    })
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

/// Returns the bound memory of the calling guest, or its exported memory.
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
