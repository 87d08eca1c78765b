//! Tests of the fixed clock, which advances only when no other pollable is ready.

use palisade_kernel::{Clock, Config};
use palisade_preview2::PalisadeView as _;
use palisade_vfs::MemFs;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::sync::io::poll::{Host as _, HostPollable as _};
use wasmtime_wasi::p2::{DynPollable, subscribe};

use crate::world::{WRITE, World, no_flags};

const MS: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MS;

fn world() -> World {
    let clock = Clock::Fixed { realtime_ns: 0, step_ns: 0 };
    World::of(Config::builder().preopen("/", MemFs::new().root()).clock(clock))
}

fn timer(w: &mut World, after_ns: u64) -> Resource<DynPollable> {
    w.palisade().subscribe_duration(after_ns).unwrap()
}

fn poll(w: &mut World, all: &[&Resource<DynPollable>]) -> Vec<u32> {
    let all = all.iter().map(|it| Resource::new_borrow(it.rep())).collect();
    w.table.poll(all).unwrap()
}

#[test]
fn fixed_clock_advances_to_the_earliest_deadline_only() {
    for order in [[HOUR, MS], [MS, HOUR]] {
        let mut w = world();
        let all = order.map(|after| timer(&mut w, after));
        let earliest = order.iter().position(|after| *after == MS).unwrap();
        assert_eq!(poll(&mut w, &[&all[0], &all[1]]), [earliest as u32]);
        assert_eq!(w.palisade().now().unwrap(), MS, "{order:?}");
        // Expired deadlines stay ready, and the clock does not advance.
        assert_eq!(poll(&mut w, &[&all[earliest]]), [0]);
        assert_eq!(w.palisade().now().unwrap(), MS);
        assert_eq!(poll(&mut w, &[&all[1 - earliest]]), [0]);
        assert_eq!(w.palisade().now().unwrap(), HOUR);
    }
}

#[test]
fn equal_deadlines_expire_together() {
    let mut w = world();
    let all = [timer(&mut w, MS), timer(&mut w, HOUR), timer(&mut w, MS)];
    assert_eq!(poll(&mut w, &[&all[0], &all[1], &all[2]]), [0, 2]);
    assert_eq!(w.palisade().now().unwrap(), MS);
}

#[test]
fn fixed_clock_does_not_advance_while_a_pollable_is_ready() {
    let mut w = world();
    w.put("f", b"");
    let f = w.open(w.root, "f", no_flags(), WRITE).unwrap();
    let stream = w.output(f, 0).unwrap();
    let ready = subscribe(&mut w.table, stream).unwrap();
    let hour = timer(&mut w, HOUR);
    for _ in 0..3 {
        assert_eq!(poll(&mut w, &[&hour, &ready]), [1]);
        assert_eq!(w.palisade().now().unwrap(), 0);
    }
}

#[test]
fn polling_readiness_does_not_wait() {
    let mut w = world();
    let timer = timer(&mut w, MS);
    let look = |w: &mut World| w.table.ready(Resource::new_borrow(timer.rep())).unwrap();
    assert!(!look(&mut w) && !look(&mut w));
    assert_eq!(w.palisade().now().unwrap(), 0);
    w.table.block(Resource::new_borrow(timer.rep())).unwrap();
    assert!(look(&mut w));
    assert_eq!(w.palisade().now().unwrap(), MS);
}
