//! Runs operations through the functions of Preview 2, without a component.

use palisade_kernel::Config;
use palisade_preview2::bindings::clocks::wall_clock::Datetime;
use palisade_preview2::bindings::filesystem::preopens::Host as _;
use palisade_preview2::bindings::sync::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, Host as _, HostDescriptor as _,
    HostDirectoryEntryStream, NewTimestamp, OpenFlags as Flags, PathFlags,
};
use palisade_preview2::{PalisadeCtx, PalisadeCtxView, error_code};
use palisade_props::{At, Op, Outcome, READ_MAX, Run, StatSummary};
use palisade_vfs::{
    Access, DirRef, Errno, FileType, Follow, OpenFlags, Result, SetTime, SetTimes, Timestamp,
};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::{FsResult, StreamError};

use super::{OpenHandles, first};

/// A guest with its open handles.
pub struct Preview2 {
    ctx: PalisadeCtx,
    table: ResourceTable,
    handles: OpenHandles,
}

fn fd(fd: u32) -> Resource<Descriptor> {
    Resource::new_borrow(fd)
}

impl Preview2 {
    /// Starts with the root as the only open directory.
    pub fn new(root: DirRef) -> Self {
        let config = Config::builder().preopen("/", root).build().unwrap();
        let (mut ctx, mut table) = (PalisadeCtx::new(config.start()), ResourceTable::new());
        let mut view = PalisadeCtxView { ctx: &mut ctx, table: &mut table };
        let root = view.get_directories().unwrap()[0].0.rep();
        Preview2 { ctx, table, handles: OpenHandles::new(root) }
    }

