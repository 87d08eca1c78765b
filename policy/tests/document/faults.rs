//! Faults of documents: their spans, messages and suggested corrections.

use super::*;

/// A document, the text at the span of its first fault, and words of the message and the help.
pub(super) const FAULTS: &[(&str, &str, &str, &str)] = &[
    ("version = 2\nnews = 1", "2", "version", "version = 1"),
    ("version = \"1\"", "\"1\"", "version", "version = 1"),
    ("version = 0x2", "0x2", "version", "version = 1"),
    ("[[alow]]\npath = \"/\"", "alow", "has no `alow`", "did you mean `allow`"),
    ("[allow]\npath = \"/\"", "[allow]", "array of tables", "[[allow]]"),
    ("allow = [\"/a\"]", "\"/a\"", "a rule must be a table, not a string", "[[allow]]\npath"),
    ("[[allow]]\npath = \"/a\"", "[[allow]]", "without `rights`", "rights = [\"read\"]"),
    ("[[allow]]\nrights = \"read\"", "[[allow]]", "without `path`", "path = "),
    ("[[hide]]", "[[hide]]", "without `path`", "[[hide]]\npath = "),
    ("[[allow]]\npath = \"/a\"\nrights = \"raed\"", "\"raed\"", "`raed`", "did you mean `read`"),
    ("[[allow]]\npath = \"/a\"\nrights = 7", "7", "`rights` must be a string", "quotes"),
    ("[[allow]]\npath = \"/a\"\nrights = []", "[]", "empty", ""),
    ("[[deny]]\npath = \"/a\"\nright = \"read\"", "right", "has no `right`", "mean `rights`"),
    ("[[hide]]\npath = \"/a\"\nrights = \"read\"", "\"read\"", "no `rights`", "remove it"),
    ("[[deny]]\npath = \"a\"", "a", "`a`", "begin with `/`"),
    ("[[deny]]\npath = \"\"", "\"\"", "does not begin", "begin with `/`"),
    ("[[deny]]\npath = \"/ä/x[z-a]\"", "z-a", "`/ä/x[z-a]`", "lower character first"),
    ("[[deny]]\npath = \"/\\u0061//b\"", "\"/\\u0061//b\"", "`/a//b`", "single `/`"),
    ("[[deny]]\npath = \"/a/../b\"", "..", "..", ""),
    ("[[deny]]\npath = \"${HOME}/b\"", "${HOME}", "HOME", "--policy-var HOME="),
    ("[variables]\nHOME = \"/h\"\n[[deny]]\npath = \"/${HOEM}\"", "${HOEM}", "HOEM", "${HOME}"),
    (
        "[variables]\nUP = \"..\"\n[[deny]]\npath = \"/a/${UP}\"",
        "${UP}",
        "`${UP}`: its value makes a name",
        "resolved path",
    ),
    ("[variables]\n\"A B\" = \"x\"", "\"A B\"", "variable name", "letters"),
    ("[variables]\nA = 5", "5", "must be a string", "quotes"),
    ("[[deny]]\npath = \"/${HOME\"", "${", "unclosed", "${NAME}"),
    ("[[deny]]\npath = '/\\${HOME}'", "\\${", "ambiguous", "$\\{"),
    ("[[deny]]\npath = \"/[${HOME}]\"", "${HOME}", "class", "text"),
    ("[variables]\nA = \"a\"\n[[deny]]\npath = \"/[a/${A}\"", "[", "unclosed", "`]`"),
    ("[variables]\nA = \"\"\n[[deny]]\npath = \"${A}/b\"", "${A}", "`${A}`", "begin the path"),
    ("include = \"${A}.toml\"", "\"${A}.toml\"", "variables", "literally"),
    ("[audit]\nto = \"${A}\"", "\"${A}\"", "variables", "literally"),
    ("[[deny]]\npath = \"/a/@(b|c)\"", "@(", "extended glob", "{a,b}"),
    ("[[deny]]\npath = \"/${}\"", "${}", "variable name", "letters"),
    ("[rights]\nread = [\"stat\"]", "read", "built in", "another name"),
    ("[rights]\na = [\"b\"]\nb = \"a\"", "a", "`a` includes itself", "`read`"),
    ("[rights]\na = \"a\"", "a", "`a` includes itself", "`read`"),
    ("[rights]\nview = \"raed\"", "\"raed\"", "unknown right `raed`", "mean `read`"),
    ("[rights]\nview = \"read\"\nedit = \"veiw\"", "\"veiw\"", "`veiw`", "mean `view`"),
    ("[quota]\nbytes = \"64 MB iB\"", "\"64 MB iB\"", "must be a size", "`TiB`"),
    ("[quota]\nbytes = -1", "-1", "must be a size", "64 MiB"),
    ("[quota]\nbytes = 1.5", "1.5", "must be a size", "64 MiB"),
    ("[quota]\ninodes = \"5 MiB\"", "\"5 MiB\"", "must be a count", "inodes = 1_000"),
    ("[quota]\nbites = 1", "bites", "has no `bites`", "did you mean `bytes`"),
    ("quota = 5", "5", "`quota` must be a table, not a number", "[quota]\nbytes"),
    ("[audit]\nonly = [\"reads\"]", "\"reads\"", "`reads`", "denied"),
    ("[audit]\nsample = 0", "0", "sample", "sample = 10"),
    ("[audit]\nto = \"\"", "\"\"", "empty", "stderr"),
    ("[audit]\nwhen-full = \"dorp\"", "\"dorp\"", "`dorp`", "did you mean `drop`"),
    ("include = \"../up.toml\"", "\"../up.toml\"", "without `..`", "subdirectory"),
    ("include = \"/etc/passwd\"", "\"/etc/passwd\"", "without `..`", "subdirectory"),
    ("include = \"a//b.toml\"", "\"a//b.toml\"", "without `..`", "subdirectory"),
    ("include = \"none.toml\"", "\"none.toml\"", "cannot include", ""),
    ("[[allow]\npath = 1", "", "", ""),
    ("a = 1\na = 2", "a", "duplicate key", ""),
];

