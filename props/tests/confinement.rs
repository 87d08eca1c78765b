//! The escape oracle on directories of the host, with both resolvers.

use std::io;
use std::path::Path;

use palisade_props::cases;
use palisade_props::confinement::{Mover, hunt};
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
