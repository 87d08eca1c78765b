//! Write-behind logs, and concurrent guests.

use std::io::{self, IoSliceMut, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use palisade_vfs::{Access, Errno, Follow, OpenFlags, OpenHow, path};

use super::{Shared, policy};
use crate::audit::{
    AuditOptions, Auditor, Callback, Event, Header, JsonLines, LogReader, Mode, Sink, observe,
};
use crate::tests::seeded;

/// A writer that blocks until the test releases it.
struct Slow(Receiver<()>, Shared);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn write_behind_queue_is_bounded_and_drops_are_counted() {
    let (go, wait) = channel();
    let log = Shared::default();
    let lines = JsonLines::new(Slow(wait, log.clone()), &Header::default());
    let options = AuditOptions { may_drop: true, ..AuditOptions::default() };
    let auditor = Auditor::write_behind(lines, NonZeroUsize::new(2).unwrap(), options).unwrap();
    let dir = observe(seeded(), policy(), "/", Mode::Enforce, Arc::clone(&auditor));
    for _ in 0..100_000 {
        path::stat(&*dir, "a/f", Follow::No).unwrap();
    }
    drop(go);
    let summary = auditor.finish().unwrap();
    let text = log.text();
    let records = LogReader::new(text.as_bytes()).map(Result::unwrap).count() as u64;
    assert!(summary.dropped > 0 && records > 0, "{summary:?}");
    assert_eq!((summary.decisions, records + summary.dropped), (100_000, 100_000));
}

#[test]
fn write_behind_log_grows_during_the_run() {
    let log = Shared::default();
    let lines = JsonLines::new(log.clone(), &Header::default());
    let options = AuditOptions::default();
    let auditor = Auditor::write_behind(lines, NonZeroUsize::MIN, options).unwrap();
    let dir = observe(seeded(), policy(), "/", Mode::Enforce, auditor);
    let shows = || log.text().contains("/a/f");
    let mut tries = 0..10_000;
    assert!(tries.any(|_| {
        path::stat(&*dir, "a/f", Follow::No).unwrap();
        thread::sleep(Duration::from_millis(1));
        shows()
    }));
}

#[test]
fn last_event_is_written_within_a_second() {
    let log = Shared::default();
    let lines = JsonLines::new(log.clone(), &Header::default());
    let options = AuditOptions::default();
    let auditor = Auditor::write_behind(lines, NonZeroUsize::MIN, options).unwrap();
    let dir = observe(seeded(), policy(), "/", Mode::Enforce, auditor);
    for at in ["a/f", "a/d/g"] {
        path::stat(&*dir, at, Follow::No).unwrap();
        let recorded = Instant::now();
        while !log.text().contains(&format!("\"/{at}\"")) {
            // The documented bound is a second; the rest is a margin for a busy machine.
            assert!(recorded.elapsed() < Duration::from_secs(10), "{}", log.text());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn dropping_the_auditor_during_a_take_loses_no_event() {
    let drop_after = |micros: u64| {
        let log = Shared::default();
        let lines = JsonLines::new(log.clone(), &Header::default());
        let options = AuditOptions::default();
        let auditor = Auditor::write_behind(lines, NonZeroUsize::MIN, options).unwrap();
        let dir = observe(seeded(), policy(), "/", Mode::Enforce, auditor);
        // Delays around the moment at which the thread takes the buffer.
        thread::sleep(Duration::from_micros(micros));
        path::stat(&*dir, "a/f", Follow::No).unwrap();
        drop(dir);
        log
    };
    let waits = (245_000..257_000).step_by(200);
    let logs: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = waits.map(|micros| scope.spawn(move || drop_after(micros))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let until = Instant::now() + Duration::from_secs(10);
    while !logs.iter().all(|log| log.text().contains("/a/f")) {
        assert!(Instant::now() < until, "an event was lost");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn write_behind_equals_synchronous_output() {
    let (at_once, behind) = (Shared::default(), Shared::default());
    let [lines, lines_behind] =
        [&at_once, &behind].map(|log| JsonLines::new(log.clone(), &Header::default()));
    let options = AuditOptions { guest: "g\u{e9}".into(), ..AuditOptions::default() };
    let auditors = [
        Auditor::new(lines, options.clone()),
        Auditor::write_behind(lines_behind, NonZeroUsize::MIN, options).unwrap(),
    ];
    for auditor in auditors {
        let dir = observe(seeded(), policy(), "/", Mode::Enforce, Arc::clone(&auditor));
        let held = |at: &str| {
            path::create_dir(&*dir, at).unwrap();
            let how = OpenHow::HOLD_DIR;
            path::open(&*dir, at, Follow::No, how).unwrap().into_dir().unwrap()
        };
        let dirs: Vec<_> = (0..20).map(|number| held(&format!("a/{number}"))).collect();
        for turn in 0..300 {
            let _ = path::stat(&*dir, "a/f", Follow::No);
            let _ = path::stat(&*dir, "secret/\u{fc}", Follow::No);
            let _ = path::create_dir(&*dir, "b/n");
            let _ = path::rename(&*dir, "a/f", &*dir, "a/g");
            let _ = path::rename(&*dir, "a/g", &*dir, "a/f");
            let _ = path::rename(&*dir, "b/d", &*dir, "a/long-name");
            let file = path::open(&*dir, "a/f", Follow::No, OpenHow::READ).unwrap();
            let _ = file.into_file().unwrap().read_at(&mut [IoSliceMut::new(&mut [0; 9])], 0);
            // Alternates between more directories than the cache holds.
            let [one, other] = [turn, turn * 7 + 1].map(|at| &dirs[at % dirs.len()]);
            let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
            let file = path::open(&**one, "new", Follow::No, how).unwrap().into_file().unwrap();
            let _ = path::rename(&**one, "new", &**other, "new");
            let _ = file.stat();
        }
        assert_eq!(auditor.finish().unwrap().dropped, 0);
    }
    let untimed = |log: &Shared| {
        let text = log.text();
        let lines = text.lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["ns"] = 0.into();
            line
        });
        lines.collect::<Vec<_>>()
    };
    assert!(untimed(&at_once).len() > 4000);
    assert_eq!(untimed(&at_once), untimed(&behind));
}

/// A sink that fails at the third event.
struct Failing(u32);

impl Sink for Failing {
    fn event(&mut self, _: &Event<'_>) -> io::Result<()> {
        self.0 += 1;
        if self.0 == 3 { Err(io::Error::other("full")) } else { Ok(()) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn write_behind_sink_failure_stops_the_run_and_counts_lost_events() {
    for may_drop in [false, true] {
        let options = AuditOptions { may_drop, ..AuditOptions::default() };
        let auditor = Auditor::write_behind(Failing(0), NonZeroUsize::MIN, options).unwrap();
        let dir = observe(seeded(), policy(), "/", Mode::Enforce, Arc::clone(&auditor));
        let stat = || path::stat(&*dir, "a/f", Follow::No);
        let failed = (0..1_000_000).find(|_| stat().is_err());
        assert_eq!(failed.is_some(), !may_drop);
        assert!(may_drop || stat() == Err(Errno::Io));
        // The first `finish` returns the failure; the second returns the number of lost events.
        let first = auditor.finish();
        assert!(first.is_err());
        if may_drop {
            let summary = auditor.finish().unwrap();
            assert_eq!((summary.decisions, summary.dropped), (1_000_000, 1_000_000 - 2));
        }
    }
}

#[test]
fn concurrent_events_are_complete_and_ordered() {
    let log = Shared::default();
    let lines = JsonLines::new(log.clone(), &Header::default());
    let options = AuditOptions::default();
    let auditor = Auditor::write_behind(lines, NonZeroUsize::MIN, options).unwrap();
    let dir = observe(seeded(), policy(), "/", Mode::Enforce, Arc::clone(&auditor));
    let paths = ["a/f", "a/d/g", "a/gone", "f"];
    thread::scope(|scope| {
        for at in paths {
            let dir = &*dir;
            scope.spawn(move || {
                for _ in 0..10_000 {
                    let _ = path::stat(dir, at, Follow::No);
                }
            });
        }
    });
    assert_eq!(auditor.finish().unwrap().recorded, 40_000);
    let text = log.text();
    let records: Vec<_> = LogReader::new(text.as_bytes()).map(Result::unwrap).collect();
    assert!(records.iter().zip(0..).all(|(record, seq)| record.seq == seq));
    for at in paths {
        let path = format!("/{at}");
        let told = records.iter().filter(|record| record.path.as_str() == path);
        assert_eq!(told.count(), 10_000);
    }
}

#[test]
fn guest_continues_after_a_slow_sink() {
    let seen = Arc::new(Mutex::new(0));
    let slow = {
        let seen = Arc::clone(&seen);
        Callback(move |_: &Event<'_>| {
            thread::sleep(Duration::from_millis(2));
            *seen.lock().unwrap() += 1;
        })
    };
    let auditor = Auditor::new(slow, AuditOptions::default());
    let dir = observe(seeded(), policy(), "/", Mode::Enforce, auditor);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let _ = path::stat(&*dir, "a/f", Follow::No);
                }
            });
        }
    });
    assert_eq!(*seen.lock().unwrap(), 60);
}
