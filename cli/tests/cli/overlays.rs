//! Tests of overlays, and of `diff`, `commit`, `discard`, `export` and `import`.

use super::{Case, ENGINES, Outcome, errno, read};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");

impl Case {
    /// Runs a guest that writes `name` into the file `name` of an overlay of `up` over `d`.
    fn change(&self, name: &str) {
        let guest = self.writer(3, name);
        self.run(&["--overlay", "d::/w", "--upper", "up", &guest]).exits(0);
    }

    /// Runs a guest that removes a file of an overlay of `up` over `d`.
    fn remove(&self, name: &str) {
        let guest = self.remover(name);
        self.run(&["--overlay", "d::/w", "--upper", "up", &guest]).exits(0);
    }

    /// Writes a guest that removes a file, or exits with the errno.
    fn remover(&self, path: &str) -> String {
        self.module(
            "remover.wasm",
            &format!(
                r#"(import "wasi_snapshot_preview1" "path_unlink_file"
                    (func $unlink (param i32 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "{path}")
                (func (export "_start") (call $exit
                    (call $unlink (i32.const 3) (i32.const 0) (i32.const {}))))"#,
                path.len()
            ),
        )
    }

    /// Creates `d` with two files, and `up` with an added, a modified and a removed file.
    fn changed() -> Case {
        let case = Case::new();
        case.file("d/old", "before");
        case.file("d/gone", "before");
        case.change("new");
        case.change("old");
        case.remove("gone");
        case
    }

    /// Returns the sorted names in a host directory.
    fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(dir)).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The diff of [`Case::changed`].
const CHANGES: &str = "D gone\nA new\nM old\n";

#[track_caller]
fn json(outcome: Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.exits(0).stdout).unwrap()
}

#[test]
fn memory_overlay_discards_changes_at_exit() {
    let case = Case::new();
    case.file("d/in", "text");
    case.run(&["--overlay", "d::/w", &case.reader(3, "in")]).prints("text");
    case.run(&["--overlay", "d::/w", &case.writer(3, "in")]).exits(0);
    case.run(&["--overlay", "d::/w", &case.writer(3, "new")]).exits(0);
    case.run(&["--overlay", "d::/w", &case.remover("in")]).exits(0);
    assert_eq!((case.names("d"), read(&case.path("d/in"))), (vec!["in".into()], "text".into()));
    case.run(&["--overlay", "d::/w:ro", &case.writer(3, "in")]).exits(errno::ROFS);
    case.run(&["--overlay", "d", &case.lister()]).prints("d\n");
    case.run(&["--overlay", "missing::/w", &case.lister()]).refuses(&["--overlay", "missing"]);
}

#[test]
fn upper_stores_changes_for_the_next_run() {
    for engine in ENGINES {
        let case = Case::changed();
        let run = |guest: &str| {
            case.run(&["--engine", engine, "--overlay", "d::/w", "--upper", "up", guest])
        };
        run(&case.reader(3, "new")).prints("new");
        // The write is shorter than the file, so the end of the file remains.
        run(&case.reader(3, "old")).prints("oldore");
        run(&case.reader(3, "gone")).exits(errno::NOENT);
        assert_eq!(case.names("d"), ["gone", "old"]);
        assert_eq!(read(&case.path("d/old")), "before");
    }
}

#[test]
fn upper_option_requires_one_overlay() {
    let case = Case::new();
    case.file("d/x", "");
    case.file("e/x", "");
    case.file("file", "");
    let guest = case.guest("");
    let cases: &[(&[&str], &[&str])] = &[
        (&["--upper", "up"], &["--upper", "but the run has 0", "--overlay"]),
        (&["--dir", "d", "--upper", "up"], &["--upper", "but the run has 0"]),
        (&["--overlay", "d", "--overlay", "e", "--upper", "up"], &["--upper", "but the run has 2"]),
        (&["--overlay", "d", "--upper", "d/up"], &["--upper", "must not contain each other"]),
        (&["--overlay", "d", "--upper", "d"], &["--upper", "must not contain each other"]),
        (&["--overlay", "d", "--upper", "."], &["--upper", "must not contain each other"]),
        (&["--overlay", "d", "--upper", "file"], &["--upper", "file"]),
        (&["--overlay", "d", "--upper", "missing/up"], &["--upper", "missing/up", "exist"]),
    ];
    for (args, facts) in cases {
        case.run(&[args, &[guest.as_str()][..]].concat()).refuses(facts);
    }
    assert_eq!((case.names("d"), case.names("e")), (vec!["x".to_owned()], vec!["x".to_owned()]));
}

