//! Benchmarks of the overhead of overlays, relative to a plain filesystem.
//!
//! The benchmark makes the kernel calls of the adapters without an engine, so that the differences
//! are not hidden by the engine's overhead. Each round runs each operation on each stack in turn;
//! only the ratios are meaningful.

#![allow(unreachable_pub, reason = "a program exports nothing")]
#![allow(
    clippy::disallowed_methods,
    reason = "the benchmark accesses the host's filesystem directly"
)]

mod ops;
mod sizes;
mod stack;

use std::collections::BTreeMap;

use clap::Parser;
use palisade_vfs::Result;

use ops::OPS;
use stack::Stack;

/// Measures the overhead of overlays.
#[derive(Parser)]
struct Options {
    /// Number of rounds; the results are medians.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Number of calls in a round.
    #[arg(long, default_value_t = 20_000)]
    calls: u32,
    /// Run only operations whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    /// Run only these stacks.
    #[arg(long, value_delimiter = ',')]
    stacks: Vec<String>,
    /// Skip the one-time measurements of copy-up, forks and sandboxes.
    #[arg(long)]
    skip_sizes: bool,
}

/// A ratio of two stacks, with limits by operation, or `*` for all operations.
struct Ratio {
    name: &'static str,
    over: &'static str,
    under: &'static str,
    bounds: &'static [(&'static str, f64)],
}

const fn ratio(
    name: &'static str,
    over: &'static str,
    under: &'static str,
    bounds: &'static [(&'static str, f64)],
) -> Ratio {
    Ratio { name, over, under, bounds }
}

const RATIOS: &[Ratio] = &[
    ratio("upper / memory", "upper", "memory", &[("*", 1.3)]),
    ratio("1 lower / memory", "lower1", "memory", LOWER_1),
    ratio("16 lowers / memory", "lower16", "memory", LOWER_16),
    ratio("4 layers / memory", "lower4", "memory", &[("readdir_10k", 3.0)]),
    ratio("over host / host", "over-host", "host", &[]),
    ratio("over host / kernel overlay", "over-host", "kernel-overlay", &[]),
    ratio("over host / fuse-overlayfs", "over-host", "fuse-overlayfs", &[]),
];

const LOWER_1: &[(&str, f64)] = &[("stat", 1.5), ("open_close", 1.5), ("read_4k", 1.5)];
const LOWER_16: &[(&str, f64)] = &[("stat", 2.0), ("open_close", 2.0), ("read_4k", 2.0)];

fn main() -> Result<()> {
    let options = Options::parse();
    let mut stacks = stack::all()?;
    if !options.stacks.is_empty() {
        stacks.retain(|stack| options.stacks.iter().any(|name| name == stack.name));
    }
    let mut times: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for op in OPS {
            if options.only.as_ref().is_some_and(|only| !op.name.contains(only.as_str())) {
                continue;
            }
            for stack in &mut stacks {
                if let Some(ns) = op.time(stack, options.calls)? {
                    times.entry((op.name, stack.name)).or_default().push(ns);
                }
            }
        }
    }
    print(&stacks, &mut times);
    if !options.skip_sizes {
        sizes::measure()?;
    }
    Ok(())
}

fn print(stacks: &[Stack], times: &mut BTreeMap<(&str, &str), Vec<f64>>) {
    let names: Vec<_> = stacks.iter().map(|stack| stack.name).collect();
    println!("| operation | {} ns |", names.join(" ns | "));
    println!("|---|{}", "---|".repeat(names.len()));
    let medians: BTreeMap<_, _> =
        times.iter_mut().map(|(key, times)| (*key, median(times))).collect();
    for op in OPS {
        let cells: Vec<_> = names
            .iter()
            .map(|name| {
                medians.get(&(op.name, *name)).map_or(String::new(), |ns| format!("{ns:.0}"))
            })
            .collect();
        println!("| {} | {} |", op.name, cells.join(" | "));
    }
    println!();
    let titles: Vec<_> = RATIOS.iter().map(|ratio| ratio.name).collect();
    println!("| operation | {} |", titles.join(" | "));
    println!("|---|{}", "---|".repeat(RATIOS.len()));
    for op in OPS {
        let cells: Vec<_> = RATIOS
            .iter()
            .map(|ratio| {
                let over = medians.get(&(op.name, ratio.over));
                let under = medians.get(&(op.name, ratio.under));
                let found = over.zip(under).map(|(over, under)| over / under);
                let applies = |name: &str| name == op.name || name == "*";
                let bound = ratio.bounds.iter().find(|(name, _)| applies(name));
                cell(found, bound.map(|(_, bound)| *bound))
            })
            .collect();
        println!("| {} | {} |", op.name, cells.join(" | "));
    }
}

fn cell(ratio: Option<f64>, bound: Option<f64>) -> String {
    match (ratio, bound) {
        (None, _) => String::new(),
        (Some(ratio), None) => format!("{ratio:.2}"),
        (Some(ratio), Some(bound)) if ratio > bound => format!("**{ratio:.2}** (≤ {bound})"),
        (Some(ratio), Some(bound)) => format!("{ratio:.2} (≤ {bound})"),
    }
}

/// Returns the median of the times.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
