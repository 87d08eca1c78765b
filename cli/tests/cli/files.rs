//! Tests of mounts.

use super::{Case, errno, read};

#[test]
fn guest_without_options_has_no_preopens() {
    let case = Case::new();
    case.run(&[&case.lister()]).prints("");
    case.run(&[&case.reader(3, "guest.wasm")]).exits(errno::BADF);
}

#[test]
fn preopens_have_their_guest_path_as_name() {
    let case = Case::new();
    case.file("a/x", "");
    let guest = case.lister();
    case.run(&["--dir", ".", &guest]).prints(".\n");
    case.run(&["--dir", "a::/data/", "--mem", "/tmp", "--copy", "a::b/c", &guest])
        .prints("/data/\n/tmp\nb/c\n");
    // A mount inside of another one is found there, in any order of the options.
    case.run(&["--dir", "a::/", "--mem", "/tmp", &guest]).prints("/\n");
    case.run(&["--mem", "/", "--dir", "a::/a", &guest]).prints("/\n");
    case.run(&["--dir", ".", "--mem", "/tmp", &guest]).prints(".\n/tmp\n");
}

#[test]
fn kernel_filesystems_cannot_be_mounted() {
    let case = Case::new();
    let guest = case.lister();
    for option in ["--dir", "--copy", "--overlay", "--image"] {
        for at in ["/proc", "/proc/self", "/sys"] {
            let mount = format!("{at}::/in");
            let outcome = case.run(&[option, &mount, &guest]);
            match option {
                "--image" => outcome.refuses(&[at, "image"]),
                _ => outcome.refuses(&[at, "kernel filesystems"]),
            };
        }
    }
    case.run(&["--file", "/proc/cpuinfo::/cpu", &guest]).refuses(&["/proc", "kernel filesystems"]);
    // Under a mounted directory they are listed, but cannot be opened.
    for at in ["proc/self/environ", "proc/cpuinfo"] {
        case.run(&["--dir", "/::/", &case.reader(3, at)]).exits(errno::ACCES);
    }
}

#[test]
fn directory_is_read_and_written() {
    let case = Case::new();
    case.file("d/in", "text");
    case.run(&["--dir", "d::/w", &case.reader(3, "in")]).prints("text");
    case.run(&["--dir", "d::/w", &case.reader(3, "missing")]).exits(errno::NOENT);
    case.run(&["--dir", "d::/w", &case.writer(3, "out")]).exits(0);
    assert_eq!(read(&case.path("d/out")), "out");
    case.run(&["--dir", "d::/w:rw", &case.writer(3, "out2")]).exits(0);
}

#[test]
fn read_only_directory_rejects_writes() {
    let case = Case::new();
    case.file("d/in", "text");
    case.run(&["--dir", "d::/w:ro", &case.reader(3, "in")]).prints("text");
    case.run(&["--dir", "d::/w:ro", &case.writer(3, "in")]).exits(errno::ROFS);
    case.run(&["--dir", "d:ro", &case.writer(3, "out")]).exits(errno::ROFS);
    assert_eq!(read(&case.path("d/in")), "text");
    assert!(!case.path("d/out").exists());
}

#[test]
fn memory_directory_leaves_nothing() {
    let case = Case::new();
    case.run(&["--mem", "/tmp", &case.writer(3, "x")]).exits(0);
    case.run(&["--mem", "/tmp", &case.reader(3, "x")]).exits(errno::NOENT);
}

#[test]
fn copy_is_never_written_back() {
    let case = Case::new();
    case.file("d/sub/in", "text");
    case.run(&["--copy", "d::/w", &case.reader(3, "sub/in")]).prints("text");
    case.run(&["--copy", "d::/w", &case.writer(3, "sub/in")]).exits(0);
    assert_eq!(read(&case.path("d/sub/in")), "text");
    case.run(&["--copy", "d::/w:ro", &case.writer(3, "sub/in")]).exits(errno::ROFS);
}

#[test]
fn copy_reports_skipped_nodes() {
    let case = Case::new();
    case.file("d/in", "text");
    let _socket = std::os::unix::net::UnixListener::bind(case.path("d/socket")).unwrap();
    let outcome =
        case.run(&["--copy", "d::/w", &case.reader(3, "in")]).fails(0, &["--copy", "socket"]);
    assert_eq!(outcome.stdout, "text");
}