#[test]
fn upper_option_applies_to_the_overlay_of_a_file() {
    let case = Case::new();
    case.file("d/x", "");
    case.file(
        "palisade.toml",
        "mount = [{ at = '/w', kind = 'overlay', upper = 'filed',
            lowers = [{ kind = 'dir', path = 'd' }] }]",
    );
    let run = |args: &[&str]| {
        let guest = case.writer(3, "new");
        case.run(&[&["--config", "palisade.toml"], args, &[&guest]].concat()).exits(0)
    };
    run(&["--upper", "given"]);
    assert!(case.path("given/upper/new").exists() && !case.path("filed").exists());
    run(&[]);
    assert!(case.path("filed/upper/new").exists());
    // An upper of an earlier run can be a lower.
    case.file(
        "palisade.toml",
        "mount = [{ at = '/w', kind = 'overlay', upper = 'memory', lowers = [
            { kind = 'overlay', upper = 'filed', lowers = [{ kind = 'dir', path = 'd' }] },
        ] }]",
    );
    case.run(&["--config", "palisade.toml", &case.reader(3, "new")]).prints("new");
    run(&[]);
}

#[test]
fn images_are_read_only() {
    let case = Case::new();
    case.file("d/in", "text");
    let tar = |name: &str, flag: &str| {
        let status = std::process::Command::new("tar")
            .current_dir(case.path("d"))
            .args([flag, &format!("../{name}"), "in"])
            .status();
        assert!(status.unwrap().success());
    };
    tar("plain", "-cf");
    tar("packed.anything", "-czf");
    for image in ["d", "plain", "packed.anything"] {
        let image = format!("{image}::/w");
        case.run(&["--image", &image, &case.reader(3, "in")]).prints("text");
        case.run(&["--image", &image, &case.writer(3, "in")]).exits(errno::ROFS);
        case.run(&["--image", &image, &case.writer(3, "new")]).exits(errno::ROFS);
    }
    case.file("text", "no archive");
    let guest = case.guest("");
    case.run(&["--image", "text::/w", &guest]).refuses(&["--image", "`text`", "zip"]);
    case.run(&["--image", "missing::/w", &guest]).refuses(&["--image", "missing"]);
    case.run(&["--image", "plain::/w:rw", &guest]).fails(2, &["--image", "read-only"]);
}

#[test]
fn diff_option_prints_guest_paths() {
    let case = Case::new();
    case.file("d/old", "before");
    let (new, old) = (case.writer(3, "new"), "A /w/new\n");
    let outcome = case.run(&["--diff", "--overlay", "d::/w", &new]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, old), "{outcome:?}");
    case.run(&["--diff=changes", "--overlay", "d::/w", &new]).exits(0);
    assert_eq!(read(&case.path("changes")), old);
    let outcome = case.run(&["--diff", "--json", "--overlay", "d::/w", &new]);
    let value: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    let change = &value["changes"][0];
    let words = ["path", "kind", "type"].map(|key| change[key].as_str().unwrap());
    assert_eq!((words, change["size"].as_u64()), (["/w/new", "added", "file"], Some(3)));
    let outcome = case.run(&["--diff", "--overlay", "d::/w", &case.writer(3, "old")]);
    assert_eq!(outcome.stderr, "M /w/old\n");
    let outcome = case.run(&["--diff", "--overlay", "d::/w", &case.remover("old")]);
    assert_eq!(outcome.stderr, "D /w/old\n");
    // The diff is written after a failure and after a trap too.
    let writes_and_traps = std::fs::read(&new).map(|_| case.opener(3, "new", 1, 64, "unreachable"));
    case.run(&["--diff", "--overlay", "d::/w", &writes_and_traps.unwrap()])
        .fails(134, &["A /w/new\n", "unreachable"]);
    case.run(&["--diff", "--dir", "d::/w", &new]).refuses(&["--diff", "--overlay"]);
}

