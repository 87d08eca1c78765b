//! The bounds of what one guest can make its host hold or do in one call.

/// What one guest can make its host hold, and what one call can make it do.
///
/// Every length that a guest chooses meets one of these before memory is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors, standard streams and preopens included. The next open is `Mfile`.
    /// Default 1,024: the soft limit of a Linux process.
    pub descriptors_max: u32,
    /// Open streams: file streams and directory streams, which outlive the descriptor that they
    /// were made of. The next one is `Mfile`. An adapter derives from it how many other resources
    /// a guest has, such as pollables and timers. Default 1,024. One stream buffers at most
    /// [`Limits::STREAM_BYTES_MAX`] bytes.
    pub streams_max: u32,
    /// Buffers in one vectored call; more is `Inval`. Default 1,024: Linux's `IOV_MAX`.
    pub buffers_max: u32,
    /// Bytes that one read or write moves; the rest is left for the next call. Default
    /// 0x7ffff000: what Linux moves at most.
    pub transfer_bytes_max: u32,
    /// Subscriptions in one poll; more is `Inval`. Default 4,096.
    pub subscriptions_max: u32,
    /// Bytes of all arguments and of all environment variables, each with its NUL. More is
    /// refused when the configuration is built. Default 2 MiB: Linux's usual `ARG_MAX`.
    pub args_bytes_max: u32,
    /// Bytes that one call fills with random numbers; more is `Inval`. Default 16 MiB.
    pub random_bytes_max: u32,
}

impl Limits {
    /// Bytes that one open stream buffers at most: a directory's entries with their names, or bytes
    /// of a file that were read before the guest asked for them, or that are being written.
    pub const STREAM_BYTES_MAX: usize = 128 * 1024;
    /// Entries that are kept of one directory's stream between two calls.
    pub(crate) const LISTING_ENTRIES_MAX: usize = 1024;
    /// Bytes of names that are kept of one directory's stream between two calls.
    pub(crate) const LISTING_BYTES_MAX: usize = 32 * 1024;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            descriptors_max: 1024,
            streams_max: 1024,
            buffers_max: 1024,
            transfer_bytes_max: 0x7fff_f000,
            subscriptions_max: 4096,
            args_bytes_max: 2 << 20,
            random_bytes_max: 16 << 20,
        }
    }
}
