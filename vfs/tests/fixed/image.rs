//! Archives as filesystems: the tree equals the content of the archive.

use std::io::{Cursor, IoSliceMut, Write};

use palisade_vfs::{
    DirRef, EntryFault, Errno, FileRef, FileType, Follow, Image, ImageError, ImageFormat,
    ImageLimits, OpenHow, Timestamp, path,
};

use crate::archives::{ALL, Format, Item, file, gzip, open};

fn open_file(root: &DirRef, at: &str) -> palisade_vfs::Result<FileRef> {
    path::open(&**root, at, Follow::Yes, OpenHow::READ)?.into_file()
}

fn read(root: &DirRef, at: &str) -> palisade_vfs::Result<Vec<u8>> {
    let file = open_file(root, at)?;
    let mut bytes = vec![0; usize::try_from(file.stat()?.size).unwrap()];
    let n = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0)?;
    assert_eq!(n, bytes.len());
    let mut again = Vec::new();
    assert_eq!(file.read_vec(&mut again, n + 1, 0)?, n);
    assert_eq!(again, bytes, "without a buffer too");
    assert_eq!(file.read_vec(&mut again, 9, u64::MAX)?, 0);
    Ok(bytes)
}

#[test]
fn every_format_is_known_by_its_content_and_from_any_source() {
    let dir = tempfile::tempdir().unwrap();
    for (format, expected) in ALL.into_iter().zip([
        ImageFormat::Tar,
        ImageFormat::TarGzip,
        ImageFormat::TarZstd,
        ImageFormat::Zip,
        ImageFormat::Zip,
    ]) {
        let bytes = format.pack(&[file("a/b", b"content")]);
        let at = dir.path().join("image.txt");
        std::fs::write(&at, &bytes).unwrap();
        let limits = ImageLimits::default();
        for image in [
            Image::open_ambient(&at).unwrap(),
            Image::from_bytes(bytes.clone(), &limits).unwrap(),
            Image::from_reader(Cursor::new(bytes.clone()), &limits).unwrap(),
        ] {
            assert_eq!(image.format(), expected);
            assert_eq!(read(&image.root(), "a/b").unwrap(), b"content", "{format:?}");
        }
    }
    let image = Image::open_ambient(dir.path()).unwrap();
    assert_eq!(image.format(), ImageFormat::Directory);
    assert!(read(&image.root(), "image.txt").is_ok());
}

#[test]
fn content_that_is_not_an_archive_is_unknown() {
    let empty_zip = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    assert_eq!(open(empty_zip).unwrap().format(), ImageFormat::Zip);
    assert_eq!(open(vec![0; 1024]).unwrap().format(), ImageFormat::Tar);
    for bytes in [&b"text"[..], &[1; 4096], &gzip(b"text"), &gzip(&[1; 4096])] {
        assert!(matches!(open(bytes.to_vec()), Err(ImageError::Unknown)));
    }
    assert!(matches!(Image::open_ambient("/dev/null".as_ref()), Err(ImageError::Unknown)));
    assert!(matches!(Image::open_ambient("/missing".as_ref()), Err(ImageError::Io(_))));
}

#[test]
fn a_file_is_read_at_any_offset_where_it_lies() {
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for format in ALL {
        let root = format.image(&[file("x", b"before"), file("f", &content), file("y", b"behind")]);
        let f = open_file(&root.root(), "f").unwrap();
        for (offset, len) in [(0, 10), (511, 2), (299_990, 100), (300_000, 1), (1 << 40, 1)] {
            let mut buf = vec![0; len];
            let n = f.read_at(&mut [IoSliceMut::new(&mut buf)], offset).unwrap();
            let start = content.len().min(usize::try_from(offset).unwrap());
            let expected = &content[start..content.len().min(start + len)];
            assert_eq!(&buf[..n], expected, "{format:?} {offset}");
        }
        let (mut one, mut other) = ([0; 100], [0; 100]);
        let n = f
            .read_at(&mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)], 299_850)
            .unwrap();
        assert_eq!(n, 150, "{format:?}");
        assert_eq!([&one[..], &other[..50]].concat(), content[299_850..], "{format:?}");
    }
}

