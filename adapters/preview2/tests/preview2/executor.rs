//! Tests that blocking calls do not block the executor.
//!
//! The filesystem blocks in each call until the current-thread runtime has polled another task, so
//! a call on the executor's thread would time out.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use palisade_kernel::{Config, Input};
use palisade_policy::{Live, Policy, confine_live};
use palisade_preview2::{PalisadeCtx, PalisadeView as _};
use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, HostDir, MemFs, Name, Node, OpenHow,
    Result, Rights, SetTimes, Stat, Stop, SyncScope,
};
use std::io::{IoSlice, IoSliceMut};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::StreamError;
use wasmtime_wasi::p2::bindings::cli::stdin::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    HostDescriptor, HostDirectoryEntryStream as _,
};

use crate::components::{WRITE_AND_READ, assert_exit, guest, run_async, runtime};
use crate::world::World;

/// The timeout of a call that waits for the executor.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts the polls of another task, and the calls on the executor's thread.
#[derive(Clone)]
struct Turns {
    given: Arc<AtomicUsize>,
    waits: Arc<AtomicUsize>,
    executor: ThreadId,
}

impl Turns {
    fn new() -> Self {
        let executor = std::thread::current().id();
        Turns { given: Arc::default(), waits: Arc::default(), executor }
    }

    /// Blocks until the executor has polled another task.
    fn wait(&self) -> Result<()> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        if std::thread::current().id() == self.executor {
            return Err(Errno::Canceled);
        }
        let (seen, start) = (self.given.load(Ordering::SeqCst), Instant::now());
        while self.given.load(Ordering::SeqCst) <= seen {
            if start.elapsed() > PATIENCE {
                return Err(Errno::Timedout);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Runs `work` together with a task that counts its polls.
    async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let given = Arc::clone(&self.given);
        let ticker = tokio::task::spawn(async move {
            loop {
                given.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let done = work.await;
        ticker.abort();
        done
    }
}

/// A directory whose calls all block.
struct Slow(DirRef, Turns);

impl Dir for Slow {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.1.wait()?;
        Ok(match self.0.open(path, how)? {
            Node::Dir(dir) => Node::Dir(Arc::new(Slow(dir, self.1.clone()))),
            Node::File(file) => Node::File(Arc::new(SlowFile(file, self.1.clone()))),
        })
    }
    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.1.wait()?;
        self.0.stat(path)
    }
    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.1.wait()?;
        self.0.stat_following(path)
    }
    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.1.wait()?;
        self.0.read_link(name)
    }
    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.1.wait()?;
        self.0.read_dir(from, each)
    }
    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.1.wait()?;
        self.0.create_dir(name)
    }
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.1.wait()?;
        self.0.create_symlink(name, target)
    }
    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.1.wait()?;
        self.0.remove_file(name)
    }
    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.1.wait()?;
        self.0.remove_dir(name)
    }
    fn rename(&self, _: Name<'_>, _: &dyn Dir, _: Name<'_>) -> Result<()> {
        self.1.wait()?;
        Err(Errno::Xdev)
    }
    fn link(&self, _: Name<'_>, _: &dyn Dir, _: Name<'_>) -> Result<()> {
        self.1.wait()?;
        Err(Errno::Xdev)
    }
    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.1.wait()?;
        self.0.set_times(path, times)
    }
    fn sync(&self) -> Result<()> {
        self.1.wait()?;
        self.0.sync()
    }
}

/// A file whose calls all block.
struct SlowFile(FileRef, Turns);

impl File for SlowFile {
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.1.wait()?;
        self.0.read_at(bufs, offset)
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.1.wait()?;
        self.0.write_at(bufs, offset)
    }
    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.1.wait()?;
        self.0.append(bufs)
    }
    fn appended_to(&self) -> Result<u64> {
        self.0.appended_to()
    }
    fn stat(&self) -> Result<Stat> {
        self.1.wait()?;
        self.0.stat()
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.1.wait()?;
        self.0.set_len(len)
    }
    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.1.wait()?;
        self.0.set_times(times)
    }
    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.1.wait()?;
        self.0.sync(scope)
    }
}

fn slow() -> (DirRef, Turns) {
    let turns = Turns::new();
    (Arc::new(Slow(MemFs::new().root(), turns.clone())), turns)
}

