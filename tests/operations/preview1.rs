//! Runs operations through the functions of Preview 1, on guest memory without an engine.

use palisade_kernel::Config;
use palisade_preview1::{Preview1 as Functions, errno_number};
use palisade_props::{At, Op, Outcome, READ_MAX, Run, StatSummary};
use palisade_vfs::{
    Access, DirRef, FileType, Follow, OpenFlags, Result, SetTime, SetTimes, Timestamp,
};

use super::{OpenHandles, first};

/// The preopened directory.
const ROOT: u32 = 3;

// Addresses in the guest's memory.
const RESULT: u64 = 64;
const BUFFERS: u64 = 256;
const PATH: u64 = 1 << 12;
const SECOND_PATH: u64 = 1 << 16;
const DATA: u64 = 1 << 17;
const MEMORY_BYTES: usize = 1 << 18;

/// The buffer size for listings, small enough that a listing needs several calls.
const LISTED_BYTES: u64 = 300;

/// All rights of Preview 1, by their bits in the specification.
const ALL_RIGHTS: u64 = (1 << 30) - 1;
const READ: u64 = 1 << 1;
/// `fd_write`, `fd_allocate` and `fd_filestat_set_size`.
const WRITING: u64 = 1 << 6 | 1 << 8 | 1 << 22;

/// The flag that makes writes append.
const APPEND: u64 = 1;

/// A guest with its open handles.
pub struct Preview1 {
    functions: Functions,
    memory: Vec<u8>,
    handles: OpenHandles,
}

impl Preview1 {
    /// Starts with the root as the only open directory.
    pub fn new(root: DirRef) -> Self {
        let config = Config::builder().preopen("/", root).build().unwrap();
        Preview1 {
            functions: Functions::new(config.start()),
            memory: vec![0; MEMORY_BYTES],
            handles: OpenHandles::new(ROOT),
        }
    }

    /// Calls a function and converts its errno to the first with the same number.
    fn call(&mut self, name: &str, args: &[u64]) -> Result<()> {
        let result = self.functions.call(&mut self.memory, name, args);
        match result.expect("the function exists").expect("the function does not exit") {
            0 => Ok(()),
            number => Err(first(|errno| i32::from(errno_number(errno)) == number)),
        }
    }

    fn store(&mut self, at: u64, bytes: &[u8]) -> [u64; 2] {
        let start = at as usize;
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
        [at, bytes.len() as u64]
    }

