//! Fuzzes sequences of Preview 2 calls with arbitrary arguments and handles.
//!
//! The calls run on memory, an overlay, and an overlay under a policy and a quota. No call panics
//! or blocks, no resource leaks, and resources stay within the limits.

#![no_main]

#[path = "preview2/case.rs"]
mod case;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use palisade_kernel::{Clock, Config, Input, Limits, Output, Random};
use palisade_policy::{Policy, Quota, QuotaGroup, confine};
use palisade_preview2::bindings::sync::filesystem::types as fs;
use palisade_preview2::bindings::sync::filesystem::types::{
    HostDescriptor as _, HostDirectoryEntryStream as _,
};
use palisade_preview2::{PalisadeCtx, PalisadeCtxView};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{Access, DirRef, Follow, MemFs, OpenFlags, OpenHow, Rights, path};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::cli::{stdin::Host as _, stdout::Host as _};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::{FsResult, StreamError, StreamResult};
use wasmtime_wasi_io::bindings::wasi::io::poll::{Host as _, HostPollable};
use wasmtime_wasi_io::bindings::wasi::io::streams::{HostInputStream, HostOutputStream};

use case::{Call, Case, Handle, InCall, Open, OutCall, Stack, Text};

/// The capacity of a filesystem.
const CAPACITY_BYTES: u64 = 1 << 20;
/// The maximum result of one read.
const READ_BYTES_MAX: usize = 128 * 1024;
/// The limits on the descriptors of a guest and on its resource table.
const DESCRIPTORS_MAX: u32 = 16;
const TABLE_MAX: usize = 32;
/// The limits on the calls of a run, and on the polls of one call.
const CALLS_MAX: usize = 64;
const POLLS_MAX: usize = 64;

fn fill(root: &DirRef) {
    path::create_dir(&**root, "d").unwrap();
    path::create_symlink(&**root, "d/../f", "l").unwrap();
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    for name in ["f", "d/f", "h"] {
        path::open(&**root, name, Follow::No, how).unwrap();
    }
}

/// Returns the root of the stack, and the filesystems of which it consists.
fn stack(kind: Stack) -> (DirRef, Vec<MemFs>) {
    let mem = || MemFs::builder().capacity_bytes(CAPACITY_BYTES).nodes_max(1000).build();
    let (lower, upper) = (mem(), mem());
    fill(&lower.root());
    let root = match kind {
        Stack::Memory => lower.root(),
        Stack::Overlay | Stack::Guarded => {
            Overlay::new(upper.upper(), &Lowers::of(lower.root())).unwrap().root()
        }
    };
    let root = match kind {
        Stack::Memory | Stack::Overlay => root,
        Stack::Guarded => {
            static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
            let policy = POLICY.get_or_init(|| {
                let all = Policy::builder().allow("/**", Rights::all());
                all.hide("/h").deny("/d/new", Rights::WRITE).build().unwrap().into()
            });
            let quota = Quota {
                bytes: Some(1 << 16),
                inodes: Some(50),
                write_bytes: Some(1 << 18),
                descriptors: Some(12),
                ..Quota::default()
            };
            confine(QuotaGroup::new(quota).guard(root).unwrap(), Arc::clone(policy).into())
        }
    };
    (root, vec![lower, upper])
}

/// The handles of a guest, by kind.
#[derive(Default)]
struct HeldHandles {
    descriptors: Vec<u32>,
    entries: Vec<u32>,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    pollables: Vec<u32>,
}

struct Guest {
    ctx: PalisadeCtx,
    table: ResourceTable,
    held: HeldHandles,
}

fn pick(handle: Handle, of: &[u32]) -> u32 {
    match handle {
        Handle::Own(at) if !of.is_empty() => of[usize::from(at) % of.len()],
        Handle::Own(at) => at.into(),
        Handle::Free(number) => number,
    }
}

/// Removes one of the guest's own handles, to be dropped: the engine prevents drops of handles of
/// other types.
fn take(handle: Handle, of: &mut Vec<u32>) -> Option<u32> {
    match handle {
        Handle::Own(at) if !of.is_empty() => Some(of.remove(usize::from(at) % of.len())),
        Handle::Own(_) | Handle::Free(_) => None,
    }
}

/// Returns the result of the call, if it completes without blocking.
fn now<F: Future>(call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut task = Context::from_waker(Waker::noop());
    (0..POLLS_MAX).find_map(|_| match call.as_mut().poll(&mut task) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    })
}

fn stream<T>(result: StreamResult<T>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(StreamError::Closed | StreamError::LastOperationFailed(_) | StreamError::Trap(_)) => {
            None
        }
    }
}

fn owned<T: 'static>(rep: u32) -> Resource<T> {
    Resource::new_own(rep)
}

