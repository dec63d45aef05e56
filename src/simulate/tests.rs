//! Simulations of small worlds, and of a large one by what it costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::estimate::{Estimate, estimates};
use super::happening::Happening;
use super::history::{Outcome, Restart};
use super::random::{Random, Runs};
use super::statistics::pools;
use super::{Settings, Simulated, Stopped, fits_alone, simulate};
use crate::decide::testing::{node, pool, workload};
use crate::model::delta::Delta;
use crate::model::moves::Why;
use crate::model::spec::{
    Completion, FinishReason, Policy, PoolSpec, Queueing, StopReason, Strategy, WorkloadSpec,
};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

const BEGINNING: Time = Time(1_000_000);

fn at(seconds: i64) -> Time {
    BEGINNING + Span::seconds(seconds)
}

fn world(nodes: usize, cores: i64, root: PoolSpec) -> World {
    let mut world = World::new(Tuning::default());
    world.apply(Delta::Namespace { name: "team".into(), labels: Default::default() }, BEGINNING);
    world.apply(Delta::Pool(Box::new(root)), BEGINNING);
    for number in 0..nodes {
        world.apply(Delta::Node(Box::new(node(&format!("n{number}"), cores))), BEGINNING);
    }
    world.apply(Delta::Settled, BEGINNING);
    world
}

fn timed(name: &str, cores: i64, seconds: i64) -> WorkloadSpec {
    let spec = workload(name, "root", cores, 1, 1, BEGINNING.0);
    WorkloadSpec { expected_duration: (seconds > 0).then(|| Span::seconds(seconds)), ..spec }
}

fn submit(world: &mut World, all: impl IntoIterator<Item = WorkloadSpec>) {
    for spec in all {
        world.apply(Delta::Workload(Box::new(spec)), BEGINNING);
    }
}

/// Name, start, end and node of each, in seconds.
fn told(simulated: &Simulated) -> Vec<(String, Option<i64>, Option<i64>, String)> {
    let since = |time: Option<Time>| time.map(|time| (time - BEGINNING).0 / 1000);
    let records = simulated.history.records.iter();
    records
        .map(|one| {
            let node = one.nodes.values().next().map(ToString::to_string).unwrap_or_default();
            (one.name.to_string(), since(one.started), since(one.ended), node)
        })
        .collect()
}

fn row(name: &str, start: i64, end: i64, node: &str) -> (String, Option<i64>, Option<i64>, String) {
    (name.to_owned(), Some(start), Some(end), node.to_owned())
}

#[test]
fn one_after_another_runs_as_long_as_it_says() {
    let mut world = world(1, 2, pool("root", None, 0, None));
    submit(&mut world, [timed("a", 2, 60), timed("b", 2, 30), timed("c", 1, 10)]);
    let simulated = simulate(world, BEGINNING, Settings::default());
    assert_eq!(simulated.stopped, Stopped::AtRest);
    assert_eq!(told(&simulated), [row("a", 0, 60, "n0"), row("b", 60, 90, "n0"), row("c", 90, 100, "n0")]);
    let all = pools(&simulated);
    assert_eq!((all[0].completed, all[0].waits.started), (3, 3));
    assert_eq!(
        (all[0].waits.mean, all[0].waits.median, all[0].waits.p95),
        (Span::seconds(50), Span::seconds(60), Span::seconds(90))
    );
    assert!((all[0].per_hour - 108.0).abs() < 1e-9, "{}", all[0].per_hour);
    assert!((all[0].utilization[0].mean - 0.95).abs() < 1e-9, "{:?}", all[0].utilization);
    assert_eq!(simulated.history.lanes.len(), 3);
    assert_eq!(simulated.history.lanes[2].to, Some(at(100)));
}

#[test]
fn what_declares_no_duration_runs_for_ever_and_others_wait_for_ever() {
    let mut world = world(1, 2, pool("root", None, 0, None));
    submit(&mut world, [timed("a", 2, 0), timed("b", 2, 30)]);
    let simulated = simulate(world.clone(), BEGINNING, Settings::default());
    assert_eq!(simulated.stopped, Stopped::AtRest);
    let outcomes: Vec<Outcome> = simulated.history.records.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [Outcome::Running, Outcome::Waiting]);
    let settings = Settings { default_duration: Some(Span::seconds(5)), ..Settings::default() };
    assert_eq!(told(&simulate(world, BEGINNING, settings)), [row("a", 0, 5, "n0"), row("b", 5, 35, "n0")]);
}

