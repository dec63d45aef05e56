//! The comparison in `docs/policies.md`: its tables are read out of the page, the arrivals are decided by the core
//! under a virtual clock, and the starts must be those that the page gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use weir::decide::decide;
use weir::decide::decision::Decision;
use weir::model::amount::{Amount, Limit};
use weir::model::delta::Delta;
use weir::model::spec::{
    Entitlement, MemberRef, NamedAmounts, NodeSpec, PodPhase, PodSpec, Policy, PoolSpec, Queueing, ShapeSpec,
    WithinPool, WorkloadSpec,
};
use weir::model::time::{Span, Time};
use weir::model::world::{Tuning, World};

/// Midnight, as the page counts it.
const BEGINNING: Time = Time(1_700_000_000_000);

/// One row of the first table.
#[derive(Clone, Debug)]
struct Arrival {
    name: String,
    at: Span,
    cpus: i64,
    runs: Span,
    namespace: String,
    priority: i32,
}

/// The rows of the table under a heading, without its head.
pub fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let below = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let rows =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

/// `m:ss`.
fn span(text: &str) -> Span {
    let (minutes, seconds) = text.split_once(':').unwrap_or_else(|| panic!("{text:?} is not m:ss"));
    Span::seconds(minutes.parse::<i64>().unwrap() * 60 + seconds.parse::<i64>().unwrap())
}

