//! Learned policies: the run succeeds under the policy, and under no smaller one.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use palisade_vfs::{DirRef, MemFs, Name, Rights};
use proptest::prelude::*;

use super::Watched;
use crate::Policy;
use crate::audit::{
    AuditOptions, Auditor, Callback, Decision, Event, LearnOptions, Learned, Learner, Mode, Record,
    is_sensitive, observe, replay,
};
use crate::tests::op::{Op, apply, seed, some_op};
use crate::tests::seeded;

/// Returns the records of a run without denials.
fn run(ops: &[Op]) -> Vec<Record> {
    let nothing = Arc::new(Policy::builder().build().unwrap());
    let watched = Watched::new(seeded(), nothing, Mode::DryRun);
    for op in ops {
        let _ = apply(&watched.dir, op);
    }
    watched.take()
}

fn learn(records: &[Record], options: LearnOptions) -> Learned {
    let mut learner = Learner::default();
    for record in records {
        learner.add(record);
    }
    learner.learn(&options).unwrap()
}

fn passes(policy: &Policy, records: &[Record]) -> bool {
    records.iter().all(|record| replay(policy, record).decision == Decision::Allow)
}

fn options(from: Option<usize>) -> LearnOptions {
    LearnOptions { generalize: from.and_then(NonZeroUsize::new) }
}

/// Learns from the events of `run` as they are emitted.
fn learn_meanwhile(run: impl FnOnce(&DirRef)) -> Learned {
    let learner = Arc::new(Mutex::new(Learner::default()));
    let sink = Arc::clone(&learner);
    let learn = move |event: &Event<'_>| sink.lock().unwrap().add_event(event);
    let auditor = Auditor::new(Callback(learn), AuditOptions::default());
    let nothing = Arc::new(Policy::builder().build().unwrap());
    run(&observe(seeded(), nothing, "/", Mode::DryRun, Arc::clone(&auditor)));
    auditor.finish().unwrap();
    learner.lock().unwrap().learn(&options(None)).unwrap()
}

#[test]
fn learner_memory_is_bounded() {
    let count = 60_000;
    let learned = learn_meanwhile(|dir| {
        for nth in 0..count {
            let _ = dir.stat(Name::new(&format!("file{nth}")).unwrap().into());
        }
        // New rights at a known path are still recorded.
        dir.create_dir(Name::new("file0").unwrap()).unwrap();
    });
    assert_eq!(learned.decisions, count + 1);
    assert!(learned.rules.len() < 45_000, "{}", learned.rules.len());
    assert!(learned.left_out > count / 4, "{}", learned.left_out);
    let made = learned.rules.iter().find(|rule| rule.glob == "/file0").unwrap();
    assert!(made.rights.contains(Rights::CREATE_DIR), "{made:?}");
}

proptest! {
    #![proptest_config(crate::tests::config(100))]

    #[test]
    fn learning_from_events_equals_learning_from_the_log(
        ops in prop::collection::vec(some_op(), 1..24),
    ) {
        let learned = learn_meanwhile(|dir| ops.iter().for_each(|op| drop(apply(dir, op))));
        prop_assert_eq!(learned, learn(&run(&ops), options(None)));
    }

    #[test]
    fn run_succeeds_under_its_learned_policy(
        ops in prop::collection::vec(some_op(), 1..24),
        from in prop::sample::select(vec![None, Some(1), Some(2)]),
    ) {
        let records = run(&ops);
        let learned = learn(&records, options(from));
        let policy = Arc::new(learned.to_policy().unwrap());
        let real = Watched::new(seeded(), policy, Mode::Enforce);
        let plain = seeded();
        for op in &ops {
            let answer = apply(&real.dir, op);
            for record in real.take() {
                let allowed = record.decision == Decision::Allow;
                prop_assert!(allowed, "{:?} {:?} {}", op, record, learned);
            }
            let told = format!("{answer:?}");
            prop_assert!(!told.contains("Acces") && !told.contains("Xdev"), "{:?} {}", op, told);
            let _ = apply(&plain, op);
        }
    }

    #[test]
    fn learned_policy_is_minimal(
        ops in prop::collection::vec(some_op(), 1..16)
    ) {
        let records = run(&ops);
        let learned = learn(&records, options(None));
        // A cycle of renames needs rights that a policy of single paths cannot express.
        prop_assume!(learned.rules.iter().all(|rule| rule.paths == 1));
        for (at, rule) in learned.rules.iter().enumerate() {
            for right in rule.rights.iter() {
                let mut less = learned.clone();
                less.rules[at].rights -= right;
                let policy = less.to_policy().unwrap();
                prop_assert!(!passes(&policy, &records), "{:?} of {:?} {}", right, rule, learned);
            }
        }
    }

    #[test]
    #[cfg(feature = "document")]
    fn learned_document_round_trips(
        names in prop::collection::vec("[^/\0]{1,6}", 1..6), bits in 1..1u32 << 17,
        from in prop::sample::select(vec![None, Some(1)]),
    ) {
        let mut learner = Learner::default();
        for (at, name) in names.iter().enumerate() {
            let rights = Rights::from_bits_truncate(bits.rotate_left(at as u32));
            let line = serde_json::json!({
                "v": 1, "seq": at, "op": "stat", "path": format!("/d/{name}"),
                "wanted": crate::names_of_rights(rights), "decision": "allow", "result": "ok",
            });
            let text = line.to_string();
            let Some(Ok(record)) = crate::audit::LogReader::new(text.as_bytes()).next() else {
                continue;
            };
            learner.add(&record);
        }
        let learned = learner.learn(&options(from)).unwrap();
        let (text, mut nothing) = (learned.to_string(), crate::document::NoIncludes);
        let variables = crate::document::Variables::new();
        let document = crate::document::Document::parse("learned", &text, &variables, &mut nothing);
        let document = document.unwrap_or_else(|error| panic!("{error}\n{text}"));
        let differs = document.to_policy().unwrap().compare(&learned.to_policy().unwrap());
        prop_assert!(differs.more.is_empty() && differs.less.is_empty(), "{}", text);
    }
}

