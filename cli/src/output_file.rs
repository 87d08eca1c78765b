//! Writes output files of the command atomically, outside of directories that a guest can write.
//!
//! A guest must not choose which file the command overwrites. The parent directory of an output is
//! resolved name by name before the guest runs, and stays open. No name is looked up in a directory
//! that the guest can write (`protected.rs`), because the guest could put a link there, and a link
//! at the last name is never followed. A file is written without a name (`O_TMPFILE`), or under a
//! random name with `O_EXCL`, then synced and renamed into place, so that it is complete or absent.
//! Only an audit log is appended to in place.
//!
//! Deliberately absent: a second way to write a file. All commands write their files through here.

mod protected;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use palisade::vfs::escape;
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::ambient::is_inherited;
use crate::error::{CommandError, Error};

pub(crate) use protected::{ProtectedPaths, Usage};

/// The maximum number of symbolic links in the path of an output: the limit of Linux.
const LINKS_MAX: usize = 40;
/// The first bytes of an audit log.
const LOG_START: &[u8] = b"{\"v\":";

const HOLD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const IN_PLACE: OFlags = OFlags::NOFOLLOW.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Errors about output files, and about inputs that an output would change.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum OutputError {
    #[error("cannot write the output `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::output),
        help(
            "choose a regular file or a pipe outside of the directories that the guest can write and that the command reads; a directory that the guest only reads can be mounted with `:ro`"
        )
    )]
    Refused { path: PathBuf, why: String },

    #[error("cannot read the input `{}`: {why}", escape::name(.path))]
    #[diagnostic(code(palisade::input), help("copy the file to another directory first"))]
    Input { path: PathBuf, why: String },

    #[error("cannot write `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::write_file),
        help("its directory must exist, and you need permission to write there")
    )]
    Write { path: PathBuf, why: io::Error },
}

impl CommandError for OutputError {}

/// An output file whose parent directory is resolved and open.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    destination: Destination,
}

/// The kind of an output, with its open parent directory.
#[derive(Debug)]
enum Destination {
    /// A regular file, which may not exist yet.
    File { parent: OwnedFd, name: OsString },
    /// A FIFO or a character device.
    Stream { parent: OwnedFd, name: OsString },
    /// An inherited descriptor of a pipe or a terminal: `/dev/fd/N`.
    Inherited,
}

/// What happens to an existing audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExistingLog {
    Append,
    Truncate,
}

