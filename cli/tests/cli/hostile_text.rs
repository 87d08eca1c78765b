//! Tests that commands escape hostile text in their output.
//!
//! The text comes from modules, files, documents, logs, arguments and the environment. The output
//! must not contain characters that a terminal interprets or does not show.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use super::*;

/// Text with each kind of character that must be escaped: escape sequences that set a title and
/// hide text, C0, C1, DEL, bidirectional marks and isolates, separators, zero-width characters,
/// fillers, tags. Printed unescaped, it produces a line `FORGED`.
const HOSTILE: &str = "x\u{1b}[8m\u{1b}]0;t\u{7}\nFORGED\r\u{8}\u{9b}8m\u{7f}\u{202e}\u{2066}\u{200f}\
                       \u{61c}\u{2028}\u{2029}\u{85}\u{200b}\u{ad}\u{feff}\u{3164}\u{fe0f}\u{e0041}\ty";

/// [`HOSTILE`] as a string literal of TOML and JSON.
fn quoted() -> String {
    let units = HOSTILE.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    // TOML has no surrogate escapes.
    units.collect::<String>().replace("\\udb40\\udc41", "")
}

/// [`HOSTILE`] as a string literal of WAT.
fn wat_string() -> String {
    HOSTILE.bytes().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Asserts that `bytes` contain only visible characters, newlines and tabs, and no forged line.
/// Color sequences are accepted if `colors`, except that of [`HOSTILE`].
#[track_caller]
fn assert_clean(what: &str, bytes: &[u8], colors: bool) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|why| panic!("{what}: {why}"));
    assert!(!text.contains("\u{1b}[8m"), "{what}: {text:?}");
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[").filter(|_| colors) {
        plain.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(after.len());
        assert!(after[end..].starts_with('m'), "{what}: not a color: {after:?}");
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    let is_hostile = |c: char| c.is_control() || (HOSTILE.contains(c) && !c.is_ascii_graphic());
    let bad = plain.chars().find(|c| !matches!(c, '\n' | '\t') && is_hostile(*c));
    assert_eq!(bad, None, "{what}: {plain:?}");
    let forged = plain.lines().find(|line| line.trim_start().starts_with("FORGED"));
    assert_eq!(forged, None, "{what}: {plain:?}");
}

/// Runs a command with and without colors.
#[track_caller]
fn check(case: &Case, args: &[OsString]) -> Output {
    let mut last = None;
    for colors in [true, false] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command
            .arg0(HOSTILE)
            .args(args)
            .current_dir(case.dir.path())
            .env_clear()
            .env(HOSTILE, HOSTILE)
            .env("XDG_CACHE_HOME", case.path("cache"))
            .env(if colors { "FORCE_COLOR" } else { "NO_COLOR" }, "1")
            .env(if colors { "CLICOLOR_FORCE" } else { "TERM" }, "1")
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let what = format!("{args:?}");
        assert_clean(&what, &output.stdout, colors);
        assert_clean(&what, &output.stderr, colors);
        last = Some(output);
    }
    last.unwrap()
}

/// Runs commands that must print something.
#[track_caller]
fn check_all(case: &Case, commands: &[&[&str]]) {
    for args in commands {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        let output = check(case, &args);
        let outcome = output.stdout.len() + output.stderr.len();
        assert!(outcome > 0, "{args:?} prints nothing: {output:?}");
    }
}

/// Encodes a section of a module.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend(leb(content.len()));
    bytes.extend(content);
    bytes
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn string(text: &str) -> Vec<u8> {
    [leb(text.len()), text.as_bytes().to_vec()].concat()
}