#[test]
fn blocking_file_calls_do_not_block_the_executor() {
    let (dir, turns) = slow();
    let guest = guest(WRITE_AND_READ);
    let (ended, printed) = runtime().block_on(turns.beside(run_async(&guest, dir)));
    assert_exit(ended, 5);
    assert_eq!(printed, b"hello");
    assert!(turns.waits.load(Ordering::SeqCst) >= 5, "open, write, read, read to the end, stat");
}

#[test]
fn listings_and_read_ahead_run_on_other_threads() {
    let (dir, turns) = slow();
    let config = Config::builder().preopen("/", dir).build().unwrap();
    let ctx = PalisadeCtx::new(config.start());
    let mut w = World { ctx, table: wasmtime::component::ResourceTable::new(), root: 3 };
    runtime().block_on(turns.clone().beside(async {
        let (flags, read) = (Default::default(), types_read_write());
        let create = wasmtime_wasi::p2::bindings::filesystem::types::OpenFlags::CREATE;
        let root = || Resource::new_borrow(3);
        let mut view = w.palisade();
        let file = view.open_at(root(), flags, "f".into(), create, read).await.unwrap();
        let entries = view.read_directory(root()).await.unwrap();
        let entry = view.read_directory_entry(entries).await.unwrap().unwrap();
        assert_eq!(entry.name, "f");
        let fd = file.rep();
        let out = view.write_via_stream(Resource::new_borrow(fd), 0).unwrap();
        let out = view.table.get_mut(&out).unwrap();
        out.write(b"bytes"[..].into()).unwrap();
        assert_eq!(out.check_write().unwrap(), 0, "not while it writes");
        out.ready().await;
        assert!(out.check_write().unwrap() > 0);
        let input = view.read_via_stream(Resource::new_borrow(fd), 0).unwrap();
        let input = view.table.get_mut(&input).unwrap();
        assert!(input.read(2).unwrap().is_empty(), "nothing yet");
        input.ready().await;
        assert_eq!(&input.read(100).unwrap()[..], b"by");
        input.ready().await;
        assert_eq!(&input.read(1).unwrap()[..], b"t");
        assert_eq!(&input.blocking_read(100).await.unwrap()[..], b"es");
        assert!(matches!(input.blocking_read(1).await, Err(StreamError::Closed)));
    }));
}

#[test]
fn guest_is_usable_after_an_abandoned_call_ends() {
    let (dir, turns) = slow();
    let config = Config::builder().preopen("/", dir).build().unwrap();
    let ctx = PalisadeCtx::new(config.start());
    let mut w = World { ctx, table: wasmtime::component::ResourceTable::new(), root: 3 };
    runtime().block_on(async {
        let mut view = w.palisade();
        let look = view.stat_at(Resource::new_borrow(3), Default::default(), "f".into());
        assert!(tokio::time::timeout(Duration::from_millis(5), look).await.is_err());
        assert!(view.ctx.process_mut().is_none(), "it still looks");
        assert!(HostDescriptor::drop(&mut view, Resource::new_own(3)).is_err());
        turns.given.fetch_add(1, Ordering::SeqCst);
        let start = Instant::now();
        while view.ctx.process_mut().is_none() {
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(HostDescriptor::drop(&mut view, Resource::new_own(3)).is_ok());
    });
}

fn types_read_write() -> wasmtime_wasi::p2::bindings::filesystem::types::DescriptorFlags {
    use wasmtime_wasi::p2::bindings::filesystem::types::DescriptorFlags;
    DescriptorFlags::READ | DescriptorFlags::WRITE
}

#[test]
fn pending_stdin_does_not_block_the_executor() {
    let (from, to) = std::io::pipe().unwrap();
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(from));
    let config = Config::builder().stdin(Input::file(file)).build().unwrap();
    // This test uses the asynchronous bindings only.
    let ctx = PalisadeCtx::new(config.start());
    let mut w = World { ctx, table: ResourceTable::new(), root: 0 };
    let stdin = w.palisade().get_stdin().unwrap();
    assert!(w.read(&stdin, 10).unwrap().is_empty(), "there is nothing, and it is not the end");
    let turns = Turns::new();
    runtime().block_on(turns.clone().beside(async {
        let given = Arc::clone(&turns.given);
        let writer = tokio::task::spawn(async move {
            use std::io::Write as _;
            let seen = given.load(Ordering::SeqCst);
            while given.load(Ordering::SeqCst) < seen + 5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (&to).write_all(b"typed").unwrap();
        });
        let stream = w.table.get_mut(&stdin).unwrap();
        assert_eq!(&stream.blocking_read(10).await.unwrap()[..], b"typed");
        writer.await.unwrap();
        // The writer has closed the pipe.
        stream.ready().await;
        assert!(matches!(stream.read(10), Err(StreamError::Closed)));
    }));
}

