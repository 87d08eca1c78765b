//! Runs the guests as components, on Palisade and on wasmtime-wasi (the peer).

use std::path::PathBuf;
use std::time::Instant;

use palisade_kernel::{Config, Output};
use palisade_preview2::bindings::sync::Command;
use palisade_preview2::{PalisadeCtx, PalisadeCtxView, PalisadeView, add_to_linker_sync};
use palisade_vfs::DirRef;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmtime::component::{Component, Instance, Linker, Resource, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime::{AsContextMut, Engine, Result, Store};
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wit_component::ComponentEncoder;

use crate::stats::median;
use crate::subject::{GUEST, GUEST_DIR, OUTPUT_MAX};

/// The guest that calls `wasi:filesystem` directly.
const DIRECT: &str = include_str!("../guest/direct.wat");
/// The interface that the linkers define.
const TYPES: &str = "wasi:filesystem/types@0.2.12";
/// The number of repeats, of which the median is taken, as in `fsbench.c`.
const REPEATS: usize = 5;

/// The result of the no-op `stat-at`.
const A_STAT: types::DescriptorStat = {
    let time = Some(types::Datetime { seconds: 1, nanoseconds: 1 });
    types::DescriptorStat {
        type_: types::DescriptorType::RegularFile,
        link_count: 1,
        size: 1,
        data_access_timestamp: time,
        data_modification_timestamp: time,
        status_change_timestamp: time,
    }
};

struct Ours {
    ctx: PalisadeCtx,
    table: ResourceTable,
}

impl PalisadeView for Ours {
    fn palisade(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

struct Peer {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Peer {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// The compiled components and the linkers.
pub struct Components {
    engine: Engine,
    /// `fsbench.c`, wrapped by the standard adapter.
    program: Component,
    direct: Component,
    linker: Linker<Ours>,
    /// A linker with a no-op `stat-at`.
    floor_linker: Linker<Ours>,
    peer_linker: Linker<Peer>,
    dir: PathBuf,
}

impl Components {
    /// Compiles the components. The peer runs on `dir` of the host.
    pub fn new(engine: &Engine, dir: PathBuf) -> Result<Self> {
        let program = ComponentEncoder::default()
            .module(GUEST)
            .and_then(|encoder| {
                encoder.adapter(
                    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                    WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
                )
            })
            .and_then(|mut encoder| encoder.encode())
            .map_err(|why| wasmtime::format_err!("cannot pack the guest: {why:#}"))?;
        let mut linker = Linker::new(engine);
        add_to_linker_sync(&mut linker)?;
        let mut floor_linker = linker.clone();
        floor_linker.allow_shadowing(true);
        floor_linker.instance(TYPES)?.func_wrap(
            "[method]descriptor.stat-at",
            |_, _: (Resource<types::Descriptor>, types::PathFlags, String)| {
                Ok((Ok::<_, types::ErrorCode>(A_STAT),))
            },
        )?;
        let mut peer_linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut peer_linker)?;
        Ok(Components {
            program: Component::new(engine, program)?,
            direct: Component::new(engine, wat::parse_str(DIRECT)?)?,
            engine: engine.clone(),
            linker,
            floor_linker,
            peer_linker,
            dir,
        })
    }

    /// Runs `fsbench.c` on `dir` and returns its output.
    pub fn program(&self, dir: &DirRef, args: &[&str]) -> Result<Vec<u8>> {
        let (stdout, output) = Output::buffer(OUTPUT_MAX);
        let config = Config::builder()
            .args(["fsbench", GUEST_DIR].into_iter().chain(args.iter().copied()))
            .preopen(GUEST_DIR, dir.clone())
            .stdout(stdout)
            .stderr(Output::inherit_stderr())
            .build()?;
        let ctx = PalisadeCtx::for_preview1_guest(config.start());
        let mut store = Store::new(&self.engine, Ours { ctx, table: ResourceTable::new() });
        let command = Command::instantiate(&mut store, &self.program, &self.linker)?;
        let ended = command.wasi_cli_run().call_run(&mut store)?;
        ended.map_err(|()| wasmtime::format_err!("the guest failed"))?;
        Ok(output.take())
    }

    /// Runs `fsbench.c` on the peer and returns its output.
    pub fn program_on_peer(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = MemoryOutputPipe::new(OUTPUT_MAX);
        let ctx = WasiCtx::builder()
            .allow_blocking_current_thread(true)
            .args(&["fsbench", GUEST_DIR])
            .args(args)
            .stdout(output.clone())
            .preopened_dir(&self.dir, GUEST_DIR, FsPerms::ReadWrite)?
            .build();
        let mut store = Store::new(&self.engine, Peer { ctx, table: ResourceTable::new() });
        let command = wasmtime_wasi::p2::bindings::sync::Command::instantiate(
            &mut store,
            &self.program,
            &self.peer_linker,
        )?;
        let ended = command.wasi_cli_run().call_run(&mut store)?;
        ended.map_err(|()| wasmtime::format_err!("the guest failed"))?;
        Ok(output.contents().to_vec())
    }

    /// Returns the nanoseconds per call of `count` calls by `direct.wat` on `dir`.
    pub fn direct(&self, dir: &DirRef, workload: &str, count: u32) -> Result<f64> {
        self.direct_by(&self.linker, dir, workload, count)
    }

    /// Returns the same with a no-op `stat-at`, which measures the engine alone.
    pub fn direct_floor(&self, dir: &DirRef, workload: &str, count: u32) -> Result<f64> {
        self.direct_by(&self.floor_linker, dir, workload, count)
    }

    fn direct_by(
        &self,
        linker: &Linker<Ours>,
        dir: &DirRef,
        workload: &str,
        count: u32,
    ) -> Result<f64> {
        let ctx = PalisadeCtx::new(Config::builder().preopen("/", dir.clone()).build()?.start());
        let mut store = Store::new(&self.engine, Ours { ctx, table: ResourceTable::new() });
        let instance = linker.instantiate(&mut store, &self.direct)?;
        time(&mut store, &instance, workload, count)
    }

    /// Returns the nanoseconds per call of `count` calls by `direct.wat` on the peer.
    pub fn direct_on_peer(&self, workload: &str, count: u32) -> Result<f64> {
        let ctx = WasiCtx::builder()
            .allow_blocking_current_thread(true)
            .preopened_dir(&self.dir, "/", FsPerms::ReadWrite)?
            .build();
        let mut store = Store::new(&self.engine, Peer { ctx, table: ResourceTable::new() });
        let instance = self.peer_linker.instantiate(&mut store, &self.direct)?;
        time(&mut store, &instance, workload, count)
    }
}

/// Returns the median of several repeats after a warm-up, as `fsbench.c` does.
fn time<T>(
    mut store: &mut Store<T>,
    instance: &Instance,
    workload: &str,
    count: u32,
) -> Result<f64> {
    let call = instance
        .get_typed_func::<(u32,), ()>(store.as_context_mut(), workload)
        .with_context(|| format!("no workload {workload}"))?;
    call.call(&mut store, (count / 4 + 1,))?;
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let started = Instant::now();
        call.call(&mut store, (count,))?;
        times.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    Ok(median(&mut times))
}
