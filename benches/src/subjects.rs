//! What is measured, and how one workload is run on it.

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_kernel::{Config, Output, Process};
use palisade_policy::audit::{AuditOptions, Auditor, Header, JsonLines, Mode, observe};
use palisade_policy::{Policy, Refusal, confine, confine_at};
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

use crate::components::Components;
use crate::workloads::{Guest, Workload};

/// The guest, prebuilt from the source beside it.
pub const GUEST: &[u8] = include_bytes!("../guest/fsbench.wasm");
/// Where the guest finds its directory.
pub const GUEST_DIR: &str = "/d";
/// Bytes of output that a guest can need.
pub const OUTPUT_MAX: usize = 1 << 16;

/// Batches of events that may wait to be written, as `palisade run` has it.
const AUDIT_BATCHES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

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
    /// Palisade on a memory filesystem, under a policy of one rule.
    Guarded,
    /// The same under 100,000 rules.
    GuardedByMany,
    /// The same under one rule, every decision written as a line of JSON.
    Audited,
    /// wasmtime-wasi 48, Preview 2, in the same mode.
    ComponentPeer,
    /// A component on the same directory.
    ComponentHost,
    /// A component on a memory filesystem.
    ComponentMemory,
    /// A component whose `stat-at` does nothing.
    ComponentFloor,
}

impl Subject {
    /// Every subject, in the order of a round.
    pub const ALL: [Subject; 15] = [
        Subject::Native,
        Subject::Peer,
        Subject::Host,
        Subject::Confined,
        Subject::Memory,
        Subject::Upper,
        Subject::Lower1,
        Subject::Lower16,
        Subject::Guarded,
        Subject::GuardedByMany,
        Subject::Audited,
        Subject::ComponentPeer,
        Subject::ComponentHost,
        Subject::ComponentMemory,
        Subject::ComponentFloor,
    ];

    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Native => "native",
            Subject::Peer => "wasmtime-wasi",
            Subject::Host => "host",
            Subject::Confined => "confined",
            Subject::Memory => "memory",
            Subject::Upper => "in the upper",
            Subject::Lower1 => "over 1 lower",
            Subject::Lower16 => "over 16 lowers",
            Subject::Guarded => "1 rule",
            Subject::GuardedByMany => "100,000 rules",
            Subject::Audited => "audited",
            Subject::ComponentPeer => "wasmtime-wasi, component",
            Subject::ComponentHost => "host, component",
            Subject::ComponentMemory => "memory, component",
            Subject::ComponentFloor => "engine alone",
        }
    }

    /// Whether it runs components.
    pub fn is_component(self) -> bool {
        self >= Subject::ComponentPeer
    }
}

/// Everything that the runs share.
pub struct Bench {
    /// The engine of every guest.
    pub engine: Engine,
    module: Module,
    native: Option<PathBuf>,
    dir: PathBuf,
    /// What Palisade's subjects run on.
    worlds: Vec<(Subject, DirRef)>,
    linker: Linker<State>,
    peer_linker: Linker<WasiP1Ctx>,
    components: Components,
}

/// A log that begins anew when it is long: a file that grows without end would measure how fast a
/// hypervisor gives its guest more memory.
struct Rewound {
    file: File,
    len: usize,
}

/// Bytes after which a log begins anew.
const LOG_LEN_MAX: usize = 64 * 1024 * 1024;

