//! Tests of policies: enforcement, `explain`, `check`, audit and `learn`.

use super::{Case, errno};

/// Writes a policy.
fn policy(case: &Case, text: &str) -> String {
    case.file("policy.toml", text)
}

const READ_WORK: &str = "[[allow]]\npath = \"/work/**\"\nrights = [\"read\"]\n";

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn policy_limits_the_operations_of_a_guest() {
    let case = Case::new();
    case.file("work/a", "content");
    case.file("work/secret/key", "secret");
    let dir = format!("{}::/work", case.path("work").display());
    let policy = policy(&case, &format!("{READ_WORK}[[hide]]\npath = \"/work/secret\"\n"));
    let run = |guest: &str| case.palisade(&["run", "--dir", &dir, "--policy", &policy, guest]);
    let outcome = run(&case.reader(3, "a")).fails(0, &["no path matched"]);
    assert_eq!(outcome.stdout, "content");
    run(&case.reader(3, "secret/key")).exits(errno::NOENT);
    run(&case.writer(3, "new")).fails(errno::ACCES, &["no path matched"]);
    assert!(!case.path("work/new").exists());
}

#[test]
fn policy_is_a_file_or_a_table_of_palisade_toml() {
    let case = Case::new();
    case.file("work/a", "content");
    let mount = "[[mount]]\nat = \"/work\"\nkind = \"dir\"\npath = \"work\"\n";
    policy(&case, READ_WORK);
    let table = READ_WORK.replace("[[allow]]", "[[policy.allow]]");
    for text in [format!("policy = \"policy.toml\"\n{mount}"), format!("{mount}{table}")] {
        let config = case.file("palisade.toml", text);
        let run = |guest: &str| case.palisade(&["run", "--config", &config, guest]);
        assert_eq!(run(&case.reader(3, "a")).exits(0).stdout, "content");
        run(&case.writer(3, "a")).exits(errno::ACCES);
    }
}

#[test]
fn policy_variables_are_set_and_typos_refused() {
    let case = Case::new();
    case.file("work/a", "content");
    let dir = format!("{}::/work", case.path("work").display());
    let policy = policy(&case, "[[allow]]\npath = \"${HERE}/a\"\nrights = \"read\"\n");
    let guest = case.reader(3, "a");
    let run = |given: &str| {
        case.palisade(&["run", "--dir", &dir, "--policy", &policy, "--policy-var", given, &guest])
    };
    assert_eq!(run("HERE=/work").exits(0).stdout, "content");
    run("HERE=/elsewhere").exits(errno::ACCES);
    run("HEER=/work").fails(2, &["HERE"]);
}

#[test]
fn quota_limits_written_bytes() {
    let case = Case::new();
    let policy =
        policy(&case, "[[allow]]\npath = \"/**\"\nrights = \"all\"\n[quota]\ninodes = 0\n");
    let guest = case.writer(3, "new");
    case.palisade(&["run", "--mem", "/", "--policy", &policy, &guest]).exits(errno::DQUOT);
    case.palisade(&["run", "--mem", "/", &guest]).exits(0);
}

#[test]
fn explain_names_the_rule_and_the_remedy() {
    let case = Case::new();
    let policy = policy(&case, &format!("{READ_WORK}[[hide]]\npath = \"/work/.git\"\n"));
    let explain = |path: &str, op: &str| {
        case.palisade(&["explain", &policy, path, "--op", op]).exits(0).stdout
    };
    let outcome = explain("/work/.git/config", "open-read");
    for fact in ["hidden", "policy.toml:5", "hide /work/.git", "remove that rule"] {
        assert!(outcome.contains(fact), "{fact}: {outcome}");
    }
    let outcome = explain("/work/a", "create");
    for fact in ["refuse", "no rule allows it", "create-file"] {
        assert!(outcome.contains(fact), "{fact}: {outcome}");
    }
    assert!(explain("/work/a", "open-read").contains("allow"));
    let all = case.palisade(&["explain", "--json", &policy, "/work/a"]).exits(0).stdout;
    let all = json(&all);
    let verdicts = all["verdicts"].as_array().unwrap();
    assert!(verdicts.len() > 20);
    assert!(verdicts.iter().any(|it| it["op"] == "create" && it["decision"] == "refuse"));
    case.palisade(&["explain", &policy, "/a", "--op", "raed"]).fails(2, &["open-read"]);
}

