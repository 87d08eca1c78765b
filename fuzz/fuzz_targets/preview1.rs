//! Fuzzes all functions of Preview 1 with arbitrary arguments and memory.
//!
//! Each call returns an errno without a panic, and resources stay within the limits.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use palisade_kernel::{Clock, Config, Limits, Random};
use palisade_preview1::{FUNCTIONS, Preview1};
use palisade_vfs::{Access, Follow, MemFs, OpenFlags, OpenHow, path};

/// The size of the guest's memory.
const MEMORY_BYTES: usize = 4096;
/// The capacity of the filesystem.
const CAPACITY_BYTES: u64 = 1 << 20;
/// The limit on open descriptors.
const DESCRIPTORS_MAX: u32 = 16;

/// An argument of a call, biased toward meaningful values.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Arg {
    Small(u8),
    InMemory(u16),
    NearTheEnd(u8),
    Rights,
    Free(u64),
}

#[derive(Arbitrary, Debug)]
struct Call {
    function: u8,
    args: [Arg; 9],
}

#[derive(Arbitrary, Debug)]
struct Case {
    memory: Vec<u8>,
    calls: Vec<Call>,
}

impl Arg {
    fn bits(self) -> u64 {
        match self {
            Arg::Small(n) => u64::from(n) % 20,
            Arg::InMemory(at) => u64::from(at) % MEMORY_BYTES as u64,
            Arg::NearTheEnd(back) => (MEMORY_BYTES as u64 + 4).saturating_sub(back.into()),
            Arg::Rights => (1 << 30) - 1,
            Arg::Free(bits) => bits,
        }
    }
}

fn guest(fs: &MemFs) -> Preview1 {
    let root = fs.root();
    path::create_dir(&*root, "a").unwrap();
    path::create_symlink(&*root, "a/../f", "l").unwrap();
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    path::open(&*root, "f", Follow::No, how).unwrap();
    let limits = Limits {
        descriptors_max: DESCRIPTORS_MAX,
        subscriptions_max: 64,
        random_bytes_max: 1 << 16,
        ..Limits::default()
    };
    let config = Config::builder()
        .args(["guest", "argument"])
        .env("NAME", "value")
        .preopen("/", root)
        .clock(Clock::Fixed { realtime_ns: 1 << 60, step_ns: 1 })
        .random(Random::Seeded(1))
        .limits(limits);
    Preview1::new(config.build().unwrap().start())
}

fuzz_target!(|case: Case| {
    let fs = MemFs::builder().capacity_bytes(CAPACITY_BYTES).nodes_max(1000).build();
    let mut guest = guest(&fs);
    let mut memory = case.memory;
    // Places valid paths at low addresses, where small pointers refer to them.
    let mut image = b"f\0a\0l\0a/f\0../f\0.\0".to_vec();
    image.append(&mut memory);
    image.resize(MEMORY_BYTES, 0);
    for call in case.calls.iter().take(64) {
        let name = FUNCTIONS[usize::from(call.function) % FUNCTIONS.len()];
        let args = call.args.map(Arg::bits);
        match guest.call(&mut image, name, &args) {
            Some(Ok(errno)) => assert!((0..=76).contains(&errno), "{name} {args:?}: {errno}"),
            Some(Err(_)) => assert_eq!(name, "proc_exit"),
            None => panic!("{name} is not implemented"),
        }
        assert!(guest.process().open_descriptors() <= DESCRIPTORS_MAX as usize);
        assert!(fs.usage().bytes <= CAPACITY_BYTES);
    }
});
