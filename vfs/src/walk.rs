//! The walker: the only code that knows `.`, `..`, slashes and symbolic links.
//!
//! It cuts a guest's path into a [`Descent`], hands that to the directory in one call, and goes
//! round when the directory stops at a link, with the link's target spliced in. What a directory
//! sees is therefore canonical, and depth costs no extra calls.
//!
//! Why a path cannot leave its start: a descent has no `..` in it, and no directory follows a link.
//! `..` is taken off the text here, after a look that what precedes it is a directory, and above
//! the start it is `Escape`. A link's target is text that goes through the same mill.
//!
//! Deliberately absent: any memory of where a directory lies. A directory is the top of its world.

use crate::{Descent, Dir, Errno, Name, OpenHow, Result, Stop, bug};

/// Links followed in one resolution: Linux's `MAXSYMLINKS`.
pub const LINKS_MAX: u32 = 40;
/// Looks that `..` and overlong names cause in one resolution: bounds what a hostile path costs.
pub const LOOKS_MAX: u32 = 256;
/// The longest path, in bytes: Linux's `PATH_MAX` less the NUL, which is counted there.
pub const PATH_LEN_MAX: usize = 4095;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Followed.
    Yes,
    /// The link itself is meant.
    No,
}

/// How a path ends. POSIX treats `f`, `f/`, `f/.` and `d/..` differently in most calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a name.
    Name,
    /// With a name and slashes: it must be a directory.
    Slash,
    /// With `.`.
    Dot,
    /// With `..`.
    DotDot,
}

/// The last component of a path, for an operation on a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last<'a> {
    /// A name; `slash` tells whether slashes follow it.
    Name {
        /// The name.
        name: Name<'a>,
        /// Whether slashes follow it.
        slash: Slash,
    },
    /// `.`, or the start itself.
    Dot,
    /// `..`, within the start.
    DotDot,
}

/// Whether slashes follow a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slash {
    /// They do.
    Yes,
    /// They do not.
    No,
}

/// Resolves `path` beneath `dir`: calls `visit` with the descent and the path's ending, and again
/// for each link that `visit` stops at. A link at the end of a path that ends in a name is
/// followed as `last` says, and `Loop` if it says no.
///
/// Errors, in order: `Noent` for an empty path; `Nametoolong` above [`PATH_LEN_MAX`] bytes;
/// `Inval` for a NUL; `Escape` for an absolute path; then from left to right `Nametoolong`,
/// `Noent`, `Notdir`, `Escape` for the component that causes it; `Loop` above [`LINKS_MAX`] links
/// or [`LOOKS_MAX`] looks.
///
/// See <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap04.html#tag_04_16>.
#[inline]
pub fn walk<T>(
    dir: &dyn Dir,
    path: &str,
    last: Follow,
    mut visit: impl FnMut(Descent<'_>, Ending) -> Result<T, Stop>,
) -> Result<T> {
    // The common path needs no rewriting and no memory.
    let Some(plain) = Lexed::lex_plain(path)? else {
        return walk_on(dir, path.to_owned(), 0, last, visit);
    };
    match visit(Descent::checked(plain.down), plain.ending) {
        Ok(done) => Ok(done),
        Err(Stop::Errno(errno)) => Err(errno),
        Err(Stop::Link { at, ref target }) => {
            let pending = splice(plain.down, plain.ending, "", last, at, target)?;
            walk_on(dir, pending, 1, last, visit)
        }
    }
}

/// Walks `pending`, to which `links` links have led. Apart from the common path, so that this one
/// can be a part of whoever walks.
#[inline(never)]
fn walk_on<T>(
    dir: &dyn Dir,
    mut pending: String,
    mut links: u32,
    last: Follow,
    mut visit: impl FnMut(Descent<'_>, Ending) -> Result<T, Stop>,
) -> Result<T> {
    let mut looks = 0;
    loop {
        let mut lexed = Lexed::new(&pending)?;
        let looked = lexed.lex(&mut |at| {
            looks += 1;
            if looks > LOOKS_MAX {
                return Err(Errno::Loop.into());
            }
            dir.open(at, OpenHow::HOLD_DIR)?.into_dir()?;
            Ok(())
        });
        let visited;
        let stop = match &looked {
            Err(stop) => stop,
            Ok(()) => {
                visited = visit(Descent::checked(&lexed.down), lexed.ending);
                match visited {
                    Ok(done) => return Ok(done),
                    Err(ref stop) => stop,
                }
            }
        };
        let (at, target) = match stop {
            Stop::Errno(errno) => return Err(*errno),
            Stop::Link { at, target } => (*at, target),
        };
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::Loop);
        }
        pending = splice(&lexed.down, lexed.ending, lexed.rest, last, at, target)?;
    }
}

