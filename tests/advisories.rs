//! Regression tests for published advisories about similar runtimes.
//!
//! Each test names its advisory and explains why the bug cannot occur here. Other tests cover:
//!
//! | advisory | tests |
//! |---|---|
//! | GHSA-fm79-3f68-h2fc, GHSA-3p27-qvp9-27qf: renumbering | `kernel/src/table.rs`, and below |
//! | GHSA-852m-cvvp-9p4w, GHSA-x84v-gj2h-g759, GHSA-gqmc-89g8-p25r: lengths | `tests/limits.rs` |
//! | GHSA-96f6-r43r-8c24: padding | `adapters/preview1/src/layout.rs`, and below |
//! | CVE-2023-51661: default grants | `tests/limits.rs` |
//! | concurrent link swaps | `vfs/tests/host`, `props/tests/confinement.rs` |
//! | flags that imply a change | `vfs/src/open.rs`, `policy/src/tests`, and below |

use std::fs;
use std::path::Path;

use palisade_kernel::Config;
use palisade_policy::read_only;
use palisade_preview1::Preview1;
use palisade_vfs::{
    Access, DirRef, Errno, Follow, HostDir, MemFs, OpenFlags, OpenHow, Resolver, SetTime, SetTimes,
    Timestamp, path,
};

use crate::harness::{Stack, config};

/// The first and the second preopened directory.
const FIRST: u64 = 3;
const SECOND: u64 = 4;

const RESOLVERS: [Resolver; 2] = [Resolver::Openat2, Resolver::Components];

/// A root directory with a directory next to it that no guest may access.
struct Outside {
    outer: tempfile::TempDir,
    root: DirRef,
}

impl Outside {
    fn new(resolver: Resolver) -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir_all(outer.path().join("root")).unwrap();
        fs::create_dir_all(outer.path().join("outside/dir")).unwrap();
        fs::write(outer.path().join("outside/file"), "canary").unwrap();
        let root = HostDir::open_ambient_with(&outer.path().join("root"), resolver).unwrap();
        Outside { outer, root }
    }

    fn link(&self, target: &str, at: &str) {
        std::os::unix::fs::symlink(target, self.outer.path().join("root").join(at)).unwrap();
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        let names = |dir: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let outside = self.outer.path().join("outside");
        assert_eq!(names(self.outer.path()), ["outside", "root"], "{what}");
        assert_eq!(names(&outside), ["dir", "file"], "{what}");
        assert!(names(&outside.join("dir")).is_empty(), "{what}");
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"canary", "{what}");
    }
}

/// Runs each operation on `at`; none of them may leave the root.
fn try_all_operations(root: &DirRef, at: &str) {
    let mut opened = Vec::new();
    for access in Access::ALL {
        for bits in 0..=OpenFlags::all().bits() {
            let how = OpenHow::new(access, OpenFlags::from_bits_truncate(bits));
            for follow in [Follow::Yes, Follow::No] {
                if let Ok(palisade_vfs::Node::File(file)) = path::open(&**root, at, follow, how) {
                    opened.push(file);
                }
            }
        }
    }
    for file in opened {
        let mut bytes = [0; 16];
        let n = file.read_at(&mut [std::io::IoSliceMut::new(&mut bytes)], 0).unwrap_or(0);
        assert_ne!(&bytes[..n], b"canary", "{at}");
        let _ = file.write_at(&[std::io::IoSlice::new(b"changed")], 0);
    }
    let times = SetTimes { accessed: SetTime::Now, modified: SetTime::Now };
    let _ = path::set_times(&**root, at, Follow::Yes, times);
    let _ = path::create_dir(&**root, at);
    let _ = path::create_symlink(&**root, "x", at);
    let _ = path::link(&**root, at, &**root, "linked");
    let _ = path::remove_file(&**root, at);
    let _ = path::remove_dir(&**root, at);
    let _ = path::rename(&**root, "plain", &**root, at);
    let _ = path::rename(&**root, at, &**root, "plain");
}

