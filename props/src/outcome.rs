//! Outcomes of operations, in a form that can be compared between filesystems.

use std::fmt;

use palisade_vfs::{Errno, FileType, Stat, Timestamp};

use crate::op::stamp;
use crate::subject::Capabilities;
use crate::text::{self, Word};

/// The outcome of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The operation had no open file to act on.
    Idle,
    /// The operation failed.
    Fail(Errno),
    /// The operation succeeded without a result.
    Done,
    /// A directory was opened.
    Dir,
    /// A file was opened.
    File,
    /// The metadata of a node.
    Stat(StatSummary),
    /// The bytes that were read.
    Bytes(Vec<u8>),
    /// The number of bytes that were written.
    Wrote(u64),
    /// The number of bytes that were appended, and the offset after them.
    Appended(u64, u64),
    /// The target of a symbolic link.
    Target(String),
    /// The entries of a directory, sorted by name.
    Names(Vec<(String, FileType)>),
}

/// The comparable part of a [`Stat`]. `None` matches any value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatSummary {
    /// The type.
    pub kind: FileType,
    /// The size; not compared for directories.
    pub size: Option<u64>,
    /// The link count; not compared for directories.
    pub nlink: Option<u64>,
    /// The modification time, if it was set explicitly.
    pub modified: Option<Timestamp>,
    /// The identity. It differs between filesystems, so it is not compared here; the runner of a
    /// script checks that equal nodes have equal identities.
    pub id: (u64, u64),
}

impl StatSummary {
    pub(crate) fn of(stat: &Stat) -> Self {
        let comparable = stat.kind != FileType::Dir;
        StatSummary {
            kind: stat.kind,
            size: comparable.then_some(stat.size),
            nlink: comparable.then_some(stat.nlink),
            modified: Some(stat.modified),
            id: (stat.dev, stat.ino),
        }
    }

    fn allows(&self, got: &StatSummary) -> bool {
        fn open<T: PartialEq>(want: Option<T>, got: Option<T>) -> bool {
            want.is_none() || want == got
        }
        self.kind == got.kind
            && open(self.size, got.size)
            && open(self.nlink, got.nlink)
            && open(self.modified, got.modified)
    }
}

impl Outcome {
    /// Returns whether the expected outcome `self` accepts `got`.
    #[must_use]
    pub fn allows(&self, got: &Outcome) -> bool {
        match (self, got) {
            (Outcome::Stat(want), Outcome::Stat(got)) => want.allows(got),
            (want, got) => want == got,
        }
    }

    /// Returns the outcome for a filesystem with these capabilities, without unsupported metadata.
    #[must_use]
    pub(crate) fn on(mut self, capabilities: Capabilities) -> Outcome {
        if let Outcome::Stat(seen) = &mut self
            && !capabilities.contains(Capabilities::NLINK)
        {
            seen.nlink = None;
        }
        self
    }

    /// Returns the errno of a failure.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Outcome::Fail(errno) => Some(*errno),
            _ => None,
        }
    }
}

/// The expected outcome of a script line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any success.
    Ok,
    /// This outcome.
    This(Outcome),
}

impl Expect {
    /// Returns whether the expectation accepts `got`.
    #[must_use]
    pub fn allows(&self, got: &Outcome) -> bool {
        match self {
            Expect::Ok => got.errno().is_none() && *got != Outcome::Idle,
            Expect::This(want) => want.allows(got),
        }
    }

    /// Returns whether the expectation accepts `got` from a filesystem with these capabilities.
    pub(crate) fn allows_on(&self, capabilities: Capabilities, got: &Outcome) -> bool {
        match self {
            Expect::Ok => self.allows(got),
            Expect::This(want) => want.clone().on(capabilities).allows(got),
        }
    }