#[test]
fn hard_links_are_one_node_with_several_names() {
    let hard = |path: &str, to: &str| Item::HardLink(path.to_owned(), to.to_owned());
    let link = crate::archives::link("s", "f");
    let items = [file("f", b"one"), hard("d/g", "f"), hard("h", "./d/g"), link, hard("t", "s")];
    for format in ALL.into_iter().filter(|format| format.has_hard_links()) {
        let root = format.image(&items).root();
        let stat = |at| path::stat(&*root, at, Follow::No).unwrap();
        assert_eq!((stat("f").ino, stat("f").nlink), (stat("d/g").ino, 3));
        assert_eq!(stat("h").ino, stat("f").ino);
        assert_eq!((stat("t").ino, stat("t").kind), (stat("s").ino, FileType::Symlink));
        assert_eq!(read(&root, "h").unwrap(), b"one");
    }
}

#[test]
fn last_entry_of_a_path_in_a_tar_holds() {
    let hard = Item::HardLink("h".to_owned(), "f".to_owned());
    let items = [file("f", b"old"), hard, file("f", b"newer"), Item::Dir("d".to_owned())];
    let items = [&items[..], &[file("d/x", b""), Item::Dir("d".to_owned())]].concat();
    let root = Format::Tar.image(&items).root();
    assert_eq!(read(&root, "f").unwrap(), b"newer");
    assert_eq!(read(&root, "h").unwrap(), b"old");
    for at in ["f", "h"] {
        assert_eq!(path::stat(&*root, at, Follow::No).unwrap().nlink, 1, "{at}");
    }
    assert!(read(&root, "d/x").is_ok());
}

#[test]
fn times_have_the_nanoseconds_of_the_archive() {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mtime) in [
        ("a", Some("1700000000.123456789")),
        ("b", Some("-1.25")),
        ("c", Some("-2")),
        ("d", Some("5.5")),
        ("e", None),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.set_mtime(77);
        if let Some(mtime) = mtime {
            archive.append_pax_extensions([("mtime", mtime.as_bytes())]).unwrap();
        }
        archive.append_data(&mut header, name, &[][..]).unwrap();
    }
    let root = open(archive.into_inner().unwrap()).unwrap().root();
    for (name, seconds, nanos) in [
        ("a", 1_700_000_000, 123_456_789),
        ("b", -2, 750_000_000),
        ("c", -2, 0),
        ("d", 5, 500_000_000),
        ("e", 77, 0),
    ] {
        let stat = path::stat(&*root, name, Follow::No).unwrap();
        assert_eq!(stat.modified, Timestamp::new(seconds, nanos), "{name}");
    }
}

#[test]
fn a_zip_has_the_time_that_dos_knew() {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, (year, month, day, hour), expected) in [
        ("a", (1980, 1, 1, 0), 315_532_800),
        ("b", (2000, 2, 29, 12), 951_825_600),
        ("c", (2024, 3, 1, 23), 1_709_334_000),
        ("d", (2107, 12, 31, 1), 4_354_736_400_i64),
    ] {
        let time = zip::DateTime::from_date_and_time(year, month, day, hour, 0, 0).unwrap();
        let options = zip::write::SimpleFileOptions::default().last_modified_time(time);
        archive.start_file(format!("{name}{expected}"), options).unwrap();
    }
    let root = open(archive.finish().unwrap().into_inner()).unwrap().root();
    root.read_dir(palisade_vfs::Cookie::START, &mut |entry| {
        let stat = path::stat(&*root, entry.name.as_str(), Follow::No).unwrap();
        assert_eq!(stat.modified.seconds().to_string(), entry.name.as_str()[1..]);
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
}

#[test]
fn zip64_archive_is_read() {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for n in 0..70_000 {
        let options = zip::write::SimpleFileOptions::default().large_file(n % 2 == 0);
        archive.start_file(n.to_string(), options).unwrap();
        archive.write_all(n.to_string().as_bytes()).unwrap();
    }
    let bytes = archive.finish().unwrap().into_inner();
    let root = open(bytes.clone()).unwrap().root();
    for at in ["0", "1", "65535", "69999"] {
        assert_eq!(read(&root, at).unwrap(), at.as_bytes());
    }
    // A number in the small end record that is not all ones must agree with the large record.
    let mut lies = bytes;
    let count = lies.len() - 12;
    lies[count..count + 2].copy_from_slice(&[1, 0]);
    assert!(matches!(open(lies), Err(ImageError::Damaged { .. })));
}

#[test]
fn zip_after_a_program_is_read() {
    let zip = Format::ZipDeflated.pack(&[file("a", b"content")]);
    let bytes = [&b"#!/bin/sh\nexit\n"[..], &zip].concat();
    assert_eq!(read(&open(bytes).unwrap().root(), "a").unwrap(), b"content");
}

#[test]
fn devices_and_fifos_are_left_out_and_reported() {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind) in [
        ("tty", tar::EntryType::Char),
        ("disk", tar::EntryType::Block),
        ("fifo", tar::EntryType::Fifo),
        ("file", tar::EntryType::Regular),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        archive.append_data(&mut header, format!("dev/{name}"), &[][..]).unwrap();
    }
    let image = open(archive.into_inner().unwrap()).unwrap();
    assert_eq!((image.entries(), image.omitted().count()), (4, 3));
    let omitted = image.omitted().first().iter().map(|entry| (&*entry.path, entry.reason));
    let expected = ["dev/tty", "dev/disk", "dev/fifo"].map(|path| (path, EntryFault::Special));
    assert_eq!(omitted.collect::<Vec<_>>(), expected);
    let stat = |at| path::stat(&*image.root(), at, Follow::No).map(|stat| stat.kind);
    assert_eq!(stat("dev/tty"), Err(Errno::Noent));
    assert_eq!(stat("dev/file"), Ok(FileType::File));
}

