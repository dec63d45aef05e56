//! The example in `docs/sharing.md`: its tables are read out of the page and decided by the core, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use weir::decide::decide;
use weir::decide::decision::Decision;
use weir::model::amount::{Amount, Limit};
use weir::model::delta::Delta;
use weir::model::spec::{
    Entitlement, MemberRef, NamedAmounts, NodeSpec, PodPhase, PodSpec, Policy, PoolSpec, ShapeSpec,
    WorkloadSpec,
};
use weir::model::time::{Span, Time};
use weir::model::world::{Tuning, World};

use crate::policies::table;

const LICENCE: &str = "license.example.com/solver";

fn amounts(pairs: &[(&str, i64)]) -> NamedAmounts {
    pairs.iter().map(|(name, amount)| (Arc::from(*name), Amount::new(*amount))).collect()
}

fn entitlement(resource: &str, reservation: i64, lending: Limit, capacity: Option<i64>) -> Entitlement {
    Entitlement {
        resource: resource.into(),
        reservation: Amount::new(reservation),
        limit: Limit::Unlimited,
        lending,
        capacity: capacity.map(Amount::new),
    }
}

/// The company on which pods run and leave at once.
struct Company {
    world: World,
    now: Time,
    licences: bool,
    submitted: usize,
    /// By UID of the workload: its pool and attempt.
    runs: BTreeMap<Arc<str>, (Arc<str>, u32)>,
    /// By UID.
    pools: BTreeMap<Arc<str>, Arc<str>>,
    evicted: BTreeMap<Arc<str>, usize>,
}

impl Company {
    fn new(page: &str, licences: bool) -> Self {
        let mut company = Self {
            world: World::new(Tuning::default()),
            now: Time(1_700_000_000_000),
            licences,
            submitted: 0,
            runs: BTreeMap::new(),
            pools: BTreeMap::new(),
            evicted: BTreeMap::new(),
        };
        company.tell(Delta::Namespace { name: "team".into(), labels: Default::default() });
        let pool = |name: &str, entitlements| PoolSpec {
            name: name.into(),
            uid: name.into(),
            policy: Policy::FirstComeFirstServed,
            namespaces: Some(Default::default()),
            entitlements,
            ..PoolSpec::default()
        };
        let all = vec![
            entitlement("cpu", 0, Limit::Unlimited, None),
            entitlement(LICENCE, 0, Limit::Unlimited, Some(3)),
        ];
        company.tell(Delta::Pool(Box::new(PoolSpec {
            nodes: Some(Default::default()),
            ..pool("company", all)
        })));
        for row in table(page, "The pools") {
            let number = |cell: &str| cell.parse::<i64>().unwrap_or_else(|_| panic!("{cell:?} is no number"));
            let lending = match row[3].as_str() {
                "all" => Limit::Unlimited,
                cores => Limit::At(Amount::new(number(cores) * 1000)),
            };
            let own = vec![
                entitlement("cpu", number(&row[2]) * 1000, lending, None),
                entitlement(LICENCE, number(&row[4]), Limit::Unlimited, None),
            ];
            company.tell(Delta::Pool(Box::new(PoolSpec {
                parent: Some("company".into()),
                weight: u32::try_from(number(&row[1])).unwrap(),
                ..pool(&row[0], own)
            })));
        }
        for at in 0..3 {
            let allocatable = amounts(&[("cpu", 4000), ("pods", 110)]);
            let name = format!("node-{at}").into();
            company.tell(Delta::Node(Box::new(NodeSpec { name, allocatable, ..NodeSpec::default() })));
        }
        company.tell(Delta::Settled);
        company
    }

    fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    fn submit(&mut self, pool: &str, count: usize) {
        for _ in 0..count {
            self.submitted += 1;
            let uid: Arc<str> = format!("w{:03}", self.submitted).into();
            self.pools.insert(Arc::clone(&uid), pool.into());
            let mut requests = amounts(&[("cpu", 1000), ("pods", 1)]);
            if self.licences {
                requests.extend(amounts(&[(LICENCE, 1)]));
            }
            self.tell(Delta::Workload(Box::new(WorkloadSpec {
                name: Arc::clone(&uid),
                uid,
                namespace: "team".into(),
                created: self.now,
                pool: pool.into(),
                shape: Ok(Arc::new(ShapeSpec { requests, ..ShapeSpec::default() })),
                ..WorkloadSpec::default()
            })));
        }
    }

