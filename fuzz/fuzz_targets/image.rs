//! Any bytes as an image with small limits: an error, or a tree within the limits whose files can
//! be read or return an error. The strict limit refuses the image exactly if an entry was left out
//! or the archive is irregular.

#![no_main]

use std::io::IoSliceMut;
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use palisade_vfs::{
    Cookie, DirRef, Errno, FileType, Follow, Image, ImageLimits, Name, OpenHow, path,
};

/// Small enough that a run is short, large enough that every format fits.
const LIMITS: ImageLimits = ImageLimits {
    nodes_max: 64,
    names_bytes_max: 4096,
    path_len_max: 512,
    bytes_max: 1 << 20,
    ratio_max: 1000,
    memory_max: 1 << 16,
    omitted_max: u64::MAX,
};

/// Lists and reads everything under `dir`, and counts the names.
fn walk(dir: &DirRef, names: &mut u64) {
    let mut entries = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        assert_ne!(entry.ino, 0);
        entries.push((entry.name.as_str().to_owned(), entry.kind, entry.ino));
        ControlFlow::Continue(())
    })
    .unwrap();
    for (name, kind, ino) in entries {
        *names += 1;
        let checked = Name::new(&name).unwrap();
        let stat = dir.stat(checked.into()).unwrap();
        assert_eq!((stat.kind, stat.ino), (kind, ino));
        // Paths stay inside the image, with or without following links, and changes fail.
        let followed = path::stat(&**dir, &name, Follow::Yes);
        assert!(followed.is_ok() || kind == FileType::Symlink);
        assert_eq!(dir.create_dir(checked), Err(Errno::Exist));
        match kind {
            FileType::Dir => {
                let below = path::open(&**dir, &name, Follow::No, OpenHow::HOLD_DIR).unwrap();
                walk(&below.into_dir().unwrap(), names);
            }
            FileType::File => read(dir, &name, stat.size),
            _ => assert_eq!(dir.read_link(checked).unwrap().len() as u64, stat.size),
        }
    }
}

fn read(dir: &DirRef, name: &str, size: u64) {
    let Ok(node) = path::open(&**dir, name, Follow::No, OpenHow::READ) else { return };
    let file = node.into_file().unwrap();
    let (mut at, mut buf) = (0, [0; 1000]);
    while let Ok(n) = file.read_at(&mut [IoSliceMut::new(&mut buf)], at) {
        if n == 0 {
            assert_eq!(at, size);
            break;
        }
        at += n as u64;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let strict = ImageLimits { omitted_max: 0, ..LIMITS };
    let strict = Image::from_bytes(bytes.to_vec(), &strict);
    let Ok(image) = Image::from_bytes(bytes.to_vec(), &LIMITS) else {
        assert!(strict.is_err());
        return;
    };
    let omitted = image.omitted();
    assert_eq!(omitted.count().min(64), omitted.first().len() as u64);
    assert!(strict.is_err() || omitted.count() == 0);
    let mut names = 0;
    walk(&image.root(), &mut names);
    assert!(names <= LIMITS.nodes_max);
});
