//! The extended attributes (xattrs) of overlayfs, and this program's own.
//!
//! The format is that of Linux with the mount option `userxattr`:
//! <https://docs.kernel.org/filesystems/overlayfs.html>. A whiteout is a character device 0/0, or
//! an empty file with [`WHITEOUT`] in a directory with [`OPAQUE`] = `x`. An opaque directory has
//! [`OPAQUE`] = `y`. Linux hides all xattrs with the prefix `user.overlay.` from users of its
//! mounts, and ignores the ones that only this program defines.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno as RustixErrno;

use super::super::errno::errno;
use super::super::stat::{kind, stat};
use super::fault_points;
use crate::{Errno, FileType, Result, Stat};

/// `y`: the directory is opaque. `x`: it may hold whiteouts in form of files.
pub(super) const OPAQUE: &str = "user.overlay.opaque";
/// On an empty file: it is a whiteout.
pub(super) const WHITEOUT: &str = "user.overlay.whiteout";
/// On a copied-up file or directory: the identity of the lower's node.
pub(super) const ORIGIN: &str = "user.overlay.palisade.origin";
/// On a directory: it may hold nodes with [`ORIGIN`]; in other directories the xattr is not read.
/// `p`: it may also hold nodes with [`PENDING`].
pub(super) const MAY_HOLD: &str = "user.overlay.palisade.holds";
/// On a file that does not have all its names yet: its names are ignored.
pub(super) const PENDING: &str = "user.overlay.palisade.pending";

/// On the root: the random token of the names of its commits' temporary files.
pub(super) const TOKEN: &str = "user.overlay.palisade.token";
/// On the root: a discard was begun, and the next open of the upper completes it.
pub(super) const DISCARDED: &str = "user.overlay.palisade.discarded";

/// The longest list of xattr names that is read at once, in bytes. Names of a longer list are read
/// one by one.
const LIST_MAX: usize = 1024;
/// The longest value that is parsed, in bytes: three numbers and two separators.
const MARK_MAX: usize = 64;

/// An identity: device number and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId {
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl NodeId {
    pub(super) fn of(stat: &Stat) -> Self {
        NodeId { dev: stat.dev, ino: stat.ino }
    }

    /// Returns `stat` with this identity.
    pub(super) fn put_on(self, stat: Stat) -> Stat {
        Stat { dev: self.dev, ino: self.ino, ..stat }
    }

    fn to_text(self) -> String {
        if self.is_of_process() {
            return format!("{}:{}:{}", self.dev, self.ino, process_token());
        }
        format!("{}:{}", self.dev, self.ino)
    }

    /// Parses an identity. Returns `None` for invalid text, and for an identity of another process.
    fn from_text(text: &[u8]) -> Option<Self> {
        let mut numbers = std::str::from_utf8(text).ok()?.split(':').map(str::parse::<u64>);
        let id = NodeId { dev: numbers.next()?.ok()?, ino: numbers.next()?.ok()? };
        let token = numbers.next().transpose().ok()?;
        let is_known = match token {
            Some(token) => id.is_of_process() && token == process_token(),
            None => !id.is_of_process(),
        };
        (is_known && id.ino != 0 && numbers.next().is_none()).then_some(id)
    }

    /// Returns whether the device or inode number is generated, as by
    /// [`fresh_dev`](crate::fresh_dev). Such numbers have no meaning for other processes.
    fn is_of_process(self) -> bool {
        (self.dev | self.ino) >> 63 == 1
    }
}

/// A random number of this process.
fn process_token() -> u64 {
    static TOKEN: OnceLock<u64> = OnceLock::new();
    *TOKEN.get_or_init(|| RandomState::new().hash_one(rustix::process::getpid().as_raw_nonzero()))
}

/// The value of a directory's [`OPAQUE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Opaque {
    #[default]
    No,
    /// The directory hides the lowers.
    Yes,
    /// The directory does not hide the lowers, and may hold whiteouts in form of files.
    HoldsWhiteouts,
}

