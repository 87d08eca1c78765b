//! Tests of policy documents: parsing, includes, variables, sections and faults.

#![cfg(feature = "document")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and read the examples"
)]

#[path = "document/examples.rs"]
mod examples;
#[path = "document/faults.rs"]
mod faults;
#[path = "document/hostile.rs"]
mod hostile;
#[path = "document/reference.rs"]
mod reference;
#[path = "document/schema.rs"]
mod schema;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_policy::document::{
    AuditOnly, AuditSettings, AuditTo, Document, DocumentError, Loader, NoIncludes, Variables,
    WhenFull,
};
use palisade_policy::{Effect, Policy, Quota, Rule, names_of_rights};
use palisade_vfs::{Descent, Rights};
use proptest::prelude::*;

/// An in-memory loader of included files.
#[derive(Default)]
struct Files(BTreeMap<&'static str, String>);

impl Files {
    fn of<const N: usize>(files: [(&'static str, &str); N]) -> Self {
        Files(files.map(|(name, text)| (name, text.to_owned())).into())
    }
}

impl Loader for Files {
    fn load(&mut self, _from: &str, path: &str) -> Result<(String, String), String> {
        let text = self.0.get(path).ok_or("there is no such file")?;
        Ok((path.to_owned(), text.clone()))
    }
}

fn read(text: &str) -> Result<Document, DocumentError> {
    Document::parse("policy.toml", text, &Variables::new(), &mut NoIncludes)
}

/// Returns the rights that the policy grants on a path.
fn rights(policy: &Policy, path: &str) -> Rights {
    policy.rights(policy.at(path))
}

#[test]
fn rules_have_their_rights_and_source_lines() {
    let text = "version = 1\n[rights]\neditor = [\"read\", \"write\"]\n\n[[allow]]\n\
                path = \"/data/**\"\nrights = \"editor\"\n[[allow]]\npath = [\"/a\",\n \"/b\"]\n\
                rights = [\"stat\", \"list\"]\n[[deny]]\npath = \"/data/x\"\n\
                [[hide]]\npath = \"/data/h\"\n";
    let document = read(text).unwrap();
    let rules: Vec<_> = document
        .rules
        .iter()
        .map(|rule| {
            let effect = match rule.effect {
                Effect::Allow(rights) => format!("allow {}", names_of_rights(rights).join(" ")),
                Effect::Deny(rights) => format!("deny {}", names_of_rights(rights).join(" ")),
                Effect::Hide => "hide".to_owned(),
            };
            (rule.glob.as_str().to_owned(), effect, rule.place.clone().unwrap().to_string())
        })
        .collect();
    let expected = [
        ("/data/**", "allow read write", "policy.toml:6"),
        ("/a", "allow stat list", "policy.toml:9"),
        ("/b", "allow stat list", "policy.toml:10"),
        ("/data/x", "deny all", "policy.toml:13"),
        ("/data/h", "hide", "policy.toml:15"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(rules, expected);
}

#[test]
fn builder_and_document_compile_to_the_same_policy() {
    let written = read(
        "[[allow]]\npath = \"/data/**\"\nrights = [\"read\", \"create\"]\n[[deny]]\n\
         path = \"/data/*.key\"\nrights = \"read-bytes\"\n[[hide]]\npath = \"/**/.git\"",
    );
    let create = Rights::CREATE_FILE | Rights::CREATE_DIR | Rights::CREATE_SYMLINK;
    let built = Policy::builder()
        .allow("/data/**", Rights::READ_ONLY | create)
        .deny("/data/*.key", Rights::READ)
        .hide("/**/.git")
        .build()
        .unwrap();
    assert!(written.unwrap().to_policy().unwrap().compare(&built).is_same());
}

/// Generates rules with globs that need escapes in TOML.
fn some_rules() -> impl Strategy<Value = Vec<(&'static str, Effect)>> {
    let globs =
        ["/", "/**", "/a b/*.{c,d}", "/\"q\"/'x'", "/\\\\*/[!a-z]", "/é/**/\\-u", "/$x", "/#/="];
    let rights = (1..=Rights::all().bits()).prop_map(Rights::from_bits_truncate);
    let effect = prop_oneof![
        rights.clone().prop_map(Effect::Allow),
        rights.prop_map(Effect::Deny),
        Just(Effect::Hide),
    ];
    prop::collection::vec((prop::sample::select(globs.to_vec()), effect), 0..8)
}

/// Returns a document with these rules, in this order.
fn written(rules: &[(&'static str, Effect)]) -> String {
    let mut text = String::new();
    for (glob, effect) in rules {
        let (table, rights) = match effect {
            Effect::Allow(rights) => ("allow", *rights),
            Effect::Deny(rights) => ("deny", *rights),
            Effect::Hide => ("hide", Rights::empty()),
        };
        // Without control characters, Rust's debug format of a string is valid TOML.
        let _ = writeln!(text, "[[{table}]]\npath = {glob:?}");
        if !rights.is_empty() {
            let _ = writeln!(text, "rights = {:?}", names_of_rights(rights));
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn rules_of_the_builder_round_trip_through_a_document(rules in some_rules()) {
        let builder = rules.iter().fold(Policy::builder(), |builder, (glob, effect)| match effect {
            Effect::Allow(rights) => builder.allow(glob, *rights),
            Effect::Deny(rights) => builder.deny(glob, *rights),
            Effect::Hide => builder.hide(glob),
        });
        let built = builder.build().unwrap();
        let document = read(&written(&rules)).unwrap();
        let sorted = |rules: &[Rule]| {
            let lines = rules.iter().map(|rule| format!("{} {:?}", rule.glob, rule.effect));
            let mut lines: Vec<String> = lines.collect();
            lines.sort();
            lines
        };
        prop_assert_eq!(sorted(&document.rules), sorted(built.rules()));
        prop_assert!(document.to_policy().unwrap().compare(&built).is_same());
    }
}

#[test]
fn byte_order_mark_and_crlf_are_ignored() {
    let text = "[[allow]]\npath = \"/a\"\nrights = \"read\"\n[[deny]]\npath = \"/b\"\n";
    let plain = read(text).unwrap();
    assert_eq!(read(&text.replace('\n', "\r\n")).unwrap(), plain);
    assert_eq!(read(&format!("\u{feff}{text}")).unwrap(), plain);
}

#[test]
fn empty_document_grants_nothing() {
    let policy = read("").unwrap().to_policy().unwrap();
    assert_eq!(rights(&policy, "/"), Rights::empty());
    assert_eq!(rights(&policy, "/a/b"), Rights::empty());
}

#[test]
fn quota_and_audit_tables_are_parsed() {
    let text = "[quota]\nbytes = \"64 MiB\"\ninodes = 1_000\nfile-size = 10\ndir-entries = 5\n\
                descriptors = 6\nread-bytes = \"1 GB\"\nwrite-bytes = \"1 kB\"\n[audit]\n\
                to = \"a.jsonl\"\nonly = [\"denied\", \"writes\"]\nsample = 10\n\
                when-full = \"drop\"";
    let document = read(text).unwrap();
    let quota = Quota {
        bytes: Some(64 << 20),
        inodes: Some(1000),
        file_size: Some(10),
        dir_entries: Some(5),
        descriptors: Some(6),
        read_bytes: Some(1_000_000_000),
        write_bytes: Some(1000),
        ..Quota::default()
    };
    assert_eq!(document.quota, quota);
    let audit = AuditSettings {
        to: AuditTo::File("a.jsonl".to_owned()),
        only: vec![AuditOnly::Denied, AuditOnly::Writes],
        sample: 10,
        when_full: WhenFull::Drop,
    };
    assert_eq!(document.audit, Some(audit));
}

#[test]
fn numbers_are_parsed_in_every_toml_notation() {
    for (text, bytes) in [
        ("0x10", 16),
        ("0o17", 15),
        ("0b1_1", 3),
        ("1_000", 1000),
        ("+5", 5),
        ("9223372036854775807", i64::MAX as u64),
        ("\"18446744073709551615\"", u64::MAX),
    ] {
        let document = read(&format!("[quota]\nbytes = {text}")).unwrap();
        assert_eq!(document.quota.bytes, Some(bytes), "{text}");
    }
}

#[test]
fn sets_refer_to_sets_in_any_order() {
    let text = "[rights]\nall-but = [\"edit\", \"remove\"]\n\
                edit = [\"view\", \"write\", \"view\"]\n\
                view = \"read\"\n[[allow]]\npath = \"/a\"\nrights = \"all-but\"";
    let document = read(text).unwrap();
    let Effect::Allow(rights) = document.rules[0].effect else { panic!("{document:?}") };
    assert_eq!(names_of_rights(rights), ["read", "write", "remove"]);
}

#[test]
fn host_variables_override_document_variables() {
    let text = "[variables]\nA = \"/default\"\nB = \"/b*\"\n[[allow]]\n\
                path = [\"${A}/x\", \"${B}\"]\nrights = \"read\"";
    let given = Variables::from([("A".to_owned(), "/given".to_owned())]);
    let document = Document::parse("p", text, &given, &mut NoIncludes).unwrap();
    let names: Vec<_> = document.variables.iter().map(String::as_str).collect();
    assert_eq!(names, ["A", "B"]);
    let policy = document.to_policy().unwrap();
    assert_eq!(rights(&policy, "/given/x"), Rights::READ_ONLY);
    assert_eq!(rights(&policy, "/default/x"), Rights::empty());
    assert_eq!(rights(&policy, "/b*"), Rights::READ_ONLY, "a value is not a pattern");
    assert_eq!(rights(&policy, "/bc"), Rights::empty());
}

#[test]
fn includes_add_rules_and_the_smaller_quota_applies() {
    let mut files = Files::of([
        (
            "base.toml",
            "include = \"sets.toml\"\n[[deny]]\npath = \"/d/secret\"\n\
             [quota]\nbytes = 10\ninodes = 99",
        ),
        ("sets.toml", "[rights]\neditor = [\"read\", \"write\"]"),
    ]);
    let text = "include = [\"base.toml\", \"sets.toml\"]\n[[allow]]\npath = \"/d/**\"\n\
                rights = \"editor\"\n[quota]\nbytes = 20\ninodes = 7";
    let document = Document::parse("top.toml", text, &Variables::new(), &mut files).unwrap();
    let policy = document.to_policy().unwrap();
    assert!(rights(&policy, "/d/x").contains(Rights::READ_ONLY | Rights::WRITE));
    assert_eq!(rights(&policy, "/d/secret"), Rights::empty());
    assert_eq!((document.quota.bytes, document.quota.inodes), (Some(10), Some(7)));
    let lines: Vec<_> =
        document.rules.iter().map(|rule| rule.place.clone().unwrap().to_string()).collect();
    assert_eq!(lines, ["base.toml:3", "top.toml:3"]);
}

#[test]
fn parse_section_ignores_the_other_tables() {
    let text = "engine = \"wasmi\"\n[policy]\nversion = 1\n[[policy.allow]]\npath = \"/a\"\n\
                rights = \"read\"\n[limits]\nmemory = 1";
    let read = |key| {
        Document::parse_section("palisade.toml", text, key, &Variables::new(), &mut NoIncludes)
    };
    let document = read("policy").unwrap();
    assert_eq!(document.rules[0].place.clone().unwrap().line, 5);
    assert!(document.rules[0].glob.matches(Descent::new("a").unwrap()));
    assert_eq!(read("nothing").unwrap(), Document::default());
}

#[test]
fn document_over_the_size_limit_is_rejected() {
    let rule =
        |n: usize| format!("[[allow]]\npath = \"/srv/user{n}/data/**\"\nrights = \"read\"\n");
    let text: String = (0..20_000).map(rule).collect();
    let document = read(&text).unwrap();
    assert_eq!(document.rules.len(), 20_000);
    assert_eq!(document.rules[19_999].place.clone().unwrap().line, 19_999 * 3 + 2);
    let large = "#".repeat(Document::TEXT_MAX + 1);
    assert!(read(&large).unwrap_err().to_string().contains("larger than"));
}
