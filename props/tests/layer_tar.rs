//! Layer archives: round trips, interoperability with GNU tar, and hostile archives.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests look at the host, and fail by panicking"
)]

mod common;

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use palisade_props::{Flavor, Live, Op, Run, Runs, Tree, ambient, cases, runner};
use palisade_vfs::overlay::{
    ExportError, ImportFault, ImportLimits, Imported, Lowers, Overlay, UpperRef, export_layer,
    import_layer,
};
use palisade_vfs::{Descent, DirRef, EntryFault, HostDir, MemFs, Timestamp, TreeFault};
use proptest::test_runner::TestCaseError;
use tar::{EntryType, Header};

fn run(root: DirRef, ops: &[Op]) {
    let mut live = Live::new(root);
    for op in ops {
        live.run(op);
    }
}

/// Returns the modification time of each path.
fn times(root: &DirRef) -> Vec<(String, Timestamp)> {
    let tree = Tree::snapshot(&**root).unwrap();
    let paths = std::iter::once("").chain(tree.iter().map(|(path, _)| path));
    let time = |path: &str| root.stat(Descent::new(path).unwrap()).unwrap().modified;
    paths.map(|path| (path.to_owned(), time(path))).collect()
}

const LIMITS: ImportLimits = ImportLimits {
    entries_max: 1000,
    bytes_max: 1 << 20,
    ratio_max: 200,
    memory_max: 64 << 20,
    omitted_max: u64::MAX,
};

fn import(bytes: &[u8]) -> Result<(UpperRef, Imported), ImportFault> {
    let layer = MemFs::new().upper();
    match import_layer(&mut &bytes[..], &layer, LIMITS) {
        Ok(imported) => Ok((layer, imported)),
        Err(error) => {
            assert!(error.to_string().contains(&format!("entry {}", error.number)));
            Err(error.fault)
        }
    }
}

fn has_tar() -> bool {
    let has = Command::new("tar").arg("--version").output().is_ok_and(|it| it.status.success());
    if !has {
        eprintln!("there is no `tar` here: nothing is compared with it");
    }
    has
}

