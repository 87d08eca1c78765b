//! Audit logs: records of single operations, filters, and failing sinks.

use std::io::{self, Write};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use palisade_vfs::{Access, Errno, Follow, OpenFlags, OpenHow, Rights, path};

use super::{Watched, policy};
use crate::audit::{
    AuditOptions, Auditor, Callback, Decision, Event, EventFilter, Header, JsonLines, LogReader,
    Mode, OnFailure, Sink, Transfers, observe,
};
use crate::tests::op::{Op, TIMES, apply};
use crate::tests::seeded;
use crate::{Policy, names_of_rights};

/// Formats the records as readable lines.
fn readable(watched: &Watched) -> Vec<String> {
    let tell = |record: crate::audit::Record| {
        let to = record.to.map(|to| format!(" to {}", to.as_str())).unwrap_or_default();
        let result = record.result.map_or_else(palisade_vfs::Errno::name, |()| "ok".to_owned());
        let bytes = record.bytes.map(|bytes| format!(" {bytes}B")).unwrap_or_default();
        let missing = names_of_rights(record.missing).join(",");
        let rule = record.rule.map(|rule| format!(" by {rule}")).unwrap_or_default();
        let decision = record.decision.key(record.mode);
        let [op, path] = [record.action.key(), record.path.as_str()];
        format!("{op} {path}{to}: {decision}{rule} [{missing}] {result}{bytes}")
    };
    watched.take().into_iter().map(tell).collect()
}

#[test]
fn record_has_operation_decision_and_rule() {
    let watched = Watched::new(seeded(), policy(), Mode::Enforce);
    let open = |at: &str, how| drop(path::open(&*watched.dir, at, Follow::Yes, how));
    let _ = apply(&watched.dir, &Op::Open("a/f".into(), Follow::Yes, OpenHow::READ));
    open("a/d/g", OpenHow::new(Access::Write, OpenFlags::empty()));
    open("f", OpenHow::READ);
    open("l/f", OpenHow::READ);
    open("a/gone", OpenHow::READ);
    let held = |at| path::open(&*watched.dir, at, Follow::No, OpenHow::HOLD_DIR).unwrap();
    let [a, b] = ["a", "b"].map(|at| held(at).into_dir().unwrap());
    let _ = path::rename(&*b, "l", &*a, "n");
    let _ = path::rename(&*a, "f", &*a, "n");
    let _ = path::create_dir(&*watched.dir, "c");
    let _ = path::set_times(&*watched.dir, "b", Follow::No, TIMES);
    assert_eq!(
        readable(&watched),
        [
            "open-read /a/f: allow by 0 [] ok",
            "write /a/f: allow by 0 [] badf 0B",
            "write /a/f: allow by 0 [] badf 0B",
            "set-len /a/f: allow by 0 [] badf",
            "set-len /a/f: allow by 0 [] inval",
            "set-times /a/f: allow by 0 [] ok",
            "stat /a/f: allow by 0 [] ok",
            "read /a/f: allow by 0 [] ok 3B",
            "open-write /a/d/g: deny by 2 [write-bytes] acces",
            "open-read /f: hide by 3 [lookup,read-bytes] noent",
            "follow /l: allow [] ok",
            "open-read /a/f: allow by 0 [] ok",
            "open-read /a/gone: allow by 0 [] noent",
            "hold /a: allow by 0 [] ok",
            "hold /b: allow by 1 [] ok",
            "rename /b/l to /a/n: deny [write,create,remove,rename,link] xdev",
            "rename /a/f to /a/n: allow by 0 [] ok",
            "create-dir /c: deny [lookup,create-dir] acces",
            "set-times /b: deny [set-times] acces",
        ]
    );
    let dry = Watched::new(seeded(), policy(), Mode::DryRun);
    drop(path::open(&*dry.dir, "f", Follow::Yes, OpenHow::READ));
    let _ = path::create_dir(&*dry.dir, "c");
    assert_eq!(
        readable(&dry),
        [
            "open-read /f: would-hide by 3 [lookup,read-bytes] ok",
            "create-dir /c: would-deny [lookup,create-dir] ok",
        ]
    );
}

