//! Loads the files that a policy document includes.
//!
//! The walker resolves each path in the open directory of the including document, so that neither a
//! link nor a rename leads outside of that directory. Only regular files are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::HostDir;
use palisade::policy::document::{Document, Loader};
use palisade::vfs::{DirRef, Errno, FileType, Follow, OpenHow, path};

/// The number of bytes of one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// Loads the includes of a document, recursively.
pub(crate) struct Includes {
    /// The directory of the top-level document.
    top_dir: PathBuf,
    /// The open directory of each included document, by the name of the document.
    dirs: BTreeMap<String, DirRef>,
}

impl Includes {
    /// Creates the loader of the document at `path`.
    pub(crate) fn of_document(path: &Path) -> Self {
        let top_dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Includes { top_dir: top_dir.to_owned(), dirs: BTreeMap::new() }
    }

    fn dir_of(&self, from: &str) -> Result<DirRef, String> {
        match self.dirs.get(from) {
            Some(dir) => Ok(Arc::clone(dir)),
            None => HostDir::open_ambient(&self.top_dir).map_err(|why| why.to_string()),
        }
    }
}

impl Loader for Includes {
    fn load(&mut self, from: &str, path: &str) -> Result<(String, String), String> {
        let dir = self.dir_of(from)?;
        let text = read(&dir, path)?;
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        let parent = path::open(&*dir, parent, Follow::Yes, OpenHow::HOLD_DIR)
            .and_then(palisade::vfs::Node::into_dir)
            .map_err(message)?;
        let name = Path::new(from).parent().unwrap_or(Path::new("")).join(path);
        let name = name.to_string_lossy().into_owned();
        self.dirs.insert(name.clone(), parent);
        Ok((name, text))
    }
}

/// Reads a regular text file in `dir`.
fn read(dir: &DirRef, path: &str) -> Result<String, String> {
    let kind = path::stat(&**dir, path, Follow::Yes).map_err(message)?.kind;
    if kind != FileType::File {
        return Err("it is not a regular file".to_owned());
    }
    let file = path::open(&**dir, path, Follow::Yes, OpenHow::READ)
        .and_then(palisade::vfs::Node::into_file)
        .map_err(message)?;
    let mut bytes = Vec::new();
    loop {
        let offset = bytes.len() as u64;
        if file.read_vec(&mut bytes, CHUNK_BYTES, offset).map_err(message)? == 0 {
            break;
        }
        if bytes.len() > Document::TEXT_MAX {
            return Err(format!("it has more than {} bytes", Document::TEXT_MAX));
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

fn message(errno: Errno) -> String {
    match errno {
        Errno::Escape => "the path leads outside of the directory of the including document".into(),
        other => other.to_string(),
    }
}
