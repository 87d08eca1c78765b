//! What stacking costs: the same calls of the kernel on a filesystem alone and in an overlay, in
//! one run.
//!
//! The calls are those that every adapter makes, without an engine around them, so that nothing
//! hides the difference. Every round runs every operation on every stack, one after another; only
//! the ratios mean anything.

#![allow(unreachable_pub, reason = "a program has no reach")]
#![allow(clippy::disallowed_methods, reason = "a benchmark works on the host's own files")]

mod ops;
mod sizes;
mod worlds;

use std::collections::BTreeMap;

use clap::Parser;
use palisade_vfs::Result;

use ops::OPS;
use worlds::World;

/// Measures what overlays cost.
#[derive(Parser)]
struct Options {
    /// Rounds; the median of them counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Calls in a round.
    #[arg(long, default_value_t = 20_000)]
    calls: u32,
    /// Only the operations whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    /// Only these stacks.
    #[arg(long, value_delimiter = ',')]
    stacks: Vec<String>,
    /// Leaves out what is measured once: copy-up, forks, sandboxes.
    #[arg(long)]
    skip_sizes: bool,
}

/// What is divided by what, and the most that may come out: by operation, or `*` for all.
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
    let mut worlds = worlds::all()?;
    if !options.stacks.is_empty() {
        worlds.retain(|world| options.stacks.iter().any(|name| name == world.name));
    }
    let mut times: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for op in OPS {
            if options.only.as_ref().is_some_and(|only| !op.name.contains(only.as_str())) {
                continue;
            }
            for world in &mut worlds {
                if let Some(ns) = op.time(world, options.calls)? {
                    times.entry((op.name, world.name)).or_default().push(ns);
                }
            }
        }
    }
    print(&worlds, &mut times);
    if !options.skip_sizes {
        sizes::measure()?;
    }
    Ok(())
}

fn print(worlds: &[World], times: &mut BTreeMap<(&str, &str), Vec<f64>>) {
    let names: Vec<_> = worlds.iter().map(|world| world.name).collect();
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
                let is_meant = |name: &str| name == op.name || name == "*";
                let bound = ratio.bounds.iter().find(|(name, _)| is_meant(name));
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

/// The middle of the times.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
