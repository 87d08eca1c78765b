//! The workloads and the number of operations in one measurement of each.

/// The guest that runs a workload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// `fsbench.c`, linked with a libc: a module, or a component that wraps the module.
    Program,
    /// `direct.wat`, a component that calls `wasi:filesystem` directly.
    Direct,
}

/// One workload.
pub struct Workload {
    /// The name in the tables.
    pub name: &'static str,
    /// The guest that runs it.
    pub guest: Guest,
    /// The number of operations in one repeat.
    pub count: u32,
}

impl Workload {
    /// Returns the name that the guest uses.
    pub fn key(&self) -> &'static str {
        self.name.strip_prefix(DIRECT).unwrap_or(self.name)
    }
}

/// The name prefix of the workloads of [`Guest::Direct`].
const DIRECT: &str = "direct_";

const fn workload(name: &'static str, count: u32) -> Workload {
    Workload { name, guest: Guest::Program, count }
}

const fn direct(name: &'static str, count: u32) -> Workload {
    Workload { name, guest: Guest::Direct, count }
}

/// All workloads: files, clocks and random numbers.
pub const WORKLOADS: &[Workload] = &[
    workload("open_close", 3000),
    workload("open_close_deep", 3000),
    workload("open_close_symlink", 3000),
    workload("stat", 3000),
    workload("stat_deep", 3000),
    workload("stat_symlink", 3000),
    workload("stat_missing", 3000),
    workload("fstat", 6000),
    workload("read_64b", 8000),
    workload("read_4k", 5000),
    workload("read_4k_m16", 3000),
    workload("read_1m", 30),
    workload("read_1m_m16", 20),
    workload("pread_4k_random", 4000),
    workload("write_4k", 3000),
    workload("overwrite_4k", 5000),
    workload("write_64b_append", 5000),
    workload("create_unlink", 1000),
    workload("rename", 2000),
    workload("mkdir_rmdir", 1000),
    workload("readdir_1k", 20),
    workload("readdir_10k", 2),
    workload("seek_tell", 20_000),
    workload("clock_gettime", 30_000),
    workload("random_get", 8000),
    workload("fd_fdstat_get", 10_000),
    workload("raw_open_close", 3000),
    workload("raw_open_close_deep", 3000),
    workload("raw_stat", 3000),
    workload("raw_stat_deep", 3000),
    direct("direct_stat", 10_000),
    direct("direct_stat-nofollow", 10_000),
    direct("direct_open-close", 10_000),
    direct("direct_create-unlink", 4000),
    direct("direct_mkdir-rmdir", 4000),
    direct("direct_rename", 4000),
    direct("direct_stream", 2),
];