#[test]
fn unpacked_files_share_their_memory_and_give_it_back() {
    let big = vec![7; 600_000];
    let bytes = Format::ZipDeflated.pack(&[file("a", &big), file("b", &big)]);
    let limits = ImageLimits { memory_max: 1_000_000, ..ImageLimits::default() };
    let root = Image::from_bytes(bytes, &limits).unwrap().root();
    let a = open_file(&root, "a").unwrap();
    let again = open_file(&root, "a").unwrap();
    assert_eq!(open_file(&root, "b").err(), Some(Errno::Nospc));
    assert!(path::open(&*root, "b", Follow::No, OpenHow::HOLD).is_ok(), "nothing is unpacked");
    drop(a);
    assert_eq!(open_file(&root, "b").err(), Some(Errno::Nospc));
    drop(again);
    assert_eq!(read(&root, "b").unwrap(), big);
    assert_eq!(read(&root, "a").unwrap(), big);
}

#[test]
fn a_compressed_tar_that_is_large_is_unpacked_into_a_file() {
    let mut big = vec![0; 3 << 20];
    for (n, byte) in big.iter_mut().enumerate() {
        *byte = (n / 1000) as u8;
    }
    let limits = ImageLimits { memory_max: 1 << 20, ..ImageLimits::default() };
    for format in [Format::TarGzip, Format::TarZstd] {
        let bytes = format.pack(&[file("big", &big), file("small", b"s")]);
        let root = Image::from_bytes(bytes, &limits).unwrap().root();
        assert_eq!(read(&root, "big").unwrap(), big);
        assert_eq!(read(&root, "small").unwrap(), b"s");
    }
}

#[test]
fn names_of_any_length_and_script_are_kept() {
    let long = format!("{}/{}", "ü".repeat(120), "x".repeat(255));
    let target = "../".repeat(50) + "y";
    for format in ALL {
        let items = [file(&long, b"1"), crate::archives::link("link", &target)];
        let root = format.image(&items).root();
        assert_eq!(read(&root, &long).unwrap(), b"1", "{format:?}");
        assert_eq!(path::read_link(&*root, "link").as_deref(), Ok(&*target), "{format:?}");
    }
}

#[test]
fn a_file_that_changes_under_the_image_is_an_error_and_nothing_worse() {
    let bytes = Format::Tar.pack(&[file("f", &[1; 10_000])]);
    let mut host = tempfile::NamedTempFile::new().unwrap();
    host.write_all(&bytes).unwrap();
    let root = Image::open_ambient(host.path()).unwrap().root();
    let f = open_file(&root, "f").unwrap();
    host.as_file().set_len(1000).unwrap();
    let mut buf = [0; 100];
    assert_eq!(f.read_at(&mut [IoSliceMut::new(&mut buf)], 5000), Err(Errno::Io));
}
