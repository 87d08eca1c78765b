//! Operations of a guest, one per script line; each subsequence of a run is a valid run.
//!
//! To that end, operations refer to handles by an index into the list of open directories or open
//! files, modulo its length. The first directory is the root and stays open. An operation on a
//! file does nothing if no file is open. Shrinking can therefore remove any operation.

use std::fmt;

use palisade_vfs::{Access, Follow, OpenFlags, SetTime, SetTimes, Timestamp};

use crate::subject::Capabilities;
use crate::text::{self, Word, words};

/// A path and the open directory in which it begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// The index of the open directory, modulo their number; 0 is the root.
    pub dir: u8,
    /// The path as the guest passes it.
    pub path: String,
}

impl At {
    /// Returns a path that begins in the root.
    #[must_use]
    pub fn root(path: &str) -> Self {
        At { dir: 0, path: path.to_owned() }
    }
}

/// One operation of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `mkdir PATH`
    Mkdir(At),
    /// `symlink PATH -> TARGET`
    Symlink(At, String),
    /// `link OLD NEW`
    Link(At, At),
    /// `rename OLD NEW`
    Rename(At, At),
    /// `unlink PATH`
    Unlink(At),
    /// `rmdir PATH`
    Rmdir(At),
    /// `write PATH "BYTES"`: creates or truncates, writes, closes.
    Put(At, Vec<u8>),
    /// `read PATH`: the first bytes of a file ([`READ_MAX`]).
    Get(At),
    /// `open PATH [hold|read|write|rdwr] [create] [excl] [trunc] [dir] [dsync] [sync] [nofollow]`
    Open(At, Access, OpenFlags, Follow),
    /// `closedir N`: never the root.
    CloseDir(u8),
    /// `close N`
    Close(u8),
    /// `fread N LEN OFFSET`
    Read(u8, u16, u64),
    /// `fwrite N "BYTES" OFFSET`
    Write(u8, Vec<u8>, u64),
    /// `fappend N "BYTES"`
    Append(u8, Vec<u8>),
    /// `fsetlen N LEN`
    SetLen(u8, u64),
    /// `falloc N OFFSET LEN`
    Allocate(u8, u64, u64),
    /// `fstat N`
    Fstat(u8),
    /// `ftimes N ACCESSED MODIFIED`
    Ftimes(u8, SetTimes),
    /// `stat PATH`, `lstat PATH`
    Stat(At, Follow),
    /// `readlink PATH`
    ReadLink(At),
    /// `readdir PATH`
    ReadDir(At),
    /// `utimes PATH ACCESSED MODIFIED`, `lutimes PATH ACCESSED MODIFIED`; a time is `keep`, `now`
    /// or `SECONDS.NANOS`.
    SetTimes(At, Follow, SetTimes),
}

/// The maximum number of bytes that `read PATH` reads.
pub const READ_MAX: usize = 1 << 16;

