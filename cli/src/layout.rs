//! From `--dir`, `--file`, `--mem` and `--copy` to the directories that a guest is born with.
//!
//! This file alone knows what a guest path on the command line means: text, cut into names. It
//! touches no path of a guest's: that is the walker's business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palisade::copy_tree;
use palisade::vfs::{DirRef, Errno};
use palisade::{HostDir, MemFs, Mounts, read_only};

use crate::args::Files;
use crate::error::Error;

/// Whether a mount may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// `HOST[::GUEST][:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountText {
    host: PathBuf,
    guest: String,
    access: Access,
}

/// The same, with a guest path that must be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairText(MountText);

impl MountText {
    /// Cuts the text at its last `::`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (text, access) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(text), _) => (text, Access::ReadOnly),
            (None, Some(text)) => (text, Access::ReadWrite),
            (None, None) => (text, Access::ReadWrite),
        };
        let (host, guest) = text.rsplit_once("::").unwrap_or((text, text));
        if host.is_empty() {
            return Err("the path on the host is missing: HOST::GUEST".to_owned());
        }
        if guest.is_empty() {
            return Err("the path for the guest is missing: HOST::GUEST".to_owned());
        }
        Ok(MountText { host: host.into(), guest: guest.to_owned(), access })
    }
}

impl PairText {
    /// Cuts the text at its last `::`, of which there must be one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("::") {
            return Err("the path for the guest is missing: HOST::GUEST".to_owned());
        }
        MountText::parse(text).map(PairText)
    }
}

/// A guest path, cut into names. `/a` and `a` are different; `.` and `/` are the two empty ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    absolute: bool,
    names: Vec<String>,
}

impl Place {
    fn new(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::GuestPath { path: text.to_owned(), why: why.to_owned() };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        let names: Vec<_> =
            text.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect();
        if names.iter().any(|name| name == "..") {
            return Err(refuse("it has a `..`"));
        }
        if text.contains('\0') {
            return Err(refuse("it holds a NUL"));
        }
        Ok(Place { absolute: text.starts_with('/'), names })
    }

    /// The path from `above` down to here, if `above` is above: never empty.
    fn beneath(&self, above: &Place) -> Option<String> {
        if self.absolute != above.absolute {
            return None;
        }
        let rest = self.names.strip_prefix(above.names.as_slice())?;
        if rest.is_empty() { None } else { Some(rest.join("/")) }
    }

    /// The directory around it, and its text as the name of a preopen; `None` for a root.
    fn parent(&self) -> Option<(Place, String)> {
        let (_, names) = self.names.split_last()?;
        let place = Place { absolute: self.absolute, names: names.to_vec() };
        let text = match (place.absolute, place.names.is_empty()) {
            (true, _) => format!("/{}", place.names.join("/")),
            (false, true) => ".".to_owned(),
            (false, false) => place.names.join("/"),
        };
        Some((place, text))
    }
}

/// Where a directory comes from.
enum Source<'a> {
    Host(&'a MountText),
    Memory,
    Copy(&'a MountText),
    /// Made up, around a single file.
    Nothing,
}

struct Asked<'a> {
    text: String,
    place: Place,
    source: Source<'a>,
}

/// A directory that the guest is born with.
pub(crate) struct Preopen {
    pub(crate) name: String,
    pub(crate) dir: DirRef,
}

/// Opens everything that was asked for. The order of the options does not matter, but for the
/// order of what comes out.
pub(crate) fn preopens(files: &Files) -> Result<Vec<Preopen>, Error> {
    let mut dirs = Vec::new();
    for mount in &files.dir {
        dirs.push(asked(&mount.guest, Source::Host(mount))?);
    }
    for guest in &files.mem {
        dirs.push(asked(guest, Source::Memory)?);
    }
    for PairText(mount) in &files.copy {
        dirs.push(asked(&mount.guest, Source::Copy(mount))?);
    }
    let mut singles = Vec::new();
    for PairText(mount) in &files.file {
        singles.push((Place::new(&mount.guest)?, mount));
    }
    refuse_twins(&dirs, &singles)?;
    for (place, mount) in &singles {
        let Some((parent, text)) = place.parent() else {
            let why = "a file needs a name".to_owned();
            return Err(Error::GuestPath { path: mount.guest.clone(), why });
        };
        if !dirs.iter().any(|dir| place.beneath(&dir.place).is_some()) {
            dirs.push(Asked { text, place: parent, source: Source::Nothing });
        }
    }
    let mut preopens = Vec::new();
    for dir in &dirs {
        let is_root = !dirs.iter().any(|above| dir.place.beneath(&above.place).is_some());
        let is_named_already = preopens.iter().any(|(place, _)| *place == &dir.place);
        if is_root && !is_named_already {
            let tree = tree(dir, &dirs, &singles)?;
            preopens.push((&dir.place, Preopen { name: dir.text.clone(), dir: tree }));
        }
    }
    Ok(preopens.into_iter().map(|(_, preopen)| preopen).collect())
}

fn asked<'a>(text: &str, source: Source<'a>) -> Result<Asked<'a>, Error> {
    Ok(Asked { text: text.to_owned(), place: Place::new(text)?, source })
}