#[test]
fn module_names_are_escaped() {
    let case = Case::new();
    let evil = wat_string();
    case.module(
        "imports.wasm",
        &format!(
            r#"(import "{evil}" "{evil}" (func)) (memory (export "memory") 1)
            (func (export "_start")) (func (export "{evil}"))"#
        ),
    );
    case.module("export.wasm", &format!(r#"(func (export "{evil}"))"#));
    let mut sections = std::fs::read(case.path("export.wasm")).unwrap();
    sections.extend(section(0, &[string(HOSTILE), b"!".to_vec()].concat()));
    let field = [&[1][..], &string("language"), &[1], &string(HOSTILE), &string(HOSTILE)].concat();
    sections.extend(section(0, &[string("producers"), field].concat()));
    case.file("sections.wasm", sections);
    // The parser quotes the name of a duplicate export.
    let twice = [&[2][..], &string(HOSTILE), &[0, 0], &string(HOSTILE), &[0, 0]].concat();
    let function = [section(1, &[1, 0x60, 0, 0]), section(3, &[1, 0])].concat();
    let body = section(10, &[1, 2, 0, 0x0b]);
    let twice = [b"\0asm\x01\0\0\0".to_vec(), function, section(7, &twice), body].concat();
    case.file("twice.wasm", twice);
    case.file("magic.wasm", HOSTILE);
    case.file("text.wasm", format!("(module ;; {HOSTILE}"));
    for module in ["imports", "export", "sections", "twice", "magic", "text"] {
        let module = &*format!("{module}.wasm");
        check_all(
            &case,
            &[
                &["inspect", module],
                &["inspect", "--json", module],
                &["run", module],
                &["run", "--json", module],
                &["run", "--engine", "wasmi", module],
            ],
        );
        check(&case, &["componentize", module, "-o", HOSTILE].map(Into::into));
    }
}

#[test]
fn trap_frames_are_escaped_and_cannot_be_forged() {
    let case = Case::new();
    let module = r#"(module $m (memory (export "memory") 1) (func $evil unreachable)
        (func (export "_start") (call $evil)))"#;
    let mut bytes = wat::parse_str(module).unwrap();
    let at = bytes.windows(5).rposition(|it| it == b"\x04name").unwrap() - 2;
    bytes.truncate(at);
    let functions = [&[2][..], &[0], &string(HOSTILE), &[1], &string(HOSTILE)].concat();
    let names = [string("name"), section(0, &string(HOSTILE)), section(1, &functions)].concat();
    bytes.extend(section(0, &names));
    case.file("trap.wasm", bytes);
    for args in [
        &["run", "trap.wasm"][..],
        &["run", "--json", "trap.wasm"],
        &["run", "--no-cache", "trap.wasm"],
        &["run", "--engine", "wasmi", "trap.wasm"],
    ] {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        let output = check(&case, &args);
        assert_eq!(output.status.code(), Some(134), "{output:?}");
    }
    let outcome = case.run(&["trap.wasm"]).fails(134, &["FORGED", "\\u{1b}[8m"]);
    let frames = outcome.stderr.lines().filter(|line| line.contains(" - ")).count();
    assert_eq!(frames, 2, "{outcome:?}");
}

/// A policy with hostile paths, sets and variables.
fn policy() -> String {
    let evil = quoted();
    format!(
        "[variables]\nV = \"{evil}\"\n[[allow]]\npath = [\"/{evil}\", \"/v/${{V}}\"]\n\
         rights = [\"read\"]\n[[hide]]\npath = \"/{evil}/**\"\n[[deny]]\npath = \"/{evil}\"\n"
    )
}

#[test]
fn policies_and_their_errors_are_escaped() {
    let case = Case::new();
    let evil = quoted();
    case.file("good.toml", policy());
    case.file("old.toml", "[[allow]]\npath = \"/a\"\nrights = \"read\"\n");
    case.file(HOSTILE, policy());
    let visible: String = HOSTILE.chars().filter(|c| !c.is_control()).collect();
    let faults = [
        format!("\"{evil}\" = 1\n"),
        format!("[[allow]]\npath = \"{evil}\"\nrights = \"{evil}\"\n\"{evil}\" = 1\n"),
        format!("[rights]\n\"{evil}\" = \"{evil}\"\n"),
        format!("[variables]\n\"{evil}\" = \"a\"\n"),
        format!("include = \"{evil}\"\n"),
        format!("[[deny]]\npath = \"/${{{evil}}}\"\n"),
        // Unescaped: a syntax error, or in a comment beside one.
        format!("a = \"{HOSTILE}\"\n"),
        format!("# {visible}\nb = # {visible}\n"),
        format!("'{visible}' = 1 # {visible}\n"),
        format!("\u{feff}# {visible}\r\n'{visible}' = 1\r\n"),
    ];
    for text in faults {
        case.file("bad.toml", &text);
        case.file("with.toml", "include = \"bad.toml\"\n");
        for name in ["bad.toml", "with.toml"] {
            check_all(&case, &[&["check", name], &["check", "--json", name]]);
        }
    }
    let path = &*format!("/{HOSTILE}");
    let given = &*format!("{HOSTILE}={HOSTILE}");
    check_all(
        &case,
        &[
            &["check", "good.toml"],
            &["check", "--json", "good.toml"],
            &["check", "good.toml", "--against", "old.toml"],
            &["check", "--json", "old.toml", "--against", "good.toml"],
            &["check", HOSTILE],
            &["check", "none", "--against", HOSTILE],
            &["check", "good.toml", "--policy-var", HOSTILE],
            &["check", "good.toml", "--policy-var", given],
            &["explain", "good.toml", path],
            &["explain", "--json", "good.toml", path],
            &["explain", HOSTILE, path, "--op", "stat"],
            &["explain", "good.toml", path, "--op", HOSTILE],
            &["explain", "good.toml", &format!("{path}/..")],
            &["explain", "old.toml", path, "--op", "create"],
        ],
    );
}

#[test]
fn config_files_and_their_errors_are_escaped() {
    let case = Case::new();
    let evil = quoted();
    case.guest("");
    let visible: String = HOSTILE.chars().filter(|c| !c.is_control()).collect();
    for text in [
        format!("\"{evil}\" = 1\n"),
        format!("engine = \"{evil}\"\n"),
        format!("seed = \"{evil}\"\n"),
        format!("policy = \"{evil}\"\n"),
        format!("stdin = \"{evil}\"\n"),
        format!("[limits]\nmemory = \"{evil}\"\n"),
        format!("[limits]\ntimeout = \"{evil}\"\n"),
        format!("[clock]\nstart = \"{evil}\"\n"),
        format!("[[mount]]\nat = \"/{evil}\"\nkind = \"dir\"\npath = \"{evil}\"\n"),
        format!("[[mount]]\nat = \"{evil}/..\"\nkind = \"memory\"\n"),
        format!(
            "mount = [{{ at = \"{evil}\", kind = \"memory\" }}, {{ at = \"{evil}\", kind = \"memory\" }}]\n"
        ),
        format!("[env.set]\n\"{evil}=\" = \"a\"\n"),
        format!("[env.set]\nA = \"{evil}\\u0000\"\n"),
        format!("policy.allow = [{{ path = \"{evil}\", rights = \"{evil}\" }}]\n"),
        format!("a = \"{HOSTILE}\"\n"),
        format!("# {visible}\nseed = '{visible}' # {visible}\n"),
    ] {
        case.file("palisade.toml", text);
        check_all(
            &case,
            &[
                &["run", "--config", "palisade.toml", "guest.wasm"],
                &["run", "--json", "--config", "palisade.toml", "guest.wasm"],
            ],
        );
    }
}

/// Creates an upper and a lower with hostile names.
fn changed(case: &Case) {
    case.file("lower/plain", "1");
    case.file(&format!("lower/{HOSTILE}"), "1");
    case.file(&format!("upper/upper/{HOSTILE}"), "22");
    case.file(&format!("upper/upper/new{HOSTILE}/{HOSTILE}"), "3");
    std::fs::create_dir_all(case.path("upper/work")).unwrap();
}

#[test]
fn changed_file_names_are_escaped() {
    let case = Case::new();
    changed(&case);
    check_all(
        &case,
        &[
            &["diff", "upper", "--lower", "lower"],
            &["diff", "--json", "upper", "--lower", "lower"],
            &["diff", HOSTILE, "--lower", HOSTILE],
            &["diff", "upper", "--lower", HOSTILE],
            &["commit", "--dry-run", "upper", "--lower", "lower"],
            &["commit", "--keep", "upper", "--lower", "lower"],
            &["commit", "upper", "--lower", HOSTILE],
            &["discard", HOSTILE],
            &["export", "upper", "-o", HOSTILE],
            &["export", "upper", "-o", &format!("{HOSTILE}/{HOSTILE}.tar")],
            &["import", HOSTILE, "kept"],
        ],
    );
    case.file(&format!("bad/upper/.wh.{HOSTILE}"), "");
    check(&case, &["export", "bad", "-o", "out.tar"].map(Into::into));
    let odd = case.path("odd/upper").join(OsStr::from_bytes(b"a\xff\x9b8m"));
    std::fs::create_dir_all(&odd).unwrap();
    check(&case, &["diff", "odd", "--lower", "lower"].map(Into::into));
}

/// A tar with one entry of this type.
fn tar(name: &str, kind: u8) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header.iter_mut().zip(name.bytes().take(100)).for_each(|(to, byte)| *to = byte);
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    [header.as_slice(), &[0; 1024]].concat()
}

