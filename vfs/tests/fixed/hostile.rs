//! Archives that want to harm: each is a clear error, or harmless data.

use std::io::{Cursor, IoSliceMut, Write};

use palisade_vfs::{
    EntryFault, Errno,
    FileType::{Dir, File, Symlink},
    Follow, Image, ImageError, ImageLimit, ImageLimits, OpenHow, TreeFault, path,
};
use tar::EntryType;

use crate::archives::{ALL, Format, Item, file, gzip, link, open};

/// A tar's entry, written byte by byte: the library would refuse to.
fn tar_entry(kind: EntryType, name: &[u8], target: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

/// The header fields of a zip entry, which may be false.
#[derive(Clone)]
struct Zipped {
    name: &'static [u8],
    local_name: &'static [u8],
    content: &'static [u8],
    flags: u16,
    method: u16,
    local_method: u16,
    packed_len: u32,
    len: u32,
    mode: u32,
    local_at: Option<u32>,
}

fn zipped(name: &'static [u8], content: &'static [u8]) -> Zipped {
    let len = content.len() as u32;
    Zipped {
        name,
        local_name: name,
        content,
        flags: 0,
        method: 0,
        local_method: 0,
        packed_len: len,
        len,
        mode: 0o100_644,
        local_at: None,
    }
}

fn zip_of(entries: &[Zipped]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = entry.local_at.unwrap_or(bytes.len() as u32);
        let crc = {
            let mut crc = flate2::Crc::new();
            crc.update(entry.content);
            crc.sum()
        };
        let common = |method: u16, name: &[u8]| {
            let mut common = [20, entry.flags, method, 0, 0].map(u16::to_le_bytes).concat();
            common.extend([crc, entry.packed_len, entry.len].map(u32::to_le_bytes).concat());
            common.extend([name.len() as u16, 0].map(u16::to_le_bytes).concat());
            common
        };
        bytes.extend(b"PK\x03\x04");
        bytes.extend(common(entry.local_method, entry.local_name));
        bytes.extend(entry.local_name);
        bytes.extend(entry.content);
        directory.extend(b"PK\x01\x02");
        directory.extend((3_u16 << 8).to_le_bytes());
        directory.extend(common(entry.method, entry.name));
        directory.extend([0_u16; 3].map(u16::to_le_bytes).concat());
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend(entry.name);
    }
    let at = bytes.len() as u32;
    let count = entries.len() as u16;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count, count].map(u16::to_le_bytes).concat());
    bytes.extend([directory.len() as u32, at].map(u32::to_le_bytes).concat());
    bytes.extend([0, 0]);
    bytes
}

/// Asserts that an entry is left out for this reason, and that a strict limit refuses it.
#[track_caller]
pub(crate) fn assert_omitted(bytes: Vec<u8>, expected: EntryFault, case: &str) {
    let strict = ImageLimits { omitted_max: 0, ..ImageLimits::default() };
    match Image::from_bytes(bytes.clone(), &strict) {
        Err(ImageError::Entry { fault, .. }) => assert_eq!(fault, expected, "{case}"),
        Err(other) => panic!("{case}: {other:?}"),
        Ok(_) => panic!("{case}: it was opened"),
    }
    let image = open(bytes).unwrap();
    let reasons: Vec<_> = image.omitted().first().iter().map(|entry| entry.reason).collect();
    assert!(reasons.contains(&expected), "{case}: {reasons:?}");
}

#[track_caller]
fn assert_damaged(bytes: Vec<u8>, case: &str) {
    match open(bytes) {
        Err(ImageError::Damaged { .. }) => {}
        Err(other) => panic!("{case}: {other:?}"),
        Ok(_) => panic!("{case}: it was opened"),
    }
}

#[track_caller]
fn assert_limit(opened: Result<Image, ImageError>, expected: ImageLimit) {
    match opened {
        Err(ImageError::Limit { limit, .. }) => assert_eq!(limit, expected),
        Err(other) => panic!("{expected:?}: {other:?}"),
        Ok(_) => panic!("{expected:?}: it was opened"),
    }
}