#[test]
fn c_program_passes_on_an_overlay() {
    for engine in ENGINES {
        for upper in [&[][..], &["--upper", "up"]] {
            let case = Case::new();
            case.file("d/a.txt", "alpha\n");
            let run = |guest: &str| {
                let guest = format!("{GUESTS}/{guest}.wasm");
                let options = ["--engine", engine, "--overlay", "d::/"];
                case.run(&[&options[..], upper, &[&guest, "all"]].concat()).exits(0)
            };
            let outcome = run("sandbox");
            assert!(outcome.stdout.ends_with("nothing escaped\n"), "{outcome:?}");
            assert_eq!(case.names("d"), ["a.txt"]);
        }
        for upper in [&[][..], &["--upper", "up"]] {
            let case = Case::new();
            std::fs::create_dir(case.path("d")).unwrap();
            let guest = format!("{GUESTS}/calls.wasm");
            let listed = case.run(&[&guest, "list"]).exits(0).stdout;
            // These sub-tests move the root permanently, or end the program.
            let ends = |name: &str| name.contains("renumber") || name.starts_with("proc_");
            let mut args = vec!["--engine", engine, "--overlay", "d::/"];
            args.extend(upper);
            args.push(&guest);
            args.extend(listed.lines().filter(|name| !ends(name)));
            let outcome = case.run(&args).exits(0);
            assert!(outcome.stdout.lines().count() > 60, "{outcome:?}");
            assert!(case.names("d").is_empty());
        }
    }
}

#[test]
fn diff_lists_stored_changes() {
    let case = Case::changed();
    case.palisade(&["diff", "up", "--lower", "d"]).prints(CHANGES);
    let value = json(case.palisade(&["diff", "up", "--lower", "d", "--json"]));
    let outcome: Vec<_> = value["changes"].as_array().unwrap().iter().collect();
    let words =
        outcome.iter().map(|it| (it["path"].as_str().unwrap(), it["kind"].as_str().unwrap()));
    let wanted = [("gone", "removed"), ("new", "added"), ("old", "modified")];
    assert_eq!(words.collect::<Vec<_>>(), wanted);
    // The lowers can be any number of directories and archives.
    case.file("e/new", "new");
    let outcome = case.palisade(&["diff", "up", "--lower", "d", "--lower", "e"]).exits(0);
    assert!(outcome.stdout.contains("M new\n"), "{outcome:?}");
}

#[test]
fn commit_applies_changes_and_empties_the_upper() {
    let case = Case::changed();
    case.palisade(&["commit", "up", "--lower", "d", "--dry-run"]).prints(CHANGES);
    assert_eq!(case.names("d"), ["gone", "old"]);
    let value = json(case.palisade(&["commit", "up", "--lower", "d", "--json"]));
    assert_eq!(
        (&value["committed"]["files"], &value["committed"]["removed"]),
        (&2.into(), &1.into())
    );
    assert_eq!(case.names("d"), ["new", "old"]);
    assert_eq!(read(&case.path("d/old")), "oldore");
    // The upper is empty after the commit.
    case.palisade(&["diff", "up", "--lower", "d"]).prints("");
    let outcome = case.palisade(&["commit", "up", "--lower", "d"]).exits(0);
    assert!(outcome.stdout.starts_with("wrote 0 files (0 bytes)"), "{outcome:?}");
    assert_eq!(case.names("d"), ["new", "old"]);
}

#[test]
fn commit_with_keep_applies_to_two_directories() {
    let case = Case::changed();
    case.file("e/gone", "before");
    case.file("e/stays", "before");
    let outcome = case.palisade(&["commit", "up", "--lower", "e", "--keep"]).exits(0);
    assert!(outcome.stdout.starts_with("wrote 2 files (9 bytes)"), "{outcome:?}");
    assert_eq!(case.names("e"), ["new", "old", "stays"]);
    case.palisade(&["diff", "up", "--lower", "d"]).prints(CHANGES);
    case.palisade(&["commit", "up", "--lower", "d"]).exits(0);
    assert_eq!(case.names("d"), ["new", "old"]);
}

