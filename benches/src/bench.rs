//! The fixture of the benchmark, and the run of one workload on one subject.

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
use crate::subject::{GUEST, GUEST_DIR, OUTPUT_MAX, Subject};
use crate::workloads::{Guest, Workload};

/// The number of queued audit batches, as in `palisade run`.
const AUDIT_BATCHES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// The state that all runs share.
pub struct Bench {
    /// The engine of every guest.
    pub engine: Engine,
    module: Module,
    native: Option<PathBuf>,
    dir: PathBuf,
    /// The root of each subject on Palisade.
    roots: Vec<(Subject, DirRef)>,
    linker: Linker<State>,
    peer_linker: Linker<WasiP1Ctx>,
    components: Components,
}

/// A log file that rewinds at a maximum length: an ever-growing file would measure how fast a
/// hypervisor provides memory.
struct RewindingLog {
    file: File,
    len: usize,
}

/// The length at which a log rewinds.
const LOG_LEN_MAX: usize = 64 * 1024 * 1024;

impl Write for RewindingLog {
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

/// Returns the lowest of `count` lowers, and an overlay over them.
fn overlay(count: usize) -> palisade_vfs::Result<(DirRef, DirRef)> {
    let bottom = MemFs::new().root();
    let mut lowers = Lowers::builder();
    for _ in 1..count {
        lowers = lowers.dir(MemFs::new().root());
    }
    let lowers = lowers.dir(bottom.clone()).build()?;
    Ok((bottom, Overlay::new(MemFs::new().upper(), &lowers)?.root()))
}

/// Returns a policy of `rules` rules that grants everything in the guest's directory.
fn policy(rules: usize) -> Result<Arc<Policy>> {
    let mut builder = Policy::builder().allow("/d/**", Rights::all());
    for tenant in 1..rules {
        builder = builder.deny(&format!("/srv/tenant{tenant}/data/**"), Rights::WRITE);
    }
    Ok(Arc::new(builder.build()?))
}

/// Creates the root of each subject; each layered subject has its own filesystem.
fn roots(scratch: &Path, host: &DirRef) -> Result<Vec<(Subject, DirRef)>> {
    let everything = Policy::uniform(Rights::all(), Refusal::Denied);
    let memory = || MemFs::new().root();
    let log = RewindingLog { file: File::create(scratch.join("audit.jsonl"))?, len: 0 };
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
    /// Creates the fixture in `scratch` and in memory.
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
            roots: roots(scratch, &host)?,
            engine,
            native,
            dir,
            linker,
            peer_linker,
        };
        bench.palisade(&host, &["setup", "0"])?;
        for (subject, dir) in &bench.roots {
            if !matches!(subject, Subject::Host | Subject::Confined | Subject::ComponentHost) {
                bench.palisade(dir, &["setup", "0"])?;
            }
        }
        for (subject, count) in [(Subject::Upper, 1), (Subject::Lower1, 1), (Subject::Lower16, 16)]
        {
            let (bottom, overlay) = overlay(count)?;
            let filled = if subject == Subject::Upper { &overlay } else { &bottom };
            bench.palisade(filled, &["setup", "0"])?;
            bench.roots.push((subject, overlay));
        }
        Ok(bench)
    }

    /// Returns whether a workload can run on a subject.
    pub fn has(&self, subject: Subject, workload: &Workload) -> bool {
        match workload.guest {
            _ if subject == Subject::ComponentFloor => workload.name.starts_with("direct_stat"),
            Guest::Direct => subject.is_component(),
            Guest::Program => subject != Subject::Native || self.native.is_some(),
        }
    }

    fn root(&self, subject: Subject) -> Result<&DirRef> {
        let root = self.roots.iter().find(|(of, _)| *of == subject);
        Ok(&root.context("no such subject")?.1)
    }

    /// Runs a workload on a subject and returns the nanoseconds per operation.
    pub fn run(&self, subject: Subject, workload: &Workload, count: u32) -> Result<f64> {
        let key = workload.key();
        if workload.guest == Guest::Direct {
            return match subject {
                Subject::ComponentPeer => self.components.direct_on_peer(key, count),
                Subject::ComponentFloor => {
                    let memory = self.root(Subject::ComponentMemory)?;
                    self.components.direct_floor(memory, key, count)
                }
                _ => self.components.direct(self.root(subject)?, key, count),
            };
        }
        let count = count.to_string();
        let args = [key, &*count];
        let output = match subject {
            Subject::Native => self.native(&args)?,
            Subject::Peer => self.peer(&args)?,
            Subject::ComponentPeer => self.components.program_on_peer(&args)?,
            _ if subject.is_component() => self.components.program(self.root(subject)?, &args)?,
            _ => self.palisade(self.root(subject)?, &args)?,
        };
        let line: serde_json::Value = serde_json::from_slice(&output)
            .with_context(|| format!("no result: {}", String::from_utf8_lossy(&output)))?;
        line.get("ns_per_op").and_then(serde_json::Value::as_f64).context("no time in the result")
    }

    /// Creates a guest process on `dir`, with its output.
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