#[test]
fn path_that_leads_out_is_left_out() {
    for (name, fault) in [
        (&b"../up"[..], TreeFault::DotDot),
        (b"a/../../up", TreeFault::DotDot),
        (b"a/..", TreeFault::FileAndDir),
        (b"..", TreeFault::DotDot),
        (b"./../up", TreeFault::DotDot),
        (b"/../up", TreeFault::DotDot),
        (b"", TreeFault::EmptyName),
    ] {
        let case = String::from_utf8_lossy(name).into_owned();
        let entry = tar_entry(EntryType::Regular, name, b"", b"x");
        assert_omitted(tar_of(&[entry]), fault.into(), &case);
        assert_omitted(zip_of(&[zipped(name, b"x")]), fault.into(), &case);
    }
    assert_omitted(zip_of(&[zipped(b"a\0b", b"")]), TreeFault::Nul.into(), "NUL");
    let flagged = Zipped { flags: 1 << 11, ..zipped(b"\xff", b"") };
    assert_omitted(zip_of(&[flagged]), EntryFault::NotUtf8, "not UTF-8");
    let long: &[u8] = &[b'x'; 256];
    assert_omitted(zip_of(&[zipped(long.to_vec().leak(), b"")]), TreeFault::NameTooLong.into(), "");
    let pax = |key: &str, value: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_pax_extensions([(key, value.as_bytes())]).unwrap();
        let extended = archive.get_ref().clone();
        tar_of(&[extended, tar_entry(EntryType::Regular, b"good", b"", b"")])
    };
    assert_omitted(pax("path", "a/../../b"), TreeFault::DotDot.into(), "pax");
    assert_omitted(pax("path", "a\0b"), TreeFault::Nul.into(), "pax NUL");
    assert_omitted(pax("path", &"x".repeat(300)), TreeFault::NameTooLong.into(), "pax long");
    assert_omitted(pax("GNU.sparse.major", "1"), EntryFault::SparseMap, "sparse");
    assert_limit(open(pax("path", &"x/".repeat(32_000))), ImageLimit::PathLen);
    let cut = open(pax("size", "99999999")).err().unwrap();
    assert!(matches!(cut, ImageError::Entry { fault: EntryFault::Truncated, .. }), "{cut:?}");
}

#[test]
fn later_entry_of_another_type_replaces_an_earlier_one() {
    let dir = |path: &str| Item::Dir(path.to_owned());
    for (items, kinds) in [
        ([file("a", b""), file("a/b", b"")], &[("a", Dir), ("a/b", File)][..]),
        ([file("a/b", b""), file("a", b"")], &[("a", File)]),
        ([file("a", b""), dir("a")], &[("a", Dir)]),
        ([dir("a"), file("a", b"")], &[("a", File)]),
        ([dir("a"), link("a", "b")], &[("a", Symlink)]),
        ([link("a", "b"), dir("a")], &[("a", Dir)]),
    ] {
        let image = Format::Tar.image(&items);
        for (path, kind) in kinds {
            let stat = path::stat(&*image.root(), path, Follow::No);
            assert_eq!(stat.map(|stat| stat.kind), Ok(*kind), "{items:?} {path}");
        }
        let reasons: Vec<_> = image.omitted().first().iter().map(|entry| entry.reason).collect();
        assert_eq!(reasons, [EntryFault::Replaced], "{items:?}");
        assert_omitted(Format::Tar.pack(&items), EntryFault::Replaced, "strict");
    }
    let link = |name| Zipped { mode: 0o120_777, ..zipped(name, b"b") };
    for entries in [
        [zipped(b"a", b""), zipped(b"a/b", b"")],
        [zipped(b"a/b", b""), zipped(b"a", b"")],
        [zipped(b"a/", b""), zipped(b"a", b"")],
        [zipped(b"a/b", b""), link(b"a")],
        [zipped(b"a", b"1"), zipped(b"./a", b"2")],
    ] {
        assert_omitted(zip_of(&entries), EntryFault::Replaced, "zip");
    }
    let twice = [zipped(b"d/", b""), zipped(b"d/", b"")];
    assert_eq!(open(zip_of(&twice)).unwrap().omitted().count(), 0, "a directory listed twice");
}

#[test]
fn path_through_a_symlink_resolves_inside_the_archive() {
    for (target, at) in [
        ("usr/bin", "usr/bin/x"),
        ("/usr/bin", "usr/bin/x"),
        ("../../../etc", "etc/x"),
        ("./a/../b", "b/x"),
    ] {
        let items = [link("l", target), link("m", "l"), file("m/x", b"content")];
        for format in [Format::Tar, Format::ZipStored] {
            let root = format.image(&items).root();
            let stat = path::stat(&*root, at, Follow::No).unwrap();
            assert_eq!((stat.kind, stat.size), (File, 7), "{format:?} {target}");
            assert_eq!(path::stat(&*root, "l", Follow::No).unwrap().kind, Symlink);
        }
    }
    let cycle = [link("a", "b"), link("b", "a"), file("a/x", b"")];
    assert_omitted(Format::Tar.pack(&cycle), TreeFault::TooManyLinks.into(), "cycle");
    let long = [link("a", &"x/../".repeat(800)), file("a/x", b"")];
    assert_omitted(Format::Tar.pack(&long), TreeFault::TooManyLinks.into(), "many names");
}

