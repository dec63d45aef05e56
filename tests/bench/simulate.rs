//! How fast the simulator is: 100,000 workloads on 5,000 nodes. `make bench` runs it; see `docs/benchmarks.md`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use weir::model::amount::{Amount, Limit};
use weir::model::delta::Delta;
use weir::model::spec::{Entitlement, NamedAmounts, NodeSpec, PoolSpec, ShapeSpec, WorkloadSpec};
use weir::model::time::{Span, Time};
use weir::model::world::{Tuning, World};
use weir::simulate::happening::Happening;
use weir::simulate::history::Outcome;
use weir::simulate::random::{Random, Runs};
use weir::simulate::{Settings, Stopped, simulate, statistics};

const NODES: usize = 5_000;
const WORKLOADS: usize = 100_000;
const GIB: i64 = 1 << 30;
/// What the project asks for.
const AT_MOST_SECONDS: f64 = 60.0;

fn amounts(milli_cpus: i64, gib: i64, pods: i64) -> NamedAmounts {
    [("cpu", milli_cpus), ("memory", gib * GIB), ("pods", pods)]
        .map(|(name, amount)| (Arc::from(name), Amount::new(amount)))
        .into()
}

fn pool(name: &str, parent: Option<&str>, reservation: i64) -> PoolSpec {
    let entitlement = |resource: &str, reservation: i64| Entitlement {
        resource: resource.into(),
        reservation: Amount::new(reservation),
        limit: Limit::Unlimited,
        lending: Limit::Unlimited,
        capacity: None,
    };
    PoolSpec {
        name: name.into(),
        uid: name.into(),
        parent: parent.map(Arc::from),
        nodes: parent.is_none().then(Default::default),
        entitlements: vec![entitlement("cpu", reservation * 1000), entitlement("memory", 0)],
        namespaces: Some(Default::default()),
        ..PoolSpec::default()
    }
}

fn world() -> World {
    let mut world = World::new(Tuning::default());
    let now = Time(0);
    world.apply(Delta::Namespace { name: "team".into(), labels: Default::default() }, now);
    world.apply(Delta::Pool(Box::new(pool("root", None, 0))), now);
    for (name, cores) in [("a", 20_000), ("b", 40_000), ("c", 20_000)] {
        world.apply(Delta::Pool(Box::new(pool(name, Some("root"), cores))), now);
    }
    for number in 0..NODES {
        let spec = NodeSpec {
            name: format!("node-{number:04}").into(),
            allocatable: amounts(32_000, [64, 256, 128].get(number % 3).copied().unwrap_or(64), 110),
            ..NodeSpec::default()
        };
        world.apply(Delta::Node(Box::new(spec)), now);
    }
    world.apply(Delta::Settled, now);
    world
}

/// Workloads of eight sizes, of three pools, from ten minutes to two hours, that arrive within four hours: all fit.
fn arrivals() -> Vec<(Time, Happening)> {
    let mut random = Random::new(1);
    (0..WORKLOADS)
        .map(|number| {
            let cores = [1, 2, 4, 8, 1, 2, 16, 4].get(number % 8).copied().unwrap_or(1);
            let shape = ShapeSpec { requests: amounts(cores * 1000, cores * 2, 1), ..ShapeSpec::default() };
            let minutes = 10 + i64::try_from(random.next() % 110).unwrap_or(0);
            let spec = WorkloadSpec {
                uid: format!("uid-{number:06}").into(),
                namespace: "team".into(),
                name: format!("w{number:06}").into(),
                pool: ["a", "b", "c"].get(number % 3).copied().unwrap_or("a").into(),
                priority: i32::try_from(random.next() % 4).unwrap_or(0),
                expected_duration: Some(Span::minutes(minutes)),
                shape: Ok(Arc::new(shape)),
                ..WorkloadSpec::default()
            };
            let at = Time(i64::try_from(random.next() % 14_400_000).unwrap_or(0));
            (at, Happening::Arrive(Box::new(spec)))
        })
        .collect()
}

fn main() -> ExitCode {
    let settings =
        Settings { happenings: arrivals(), runs: Runs::LogNormal(0.5), seed: 1, ..Settings::default() };
    let world = world();
    let began = Instant::now();
    let simulated = simulate(world, Time(0), settings);
    let took = began.elapsed().as_secs_f64();
    let done =
        simulated.history.records.iter().filter(|one| matches!(one.outcome, Outcome::Ended(_))).count();
    let pools = statistics::pools(&simulated);
    println!(
        "simulated {WORKLOADS} workloads on {NODES} nodes in {took:.1} s: {done} ended, {} decisions asked for, {:?}",
        simulated.cycles, simulated.work
    );
    for pool in &pools {
        println!(
            "  {}: median wait {} s, 95% {} s, {} gave way, cpu {:.0}% used",
            pool.name,
            pool.waits.median.0 / 1000,
            pool.waits.p95.0 / 1000,
            pool.evictions,
            pool.utilization.first().map_or(0.0, |one| one.mean * 100.0)
        );
    }
    if simulated.stopped != Stopped::AtRest || done != WORKLOADS || took > AT_MOST_SECONDS {
        eprintln!(
            "error: {:?}; {done} of {WORKLOADS} ended in {took:.1} s, of at most {AT_MOST_SECONDS} s",
            simulated.stopped
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
