//! Builds the preopened directories of a guest from the mounts of a sandbox.
//!
//! All host directories of a run are opened here and grafted together. An error points at the
//! origin of the mount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palisade::overlay::{Lowers, Overlay};
use palisade::policy::Policy;
use palisade::vfs::{DirRef, Errno, Rights, escape};
use palisade::{HostDir, Image, ImageError, MemFs, Mounts, copy_tree, read_only};

use crate::confinement::Confinement;
use crate::error::{CommandError, Error, HostError};
use crate::guest_path::{GuestPath, GuestPathError};
use crate::image_notes;
use crate::mount_spec::Access;
use crate::origin::Origin;
use crate::print::quoted_list;
use crate::sandbox::{Mount, MountSource, SourceKind, Upper};
use crate::{ambient, print, upper_dir};

/// A preopened directory.
pub(crate) struct Preopen {
    pub(crate) name: String,
    pub(crate) dir: DirRef,
}

/// An overlay, with its guest path.
pub(crate) struct MountedOverlay {
    pub(crate) guest_path: String,
    pub(crate) overlay: Overlay,
}

/// The preopened directories of a guest, and the overlays in them.
#[derive(Default)]
pub(crate) struct Preopens {
    pub(crate) dirs: Vec<Preopen>,
    pub(crate) overlays: Vec<MountedOverlay>,
}

/// Errors about the source of a mount.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum MountError {
    #[error("the guest path `{}` is mounted twice", escape::name(.path))]
    #[diagnostic(
        code(palisade::guest_twice),
        help("use a different guest path for each mount: `HOST::GUEST`")
    )]
    Duplicate { path: String },

    #[error(
        "{option} `{}`: the directory ignores case (`SECRET` finds `secret`), so rules of the policy about names could be bypassed",
        escape::name(.path)
    )]
    #[diagnostic(
        code(palisade::folds_case),
        help(
            "mount a copy in memory (`--copy HOST::GUEST`), which is case-sensitive, or move the files to a case-sensitive directory"
        )
    )]
    FoldsCase { option: &'static str, path: PathBuf },

    #[error("{option} `{}`: cannot mount this file: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::host_file),
        help(
            "`--file` mounts one existing regular file; use `--dir` for a directory, and the target of a symbolic link"
        )
    )]
    File { option: &'static str, path: PathBuf, why: String },

    #[error("{option} `{}`: cannot copy this directory into memory: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::copy),
        help(
            "`--overlay HOST::GUEST` copies only files that change, `--dir HOST::GUEST:ro` copies nothing"
        )
    )]
    Copy { option: &'static str, path: PathBuf, why: String },

    #[error("{option} `{}`: cannot open this image: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::image),
        help(
            "an image is a zip, a tar (plain, gzip, Zstandard, xz, bzip2, LZMA) or a directory; the file name does not matter"
        )
    )]
    Image { option: &'static str, path: PathBuf, why: ImageError },

    #[error("{option}: cannot build the overlay: {why}")]
    #[diagnostic(
        code(palisade::overlay),
        help("all directories of an overlay must exist and must be different")
    )]
    Overlay { option: &'static str, why: String },
}

impl CommandError for MountError {}

/// A mount that can become a preopen, or a synthetic directory around a single file.
struct Root<'a> {
    text: String,
    guest_path: GuestPath,
    mount: Option<&'a Mount>,
}

/// Opens all mounts, and puts the confinement over each preopen. The preopens keep the order of the
/// mounts.
pub(crate) fn open(mounts: &[Mount], confinement: &Confinement) -> Result<Preopens, Error> {
    refuse_duplicates(mounts)?;
    if let Some(policy) = confinement.enforced_policy() {
        refuse_case_folding(mounts)?;
        refuse_aliases(mounts, policy)?;
    }
    let is_file = |mount: &&Mount| matches!(mount.source.kind, SourceKind::File(_));
    let mut roots = Vec::new();
    for mount in mounts.iter().filter(|mount| !is_file(mount)) {
        let (text, guest_path) = (mount.text.clone(), mount.guest_path.clone());
        roots.push(Root { text, guest_path, mount: Some(mount) });
    }
    let files: Vec<_> = mounts.iter().filter(is_file).collect();
    for file in &files {
        let Some((guest_path, text)) = file.guest_path.parent() else {
            let why = "a file cannot be mounted at a root".to_owned();
            return Err(file.origin.locate(GuestPathError { path: file.text.clone(), why }));
        };
        if !roots.iter().any(|root| file.guest_path.relative_to(&root.guest_path).is_some()) {
            roots.push(Root { text, guest_path, mount: None });
        }
    }
    let mut preopens = Preopens::default();
    let mut opened: Vec<&GuestPath> = Vec::new();
    for root in &roots {
        let is_inside = |outer: &Root<'_>| root.guest_path.relative_to(&outer.guest_path).is_some();
        if !roots.iter().any(is_inside) && !opened.contains(&&root.guest_path) {
            let dir = preopens.build_tree(root, &roots, &files)?;
            // Over the grafted mounts, because the rules are about guest paths.
            let guest_path = format!("/{}", root.guest_path.path_from_root());
            let dir = confinement.confine(dir, &guest_path)?;
            opened.push(&root.guest_path);
            preopens.dirs.push(Preopen { name: root.text.clone(), dir });
        }
    }
    preopens.overlays.iter().for_each(|it| confinement.charge_copies_of(&it.overlay));
    Ok(preopens)
}

