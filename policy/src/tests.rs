//! What the layers promise, as laws over sequences of operations and as tables.

mod laws;
mod op;
mod quota;
mod spy;
mod tables;

use palisade_vfs::MemFs;

/// The tree that all of these tests start from.
const SEED: &[(&str, &str)] = &[
    ("mkdir", "a"),
    ("mkdir", "a/d"),
    ("mkdir", "b"),
    ("file", "f"),
    ("file", "a/f"),
    ("file", "a/d/g"),
    ("link a", "l"),
    ("link ../f", "a/l"),
    ("link gone", "b/l"),
];

/// A filesystem with [`SEED`] in it.
fn seeded() -> palisade_vfs::DirRef {
    let root = MemFs::new().root();
    op::seed(&root, SEED);
    root
}
