//! What deciding costs, as counts: nodes looked at and workloads tried, never the clock.

use std::sync::Arc;

use super::decide;
use super::decision::Decision;
use super::testing::{node, pool, workload};
use crate::model::delta::Delta;
use crate::model::spec::{MemberRef, PodPhase, PodSpec, Policy, PoolSpec, Queueing, WorkloadSpec};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

fn world(nodes: usize, cores: i64) -> World {
    let mut world = World::new(Tuning::default());
    let now = Time(0);
    world.apply(Delta::Namespace { name: "team".into(), labels: Default::default() }, now);
    world.apply(Delta::Pool(Box::new(PoolSpec { ..pool("root", None, 0, None) })), now);
    for at in 0..nodes {
        world.apply(Delta::Node(Box::new(node(&format!("n{at:05}"), cores))), now);
    }
    world.apply(Delta::Settled, now);
    world
}

fn submit(world: &mut World, count: usize, cores: i64) {
    for at in 0..count {
        let created = i64::try_from(at).unwrap();
        let spec = workload(&format!("w{at:06}"), "root", cores, 1, 1, created);
        world.apply(Delta::Workload(Box::new(spec)), Time(0));
    }
}

fn pod_of(workload: &Arc<str>, node: &Arc<str>, cores: i64, phase: PodPhase) -> PodSpec {
    let spec = super::testing::workload("x", "root", cores, 1, 1, 0);
    PodSpec {
        uid: format!("pod-{workload}").into(),
        node: Some(Arc::clone(node)),
        bound: true,
        created: Time(0),
        terminating: false,
        phase,
        requests: spec.shape.unwrap().requests.clone(),
        host_ports: Vec::new(),
        neighbour: Default::default(),
        member: Some(MemberRef { workload: Arc::clone(workload), index: 0, attempt: 0 }),
        maker: None,
        machine: None,
    }
}

#[test]
fn equal_workloads_cost_one_scan_of_the_nodes() {
    let mut world = world(1000, 10);
    submit(&mut world, 5000, 1);
    let decided = decide(&mut world, Time(1));
    assert_eq!(decided.decisions.len(), 5000);
    assert_eq!(decided.work.tried, 5000);
    assert_eq!(decided.work.nodes_scanned, 1000);
}

#[test]
fn one_freed_pod_does_not_look_at_all_that_wait() {
    let mut world = world(5000, 2);
    submit(&mut world, 110_000, 1);
    let decided = decide(&mut world, Time(1));
    assert_eq!(decided.decisions.len(), 10_000);
    let Some(Decision::Admit { workload, placements, .. }) = decided.decisions.first() else {
        panic!("the first decision is an admission");
    };
    let node = Arc::clone(&placements[0].node);
    world.apply(Delta::Pod(Box::new(pod_of(workload, &node, 1, PodPhase::Pending))), Time(2));
    world.take_changed();
    world.apply(Delta::Pod(Box::new(pod_of(workload, &node, 1, PodPhase::Succeeded))), Time(3));
    let decided = decide(&mut world, Time(3));
    let admitted = decided.decisions.iter().filter(|one| matches!(one, Decision::Admit { .. })).count();
    assert_eq!(admitted, 1, "the place that was freed is taken");
    // The one that is admitted, and the next of its class, which finds that quota is full again.
    assert_eq!(decided.work.tried, 2);
    assert!(decided.work.nodes_scanned <= 5000, "{:?}", decided.work);
    let changed = world.take_changed();
    assert!(changed.workloads.len() <= 3, "{} workloads would be written", changed.workloads.len());
}

#[test]
fn nothing_is_looked_at_when_nothing_changed() {
    let mut world = world(100, 2);
    submit(&mut world, 1000, 1);
    decide(&mut world, Time(1));
    world.take_changed();
    let decided = decide(&mut world, Time(2));
    assert_eq!(decided.decisions, Vec::new());
    assert_eq!((decided.work.tried, decided.work.nodes_scanned), (0, 0));
    assert!(world.take_changed().workloads.is_empty());
}

#[test]
fn several_shapes_in_turn_cost_one_scan_each_and_go_where_they_would_go_one_by_one() {
    let submit_one = |world: &mut World, at: i64| {
        let spec = workload(&format!("w{at:04}"), "root", 1 + at % 3, 1, 1, at);
        world.apply(Delta::Workload(Box::new(spec)), Time(0));
    };
    let places = |decisions: Vec<Decision>| {
        decisions.into_iter().filter_map(|decision| match decision {
            Decision::Admit { workload, placements, .. } => Some((workload, placements)),
            _ => None,
        })
    };
    let mut together = world(50, 10);
    (0..200).for_each(|at| submit_one(&mut together, at));
    let decided = decide(&mut together, Time(1));
    assert_eq!(decided.work.nodes_scanned, 3 * 50);
    let mut single = world(50, 10);
    let mut one_by_one = Vec::new();
    for at in 0..200 {
        submit_one(&mut single, at);
        one_by_one.extend(places(decide(&mut single, Time(1)).decisions));
    }
    assert_eq!(one_by_one.len(), 200);
    assert_eq!(places(decided.decisions).collect::<Vec<_>>(), one_by_one);
}