#[test]
fn archive_and_directory_names_are_escaped() {
    let case = Case::new();
    case.guest("");
    case.file("fifo.tar", tar(HOSTILE, b'6'));
    case.file("absolute.tar", tar(&format!("/{HOSTILE}"), b'0'));
    case.file("upward.tar", tar(&format!("../{HOSTILE}"), b'0'));
    case.file("odd.tar", tar(HOSTILE, b'S'));
    for name in ["fifo.tar", "absolute.tar", "upward.tar", "odd.tar"] {
        check_all(
            &case,
            &[&["import", name, &format!("kept-{name}")], &["import", "--json", name, "kept"]],
        );
        let _ = std::fs::remove_dir_all(case.path("kept"));
        let image = &*format!("{name}::/{HOSTILE}");
        check(&case, &["run", "--image", image, "guest.wasm"].map(Into::into));
        check(&case, &["run", "--json", "--image", image, "guest.wasm"].map(Into::into));
    }
    std::fs::create_dir(case.path(HOSTILE)).unwrap();
    let fifo = case.path(HOSTILE).join(HOSTILE);
    mkfifo(&fifo);
    let copy = &*format!("{HOSTILE}::/{HOSTILE}");
    check_all(&case, &[&["run", "--copy", copy, "guest.wasm"]]);
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn audit_records_are_escaped() {
    let case = Case::new();
    case.file(&format!("data/{HOSTILE}"), "1");
    let path = wat_string();
    let len = HOSTILE.len();
    case.module(
        "open.wasm",
        &format!(
            r#"{PRELUDE} (data (i32.const 1024) "{path}") (func (export "_start")
            (drop (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {len})
                (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
            (drop (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024)
                (i32.const {}) (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0)
                (i32.const 16))))"#,
            len - 1
        ),
    );
    case.file("none.toml", policy());
    let dir = &*format!("data::/{HOSTILE}");
    check_all(
        &case,
        &[
            &["run", "--overlay", dir, "--diff", "open.wasm"],
            &["run", "--overlay", dir, "--diff", "--json", "open.wasm"],
            &["run", "--dir", dir, "--audit", "-", "open.wasm"],
            &["run", "--dir", dir, "--trace", "open.wasm"],
            &["run", "--dir", dir, "--policy", "none.toml", "--dry-run-policy", "open.wasm"],
            &["learn", "--", "run", "--dir", dir, "open.wasm"],
        ],
    );
    check(&case, &["run", "--dir", dir, "--audit", "log", "open.wasm"].map(Into::into));
    let log = std::fs::read_to_string(case.path("log")).unwrap();
    assert!(log.contains("FORGED"), "{log}");
    // As another program might write it: with only the escapes that JSON requires.
    let raw = log.replace("\\u202e", "\u{202e}").replace("\\u009b", "\u{9b}");
    case.file("raw", raw);
    let evil = quoted();
    case.file("broken", format!("{{\"v\":1,\"seq\":\"{evil}\"}}\n"));
    case.file("header", format!("{{\"v\":1,\"palisade\":\"{evil}\",\"guest\":\"{evil}\"}}\n"));
    for log in ["log", "raw", "broken", "header", HOSTILE] {
        check_all(
            &case,
            &[
                &["replay", log, "none.toml"],
                &["replay", "--json", log, "none.toml"],
                &["report", log],
                &["learn", "--from", log],
                &["learn", "--json", "--from", log],
            ],
        );
    }
    // The learned policy contains the exact names.
    case.palisade(&["learn", "--from", "log", "-o", "learned.toml"]).exits(0);
    check_all(&case, &[&["check", "learned.toml"]]);
    case.palisade(&["run", "--dir", dir, "--policy", "learned.toml", "open.wasm"]).exits(0);
}

/// The options of `run` that take a value.
const OPTIONS: &str = "--env --stdin --config --policy --cache-dir --engine --timeout \
    --seed --max-memory --max-descriptors --fixed-clock --clock-step --dir --file --mem \
    --copy --overlay --image --upper --export --policy-var --audit";

#[test]
fn arguments_and_environment_are_escaped() {
    let case = Case::new();
    case.guest("");
    case.file("file", "");
    for option in OPTIONS.split_whitespace() {
        for value in
            [HOSTILE.to_owned(), format!("file/{HOSTILE}::/{HOSTILE}"), format!("{HOSTILE}=")]
        {
            for json in [false, true] {
                let mut args = vec!["run", option, &value, "guest.wasm"];
                if json {
                    args.insert(1, "--json");
                }
                check(&case, &args.iter().map(Into::into).collect::<Vec<_>>());
            }
        }
    }
    let flag = &*format!("--{HOSTILE}");
    check_all(
        &case,
        &[
            &[HOSTILE],
            &[flag],
            &["help", HOSTILE],
            &["run", flag],
            &["run", "--json", HOSTILE],
            &["run", HOSTILE, HOSTILE],
            &["run", "--help"],
            &["--version"],
            &["completions", HOSTILE],
            &["completions", "bash"],
            &["inspect", HOSTILE],
            &["inspect", "file", HOSTILE],
            &["learn", "--", HOSTILE],
            &["learn", "--from", HOSTILE],
            &["learn", "-o", HOSTILE, "--from", "none", flag],
            &["report", HOSTILE, "-o", HOSTILE],
        ],
    );
    let odd = OsString::from_vec(b"\xff\x9b8m\x1b[8m\nFORGED".to_vec());
    for args in [
        vec!["run".into(), odd.clone()],
        vec!["run".into(), "--env".into(), odd.clone(), "guest.wasm".into()],
        vec!["run".into(), "guest.wasm".into(), odd.clone()],
        vec!["explain".into(), "none".into(), odd.clone()],
        vec!["componentize".into(), "guest.wasm".into(), "--json".into(), "-o".into(), odd.clone()],
        vec!["check".into(), "--json".into(), odd],
    ] {
        check(&case, &args);
    }
}
