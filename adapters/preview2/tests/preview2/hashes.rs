//! `metadata-hash`: equal where nothing differs, different where something does, and no number of
//! the host.

use palisade_kernel::{Config, Random};
use palisade_preview2::PalisadeCtx;
use palisade_vfs::MemFs;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::HostDescriptor as _;

use crate::world::{READ, WRITE, World, each, fd, no_flags, no_follow};

fn hash(w: &mut World, path: &str) -> (u64, u64) {
    let root = w.root;
    let hash = w.call(|v| v.metadata_hash_at(fd(root), no_follow(), path.into())).unwrap();
    (hash.lower, hash.upper)
}

#[test]
fn a_hash_tells_nodes_and_their_states_apart() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        w.put("g", b"x");
        w.call(|v| v.link_at(fd(root), no_follow(), "f".into(), fd(root), "h".into())).unwrap();
        let (f, g, h) = (hash(&mut w, "f"), hash(&mut w, "g"), hash(&mut w, "h"));
        assert_eq!(f, h, "two names of one node");
        assert!(f.0 != g.0 && f.1 != g.1);
        let file = w.open(root, "f", no_flags(), READ).unwrap();
        let open = w.call(|v| v.metadata_hash(fd(file))).unwrap();
        assert_eq!((open.lower, open.upper), f);
        w.put("f", b"longer");
        let written = hash(&mut w, "f");
        assert_eq!(written.0, f.0, "the lower half is the node's");
        assert_ne!(written.1, f.1, "the upper half is its state's");
    });
}

#[test]
fn a_look_is_good_for_the_next_call_and_no_other() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        let before = hash(&mut w, "f");
        let file = w.open(root, "f", no_flags(), WRITE).unwrap();
        let stream = w.output(file, 0).unwrap();
        // A stream's write is no call of ours, and is seen all the same.
        w.lstat("f").unwrap();
        w.write(&stream, b"written").unwrap();
        assert_ne!(hash(&mut w, "f").1, before.1);
        let before = hash(&mut w, "f");
        w.lstat("f").unwrap();
        assert_eq!(w.call(|v| v.write(fd(file), vec![0; 100], 0)), Ok(100));
        assert_ne!(hash(&mut w, "f").1, before.1);
        // Nor is it good for another path, or for another way to look.
        w.put("g", b"x");
        w.lstat("g").unwrap();
        assert_ne!(hash(&mut w, "f").0, hash(&mut w, "g").0);
        w.call(|v| v.stat(fd(file))).unwrap();
        let root_hash = w.call(|v| v.metadata_hash(fd(root))).unwrap();
        assert_ne!(root_hash.lower, hash(&mut w, "f").0);
    });
}

#[test]
fn the_key_is_each_guests_own() {
    let fs = MemFs::new();
    World::over(fs.root()).put("f", b"x");
    let of = |random| {
        let config = Config::builder().preopen("/", fs.root()).random(random).build().unwrap();
        hash(&mut World::with(PalisadeCtx::new(config.start())), "f")
    };
    assert_ne!(of(Random::Secure), of(Random::Secure));
    assert_eq!(of(Random::Seeded(1)), of(Random::Seeded(1)));
    assert_ne!(of(Random::Seeded(1)), of(Random::Seeded(2)));
}
