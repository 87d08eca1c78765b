//! Accesses the host: environment variables, input files, signals and the exit of the process.
//!
//! No other file of the command uses the ambient authority of the process to read; `output_file.rs`
//! writes.
#![expect(clippy::disallowed_methods, reason = "the ambient authority of the command is used here")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::error::{Error, HostError};

/// The maximum size of a module; engines reject larger ones.
const MODULE_BYTES_MAX: u64 = 1 << 30;
/// The maximum size of a `palisade.toml`, far above any that is written by hand.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Returns the current time in the format of RFC 3339.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// Reads the text of a policy.
pub(crate) fn read_policy(option: &'static str, path: &Path) -> Result<String, Error> {
    read_limited(option, path, palisade::policy::document::Document::TEXT_MAX as u64)
}

/// Returns the command line, including the name of the program.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

/// Returns an environment variable of the host, if it is set and is UTF-8.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns the environment variables of the host whose name and value are UTF-8.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Returns the default cache directory of compiled modules; `None` if neither `XDG_CACHE_HOME` nor
/// `HOME` is an absolute path.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let absolute = |text: OsString| Some(PathBuf::from(text)).filter(|it| it.is_absolute());
    let caches = std::env::var_os("XDG_CACHE_HOME")
        .and_then(absolute)
        .or_else(|| Some(std::env::var_os("HOME").and_then(absolute)?.join(".cache")))?;
    Some(caches.join("palisade"))
}

/// Returns the resident set size of the process in bytes; 0 if `/proc` does not report it.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    kib.saturating_mul(1024)
}

/// The file types that [`open_as`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Regular files.
    Files,
    /// Regular files and character devices such as `/dev/null`, for files that the guest reads.
    Devices,
}

/// Opens a regular file for reading.
///
/// An inherited descriptor (`/dev/stdin`, `/dev/fd/N`, as in the shell's `<(…)`) may also be a pipe
/// or a terminal. All other types are refused: opening a FIFO would wait for a writer, and a device
/// may never end.
pub(crate) fn open(option: &'static str, path: &Path) -> Result<File, Error> {
    open_as(option, path, Accepts::Files)
}

/// Returns whether `path` names a descriptor that the process was started with.
pub(crate) fn is_inherited(path: &Path) -> bool {
    let text = path.as_os_str().as_bytes();
    let number = [&b"/dev/fd/"[..], b"/proc/self/fd/"].iter().find_map(|it| text.strip_prefix(*it));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Opens a file for reading as [`open`] does, with the file types of `accepts`.
pub(crate) fn open_as(option: &'static str, path: &Path, accepts: Accepts) -> Result<File, Error> {
    let fail = |why| HostError::Read { option, path: path.to_owned(), why };
    let is_inherited = is_inherited(path) || path == Path::new("/dev/stdin");
    let check = |file_type: std::fs::FileType| {
        let kind = match file_type {
            it if it.is_file() => return Ok(()),
            it if it.is_dir() => return Err(std::io::ErrorKind::IsADirectory.into()),
            _ if is_inherited => return Ok(()),
            it if it.is_char_device() && accepts == Accepts::Devices => return Ok(()),
            it if it.is_fifo() => "a FIFO",
            it if it.is_socket() => "a socket",
            _ => "a device",
        };
        Err(std::io::Error::other(format!("it is {kind}, not a regular file")))
    };
    // The type is checked before the open, because opening a device can have side effects.
    check(std::fs::metadata(path).map_err(fail)?.file_type()).map_err(fail)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|why| fail(why.into()))?;
    let file = File::from(file);
    check(file.metadata().map_err(fail)?.file_type()).map_err(fail)?;
    // Reads of a pipe block: `O_NONBLOCK` was only for the open.
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(|why| fail(why.into()))?;
    Ok(file)
}

/// Reads a module or a component.
pub(crate) fn read_module(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = open("MODULE", path)?;
    if let Ok(metadata) = file.metadata() {
        bytes.reserve_exact(usize::try_from(metadata.len().min(MODULE_BYTES_MAX)).unwrap_or(0) + 1);
    }
    file.take(MODULE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|why| HostError::Read {
        option: "MODULE",
        path: path.to_owned(),
        why,
    })?;
    if bytes.len() as u64 > MODULE_BYTES_MAX {
        return Err(HostError::TooLarge { path: path.to_owned(), max: MODULE_BYTES_MAX }.into());
    }
    Ok(bytes)
}

/// Reads a UTF-8 text file.
pub(crate) fn read_text(option: &'static str, path: &Path) -> Result<String, Error> {
    read_limited(option, path, TEXT_BYTES_MAX)
}

fn read_limited(option: &'static str, path: &Path, max: u64) -> Result<String, Error> {
    let fail = |why| HostError::Read { option, path: path.to_owned(), why };
    let mut bytes = Vec::new();
    open(option, path)?.take(max + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max {
        return Err(HostError::TooLarge { path: path.to_owned(), max }.into());
    }
    String::from_utf8(bytes).map_err(|_| fail(std::io::ErrorKind::InvalidData.into()).into())
}

/// Reads a file of `/proc`; `None` if it cannot be read.
pub(crate) fn read_proc(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Creates a directory; an existing one is not an error.
pub(crate) fn make_dir(path: &Path) -> std::io::Result<()> {
    match std::fs::create_dir(path) {
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Returns the file type without following a link; `None` if the path does not exist.
pub(crate) fn file_type(path: &Path) -> Option<std::fs::FileType> {
    std::fs::symlink_metadata(path).ok().map(|it| it.file_type())
}

/// Returns the canonical form of a path. Only its nearest existing ancestor is resolved; the
/// remaining names are appended unchanged.
pub(crate) fn resolved(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find_map(|ancestor| {
        let rest = absolute.strip_prefix(ancestor).ok()?;
        Some(std::fs::canonicalize(ancestor).ok()?.join(rest))
    })
}

/// Converts an argument to UTF-8.
pub(crate) fn text(text: &OsStr) -> Result<&str, Error> {
    text.to_str().ok_or_else(|| HostError::Argument { text: text.to_owned() }.into())
}

/// Starts a thread that calls `on_signal` for each termination signal, except signals that the
/// parent process made this process ignore (`nohup`, background jobs of a shell).
pub(crate) fn on_signals(mut on_signal: impl FnMut(i32) + Send + 'static) -> std::io::Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGHUP, SIGINT, SIGTERM, SIGXCPU];
    let wanted = wanted.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted)?;
    let watch = move || signals.forever().for_each(&mut on_signal);
    std::thread::Builder::new().name("palisade-signals".to_owned()).spawn(watch).map(drop)
}

/// Handles `SIGXFSZ`, so that a write over the limit of the file size fails with `EFBIG` instead of
/// ending the process: a guest must not end the command, and a commit must report the error.
pub(crate) fn handle_file_size_signal() -> std::io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Returns the bit mask of ignored signals; 0 if `/proc` does not report it.
fn ignored_signals() -> u64 {
    let status = read_proc("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Ends the process at once, without joining its threads.
pub(crate) fn exit(code: u8) -> ! {
    std::process::exit(code.into())
}
