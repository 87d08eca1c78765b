//! Tests of `palisade.toml`: its keys, options that override it, and its errors.

use std::path::Path;

use super::{Case, ENGINES, Outcome, errno, read};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/palisade.toml");
const FAULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/faults");

fn guest(name: &str) -> String {
    format!("{GUESTS}/{name}.wasm")
}

/// Runs a guest with a `palisade.toml` in a subdirectory.
fn run(case: &Case, file: &str, options: &[&str], guest: &str, args: &[&str]) -> Outcome {
    case.file("box/palisade.toml", file);
    case.run(&[&["--config", "box/palisade.toml"], options, &[guest], args].concat())
}

#[test]
fn example_file_runs() {
    let case = Case::new();
    for engine in ENGINES {
        let args = ["/work/src/lib.rs", "/work/RESULTS.md", "/etc/motd"];
        let cat = guest("cat");
        let all = [&["--config", EXAMPLE, "--engine", engine, &cat][..], &args].concat();
        // This guest uses no path that the policy hides.
        let outcome = case.run(&all).fails(0, &["no path matched", "hide /**/*.py"]);
        // The argument of the file comes first, and each mount has its guest path.
        let root = Path::new(EXAMPLE).parent().unwrap().parent().unwrap();
        let parts = ["tests/guests/hello.c", "vfs/src/lib.rs", "benches/RESULTS.md"];
        let parts = parts.iter().chain(&["README.md"]).map(|name| read(&root.join(name)));
        assert_eq!(outcome.stdout, parts.collect::<String>());
    }
    let outcome =
        case.run(&["--config", EXAMPLE, &guest("echo_args_env")]).fails(0, &["no path matched"]);
    assert!(outcome.stdout.contains("env MODE=example\n"), "{outcome:?}");
    // A hidden path and a visible one.
    let cat = guest("cat");
    let shown = case.run(&["--config", EXAMPLE, &cat, "/work/bad/pointers.wat"]);
    shown.fails(0, &["no path matched"]);
    let hidden = case.run(&["--config", EXAMPLE, &cat, "/work/bad/pointers.py"]);
    assert!(hidden.code == 1 && hidden.stderr.contains("No such file"), "{hidden:?}");
}

#[test]
fn every_mount_kind_resolves_paths_relative_to_the_file() {
    let case = Case::new();
    case.file("box/d/x", "dir ");
    case.file("box/c/x", "copy ");
    case.file("box/i/x", "image ");
    case.file("box/single", "file ");
    case.file("above", "above ");
    let file = r#"
        mount = [
            { at = "/d", kind = "dir", path = "d", access = "ro" },
            { at = "/c", kind = "copy", path = "c" },
            { at = "/i", kind = "image", path = "i" },
            { at = "/f/x", kind = "file", path = "single", access = "ro" },
            { at = "/up/x", kind = "file", path = "../above" },
            { at = "/m", kind = "memory" },
            { at = "/o", kind = "overlay", upper = "memory", lowers = [
                { kind = "dir", path = "d" },
                { kind = "image", path = "i" },
            ] },
        ]"#;
    let paths = ["/d/x", "/c/x", "/i/x", "/f/x", "/up/x", "/o/x"];
    run(&case, file, &[], &guest("cat"), &paths).prints("dir copy image file above dir ");
    let written = [
        ("kind = 'dir', path = 'd', access = 'ro'", errno::ROFS),
        ("kind = 'dir', path = 'd', access = 'rw'", 0),
        ("kind = 'copy', path = 'c'", 0),
        ("kind = 'image', path = 'i'", errno::ROFS),
        ("kind = 'memory'", 0),
        ("kind = 'overlay', upper = 'memory', lowers = [{ kind = 'dir', path = 'i' }]", 0),
    ];
    for (mount, code) in written {
        let file = format!("mount = [{{ at = '/w', {mount} }}]");
        run(&case, &file, &[], &case.writer(3, "y"), &[]).exits(code);
    }
    let kept = |name: &str| case.path(name).exists();
    assert!(kept("box/d/y") && !kept("box/c/y") && !kept("box/i/y"));
}

#[test]
fn overlays_can_be_nested() {
    let case = Case::new();
    case.file("box/top/x", "top");
    case.file("box/middle/x", "middle");
    case.file("box/middle/y", "middle");
    case.file("box/bottom/y", "bottom");
    case.file("box/bottom/z", "bottom");
    let file = r#"
        [[mount]]
        at = "/"
        kind = "overlay"
        upper = "memory"
        lowers = [
            { kind = "dir", path = "top" },
            { kind = "overlay", upper = "memory", lowers = [
                { kind = "dir", path = "middle" },
                { kind = "copy", path = "bottom" },
            ] },
        ]"#;
    run(&case, file, &[], &guest("cat"), &["/x", "/y", "/z"]).prints("topmiddlebottom");
    run(&case, file, &[], &case.writer(3, "y"), &[]).exits(0);
    assert_eq!(read(&case.path("box/middle/y")), "middle");
}

