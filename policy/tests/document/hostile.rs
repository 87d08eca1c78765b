//! Texts that are made to take long: each ends soon, and what is told of it is short.

use std::time::{Duration, Instant};

use super::*;

/// Long for one test, short for a machine that does other things too: anything that is not in
/// proportion to these texts takes hours.
const SOON: Duration = Duration::from_secs(60);
/// What is told at most.
const TOLD_MAX: usize = 100_000;

#[track_caller]
fn ends_soon(text: &str) -> Result<Document, DocumentError> {
    let start = Instant::now();
    let read = read(text);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    if let Err(error) = &read {
        assert!(error.faults.len() <= 20);
        assert!(error.to_string().len() < TOLD_MAX, "{}", error.to_string().len());
    }
    read
}

#[test]
fn of_many_unknown_words_a_few_are_told() {
    let set = |n: usize| format!("set{n} = \"read\"\n");
    let sets: String = (0..200).map(set).collect();
    let words: String = (0..100_000).map(|n| format!("\"sett{n}\",")).collect();
    let error = ends_soon(&format!("[rights]\n{sets}more = [{words}]")).unwrap_err();
    assert!(error.has_more);
    let keys: String = (0..100_000).map(|n| format!("key{n} = 1\n")).collect();
    assert!(ends_soon(&keys).unwrap_err().has_more);
}

#[test]
fn more_sets_than_anyone_can_keep_in_mind_are_refused() {
    let set = |n: usize| format!("set{n} = \"set{}\"\n", n + 1);
    let most = Document::SETS_MAX;
    let sets: String = (0..most - 1).map(set).collect();
    let last = format!("set{} = \"read\"\n", most - 1);
    assert!(ends_soon(&format!("[rights]\n{sets}{last}")).is_ok());
    let error = ends_soon(&format!("[rights]\n{sets}{last}more = \"read\"")).unwrap_err();
    assert!(error.to_string().contains("more than 256 sets"), "{error}");
}

#[test]
fn long_words_are_told_cut() {
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
        let error = ends_soon(&text).unwrap_err();
        assert!(error.to_string().len() < 5000, "{}", error.to_string().len());
    }
}

#[test]
fn values_do_not_multiply() {
    let value = "x".repeat(1 << 20);
    let paths = "\"/${A}${A}${A}${A}\",".repeat(10_000);
    let text = format!("[variables]\nA = \"{value}\"\n[[deny]]\npath = [{paths}]");
    let error = ends_soon(&text).unwrap_err();
    assert!(error.to_string().contains("longer than 4096 bytes"), "{error}");
    let many = "${A}".repeat(1 << 18);
    let text = format!("[variables]\nA = \"{}\"\n[[deny]]\npath = \"/{many}\"", "x".repeat(4000));
    assert!(ends_soon(&text).is_err());
}

#[test]
fn nesting_without_end_is_a_fault() {
    let deep = 100_000;
    assert!(ends_soon(&format!("a = {}", "[".repeat(deep))).is_err());
    assert!(ends_soon(&format!("a = {}", "{a=".repeat(deep))).is_err());
    assert!(ends_soon(&format!("a{} = 1", ".a".repeat(deep))).is_err());
    assert!(ends_soon(&format!("[a{}]", ".a".repeat(deep))).is_err());
    assert!(ends_soon(&format!("[[deny]]\npath = \"/{}\"", "{".repeat(deep))).is_err());
}

#[test]
fn syntax_that_is_wrong_everywhere_is_told_a_few_times() {
    for line in ["=\n", "a = 1\na = 1\n", "[[\n", "a = [\n", "\"\n", "\u{e4}\n"] {
        assert!(ends_soon(&line.repeat(20_000)).unwrap_err().has_more, "{line}");
        assert_eq!(ends_soon(&line.repeat(200_000)).unwrap_err().faults.len(), 1, "{line}");
    }
}

#[test]
fn files_that_include_each_other_all_are_asked_for_a_bounded_number_of_times() {
    /// Every file includes every other.
    struct Everything(usize);
    impl Loader for Everything {
        fn load(&mut self, _from: &str, path: &str) -> Result<(String, String), String> {
            self.0 += 1;
            let names: String = (0..1000).map(|n| format!("\"{n}.toml\",")).collect();
            Ok((path.to_owned(), format!("include = [{names}]")))
        }
    }
    let mut files = Everything(0);
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
fn all_texts_together_are_bounded() {
    let half = format!("#{}", "x".repeat(Document::TEXT_MAX / 2));
    let mut files = Files::of([("a.toml", half.as_str()), ("b.toml", half.as_str())]);
    let mut read = |text| Document::parse("p", text, &Variables::new(), &mut files);
    assert!(read("include = \"a.toml\"").is_ok());
    let error = read("include = [\"a.toml\", \"b.toml\"]").unwrap_err();
    assert!(error.to_string().contains("b.toml:1:1: the document is larger than"), "{error}");
}
