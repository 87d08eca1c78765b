//! Detection of filesystems on which confinement needs care.
//!
//! - Pseudo filesystems (`/proc`, `/sys` and the like). Their files expose processes and
//!   settings: `/proc/self/mem` is the memory of this process, `/proc/self/environ` its
//!   environment. A root on such a filesystem is rejected. Where one is mounted under a root, its
//!   files can be statted and never opened. All of them are regular files without a block, so only
//!   such files cost a further system call.
//! - Case-insensitive filesystems. A rule about a name does not cover its other spellings there, so
//!   callers that enforce rules on names must know.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir, Stat};

/// The most entries that are probed for case folding.
const PROBES_MAX: usize = 64;
/// The size of the `getdents64` buffer, in bytes.
const LISTING_BYTES: usize = 8 * 1024;
/// The inode flag of case-folding directories: `FS_CASEFOLD_FL` of `linux/fs.h`.
const CASEFOLD: u32 = 0x4000_0000;

/// The `statfs` types of pseudo filesystems: `linux/magic.h`, and the sources of those
/// that it omits.
const PSEUDO_FILESYSTEMS: [u64; 19] = [
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

/// The `statfs` types of filesystems that are case-insensitive in every directory.
const CASE_INSENSITIVE_FILESYSTEMS: [u64; 9] = [
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

/// Returns whether an open file or directory is on a pseudo filesystem.
pub(super) fn is_pseudo_filesystem(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    Ok(PSEUDO_FILESYSTEMS.contains(&magic(fd)?))
}

// The width and the sign of this field differ between machines.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::unnecessary_cast)]
fn magic(fd: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    Ok(u64::from(fs::fstatfs(fd)?.f_type as u32))
}

/// Like [`is_pseudo_filesystem`], for a file with known metadata. A file with a block is never one.
pub(super) fn is_pseudo_file(fd: BorrowedFd<'_>, stat_buf: &Stat) -> rustix::io::Result<bool> {
    Ok(stat_buf.st_blocks == 0 && is_pseudo_filesystem(fd)?)
}

/// Rejects a root on a pseudo filesystem.
///
/// # Errors
///
/// - `Unsupported`, with an explanation.
/// - The errors of the operating system.
pub(super) fn refuse_pseudo_filesystem(dir: BorrowedFd<'_>) -> io::Result<()> {
    if is_pseudo_filesystem(dir)? {
        let text = "kernel filesystems such as /proc and /sys cannot be mounted: their files \
                    expose this process and the host; copy the files you need to a directory";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(())
}

/// Returns whether a directory is case-insensitive: by the type of its filesystem, by its inode
/// flag, or because one of its entries is found in another case.
pub(super) fn folds_case(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    if CASE_INSENSITIVE_FILESYSTEMS.contains(&magic(dir)?) {
        return Ok(true);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = fs::openat(dir, ".", flags, Mode::empty())?;
    // Most filesystems do not support inode flags.
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
    Ok(has_case_alias(&names, |name| fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()))
}

/// Returns whether one of the entries `names` is found in another case too.
fn has_case_alias(names: &[String], stat_entry: impl Fn(&str) -> Option<Stat>) -> bool {
    names.iter().any(|name| {
        let other: String = name.chars().map(other_case).collect();
        if other == *name || names.contains(&other) {
            return false;
        }
        match (stat_entry(name), stat_entry(&other)) {
            // A file may have both names as hard links if the listing was cut at `PROBES_MAX`.
            (Some(one), Some(two)) if one.st_nlink < 2 || is_dir(&one) => {
                (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)
            }
            _ => false,
        }
    })
}

fn is_dir(stat_buf: &Stat) -> bool {
    fs::FileType::from_raw_mode(stat_buf.st_mode) == fs::FileType::Directory
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
    fn kernel_filesystems_are_detected() {
        for (path, is_kernel) in [("/proc", true), ("/proc/self/fd", true), ("/sys", true)]
            .into_iter()
            .chain([("/", false), ("/dev", false), ("/dev/shm", false)])
        {
            let dir = std::fs::File::open(path).unwrap();
            assert_eq!(is_pseudo_filesystem(dir.as_fd()), Ok(is_kernel), "{path}");
            assert_eq!(refuse_pseudo_filesystem(dir.as_fd()).is_err(), is_kernel, "{path}");
        }
    }

    #[test]
    fn directory_that_finds_entries_in_another_case_folds_case() {
        let temp = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        std::fs::write(temp.path().join("secret"), "").unwrap();
        std::fs::write(temp.path().join("Other"), "").unwrap();
        std::fs::write(temp.path().join("12"), "").unwrap();
        assert_eq!(folds_case(dir.as_fd()), Ok(false));
        let names = ["12", "secret"].map(str::to_owned);
        let stored = |name: &str| fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        assert!(!has_case_alias(&names, stored));
        assert!(has_case_alias(&names, |name| stored(&name.to_ascii_lowercase())));
        // No name with letters to probe.
        assert!(!has_case_alias(&names[..1], |name| stored(&name.to_ascii_lowercase())));
        // Two hard links of one file are not case folding.
        std::fs::hard_link(temp.path().join("secret"), temp.path().join("SECRET")).unwrap();
        assert!(!has_case_alias(&names, stored));
    }
}
