//! JSON lines: events round-trip, and a truncated line loses no other line.

use std::sync::{Arc, Mutex};

use palisade_vfs::{Errno, Follow, Rights, path};
use proptest::prelude::*;
use proptest::string::string_regex;

use crate::audit::{
    Action, AuditOptions, Auditor, Decision, Event, Header, JsonLines, LogReader, Mode, Ruling,
    SecondPath, Sink, observe,
};
use crate::tests::seeded;
use crate::{Operation, RuleId, SourceLine};

fn some_path() -> impl Strategy<Value = (String, usize)> {
    let hostile = "[\"\\\\<>/&'a-z\u{0001}\u{001f}\u{007f}\u{2028}\u{2029}é\n\t]{1,8}";
    let name = string_regex(hostile).unwrap().prop_map(|name| name.replace('/', "_"));
    let name = name.prop_filter("a name", |name| name != "." && name != "..");
    (prop::collection::vec(name, 0..4), 0..4usize).prop_map(|(names, held)| {
        let held = held.min(names.len());
        (format!("/{}", names.join("/")), held)
    })
}

fn some_act() -> impl Strategy<Value = Action> {
    let mut acts: Vec<_> = Operation::NAMED.iter().map(|(_, it)| Action::One(*it)).collect();
    acts.extend([Action::Follow, Action::Rename, Action::Link]);
    prop::sample::select(acts)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn events_round_trip_through_json_lines(
        (path, to, action) in (some_path(), some_path(), some_act()),
        (seq, nanos, bits, missing) in (any::<u64>(), any::<u64>(), 0..1u32 << 17, 0..1u32 << 17),
        (decision, mode) in (
            prop::sample::select(vec![Decision::Allow, Decision::Deny, Decision::Hide]),
            prop::sample::select(vec![Mode::Enforce, Mode::DryRun]),
        ),
        (rule, line, bytes) in (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u64>>()),
        result in prop::sample::select(Errno::ALL.to_vec()),
        (widens, same, is_dir) in (any::<bool>(), any::<bool>(), any::<bool>()),
        (guest, file) in (any::<String>(), ".{0,9}"),
    ) {
        let place = line.map(|line| SourceLine { file: Some(Arc::from(&*file)), line });
        let ruling = Arc::new(Ruling {
            action, wanted: Rights::from_bits_truncate(bits), decision, mode,
            missing: Rights::from_bits_truncate(missing), widens, rule: rule.map(RuleId::new),
            place, result: if same { Ok(()) } else { Err(result) }, same, is_dir,
        });
        let event = Event {
            seq, nanos, guest: &guest, path: &path.0, held: path.1, ruling: &ruling, bytes,
            to: action.has_two_names().then_some(SecondPath { path: &to.0, held: to.1 }),
        };
        let out = super::Shared::default();
        let mut lines = JsonLines::new(out.clone(), &Header { guest: &guest, ..Header::default() });
        lines.event(&event).unwrap();
        lines.flush().unwrap();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        prop_assert_eq!(text.lines().count(), 2, "{}", text);
        let ends_a_script = text.contains(['<', '\u{2028}', '\u{2029}', '\u{1}']);
        prop_assert!(!ends_a_script);
        let mut reader = LogReader::new(text.as_bytes());
        let read = reader.next().unwrap().unwrap();
        prop_assert!(reader.next().is_none());
        prop_assert_eq!(&reader.header().guest, &guest);
        prop_assert_eq!((read.seq, read.nanos, &read.guest), (seq, nanos, &guest));
        prop_assert_eq!(read.path.as_str(), &path.0);
        let held = read.path.held().split('/').filter(|name| !name.is_empty()).count();
        prop_assert_eq!(held, path.1);
        let names = path.0.split('/').filter(|name| !name.is_empty()).count();
        prop_assert_eq!(held + read.path.rest().depth(), names);
        let second = event.to.map(|to| to.path.to_owned());
        prop_assert_eq!(read.to.map(|to| to.as_str().to_owned()), second);
        prop_assert_eq!(read.action.key(), action.key());
        prop_assert_eq!((read.wanted, read.missing), (ruling.wanted, ruling.missing));
        prop_assert_eq!((read.decision, read.mode), (decision, mode));
        prop_assert_eq!((read.widens, read.same, read.is_dir), (widens, same, is_dir));
        prop_assert_eq!(read.bytes, bytes);
        prop_assert_eq!((read.rule, read.line), (rule, line));
        prop_assert_eq!(read.file, line.map(|_| file));
        prop_assert_eq!(read.result, ruling.result);
    }

    #[test]
    fn reader_accepts_any_text_or_reports_the_line(text in any::<Vec<u8>>()) {
        for record in LogReader::new(&*text) {
            if let Err(error) = record {
                prop_assert!(error.line >= 1);
            }
        }
    }
}

