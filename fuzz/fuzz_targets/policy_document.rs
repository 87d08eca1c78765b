//! Fuzzes policy documents with arbitrary texts that may include themselves.
//!
//! Parsing returns a document or faults with valid spans. The document compiles to a policy or an
//! error in bounded time. Parsing is deterministic, and values of variables stay literal text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_policy::document::{Document, Loader, Variables};

/// A loader that returns the document itself under a new name for each include.
struct Echo<'t>(&'t str, usize);

impl Loader for Echo<'_> {
    fn load(&mut self, _from: &str, path: &str) -> Result<(String, String), String> {
        assert!(path.split('/').all(|name| !matches!(name, "" | "." | "..")), "{path}");
        self.1 += 1;
        Ok((self.1.to_string(), self.0.to_owned()))
    }
}

fuzz_target!(|text: &str| {
    let variables = Variables::from([
        ("HOME".to_owned(), "/h*".to_owned()),
        ("A".to_owned(), "{[,!-]}\\".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ]);
    let mut files = Echo(text, 0);
    match Document::parse("fuzz", text, &variables, &mut files) {
        Ok(document) => {
            let again = Document::parse("fuzz", text, &variables, &mut Echo(text, 0));
            assert_eq!(Ok(&document), again.as_ref());
            drop(document.to_policy());
        }
        Err(error) => {
            assert!(!error.faults.is_empty() && error.faults.len() <= 20);
            for fault in &error.faults {
                assert!(fault.source.text.get(fault.span.clone()).is_some(), "{fault}");
            }
            assert!(error.to_string().len() < 1 << 18);
        }
    }
    assert!(files.1 <= 1000);
});
