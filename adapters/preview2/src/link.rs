//! Linking: defines the interfaces of Preview 2 in a wasmtime linker.

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::{self, cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::p2::{IoError, SocketError, SocketResult, UdpSocket};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};
use wasmtime_wasi_io::bindings::wasi::io as async_io;

use crate::ctx::LinkerKind;
use crate::executor;
use crate::io::streams::{StreamTable, SyncStreamTable};
use crate::{PalisadeCtxView, PalisadeView};

/// The [`HasData`] marker of [`PalisadeCtxView`].
struct Palisade;

impl HasData for Palisade {
    type Data<'a> = PalisadeCtxView<'a>;
}

/// The [`HasData`] marker of the resource table, for `wasi:io`.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// The [`HasData`] marker of [`StreamTable`], for `wasi:io/poll`.
struct Poll;

impl HasData for Poll {
    type Data<'a> = StreamTable<'a>;
}

/// The [`HasData`] marker of [`SyncStreamTable`], for the synchronous bindings of `wasi:io`.
struct SyncIo;

impl HasData for SyncIo {
    type Data<'a> = SyncStreamTable<'a>;
}

fn streams<T: PalisadeView>(state: &mut T) -> StreamTable<'_> {
    let PalisadeCtxView { ctx, table } = state.palisade().with_capacity_limit();
    StreamTable { table, limits: ctx.process().limits() }
}

fn sync_streams<T: PalisadeView>(state: &mut T) -> SyncStreamTable<'_> {
    SyncStreamTable(streams(state))
}

fn sync_view<T: PalisadeView>(state: &mut T) -> PalisadeCtxView<'_> {
    let view = state.palisade().with_capacity_limit();
    view.ctx.linker = LinkerKind::Sync;
    view
}

fn async_view<T: PalisadeView>(state: &mut T) -> PalisadeCtxView<'_> {
    let view = state.palisade().with_capacity_limit();
    view.ctx.linker = LinkerKind::Async;
    view
}

fn table<T: PalisadeView>(state: &mut T) -> &mut ResourceTable {
    state.palisade().with_capacity_limit().table
}

fn sockets_view<T: PalisadeView>(state: &mut T) -> WasiSocketsCtxView<'_> {
    let PalisadeCtxView { ctx, table } = state.palisade().with_capacity_limit();
    WasiSocketsCtxView { ctx: &mut ctx.sockets, table }
}

/// Refuses the creation of UDP sockets, for the synchronous linker.
///
/// wasmtime-wasi's function refuses it too, but first builds its ambient tokio runtime, which
/// panics if the host has no thread or descriptor left.
struct NoUdp<'a>(WasiSocketsCtxView<'a>);

/// The [`HasData`] marker of [`NoUdp`].
struct NoUdpData;

impl HasData for NoUdpData {
    type Data<'a> = NoUdp<'a>;
}

impl bindings::sync::sockets::udp_create_socket::Host for NoUdp<'_> {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(ErrorCode::AccessDenied.into())
    }
}

// The bindings need these to convert errors.
impl network::Host for NoUdp<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        self.0.convert_error_code(error)
    }

    fn network_error_code(&mut self, error: Resource<IoError>) -> Result<Option<ErrorCode>> {
        self.0.network_error_code(error)
    }
}

impl network::HostNetwork for NoUdp<'_> {
    fn drop(&mut self, network: Resource<network::Network>) -> Result<()> {
        network::HostNetwork::drop(&mut self.0, network)
    }
}

/// Defines all imports of `wasi:cli/command@0.2` for synchronous calls.
///
/// The thread that fires timers is started here, once per process, so that a guest cannot fail for
/// lack of it later.
///
/// # Errors
///
/// - The operating system refuses a thread.
/// - One of the interfaces is already defined in `linker`.
pub fn add_to_linker_sync<T: PalisadeView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    use bindings::sync;
    executor::prepare()?;
    add_common(linker, sync_view::<T>)?;
    async_io::error::add_to_linker::<T, Io>(linker, table)?;
    sync::io::poll::add_to_linker::<T, SyncIo>(linker, sync_streams)?;
    sync::io::streams::add_to_linker::<T, SyncIo>(linker, sync_streams)?;
    sync::filesystem::types::add_to_linker::<T, Palisade>(linker, sync_view)?;
    sync::sockets::tcp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sync::sockets::udp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sync::sockets::udp_create_socket::add_to_linker::<T, NoUdpData>(linker, |state| {
        NoUdp(sockets_view(state))
    })
}

/// Defines all imports of `wasi:cli/command@0.2` for asynchronous calls. They must run on a tokio
/// runtime with timers.
///
/// # Errors
///
/// - One of the interfaces is already defined in `linker`.
pub fn add_to_linker_async<T: PalisadeView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    add_common(linker, async_view::<T>)?;
    async_io::error::add_to_linker::<T, Io>(linker, table)?;
    async_io::poll::add_to_linker::<T, Poll>(linker, streams)?;
    async_io::streams::add_to_linker::<T, Io>(linker, table)?;
    filesystem::types::add_to_linker::<T, Palisade>(linker, async_view)?;
    sockets::tcp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sockets::udp::add_to_linker::<T, WasiSockets>(linker, sockets_view)?;
    sockets::udp_create_socket::add_to_linker::<T, WasiSockets>(linker, sockets_view)
}

/// Defines the interfaces that never block, which are the same for both linkers.
fn add_common<T: PalisadeView + 'static>(
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
