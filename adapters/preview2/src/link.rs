//! What an embedder calls: the interfaces, defined in a linker.

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::{self, cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};
use wasmtime_wasi_io::bindings::wasi::io as async_io;

use crate::ctx::Linked;
use crate::io::streams::SyncStreams;
use crate::{PalisadeCtxView, PalisadeView};

/// Names [`PalisadeCtxView`] for the bindings.
struct Palisade;

impl HasData for Palisade {
    type Data<'a> = PalisadeCtxView<'a>;
}

/// Names the table for the bindings of `wasi:io`.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Names the table for the synchronous bindings of its streams.
struct SyncIo;

impl HasData for SyncIo {
    type Data<'a> = SyncStreams<'a>;
}

fn sync_streams<T: PalisadeView>(state: &mut T) -> SyncStreams<'_> {
    SyncStreams(table(state))
}

fn sync_view<T: PalisadeView>(state: &mut T) -> PalisadeCtxView<'_> {
    let view = state.palisade();
    view.ctx.linked = Linked::Sync;
    view
}

fn async_view<T: PalisadeView>(state: &mut T) -> PalisadeCtxView<'_> {
    let view = state.palisade();
    view.ctx.linked = Linked::Async;
    view
}

fn table<T: PalisadeView>(state: &mut T) -> &mut ResourceTable {
    state.palisade().table
}

fn sockets_view<T: PalisadeView>(state: &mut T) -> WasiSocketsCtxView<'_> {
    let PalisadeCtxView { ctx, table } = state.palisade();
    WasiSocketsCtxView { ctx: &mut ctx.sockets, table }
}

/// Defines all that `wasi:cli/command@0.2` imports, for components that are called synchronously.
///
/// Errors: if one of the interfaces is defined in `linker` already.
pub fn add_to_linker_sync<T: PalisadeView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    use bindings::sync;
    add_unwaiting(linker, sync_view::<T>)?;
    async_io::error::add_to_linker::<T, Io>(linker, table)?;
    sync::io::poll::add_to_linker::<T, Io>(linker, table)?;
    sync::io::streams::add_to_linker::<T, SyncIo>(linker, sync_streams)?;
    sync::filesystem::types::add_to_linker::<T, Palisade>(linker, sync_view)?;
    sync::sockets::tcp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sync::sockets::udp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sync::sockets::udp_create_socket::add_to_linker::<T, WasiSockets>(linker, sockets_view)
}

/// Defines all that `wasi:cli/command@0.2` imports, for components that are called asynchronously,
/// on a tokio runtime.
///
/// Errors: if one of the interfaces is defined in `linker` already.
pub fn add_to_linker_async<T: PalisadeView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    add_unwaiting(linker, async_view::<T>)?;
    async_io::error::add_to_linker::<T, Io>(linker, table)?;
    async_io::poll::add_to_linker::<T, Io>(linker, table)?;
    async_io::streams::add_to_linker::<T, Io>(linker, table)?;
    filesystem::types::add_to_linker::<T, Palisade>(linker, async_view)?;
    sockets::tcp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sockets::udp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sockets::udp_create_socket::add_to_linker::<T, WasiSockets>(linker, sockets_view)
}

/// What never waits, and so is the same for both.
fn add_unwaiting<T: PalisadeView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> PalisadeCtxView<'_>,
) -> Result<()> {
    filesystem::preopens::add_to_linker::<T, Palisade>(linker, view)?;
    clocks::wall_clock::add_to_linker::<T, Palisade>(linker, view)?;
    clocks::monotonic_clock::add_to_linker::<T, Palisade>(linker, view)?;
    random::random::add_to_linker::<T, Palisade>(linker, view)?;
    random::insecure::add_to_linker::<T, Palisade>(linker, view)?;
    random::insecure_seed::add_to_linker::<T, Palisade>(linker, view)?;
    cli::environment::add_to_linker::<T, Palisade>(linker, view)?;
    cli::exit::add_to_linker::<T, Palisade>(linker, view)?;
    cli::stdin::add_to_linker::<T, Palisade>(linker, view)?;
    cli::stdout::add_to_linker::<T, Palisade>(linker, view)?;
    cli::stderr::add_to_linker::<T, Palisade>(linker, view)?;
    cli::terminal_input::add_to_linker::<T, Palisade>(linker, view)?;
    cli::terminal_output::add_to_linker::<T, Palisade>(linker, view)?;
    cli::terminal_stdin::add_to_linker::<T, Palisade>(linker, view)?;
    cli::terminal_stdout::add_to_linker::<T, Palisade>(linker, view)?;
    cli::terminal_stderr::add_to_linker::<T, Palisade>(linker, view)?;
    let options = bindings::LinkOptions::default();
    sockets::network::add_to_linker::<T, WasiSockets>(linker, &(&options).into(), sockets_view)?;
    sockets::instance_network::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sockets::ip_name_lookup::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sockets::tcp_create_socket::add_to_linker::<T, WasiSockets>(linker, sockets_view)
}
