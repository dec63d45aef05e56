//! How fast the core decides, without an API server: `make bench` runs it; see `docs/benchmarks.md`.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use weir::decide::decide;
use weir::decide::decision::{Decided, Decision};
use weir::model::amount::{Amount, Limit};
use weir::model::delta::Delta;
use weir::model::spec::{
    Entitlement, MemberRef, NamedAmounts, NodeSpec, PodPhase, PodSpec, PoolSpec, ShapeSpec, WorkloadSpec,
};
use weir::model::time::Time;
use weir::model::world::{Tuning, World};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 5_000;
const ROUNDS: usize = 5;
/// Workloads that end one after another, to see what a single cycle takes.
const ENDS: usize = 500;
/// 2023-11-14T22:13:20Z.
const NOW: Time = Time(1_700_000_000_000);
const GIB: i64 = 1 << 30;

fn amounts(milli_cpus: i64, gib: i64, pods: i64) -> NamedAmounts {
    [("cpu", milli_cpus), ("memory", gib * GIB), ("pods", pods)]
        .map(|(name, amount)| (Arc::from(name), Amount::new(amount)))
        .into()
}

fn pool() -> PoolSpec {
    let entitlement = |resource: &str| Entitlement {
        resource: resource.into(),
        reservation: Amount::new(0),
        limit: Limit::Unlimited,
        lending: Limit::Unlimited,
        capacity: None,
    };
    PoolSpec {
        name: "root".into(),
        uid: "root".into(),
        nodes: Some(Default::default()),
        entitlements: vec![entitlement("cpu"), entitlement("memory")],
        namespaces: Some(Default::default()),
        ..PoolSpec::default()
    }
}

/// Nodes of three kinds.
fn node(number: usize, cpus: i64) -> NodeSpec {
    let gib = [64, 256, 128].get(number % 3).copied().unwrap_or(64);
    NodeSpec {
        name: format!("node-{number:04}").into(),
        allocatable: amounts(cpus * 1000, gib, 110),
        ..NodeSpec::default()
    }
}

/// One-pod workloads in eight sizes.
fn workload(number: usize) -> WorkloadSpec {
    let size = i64::try_from(number % 8).unwrap_or(0);
    WorkloadSpec {
        uid: format!("uid-{number:06}").into(),
        namespace: "team".into(),
        name: format!("w-{number:06}").into(),
        created: Time(i64::try_from(number).unwrap_or(0)),
        pool: "root".into(),
        backoff_limit: Some(3),
        shape: Ok(Arc::new(ShapeSpec {
            requests: amounts(250 * (size + 1), 1 + size / 2, 1),
            ..ShapeSpec::default()
        })),
        ..WorkloadSpec::default()
    }
}

/// A world of nodes with so many CPUs, in which so many workloads wait.
fn world(workloads: usize, cpus: i64) -> World {
    let mut world = World::new(Tuning::default());
    let mut take = |delta| world.apply(delta, NOW);
    take(Delta::Namespace { name: "team".into(), labels: Default::default() });
    take(Delta::Pool(Box::new(pool())));
    for number in 0..NODES {
        take(Delta::Node(Box::new(node(number, cpus))));
    }
    for number in 0..workloads {
        take(Delta::Workload(Box::new(workload(number))));
    }
    take(Delta::Settled);
    world
}

fn admitted(decided: &Decided) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
    decided.decisions.iter().filter_map(|decision| match decision {
        Decision::Admit { workload, placements, .. } => Some((workload, &placements.first()?.node)),
        _ => None,
    })
}

fn pod(workload: &Arc<str>, node: &Arc<str>, requests: NamedAmounts, phase: PodPhase) -> Delta {
    Delta::Pod(Box::new(PodSpec {
        uid: format!("pod-{workload}").into(),
        node: Some(node.clone()),
        bound: true,
        created: NOW,
        terminating: false,
        phase,
        requests,
        host_ports: Vec::new(),
        neighbour: Default::default(),
        member: Some(MemberRef { workload: workload.clone(), index: 0, attempt: 0 }),
        maker: None,
        machine: None,
    }))
}

fn requests(workload: &str) -> Option<NamedAmounts> {
    let number: usize = workload.strip_prefix("uid-")?.parse().ok()?;
    Some(amounts_of(self::workload(number)))
}

