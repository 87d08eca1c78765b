//! Import of any bytes as a layer's archive: an error, or a layer within the limits whose own
//! archive imports to the same layer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_vfs::MemFs;
use palisade_vfs::overlay::{ImportLimits, export_layer, import_layer};

const LIMITS: ImportLimits = ImportLimits {
    entries_max: 64,
    bytes_max: 64 * 1024,
    ratio_max: 1000,
    memory_max: 1 << 20,
    omitted_max: u64::MAX,
};

fuzz_target!(|bytes: &[u8]| {
    let fs = MemFs::builder().capacity_bytes(1 << 20).nodes_max(128).build();
    let layer = fs.upper();
    let Ok(imported) = import_layer(&mut &*bytes, &layer, LIMITS) else { return };
    assert!(imported.bytes <= LIMITS.bytes_max);
    assert!(fs.usage().nodes <= LIMITS.entries_max + 1);
    let mut archive = Vec::new();
    export_layer(&layer, &mut archive).expect("an imported layer can be exported");
    let again = MemFs::new().upper();
    let limits = ImportLimits { entries_max: 4096, ..LIMITS };
    import_layer(&mut &*archive, &again, limits).expect("an exported layer can be imported");
    let mut second = Vec::new();
    export_layer(&again, &mut second).expect("the second layer can be exported");
    assert_eq!(archive, second);
});