fn shown(span: Span) -> String {
    let seconds = span.0 / 1000;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn cpus(cpus: i64) -> NamedAmounts {
    [("cpu", cpus * 1000), ("pods", 1)].map(|(name, amount)| (Arc::from(name), Amount::new(amount))).into()
}

/// The pool that a row of the second table speaks of.
fn pool(row: &str) -> PoolSpec {
    let mut spec = PoolSpec {
        name: "pool".into(),
        uid: "pool".into(),
        nodes: Some(Default::default()),
        namespaces: Some(Default::default()),
        within_pool: WithinPool::Never,
        entitlements: vec![Entitlement {
            resource: "cpu".into(),
            reservation: Amount::ZERO,
            limit: Limit::Unlimited,
            lending: Limit::Unlimited,
            capacity: None,
        }],
        ..PoolSpec::default()
    };
    for word in row.split([',', ' ']).filter(|word| !word.is_empty()) {
        match word {
            "FirstComeFirstServed" => spec.policy = Policy::FirstComeFirstServed,
            "Priority" => spec.policy = Policy::Priority,
            "FairShare" => spec.policy = Policy::FairShare,
            "RoundRobin" => spec.policy = Policy::RoundRobin,
            "Strict" => spec.queueing = Queueing::Strict,
            "BestEffort" => spec.queueing = Queueing::BestEffort,
            "Backfill" => spec.queueing = Queueing::Backfill,
            "LowerPriority" => spec.within_pool = WithinPool::LowerPriority,
            "withinPool:" | "Never" | "timeSlice:" => {}
            slice => {
                let duration: weir::api::Duration = slice.parse().unwrap_or_else(|_| panic!("{slice:?}"));
                spec.time_slice = Some(Span(duration.as_millis()));
            }
        }
    }
    spec
}

/// A cluster of one node on which pods run at once, for exactly as long as they say, and leave at once.
struct Cluster {
    world: World,
    now: Time,
    /// By UID of the workload: what it asks for, and how long it still has to run.
    work: BTreeMap<Arc<str>, (i64, Span)>,
    /// By UID of the workload: since when it runs, and in which attempt.
    runs: BTreeMap<Arc<str>, (Time, u32)>,
    starts: BTreeMap<String, Vec<Span>>,
    /// What is evicted goes on where it stopped.
    saves: bool,
}

impl Cluster {
    fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    fn pod(&self, uid: &Arc<str>, attempt: u32, phase: PodPhase) -> Delta {
        Delta::Pod(Box::new(PodSpec {
            uid: format!("{uid}-{attempt}").into(),
            node: Some("node".into()),
            bound: true,
            created: self.now,
            terminating: false,
            phase,
            requests: cpus(self.work[uid].0),
            host_ports: Vec::new(),
            neighbour: Default::default(),
            member: Some(MemberRef { workload: Arc::clone(uid), index: 0, attempt }),
            maker: None,
            machine: None,
        }))
    }

    /// Decides until nothing follows; when to look again.
    fn settle(&mut self) -> Option<Time> {
        for _ in 0..100 {
            let decided = decide(&mut self.world, self.now);
            if decided.decisions.is_empty() {
                return decided.wake_at;
            }
            for decision in decided.decisions {
                self.carry_out(decision);
            }
        }
        panic!("it goes on for ever at {:?}", self.now);
    }

    fn carry_out(&mut self, decision: Decision) {
        match decision {
            Decision::Admit { workload, placements, .. } => {
                let attempt = placements[0].attempt;
                let running = PodPhase::Running { ready_since: Some(self.now) };
                self.tell(self.pod(&workload, attempt, running));
                let since_midnight = self.now - BEGINNING;
                self.starts.entry(workload.to_string()).or_default().push(since_midnight);
                self.runs.insert(workload, (self.now, attempt));
            }
            Decision::Stop { workload, .. } => {
                let (since, attempt) = self.runs.remove(&workload).unwrap();
                if self.saves
                    && let Some((_, left)) = self.work.get_mut(&workload)
                {
                    *left = Span(left.0 - (self.now - since).0);
                }
                self.tell(Delta::PodGone(format!("{workload}-{attempt}").into()));
            }
            Decision::Finish { .. } => {}
            other => panic!("nothing of that kind happens here: {other:?}"),
        }
    }
}

/// When each workload starts, each time.
fn starts(arrivals: &[Arrival], row: &str) -> BTreeMap<String, Vec<Span>> {
    let spec = pool(row);
    let saves = spec.policy == Policy::RoundRobin;
    let mut cluster = Cluster {
        world: World::new(Tuning::default()),
        now: BEGINNING,
        work: BTreeMap::new(),
        runs: BTreeMap::new(),
        starts: BTreeMap::new(),
        saves,
    };
    for name in arrivals.iter().map(|arrival| &arrival.namespace).collect::<BTreeSet<_>>() {
        cluster.tell(Delta::Namespace { name: name.as_str().into(), labels: Default::default() });
    }
    cluster.tell(Delta::Pool(Box::new(spec)));
    let allocatable =
        [("cpu", 4000), ("pods", 110)].map(|(name, amount)| (Arc::from(name), Amount::new(amount)));
    let node = NodeSpec { name: "node".into(), allocatable: allocatable.into(), ..NodeSpec::default() };
    cluster.tell(Delta::Node(Box::new(node)));
    cluster.tell(Delta::Settled);
    let mut left = arrivals.to_vec();
    loop {
        let wake_at = cluster.settle();
        let ends = cluster.runs.iter().map(|(uid, (since, _))| *since + cluster.work[uid].1);
        let comes = left.iter().map(|arrival| BEGINNING + arrival.at);
        let Some(next) = ends.chain(comes).chain(wake_at).min() else { return cluster.starts };
        cluster.now = next;
        let over: Vec<(Arc<str>, u32)> = cluster
            .runs
            .iter()
            .filter(|(uid, (since, _))| *since + cluster.work[*uid].1 <= next)
            .map(|(uid, (_, attempt))| (Arc::clone(uid), *attempt))
            .collect();
        for (uid, attempt) in over {
            cluster.runs.remove(&uid);
            cluster.tell(cluster.pod(&uid, attempt, PodPhase::Succeeded));
        }
        let (come, later): (Vec<Arrival>, Vec<Arrival>) =
            left.into_iter().partition(|arrival| BEGINNING + arrival.at <= next);
        left = later;
        for arrival in come {
            let uid: Arc<str> = arrival.name.as_str().into();
            cluster.work.insert(Arc::clone(&uid), (arrival.cpus, arrival.runs));
            cluster.tell(Delta::Workload(Box::new(WorkloadSpec {
                name: Arc::clone(&uid),
                uid,
                namespace: arrival.namespace.as_str().into(),
                created: next,
                pool: "pool".into(),
                priority: arrival.priority,
                expected_duration: Some(arrival.runs),
                shape: Ok(Arc::new(ShapeSpec { requests: cpus(arrival.cpus), ..ShapeSpec::default() })),
                ..WorkloadSpec::default()
            })));
        }
    }
}

#[test]
fn each_policy_starts_work_when_the_page_says() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policies.md")).unwrap();
    let arrivals: Vec<Arrival> = table(&page, "The arrivals")
        .into_iter()
        .map(|row| Arrival {
            name: row[0].clone(),
            at: span(&row[1]),
            cpus: row[2].parse().unwrap(),
            runs: span(&row[3]),
            namespace: row[4].clone(),
            priority: row[5].parse().unwrap(),
        })
        .collect();
    assert_eq!(arrivals.len(), 5);
    let rows = table(&page, "The starts");
    assert_eq!(rows.len(), 7, "every policy has its row");
    let mut wrong = Vec::new();
    let mut all = BTreeSet::new();
    for row in &rows {
        let starts = starts(&arrivals, &row[0]);
        let found: Vec<String> = arrivals
            .iter()
            .map(|one| {
                starts
                    .get(&one.name)
                    .into_iter()
                    .flatten()
                    .map(|at| shown(*at))
                    .collect::<Vec<_>>()
                    .join(", ")
            })
            .collect();
        if found != row[1..] {
            wrong.push(format!("{}: the page says {:?}, and it is {found:?}", row[0], &row[1..]));
        }
        all.insert(found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(all.len(), rows.len(), "the arrivals tell the policies apart");
}
