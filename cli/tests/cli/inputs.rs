//! Tests of input files: file types that are refused without blocking, and confined includes.

use std::os::unix::fs::symlink;
use std::process::Child;
use std::time::{Duration, Instant};

use super::*;

const POLICY: &str = "[[allow]]\npath = \"/**\"\nrights = \"all\"\n";

/// Waits for the end of a process, with a time limit.
#[track_caller]
fn ends(what: &str, mut child: Child) -> Outcome {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what} hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Outcome::new(&child.wait_with_output().unwrap())
}

fn spawn(case: &Case, args: &[&str]) -> Child {
    case.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The arguments that name an input file, `FILE`.
const PLACES: &[&[&str]] = &[
    &["check", "FILE"],
    &["check", "good.toml", "--against", "FILE"],
    &["explain", "FILE", "/a"],
    &["check", "including.toml"],
    &["run", "--policy", "FILE", "guest.wasm"],
    &["run", "--config", "FILE", "guest.wasm"],
    &["run", "--config", "policy.toml", "guest.wasm"],
    &["run", "--config", "mount.toml", "guest.wasm"],
    &["run", "--image", "FILE::/i", "guest.wasm"],
    &["run", "--file", "FILE::/f", "guest.wasm"],
    &["run", "--dir", "FILE::/d", "guest.wasm"],
    &["run", "--copy", "FILE::/d", "guest.wasm"],
    &["run", "--stdin", "FILE", "guest.wasm"],
    &["run", "FILE"],
    &["run", "--engine", "wasmi", "FILE"],
    &["inspect", "FILE"],
    &["componentize", "FILE", "-o", "out.wasm"],
    &["replay", "FILE", "good.toml"],
    &["replay", "log", "FILE"],
    &["report", "FILE"],
    &["learn", "--from", "FILE"],
    &["import", "FILE", "kept"],
    &["diff", "upper", "--lower", "FILE"],
    &["commit", "upper", "--lower", "FILE"],
];

fn prepared() -> Case {
    let case = Case::new();
    case.guest("");
    case.file("good.toml", POLICY);
    case.file("log", "");
    std::fs::create_dir_all(case.path("upper/upper")).unwrap();
    std::fs::create_dir_all(case.path("upper/work")).unwrap();
    case
}

#[test]
fn non_regular_inputs_are_refused_without_blocking() {
    let case = prepared();
    assert!(Command::new("mkfifo").arg(case.path("fifo")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(case.path("socket")).unwrap();
    symlink("fifo", case.path("link")).unwrap();
    for file in ["fifo", "socket", "link", "/dev/zero", "/dev/tty"] {
        case.file(
            "including.toml",
            format!("include = \"{}\"\n", file.trim_start_matches("/dev/")),
        );
        case.file("policy.toml", format!("policy = \"{file}\"\n"));
        case.file(
            "mount.toml",
            format!("[[mount]]\nat = \"/i\"\nkind = \"image\"\npath = \"{file}\"\n"),
        );
        for place in PLACES {
            // Inputs of the guest: a device is passed to it, or listed and never opened.
            let is_guests = place.contains(&"--stdin") || place.contains(&"--file");
            if is_guests && file.starts_with("/dev/") {
                continue;
            }
            let args: Vec<String> = place.iter().map(|arg| arg.replace("FILE", file)).collect();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let outcome = ends(&args.join(" "), spawn(&case, &args));
            assert_eq!(outcome.code, 2, "{args:?}: {outcome:?}");
        }
    }
    case.palisade(&["check", "fifo"]).fails(2, &["it is a FIFO"]);
    case.palisade(&["report", "/dev/zero"]).fails(2, &["it is a device"]);
    case.palisade(&["check", "upper"]).fails(2, &["directory"]);
}

#[test]
fn inherited_pipes_are_read() {
    let case = prepared();
    let shell = |line: &str| {
        let line = line.replace("palisade", env!("CARGO_BIN_EXE_palisade"));
        let mut command = Command::new("bash");
        command.arg("-c").arg(line).current_dir(case.dir.path()).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("XDG_CACHE_HOME", case.path("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ends("a shell", command.spawn().unwrap())
    };
    for line in [
        "palisade check <(sleep 0.1; cat good.toml)",
        "cat good.toml | palisade check /dev/stdin",
        "palisade check /dev/stdin < good.toml",
        "palisade replay <(cat log) <(cat good.toml)",
        "cat log | palisade report /dev/stdin",
        "palisade inspect <(cat guest.wasm)",
        "cat guest.wasm | palisade run /dev/stdin",
        "palisade run --policy <(cat good.toml) --stdin /dev/null --mem / guest.wasm",
    ] {
        let outcome = shell(line);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{line}: {outcome:?}");
    }
}

#[test]
fn endless_input_is_refused_at_the_size_limit() {
    let case = prepared();
    for (name, bytes) in [("policy", (16 << 20) + 1), ("config", (1 << 20) + 1)] {
        let file = std::fs::File::create(case.path(name)).unwrap();
        file.set_len(bytes).unwrap();
    }
    case.file("including.toml", "include = \"policy\"\n");
    case.palisade(&["check", "policy"]).fails(2, &["more than 16777216 bytes"]);
    case.palisade(&["check", "including.toml"]).fails(2, &["more than 16777216 bytes"]);
    case.run(&["--config", "config", "guest.wasm"]).fails(2, &["more than 1048576 bytes"]);
}

#[test]
fn includes_stay_in_the_directory_of_their_document() {
    let case = Case::new();
    case.file("outside.toml", POLICY);
    case.file("p/inside.toml", POLICY);
    case.file("p/sub/deep.toml", "include = \"beside.toml\"\n");
    case.file("p/sub/beside.toml", POLICY);
    case.file("p/sub/up.toml", "include = \"to_parent.toml\"\n");
    let outside = case.path("outside.toml");
    for (target, link) in [
        ("../outside.toml", "p/link.toml"),
        (outside.to_str().unwrap(), "p/absolute.toml"),
        ("..", "p/dir"),
        ("link.toml", "p/twice.toml"),
        ("../inside.toml", "p/sub/to_parent.toml"),
        ("inside.toml", "p/within.toml"),
        ("sub", "p/subdir"),
    ] {
        symlink(target, case.path(link)).unwrap();
    }
    for (include, is_read) in [
        ("inside.toml", true),
        ("./inside.toml", true),
        ("within.toml", true),
        ("sub/deep.toml", true),
        ("subdir/deep.toml", true),
        ("sub/to_parent.toml", true),
        ("link.toml", false),
        ("absolute.toml", false),
        ("twice.toml", false),
        ("dir/outside.toml", false),
        ("dir/p/inside.toml", false),
        ("sub/up.toml", false),
        ("sub", false),
        ("../outside.toml", false),
        ("${X}.toml", false),
    ] {
        case.file("p/top.toml", format!("include = \"{include}\"\n"));
        let outcome = case.palisade(&["check", "p/top.toml"]);
        assert_eq!(outcome.code, if is_read { 0 } else { 2 }, "{include}: {outcome:?}");
    }
}

#[test]
fn variables_are_literal_and_must_be_used_once() {
    let case = Case::new();
    case.file(
        "p.toml",
        "[[deny]]\npath = \"/d/*${V}*\"\n[[allow]]\npath = \"/**\"\nrights = \"all\"\n",
    );
    let explained = |value: &str, path: &str| {
        let given = format!("V={value}");
        let args = ["explain", "p.toml", path, "--op", "open-read", "--policy-var", &given];
        case.palisade(&args).exits(0).stdout
    };
    assert!(explained("", "/d/a/b").contains("allow"), "an empty value is no `**`");
    assert!(explained("", "/d/a").contains("refuse"));
    assert!(explained("*", "/d/a").contains("allow"));
    assert!(explained("*", "/d/a*").contains("refuse"));
    for value in ["..", "a/../b", "/a/", "a//b"] {
        let given = format!("V={value}");
        case.file("q.toml", "[[deny]]\npath = \"/d/${V}\"\n");
        case.palisade(&["check", "q.toml", "--policy-var", &given]).fails(2, &["`${V}`"]);
    }
    let check = |args: &[&str]| case.palisade(&[&["check", "p.toml"], args].concat());
    check(&[]).fails(2, &["undefined variable `${V}`", "--policy-var V="]);
    check(&["--policy-var", "V=a", "--policy-var", "V=b"]).fails(2, &["`V` is set twice"]);
    check(&["--policy-var", "V=a", "--policy-var", "W=b"]).fails(2, &["no variable `W`"]);
    case.file("old.toml", POLICY);
    let outcome = check(&["--against", "old.toml", "--policy-var", "V=a"]);
    assert_ne!(outcome.code, 2, "a variable of one of both is used: {outcome:?}");
    case.file("one.toml", "[variables]\nV = \"a\"\n");
    case.file("two.toml", "[variables]\nV = \"b\"\n");
    case.file("both.toml", "include = [\"one.toml\", \"two.toml\"]\n[[deny]]\npath = \"/${V}\"\n");
    case.palisade(&["check", "both.toml"]).fails(2, &["`V` has a different value in"]);
    case.palisade(&["check", "both.toml", "--policy-var", "V=c"]).exits(1);
}

#[test]
fn operation_names_of_other_tools_get_suggestions() {
    let case = Case::new();
    case.file("p.toml", POLICY);
    for (word, meant) in [
        ("delete", "did you mean `remove-file` or `remove-dir`?"),
        ("rename", "did you mean `rename-from` or `rename-into`?"),
        ("raed", "did you mean `read`?"),
        ("mkdir", "did you mean `create-dir`?"),
        ("fly", "The operations are `hold`, `open-read`"),
    ] {
        case.palisade(&["explain", "p.toml", "/a", "--op", word]).fails(2, &[meant]);
    }
    for (word, meant) in [("unlink", "`remove`"), ("mv", "`rename`"), ("execute", "`read`")] {
        case.file("q.toml", format!("[[allow]]\npath = \"/a\"\nrights = [\"{word}\"]\n"));
        case.palisade(&["check", "q.toml"]).fails(2, &[&format!("did you mean {meant}?")]);
    }
    case.file("glob.toml", "[[deny]]\npath = '/@(a|b)'\n[[deny]]\npath = '/[[:alpha:]]'\n");
    case.palisade(&["check", "glob.toml"]).fails(2, &["extended glob", "`{a,b}`", "[a-zA-Z]"]);
}
