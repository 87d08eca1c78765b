//! Archives of other writers: one test per kind of irregularity.

use std::io::Read;

use palisade_vfs::{
    DirRef, EntryFault, FileType, Follow, Image, ImageError, ImageFormat, OpenHow, Timestamp, path,
};

use crate::archives::{Format, file, gzip, open};

/// A tar header with the given fields, and the data after it. Fields may be any bytes.
struct Header {
    block: [u8; 512],
    data: Vec<u8>,
}

fn header(name: &[u8], kind: u8, data: &[u8]) -> Header {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    block[136..148].copy_from_slice(b"00000000144\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    Header { block, data: data.to_vec() }
}

impl Header {
    fn field(mut self, at: usize, bytes: &[u8]) -> Self {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        self.block[148..156].fill(b' ');
        let sum: u32 = self.block.iter().map(|byte| u32::from(*byte)).sum();
        self.block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.block.to_vec();
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn regular(name: &str, data: &[u8]) -> Header {
    header(name.as_bytes(), b'0', data)
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (rest + 1..).find(|len| *len == rest + len.to_string().len()).unwrap();
        data.extend(format!("{len} {key}={value}\n").bytes());
    }
    header(b"pax", b'x', &data).bytes()
}

fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn read(root: &DirRef, at: &str) -> Vec<u8> {
    let file = path::open(&**root, at, Follow::No, OpenHow::READ).unwrap().into_file().unwrap();
    let size = usize::try_from(file.stat().unwrap().size).unwrap();
    let mut bytes = Vec::new();
    let mut done = 0;
    while done < size {
        let n = file.read_vec(&mut bytes, size - done, done as u64).unwrap();
        assert!(n > 0, "{at}");
        done += n;
    }
    bytes
}

fn modified(image: &Image, at: &str) -> Timestamp {
    path::stat(&*image.root(), at, Follow::No).unwrap().modified
}

#[test]
fn number_fields_may_be_blank_or_base_256() {
    let base256 = b"\x80\0\0\0\0\0\0\0\0\0\0\x05";
    let negative = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfb";
    let image = open(tar_of(&[
        regular("blank", b"12345").field(136, &[0; 12]).field(100, &[0; 24]).bytes(),
        regular("spaces", b"12345").field(136, &[b' '; 12]).bytes(),
        regular("large", b"12345").field(124, base256).bytes(),
        regular("negative", b"12345").field(136, negative).bytes(),
        regular("octal", b"12345").field(136, b"-12        \0").bytes(),
    ]))
    .unwrap();
    for (at, seconds) in
        [("blank", 0), ("spaces", 0), ("large", 100), ("negative", -5), ("octal", -10)]
    {
        assert_eq!(read(&image.root(), at), b"12345", "{at}");
        assert_eq!(modified(&image, at), Timestamp::new(seconds, 0), "{at}");
    }
}

#[test]
fn empty_pax_value_deletes_and_odd_time_is_noted() {
    let global = header(b"g", b'g', b"13 mtime=500\n").bytes();
    let image = open(tar_of(&[
        global,
        regular("global", b"").bytes(),
        [pax(&[("mtime", "")]), regular("deleted", b"").bytes()].concat(),
        [pax(&[("path", ""), ("size", "")]), regular("unset", b"1").bytes()].concat(),
        [pax(&[("mtime", ".5")]), regular("half", b"").bytes()].concat(),
        [pax(&[("mtime", "1.5e3")]), regular("exponent", b"").bytes()].concat(),
        [pax(&[("mtime", "99999999999999999999")]), regular("far", b"").bytes()].concat(),
    ]))
    .unwrap();
    for (at, seconds, nanos) in [
        ("global", 500, 0),
        ("deleted", 100, 0),
        ("unset", 500, 0),
        ("half", 0, 500_000_000),
        ("exponent", 1500, 0),
        ("far", 500, 0),
    ] {
        assert_eq!(modified(&image, at), Timestamp::new(seconds, nanos), "{at}");
    }
    assert_eq!(image.notes().odd_times, 1);
}

#[test]
fn labels_are_skipped_and_unknown_types_left_out() {
    let link = header(b"h", b'1', b"").field(157, b"a").field(124, b"00000000005\0");
    let image = open(tar_of(&[
        header(b"label", b'V', b"").bytes(),
        regular("a", b"12345").bytes(),
        header(b"incremental/", b'D', b"Ya\0\0").bytes(),
        header(b"vendor", b'Z', b"data").bytes(),
        header(b"d", b'5', b"").field(124, b"00000001000\0").bytes(),
        link.bytes(),
        regular("last/", b"1").bytes(),
    ]))
    .unwrap();
    let kind = |at: &str| path::stat(&*image.root(), at, Follow::No).unwrap().kind;
    assert_eq!((kind("incremental"), kind("d")), (FileType::Dir, FileType::Dir));
    assert_eq!((kind("h"), kind("last")), (FileType::File, FileType::File));
    assert_eq!(image.omitted().count(), 1);
    assert_eq!(image.omitted().first()[0].reason, EntryFault::Type('Z'));
}

#[test]
fn sparse_files_of_all_formats_have_their_holes() {
    let field = |number: u64| format!("{number:011o}\0").into_bytes();
    let map = |pairs: &[(u64, u64)]| -> Vec<u8> {
        pairs.iter().flat_map(|(at, len)| [field(*at), field(*len)].concat()).collect()
    };
    let old = header(b"old", b'S', b"aabb")
        .field(257, b"ustar  \0")
        .field(386, &map(&[(2, 2), (1000, 2), (5000, 0)]))
        .field(483, &field(5000));
    let mut extended = header(b"extended", b'S', b"")
        .field(257, b"ustar  \0")
        .field(124, &field(4))
        .field(386, &map(&[(2, 2)]))
        .field(482, &[1])
        .field(483, &field(5000))
        .bytes();
    let mut extension = map(&[(1000, 2), (5000, 0)]);
    extension.resize(512, 0);
    extended.extend(extension);
    extended.extend([&b"aabb"[..], &[0; 508]].concat());
    let v0 = pax(&[
        ("GNU.sparse.size", "5000"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "2"),
        ("GNU.sparse.numbytes", "2"),
        ("GNU.sparse.offset", "1000"),
        ("GNU.sparse.numbytes", "2"),
    ]);
    let v01 = pax(&[
        ("GNU.sparse.size", "5000"),
        ("GNU.sparse.name", "v0.1"),
        ("GNU.sparse.map", "2,2,1000,2"),
    ]);
    let v1 = pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "v1.0"),
        ("GNU.sparse.realsize", "5000"),
    ]);
    let mut lines = b"2\n2\n2\n1000\n2\n".to_vec();
    lines.resize(512, 0);
    lines.extend(b"aabb");
    let image = open(tar_of(&[
        old.bytes(),
        extended,
        [v0, regular("v0.0", b"aabb").bytes()].concat(),
        [v01, regular("made up", b"aabb").bytes()].concat(),
        [v1, regular("made up", &lines).bytes()].concat(),
        regular("after", b"z").bytes(),
    ]))
    .unwrap();
    let mut expected = vec![0; 5000];
    expected[2..4].copy_from_slice(b"aa");
    expected[1000..1002].copy_from_slice(b"bb");
    for at in ["old", "extended", "v0.0", "v0.1", "v1.0"] {
        assert_eq!(read(&image.root(), at), expected, "{at}");
    }
    assert_eq!(read(&image.root(), "after"), b"z");
    for map in ["2,2,1,2", "2,9", "4999,2", "18446744073709551615,2", "1", "x,1"] {
        let bad = pax(&[("GNU.sparse.size", "5000"), ("GNU.sparse.map", map)]);
        let entries = [[bad, regular("a", b"aabb").bytes()].concat(), regular("b", b"").bytes()];
        let image = open(tar_of(&entries)).unwrap();
        assert_eq!(image.omitted().first()[0].reason, EntryFault::SparseMap, "{map}");
        assert!(path::stat(&*image.root(), "b", Follow::No).is_ok(), "{map}");
    }
}

