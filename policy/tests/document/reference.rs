//! The reference for people says what the reader reads.

use super::*;

fn reference() -> String {
    std::fs::read_to_string(format!("{}/../docs/policy.md", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn every_example_of_the_reference_is_a_document() {
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
fn every_key_and_every_word_is_in_the_reference() {
    let text = reference();
    for (key, _) in schema::KNOWN {
        let word = key.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("`{word}`")) || text.contains(&format!("`….{word}`")),
            "{key}"
        );
    }
    for word in palisade_policy::right_words() {
        assert!(text.contains(&format!("`{word}`")), "{word}");
    }
}