#[test]
fn discard_deletes_changes() {
    let case = Case::changed();
    case.palisade(&["discard", "up"]).prints("");
    case.palisade(&["diff", "up", "--lower", "d"]).prints("");
    let run = |guest: &str| case.run(&["--overlay", "d::/w", "--upper", "up", guest]);
    run(&case.reader(3, "gone")).prints("before");
    run(&case.reader(3, "new")).exits(errno::NOENT);
}

#[test]
fn export_and_import_transfer_changes() {
    for name in ["layer.tar", "layer.tar.gz", "layer.tgz", "layer.tar.zst"] {
        let case = Case::changed();
        let outcome = case.palisade(&["export", "up", "-o", name]).exits(0);
        assert!(outcome.stdout.contains("1 marker\n"), "{outcome:?}");
        case.palisade(&["import", name, "other"]).exits(0);
        let outcome = case.palisade(&["diff", "other", "--lower", "d"]).exits(0);
        // An import sets the times of the root, which the diff lists.
        assert_eq!(outcome.stdout.trim_start_matches("M .\n"), CHANGES);
        case.palisade(&["import", name, "other"]).refuses(&["`other`", "discard other"]);
        // A run writes the same.
        let guest = case.guest("");
        let options = ["--overlay", "d::/w", "--upper", "up", "--export", &format!("run-{name}")];
        case.run(&[&options[..], &[&guest]].concat()).exits(0);
        let bytes = |name: &str| std::fs::read(case.path(name)).unwrap();
        assert_eq!(bytes(name), bytes(&format!("run-{name}")));
        assert!(!case.path(&format!("{name}.partial")).exists());
    }
    let case = Case::changed();
    let value = json(case.palisade(&["export", "up", "-o", "a.tar", "--json"]));
    assert_eq!(value["exported"]["markers"], 1);
    let value = json(case.palisade(&["import", "a.tar", "other", "--json"]));
    assert_eq!(value["imported"]["whiteouts"], 1);
}

#[test]
fn failed_export_and_import_leave_nothing() {
    let case = Case::changed();
    let guest = case.guest("");
    case.run(&["--export", "x.tar", &guest]).refuses(&["--export", "but the run has 0"]);
    case.run(&["--overlay", "d", "--export", "x.zip", &guest]).refuses(&["x.zip", ".tar.gz"]);
    case.palisade(&["export", "up", "-o", "x"]).refuses(&["`x`", ".tar.zst"]);
    case.palisade(&["export", "up", "-o", "missing/x.tar"]).refuses(&["missing/x.tar"]);
    case.palisade(&["import", "missing.tar", "other"]).refuses(&["missing.tar"]);
    assert!(!case.path("other").exists());
    case.file("text.tar", "no archive");
    case.palisade(&["import", "text.tar", "other"]).refuses(&["text.tar"]);
    case.palisade(&["diff", "other", "--lower", "d"]).prints("");
}

#[test]
fn commands_refuse_directories_without_changes() {
    let case = Case::changed();
    for command in [
        &["diff", "d", "--lower", "d"][..],
        &["commit", "d", "--lower", "up"],
        &["discard", "d"],
        &["export", "d", "-o", "x.tar"],
        &["discard", "missing"],
    ] {
        let name = format!("`{}`", command[1]);
        case.palisade(command).refuses(&[&name]);
    }
    assert_eq!(case.names("d"), ["gone", "old"]);
    let outcome = case.palisade(&["discard", "d", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(error["error"]["code"], "palisade::no_upper");
    case.palisade(&["diff", "up"]).fails(2, &["--lower"]);
    case.palisade(&["commit", "up", "--lower", "missing"]).refuses(&["--lower", "missing"]);
    case.palisade(&["commit", "up", "--lower", "up"]).refuses(&["must not contain each other"]);
}
