//! Tests of `metadata-hash`: equality, differences and secrecy.

use std::sync::Arc;

use palisade_kernel::{Config, Random};
use palisade_policy::{Policy, confine};
use palisade_preview2::PalisadeCtx;
use palisade_vfs::{MemFs, Rights};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    DirectoryEntryStream, ErrorCode, HostDescriptor as _, HostDirectoryEntryStream as _,
};

use crate::world::{FOLLOW, READ, WRITE, World, each, fd, no_flags, no_follow};

fn hash(w: &mut World, path: &str) -> (u64, u64) {
    let root = w.root;
    let hash = w.call(|v| v.metadata_hash_at(fd(root), no_follow(), path.into())).unwrap();
    (hash.lower, hash.upper)
}

#[test]
fn metadata_hash_depends_on_identity_time_and_size() {
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
fn cached_lookup_is_valid_for_the_next_call_only() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        let before = hash(&mut w, "f");
        let file = w.open(root, "f", no_flags(), WRITE).unwrap();
        let stream = w.output(file, 0).unwrap();
        // A write of a stream invalidates the cached lookup.
        w.lstat("f").unwrap();
        w.write(&stream, b"written").unwrap();
        assert_ne!(hash(&mut w, "f").1, before.1);
        let before = hash(&mut w, "f");
        w.lstat("f").unwrap();
        assert_eq!(w.call(|v| v.write(fd(file), vec![0; 100], 0)), Ok(100));
        assert_ne!(hash(&mut w, "f").1, before.1);
        // The cached lookup is not used for another path or other flags.
        w.put("g", b"x");
        w.lstat("g").unwrap();
        assert_ne!(hash(&mut w, "f").0, hash(&mut w, "g").0);
        w.call(|v| v.stat(fd(file))).unwrap();
        let root_hash = w.call(|v| v.metadata_hash(fd(root))).unwrap();
        assert_ne!(root_hash.lower, hash(&mut w, "f").0);
    });
}

#[test]
fn metadata_hash_key_differs_between_guests() {
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

/// Returns the next name of a directory stream.
fn next(w: &mut World, entries: &Resource<DirectoryEntryStream>) -> Option<String> {
    let entries = Resource::new_borrow(entries.rep());
    w.call(|v| v.read_directory_entry(entries)).unwrap().map(|entry| entry.name)
}

/// wasi-libc requests the hash of each entry, and aborts the listing on an error.
#[test]
fn listed_entry_without_stat_right_has_a_hash() {
    let fs = MemFs::new();
    let mut plain = World::over(fs.root());
    plain.put("f", b"x");
    plain.put("g", b"x");
    let rules = Policy::builder().allow("/**", Rights::all()).deny("/{f,g}", Rights::all());
    let policy = Arc::new(rules.build().unwrap());
    let mut w = World::over(confine(fs.root(), policy));
    let root = w.root;
    let ask = |w: &mut World, flags, path: &str| {
        w.call(|v| v.metadata_hash_at(fd(root), flags, path.into()))
            .map(|hash| (hash.lower, hash.upper))
    };
    let entries = w.call(|v| v.read_directory(fd(root))).unwrap();
    let first = next(&mut w, &entries).unwrap();
    let told = ask(&mut w, no_follow(), &first).unwrap();
    // The cached entry is valid once, for this name, without following links.
    assert_eq!(ask(&mut w, no_follow(), &first), Err(ErrorCode::Access));
    let second = next(&mut w, &entries).unwrap();
    assert_eq!(ask(&mut w, no_follow(), &first), Err(ErrorCode::Access));
    let entries = w.call(|v| v.read_directory(fd(root))).unwrap();
    assert_eq!(next(&mut w, &entries), Some(first.clone()));
    assert_eq!(ask(&mut w, FOLLOW, &first), Err(ErrorCode::Access));
    // Names have different hashes; the lower half is that of a permitted `stat`.
    assert_eq!(next(&mut w, &entries), Some(second.clone()));
    assert_ne!(ask(&mut w, no_follow(), &second).unwrap().0, told.0);
    assert!(w.lstat(&first).is_err());
    // The hash does not disclose the state: a write does not change it.
    plain.put(&first, b"longer");
    let entries = w.call(|v| v.read_directory(fd(root))).unwrap();
    assert_eq!(next(&mut w, &entries), Some(first.clone()));
    assert_eq!(ask(&mut w, no_follow(), &first), Ok(told));
}

#[test]
fn listed_entry_has_the_hash_of_its_identity() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        w.put("g", b"x");
        let before = [hash(&mut w, "f"), hash(&mut w, "g")];
        let entries = w.call(|v| v.read_directory(fd(root))).unwrap();
        for _ in before {
            let name = next(&mut w, &entries).unwrap();
            let index = usize::from(name == "g");
            assert_eq!(hash(&mut w, &name), before[index], "while it may be looked at");
        }
        // An existing entry, and one that was removed meanwhile.
        let entries = w.call(|v| v.read_directory(fd(root))).unwrap();
        let first = next(&mut w, &entries).unwrap();
        let second = if first == "f" { "g" } else { "f" };
        w.call(|v| v.unlink_file_at(fd(root), second.into())).unwrap();
        if next(&mut w, &entries).as_deref() == Some(second) {
            let index = usize::from(second == "g");
            assert_eq!(hash(&mut w, second).0, before[index].0);
        }
        let asked = w.call(|v| v.metadata_hash_at(fd(root), no_follow(), second.into()));
        assert!(asked.is_err_and(|code| code == ErrorCode::NoEntry));
    });
}

#[test]
fn listed_entry_has_no_hash_in_another_directory() {
    each(|mut w| {
        w.mkdir("d").unwrap();
        w.mkdir("e").unwrap();
        w.put("d/f", b"x");
        let d = w.open(w.root, "d", no_flags(), READ).unwrap();
        let entries = w.call(|v| v.read_directory(fd(d))).unwrap();
        w.close(d);
        let e = w.open(w.root, "e", no_flags(), READ).unwrap();
        assert_eq!(d, e, "a number that is given again");
        assert_eq!(next(&mut w, &entries).as_deref(), Some("f"));
        let asked = w.call(|v| v.metadata_hash_at(fd(e), no_follow(), "f".into()));
        assert!(asked.is_err_and(|code| code == ErrorCode::NoEntry));
    });
}
