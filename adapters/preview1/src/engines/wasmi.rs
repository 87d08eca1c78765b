//! Preview 1 on wasmi.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmi::errors::HostError;
use wasmi::{Caller, Error, Extern, Linker, Memory as EngineMemory};

use crate::functions::for_each_function;
use crate::memory::Memory;
use crate::{MODULE, Preview1, errno};

/// What a store holds for one guest.
pub type State = super::GuestState<EngineMemory>;

/// A panic of the host in a call of a guest, which is a trap of the guest.
///
/// It cannot go on as a panic: wasmi calls the host through frames that cannot unwind, so it would
/// end the embedder's process. wasmtime, which carries panics on to its embedder, needs no such
/// error. What the guest's state holds after it is not to be used again.
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

/// Defines all functions of `wasi_snapshot_preview1` in `linker`. `state` finds the [`State`] in
/// what the store holds.
///
/// `proc_exit` ends the guest with an error whose
/// [`i32_exit_status`](wasmi::Error::i32_exit_status) is the code. A guest that exports no memory
/// gets a trap that says so, and a panic of the host is a trap with [`HostPanic`].
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