#[test]
fn each_fault_has_its_span_and_a_suggested_correction() {
    for (text, marked, message, help) in FAULTS {
        let error = read(text).unwrap_err();
        let fault = &error.faults[0];
        let at = fault.source.text.get(fault.span.clone()).unwrap();
        if !marked.is_empty() {
            assert_eq!(at.trim_end(), *marked, "{text}: {error}");
        }
        assert!(fault.message.contains(message), "{text}: {error}");
        assert!(fault.help.clone().unwrap_or_default().contains(help), "{text}: {error}");
    }
}

#[test]
fn all_faults_are_reported_at_once_up_to_a_limit() {
    let error =
        read("[quota]\nbytes = -1\n[audit]\nsample = 0\n[[deny]]\npath = \"a\"").unwrap_err();
    let lines = error.faults.iter().map(|fault| fault.source.line(fault.span.start));
    assert_eq!(lines.collect::<Vec<_>>(), [2, 4, 6], "in the order of the text: {error}");
    assert!(!error.has_more);
    let twenty = "[[deny]]\npath = \"a\"\n".repeat(20);
    assert!(!read(&twenty).unwrap_err().has_more);
    let many = "[[deny]]\npath = \"a\"\n".repeat(100);
    let error = read(&many).unwrap_err();
    assert_eq!(error.faults.len(), 20);
    assert!(error.has_more);
    assert!(error.to_string().contains("policy.toml:2:9: "), "{error}");
}

#[test]
fn cyclic_includes_terminate() {
    let mut circle = Files::of([
        ("a.toml", "include = \"./b.toml\"\n[[deny]]\npath = \"/a\""),
        ("b.toml", "include = \"a.toml\"\n[[deny]]\npath = \"/b\""),
    ]);
    let document = top("include = [\"b.toml\", \"./b.toml\"]", &mut circle).unwrap();
    assert_eq!(document.rules.len(), 2, "each file once");
    let deep: BTreeMap<&'static str, String> = (0..20)
        .map(|n| {
            let name: &'static str = format!("{n}.toml").leak();
            (name, format!("include = \"{}.toml\"", n + 1))
        })
        .collect();
    let error = top("include = \"0.toml\"", &mut Files(deep)).unwrap_err();
    assert!(error.to_string().contains("too many includes"), "{error}");
}

fn top(text: &str, files: &mut Files) -> Result<Document, DocumentError> {
    Document::parse("top.toml", text, &Variables::new(), files)
}

#[test]
fn faults_of_several_files_name_their_files() {
    let mut files = Files::of([("b.toml", "[audit]\nto = \"x\""), ("c.toml", "x = [")]);
    let text = "include = [\"b.toml\", \"c.toml\"]\n[[deny]]\npath = \"a\"";
    let error = top(text, &mut files).unwrap_err().to_string();
    for (location, message) in [
        ("top.toml:3:9: ", "begin with `/`"),
        ("b.toml:1:1: ", "an included document cannot contain `audit`"),
        ("c.toml:1:", ""),
    ] {
        let line = error.find(location).unwrap_or_else(|| panic!("{location}: {error}"));
        assert!(error[line..].contains(message), "{error}");
    }
}

#[test]
fn set_of_an_included_file_cannot_be_redefined() {
    let mut files = Files::of([("b.toml", "\n[rights]\nedit = \"write\"")]);
    let text = "include = \"b.toml\"\n[rights]\nedit = \"all\"";
    let error = top(text, &mut files).unwrap_err();
    assert!(error.to_string().contains("top.toml:3:1: `edit` is already defined"), "{error}");
    assert!(error.to_string().contains("first definition is at b.toml:3"), "{error}");
}
