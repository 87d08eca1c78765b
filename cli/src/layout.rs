//! From the description of a sandbox to the directories that a guest is born with.
//!
//! Everything of the host is opened here, and grafted together. Whatever cannot be opened is told
//! where it was asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palisade::overlay::{Lowers, Overlay, UpperRef};
use palisade::policy::Policy;
use palisade::vfs::{DirRef, Errno, Rights, escape};
use palisade::{HostDir, HostUpper, Image, MemFs, Mounts, copy_tree, read_only};

use crate::error::Error;
use crate::fault::Said;
use crate::guard::Guard;
use crate::place::Place;

use crate::sandbox::{Access, Mount, Source, SourceKind, Upper};
use crate::upper::{refuse_inside, refuse_links};
use crate::{ambient, print};

/// A directory that the guest is born with.
pub(crate) struct Preopen {
    pub(crate) name: String,
    pub(crate) dir: DirRef,
}

/// An overlay, and where the guest sees it.
pub(crate) struct Stacked {
    pub(crate) at: String,
    pub(crate) overlay: Overlay,
}

/// What was made of a description.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) preopens: Vec<Preopen>,
    pub(crate) overlays: Vec<Stacked>,
}

/// A directory of the layout, or one that is made up around a single file.
struct Root<'a> {
    text: String,
    place: Place,
    mount: Option<&'a Mount>,
}

/// Opens everything that was asked for. The order of the mounts does not matter, but for the order
/// of what comes out.
pub(crate) fn open(mounts: &[Mount], guard: &Guard) -> Result<Layout, Error> {
    refuse_twins(mounts)?;
    if guard.judges_names() {
        refuse_folding(mounts)?;
    }
    if let Some(policy) = guard.enforced() {
        refuse_aliases(mounts, policy)?;
    }
    let is_file = |mount: &&Mount| matches!(mount.source.kind, SourceKind::File(_));
    let mut roots = Vec::new();
    for mount in mounts.iter().filter(|mount| !is_file(mount)) {
        let (text, place) = (mount.text.clone(), mount.place.clone());
        roots.push(Root { text, place, mount: Some(mount) });
    }
    let files: Vec<_> = mounts.iter().filter(is_file).collect();
    for file in &files {
        let Some((place, text)) = file.place.parent() else {
            let why = "a file needs a name".to_owned();
            return Err(file.said.blame(Error::GuestPath { path: file.text.clone(), why }));
        };
        if !roots.iter().any(|root| file.place.beneath(&root.place).is_some()) {
            roots.push(Root { text, place, mount: None });
        }
    }
    let mut layout = Layout::default();
    let mut named: Vec<&Place> = Vec::new();
    for root in &roots {
        let is_root = !roots.iter().any(|above| root.place.beneath(&above.place).is_some());
        if is_root && !named.contains(&&root.place) {
            let dir = layout.tree(root, &roots, &files)?;
            // Above everything that is grafted in: rules are about the guest's paths.
            let dir = guard.guard(dir, &format!("/{}", root.place.below_root()))?;
            named.push(&root.place);
            layout.preopens.push(Preopen { name: root.text.clone(), dir });
        }
    }
    layout.overlays.iter().for_each(|it| guard.pay_copies_of(&it.overlay));
    Ok(layout)
}

/// Refuses two things at one guest path.
fn refuse_twins(mounts: &[Mount]) -> Result<(), Error> {
    let mut seen = BTreeMap::new();
    for mount in mounts {
        if seen.insert(&mount.place, ()).is_some() {
            return Err(mount.said.blame(Error::GuestTwice { path: mount.text.clone() }));
        }
    }
    Ok(())
}

/// Refuses directories of the host that find a name by another case: a rule about `/secret` says
/// nothing about `/SECRET`.
fn refuse_folding(mounts: &[Mount]) -> Result<(), Error> {
    for Mount { source, .. } in mounts {
        for path in host_dirs(std::slice::from_ref(source)) {
            // What cannot be opened is told when it is.
            let Ok(dir) = HostDir::open_ambient_noatime(&path) else { continue };
            if HostDir::folds_case(&*dir) {
                let said = &source.said;
                return Err(said.blame(Error::FoldsCase { by: said.by(), path }));
            }
        }
    }
    Ok(())
}

