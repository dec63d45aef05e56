//! Properties that hold for random worlds and random streams of what happens to them.
//!
//! The world is held against itself and against the limits after every step.

mod backfill;
mod cluster;
mod steps;

use std::sync::Arc;

use proptest::strategy::Strategy as Random;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::decide;
use super::testing::{node, pool, with_licences};
use crate::model::report::WorkloadPhase;
use crate::model::spec::{Completion, WorkloadSpec};

use cluster::{Cluster, Seen};
use steps::{Rules, Step, moving_step, rules, step};

/// Holds a property to random cases, the same ones each time; with `WEIR_CASES` set to so many others as it says
/// (`make soak`).
fn hold<T: Random>(cases: u32, strategy: &T, property: impl Fn(T::Value)) {
    let many = option_env!("WEIR_CASES").and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: many.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: if many.is_some() { 20_000 } else { 300 },
        ..Config::default()
    };
    let mut runner = match many {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let result = runner.run(strategy, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn run(rules: &[Rules; 4], steps: Vec<Step>) -> Seen {
    let mut cluster = Cluster::start();
    cluster.entitlements_change = true;
    cluster.populate(rules);
    for (count, step) in steps.into_iter().enumerate() {
        cluster.take(&step, count);
        let twin = decide(&mut cluster.world.clone(), cluster.now);
        let decided = cluster.cycle();
        assert_eq!(twin, decided, "the same world and time decide the same");
        cluster.check();
    }
    let seen = cluster.seen.clone();
    // When nothing hinders any more, everything that can ever fit comes to run and ends.
    for at in 0..4 {
        cluster.see_node(node(&format!("n{at}"), 100));
    }
    for name in ["a", "b", "b-low"] {
        let (parent, cores) = if name == "b-low" { ("b", 60) } else { ("root", 120) };
        cluster.see_pool(with_licences(pool(name, Some(parent), cores, None), Some(cores)));
    }
    cluster.see_pool(with_licences(pool("root", None, 0, None), Some(1000)));
    let suspended: Vec<WorkloadSpec> =
        cluster.workloads.values().filter(|spec| spec.suspend).cloned().collect();
    for spec in suspended {
        cluster.see_workload(WorkloadSpec { suspend: false, ..spec });
    }
    for maker in cluster.labels.keys().cloned().collect::<Vec<_>>() {
        cluster.label(maker, None);
    }
    // What keeps running never ends by itself.
    let endless = cluster.workloads.values().filter(|spec| spec.completion == Completion::KeepRunning);
    for uid in endless.map(|spec| Arc::clone(&spec.uid)).collect::<Vec<_>>() {
        cluster.delete_workload(&uid);
    }
    cluster.drain();
    for uid in cluster.workloads.keys() {
        let report = cluster.world.workload_report(uid).unwrap();
        assert!(matches!(report.phase, WorkloadPhase::Finished { .. }), "{uid}: {report:?}");
    }
    let root = cluster.world.pool_report("root").unwrap();
    assert!(
        root.resources.iter().all(|resource| resource.allocated.is_zero()),
        "all is given back: {root:?}"
    );
    seen
}

/// Shows worlds of random streams as they are before each decision.
#[cfg(feature = "controller")]
pub(crate) fn shown(cases: u32, look: impl Fn(&crate::model::world::World, crate::model::time::Time)) {
    let steps = proptest::prop_oneof![
        proptest::collection::vec(step(), 20..120),
        proptest::collection::vec(moving_step(), 20..120)
    ];
    hold(cases, &(proptest::array::uniform4(rules()), steps), |(rules, steps)| {
        let mut cluster = Cluster::start();
        cluster.entitlements_change = true;
        cluster.populate(&rules);
        for (count, step) in steps.into_iter().enumerate() {
            cluster.take(&step, count);
            look(&cluster.world, cluster.now);
            cluster.cycle();
        }
    });
}

/// Runs so many random streams of both kinds.
pub(crate) fn streams(cases: u32) {
    let steps = proptest::prop_oneof![
        proptest::collection::vec(step(), 20..160),
        proptest::collection::vec(moving_step(), 20..160)
    ];
    hold(cases, &(proptest::array::uniform4(rules()), steps), |(rules, steps)| {
        run(&rules, steps);
    });
}

#[test]
fn no_stream_of_events_passes_a_limit_loses_a_sum_or_starves_a_workload() {
    let total = std::cell::RefCell::new(Seen::default());
    let strategy = (proptest::array::uniform4(rules()), proptest::collection::vec(step(), 20..160));
    hold(1150, &strategy, |(rules, steps)| total.borrow_mut().add(run(&rules, steps)));
    let total = total.into_inner();
    for what in [
        "admitted",
        "gang",
        "quota full",
        "licences",
        "no node",
        "kept apart",
        "kept off",
        "spread",
        "rate",
        "reclaimed",
        "preempted",
        "slice ended",
        "shrunk",
        "grown",
        "restart",
        "labelled",
    ] {
        let count = total.counts.get(what).copied().unwrap_or(0);
        assert!(count >= 100, "the streams do not contend: {what} {count} times ({total:?})");
    }
}

/// Members move while everything else happens: pairs are charged once, nothing is stopped that has no place elsewhere,
/// and a restart goes on with the moves that it finds.
#[test]
fn members_that_move_are_charged_once_and_lose_nothing() {
    let total = std::cell::RefCell::new(Seen::default());
    let strategy = (proptest::array::uniform4(rules()), proptest::collection::vec(moving_step(), 20..160));
    hold(1150, &strategy, |(rules, steps)| total.borrow_mut().add(run(&rules, steps)));
    let total = total.into_inner();
    for what in ["admitted", "restart", "moved", "left for the next", "left first", "move given up", "pair"] {
        let count = total.counts.get(what).copied().unwrap_or(0);
        assert!(count >= 100, "the streams do not contend: {what} {count} times ({total:?})");
    }
}

/// With nothing new and nothing ending, evictions come to an end, and meanwhile no two workloads evict each other
/// in turn. Queues that give turns, by slices or by declared durations, are left out: there it is meant.
#[test]
fn two_workloads_never_evict_each_other_in_turn() {
    let total = std::cell::RefCell::new(Seen::default());
    let strategy = (proptest::array::uniform4(rules()), proptest::collection::vec(step(), 20..120));
    hold(400, &strategy, |(rules, steps)| {
        let mut cluster = Cluster::start();
        cluster.entitlements_change = true;
        cluster.populate(&rules.map(Rules::without_turns));
        for (count, step) in steps.iter().map(Step::without_durations).enumerate() {
            cluster.take(&step, count);
            cluster.cycle();
        }
        cluster.lift_limits_that_are_passed();
        cluster.gave_way.clear();
        cluster.entitlements_change = false;
        // The same work comes once more, all at once.
        for (count, step) in steps.iter().map(Step::without_durations).enumerate() {
            if matches!(step, Step::Submit { .. }) {
                cluster.take(&step, 1000 + count);
            }
        }
        cluster.come_to_rest();
        total.borrow_mut().add(std::mem::take(&mut cluster.seen));
    });
    let total = total.into_inner();
    for what in ["gave way at rest", "reclaimed", "preempted", "shrunk"] {
        let count = total.counts.get(what).copied().unwrap_or(0);
        assert!(count >= 100, "the streams do not contend: {what} {count} times ({total:?})");
    }
}
