//! Whatever is in a file: findings, never a panic.

use proptest::prelude::*;
use weir::cli::check::{Checker, parse};

fn survives(text: &str) -> usize {
    thread_local!(static CHECKER: Checker = Checker::new().unwrap());
    CHECKER.with(|checker| checker.check(&[parse("garbage.yaml", text)]).findings.len())
}

#[test]
fn known_garbage_is_survived() {
    for text in [
        "\0",
        "\u{feff}a: b",
        "%YAML 9.9\n---\na",
        "&a [*a]",
        "a: *nowhere",
        "? [a, b]\n: c",
        "{a: b, c}",
        "- - - -",
        "|",
        ">-\n",
        "!!binary x",
        "!!int x",
        "!foo {a: b}",
        "a: .nan",
        "a: .inf",
        "a: 99999999999999999999999999",
        "a: 0x",
        "\t- a",
        "a: b: c",
        "'",
        "\"\\u12",
        "--- --- ---",
        "...",
        "...\n...",
        "<<: a",
        "{<<: [1, 2]}",
        "1: 2\nnull: 3\n[a]: 4",
        "---\n---\n---",
        "a: &a {b: *a}",
        "apiVersion: weir.dev/v1alpha1\nkind: ResourcePool",
        "apiVersion: weir.dev/v1alpha1\nkind: ResourcePool\nmetadata: []\nspec: 5",
        "apiVersion: [weir.dev/v1alpha1]\nkind: {a: b}",
        "apiVersion: v1\nkind: List\nitems: 5",
        "apiVersion: v1\nkind: List\nitems: [[[]]]",
    ] {
        survives(text);
    }
    // Deep nesting, and aliases that grow without bound.
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "a:\n ".repeat(2000)] {
        assert!(survives(&deep) > 0);
    }
    let laughs: Vec<_> =
        (1..40).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}, *a{0}]", i - 1)).collect();
    assert!(survives(&format!("a0: &a0 [x]\n{}", laughs.join("\n"))) > 0);
}

/// A sound pair of objects, to be broken.
const SOUND: &str = "apiVersion: weir.dev/v1alpha1
kind: ResourcePool
metadata: {name: a}
spec:
  nodes: {selector: {matchLabels: {a: b}}}
  resources:
  - {name: cpu, reservation: 1, limit: \"2\"}
  limits: {maxRunning: 1, maxResourcesPerWorkload: {cpu: 1}}
  access: {namespaces: {}, priority: {min: 0, max: 5}}
---
apiVersion: weir.dev/v1alpha1
kind: PooledWorkload
metadata: {name: w, namespace: t}
spec:
  pool: a
  replicas: 1
  maxWait: 1h
  template:
    pod:
      spec:
        containers:
        - {name: c, image: i, resources: {requests: {cpu: 1}}}
";

#[test]
fn the_sound_pair_is_sound() {
    assert_eq!(survives(SOUND), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}", yaml in "[-\\[\\]{}:,&*!|>'\"#%@ \na-c0-9]{0,80}") {
        survives(&text);
        survives(&yaml);
    }

    #[test]
    fn no_change_of_a_word_makes_it_panic(at in 0..60_usize, with in prop_oneof![
        Just("null".to_owned()), Just("[]".into()), Just("{}".into()), Just("-1".into()), Just("1e999".into()), Just("9E".into()),
        Just("true".into()), Just("''".into()), Just("{a: {b: [c]}}".into()), Just("[[1], {a: b}]".into()), "\\PC{0,12}",
    ]) {
        let words: Vec<&str> = SOUND.split_inclusive([' ', '\n', '{', '}', '[', ']', ',']).collect();
        let changed: String = words
            .iter()
            .enumerate()
            .map(|(i, word)| if i == at % words.len() { format!("{with} ") } else { (*word).to_owned() })
            .collect();
        survives(&changed);
    }
}
