//! A memory filesystem, as small as can be, for the tests to lay layers on.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use super::vfs::*;

#[derive(Clone)]
enum Content {
    Dir(BTreeMap<String, u64>),
    File(Vec<u8>),
    Link(String),
}

struct Inode {
    content: Content,
    nlink: u64,
    times: [Timestamp; 2],
}

struct Disk {
    dev: u64,
    nodes: BTreeMap<u64, Inode>,
    clock: i64,
}

impl Disk {
    fn entries(&self, dir: u64) -> Result<&BTreeMap<String, u64>> {
        match &self.nodes[&dir].content {
            Content::Dir(entries) => Ok(entries),
            _ => Err(Errno::Notdir),
        }
    }
    fn change(&mut self, dir: u64) -> &mut BTreeMap<String, u64> {
        self.clock += 1;
        let now = Timestamp::new(self.clock, 0);
        let node = self.nodes.get_mut(&dir).unwrap();
        node.times[1] = now;
        match &mut node.content {
            Content::Dir(entries) => entries,
            _ => panic!("not a directory"),
        }
    }
    fn find(&self, mut at: u64, path: Descent<'_>) -> Result<u64, Stop> {
        for (depth, name) in path.names().enumerate() {
            if let Content::Link(target) = &self.nodes[&at].content {
                return Err(Stop::Link { at: depth - 1, target: target.as_str().into() });
            }
            at = *self.entries(at)?.get(name.as_str()).ok_or(Errno::Noent)?;
        }
        Ok(at)
    }
    fn get(&self, dir: u64, name: Name<'_>) -> Result<u64> {
        self.entries(dir)?.get(name.as_str()).copied().ok_or(Errno::Noent)
    }
    fn stat(&self, ino: u64) -> Stat {
        let node = &self.nodes[&ino];
        let (kind, size) = match &node.content {
            Content::Dir(_) => (FileType::Dir, 0),
            Content::File(bytes) => (FileType::File, bytes.len()),
            Content::Link(target) => (FileType::Symlink, target.len()),
        };
        Stat {
            kind,
            dev: self.dev,
            ino,
            nlink: node.nlink,
            size: size as u64,
            accessed: node.times[0],
            modified: node.times[1],
            changed: Timestamp::EPOCH,
        }
    }
    fn add(&mut self, dir: u64, name: Name<'_>, content: Content) -> Result<u64> {
        if self.get(dir, name).is_ok() {
            return Err(Errno::Exist);
        }
        if self.nodes[&dir].nlink == 0 {
            return Err(Errno::Noent);
        }
        let ino = self.nodes.last_key_value().unwrap().0 + 1;
        let times = [Timestamp::new(self.clock, 0); 2];
        self.nodes.insert(ino, Inode { content, nlink: 1, times });
        self.change(dir).insert(name.as_str().into(), ino);
        Ok(ino)
    }
    fn drop_link(&mut self, ino: u64) {
        self.nodes.get_mut(&ino).unwrap().nlink -= 1;
    }
    fn set_times(&mut self, ino: u64, times: SetTimes) {
        self.clock += 1;
        let now = Timestamp::new(self.clock, 0);
        let node = self.nodes.get_mut(&ino).unwrap();
        for (time, set) in node.times.iter_mut().zip([times.accessed, times.modified]) {
            match set {
                SetTime::Keep => {}
                SetTime::Now => *time = now,
                SetTime::At(moment) => *time = moment,
            }
        }
    }
    fn holds(&self, above: u64, below: u64) -> bool {
        above == below
            || self.entries(above).is_ok_and(|e| e.values().any(|i| self.holds(*i, below)))
    }
}

pub(crate) struct MemFs(Arc<Mutex<Disk>>);
impl MemFs {
    pub(crate) fn new() -> Self {
        let content = Content::Dir(BTreeMap::new());
        let root = Inode { content, nlink: 1, times: [Timestamp::EPOCH; 2] };
        let nodes = BTreeMap::from([(1, root)]);
        MemFs(Arc::new(Mutex::new(Disk { dev: fresh_dev(), nodes, clock: 1000 })))
    }
    pub(crate) fn root(&self) -> DirRef {
        Arc::new(Small { disk: self.0.clone(), ino: 1, access: Access::Read })
    }
}

struct Small {
    disk: Arc<Mutex<Disk>>,
    ino: u64,
    access: Access,
}

impl Small {
    fn same<'d>(&self, into: &'d dyn Dir) -> Result<&'d Small> {
        let into: &dyn Any = into;
        match into.downcast_ref::<Small>() {
            Some(into) if Arc::ptr_eq(&into.disk, &self.disk) => Ok(into),
            _ => Err(Errno::Xdev),
        }
    }
}

