//! The bits of `rights` of Preview 1.
//!
//! <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#rights>

use palisade_kernel::FdRights;

/// The rights in the order of their bits in Preview 1.
const TABLE: [FdRights; 30] = [
    FdRights::DATASYNC,
    FdRights::READ,
    FdRights::SEEK,
    FdRights::SET_STATUS,
    FdRights::SYNC,
    FdRights::TELL,
    FdRights::WRITE,
    FdRights::ADVISE,
    FdRights::ALLOCATE,
    FdRights::CREATE_DIR,
    FdRights::CREATE_FILE,
    FdRights::LINK_FROM,
    FdRights::LINK_INTO,
    FdRights::OPEN,
    FdRights::LIST,
    FdRights::READ_LINK,
    FdRights::RENAME_FROM,
    FdRights::RENAME_INTO,
    FdRights::STAT_AT,
    FdRights::SET_LEN_AT,
    FdRights::SET_TIMES_AT,
    FdRights::STAT,
    FdRights::SET_LEN,
    FdRights::SET_TIMES,
    FdRights::CREATE_SYMLINK,
    FdRights::REMOVE_DIR,
    FdRights::REMOVE_FILE,
    FdRights::POLL,
    FdRights::SHUTDOWN,
    FdRights::ACCEPT,
];

// The kernel's rights have the same bits, so that the conversion is a mask.
const _: () = {
    let mut n = 0;
    while n < TABLE.len() {
        #[expect(clippy::indexing_slicing, reason = "checked when it is compiled")]
        let bits = TABLE[n].bits();
        assert!(bits == 1 << n, "the kernel's rights are in another order");
        n += 1;
    }
};

/// Decodes rights. Unknown bits are ignored: guests that request all rights set all bits.
pub(crate) fn from_bits(bits: u64) -> FdRights {
    let known = bits & u64::from(FdRights::all().bits());
    u32::try_from(known).map_or(FdRights::empty(), FdRights::from_bits_truncate)
}

/// Encodes rights.
pub(crate) fn bits(rights: FdRights) -> u64 {
    rights.bits().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_round_trip() {
        for n in 0..30 {
            assert_eq!(bits(from_bits(1 << n)), 1 << n);
        }
        assert_eq!(from_bits(u64::MAX), FdRights::all());
        assert_eq!(bits(FdRights::all()), (1 << 30) - 1);
    }
}
