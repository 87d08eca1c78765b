//! Tests that components made by `palisade componentize` behave as their core modules.
//!
//! Each difference of the standard adapter has a test; `tests/README.md` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Case, Outcome};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");

/// A guest, its options and its arguments.
type Run = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Runs with equal exit code, standard output, standard error and directory contents.
const SAME: &[Run] = &[
    ("noop", &[], &[]),
    ("hello", &[], &[]),
    ("echo_args_env", &["--arg0", "it", "--env", "A=b", "--env", "B="], &["-n", "a b", "", "ü"]),
    ("calls", &[], &["list"]),
    ("cat", &["--stdin", "data/a.txt"], &[]),
    ("cat", &["--dir", "data::/"], &["/a.txt", "sub/b.txt", "missing", "/../outside"]),
    (
        "cat",
        &["--dir", "data::/in:ro", "--copy", "data::/in/copy"],
        &["/in/a.txt", "/in/copy/a.txt"],
    ),
    ("cat", &["--file", "data/a.txt::/x:ro"], &["/x"]),
    ("cat", &["--dir", "data::/", "--max-descriptors", "6"], &["a.txt"]),
    ("cat", &["--dir", "data::/", "--policy", "none.toml"], &["a.txt"]),
    ("sandbox", &["--dir", "data::/"], &[]),
    ("sandbox", &["--dir", "data::/:ro"], &[]),
    ("sandbox", &["--dir", "data::/", "--policy", "some.toml"], &[]),
    ("sandbox", &["--mem", "/"], &[]),
    ("sandbox", &["--copy", "data::/"], &[]),
    ("sandbox", &["--overlay", "data::/", "--diff"], &[]),
    ("sandbox", &["--overlay", "data::/", "--upper", "up", "--diff"], &[]),
    ("sandbox", &[], &[]),
    ("heldmove", &["--dir", "data::/"], &[]),
    ("fill", &["--dir", "data::/"], &["1"]),
    ("fill", &["--dir", "data::/:ro"], &["1"]),
    ("fill", &["--mem", "/", "--file", "data/a.txt::/x"], &["1", "/x"]),
    ("fill", &["--overlay", "data::/", "--diff", "--json"], &["1", "a.txt"]),
    ("fill", &["--overlay", "data::/", "--upper", "up"], &["1", "sub/b.txt"]),
    ("fill", &[], &["1"]),
    ("grow", &["--max-memory", "8M"], &["16"]),
    ("sleep", &["--fixed-clock", "0"], &["600000"]),
    ("sleep", &["--timeout", "2s"], &["60000"]),
    ("spin", &["--timeout", "2s"], &[]),
    ("exit_code", &[], &["0"]),
    ("exit_code", &[], &["1"]),
];

/// Guests that differ; each has a test below.
const OTHERWISE: &[&str] = &["exit_code", "trap"];
/// Guests that are components already.
const COMPONENTS: &[&str] = &["calls2", "streams"];

/// Converts a test guest under its own name, which messages and backtraces contain.
fn packed(case: &Case, guest: &str) -> String {
    let output = case.path("packed");
    std::fs::create_dir_all(&output).unwrap();
    let output = output.join(format!("{guest}.wasm")).to_str().unwrap().to_owned();
    let module = format!("{GUESTS}/{guest}.wasm");
    case.palisade(&["componentize", &module, "-o", &output]).exits(0);
    output
}

/// Creates a directory with the input files of the runs.
fn prepared() -> Case {
    let case = Case::new();
    case.file("data/a.txt", "alpha\n");
    case.file("data/sub/b.txt", "beta\n");
    case.file("none.toml", "");
    // The name of a hidden file appears in a listing of its directory on the host.
    case.file(
        "some.toml",
        "allow = [{ path = '/**', rights = 'all' }]\ndeny = [{ path = '/sub' }]\n",
    );
    case
}

/// Adds all files under a directory, if it exists.
fn walk(at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(at).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found);
        }
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        found.insert(path.to_str().unwrap().to_owned(), bytes);
    }
}

/// Returns the content of each file that a run may change.
fn files(case: &Case) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for dir in ["data", "up"] {
        walk(&case.path(dir), &mut found);
    }
    let prefix = case.dir.path().to_str().unwrap();
    found.into_iter().map(|(path, bytes)| (path.replacen(prefix, "", 1), bytes)).collect()
}

fn run(case: &Case, options: &[&str], guest: &str, args: &[&str]) -> Outcome {
    case.run(&[options, &[guest], args].concat())
}