#[test]
fn ruling_cache_distinguishes_policies() {
    let rules = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&rules);
    let sink = Callback(move |event: &crate::audit::Event<'_>| {
        told.lock().unwrap().push(event.ruling.rule.map(|rule| rule.index()));
    });
    let auditor = Auditor::new(sink, AuditOptions::default());
    let all = |builder: crate::PolicyBuilder| builder.allow("/**", Rights::all()).build().unwrap();
    // Both policies have one state, with different rules.
    let one = all(Policy::builder());
    let other = all(Policy::builder().allow("/**", Rights::empty()));
    let dirs = [one, other]
        .map(|policy| observe(seeded(), policy.into(), "/", Mode::Enforce, Arc::clone(&auditor)));
    for dir in dirs.iter().cycle().take(5) {
        path::stat(&**dir, "a/f", Follow::No).unwrap();
        path::rename(&**dir, "a/f", &**dir, "a/g").unwrap();
        path::rename(&**dir, "a/g", &**dir, "a/f").unwrap();
    }
    let mut rules = rules.lock().unwrap().clone();
    rules.dedup();
    assert_eq!(rules, [0, 1, 0, 1, 0].map(Some));
}

#[test]
fn rename_record_marks_names_of_one_node() {
    let watched = Watched::new(seeded(), policy(), Mode::Enforce);
    let dir = &*watched.dir;
    path::link(dir, "a/f", dir, "a/hard").unwrap();
    path::rename(dir, "a/f", dir, "a/hard").unwrap();
    path::rename(dir, "a/f", dir, "a/f").unwrap();
    path::rename(dir, "a/f", dir, "a/n").unwrap();
    let records = watched.take();
    let renames = records.iter().filter(|record| record.action == crate::audit::Action::Rename);
    assert_eq!(renames.map(|record| record.same).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn filters_are_a_conjunction() {
    let run = |only: &[EventFilter], sample: u64| {
        let sample = NonZeroU64::new(sample).unwrap();
        let options = AuditOptions { only: only.to_vec(), sample, ..AuditOptions::default() };
        let watched = Watched::with(seeded(), policy(), Mode::Enforce, options);
        for at in ["f", "a/1", "b/f", "a/2", "a/3", "a/4"] {
            let create = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
            let _ = path::open(&*watched.dir, at, Follow::No, create);
            let _ = path::stat(&*watched.dir, at, Follow::No);
        }
        let summary = watched.auditor.finish().unwrap();
        (watched.take().iter().map(|record| record.seq).collect::<Vec<_>>(), summary)
    };
    let (all, summary) = run(&[], 1);
    assert_eq!(all, (0..12).collect::<Vec<_>>());
    assert_eq!((summary.decisions, summary.refused, summary.recorded), (12, 3, 12));
    assert_eq!(run(&[EventFilter::Denied], 1).0, [0, 1, 4]);
    assert_eq!(run(&[EventFilter::Writes], 1).0, [0, 2, 4, 6, 8, 10]);
    assert_eq!(run(&[EventFilter::Writes, EventFilter::Denied], 1).0, [0, 4]);
    assert_eq!(run(&[EventFilter::Writes], 4).0, [0, 8]);
    let (thirds, summary) = run(&[], 3);
    assert_eq!(thirds, [0, 3, 6, 9]);
    assert_eq!((summary.decisions, summary.refused, summary.recorded), (12, 3, 4));
}

#[test]
fn each_transfer_is_recorded_on_request() {
    let options = AuditOptions { transfers: Transfers::Each, ..AuditOptions::default() };
    let watched = Watched::with(seeded(), policy(), Mode::Enforce, options);
    let how = OpenHow::READ;
    let file = path::open(&*watched.dir, "a/f", Follow::No, how).unwrap().into_file().unwrap();
    for offset in [0, 2, 3] {
        let mut byte = [0; 2];
        file.read_at(&mut [io::IoSliceMut::new(&mut byte)], offset).unwrap();
    }
    drop(file);
    let bytes: Vec<_> = watched.take().into_iter().filter_map(|record| record.bytes).collect();
    assert_eq!(bytes, [2, 1, 0]);
}

/// A writer whose every write fails.
struct FullDisk;

impl Write for FullDisk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failed_sink_stops_operations_unless_events_may_be_lost() {
    for (may_drop, expected) in [(false, Err(Errno::Io)), (true, Ok(()))] {
        let options = AuditOptions { may_drop, ..AuditOptions::default() };
        let auditor = Auditor::new(JsonLines::new(FullDisk, &Header::default()), options);
        let dir = observe(seeded(), policy(), "/", Mode::Enforce, Arc::clone(&auditor));
        // The failure shows once the buffer is full.
        for _ in 0..2000 {
            let _ = path::stat(&*dir, "a/f", Follow::No);
        }
        assert_eq!(path::create_dir(&*dir, "a/n"), expected);
        assert_eq!(path::stat(&*dir, "a/n", Follow::No).is_ok(), expected.is_ok());
        assert!(auditor.finish().is_err());
    }
}

/// A sink that refuses each event and has nothing to flush.
struct RefusesEvents;

impl Sink for RefusesEvents {
    fn event(&mut self, _: &Event<'_>) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn finish_returns_an_earlier_error_once() {
    let options = AuditOptions { may_drop: true, ..AuditOptions::default() };
    let auditor = Auditor::new(RefusesEvents, options);
    let dir = observe(seeded(), policy(), "/", Mode::Enforce, Arc::clone(&auditor));
    path::stat(&*dir, "a/f", Follow::No).unwrap();
    assert_eq!(auditor.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(auditor.finish().unwrap().dropped, 1);
}

#[test]
fn on_failure_continue_performs_operations() {
    let options = AuditOptions { on_failure: OnFailure::Continue, ..AuditOptions::default() };
    let auditor = Auditor::new(JsonLines::new(FullDisk, &Header::default()), options);
    let dir = observe(seeded(), policy(), "/", Mode::Enforce, Arc::clone(&auditor));
    for _ in 0..2000 {
        path::stat(&*dir, "a/f", Follow::No).unwrap();
    }
    path::create_dir(&*dir, "a/n").unwrap();
    assert!(auditor.finish().is_err(), "the failure is told");
}

#[test]
fn header_describes_the_filters() {
    let header = |options: &AuditOptions| {
        let log = super::Shared::default();
        let options = Some(options);
        let mut lines = JsonLines::new(log.clone(), &Header { options, ..Header::default() });
        Sink::flush(&mut lines).unwrap();
        let text = log.text();
        let mut reader = LogReader::new(text.as_bytes());
        assert!(reader.next().is_none());
        reader.header().clone()
    };
    let all = header(&AuditOptions::default());
    assert_eq!((all.filter(), all.may_drop), (None, false));
    let some = header(&AuditOptions {
        only: vec![EventFilter::Denied, EventFilter::Writes],
        sample: NonZeroU64::new(10).unwrap(),
        may_drop: true,
        ..AuditOptions::default()
    });
    assert_eq!(some.filter().as_deref(), Some("only denied and writes, one of 10"));
    assert!(some.may_drop);
}

#[test]
fn callback_receives_events() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let seen = Arc::clone(&seen);
        Callback(move |event: &crate::audit::Event<'_>| {
            seen.lock().unwrap().push((event.path.to_owned(), event.ruling.decision));
        })
    };
    let auditor = Auditor::new(sink, AuditOptions::default());
    let a = path::open(&*seeded(), "a", Follow::No, OpenHow::HOLD_DIR).unwrap();
    let dir = observe(a.into_dir().unwrap(), policy(), "a", Mode::Enforce, auditor);
    let _ = path::stat(&*dir, "f", Follow::No);
    let held = path::open(&*dir, "d", Follow::No, OpenHow::HOLD_DIR).unwrap().into_dir().unwrap();
    let _ = path::stat(&*held, "g", Follow::No);
    let paths: Vec<_> = seen.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, ["/a/f", "/a/d", "/a/d/g"]);
    assert!(seen.lock().unwrap().iter().all(|(_, decision)| *decision == Decision::Allow));
}
