//! Scenarios: each file in `tests/scenarios/` is a sentence and proves it, on the pure core with a virtual clock
//! and on a real control plane. `tests/scenario/README.md` tells how to write one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on shall panic")]

mod expand;
mod file;
mod kubelet;
mod pure;
mod records;
mod store;
mod structure;
mod view;

use std::path::{Path, PathBuf};
use std::time::Instant;

use file::Scenario;

/// All files, in order of their names. `SCENARIO=word` chooses those whose names have the word.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let chosen = std::env::var("SCENARIO").unwrap_or_default();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| path.file_stem().unwrap().to_string_lossy().contains(&chosen))
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> Scenario {
    Scenario::read(path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

#[test]
fn every_scenario_holds_on_the_pure_core() {
    let files = files();
    let mut failed = Vec::new();
    for path in &files {
        let scenario = read(path);
        let began = Instant::now();
        let wrong = pure::run(&scenario);
        let (millis, word) = (began.elapsed().as_millis(), if wrong.is_empty() { "ok" } else { "FAILED" });
        println!("scenario {} ... {word} ({millis} ms, virtual)", scenario.name);
        if !wrong.is_empty() {
            failed.push(format!("{}\n  {}", scenario.name, wrong.join("\n  ")));
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), files.len(), failed.join("\n"));
    println!("{} scenarios hold on the pure core", files.len());
}
