//! A depth-first tree walk with a bounded number of open directories.
//!
//! The stack has one frame per directory from the root to the current one: the remaining names and
//! the visitor's data. Only a few frames keep their directory open. At depth `d`, frame `i` stays
//! open while `d - i` is less than twice the largest power of two that divides `i`: about one frame
//! for each power of two, so a tree 100,000 directories deep takes 18 open directories.
//!
//! A closed directory is reopened when the walk returns to it: name by name from the nearest open
//! ancestor. Frames on that way that the rule keeps are reopened too, which halves each run of
//! closed frames, so a walk enters a directory `O(log depth)` times.
//!
//! A `..` lookup would be cheaper, but a [`Dir`] has no way up, and that invariant is worth the
//! logarithm. A reopened directory must have the identity that it had when it was closed, or the
//! walk fails with `ESTALE`: a concurrent rename can end a walk but cannot redirect it.
//!
//! Nothing here recurses, and only the current path is kept as text.

use std::ops::ControlFlow;

use crate::shared_path::SharedPath;
use crate::{Cookie, Descent, Dir, DirRef, Errno, Name, OpenHow, Result, Stop, bug};

/// An errno and the path that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// The path: names joined by slashes, empty for the root.
    pub path: String,
    /// The errno.
    pub errno: Errno,
}

impl From<PathError> for Errno {
    fn from(error: PathError) -> Errno {
        error.errno
    }
}

/// Adds a path to an errno.
pub(crate) trait At<T> {
    fn at(self, path: &str) -> Result<T, PathError>;
}

impl<T> At<T> for Result<T> {
    fn at(self, path: &str) -> Result<T, PathError> {
        self.map_err(|errno| PathError { path: path.to_owned(), errno })
    }
}

/// A directory that a walk can close and reopen.
pub(crate) trait WalkDir: Sized {
    /// The identity of a directory.
    type Id: PartialEq;

    /// Opens the subdirectory `name` without following a link.
    fn enter(&self, name: Name<'_>) -> Result<Self>;

    fn id(&self) -> Result<Self::Id>;
}

impl WalkDir for DirRef {
    type Id = (u64, u64);

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        match self.open(name.into(), OpenHow::HOLD_DIR) {
            Ok(node) => node.into_dir(),
            Err(Stop::Errno(errno)) => Err(errno),
            // A link has replaced the directory.
            Err(Stop::Link { .. }) => Err(Errno::Stale),
        }
    }

    fn id(&self) -> Result<(u64, u64)> {
        id_of(&**self)
    }
}

/// A pair of directories, for walking two trees in lockstep.
impl<A: WalkDir, B: WalkDir> WalkDir for (A, B) {
    type Id = (A::Id, B::Id);

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        Ok((self.0.enter(name)?, self.1.enter(name)?))
    }

    fn id(&self) -> Result<Self::Id> {
        Ok((self.0.id()?, self.1.id()?))
    }
}

/// Returns the identity of a directory: device and inode number.
pub(crate) fn id_of(dir: &dyn Dir) -> Result<(u64, u64)> {
    match dir.stat(Descent::HERE) {
        Ok(stat) => Ok((stat.dev, stat.ino)),
        Err(Stop::Errno(errno)) => Err(errno),
        Err(Stop::Link { .. }) => Err(Errno::Stale),
    }
}

/// A directory to visit.
pub(crate) struct Entered<D, T> {
    pub(crate) dir: D,
    /// The names to visit, in this order.
    pub(crate) names: Vec<Box<str>>,
    pub(crate) data: T,
}

/// A visited name and its parent directory.
pub(crate) struct Visit<'a, D, T> {
    /// The parent directory.
    pub(crate) dir: &'a D,
    pub(crate) data: &'a mut T,
    pub(crate) dir_path: &'a SharedPath,
    pub(crate) name: Name<'a>,
    /// The path of the name.
    pub(crate) path: &'a str,
}

impl<D, T> Visit<'_, D, T> {
    /// Returns the path of the name as a [`SharedPath`].
    pub(crate) fn shared_path(&self) -> SharedPath {
        self.dir_path.join(self.name.as_str())
    }
}