fn tar(args: &[&str], dir: &Path) {
    let out = Command::new("tar").args(args).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn layer_round_trips_through_an_archive() {
    let (gnu, compared, refused) = (has_tar(), Cell::new(0), Cell::new(0));
    let stories = (Runs(Flavor::Plain), Runs(Flavor::Plain));
    let result = runner(cases(150)).run(&stories, |(tree, ops)| {
        let fail = |why: String| Err(TestCaseError::fail(why));
        let lower = MemFs::new().root();
        run(lower.clone(), &tree);
        let lowers = Lowers::of(lower);
        let overlay = Overlay::new(MemFs::new().upper(), &lowers).unwrap();
        run(overlay.root(), &ops);
        let upper = overlay.upper().unwrap();
        let mut bytes = Vec::new();
        let exported = match export_layer(&upper, &mut bytes) {
            Ok(exported) => exported,
            Err(ExportError::Reserved { path }) if path.contains(".wh.") => {
                assert!(bytes.is_empty(), "{path}: reported after data was written");
                refused.set(refused.get() + 1);
                return Ok(());
            }
            Err(error) => return fail(error.to_string()),
        };
        let mut again = Vec::new();
        export_layer(&upper, &mut again).unwrap();
        if bytes != again {
            return fail("the archive is another one each time".to_owned());
        }
        let layer = MemFs::new().upper();
        let limits = ImportLimits::default();
        let imported = import_layer(&mut &bytes[..], &layer, limits)
            .or_else(|error| fail(error.to_string()).map(|()| Imported::default()))?;
        let nodes = imported.files + imported.dirs + imported.symlinks + imported.hard_links;
        // The export counts the root as well.
        assert_eq!(nodes, exported.nodes + 1);
        assert_eq!(imported.whiteouts + imported.opaque, exported.markers);
        let other = Overlay::new(layer.clone(), &lowers).unwrap();
        let (want, got) = (overlay.root(), other.root());
        let (want_tree, got_tree) =
            (Tree::snapshot(&*want).unwrap(), Tree::snapshot(&*got).unwrap());
        if want_tree != got_tree {
            return fail(format!("another tree:\n{}", want_tree.diff(&got_tree)));
        }
        if times(&want) != times(&got) {
            return fail(format!("other times: {:?} {:?}", times(&want), times(&got)));
        }
        if gnu && compared.get() < 40 {
            compared.set(compared.get() + 1);
            assert_extracts_as(&bytes, &layer);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(refused.get() < cases(150) / 2, "nearly all were refused");
}

/// Asserts that GNU tar extracts the tree of the layer, with markers as files.
fn assert_extracts_as(bytes: &[u8], layer: &UpperRef) {
    let temp = tempfile::tempdir_in(common::TMPFS).unwrap();
    std::fs::write(temp.path().join("layer.tar"), bytes).unwrap();
    std::fs::create_dir(temp.path().join("out")).unwrap();
    // GNU tar warns about times outside its range.
    tar(
        &["-xf", "layer.tar", "-C", "out", "--exclude=.wh.*", "--warning=no-timestamp"],
        temp.path(),
    );
    let got = ambient::tree(&temp.path().join("out")).unwrap();
    let want = Tree::snapshot(&**layer).unwrap();
    assert_eq!(want, got, "{}", want.diff(&got));
}

#[test]
fn archive_of_gnu_tar_is_imported() {
    if !has_tar() {
        return;
    }
    let long = "long/".repeat(60);
    let script = format!(
        "mkdir d\nwrite d/f \"hello\"\nlink d/f d/g\nsymlink l -> d/f\nsymlink abs -> /etc/passwd\n\
         mkdir é\nwrite é/ü \"\\*70000;x\"\n{}write {long}f \"deep\"\nwrite {} \"\"",
        (1..=60)
            .map(|n| format!("mkdir {}\n", "long/".repeat(n).trim_end_matches('/')))
            .collect::<String>(),
        "n".repeat(255),
    );
    let want = Tree::parse(&script).unwrap();
    for format in ["gnu", "pax", "posix"] {
        let temp = tempfile::tempdir_in(common::TMPFS).unwrap();
        let root = temp.path().join("in");
        std::fs::create_dir(&root).unwrap();
        let host = HostDir::open_ambient(&root).unwrap();
        want.build(&*host).unwrap();
        tar(&["-cf", "layer.tar", &format!("--format={format}"), "-C", "in", "."], temp.path());
        let bytes = std::fs::read(temp.path().join("layer.tar")).unwrap();
        let (layer, _) = import(&bytes).unwrap();
        let got = Tree::snapshot(&*layer).unwrap();
        assert_eq!(want, got, "{format}: {}", want.diff(&got));
        if format != "gnu" {
            let host: DirRef = host;
            assert_eq!(times(&host), times(&(layer as DirRef)), "{format}");
        }
    }
}

/// A builder of archives.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, kind: EntryType, path: &str, target: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let write_field =
            |field: &mut [u8], text: &str| field[..text.len()].copy_from_slice(text.as_bytes());
        write_field(&mut header.as_old_mut().name, path);
        write_field(&mut header.as_old_mut().linkname, target);
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mtime(7);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str) -> Self {
        self.entry(EntryType::Regular, path, "", b"bytes")
    }

    fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"")
    }

    fn pax(self, records: &str) -> Self {
        self.entry(EntryType::XHeader, "pax", "", records.as_bytes())
    }

    fn record(self, key: &str, value: &str) -> Self {
        // All records here have a length of two digits.
        self.pax(&format!("{} {key}={value}\n", key.len() + value.len() + 5))
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Entries that are left out, alone or strictly refused.
#[test]
fn hostile_entry_is_left_out_with_its_reason() {
    use EntryFault::*;
    use TreeFault::*;
    let new = Archive::default;
    let fifo = |path| new().entry(EntryType::Fifo, path, "", b"");
    let table: Vec<(&str, Archive, EntryFault)> = vec![
        ("up", new().file("../f"), DotDot.into()),
        ("up in between", new().dir("d").file("d/../../f"), DotDot.into()),
        ("no name", new().file(""), EmptyName.into()),
        ("a file for a root", new().file("."), FileAndDir.into()),
        ("a NUL", new().record("path", "a\0bc").file("f"), Nul.into()),
        ("an empty marker", new().file("d/.wh."), Reserved),
        ("a marker of `.`", new().file(".wh.."), Reserved),
        ("a marker of `..`", new().file(".wh..."), Reserved),
        ("a path through a marker", new().file(".wh.x/f"), Reserved),
        ("a cycle of links", new().symlink("l", "l").file("l/f"), TooManyLinks.into()),
        ("a directory over a file", new().file("f").dir("f"), Replaced),
        ("a file over a directory", new().dir("d").file("d"), Replaced),
        ("a file over a link", new().symlink("l", "/etc/passwd").file("l"), Replaced),
        ("a path through a file", new().file("f").file("f/g"), Replaced),
        ("a hard link out", new().link("f", "/etc/passwd"), LinkMissing.into()),
        ("a hard link upward", new().link("f", "../../etc/passwd"), DotDot.into()),
        ("a hard link to nothing", new().link("f", "g"), LinkMissing.into()),
        ("a hard link to a directory", new().dir("d").link("f", "d"), LinkToDir.into()),
        ("a hard link to the root", new().link("f", "./"), LinkToDir.into()),
        ("a hard link to itself", new().link("f", "f"), LinkMissing.into()),
        ("a link into its own directory", new().file("d/f").link("d", "d/f"), LinkMissing.into()),
        ("a link without a target", new().symlink("l", ""), BadTarget),
        ("a FIFO", fifo("f"), Special),
        ("a bad map", new().record("GNU.sparse.map", "1").file("f"), SparseMap),
        ("an unknown type", new().entry(EntryType::new(b'Z'), "f", "", b""), Type('Z')),
    ];
    for (what, archive, want) in table {
        let bytes = archive.end();
        let (_, imported) = import(&bytes).unwrap();
        let reasons: Vec<_> = imported.omitted.first().iter().map(|it| it.reason).collect();
        assert!(reasons.contains(&want), "{what}: {reasons:?}");
        let strict = ImportLimits { omitted_max: 0, ..LIMITS };
        let refused = import_layer(&mut &bytes[..], &MemFs::new().upper(), strict).unwrap_err();
        assert!(matches!(refused.fault, ImportFault::Entry(_)), "{what}: {refused}");
    }
}

/// Entries whose paths or types other tools accept: the tree that results.
#[test]
fn odd_entries_are_kept_inside_the_layer() {
    let new = Archive::default;
    for (what, archive, want) in [
        ("absolute", new().file("/f"), "write f \"bytes\""),
        ("dots", new().file("d/./f"), "mkdir d\nwrite d/f \"bytes\""),
        ("two slashes", new().file("d//f"), "mkdir d\nwrite d/f \"bytes\""),
        ("up and down", new().file("d/../f"), "write f \"bytes\""),
        ("an absolute root", new().dir("/"), ""),
        ("a file twice", new().file("f").entry(EntryType::Regular, "f", "", b"2"), "write f \"2\""),
        (
            "through a link",
            new().symlink("l", "/d").file("l/f"),
            "mkdir d\nsymlink l -> /d\nwrite d/f \"bytes\"",
        ),
        (
            "through a link upward",
            new().symlink("l", "../..").dir("l/d"),
            "mkdir d\nsymlink l -> ../..",
        ),
        (
            "a hard link through a link",
            new().file("d/f").symlink("l", "d").link("g", "l/f"),
            "mkdir d\nwrite d/f \"bytes\"\nsymlink l -> d\nlink d/f g",
        ),
        ("names of aufs", new().file(".wh..wh.aufs").file(".wh..wh.plnk/x"), ""),
        (
            "a file, then a directory",
            new().file("d").dir("d").file("d/f"),
            "mkdir d\nwrite d/f \"bytes\"",
        ),
        ("a directory, then a file", new().file("d/f").file("d"), "write d \"bytes\""),
    ] {
        let (layer, _) = import(&archive.end()).unwrap();
        let (want, got) = (Tree::parse(want).unwrap(), Tree::snapshot(&*layer).unwrap());
        assert_eq!(want, got, "{what}: {}", want.diff(&got));
    }
}

#[test]
fn archive_that_cannot_be_followed_is_refused() {
    let new = Archive::default;
    let deep =
        new().dir(&"d/".repeat(45)).entry(EntryType::GNULongName, "x", "", &b"d/".repeat(31_000));
    for (what, archive) in [
        ("records that are none", new().pax("junk").file("f")),
        ("a size that is none", new().record("size", "-1").file("f")),
        ("a size beyond the limit", new().record("size", "9999999").file("f")),
        ("a size beyond all", new().record("size", "18446744073709551615").file("f")),
        ("a path too deep", deep.file("f")),
    ] {
        let fault = import(&archive.end()).map(|_| ()).unwrap_err();
        let is_expected = matches!(
            fault,
            ImportFault::Malformed { .. } | ImportFault::TooManyBytes(_) | ImportFault::Limit(..)
        );
        assert!(is_expected, "{what}: {fault:?}");
    }
    let zip = import(b"PK\x03\x04").map(|_| ());
    assert!(matches!(zip, Err(ImportFault::Foreign { .. })), "{zip:?}");
    assert_eq!(import(&[b'x'; 2000]).map(|_| ()), Err(ImportFault::NotTar));
}

#[test]
fn archive_may_end_at_a_header_and_nowhere_else() {
    let whole = Archive::default().dir("d").record("path", "f").file("x").end();
    // The ends of the directory's header, of the record, and of the file's data, padded or not.
    let ends = [0..=0, 512..=512, 1034..=1536, 2053..=whole.len()];
    for len in 0..=whole.len() {
        let imported = import(&whole[..len]).map(|(_, imported)| imported.notes.missing_end);
        let expected = match ends.iter().any(|end| end.contains(&len)) {
            true => Ok(len < whole.len()),
            false => Err(ImportFault::Truncated),
        };
        assert_eq!(imported, expected, "{len}");
    }
}

#[test]
fn header_with_a_wrong_checksum_is_malformed() {
    let whole = Archive::default().dir("d").file("f").end();
    for at in [0, 100, 124, 140, 156, 300, 511] {
        let mut bytes = whole.clone();
        bytes[512 + at] ^= 1;
        let fault = import(&bytes).err();
        assert!(matches!(fault, Some(ImportFault::Malformed { at: 512, .. })), "{at} {fault:?}");
        bytes[at] ^= 1;
        assert_eq!(import(&bytes).err(), Some(ImportFault::NotTar), "{at}");
    }
}

#[test]
fn import_stops_at_its_limits() {
    let mut many = Archive::default();
    for n in 0..501 {
        many = many.dir(&format!("d{n}/e"));
    }
    assert_eq!(import(&many.end()).err(), Some(ImportFault::TooManyEntries(1000)));
    let half = vec![1; (1 << 19) + 1];
    let large = Archive::default().entry(EntryType::Regular, "a", "", &half).entry(
        EntryType::Regular,
        "b",
        "",
        &half,
    );
    assert_eq!(import(&large.end()).err(), Some(ImportFault::TooManyBytes(1 << 20)));
    let long = Archive::default().entry(EntryType::XHeader, "x", "", &vec![b'x'; 2 << 20]);
    assert!(matches!(import(&long.end()).err(), Some(ImportFault::Malformed { .. })));
}

/// The lower, the entries of the archive, and the resulting tree.
const MARKERS: &[(&[&str], &str)] = &[
    (&[".wh.f"], "mkdir d\nwrite d/x \"\""),
    (&[".wh.d"], "write f \"\""),
    (&["d/.wh.x"], "mkdir d\nwrite f \"\""),
    (&["d/.wh..wh..opq"], "mkdir d\nwrite f \"\""),
    (&["d/.wh..wh..opq", "d/y"], "mkdir d\nwrite d/y \"bytes\"\nwrite f \"\""),
    (&["d/y", "d/.wh..wh..opq"], "mkdir d\nwrite d/y \"bytes\"\nwrite f \"\""),
    (&[".wh.d", "d/y"], "mkdir d\nwrite d/y \"bytes\"\nwrite f \"\""),
    (&["d/y", ".wh.d"], "mkdir d\nwrite d/y \"bytes\"\nwrite f \"\""),
    (&[".wh.f", "f"], "mkdir d\nwrite d/x \"\"\nwrite f \"bytes\""),
    (&["f", ".wh.f"], "mkdir d\nwrite d/x \"\"\nwrite f \"bytes\""),
    (&[".wh.nothing"], "mkdir d\nwrite d/x \"\"\nwrite f \"\""),
    (&[".wh..wh..opq"], ""),
    (&["new", ".wh..wh..opq"], "write new \"bytes\""),
];

#[test]
fn markers_hide_lower_nodes_but_not_their_own_layer() {
    let lower = MemFs::new().root();
    Tree::parse("mkdir d\nwrite d/x \"\"\nwrite f \"\"").unwrap().build(&*lower).unwrap();
    for (paths, want) in MARKERS {
        let archive = paths.iter().fold(Archive::default(), |archive, path| archive.file(path));
        let (layer, _) = import(&archive.end()).unwrap();
        let want = Tree::parse(want).unwrap();
        let lowers = Lowers::of(lower.clone());
        let overlay = Overlay::new(layer.clone(), &lowers).unwrap();
        assert_eq!(Tree::snapshot(&*overlay.root()).unwrap(), want, "{paths:?}");
        // The layer hides the same as one of the lowers.
        overlay.snapshot(MemFs::new().upper()).unwrap();
        let lowers = Lowers::builder().frozen_upper(layer).dir(lower.clone()).build().unwrap();
        assert_eq!(Tree::snapshot(&*lowers.root()).unwrap(), want, "{paths:?}");
        assert_eq!(Tree::snapshot(&*overlay.root()).unwrap(), want, "{paths:?}");
    }
}

#[test]
fn unsupported_entries_are_skipped_and_reported() {
    let archive = Archive::default()
        .entry(EntryType::Char, "null", "", b"")
        .entry(EntryType::Fifo, "d/fifo", "", b"")
        .file("f");
    let (layer, imported) = import(&archive.end()).unwrap();
    assert_eq!((imported.omitted.count(), imported.files), (2, 1));
    let omitted = imported.omitted.first().iter().map(|entry| (&*entry.path, entry.reason));
    let expected = ["null", "d/fifo"].map(|path| (path, EntryFault::Special));
    assert_eq!(omitted.collect::<Vec<_>>(), expected);
    // Nor is there a directory for an entry that was skipped, as with images.
    let want = Tree::parse("write f \"bytes\"").unwrap();
    assert_eq!(Tree::snapshot(&*layer).unwrap(), want);
}

/// A writer that fails at its `left`-th write.
struct Failing {
    left: usize,
    taken: Vec<u8>,
}

impl std::io::Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.left -= 1;
        self.taken.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn failed_export_keeps_the_layer_and_can_be_repeated() {
    let lower = MemFs::new().root();
    Tree::parse("write f \"old\"\nmkdir d\nwrite d/g \"\"").unwrap().build(&*lower).unwrap();
    let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(lower)).unwrap();
    let script = "write f \"new\"\nunlink d/g\nmkdir e\nlink f e/h\nsymlink l -> f";
    let ops: Vec<Op> = palisade_props::Script::parse(script).unwrap().ops();
    run(overlay.root(), &ops);
    let layer = overlay.upper().unwrap();
    let mut whole = Vec::new();
    export_layer(&layer, &mut whole).unwrap();
    let before = times(&overlay.root());
    let mut failed = 0;
    loop {
        let mut out = Failing { left: failed, taken: Vec::new() };
        match export_layer(&layer, &mut out) {
            Ok(_) => break assert_eq!(out.taken, whole),
            Err(error) => assert!(matches!(error, ExportError::Write(_)), "{error}"),
        }
        assert!(whole.starts_with(&out.taken));
        assert_eq!(times(&overlay.root()), before);
        failed += 1;
    }
    assert!(failed > 5, "{failed}");
}
