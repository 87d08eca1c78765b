//! Benchmarks of filesystem operations as a guest observes them, relative to other runtimes.
//!
//! All subjects run the same guest on the same engine. Each round runs each workload on each
//! subject in turn, so that other load on the machine affects all subjects alike. Only the ratios
//! are meaningful.
//!
//! Modules import in one direction, each one only modules below it:
//!
//! ```text
//! main
//!   report
//!     tables
//!     engine_floor
//!       bench
//!         components, workloads
//!           subject, stats
//! ```

#![allow(unreachable_pub, reason = "a program exports nothing")]
#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark accesses the host's filesystem directly"
)]

mod bench;
mod components;
mod engine_floor;
mod report;
mod stats;
mod subject;
mod tables;
mod workloads;

use std::path::{Path, PathBuf};

use clap::Parser;
use wasmtime::Result;
use wasmtime::error::Context as _;

use bench::Bench;
use report::Report;
use subject::Subject;
use workloads::{WORKLOADS, Workload};

/// Measures Palisade against wasmtime-wasi and against native system calls.
#[derive(Parser)]
struct Options {
    /// Number of rounds; the results are medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Run only workloads whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    /// Run only this subject, by its name in the tables; may be repeated.
    #[arg(long = "subject")]
    subjects: Vec<String>,
    /// Multiply the number of operations of each workload by this factor.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Host directory to work in; a tmpfs makes the overhead most visible.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// File to write the tables to.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let scratch = tempfile::tempdir_in(&options.dir).context("no scratch directory")?;
    let native = build_native(scratch.path());
    if let Err(why) = &native {
        eprintln!("no native column: {why:#}");
    }
    let bench = Bench::new(scratch.path(), native.ok())?;
    let mut report = Report::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for workload in WORKLOADS {
            if options.only.as_ref().is_some_and(|only| !workload.name.contains(only.as_str())) {
                continue;
            }
            for subject in Subject::ALL {
                let is_left_out = !options.subjects.is_empty()
                    && !options.subjects.iter().any(|only| only == subject.name());
                if bench.has(subject, workload) && !is_left_out {
                    measure(&bench, workload, subject, round, &options, &mut report)?;
                }
            }
        }
    }
    let floor = engine_floor::measure(&bench, options.rounds)?;
    let text = report.tables(&floor);
    println!("{text}");
    if let Some(out) = options.out {
        std::fs::write(&out, text).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn measure(
    bench: &Bench,
    workload: &Workload,
    subject: Subject,
    round: usize,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let mut count = workload.count;
    if workload.name == "readdir_10k" && subject == Subject::Peer {
        // Each pass takes seconds, so one pass in one round suffices.
        if round > 0 {
            return Ok(());
        }
        count = 1;
    }
    let scaled = (f64::from(count) * options.scale).clamp(1.0, 1e9).round() as u32;
    let ns = bench
        .run(subject, workload, scaled)
        .with_context(|| format!("{} on {}", workload.name, subject.name()))?;
    report.add(workload.name, subject, ns);
    Ok(())
}

/// Compiles the guest's source to a native program, the lower bound of each workload.
fn build_native(scratch: &Path) -> Result<PathBuf> {
    let program = scratch.join("fsbench.native");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/fsbench.c");
    let status = std::process::Command::new("cc")
        .args(["-O2", "-w", "-o"])
        .args([&program, &source])
        .status()
        .context("no C compiler")?;
    wasmtime::ensure!(status.success(), "the C compiler failed");
    Ok(program)
}
