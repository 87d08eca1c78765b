//! The files that a policy document includes.
//!
//! Each is looked up by the walker in the directory of the document that includes it, which is held
//! open. So no link and no rename leads out of that directory, and only a regular file is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::HostDir;
use palisade::policy::document::{Document, Loader};
use palisade::vfs::{DirRef, Errno, FileType, Follow, OpenHow, path};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Reads what a document and its includes include.
pub(crate) struct Includes {
    /// The directory of the outermost document.
    top: PathBuf,
    /// The directories of those that were included, by their names.
    dirs: BTreeMap<String, DirRef>,
}

impl Includes {
    /// For the document at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let top = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Includes { top: top.to_owned(), dirs: BTreeMap::new() }
    }

    fn dir_of(&self, from: &str) -> Result<DirRef, String> {
        match self.dirs.get(from) {
            Some(dir) => Ok(Arc::clone(dir)),
            None => HostDir::open_ambient(&self.top).map_err(|why| why.to_string()),
        }
    }
}

impl Loader for Includes {
    fn load(&mut self, from: &str, path: &str) -> Result<(String, String), String> {
        let dir = self.dir_of(from)?;
        let text = read(&dir, path)?;
        let above = path.rsplit_once('/').map_or(".", |(above, _)| above);
        let above = path::open(&*dir, above, Follow::Yes, OpenHow::HOLD_DIR)
            .and_then(palisade::vfs::Node::into_dir)
            .map_err(refused)?;
        let name = Path::new(from).parent().unwrap_or(Path::new("")).join(path);
        let name = name.to_string_lossy().into_owned();
        self.dirs.insert(name.clone(), above);
        Ok((name, text))
    }
}

/// The text of a regular file in `dir`.
fn read(dir: &DirRef, path: &str) -> Result<String, String> {
    let kind = path::stat(&**dir, path, Follow::Yes).map_err(refused)?.kind;
    if kind != FileType::File {
        return Err("it is not a regular file".to_owned());
    }
    let file = path::open(&**dir, path, Follow::Yes, OpenHow::READ)
        .and_then(palisade::vfs::Node::into_file)
        .map_err(refused)?;
    let mut bytes = Vec::new();
    loop {
        let at = bytes.len() as u64;
        if file.read_vec(&mut bytes, PIECE_BYTES, at).map_err(refused)? == 0 {
            break;
        }
        if bytes.len() > Document::TEXT_MAX {
            return Err(format!("it has more than {} bytes", Document::TEXT_MAX));
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

fn refused(errno: Errno) -> String {
    match errno {
        Errno::Escape => "it leads out of the directory of the document that includes it".into(),
        other => other.to_string(),
    }
}