#[test]
fn component_behaves_as_its_core_module() {
    for (guest, options, args) in SAME {
        let (plain, within) = (prepared(), prepared());
        let expected = run(&plain, options, &format!("{GUESTS}/{guest}.wasm"), args);
        let found = run(&within, options, &packed(&within, guest), args);
        let what = format!("{guest} {options:?} {args:?}\n{expected:#?}\n{found:#?}");
        assert_eq!(found.code, expected.code, "{what}");
        assert_eq!(found.stdout, expected.stdout, "{what}");
        assert_eq!(found.stderr, expected.stderr, "{what}");
        // Not `assert_eq`, which would print each byte on a failure.
        assert!(files(&within) == files(&plain), "what is left differs: {what}");
    }
}

#[test]
fn every_test_guest_is_compared() {
    let entries = std::fs::read_dir(GUESTS).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let committed: BTreeSet<_> =
        names.filter_map(|name| name.strip_suffix(".wasm").map(str::to_owned)).collect();
    let compared = SAME.iter().map(|(guest, ..)| guest).chain(OTHERWISE).chain(COMPONENTS);
    assert_eq!(committed, compared.map(|guest| (*guest).to_owned()).collect());
}

#[test]
fn component_exit_code_reports_success_or_failure_only() {
    let case = Case::new();
    let component = packed(&case, "exit_code");
    for code in ["2", "42", "255"] {
        run(&case, &[], &component, &[code]).exits(1);
    }
}

#[test]
fn component_trap_has_the_frames_of_its_module() {
    let case = Case::new();
    let component = packed(&case, "trap");
    let facts = ["unreachable", "falls_into_the_pit", "walks_to_the_pit", "wasi:cli/run@0.2"];
    let outcome = run(&case, &[], &component, &[]).fails(134, &facts);
    assert_eq!(outcome.stdout, "before the trap\n");
}

/// Preview 2 has no error for preopens, and the adapter requests them twice.
#[test]
fn component_without_descriptors_for_its_preopens_traps() {
    let case = prepared();
    let component = packed(&case, "cat");
    let options = ["--dir", "data::/", "--max-descriptors", "4"];
    run(&case, &options, &component, &["a.txt"]).fails(134, &["too many open descriptors"]);
}

#[test]
fn component_is_compiled_once_and_cached() {
    let case = prepared();
    let component = packed(&case, "cat");
    let kept = || {
        let mut found = BTreeMap::new();
        walk(&case.path("cache/palisade/modules"), &mut found);
        // Temporary files of the cache have a dot in their names.
        let is_compiled = |path: &Path| path.is_file() && path.extension().is_none();
        found.retain(|path, _| is_compiled(Path::new(path)));
        found
    };
    run(&case, &["--dir", "data::/"], &component, &["a.txt"]).prints("alpha\n");
    let first = kept();
    assert_eq!(first.len(), 1, "{:?}", first.keys());
    run(&case, &["--dir", "data::/"], &component, &["sub/b.txt"]).prints("beta\n");
    assert!(kept() == first, "the second run kept something else");
}

#[test]
fn library_component_is_not_a_command() {
    let case = Case::new();
    let yields = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
        (memory (export "memory") 1) (func (export "_initialize"))"#;
    let module = case.module("library.wasm", yields);
    let output = case.path("packed.wasm").to_str().unwrap().to_owned();
    case.palisade(&["componentize", &module, "-o", &output]).exits(0);
    case.run(&[&output]).refuses(&["packed.wasm", "not export `wasi:cli/run`", "a library"]);
}

#[test]
fn failed_componentize_leaves_the_output_unchanged() {
    let case = Case::new();
    let module = std::fs::read(format!("{GUESTS}/hello.wasm")).unwrap();
    let inputs = [
        case.file("truncated.wasm", module.get(..module.len() / 2).unwrap()),
        case.file("empty.wasm", ""),
        case.file("text.wasm", "(module)"),
        case.file("other.wasm", "#!/bin/sh\n"),
        case.path("missing.wasm").to_str().unwrap().to_owned(),
    ];
    let output = case.file("out/it.wasm", "before");
    for input in &inputs {
        let outcome = case.palisade(&["componentize", input, "-o", &output]);
        outcome.refuses(&[input.rsplit('/').next().unwrap()]);
        assert_eq!(super::read(Path::new(&output)), "before", "{input}");
    }
    case.palisade(&["componentize", &format!("{GUESTS}/hello.wasm"), "-o", &output]).exits(0);
    case.run(&[&output]).exits(0);
    // The temporary file of the output is removed.
    assert_eq!(std::fs::read_dir(case.path("out")).unwrap().count(), 1);
}