impl OutputFile {
    /// Resolves the parent directory of `path` and opens it.
    ///
    /// # Errors
    ///
    /// - [`OutputError::Write`]: the parent directory cannot be opened.
    /// - [`OutputError::Refused`]: the path is protected, names a link, or is the second output of
    ///   that name.
    pub(crate) fn new(path: &Path, protected: &ProtectedPaths) -> Result<Self, OutputError> {
        let io = |why: Errno| OutputError::Write { path: path.to_owned(), why: why.into() };
        if is_inherited(path) {
            let file = fs::openat(CWD, path, HOLD, Mode::empty()).map_err(io)?;
            let kind = FileType::from_raw_mode(fs::fstat(&file).map_err(io)?.st_mode);
            return match is_stream(kind) {
                true => {
                    Ok(OutputFile { path: path.to_owned(), destination: Destination::Inherited })
                }
                false => Err(refused(path, "the descriptor is neither a pipe nor a terminal")),
            };
        }
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(refused(path, "the path has no file name"));
        };
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(refused(path, "the path ends in a slash"));
        }
        let parent = open_parent(path, protected)?;
        protected.claim(path, parent.as_fd(), name)?;
        let name = name.to_owned();
        let kind = match stat(&parent, &name).map_err(io)? {
            None => FileType::RegularFile,
            Some(stat) => {
                protected.check_file(path, &stat)?;
                FileType::from_raw_mode(stat.st_mode)
            }
        };
        let destination = match kind {
            FileType::RegularFile => Destination::File { parent, name },
            kind if is_stream(kind) => Destination::Stream { parent, name },
            FileType::Symlink => {
                return Err(refused(
                    path,
                    "it is a symbolic link, and outputs are never written through links",
                ));
            }
            _ => return Err(refused(path, "it is neither a regular file nor a pipe")),
        };
        Ok(OutputFile { path: path.to_owned(), destination })
    }

    /// Returns the path as the user wrote it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content of the file, atomically.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<(), Error> {
        let io_error = |why| OutputError::Write { path: self.path.clone(), why };
        Ok(self.write(io_error, |mut file| file.write_all(bytes).map_err(io_error))?)
    }

    /// Replaces the file by the bytes that `fill` writes, atomically: after an error the old file
    /// is unchanged. A pipe is written directly.
    pub(crate) fn write<T, E>(
        &self,
        io_error: impl Fn(io::Error) -> E,
        fill: impl FnOnce(File) -> Result<T, E>,
    ) -> Result<T, E> {
        let (parent, name) = match &self.destination {
            Destination::File { parent, name } => (parent, name),
            Destination::Stream { .. } | Destination::Inherited => {
                return fill(self.open_stream().map_err(io_error)?);
            }
        };
        let temporary = TempFile::create(parent, name).map_err(&io_error)?;
        let filled = temporary.file.try_clone().map_err(&io_error).and_then(fill);
        match filled {
            Ok(done) => temporary.finish(name).map(|()| done).map_err(io_error),
            Err(why) => Err(why),
        }
    }

    /// Opens an audit log for appending. A partial last line is completed by a newline.
    pub(crate) fn open_log(&self, existing: ExistingLog) -> Result<File, OutputError> {
        let io = |why: io::Error| OutputError::Write { path: self.path.clone(), why };
        let (parent, name) = match &self.destination {
            Destination::File { parent, name } => (parent, name),
            Destination::Stream { .. } | Destination::Inherited => {
                return self.open_stream().map_err(io);
            }
        };
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | IN_PLACE;
        let file = fs::openat(parent, name, flags, Mode::from_raw_mode(0o666));
        let mut file = File::from(file.map_err(|why| io(why.into()))?);
        let stat = fs::fstat(&file).map_err(|why| io(why.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused(&self.path, "it is no longer a regular file"));
        }
        if stat.st_nlink > 1 {
            let why = "it has other hard links, through which others could write it";
            return Err(refused(&self.path, why));
        }
        if existing == ExistingLog::Truncate {
            file.set_len(0).map_err(io)?;
            return Ok(file);
        }
        let len = file.metadata().map_err(io)?.len();
        let mut start = [0; LOG_START.len()];
        let read = file.read_at(&mut start, 0).map_err(io)?;
        if !LOG_START.starts_with(start.get(..read).unwrap_or_default()) {
            return Err(refused(&self.path, "the file exists and is not an audit log"));
        }
        let mut last = [0];
        if len > 0 && file.read_at(&mut last, len - 1).map_err(io)? == 1 && last != *b"\n" {
            // A killed run leaves a partial line.
            file.write_all(b"\n").map_err(io)?;
        }
        Ok(file)
    }

    fn open_stream(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND;
        let file = match &self.destination {
            Destination::File { parent, name } | Destination::Stream { parent, name } => {
                fs::openat(parent, name, flags | IN_PLACE, Mode::empty())?
            }
            Destination::Inherited => {
                let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
                fs::openat(CWD, &self.path, flags, Mode::empty())?
            }
        };
        if !is_stream(FileType::from_raw_mode(fs::fstat(&file)?.st_mode)) {
            return Err(io::Error::other("it is no longer a pipe"));
        }
        Ok(File::from(file))
    }
}

/// A temporary file on the filesystem of the output. It has no name, or a random one where the
/// filesystem lacks `O_TMPFILE`; a name is removed on drop unless the file was finished.
struct TempFile<'a> {
    parent: &'a OwnedFd,
    name: Option<OsString>,
    file: File,
    /// The permission bits of the file that it replaces, if there is one.
    mode: Option<Mode>,
}

impl<'a> TempFile<'a> {
    fn create(parent: &'a OwnedFd, target: &OsStr) -> io::Result<Self> {
        let old = stat(parent, target)?
            .filter(|old| FileType::from_raw_mode(old.st_mode) == FileType::RegularFile);
        // The set-user-ID and set-group-ID bits are not passed on to new content.
        let mode = old.map(|old| Mode::from_raw_mode(old.st_mode) & Mode::from_raw_mode(0o777));
        let initial_mode = Mode::from_raw_mode(if mode.is_some() { 0o600 } else { 0o666 });
        // An unnamed file disappears when the process is killed.
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = fs::openat(parent, ".", unnamed, initial_mode)
            && fs::stat(path_of(&file)).is_ok()
        {
            return Ok(TempFile { parent, name: None, file: File::from(file), mode });
        }
        let name = random_name()?;
        let file = fs::openat(parent, &name, CREATE, initial_mode)?;
        Ok(TempFile { parent, name: Some(name), file: File::from(file), mode })
    }