#[test]
fn hard_link_names_an_earlier_node_or_is_left_out() {
    let f = tar_entry(EntryType::Regular, b"f", b"", b"x");
    let d = tar_entry(EntryType::Directory, b"d", b"", b"");
    let s = tar_entry(EntryType::Symlink, b"s", b"d", b"");
    let e = tar_entry(EntryType::Regular, b"d/f", b"", b"y");
    for (target, fault) in [
        (&b"missing"[..], Some(TreeFault::LinkMissing)),
        (b"later", Some(TreeFault::LinkMissing)),
        (b"h", Some(TreeFault::LinkMissing)),
        (b"f/x", Some(TreeFault::LinkMissing)),
        (b"d", Some(TreeFault::LinkToDir)),
        (b".", Some(TreeFault::LinkToDir)),
        (b"../f", Some(TreeFault::DotDot)),
        (b"/etc/passwd", Some(TreeFault::LinkMissing)),
        (b"", Some(TreeFault::EmptyName)),
        (b"s/f", None),
        (b"/f", None),
        (b"./d/../f", None),
    ] {
        let hard = tar_entry(EntryType::Link, b"h", target, b"");
        let later = tar_entry(EntryType::Regular, b"later", b"", b"");
        let bytes = tar_of(&[f.clone(), d.clone(), s.clone(), e.clone(), hard, later]);
        let case = String::from_utf8_lossy(target);
        match fault {
            Some(fault) => assert_omitted(bytes, fault.into(), &case),
            None => {
                let root = open(bytes).unwrap().root();
                assert_eq!(path::stat(&*root, "h", Follow::No).unwrap().nlink, 2, "{case}");
            }
        }
    }
}

#[test]
fn symlinks_that_lead_out_or_form_a_cycle_fail_when_followed() {
    for format in ALL {
        let image = format.image(&[
            link("up", "../../etc/passwd"),
            link("root", "/etc/passwd"),
            link("d/up", "../../x"),
            link("d/in", "../f"),
            link("one", "other"),
            link("other", "one"),
            link("self", "self/x"),
            file("f", b"in"),
        ]);
        let root = image.root();
        for (at, expected) in [
            ("up", Err(Errno::Escape)),
            ("root", Err(Errno::Escape)),
            ("root/x", Err(Errno::Escape)),
            ("d/up", Err(Errno::Escape)),
            ("d/in", Ok(2)),
            ("one", Err(Errno::Loop)),
            ("self", Err(Errno::Loop)),
        ] {
            let opened = path::open(&*root, at, Follow::Yes, OpenHow::READ);
            let size = opened.and_then(|node| node.into_file()?.stat()).map(|stat| stat.size);
            assert_eq!(size, expected, "{format:?} {at}");
        }
    }
    let empty = Zipped { mode: 0o120_777, ..zipped(b"a", b"") };
    assert_omitted(zip_of(&[empty]), EntryFault::BadTarget, "empty target");
    let nul = Zipped { mode: 0o120_777, ..zipped(b"a", b"b\0") };
    assert_omitted(zip_of(&[nul]), EntryFault::BadTarget, "NUL in a target");
    let long = Zipped { mode: 0o120_777, ..zipped(b"a", vec![b'x'; 5000].leak()) };
    assert_omitted(zip_of(&[long]), EntryFault::BadTarget, "long target");
}

