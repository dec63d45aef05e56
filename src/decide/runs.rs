//! Runs of virtual machines, in random streams of what users, nodes and `KubeVirt` do.

mod cluster;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::model::delta::Delta;
use crate::model::machines::{Making, Starting};
use crate::model::report::WorkloadPhase;
use crate::model::selector::{NodeTerm, Operator, Requirement};
use crate::model::spec::{PodSpec, Run, WorkloadSpec};
use cluster::Cluster;

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Submit {
        cores: i64,
        replicas: u32,
        ends: bool,
        priority: i32,
    },
    Suspend(usize, bool),
    Delete(usize),
    /// The pod of a run is made, without a node.
    Launch(usize),
    Run(usize),
    /// The guest ends, well or badly.
    End(usize, bool),
    /// What was told to stop has stopped.
    Stopped(usize),
    /// Somebody deletes a machine.
    Lose(usize),
    Silence(usize, bool),
    SwitchOff(usize),
    KubeVirt(bool),
    /// A node is drained, or is no more.
    Drain(usize, bool),
    /// Somebody else begins to move a machine.
    Others(usize),
    /// A migration goes on: its pod is made, or it ends well or badly.
    Travel(usize, Travel),
    Restart,
    Wait(i64),
}

#[derive(Clone, Copy, Debug)]
enum Travel {
    Launch,
    Succeed,
    Fail,
    Vanish,
}

fn moving_step() -> impl Strategy<Value = Step> {
    let travel = prop_oneof![
        6 => Just(Travel::Launch), 4 => Just(Travel::Succeed), 1 => Just(Travel::Fail), 1 => Just(Travel::Vanish)
    ];
    prop_oneof![
        6 => step(),
        2 => (0..3_usize, any::<bool>()).prop_map(|(at, drained)| Step::Drain(at, drained)),
        6 => (0..40_usize, travel).prop_map(|(at, how)| Step::Travel(at, how)),
        1 => (0..40_usize).prop_map(Step::Others),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..40_usize;
    prop_oneof![
        4 => (1..5_i64, 1..4_u32, any::<bool>(), -1..2_i32)
            .prop_map(|(cores, replicas, ends, priority)| Step::Submit { cores, replicas, ends, priority }),
        2 => (which.clone(), any::<bool>()).prop_map(|(at, on)| Step::Suspend(at, on)),
        1 => which.clone().prop_map(Step::Delete),
        6 => which.clone().prop_map(Step::Launch),
        5 => which.clone().prop_map(Step::Run),
        2 => (which.clone(), any::<bool>()).prop_map(|(at, well)| Step::End(at, well)),
        6 => which.clone().prop_map(Step::Stopped),
        1 => which.clone().prop_map(Step::Lose),
        1 => (0..3_usize, any::<bool>()).prop_map(|(at, silent)| Step::Silence(at, silent)),
        1 => (0..3_usize).prop_map(Step::SwitchOff),
        1 => any::<bool>().prop_map(Step::KubeVirt),
        1 => Just(Step::Restart),
        2 => (1..400_i64).prop_map(Step::Wait),
    ]
}

fn holds(steps: Vec<Step>) -> BTreeMap<&'static str, u32> {
    let mut cluster = Cluster::new();
    for (number, step) in steps.into_iter().enumerate() {
        cluster.take(number, step);
        cluster.decide();
    }
    cluster.calm_down();
    let phase = |spec: &&WorkloadSpec| cluster.world.workload_report(&spec.uid).map(|report| report.phase);
    let waits = |spec: &&WorkloadSpec| matches!(phase(spec), Some(WorkloadPhase::Queued { .. }));
    let waiting: Vec<&WorkloadSpec> = cluster.workloads.values().filter(waits).collect();
    // What waits in the end waits for others, or for the room that their disks take.
    let others = !cluster.runs.is_empty() || cluster.disks.len() > 1;
    assert!(waiting.is_empty() || others, "{waiting:?}");
    assert!(cluster.world.moving.is_empty(), "all moves end: {:?}", cluster.world.moving);
    cluster.travelled
}