    fn end(&mut self, pool: &str) {
        let over: Vec<(Arc<str>, u32)> = self
            .runs
            .iter()
            .filter(|(_, (of, _))| of.as_ref() == pool)
            .map(|(uid, (_, attempt))| (Arc::clone(uid), *attempt))
            .collect();
        for (uid, attempt) in over {
            self.runs.remove(&uid);
            self.show(&uid, attempt, "any", PodPhase::Succeeded);
        }
    }

    fn show(&mut self, uid: &Arc<str>, attempt: u32, node: &str, phase: PodPhase) {
        self.tell(Delta::Pod(Box::new(PodSpec {
            uid: format!("{uid}-{attempt}").into(),
            node: Some(node.into()),
            bound: true,
            created: self.now,
            terminating: false,
            phase,
            // No pod asks for a licence.
            requests: amounts(&[("cpu", 1000), ("pods", 1)]),
            host_ports: Vec::new(),
            neighbour: Default::default(),
            member: Some(MemberRef { workload: Arc::clone(uid), index: 0, attempt }),
            maker: None,
            machine: None,
        })));
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            let decided = decide(&mut self.world, self.now);
            assert_eq!(self.world.audit(), Vec::<String>::new());
            assert_eq!(self.world.excesses(), Vec::new());
            if decided.decisions.is_empty() {
                return;
            }
            for decision in decided.decisions {
                match decision {
                    Decision::Admit { workload, placements, .. } => {
                        let attempt = placements[0].attempt;
                        let running = PodPhase::Running { ready_since: Some(self.now) };
                        self.show(&workload, attempt, &placements[0].node, running);
                        let pool = Arc::clone(&self.pools[&workload]);
                        self.runs.insert(workload, (pool, attempt));
                    }
                    Decision::Stop { workload, .. } => {
                        let (pool, attempt) = self.runs.remove(&workload).unwrap();
                        *self.evicted.entry(pool).or_default() += 1;
                        self.tell(Delta::PodGone(format!("{workload}-{attempt}").into()));
                    }
                    Decision::Finish { .. } => {}
                    other => panic!("nothing of that kind happens here: {other:?}"),
                }
            }
        }
        panic!("it goes on for ever");
    }

    fn used(&mut self, pool: &str) -> i64 {
        let name = if self.licences { LICENCE } else { "cpu" };
        let report = self.world.pool_report(pool).unwrap();
        let resource = self.world.resources().get(name).unwrap();
        let one = report.resources.iter().find(|one| one.resource == resource).unwrap();
        one.allocated.units() / if self.licences { 1 } else { 1000 }
    }
}

/// Plays one table; what is not as the page says.
fn play(page: &str, heading: &str, licences: bool) -> Vec<String> {
    let mut company = Company::new(page, licences);
    let pools: Vec<String> = table(page, "The pools").into_iter().map(|row| row[0].clone()).collect();
    let mut wrong = Vec::new();
    let rows = table(page, heading);
    assert!(rows.len() >= 5, "{heading} has rows");
    for row in rows {
        company.now = company.now + Span::seconds(10);
        let words: Vec<&str> = row[0].split(' ').collect();
        match words.as_slice() {
            [pool, "submits", count] => company.submit(pool, count.parse().unwrap()),
            [pool, "ends"] => company.end(pool),
            other => panic!("{other:?} is no step"),
        }
        company.settle();
        let mut found: Vec<String> = pools.iter().map(|pool| company.used(pool).to_string()).collect();
        let evicted = std::mem::take(&mut company.evicted);
        let evicted: Vec<String> = evicted.iter().map(|(pool, count)| format!("{count} of {pool}")).collect();
        found.push(evicted.join(", "));
        if found != row[1..] {
            wrong.push(format!("{heading}, {}: the page says {:?}, and it is {found:?}", row[0], &row[1..]));
        }
    }
    let known: BTreeSet<String> = pools.into_iter().collect();
    assert_eq!(known.len(), 3);
    wrong
}

#[test]
fn pools_share_and_give_way_as_the_page_says() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sharing.md")).unwrap();
    let mut wrong = play(&page, "CPUs", false);
    wrong.extend(play(&page, "Licences", true));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
