//! The escape oracle on directories of the host, with both resolvers.

use std::io;
use std::path::Path;

use palisade_props::confinement::{HuntStats, Mover, check_run, hunt};
use palisade_props::{Op, cases};
use palisade_vfs::{DirRef, HostDir, Resolver};

fn openat2(path: &Path) -> io::Result<DirRef> {
    HostDir::open_ambient_with(path, Resolver::Openat2)
}

fn components(path: &Path) -> io::Result<DirRef> {
    HostDir::open_ambient_with(path, Resolver::Components)
}

fn assert_confined(open: &dyn Fn(&Path) -> io::Result<DirRef>, mover: Mover, runs: u32) {
    let tally = hunt(open, mover, cases(runs).min(10 * runs)).unwrap_or_else(|why| panic!("{why}"));
    // A hunt without attempted escapes would prove nothing.
    assert!(tally.escapes > u64::from(runs), "{tally:?}");
    assert!(tally.successes > u64::from(runs), "{tally:?}");
    assert!((tally.moves > 0) == (mover == Mover::Busy), "{tally:?}");
}

#[test]
fn host_directory_confines_with_openat2() {
    assert_confined(&openat2, Mover::Absent, 60);
}

#[test]
fn host_directory_confines_without_openat2() {
    assert_confined(&components, Mover::Absent, 60);
}

#[test]
fn host_directory_confines_during_link_swaps_with_openat2() {
    assert_confined(&openat2, Mover::Busy, 20);
}

#[test]
fn host_directory_confines_during_link_swaps_without_openat2() {
    assert_confined(&components, Mover::Busy, 20);
}

/// The oracle detects a filesystem whose root is the parent directory.
#[test]
fn oracle_detects_a_root_one_level_too_high() {
    let too_wide = |path: &Path| openat2(path.parent().unwrap_or(path));
    assert!(hunt(&too_wide, Mover::Absent, 20).is_err());
}

/// The oracle detects foreign nodes by their bytes and by their identity.
#[test]
fn oracle_detects_foreign_bytes_and_identities() {
    let too_wide = |path: &Path| openat2(path.parent().unwrap_or(path));
    for line in
        ["read canary/file", "stat canary/dir", "readlink canary/link", "readdir canary/dir"]
    {
        let ops = [Op::parse(line).unwrap()];
        let seen = check_run(&too_wide, Mover::Absent, &ops, &mut HuntStats::default());
        assert!(seen.is_err_and(|why| why.contains("was seen")), "{line}");
    }
}
