//! The numbers that Preview 1 has for rights.

use palisade_kernel::FdRights;

/// Right number `n` of Preview 1 is the `n`-th here.
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

/// From the guest's number. Bits that mean nothing are left out: guests that ask for all there is
/// set every bit.
pub(crate) fn from_bits(bits: u64) -> FdRights {
    let mut rights = FdRights::empty();
    for (n, right) in TABLE.iter().enumerate() {
        if bits & (1 << n) != 0 {
            rights |= *right;
        }
    }
    rights
}

/// To the guest's number.
pub(crate) fn bits(rights: FdRights) -> u64 {
    let mut bits = 0;
    for (n, right) in TABLE.iter().enumerate() {
        if rights.contains(*right) {
            bits |= 1 << n;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_go_there_and_back() {
        for n in 0..30 {
            assert_eq!(bits(from_bits(1 << n)), 1 << n);
        }
        assert_eq!(from_bits(u64::MAX), FdRights::all());
        assert_eq!(bits(FdRights::all()), (1 << 30) - 1);
    }
}