/// Refuses two things at one guest path.
fn refuse_twins(dirs: &[Asked<'_>], singles: &[(Place, &MountText)]) -> Result<(), Error> {
    let mut seen = BTreeMap::new();
    let dirs = dirs.iter().map(|dir| (&dir.place, &dir.text));
    for (place, text) in dirs.chain(singles.iter().map(|(place, mount)| (place, &mount.guest))) {
        if seen.insert(place, text).is_some() {
            return Err(Error::GuestTwice { path: text.clone() });
        }
    }
    Ok(())
}

/// One preopen: its own directory, with everything that lies beneath it grafted in.
fn tree(
    root: &Asked<'_>,
    dirs: &[Asked<'_>],
    singles: &[(Place, &MountText)],
) -> Result<DirRef, Error> {
    let base = open(&root.source)?;
    let mut grafts = 0;
    let mut mounts = Mounts::builder(base.clone());
    for dir in dirs {
        let Some(at) = dir.place.beneath(&root.place) else { continue };
        if matches!(dir.source, Source::Nothing) {
            // A file that is grafted brings its directory along.
            continue;
        }
        let fail = |errno: Errno| refused(&dir.text, errno);
        mounts = mounts.mount(&at, open(&dir.source)?).map_err(fail)?;
        grafts += 1;
    }
    for (place, mount) in singles {
        let Some(at) = place.beneath(&root.place) else { continue };
        let (parent, name) = open_parent(mount)?;
        // The guest path was found free and sound by now, so what is left is the file's fault.
        mounts = mounts.mount_file(&at, parent, &name).map_err(|errno| Error::HostFile {
            option: "--file",
            path: mount.host.clone(),
            why: errno.to_string(),
        })?;
        grafts += 1;
    }
    Ok(if grafts == 0 { base } else { mounts.build() })
}

fn refused(path: &str, errno: Errno) -> Error {
    Error::GuestPath { path: path.to_owned(), why: errno.to_string() }
}

fn open(source: &Source<'_>) -> Result<DirRef, Error> {
    match source {
        Source::Host(mount) => Ok(guarded(open_dir("--dir", &mount.host)?, mount.access)),
        Source::Memory => Ok(MemFs::new().root()),
        Source::Nothing => Ok(Mounts::empty()),
        Source::Copy(mount) => {
            let from = open_dir("--copy", &mount.host)?;
            let to = MemFs::new().root();
            copy_tree(&from, &to)
                .map_err(|why| Error::Copy { path: mount.host.clone(), why: why.to_string() })?;
            Ok(guarded(to, mount.access))
        }
    }
}

fn open_dir(option: &'static str, path: &Path) -> Result<DirRef, Error> {
    HostDir::open_ambient(path).map_err(|why| Error::HostDir { option, path: path.to_owned(), why })
}

/// The directory that holds a file of the host, and the file's name.
fn open_parent(mount: &MountText) -> Result<(DirRef, String), Error> {
    let refuse = |why: &str| Error::HostFile {
        option: "--file",
        path: mount.host.clone(),
        why: why.to_owned(),
    };
    let Some(name) = mount.host.file_name().and_then(|name| name.to_str()) else {
        return Err(refuse("it has no file name"));
    };
    let parent = match mount.host.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((guarded(open_dir("--file", parent)?, mount.access), name.to_owned()))
}

fn guarded(dir: DirRef, access: Access) -> DirRef {
    match access {
        Access::ReadWrite => dir,
        Access::ReadOnly => read_only(dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_cut_at_its_last_colons() {
        use Access::{ReadOnly, ReadWrite};
        let cases: &[(&str, Option<(&str, &str, Access)>)] = &[
            (".", Some((".", ".", ReadWrite))),
            ("a/b:ro", Some(("a/b", "a/b", ReadOnly))),
            ("a::/b", Some(("a", "/b", ReadWrite))),
            ("a::/b:ro", Some(("a", "/b", ReadOnly))),
            ("a::/b:rw", Some(("a", "/b", ReadWrite))),
            ("a::b::c:ro", Some(("a::b", "c", ReadOnly))),
            ("a::b:ro:rw", Some(("a", "b:ro", ReadWrite))),
            ("C:x::y", Some(("C:x", "y", ReadWrite))),
            ("", None),
            (":ro", None),
            ("::b", None),
            ("a::", None),
            ("a:::ro", None),
        ];
        for (text, wanted) in cases {
            let wanted = wanted.map(|(host, guest, access)| MountText {
                host: host.into(),
                guest: guest.to_owned(),
                access,
            });
            assert_eq!(MountText::parse(text).ok(), wanted, "{text}");
        }
        assert!(PairText::parse("a").is_err());
        assert!(PairText::parse("a::b").is_ok());
    }

    #[test]
    fn guest_paths_are_text() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("/a/b", "/a", Some("b")),
            ("/a/./b//c/", "/a", Some("b/c")),
            ("/a", "/", Some("a")),
            ("a/b", ".", Some("a/b")),
            ("a", "a/", None),
            ("/a", ".", None),
            ("a", "/", None),
            ("/ab", "/a", None),
            ("/a", "/a/b", None),
        ];
        for (path, above, wanted) in cases {
            let (path, above) = (Place::new(path).unwrap(), Place::new(above).unwrap());
            assert_eq!(path.beneath(&above).as_deref(), *wanted, "{path:?} {above:?}");
        }
        for path in ["", "..", "/a/../b", "a/.."] {
            assert!(Place::new(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_directory_around_a_file_has_the_text_that_one_would_write() {
        for (path, parent) in [("/a/b", "/a"), ("/a", "/"), ("a/b", "a"), ("a", ".")] {
            let (place, text) = Place::new(path).unwrap().parent().unwrap();
            assert_eq!(text, parent);
            assert_eq!(place, Place::new(parent).unwrap());
        }
        assert!(Place::new("/").unwrap().parent().is_none());
    }
}
