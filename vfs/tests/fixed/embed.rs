//! Embedded files.

use std::borrow::Cow;
use std::io::IoSliceMut;
use std::time::Instant;

use palisade_vfs::{
    Access, Cookie, DirRef, EmbeddedFs, Errno, FileType, Follow, Node, OpenHow, Timestamp,
    TreeFault, path,
};

#[derive(rust_embed::RustEmbed)]
#[folder = "src"]
struct Sources;

fn small(files: &[(&str, &'static [u8])]) -> Result<EmbeddedFs, TreeFault> {
    let files = files.iter().map(|(path, bytes)| (*path, Cow::Borrowed(*bytes), Timestamp::EPOCH));
    EmbeddedFs::from_files(files).map_err(|err| err.fault)
}

fn read(root: &DirRef, at: &str) -> Vec<u8> {
    let file = path::open(&**root, at, Follow::Yes, OpenHow::READ).unwrap().into_file().unwrap();
    let mut bytes = vec![0; usize::try_from(file.stat().unwrap().size).unwrap() + 1];
    let n = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0).unwrap();
    bytes.truncate(n);
    let mut again = Vec::new();
    assert_eq!(file.read_vec(&mut again, n + 1, 0), Ok(n));
    assert_eq!(again, bytes, "without a buffer too");
    assert_eq!(file.read_vec(&mut again, 9, u64::MAX), Ok(0));
    bytes
}

#[test]
fn embedded_files_equal_the_files_on_disk() {
    let root = EmbeddedFs::new::<Sources>().unwrap().root();
    for name in ["lib.rs", "fixed/mod.rs", "host/stat.rs"] {
        let disk = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        assert_eq!(read(&root, name), std::fs::read(&disk).unwrap(), "{name}");
        let stat = path::stat(&*root, name, Follow::Yes).unwrap();
        let modified = std::fs::metadata(&disk).unwrap().modified().unwrap();
        assert_eq!(stat.modified, Timestamp::new(Timestamp::from(modified).seconds(), 0));
    }
    assert_eq!(path::stat(&*root, "fixed", Follow::Yes).unwrap().kind, FileType::Dir);
}

#[test]
fn owned_bytes_are_kept_once() {
    let owned = [("d/f", Cow::Owned(b"owned".to_vec()), Timestamp::EPOCH)];
    let fs = EmbeddedFs::from_files(owned).unwrap();
    let root = fs.clone().root();
    drop(fs);
    assert_eq!(read(&root, "d/f"), b"owned");
    assert_eq!(path::stat(&*root, "d/f", Follow::No).unwrap().size, 5);
}

#[test]
fn inode_numbers_do_not_depend_on_insertion_order() {
    let one = small(&[("b/y", b"1"), ("a", b"2"), ("b/x", b"3")]).unwrap();
    let other = small(&[("a", b"2"), ("b/x", b"3"), ("b/y", b"1")]).unwrap();
    let expected = [(".", 1), ("a", 2), ("b", 3), ("b/x", 4), ("b/y", 5)];
    for fs in [&one, &other] {
        for (at, ino) in expected {
            assert_eq!(path::stat(&*fs.root(), at, Follow::No).unwrap().ino, ino, "{at}");
        }
    }
    let dev = |fs: &EmbeddedFs| path::stat(&*fs.root(), ".", Follow::No).unwrap().dev;
    assert_ne!(dev(&one), dev(&other));
    assert_eq!(dev(&one), dev(&one.clone()));
}

#[test]
fn invalid_path_is_an_error_with_its_fault() {
    let long = "x".repeat(256);
    for (files, fault) in [
        (&["/a"][..], TreeFault::Absolute),
        (&["/"], TreeFault::Absolute),
        (&["a/../b"], TreeFault::DotDot),
        (&[".."], TreeFault::DotDot),
        (&["a//b"], TreeFault::EmptyName),
        (&["a/"], TreeFault::EmptyName),
        (&[""], TreeFault::EmptyName),
        (&["./a"], TreeFault::EmptyName),
        (&["a\0b"], TreeFault::Nul),
        (&[&long], TreeFault::NameTooLong),
        (&["a", "a"], TreeFault::Duplicate),
        (&["a", "a/b"], TreeFault::FileAndDir),
        (&["a/b", "a"], TreeFault::FileAndDir),
        (&["a/b", "a/b/c"], TreeFault::FileAndDir),
    ] {
        let files: Vec<_> = files.iter().map(|path| (*path, &b""[..])).collect();
        assert_eq!(small(&files).err(), Some(fault), "{files:?}");
    }
}

#[test]
fn no_files_give_an_empty_root() {
    let root = small(&[]).unwrap().root();
    let mut seen = 0;
    root.read_dir(Cookie::START, &mut |_| {
        seen += 1;
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, 0);
    assert_eq!(path::stat(&*root, ".", Follow::No).unwrap().nlink, 2);
}

#[test]
fn reads_at_any_offset_into_any_buffers_return_the_bytes() {
    let root = small(&[("f", b"0123456789")]).unwrap().root();
    let file = path::open(&*root, "f", Follow::No, OpenHow::READ).unwrap().into_file().unwrap();
    for (offset, expected) in
        [(0, &b"0123456"[..]), (5, b"56789"), (9, b"9"), (10, b""), (u64::MAX, b"")]
    {
        let (mut one, mut none, mut other) = ([0; 3], [0; 0], [0; 4]);
        let mut bufs =
            [IoSliceMut::new(&mut one), IoSliceMut::new(&mut none), IoSliceMut::new(&mut other)];
        let n = file.read_at(&mut bufs, offset).unwrap();
        assert_eq!(&[&one[..], &other[..]].concat()[..n], expected, "{offset}");
    }
    let held = OpenHow::new(Access::Hold, palisade_vfs::OpenFlags::empty());
    let held = path::open(&*root, "f", Follow::No, held).unwrap().into_file().unwrap();
    assert_eq!(held.read_at(&mut [], 0), Err(Errno::Badf));
    assert_eq!(held.stat().unwrap().size, 10);
}

/// 100,000 assets in one directory, and as many in directories of their own.
#[test]
fn hundred_thousand_assets_take_a_few_mebibytes() {
    const ASSETS: usize = 100_000;
    for shape in ["flat", "deep"] {
        let name = |n: usize| match shape {
            "flat" => format!("asset-{n:06}.bin"),
            _ => format!("{}/{}/asset-{n:06}.bin", n % 97, n % 89),
        };
        let files = (0..ASSETS)
            .map(|n| (name(n), Cow::Borrowed(&b"asset"[..]), Timestamp::new(n as i64, 0)));
        let fs = EmbeddedFs::from_files(files).unwrap();
        let per_node = fs.memory_bytes() / fs.nodes();
        // A node takes 48 bytes, a name 12 and its text, and its slot in the table at most 11.
        assert!(per_node <= 96, "{shape}: {per_node} bytes for each node");
        assert!(fs.memory_bytes() <= 10 << 20, "{shape}: {} bytes", fs.memory_bytes());
        let root = fs.root();
        for n in (0..ASSETS).step_by(7) {
            let stat = path::stat(&*root, &name(n), Follow::No).unwrap();
            assert_eq!(stat.modified.seconds(), n as i64, "{shape}");
        }
        assert_eq!(path::stat(&*root, "missing", Follow::No), Err(Errno::Noent));
    }
}

/// The same number of lookups in a small and in a large tree: a linear scan would differ far more.
#[test]
fn lookup_cost_does_not_depend_on_the_number_of_names() {
    let time = |assets: usize| {
        let files = (0..assets)
            .map(|n| (format!("asset-{n:06}"), Cow::Borrowed(&b""[..]), Timestamp::EPOCH));
        let root = EmbeddedFs::from_files(files).unwrap().root();
        let rounds = (0..5).map(|round| {
            let start = Instant::now();
            for n in 0..10_000 {
                let name = format!("asset-{:06}", (n * 7919 + round) % assets);
                assert!(matches!(
                    path::open(&*root, &name, Follow::No, OpenHow::HOLD),
                    Ok(Node::File(_))
                ));
            }
            start.elapsed()
        });
        rounds.min().unwrap()
    };
    let (few, many) = (time(100), time(100_000));
    assert!(many < few * 20, "among 100: {few:?}; among 100,000: {many:?}");
}