/// Calls `op` with the directory that holds the last name of `path`, and that name. A link there
/// is not followed, also if slashes follow it.
///
/// Errors: as for [`walk`], then those of `op`.
#[inline]
pub fn at<T>(
    dir: &dyn Dir,
    path: &str,
    mut op: impl FnMut(&dyn Dir, Last<'_>) -> Result<T>,
) -> Result<T> {
    walk(dir, path, Follow::No, |at, ending| {
        let slash = match ending {
            Ending::Name => Slash::No,
            Ending::Slash => Slash::Yes,
            Ending::Dot | Ending::DotDot => {
                let here = dir.open(at, OpenHow::HOLD_DIR)?.into_dir()?;
                let last = if ending == Ending::Dot { Last::Dot } else { Last::DotDot };
                return Ok(op(&*here, last)?);
            }
        };
        in_parent(dir, at, |parent, name| Ok(op(parent, Last::Name { name, slash })?))
    })
}

/// Calls `op` with the directory that holds the last name of `at`, and that name. One name costs
/// no open. `at` must not be empty.
#[inline]
pub(crate) fn in_parent<T>(
    dir: &dyn Dir,
    at: Descent<'_>,
    op: impl FnOnce(&dyn Dir, Name<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let Some((parent, name)) = at.split_last() else {
        return Err(bug!("a path without a last name has no parent").into());
    };
    if parent.is_here() {
        return op(dir, name);
    }
    let parent = dir.open(parent, OpenHow::HOLD_DIR)?.into_dir()?;
    op(&*parent, name)
}

/// The path that is to be walked next: what lies before the link, its target, and what is left.
fn splice(
    down: &str,
    ending: Ending,
    rest: &str,
    last: Follow,
    at: usize,
    target: &str,
) -> Result<String> {
    let (before, from_link) = Descent::checked(down).split_at(at);
    let (_link, after) = from_link.split_at(1);
    let is_last = after.is_here() && rest.is_empty();
    if is_last && last == Follow::No && ending == Ending::Name {
        return Err(Errno::Loop);
    }
    if target.is_empty() {
        return Err(Errno::Noent);
    }
    if target.starts_with('/') {
        return Err(Errno::Escape);
    }
    let (before, after) = (before.as_str(), after.as_str());
    let mut next =
        String::with_capacity(before.len() + target.len() + after.len() + rest.len() + 4);
    for part in [before, target, after, rest] {
        if !part.is_empty() {
            if !next.is_empty() {
                next.push('/');
            }
            next.push_str(part);
        }
    }
    if rest.is_empty() {
        match ending {
            Ending::Name => {}
            Ending::Slash => next.push('/'),
            Ending::Dot | Ending::DotDot => next.push_str("/."),
        }
    }
    if next.len() > PATH_LEN_MAX {
        return Err(Errno::Nametoolong);
    }
    Ok(next)
}

/// Whether a component of so many bytes, so many of them dots, is a name.
fn is_name(len: usize, dots: usize) -> bool {
    let goes_nowhere = len <= 2 && dots == len;
    len <= Name::LEN_MAX && !goes_nowhere
}

/// A path that is already a descent, but for slashes at its end.
struct Plain<'p> {
    down: &'p str,
    ending: Ending,
}

/// A path, cut into what is canonical so far and what is left.
struct Lexed<'p> {
    down: String,
    rest: &'p str,
    ending: Ending,
}

impl<'p> Lexed<'p> {
    /// Refuses what no path is, and answers the descent if nothing has to be rewritten.
    fn lex_plain(path: &'p str) -> Result<Option<Plain<'p>>> {
        if path.is_empty() {
            return Err(Errno::Noent);
        }
        if path.len() > PATH_LEN_MAX {
            return Err(Errno::Nametoolong);
        }
        let down = path.trim_end_matches('/');
        // One look at each byte: most paths are short, and a search for each thing takes longer.
        let (mut is_plain, mut len, mut dots) = (true, 0, 0);
        for byte in down.bytes() {
            match byte {
                0 => return Err(Errno::Inval),
                b'/' => {
                    is_plain &= is_name(len, dots);
                    (len, dots) = (0, 0);
                }
                _ => {
                    dots += usize::from(byte == b'.');
                    len += 1;
                }
            }
        }
        if path.starts_with('/') {
            return Err(Errno::Escape);
        }
        if !(is_plain && is_name(len, dots)) {
            return Ok(None);
        }
        let ending = if down.len() == path.len() { Ending::Name } else { Ending::Slash };
        Ok(Some(Plain { down, ending }))
    }

    fn new(path: &'p str) -> Result<Self> {
        if path.starts_with('/') {
            return Err(Errno::Escape);
        }
        Ok(Lexed { down: String::with_capacity(path.len()), rest: path, ending: Ending::Name })
    }

    /// Cuts the whole path. `look` must answer `Ok` for a directory and stop otherwise; on a stop
    /// `rest` still holds the component that asked for the look.
    fn lex(&mut self, look: &mut dyn FnMut(Descent<'_>) -> Result<(), Stop>) -> Result<(), Stop> {
        while !self.rest.is_empty() {
            let (part, rest) = self.rest.split_once('/').unwrap_or((self.rest, ""));
            let slash = self.rest.len() > part.len();
            match part {
                // Only slashes: what stands before them has seen them already.
                "" => {}
                "." => self.ending = Ending::Dot,
                ".." => {
                    // POSIX wants `missing/..` to be `Noent`: look before dropping.
                    if !self.down.is_empty() {
                        look(Descent::checked(&self.down))?;
                    }
                    let Some(end) = self.parent_len() else { return Err(Errno::Escape.into()) };
                    self.down.truncate(end);
                    self.ending = Ending::DotDot;
                }
                name => {
                    if name.len() > Name::LEN_MAX {
                        // The kernel finds out on the way: what is wrong before it comes first.
                        if !self.down.is_empty() {
                            look(Descent::checked(&self.down))?;
                        }
                        return Err(Errno::Nametoolong.into());
                    }
                    let name = Name::new(name)?;
                    if !self.down.is_empty() {
                        self.down.push('/');
                    }
                    self.down.push_str(name.as_str());
                    self.ending = if slash { Ending::Slash } else { Ending::Name };
                }
            }
            self.rest = rest;
        }
        Ok(())
    }

    /// How much of `down` is left when its last name goes; `None` if there is no name.
    fn parent_len(&self) -> Option<usize> {
        if self.down.is_empty() { None } else { Some(self.down.rfind('/').unwrap_or(0)) }
    }
}