    pub(crate) fn of_words(words: &[Word]) -> Result<Expect, String> {
        if let [word] = words
            && word.quoted
        {
            return Ok(Expect::This(Outcome::Bytes(word.bytes.clone())));
        }
        let (first, rest) = words.split_first().ok_or("nothing is expected")?;
        let first = first.bare().ok_or("what is expected stands in quotes")?;
        let outcome = match (first, rest) {
            ("ok", []) => return Ok(Expect::Ok),
            ("idle", []) => Outcome::Idle,
            ("done", []) => Outcome::Done,
            ("opened", [what]) if what.bare() == Some("dir") => Outcome::Dir,
            ("opened", [what]) if what.bare() == Some("file") => Outcome::File,
            ("wrote", [n]) => Outcome::Wrote(number(n)?),
            ("appended", [n, end]) => Outcome::Appended(number(n)?, number(end)?),
            ("->", [target]) => Outcome::Target(target.text()?),
            ("names", names) => Outcome::Names(entries(names)?),
            ("dir" | "file" | "symlink", rest) => Outcome::Stat(seen(first, rest)?),
            (name, []) => {
                let errno = Errno::ALL.iter().find(|errno| errno.name() == name);
                Outcome::Fail(*errno.ok_or_else(|| format!("unknown outcome: {name}"))?)
            }
            (name, _) => return Err(format!("unknown outcome: {name}")),
        };
        Ok(Expect::This(outcome))
    }
}

fn number(word: &Word) -> Result<u64, String> {
    word.text()?.parse().map_err(|_| "a bad number".to_owned())
}

fn seen(kind: &str, rest: &[Word]) -> Result<StatSummary, String> {
    let kind = match kind {
        "dir" => FileType::Dir,
        "file" => FileType::File,
        _ => FileType::Symlink,
    };
    let mut out = StatSummary { kind, size: None, nlink: None, modified: None, id: (0, 0) };
    for pair in rest.chunks(2) {
        match pair {
            [key, value] if key.bare() == Some("size") => out.size = Some(number(value)?),
            [key, value] if key.bare() == Some("nlink") => out.nlink = Some(number(value)?),
            [key, value] if key.bare() == Some("mtime") => {
                out.modified = Some(stamp(&value.text()?)?);
            }
            _ => return Err("only size, nlink and mtime can follow a type".to_owned()),
        }
    }
    Ok(out)
}

/// Parses names with the suffix `/` for directories and `@` for symbolic links.
fn entries(names: &[Word]) -> Result<Vec<(String, FileType)>, String> {
    let mut out = Vec::new();
    for name in names {
        let name = name.text()?;
        out.push(if let Some(dir) = name.strip_suffix('/') {
            (dir.to_owned(), FileType::Dir)
        } else if let Some(link) = name.strip_suffix('@') {
            (link.to_owned(), FileType::Symlink)
        } else {
            (name, FileType::File)
        });
    }
    out.sort();
    Ok(out)
}

pub(crate) fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Dir => "dir",
        FileType::File => "file",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "chardevice",
        FileType::BlockDevice => "blockdevice",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Idle => f.write_str("idle"),
            Outcome::Fail(errno) => f.write_str(&errno.name()),
            Outcome::Done => f.write_str("done"),
            Outcome::Dir => f.write_str("opened dir"),
            Outcome::File => f.write_str("opened file"),
            Outcome::Bytes(bytes) => f.write_str(&text::bytes(bytes)),
            Outcome::Wrote(count) => write!(f, "wrote {count}"),
            Outcome::Appended(count, end) => write!(f, "appended {count} {end}"),
            Outcome::Target(target) => write!(f, "-> {}", text::path(target)),
            Outcome::Stat(seen) => {
                f.write_str(kind_name(seen.kind))?;
                if let Some(size) = seen.size {
                    write!(f, " size {size}")?;
                }
                if let Some(nlink) = seen.nlink {
                    write!(f, " nlink {nlink}")?;
                }
                match seen.modified {
                    Some(at) => write!(f, " mtime {}.{}", at.seconds(), at.nanos()),
                    None => Ok(()),
                }
            }
            Outcome::Names(names) => {
                f.write_str("names")?;
                for (name, kind) in names {
                    let mark = match kind {
                        FileType::Dir => "/",
                        FileType::Symlink => "@",
                        _ => "",
                    };
                    write!(f, " {}", text::path(&format!("{name}{mark}")))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Ok => f.write_str("ok"),
            Expect::This(outcome) => outcome.fmt(f),
        }
    }
}