fn refuse_duplicates(mounts: &[Mount]) -> Result<(), Error> {
    let mut guest_paths = BTreeMap::new();
    for mount in mounts {
        if guest_paths.insert(&mount.guest_path, ()).is_some() {
            return Err(mount.origin.locate(MountError::Duplicate { path: mount.text.clone() }));
        }
    }
    Ok(())
}

/// Refuses case-insensitive host directories: a rule about `/secret` does not match `/SECRET`.
fn refuse_case_folding(mounts: &[Mount]) -> Result<(), Error> {
    for Mount { source, .. } in mounts {
        for path in host_dirs(std::slice::from_ref(source)) {
            // An error of the open is reported when the mount is opened.
            let Ok(dir) = HostDir::open_ambient_noatime(&path) else { continue };
            if HostDir::folds_case(&*dir) {
                let origin = &source.origin;
                return Err(origin.locate(MountError::FoldsCase { option: origin.name(), path }));
            }
        }
    }
    Ok(())
}

/// Refuses a host directory that has two guest paths, by itself and inside of another mount, if the
/// policy has different rules for the two paths and grants renames or links into one of them: a
/// file that is moved there would get the rules of the other path.
fn refuse_aliases(mounts: &[Mount], policy: &Policy) -> Result<(), Error> {
    const INTO: Rights = Rights::RENAME_INTO.union(Rights::LINK_INTO);
    let host_path = |mount: &Mount| match &mount.source.kind {
        SourceKind::Dir(path) => ambient::resolved(path),
        _ => None,
    };
    let pairs = mounts.iter().flat_map(|outer| mounts.iter().map(move |inner| (outer, inner)));
    for (outer, inner) in pairs {
        let (Some(outer_host), Some(inner_host)) = (host_path(outer), host_path(inner)) else {
            continue;
        };
        // A name that is not UTF-8 has no guest path.
        let rest = inner_host.strip_prefix(&outer_host).ok().and_then(Path::to_str);
        let Some(rest) = rest.filter(|_| !std::ptr::eq(outer, inner)) else { continue };
        let alias = format!("{}/{rest}", outer.guest_path.path_from_root());
        let alias = format!("/{}", alias.trim_matches('/'));
        let path = format!("/{}", inner.guest_path.path_from_root());
        let (alias_state, path_state) = (policy.at(&alias), policy.at(&path));
        let can_move_into =
            |state, access| access == Access::ReadWrite && policy.may_grant_in(state, INTO);
        let has_same_rules = policy.is_at_most(alias_state, path_state)
            && policy.is_at_most(path_state, alias_state);
        let is_writable =
            can_move_into(alias_state, outer.access) || can_move_into(path_state, inner.access);
        if !has_same_rules && is_writable {
            let why = format!(
                "it is the same host directory as `{}`, for which the policy has different rules, \
                 and `rename-into` or `link-into` is granted in one of them; mount it once, or \
                 write the same rules for both paths",
                escape::name(&alias)
            );
            return Err(inner.origin.locate(GuestPathError { path, why }));
        }
    }
    Ok(())
}