#[test]
fn check_finds_ineffective_rules_and_policy_changes() {
    let case = Case::new();
    let good = case.file("good.toml", READ_WORK);
    case.palisade(&["check", &good]).exits(0);
    let idle = format!("{READ_WORK}[[allow]]\npath = \"/work/a\"\nrights = \"read\"\n");
    let idle = case.file("idle.toml", idle);
    let outcome = case.palisade(&["check", &idle]).exits(1).stdout;
    assert!(outcome.contains("idle.toml:5") && outcome.contains("has no effect"), "{outcome}");
    let wide = case.file("wide.toml", READ_WORK.replace("\"read\"", "\"read\", \"write\""));
    let outcome = case.palisade(&["check", "--json", &wide, "--against", &good]).exits(1).stdout;
    let allowed = &json(&outcome)["against"]["allowed"];
    assert_eq!(allowed[0]["path"], "/work", "{outcome}");
    assert_eq!(allowed[0]["rights"], serde_json::json!(["write"]));
    let narrower = case.palisade(&["check", &good, "--against", &wide]).exits(0).stdout;
    assert!(narrower.contains("newly denied"), "{narrower}");
}

#[test]
fn policy_errors_point_at_their_line() {
    let case = Case::new();
    let policy = policy(&case, "[[alow]]\npath = \"/a\"\n\n[[deny]]\npath = \"b\"\n");
    case.palisade(&["check", &policy])
        .fails(2, &["alow", "did you mean `allow`", "policy.toml:1", "begin with `/`"]);
}

#[test]
fn run_is_recorded_replayed_and_learned() {
    let case = Case::new();
    case.file("work/a", "content");
    let dir = format!("{}::/work", case.path("work").display());
    let guest = case.reader(3, "a");
    let (log, learned) = (case.path("log.jsonl"), case.path("learned.toml"));
    let (log, learned) = (log.to_str().unwrap(), learned.to_str().unwrap());
    case.palisade(&["run", "--dir", &dir, "--audit", log, &guest]).exits(0);
    let lines = std::fs::read_to_string(log).unwrap();
    assert!(lines.lines().count() > 1 && lines.contains("\"/work/a\""), "{lines}");
    // The record of the read bytes is written although the guest did not close the file.
    assert!(lines.contains("\"op\":\"read\"") && lines.contains("\"bytes\":7"), "{lines}");

    case.palisade(&["learn", "-o", learned, "--", "run", "--dir", &dir, &guest]).exits(0);
    let from_log = case.palisade(&["learn", "--from", log]).exits(0).stdout;
    assert_eq!(from_log, std::fs::read_to_string(learned).unwrap());
    case.palisade(&["run", "--dir", &dir, "--policy", learned, &guest]).exits(0);
    let page = case.palisade(&["report", log]).exits(0).stdout;
    assert!(page.contains("<!doctype html>") && page.contains("/work/a"), "{page}");
    let same = case.palisade(&["replay", log, learned]).exits(0).stdout;
    assert!(same.contains("are the same"), "{same}");

    let none = case.file("none.toml", "");
    let changed = case.palisade(&["replay", "--json", log, &none]).exits(0).stdout;
    assert_eq!(json(&changed)["changed"][0]["is"], "deny", "{changed}");
    let dry = ["run", "--dir", &dir, "--policy", &none, "--dry-run-policy", &guest];
    let outcome = case.palisade(&dry).fails(0, &["would-deny", "would have been refused"]);
    assert_eq!(outcome.stdout, "content");
    case.palisade(&["replay", &guest, &none]).fails(2, &["not an audit log"]);
    case.palisade(&["learn"]).fails(2, &["learn from"]);
    case.palisade(&["run", "--dry-run-policy", &guest]).fails(2, &["--policy FILE"]);
}

