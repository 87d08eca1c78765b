//! Tests that a guest cannot redirect output files of the command.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::{Case, Outcome, read};

impl Case {
    /// Creates a directory `d` with a file, an upper `up` with a change, and an audit log.
    fn with_inputs() -> Case {
        let case = Case::new();
        case.file("d/a", "content");
        let guest = case.writer(3, "new");
        let upper = ["--overlay", "d::/w", "--upper", "up", "--audit", "log"];
        case.run(&[&upper[..], &[&guest]].concat()).exits(0);
        case
    }

    /// Runs each command that writes a file, with the output `path` and the mount `mount`.
    fn write_each(&self, mount: &[&str], path: &str) -> Vec<(&'static str, Outcome)> {
        let guest = self.reader(3, "a");
        let run = |option: &[&str]| self.run(&[mount, option, &[&guest]].concat());
        let (tar, diff) = (format!("{path}.tar"), format!("--diff={path}"));
        let mut outcome = vec![("--audit", run(&["--audit", path]))];
        if mount.contains(&"--overlay") {
            outcome.push(("--diff", run(&[&diff])));
            outcome.push(("--export", run(&["--export", &tar])));
        }
        let learn = [&["learn", "-o", path, "--", "run"], mount, &[&guest]].concat();
        outcome.push(("learn", self.palisade(&learn)));
        outcome
    }
}

/// Commands that write a file without running a guest, without the path.
const COMMANDS: [(&str, &[&str]); 4] = [
    ("x.tar", &["export", "up", "-o"]),
    ("x", &["report", "log", "-o"]),
    ("x", &["learn", "--from", "log", "-o"]),
    ("x", &["componentize", "guest.wasm", "-o"]),
];

#[test]
fn no_output_follows_a_link() {
    let case = Case::with_inputs();
    case.file("victim", "untouched");
    symlink("victim", case.path("x")).unwrap();
    symlink("victim", case.path("x.tar")).unwrap();
    for mount in [["--dir", "d::/w"], ["--overlay", "d::/w"]] {
        for (what, outcome) in case.write_each(&mount, "x") {
            assert!(outcome.stderr.contains("symbolic link"), "{what}: {outcome:?}");
            assert_eq!(outcome.code, 2, "{what}");
        }
    }
    for (name, command) in COMMANDS {
        case.palisade(&[command, &[name]].concat()).refuses(&["symbolic link", "`x"]);
    }
    assert_eq!(read(&case.path("victim")), "untouched");
    assert!(case.path("x").is_symlink() && case.path("x.tar").is_symlink());
}

