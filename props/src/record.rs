//! Everything that can be seen of a filesystem, to see whether anything changed; and whether what
//! is seen agrees with itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, Descent, Dir, Errno, FileType, OpenFlags, OpenHow, Result, Stat, Stop,
    Timestamp,
};

use crate::tree::{NODES_MAX, Tree};

/// All that can be seen beneath a directory: the tree, and for each node, the root included, its
/// type, identity, size, number of names and times.
///
/// The time of the last access is not a part of it: the look itself may change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    tree: Tree,
    nodes: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: FileType,
    id: (u64, u64),
    nlink: u64,
    size: u64,
    modified: Timestamp,
    changed: Timestamp,
}

impl Node {
    fn of(stat: &Stat) -> Self {
        Node {
            kind: stat.kind,
            id: (stat.dev, stat.ino),
            nlink: stat.nlink,
            size: stat.size,
            modified: stat.modified,
            changed: stat.changed,
        }
    }
}

impl Record {
    /// Looks at everything.
    ///
    /// Errors: those of [`Tree::snapshot`].
    pub fn of(root: &dyn Dir) -> Result<Record> {
        let tree = Tree::snapshot(root)?;
        let mut nodes = BTreeMap::new();
        for path in std::iter::once("").chain(tree.iter().map(|(path, _)| path)) {
            let stat = root.stat(Descent::new(path)?).map_err(errno)?;
            nodes.insert(path.to_owned(), Node::of(&stat));
        }
        Ok(Record { tree, nodes })
    }

    /// The same without what a copy may change although nothing that counts has: the times of the
    /// last change of metadata, and what a directory says of its size and names.
    #[must_use]
    pub fn essence(mut self) -> Self {
        for node in self.nodes.values_mut() {
            node.changed = Timestamp::EPOCH;
            if node.kind == FileType::Dir {
                (node.size, node.nlink) = (0, 0);
            }
        }
        self
    }

    /// What is where.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// When each path was last changed.
    pub fn modified(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node.modified))
    }

    /// What differs, a line each. Empty if nothing does.
    #[must_use]
    pub fn diff(&self, other: &Record) -> String {
        let mut out = self.tree.diff(&other.tree);
        for (path, before) in &self.nodes {
            if let Some(after) = other.nodes.get(path)
                && before != after
            {
                out.push_str(&format!("`{path}` was {before:?}\n  and is {after:?}\n"));
            }
        }
        out
    }
}

/// Whether what is seen beneath a directory agrees with itself.
///
/// What is listed can be opened, held and looked at, or is `Acces`; a listing says of each node
/// what the node says of itself; no number is 0; a node has as many names as it says; two listings
/// are equal, and one that begins at a cookie goes on where that one ended; no name is listed
/// twice.
///
/// Errors: the first disagreement, in a sentence.
pub fn consistent(root: &dyn Dir) -> Result<(), String> {
    let mut pending = vec![String::new()];
    let mut names: BTreeMap<(u64, u64), (String, u64, u64)> = BTreeMap::new();
    let mut count = 0;
    while let Some(dir_path) = pending.pop() {
        let at = Descent::new(&dir_path).map_err(|it| it.to_string())?;
        let dir = match root.open(at, LIST) {
            Ok(node) => node.into_dir().map_err(|it| it.to_string())?,
            Err(Stop::Errno(Errno::Acces)) => continue,
            Err(stop) => return Err(format!("`{dir_path}` is listed and cannot be: {stop:?}")),
        };
        for (name, kind, ino) in listing(&*dir).map_err(|what| format!("`{dir_path}`: {what}"))? {
            count += 1;
            if count > NODES_MAX {
                return Err("there is no end of it".to_owned());
            }
            let path =
                if dir_path.is_empty() { name.clone() } else { format!("{dir_path}/{name}") };
            let say = |what: String| format!("`{path}` is listed, and {what}");
            let Some(stat) = entry(&*dir, &name, kind, ino).map_err(say)? else { continue };
            if kind == FileType::Dir {
                pending.push(path);
            } else {
                let id = (stat.dev, stat.ino);
                names.entry(id).or_insert((path, stat.nlink, 0)).2 += 1;
            }
        }
    }
    for (path, nlink, found) in names.values() {
        if nlink != found {
            return Err(format!("`{path}` says that it has {nlink} names and has {found}"));
        }
    }
    Ok(())
}

const LIST: OpenHow = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);

fn errno(stop: Stop) -> Errno {
    match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Loop,
    }
}

/// Looks at one entry in every way; `None` for what may not be seen.
fn entry(dir: &dyn Dir, name: &str, kind: FileType, ino: u64) -> Result<Option<Stat>, String> {
    let path = Descent::new(name).map_err(|it| format!("is no name: {it}"))?;
    let stat = match dir.stat(path) {
        Ok(stat) => stat,
        Err(Stop::Errno(Errno::Acces)) => return Ok(None),
        Err(stop) => return Err(format!("cannot be looked at: {stop:?}")),
    };
    if stat.kind != kind || stat.ino != ino {
        return Err(format!("was listed as {kind:?} {ino}: {stat:?}"));
    }
    if ino == 0 {
        return Err("has the number 0".to_owned());
    }
    match dir.stat_following(path) {
        Ok(followed) if kind != FileType::Symlink && followed == stat => {}
        Err(Stop::Link { at: 0, .. }) if kind == FileType::Symlink => {}
        other => return Err(format!("is {stat:?}, and to who follows {other:?}")),
    }
    for how in [OpenHow::HOLD, OpenHow::READ] {
        match (dir.open(path, how), kind) {
            (Ok(_), FileType::Dir | FileType::File) => {}
            (Err(Stop::Link { .. }), FileType::Symlink) => {}
            (Err(Stop::Errno(Errno::Acces)), _) => {}
            (Err(Stop::Errno(Errno::Nxio)), FileType::Fifo | FileType::Socket) => {}
            (Ok(_), FileType::CharDevice) => {}
            (Ok(_), _) => return Err(format!("is {kind:?}, and opens")),
            (Err(stop), _) => return Err(format!("opens with {how:?} as {stop:?}")),
        }
    }
    Ok(Some(stat))
}

type Listed = (String, FileType, u64);

/// A whole listing, read in every way.
pub(crate) fn listing(dir: &dyn Dir) -> Result<Vec<Listed>, String> {
    let whole = listed_from(dir, Cookie::START)?;
    let mut names: Vec<_> = whole.iter().map(|(entry, _)| &entry.0).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(format!("{pair:?} are both listed"));
    }
    for (nth, (_, next)) in whole.iter().enumerate() {
        let rest = listed_from(dir, *next)?;
        if whole.get(nth + 1..) != Some(&*rest) {
            return Err(format!("behind {next:?} of {whole:?} there is {rest:?}"));
        }
    }
    if listed_from(dir, Cookie::START)? != whole {
        return Err("two listings differ".to_owned());
    }
    Ok(whole.into_iter().map(|(entry, _)| entry).collect())
}

/// Entries and the cookies behind them.
pub(crate) fn listed_from(dir: &dyn Dir, from: Cookie) -> Result<Vec<(Listed, Cookie)>, String> {
    let mut out = Vec::new();
    dir.read_dir(from, &mut |entry| {
        out.push(((entry.name.as_str().to_owned(), entry.kind, entry.ino), entry.next));
        if out.len() > NODES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(|errno| format!("it cannot be listed: {errno}"))?;
    Ok(out)
}