#[test]
fn leading_zeros_are_an_archive_only_before_a_header_or_alone() {
    let entry = regular("a", b"1").bytes();
    let one = [vec![0; 512], entry.clone(), vec![0; 1024]].concat();
    assert_eq!(read(&open(one).unwrap().root(), "a"), b"1");
    let middle = [entry.clone(), vec![0; 512], regular("b", b"2").bytes(), vec![0; 1024]].concat();
    assert_eq!(read(&open(middle).unwrap().root(), "b"), b"2");
    assert_eq!(open(vec![0; 10_240]).unwrap().entries(), 0);
    let mut disk = vec![0; 40_000];
    disk[32_769..32_774].copy_from_slice(b"CD001");
    assert!(matches!(open(disk), Err(ImageError::Foreign { name: "an ISO 9660 image", .. })));
    let data = [vec![0; 512], vec![1; 4096]].concat();
    assert!(matches!(open(data), Err(ImageError::Unknown)));
    assert!(matches!(open(vec![0; 2 << 20]), Err(ImageError::Unknown)));
}

#[test]
fn foreign_formats_are_named() {
    for (start, name) in [
        (&b"7z\xbc\xaf\x27\x1c"[..], "a 7z archive"),
        (b"\x04\x22\x4d\x18", "LZ4 data"),
        (b"070701", "a cpio archive"),
        (b"hsqs", "a SquashFS image"),
        (b"!<arch>\ndebian-binary", "a Debian package"),
        (b"Rar!\x1a\x07\0", "a RAR archive"),
        (b"\x1f\x9d\x90", "data of compress (.Z)"),
        (b"PK\x07\x08", "the first part of a split zip"),
    ] {
        let bytes = [start, &[1; 100]].concat();
        match open(bytes) {
            Err(ImageError::Foreign { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{name}: {:?}", other.err()),
        }
    }
}

#[test]
fn bytes_around_compressed_data_are_ignored() {
    let tar = tar_of(&[regular("a", b"1").bytes()]);
    let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    let (first, second) = tar.split_at(300);
    let frames = [zstd::encode_all(first, 1).unwrap(), zstd::encode_all(second, 1).unwrap()];
    for (what, bytes, trailing) in [
        ("zeros", [gzip(&tar), vec![0; 700]].concat(), 700),
        ("remarks", [gzip(&tar), b"remark".to_vec()].concat(), 6),
        ("members", [gzip(first), gzip(second)].concat(), 0),
        ("skippable first", [skippable.clone(), zstd.clone()].concat(), 0),
        ("skippable last", [zstd.clone(), skippable.clone()].concat(), 0),
        ("frames", [&frames[0][..], &skippable, &frames[1]].concat(), 0),
        ("zeros after zstd", [zstd, vec![0; 512]].concat(), 512),
    ] {
        let image = open(bytes).unwrap();
        assert_eq!(read(&image.root(), "a"), b"1", "{what}");
        assert_eq!(image.notes().trailing_bytes, trailing, "{what}");
    }
}

#[test]
fn import_reads_compressed_data_to_its_end() {
    use palisade_vfs::MemFs;
    use palisade_vfs::overlay::{ImportLimits, import_layer};

    let import = |bytes: &[u8]| {
        let mut bytes = bytes;
        import_layer(&mut bytes, &MemFs::new().upper(), ImportLimits::default())
    };
    let tar = tar_of(&[regular("a", b"1").bytes()]);
    let zeros = [gzip(&tar), vec![0; 700]].concat();
    assert_eq!(import(&zeros).unwrap().notes, open(zeros).unwrap().notes());
    let remark = [zstd::encode_all(&tar[..], 1).unwrap(), b"remark".to_vec()].concat();
    assert_eq!(import(&remark).unwrap().notes.trailing_bytes, 6);
    // The checksum of gzip comes long after the end of the tar.
    let mut damaged = gzip(&[tar, vec![0; 1 << 18]].concat());
    let checksum_at = damaged.len() - 8;
    damaged[checksum_at] ^= 1;
    assert!(import(&damaged).is_err());
    assert!(open(damaged).is_err());
}

#[test]
fn omitted_entries_change_nothing() {
    use palisade_vfs::MemFs;
    use palisade_vfs::overlay::{ImportLimits, import_layer};

    // A directory for each of these entries would replace the file, or exist without an entry.
    let tar = tar_of(&[
        regular("file", b"content").bytes(),
        header(b"file/hard", b'1', b"").field(157, b"missing").bytes(),
        header(b"file/to-dir", b'1', b"").field(157, b"d").bytes(),
        header(b"file/symbolic", b'2', b"").bytes(),
        header(b"file/device", b'3', b"").field(329, b"0000001\0").bytes(),
        header(b"file/vendor", b'Z', b"").bytes(),
        header(b"new/fifo", b'6', b"").bytes(),
        regular("d/a", b"").bytes(),
        header(b"file/d", b'1', b"").field(157, b"d").bytes(),
    ]);
    let fs = MemFs::new();
    let imported = import_layer(&mut &tar[..], &fs.upper(), ImportLimits::default()).unwrap();
    let image = open(tar).unwrap();
    assert_eq!((imported.omitted.count(), &imported.omitted), (7, image.omitted()));
    let layer: DirRef = fs.upper();
    for root in [image.root(), layer] {
        assert_eq!(read(&root, "file"), b"content");
        assert!(path::stat(&*root, "new", Follow::No).is_err());
        assert!(path::stat(&*root, "d/a", Follow::No).is_ok());
    }
}

#[test]
fn tar_compressed_with_bzip2_is_read() {
    let tar = Format::Tar.pack(&[file("a", &[b'x'; 100_000])]);
    let mut packed = Vec::new();
    let mut encoder = bzip2::read::BzEncoder::new(&tar[..], bzip2::Compression::best());
    encoder.read_to_end(&mut packed).unwrap();
    let image = open(packed.clone()).unwrap();
    assert_eq!(image.format(), ImageFormat::TarBzip2);
    assert_eq!(read(&image.root(), "a").len(), 100_000);
    packed.truncate(packed.len() / 2);
    assert!(open(packed).is_err());
}

#[test]
fn zip_with_bytes_around_it_is_read() {
    let zip = Format::ZipDeflated.pack(&[file("a", b"content")]);
    let mut cut = zip.clone();
    let len = cut.len();
    cut[len - 2..].copy_from_slice(&[9, 0]);
    for (what, bytes, trailing) in [
        ("zeros", [zip.clone(), vec![0; 100]].concat(), 100),
        ("a newline", [zip.clone(), b"\r\n".to_vec()].concat(), 2),
        ("both sides", [b"#!/bin/sh\n".to_vec(), zip.clone(), vec![7; 9]].concat(), 9),
        ("a cut comment", cut, 0),
    ] {
        let image = open(bytes).unwrap();
        assert_eq!(read(&image.root(), "a"), b"content", "{what}");
        assert_eq!(image.notes().trailing_bytes, trailing, "{what}");
    }
    let mut none = zip;
    none.truncate(none.len() - 10);
    assert!(matches!(open(none), Err(ImageError::Damaged { .. })));
}

#[test]
fn stream_is_stored_and_read() {
    let limits = palisade_vfs::ImageLimits::default();
    for format in crate::archives::ALL {
        let bytes = format.pack(&[file("a", b"content")]);
        let image = Image::from_stream(&bytes[..], &limits).unwrap();
        assert_eq!(read(&image.root(), "a"), b"content", "{format:?}");
        let small = palisade_vfs::ImageLimits { bytes_max: 10, ..limits };
        assert!(Image::from_stream(&bytes[..], &small).is_err(), "{format:?}");
    }
}