impl Write for Rewound {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len >= LOG_LEN_MAX {
            self.file.rewind()?;
            self.len = 0;
        }
        let written = self.file.write(bytes)?;
        self.len += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// An overlay over `count` filesystems, and the lowest of them.
fn overlay(count: usize) -> palisade_vfs::Result<(DirRef, DirRef)> {
    let bottom = MemFs::new().root();
    let mut lowers = Lowers::builder();
    for _ in 1..count {
        lowers = lowers.dir(MemFs::new().root());
    }
    let lowers = lowers.dir(bottom.clone()).build()?;
    Ok((bottom, Overlay::new(MemFs::new().upper(), &lowers)?.root()))
}

/// A policy that grants everything where the guest works, of so many rules.
fn policy(rules: usize) -> Result<Arc<Policy>> {
    let mut builder = Policy::builder().allow("/d/**", Rights::all());
    for tenant in 1..rules {
        builder = builder.deny(&format!("/srv/tenant{tenant}/data/**"), Rights::WRITE);
    }
    Ok(Arc::new(builder.build()?))
}

/// The filesystems that the subjects run on; those behind layers have one of their own each.
fn worlds(scratch: &Path, host: &DirRef) -> Result<Vec<(Subject, DirRef)>> {
    let everything = Policy::uniform(Rights::all(), Refusal::Denied);
    let memory = || MemFs::new().root();
    let log = Rewound { file: File::create(scratch.join("audit.jsonl"))?, len: 0 };
    let lines = JsonLines::new(log, &Header::default());
    let auditor = Auditor::write_behind(lines, AUDIT_BATCHES, AuditOptions::default())?;
    let (one, many) = (policy(1)?, policy(100_000)?);
    Ok(vec![
        (Subject::Host, host.clone()),
        (Subject::Confined, confine(host.clone(), everything.into())),
        (Subject::Memory, memory()),
        (Subject::Guarded, confine_at(memory(), one.clone(), GUEST_DIR)),
        (Subject::GuardedByMany, confine_at(memory(), many, GUEST_DIR)),
        (Subject::Audited, observe(memory(), one, GUEST_DIR, Mode::Enforce, auditor)),
        (Subject::ComponentHost, host.clone()),
        (Subject::ComponentMemory, memory()),
    ])
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
        let mut bench = Bench {
            module: Module::new(&engine, GUEST)?,
            components: Components::new(&engine, dir.clone())?,
            worlds: worlds(scratch, &host)?,
            engine,
            native,
            dir,
            linker,
            peer_linker,
        };
        bench.palisade(&host, &["setup", "0"])?;
        for (subject, dir) in &bench.worlds {
            if !matches!(subject, Subject::Host | Subject::Confined | Subject::ComponentHost) {
                bench.palisade(dir, &["setup", "0"])?;
            }
        }
        for (subject, count) in [(Subject::Upper, 1), (Subject::Lower1, 1), (Subject::Lower16, 16)]
        {
            let (bottom, overlay) = overlay(count)?;
            let filled = if subject == Subject::Upper { &overlay } else { &bottom };
            bench.palisade(filled, &["setup", "0"])?;
            bench.worlds.push((subject, overlay));
        }
        Ok(bench)
    }

    /// Whether a workload can be measured on a subject here.
    pub fn has(&self, subject: Subject, workload: &Workload) -> bool {
        match workload.guest {
            _ if subject == Subject::ComponentFloor => workload.name.starts_with("direct_stat"),
            Guest::Direct => subject.is_component(),
            Guest::Program => subject != Subject::Native || self.native.is_some(),
        }
    }

    fn world(&self, subject: Subject) -> Result<&DirRef> {
        let world = self.worlds.iter().find(|(of, _)| *of == subject);
        Ok(&world.context("no such world")?.1)
    }

    /// Nanoseconds per operation of one workload.
    pub fn run(&self, subject: Subject, workload: &Workload, count: u32) -> Result<f64> {
        let key = workload.key();
        if workload.guest == Guest::Direct {
            return match subject {
                Subject::ComponentPeer => self.components.direct_on_peer(key, count),
                Subject::ComponentFloor => {
                    let memory = self.world(Subject::ComponentMemory)?;
                    self.components.direct_floor(memory, key, count)
                }
                _ => self.components.direct(self.world(subject)?, key, count),
            };
        }
        let count = count.to_string();
        let args = [key, &*count];
        let output = match subject {
            Subject::Native => self.native(&args)?,
            Subject::Peer => self.peer(&args)?,
            Subject::ComponentPeer => self.components.program_on_peer(&args)?,
            _ if subject.is_component() => self.components.program(self.world(subject)?, &args)?,
            _ => self.palisade(self.world(subject)?, &args)?,
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