/// Refuses a directory of the host at two guest paths, by itself and in a directory above it, if
/// the policy has different rules for both and allows renames or links into one of them: whatever
/// is moved there would be judged by the rules of the other.
fn refuse_aliases(mounts: &[Mount], policy: &Policy) -> Result<(), Error> {
    const INTO: Rights = Rights::RENAME_INTO.union(Rights::LINK_INTO);
    let given = |mount: &Mount| match &mount.source.kind {
        SourceKind::Dir(path) => ambient::resolved(path),
        _ => None,
    };
    for (above, below) in mounts.iter().flat_map(|one| mounts.iter().map(move |two| (one, two))) {
        let (Some(outer), Some(inner)) = (given(above), given(below)) else { continue };
        // A name that is not UTF-8 has no guest path.
        let rest = inner.strip_prefix(&outer).ok().and_then(Path::to_str);
        let Some(rest) = rest.filter(|_| !std::ptr::eq(above, below)) else { continue };
        let within = format!("{}/{rest}", above.place.below_root());
        let alias = format!("/{}", within.trim_matches('/'));
        let path = format!("/{}", below.place.below_root());
        let (there, here) = (policy.at(&alias), policy.at(&path));
        let may_get_into =
            |state, access| access == Access::ReadWrite && policy.may_grant_in(state, INTO);
        let is_same = policy.is_at_most(there, here) && policy.is_at_most(here, there);
        if !is_same && (may_get_into(there, above.access) || may_get_into(here, below.access)) {
            let why = format!(
                "it is the same directory of the host as `{}`, for which the policy has other \
                 rules, and `rename-into` or `link-into` is granted in one of them; give it \
                 once, or write the same rules for both paths",
                escape::name(&alias)
            );
            return Err(below.said.blame(Error::GuestPath { path, why }));
        }
    }
    Ok(())
}

impl Layout {
    /// One preopen: its own directory, with everything that lies beneath it grafted in.
    fn tree(
        &mut self,
        root: &Root<'_>,
        roots: &[Root<'_>],
        files: &[&Mount],
    ) -> Result<DirRef, Error> {
        let base = match root.mount {
            Some(mount) => self.mount(mount)?,
            None => Mounts::empty(),
        };
        let mut grafts = 0;
        let mut mounts = Mounts::builder(base.clone());
        for dir in roots {
            // A file that is grafted brings its directory along.
            let Some(mount) = dir.mount else { continue };
            let Some(at) = dir.place.beneath(&root.place) else { continue };
            mounts = mounts.mount(&at, self.mount(mount)?).map_err(|errno| {
                let (path, why) = (dir.text.clone(), errno.to_string());
                mount.said.blame(Error::GuestPath { path, why })
            })?;
            grafts += 1;
        }
        for file in files {
            let SourceKind::File(host) = &file.source.kind else { continue };
            let Some(at) = file.place.beneath(&root.place) else { continue };
            let (parent, name) = open_parent(host, file)?;
            // The guest path was found free and sound by now, so what is left is the file's fault.
            mounts = mounts
                .mount_file(&at, parent, &name)
                .map_err(|errno| host_file(&file.source.said, host, errno.to_string()))?;
            grafts += 1;
        }
        Ok(if grafts == 0 { base } else { mounts.build() })
    }

    /// Opens what is mounted, and remembers it if it is an overlay.
    fn mount(&mut self, mount: &Mount) -> Result<DirRef, Error> {
        let dir = match &mount.source.kind {
            SourceKind::Overlay { upper, lowers } => {
                let overlay = overlay(upper, lowers, &mount.source.said)?;
                let root = overlay.root();
                self.overlays.push(Stacked { at: mount.text.clone(), overlay });
                root
            }
            _ => source(&mount.source)?,
        };
        Ok(guarded(dir, mount.access))
    }
}

/// Opens a source, to be read if it is an overlay.
fn source(source: &Source) -> Result<DirRef, Error> {
    let said = &source.said;
    match &source.kind {
        SourceKind::Dir(path) => open_dir(said, path),
        SourceKind::Memory => Ok(MemFs::new().root()),
        SourceKind::Copy(path) => copy(said, path),
        SourceKind::Image(path) => image(said, path),
        SourceKind::File(path) => Err(host_file(said, path, "a file is no directory".to_owned())),
        SourceKind::Overlay { upper, lowers } => {
            let mut parts = Lowers::builder();
            if let Upper::Dir { path, said } = upper {
                parts = parts.frozen_upper(open_kept(path, said)?);
            }
            for lower in lowers {
                parts = parts.dir(self::lower(lower)?);
            }
            Ok(parts.build().map_err(|errno| not_stacked(said, errno))?.root())
        }
    }
}

/// Opens what an overlay lies over, which is not to be touched in any way.
fn lower(source: &Source) -> Result<DirRef, Error> {
    match &source.kind {
        SourceKind::Dir(path) => HostDir::open_ambient_noatime(path).map_err(|why| {
            let (option, path) = (source.said.by(), path.to_owned());
            source.said.blame(Error::HostDir { option, path, why })
        }),
        _ => self::source(source),
    }
}

fn overlay(upper: &Upper, lowers: &[Source], said: &Said) -> Result<Overlay, Error> {
    let mut parts = Lowers::builder();
    for lower in lowers {
        parts = parts.dir(self::lower(lower)?);
    }
    let layer = match upper {
        Upper::Memory => MemFs::new().upper(),
        Upper::Dir { path, said } => {
            refuse_inside(path, said, &host_dirs(lowers))?;
            open_upper(path, said)?
        }
    };
    let lowers = parts.build().map_err(|errno| not_stacked(said, errno))?;
    Overlay::new(layer, &lowers).map_err(|errno| not_stacked(said, errno))
}

fn not_stacked(said: &Said, errno: Errno) -> Error {
    said.blame(Error::Overlay { by: said.by(), why: errno.to_string() })
}

/// The directories of the host that are read in place, in whatever depth.
fn host_dirs(sources: &[Source]) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    let mut pending: Vec<&Source> = sources.iter().collect();
    while let Some(source) = pending.pop() {
        match &source.kind {
            SourceKind::Dir(path) | SourceKind::Image(path) => dirs.push(path.clone()),
            SourceKind::Overlay { upper, lowers } => {
                pending.extend(lowers);
                if let Upper::Dir { path, .. } = upper {
                    dirs.push(path.clone());
                }
            }
            SourceKind::Memory | SourceKind::Copy(_) | SourceKind::File(_) => {}
        }
    }
    dirs
}