/// The xattrs of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DirXattrs {
    pub(super) opaque: Opaque,
    pub(super) may_hold_copies: bool,
    pub(super) may_hold_pending: bool,
    pub(super) origin: Option<NodeId>,
}

impl DirXattrs {
    /// Reads the xattrs of an open directory. Takes one system call if there are none.
    pub(super) fn read(dir: BorrowedFd<'_>) -> Result<Self> {
        let mut list = [0_u8; LIST_MAX];
        let list = match fs::flistxattr(dir, &mut list[..]) {
            Ok(len) => list.get(..len),
            Err(RustixErrno::RANGE) => None,
            Err(RustixErrno::OPNOTSUPP) => return Ok(DirXattrs::default()),
            Err(os) => return Err(errno(os)),
        };
        let has = |mark: &str| {
            list.is_none_or(|list| {
                list.split(|byte| *byte == 0).any(|name| name == mark.as_bytes())
            })
        };
        let opaque = match has(OPAQUE).then(|| get(dir, OPAQUE)).transpose()?.flatten() {
            Some(value) if value == b"y" => Opaque::Yes,
            Some(value) if value == b"x" => Opaque::HoldsWhiteouts,
            Some(_) | None => Opaque::No,
        };
        let origin = if has(ORIGIN) { origin(dir)? } else { None };
        let holds = if has(MAY_HOLD) { get(dir, MAY_HOLD)? } else { None };
        let (may_hold_copies, may_hold_pending) =
            (holds.is_some(), holds.is_some_and(|it| it == b"p"));
        Ok(DirXattrs { opaque, may_hold_copies, may_hold_pending, origin })
    }
}

/// Returns the identity of the lower's node that an open file or directory is a copy of.
pub(super) fn origin(node: BorrowedFd<'_>) -> Result<Option<NodeId>> {
    Ok(get(node, ORIGIN)?.and_then(|text| NodeId::from_text(&text)))
}

/// Records the identity of the lower's node on its copy.
pub(super) fn set_origin(node: BorrowedFd<'_>, id: NodeId) -> Result<()> {
    set(node, ORIGIN, id.to_text().as_bytes())
}

/// Sets an xattr of an open file or directory.
pub(super) fn set(node: BorrowedFd<'_>, mark: &str, value: &[u8]) -> Result<()> {
    fault_points::before_change().map_err(errno)?;
    fs::fsetxattr(node, mark, value, XattrFlags::empty()).map_err(errno)
}

/// Removes an xattr of an open file or directory, if it exists.
pub(super) fn remove(node: BorrowedFd<'_>, mark: &str) -> Result<()> {
    fault_points::before_change().map_err(errno)?;
    match fs::fremovexattr(node, mark) {
        Ok(()) | Err(RustixErrno::NODATA) => Ok(()),
        Err(os) => Err(errno(os)),
    }
}

/// Returns the commit token of the upper with this root, if it has one.
pub(super) fn token(root: BorrowedFd<'_>) -> Result<Option<u128>> {
    let Some(text) = get(root, TOKEN)? else { return Ok(None) };
    Ok(std::str::from_utf8(&text).ok().and_then(|text| u128::from_str_radix(text, 16).ok()))
}

/// Returns whether a discard of the upper with this root was begun and not completed.
pub(super) fn is_discarded(root: BorrowedFd<'_>) -> Result<bool> {
    Ok(get(root, DISCARDED)?.is_some())
}

/// Returns the value of an xattr; `None` if it is missing or too long.
fn get(node: BorrowedFd<'_>, mark: &str) -> Result<Option<Vec<u8>>> {
    let mut value = [0_u8; MARK_MAX];
    match fs::fgetxattr(node, mark, &mut value[..]) {
        Ok(len) => Ok(value.get(..len).map(<[u8]>::to_vec)),
        Err(RustixErrno::NODATA | RustixErrno::RANGE | RustixErrno::OPNOTSUPP) => Ok(None),
        Err(os) => Err(errno(os)),
    }
}

