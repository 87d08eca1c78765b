//! The path walker: resolves `.`, `..`, slashes and symbolic links.
//!
//! It cuts a guest's path into a [`Descent`] and passes that to the directory in one call. If the
//! directory stops at a symbolic link, the walker splices the link's target into the path and
//! starts again. A directory therefore sees only canonical descents, and depth costs no extra
//! calls.
//!
//! Why a path cannot leave its start: a descent contains no `..`, and no directory follows a link.
//! The walker removes `..` from the text itself, after a lookup that the part before it is a
//! directory; `..` at the start is [`Errno::Escape`]. The target of a link is text that passes
//! through the same checks.
//!
//! Deliberately absent: any knowledge of where a directory lies. The start of a walk is its root.

use crate::{Descent, Dir, Errno, Name, OpenHow, Result, Stop, bug};

/// The most links followed in one resolution: Linux's `MAXSYMLINKS`.
pub const LINKS_MAX: u32 = 40;
/// The most lookups for `..` and overlong names in one resolution. Bounds the cost of a hostile
/// path.
pub const LOOKUPS_MAX: u32 = 256;
/// The longest path, in bytes: Linux's `PATH_MAX` without the terminating NUL.
pub const PATH_LEN_MAX: usize = 4095;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The link is followed (`AT_SYMLINK_FOLLOW`).
    Yes,
    /// The operation applies to the link itself (`AT_SYMLINK_NOFOLLOW`).
    No,
}

/// The end of a path. POSIX treats `f`, `f/`, `f/.` and `d/..` differently in most operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A name.
    Name,
    /// A name followed by slashes: the node must be a directory.
    Slash,
    /// `.`.
    Dot,
    /// `..`.
    DotDot,
}

/// The last component of a path, for an operation on a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last<'a> {
    /// A name.
    Name {
        /// The name.
        name: Name<'a>,
        /// Whether slashes follow the name.
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
    /// At least one slash.
    Yes,
    /// No slash.
    No,
}

/// Resolves `path` relative to `dir` and calls `visit` with the descent and the path's ending.
///
/// `visit` is called again for each symbolic link that it stops at. `last` decides about a link at
/// the end of a path that ends in a name; in any other position links are followed.
///
/// # Errors
///
/// - `ENOENT`: the path is empty.
/// - `ENAMETOOLONG`: the path is longer than [`PATH_LEN_MAX`] bytes.
/// - `EINVAL`: the path contains a NUL.
/// - [`Errno::Escape`]: the path is absolute.
/// - `ENAMETOOLONG`, `ENOENT`, `ENOTDIR`, [`Errno::Escape`]: for the first component that causes
///   one.
/// - `ELOOP`: more than [`LINKS_MAX`] links or [`LOOKUPS_MAX`] lookups, or a link at the end that
///   `last` excludes.
/// - Those of `visit`.
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap04.html#tag_04_16>
#[inline]
pub fn walk<T>(
    dir: &dyn Dir,
    path: &str,
    last: Follow,
    mut visit: impl FnMut(Descent<'_>, Ending) -> Result<T, Stop>,
) -> Result<T> {
    // Fast path: the text is already a descent and needs no copy.
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

/// Walks `pending`, a path to which `links` links have led. Separate from [`walk`] so that the fast
/// path can be inlined into its callers.
#[inline(never)]
fn walk_on<T>(
    dir: &dyn Dir,
    mut pending: String,
    mut links: u32,
    last: Follow,
    mut visit: impl FnMut(Descent<'_>, Ending) -> Result<T, Stop>,
) -> Result<T> {
    let mut lookups = 0;
    loop {
        let mut lexed = Lexed::new(&pending)?;
        let lexing = lexed.lex(&mut |at| {
            lookups += 1;
            if lookups > LOOKUPS_MAX {
                return Err(Errno::Loop.into());
            }
            dir.open(at, OpenHow::HOLD_DIR)?.into_dir()?;
            Ok(())
        });
        let visited;
        let stop = match &lexing {
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

/// Calls `op` with the parent directory of `path` and the last component. A symbolic link there is
/// not followed, also not if slashes follow it.
///
/// # Errors
///
/// - Those of [`walk`], then those of `op`.
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

/// Calls `op` with the parent directory of `at` and the last name. A single name costs no open.
/// `at` must not be empty.
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

/// Returns the next path to walk: the names before the link, its target, and the remaining text.
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

/// Returns whether a component of `len` bytes, `dots` of them dots, is a valid name.
fn is_name(len: usize, dots: usize) -> bool {
    let is_dot_or_dot_dot = len <= 2 && dots == len;
    len <= Name::LEN_MAX && !is_dot_or_dot_dot
}

/// A path that is already a descent, except for trailing slashes.
struct Plain<'p> {
    down: &'p str,
    ending: Ending,
}

/// A path in two parts: the canonical descent so far and the remaining text.
struct Lexed<'p> {
    down: String,
    rest: &'p str,
    ending: Ending,
}

impl<'p> Lexed<'p> {
    /// Validates a path and returns it if it needs no rewriting.
    fn lex_plain(path: &'p str) -> Result<Option<Plain<'p>>> {
        if path.is_empty() {
            return Err(Errno::Noent);
        }
        if path.len() > PATH_LEN_MAX {
            return Err(Errno::Nametoolong);
        }
        let down = path.trim_end_matches('/');
        // perf: one pass over the bytes. Most paths are short, and a search for each delimiter
        // takes longer.
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

    /// Lexes the whole path. `check_dir` must return `Ok` for a directory and stop otherwise. After
    /// a stop, `rest` still begins with the component that caused the check.
    fn lex(
        &mut self,
        check_dir: &mut dyn FnMut(Descent<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        while !self.rest.is_empty() {
            let (part, rest) = self.rest.split_once('/').unwrap_or((self.rest, ""));
            let slash = self.rest.len() > part.len();
            match part {
                // An empty component between slashes: the name before it has recorded the slash.
                "" => {}
                "." => self.ending = Ending::Dot,
                ".." => {
                    // POSIX requires `ENOENT` for `missing/..`, so the directory is checked before
                    // it is dropped.
                    if !self.down.is_empty() {
                        check_dir(Descent::checked(&self.down))?;
                    }
                    let Some(end) = self.parent_len() else { return Err(Errno::Escape.into()) };
                    self.down.truncate(end);
                    self.ending = Ending::DotDot;
                }
                name => {
                    if name.len() > Name::LEN_MAX {
                        // Linux reports an overlong name when it reaches it, so an error
                        // before it comes first.
                        if !self.down.is_empty() {
                            check_dir(Descent::checked(&self.down))?;
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

    /// Returns the length of `down` without its last name, or `None` if it has no name.
    fn parent_len(&self) -> Option<usize> {
        if self.down.is_empty() { None } else { Some(self.down.rfind('/').unwrap_or(0)) }
    }
}
