//! Checks that `docs/policy.md` agrees with the parser.

use super::*;

fn reference() -> String {
    std::fs::read_to_string(format!("{}/../docs/policy.md", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn examples_of_the_reference_parse() {
    let text = reference();
    let examples: Vec<_> = text.split("```toml\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let (example, _) = example.split_once("```").unwrap();
        let mut files = Files::of([("base.toml", "")]);
        let read = Document::parse("p", example, &Variables::new(), &mut files);
        let document = read.unwrap_or_else(|error| panic!("{example}\n{error}"));
        assert!(document.to_policy().is_ok(), "{example}");
    }
}

#[test]
fn reference_documents_each_key_and_word() {
    let text = reference();
    for (key, _) in schema::KNOWN {
        let word = key.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("`{word}`")) || text.contains(&format!("`….{word}`")),
            "{key}"
        );
    }
    for word in palisade_policy::right_names() {
        assert!(text.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn reference_states_the_limits() {
    let text = reference();
    let bounds = [
        format!("{} MiB", Document::TEXT_MAX >> 20),
        format!("{} files", Document::FILES_MAX),
        format!("{} levels of includes", Document::DEPTH_MAX),
        format!("{} sets", Document::SETS_MAX),
    ];
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    for bound in bounds {
        assert!(text.contains(&bound), "{bound}");
    }
    assert_eq!(palisade_policy::PolicyBuilder::RULES_MAX, 1_048_576);
}
