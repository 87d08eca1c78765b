//! Checks that the calls of the hot path allocate no memory.

use palisade_preview1::Preview1;
use palisade_vfs::path;

use crate::harness::{Stack, config};

/// The first preopened directory.
const ROOT_FD: u64 = 3;

const PATH: usize = 0;
const IOVS: usize = 256;
const DATA: usize = 512;
const RESULT: usize = 128;

/// Returns a guest with a file of 4 KiB at `a/b/file`, and the descriptor on which it is open.
fn guest(stack: &Stack) -> (Preview1, Vec<u8>, u64) {
    path::create_dir(&*stack.root, "a").unwrap();
    path::create_dir(&*stack.root, "a/b").unwrap();
    let mut guest = Preview1::new(config(&stack.root, &[]).build().unwrap().start());
    let mut memory = vec![0; 8192];
    memory[PATH..PATH + 8].copy_from_slice(b"a/b/file");
    let open = [ROOT_FD, 1, PATH as u64, 8, 1, 0, 0, 0, RESULT as u64];
    assert_eq!(guest.call(&mut memory, "path_open", &open), Some(Ok(0)));
    let fd = u32::from_le_bytes(memory[RESULT..RESULT + 4].try_into().unwrap());
    // Two buffers, so that the calls are vectored.
    for (at, (ptr, len)) in [(DATA as u32, 1000_u32), (4096, 3096)].iter().enumerate() {
        memory[IOVS + 8 * at..][..4].copy_from_slice(&ptr.to_le_bytes());
        memory[IOVS + 8 * at + 4..][..4].copy_from_slice(&len.to_le_bytes());
    }
    let write = [fd.into(), IOVS as u64, 2, RESULT as u64];
    assert_eq!(guest.call(&mut memory, "fd_write", &write), Some(Ok(0)));
    (guest, memory, fd.into())
}

#[test]
fn hot_path_allocates_nothing() {
    for stack in Stack::writable() {
        let (mut guest, mut memory, fd) = guest(&stack);
        let rewind = [fd, 0, 0, RESULT as u64];
        let calls: &[(&str, &[u64])] = &[
            ("fd_seek", &rewind),
            ("fd_read", &[fd, IOVS as u64, 2, RESULT as u64]),
            ("fd_write", &[fd, IOVS as u64, 2, RESULT as u64]),
            ("fd_pread", &[fd, IOVS as u64, 1, 100, RESULT as u64]),
            ("fd_pwrite", &[fd, IOVS as u64, 1, 100, RESULT as u64]),
            ("fd_tell", &[fd, RESULT as u64]),
            ("fd_fdstat_get", &[fd, RESULT as u64]),
            ("fd_filestat_get", &[fd, RESULT as u64]),
            ("path_filestat_get", &[ROOT_FD, 0, PATH as u64, 1, RESULT as u64]),
            ("path_filestat_get", &[ROOT_FD, 1, PATH as u64, 1, RESULT as u64]),
            ("path_filestat_get", &[ROOT_FD, 1, PATH as u64, 8, RESULT as u64]),
            ("clock_time_get", &[1, 0, RESULT as u64]),
            ("random_get", &[DATA as u64, 64]),
        ];
        for (name, args) in calls {
            // The first call performs one-time initialization. Each call overwrites existing bytes,
            // because extending a file allocates memory.
            assert_eq!(guest.call(&mut memory, name, args), Some(Ok(0)), "{name}");
            assert_eq!(guest.call(&mut memory, "fd_seek", &rewind), Some(Ok(0)));
            let cost = allocation_counter::measure(|| {
                assert_eq!(guest.call(&mut memory, name, args), Some(Ok(0)), "{name}");
            });
            assert_eq!(cost.count_total, 0, "{name} on {}", stack.name);
        }
    }
}
