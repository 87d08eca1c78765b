//! Tests that a revoked or narrowed policy applies to read-ahead data and cached lookups.

use std::sync::Arc;

use palisade_policy::{Live, Policy, confine_live};
use palisade_vfs::{DirRef, MemFs, Rights};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    DirectoryEntryStream, ErrorCode, HostDescriptor as _, HostDirectoryEntryStream as _,
};

use crate::world::{READ, World, fd, no_flags, no_follow};

fn all() -> Live {
    Live::new(Arc::new(Policy::builder().allow("/**", Rights::all()).build().unwrap()))
}

fn hiding(glob: &str) -> Policy {
    Policy::builder().allow("/**", Rights::all()).hide(glob).build().unwrap()
}

fn guarded(root: DirRef) -> (Live, World) {
    let live = all();
    let world = World::over(confine_live(root, &live, ""));
    (live, world)
}

/// Revokes or narrows a policy.
type End = fn(&Live);
/// Returns the next entry of a directory stream.
type Next = Result<Option<String>, ErrorCode>;

fn next(w: &mut World, entries: &Resource<DirectoryEntryStream>) -> Next {
    let entries = Resource::new_borrow(entries.rep());
    w.call(|v| v.read_directory_entry(entries)).map(|entry| entry.map(|entry| entry.name))
}

#[test]
fn directory_stream_ends_after_a_revocation() {
    let ends: [(End, Next); 2] = [
        (Live::revoke, Err(ErrorCode::Access)),
        (|live| live.narrow(&hiding("/f*")).unwrap(), Ok(None)),
    ];
    for (end, expected) in ends {
        let fs = MemFs::new();
        let mut plain = World::over(fs.root());
        for n in 0..500 {
            plain.put(&format!("f{n}"), b"x");
        }
        let (live, mut w) = guarded(fs.root());
        let root = w.root;
        let entries = w.call(|v| v.read_directory(fd(root))).unwrap();
        assert!(next(&mut w, &entries).unwrap().is_some());
        end(&live);
        assert_eq!(next(&mut w, &entries), expected);
        assert_eq!(next(&mut w, &entries), expected);
    }
}

#[test]
fn cached_lookup_is_refused_after_a_revocation() {
    let fs = MemFs::new();
    World::over(fs.root()).put("f", b"x");
    let (live, mut w) = guarded(fs.root());
    let root = w.root;
    w.lstat("f").unwrap();
    live.revoke();
    let hash = w.call(|v| v.metadata_hash_at(fd(root), no_follow(), "f".into()));
    assert_eq!(hash.map(drop), Err(ErrorCode::Access));

    let (live, mut w) = guarded(fs.root());
    let root = w.root;
    let file = w.open(root, "f", no_flags(), READ).unwrap();
    w.call(|v| v.stat(fd(file))).unwrap();
    live.revoke();
    assert_eq!(w.call(|v| v.metadata_hash(fd(file))).map(drop), Err(ErrorCode::Access));
}

#[test]
fn hash_of_a_listed_entry_is_refused_once_hidden() {
    let fs = MemFs::new();
    World::over(fs.root()).put("f", b"x");
    let (live, mut w) = guarded(fs.root());
    let root = w.root;
    let entries = w.call(|v| v.read_directory(fd(root))).unwrap();
    assert_eq!(next(&mut w, &entries), Ok(Some("f".into())));
    live.narrow(&hiding("/f")).unwrap();
    let hash = w.call(|v| v.metadata_hash_at(fd(root), no_follow(), "f".into()));
    assert_eq!(hash.map(drop), Err(ErrorCode::NoEntry));
}
