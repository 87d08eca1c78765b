//! The host, as the command sees it: the one file here that reads its environment and its files
//! and that ends the process.
#![expect(clippy::disallowed_methods, reason = "this is the command's door to the host")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::error::Error;
use crate::output::is_inherited;

/// The most bytes of a module: engines refuse larger ones.
const MODULE_BYTES_MAX: u64 = 1 << 30;
/// The most bytes of a `palisade.toml`: more than anyone writes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What time it is, as RFC 3339 has it.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// The text of a policy.
pub(crate) fn read_policy(option: &'static str, path: &Path) -> Result<String, Error> {
    text_of(option, path, palisade::policy::document::Document::TEXT_MAX as u64)
}

/// The command line, the name of the program included.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
}

/// A variable of the host.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Every variable of the host that is UTF-8.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Where compiled modules are kept unless an option says so; `None` if there is no such place.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let absolute = |text: OsString| Some(PathBuf::from(text)).filter(|it| it.is_absolute());
    let caches = std::env::var_os("XDG_CACHE_HOME")
        .and_then(absolute)
        .or_else(|| Some(std::env::var_os("HOME").and_then(absolute)?.join(".cache")))?;
    Some(caches.join("palisade"))
}

/// Bytes of this process that are in memory; 0 if the host does not say.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    kib.saturating_mul(1024)
}

/// What can be opened to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Regular files.
    Files,
    /// Character devices too, such as `/dev/null`: the guest reads it, and not the command.
    Devices,
}

/// Opens a regular file to read.
///
/// What the process was started with (`/dev/stdin`, `/dev/fd/N`, which a shell's `<(…)` is) may be
/// a pipe or a terminal too. Nothing else is opened: a FIFO would make the command wait for a
/// writer, and a device may never end.
pub(crate) fn open(option: &'static str, path: &Path) -> Result<File, Error> {
    open_as(option, path, Accepts::Files)
}

/// Opens what `accepts` says, and what [`open`] does.
pub(crate) fn open_as(option: &'static str, path: &Path, accepts: Accepts) -> Result<File, Error> {
    let fail = |why| Error::Read { option, path: path.to_owned(), why };
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
        Err(std::io::Error::other(format!("it is {kind}, and not a regular file")))
    };
    // To open a device can have effects of its own.
    check(std::fs::metadata(path).map_err(fail)?.file_type()).map_err(fail)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|why| fail(why.into()))?;
    let file = File::from(file);
    check(file.metadata().map_err(fail)?.file_type()).map_err(fail)?;
    // A pipe is waited for.
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(|why| fail(why.into()))?;
    Ok(file)
}

/// Reads a module.
pub(crate) fn read_module(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = open("MODULE", path)?;
    if let Ok(metadata) = file.metadata() {
        bytes.reserve_exact(usize::try_from(metadata.len().min(MODULE_BYTES_MAX)).unwrap_or(0) + 1);
    }
    file.take(MODULE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|why| Error::Read {
        option: "MODULE",
        path: path.to_owned(),
        why,
    })?;
    if bytes.len() as u64 > MODULE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned(), max: MODULE_BYTES_MAX });
    }
    Ok(bytes)
}

/// Reads a file of text.
pub(crate) fn read_text(option: &'static str, path: &Path) -> Result<String, Error> {
    text_of(option, path, TEXT_BYTES_MAX)
}

fn text_of(option: &'static str, path: &Path, max: u64) -> Result<String, Error> {
    let fail = |why| Error::Read { option, path: path.to_owned(), why };
    let mut bytes = Vec::new();
    open(option, path)?.take(max + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max {
        return Err(Error::TooLarge { path: path.to_owned(), max });
    }
    String::from_utf8(bytes).map_err(|_| fail(std::io::ErrorKind::InvalidData.into()))
}

/// A file of `/proc`; `None` if it cannot be read.
pub(crate) fn read_proc(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Creates a directory, unless it is there.
pub(crate) fn make_dir(path: &Path) -> std::io::Result<()> {
    match std::fs::create_dir(path) {
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// The type of a node, of a link itself; `None` if there is none.
pub(crate) fn file_type(path: &Path) -> Option<std::fs::FileType> {
    std::fs::symlink_metadata(path).ok().map(|it| it.file_type())
}

/// Where a path leads, as far as that can be told: the nearest directory above it that exists, and
/// the rest as it is.
pub(crate) fn resolved(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find_map(|above| {
        let rest = absolute.strip_prefix(above).ok()?;
        Some(std::fs::canonicalize(above).ok()?.join(rest))
    })
}

/// Text, or the refusal of what is not UTF-8.
pub(crate) fn text(text: &OsStr) -> Result<&str, Error> {
    text.to_str().ok_or_else(|| Error::Argument { text: text.to_owned() })
}

/// Calls `on_signal` on a thread of its own for each signal that asks the process to end, but for
/// those that whoever started it has it ignore (`nohup`, a shell's background).
pub(crate) fn on_signals(mut on_signal: impl FnMut(i32) + Send + 'static) -> std::io::Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGHUP, SIGINT, SIGTERM, SIGXCPU];
    let wanted = wanted.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted)?;
    let watch = move || signals.forever().for_each(&mut on_signal);
    std::thread::Builder::new().name("palisade-signals".to_owned()).spawn(watch).map(drop)
}

/// From now on a write beyond the limit of a file's size is an error (`EFBIG`), where it would end
/// the process: a guest must not be able to, and a commit must be able to tell of it.
pub(crate) fn outlive_file_size_limit() -> std::io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// A bit for each signal that is ignored; none if that is not known.
fn ignored_signals() -> u64 {
    let status = read_proc("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Ends the process at once, whatever its threads do.
pub(crate) fn exit(code: u8) -> ! {
    std::process::exit(code.into())
}
