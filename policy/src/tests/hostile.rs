//! Adversarial rules: compilation ends in bounded time, in a policy or an error that names rules.

use std::time::{Duration, Instant};

use palisade_vfs::{Descent, Rights};

use super::evaluator::{compiled, meaning};
use crate::{Effect, Glob, Policy, PolicyBuilder, PolicyError, Rule, SourceLine};

/// The time limit of one compilation, with room for a loaded machine; exponential work would take
/// years.
const TIME_MAX: Duration = Duration::from_secs(120);

fn rules(globs: impl IntoIterator<Item = String>) -> Vec<Rule> {
    let effects = [Effect::Allow(Rights::READ), Effect::Deny(Rights::READ)];
    let rule = |(glob, effect): (String, &Effect)| Rule {
        glob: Glob::new(&glob).unwrap(),
        effect: *effect,
        place: None,
    };
    globs.into_iter().zip(effects.iter().cycle()).map(rule).collect()
}

fn build(rules: &[Rule]) -> Result<Policy, PolicyError> {
    let mut builder = Policy::builder();
    builder.extend(rules.iter().cloned());
    let start = Instant::now();
    let policy = builder.build();
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
    policy
}

#[track_caller]
fn assert_explodes(rules: &[Rule]) {
    match build(rules) {
        Err(error @ PolicyError::Explodes { .. }) => {
            let PolicyError::Explodes { rules: named } = &error else { unreachable!() };
            assert!(!named.is_empty() && named.len() <= 4);
            for (id, rule) in named {
                assert_eq!(rules[id.index()], *rule);
                assert!(error.to_string().contains(rule.glob.as_str()));
            }
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_matches_evaluator(rules: &[Rule], paths: &[&str]) {
    let policy = build(rules).unwrap();
    for path in paths {
        let path = Descent::new(path).unwrap();
        assert_eq!(compiled(&policy, path), meaning(rules, path), "{path:?}");
    }
}

#[test]
fn exponential_patterns_are_rejected_with_their_rules() {
    assert_explodes(&rules((0..2000).map(|at| format!("/*{at}*{}*", at * 7))));
    let distance = format!("/*a{}", "?".repeat(30));
    assert_explodes(&rules([distance]));
}

#[test]
fn exponential_paths_are_rejected_with_their_rules() {
    assert_explodes(&rules((0..40).map(|at| format!("/**/a{at}/**/b{at}"))));
    assert_explodes(&rules([format!("/**/a{}", "/*".repeat(30))]));
}

#[test]
fn rules_that_only_look_exponential_are_compiled() {
    let stars = format!("/{}b", "*a".repeat(100));
    let long = "a".repeat(255);
    assert_matches_evaluator(&rules([stars]), &[&long, &format!("{}b", &long[1..])]);
    let choices = format!("/{}", "{,a}".repeat(500));
    assert_matches_evaluator(&rules([choices]), &["a", &long, "b"]);
    let deep = format!("/{}x{}", "{a,{b,".repeat(4), "}}".repeat(4));
    assert_matches_evaluator(&rules([deep]), &["a", "b", "x", "c"]);
    let below = format!("{}/b", "/**/*".repeat(500));
    assert_matches_evaluator(&rules([below]), &["b", "a/b"]);
    assert_matches_evaluator(&rules(["/a".repeat(2048)]), &["a", "a/a", "b"]);
    let words = (0..50).map(|at| format!("/{{{}}}/x", vec![format!("n{at}"); 64].join(",")));
    assert_matches_evaluator(&rules(words), &["n1/x", "n49/x", "n50/x"]);
    let both = (0..10).flat_map(|at| [format!("/**/a{at}"), format!("/b{at}/**")]);
    assert_matches_evaluator(&rules(both), &["a1", "b1/a1", "b1/x/a2/a3", "x/b1"]);
}

#[test]
fn many_rules_that_match_everywhere_are_rejected() {
    let everywhere = std::iter::repeat_n("/**".to_owned(), 20_000);
    let apart = (0..20_000).map(|at| format!("/u{at}/x/y"));
    assert_explodes(&rules(everywhere.chain(apart)));
}

#[test]
fn names_hidden_at_any_depth_are_stored_once() {
    let rules_of = |users: usize, hidden: usize| {
        let allowed = (0..users).map(|at| format!("/u{at}/**"));
        let mut all = rules(allowed);
        let hide = |at| Rule {
            glob: Glob::new(&format!("/**/.h{at}")).unwrap(),
            effect: Effect::Hide,
            place: None,
        };
        all.extend((0..hidden).map(hide));
        all
    };
    let many = rules_of(1000, 1000);
    let policy = build(&many).unwrap();
    assert!(policy.table.edges.len() < 5000, "{}", policy.table.edges.len());
    for path in ["u1/x", "u1/.h7", "u2/x/.h7/y", ".h999", "u3/.h1000", "u999/.h0/.h1"] {
        let path = Descent::new(path).unwrap();
        assert_eq!(compiled(&policy, path), meaning(&many, path), "{path:?}");
    }
}

#[test]
fn ten_megabytes_of_rules_compile_in_time() {
    let long = "l".repeat(180);
    let globs = (0..50_000).map(|at| format!("/s/u{at:07}/{long}/[ab]*/x*"));
    let many = rules(globs);
    let bytes: usize = many.iter().map(|rule| rule.glob.as_str().len()).sum();
    assert!(bytes >= 10_000_000);
    let policy = build(&many).unwrap();
    for path in ["s/u0000008/L/ab/xy", "s/u0049998/L/b/x", "s/u0050000/L/a/x", "s/u0000008/L/c"] {
        let path = path.replace('L', &long);
        let path = Descent::new(&path).unwrap();
        let near = [&many[8..9], &many[49_998..49_999]].concat();
        assert_eq!(compiled(&policy, path).rights, meaning(&near, path).rights, "{path:?}");
    }
}

#[test]
fn rules_over_the_limit_are_rejected() {
    let root = rules(["/".to_owned()]);
    let mut builder = Policy::builder();
    builder.extend(std::iter::repeat_n(root[0].clone(), PolicyBuilder::RULES_MAX + 1));
    assert_eq!(builder.build().unwrap_err(), PolicyError::TooManyRules);
}

#[test]
fn memory_is_proportional_to_the_rules() {
    let size = |count: usize| {
        let mut all = rules((0..count).map(|at| format!("/srv/u{at}/data/**")));
        all.extend(rules(["/**/*.key".to_owned(), "/**/.env".to_owned()]));
        let policy = build(&all).unwrap();
        policy.table.size_bytes() as f64 / count as f64
    };
    let (small, large) = (size(500), size(20_000));
    assert!(large < small * 1.2 && large < 1000.0, "{small} and {large} bytes for each rule");
}

#[test]
fn errors_name_the_source_lines_of_rules() {
    let mut all = rules((0..40).map(|at| format!("/**/a{at}/**/b{at}")));
    for (rule, line) in all.iter_mut().zip(1..) {
        rule.place = Some(SourceLine { file: Some("policy.toml".into()), line });
    }
    let text = build(&all).unwrap_err().to_string();
    assert!(text.contains("policy.toml:"), "{text}");
    let text = Policy::builder().allow("/a", Rights::READ).hide("/[").build().unwrap_err();
    assert!(text.to_string().starts_with("\"/[\": "), "{text}");
}

#[test]
fn attenuations_over_the_limit_are_rejected() {
    let one =
        |at: usize| Policy::builder().allow(&format!("/a{at}/**"), Rights::READ).build().unwrap();
    let narrowed = (1..64).fold(one(0), |policy, at| policy.attenuate(&one(at)).unwrap());
    assert_eq!(narrowed.rights(narrowed.at("/a1")), Rights::empty());
    assert_eq!(narrowed.attenuate(&one(64)).unwrap_err(), PolicyError::TooManyLayers);
}
