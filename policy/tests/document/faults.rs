//! What is said about what is wrong: where, what, and what to write.

use super::*;

/// A document, the text that its first fault points at, and words of the message and the help.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    ("version = 2", "2", "version", "version = 1"),
    ("version = \"1\"", "\"1\"", "version", "version = 1"),
    ("[[alow]]\npath = \"/\"", "alow", "has no `alow`", "did you mean `allow`"),
    ("[allow]\npath = \"/\"", "[allow]", "list of tables", "[[allow]]"),
    ("[[allow]]\npath = \"/a\"", "[[allow]]", "without `rights`", "rights = [\"read\"]"),
    ("[[allow]]\nrights = \"read\"", "[[allow]]", "without `path`", "path = "),
    ("[[allow]]\npath = \"/a\"\nrights = \"raed\"", "\"raed\"", "`raed`", "did you mean `read`"),
    ("[[allow]]\npath = \"/a\"\nrights = 7", "7", "`rights` is a text", "quotes"),
    ("[[allow]]\npath = \"/a\"\nrights = []", "[]", "empty", ""),
    ("[[hide]]\npath = \"/a\"\nrights = \"read\"", "\"read\"", "no `rights`", "leave it out"),
    ("[[deny]]\npath = \"a\"", "a", "`a`", "begin with `/`"),
    ("[[deny]]\npath = \"/x[z-a]\"", "z-a", "[z-a]", ""),
    ("[[deny]]\npath = \"/a/../b\"", "..", "..", ""),
    ("[[deny]]\npath = \"${HOME}/b\"", "\"${HOME}/b\"", "HOME", "--policy-var HOME="),
    ("[variables]\nHOME = \"/h\"\n[[deny]]\npath = \"/${HOEM}\"", "\"/${HOEM}\"", "HOEM", "`HOME`"),
    ("[[deny]]\npath = \"/${HOME\"", "\"/${HOME\"", "not closed", "${NAME}"),
    ("[rights]\nread = [\"stat\"]", "read", "means something", "own"),
    ("[quota]\nbytes = \"64 MB iB\"", "\"64 MB iB\"", "no amount", "64 MiB"),
    ("[quota]\nbytes = -1", "-1", "no amount", "64 MiB"),
    ("[quota]\nbites = 1", "bites", "has no `bites`", "did you mean `bytes`"),
    ("[audit]\nonly = [\"reads\"]", "\"reads\"", "`reads`", "denied"),
    ("[audit]\nsample = 0", "0", "sample", "sample = 10"),
    ("[audit]\nwhen-full = \"dorp\"", "\"dorp\"", "`dorp`", "did you mean `drop`"),
    ("include = \"../up.toml\"", "\"../up.toml\"", "does not go up", "beneath"),
    ("include = \"/etc/passwd\"", "\"/etc/passwd\"", "does not go up", "beneath"),
    ("include = \"none.toml\"", "\"none.toml\"", "cannot include", ""),
    ("[[allow]\npath = 1", "", "", ""),
    ("a = 1\na = 2", "a", "duplicate key", ""),
];

#[test]
fn every_fault_points_at_its_place_and_says_what_to_write() {
    for (text, place, message, help) in FAULTS {
        let error = read(text).unwrap_err();
        let fault = &error.faults[0];
        let at = fault.source.text.get(fault.span.clone()).unwrap();
        if !place.is_empty() {
            assert_eq!(at.trim_end(), *place, "{text}: {error}");
        }
        assert!(fault.message.contains(message), "{text}: {error}");
        assert!(fault.help.clone().unwrap_or_default().contains(help), "{text}: {error}");
    }
}

#[test]
fn all_faults_are_told_at_once_up_to_a_bound() {
    let error =
        read("[audit]\nsample = 0\n[[deny]]\npath = \"a\"\n[quota]\nbytes = -1").unwrap_err();
    assert_eq!(error.faults.len(), 3, "{error}");
    assert!(error.faults.is_sorted_by_key(|fault| fault.span.start), "{error}");
    assert!(!error.has_more);
    let many = "[[deny]]\npath = \"a\"\n".repeat(100);
    let error = read(&many).unwrap_err();
    assert_eq!(error.faults.len(), 20);
    assert!(error.has_more);
    assert!(error.to_string().contains("policy.toml:2:9: "), "{error}");
}

#[test]
fn documents_that_include_each_other_come_to_an_end() {
    let mut circle = Files::of([
        ("a.toml", "include = \"b.toml\"\n[[deny]]\npath = \"/a\""),
        ("b.toml", "include = \"a.toml\"\n[[deny]]\npath = \"/b\""),
    ]);
    let read = |text, files: &mut Files| Document::parse("a.toml", text, &Variables::new(), files);
    let document = read("include = \"b.toml\"", &mut circle).unwrap();
    assert_eq!(document.rules.len(), 1, "each file once");
    let deep: BTreeMap<&'static str, String> = (0..20)
        .map(|n| {
            let name: &'static str = format!("{n}.toml").leak();
            (name, format!("include = \"{}.toml\"", n + 1))
        })
        .collect();
    let error = read("include = \"0.toml\"", &mut Files(deep)).unwrap_err();
    assert!(error.to_string().contains("too many includes"), "{error}");
    let mut loud = Files::of([("b.toml", "[audit]\nto = \"x\"")]);
    let error = read("include = \"b.toml\"", &mut loud).unwrap_err();
    assert!(error.to_string().contains("cannot say `audit`"), "{error}");
}

#[test]
fn nesting_without_end_is_a_fault() {
    let text = format!("a = {}", "[".repeat(100_000));
    assert!(read(&text).is_err());
    let text = format!("[[deny]]\npath = \"/{}\"", "{".repeat(100_000));
    assert!(read(&text).is_err());
}
