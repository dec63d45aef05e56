//! How fast the simulator is: 100,000 workloads on 5,000 nodes, where all fit and where a third too many are asked for.
//! `make bench` runs it; see `docs/benchmarks.md`. `-- --load contended --nodes 500` runs one load on fewer nodes, with as many
//! workloads less.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use weir::model::amount::{Amount, Limit};
use weir::model::delta::Delta;
use weir::model::spec::{Completion, Entitlement, NamedAmounts, NodeSpec, PoolSpec, ShapeSpec, WorkloadSpec};
use weir::model::time::{Span, Time};
use weir::model::world::{Tuning, World};
use weir::simulate::happening::Happening;
use weir::simulate::history::{Outcome, Record};
use weir::simulate::random::{Random, Runs};
use weir::simulate::{Settings, Simulated, Stopped, simulate, statistics};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 5_000;
/// Workloads for each node.
const EACH: usize = 20;
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

/// Nodes of three kinds, one pool of them all, three pools of equal work.
fn calm_world(nodes: usize) -> World {
    let mut world = World::new(Tuning::default());
    let now = Time(0);
    world.apply(Delta::Namespace { name: "team".into(), labels: Default::default() }, now);
    world.apply(Delta::Pool(Box::new(pool("root", None, 0))), now);
    for (name, each) in [("a", 4), ("b", 8), ("c", 4)] {
        let cores = i64::try_from(nodes).unwrap_or(0) * each;
        world.apply(Delta::Pool(Box::new(pool(name, Some("root"), cores))), now);
    }
    for number in 0..nodes {
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
fn calm_arrivals(workloads: usize) -> Vec<(Time, Happening)> {
    let mut random = Random::new(1);
    (0..workloads)
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

/// Four kinds of nodes: CPUs, GiB, GPUs. Of ten nodes the first six are of the first.
const KINDS: [(i64, i64, i64); 4] = [(32, 128, 0), (64, 256, 0), (96, 384, 0), (64, 512, 8)];

fn kind(number: usize) -> (i64, i64, i64) {
    KINDS[[0, 0, 0, 0, 0, 0, 1, 1, 2, 3][number % 10]]
}

/// Four pools that may borrow from each other, and what each is asked for in a hundred workloads.
const POOLS: [(&str, i64, u64); 4] = [("a", 30, 45), ("b", 30, 25), ("c", 20, 25), ("d", 10, 5)];

fn contended_world(nodes: usize) -> World {
    let mut world = World::new(Tuning::default());
    let now = Time(0);
    world.apply(Delta::Namespace { name: "team".into(), labels: Default::default() }, now);
    let with_gpus = |name: &str, parent, cores, gpus| {
        let mut spec = pool(name, parent, cores);
        let gpu = Entitlement {
            resource: "nvidia.com/gpu".into(),
            reservation: Amount::new(gpus),
            limit: Limit::Unlimited,
            lending: Limit::Unlimited,
            capacity: None,
        };
        spec.entitlements.push(gpu);
        Delta::Pool(Box::new(spec))
    };
    world.apply(with_gpus("root", None, 0, 0), now);
    let (cpus, gpus) = (0..nodes).map(kind).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.2));
    for (name, percent, _) in POOLS {
        world.apply(with_gpus(name, Some("root"), cpus * percent / 100, gpus * percent / 100), now);
    }
    for number in 0..nodes {
        let (cpus, gib, gpus) = kind(number);
        let mut allocatable = amounts(cpus * 1000, gib, 110);
        if gpus > 0 {
            allocatable.insert("nvidia.com/gpu".into(), Amount::new(gpus));
        }
        let name = format!("node-{number:04}").into();
        world.apply(Delta::Node(Box::new(NodeSpec { name, allocatable, ..NodeSpec::default() })), now);
    }
    world.apply(Delta::Settled, now);
    world
}

/// Workloads of forty shapes, of three priorities, of one to eight members, from ten minutes to an hour; one in thirty keeps
/// running and may move. They ask for 135 % of the CPUs as long as they arrive.
fn contended_arrivals(workloads: usize, nodes: usize) -> Vec<(Time, Happening)> {
    let mut random = Random::new(2);
    let mut one_of = |all: &[i64]| {
        let at = usize::try_from(random.next() % all.len() as u64).unwrap_or(0);
        all.get(at).copied().unwrap_or(0)
    };
    let percents: Vec<i64> = (0..100).collect();
    let all_minutes: Vec<i64> = (10..60).collect();
    let mut specs = Vec::new();
    let mut asked = 0;
    for number in 0..workloads {
        let (cores, more) = (one_of(&[1, 1, 2, 2, 4, 4, 8, 16]), one_of(&[1, 2, 2, 4, 4, 8]));
        let mut requests = amounts(cores * 1000, cores * more, 1);
        if one_of(&percents) < 2 {
            requests.insert("nvidia.com/gpu".into(), Amount::new((cores / 2).clamp(1, 8)));
        }
        let members = one_of(&[1, 1, 1, 1, 1, 1, 2, 2, 4, 8]);
        let minutes = one_of(&all_minutes);
        let keeps = one_of(&percents) < 3;
        let mut place = u64::try_from(one_of(&percents)).unwrap_or(0);
        let of = |&&(_, _, share): &&(&str, i64, u64)| {
            let here = place < share;
            place = place.saturating_sub(share);
            here
        };
        let pool = POOLS.iter().find(of).map_or("a", |(name, ..)| name);
        asked += cores * members * minutes;
        specs.push(WorkloadSpec {
            uid: format!("uid-{number:06}").into(),
            namespace: "team".into(),
            name: format!("w{number:06}").into(),
            pool: pool.into(),
            priority: i32::try_from(one_of(&[0, 0, 0, 0, 0, 0, 1, 1, 1, 2])).unwrap_or(0),
            replicas: u32::try_from(members).unwrap_or(1),
            min_replicas: u32::try_from(members).unwrap_or(1),
            completion: if keeps { Completion::KeepRunning } else { Completion::default() },
            expected_duration: Some(Span::minutes(minutes)),
            shape: Ok(Arc::new(ShapeSpec { requests, ..ShapeSpec::default() })),
            ..WorkloadSpec::default()
        });
    }
    let cpus: i64 = (0..nodes).map(|number| kind(number).0).sum();
    let within = u64::try_from(asked * 60_000 / (cpus * 135 / 100)).unwrap_or(1).max(1);
    let mut random = Random::new(3);
    let mut at = || Time(i64::try_from(random.next() % within).unwrap_or(0));
    specs.into_iter().map(|spec| (at(), Happening::Arrive(Box::new(spec)))).collect()
}

/// What came of it in one number: the same where the same was decided.
fn fingerprint(simulated: &Simulated) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |text: &[u8]| {
        for byte in text {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for one in &simulated.history.records {
        take(one.uid.as_bytes());
        take(&one.started.unwrap_or_default().0.to_le_bytes());
        take(&one.ended.unwrap_or_default().0.to_le_bytes());
        one.nodes.values().for_each(|node| take(node.as_bytes()));
    }
    sum
}

/// Seconds that this process has computed, as the kernel counts them; none where there is no such file.
fn computed() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn measure(load: &str, nodes: usize) -> Result<(), String> {
    let workloads = nodes * EACH;
    let (world, happenings) = match load {
        "calm" => (calm_world(nodes), calm_arrivals(workloads)),
        "contended" => (contended_world(nodes), contended_arrivals(workloads, nodes)),
        _ => return Err(format!("there is no load {load}: calm, or contended")),
    };
    let settings = Settings { happenings, runs: Runs::LogNormal(0.5), seed: 1, ..Settings::default() };
    let (began, before) = (Instant::now(), computed());
    let simulated = simulate(world, Time(0), settings);
    let took = began.elapsed().as_secs_f64();
    let computed = before.zip(computed()).map_or(f64::NAN, |(before, after)| after - before);
    let ended = |one: &&Record| matches!(one.outcome, Outcome::Ended(_) | Outcome::Removed);
    let done = simulated.history.records.iter().filter(ended).count();
    println!(
        "{load}: simulated {workloads} workloads on {nodes} nodes in {took:.1} s ({computed:.1} s of a core): {done} ended, {} decisions \
         asked for, {:?}, fingerprint {:016x}",
        simulated.cycles,
        simulated.work,
        fingerprint(&simulated)
    );
    for pool in &statistics::pools(&simulated) {
        println!(
            "  {}: median wait {} s, 95% {} s, {} gave way, cpu {:.0}% used",
            pool.name,
            pool.waits.median.0 / 1000,
            pool.waits.p95.0 / 1000,
            pool.evictions,
            pool.utilization.first().map_or(0.0, |one| one.mean * 100.0)
        );
    }
    if simulated.stopped != Stopped::AtRest || done != workloads {
        return Err(format!("{:?}; {done} of {workloads} ended", simulated.stopped));
    }
    if nodes == NODES && took > AT_MOST_SECONDS {
        return Err(format!("it took {took:.1} s, of at most {AT_MOST_SECONDS} s"));
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    // `cargo test --all-targets` starts this too, unoptimised.
    let (mut loads, mut nodes, mut is_bench) =
        (vec!["calm".to_owned(), "contended".to_owned()], NODES, false);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.by_ref()) {
            ("--bench", _) => is_bench = true,
            ("--load", args) => loads = args.next().into_iter().collect(),
            ("--nodes", args) => nodes = args.next().and_then(|one| one.parse().ok()).unwrap_or(NODES),
            _ => {}
        }
    }
    if !is_bench {
        println!("nothing is measured: this is started by `make bench`");
        return ExitCode::SUCCESS;
    }
    let problems: Vec<String> = loads.iter().filter_map(|load| measure(load, nodes).err()).collect();
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
