//! Listings of directories that change meanwhile, and long listings.

use std::time::Instant;

use palisade_policy::{Lease, Live, Policy, confine_live};
use palisade_preview1::Preview1;
use palisade_vfs::{Access, Dir, Errno, Follow, MemFs, OpenFlags, OpenHow, Result, Rights, path};

use crate::harness::{Stack, config};

/// The first preopened directory.
const ROOT_FD: u64 = 3;
/// The address of the entry buffer in the guest's memory.
const BUF: usize = 4096;
/// The address of the byte count.
const USED: usize = 0;

fn fill(root: &dyn Dir, count: usize) {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    for n in 0..count {
        path::open(root, &format!("f{n:05}"), Follow::No, how).unwrap();
    }
}

/// Calls `fd_readdir` and returns the complete entries, each with the cookie after it.
fn read(guest: &mut Preview1, memory: &mut [u8], len: usize, cookie: u64) -> Vec<(String, u64)> {
    let args = [ROOT_FD, BUF as u64, len as u64, cookie, USED as u64];
    assert_eq!(guest.call(memory, "fd_readdir", &args), Some(Ok(0)));
    let used = u32::from_le_bytes(memory[USED..USED + 4].try_into().unwrap()) as usize;
    let mut entries = Vec::new();
    let mut at = BUF;
    while at + 24 <= BUF + used {
        let next = u64::from_le_bytes(memory[at..at + 8].try_into().unwrap());
        let len = u32::from_le_bytes(memory[at + 16..at + 20].try_into().unwrap()) as usize;
        let end = at + 24 + len;
        if end > BUF + used {
            break;
        }
        entries.push((String::from_utf8(memory[at + 24..end].to_vec()).unwrap(), next));
        at = end;
    }
    entries
}

#[test]
fn deletion_during_a_listing_skips_no_entry() {
    for stack in Stack::writable() {
        fill(&*stack.root, 60);
        let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
        let mut memory = vec![0; 8192];
        let (mut seen, mut cookie) = (Vec::new(), 0);
        loop {
            let entries = read(&mut guest, &mut memory, 200, cookie);
            let Some((_, next)) = entries.last() else { break };
            cookie = *next;
            for (name, _) in entries {
                if name.starts_with('f') {
                    path::remove_file(&*stack.root, &name).unwrap();
                    seen.push(name);
                }
            }
        }
        seen.sort();
        let all: Vec<_> = (0..60).map(|n| format!("f{n:05}")).collect();
        assert_eq!(seen, all, "{}", stack.name);
    }
}

#[test]
fn entries_are_listed_once_during_concurrent_changes() {
    for stack in Stack::writable() {
        fill(&*stack.root, 200);
        let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
        let mut memory = vec![0; 8192];
        let (mut seen, mut cookie, mut round) = (Vec::new(), 0, 0);
        loop {
            let entries = read(&mut guest, &mut memory, 300, cookie);
            let Some((_, next)) = entries.last() else { break };
            cookie = *next;
            seen.extend(entries.into_iter().map(|(name, _)| name).filter(|n| n.starts_with('f')));
            round += 1;
            let name = format!("n{round}");
            path::create_dir(&*stack.root, &name).unwrap();
            if round % 2 == 0 {
                path::remove_dir(&*stack.root, &name).unwrap();
            }
        }
        seen.sort();
        let all: Vec<_> = (0..200).map(|n| format!("f{n:05}")).collect();
        assert_eq!(seen, all, "{}", stack.name);
    }
}

/// `telldir` of a C guest for Preview 1 returns 32 bits.
#[test]
fn cookies_fit_32_bits_and_return_to_their_entries() {
    for stack in Stack::writable() {
        fill(&*stack.root, 300);
        let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
        let mut memory = vec![0; 65536];
        let all = read(&mut guest, &mut memory, 60000, 0);
        assert_eq!(all.len(), 302, "{}", stack.name);
        // 97 and 302 are coprime: the seeks visit each position once, in another order.
        for n in 0..all.len() {
            let nth = n * 97 % all.len();
            let cookie = all[nth].1;
            assert!(cookie <= i32::MAX as u64, "{} {cookie}", stack.name);
            let rest = read(&mut guest, &mut memory, 200, cookie);
            assert_eq!(rest[..], all[nth + 1..][..rest.len()], "{} {nth}", stack.name);
            assert!(!rest.is_empty() || nth + 1 == all.len(), "{} {nth}", stack.name);
        }
    }
}

/// A listing in small chunks must not reread the directory for each chunk.
#[test]
fn listing_time_is_linear() {
    for stack in Stack::writable() {
        fill(&*stack.root, 10_000);
        let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
        let mut memory = vec![0; BUF + 4096];
        let (mut count, mut cookie) = (0, 0);
        let started = Instant::now();
        loop {
            let entries = read(&mut guest, &mut memory, 4096, cookie);
            let Some((_, next)) = entries.last() else { break };
            (cookie, count) = (*next, count + entries.len());
        }
        assert_eq!(count, 10_002, "{}", stack.name);
        // A quadratic listing of this length takes minutes without optimization; the limit only
        // detects that.
        assert!(started.elapsed().as_secs() < 20, "{}", stack.name);
    }
}

/// A function that revokes or narrows a grant.
type Revocation<'a> = &'a dyn Fn(&Live);

/// A revocation during a listing also applies to the entries that the kernel has read ahead.
#[test]
fn revocation_ends_a_listing() {
    let hides = Policy::builder().allow("/**", Rights::all()).hide("/f*").build().unwrap();
    let denies = Policy::builder().allow("/**", Rights::all()).deny("/", Rights::LIST);
    let denies = denies.build().unwrap();
    let ends: [(&str, Revocation<'_>, Result<usize>); 6] = [
        ("nothing", &|_| {}, Ok(496)),
        ("revoke", &Live::revoke, Err(Errno::Acces)),
        ("narrow to hidden names", &|live| live.narrow(&hides).unwrap(), Ok(0)),
        ("narrow to no listing", &|live| live.narrow(&denies).unwrap(), Err(Errno::Acces)),
        (
            "a lease until now",
            &|live| live.lease(Lease { until: Some(Instant::now()), uses: None }),
            Err(Errno::Acces),
        ),
        (
            "a lease without uses",
            &|live| live.lease(Lease { until: None, uses: Some(0) }),
            Err(Errno::Acces),
        ),
    ];
    for (what, end, expected) in ends {
        let fs = MemFs::new().root();
        fill(&*fs, 500);
        let all = Policy::builder().allow("/**", Rights::all()).build().unwrap();
        let live = Live::new(all.into());
        let root = confine_live(fs, &live, "/");
        let mut guest = Preview1::new(config(&root, &[]).build().unwrap().start());
        let mut memory = vec![0; BUF + 65536];
        // `.`, `..` and four files.
        let first = read(&mut guest, &mut memory, 25 + 26 + 4 * 30, 0);
        assert_eq!(first.len(), 6, "{what}");
        end(&live);
        let cookie = first.last().unwrap().1;
        let args = [ROOT_FD, BUF as u64, 65536, cookie, USED as u64];
        let errno = guest.call(&mut memory, "fd_readdir", &args).unwrap().unwrap();
        let listed = match errno {
            0 => Ok(read(&mut guest, &mut memory, 65536, cookie).len()),
            _ => Err(Errno::Acces),
        };
        assert_eq!(listed, expected, "{what}: {errno}");
    }
}
