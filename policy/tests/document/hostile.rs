//! Adversarial documents: parsing ends in bounded time with a bounded error text.

use std::time::{Duration, Instant};

use super::*;

/// The time limit of one text, with room for a loaded machine: work that is not proportional to
/// the text would take hours.
const TIME_MAX: Duration = Duration::from_secs(60);
/// The maximum length of an error text.
const ERROR_LEN_MAX: usize = 100_000;

#[track_caller]
fn read_in_time(text: &str) -> Result<Document, DocumentError> {
    let start = Instant::now();
    let read = read(text);
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
    if let Err(error) = &read {
        assert!(error.faults.len() <= 20);
        assert!(error.to_string().len() < ERROR_LEN_MAX, "{}", error.to_string().len());
    }
    read
}

#[test]
fn unknown_words_are_reported_up_to_a_limit() {
    let set = |n: usize| format!("set{n} = \"read\"\n");
    let sets: String = (0..200).map(set).collect();
    let words: String = (0..100_000).map(|n| format!("\"sett{n}\",")).collect();
    let error = read_in_time(&format!("[rights]\n{sets}more = [{words}]")).unwrap_err();
    assert!(error.has_more);
    let keys: String = (0..100_000).map(|n| format!("key{n} = 1\n")).collect();
    assert!(read_in_time(&keys).unwrap_err().has_more);
}

#[test]
fn sets_over_the_limit_are_rejected() {
    let set = |n: usize| format!("set{n} = \"set{}\"\n", n + 1);
    let most = Document::SETS_MAX;
    let sets: String = (0..most - 1).map(set).collect();
    let last = format!("set{} = \"read\"\n", most - 1);
    assert!(read_in_time(&format!("[rights]\n{sets}{last}")).is_ok());
    let error = read_in_time(&format!("[rights]\n{sets}{last}more = \"read\"")).unwrap_err();
    assert!(error.to_string().contains("more than 256 sets"), "{error}");
}

#[test]
fn long_words_are_truncated_in_messages() {
    let long = "x".repeat(1 << 20);
    for text in [
        format!("{long} = 1"),
        format!("[quota]\n{long} = 1"),
        format!("[[allow]]\npath = \"/a\"\nrights = \"{long}\""),
        format!("[[deny]]\npath = \"{long}\""),
        format!("[[deny]]\npath = \"/${{{long}}}\""),
        format!("include = \"{long}\""),
        format!("[audit]\nonly = \"{long}\""),
        format!("[rights]\n{long}a = \"{long}b\""),
        format!("[rights]\n{long}a = \"{long}a\""),
        format!("[rights]\n{long} = \"read\"\n[[deny]]\npath = \"/\"\nrights = \"{long}a\""),
        format!("[variables]\n\"{long} {long}\" = \"\""),
    ] {
        let error = read_in_time(&text).unwrap_err();
        assert!(error.to_string().len() < 5000, "{}", error.to_string().len());
    }
}

#[test]
fn repeated_variables_expand_to_a_bounded_length() {
    let value = "x".repeat(1 << 20);
    let paths = "\"/${A}${A}${A}${A}\",".repeat(10_000);
    let text = format!("[variables]\nA = \"{value}\"\n[[deny]]\npath = [{paths}]");
    let error = read_in_time(&text).unwrap_err();
    assert!(error.to_string().contains("longer than 4096 bytes"), "{error}");
    let many = "${A}".repeat(1 << 18);
    let text = format!("[variables]\nA = \"{}\"\n[[deny]]\npath = \"/{many}\"", "x".repeat(4000));
    assert!(read_in_time(&text).is_err());
}

#[test]
fn deep_nesting_is_a_fault() {
    let deep = 100_000;
    assert!(read_in_time(&format!("a = {}", "[".repeat(deep))).is_err());
    assert!(read_in_time(&format!("a = {}", "{a=".repeat(deep))).is_err());
    assert!(read_in_time(&format!("a{} = 1", ".a".repeat(deep))).is_err());
    assert!(read_in_time(&format!("[a{}]", ".a".repeat(deep))).is_err());
    assert!(read_in_time(&format!("[[deny]]\npath = \"/{}\"", "{".repeat(deep))).is_err());
}

#[test]
fn syntax_errors_are_reported_up_to_a_limit() {
    for line in ["=\n", "a = 1\na = 1\n", "[[\n", "a = [\n", "\"\n", "\u{e4}\n"] {
        assert!(read_in_time(&line.repeat(20_000)).unwrap_err().has_more, "{line}");
        assert_eq!(read_in_time(&line.repeat(200_000)).unwrap_err().faults.len(), 1, "{line}");
    }
}

#[test]
fn loader_calls_are_bounded_for_cyclic_includes() {
    /// A loader whose files all include each other; counts its calls.
    struct CyclicFiles(usize);
    impl Loader for CyclicFiles {
        fn load(&mut self, _from: &str, path: &str) -> Result<(String, String), String> {
            self.0 += 1;
            let names: String = (0..1000).map(|n| format!("\"{n}.toml\",")).collect();
            Ok((path.to_owned(), format!("include = [{names}]")))
        }
    }
    let mut files = CyclicFiles(0);
    let read = Document::parse("p", "include = \"0.toml\"", &Variables::new(), &mut files);
    assert!(read.unwrap_err().to_string().contains("too many includes"));
    assert!(files.0 < 1000, "{}", files.0);
    let mut same = Files::of([("a.toml", "")]);
    let again = |times| format!("include = [{}]", "\"a.toml\",".repeat(times));
    let mut read = |times| Document::parse("p", &again(times), &Variables::new(), &mut same);
    assert!(read(100).is_ok());
    assert!(read(1000).unwrap_err().to_string().contains("too many includes"));
}

#[test]
fn total_size_of_all_texts_is_bounded() {
    let half = format!("#{}", "x".repeat(Document::TEXT_MAX / 2));
    let mut files = Files::of([("a.toml", half.as_str()), ("b.toml", half.as_str())]);
    let mut read = |text| Document::parse("p", text, &Variables::new(), &mut files);
    assert!(read("include = \"a.toml\"").is_ok());
    let error = read("include = [\"a.toml\", \"b.toml\"]").unwrap_err();
    assert!(error.to_string().contains("b.toml:1:1: the document is larger than"), "{error}");
}
