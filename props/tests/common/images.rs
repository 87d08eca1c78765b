//! Conversions of literal trees to embedded files and to archives.

use std::borrow::Cow;
use std::io::{Cursor, Write as _};

use palisade_props::{Leaf, Tree};
use palisade_vfs::{DirRef, EmbeddedFs, Errno, Image, ImageLimits, Result, Timestamp};
use zip::write::SimpleFileOptions;

/// Embeds the files of the tree, with their parent directories but without links.
pub fn embedded(tree: &Tree) -> Result<DirRef> {
    let files = tree.iter().filter_map(|(path, leaf)| match leaf {
        Leaf::File(bytes) => Some((path, Cow::Owned(bytes.clone()), Timestamp::EPOCH)),
        _ => None,
    });
    EmbeddedFs::from_files(files).map(|fs| fs.root()).map_err(|_| Errno::Io)
}

/// Returns the nodes of the tree that embedded files cannot represent.
pub fn not_embeddable(tree: &Tree) -> Tree {
    let mut rest = Tree::new();
    for (path, leaf) in tree.iter() {
        let inside = format!("{path}/");
        let is_there = match leaf {
            Leaf::File(_) => true,
            Leaf::Dir => tree
                .iter()
                .any(|(other, leaf)| other.starts_with(&inside) && matches!(leaf, Leaf::File(_))),
            Leaf::Symlink(_) | Leaf::HardLink(_) => false,
        };
        if !is_there {
            rest.insert(path, leaf.clone());
        }
    }
    rest
}

/// Packs the tree into a tar archive.
pub fn tar(tree: &Tree) -> Result<DirRef> {
    let io = |_| Errno::Io;
    let mut archive = ::tar::Builder::new(Vec::new());
    for (path, leaf) in tree.iter() {
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        match leaf {
            Leaf::Dir => {
                header.set_entry_type(::tar::EntryType::Directory);
                archive.append_data(&mut header, path, &[][..]).map_err(io)?;
            }
            Leaf::File(bytes) => {
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, path, &bytes[..]).map_err(io)?;
            }
            Leaf::Symlink(target) => {
                header.set_entry_type(::tar::EntryType::Symlink);
                archive.append_link(&mut header, path, target).map_err(io)?;
            }
            Leaf::HardLink(first) => {
                header.set_entry_type(::tar::EntryType::Link);
                archive.append_link(&mut header, path, first).map_err(io)?;
            }
        }
    }
    image(archive.into_inner().map_err(io)?)
}

/// Packs the tree without hard links into a zip archive.
pub fn zip(tree: &Tree) -> Result<DirRef> {
    let io = |_| Errno::Io;
    let options = SimpleFileOptions::default();
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, leaf) in tree.iter() {
        match leaf {
            Leaf::Dir => archive.add_directory(path, options).map_err(io)?,
            Leaf::File(bytes) => {
                archive.start_file(path, options).map_err(io)?;
                archive.write_all(bytes).map_err(|_| Errno::Io)?;
            }
            Leaf::Symlink(target) => archive.add_symlink(path, target, options).map_err(io)?,
            Leaf::HardLink(_) => return Err(Errno::Notsup),
        }
    }
    image(archive.finish().map_err(io)?.into_inner())
}

fn image(bytes: Vec<u8>) -> Result<DirRef> {
    let image = Image::from_bytes(bytes, &ImageLimits::default());
    image.map(|image| image.root()).map_err(|_| Errno::Io)
}
