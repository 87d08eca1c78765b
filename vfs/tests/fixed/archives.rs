//! Builders of test archives: one tree in each format.

use std::io::{Cursor, Write};

use palisade_vfs::{DirRef, Image, ImageError, ImageLimits};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// One entry of an archive.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Dir(String),
    File(String, Vec<u8>),
    Symlink(String, String),
    /// A hard link and its target. Only tar archives have hard links.
    HardLink(String, String),
}

pub(crate) const ALL: [Format; 5] =
    [Format::Tar, Format::TarGzip, Format::TarZstd, Format::ZipStored, Format::ZipDeflated];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Tar,
    TarGzip,
    TarZstd,
    ZipStored,
    ZipDeflated,
}

impl Format {
    pub(crate) fn pack(self, items: &[Item]) -> Vec<u8> {
        match self {
            Format::Tar => pack_tar(items),
            Format::TarGzip => gzip(&pack_tar(items)),
            Format::TarZstd => zstd::encode_all(&pack_tar(items)[..], 1).unwrap(),
            Format::ZipStored => pack_zip(items, CompressionMethod::Stored),
            Format::ZipDeflated => pack_zip(items, CompressionMethod::Deflated),
        }
    }

    pub(crate) fn image(self, items: &[Item]) -> Image {
        open(self.pack(items)).unwrap()
    }

    pub(crate) fn has_hard_links(self) -> bool {
        matches!(self, Format::Tar | Format::TarGzip | Format::TarZstd)
    }
}

pub(crate) fn open(bytes: Vec<u8>) -> Result<Image, ImageError> {
    Image::from_bytes(bytes, &ImageLimits::default())
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn header(kind: tar::EntryType, len: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(len as u64);
    header.set_mode(0o644);
    header.set_mtime(1_234_567_890);
    header
}

fn pack_tar(items: &[Item]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for item in items {
        match item {
            Item::Dir(path) => {
                let path = format!("./{path}/");
                let mut header = header(tar::EntryType::Directory, 0);
                archive.append_data(&mut header, path, &[][..]).unwrap();
            }
            Item::File(path, bytes) => {
                let mut header = header(tar::EntryType::Regular, bytes.len());
                archive.append_data(&mut header, path, &bytes[..]).unwrap();
            }
            Item::Symlink(path, target) => {
                let mut header = header(tar::EntryType::Symlink, 0);
                // The library cleans a target except in `set_link_name_literal`, which takes only
                // short ones.
                match header.set_link_name_literal(target) {
                    Ok(()) => archive.append_data(&mut header, path, &[][..]).unwrap(),
                    Err(_) => archive.append_link(&mut header, path, target).unwrap(),
                }
            }
            Item::HardLink(path, target) => {
                let mut header = header(tar::EntryType::Link, 0);
                archive.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

fn pack_zip(items: &[Item], method: CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for item in items {
        match item {
            Item::Dir(path) => archive.add_directory(path, options).unwrap(),
            Item::File(path, bytes) => {
                archive.start_file(path, options).unwrap();
                archive.write_all(bytes).unwrap();
            }
            Item::Symlink(path, target) => archive.add_symlink(path, target, options).unwrap(),
            Item::HardLink(..) => panic!("a zip has no hard links"),
        }
    }
    archive.finish().unwrap().into_inner()
}

pub(crate) fn file(path: &str, bytes: &[u8]) -> Item {
    Item::File(path.to_owned(), bytes.to_owned())
}

pub(crate) fn link(path: &str, target: &str) -> Item {
    Item::Symlink(path.to_owned(), target.to_owned())
}

/// The tree that the contract is tested on, in every format, and as a directory.
/// That one is there as long as what comes first.
pub(crate) fn contract() -> (tempfile::TempDir, Vec<(&'static str, DirRef)>) {
    let items = [
        file("f", b"file"),
        file("d/g", b"below"),
        file("d/e/h", b""),
        Item::Dir("empty".to_owned()),
        link("l", "f"),
        link("m", "d"),
        link("out", "../x"),
        link("dangling", "nothing"),
    ];
    let mut trees: Vec<_> = ALL
        .into_iter()
        .map(|format| {
            let name = match format {
                Format::Tar => "tar",
                Format::TarGzip => "tar.gz",
                Format::TarZstd => "tar.zst",
                Format::ZipStored => "stored zip",
                Format::ZipDeflated => "deflated zip",
            };
            (name, format.image(&items).root())
        })
        .collect();
    let host = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(host.path().join("d/e")).unwrap();
    std::fs::create_dir(host.path().join("empty")).unwrap();
    for (path, bytes) in [("f", &b"file"[..]), ("d/g", b"below"), ("d/e/h", b"")] {
        std::fs::write(host.path().join(path), bytes).unwrap();
    }
    for (path, target) in [("l", "f"), ("m", "d"), ("out", "../x"), ("dangling", "nothing")] {
        std::os::unix::fs::symlink(target, host.path().join(path)).unwrap();
    }
    trees.push(("directory", Image::open_ambient(host.path()).unwrap().root()));
    (host, trees)
}