#[test]
fn zip_entry_with_contradicting_headers_is_left_out() {
    let good = zipped(b"a", b"content");
    assert!(open(zip_of(std::slice::from_ref(&good))).is_ok());
    for (case, entry, fault) in [
        ("name", Zipped { local_name: b"b", ..good.clone() }, EntryFault::Contradiction),
        ("method", Zipped { local_method: 8, ..good.clone() }, EntryFault::Contradiction),
        ("length", Zipped { len: 9, ..good.clone() }, EntryFault::Contradiction),
        ("no header", Zipped { local_at: Some(2), ..good.clone() }, EntryFault::Contradiction),
        ("no bytes", Zipped { packed_len: 99, len: 99, ..good.clone() }, EntryFault::Overlap),
        ("far", Zipped { local_at: Some(u32::MAX - 1), ..good.clone() }, EntryFault::Truncated),
        ("encrypted", Zipped { flags: 1, ..good.clone() }, EntryFault::Encrypted),
        ("method 6", Zipped { method: 6, ..good.clone() }, EntryFault::Method(6)),
        ("patch", Zipped { flags: 1 << 5, ..good.clone() }, EntryFault::Patch),
    ] {
        assert_omitted(zip_of(&[entry]), fault, case);
    }
    let inner = Zipped { local_at: Some(0), ..zipped(b"a", b"content") };
    let both = zip_of(&[good.clone(), inner]);
    assert_omitted(both, EntryFault::Replaced, "one entry, listed twice");
    let two_ends = [zip_of(&[]), zip_of(&[])].concat();
    let comment = two_ends.len() as u16 - 22;
    let mut two_ends = two_ends;
    two_ends[20..22].copy_from_slice(&comment.to_le_bytes());
    assert!(open([b"x".to_vec(), two_ends].concat()).is_err(), "two ends");
}

#[test]
fn overlapping_entries_are_refused_in_full() {
    // The second entry's header is the content of the first.
    let inner = zip_of(&[zipped(b"b", b"content")]);
    let inner: &'static [u8] = inner[..31 + 7].to_vec().leak();
    let outer = zipped(b"a", inner);
    let second = Zipped { local_at: Some(31), ..zipped(b"b", b"content") };
    assert_damaged(zip_of(&[outer, second]), "overlap");
}

#[test]
fn deflated_content_of_another_size_or_checksum_is_eio() {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
    encoder.write_all(&[b'x'; 1000]).unwrap();
    let packed: &'static [u8] = encoder.finish().unwrap().leak();
    let deflated = |len| Zipped { method: 8, local_method: 8, len, ..zipped(b"a", packed) };
    // The checksum that is written is the packed bytes', so even the right size is refused.
    for len in [0, 1, 999, 1000, 1001, 100_000] {
        let root = open(zip_of(&[deflated(len)])).unwrap().root();
        let opened = path::open(&*root, "a", Follow::No, OpenHow::READ);
        assert_eq!(opened.err(), (len > 0).then_some(Errno::Io), "{len}");
    }
    let link = Zipped { mode: 0o120_777, ..deflated(1000) };
    assert_omitted(zip_of(&[link]), EntryFault::Content, "a deflated link");
}

#[test]
fn decompression_bombs_exceed_a_limit() {
    let limits = ImageLimits::default();
    let with = |bytes: &[u8], limits: ImageLimits| Image::from_bytes(bytes.to_vec(), &limits);
    let zeros = vec![0; 40 << 20];
    let few = [file("bomb", &zeros)];
    for format in [Format::TarGzip, Format::TarZstd, Format::ZipDeflated] {
        let bytes = format.pack(&few);
        assert!(bytes.len() < 100_000);
        assert_limit(open(bytes.clone()), ImageLimit::Ratio);
        let ratio_max = 1 << 20;
        let by_bytes = ImageLimits { bytes_max: 30 << 20, ratio_max, ..limits };
        assert_limit(with(&bytes, by_bytes), ImageLimit::Bytes);
        assert!(with(&bytes, ImageLimits { ratio_max, ..limits }).is_ok());
    }
    let bytes = Format::ZipDeflated.pack(&few);
    let by_memory = ImageLimits { memory_max: 30 << 20, ratio_max: 1 << 20, ..limits };
    assert_limit(with(&bytes, by_memory), ImageLimit::Memory);
    let many: Vec<_> = (0..100).map(|n| file(&format!("{n}"), b"")).collect();
    for format in ALL {
        let bytes = format.pack(&many);
        assert!(with(&bytes, ImageLimits { nodes_max: 101, ..limits }).is_ok());
        let by_nodes = ImageLimits { nodes_max: 100, ..limits };
        assert_limit(with(&bytes, by_nodes), ImageLimit::Nodes);
        let by_names = ImageLimits { names_bytes_max: 100, ..limits };
        assert_limit(with(&bytes, by_names), ImageLimit::NamesBytes);
        let by_path = ImageLimits { path_len_max: 1, ..limits };
        assert_limit(with(&bytes, by_path), ImageLimit::PathLen);
        let deep = format.pack(&[file(&"d/".repeat(80), b"")][..0]);
        assert!(open(deep).is_ok());
    }
    // Names that are only led through count too, and so do further names of one file.
    let deep = Format::Tar.pack(&[file(&("d/".repeat(50) + "f"), b"")]);
    assert_limit(with(&deep, ImageLimits { nodes_max: 50, ..limits }), ImageLimit::Nodes);
    let hard = |n: usize| Item::HardLink(format!("{n}"), "f".to_owned());
    let links = [vec![file("f", b"")], (0..100).map(hard).collect()].concat();
    let links = Format::Tar.pack(&links);
    assert_limit(with(&links, ImageLimits { nodes_max: 50, ..limits }), ImageLimit::Nodes);
}