/// The type of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryType {
    /// A leftover of a failed rollback: a node that does not have all its names yet. Callers see
    /// it as absent.
    Debris,
    Whiteout,
    Node(FileType),
}

/// Classifies an entry; `None` if the name is absent. `hint` is the type from the listing, if
/// known; `pending` are the nodes without all their names that have no mark.
///
/// System calls are needed only for devices, for empty files where whiteouts in form of files are
/// possible, for files and links where pending nodes are possible, and without a hint.
pub(super) fn classify(
    dir: BorrowedFd<'_>,
    xattrs: DirXattrs,
    (name, hint): (&str, Option<FileType>),
    pending: &Mutex<HashSet<NodeId>>,
) -> Result<Option<EntryType>> {
    let (opaque, may_hold_pending) = (xattrs.opaque, xattrs.may_hold_pending);
    let is_plain = match hint {
        None | Some(FileType::CharDevice) => false,
        Some(FileType::File) => opaque == Opaque::No && !may_hold_pending,
        Some(FileType::Symlink) => !may_hold_pending,
        Some(_) => true,
    };
    if let (true, Some(kind)) = (is_plain, hint) {
        return Ok(Some(EntryType::Node(kind)));
    }
    let stat_buf = match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat_buf) => stat_buf,
        Err(RustixErrno::NOENT) => return Ok(None),
        Err(os) => return Err(errno(os)),
    };
    let kind = kind(&stat_buf);
    if may_hold_pending && pending.lock().contains(&NodeId::of(&stat(&stat_buf))) {
        return Ok(Some(EntryType::Debris));
    }
    let (size, is_null) = (stat_buf.st_size, stat_buf.st_rdev == 0);
    let may_be_whiteout = opaque != Opaque::No && size == 0;
    Ok(Some(match kind {
        FileType::CharDevice if is_null => EntryType::Whiteout,
        FileType::File if may_be_whiteout || may_hold_pending => {
            match open_for_xattrs(dir, name)? {
                Some(file) if may_hold_pending && get(file.as_fd(), PENDING)?.is_some() => {
                    EntryType::Debris
                }
                Some(file) if may_be_whiteout && get(file.as_fd(), WHITEOUT)?.is_some() => {
                    EntryType::Whiteout
                }
                Some(_) | None => EntryType::Node(kind),
            }
        }
        _ => EntryType::Node(kind),
    }))
}

/// Opens a file or a directory to read its xattrs; `None` if that is not permitted.
pub(super) fn open_for_xattrs(dir: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(node) => Ok(Some(node)),
        Err(RustixErrno::ACCESS | RustixErrno::NOENT | RustixErrno::LOOP | RustixErrno::NXIO) => {
            Ok(None)
        }
        Err(RustixErrno::MFILE) => Err(Errno::Mfile),
        Err(os) => Err(errno(os)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_round_trips_as_text_unless_it_is_of_another_process() {
        for id in [NodeId { dev: 64769, ino: 1 }, NodeId { dev: crate::fresh_dev(), ino: u64::MAX }]
        {
            assert_eq!(NodeId::from_text(id.to_text().as_bytes()), Some(id));
        }
        let fresh = crate::fresh_dev();
        for text in [
            String::new(),
            "1".to_owned(),
            "1:0".to_owned(),
            "1:2:3".to_owned(),
            "1:2:".to_owned(),
            "a:b".to_owned(),
            format!("{fresh}:1"),
            format!("{fresh}:1:{}", process_token().wrapping_add(1)),
            format!("{fresh}:1:{}:1", process_token()),
        ] {
            assert_eq!(NodeId::from_text(text.as_bytes()), None, "{text}");
        }
    }
}