/// A log of the run `run` with events at these paths.
fn log_of(run: &str, paths: &[&str]) -> String {
    let header = Header { run, guest: "g", ..Header::default() };
    let log = super::Shared::default();
    let auditor = Auditor::new(JsonLines::new(log.clone(), &header), AuditOptions::default());
    let dir = observe(seeded(), super::policy(), "/", Mode::Enforce, Arc::clone(&auditor));
    for at in paths {
        let _ = path::stat(&*dir, at, Follow::No);
    }
    auditor.finish().unwrap();
    log.text()
}

/// The runs, paths and headers of a log, and how many lines were cut.
fn read(text: &str) -> (Vec<(String, String)>, Vec<String>, u64) {
    let mut reader = LogReader::new(text.as_bytes());
    let records: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    let records = records.into_iter().map(|it| (it.run, it.path.as_str().to_owned())).collect();
    let headers = reader.headers().iter().map(|it| it.run.clone()).collect();
    (records, headers, reader.cut())
}

#[test]
fn interleaved_runs_are_separated_by_their_identifier() {
    let [one, other] = [log_of("one", &["a/f", "a/d"]), log_of("other", &["b/f", "f"])];
    let mixed: String =
        one.lines().zip(other.lines()).map(|(a, b)| format!("{a}\n{b}\n")).collect();
    let (records, headers, cut) = read(&mixed);
    let wanted = [("one", "/a/f"), ("other", "/b/f"), ("one", "/a/d"), ("other", "/f")];
    assert_eq!(records, wanted.map(|(run, path)| (run.to_owned(), path.to_owned())));
    assert_eq!((headers, cut), (vec!["one".to_owned(), "other".to_owned()], 0));
}

#[test]
fn truncated_line_loses_no_other_line() {
    let [one, other] = [log_of("one", &["a/f", "a/d"]), log_of("other", &["b/f"])];
    let whole = read(&format!("{one}{other}")).0;
    let last = one.trim_end().rfind('\n').unwrap() + 1;
    for end in last..one.len() {
        let killed = &one[..end];
        // A header follows on a new line, or on the same line, or the log ends.
        for behind in [format!("\n{other}"), other.clone(), String::new()] {
            let (records, headers, cut) = read(&format!("{killed}{behind}"));
            let is_whole = end + 1 == one.len();
            assert_eq!(cut, u64::from(!is_whole && end > last), "{killed}{behind}");
            assert_eq!(headers.len(), if behind.is_empty() { 1 } else { 2 });
            let expected = whole.iter().filter(|it| !behind.is_empty() || it.0 == "one");
            let expected: Vec<_> = expected.filter(|it| is_whole || it.1 != "/a/d").collect();
            assert_eq!(records.iter().collect::<Vec<_>>(), expected, "{killed}{behind}");
        }
    }
}

#[test]
fn log_errors_have_their_line() {
    let event = |path: &str, more: &str| {
        format!(
            "{{\"v\":1,\"seq\":0,\"op\":\"stat\",\"path\":\"{path}\",\"wanted\":[\"stat\"],\
             \"decision\":\"allow\",\"result\":\"ok\"{more}}}\n"
        )
    };
    let good = event("/a", "");
    for (text, line, part) in [
        ("}".to_owned(), 1, "not an audit record"),
        (format!("{good}\n[]\n"), 3, "not an audit record"),
        (format!("{good}{{\"v\":2}}\n"), 2, "version 2"),
        (format!("{good}{}", event("a", "")), 2, "`path`"),
        (event("/a/../b", ""), 1, "`path`"),
        (event("/a", ",\"held\":2"), 1, "`path`"),
        (event("/a", ",\"to\":\"/b\""), 1, "`to`"),
        (event("/a", ",\"missing\":[\"fly\"]"), 1, "`missing`"),
        (good.replace("stat\",\"path", "fly\",\"path"), 1, "`op`"),
        (good.replace("allow", "perhaps"), 1, "`decision`"),
        (good.replace("\"ok\"", "\"oh\""), 1, "`result`"),
        (format!("{good}{}", "x".repeat(LogReader::<&[u8]>::LINE_MAX + 1)), 2, "longer than"),
        ("{\"v\":1,\"palisade\":\"\"}\n".repeat((1 << 16) + 1), (1 << 16) + 1, "too many runs"),
    ] {
        let error = LogReader::new(text.as_bytes()).find_map(Result::err).expect("an error");
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(LogReader::new(&*Mutex::new(good).into_inner().unwrap().into_bytes()).count(), 1);
}
