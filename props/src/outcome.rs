//! What an operation came to, in a form that two filesystems can be compared by.

use std::fmt;

use palisade_vfs::{Errno, FileType, Stat, Timestamp};

use crate::op::stamp;
use crate::subject::Promises;
use crate::text::{self, Word};

/// What an operation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to operate on.
    Idle,
    /// It was refused.
    Fail(Errno),
    /// It was done, and that is all there is to say.
    Done,
    /// A directory is open.
    Dir,
    /// A file is open.
    File,
    /// What a node is.
    Stat(Seen),
    /// What was read.
    Bytes(Vec<u8>),
    /// How many bytes were written.
    Wrote(u64),
    /// How many bytes were appended, and the offset behind them.
    Appended(u64, u64),
    /// What a link says.
    Target(String),
    /// What is in a directory, sorted by name.
    Names(Vec<(String, FileType)>),
}

/// What of a [`Stat`] can be compared. `None` means whatever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The type.
    pub kind: FileType,
    /// The size; a directory's is its own affair.
    pub size: Option<u64>,
    /// How many names; a directory's is its own affair.
    pub nlink: Option<u64>,
    /// The time of the last change, if somebody set it.
    pub modified: Option<Timestamp>,
    /// The identity. Two filesystems have different ones, so nobody compares it here: whoever
    /// runs a script checks that equal nodes have equal ones.
    pub id: (u64, u64),
}

impl Seen {
    pub(crate) fn of(stat: &Stat) -> Self {
        let comparable = stat.kind != FileType::Dir;
        Seen {
            kind: stat.kind,
            size: comparable.then_some(stat.size),
            nlink: comparable.then_some(stat.nlink),
            modified: Some(stat.modified),
            id: (stat.dev, stat.ino),
        }
    }

    fn allows(&self, got: &Seen) -> bool {
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
    /// Whether `got` is what this asks for.
    #[must_use]
    pub fn allows(&self, got: &Outcome) -> bool {
        match (self, got) {
            (Outcome::Stat(want), Outcome::Stat(got)) => want.allows(got),
            (want, got) => want == got,
        }
    }

    /// The same, for a filesystem of these promises: what is not promised is whatever.
    #[must_use]
    pub(crate) fn on(mut self, promises: Promises) -> Outcome {
        if let Outcome::Stat(seen) = &mut self
            && !promises.contains(Promises::NLINK)
        {
            seen.nlink = None;
        }
        self
    }

    /// The error, if it is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Outcome::Fail(errno) => Some(*errno),
            _ => None,
        }
    }
}

/// What a script line expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything but an error.
    Ok,
    /// This.
    This(Outcome),
}

impl Expect {
    /// Whether `got` is what is expected.
    #[must_use]
    pub fn allows(&self, got: &Outcome) -> bool {
        match self {
            Expect::Ok => got.errno().is_none() && *got != Outcome::Idle,
            Expect::This(want) => want.allows(got),
        }
    }

    /// Whether `got` is what is expected of a filesystem of these promises.
    pub(crate) fn allows_on(&self, promises: Promises, got: &Outcome) -> bool {
        match self {
            Expect::Ok => self.allows(got),
            Expect::This(want) => want.clone().on(promises).allows(got),
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
                Outcome::Fail(*errno.ok_or_else(|| format!("no such outcome: {name}"))?)
            }
            (name, _) => return Err(format!("no such outcome: {name}")),
        };
        Ok(Expect::This(outcome))
    }
}

fn number(word: &Word) -> Result<u64, String> {
    word.text()?.parse().map_err(|_| "a bad number".to_owned())
}

fn seen(kind: &str, rest: &[Word]) -> Result<Seen, String> {
    let kind = match kind {
        "dir" => FileType::Dir,
        "file" => FileType::File,
        _ => FileType::Symlink,
    };
    let mut out = Seen { kind, size: None, nlink: None, modified: None, id: (0, 0) };
    for pair in rest.chunks(2) {
        match pair {
            [key, value] if key.bare() == Some("size") => out.size = Some(number(value)?),
            [key, value] if key.bare() == Some("nlink") => out.nlink = Some(number(value)?),
            [key, value] if key.bare() == Some("mtime") => {
                out.modified = Some(stamp(&value.text()?)?);
            }
            _ => return Err("a type is followed by size, nlink and mtime".to_owned()),
        }
    }
    Ok(out)
}

/// Names with `/` behind directories and `@` behind links.
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