/// Reads these files, each once.
fn read_files(files: &[&str]) -> Vec<Record> {
    let root = MemFs::new().root();
    seed(&root, &[("mkdir", "d")]);
    seed(&root, &files.iter().map(|at| ("file", *at)).collect::<Vec<_>>());
    let nothing = Arc::new(Policy::builder().build().unwrap());
    let watched = Watched::new(root, nothing, Mode::DryRun);
    for at in files {
        let how = palisade_vfs::OpenHow::READ;
        palisade_vfs::path::open(&*watched.dir, at, palisade_vfs::Follow::No, how).unwrap();
    }
    watched.take()
}

#[test]
fn siblings_are_generalized_only_on_request() {
    let files = ["d/a.csv", "d/b.csv", "d/c.csv", "d/e.csv"];
    let records = read_files(&files);
    let exact = learn(&records, options(None));
    let globs =
        |learned: &Learned| learned.rules.iter().map(|rule| rule.glob.clone()).collect::<Vec<_>>();
    assert_eq!(globs(&exact), ["/d/a.csv", "/d/b.csv", "/d/c.csv", "/d/e.csv"]);
    assert_eq!(exact.proposals.len(), 1);
    assert_eq!((&*exact.proposals[0].glob, exact.proposals[0].paths), ("/d/*.csv", 4));
    assert!(!passes(&exact.to_policy().unwrap(), &read_files(&["d/x.csv"])));
    assert!(exact.to_string().contains("\"/d/a.csv\", # 1 access\n"), "{exact}");
    let wide = learn(&records, options(Some(4)));
    assert_eq!(globs(&wide), ["/d/*.csv"]);
    assert!(passes(&wide.to_policy().unwrap(), &read_files(&["d/x.csv"])));
    assert_eq!(globs(&learn(&records, options(Some(5)))), globs(&exact));
}

#[test]
fn generated_names_become_prefix_patterns() {
    let files = ["d/tmp8f3k2q.txt", "d/tmpa91kx0.txt", "d/tmpzz20ml.txt", "d/tmp0q7w3e.txt"];
    let learned = learn(&read_files(&files), options(None));
    assert_eq!(learned.proposals[0].glob, "/d/tmp*.txt");
}

#[test]
fn patterns_exclude_sensitive_names() {
    let files = ["d/a", "d/b", "d/c", "d/e"];
    let wide = learn(&read_files(&files), options(Some(4))).to_policy().unwrap();
    for secret in ["d/.env", "d/server.key", "d/id_rsa", "d/.git", "d/secrets.toml", "d/x.pem"] {
        assert!(is_sensitive(secret.trim_start_matches("d/")));
        assert!(!passes(&wide, &read_files(&[secret])), "{secret}");
        let with_it = read_files(&[&files[..], &[secret]].concat());
        let learned = learn(&with_it, options(Some(1)));
        assert_eq!(learned.rules.len(), 5, "{learned}");
        assert!(learned.to_string().contains("looks like a secret"), "{learned}");
    }
    assert!(!is_sensitive("keyboard.txt") && !is_sensitive("environment"));
}