#[test]
fn what_waits_for_ever_may_still_fit_alone() {
    let mut world = world(1, 2, pool("root", None, 0, None));
    submit(&mut world, [timed("a", 2, 0), timed("b", 2, 30), timed("c", 3, 30)]);
    let simulated = simulate(world, BEGINNING, Settings::default());
    assert!(fits_alone(&simulated.world, simulated.end, "uid-b"));
    assert!(!fits_alone(&simulated.world, simulated.end, "uid-c"));
}

#[test]
fn services_with_a_duration_are_taken_away_then() {
    let mut world = world(1, 2, pool("root", None, 0, None));
    let service = WorkloadSpec { completion: Completion::KeepRunning, ..timed("a", 2, 20) };
    submit(&mut world, [service, timed("b", 2, 30)]);
    let simulated = simulate(world, BEGINNING, Settings::default());
    assert_eq!(told(&simulated), [row("a", 0, 20, "n0"), row("b", 20, 50, "n0")]);
    assert_eq!(simulated.history.records[0].outcome, Outcome::Removed);
}

#[test]
fn nodes_fail_come_back_leave_and_join() {
    let mut world = world(2, 2, pool("root", None, 0, None));
    submit(&mut world, [timed("a", 2, 400), timed("b", 2, 400), timed("c", 2, 50)]);
    let happenings = vec![
        // n0 is back in time, and what ended meanwhile is told then.
        (at(390), Happening::Fail("n0".into())),
        (at(450), Happening::Recover("n0".into())),
        // n1 is lost after five minutes: its workload begins anew on the node that joins.
        (at(10), Happening::Fail("n1".into())),
        (at(320), Happening::Join(Box::new(node("n2", 2)))),
        (at(800), Happening::Leave("n2".into())),
    ];
    let simulated = simulate(world, BEGINNING, Settings { happenings, ..Settings::default() });
    let all = told(&simulated);
    assert_eq!(all[0], row("a", 0, 450, "n0"));
    assert_eq!(all[2], row("c", 450, 500, "n0"));
    // b was on n1, is placed anew on n2 at 320 s, would end at 720 s, and does.
    assert_eq!(all[1], row("b", 0, 720, "n2"));
    assert_eq!(simulated.history.records[1].losses, [at(310)]);
    assert!(simulated.history.lanes.iter().any(|lane| &*lane.node == "n2" && lane.from == at(320)));
}

#[test]
fn a_silent_node_is_lost_also_where_nothing_else_is_to_come() {
    let mut world = world(2, 2, pool("root", None, 0, None));
    submit(&mut world, [timed("endless", 2, 0)]);
    let happenings = vec![(at(100), Happening::Fail("n0".into()))];
    let simulated = simulate(world, BEGINNING, Settings { happenings, ..Settings::default() });
    let record = &simulated.history.records[0];
    assert_eq!((&record.losses[..], record.nodes.get(&0).map(|node| &**node)), (&[at(400)][..], Some("n1")));
    assert_eq!(
        (simulated.stopped, simulated.end),
        (Stopped::AtRest, at(400)),
        "it ends with what happened last"
    );
}