impl Preopens {
    /// Builds one preopen: the directory of its root with all mounts under it grafted in.
    fn build_tree(
        &mut self,
        root: &Root<'_>,
        roots: &[Root<'_>],
        files: &[&Mount],
    ) -> Result<DirRef, Error> {
        let base = match root.mount {
            Some(mount) => self.open_mount(mount)?,
            None => Mounts::empty(),
        };
        let mut grafts = 0;
        let mut mounts = Mounts::builder(base.clone());
        for dir in roots {
            // A synthetic directory comes with its file, below.
            let Some(mount) = dir.mount else { continue };
            let Some(path) = dir.guest_path.relative_to(&root.guest_path) else { continue };
            mounts = mounts.mount(&path, self.open_mount(mount)?).map_err(|errno| {
                let (path, why) = (dir.text.clone(), errno.to_string());
                mount.origin.locate(GuestPathError { path, why })
            })?;
            grafts += 1;
        }
        for file in files {
            let SourceKind::File(host) = &file.source.kind else { continue };
            let Some(path) = file.guest_path.relative_to(&root.guest_path) else { continue };
            let (parent, name) = open_parent(host, file)?;
            // The guest path is valid and free at this point, so an error concerns the host file.
            mounts = mounts
                .mount_file(&path, parent, &name)
                .map_err(|errno| file_error(&file.source.origin, host, errno.to_string()))?;
            grafts += 1;
        }
        Ok(if grafts == 0 { base } else { mounts.build() })
    }

    /// Opens the source of a mount. An overlay is added to `self.overlays`.
    fn open_mount(&mut self, mount: &Mount) -> Result<DirRef, Error> {
        let dir = match &mount.source.kind {
            SourceKind::Overlay { upper, lowers } => {
                let overlay = open_overlay(upper, lowers, &mount.source.origin)?;
                let root = overlay.root();
                self.overlays.push(MountedOverlay { guest_path: mount.text.clone(), overlay });
                root
            }
            _ => open_source(&mount.source)?,
        };
        Ok(with_access(dir, mount.access))
    }
}

/// Opens a source. An overlay becomes read-only: only its merged tree is needed.
fn open_source(source: &MountSource) -> Result<DirRef, Error> {
    let origin = &source.origin;
    match &source.kind {
        SourceKind::Dir(path) => open_dir(origin, path),
        SourceKind::Memory => Ok(MemFs::new().root()),
        SourceKind::Copy(path) => copy(origin, path),
        SourceKind::Image(path) => open_image(origin, path),
        SourceKind::File(path) => {
            Err(file_error(origin, path, "a file is not a directory".to_owned()))
        }
        SourceKind::Overlay { upper, lowers } => {
            let mut builder = Lowers::builder();
            if let Upper::Dir { path, origin } = upper {
                builder = builder.frozen_upper(upper_dir::open_as_lower(path, origin)?);
            }
            for lower in lowers {
                builder = builder.dir(open_lower(lower)?);
            }
            Ok(builder.build().map_err(|errno| overlay_error(origin, errno))?.root())
        }
    }
}

/// Opens a lower of an overlay. A host directory is opened so that reads leave access times alone.
fn open_lower(source: &MountSource) -> Result<DirRef, Error> {
    match &source.kind {
        SourceKind::Dir(path) => HostDir::open_ambient_noatime(path).map_err(|why| {
            let (option, path) = (source.origin.name(), path.to_owned());
            source.origin.locate(HostError::OpenDir { option, path, why })
        }),
        _ => open_source(source),
    }
}

fn open_overlay(upper: &Upper, lowers: &[MountSource], origin: &Origin) -> Result<Overlay, Error> {
    let mut builder = Lowers::builder();
    for lower in lowers {
        builder = builder.dir(open_lower(lower)?);
    }
    let upper = match upper {
        Upper::Memory => MemFs::new().upper(),
        Upper::Dir { path, origin } => {
            upper_dir::refuse_inside(path, origin, &host_dirs(lowers))?;
            upper_dir::create(path, origin)?
        }
    };
    let lowers = builder.build().map_err(|errno| overlay_error(origin, errno))?;
    Overlay::new(upper, &lowers).map_err(|errno| overlay_error(origin, errno))
}

fn overlay_error(origin: &Origin, errno: Errno) -> Error {
    origin.locate(MountError::Overlay { option: origin.name(), why: errno.to_string() })
}

/// Returns the host directories that the sources read in place, at any nesting.
fn host_dirs(sources: &[MountSource]) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    let mut pending: Vec<&MountSource> = sources.iter().collect();
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

fn copy(origin: &Origin, path: &Path) -> Result<DirRef, Error> {
    let from = open_dir(origin, path)?;
    let to = MemFs::new().root();
    let report = copy_tree(&from, &to).map_err(|errno: Errno| {
        let (option, path, why) = (origin.name(), path.to_owned(), errno.to_string());
        origin.locate(MountError::Copy { option, path, why })
    })?;
    if report.specials > 0 {
        note_skipped(origin, path, &report.left_out);
    }
    Ok(to)
}

fn open_dir(origin: &Origin, path: &Path) -> Result<DirRef, Error> {
    HostDir::open_ambient(path).map_err(|why| {
        origin.locate(HostError::OpenDir { option: origin.name(), path: path.to_owned(), why })
    })
}

/// Opens the parent directory of a host file. Returns it with the name of the file.
fn open_parent(host: &Path, mount: &Mount) -> Result<(DirRef, String), Error> {
    let origin = &mount.source.origin;
    let Some(name) = host.file_name().and_then(|name| name.to_str()) else {
        return Err(file_error(origin, host, "the path has no file name".to_owned()));
    };
    let parent = match host.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((with_access(open_dir(origin, parent)?, mount.access), name.to_owned()))
}

fn file_error(origin: &Origin, path: &Path, why: String) -> Error {
    origin.locate(MountError::File { option: origin.name(), path: path.to_owned(), why })
}

fn with_access(dir: DirRef, access: Access) -> DirRef {
    match access {
        Access::ReadWrite => dir,
        Access::ReadOnly => read_only(dir),
    }
}

fn open_image(origin: &Origin, path: &Path) -> Result<DirRef, Error> {
    let image = Image::open_ambient(path).map_err(|why| {
        origin.locate(MountError::Image { option: origin.name(), path: path.to_owned(), why })
    })?;
    let host = escape::name(path).to_string();
    image_notes::print_notes(origin.name(), &host, image.omitted(), image.notes());
    Ok(image.root())
}

fn note_skipped(origin: &Origin, path: &Path, names: &[String]) {
    let (option, host, names) = (origin.name(), escape::name(path), quoted_list(names));
    print::err(&format!("note: {option} `{host}`: skipped devices, sockets and FIFOs: {names}\n"));
}