/// A directory whose names have all been visited.
pub(crate) struct Leave<'a, D, T> {
    pub(crate) dir: &'a D,
    pub(crate) data: &'a mut T,
    pub(crate) dir_path: &'a SharedPath,
    /// The text of `dir_path`.
    pub(crate) path: &'a str,
}

/// A directory to visit, of visitor `V`.
type EnteredBy<V> = Entered<<V as Visitor>::Dir, <V as Visitor>::Data>;
/// A visited name, of visitor `V`.
type VisitBy<'a, V> = Visit<'a, <V as Visitor>::Dir, <V as Visitor>::Data>;

/// The callbacks of a walk.
pub(crate) trait Visitor {
    type Dir: WalkDir;
    /// The data of each directory from the root to the current one.
    type Data;
    type Error: From<PathError>;

    /// Visits a name. Returns its directory if the walk should visit its content.
    fn node(&mut self, at: VisitBy<'_, Self>) -> Result<Option<EnteredBy<Self>>, Self::Error>;

    /// Called after all names of a directory have been visited, while the directory is open.
    fn leave(&mut self, _at: Leave<'_, Self::Dir, Self::Data>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Called after the directory `at.name` has been left and closed.
    fn left(&mut self, _at: VisitBy<'_, Self>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Reopens the directory that [`Visitor::node`] returned with `data` for `name`.
    fn enter_again(
        &self,
        parent: &Self::Dir,
        name: Name<'_>,
        _data: &Self::Data,
    ) -> Result<Self::Dir> {
        parent.enter(name)
    }
}

struct Frame<D: WalkDir, T> {
    dir: Handle<D>,
    names: std::vec::IntoIter<Box<str>>,
    data: T,
    path: SharedPath,
    /// The length of the path's text in bytes.
    path_len: usize,
}

enum Handle<D: WalkDir> {
    Open(D),
    Closed { id: D::Id },
}

struct Walk<'v, V: Visitor> {
    visitor: &'v mut V,
    frames: Vec<Frame<V::Dir, V::Data>>,
    /// The path of the last visited name.
    path: String,
}

/// Walks a tree depth-first.
///
/// # Errors
///
/// - Those of the visitor and of the directories.
/// - `ESTALE`: a directory was replaced since the walk entered it.
pub(crate) fn walk<V: Visitor>(root: EnteredBy<V>, visitor: &mut V) -> Result<(), V::Error> {
    let mut walk = Walk { visitor, frames: Vec::new(), path: String::new() };
    walk.push(root, SharedPath::default())?;
    while !walk.frames.is_empty() {
        walk.step()?;
    }
    Ok(())
}

impl<V: Visitor> Walk<'_, V> {
    /// Visits the next name of the last directory, or leaves the directory.
    fn step(&mut self) -> Result<(), V::Error> {
        self.open_last()?;
        let Walk { visitor, frames, path } = self;
        let Some(Frame { dir: Handle::Open(dir), names, data, path: dir_path, path_len }) =
            frames.last_mut()
        else {
            return Ok(Err(bug!("the last directory of a walk is closed")).at(path)?);
        };
        path.truncate(*path_len);
        let Some(name) = names.next() else {
            visitor.leave(Leave { dir, data, dir_path, path })?;
            return self.pop();
        };
        join(path, &name);
        let name = Name::new(&name).at(path)?;
        let entered = visitor.node(Visit { dir, data, dir_path, name, path })?;
        if let Some(entered) = entered {
            let path = dir_path.join(name.as_str());
            self.push(entered, path)?;
        }
        Ok(())
    }

    fn push(&mut self, entered: EnteredBy<V>, path: SharedPath) -> Result<(), V::Error> {
        let Entered { dir, names, data } = entered;
        let (names, path_len) = (names.into_iter(), self.path.len());
        self.frames.push(Frame { dir: Handle::Open(dir), names, data, path, path_len });
        let Some(closing) = closing(self.frames.len() - 1) else { return Ok(()) };
        if let Some(frame) = self.frames.get_mut(closing)
            && let Handle::Open(dir) = &frame.dir
        {
            let id = dir.id().at(prefix(&self.path, frame.path_len))?;
            frame.dir = Handle::Closed { id };
        }
        Ok(())
    }

    /// Closes the last directory and returns to its parent.
    fn pop(&mut self) -> Result<(), V::Error> {
        let Some(Frame { path: left, .. }) = self.frames.pop() else { return Ok(()) };
        self.open_last()?;
        let Walk { visitor, frames, path } = self;
        let Some(Frame { dir: Handle::Open(dir), data, path: dir_path, .. }) = frames.last_mut()
        else {
            return Ok(());
        };
        let name = Name::new(left.name()).at(path)?;
        visitor.left(Visit { dir, data, dir_path, name, path })
    }

    /// Reopens the last directory if it is closed, and those of its ancestors that the rule keeps
    /// open.
    fn open_last(&mut self) -> Result<(), V::Error> {
        let Some(last) = self.frames.len().checked_sub(1) else { return Ok(()) };
        let is_open = |frame: &Frame<V::Dir, V::Data>| matches!(frame.dir, Handle::Open(_));
        let Some(mut nth) = self.frames.iter().rposition(is_open) else {
            return Ok(Err(bug!("the root of a walk is closed")).at("")?);
        };
        // A directory on the way that no frame keeps.
        let mut passed: Option<V::Dir> = None;
        while nth < last {
            let (above, below) = self.frames.split_at_mut(nth + 1);
            let (Some(above), Some(below)) = (above.last(), below.first_mut()) else { break };
            let parent = match (&passed, &above.dir) {
                (Some(dir), _) | (None, Handle::Open(dir)) => dir,
                (None, Handle::Closed { .. }) => break,
            };
            let path = prefix(&self.path, below.path_len);
            let name = Name::new(below.path.name()).at(path)?;
            let dir = self.visitor.enter_again(parent, name, &below.data).at(path)?;
            nth += 1;
            passed = None;
            if !is_kept(nth, last) {
                passed = Some(dir);
                continue;
            }
            if let Handle::Closed { id } = &below.dir
                && dir.id().at(path)? != *id
            {
                return Ok(Err(Errno::Stale).at(path)?);
            }
            below.dir = Handle::Open(dir);
        }
        Ok(())
    }
}

/// Returns the frame that the rule closes after frame `last` has been pushed.
pub(crate) fn closing(last: usize) -> Option<usize> {
    last.checked_sub(2 * lowest_bit(last)).filter(|nth| *nth > 0)
}

/// Returns whether frame `nth` stays open while frame `last` is the last one.
fn is_kept(nth: usize, last: usize) -> bool {
    nth == 0 || last - nth < 2 * lowest_bit(nth)
}

/// Returns the largest power of two that divides a number; 0 for 0.
fn lowest_bit(number: usize) -> usize {
    number & number.wrapping_neg()
}

/// Returns the first `len` bytes of a path, which end at a name of the stack.
fn prefix(path: &str, len: usize) -> &str {
    path.get(..len).unwrap_or_else(|| bug!(""; "the path of a walk is shorter than {len} bytes"))
}

/// Appends a name to the text of a path.
fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(name);
}