#[test]
fn a_drained_member_begins_anew_or_goes_on_and_both_are_told() {
    let mut world = world(2, 4, pool("root", None, 0, None));
    let service = WorkloadSpec { completion: Completion::KeepRunning, ..timed("service", 1, 0) };
    submit(&mut world, [timed("run", 1, 300), service]);
    let before = simulate(world.clone(), BEGINNING, Settings::default());
    let on = |of: &Simulated, record: usize| of.history.records[record].nodes[&0].to_string();
    assert_eq!((on(&before, 0), on(&before, 1)), ("n0".into(), "n0".into()));
    let happenings = vec![(at(100), Happening::Drain("n0".into()))];
    let simulated = simulate(world, BEGINNING, Settings { happenings, ..Settings::default() });
    assert_eq!((on(&simulated, 0), on(&simulated, 1)), ("n1".into(), "n1".into()));
    let [run, service] = simulated.history.records.as_slice() else { panic!("two workloads") };
    assert_eq!(run.restarts, [Restart { at: at(100), why: Why::Drain, for_whom: None }]);
    assert_eq!((run.ended, run.moves, run.gave_way.len()), (Some(at(400)), 0, 0));
    assert_eq!((service.moves, service.restarts.len()), (1, 0));
}

#[test]
fn a_higher_priority_that_arrives_evicts_and_who_gave_way_begins_anew() {
    let mut world = world(1, 2, pool("root", None, 0, None));
    submit(&mut world, [timed("low", 2, 100)]);
    let high = WorkloadSpec { priority: 10, ..timed("high", 2, 30) };
    let happenings = vec![(at(40), Happening::Arrive(Box::new(high)))];
    let simulated = simulate(world, BEGINNING, Settings { happenings, ..Settings::default() });
    assert_eq!(told(&simulated), [row("low", 0, 170, "n0"), row("high", 40, 70, "n0")]);
    let gave_way = &simulated.history.records[0].gave_way;
    assert_eq!((gave_way.len(), gave_way[0].reason, gave_way[0].at), (1, StopReason::Preempted, at(40)));
    assert_eq!(gave_way[0].for_whom.as_deref(), Some("team/high"));
}

#[test]
fn a_limit_of_the_run_ends_it_badly() {
    let mut world = world(1, 2, pool("root", None, 0, None));
    let spec = WorkloadSpec { max_duration: Some(Span::seconds(20)), ..timed("a", 2, 50) };
    submit(&mut world, [spec]);
    let simulated = simulate(world, BEGINNING, Settings::default());
    assert_eq!(told(&simulated), [row("a", 0, 20, "n0")]);
    assert_eq!(simulated.history.records[0].outcome, Outcome::Ended(FinishReason::MaxDurationExceeded));
}