impl Guest {
    fn view(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    fn fd(&self, handle: Handle) -> Resource<Descriptor> {
        Resource::new_borrow(pick(handle, &self.held.descriptors))
    }

    /// Returns the result of a call, or `None` for an error code or a trap.
    fn invoke<T>(
        &mut self,
        call: impl FnOnce(&mut PalisadeCtxView<'_>) -> FsResult<T>,
    ) -> Option<T> {
        call(&mut self.view()).ok()
    }

    fn open(&mut self, at: Handle, text: &Text, open: Open) {
        let (fd, text) = (self.fd(at), text.text());
        let (how, flags) = (open.how(), open.flags());
        let opened = self.invoke(|v| v.open_at(fd, follow(open.follow), text, how, flags));
        self.held.descriptors.extend(opened.map(|fd| fd.rep()));
    }

    fn files(&mut self, call: &Call) {
        match *call {
            Call::ReadStream(at, offset) => {
                let fd = self.fd(at);
                let made = self.invoke(|v| v.read_via_stream(fd, offset.bits()));
                self.held.inputs.extend(made.map(|it| it.rep()));
            }
            Call::WriteStream(at, offset) => {
                let fd = self.fd(at);
                let made = self.invoke(|v| v.write_via_stream(fd, offset.bits()));
                self.held.outputs.extend(made.map(|it| it.rep()));
            }
            Call::AppendStream(at) => {
                let fd = self.fd(at);
                let made = self.invoke(|v| v.append_via_stream(fd));
                self.held.outputs.extend(made.map(|it| it.rep()));
            }
            Call::Read(at, len, offset) => {
                let fd = self.fd(at);
                let read = self.invoke(|v| v.read(fd, len.bits(), offset.bits()));
                assert!(read.is_none_or(|(bytes, _)| bytes.len() <= READ_BYTES_MAX));
            }
            Call::Write(at, len, offset) => {
                let fd = self.fd(at);
                self.invoke(|v| v.write(fd, vec![7; len.into()], offset.bits()));
            }
            Call::ReadDirectory(at) => {
                let fd = self.fd(at);
                let made = self.invoke(|v| v.read_directory(fd));
                self.held.entries.extend(made.map(|it| it.rep()));
            }
            Call::NextEntry(at) => {
                let entries = Resource::new_borrow(pick(at, &self.held.entries));
                self.invoke(|v| v.read_directory_entry(entries));
            }
            _ => {}
        }
    }

    fn metadata(&mut self, call: &Call) {
        match *call {
            Call::Advise(at, offset, len, advice) => {
                let fd = self.fd(at);
                let advice = [fs::Advice::Normal, fs::Advice::WillNeed, fs::Advice::DontNeed]
                    [usize::from(advice) % 3];
                self.invoke(|v| v.advise(fd, offset.bits(), len.bits(), advice));
            }
            Call::Sync(at, data) => {
                let fd = self.fd(at);
                self.invoke(|v| if data { v.sync_data(fd) } else { v.sync(fd) });
            }
            Call::Look(at) => {
                for look in 0..4 {
                    let fd = self.fd(at);
                    self.invoke(|v| match look {
                        0 => v.stat(fd).map(drop),
                        1 => v.metadata_hash(fd).map(drop),
                        2 => v.get_flags(fd).map(drop),
                        _ => v.get_type(fd).map(drop),
                    });
                }
            }
            Call::SetSize(at, size) => {
                let fd = self.fd(at);
                self.invoke(|v| v.set_size(fd, size.bits()));
            }
            Call::SetTimes(at, accessed, modified) => {
                let fd = self.fd(at);
                self.invoke(|v| v.set_times(fd, accessed.time(), modified.time()));
            }
            Call::Same(one, other) => {
                let (one, other) = (self.fd(one), self.fd(other));
                let _ = self.view().is_same_object(one, other);
            }
            _ => {}
        }
    }

    fn paths(&mut self, call: &Call) {
        match call {
            Call::CreateDirectory(at, text) => {
                let fd = self.fd(*at);
                self.invoke(|v| v.create_directory_at(fd, text.text()));
            }
            Call::RemoveDirectory(at, text) => {
                let fd = self.fd(*at);
                self.invoke(|v| v.remove_directory_at(fd, text.text()));
            }
            Call::Unlink(at, text) => {
                let fd = self.fd(*at);
                self.invoke(|v| v.unlink_file_at(fd, text.text()));
            }
            Call::Symlink(at, target, text) => {
                let fd = self.fd(*at);
                self.invoke(|v| v.symlink_at(fd, target.text(), text.text()));
            }
            Call::ReadLink(at, text) => {
                let fd = self.fd(*at);
                self.invoke(|v| v.readlink_at(fd, text.text()));
            }
            Call::Link(at, follows, text, into, new) => {
                let (fd, into) = (self.fd(*at), self.fd(*into));
                let follow = follow(*follows);
                self.invoke(|v| v.link_at(fd, follow, text.text(), into, new.text()));
            }
            Call::Rename(at, text, into, new) => {
                let (fd, into) = (self.fd(*at), self.fd(*into));
                self.invoke(|v| v.rename_at(fd, text.text(), into, new.text()));
            }
            Call::StatAt(at, follows, text) => {
                let fd = self.fd(*at);
                self.invoke(|v| v.stat_at(fd, follow(*follows), text.text()));
            }
            Call::HashAt(at, follows, text) => {
                let fd = self.fd(*at);
                self.invoke(|v| v.metadata_hash_at(fd, follow(*follows), text.text()));
            }
            Call::SetTimesAt(at, follows, text, accessed, modified) => {
                let (fd, follow) = (self.fd(*at), follow(*follows));
                let (accessed, modified) = (accessed.time(), modified.time());
                self.invoke(|v| v.set_times_at(fd, follow, text.text(), accessed, modified));
            }
            _ => {}
        }
    }

    fn handles(&mut self, call: &Call) {
        match call {
            Call::Preopens => {
                let dirs = self.view().get_directories().unwrap_or_default();
                self.held.descriptors.extend(dirs.iter().map(|(fd, _)| fd.rep()));
            }
            Call::Stdin => {
                let made = self.view().get_stdin();
                self.held.inputs.extend(made.map(|it| it.rep()));
            }
            Call::Stdout => {
                let made = self.view().get_stdout();
                self.held.outputs.extend(made.map(|it| it.rep()));
            }
            Call::Sleep(after) => {
                let made = self.view().subscribe_duration(after.bits());
                self.held.pollables.extend(made.map(|it| it.rep()));
            }
            Call::Ready(at) => {
                let pollable = Resource::new_borrow(pick(*at, &self.held.pollables));
                now(HostPollable::ready(&mut self.table, pollable));
            }
            Call::Poll(all) => {
                let pick = |at: &Handle| Resource::new_borrow(pick(*at, &self.held.pollables));
                let all: Vec<_> = all.iter().take(16).map(pick).collect();
                assert!(now(self.table.poll(all)).is_some(), "a poll that never completes");
            }
            Call::DropPollable(at) => {
                if let Some(rep) = take(*at, &mut self.held.pollables) {
                    let _ = HostPollable::drop(&mut self.table, owned(rep));
                }
            }
            Call::DropDescriptor(at) => {
                let fd = owned(pick(*at, &self.held.descriptors));
                let _ = fs::HostDescriptor::drop(&mut self.view(), fd);
            }
            Call::DropEntries(at) => {
                if let Some(rep) = take(*at, &mut self.held.entries) {
                    let entries = owned(rep);
                    fs::HostDirectoryEntryStream::drop(&mut self.view(), entries).unwrap();
                }
            }
            _ => {}
        }
    }

    fn input(&mut self, at: Handle, call: InCall) {
        let (table, rep) = (&mut self.table, pick(at, &self.held.inputs));
        let it = || Resource::new_borrow(rep);
        let bytes = match call {
            InCall::Read(len) => stream(HostInputStream::read(table, it(), len.bits())),
            InCall::BlockingRead(len) => {
                let read = now(HostInputStream::blocking_read(table, it(), len.bits()));
                stream(read.expect("memory does not block"))
            }
            InCall::Skip(len) => {
                stream(HostInputStream::skip(table, it(), len.bits()));
                None
            }
            InCall::BlockingSkip(len) => {
                let done = now(HostInputStream::blocking_skip(table, it(), len.bits()));
                stream(done.expect("memory does not block"));
                None
            }
            InCall::Subscribe => {
                if !self.held.inputs.contains(&rep) {
                    // The engine prevents calls on handles of other types.
                    return;
                }
                let made = HostInputStream::subscribe(table, it());
                self.held.pollables.extend(made.map(|it| it.rep()));
                None
            }
            InCall::Drop => {
                if let Some(rep) = take(at, &mut self.held.inputs)
                    && !matches!(now(HostInputStream::drop(table, owned(rep))), Some(Ok(())))
                {
                    // A pollable refers to the stream, so the drop traps and the stream stays.
                    self.held.inputs.push(rep);
                }
                None
            }
        };
        assert!(bytes.is_none_or(|bytes| bytes.len() <= READ_BYTES_MAX));
    }

    fn output(&mut self, at: Handle, call: OutCall) {
        let (table, rep) = (&mut self.table, pick(at, &self.held.outputs));
        let it = || Resource::new_borrow(rep);
        let bytes = |len: u16| vec![9; len.into()];
        let done = match call {
            OutCall::CheckWrite => {
                stream(HostOutputStream::check_write(table, it()));
                return;
            }
            OutCall::Write(len) => HostOutputStream::write(table, it(), bytes(len)),
            OutCall::Flush => HostOutputStream::flush(table, it()),
            OutCall::Zeroes(len) => HostOutputStream::write_zeroes(table, it(), len.bits()),
            OutCall::WriteAndFlush(len) => {
                now(HostOutputStream::blocking_write_and_flush(table, it(), bytes(len)))
                    .expect("memory does not block")
            }
            OutCall::BlockingFlush => {
                now(HostOutputStream::blocking_flush(table, it())).expect("memory does not block")
            }
            OutCall::ZeroesAndFlush(len) => {
                let len = len.bits();
                now(HostOutputStream::blocking_write_zeroes_and_flush(table, it(), len))
                    .expect("memory does not block")
            }
            OutCall::Subscribe => {
                if !self.held.outputs.contains(&rep) {
                    // The engine prevents calls on handles of other types.
                    return;
                }
                let made = HostOutputStream::subscribe(table, it());
                self.held.pollables.extend(made.map(|it| it.rep()));
                return;
            }
            OutCall::Drop => {
                if let Some(rep) = take(at, &mut self.held.outputs)
                    && !matches!(now(HostOutputStream::drop(table, owned(rep))), Some(Ok(())))
                {
                    self.held.outputs.push(rep);
                }
                return;
            }
        };
        stream(done);
    }

    fn splice(&mut self, to: Handle, from: Handle, len: u64, blocking: bool) {
        let to = Resource::new_borrow(pick(to, &self.held.outputs));
        let from = Resource::new_borrow(pick(from, &self.held.inputs));
        let moved = if blocking {
            let moved = now(HostOutputStream::blocking_splice(&mut self.table, to, from, len));
            stream(moved.expect("memory does not block"))
        } else {
            stream(HostOutputStream::splice(&mut self.table, to, from, len))
        };
        assert!(moved.is_none_or(|moved| moved <= len));
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Open(at, text, open) => self.open(*at, text, *open),
            Call::In(at, call) => self.input(*at, *call),
            Call::Out(at, call) => self.output(*at, *call),
            Call::Splice(to, from, len, blocking) => {
                self.splice(*to, *from, len.bits(), *blocking);
            }
            call => {
                self.files(call);
                self.metadata(call);
                self.paths(call);
                self.handles(call);
            }
        }
    }

    /// Drops all handles: pollables before the streams that they refer to.
    fn drop_all(&mut self) {
        let held = std::mem::take(&mut self.held);
        for rep in held.pollables {
            let _ = HostPollable::drop(&mut self.table, owned(rep));
        }
        for rep in held.inputs {
            let _ = now(HostInputStream::drop(&mut self.table, owned(rep)));
        }
        for rep in held.outputs {
            let _ = now(HostOutputStream::drop(&mut self.table, owned(rep)));
        }
        for rep in held.entries {
            let _ = fs::HostDirectoryEntryStream::drop(&mut self.view(), owned(rep));
        }
        for rep in held.descriptors {
            let _ = fs::HostDescriptor::drop(&mut self.view(), owned(rep));
        }
    }
}

fn follow(follows: bool) -> fs::PathFlags {
    if follows { fs::PathFlags::SYMLINK_FOLLOW } else { fs::PathFlags::empty() }
}

fuzz_target!(|case: Case| {
    let (root, filesystems) = stack(case.stack);
    let limits = Limits { descriptors_max: DESCRIPTORS_MAX, ..Limits::default() };
    let (stdout, _printed) = Output::buffer(1 << 16);
    let config = Config::builder()
        .preopen("/", root)
        .stdin(Input::bytes("standard input"))
        .stdout(stdout)
        .clock(Clock::Fixed { realtime_ns: 1 << 60, step_ns: 1 })
        .random(Random::Seeded(1))
        .limits(limits);
    let ctx = PalisadeCtx::new(config.build().unwrap().start());
    let mut table = ResourceTable::new();
    table.set_max_capacity(TABLE_MAX);
    let mut guest = Guest { ctx, table, held: HeldHandles::default() };
    let at_start = guest.ctx.process().open_descriptors();
    guest.call(&Call::Preopens);
    for call in case.calls.iter().take(CALLS_MAX) {
        guest.call(call);
        assert!(guest.ctx.process().open_descriptors() <= DESCRIPTORS_MAX as usize);
        assert!(filesystems.iter().all(|fs| fs.usage().bytes <= CAPACITY_BYTES));
    }
    guest.drop_all();
    assert!(guest.table.is_empty(), "something is left in the table");
    assert!(guest.ctx.process().open_descriptors() <= at_start, "a descriptor is left");
});
