//! Which filesystem a directory of the host is on, as far as confinement depends on it.
//!
//! Two kinds are told from the others:
//!
//! - Filesystems of the kernel (`/proc`, `/sys` and their like). Their files are views of processes
//!   and settings: `/proc/self/mem` is the memory of this process, `/proc/self/environ` its
//!   environment. A root on one is refused, and where one is mounted beneath a root, its files are
//!   seen and never opened. All of them are regular files without a block, so only such files cost
//!   a further call.
//! - Filesystems that find `SECRET` when asked for `secret`. A rule about a name says nothing
//!   there, so who judges names must know.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir, Stat};

/// Entries of a directory that are looked at to see whether it finds them by another case.
const PROBES_MAX: usize = 64;
/// What the kernel is asked for at once, in bytes.
const LISTING_BYTES: usize = 8 * 1024;
/// A directory's flag that it finds names by another case: `FS_CASEFOLD_FL` of `linux/fs.h`.
const CASEFOLD: u32 = 0x4000_0000;

/// The types of the kernel's own filesystems: `linux/magic.h`, and the sources of those that are
/// not in there.
const KERNELS: [u64; 19] = [
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0x6e73_6673, // nsfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x6165_676c, // pstore
    0x6c6f_6f70, // binderfs
    0x0765_5821, // resctrl
    0x5a3c_69f0, // apparmorfs
    0x6573_5543, // fusectl
];

/// The types of filesystems that take names of different case for one, whatever the directory.
const FOLDING: [u64; 9] = [
    0x0000_4d44, // vfat
    0x2011_bab0, // exfat
    0xff53_4d42, // cifs
    0xfe53_4d42, // smb2
    0x0000_517b, // smb
    0x0000_4244, // hfs
    0x0000_482b, // hfsplus
    0x0000_adff, // affs
    0x0000_4006, // fat
];

/// Whether an open file or directory is on one of the kernel's own filesystems.
pub(super) fn is_kernels(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(KERNELS.contains(&magic(fd)?))
}

// The width and the sign of this field differ between machines.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::unnecessary_cast)]
fn magic(fd: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    Ok(u64::from(fs::fstatfs(fd)?.f_type as u32))
}

/// As [`is_kernels`], for a file of which `found` is what the kernel says: no file with a block is
/// one.
pub(super) fn is_kernels_file(fd: BorrowedFd<'_>, found: &Stat) -> rustix::io::Result<bool> {
    Ok(found.st_blocks == 0 && is_kernels(fd)?)
}

/// Refuses a root on one of the kernel's own filesystems.
///
/// Errors: `Unsupported`; the kernel's.
pub(super) fn refuse_kernels(dir: BorrowedFd<'_>) -> io::Result<()> {
    if is_kernels(dir)? {
        let text = "it is on a filesystem of the kernel (such as /proc or /sys), whose files lead \
                    into this process and the host; copy what is needed of it to a directory";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}

/// Whether a directory finds a name by another case: by its filesystem's type, by its own flag, or
/// because one of its entries is found so.
pub(super) fn folds_case(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    if FOLDING.contains(&magic(dir)?) {
        return Ok(true);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = fs::openat(dir, ".", flags, Mode::empty())?;
    // Most filesystems have no such flags.
    if fs::ioctl_getflags(&dir).is_ok_and(|flags| flags.bits() & CASEFOLD != 0) {
        return Ok(true);
    }
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
    let mut names = Vec::new();
    let mut entries = RawDir::new(&dir, &mut buffer);
    while let Some(entry) = entries.next() {
        names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
        if names.len() == PROBES_MAX {
            break;
        }
    }
    Ok(finds_other_case(&names, |name| fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()))
}

/// Whether one of these entries is found by another case too.
fn finds_other_case(names: &[String], look: impl Fn(&str) -> Option<Stat>) -> bool {
    names.iter().any(|name| {
        let other: String = name.chars().map(other_case).collect();
        if other == *name || names.contains(&other) {
            return false;
        }
        match (look(name), look(&other)) {
            // A file can have both names where the listing was not read to its end.
            (Some(one), Some(two)) if one.st_nlink < 2 || is_dir(&one) => {
                (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)
            }
            _ => false,
        }
    })
}

fn is_dir(found: &Stat) -> bool {
    fs::FileType::from_raw_mode(found.st_mode) == fs::FileType::Directory
}

fn other_case(c: char) -> char {
    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests arrange the host's side")]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_kernels_own_filesystems_are_told_from_those_of_files() {
        for (path, is_kernel) in [("/proc", true), ("/proc/self/fd", true), ("/sys", true)]
            .into_iter()
            .chain([("/", false), ("/dev", false), ("/dev/shm", false)])
        {
            let dir = std::fs::File::open(path).unwrap();
            assert_eq!(is_kernels(dir.as_fd()), Ok(is_kernel), "{path}");
            assert_eq!(refuse_kernels(dir.as_fd()).is_err(), is_kernel, "{path}");
        }
    }

    #[test]
    fn a_directory_that_finds_its_entries_by_another_case_folds_case() {
        let temp = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        std::fs::write(temp.path().join("secret"), "").unwrap();
        std::fs::write(temp.path().join("Other"), "").unwrap();
        std::fs::write(temp.path().join("12"), "").unwrap();
        assert_eq!(folds_case(dir.as_fd()), Ok(false));
        let names = ["12", "secret"].map(str::to_owned);
        let stored = |name: &str| fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        assert!(!finds_other_case(&names, stored));
        assert!(finds_other_case(&names, |name| stored(&name.to_ascii_lowercase())));
        // Nothing to tell it by.
        assert!(!finds_other_case(&names[..1], |name| stored(&name.to_ascii_lowercase())));
        // Two names of one file are two names.
        std::fs::hard_link(temp.path().join("secret"), temp.path().join("SECRET")).unwrap();
        assert!(!finds_other_case(&names, stored));
    }
}
