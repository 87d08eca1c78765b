//! The timed operations.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::time::Instant;

use palisade_kernel::{Dots, FdRights, OpenRequest, Process, RightsRequest};
use palisade_vfs::{Errno, Follow, OpenFlags, Result};

use crate::stack::{MANY, ROOT, Stack, request};

/// One operation.
pub struct Op {
    pub name: &'static str,
    /// The divisor of the number of calls in a round.
    slower: u32,
    /// Whether it writes. On a lower, only the first write is a copy-up, so it is not timed there.
    writes: bool,
    run: fn(&mut Process, u32) -> Result<u32>,
}

/// All operations. Each returns the number of calls that it made.
pub const OPS: &[Op] = &[
    Op { name: "stat", slower: 1, writes: false, run: stat },
    Op { name: "stat_deep", slower: 1, writes: false, run: stat_deep },
    Op { name: "stat_missing", slower: 1, writes: false, run: stat_missing },
    Op { name: "open_close", slower: 1, writes: false, run: open_close },
    Op { name: "read_4k", slower: 1, writes: false, run: read_4k },
    Op { name: "open_read_close", slower: 1, writes: false, run: open_read_close },
    Op { name: "readdir_10k", slower: 10_000, writes: false, run: readdir },
    Op { name: "create_unlink", slower: 2, writes: true, run: create_unlink },
    Op { name: "rename", slower: 2, writes: true, run: rename },
    Op { name: "mkdir_rmdir", slower: 2, writes: true, run: mkdir_rmdir },
    Op { name: "overwrite_4k", slower: 1, writes: true, run: overwrite_4k },
];

impl Op {
    /// Returns the nanoseconds per call, or `None` if the operation does not apply to the stack.
    pub fn time(&self, stack: &mut Stack, calls: u32) -> Result<Option<f64>> {
        if self.writes && stack.name.starts_with("lower") {
            return Ok(None);
        }
        let calls = (calls / self.slower).max(1);
        (self.run)(&mut stack.process, calls.min(100))?;
        let start = Instant::now();
        let made = (self.run)(&mut stack.process, calls)?;
        Ok(Some(start.elapsed().as_secs_f64() * 1e9 / f64::from(made)))
    }
}

fn stat(process: &mut Process, calls: u32) -> Result<u32> {
    for _ in 0..calls {
        process.stat_at(ROOT, "f", Follow::Yes)?;
    }
    Ok(calls)
}

fn stat_deep(process: &mut Process, calls: u32) -> Result<u32> {
    for _ in 0..calls {
        process.stat_at(ROOT, "d/e/f", Follow::Yes)?;
    }
    Ok(calls)
}

fn stat_missing(process: &mut Process, calls: u32) -> Result<u32> {
    for _ in 0..calls {
        match process.stat_at(ROOT, "missing", Follow::Yes) {
            Err(Errno::Noent) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Err(Errno::Exist),
        }
    }
    Ok(calls)
}

fn open_close(process: &mut Process, calls: u32) -> Result<u32> {
    for _ in 0..calls {
        let fd = process.open(ROOT, "f", read_only())?;
        process.close(fd)?;
    }
    Ok(calls)
}

fn read_4k(process: &mut Process, calls: u32) -> Result<u32> {
    let fd = process.open(ROOT, "f", read_only())?;
    let mut page = [0; 4096];
    for _ in 0..calls {
        process.read_at(fd, &mut [IoSliceMut::new(&mut page)], 0)?;
    }
    process.close(fd)?;
    Ok(calls)
}

fn open_read_close(process: &mut Process, calls: u32) -> Result<u32> {
    let mut page = [0; 4096];
    for _ in 0..calls {
        let fd = process.open(ROOT, "d/e/f", read_only())?;
        process.read_at(fd, &mut [IoSliceMut::new(&mut page)], 0)?;
        process.close(fd)?;
    }
    Ok(calls)
}

/// Returns a request with read-only rights, which causes no copy-up.
fn read_only() -> OpenRequest {
    let base = FdRights::READ | FdRights::SEEK;
    let rights = RightsRequest::Exactly { base, inheriting: FdRights::empty() };
    OpenRequest { rights, ..request(OpenFlags::empty()) }
}

fn readdir(process: &mut Process, calls: u32) -> Result<u32> {
    let fd = process.open(ROOT, "many", request(OpenFlags::DIRECTORY))?;
    let mut entries = 0;
    for _ in 0..calls {
        process.read_dir(fd, 0, Dots::Without, &mut |_| {
            entries += 1;
            ControlFlow::Continue(())
        })?;
    }
    process.close(fd)?;
    if u64::from(entries) < u64::from(calls) * MANY as u64 { Err(Errno::Io) } else { Ok(entries) }
}

fn create_unlink(process: &mut Process, calls: u32) -> Result<u32> {
    for _ in 0..calls {
        let fd = process.open(ROOT, "new", request(OpenFlags::CREATE))?;
        process.close(fd)?;
        process.remove_file(ROOT, "new")?;
    }
    Ok(calls)
}

fn rename(process: &mut Process, calls: u32) -> Result<u32> {
    for nth in 0..calls {
        let (from, to) = if nth % 2 == 0 { ("other", "moved") } else { ("moved", "other") };
        if nth == 0 {
            let fd = process.open(ROOT, from, request(OpenFlags::CREATE))?;
            process.close(fd)?;
        }
        process.rename((ROOT, from), (ROOT, to))?;
    }
    Ok(calls)
}

fn mkdir_rmdir(process: &mut Process, calls: u32) -> Result<u32> {
    for _ in 0..calls {
        process.create_dir(ROOT, "dir")?;
        process.remove_dir(ROOT, "dir")?;
    }
    Ok(calls)
}

fn overwrite_4k(process: &mut Process, calls: u32) -> Result<u32> {
    let fd = process.open(ROOT, "other", request(OpenFlags::CREATE))?;
    for _ in 0..calls {
        process.write_at(fd, &[IoSlice::new(&[9; 4096])], 0)?;
    }
    process.close(fd)?;
    Ok(calls)
}
