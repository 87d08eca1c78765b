//! Checks that `docs/policy.schema.json` agrees with the parser.

use super::*;

#[path = "validator.rs"]
mod validator;

fn schema() -> serde_json::Value {
    let path = format!("{}/../docs/policy.schema.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns whether the schema accepts a document; `None` for a text that is not TOML.
fn schema_accepts(text: &str) -> Option<bool> {
    let value: serde_json::Value = toml::from_str(text).ok()?;
    let schema = schema();
    Some(validator::accepts(&schema, &schema, &value))
}

/// Returns whether the parser accepts a document.
fn reader_accepts(text: &str) -> bool {
    let mut files = Files::of([("base.toml", ""), ("read", "")]);
    Document::parse("p", text, &Variables::new(), &mut files).is_ok()
}

/// Returns the keys of the schema, as `table.key`.
fn keys_of_the_schema() -> Vec<String> {
    let schema = schema();
    let mut keys = Vec::new();
    for (key, value) in schema["properties"].as_object().unwrap() {
        keys.push(key.clone());
        let target = value.get("items").unwrap_or(value);
        let inner = target.get("$ref").and_then(|it| it.as_str());
        let inner = inner.map(|it| &schema["$defs"][it.rsplit('/').next().unwrap()]);
        let properties = inner.unwrap_or(target).get("properties").and_then(|it| it.as_object());
        for below in properties.into_iter().flat_map(|it| it.keys()) {
            keys.push(format!("{key}.{below}"));
        }
    }
    keys.sort();
    keys
}

/// Each key of a document, with a valid example.
pub(super) const KNOWN: &[(&str, &str)] = &[
    ("version", "version = 1"),
    ("include", "include = \"base.toml\""),
    ("variables", "[variables]\nA = \"x\""),
    ("rights", "[rights]\nmine = [\"read\"]"),
    ("allow", "[[allow]]\npath = \"/a\"\nrights = \"read\""),
    ("allow.path", "[[allow]]\npath = [\"/a\"]\nrights = [\"read\"]"),
    ("allow.rights", "[[allow]]\npath = [\"/a\"]\nrights = [\"read\"]"),
    ("deny", "[[deny]]\npath = \"/a\""),
    ("deny.path", "[[deny]]\npath = [\"/a\"]"),
    ("deny.rights", "[[deny]]\npath = \"/a\"\nrights = \"write\""),
    ("hide", "[[hide]]\npath = \"/a\""),
    ("hide.path", "[[hide]]\npath = [\"/a\"]"),
    ("quota", "[quota]"),
    ("quota.bytes", "[quota]\nbytes = \"1 MiB\""),
    ("quota.inodes", "[quota]\ninodes = 1"),
    ("quota.file-size", "[quota]\nfile-size = 1"),
    ("quota.dir-entries", "[quota]\ndir-entries = 1"),
    ("quota.descriptors", "[quota]\ndescriptors = 1"),
    ("quota.read-bytes", "[quota]\nread-bytes = 1"),
    ("quota.write-bytes", "[quota]\nwrite-bytes = 1"),
    ("audit", "[audit]"),
    ("audit.to", "[audit]\nto = \"stderr\""),
    ("audit.only", "[audit]\nonly = [\"denied\", \"writes\"]"),
    ("audit.sample", "[audit]\nsample = 2"),
    ("audit.when-full", "[audit]\nwhen-full = \"drop\""),
];

#[test]
fn schema_and_parser_have_the_same_keys() {
    let mut known: Vec<String> = KNOWN.iter().map(|(key, _)| (*key).to_owned()).collect();
    known.sort();
    assert_eq!(keys_of_the_schema(), known);
    for (key, text) in KNOWN {
        assert!(reader_accepts(text), "{key}");
        assert_eq!(schema_accepts(text), Some(true), "{key}");
    }
}

#[test]
fn suggested_keys_are_in_the_schema() {
    // The help text for an unknown key lists all known keys.
    for (text, table) in [
        ("zzz = 1", ""),
        ("[[allow]]\npath = \"/a\"\nrights = \"read\"\nzzz = 1", "allow."),
        ("[[deny]]\npath = \"/a\"\nzzz = 1", "deny."),
        ("[[hide]]\npath = \"/a\"\nzzz = 1", "hide."),
        ("[quota]\nzzz = 1", "quota."),
        ("[audit]\nzzz = 1", "audit."),
    ] {
        let help = read(text).unwrap_err().faults[0].help.clone().unwrap();
        let offered: Vec<_> = help.split('`').skip(1).step_by(2).collect();
        for key in offered {
            let key = format!("{table}{key}");
            let is_hidden_rights = key == "hide.rights";
            assert!(is_hidden_rights || KNOWN.iter().any(|(known, _)| *known == key), "{key}");
        }
    }
}

#[test]
fn schema_lists_every_word_for_rights() {
    let schema = schema();
    let words: Vec<_> = palisade_policy::right_names().collect();
    let listed: Vec<_> = schema["$defs"]["right"]["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    assert_eq!(listed, words);
}

#[test]
fn schema_and_parser_accept_the_same_values() {
    let values = [
        "0",
        "1",
        "-1",
        "0x10",
        "\"read\"",
        "\"\"",
        "\"1\"",
        "\"5 MiB\"",
        "\"5 mib\"",
        "\"/a\"",
        "\"..\"",
        "\"../read\"",
        "true",
        "[]",
        "[[]]",
        "[{}]",
        "{}",
        "[1]",
        "[\"read\"]",
        "[\"read\", 1]",
    ];
    let mut accepted = 0;
    for (key, _) in KNOWN {
        for value in values {
            let text = match key.split_once('.') {
                None => format!("{key} = {value}"),
                Some(("allow", "path")) => {
                    format!("allow = [{{ rights = \"read\", path = {value} }}]")
                }
                Some(("allow", "rights")) => {
                    format!("allow = [{{ path = \"/a\", rights = {value} }}]")
                }
                Some(("deny", "rights")) => {
                    format!("deny = [{{ path = \"/a\", rights = {value} }}]")
                }
                Some((list @ ("deny" | "hide"), key)) => {
                    format!("{list} = [{{ {key} = {value} }}]")
                }
                Some((table, key)) => format!("{table} = {{ {key} = {value} }}"),
            };
            // Only the parser checks the names of sets and of files.
            let is_parser_only = match key.rsplit('.').next().unwrap() {
                "rights" => value.starts_with('"') && value != "\"read\"",
                "include" => value.starts_with('"') && !value.contains("read"),
                _ => false,
            };
            if is_parser_only {
                continue;
            }
            assert_eq!(schema_accepts(&text), Some(reader_accepts(&text)), "{text}");
            accepted += usize::from(reader_accepts(&text));
        }
    }
    assert!(accepted > KNOWN.len(), "{accepted}");
}

#[test]
fn schema_rejects_faults_that_do_not_depend_on_names() {
    // Only the parser checks globs, variables, sets and files.
    let parser_only =
        ["path = ", "[variables]\nHOME", "[rights]", "rights = \"raed\"", "none.toml", "${A}"];
    let mut refused = 0;
    for (text, _, message, _) in faults::FAULTS {
        let Some(accepted) = schema_accepts(text) else { continue };
        let is_parser_only = parser_only.iter().any(|it| text.contains(it));
        assert!(!accepted || is_parser_only, "{text}: {message}");
        refused += usize::from(!accepted);
    }
    assert!(refused >= 30, "{refused}");
}

#[test]
fn schema_accepts_the_examples() {
    for file in examples::FILES {
        assert_eq!(schema_accepts(&examples::text(file)), Some(true), "{file}");
    }
}
