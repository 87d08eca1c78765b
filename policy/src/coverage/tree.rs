//! Looks up a whole tree in a policy, so that its rules which match something in it are known.
//!
//! The walk is depth-first and keeps one frame for each directory from the root to the current one.
//! No link is followed and no file is opened.

use std::ops::ControlFlow;

use palisade_vfs::{Cookie, Dir, DirRef, Errno, FileType, Name, OpenHow, Result, Stop};

use crate::Policy;

/// Directories that could not be read and are named.
const UNREAD_NAMED_MAX: usize = 8;

/// What [`Policy::visit_tree`] went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeVisit {
    /// The names that were looked up in the policy.
    pub names: u64,
    /// The directories that could not be read: rules may match something in them.
    pub unread: Unread,
}

/// Directories that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unread {
    /// How many.
    pub count: u64,
    /// The first of them, by their paths, each with the reason.
    pub first: Vec<(String, Errno)>,
}

impl Policy {
    /// Looks up each name of the tree `dir`, which the guest knows as `guest_path`, so that
    /// [`Policy::unmatched_rules`] leaves out the rules that match something in it. The policy has
    /// to track its rules: see [`Policy::track_rules`].
    ///
    /// A directory is not read if all rules that can match in it have matched already.
    pub fn visit_tree(&self, dir: &DirRef, guest_path: &str) -> TreeVisit {
        let mut names = 0;
        let state = self.at(guest_path);
        self.visit(state);
        let unread = walk(dir, guest_path, state, &mut |entry, above| {
            names += 1;
            let state = self.step(*above, entry.name);
            self.visit(state);
            (!self.is_covered_beneath(state)).then_some(state)
        });
        TreeVisit { names, unread }
    }
}

/// A name that a walk meets.
pub(super) struct Met<'a> {
    pub(super) name: Name<'a>,
    /// The guest's path of it.
    pub(super) path: &'a str,
}

/// A directory on the way, with what is kept for it.
struct Frame<T> {
    dir: DirRef,
    names: Vec<(Box<str>, FileType)>,
    /// Bytes of the path's text.
    path_len: usize,
    data: T,
}

/// Calls `each` for every name in the tree `dir`, with what was kept for its directory. What it
/// returns for a directory is kept for that one; without it, the directory is not read.
pub(super) fn walk<T>(
    dir: &DirRef,
    guest_path: &str,
    data: T,
    each: &mut dyn FnMut(Met<'_>, &T) -> Option<T>,
) -> Unread {
    let mut path = format!("/{}", guest_path.trim_matches('/'));
    let mut unread = Unread::default();
    let mut frames = Vec::new();
    match names_of(&**dir) {
        Ok(names) => {
            frames.push(Frame { dir: dir.clone(), names, path_len: path.len(), data });
        }
        Err(errno) => unread.add(&path, errno),
    }
    while let Some(Frame { dir, names, path_len, data }) = frames.last_mut() {
        path.truncate(*path_len);
        let Some((name, kind)) = names.pop() else {
            frames.pop();
            continue;
        };
        let Ok(name) = Name::new(&name) else { continue };
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(name.as_str());
        let kept = each(Met { name, path: &path }, data);
        let Some(data) = kept.filter(|_| kind == FileType::Dir) else { continue };
        match enter(&**dir, name).and_then(|dir| Ok((names_of(&*dir)?, dir))) {
            Ok((names, dir)) => frames.push(Frame { dir, names, path_len: path.len(), data }),
            Err(errno) => unread.add(&path, errno),
        }
    }
    unread
}

impl Unread {
    fn add(&mut self, path: &str, errno: Errno) {
        self.count += 1;
        if self.first.len() < UNREAD_NAMED_MAX {
            self.first.push((path.to_owned(), errno));
        }
    }
}

fn enter(dir: &dyn Dir, name: Name<'_>) -> Result<DirRef> {
    dir.open(name.into(), OpenHow::HOLD_DIR).map_err(Stop::without_following)?.into_dir()
}

fn names_of(dir: &dyn Dir) -> Result<Vec<(Box<str>, FileType)>> {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push((entry.name.as_str().into(), entry.kind));
        ControlFlow::Continue(())
    })?;
    Ok(names)
}