#[test]
fn deepest_mount_wins_in_any_order() {
    let case = Case::new();
    case.file("outer/sub/x", "outer");
    case.file("inner/x", "inner");
    let guest = case.reader(3, "sub/x");
    let (outer, inner) = (["--dir", "outer::/w"], ["--dir", "inner::/w/sub:ro"]);
    case.run(&[&outer[..], &[&guest]].concat()).prints("outer");
    case.run(&[&outer[..], &inner, &[&guest]].concat()).prints("inner");
    case.run(&[&inner[..], &outer, &[&guest]].concat()).prints("inner");
    // Each mount has its own access mode.
    let guest = case.writer(3, "sub/y");
    case.run(&[&outer[..], &inner, &[&guest]].concat()).exits(errno::ROFS);
    let guest = case.writer(3, "y");
    case.run(&[&outer[..], &inner, &[&guest]].concat()).exits(0);
}

#[test]
fn file_mount_is_grafted_into_the_surrounding_tree() {
    let case = Case::new();
    case.file("d/conf/other", "other");
    case.file("secret", "secret");
    let run =
        |guest: &str| case.run(&["--file", "secret::/w/conf/key:ro", "--dir", "d::/w", guest]);
    run(&case.lister()).prints("/w\n");
    run(&case.reader(3, "conf/key")).prints("secret");
    run(&case.reader(3, "conf/other")).prints("other");
    run(&case.writer(3, "conf/key")).exits(errno::ROFS);
    assert!(!case.path("d/conf/key").exists());
}

#[test]
fn single_file_mount_creates_its_directory() {
    let case = Case::new();
    case.file("d/key", "key");
    case.file("d/other", "other");
    let run = |guest: &str| case.run(&["--file", "d/key::/etc/app/key", guest]);
    run(&case.lister()).prints("/etc/app\n");
    run(&case.reader(3, "key")).prints("key");
    run(&case.reader(3, "other")).exits(errno::NOENT);
    assert_ne!(run(&case.writer(3, "new")).code, 0);
    run(&case.writer(3, "key")).exits(0);
    assert_eq!(read(&case.path("d/key")), "key");
    case.run(&["--file", "d/key::key", &case.lister()]).prints(".\n");
    case.run(&["--file", "d/key::/a/k", "--file", "d/other::/a/b/o", &case.lister()])
        .prints("/a\n");
    case.run(&["--file", "d/key::/a/k", "--file", "d/other::/a/b/o", &case.reader(3, "b/o")])
        .prints("other");
}

#[test]
fn invalid_mounts_are_rejected() {
    let case = Case::new();
    case.file("d/x", "");
    case.file("f", "");
    std::os::unix::fs::symlink("f", case.path("link")).unwrap();
    let guest = case.guest("");
    let cases: &[(&[&str], &[&str])] = &[
        (&["--dir", "missing"], &["--dir", "missing", "exists"]),
        (&["--dir", "f"], &["--dir", "f"]),
        (&["--copy", "missing::/a"], &["--copy", "missing"]),
        (&["--file", "d::/a"], &["--file", "`d`", "--dir"]),
        (&["--file", "missing::/a"], &["--file", "missing"]),
        (&["--file", "link::/a"], &["--file", "link"]),
        (&["--file", "f::/"], &["`/`", "cannot be mounted at a root"]),
        (&["--dir", "d::/a", "--mem", "/a/"], &["/a/", "twice"]),
        (&["--dir", "d::/a", "--file", "f::/a"], &["/a", "twice"]),
        (&["--mem", "/a/../b"], &["/a/../b", ".."]),
        (&["--mem", ""], &["empty"]),
    ];
    for (args, facts) in cases {
        case.run(&[args, &[guest.as_str()][..]].concat()).refuses(facts);
    }
    for args in [["--dir", "d::"], ["--file", "f"], ["--copy", "::d"]] {
        case.run(&[&args[..], &[&guest]].concat()).fails(2, &[args[0]]);
    }
}
