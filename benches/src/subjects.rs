//! What is measured, and how one workload is run on it.

use std::path::{Path, PathBuf};

use palisade_kernel::{Config, Output, Process};
use palisade_policy::{Policy, Refusal, confine};
use palisade_preview1::Preview1;
use palisade_preview1::engines::wasmtime::{self as preview1, State};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{DirRef, HostDir, MemFs, Rights};
use wasmtime::Result;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Linker, Module, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// The guest, prebuilt from the source beside it.
const GUEST: &[u8] = include_bytes!("../guest/fsbench.wasm");
/// Where the guest finds its directory.
const GUEST_DIR: &str = "/d";
/// Bytes of output that a guest can need.
const OUTPUT_MAX: usize = 1 << 16;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The guest's source, compiled for the host: system calls and nothing else.
    Native,
    /// wasmtime-wasi 48, Preview 1, its synchronous linker, blocking in place.
    Peer,
    /// Palisade on the same directory.
    Host,
    /// Palisade on the same directory, behind a layer that confines it.
    Confined,
    /// Palisade on a memory filesystem.
    Memory,
    /// Palisade on an overlay whose upper has everything.
    Upper,
    /// Palisade on an overlay over one memory filesystem that has everything.
    Lower1,
    /// Palisade on an overlay over sixteen, the lowest of which has everything.
    Lower16,
}

impl Subject {
    /// Every subject, in the order of a round.
    pub const ALL: [Subject; 8] = [
        Subject::Native,
        Subject::Peer,
        Subject::Host,
        Subject::Confined,
        Subject::Memory,
        Subject::Upper,
        Subject::Lower1,
        Subject::Lower16,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Native => "native",
            Subject::Peer => "wasmtime-wasi",
            Subject::Host => "Palisade host",
            Subject::Confined => "Palisade host, confined",
            Subject::Memory => "Palisade memory",
            Subject::Upper => "Palisade overlay, in the upper",
            Subject::Lower1 => "Palisade overlay, over 1 lower",
            Subject::Lower16 => "Palisade overlay, over 16 lowers",
        }
    }
}

/// Everything that the runs share.
pub struct Bench {
    /// The engine of every guest.
    pub engine: Engine,
    module: Module,
    native: Option<PathBuf>,
    dir: PathBuf,
    host: DirRef,
    confined: DirRef,
    memory: DirRef,
    upper: DirRef,
    lower1: DirRef,
    lower16: DirRef,
    linker: Linker<State>,
    peer_linker: Linker<WasiP1Ctx>,
}

/// An overlay over `count` filesystems, and the lowest of them.
fn overlay(count: usize) -> palisade_vfs::Result<(DirRef, DirRef)> {
    let bottom = MemFs::new().root();
    let mut lowers = Lowers::builder();
    for _ in 1..count {
        lowers = lowers.dir(MemFs::new().root());
    }
    let lowers = lowers.dir(bottom.clone()).build()?;
    Ok((bottom, Overlay::new(MemFs::new().layer(), &lowers)?.root()))
}

impl Bench {
    /// Makes the fixture in `scratch` and in memory.
    pub fn new(scratch: &Path, native: Option<PathBuf>) -> Result<Self> {
        let dir = scratch.join("d");
        std::fs::create_dir(&dir)?;
        let engine = Engine::default();
        let mut linker = Linker::new(&engine);
        preview1::add_to_linker(&mut linker, |state: &mut State| state)?;
        let mut peer_linker = Linker::new(&engine);
        wasmtime_wasi::p1::add_to_linker_sync(&mut peer_linker, |ctx: &mut WasiP1Ctx| ctx)?;
        let host = HostDir::open_ambient(&dir)?;
        let ((_, upper), (below1, lower1), (below16, lower16)) =
            (overlay(1)?, overlay(1)?, overlay(16)?);
        let bench = Bench {
            upper,
            lower1,
            lower16,
            module: Module::new(&engine, GUEST)?,
            confined: confine(host.clone(), Policy::uniform(Rights::all(), Refusal::Denied).into()),
            host,
            memory: MemFs::new().root(),
            engine,
            native,
            dir,
            linker,
            peer_linker,
        };
        bench.palisade(&bench.host, &["setup", "0"])?;
        for dir in [&bench.memory, &bench.upper, &below1, &below16] {
            bench.palisade(dir, &["setup", "0"])?;
        }
        Ok(bench)
    }

