//! `palisade.toml`: what it describes, how options add to it, and what its mistakes are told as.

use std::path::Path;

use super::{Case, ENGINES, Told, errno, read};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/palisade.toml");
const FAULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/faults");

fn guest(name: &str) -> String {
    format!("{GUESTS}/{name}.wasm")
}

/// Runs a guest in the sandbox that a file describes; the file lies one directory below.
fn run(case: &Case, file: &str, options: &[&str], guest: &str, args: &[&str]) -> Told {
    case.file("box/palisade.toml", file);
    case.run(&[&["--config", "box/palisade.toml"], options, &[guest], args].concat())
}

#[test]
fn the_published_example_runs() {
    let case = Case::new();
    for engine in ENGINES {
        let args = ["/work/src/lib.rs", "/work/RESULTS.md", "/etc/motd"];
        let cat = guest("cat");
        let all = [&["--config", EXAMPLE, "--engine", engine, &cat][..], &args].concat();
        // No path of this guest is what the policy hides.
        let told = case.run(&all).fails(0, &["no path matched", "hide /**/*.py"]);
        // The argument of the file comes first, and each mount is where it should be.
        let root = Path::new(EXAMPLE).parent().unwrap().parent().unwrap();
        let parts = ["tests/guests/hello.c", "vfs/src/lib.rs", "benches/RESULTS.md"];
        let parts = parts.iter().chain(&["README.md"]).map(|name| read(&root.join(name)));
        assert_eq!(told.stdout, parts.collect::<String>());
    }
    let told =
        case.run(&["--config", EXAMPLE, &guest("echo_args_env")]).fails(0, &["no path matched"]);
    assert!(told.stdout.contains("env MODE=example\n"), "{told:?}");
    // What its policy hides, and what it does not.
    let cat = guest("cat");
    let shown = case.run(&["--config", EXAMPLE, &cat, "/work/bad/pointers.wat"]);
    shown.fails(0, &["no path matched"]);
    let hidden = case.run(&["--config", EXAMPLE, &cat, "/work/bad/pointers.py"]);
    assert!(hidden.code == 1 && hidden.stderr.contains("No such file"), "{hidden:?}");
}

