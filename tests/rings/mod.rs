//! The rings: the core is built without Kubernetes, dependencies point inward, and nothing in the inner rings
//! depends on when or where it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Each folder with those that it may use, besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("decide", &["model"]),
    ("optimise", &["decide", "model"]),
    ("simulate", &["decide", "model", "optimise"]),
    ("report", &["model", "simulate"]),
    ("api", &[]),
    ("dump", &["decide", "model", "optimise"]),
    ("observe", &["api", "model"]),
    ("plan", &["api", "decide", "model", "observe", "simulate"]),
    ("watch", &["api", "observe"]),
];

/// What makes the same input give another output. `model/lookup.rs` hashes with a hasher that has no seed, and whoever walks through
/// it gets all in order.
const CHANGING: &[&str] =
    &["HashMap", "HashSet", "SystemTime", "Instant::now", "Timestamp::now", "std::env", "rand::"];

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn below(path: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, into);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                // Tests at the end of a file may use what they like.
                into.push((path, text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()));
            }
        }
    }
    let mut found = Vec::new();
    below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), &mut found);
    assert!(!found.is_empty(), "src/{folder} has no files");
    found
}

#[test]
fn the_core_knows_no_kubernetes() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--no-default-features", "--edges", "normal", "--prefix", "none", "--format", "{lib}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // "(*)" marks what was printed before.
    let mut found: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    found.sort_unstable();
    found.dedup();
    let allowed = ["proc_macro2", "quote", "syn", "thiserror", "thiserror_impl", "unicode_ident", "weir"];
    assert!(found.contains(&"weir"), "{text}");
    let others: Vec<&&str> = found.iter().filter(|name| !allowed.contains(name)).collect();
    assert!(others.is_empty(), "the core depends on {others:?}");
}

#[test]
fn dependencies_point_inward() {
    let mut wrong = Vec::new();
    let all = [
        "model", "decide", "optimise", "simulate", "report", "api", "dump", "observe", "plan", "watch",
        "apply", "operate", "cli",
    ];
    for (folder, may_use) in MAY_USE {
        for (path, text) in sources(folder) {
            for other in all.iter().filter(|other| *other != folder && !may_use.contains(other)) {
                if text.contains(&format!("crate::{other}")) {
                    wrong.push(format!("{} uses {other}", path.display()));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_inner_rings_do_not_depend_on_when_or_where_they_run() {
    let mut wrong = Vec::new();
    for folder in ["model", "decide", "simulate", "report", "dump", "observe", "plan"] {
        for (path, text) in sources(folder) {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let is_lookup = path.ends_with("model/lookup.rs");
                let may = |word: &str| is_lookup && word == "HashMap";
                if let Some(word) = CHANGING.iter().find(|word| code.contains(**word) && !may(word)) {
                    wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}