    fn view(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    /// Calls a function and converts its error code to the first errno with the same code.
    fn call<T>(&mut self, call: impl FnOnce(&mut PalisadeCtxView<'_>) -> FsResult<T>) -> Result<T> {
        let mut view = self.view();
        call(&mut view).map_err(|error| errno_of(view.convert_error_code(error).unwrap()))
    }

    fn dir(&self, at: &At) -> u32 {
        self.handles.dir(at)
    }

    fn open(&mut self, at: &At, follow: Follow, how: OpenFlags, access: Access) -> Result<u32> {
        let mut flags = DescriptorFlags::MUTATE_DIRECTORY;
        for (is_set, flag) in [
            (access.reads(), DescriptorFlags::READ),
            (access.writes(), DescriptorFlags::WRITE),
            (how.contains(OpenFlags::DSYNC), DescriptorFlags::DATA_INTEGRITY_SYNC),
            (how.contains(OpenFlags::SYNC), DescriptorFlags::FILE_INTEGRITY_SYNC),
        ] {
            flags |= if is_set { flag } else { DescriptorFlags::empty() };
        }
        let mut open = Flags::empty();
        for (open_flag, flag) in [
            (OpenFlags::CREATE, Flags::CREATE),
            (OpenFlags::EXCLUSIVE, Flags::EXCLUSIVE),
            (OpenFlags::TRUNCATE, Flags::TRUNCATE),
            (OpenFlags::DIRECTORY, Flags::DIRECTORY),
        ] {
            open |= if how.contains(open_flag) { flag } else { Flags::empty() };
        }
        let (dir, path) = (self.dir(at), at.path.clone());
        self.call(|v| v.open_at(fd(dir), path_flags(follow), path, open, flags))
            .map(|handles| handles.rep())
    }

    fn close(&mut self, file: u32) {
        palisade_preview2::bindings::sync::filesystem::types::HostDescriptor::drop(
            &mut self.view(),
            fd(file),
        )
        .unwrap();
    }

    fn try_run(&mut self, op: &Op) -> Result<Outcome> {
        match op {
            Op::Mkdir(at) => {
                let (dir, path) = (self.dir(at), at.path.clone());
                self.call(|v| v.create_directory_at(fd(dir), path))?;
            }
            Op::Symlink(at, target) => {
                let (dir, path, target) = (self.dir(at), at.path.clone(), target.clone());
                self.call(|v| v.symlink_at(fd(dir), target, path))?;
            }
            Op::Link(old, new) => {
                let (from, into) = (fd(self.dir(old)), fd(self.dir(new)));
                let (old, new) = (old.path.clone(), new.path.clone());
                self.call(|v| v.link_at(from, PathFlags::empty(), old, into, new))?;
            }
            Op::Rename(old, new) => {
                let (from, into) = (fd(self.dir(old)), fd(self.dir(new)));
                let (old, new) = (old.path.clone(), new.path.clone());
                self.call(|v| v.rename_at(from, old, into, new))?;
            }
            Op::Unlink(at) => {
                let (dir, path) = (self.dir(at), at.path.clone());
                self.call(|v| v.unlink_file_at(fd(dir), path))?;
            }
            Op::Rmdir(at) => {
                let (dir, path) = (self.dir(at), at.path.clone());
                self.call(|v| v.remove_directory_at(fd(dir), path))?;
            }
            Op::SetTimes(at, follow, times) => {
                let (dir, path, [a, m]) = (self.dir(at), at.path.clone(), new_times(*times));
                self.call(|v| v.set_times_at(fd(dir), path_flags(*follow), path, a, m))?;
            }
            Op::Put(at, bytes) => {
                let how = OpenFlags::CREATE | OpenFlags::TRUNCATE;
                let file = self.open(at, Follow::Yes, how, Access::Write)?;
                let wrote = self.call(|v| v.write(fd(file), bytes.clone(), 0));
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
                let file = self.open(at, *follow, *flags, *access)?;
                let kind = self.call(|v| v.get_type(fd(file)))?;
                Ok(self.handles.add(file, kind == DescriptorType::Directory))
            }
            Op::CloseDir(n) => match self.handles.take_dir(*n) {
                None => Ok(Outcome::Idle),
                Some(dir) => {
                    self.close(dir);
                    Ok(Outcome::Done)
                }
            },
            Op::Stat(at, follow) => {
                let (dir, path) = (self.dir(at), at.path.clone());
                self.call(|v| v.stat_at(fd(dir), path_flags(*follow), path)).map(outcome_of)
            }
            Op::ReadLink(at) => {
                let (dir, path) = (self.dir(at), at.path.clone());
                self.call(|v| v.readlink_at(fd(dir), path)).map(Outcome::Target)
            }
            Op::ReadDir(at) => self.list(at),
            op => match self.handles.nth_file(op) {
                Some(nth) => self.try_on_file(op, nth),
                None => Ok(Outcome::Idle),
            },
        }
    }

    fn try_on_file(&mut self, op: &Op, nth: usize) -> Result<Outcome> {
        let file = self.handles.files[nth];
        match op {
            Op::Close(_) => {
                self.handles.files.remove(nth);
                self.close(file);
                Ok(Outcome::Done)
            }
            Op::Read(_, len, offset) => self.read(file, u64::from(*len), *offset),
            Op::Write(_, bytes, offset) => {
                self.call(|v| v.write(fd(file), bytes.clone(), *offset)).map(Outcome::Wrote)
            }
            Op::Append(_, bytes) => {
                let stream = self.call(|v| v.append_via_stream(fd(file)))?;
                let mut stream = self.table.delete(stream).unwrap();
                match stream.write(bytes.clone().into()) {
                    Ok(()) => {}
                    Err(StreamError::LastOperationFailed(error)) => {
                        let error = self.table.push(error).unwrap();
                        let code = self.view().filesystem_error_code(error).unwrap();
                        return Err(errno_of(code.unwrap()));
                    }
                    Err(error) => panic!("{error:?}"),
                }
                let end = self.call(|v| v.stat(fd(file)))?.size;
                Ok(Outcome::Appended(bytes.len() as u64, end))
            }
            Op::SetLen(_, len) => self.call(|v| v.set_size(fd(file), *len)).map(|()| Outcome::Done),
            Op::Fstat(_) => self.call(|v| v.stat(fd(file))).map(outcome_of),
            Op::Ftimes(_, times) => {
                let [a, m] = new_times(*times);
                self.call(|v| v.set_times(fd(file), a, m)).map(|()| Outcome::Done)
            }
            _ => Ok(Outcome::Idle),
        }
    }

    fn read(&mut self, file: u32, len: u64, offset: u64) -> Result<Outcome> {
        let mut all = Vec::new();
        loop {
            let (done, left) = (all.len() as u64, len - all.len() as u64);
            let (bytes, _) = self.call(|v| v.read(fd(file), left, offset + done))?;
            if bytes.is_empty() {
                return Ok(Outcome::Bytes(all));
            }
            all.extend(bytes);
        }
    }

    fn list(&mut self, at: &At) -> Result<Outcome> {
        let dir = self.open(at, Follow::Yes, OpenFlags::DIRECTORY, Access::Read)?;
        let entries = self.call(|v| v.read_directory(fd(dir)))?.rep();
        let mut names = Vec::new();
        while let Some(entry) =
            self.call(|v| v.read_directory_entry(Resource::new_borrow(entries)))?
        {
            names.push((entry.name, file_type(entry.type_)));
        }
        HostDirectoryEntryStream::drop(&mut self.view(), Resource::new_own(entries)).unwrap();
        self.close(dir);
        names.sort();
        Ok(Outcome::Names(names))
    }
}

impl Run for Preview2 {
    fn run(&mut self, op: &Op) -> Outcome {
        self.try_run(op).unwrap_or_else(Outcome::Fail)
    }
}

fn errno_of(code: ErrorCode) -> Errno {
    first(|errno| ErrorCode::from(error_code(errno)) == code)
}

fn path_flags(follow: Follow) -> PathFlags {
    match follow {
        Follow::Yes => PathFlags::SYMLINK_FOLLOW,
        Follow::No => PathFlags::empty(),
    }
}

fn new_times(times: SetTimes) -> [NewTimestamp; 2] {
    [times.accessed, times.modified].map(|time| match time {
        SetTime::Keep => NewTimestamp::NoChange,
        SetTime::Now => NewTimestamp::Now,
        SetTime::At(at) => NewTimestamp::Timestamp(Datetime {
            seconds: at.seconds() as u64,
            nanoseconds: at.nanos(),
        }),
    })
}

fn file_type(kind: DescriptorType) -> FileType {
    match kind {
        DescriptorType::Directory => FileType::Dir,
        DescriptorType::RegularFile => FileType::File,
        DescriptorType::SymbolicLink => FileType::Symlink,
        DescriptorType::CharacterDevice => FileType::CharDevice,
        DescriptorType::BlockDevice => FileType::BlockDevice,
        DescriptorType::Fifo => FileType::Fifo,
        DescriptorType::Socket | DescriptorType::Unknown => FileType::Socket,
    }
}

fn outcome_of(stat: DescriptorStat) -> Outcome {
    let kind = file_type(stat.type_);
    let comparable = kind != FileType::Dir;
    let modified = stat.data_modification_timestamp;
    let time = |at: Datetime| Timestamp::new(at.seconds as i64, at.nanoseconds);
    Outcome::Stat(StatSummary {
        kind,
        size: comparable.then_some(stat.size),
        nlink: comparable.then_some(stat.link_count),
        modified: modified.map(time),
        id: (0, 0),
    })
}
