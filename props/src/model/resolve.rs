//! From a path to an inode, one component after the other.

use palisade_vfs::{Errno, FileType, Follow};

use super::{Body, Ino, Model, Res};

/// Links that one resolution follows.
const LINKS_MAX: u32 = 40;

/// Where the last component of a path is.
pub(super) enum Place {
    /// A name in a directory, and whether slashes follow it.
    Name { dir: Ino, name: String, slash: bool },
    /// `.` or, if it goes up, `..`.
    Dots(bool),
}

/// A resolution under way: the directories from the start down to here.
struct Trail<'m> {
    model: &'m Model,
    dirs: Vec<Ino>,
    links: u32,
}

impl Model {
    /// The node that a path leads to.
    pub(super) fn resolve(&self, start: Ino, path: &str, last: Follow) -> Res<Ino> {
        check(path)?;
        self.trail(start).node(path, last)
    }

    /// Where the last component of a path is; a link there is not followed, slashes or not.
    pub(super) fn place(&self, start: Ino, path: &str) -> Res<Place> {
        check(path)?;
        self.trail(start).place(path)
    }

    /// Where a file would be created: through links, as long as they lead on.
    pub(super) fn place_created(&self, start: Ino, path: &str, last: Follow) -> Res<Place> {
        check(path)?;
        let mut trail = self.trail(start);
        let mut path = path.to_owned();
        loop {
            let place = trail.place(&path)?;
            let Place::Name { dir, name, slash: false } = &place else { return Ok(place) };
            match (self.child(*dir, name).and_then(|node| self.target(node)), last) {
                (Some(target), Follow::Yes) => path = trail.follow(target)?,
                _ => return Ok(place),
            }
        }
    }

    fn trail(&self, start: Ino) -> Trail<'_> {
        Trail { model: self, dirs: vec![start], links: 0 }
    }

    fn target(&self, node: Ino) -> Option<&str> {
        match self.nodes.get(&node).map(|node| &node.body) {
            Some(Body::Link(target)) => Some(target),
            _ => None,
        }
    }
}

/// Refuses what no path is.
fn check(path: &str) -> Res<()> {
    match path {
        "" => Err(Errno::Noent),
        long if long.len() >= 4096 => Err(Errno::Nametoolong),
        nul if nul.contains('\0') => Err(Errno::Inval),
        absolute if absolute.starts_with('/') => Err(Errno::Escape),
        _ => Ok(()),
    }
}

impl Trail<'_> {
    fn here(&self) -> Res<Ino> {
        self.dirs.last().copied().ok_or(Errno::Escape)
    }

    fn up(&mut self) -> Res<()> {
        self.dirs.pop();
        self.here().map(|_| ())
    }

    /// Counts a link, and answers the text to go on with.
    fn follow(&mut self, target: &str) -> Res<String> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::Loop);
        }
        check(target)?;
        Ok(target.to_owned())
    }

    /// Goes through all components but the last.
    fn place(&mut self, path: &str) -> Res<Place> {
        let trimmed = path.trim_end_matches('/');
        let slash = trimmed.len() < path.len();
        let (before, last) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        for part in before.split('/') {
            self.enter(part)?;
        }
        match last {
            // The path is nothing but slashes, which `check` has refused.
            "" => Err(Errno::Escape),
            "." => Ok(Place::Dots(false)),
            ".." => {
                self.up()?;
                Ok(Place::Dots(true))
            }
            name if name.len() > 255 => Err(Errno::Nametoolong),
            name => Ok(Place::Name { dir: self.here()?, name: name.to_owned(), slash }),
        }
    }

    /// Goes into the directory that one component leads to.
    fn enter(&mut self, part: &str) -> Res<()> {
        match part {
            "" | "." => Ok(()),
            ".." => self.up(),
            name => {
                let node = self.look(name)?;
                self.settle(node, true)
            }
        }
    }

    fn look(&self, name: &str) -> Res<Ino> {
        if name.len() > 255 {
            return Err(Errno::Nametoolong);
        }
        self.model.child(self.here()?, name).ok_or(Errno::Noent)
    }

    /// Makes `node` the end of the trail, through a link; it must be a directory if asked for.
    fn settle(&mut self, node: Ino, must_be_dir: bool) -> Res<()> {
        match self.model.kind(node) {
            FileType::Dir => self.dirs.push(node),
            FileType::Symlink => {
                let target = self.follow(self.model.target(node).unwrap_or_default())?;
                let end = self.node(&target, Follow::Yes)?;
                if must_be_dir && !self.model.is_dir(end) {
                    return Err(Errno::Notdir);
                }
            }
            _ if must_be_dir => return Err(Errno::Notdir),
            _ => self.dirs.push(node),
        }
        Ok(())
    }

    /// Goes to the end of a path; the trail ends there too.
    fn node(&mut self, path: &str, last: Follow) -> Res<Ino> {
        match self.place(path)? {
            Place::Dots(_) => {}
            Place::Name { name, slash, .. } => {
                let node = self.look(&name)?;
                if last == Follow::No && !slash && self.model.kind(node) == FileType::Symlink {
                    return Ok(node);
                }
                self.settle(node, slash)?;
            }
        }
        self.here()
    }
}