/// GHSA-vqjp-4c8c-hfgg, RUSTSEC-2026-0269, GHSA-hp8f-xmx4-4qrg: a slash at the end of a link's
/// *target* was appended to a resolved name, and a link at that name was followed. Here the walker
/// resolves each target itself, and no directory follows a link.
#[test]
fn trailing_slashes_of_paths_and_targets_do_not_escape() {
    for resolver in RESOLVERS {
        for ending in ["", "/", "//", "///", "/.", "/./", "/.//", "/.."] {
            for target_ending in ["", "/", "//", "///", "/.", "/./"] {
                let world = Outside::new(resolver);
                fs::write(world.outer.path().join("root/plain"), "plain").unwrap();
                fs::create_dir(world.outer.path().join("root/a")).unwrap();
                world.link("../outside", "evil");
                world.link("../outside/file", "evil_file");
                world.link(&format!("evil{target_ending}"), "one");
                world.link(&format!("../evil{target_ending}"), "a/one");
                world.link(&format!("evil_file{target_ending}"), "two");
                world.link(&format!("../outside/new{target_ending}"), "three");
                for at in
                    ["evil", "one", "a/one", "two", "three", "one/file", "one/new", "a/one/dir"]
                {
                    let at = format!("{at}{ending}");
                    try_all_operations(&world.root, &at);
                    world.assert_untouched(&format!("{resolver:?} {at} {target_ending}"));
                }
            }
        }
    }
}

/// GHSA-m9f7-9w4p-gv38: a rename of `link/` followed the link. Here a slash only checks the type,
/// and the name is passed to the host without it.
#[test]
fn rename_of_a_link_with_a_slash_does_not_follow() {
    for resolver in RESOLVERS {
        let world = Outside::new(resolver);
        world.link("../outside/dir", "out");
        fs::create_dir(world.outer.path().join("root/d")).unwrap();
        for (old, new) in
            [("out/", "x"), ("out/", "x/"), ("d", "out/"), ("d/", "out/"), ("d/", "out")]
        {
            let done = path::rename(&*world.root, old, &*world.root, new);
            assert_eq!(done, Err(Errno::Notdir), "{old} {new}");
            world.assert_untouched(old);
        }
    }
}

/// CVE-2024-38358 and others: file creation through a link that leads outside. Here the host never
/// follows a link on creation; the walker follows it and detects the escape.
#[test]
fn creation_through_a_link_that_leads_outside_fails() {
    for resolver in RESOLVERS {
        let world = Outside::new(resolver);
        world.link("../outside/new", "dangling");
        for bits in 0..=OpenFlags::all().bits() {
            for access in Access::ALL {
                let flags = OpenFlags::from_bits_truncate(bits) | OpenFlags::CREATE;
                let how = OpenHow::new(access, flags - OpenFlags::DIRECTORY);
                let done = path::open(&*world.root, "dangling", Follow::Yes, how).map(drop);
                let expected = if how.is_exclusive() { Errno::Exist } else { Errno::Escape };
                assert_eq!(done, Err(expected), "{how:?}");
            }
        }
        world.assert_untouched("dangling");
    }
}

/// Returns a guest with two preopens of the same directory: a read-only and a writable one.
fn read_only_beside_writable() -> (DirRef, Preview1, Vec<u8>) {
    let store = MemFs::new().root();
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let file = path::open(&*store, "file", Follow::No, how).unwrap().into_file().unwrap();
    file.write_at(&[std::io::IoSlice::new(b"canary")], 0).unwrap();
    let given =
        Config::builder().preopen("/ro", read_only(store.clone())).preopen("/rw", store.clone());
    let mut memory = b"file\0new".to_vec();
    memory.resize(4096, 0);
    (store, Preview1::new(given.build().unwrap().start()), memory)
}

fn call(guest: &mut Preview1, memory: &mut [u8], name: &str, args: &[u64]) -> i32 {
    guest.call(memory, name, args).unwrap().unwrap()
}