/// Shows worlds of machines as they are before each decision.
#[cfg(feature = "controller")]
pub(crate) fn shown(cases: u32, look: impl Fn(&crate::model::world::World, crate::model::time::Time)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&prop::collection::vec(moving_step(), 20..100), |steps| {
        let mut cluster = Cluster::new();
        for (number, step) in steps.into_iter().enumerate() {
            cluster.take(number, step);
            look(&cluster.world, cluster.now);
            cluster.decide();
        }
        Ok(())
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

/// Machines move while they run, and everything else happens: none is stopped that may not be, none is moved twice at a
/// time, and the room of each is there when it comes.
#[test]
fn machines_that_move_while_they_run_are_charged_once_and_overload_no_node() {
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let total = std::cell::RefCell::new(BTreeMap::<&'static str, u32>::new());
    let result = runner.run(&prop::collection::vec(moving_step(), 20..140), |steps| {
        for (what, count) in holds(steps) {
            *total.borrow_mut().entry(what).or_default() += count;
        }
        Ok(())
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
    for what in [
        "begun",
        "bound",
        "done",
        "failed",
        "given up",
        "stopped",
        "begun by others",
        "bound for others",
        "unfit",
    ] {
        let count = total.borrow().get(what).copied().unwrap_or(0);
        assert!(count >= 20, "the streams do not move machines: {what} {count} times ({total:?})");
    }
}

/// The same cases each time: what fails once fails always.
#[test]
fn a_machine_runs_once_at_a_time_and_its_disks_are_charged_once() {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let steps = prop::collection::vec(step(), 1..80);
    let result = runner.run(&steps, |steps| {
        holds(steps);
        Ok(())
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

#[test]
fn machines_are_bound_and_started_again_in_a_stream_that_does_so() {
    let mut cluster = Cluster::new();
    cluster.take(0, Step::Submit { cores: 2, replicas: 2, ends: true, priority: 0 });
    cluster.decide();
    for step in [
        Step::Launch(0),
        Step::Launch(0),
        Step::Run(0),
        Step::Run(0),
        Step::End(0, false),
        Step::Stopped(0),
        Step::Wait(20),
    ] {
        cluster.take(1, step);
        cluster.decide();
    }
    assert_eq!(
        (cluster.bound, cluster.moved),
        (2, 1),
        "both were bound, and the one that failed started again"
    );
}

#[test]
fn a_pod_that_waited_while_no_operator_ran_is_bound_and_not_given_up() {
    let mut cluster = Cluster::new();
    cluster.take(0, Step::Submit { cores: 2, replicas: 1, ends: false, priority: 0 });
    cluster.decide();
    cluster.take(1, Step::Launch(0));
    cluster.take(2, Step::Wait(300));
    cluster.take(3, Step::Restart);
    cluster.decide();
    assert_eq!(cluster.bound, 1);
    assert!(cluster.runs.values().all(|run| run.bound && !run.terminating), "{:?}", cluster.runs);
}

#[test]
fn a_claim_that_nobody_is_asked_to_make_is_told_of_again_and_a_volume_elsewhere_moves_its_machine() {
    let mut cluster = Cluster::new();
    cluster.take(0, Step::Submit { cores: 2, replicas: 1, ends: false, priority: 0 });
    cluster.decide();
    cluster.take(1, Step::Launch(0));
    cluster.decide();
    let run = cluster.runs.values().next().unwrap().clone();
    let show = |cluster: &mut Cluster, volumes: Making| {
        let starting = Starting { claims: vec!["team/root".into()], volumes, ..Starting::default() };
        let machine = Some(Run { starting: Some(Arc::new(starting)), ..Run::default() });
        cluster.show(PodSpec { bound: true, machine, ..run.clone() });
        cluster.decide();
    };
    show(&mut cluster, Making::Unset);
    assert_eq!(cluster.bound, 2, "it is bound, and its claim is annotated");
    show(&mut cluster, Making::Settled);
    assert_eq!(cluster.bound, 2, "nothing more is to be done");
    let values = vec![run.node.clone().unwrap()];
    let labels = vec![Requirement { key: "host".into(), operator: Operator::NotIn, values }];
    let terms = Some([NodeTerm { labels, name: Vec::new() }].into());
    cluster.tell(Delta::Claim { name: "team/root".into(), terms });
    cluster.decide();
    assert!(cluster.runs.values().all(|run| run.terminating), "{:?}", cluster.runs);
}
