//! The policies in `examples/policies`: what each allows, and what it refuses.

use super::*;

/// An operation's rights at a path, and whether it is allowed (`+`), refused (`-`) or not there
/// (`?`).
type Case = (&'static str, Rights, char);

const CHANGE: Rights = Rights::WRITE.union(Rights::SET_LEN);

fn check(file: &str, cases: &[Case]) {
    let path = format!("{}/../examples/policies/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let document =
        read(&text).unwrap_or_else(|error| panic!("the example {file} is refused:\n{error}"));
    let policy = document.to_policy().unwrap();
    for (path, wanted, expected) in cases {
        let walked = Descent::new(path.trim_start_matches('/')).unwrap();
        let verdict = policy.judge(Policy::START, walked, *wanted | Rights::LOOKUP);
        let found = match (verdict.is_allowed(), verdict.is_hidden()) {
            (true, _) => '+',
            (false, true) => '?',
            (false, false) => '-',
        };
        assert_eq!(found, *expected, "{file}: {path} {:?}", words_of_rights(*wanted));
    }
}

#[test]
fn an_agent_changes_the_project_and_not_its_history() {
    check(
        "agent-sandbox.toml",
        &[
            ("/work/src/main.rs", CHANGE, '+'),
            ("/work/src/new.rs", Rights::CREATE_FILE, '+'),
            ("/work/src/old.rs", Rights::REMOVE_FILE, '+'),
            ("/work/.github/workflows/ci.yml", Rights::READ, '+'),
            ("/work/.github/workflows/ci.yml", Rights::WRITE, '-'),
            ("/work/Makefile", Rights::RENAME_INTO, '-'),
            ("/work/.git", Rights::LOOKUP, '?'),
            ("/work/.git/config", Rights::READ, '?'),
            ("/work/deploy/.env", Rights::READ, '?'),
            ("/work/deploy/site.pem", Rights::STAT, '?'),
            ("/etc/passwd", Rights::READ, '-'),
            ("/", Rights::LIST, '-'),
        ],
    );
}

#[test]
fn a_plugin_keeps_its_state_and_nothing_else() {
    check(
        "plugin-host.toml",
        &[
            ("/plugin/manifest.json", Rights::READ, '+'),
            ("/plugin/manifest.json", Rights::WRITE, '-'),
            ("/host/public/a", Rights::READ, '+'),
            ("/host/private/a", Rights::READ, '-'),
            ("/state/db", CHANGE, '+'),
            ("/state/db.tmp", Rights::RENAME_FROM, '+'),
            ("/state/link", Rights::CREATE_SYMLINK, '-'),
            ("/state/link", Rights::LINK_INTO, '-'),
        ],
    );
}

#[test]
fn web_assets_are_read_and_sources_are_not_there() {
    check(
        "web-assets.toml",
        &[
            ("/assets/index.html", Rights::READ, '+'),
            ("/assets", Rights::LIST, '+'),
            ("/assets/index.html", Rights::WRITE, '-'),
            ("/assets/new.html", Rights::CREATE_FILE, '-'),
            ("/assets/app.js.map", Rights::READ, '?'),
            ("/assets/css/site.scss", Rights::READ, '?'),
            ("/assets/.well-known", Rights::READ, '?'),
        ],
    );
}

#[test]
fn into_a_drop_box_things_go_and_do_not_come_out() {
    check(
        "drop-box.toml",
        &[
            ("/box/report.txt", Rights::CREATE_FILE | CHANGE, '+'),
            ("/box/report.txt", Rights::READ, '-'),
            ("/box/report.txt", Rights::STAT, '-'),
            ("/box/report.txt", Rights::REMOVE_FILE, '-'),
            ("/box", Rights::LIST, '-'),
            ("/box/run.sh", Rights::CREATE_FILE, '-'),
            ("/box/sub/report.txt", Rights::CREATE_FILE, '-'),
        ],
    );
}