#[test]
fn every_kind_is_mounted_and_paths_start_at_the_file() {
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
fn overlays_lie_within_overlays() {
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
fn a_file_sets_what_options_set() {
    let case = Case::new();
    case.file("box/in", "input");
    run(&case, "stdin = 'in'", &[], &guest("cat"), &[]).prints("input");
    let told = run(&case, "limits.timeout = '300ms'", &[], &guest("spin"), &[]);
    told.fails(124, &["300ms"]);
    let told = run(&case, "limits.memory = '1K'", &[], &guest("hello"), &[]);
    told.refuses(&["--max-memory"]);
    let told = run(&case, "limits.memory = 1024", &[], &guest("hello"), &[]);
    told.refuses(&["(1024)"]);
    let descriptors = "limits.descriptors = 4\nmount = [{ at = '/', kind = 'dir', path = '.' }]";
    run(&case, descriptors, &[], &case.reader(3, "in"), &[]).exits(errno::MFILE);
    let slept = run(&case, "clock.start = '0'", &[], &guest("sleep"), &["600000"]);
    assert_eq!(slept.exits(0).stdout.lines().count(), 1);
    // Which engine has run is seen by the frames of a trap: only one has any.
    for (engine, is_told) in [("wasmtime", true), ("wasmi", false)] {
        let told = run(&case, &format!("engine = '{engine}'"), &[], &guest("trap"), &[]);
        let told = told.fails(134, &["unreachable"]);
        assert_eq!(told.stderr.contains("falls_into_the_pit"), is_told, "{told:?}");
    }
}

#[test]
fn variables_are_inherited_if_they_are_there_and_set() {
    let case = Case::new();
    let told = |file: &str, options: &[&str]| {
        case.file("box/palisade.toml", file);
        let guest = guest("echo_args_env");
        let all = [&["run", "--config", "box/palisade.toml"], options, &[&guest]].concat();
        let mut command = case.command(&all);
        let told = Told::new(&command.env("COLOR", "red").output().unwrap()).exits(0);
        let env: Vec<_> = told.stdout.lines().filter(|it| it.starts_with("env ")).collect();
        env.join("\n")
    };
    assert_eq!(told("env.inherit = ['COLOR', 'SHAPE']", &[]), "env COLOR=red");
    assert_eq!(told("env.inherit = false", &[]), "");
    assert!(told("env.inherit = true", &[]).contains("env XDG_CACHE_HOME="));
    let set = "[env]\ninherit = ['COLOR']\n[env.set]\nCOLOR = 'blue'\nA = '1'";
    assert_eq!(told(set, &[]), "env A=1\nenv COLOR=blue");
    assert_eq!(told(set, &["--env", "A=2", "--env", "B=3"]), "env COLOR=blue\nenv A=2\nenv B=3");
}

#[test]
fn options_take_the_place_of_one_value_and_add_to_many() {
    let case = Case::new();
    let file = r#"
        arg0 = "filed"
        args = ["first"]
        limits.timeout = "300ms"
        env.set = { A = "file" }"#;
    let told = run(&case, file, &["--arg0", "given"], &guest("echo_args_env"), &["second"]);
    told.prints("arg 0 given\narg 1 first\narg 2 second\nenv A=file\n");
    let told = run(&case, file, &["--timeout", "400ms"], &guest("spin"), &[]);
    told.fails(124, &["400ms"]);
    // A mount at the same guest path takes the place of the file's; others are added.
    case.file("box/old/x", "old");
    case.file("new/x", "new");
    let file = "mount = [{ at = '/w', kind = 'dir', path = 'old' }]";
    run(&case, file, &[], &guest("cat"), &["/w/x"]).prints("old");
    run(&case, file, &["--dir", "new::/w/"], &guest("cat"), &["/w/x"]).prints("new");
    let told = run(&case, file, &["--dir", "new::/v"], &guest("cat"), &["/w/x", "/v/x"]);
    told.prints("oldnew");
    let twice = ["--dir", "new::/w", "--mem", "/w"];
    run(&case, file, &twice, &guest("cat"), &[]).refuses(&["/w", "twice"]);
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let case = Case::new();
    let guest = guest("hello");
    case.run(&["--config", "missing.toml", &guest]).refuses(&["--config", "missing.toml"]);
    case.run(&["--config", ".", &guest]).refuses(&["--config", "directory"]);
    case.file("bytes.toml", b"\xff");
    case.run(&["--config", "bytes.toml", &guest]).refuses(&["--config", "bytes.toml"]);
}

/// Each file in `faults` is wrong; beside it lies all that is said about it, a word for a word.
/// With `PALISADE_BLESS` set, what is said now is written down.
#[test]
fn mistakes_are_told_with_their_line_and_key() {
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
        let told = case.run(&["--config", name, &guest("hello")]);
        assert_eq!((told.code, told.stdout.as_str()), (2, ""), "{name}: {told:?}");
        let wanted = path.with_extension("txt");
        if std::env::var_os("PALISADE_BLESS").is_some() {
            std::fs::write(&wanted, &told.stderr).unwrap();
        }
        assert_eq!(told.stderr, read(&wanted), "{name}");
    }
    assert!(count >= 15, "only {count} files were found");
}

#[test]
fn mistakes_are_json_on_demand() {
    let case = Case::new();
    let told = run(&case, "\nsede = 1", &["--json"], &guest("hello"), &[]);
    let error: serde_json::Value = serde_json::from_str(&told.stderr).unwrap();
    assert_eq!(error["error"]["exit_code"], 2);
    assert_eq!(error["error"]["code"], "palisade::file");
    let place = error["error"]["details"][0].as_str().unwrap();
    assert!(place.starts_with("box/palisade.toml:2:1: "), "{place}");
    assert!(error["error"]["help"].as_str().unwrap().contains("`seed`"));
}
