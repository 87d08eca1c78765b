//! One-time measurements: a large copy-up, a fork of a large sandbox, and many sandboxes.

use std::time::Instant;

use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, DirRef, Errno, Follow, HostDir, MemFs, OpenFlags, OpenHow, Result, path,
};

use crate::stack::write_file;

const MIB: usize = 1024 * 1024;

/// Runs the measurements and prints the results.
pub fn measure() -> Result<()> {
    println!();
    copy_up()?;
    fork()?;
    sandboxes()
}

fn copy_up() -> Result<()> {
    let temp = tempfile::tempdir_in("/dev/shm").map_err(|_| Errno::Io)?;
    let lower = temp.path().join("lower");
    std::fs::create_dir(&lower).map_err(|_| Errno::Io)?;
    std::fs::write(lower.join("large"), vec![5; 64 * MIB]).map_err(|_| Errno::Io)?;
    let mut ratios = Vec::new();
    for nth in 0..5 {
        let start = Instant::now();
        let to = temp.path().join(format!("copy-{nth}"));
        let status = std::process::Command::new("cp").arg(lower.join("large")).arg(&to).status();
        let cp = start.elapsed();
        if !status.is_ok_and(|status| status.success()) {
            return Err(Errno::Io);
        }
        std::fs::remove_file(to).map_err(|_| Errno::Io)?;
        let host = HostDir::open_ambient(&lower).map_err(|_| Errno::Io)?;
        let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(host))?;
        let start = Instant::now();
        let how = OpenHow::new(Access::Write, OpenFlags::empty());
        path::open(&*overlay.root(), "large", Follow::Yes, how)?;
        ratios.push(cp.as_secs_f64() / start.elapsed().as_secs_f64());
    }
    println!(
        "copy-up of 64 MiB from a host directory into memory: {:.2} of the speed of cp (≥ 0.7)",
        crate::median(&mut ratios)
    );
    Ok(())
}

fn fork() -> Result<()> {
    let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(MemFs::new().root()))?;
    let root = overlay.root();
    for dir in 0..1000 {
        path::create_dir(&*root, &format!("{dir}"))?;
        let at = path::open(&*root, &format!("{dir}"), Follow::Yes, OpenHow::HOLD_DIR)?;
        let at: DirRef = at.into_dir()?;
        for file in 0..1000 {
            write_file(&at, &format!("file-{file}"), b"")?;
        }
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let fork = overlay.fork(MemFs::new().upper(), MemFs::new().upper())?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        path::stat(&*fork.root(), "999/file-999", Follow::Yes)?;
    }
    println!("fork of a sandbox of 1,000,000 files: {:.1} us (< 1000)", crate::median(&mut times));
    Ok(())
}

fn sandboxes() -> Result<()> {
    const COUNT: usize = 10_000;
    let base = MemFs::new().root();
    for nth in 0..10_000 {
        write_file(&base, &format!("file-{nth}"), b"content")?;
    }
    let lowers = Lowers::of(base);
    let before = resident()?;
    let mut sandboxes = Vec::new();
    for _ in 0..COUNT {
        let overlay = Overlay::new(MemFs::new().upper(), &lowers)?;
        let root = overlay.root();
        path::stat(&*root, "file-77", Follow::Yes)?;
        path::open(&*root, "file-4711", Follow::Yes, OpenHow::READ)?;
        let mut names = 0;
        root.read_dir(palisade_vfs::Cookie::START, &mut |_| {
            names += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        sandboxes.push((overlay, root));
    }
    let each = resident()?.saturating_sub(before) as f64 / COUNT as f64 / 1024.0;
    println!("a sandbox over 10,000 shared files, used and listed: {each:.1} KiB (< 64)");
    drop(sandboxes);
    Ok(())
}

/// Returns the resident set size of this process in bytes.
fn resident() -> Result<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").map_err(|_| Errno::Io)?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    Ok(pages.ok_or(Errno::Io)? * 4096)
}
