//! The HTML report of a log: it contains the totals, and paths are escaped.

use std::fmt::Write as _;

use palisade_vfs::escape;

use crate::audit::{LogHeader, LogReader, Report};

fn page(log: &str) -> String {
    let mut reader = LogReader::new(log.as_bytes());
    let mut report = Report::default();
    for record in &mut reader {
        report.add(&record.unwrap());
    }
    report.to_html(reader.headers())
}

fn data(page: &str) -> serde_json::Value {
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

fn event(seq: u64, path: &str, more: &serde_json::Value) -> String {
    let mut event = serde_json::json!({
        "v": 1, "seq": seq, "ns": seq * 1000, "op": "open-read", "path": path,
        "wanted": ["read-bytes"], "decision": "allow", "result": "ok",
    });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("{event}\n")
}

#[test]
fn report_contains_decisions_and_transfers() {
    use serde_json::json;
    let log = [
        event(0, "/a/f", &json!({ "rule": 1, "line": 4, "file": "p.toml" })),
        event(1, "/a/f", &json!({ "op": "read", "bytes": 40 })),
        event(2, "/a/f", &json!({ "op": "write", "bytes": 2 })),
        event(3, "/a/g", &json!({ "decision": "deny", "missing": ["read-bytes"] })),
        event(4, "/a/g", &json!({ "decision": "deny", "missing": ["read-bytes"] })),
        event(5, "/h", &json!({ "decision": "hide", "missing": ["lookup"] })),
    ];
    let data = data(&page(&log.concat()));
    assert_eq!(data["total"], json!([3, 2, 1, 40, 2]));
    let paths = json!([["/a/f", 3, 0, 0, 40, 2], ["/a/g", 0, 2, 0, 0, 0], ["/h", 0, 0, 1, 0, 0]]);
    assert_eq!(data["paths"], paths);
    assert_eq!(data["rules"], json!([["p.toml:4", 1, 0, 0, 0, 0]]));
    let refusal = json!([2, "/a/g", "", "open-read", "deny", "read-bytes", "no rule allows it"]);
    assert_eq!(data["refusals"][0], refusal);
    assert_eq!(data["columns"].as_array().unwrap().len(), 6);
}

#[test]
fn report_of_several_runs_names_runs_and_filters() {
    let header = |run: u32, more: serde_json::Value| {
        let mut header = serde_json::json!({
            "v": 1, "palisade": "0", "run": run.to_string(), "guest": format!("guest-{run}"),
        });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("{header}\n")
    };
    let none = serde_json::json!({});
    let filter = serde_json::json!({ "only": ["denied"], "sample": 2 });
    let log = [
        header(1, none.clone()),
        header(2, filter),
        event(0, "/a", &serde_json::json!({ "run": "1" })),
        event(0, "/a", &serde_json::json!({ "run": "2" })),
    ];
    let told = data(&page(&log.concat()));
    assert_eq!(told["guest"], "guest-1, guest-2");
    assert_eq!((&told["runs"], &told["total"][0]), (&2.into(), &2.into()));
    assert_eq!(told["filter"], "only denied, one of 2");
    let many: String = (0..20).map(|run| header(run, none.clone())).collect();
    let told = data(&page(&many));
    assert!(told["guest"].as_str().unwrap().ends_with("guest-7, and 12 more"));
}

#[test]
fn report_escapes_paths() {
    let hostile = "/</script><script>alert(1)</script>/\u{2028}\"'&<!--/*DATA*/x";
    let denied = serde_json::json!({ "decision": "deny", "guest": "</script>" });
    let header = format!(
        "{}\n",
        serde_json::json!({ "v": 1, "palisade": "0", "guest": "<!--</script>/*SCRIPT*/" })
    );
    let plain = page(&event(0, "/a", &serde_json::json!({})));
    let page = page(&format!("{header}{}", event(0, hostile, &denied)));
    for tag in ["<script", "</script", "<!--", "/*DATA*/</"] {
        assert_eq!(page.matches(tag).count(), plain.matches(tag).count(), "{tag}");
    }
    assert_eq!(data(&page)["paths"][0][0], escape::name(hostile).to_string());
    assert!(!page.contains(|c| c != '\n' && escape::must_escape(c)));
    assert_eq!(data(&page)["guest"], "<!--</script>/*SCRIPT*/");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let without_svg = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!without_svg.contains(outside), "{outside}");
    }
}

#[test]
fn report_size_is_bounded() {
    let mut report = Report::default();
    let mut log = String::new();
    for seq in 0..100_000_u64 {
        let path = format!("/d{}/{}", seq % 50, "x".repeat(120));
        let more = serde_json::json!({ "decision": "deny", "rule": seq });
        log.clear();
        let _ = write!(log, "{}", event(seq, &format!("{path}{seq}"), &more));
        let record = LogReader::new(log.as_bytes()).next().unwrap().unwrap();
        report.add(&record);
    }
    let page = report.to_html(&[LogHeader::default()]);
    assert!(page.len() < 4 << 20, "{}", page.len());
    let data = data(&page);
    assert_eq!(data["total"][1], 100_000);
    let paths = data["paths"].as_array().unwrap();
    let told: u64 = paths.iter().map(|path| path[2].as_u64().unwrap()).sum();
    assert_eq!(told, 100_000);
    assert!(data["columns"].as_array().unwrap().len() <= 120);
    assert!(data["folded"].as_u64().unwrap() > 0);
}
