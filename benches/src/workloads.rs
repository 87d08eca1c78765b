//! The workloads of the guest, and how often each is done in one of its repeats.

/// One workload.
pub struct Workload {
    /// Its name in the guest.
    pub name: &'static str,
    /// Operations in one of the guest's repeats.
    pub count: u32,
}

const fn workload(name: &'static str, count: u32) -> Workload {
    Workload { name, count }
}

/// Every workload of the guest that is about files, clocks or random numbers.
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
    workload("readdir_10k", 2),
    workload("seek_tell", 20_000),
    workload("clock_gettime", 30_000),
    workload("random_get", 8000),
    workload("fd_fdstat_get", 10_000),
    workload("raw_open_close", 3000),
    workload("raw_open_close_deep", 3000),
    workload("raw_stat", 3000),
    workload("raw_stat_deep", 3000),
];
