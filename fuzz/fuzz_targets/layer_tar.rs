//! Fuzzes layer archives with arbitrary bytes.
//!
//! Importing returns an error or a layer within the limits. Exporting and importing that layer
//! returns the same layer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_vfs::MemFs;
use palisade_vfs::overlay::{ImportLimits, export_layer, import_layer};

const LIMITS: ImportLimits = ImportLimits { entries_max: 64, bytes_max: 64 * 1024 };

fuzz_target!(|bytes: &[u8]| {
    let fs = MemFs::builder().capacity_bytes(1 << 20).nodes_max(128).build();
    let layer = fs.upper();
    let Ok(imported) = import_layer(&mut &*bytes, &layer, LIMITS) else { return };
    assert!(imported.bytes <= LIMITS.bytes_max);
    assert!(fs.usage().nodes <= LIMITS.entries_max + 1);
    let mut archive = Vec::new();
    export_layer(&layer, &mut archive).expect("an imported layer has exportable names");
    let again = MemFs::new().upper();
    let limits = ImportLimits { entries_max: 4096, ..LIMITS };
    import_layer(&mut &*archive, &again, limits).expect("an exported archive is valid");
    let mut second = Vec::new();
    export_layer(&again, &mut second).expect("the layer is the same");
    assert_eq!(archive, second);
});