    /// Whether a subject can be measured here.
    pub fn has(&self, subject: Subject) -> bool {
        subject != Subject::Native || self.native.is_some()
    }

    /// Nanoseconds per operation of one workload.
    pub fn run(&self, subject: Subject, workload: &str, count: &str) -> Result<f64> {
        let args = [workload, count];
        let output = match subject {
            Subject::Native => self.native(&args)?,
            Subject::Peer => self.peer(&args)?,
            Subject::Host => self.palisade(&self.host, &args)?,
            Subject::Confined => self.palisade(&self.confined, &args)?,
            Subject::Memory => self.palisade(&self.memory, &args)?,
            Subject::Upper => self.palisade(&self.upper, &args)?,
            Subject::Lower1 => self.palisade(&self.lower1, &args)?,
            Subject::Lower16 => self.palisade(&self.lower16, &args)?,
        };
        let line: serde_json::Value = serde_json::from_slice(&output)
            .with_context(|| format!("no result: {}", String::from_utf8_lossy(&output)))?;
        line.get("ns_per_op").and_then(serde_json::Value::as_f64).context("no time in the result")
    }

    /// A guest's process on `dir`, for the engine's floor.
    pub fn process(
        &self,
        dir: &DirRef,
        args: &[&str],
    ) -> Result<(Process, palisade_kernel::OutputBuffer)> {
        let (stdout, buffer) = Output::buffer(OUTPUT_MAX);
        let config = Config::builder()
            .args(["fsbench", GUEST_DIR].into_iter().chain(args.iter().copied()))
            .preopen(GUEST_DIR, dir.clone())
            .stdout(stdout.clone())
            .stderr(Output::inherit_stderr())
            .build()?;
        Ok((config.start(), buffer))
    }

    fn palisade(&self, dir: &DirRef, args: &[&str]) -> Result<Vec<u8>> {
        let (process, output) = self.process(dir, args)?;
        let mut store = Store::new(&self.engine, State::new(Preview1::new(process)));
        let instance = self.linker.instantiate(&mut store, &self.module)?;
        let memory = instance.get_memory(&mut store, "memory").context("no memory")?;
        store.data_mut().bind_memory(memory);
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        match start.call(&mut store, ()) {
            Ok(()) => {}
            Err(end) => match end.downcast_ref::<palisade_kernel::Exit>() {
                Some(palisade_kernel::Exit(0)) => {}
                _ => return Err(end),
            },
        }
        Ok(output.take())
    }

    fn peer(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = MemoryOutputPipe::new(OUTPUT_MAX);
        let ctx = WasiCtxBuilder::new()
            .allow_blocking_current_thread(true)
            .args(&["fsbench", GUEST_DIR])
            .args(args)
            .stdout(output.clone())
            .preopened_dir(&self.dir, GUEST_DIR, FsPerms::ReadWrite)?
            .build_p1();
        let mut store = Store::new(&self.engine, ctx);
        let instance = self.peer_linker.instantiate(&mut store, &self.module)?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
        match start.call(&mut store, ()) {
            Ok(()) => {}
            Err(end) => match end.downcast_ref::<wasmtime_wasi::I32Exit>() {
                Some(wasmtime_wasi::I32Exit(0)) => {}
                _ => return Err(end),
            },
        }
        drop(store);
        Ok(output.contents().to_vec())
    }

    fn native(&self, args: &[&str]) -> Result<Vec<u8>> {
        let native = self.native.as_ref().context("no native program")?;
        let output = std::process::Command::new(native).arg(&self.dir).args(args).output()?;
        wasmtime::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }
}
