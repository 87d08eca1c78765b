//! Cookies of directory streams over a filesystem whose own cookies are hashes of 63 bits.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, Follow, MemFs, Name, Node, OpenFlags,
    OpenHow, Result, SetTimes, Stat, Stop, path,
};

use crate::{Config, Dots, Fd, Limits, Process};

/// The first preopened directory.
const ROOT: Fd = 3;

/// A directory in the order of its cookies, which are hashes of names, as on ext4.
struct HashDir {
    inner: DirRef,
    /// The number of entries that listings have returned.
    listed: Arc<AtomicUsize>,
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    (hasher.finish() >> 1).max(1)
}

#[deny(clippy::missing_trait_methods)]
impl Dir for HashDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.inner.open(path, how)
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut entries = Vec::new();
        self.inner.read_dir(Cookie::START, &mut |entry| {
            let name = entry.name.as_str().to_owned();
            entries.push((hash(&name), name, entry.kind, entry.ino));
            ControlFlow::Continue(())
        })?;
        entries.sort_unstable_by_key(|entry| entry.0);
        for (cookie, name, kind, ino) in entries.iter().filter(|entry| entry.0 > from.0) {
            self.listed.fetch_add(1, Ordering::Relaxed);
            let name = Name::new(name)?;
            if each(Entry { name, kind: *kind, ino: *ino, next: Cookie(*cookie) }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.inner.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner.rename(name, into, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner.link(name, into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

struct Guest {
    process: Process,
    root: DirRef,
    listed: Arc<AtomicUsize>,
}

impl Guest {
    /// Starts a guest with the files `f0` to `f(count - 1)` and a limit of positions.
    fn new(count: usize, positions_max: u32) -> Self {
        let (root, listed) = (MemFs::new().root(), Arc::<AtomicUsize>::default());
        let limits = Limits { positions_max, ..Limits::default() };
        let dir = HashDir { inner: Arc::clone(&root), listed: Arc::clone(&listed) };
        let config = Config::builder().preopen("/", Arc::new(dir)).limits(limits);
        let guest = Guest { process: config.build().unwrap().start(), root, listed };
        (0..count).for_each(|n| guest.create(&format!("f{n}")));
        guest
    }

    fn create(&self, name: &str) {
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
        path::open(&*self.root, name, Follow::No, how).unwrap();
    }

    fn remove(&self, name: &str) {
        path::remove_file(&*self.root, name).unwrap();
    }

    /// Returns at most `room` entries from the cookie `from` on, each with the cookie after it.
    fn try_list(&self, from: u64, room: usize) -> Result<Vec<(String, u64)>> {
        let mut entries = Vec::new();
        self.process.read_dir(ROOT, from, Dots::With, &mut |entry| {
            // As for `fd_readdir`, the last entry is truncated: its cookie is not returned.
            if entries.len() == room {
                return ControlFlow::Break(());
            }
            entries.push((entry.name.to_owned(), entry.next));
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    fn list(&self, from: u64, room: usize) -> Vec<(String, u64)> {
        self.try_list(from, room).unwrap()
    }

    /// Lists the directory with a call for every `room` entries.
    fn list_in_parts(&self, room: usize) -> Vec<(String, u64)> {
        let (mut entries, mut from) = (Vec::new(), 0);
        loop {
            let part = self.list(from, room);
            let Some((_, next)) = part.last() else { return entries };
            from = *next;
            entries.extend(part);
        }
    }
}

/// Returns the indices below `len` in a shuffled order.
fn shuffled(len: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..len).collect();
    indices.sort_unstable_by_key(|index| hash(&index.to_string()));
    indices
}

#[test]
fn cookies_are_small_and_equal_in_every_pass() {
    let guest = Guest::new(3000, 1 << 16);
    let entries = guest.list(0, usize::MAX);
    assert_eq!(entries.len(), 3002);
    let cookies: Vec<u64> = entries.iter().map(|entry| entry.1).collect();
    assert_eq!(cookies, (1..=3002).collect::<Vec<u64>>());
    for room in [7, 1023, 1024, 1025, 3002] {
        assert_eq!(guest.list_in_parts(room), entries, "{room}");
    }
}

#[test]
fn seek_to_each_cookie_in_random_order() {
    // The first limit keeps each position, the others every second, 32nd, 64th and 2048th.
    for (count, positions_max, seeks) in
        [(400, 1 << 16, 400), (400, 300, 400), (400, 20, 400), (400, 6, 400), (5000, 2, 10)]
    {
        let guest = Guest::new(count, positions_max);
        let entries = guest.list_in_parts(97);
        for index in shuffled(entries.len()).into_iter().take(seeks) {
            let rest = &entries[index + 1..];
            let expected = &rest[..rest.len().min(3)];
            assert_eq!(guest.list(entries[index].1, 3), expected, "{positions_max} {index}");
        }
        // The passes after the seeks give the same cookies.
        assert_eq!(guest.list_in_parts(1000), entries, "{positions_max}");
    }
}

#[test]
fn cookies_stay_valid_while_entries_are_removed_and_created() {
    let guest = Guest::new(1500, 1 << 16);
    let before = guest.list_in_parts(100);
    let names = |entries: Vec<(String, u64)>| -> Vec<String> {
        entries.into_iter().map(|entry| entry.0).collect()
    };
    for round in 0..5 {
        for n in (0..1500).filter(|n| n % 7 == round) {
            guest.remove(&format!("f{n}"));
            guest.create(&format!("new{n}"));
        }
        let now = guest.list_in_parts(100);
        for index in shuffled(before.len()).into_iter().take(60) {
            let (name, cookie) = &before[index];
            let after = match index {
                0 | 1 => now.iter().filter(|entry| entry.0 != "." && entry.0 != "..").count(),
                _ => {
                    now.iter().filter(|e| !e.0.starts_with('.') && hash(&e.0) > hash(name)).count()
                }
            };
            let after = after + usize::from(index == 0);
            let expected: Vec<_> = now[now.len() - after..].iter().map(|e| e.0.clone()).collect();
            assert_eq!(names(guest.list(*cookie, usize::MAX)), expected, "{round} {name}");
        }
        let cookies = before.iter().chain(&now).map(|entry| entry.1);
        assert!(cookies.max().unwrap() <= i32::MAX as u64);
    }
}

/// A listing continues exactly where the last call ended, with any limit.
#[test]
fn removal_of_each_listed_entry_skips_none() {
    for positions_max in [1 << 16, 10, 1] {
        let guest = Guest::new(500, positions_max);
        let (mut from, mut removed) = (0, 0);
        loop {
            let part = guest.list(from, 9);
            let Some((_, next)) = part.last() else { break };
            from = *next;
            for (name, _) in part.iter().filter(|entry| !entry.0.starts_with('.')) {
                guest.remove(name);
                removed += 1;
            }
        }
        assert_eq!(removed, 500, "{positions_max}");
        assert_eq!(guest.list(0, usize::MAX).len(), 2, "{positions_max}");
        // The end of the directory: entries that are created later may follow.
        assert_eq!(guest.list(from, usize::MAX), [], "{positions_max}");
    }
}

#[test]
fn seek_reads_few_entries_over_the_limit_of_positions() {
    let guest = Guest::new(5000, 100);
    let entries = guest.list_in_parts(1000);
    for index in shuffled(entries.len()).into_iter().take(100) {
        let before = guest.listed.load(Ordering::Relaxed);
        guest.list(entries[index].1, 1);
        let read = guest.listed.load(Ordering::Relaxed) - before;
        // One or two batches.
        assert!(read <= 2 * Limits::LISTING_ENTRIES_MAX, "{index}: {read}");
    }
}

#[test]
fn unknown_cookie_is_einval() {
    let guest = Guest::new(10, 1 << 16);
    let unknown = |from| assert_eq!(guest.try_list(from, 9), Err(Errno::Inval), "{from}");
    [3, 1 << 31, 1 << 40, 1 << 62, u64::MAX].into_iter().for_each(unknown);
    assert_eq!(guest.list(0, usize::MAX).len(), 12);
    assert_eq!(guest.list(12, 9), []);
    [13, 1 << 31, (1 << 32) + 3, u64::MAX].into_iter().for_each(unknown);
}