#[test]
fn temporary_names_are_unpredictable() {
    let case = Case::with_inputs();
    case.file("victim", "untouched");
    for name in ["x", "x.tar"] {
        symlink("victim", case.path(&format!("{name}.partial"))).unwrap();
    }
    for (name, command) in COMMANDS {
        assert_eq!(case.palisade(&[command, &[name]].concat()).code, 0);
    }
    for (what, outcome) in case.write_each(&["--overlay", "d::/w"], "x") {
        // The existing file is not a log.
        assert_eq!(outcome.code, if what == "--audit" { 2 } else { 0 }, "{what}: {outcome:?}");
    }
    assert_eq!(read(&case.path("victim")), "untouched");
    let entries = std::fs::read_dir(case.path("")).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| name.contains(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn output_in_a_guest_writable_directory_is_refused() {
    let case = Case::with_inputs();
    case.file("d/sub/b", "");
    symlink("d/sub", case.path("link")).unwrap();
    symlink("up", case.path("other-up")).unwrap();
    let at = case.path("d/sub/../x").to_str().unwrap().to_owned();
    for path in ["d/x", "d/sub/x", "./d/../d/x", "link/x", "link/../x", &at] {
        for (what, outcome) in case.write_each(&["--dir", "d::/w"], path) {
            assert!(outcome.stderr.contains("the guest can write"), "{what} {path}: {outcome:?}");
            assert_eq!(outcome.code, 2, "{what} {path}");
        }
    }
    for path in ["up/x", "up/upper/x", "up/work/x", "other-up/x"] {
        let mount = ["--overlay", "d::/w", "--upper", "up"];
        for (what, outcome) in case.write_each(&mount, path) {
            assert!(outcome.stderr.contains("the guest can write"), "{what} {path}: {outcome:?}");
        }
    }
    // A mounted file is not replaced under any of its names.
    std::fs::hard_link(case.path("d/a"), case.path("same")).unwrap();
    for (what, outcome) in case.write_each(&["--file", "d/a::/w/a"], "same") {
        assert!(outcome.stderr.contains("the guest can write"), "{what}: {outcome:?}");
    }
    assert_eq!(read(&case.path("d/a")), "content");
    let outcome = case.run(&["--dir", "d::/w", "--audit", "d/x", &case.guest("")]);
    outcome.refuses(&["`d/x`", "`d`", "--dir", ":ro"]);
}

#[test]
fn output_path_through_a_guest_link_is_refused() {
    let case = Case::with_inputs();
    std::fs::create_dir(case.path("elsewhere")).unwrap();
    symlink("../elsewhere", case.path("d/link")).unwrap();
    symlink("d/link", case.path("chain")).unwrap();
    for path in ["d/link/x", "chain/x"] {
        for (what, outcome) in case.write_each(&["--dir", "d::/w"], path) {
            assert!(outcome.stderr.contains("the guest can write"), "{what} {path}: {outcome:?}");
        }
    }
    assert_eq!(std::fs::read_dir(case.path("elsewhere")).unwrap().count(), 0);
}

#[test]
fn two_outputs_must_be_different_files() {
    let case = Case::with_inputs();
    let guest = case.reader(3, "a");
    let run = |options: &[&str]| case.run(&[&["--overlay", "d::/w"], options, &[&guest]].concat());
    run(&["--audit", "x", "--diff=./x"]).refuses(&["another output"]);
    run(&["--audit", "x.tar", "--export", "d/../x.tar"]).refuses(&["another output"]);
    run(&["--diff=x.tar", "--export", "x.tar"]).refuses(&["another output"]);
    assert!(!case.path("x").exists() && !case.path("x.tar").exists());
}

#[test]
fn upper_in_a_guest_writable_directory_is_refused() {
    let case = Case::with_inputs();
    std::fs::create_dir_all(case.path("mine/deep")).unwrap();
    std::fs::create_dir(case.path("elsewhere")).unwrap();
    symlink("../elsewhere", case.path("mine/link")).unwrap();
    symlink("mine/deep", case.path("there")).unwrap();
    // The overlay is the second preopen, after those of `--dir`.
    let guest = case.writer(4, "new");
    for upper in ["mine/up", "mine/deep/up", "mine/link/up", "mine", "there", "there/up"] {
        let options = ["--overlay", "d::/w", "--upper", upper];
        case.run(&[&options[..], &["--dir", "mine::/m", &guest]].concat()).refuses(&[
            "--upper",
            upper,
            "the guest can write",
        ]);
        case.run(&[&options[..], &["--dir", "mine::/m:ro", &guest]].concat()).exits(0);
        for made in ["upper", "work"] {
            std::fs::remove_dir_all(case.path(upper).join(made)).unwrap();
        }
    }
    // The run creates the directory, and the guest could fill the cache.
    let fresh = ["--overlay", "d::/w", "--upper", "fresh", "--cache-dir", "fresh/upper/cache"];
    case.run(&[&fresh[..], &[&guest]].concat()).refuses(&["cache", "can write"]);
}

#[test]
fn output_check_sees_through_bind_mounts() {
    let unshared = |script: &str, args: &[&str], case: &Case| {
        let mut command = std::process::Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_palisade")]).args(args);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(case.path(""));
        Outcome::new(&command.stdin(std::process::Stdio::null()).output().unwrap())
    };
    let case = Case::with_inputs();
    if unshared("mount --bind d d", &[], &case).code != 0 {
        eprintln!("this machine lets nobody mount directories");
        return;
    }
    for dir in ["d/sub", "m", "out", "d/point"] {
        std::fs::create_dir(case.path(dir)).unwrap();
    }
    let guest = case.reader(3, "a");
    for (mount, path) in [
        // Bind mounts of the directory of the guest, and of its subdirectory.
        ("mount --bind d m", "m/x"),
        ("mount --bind d/sub m", "m/x"),
        // Another directory, bind-mounted into that of the guest.
        ("mount --bind out d/point", "out/x"),
        ("mount --bind out d/point && mount --bind out m", "m/x"),
    ] {
        let script =
            format!("{mount} && exec \"$0\" run --no-cache --dir d::/w --audit {path} \"$1\"");
        let outcome = unshared(&script, &[&guest], &case);
        outcome.fails(2, &["the guest can write", path]);
        let elsewhere = script.replace(path, "log2");
        assert_eq!(unshared(&elsewhere, &[&guest], &case).exits(0).stdout, "content");
    }
}

#[test]
fn output_in_an_input_directory_is_refused() {
    let case = Case::with_inputs();
    for mount in [["--overlay", "d::/w"], ["--overlay", "d::/w:ro"], ["--image", "d::/w"]] {
        for (what, outcome) in case.write_each(&mount, "d/x") {
            assert!(
                outcome.stderr.contains("is read during the run"),
                "{what} {mount:?}: {outcome:?}"
            );
        }
    }
    // A read-only mount is accepted: the guest cannot put links there.
    case.run(&["--dir", "d::/w:ro", "--audit", "d/x", &case.reader(3, "a")]).exits(0);
    case.palisade(&["export", "up", "-o", "up/x.tar"]).refuses(&["is read during the run"]);
    case.palisade(&["export", "up", "-o", "up/upper/x.tar"]).refuses(&["is read during the run"]);
    case.palisade(&["report", "log", "-o", "log"]).refuses(&["`log`", "is read during the run"]);
    case.palisade(&["learn", "--from", "log", "-o", "log"]).refuses(&["is read during the run"]);
    case.palisade(&["export", "up", "-o", "x.tar"]).exits(0);
    std::fs::create_dir(case.path("in")).unwrap();
    std::fs::rename(case.path("x.tar"), case.path("in/x.tar")).unwrap();
    case.palisade(&["import", "in/x.tar", "in"]).refuses(&["in/x.tar", "`in`"]);
}

#[test]
fn audit_log_with_hard_links_is_refused() {
    let case = Case::with_inputs();
    std::fs::hard_link(case.path("log"), case.path("d/log")).unwrap();
    let text = read(&case.path("log"));
    let outcome = case.run(&["--mem", "/", "--audit", "log", &case.guest("")]);
    outcome.refuses(&["hard links"]);
    let truncate = ["--mem", "/", "--audit", "log", "--audit-truncate", &case.guest("")];
    case.run(&truncate).refuses(&["hard links"]);
    assert_eq!(read(&case.path("log")), text);
}

#[test]
fn replaced_output_keeps_permissions_and_hard_links() {
    let case = Case::with_inputs();
    case.file("page", "before");
    std::fs::hard_link(case.path("page"), case.path("other")).unwrap();
    for (mode, kept) in [(0o640, 0o640), (0o600, 0o600), (0o4755, 0o755)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(case.path("page"), permissions).unwrap();
        case.palisade(&["report", "log", "-o", "page"]).exits(0);
        let mode = std::fs::metadata(case.path("page")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, kept);
    }
    assert_eq!(read(&case.path("other")), "before");
}

#[test]
fn outputs_accept_pipes_and_devices_but_no_directories() {
    let case = Case::with_inputs();
    let guest = case.reader(3, "a");
    case.palisade(&["report", "log", "-o", "/dev/null"]).exits(0);
    let kind = std::fs::metadata("/dev/null").unwrap().file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&kind));
    let audit = |to: &str| case.run(&["--dir", "d::/w", "--audit", to, &guest]);
    for to in ["-", "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"] {
        assert!(audit(to).fails(0, &["\"palisade\":"]).stdout == "content", "{to}");
    }
    audit("/dev/fd/99").refuses(&["/dev/fd/99"]);
    audit("d").refuses(&["`d`"]);
    audit("missing/log").refuses(&["missing/log", "exist"]);
    audit("new/").refuses(&["new/", "slash"]);
    audit("..").refuses(&["`..`"]);
}

