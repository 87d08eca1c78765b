//! Path resolution of the model, component by component.

use palisade_vfs::{Errno, FileType, Follow};

use super::{Ino, Model, NodeData, Res};

/// The maximum number of symbolic links in one resolution.
const LINKS_MAX: u32 = 40;

/// The last component of a path.
pub(super) enum LastComponent {
    /// A name in a directory, and whether trailing slashes follow.
    Name { dir: Ino, name: String, slash: bool },
    /// `.` (false) or `..` (true).
    Dots(bool),
}

/// A resolution in progress: the directories from the start to the current one.
struct Trail<'m> {
    model: &'m Model,
    dirs: Vec<Ino>,
    links: u32,
}

impl Model {
    /// Returns the node at a path.
    pub(super) fn resolve(&self, start: Ino, path: &str, last: Follow) -> Res<Ino> {
        check(path)?;
        self.trail(start).node(path, last)
    }

    /// Resolves a path up to its last component; a symbolic link there is not followed.
    pub(super) fn place(&self, start: Ino, path: &str) -> Res<LastComponent> {
        check(path)?;
        self.trail(start).place(path)
    }

    /// Resolves a path for file creation, which follows symbolic links to missing names.
    pub(super) fn place_created(&self, start: Ino, path: &str, last: Follow) -> Res<LastComponent> {
        check(path)?;
        let mut trail = self.trail(start);
        let mut path = path.to_owned();
        loop {
            let place = trail.place(&path)?;
            let LastComponent::Name { dir, name, slash: false } = &place else { return Ok(place) };
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
            Some(NodeData::Link(target)) => Some(target),
            _ => None,
        }
    }
}

/// Rejects invalid paths.
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

    /// Counts a followed link and returns its target.
    fn follow(&mut self, target: &str) -> Res<String> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::Loop);
        }
        check(target)?;
        Ok(target.to_owned())
    }

    /// Resolves all components except the last.
    fn place(&mut self, path: &str) -> Res<LastComponent> {
        let trimmed = path.trim_end_matches('/');
        let slash = trimmed.len() < path.len();
        let (before, last) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        for part in before.split('/') {
            self.enter(part)?;
        }
        match last {
            // A path of slashes only, which `check` has rejected.
            "" => Err(Errno::Escape),
            "." => Ok(LastComponent::Dots(false)),
            ".." => {
                self.up()?;
                Ok(LastComponent::Dots(true))
            }
            name if name.len() > 255 => Err(Errno::Nametoolong),
            name => Ok(LastComponent::Name { dir: self.here()?, name: name.to_owned(), slash }),
        }
    }

    /// Enters the directory of one component.
    fn enter(&mut self, part: &str) -> Res<()> {
        match part {
            "" | "." => Ok(()),
            ".." => self.up(),
            name => {
                let node = self.lookup(name)?;
                self.settle(node, true)
            }
        }
    }

    fn lookup(&self, name: &str) -> Res<Ino> {
        if name.len() > 255 {
            return Err(Errno::Nametoolong);
        }
        self.model.child(self.here()?, name).ok_or(Errno::Noent)
    }

    /// Appends `node` to the trail, following a symbolic link. With `must_be_dir` it must be a
    /// directory.
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

    /// Resolves a whole path, which becomes the end of the trail.
    fn node(&mut self, path: &str, last: Follow) -> Res<Ino> {
        match self.place(path)? {
            LastComponent::Dots(_) => {}
            LastComponent::Name { name, slash, .. } => {
                let node = self.lookup(&name)?;
                if last == Follow::No && !slash && self.model.kind(node) == FileType::Symlink {
                    return Ok(node);
                }
                self.settle(node, slash)?;
            }
        }
        self.here()
    }
}
