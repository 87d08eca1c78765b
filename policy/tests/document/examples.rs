//! Tests of the policies in `examples/policies`: operations that each allows and denies.
//!
//! Each policy confines a tree in memory, on which the operations run.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_policy::confine;
use palisade_vfs::{Access, Cookie, Dir, DirRef, Errno, Follow, MemFs, OpenFlags, OpenHow, path};

use super::*;

pub(super) const FILES: [&str; 4] =
    ["agent-sandbox.toml", "drop-box.toml", "plugin-host.toml", "web-assets.toml"];

pub(super) fn text(file: &str) -> String {
    let path = format!("{}/../examples/policies/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// An operation of a guest on a path.
enum GuestOp {
    Read,
    /// Writes an existing file.
    Write,
    /// Creates or truncates a file and writes it, as most programs do.
    Save,
    List,
    Stat,
    CreateDir,
    RemoveFile,
    RemoveDir,
    /// Creates a symbolic link with this target.
    Symlink(&'static str),
    Rename(&'static str),
    Link(&'static str),
}

use GuestOp::*;

impl GuestOp {
    fn at(&self, dir: &dyn Dir, at: &str) -> Result<(), Errno> {
        let saving = OpenFlags::CREATE | OpenFlags::TRUNCATE;
        match self {
            Read => {
                let file = path::open(dir, at, Follow::Yes, OpenHow::READ)?.into_file()?;
                file.read_at(&mut [IoSliceMut::new(&mut [0; 4])], 0).map(drop)
            }
            Write => write(dir, at, OpenFlags::empty()),
            Save => write(dir, at, saving),
            List => {
                let list = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
                let dir = path::open(dir, at, Follow::Yes, list)?.into_dir()?;
                dir.read_dir(Cookie::START, &mut |_| ControlFlow::Continue(()))
            }
            Stat => path::stat(dir, at, Follow::Yes).map(drop),
            CreateDir => path::create_dir(dir, at),
            RemoveFile => path::remove_file(dir, at),
            RemoveDir => path::remove_dir(dir, at),
            Symlink(target) => path::create_symlink(dir, target, at),
            Rename(to) => path::rename(dir, at, dir, to),
            Link(to) => path::link(dir, at, dir, to),
        }
    }
}

fn write(dir: &dyn Dir, at: &str, flags: OpenFlags) -> Result<(), Errno> {
    let how = OpenHow::new(Access::Write, flags);
    let file = path::open(dir, at, Follow::Yes, how)?.into_file()?;
    file.write_at(&[IoSlice::new(b"text")], 0).map(drop)
}

/// Returns a tree with these files; a path that ends in `/` is an empty directory.
fn tree(paths: &[&str]) -> DirRef {
    let root = MemFs::new().root();
    for at in paths {
        for (end, _) in at.match_indices('/') {
            let _ = path::create_dir(&*root, &at[..end]);
        }
        if !at.ends_with('/') {
            write(&*root, at, OpenFlags::CREATE).unwrap();
        }
    }
    root
}

/// Runs the operations in order on the tree, confined by the policy of `file`.
fn check(file: &str, paths: &[&str], cases: &[(GuestOp, &str, Result<(), Errno>)]) {
    let document = read(&text(file))
        .unwrap_or_else(|error| panic!("the example {file} is rejected:\n{error}"));
    let policy = Arc::new(document.to_policy().unwrap());
    let root = confine(tree(paths), policy);
    for (nth, (op, at, expected)) in cases.iter().enumerate() {
        assert_eq!(op.at(&*root, at), *expected, "{file}: {nth}: {at}");
    }
}

const DENIED: Result<(), Errno> = Err(Errno::Acces);
/// A rename or link to a path with more rights.
const WIDENING: Result<(), Errno> = Err(Errno::Xdev);
const ABSENT: Result<(), Errno> = Err(Errno::Noent);

#[test]
fn agent_sandbox_protects_git_data_and_build_scripts() {
    let tree = [
        "work/src/main.rs",
        "work/src/old.rs",
        "work/Makefile",
        "work/.github/workflows/ci.yml",
        "work/.git/config",
        "work/deploy/.env",
        "work/deploy/site.pem",
        "etc/passwd",
    ];
    check(
        "agent-sandbox.toml",
        &tree,
        &[
            (Save, "work/src/main.rs", Ok(())),
            (Save, "work/src/new.rs", Ok(())),
            (CreateDir, "work/tests", Ok(())),
            (RemoveFile, "work/src/old.rs", Ok(())),
            (Rename("work/lib"), "work/src", Ok(())),
            (Read, "work/lib/main.rs", Ok(())),
            (List, "work", Ok(())),
            // Build scripts and CI configuration are read-only.
            (Read, "work/.github/workflows/ci.yml", Ok(())),
            (Write, "work/.github/workflows/ci.yml", DENIED),
            (Save, "work/.github/workflows/new.yml", DENIED),
            (RemoveFile, "work/Makefile", DENIED),
            (Rename("work/Makefile"), "work/lib/main.rs", DENIED),
            (Rename("work/github"), "work/.github", WIDENING),
            (Link("work/M"), "work/Makefile", WIDENING),
            // Hidden paths do not exist and cannot be created.
            (Stat, "work/.git", ABSENT),
            (Read, "work/.git/config", ABSENT),
            (Read, "work/deploy/.env", ABSENT),
            (Rename("work/x"), "work/deploy/site.pem", ABSENT),
            (Save, "work/.git/config", ABSENT),
            (Save, "work/.env", DENIED),
            // A symbolic link grants no rights on its target.
            (Symlink("../etc/passwd"), "work/link", Ok(())),
            (Read, "work/link", DENIED),
            (Read, "etc/passwd", DENIED),
            (List, ".", DENIED),
        ],
    );
}

#[test]
fn plugin_host_allows_writes_to_the_state_only() {
    check(
        "plugin-host.toml",
        &["plugin/manifest.json", "host/public/a", "host/private/a", "state/"],
        &[
            (Read, "plugin/manifest.json", Ok(())),
            (Write, "plugin/manifest.json", DENIED),
            (Rename("state/manifest.json"), "plugin/manifest.json", WIDENING),
            (Read, "host/public/a", Ok(())),
            (Read, "host/private/a", DENIED),
            (List, "host", DENIED),
            (Save, "state/db.tmp", Ok(())),
            (Rename("state/db"), "state/db.tmp", Ok(())),
            (CreateDir, "state/cache", Ok(())),
            (RemoveDir, "state/cache", Ok(())),
            (Symlink("../host/private/a"), "state/link", DENIED),
            (Link("state/b"), "state/db", DENIED),
            (RemoveFile, "state/db", Ok(())),
        ],
    );
}

#[test]
fn web_assets_are_readable_and_sources_are_hidden() {
    check(
        "web-assets.toml",
        &["assets/index.html", "assets/app.js.map", "assets/css/site.scss", "assets/.htaccess"],
        &[
            (Read, "assets/index.html", Ok(())),
            (List, "assets", Ok(())),
            (Write, "assets/index.html", DENIED),
            (Save, "assets/new.html", DENIED),
            (RemoveFile, "assets/index.html", DENIED),
            (Read, "assets/app.js.map", ABSENT),
            (Stat, "assets/css/site.scss", ABSENT),
            (Read, "assets/.htaccess", ABSENT),
            (List, ".", DENIED),
        ],
    );
}

#[test]
fn drop_box_allows_creating_but_not_reading() {
    check(
        "drop-box.toml",
        &["box/earlier.txt", "box/sub/"],
        &[
            (Save, "box/report.txt", Ok(())),
            (Save, "box/report.json", Ok(())),
            (Read, "box/report.txt", DENIED),
            (Stat, "box/earlier.txt", DENIED),
            (RemoveFile, "box/report.txt", DENIED),
            (Rename("box/x.txt"), "box/report.txt", DENIED),
            (List, "box", DENIED),
            (Save, "box/run.sh", DENIED),
            (Save, "box/sub/report.txt", DENIED),
            (CreateDir, "box/more", DENIED),
        ],
    );
}

#[test]
fn examples_define_their_variables() {
    for file in FILES {
        assert!(read(&text(file)).is_ok(), "{file}");
    }
    let given = Variables::from([("WORK".to_owned(), "/home/me/project".to_owned())]);
    let text = text("agent-sandbox.toml");
    let document = Document::parse("p", &text, &given, &mut NoIncludes).unwrap();
    let policy = document.to_policy().unwrap();
    assert_eq!(rights(&policy, "/home/me/project/a"), Rights::all());
    assert_eq!(rights(&policy, "/work/a"), Rights::empty());
}