#[test]
fn file_sets_the_same_values_as_options() {
    let case = Case::new();
    case.file("box/in", "input");
    run(&case, "stdin = 'in'", &[], &guest("cat"), &[]).prints("input");
    let outcome = run(&case, "limits.timeout = '300ms'", &[], &guest("spin"), &[]);
    outcome.fails(124, &["300ms"]);
    let outcome = run(&case, "limits.memory = '1K'", &[], &guest("hello"), &[]);
    outcome.refuses(&["--max-memory"]);
    let outcome = run(&case, "limits.memory = 1024", &[], &guest("hello"), &[]);
    outcome.refuses(&["allows 1024"]);
    let descriptors = "limits.descriptors = 4\nmount = [{ at = '/', kind = 'dir', path = '.' }]";
    run(&case, descriptors, &[], &case.reader(3, "in"), &[]).exits(errno::MFILE);
    let slept = run(&case, "clock.start = '0'", &[], &guest("sleep"), &["600000"]);
    assert_eq!(slept.exits(0).stdout.lines().count(), 1);
    // Only wasmtime prints frames of a trap, which identifies the engine.
    for (engine, is_told) in [("wasmtime", true), ("wasmi", false)] {
        let outcome = run(&case, &format!("engine = '{engine}'"), &[], &guest("trap"), &[]);
        let outcome = outcome.fails(134, &["unreachable"]);
        assert_eq!(outcome.stderr.contains("falls_into_the_pit"), is_told, "{outcome:?}");
    }
}

#[test]
fn variables_are_inherited_if_set_and_overridden() {
    let case = Case::new();
    let outcome = |file: &str, options: &[&str]| {
        case.file("box/palisade.toml", file);
        let guest = guest("echo_args_env");
        let all = [&["run", "--config", "box/palisade.toml"], options, &[&guest]].concat();
        let mut command = case.command(&all);
        let outcome = Outcome::new(&command.env("COLOR", "red").output().unwrap()).exits(0);
        let env: Vec<_> = outcome.stdout.lines().filter(|it| it.starts_with("env ")).collect();
        env.join("\n")
    };
    assert_eq!(outcome("env.inherit = ['COLOR', 'SHAPE']", &[]), "env COLOR=red");
    assert_eq!(outcome("env.inherit = false", &[]), "");
    assert!(outcome("env.inherit = true", &[]).contains("env XDG_CACHE_HOME="));
    let set = "[env]\ninherit = ['COLOR']\n[env.set]\nCOLOR = 'blue'\nA = '1'";
    assert_eq!(outcome(set, &[]), "env A=1\nenv COLOR=blue");
    assert_eq!(outcome(set, &["--env", "A=2", "--env", "B=3"]), "env COLOR=blue\nenv A=2\nenv B=3");
}

#[test]
fn options_replace_single_values_and_extend_lists() {
    let case = Case::new();
    let file = r#"
        arg0 = "filed"
        args = ["first"]
        limits.timeout = "60s"
        env.set = { A = "file" }"#;
    let outcome = run(&case, file, &["--arg0", "given"], &guest("echo_args_env"), &["second"]);
    outcome.prints("arg 0 given\narg 1 first\narg 2 second\nenv A=file\n");
    let outcome = run(&case, file, &["--timeout", "400ms"], &guest("spin"), &[]);
    outcome.fails(124, &["400ms"]);
    // A mount replaces the file's mount at the same guest path; others are added.
    case.file("box/old/x", "old");
    case.file("new/x", "new");
    let file = "mount = [{ at = '/w', kind = 'dir', path = 'old' }]";
    run(&case, file, &[], &guest("cat"), &["/w/x"]).prints("old");
    run(&case, file, &["--dir", "new::/w/"], &guest("cat"), &["/w/x"]).prints("new");
    let outcome = run(&case, file, &["--dir", "new::/v"], &guest("cat"), &["/w/x", "/v/x"]);
    outcome.prints("oldnew");
    let twice = ["--dir", "new::/w", "--mem", "/w"];
    run(&case, file, &twice, &guest("cat"), &[]).refuses(&["/w", "twice"]);
}

#[test]
fn unreadable_file_is_refused() {
    let case = Case::new();
    let guest = guest("hello");
    case.run(&["--config", "missing.toml", &guest]).refuses(&["--config", "missing.toml"]);
    case.run(&["--config", ".", &guest]).refuses(&["--config", "directory"]);
    case.file("bytes.toml", b"\xff");
    case.run(&["--config", "bytes.toml", &guest]).refuses(&["--config", "bytes.toml"]);
}

/// Compares the error of each file in `faults` with the text beside it. With `PALISADE_BLESS` set,
/// the texts are rewritten.
#[test]
fn errors_point_at_line_and_key() {
    let mut count = 0;
    for entry in std::fs::read_dir(FAULTS).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some("toml".as_ref()) {
            continue;
        }
        count += 1;
        let case = Case::new();
        let name = path.file_name().unwrap().to_str().unwrap();
        case.file(name, read(&path));
        let outcome = case.run(&["--config", name, &guest("hello")]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{name}: {outcome:?}");
        let wanted = path.with_extension("txt");
        if std::env::var_os("PALISADE_BLESS").is_some() {
            std::fs::write(&wanted, &outcome.stderr).unwrap();
        }
        assert_eq!(outcome.stderr, read(&wanted), "{name}");
    }
    assert!(count >= 15, "only {count} files were found");
}

#[test]
fn errors_are_json_with_the_json_option() {
    let case = Case::new();
    let outcome = run(&case, "\nsede = 1", &["--json"], &guest("hello"), &[]);
    let error: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 2);
    assert_eq!(error["error"]["code"], "palisade::file");
    let place = error["error"]["details"][0].as_str().unwrap();
    assert!(place.starts_with("box/palisade.toml:2:1: "), "{place}");
    assert!(error["error"]["help"].as_str().unwrap().contains("`seed`"));
}