fn copy(said: &Said, path: &Path) -> Result<DirRef, Error> {
    let from = open_dir(said, path)?;
    let to = MemFs::new().root();
    let report = copy_tree(&from, &to).map_err(|errno: Errno| {
        let (by, path, why) = (said.by(), path.to_owned(), errno.to_string());
        said.blame(Error::Copy { by, path, why })
    })?;
    if report.specials > 0 {
        note_left_out(said, path, &report.left_out);
    }
    Ok(to)
}

fn open_dir(said: &Said, path: &Path) -> Result<DirRef, Error> {
    HostDir::open_ambient(path)
        .map_err(|why| said.blame(Error::HostDir { option: said.by(), path: path.to_owned(), why }))
}

/// The directory that holds a file of the host, and the file's name.
fn open_parent(host: &Path, mount: &Mount) -> Result<(DirRef, String), Error> {
    let said = &mount.source.said;
    let Some(name) = host.file_name().and_then(|name| name.to_str()) else {
        return Err(host_file(said, host, "it has no file name".to_owned()));
    };
    let parent = match host.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((guarded(open_dir(said, parent)?, mount.access), name.to_owned()))
}

fn host_file(said: &Said, path: &Path, why: String) -> Error {
    said.blame(Error::HostFile { option: said.by(), path: path.to_owned(), why })
}

fn guarded(dir: DirRef, access: Access) -> DirRef {
    match access {
        Access::ReadWrite => dir,
        Access::ReadOnly => read_only(dir),
    }
}

/// Opens what keeps changes, which is made if it is missing.
fn open_upper(path: &Path, said: &Said) -> Result<UpperRef, Error> {
    let fail = |why| said.blame(Error::Upper { by: said.by(), path: path.to_owned(), why });
    ambient::make_dir(path).map_err(fail)?;
    refuse_links(path).map_err(|why| said.blame(why))?;
    HostUpper::open_ambient(path).map_err(fail)
}

/// Opens what has kept changes, to be read.
fn open_kept(path: &Path, said: &Said) -> Result<UpperRef, Error> {
    refuse_links(path)?;
    HostUpper::open_ambient_frozen_in(path)
        .map_err(|why| said.blame(Error::Upper { by: said.by(), path: path.to_owned(), why }))
}

fn image(said: &Said, path: &Path) -> Result<DirRef, Error> {
    let image = Image::open_ambient(path)
        .map_err(|why| said.blame(Error::Image { by: said.by(), path: path.to_owned(), why }))?;
    if image.specials() > 0 {
        note_left_out(said, path, image.left_out());
    }
    Ok(image.root())
}

/// Paths in backquotes.
pub(crate) fn names(paths: &[String]) -> String {
    let names: Vec<_> = paths.iter().map(|path| format!("`{}`", escape::name(path))).collect();
    names.join(", ")
}

fn note_left_out(said: &Said, path: &Path, left_out: &[String]) {
    let (by, host) = (said.by(), escape::name(path));
    print::err(&format!("note: {by} `{host}` leaves out what is no file: {}\n", names(left_out)));
}