/// Opens the directory at `path`, relative to `root`, keeping only the last directory open.
pub(crate) fn enter_path<D: WalkDir + Clone>(root: &D, path: &SharedPath) -> Result<D> {
    let mut dir = root.clone();
    for name in path.names() {
        dir = dir.enter(Name::new(name)?)?;
    }
    Ok(dir)
}

/// Returns the names in a directory, in byte order.
pub(crate) fn names(dir: &dyn Dir) -> Result<Vec<Box<str>>> {
    let mut names: Vec<Box<str>> = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push(entry.name.as_str().into());
        ControlFlow::Continue(())
    })?;
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// Directories that count open handles and opens.
    struct Counted {
        depth: u64,
        generation: Rc<Cell<u64>>,
        open: Rc<Cell<usize>>,
        open_max: Rc<Cell<usize>>,
        entered: Rc<Cell<usize>>,
    }

    impl Counted {
        fn new(depth: u64, other: &Counted) -> Self {
            let [open, open_max, entered] =
                [&other.open, &other.open_max, &other.entered].map(Rc::clone);
            open.set(open.get() + 1);
            open_max.set(open_max.get().max(open.get()));
            entered.set(entered.get() + 1);
            let generation = Rc::clone(&other.generation);
            Counted { depth, generation, open, open_max, entered }
        }

        fn root() -> Self {
            let (generation, open) = (Rc::default(), Rc::new(Cell::new(1)));
            let (open_max, entered) = Default::default();
            Counted { depth: 0, generation, open, open_max, entered }
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.open.set(self.open.get() - 1);
        }
    }

    impl WalkDir for Counted {
        type Id = (u64, u64);

        fn enter(&self, _name: Name<'_>) -> Result<Self> {
            Ok(Counted::new(self.depth + 1, self))
        }

        fn id(&self) -> Result<(u64, u64)> {
            Ok((self.generation.get(), self.depth))
        }
    }

    /// Descends to `depth`, with a leaf on both sides of each directory.
    struct Chain {
        depth: u64,
        visited: u64,
        left: u64,
    }

    impl Visitor for Chain {
        type Dir = Counted;
        type Data = u64;
        type Error = PathError;

        fn node(
            &mut self,
            at: Visit<'_, Counted, u64>,
        ) -> Result<Option<Entered<Counted, u64>>, PathError> {
            assert_eq!(at.dir.depth, *at.data);
            assert_eq!(at.path.len() as u64, 2 * *at.data + 1);
            self.visited += 1;
            if at.name.as_str() != "b" || *at.data == self.depth {
                return Ok(None);
            }
            Ok(Some(entered(Counted::new(*at.data + 1, at.dir))))
        }

        fn left(&mut self, at: Visit<'_, Counted, u64>) -> Result<(), PathError> {
            assert_eq!((at.dir.depth, at.name.as_str()), (*at.data, "b"));
            self.left += 1;
            Ok(())
        }
    }

    fn entered(dir: Counted) -> Entered<Counted, u64> {
        let data = dir.depth;
        Entered { dir, names: ["a", "b", "c"].map(Into::into).into(), data }
    }

    #[test]
    fn open_directories_and_reopens_grow_with_the_logarithm_of_the_depth() {
        for depth in [0, 1, 2, 3, 7, 8, 100, 1000, 10_000] {
            let root = Counted::root();
            let counts = Counted::new(0, &root);
            let mut chain = Chain { depth, visited: 0, left: 0 };
            walk(entered(root), &mut chain).unwrap();
            assert_eq!((chain.visited, chain.left), (3 * (depth + 1), depth));
            let log = usize::try_from(depth.max(2).ilog2()).unwrap();
            // In addition: the directory being reopened, and `counts` itself.
            assert!(counts.open_max.get() <= log + 5, "{depth}: {}", counts.open_max.get());
            let entered = counts.entered.get() as u64;
            assert!(entered <= depth * (log as u64 + 2) + 2, "{depth}: {entered}");
            assert_eq!(counts.open.get(), 1);
        }
    }

    #[test]
    fn replaced_directory_ends_the_walk_with_estale() {
        struct Replace(Chain);
        impl Visitor for Replace {
            type Dir = Counted;
            type Data = u64;
            type Error = PathError;

            fn node(
                &mut self,
                at: Visit<'_, Counted, u64>,
            ) -> Result<Option<Entered<Counted, u64>>, PathError> {
                if *at.data == self.0.depth {
                    at.dir.generation.set(1);
                }
                self.0.node(at)
            }
        }
        let mut replace = Replace(Chain { depth: 100, visited: 0, left: 0 });
        let failed = walk(entered(Counted::root()), &mut replace).unwrap_err();
        assert_eq!(failed.errno, Errno::Stale);
        assert!(failed.path.len() > 100);
    }
}