#[test]
fn commands_do_not_follow_links_in_an_upper() {
    for part in ["upper", "work"] {
        let case = Case::with_inputs();
        case.palisade(&["export", "up", "-o", "x.tar"]).exits(0);
        std::fs::create_dir_all(case.path("victim/d")).unwrap();
        case.file("victim/f", "untouched");
        std::fs::remove_dir_all(case.path("up").join(part)).unwrap();
        symlink("../victim", case.path("up").join(part)).unwrap();
        let guest = case.writer(3, "f");
        for command in [
            &["diff", "up", "--lower", "d"][..],
            &["commit", "up", "--lower", "d"],
            &["commit", "up", "--lower", "d", "--dry-run"],
            &["discard", "up"],
            &["export", "up", "-o", "y.tar"],
            &["import", "x.tar", "up"],
            &["run", "--overlay", "d::/w", "--upper", "up", &guest],
        ] {
            case.palisade(command).refuses(&[&format!("up/{part}"), "symbolic link"]);
        }
        case.file(
            "palisade.toml",
            "mount = [{ at = '/w', kind = 'overlay', upper = 'memory', lowers = [
                { kind = 'overlay', upper = 'up', lowers = [{ kind = 'dir', path = 'd' }] },
            ] }]",
        );
        case.run(&["--config", "palisade.toml", &guest]).refuses(&["symbolic link"]);
        assert_eq!(read(&case.path("victim/f")), "untouched");
        assert_eq!(std::fs::read_dir(case.path("victim")).unwrap().count(), 2);
    }
}

#[test]
fn module_cache_in_a_guest_writable_directory_is_refused() {
    let case = Case::new();
    let guest = case.guest("");
    std::fs::create_dir(case.path("d")).unwrap();
    case.run(&["--dir", "d", "--cache-dir", "d/cache", &guest]).refuses(&["cache", "can write"]);
    case.run(&["--dir", "d:ro", "--cache-dir", "d/cache", &guest]).exits(0);
    // A path through a link that a guest could have created.
    std::fs::create_dir(case.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", case.path("d/link")).unwrap();
    for dir in ["d/link", "d/link/cache"] {
        case.run(&["--dir", "d", "--cache-dir", dir, &guest]).refuses(&["cache", "can write"]);
    }
    assert_eq!(std::fs::read_dir(case.path("elsewhere")).unwrap().count(), 0);
    // The default cache is disabled instead.
    case.run(&["--dir", ".", &guest]).exits(0);
    assert!(!case.path("cache").exists());
    case.run(&["--dir", ".:ro", &guest]).exits(0);
    assert!(case.path("cache").exists());
}
