//! The test fixture: the state of a guest, over memory or a directory of the host.

use std::sync::Arc;

use palisade_kernel::{Config, ConfigBuilder, Limits};
use palisade_preview2::{PalisadeCtx, PalisadeCtxView, PalisadeView};
use palisade_vfs::{DirRef, HostDir, MemFs};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, Host as _, HostDescriptor as _, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsResult, StreamError};
use wasmtime_wasi_io::bytes::Bytes;

pub(crate) const READ: DescriptorFlags = DescriptorFlags::READ;
pub(crate) const WRITE: DescriptorFlags = DescriptorFlags::WRITE;
pub(crate) const MUTATE: DescriptorFlags = DescriptorFlags::MUTATE_DIRECTORY;
pub(crate) const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;

pub(crate) fn no_flags() -> OpenFlags {
    OpenFlags::empty()
}

pub(crate) fn no_follow() -> PathFlags {
    PathFlags::empty()
}

pub(crate) type Answer<T> = Result<T, ErrorCode>;

/// A guest with one preopened directory.
pub(crate) struct World {
    pub(crate) ctx: PalisadeCtx,
    pub(crate) table: ResourceTable,
    pub(crate) root: u32,
}

impl PalisadeView for World {
    fn palisade(&mut self) -> PalisadeCtxView<'_> {
        PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// Runs `test` over a fresh in-memory filesystem, and over a fresh directory of the host.
pub(crate) fn each(test: impl Fn(World)) {
    test(World::over(MemFs::new().root()));
    let dir = tempfile::tempdir().unwrap();
    test(World::over(HostDir::open_ambient(dir.path()).unwrap()));
}

pub(crate) fn fd(fd: u32) -> Resource<Descriptor> {
    Resource::new_borrow(fd)
}

impl World {
    pub(crate) fn over(dir: DirRef) -> Self {
        World::of(Config::builder().preopen("/", dir))
    }

    pub(crate) fn of(config: ConfigBuilder) -> Self {
        World::with(PalisadeCtx::new(config.build().unwrap().start()))
    }

    pub(crate) fn with(ctx: PalisadeCtx) -> Self {
        let mut world = World { ctx, table: ResourceTable::new(), root: 0 };
        let dirs = world.palisade().get_directories().unwrap();
        world.root = dirs.first().map_or(u32::MAX, |(dir, _)| dir.rep());
        // A call of the synchronous bindings makes all later calls run inline.
        let _ = world.call(|v| v.get_type(fd(0)));
        world
    }

    pub(crate) fn small(descriptors_max: u32) -> Self {
        let limits = Limits { descriptors_max, ..Limits::default() };
        World::of(Config::builder().preopen("/", MemFs::new().root()).limits(limits))
    }

    /// Converts the error of a call to the `error-code` that a guest gets.
    #[track_caller]
    pub(crate) fn call<T>(
        &mut self,
        call: impl FnOnce(&mut PalisadeCtxView<'_>) -> FsResult<T>,
    ) -> Answer<T> {
        let mut view = self.palisade();
        call(&mut view).map_err(|error| view.convert_error_code(error).expect("no trap"))
    }

    #[track_caller]
    pub(crate) fn open(
        &mut self,
        dir: u32,
        path: &str,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> Answer<u32> {
        let opened = self.call(|v| v.open_at(fd(dir), FOLLOW, path.into(), how, flags))?;
        Ok(opened.rep())
    }

    /// Creates a file with these bytes.
    #[track_caller]
    pub(crate) fn put(&mut self, path: &str, bytes: &[u8]) {
        let file = self.open(self.root, path, OpenFlags::CREATE, WRITE).unwrap();
        assert_eq!(self.call(|v| v.write(fd(file), bytes.into(), 0)), Ok(bytes.len() as u64));
        self.close(file);
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Vec<u8> {
        let file = self.open(self.root, path, no_flags(), READ).unwrap();
        let (bytes, _) = self.call(|v| v.read(fd(file), u64::MAX, 0)).unwrap();
        self.close(file);
        bytes
    }

    #[track_caller]
    pub(crate) fn mkdir(&mut self, path: &str) -> Answer<()> {
        let root = self.root;
        self.call(|v| v.create_directory_at(fd(root), path.into()))
    }

    pub(crate) fn lstat(&mut self, path: &str) -> Answer<DescriptorStat> {
        let root = self.root;
        self.call(|v| v.stat_at(fd(root), no_follow(), path.into()))
    }

    #[track_caller]
    pub(crate) fn close(&mut self, file: u32) {
        self.palisade().drop(fd(file)).unwrap();
    }

    #[track_caller]
    pub(crate) fn input(&mut self, file: u32, offset: u64) -> Answer<Resource<DynInputStream>> {
        self.call(|v| v.read_via_stream(fd(file), offset))
    }

    #[track_caller]
    pub(crate) fn output(&mut self, file: u32, offset: u64) -> Answer<Resource<DynOutputStream>> {
        self.call(|v| v.write_via_stream(fd(file), offset))
    }

    pub(crate) fn read(
        &mut self,
        stream: &Resource<DynInputStream>,
        len: usize,
    ) -> Result<Bytes, StreamError> {
        self.table.get_mut(stream).unwrap().read(len)
    }

    pub(crate) fn write(
        &mut self,
        stream: &Resource<DynOutputStream>,
        bytes: &'static [u8],
    ) -> Result<(), StreamError> {
        let stream = self.table.get_mut(stream).unwrap();
        assert!(stream.check_write()? > 0);
        stream.write(Bytes::from_static(bytes))
    }

    /// Returns the `filesystem-error-code` of a stream's error.
    #[track_caller]
    pub(crate) fn code_of(&mut self, error: StreamError) -> Option<ErrorCode> {
        let StreamError::LastOperationFailed(error) = error else { panic!("{error:?}") };
        let error = self.table.push(error).unwrap();
        self.palisade().filesystem_error_code(error).unwrap()
    }
}

/// Wraps a directory in a read-only policy.
pub(crate) fn read_only(dir: &DirRef) -> DirRef {
    palisade_policy::read_only(Arc::clone(dir))
}
