//! Filesystems of the kernel, whose files are never opened: `/proc/self/mem` is the memory of this
//! process.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::path::Path;

use palisade_vfs::{Access, Errno, Follow, HostDir, OpenFlags, OpenHow, Resolver, copy_tree, path};

const RESOLVERS: [Resolver; 2] = [Resolver::Openat2, Resolver::Components];

#[test]
fn root_on_a_kernel_filesystem_is_rejected() {
    for at in ["/proc", "/proc/self", "/proc/self/fd", "/proc/sys", "/sys", "/sys/kernel"] {
        let at = Path::new(at);
        for resolver in RESOLVERS {
            let why = HostDir::open_ambient_with(at, resolver).err().unwrap();
            assert_eq!(why.kind(), ErrorKind::Unsupported, "{}: {why}", at.display());
        }
        let why = HostDir::open_ambient_noatime(at).err().unwrap();
        assert_eq!(why.kind(), ErrorKind::Unsupported, "{}: {why}", at.display());
    }
    // Magic links of a process lead to ordinary directories.
    assert!(HostDir::open_ambient(Path::new("/proc/self/cwd")).is_ok());
}

/// `--dir /` contains `/proc`.
#[test]
fn kernel_file_under_a_root_is_not_opened() {
    for resolver in RESOLVERS {
        let root = HostDir::open_ambient_with(Path::new("/"), resolver).unwrap();
        let proc = path::open(&*root, "proc", Follow::Yes, OpenHow::HOLD_DIR).unwrap();
        let proc = proc.into_dir().unwrap();
        for at in ["self/environ", "self/mem", "self/maps", "cpuinfo", "sys/kernel/hostname"] {
            // Twice: the second open uses the cached type.
            for _ in 0..2 {
                for access in [Access::Read, Access::Write, Access::ReadWrite] {
                    for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE] {
                        let how = OpenHow::new(access, flags);
                        for (dir, at) in [(&root, format!("proc/{at}")), (&proc, at.to_owned())] {
                            let opened = path::open(&**dir, &at, Follow::Yes, how);
                            let errno = opened.err().unwrap();
                            let is_refused = matches!(errno, Errno::Acces | Errno::Perm);
                            assert!(is_refused, "{resolver:?} {at} {how:?}: {errno:?}");
                        }
                    }
                }
            }
            assert!(path::stat(&*proc, at, Follow::Yes).is_ok(), "it is seen");
        }
        // Links out of it are ordinary links.
        let how = OpenHow::new(Access::Read, OpenFlags::empty());
        for at in ["proc/self/root/etc/passwd", "proc/self/exe", "proc/self/fd/0"] {
            assert!(path::open(&*root, at, Follow::Yes, how).is_err(), "{at}");
        }
    }
}

#[test]
fn empty_files_of_other_filesystems_are_opened() {
    for base in [std::env::temp_dir(), "/dev/shm".into()] {
        let temp = tempfile::tempdir_in(base).unwrap();
        std::fs::write(temp.path().join("empty"), "").unwrap();
        let root = HostDir::open_ambient(temp.path()).unwrap();
        for _ in 0..2 {
            let how = OpenHow::new(Access::ReadWrite, OpenFlags::empty());
            let file = path::open(&*root, "empty", Follow::Yes, how).unwrap().into_file().unwrap();
            assert_eq!(file.read_at(&mut [IoSliceMut::new(&mut [0])], 0), Ok(0));
        }
        let how = OpenHow::new(Access::Write, OpenFlags::empty());
        let file = path::open(&*root, "empty", Follow::Yes, how).unwrap().into_file().unwrap();
        assert_eq!(file.write_at(&[IoSlice::new(b"x")], 0), Ok(1));
        let copy = palisade_vfs::MemFs::new().root();
        assert_eq!(copy_tree(&root, &copy).unwrap().files, 1);
    }
}