#[test]
fn componentized_module_behaves_the_same() {
    let case = Case::new();
    let guest = format!("{}/../tests/guests/echo_args_env.wasm", env!("CARGO_MANIFEST_DIR"));
    let component = case.path("component.wasm");
    let component = component.to_str().unwrap();
    case.palisade(&["componentize", &guest, "-o", component]).exits(0);
    let run = |it: &str| {
        let args = ["run", "--arg0", "it", "--env", "A=b", it, "one", "two"];
        case.palisade(&args).exits(0).stdout
    };
    assert_eq!(run(component), run(&guest));
    let facts = json(&case.palisade(&["inspect", "--json", component]).exits(0).stdout);
    assert_eq!(facts["kind"], "component_command");
    assert_eq!(facts["world"]["wraps_preview1"], true);
    case.palisade(&["componentize", component, "-o", component]).fails(2, &["a component already"]);
    case.palisade(&["run", "--engine", "wasmi", component]).fails(2, &["--engine wasmi"]);
    let foreign =
        case.module("it.wasm", r#"(import "env" "tick" (func)) (func (export "_start"))"#);
    case.palisade(&["componentize", &foreign, "-o", component]).fails(2, &["env tick"]);
}

const SECRETS: &str = "[[allow]]\npath = \"/work/**\"\nrights = [\"read\"]\n\
    [[hide]]\npath = \"/work/secret.kye\"\n[[deny]]\npath = \"/work/**/*.pem\"\n";

/// Returns the value of `--dir` for a directory with a secret, and a policy whose rule misses it.
fn secrets(case: &Case) -> (String, String) {
    case.file("work/secret.key", "secret");
    case.file("work/deep/a.txt", "");
    (format!("{}::/work", case.path("work").display()), policy(case, SECRETS))
}

#[test]
fn check_finds_unmatched_rules_and_the_nearest_paths() {
    let case = Case::new();
    let (dir, policy) = secrets(&case);
    case.palisade(&["check", &policy]).exits(0);
    let outcome = case.palisade(&["check", &policy, "--dir", &dir]).exits(1).stdout;
    let hide = "policy.toml:5: hide /work/secret.kye\n  matches no path of the mounts; \
        the nearest path is `/work/secret.key`\n";
    assert!(outcome.contains(hide) && outcome.contains("policy.toml:7: deny"), "{outcome}");
    assert!(!outcome.contains("policy.toml:2"), "{outcome}");
    let outcome = case.palisade(&["check", "--json", &policy, "--dir", &dir]).exits(1).stdout;
    let files = &json(&outcome)["files"];
    let hide = &files["unmatched"][1];
    assert_eq!((&hide["rule"]["line"], &hide["rule"]["effect"]), (&5.into(), &"hide".into()));
    assert_eq!(hide["nearest"], "/work/secret.key");
    assert_eq!((&files["names"], &files["unread"]), (&3.into(), &0.into()));
    case.file("work/secret.kye", "");
    case.file("work/deep/b.pem", "");
    let outcome = case.palisade(&["check", &policy, "--dir", &dir]).exits(0).stdout;
    assert!(outcome.contains("matches a path"), "{outcome}");
}

#[test]
fn check_names_the_included_document_of_an_unmatched_rule() {
    let case = Case::new();
    let (dir, _) = secrets(&case);
    let outer = case.file("outer.toml", "include = [\"policy.toml\"]\n");
    let outcome = case.palisade(&["check", &outer, "--dir", &dir]).exits(1).stdout;
    assert!(outcome.contains("policy.toml:5: hide /work/secret.kye"), "{outcome}");
}

#[test]
fn run_reports_unmatched_hide_and_deny_rules() {
    let case = Case::new();
    let (dir, policy) = secrets(&case);
    let guest = case.reader(3, "secret.key");
    let outcome = case.palisade(&["run", "--dir", &dir, "--policy", &policy, &guest]);
    assert_eq!((outcome.code, &*outcome.stdout), (0, "secret"));
    let lines = ["hide /work/secret.kye", "deny all /work/**/*.pem"];
    let lines: Vec<_> = outcome.stderr.lines().zip(lines).collect();
    assert_eq!(lines.len(), 2, "{outcome:?}");
    for (line, rule) in lines {
        assert!(line.starts_with("palisade: no path matched ") && line.ends_with(rule), "{line}");
    }
    let run = ["run", "--json", "--dir", &dir, "--policy", &policy, &guest];
    let outcome = json(&case.palisade(&run).stderr);
    assert_eq!(
        (&outcome["unmatchedCount"], &outcome["unmatchedRules"][0]["line"]),
        (&2.into(), &5.into())
    );
    // A refused request counts as a match.
    let guest = case.reader(3, "secret.kye");
    let outcome = case.palisade(&["run", "--dir", &dir, "--policy", &policy, &guest]);
    assert!(!outcome.stderr.contains("secret.kye"), "{outcome:?}");
}

#[test]
fn aliased_directory_with_different_rules_is_refused() {
    let case = Case::new();
    case.file("x/k", "content");
    case.file("x/sub/k", "content");
    let run = |dirs: [&str; 2], rules: &str| {
        policy(&case, rules);
        let guest = case.guest("");
        let [one, two] = dirs;
        case.run(&["--policy", "policy.toml", "--dir", one, "--dir", two, &guest])
    };
    let rules = |a: &str, b: &str| {
        let allow = |path, rights| format!("[[allow]]\npath = \"{path}\"\nrights = {rights}\n");
        allow("/a/**", a) + &allow("/b/**", b)
    };
    let (read, moving, all) = ("[\"read\"]", "[\"read\", \"rename\"]", "[\"all\"]");
    for dirs in [["x::/a", "x/sub::/b"], ["x/sub::/b", "x::/a"], ["x::/a", "x::/b"]] {
        run(dirs, &rules(moving, all)).refuses(&["`/a", "`/b`", "rename-into"]);
        run(dirs, &rules(all, all)).exits(0);
        run(dirs, &rules(moving, moving)).exits(0);
        run(dirs, &rules(read, "[\"read\", \"write\", \"create\"]")).exits(0);
    }
    run(["x::/a:ro", "x/sub::/b:ro"], &rules(moving, all)).exits(0);
}

/// Allows all rights in `/tmp`, and reading and renaming in `/data`, except denied and hidden
/// files.
const HELD: &str = "
[[allow]]
path = \"/tmp/**\"
rights = [\"all\"]
[[allow]]
path = \"/data/**\"
rights = [\"read\", \"rename\"]
[[deny]]
path = \"/data/**/*.key\"
[[hide]]
path = \"/data/**/*.hid\"
";

#[test]
fn held_directories_do_not_bypass_the_policy() {
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/heldmove.wasm");
    let component = Case::new();
    let packed = component.path("heldmove.component.wasm").to_str().unwrap().to_owned();
    component.palisade(&["componentize", guest, "-o", &packed]).exits(0);
    for guest in [guest, &packed] {
        for mounts in [
            &["--dir", "world::/"][..],
            &["--overlay", "world::/"],
            &["--overlay", "world::/", "--upper", "up"],
            &["--copy", "world::/"],
            &["--dir", "world/tmp::/tmp", "--dir", "world/data::/data"],
            &["--overlay", "world::/", "--audit", "log"],
            &["--dir", "world::/", "--audit", "log"],
        ] {
            let case = Case::new();
            policy(&case, HELD);
            case.file("world/tmp/.keep", "");
            for file in ["ro.txt", "sub/x.key", "sub/y.hid"] {
                case.file(&format!("world/data/{file}"), file);
            }
            let options = ["run", "--policy", "policy.toml"];
            let outcome = case.palisade(&[&options[..], mounts, &[guest]].concat());
            assert_eq!((outcome.code, &*outcome.stderr), (0, ""), "{mounts:?} {outcome:#?}");
            assert!(
                outcome.stdout.ends_with("\n0 attempts succeeded\n"),
                "{mounts:?} {outcome:#?}"
            );
            for file in ["ro.txt", "sub/x.key", "sub/y.hid"] {
                assert_eq!(super::read(&case.path(&format!("world/data/{file}"))), file);
            }
        }
    }
}