#[test]
fn a_freed_pod_costs_as_much_with_a_hundred_thousand_in_many_queues() {
    let mut world = World::new(Tuning::default());
    let now = Time(0);
    world.apply(Delta::Namespace { name: "team".into(), labels: Default::default() }, now);
    world.apply(Delta::Pool(Box::new(pool("root", None, 0, None))), now);
    for at in 0..10 {
        world.apply(Delta::Pool(Box::new(pool(&format!("p{at}"), Some("root"), 500, None))), now);
    }
    for at in 0..5000 {
        world.apply(Delta::Node(Box::new(node(&format!("n{at:05}"), 2))), now);
    }
    world.apply(Delta::Settled, now);
    for at in 0..100_000_i64 {
        // One core or two, and priorities that fall, so that nobody who waits may preempt who runs.
        let spec = workload(&format!("w{at:06}"), &format!("p{}", at % 10), 1 + at / 10 % 2, 1, 1, at);
        let spec = WorkloadSpec { priority: -i32::try_from(at / 1000).unwrap(), ..spec };
        world.apply(Delta::Workload(Box::new(spec)), now);
    }
    let decided = decide(&mut world, Time(1));
    let Some(Decision::Admit { workload, placements, .. }) = decided.decisions.first() else {
        panic!("the first decision is an admission");
    };
    let node = Arc::clone(&placements[0].node);
    world.apply(Delta::Pod(Box::new(pod_of(workload, &node, 1, PodPhase::Pending))), Time(2));
    decide(&mut world, Time(2));
    world.take_changed();
    world.apply(Delta::Pod(Box::new(pod_of(workload, &node, 1, PodPhase::Succeeded))), Time(3));
    let decided = decide(&mut world, Time(3));
    let admitted = decided.decisions.iter().filter(|one| matches!(one, Decision::Admit { .. })).count();
    assert_eq!(admitted, 1, "the place that was freed is taken");
    // One workload of each of the twenty classes, and the next of the class that got it.
    assert!(decided.work.tried <= 21, "{:?}", decided.work);
    assert!(decided.work.nodes_scanned <= 2 * 5000, "{:?}", decided.work);
    let changed = world.take_changed();
    assert!(changed.workloads.len() <= 30, "{} workloads would be written", changed.workloads.len());
    // Another ends: now all classes know why they wait. One gets the place, and the next of its class is tried; of the others it is
    // seen that the place is gone.
    let next = decided.decisions.iter().find_map(|one| match one {
        Decision::Admit { workload, .. } => Some(Arc::clone(workload)),
        _ => None,
    });
    let workload = &next.expect("one was admitted");
    world.apply(Delta::Pod(Box::new(pod_of(workload, &node, 1, PodPhase::Pending))), Time(4));
    decide(&mut world, Time(4));
    world.apply(Delta::Pod(Box::new(pod_of(workload, &node, 1, PodPhase::Succeeded))), Time(5));
    let decided = decide(&mut world, Time(5));
    let admitted = decided.decisions.iter().filter(|one| matches!(one, Decision::Admit { .. })).count();
    assert_eq!((admitted, decided.work.tried), (1, 2), "{:?}", decided.work);
}

#[test]
fn a_hundred_thousand_declared_durations_are_refused_together() {
    let mut world = world(500, 2);
    let queueing = Queueing::Backfill;
    let policy = Policy::FirstComeFirstServed;
    world.apply(Delta::Pool(Box::new(PoolSpec { policy, queueing, ..pool("root", None, 0, None) })), Time(0));
    let mut submit = |at: i64, cores, members, duration| {
        let spec = workload(&format!("w{at:06}"), "root", cores, members, members, at);
        let spec = WorkloadSpec { expected_duration: Some(Span::seconds(duration)), ..spec };
        world.apply(Delta::Workload(Box::new(spec)), Time(0));
    };
    // 999 of 1000 cores run for an hour, then a gang waits that wants all, then those that would pass it.
    (0..999).for_each(|at| submit(at, 1, 1, 3600));
    submit(999, 1, 1000, 600);
    (1000..101_000).for_each(|at| submit(at, 1, 1, 3700 + at));
    let decided = decide(&mut world, Time(1));
    assert_eq!(decided.decisions.len(), 999);
    // Those that run, the gang, and the first that would delay it: all others run for longer than that.
    assert_eq!(decided.work.tried, 999 + 2);
    let Some(Decision::Admit { workload, placements, .. }) = decided.decisions.first() else {
        panic!("the first decision is an admission");
    };
    let (workload, node) = (Arc::clone(workload), Arc::clone(&placements[0].node));
    world.apply(Delta::Pod(Box::new(pod_of(&workload, &node, 1, PodPhase::Pending))), Time(2));
    decide(&mut world, Time(2));
    world.take_changed();
    world.apply(Delta::Pod(Box::new(pod_of(&workload, &node, 1, PodPhase::Succeeded))), Time(3));
    let decided = decide(&mut world, Time(3));
    assert_eq!((decided.decisions.len(), decided.work.tried), (1, 2), "it has finished, and nobody may pass");
    let changed = world.take_changed();
    assert!(changed.workloads.len() <= 3, "{} workloads would be written", changed.workloads.len());
}

#[test]
fn workloads_that_keep_apart_are_refused_together() {
    let mut world = world(100, 10);
    for at in 0..5000 {
        let spec = super::testing::apart(workload(&format!("w{at:06}"), "root", 1, 1, 1, at), "x");
        world.apply(Delta::Workload(Box::new(spec)), Time(0));
    }
    let decided = decide(&mut world, Time(1));
    assert_eq!(decided.decisions.len(), 100, "one on each node");
    // The first comes when nobody keeps off; the next as one of a class that pods keep off, and so do all others.
    assert_eq!(decided.work.tried, 101);
    world.take_changed();
    assert_eq!(decide(&mut world, Time(2)).work.tried, 0, "nothing has changed");
    // Who is called otherwise is not kept off, and costs a scan as ever.
    for at in 0..300 {
        let spec = workload(&format!("plain{at:06}"), "root", 1, 1, 1, at);
        world.apply(Delta::Workload(Box::new(spec)), Time(2));
    }
    let decided = decide(&mut world, Time(3));
    assert_eq!((decided.work.tried, decided.work.nodes_scanned), (300, 100), "{:?}", decided.work);
}
