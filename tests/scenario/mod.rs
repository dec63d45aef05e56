//! Scenarios: each file in `tests/scenarios/` is a sentence and proves it, on the pure core with a virtual clock
//! and on a real control plane. `tests/scenario/README.md` tells how to write one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on shall panic")]

mod cluster;
mod controllers;
mod expand;
mod file;
mod kubelet;
mod machines;
mod pure;
mod real;
mod records;
mod rename;
mod store;
mod structure;
mod view;

use std::path::{Path, PathBuf};
use std::time::Instant;

use file::Scenario;
use weir::model::time::Span;

/// Merges a patch into an object.
pub fn merged(object: &mut serde_json::Value, patch: serde_json::Value) {
    expand::merge(object, Some(patch));
}

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

/// Kinds whose watches may lag behind the others, the last three where there is `KubeVirt`.
const WATCHED: [&str; 7] = [
    "Pod",
    "Node",
    "PooledWorkload",
    "ResourcePool",
    "VirtualMachine",
    "VirtualMachineInstance",
    "VirtualMachineInstanceMigration",
];

/// Each scenario, with one kind in two late by one of two spans; with each by both with `make soak`.
#[test]
fn whichever_watch_lags_nothing_is_promised_twice_and_all_is_known_in_the_end() {
    let everything = option_env!("WEIR_CASES").is_some();
    let (mut failed, mut runs, mut compared) = (Vec::new(), 0, 0);
    for (number, path) in files().iter().enumerate() {
        let scenario = read(path);
        let kinds = if scenario.kubevirt { &WATCHED[..] } else { &WATCHED[..4] };
        let late = kinds.iter().flat_map(|kind| [(kind, Span(300)), (kind, Span(4000))]);
        for (kind, by) in
            late.skip(if everything { 0 } else { number % 4 }).step_by(if everything { 1 } else { 4 })
        {
            runs += 1;
            let (wrong, could) = pure::lagging(&scenario, kind, by);
            compared += usize::from(could);
            if !wrong.is_empty() {
                let (name, wrong) = (&scenario.name, wrong.join("\n  "));
                failed.push(format!("{name}, {kind} {} ms late\n  {wrong}", by.0));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {runs} failed:\n{}", failed.len(), failed.join("\n"));
    let all = std::env::var_os("SCENARIO").is_none();
    assert!(!all || runs > 300 && compared * 2 > runs, "only {compared} of {runs} runs are compared");
}

#[test]
fn a_scenario_is_decided_alike_each_time() {
    let mut decisions = 0;
    for path in files().iter().step_by(4) {
        let scenario = read(path);
        let (first, second) = (pure::trace(&scenario), pure::trace(&scenario));
        decisions += first.1.len();
        assert_eq!(first.1, second.1, "{}", scenario.name);
    }
    assert!(decisions >= 20 || std::env::var_os("SCENARIO").is_some(), "only {decisions} decisions");
}

#[test]
fn every_scenario_is_decided_alike_by_what_is_read_of_a_dump() {
    let mut decisions = 0;
    let mut failed = Vec::new();
    for path in files() {
        let scenario = read(&path);
        let (wrong, count) = pure::replay(&scenario);
        decisions += count;
        if !wrong.is_empty() {
            failed.push(format!("{}\n  {}", scenario.name, wrong.join("\n  ")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(decisions >= 500 || std::env::var_os("SCENARIO").is_some(), "only {decisions} decisions");
}

#[test]
fn every_scenario_holds_on_a_real_control_plane() {
    let all: Vec<Scenario> = files().iter().map(|path| read(path)).collect();
    let (only_virtual, real): (Vec<Scenario>, Vec<Scenario>) =
        all.into_iter().partition(|scenario| scenario.only_virtual.is_some());
    for scenario in &only_virtual {
        let why = scenario.only_virtual.as_deref().unwrap_or_default();
        println!("scenario {} ... only on the pure core: {why}", scenario.name);
    }
    let began = Instant::now();
    let mut outcomes = real::run_all(&real);
    outcomes.sort_by(|one, other| one.name.cmp(&other.name));
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.wrong.is_empty())
        .map(|outcome| {
            format!(
                "{} (after {:.1} s)\n  {}",
                outcome.name,
                outcome.took.as_secs_f64(),
                outcome.wrong.join("\n  ")
            )
        })
        .collect();
    let took = began.elapsed().as_secs();
    println!(
        "{} scenarios on a real control plane in {took} s, {} only on the pure core",
        real.len(),
        only_virtual.len()
    );
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), real.len(), failed.join("\n"));
}

/// A runner that finds nothing wrong with this proves nothing.
#[test]
fn what_is_not_so_is_found() {
    let text = "
{kind: Nodes, name: node}
---
{kind: Pool, name: company, resources: [{name: cpu}]}
---
{kind: Work, name: work, pool: company}
---
{kind: Scenario, steps: [{expect: EXPECT}]}
";
    for (expect, problem) in [
        (
            "{workloads: {work: Queued}}",
            "PooledWorkload work: .phase expected \"Queued\", and it is \"Running\"",
        ),
        ("{workloads: {work: gone}}", "PooledWorkload work: expected to be gone"),
        ("{workloads: {other: Running}}", "PooledWorkload other: is not there"),
        (
            "{workloads: {work: {mesage: run}}}",
            "PooledWorkload work: .mesage expected \"run\", and it is null",
        ),
        ("{workloads: {work: {message: walk}}}", "PooledWorkload work: .message does not say \"walk\""),
        ("{pools: {company: {cpu: {allocated: \"2\"}}}}", ".cpu.allocated expected \"2\", and it is \"1\""),
        ("{pods: {work-0: {node: other}}}", ".node expected \"other\", and it is \"node\""),
        ("{starts: [other]}", "starts: expected [\"other\"], and it was [[\"work\"]]"),
        ("{writes: {work: {objects: 1}}}", "writes of work: .objects expected 1, and it is 2"),
    ] {
        let scenario = Scenario::parse("wrong", &text.replace("EXPECT", expect)).unwrap();
        let wrong = pure::run(&scenario);
        assert!(wrong.iter().any(|one| one.contains(problem)), "{expect}: {wrong:?}");
    }
    for (timeline, problem) in [
        ("{steps: []}", "it expects nothing"),
        ("{steps: [{apply: []}]}", "does nothing"),
        ("{steps: [{expect: {works: {}}}]}", "unknown field `works`"),
        ("{steps: [{expects: {}}]}", "unknown field `expects`"),
        ("{real: false, steps: [{expect: {starts: []}}]}", "real: false needs because"),
    ] {
        let timeline = timeline.replacen('{', "{kind: Scenario, ", 1);
        let error = Scenario::parse("wrong", &timeline).unwrap_err();
        assert!(error.contains(problem), "{timeline}: {error}");
    }
}