#[test]
fn extended_headers_are_limited_to_one_mebibyte() {
    let huge = vec![b'x'; 2 << 20];
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let bytes = tar_of(&[tar_entry(kind, b"h", b"", &huge)]);
        assert_damaged(bytes, &format!("{kind:?}"));
    }
    // What claims to be there and is not is not allocated for either.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(1 << 19);
    header.set_cksum();
    let bytes = [header.as_bytes().to_vec(), vec![b'1'; 1024]].concat();
    assert_damaged(bytes, "a header longer than the archive");
    for record in ["x", "5 a=b", "99 a=b\n", "0 a=b\n", "-1 a=b\n", "6 ab\n", "7 size=x\n"] {
        let bytes = tar_of(&[tar_entry(EntryType::XHeader, b"h", b"", record.as_bytes())]);
        assert_damaged(bytes, record);
    }
}

/// A tar may end at any header; a zip or a compressed tar may not be cut off at all.
#[test]
fn archive_that_is_cut_off_is_an_error_except_at_a_header() {
    let items = [file("a", &[b'x'; 700]), file("d/b", b"content"), link("l", "a")];
    for format in ALL {
        let bytes = format.pack(&items);
        for len in 0..bytes.len() {
            let image = open(bytes[..len].to_vec());
            match (format, &image) {
                (Format::Tar, Ok(image)) => {
                    assert!(image.notes().missing_end || len > bytes.len() - 512, "{len}");
                    let strict = ImageLimits { omitted_max: 0, ..ImageLimits::default() };
                    let strict = Image::from_bytes(bytes[..len].to_vec(), &strict);
                    assert_eq!(strict.is_err(), image.notes().missing_end, "{len}");
                }
                // Nothing is an empty tar.
                (_, Ok(_)) => assert_eq!(len, 0, "{format:?}"),
                (_, Err(_)) => {}
            }
        }
    }
}

/// Every bit of small archives, flipped: never a panic, and what can be read is bounded.
#[test]
fn archive_with_any_bit_flipped_is_an_error_or_a_tree() {
    let items = [file("a", b"content"), file("d/b", b""), link("l", "a")];
    let mut opened = 0;
    for format in ALL {
        let bytes = format.pack(&items);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(image) = open(bytes) {
                opened += 1;
                for at in ["a", "d/b", "l"] {
                    let file = path::open(&*image.root(), at, Follow::Yes, OpenHow::READ)
                        .and_then(palisade_vfs::Node::into_file);
                    if let Ok(file) = file {
                        let mut buf = [0; 64];
                        let _ = file.read_at(&mut [IoSliceMut::new(&mut buf)], 0);
                    }
                }
            }
        }
    }
    assert!(opened > 100, "the test flips what matters to nobody too: {opened}");
}

#[test]
fn gzip_in_gzip_is_not_unpacked_twice() {
    let tar = Format::Tar.pack(&[file("a", b"")]);
    assert!(open(gzip(&tar)).is_ok());
    assert!(matches!(open(gzip(&gzip(&tar))), Err(ImageError::Unknown)));
    assert!(Image::from_reader(Cursor::new(tar), &ImageLimits::default()).is_ok());
}

#[test]
fn error_names_the_entry_the_fault_and_the_limit() {
    let bytes = Format::Tar.pack(&[file("a", b""), file("a/b", b"")]);
    let strict = ImageLimits { omitted_max: 0, ..ImageLimits::default() };
    let shown = Image::from_bytes(bytes, &strict).err().unwrap().to_string();
    assert!(shown.contains("`a/b`") && shown.contains("same path"), "{shown}");
    let bytes = Format::Tar.pack(&[file("first", b""), file("second", b"")]);
    let limits = ImageLimits { nodes_max: 2, ..ImageLimits::default() };
    let shown = Image::from_bytes(bytes, &limits).err().unwrap().to_string();
    assert!(
        shown.contains("`second`") && shown.contains("more than 2 files, directories and links"),
        "{shown}"
    );
}