#[test]
fn turns_that_never_let_anyone_finish_are_found_out() {
    let root = PoolSpec {
        policy: Policy::RoundRobin,
        time_slice: Some(Span::seconds(10)),
        ..pool("root", None, 0, None)
    };
    let mut world = world(1, 2, root);
    submit(&mut world, [timed("a", 2, 50), timed("b", 2, 50)]);
    let settings = Settings { most_cycles: 2_000, ..Settings::default() };
    let simulated = simulate(world.clone(), BEGINNING, settings);
    assert_eq!(simulated.stopped, Stopped::NoEnd);
    assert!(simulated.history.records.iter().all(|one| one.gave_way.len() > 100));
    let settings = Settings { until: Some(at(95)), ..Settings::default() };
    let simulated = simulate(world, BEGINNING, settings);
    assert_eq!((simulated.stopped, simulated.end), (Stopped::TimeIsUp, at(95)));
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_one_another() {
    let run = |seed| {
        let mut world = world(3, 4, pool("root", None, 0, None));
        submit(&mut world, (0..40).map(|number| timed(&format!("w{number:02}"), 1 + number % 3, 60)));
        let settings = Settings { seed, runs: Runs::LogNormal(0.8), ..Settings::default() };
        simulate(world, BEGINNING, settings).history
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn estimates_are_absent_where_nobody_can_know() {
    let mut world = world(2, 2, pool("root", None, 0, None));
    submit(&mut world, [timed("a", 2, 100), timed("endless", 2, 0)]);
    drop(crate::decide::decide(&mut world, BEGINNING));
    submit(&mut world, [timed("b", 2, 60), timed("c", 2, 0), timed("d", 2, 10)]);
    drop(crate::decide::decide(&mut world, BEGINNING));
    let wanted: BTreeSet<Arc<str>> = ["uid-b", "uid-c", "uid-d"].map(Arc::from).into();
    let found = estimates(&world, BEGINNING, &wanted, &[].into());
    assert_eq!(found.get("uid-b"), Some(&Estimate { earliest: at(50), likely: at(100) }));
    assert_eq!(found.get("uid-c"), Some(&Estimate { earliest: at(80), likely: at(160) }));
    assert_eq!(found.get("uid-d"), None, "it waits for c, of which nobody knows");
    // Others like c took ten seconds.
    let found = estimates(&world, BEGINNING, &wanted, &[("uid-c".into(), Span::seconds(10))].into());
    assert_eq!(found.get("uid-d"), Some(&Estimate { earliest: at(85), likely: at(170) }));
}

/// Random work of several shapes, on nodes of two kinds that fail, come back and join; with and without rankings that are kept.
#[test]
fn the_same_comes_of_it_whether_rankings_are_kept_or_not() {
    let mut compared = 0;
    for seed in 0..12_u64 {
        let mut random = Random::new(seed);
        let mut pick = |most: u64| i64::try_from(random.next() % most).unwrap();
        let strategy =
            [Strategy::BinPack, Strategy::Spread, Strategy::Balanced, Strategy::LeastFragmentation];
        let strategy = strategy[usize::try_from(seed % 4).unwrap()];
        let mut world = world(4, 8, PoolSpec { strategy, ..pool("root", None, 0, None) });
        world.apply(Delta::Node(Box::new(node("large", 16))), BEGINNING);
        let mut happenings = Vec::new();
        for number in 0..150 {
            let gang = 1 + u32::try_from(pick(3)).unwrap();
            let spec = WorkloadSpec {
                replicas: gang,
                min_replicas: 1 + gang / 2,
                priority: i32::try_from(pick(4)).unwrap(),
                ..timed(&format!("w{number:03}"), 1 + pick(7), 20 + pick(200))
            };
            happenings.push((at(pick(1500)), Happening::Arrive(Box::new(spec))));
        }
        for (from, until) in [(200, 300), (500, 1300)] {
            happenings.push((at(from), Happening::Fail("n1".into())));
            happenings.push((at(until), Happening::Recover("n1".into())));
        }
        happenings.push((at(700), Happening::Join(Box::new(node("late", 12)))));
        happenings.push((at(900), Happening::Drain("n2".into())));
        let run = |keeps_rankings| {
            let settings = Settings { happenings: happenings.clone(), keeps_rankings, ..Settings::default() };
            simulate(world.clone(), BEGINNING, settings)
        };
        let (kept, anew) = (run(true), run(false));
        assert_eq!(kept.history, anew.history, "seed {seed}");
        assert!(kept.work.nodes_scanned <= anew.work.nodes_scanned);
        compared += kept.history.lanes.len();
    }
    assert!(compared > 2_000, "only {compared} runs");
}

/// What it costs, as counts: each workload costs a bounded number of decisions, and none looks at all nodes again and again.
#[test]
fn ten_thousand_workloads_cost_a_bounded_number_of_decisions() {
    let root = PoolSpec { queueing: Queueing::BestEffort, ..pool("root", None, 0, None) };
    let mut world = world(200, 8, root);
    let sized = |number: i64| {
        timed(&format!("w{number:05}"), [1, 2, 4, 8][usize::try_from(number % 4).unwrap()], 300 + number % 97)
    };
    submit(&mut world, (0..5_000).map(sized));
    let happenings =
        (5_000..10_000).map(|number| (at(number - 5_000), Happening::Arrive(Box::new(sized(number)))));
    let settings = Settings { happenings: happenings.collect(), ..Settings::default() };
    let simulated = simulate(world, BEGINNING, settings);
    assert_eq!(simulated.stopped, Stopped::AtRest);
    let ended = |one: &Outcome| *one == Outcome::Ended(FinishReason::Completed);
    assert_eq!(simulated.history.records.iter().filter(|one| ended(&one.outcome)).count(), 10_000);
    let work = simulated.work;
    assert!(simulated.cycles <= 3 * 10_000, "{} cycles", simulated.cycles);
    assert!(work.tried <= 12 * 10_000, "{work:?}");
    assert!(work.nodes_scanned <= 200 * 2_000, "{work:?}");
}
