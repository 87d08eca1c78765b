//! The escape oracle on directories of the host, with both resolvers.

use std::io;
use std::path::Path;

use palisade_props::confinement::{Mover, Tally, hunt, one_run};
use palisade_props::{Op, cases};
use palisade_vfs::{DirRef, HostDir, Resolver};

fn openat2(path: &Path) -> io::Result<DirRef> {
    HostDir::open_ambient_with(path, Resolver::Openat2)
}

fn components(path: &Path) -> io::Result<DirRef> {
    HostDir::open_ambient_with(path, Resolver::Components)
}

fn nothing_gets_out(open: &dyn Fn(&Path) -> io::Result<DirRef>, mover: Mover, runs: u32) {
    let tally = hunt(open, mover, cases(runs).min(10 * runs)).unwrap_or_else(|why| panic!("{why}"));
    // A hunt that met no way out has shown nothing.
    assert!(tally.escapes > u64::from(runs), "{tally:?}");
    assert!(tally.successes > u64::from(runs), "{tally:?}");
    assert!((tally.moves > 0) == (mover == Mover::Busy), "{tally:?}");
}

#[test]
fn nothing_gets_out_of_a_host_directory() {
    nothing_gets_out(&openat2, Mover::Absent, 60);
}

#[test]
fn nothing_gets_out_of_a_host_directory_without_openat2() {
    nothing_gets_out(&components, Mover::Absent, 60);
}

#[test]
fn nothing_gets_out_while_links_take_the_place_of_directories() {
    nothing_gets_out(&openat2, Mover::Busy, 20);
}

#[test]
fn nothing_gets_out_while_links_take_the_place_of_directories_without_openat2() {
    nothing_gets_out(&components, Mover::Busy, 20);
}

/// A directory one too high is a way out like any other, and the oracle sees it.
#[test]
fn a_root_that_is_too_wide_is_found_out() {
    let too_wide = |path: &Path| openat2(path.parent().unwrap_or(path));
    assert!(hunt(&too_wide, Mover::Absent, 20).is_err());
}

/// What lies outside is found out by its bytes, and by its identity.
#[test]
fn what_is_seen_of_the_outside_is_found_out() {
    let too_wide = |path: &Path| openat2(path.parent().unwrap_or(path));
    for line in
        ["read canary/file", "stat canary/dir", "readlink canary/link", "readdir canary/dir"]
    {
        let ops = [Op::parse(line).unwrap()];
        let seen = one_run(&too_wide, Mover::Absent, &ops, &mut Tally::default());
        assert!(seen.is_err_and(|why| why.contains("was seen")), "{line}");
    }
}
