//! The compared stacks.
//!
//! All stacks show the same tree: `f` of 4 KiB, `d/e/f`, and `many`, a directory of 10,000 files.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use palisade_kernel::{Config, Fd, Limits, OpenRequest, Process, RightsRequest, Status};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, DirRef, Errno, Follow, HostDir, MemFs, OpenFlags, OpenHow, Result, copy_tree, path,
};

/// The preopened directory.
pub const ROOT: Fd = 3;
/// The number of files in `many`.
pub const MANY: usize = 10_000;

/// A stack with a guest process on it.
pub struct Stack {
    pub name: &'static str,
    pub process: Process,
    _keep: Option<Keep>,
}

/// The resources of a stack, dropped in this order after its process.
struct Keep {
    _mount: Option<Unmount>,
    _temp: tempfile::TempDir,
}

/// A mount of the host, unmounted on drop.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Stack {
    fn new(name: &'static str, root: DirRef) -> Result<Self> {
        let config = Config::builder().preopen("/", root).limits(Limits::default()).build();
        let process = config.map_err(|_| Errno::Inval)?.start();
        Ok(Stack { name, process, _keep: None })
    }
}

/// Returns an open request with all rights.
pub fn request(flags: OpenFlags) -> OpenRequest {
    OpenRequest {
        follow: Follow::Yes,
        flags,
        status: Status::empty(),
        rights: RightsRequest::Inherited,
    }
}

/// Writes a file.
pub fn write_file(dir: &DirRef, path: &str, bytes: &[u8]) -> Result<()> {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::TRUNCATE);
    let file = path::open(&**dir, path, Follow::Yes, how)?.into_file()?;
    file.write_at(&[std::io::IoSlice::new(bytes)], 0)?;
    Ok(())
}

fn fill(dir: &DirRef) -> Result<()> {
    write_file(dir, "f", &[7; 4096])?;
    path::create_dir(&**dir, "d")?;
    path::create_dir(&**dir, "d/e")?;
    write_file(dir, "d/e/f", &[7; 4096])?;
    path::create_dir(&**dir, "many")?;
    for nth in 0..MANY {
        write_file(dir, &format!("many/file-{nth}"), b"")?;
    }
    Ok(())
}

fn memory() -> Result<DirRef> {
    let root = MemFs::new().root();
    fill(&root)?;
    Ok(root)
}

/// Creates a lower with every `of`-th file of `many`, starting at `nth`.
fn part(nth: usize, of: usize) -> Result<DirRef> {
    let root = MemFs::new().root();
    path::create_dir(&*root, "many")?;
    for nth in (nth..MANY).step_by(of) {
        write_file(&root, &format!("many/file-{nth}"), b"")?;
    }
    Ok(root)
}

fn over(lowers: &Lowers) -> Result<DirRef> {
    let overlay = Overlay::new(MemFs::new().upper(), lowers)?;
    let root = overlay.root();
    // The upper is never empty.
    write_file(&root, "other", b"x")?;
    Ok(root)
}

fn over_parts(count: usize) -> Result<DirRef> {
    let mut lowers = Lowers::builder();
    for nth in 1..count {
        lowers = lowers.dir(part(nth, count)?);
    }
    over(&lowers.dir(memory()?).build()?)
}

/// Creates all stacks.
pub fn all() -> Result<Vec<Stack>> {
    let upper = over(&Lowers::of(MemFs::new().root()))?;
    fill(&upper)?;
    let temp = tempfile::tempdir_in("/dev/shm").map_err(|_| Errno::Io)?;
    let host = HostDir::open_ambient(temp.path()).map_err(|_| Errno::Io)?;
    copy_tree(&memory()?, &host)?;
    let over_host = over(&Lowers::of(Arc::clone(&host)))?;
    let mut stacks = vec![
        Stack::new("memory", memory()?)?,
        Stack::new("upper", upper)?,
        Stack::new("lower1", over(&Lowers::of(memory()?))?)?,
        Stack::new("lower4", over_parts(4)?)?,
        Stack::new("lower16", over_parts(16)?)?,
        Stack { _keep: Some(Keep { _mount: None, _temp: temp }), ..Stack::new("host", host)? },
        Stack::new("over-host", over_host)?,
    ];
    for (name, how) in [
        ("kernel-overlay", &["mount", "-t", "overlay", "overlay"][..]),
        ("fuse-overlayfs", &["fuse-overlayfs"][..]),
    ] {
        match mounted(name, how) {
            Ok(stack) => stacks.push(stack),
            Err(errno) => eprintln!("{name} cannot be mounted here: {errno}"),
        }
    }
    Ok(stacks)
}

/// Creates the same tree on an overlay that the host mounts.
fn mounted(name: &'static str, how: &[&str]) -> Result<Stack> {
    let io = |_| Errno::Io;
    let temp = tempfile::tempdir_in("/dev/shm").map_err(io)?;
    let at = |name: &str| temp.path().join(name);
    for dir in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(at(dir)).map_err(io)?;
    }
    copy_tree(&memory()?, &HostDir::open_ambient(&at("lower")).map_err(io)?)?;
    let (lower, upper, work) = (at("lower"), at("upper"), at("work"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let (program, arguments) = how.split_first().ok_or(Errno::Inval)?;
    let status = Command::new(program)
        .args(arguments)
        .args(["-o", &options])
        .arg(at("merged"))
        .stderr(std::process::Stdio::null())
        .status();
    if !status.map_err(io)?.success() {
        return Err(Errno::Perm);
    }
    let mount = Some(Unmount(at("merged")));
    let root = HostDir::open_ambient(&at("merged")).map_err(io)?;
    write_file(&root, "other", b"x")?;
    Ok(Stack { _keep: Some(Keep { _mount: mount, _temp: temp }), ..Stack::new(name, root)? })
}