/// CVE-2026-58494, GHSA-4ch3-9j33-3pmj: a file of a read-only directory was hard-linked or renamed
/// into a writable one, and written there. Here both directories of a rename or a link must belong
/// to the same layer and the same policy.
#[test]
fn rename_and_link_do_not_change_the_rights_of_a_file() {
    const XDEV: i32 = 75;
    let (store, mut guest, mut memory) = read_only_beside_writable();
    for (from, into) in [(FIRST, SECOND), (SECOND, FIRST)] {
        let link = [from, 0, 0, 4, into, 5, 3];
        assert_eq!(call(&mut guest, &mut memory, "path_link", &link), XDEV);
        let rename = [from, 0, 4, into, 5, 3];
        assert_eq!(call(&mut guest, &mut memory, "path_rename", &rename), XDEV);
    }
    assert_eq!(path::stat(&*store, "new", Follow::No), Err(Errno::Noent));
    assert_eq!(path::stat(&*store, "file", Follow::No).unwrap().nlink, 1);
}

/// CVE-2026-47261, GHSA-2r75-cxrj-cmph: truncation did not need the right to write. Here one
/// function derives the rights that an open needs.
#[test]
fn open_in_a_read_only_directory_changes_no_file() {
    let (store, mut guest, mut memory) = read_only_beside_writable();
    let before = path::stat(&*store, "file", Follow::No).unwrap();
    let rights = [0, 1 << 1, 1 << 6, (1 << 1) | (1 << 6), (1 << 8) | (1 << 22), (1 << 30) - 1];
    for open_flags in 0..16 {
        for fd_flags in 0..32 {
            for base in rights {
                let open = [FIRST, 1, 0, 4, open_flags, base, base, fd_flags, 64];
                if call(&mut guest, &mut memory, "path_open", &open) == 0 {
                    let fd = u64::from(memory[64]);
                    call(&mut guest, &mut memory, "fd_filestat_set_size", &[fd, 0]);
                    call(&mut guest, &mut memory, "fd_allocate", &[fd, 0, 100]);
                    call(&mut guest, &mut memory, "fd_filestat_set_times", &[fd, 1, 1, 5]);
                    assert_eq!(call(&mut guest, &mut memory, "fd_close", &[fd]), 0);
                }
                let after = path::stat(&*store, "file", Follow::No).unwrap();
                assert_eq!(after, before, "{open_flags} {fd_flags} {base}");
            }
        }
    }
}

/// CVE-2025-53901, GHSA-fm79-3f68-h2fc and GHSA-3p27-qvp9-27qf, through calls of a guest:
/// renumbering corrupted the free list, or leaked the descriptor at the target.
#[test]
fn renumbering_neither_panics_nor_leaks() {
    const BADF: i32 = 8;
    let world = Outside::new(Resolver::Auto);
    fs::write(world.outer.path().join("root/f"), "f").unwrap();
    let mut guest = Preview1::new(config(&world.root, &[]).build().unwrap().start());
    let mut memory = b"f".to_vec();
    memory.resize(256, 0);
    let mut renumber = |guest: &mut Preview1, from: u64, to: u64| {
        call(guest, &mut memory, "fd_renumber", &[from, to])
    };
    for (from, to, expected) in [
        (0, 0, 0),
        (FIRST, FIRST, 0),
        (99, 99, BADF),
        (FIRST, 99, BADF),
        (99, FIRST, BADF),
        (0, u64::from(u32::MAX), BADF),
        (FIRST, 1, 0),
        (FIRST, 1, BADF),
        (1, 0, 0),
        (2, 0, 0),
    ] {
        assert_eq!(renumber(&mut guest, from, to), expected, "{from} {to}");
    }
    assert_eq!(guest.process().open_descriptors(), 1);
    let mut guest = Preview1::new(config(&world.root, &[]).build().unwrap().start());
    for _ in 0..3000 {
        let open = [FIRST, 0, 0, 1, 0, 1 << 1, 0, 0, 64];
        assert_eq!(call(&mut guest, &mut memory, "path_open", &open), 0);
        let fd = u64::from(memory[64]);
        assert_eq!(call(&mut guest, &mut memory, "fd_renumber", &[fd, 0]), 0);
    }
    // Each renumbering closed the previous file, since 3,000 open files exceed the limit.
    assert_eq!(guest.process().open_descriptors(), 4);
}