    /// Links the file under a random name, unless it has one.
    fn named(&mut self) -> io::Result<OsString> {
        if let Some(name) = self.name.take() {
            return Ok(name);
        }
        let name = random_name()?;
        let path = path_of(&self.file);
        fs::linkat(CWD, path, self.parent, &name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(name)
    }

    /// Syncs the file and renames it to its final name.
    fn finish(mut self, target: &OsStr) -> io::Result<()> {
        if let Some(mode) = self.mode {
            fs::fchmod(&self.file, mode)?;
        }
        self.file.sync_all()?;
        let name = self.named()?;
        if let Err(why) = fs::renameat(self.parent, &name, self.parent, target) {
            self.name = Some(name);
            return Err(why.into());
        }
        // A directory without read permission cannot be opened for a sync.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(dir) = fs::openat(self.parent, ".", flags, Mode::empty()) {
            let _ = fs::fsync(dir);
        }
        Ok(())
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The caller returns the first error.
            let _ = fs::unlinkat(self.parent, name, AtFlags::empty());
        }
    }
}

/// Returns the `/proc` path of an open file, for `linkat`.
fn path_of(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Returns an unpredictable file name.
fn random_name() -> io::Result<OsString> {
    Ok(format!(".palisade-{}.tmp", random_text()?).into())
}

/// Returns 64 random bits in hexadecimal.
pub(crate) fn random_text() -> io::Result<String> {
    let bits = getrandom::u64().map_err(|why| io::Error::other(why.to_string()))?;
    Ok(format!("{bits:016x}"))
}

/// Returns whether `path` denotes standard error.
pub(crate) fn is_stderr(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stderr")
}

fn refused(path: &Path, why: &'static str) -> OutputError {
    OutputError::Refused { path: path.to_owned(), why: why.to_owned() }
}

fn stat(parent: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(why) => Err(why),
    }
}

fn is_stream(kind: FileType) -> bool {
    matches!(kind, FileType::Fifo | FileType::CharacterDevice)
}

/// Opens the parent directory of `path`. Links in protected directories are not followed.
fn open_parent(path: &Path, protected: &ProtectedPaths) -> Result<OwnedFd, OutputError> {
    let io = |why: Errno| OutputError::Write { path: path.to_owned(), why: why.into() };
    let dir = |from: &Path| fs::openat(CWD, from, HOLD | OFlags::DIRECTORY, Mode::empty());
    let mut pending = Vec::new();
    let parent = path.parent().unwrap_or(Path::new(""));
    let mut at = match push(&mut pending, parent) {
        Start::Root => dir(Path::new("/")).map_err(io)?,
        Start::Here => dir(Path::new(".")).map_err(io)?,
    };
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == ".." {
            at = fs::openat(&at, "..", HOLD, Mode::empty()).map_err(io)?;
            continue;
        }
        protected.check_dir(path, at.as_fd())?;
        let next = fs::openat(&at, &name, HOLD | OFlags::NOFOLLOW, Mode::empty()).map_err(io)?;
        let kind = FileType::from_raw_mode(fs::fstat(&next).map_err(io)?.st_mode);
        if kind != FileType::Symlink {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(io(Errno::LOOP));
        }
        let target = fs::readlinkat(&next, "", Vec::new()).map_err(io)?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if push(&mut pending, target) == Start::Root {
            at = dir(Path::new("/")).map_err(io)?;
        }
    }
    protected.check_dir(path, at.as_fd())?;
    let kind = FileType::from_raw_mode(fs::fstat(&at).map_err(io)?.st_mode);
    if kind != FileType::Directory {
        return Err(io(Errno::NOTDIR));
    }
    Ok(at)
}

/// Whether a path is absolute or relative.
#[derive(PartialEq, Eq)]
enum Start {
    Root,
    Here,
}

/// Pushes the names of `path` onto the stack `pending`, the first name on top.
fn push(pending: &mut Vec<OsString>, path: &Path) -> Start {
    let mut start = Start::Here;
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => pending.push(name.to_owned()),
            Component::ParentDir => pending.push("..".into()),
            Component::RootDir => start = Start::Root,
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    start
}