fn amounts_of(workload: WorkloadSpec) -> NamedAmounts {
    workload.shape.map(|shape| shape.requests.clone()).unwrap_or_default()
}

/// Everything that waits fits: how many are admitted and placed a second.
fn drain(workloads: usize) -> Result<(), String> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let mut world = world(workloads, 64);
        let began = Instant::now();
        let decided = black_box(decide(&mut world, NOW));
        let took = began.elapsed();
        let count = admitted(&decided).count();
        if count != workloads {
            return Err(format!("{count} of {workloads} workloads were admitted: the load is wrong"));
        }
        rates.push(count as f64 / took.as_secs_f64());
    }
    println!("{workloads} waiting on {NODES} nodes, all fit: {} decisions a second", spread(rates, 0));
    Ok(())
}

/// The nodes are full: what one cycle takes after one pod ended, from the delta to the next decision.
fn one_ends(workloads: usize) -> Result<(), String> {
    let mut world = world(workloads, 4);
    let decided = decide(&mut world, NOW);
    let running: Vec<(Arc<str>, Arc<str>)> =
        admitted(&decided).map(|(workload, node)| (workload.clone(), node.clone())).collect();
    let waiting = workloads - running.len();
    let ready = || PodPhase::Running { ready_since: Some(NOW) };
    for (workload, node) in &running {
        let requests = requests(workload).ok_or("an unknown workload")?;
        world.apply(pod(workload, node, requests, ready()), NOW);
    }
    decide(&mut world, NOW);
    let (mut millis, mut followed) = (Vec::new(), 0);
    for (workload, node) in running.iter().take(ENDS) {
        let requests = requests(workload).ok_or("an unknown workload")?;
        let ended = pod(workload, node, requests, PodPhase::Succeeded);
        let began = Instant::now();
        world.apply(ended, NOW);
        let decided = black_box(decide(&mut world, NOW));
        millis.push(began.elapsed().as_secs_f64() * 1000.0);
        followed += admitted(&decided).count();
    }
    if followed < ENDS / 2 {
        return Err(format!("only {followed} were admitted after {ENDS} had ended: the load is wrong"));
    }
    println!(
        "one cycle after one pod ended, {NODES} full nodes, {waiting} waiting: {} ms ({followed} admitted after {ENDS} ends)",
        spread(millis, 3)
    );
    Ok(())
}

/// What a dump costs: the copy that the cycle makes, and what is written and read beside it.
#[cfg(feature = "controller")]
fn dumped(workloads: usize) -> Result<(), String> {
    use weir::dump::{Dump, State};
    let millis = |began: Instant| began.elapsed().as_secs_f64() * 1000.0;
    let mut world = world(workloads, 16);
    decide(&mut world, NOW);
    let mut took: [Vec<f64>; 4] = Default::default();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let copy = black_box(world.clone());
        took[0].push(millis(began));
        let state = State { decided: Vec::new(), durations: Default::default(), world: copy };
        let dump = Dump::new(state, NOW, None);
        let began = Instant::now();
        let text = dump.text().map_err(|error| error.to_string())?;
        took[1].push(millis(began));
        bytes = text.len();
        let began = Instant::now();
        let read = Dump::read(&text, false).map_err(|error| error.to_string())?;
        took[2].push(millis(began));
        let began = Instant::now();
        black_box(read.anonymised().map_err(|error| error.to_string())?);
        took[3].push(millis(began));
    }
    let [copied, written, read, veiled] = took.map(|values| spread(values, 0));
    println!(
        "a dump of {workloads} workloads on {NODES} nodes: copied in {copied} ms, written in {written} ms ({} MB), read in {read} ms, \
         given pseudonyms in {veiled} ms",
        bytes / 1_000_000
    );
    Ok(())
}

/// Least, median and greatest.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let (least, most) = (at(0), at(values.len().saturating_sub(1)));
    format!("{least:.digits$} / {:.digits$} / {most:.digits$}", at(values.len() / 2))
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts this too, unoptimised.
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing is measured: this is started by `make bench`");
        return ExitCode::SUCCESS;
    }
    println!("least / median / greatest:");
    let all = [10_000, 100_000].into_iter().try_for_each(drain).and_then(|()| one_ends(100_000));
    #[cfg(feature = "controller")]
    let all = all.and_then(|()| [10_000, 100_000].into_iter().try_for_each(dumped));
    match all {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}