/// GHSA-mr2v-56j5-cmfc, GHSA-j2g9-4prp-pf6h: a time before 1970 or in the far future caused a
/// panic. Here each pair of numbers is a valid time, and conversions saturate.
#[test]
fn extreme_times_do_not_panic() {
    for stack in Stack::writable() {
        path::create_dir(&*stack.root, "d").unwrap();
        let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
        let mut memory = b"d".to_vec();
        memory.resize(256, 0);
        for ns in [0, 1, 999_999_999, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX] {
            let set = [FIRST, 0, 0, 1, ns, ns, 5];
            call(&mut guest, &mut memory, "path_filestat_set_times", &set);
            let get = [FIRST, 0, 0, 1, 64];
            assert_eq!(call(&mut guest, &mut memory, "path_filestat_get", &get), 0);
        }
        for seconds in [i64::MIN, -1, 0, 1, i64::MAX] {
            for nanos in [0, 999_999_999, 1_000_000_000, u32::MAX] {
                let time = SetTime::At(Timestamp::new(seconds, nanos));
                let times = SetTimes { accessed: time, modified: time };
                let _ = path::set_times(&*stack.root, "d", Follow::No, times);
                let get = [FIRST, 0, 0, 1, 64];
                assert_eq!(call(&mut guest, &mut memory, "path_filestat_get", &get), 0);
            }
        }
    }
}

/// GHSA-96f6-r43r-8c24: the padding of a listing leaked memory of the host. Guests with differently
/// poisoned memory must see the same bytes, and the bytes after the listing must not change.
#[test]
fn listing_padding_leaks_no_memory() {
    for stack in Stack::writable() {
        for name in ["a", "bc", "a-longer-name"] {
            path::create_dir(&*stack.root, name).unwrap();
        }
        let listings = [0x00, 0xaa, 0xff].map(|poison| {
            let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
            let mut memory = vec![poison; 4096];
            memory[..1].copy_from_slice(b"a");
            let list = [FIRST, 1024, 500, 0, 8];
            assert_eq!(call(&mut guest, &mut memory, "fd_readdir", &list), 0);
            let used = u32::from_le_bytes(memory[8..12].try_into().unwrap()) as usize;
            let stat = [FIRST, 0, 0, 1, 2048];
            assert_eq!(call(&mut guest, &mut memory, "path_filestat_get", &stat), 0);
            assert_eq!(call(&mut guest, &mut memory, "fd_fdstat_get", &[FIRST, 3072]), 0);
            for unused in [1024 + used..2048, 2048 + 64..3072, 3072 + 24..4096] {
                assert!(memory[unused].iter().all(|byte| *byte == poison), "{}", stack.name);
            }
            let written = [1024..1024 + used, 2048..2048 + 64, 3072..3072 + 24];
            written.map(|range| memory[range].to_vec())
        });
        assert!(listings.iter().all(|listing| *listing == listings[0]), "{}", stack.name);
    }
}

/// A host that ignored the cookie let a guest list forever. Here a listing from any cookie ends.
#[test]
fn listing_from_any_cookie_ends() {
    for stack in Stack::writable() {
        for n in 0..20 {
            path::create_dir(&*stack.root, &format!("d{n}")).unwrap();
        }
        let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
        let mut memory = vec![0; 4096];
        for start in [0, 1, 7, 1 << 20, 1 << 40, (1 << 62) + 3, u64::MAX - 1, u64::MAX] {
            let mut cookie = start;
            for round in 0.. {
                assert!(round < 100, "{} {start}", stack.name);
                let list = [FIRST, 1024, 100, cookie, 8];
                if call(&mut guest, &mut memory, "fd_readdir", &list) != 0 {
                    break;
                }
                if u32::from_le_bytes(memory[8..12].try_into().unwrap()) < 24 {
                    break;
                }
                cookie = u64::from_le_bytes(memory[1024..1032].try_into().unwrap());
            }
        }
    }
}
