//! Limits of the host resources that one guest can use.

/// Limits of the host resources that one guest can hold, and that one call can use.
///
/// Each length that a guest chooses is checked against a limit before memory is allocated for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors, including standard streams and preopens. At the limit an open is `Mfile`.
    /// Default 1,024: the soft limit of a Linux process.
    pub descriptors_max: u32,
    /// Open file and directory streams, which outlive the descriptor that they were opened from. At
    /// the limit a further stream is `Mfile`. Adapters derive the limits of other resources from
    /// it, such as pollables and timers. Default 1,024. One stream buffers at most
    /// [`Limits::STREAM_BYTES_MAX`] bytes.
    pub streams_max: u32,
    /// Buffers in one vectored call; more are `Inval`. Default 1,024: Linux's `IOV_MAX`.
    pub buffers_max: u32,
    /// Bytes that one read or write transfers; longer buffers are truncated. Default 0x7ffff000:
    /// the limit of Linux.
    pub transfer_bytes_max: u32,
    /// Subscriptions in one poll; more are `Inval`. Default 4,096.
    pub subscriptions_max: u32,
    /// Bytes of all arguments, and of all environment variables, with a NUL each. More are refused
    /// when the configuration is built. Default 2 MiB: the usual `ARG_MAX` of Linux.
    pub args_bytes_max: u32,
    /// Positions that one open directory keeps for the cookies of its entries: 8 bytes each, or 18
    /// after the directory has changed between two listings. At the limit:
    ///
    /// - In a longer directory every second position is kept, then every fourth and so on.
    ///   Seeking to another position reads the entries after the kept one before it, and is wrong
    ///   by as many entries as were created or removed between the two.
    /// - In a directory that has changed between two listings, the earlier positions become
    ///   invalid: seeking to one is `Inval`.
    ///
    /// Continuing at the end of the last call is exact in both cases. Default 65,536: half a MiB
    /// for a directory of this length, 512 MiB for [`Limits::descriptors_max`] of them.
    pub positions_max: u32,
    /// Random bytes that one call returns; more are `Inval`. Default 16 MiB.
    pub random_bytes_max: u32,
}

impl Limits {
    /// Bytes that one open stream buffers at most: directory entries with their names, bytes that
    /// were read ahead, or bytes of a write in progress.
    pub const STREAM_BYTES_MAX: usize = 128 * 1024;
    /// Directory entries that one directory stream buffers between two calls.
    pub(crate) const LISTING_ENTRIES_MAX: usize = 1024;
    /// Bytes of names that one directory stream buffers between two calls.
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
            positions_max: 1 << 16,
            random_bytes_max: 16 << 20,
        }
    }
}
