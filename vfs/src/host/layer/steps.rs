//! Where a crash may come between two system calls that change something. Outside tests nothing.

/// Called before each call that changes the filesystem.
#[cfg(not(test))]
pub(super) fn next() {}

/// The number of steps that this thread may still make; the process ends before the one after.
#[cfg(test)]
pub(super) static LEFT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(u32::MAX);

/// Called before each call that changes the filesystem.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a crash is what is tested")]
pub(super) fn next() {
    use std::sync::atomic::Ordering;
    if LEFT.load(Ordering::Relaxed) == u32::MAX {
        return;
    }
    if LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
        std::process::abort();
    }
}