impl Op {
    /// Returns the capabilities that the operation needs.
    #[must_use]
    pub fn needs(&self) -> Capabilities {
        match self {
            Op::Mkdir(_) | Op::Rename(..) | Op::Unlink(_) | Op::Rmdir(_) => Capabilities::WRITE,
            Op::Put(..) | Op::Write(..) | Op::Append(..) | Op::SetLen(..) => Capabilities::WRITE,
            Op::Symlink(..) => Capabilities::WRITE | Capabilities::SYMLINK,
            Op::Link(..) => Capabilities::WRITE | Capabilities::LINK,
            Op::Allocate(..) => Capabilities::WRITE | Capabilities::ALLOCATE,
            Op::Ftimes(..) | Op::SetTimes(..) => Capabilities::WRITE | Capabilities::TIMES,
            Op::Open(_, access, flags, _) => {
                if access.writes() || flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
                    Capabilities::WRITE
                } else {
                    Capabilities::empty()
                }
            }
            Op::Get(_) | Op::CloseDir(_) | Op::Close(_) | Op::Read(..) | Op::Fstat(_) => {
                Capabilities::empty()
            }
            Op::Stat(..) | Op::ReadLink(_) | Op::ReadDir(_) => Capabilities::empty(),
        }
    }

    /// Returns the paths of the operation.
    pub fn paths_mut(&mut self) -> Vec<&mut At> {
        match self {
            Op::Mkdir(at) | Op::Symlink(at, _) | Op::Unlink(at) | Op::Rmdir(at) => vec![at],
            Op::Put(at, _) | Op::Get(at) | Op::Open(at, ..) | Op::Stat(at, _) => vec![at],
            Op::ReadLink(at) | Op::ReadDir(at) | Op::SetTimes(at, ..) => vec![at],
            Op::Link(old, new) | Op::Rename(old, new) => vec![old, new],
            Op::CloseDir(_) | Op::Close(_) | Op::Read(..) | Op::Write(..) => vec![],
            Op::Append(..) | Op::SetLen(..) | Op::Allocate(..) => vec![],
            Op::Fstat(_) | Op::Ftimes(..) => vec![],
        }
    }

    /// Parses one line of a script without an expectation.
    ///
    /// # Errors
    ///
    /// A message for people.
    pub fn parse(line: &str) -> Result<Op, String> {
        Self::of_words(&words(line)?).map_err(|why| format!("`{}`: {why}", line.trim()))
    }

    pub(crate) fn of_words(words: &[Word]) -> Result<Op, String> {
        let (verb, rest) = words.split_first().ok_or("an empty line")?;
        let verb = verb.bare().ok_or("the verb is quoted")?;
        match (verb, rest) {
            ("mkdir", [a]) => Ok(Op::Mkdir(at(a)?)),
            ("symlink", [a, arrow, target]) if arrow.bare() == Some("->") => {
                Ok(Op::Symlink(at(a)?, target.text()?))
            }
            ("link", [old, new]) => Ok(Op::Link(at(old)?, at(new)?)),
            ("rename", [old, new]) => Ok(Op::Rename(at(old)?, at(new)?)),
            ("unlink", [a]) => Ok(Op::Unlink(at(a)?)),
            ("rmdir", [a]) => Ok(Op::Rmdir(at(a)?)),
            ("write", [a, bytes]) => Ok(Op::Put(at(a)?, bytes.bytes.clone())),
            ("read", [a]) => Ok(Op::Get(at(a)?)),
            ("open", [a, how @ ..]) => open(at(a)?, how),
            ("closedir", [n]) => Ok(Op::CloseDir(number(n)?)),
            ("close", [n]) => Ok(Op::Close(number(n)?)),
            ("fread", [n, len, offset]) => Ok(Op::Read(number(n)?, number(len)?, number(offset)?)),
            ("fwrite", [n, bytes, offset]) => {
                Ok(Op::Write(number(n)?, bytes.bytes.clone(), number(offset)?))
            }
            ("fappend", [n, bytes]) => Ok(Op::Append(number(n)?, bytes.bytes.clone())),
            ("fsetlen", [n, len]) => Ok(Op::SetLen(number(n)?, number(len)?)),
            ("falloc", [n, offset, len]) => {
                Ok(Op::Allocate(number(n)?, number(offset)?, number(len)?))
            }
            ("fstat", [n]) => Ok(Op::Fstat(number(n)?)),
            ("ftimes", [n, a, m]) => Ok(Op::Ftimes(number(n)?, times(a, m)?)),
            ("stat", [a]) => Ok(Op::Stat(at(a)?, Follow::Yes)),
            ("lstat", [a]) => Ok(Op::Stat(at(a)?, Follow::No)),
            ("readlink", [a]) => Ok(Op::ReadLink(at(a)?)),
            ("readdir", [a]) => Ok(Op::ReadDir(at(a)?)),
            ("utimes", [p, a, m]) => Ok(Op::SetTimes(at(p)?, Follow::Yes, times(a, m)?)),
            ("lutimes", [p, a, m]) => Ok(Op::SetTimes(at(p)?, Follow::No, times(a, m)?)),
            (verb, _) => Err(format!("unknown operation or wrong number of words: {verb}")),
        }
    }
}

fn at(word: &Word) -> Result<At, String> {
    Ok(At { dir: word.slot.unwrap_or(0), path: word.text()? })
}

fn number<T: std::str::FromStr>(word: &Word) -> Result<T, String> {
    let text = word.bare().ok_or("a number is quoted")?;
    text.parse().map_err(|_| format!("`{text}` is not a number in range"))
}

fn open(at: At, how: &[Word]) -> Result<Op, String> {
    let (mut access, mut flags, mut follow) = (Access::Read, OpenFlags::empty(), Follow::Yes);
    for word in how {
        match word.bare().unwrap_or("\"") {
            "hold" => access = Access::Hold,
            "read" => access = Access::Read,
            "write" => access = Access::Write,
            "rdwr" => access = Access::ReadWrite,
            "create" => flags |= OpenFlags::CREATE,
            "excl" => flags |= OpenFlags::EXCLUSIVE,
            "trunc" => flags |= OpenFlags::TRUNCATE,
            "dir" => flags |= OpenFlags::DIRECTORY,
            "dsync" => flags |= OpenFlags::DSYNC,
            "sync" => flags |= OpenFlags::SYNC,
            "nofollow" => follow = Follow::No,
            other => return Err(format!("unknown open flag: {other}")),
        }
    }
    Ok(Op::Open(at, access, flags, follow))
}

fn times(accessed: &Word, modified: &Word) -> Result<SetTimes, String> {
    Ok(SetTimes { accessed: time(accessed)?, modified: time(modified)? })
}

fn time(word: &Word) -> Result<SetTime, String> {
    match word.bare().unwrap_or("\"") {
        "keep" => Ok(SetTime::Keep),
        "now" => Ok(SetTime::Now),
        other => Ok(SetTime::At(stamp(other)?)),
    }
}

