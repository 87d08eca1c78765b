//! Race tests of path operations against concurrent swaps of the nodes at these paths.
//!
//! They cover host directories with both resolvers, and overlays whose upper or lower is swapped.
//! `PALISADE_RACE_SECONDS` sets the duration of each race; `tests/README.md` lists long runs.

#![allow(clippy::disallowed_methods)]

use std::io;
use std::path::Path;
use std::time::Duration;

use palisade_props::confinement::race::{Budget, Races, race};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{DirRef, HostDir, HostUpper, MemFs, Resolver};

/// The operations of a short race, which takes one or two seconds.
const OPERATIONS: u64 = 2_500;

fn budget() -> Budget {
    match std::env::var("PALISADE_RACE_SECONDS").ok().and_then(|text| text.parse().ok()) {
        Some(seconds) => Budget::Time(Duration::from_secs(seconds)),
        None => Budget::Operations(OPERATIONS),
    }
}

/// Runs a race and asserts that operations raced.
fn assert_confined(what: &str, open: &dyn Fn(&Path) -> io::Result<DirRef>, within: &str) {
    let races = race(open, within, budget()).unwrap_or_else(|why| panic!("{what}: {why}"));
    let total = races.total();
    println!("{what}: {} swaps, {total:?}", races.swaps);
    assert!(races.swaps > 100, "{what}: {races:#?}");
    assert!(total.raced > 0, "{what}: {races:#?}");
    assert_both_kinds(what, &races);
}

/// Asserts that each verb met the tree in both states: it succeeded and failed.
fn assert_both_kinds(what: &str, races: &Races) {
    for (verb, outcomes) in &races.by_verb {
        assert!(outcomes.inside > 0, "{what}: no `{verb}` succeeded: {races:#?}");
        assert!(outcomes.refused > 0, "{what}: no `{verb}` was refused: {races:#?}");
    }
}

#[test]
fn swapped_host_directory_confines_with_openat2() {
    let open = |path: &Path| HostDir::open_ambient_with(path, Resolver::Openat2);
    assert_confined("host directory, openat2", &open, "");
}

#[test]
fn swapped_host_directory_confines_without_openat2() {
    let open = |path: &Path| HostDir::open_ambient_with(path, Resolver::Components);
    assert_confined("host directory, components", &open, "");
}

#[test]
fn overlay_with_a_swapped_lower_confines() {
    for (resolver, what) in [
        (Resolver::Openat2, "overlay over a swapped lower, openat2"),
        (Resolver::Components, "overlay over a swapped lower, components"),
    ] {
        let open = |path: &Path| {
            let lower = HostDir::open_ambient_with(path, resolver)?;
            let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(lower));
            Ok(overlay.map_err(io::Error::other)?.root())
        };
        assert_confined(what, &open, "");
    }
}

#[test]
fn overlay_with_a_swapped_upper_confines() {
    let open = |path: &Path| {
        let layer = HostUpper::open_ambient(path)?;
        let overlay = Overlay::new(layer, &Lowers::of(MemFs::new().root()));
        Ok(overlay.map_err(io::Error::other)?.root())
    };
    assert_confined("overlay with a swapped upper", &open, "upper");
}