#[test]
fn pending_stdin_blocks_the_synchronous_caller() {
    let (from, to) = std::io::pipe().unwrap();
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(from));
    let mut w = World::of(Config::builder().stdin(Input::file(file)));
    let stdin = w.palisade().get_stdin().unwrap();
    let interrupt = w.ctx.process().interrupt().clone();
    let writer = std::thread::spawn(move || {
        use std::io::Write as _;
        std::thread::sleep(Duration::from_millis(5));
        (&to).write_all(b"typed").unwrap();
        to
    });
    // There is no runtime, so the call cannot have moved to another thread.
    let mut look = Context::from_waker(Waker::noop());
    let stream = w.table.get_mut(&stdin).unwrap();
    let read = pin!(stream.blocking_read(10)).poll(&mut look);
    assert!(matches!(read, Poll::Ready(Ok(bytes)) if &bytes[..] == b"typed"));
    let to = writer.join().unwrap();
    interrupt.raise();
    let read = pin!(stream.blocking_read(10)).poll(&mut look);
    assert!(matches!(read, Poll::Ready(Err(StreamError::LastOperationFailed(_)))));
    drop(to);
}

#[test]
fn dropped_stdin_wait_ends_its_thread() {
    let (from, _to) = std::io::pipe().unwrap();
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(from));
    let mut w = World::of(Config::builder().stdin(Input::file(file)));
    let stdin = w.palisade().get_stdin().unwrap();
    let runtime = runtime();
    let start = Instant::now();
    runtime.block_on(async {
        let stream = w.table.get_mut(&stdin).unwrap();
        let wait = tokio::time::timeout(Duration::from_millis(5), stream.ready());
        assert!(wait.await.is_err());
    });
    drop(w);
    drop(runtime);
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn read_ahead_bytes_are_discarded_after_a_revocation() {
    use wasmtime_wasi::p2::bindings::filesystem::types::DescriptorFlags;
    let rules = || Policy::builder().allow("/**", Rights::all());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), b"0123456789").unwrap();
    for revokes in [false, true] {
        let live = Live::new(Arc::new(rules().build().unwrap()));
        let root = confine_live(HostDir::open_ambient(dir.path()).unwrap(), &live, "");
        let config = Config::builder().preopen("/", root).build().unwrap();
        let ctx = PalisadeCtx::new(config.start());
        let mut w = World { ctx, table: ResourceTable::new(), root: 3 };
        runtime().block_on(async {
            let mut view = w.palisade();
            let (flags, none) = (Default::default(), Default::default());
            let open = view.open_at(
                Resource::new_borrow(3),
                flags,
                "f".into(),
                none,
                DescriptorFlags::READ,
            );
            let file = open.await.unwrap().rep();
            let input = view.read_via_stream(Resource::new_borrow(file), 0).unwrap();
            let input = view.table.get_mut(&input).unwrap();
            input.ready().await;
            assert_eq!(&input.read(2).unwrap()[..], b"01");
            if revokes {
                live.revoke();
                assert!(input.read(2).unwrap().is_empty());
                input.ready().await;
                let refused = input.read(2);
                assert!(matches!(refused, Err(StreamError::LastOperationFailed(_))));
            } else {
                // A change that removes nothing continues at the guest's position.
                live.narrow(&rules().hide("/g").build().unwrap()).unwrap();
                assert!(input.read(2).unwrap().is_empty());
                input.ready().await;
                assert_eq!(&input.read(20).unwrap()[..], b"23");
            }
        });
    }
}
