//! Fuzzes the audit log reader with arbitrary bytes.
//!
//! Reading returns records or an error with the line. Records can be replayed, learned from and
//! rendered as a report.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_policy::Policy;
use palisade_policy::audit::{LearnOptions, Learner, LogReader, Report, replay};
use palisade_vfs::Rights;

fuzz_target!(|bytes: &[u8]| {
    let builder = Policy::builder().allow("/a/**", Rights::all()).hide("/**/h");
    let policy = builder.build().expect("three rules");
    let (mut report, mut learner) = (Report::default(), Learner::default());
    let mut log = LogReader::new(bytes);
    for record in &mut log {
        match record {
            Ok(record) => {
                let _ = replay(&policy, &record);
                report.add(&record);
                learner.add(&record);
            }
            Err(error) => {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
                assert!((1..=lines).contains(&error.line), "{error}");
            }
        }
    }
    let page = report.to_html(log.headers());
    assert_eq!(page.matches("</script").count(), 2);
    let learned = learner.learn(&LearnOptions::default()).expect("rules without patterns");
    assert!(learned.to_policy().is_ok());
});