impl Dir for Small {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let mut disk = self.disk.lock().unwrap();
        let ino = match disk.find(self.ino, path) {
            Ok(_) if how.is_exclusive() => return Err(Errno::Exist.into()),
            Ok(ino) => ino,
            Err(Stop::Errno(Errno::Noent)) if how.creates() => {
                let (parent, name) = path.split_last().unwrap();
                let parent = disk.find(self.ino, parent)?;
                disk.add(parent, name, Content::File(Vec::new()))?
            }
            Err(stop) => return Err(stop),
        };
        let node = |ino| Small { disk: self.disk.clone(), ino, access: how.access };
        if matches!(disk.nodes[&ino].content, Content::File(_)) && how.wants_dir() {
            return Err(Errno::Notdir.into());
        }
        let disk = &mut *disk;
        disk.clock += 1;
        let held = disk.nodes.get_mut(&ino).unwrap();
        match &mut held.content {
            Content::Link(target) => {
                Err(Stop::Link { at: path.depth() - 1, target: target.as_str().into() })
            }
            Content::Dir(_) if how.refuses_dir() => Err(Errno::Isdir.into()),
            Content::Dir(_) => Ok(Node::Dir(Arc::new(node(ino)))),
            Content::File(bytes) => {
                if how.flags.contains(OpenFlags::TRUNCATE) {
                    bytes.clear();
                    held.times[1] = Timestamp::new(disk.clock, 0);
                }
                Ok(Node::File(Arc::new(node(ino))))
            }
        }
    }
    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let disk = self.disk.lock().unwrap();
        Ok(disk.stat(disk.find(self.ino, path)?))
    }
    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        let disk = self.disk.lock().unwrap();
        match &disk.nodes[&disk.get(self.ino, name)?].content {
            Content::Link(target) => Ok(target.as_str().into()),
            _ => Err(Errno::Inval),
        }
    }
    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let disk = self.disk.lock().unwrap();
        let mut all = Vec::new();
        for (name, ino) in disk.entries(self.ino)? {
            all.push((*ino, name.clone(), disk.stat(*ino).kind));
        }
        drop(disk);
        all.sort();
        for (ino, name, kind) in all {
            // Not good with hard links in one directory, which these tests do not list in parts.
            let entry = Entry { name: Name::new(&name)?, kind, ino, next: Cookie(ino) };
            if ino > from.0 && each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }
    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        let content = Content::Dir(BTreeMap::new());
        self.disk.lock().unwrap().add(self.ino, name, content).map(drop)
    }
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.disk.lock().unwrap().add(self.ino, name, Content::Link(target.into())).map(drop)
    }
    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let ino = disk.get(self.ino, name)?;
        if disk.entries(ino).is_ok() {
            return Err(Errno::Isdir);
        }
        disk.change(self.ino).remove(name.as_str());
        disk.drop_link(ino);
        Ok(())
    }
    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let ino = disk.get(self.ino, name)?;
        if !disk.entries(ino)?.is_empty() {
            return Err(Errno::Notempty);
        }
        disk.change(self.ino).remove(name.as_str());
        disk.drop_link(ino);
        Ok(())
    }
    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let mut disk = self.disk.lock().unwrap();
        let old = disk.get(self.ino, name)?;
        if disk.nodes[&into.ino].nlink == 0 {
            return Err(Errno::Noent);
        }
        if disk.holds(old, into.ino) {
            return Err(Errno::Inval);
        }
        if let Ok(new) = disk.get(into.ino, new_name) {
            if disk.holds(new, self.ino) {
                return Err(Errno::Notempty);
            }
            if old == new {
                return Ok(());
            }
            match (disk.entries(old).is_ok(), disk.entries(new)) {
                (true, Err(_)) => return Err(Errno::Notdir),
                (false, Ok(_)) => return Err(Errno::Isdir),
                (true, Ok(entries)) if !entries.is_empty() => return Err(Errno::Notempty),
                _ => disk.drop_link(new),
            }
        }
        disk.change(self.ino).remove(name.as_str());
        disk.change(into.ino).insert(new_name.as_str().into(), old);
        Ok(())
    }
    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let mut disk = self.disk.lock().unwrap();
        let old = disk.get(self.ino, name)?;
        if disk.get(into.ino, new_name).is_ok() {
            return Err(Errno::Exist);
        }
        if disk.entries(old).is_ok() {
            return Err(Errno::Perm);
        }
        if disk.nodes[&into.ino].nlink == 0 {
            return Err(Errno::Noent);
        }
        disk.change(into.ino).insert(new_name.as_str().into(), old);
        disk.nodes.get_mut(&old).unwrap().nlink += 1;
        Ok(())
    }
    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let mut disk = self.disk.lock().unwrap();
        let ino = disk.find(self.ino, path)?;
        disk.set_times(ino, times);
        Ok(())
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Small {
    fn bytes<T>(&self, writes: bool, op: impl FnOnce(&mut Vec<u8>) -> T) -> Result<T> {
        if !(if writes { self.access.writes() } else { self.access.reads() }) {
            return Err(Errno::Badf);
        }
        let mut disk = self.disk.lock().unwrap();
        disk.clock += 1;
        let now = Timestamp::new(disk.clock, 0);
        let node = disk.nodes.get_mut(&self.ino).unwrap();
        if writes {
            node.times[1] = now;
        }
        match &mut node.content {
            Content::File(bytes) => Ok(op(bytes)),
            _ => Err(Errno::Isdir),
        }
    }
}

impl File for Small {
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.bytes(false, |bytes| {
            let from = bytes.get(at(offset)..).unwrap_or_default();
            let len = from.len().min(bufs[0].len());
            bufs[0][..len].copy_from_slice(&from[..len]);
            len
        })
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.bytes(true, |bytes| {
            let end = at(offset) + bufs[0].len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[at(offset)..end].copy_from_slice(&bufs[0]);
            bufs[0].len()
        })
    }
    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<(usize, u64)> {
        self.bytes(true, |bytes| {
            bytes.extend_from_slice(&bufs[0]);
            (bufs[0].len(), bytes.len() as u64)
        })
    }
    fn stat(&self) -> Result<Stat> {
        Ok(self.disk.lock().unwrap().stat(self.ino))
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.bytes(true, |bytes| bytes.resize(at(len), 0))
    }
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.bytes(true, |bytes| bytes.resize(bytes.len().max(at(offset + len)), 0))
    }
    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.disk.lock().unwrap().set_times(self.ino, times);
        Ok(())
    }
    fn sync(&self, _scope: SyncScope) -> Result<()> {
        Ok(())
    }
}