    fn number<const N: usize>(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.memory[at as usize..at as usize + N]);
        u64::from_le_bytes(bytes)
    }

    fn text(&self, at: u64, len: u64) -> String {
        let bytes = &self.memory[at as usize..(at + len) as usize];
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// Writes iovecs of two buffers in `len` bytes at [`DATA`], so that their order matters.
    fn two_buffers(&mut self, len: u64) {
        let cut = len / 3;
        let pairs = [DATA, cut, DATA + cut, len - cut].map(|number| number as u32);
        let bytes: Vec<u8> = pairs.into_iter().flat_map(u32::to_le_bytes).collect();
        self.store(BUFFERS, &bytes);
    }

    fn dir(&self, at: &At) -> u64 {
        self.handles.dir(at).into()
    }

    /// Calls a function with a directory and a path.
    fn at(&mut self, name: &str, at: &At) -> Result<()> {
        let dir = self.dir(at);
        let [path, len] = self.store(PATH, at.path.as_bytes());
        self.call(name, &[dir, path, len])
    }

    fn open(&mut self, at: &At, follow: Follow, flags: OpenFlags, access: Access) -> Result<u32> {
        let dir = self.dir(at);
        let [path, len] = self.store(PATH, at.path.as_bytes());
        let flag_bit = |flag, bit: u64| if flags.contains(flag) { bit } else { 0 };
        let open = flag_bit(OpenFlags::CREATE, 1)
            | flag_bit(OpenFlags::DIRECTORY, 2)
            | flag_bit(OpenFlags::EXCLUSIVE, 4)
            | flag_bit(OpenFlags::TRUNCATE, 8);
        let status = flag_bit(OpenFlags::DSYNC, 2) | flag_bit(OpenFlags::SYNC, 16);
        let mut base = ALL_RIGHTS;
        base &= if access.reads() { ALL_RIGHTS } else { !READ };
        base &= if access.writes() { ALL_RIGHTS } else { !WRITING };
        let args = [dir, lookup(follow), path, len, open, base, ALL_RIGHTS, status, RESULT];
        self.call("path_open", &args)?;
        Ok(self.number::<4>(RESULT) as u32)
    }

    fn close(&mut self, fd: u32) {
        self.call("fd_close", &[fd.into()]).unwrap();
    }

    fn kind(&mut self, fd: u32) -> Result<FileType> {
        self.call("fd_fdstat_get", &[fd.into(), RESULT])?;
        Ok(file_type(self.number::<1>(RESULT)))
    }

    fn try_run(&mut self, op: &Op) -> Result<Outcome> {
        match op {
            Op::Mkdir(at) => self.at("path_create_directory", at)?,
            Op::Unlink(at) => self.at("path_unlink_file", at)?,
            Op::Rmdir(at) => self.at("path_remove_directory", at)?,
            Op::Symlink(at, target) => {
                let dir = self.dir(at);
                let [target, target_len] = self.store(SECOND_PATH, target.as_bytes());
                let [path, len] = self.store(PATH, at.path.as_bytes());
                self.call("path_symlink", &[target, target_len, dir, path, len])?;
            }
            Op::Link(old, new) => {
                let (from, into) = (self.dir(old), self.dir(new));
                let [old, old_len] = self.store(PATH, old.path.as_bytes());
                let [new, new_len] = self.store(SECOND_PATH, new.path.as_bytes());
                self.call("path_link", &[from, 0, old, old_len, into, new, new_len])?;
            }
            Op::Rename(old, new) => {
                let (from, into) = (self.dir(old), self.dir(new));
                let [old, old_len] = self.store(PATH, old.path.as_bytes());
                let [new, new_len] = self.store(SECOND_PATH, new.path.as_bytes());
                self.call("path_rename", &[from, old, old_len, into, new, new_len])?;
            }
            Op::SetTimes(at, follow, times) => {
                let (dir, [accessed, modified, which]) = (self.dir(at), new_times(*times));
                let [path, len] = self.store(PATH, at.path.as_bytes());
                let args = [dir, lookup(*follow), path, len, accessed, modified, which];
                self.call("path_filestat_set_times", &args)?;
            }
            Op::Put(at, bytes) => {
                let how = OpenFlags::CREATE | OpenFlags::TRUNCATE;
                let file = self.open(at, Follow::Yes, how, Access::Write)?;
                let wrote = self.write(file, bytes, 0);
                self.close(file);
                wrote?;
            }
            op => return self.try_query(op),
        }
        Ok(Outcome::Done)
    }

    fn try_query(&mut self, op: &Op) -> Result<Outcome> {
        match op {
            Op::Get(at) => {
                let file = self.open(at, Follow::Yes, OpenFlags::empty(), Access::Read)?;
                let read = self.read(file, READ_MAX as u64, 0);
                self.close(file);
                read
            }
            Op::Open(at, access, flags, follow) => {
                let fd = self.open(at, *follow, *flags, *access)?;
                let is_dir = self.kind(fd)? == FileType::Dir;
                Ok(self.handles.add(fd, is_dir))
            }
            Op::CloseDir(n) => match self.handles.take_dir(*n) {
                None => Ok(Outcome::Idle),
                Some(dir) => {
                    self.close(dir);
                    Ok(Outcome::Done)
                }
            },
            Op::Stat(at, follow) => {
                let dir = self.dir(at);
                let [path, len] = self.store(PATH, at.path.as_bytes());
                self.call("path_filestat_get", &[dir, lookup(*follow), path, len, RESULT])?;
                Ok(self.filestat())
            }
            Op::ReadLink(at) => {
                let dir = self.dir(at);
                let [path, len] = self.store(PATH, at.path.as_bytes());
                self.call("path_readlink", &[dir, path, len, DATA, 1 << 16, RESULT])?;
                Ok(Outcome::Target(self.text(DATA, self.number::<4>(RESULT))))
            }
            Op::ReadDir(at) => {
                let dir = self.open(at, Follow::Yes, OpenFlags::DIRECTORY, Access::Read)?;
                let names = self.list(dir);
                self.close(dir);
                names
            }
            op => match self.handles.nth_file(op) {
                Some(nth) => self.try_on_file(op, nth),
                None => Ok(Outcome::Idle),
            },
        }
    }

    fn try_on_file(&mut self, op: &Op, nth: usize) -> Result<Outcome> {
        let file = self.handles.files[nth];
        let fd = u64::from(file);
        match op {
            Op::Close(_) => {
                self.handles.files.remove(nth);
                self.close(file);
            }
            Op::Read(_, len, offset) => return self.read(file, u64::from(*len), *offset),
            Op::Write(_, bytes, offset) => {
                return self.write(file, bytes, *offset).map(Outcome::Wrote);
            }
            Op::Append(_, bytes) => return self.append(file, bytes),
            Op::SetLen(_, len) => self.call("fd_filestat_set_size", &[fd, *len])?,
            Op::Allocate(_, offset, len) => self.call("fd_allocate", &[fd, *offset, *len])?,
            Op::Fstat(_) => {
                self.call("fd_filestat_get", &[fd, RESULT])?;
                return Ok(self.filestat());
            }
            Op::Ftimes(_, times) => {
                let [accessed, modified, which] = new_times(*times);
                self.call("fd_filestat_set_times", &[fd, accessed, modified, which])?;
            }
            _ => return Ok(Outcome::Idle),
        }
        Ok(Outcome::Done)
    }

    fn write(&mut self, file: u32, bytes: &[u8], offset: u64) -> Result<u64> {
        self.store(DATA, bytes);
        self.two_buffers(bytes.len() as u64);
        self.call("fd_pwrite", &[file.into(), BUFFERS, 2, offset, RESULT])?;
        Ok(self.number::<4>(RESULT))
    }

    fn append(&mut self, file: u32, bytes: &[u8]) -> Result<Outcome> {
        let fd = u64::from(file);
        self.store(DATA, bytes);
        self.two_buffers(bytes.len() as u64);
        self.call("fd_fdstat_get", &[fd, RESULT])?;
        let status = self.number::<2>(RESULT + 2);
        self.call("fd_fdstat_set_flags", &[fd, status | APPEND])?;
        let wrote = self.call("fd_write", &[fd, BUFFERS, 2, RESULT]);
        let count = self.number::<4>(RESULT);
        self.call("fd_fdstat_set_flags", &[fd, status])?;
        wrote?;
        let end = if count > 0 {
            self.call("fd_tell", &[fd, RESULT])?;
            self.number::<8>(RESULT)
        } else {
            self.call("fd_filestat_get", &[fd, RESULT])?;
            self.number::<8>(RESULT + 32)
        };
        Ok(Outcome::Appended(count, end))
    }

    fn read(&mut self, file: u32, len: u64, offset: u64) -> Result<Outcome> {
        let mut all = Vec::new();
        loop {
            let done = all.len() as u64;
            self.two_buffers(len - done);
            let at = offset.saturating_add(done);
            self.call("fd_pread", &[file.into(), BUFFERS, 2, at, RESULT])?;
            let count = self.number::<4>(RESULT) as usize;
            if count == 0 {
                return Ok(Outcome::Bytes(all));
            }
            all.extend_from_slice(&self.memory[DATA as usize..DATA as usize + count]);
        }
    }

    fn list(&mut self, dir: u32) -> Result<Outcome> {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            self.call("fd_readdir", &[dir.into(), DATA, LISTED_BYTES, cookie, RESULT])?;
            let end = DATA + self.number::<4>(RESULT);
            let (mut at, mut whole) = (DATA, 0);
            while at + 24 <= end {
                let (next, len) = (self.number::<8>(at), self.number::<4>(at + 16));
                if at + 24 + len > end {
                    break;
                }
                let (name, kind) = (self.text(at + 24, len), self.number::<1>(at + 20));
                if name != "." && name != ".." {
                    names.push((name, file_type(kind)));
                }
                (at, cookie, whole) = (at + 24 + len, next, whole + 1);
            }
            if end < DATA + LISTED_BYTES {
                names.sort();
                return Ok(Outcome::Names(names));
            }
            assert!(whole > 0, "an entry that does not fit");
        }
    }

    /// Reads the `filestat` at [`RESULT`].
    fn filestat(&self) -> Outcome {
        let kind = file_type(self.number::<1>(RESULT + 16));
        let comparable = kind != FileType::Dir;
        let nanos = self.number::<8>(RESULT + 48);
        let modified =
            Timestamp::new((nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as u32);
        Outcome::Stat(StatSummary {
            kind,
            size: comparable.then(|| self.number::<8>(RESULT + 32)),
            nlink: comparable.then(|| self.number::<8>(RESULT + 24)),
            modified: Some(modified),
            id: (0, 0),
        })
    }
}

impl Run for Preview1 {
    fn run(&mut self, op: &Op) -> Outcome {
        self.try_run(op).unwrap_or_else(Outcome::Fail)
    }
}

fn lookup(follow: Follow) -> u64 {
    match follow {
        Follow::Yes => 1,
        Follow::No => 0,
    }
}

/// Returns the times and the flags that select the times to set.
fn new_times(times: SetTimes) -> [u64; 3] {
    let nanos = |at: Timestamp| at.seconds() as u64 * 1_000_000_000 + u64::from(at.nanos());
    let (accessed, first) = match times.accessed {
        SetTime::Keep => (0, 0),
        SetTime::At(at) => (nanos(at), 1),
        SetTime::Now => (0, 2),
    };
    let (modified, second) = match times.modified {
        SetTime::Keep => (0, 0),
        SetTime::At(at) => (nanos(at), 4),
        SetTime::Now => (0, 8),
    };
    [accessed, modified, first | second]
}

fn file_type(number: u64) -> FileType {
    match number {
        1 => FileType::BlockDevice,
        2 => FileType::CharDevice,
        3 => FileType::Dir,
        4 => FileType::File,
        5 | 6 => FileType::Socket,
        7 => FileType::Symlink,
        _ => FileType::Fifo,
    }
}