/// Parses `SECONDS.NANOS`; the seconds may be negative, the nanoseconds count upward.
pub(crate) fn stamp(text: &str) -> Result<Timestamp, String> {
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, "0"));
    let bad = || format!("`{text}` is not a time");
    Ok(Timestamp::new(seconds.parse().map_err(|_| bad())?, nanos.parse().map_err(|_| bad())?))
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dir != 0 {
            write!(f, "{}:", self.dir)?;
        }
        f.write_str(&text::path(&self.path))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let l = |follow: &Follow| if *follow == Follow::No { "l" } else { "" };
        match self {
            Op::Mkdir(at) => write!(f, "mkdir {at}"),
            Op::Symlink(at, target) => write!(f, "symlink {at} -> {}", text::path(target)),
            Op::Link(old, new) => write!(f, "link {old} {new}"),
            Op::Rename(old, new) => write!(f, "rename {old} {new}"),
            Op::Unlink(at) => write!(f, "unlink {at}"),
            Op::Rmdir(at) => write!(f, "rmdir {at}"),
            Op::Put(at, bytes) => write!(f, "write {at} {}", text::bytes(bytes)),
            Op::Get(at) => write!(f, "read {at}"),
            Op::Open(at, access, flags, follow) => fmt_open(f, at, *access, *flags, *follow),
            Op::CloseDir(n) => write!(f, "closedir {n}"),
            Op::Close(n) => write!(f, "close {n}"),
            Op::Read(n, len, offset) => write!(f, "fread {n} {len} {offset}"),
            Op::Write(n, bytes, offset) => write!(f, "fwrite {n} {} {offset}", text::bytes(bytes)),
            Op::Append(n, bytes) => write!(f, "fappend {n} {}", text::bytes(bytes)),
            Op::SetLen(n, len) => write!(f, "fsetlen {n} {len}"),
            Op::Allocate(n, offset, len) => write!(f, "falloc {n} {offset} {len}"),
            Op::Fstat(n) => write!(f, "fstat {n}"),
            Op::Ftimes(n, times) => write!(f, "ftimes {n} {}", fmt_times(times)),
            Op::Stat(at, follow) => write!(f, "{}stat {at}", l(follow)),
            Op::ReadLink(at) => write!(f, "readlink {at}"),
            Op::ReadDir(at) => write!(f, "readdir {at}"),
            Op::SetTimes(at, follow, times) => {
                write!(f, "{}utimes {at} {}", l(follow), fmt_times(times))
            }
        }
    }
}

fn fmt_open(
    f: &mut fmt::Formatter<'_>,
    at: &At,
    access: Access,
    flags: OpenFlags,
    follow: Follow,
) -> fmt::Result {
    write!(f, "open {at}")?;
    f.write_str(match access {
        Access::Hold => " hold",
        Access::Read => " read",
        Access::Write => " write",
        Access::ReadWrite => " rdwr",
    })?;
    for (flag, name) in [
        (OpenFlags::CREATE, " create"),
        (OpenFlags::EXCLUSIVE, " excl"),
        (OpenFlags::TRUNCATE, " trunc"),
        (OpenFlags::DIRECTORY, " dir"),
        (OpenFlags::DSYNC, " dsync"),
        (OpenFlags::SYNC, " sync"),
    ] {
        if flags.contains(flag) {
            f.write_str(name)?;
        }
    }
    f.write_str(if follow == Follow::No { " nofollow" } else { "" })
}

fn fmt_times(times: &SetTimes) -> String {
    let one = |time: SetTime| match time {
        SetTime::Keep => "keep".to_owned(),
        SetTime::Now => "now".to_owned(),
        SetTime::At(at) => format!("{}.{}", at.seconds(), at.nanos()),
    };
    format!("{} {}", one(times.accessed), one(times.modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_round_trips_through_its_text_form() {
        for line in [
            "mkdir a",
            "symlink a/l -> ..",
            "symlink 1:l -> \"a b\"",
            "link a 3:b",
            "rename a \"\"",
            "unlink a",
            "rmdir a/",
            "write f \"hi\\x00\"",
            "read f",
            "open f rdwr create excl trunc nofollow",
            "open . hold dir dsync sync",
            "closedir 3",
            "close 1",
            "fread 0 10 5",
            "fwrite 0 \"x\" 18446744073709551615",
            "fappend 0 \"\\*99;y\"",
            "fsetlen 0 9",
            "falloc 0 1 2",
            "fstat 2",
            "ftimes 0 keep -5.999999999",
            "stat a",
            "lstat a/../b",
            "readlink l",
            "readdir .",
            "utimes a now keep",
            "lutimes a 1.2 3.4",
        ] {
            assert_eq!(Op::parse(line).map(|op| op.to_string()).as_deref(), Ok(line));
        }
        for bad in ["", "mkdir", "mkdir a b", "fly a", "open a sideways", "close x", "close 256"] {
            assert!(Op::parse(bad).is_err(), "{bad}");
        }
    }
}
