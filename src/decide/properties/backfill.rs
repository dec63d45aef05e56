//! What passes the head of a queue that is backfilled never delays it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::strategy::Strategy as _;

use super::hold;
use crate::decide::decide;
use crate::decide::decision::Decision;
use crate::decide::testing::{NAMESPACE, node, pool, workload};
use crate::model::delta::Delta;
use crate::model::refusal::Refusal;
use crate::model::report::WorkloadPhase;
use crate::model::spec::{MemberRef, PodPhase, PodSpec, Policy, PoolSpec, Queueing, WorkloadSpec};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

/// One workload: after how many seconds it comes, its members, their cores, and how many seconds it runs and says so;
/// none: it does not say, and runs for ever.
type Arrival = (i64, u32, i64, Option<i64>);

#[derive(Default, Debug)]
struct Seen {
    promised: u32,
    passed: u32,
    kept_from_passing: u32,
    gangs_promised: u32,
}

struct Cluster {
    world: World,
    now: Time,
    work: BTreeMap<Arc<str>, WorkloadSpec>,
    running: BTreeMap<Arc<str>, Time>,
    promises: BTreeMap<Arc<str>, Time>,
}

impl Cluster {
    fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    fn pod(&self, uid: &Arc<str>, index: u32, node: Option<Arc<str>>, phase: PodPhase) -> Delta {
        Delta::Pod(Box::new(PodSpec {
            uid: format!("{uid}-{index}").into(),
            node,
            bound: true,
            created: self.now,
            terminating: false,
            phase,
            requests: self.work[uid].shape.as_ref().unwrap().requests.clone(),
            host_ports: Vec::new(),
            neighbour: Default::default(),
            member: Some(MemberRef { workload: Arc::clone(uid), index, attempt: 0 }),
            maker: None,
            machine: None,
        }))
    }

    fn cycle(&mut self, seen: &mut Seen) {
        loop {
            let decided = decide(&mut self.world, self.now);
            if decided.decisions.is_empty() {
                break;
            }
            for decision in decided.decisions {
                match decision {
                    Decision::Admit { workload, placements, .. } => {
                        if let Some(due) = self.promises.get(&workload) {
                            assert!(
                                self.now <= *due,
                                "{workload} was promised {due:?} and starts at {:?}",
                                self.now
                            );
                        }
                        let created = self.work[&workload].created;
                        let waits = |uid: &Arc<str>| {
                            !self.running.contains_key(uid) && self.work[uid].created < created
                        };
                        seen.passed += u32::from(self.promises.keys().any(waits));
                        self.promises.remove(&workload);
                        self.running.insert(Arc::clone(&workload), self.now);
                        let ready_since = Some(self.now);
                        for one in placements {
                            let running = PodPhase::Running { ready_since };
                            self.tell(self.pod(&workload, one.index, Some(one.node), running));
                        }
                    }
                    Decision::Finish { .. } => {}
                    other => panic!("everybody keeps to what was declared: {other:?}"),
                }
            }
        }
        for (uid, spec) in &self.work {
            let Some(report) = self.world.workload_report(uid) else { continue };
            let WorkloadPhase::Queued { refusal, .. } = report.phase else { continue };
            seen.kept_from_passing += u32::from(matches!(refusal, Refusal::WouldDelay { .. }));
            if let Some(due) = report.due
                && !self.promises.contains_key(uid)
            {
                seen.promised += 1;
                seen.gangs_promised += u32::from(spec.replicas > 1);
                self.promises.insert(Arc::clone(uid), due);
            }
        }
    }
}

fn run(arrivals: &[Arrival], seen: &mut Seen) {
    let mut cluster = Cluster {
        world: World::new(Tuning::default()),
        now: Time(1_000_000),
        work: BTreeMap::new(),
        running: BTreeMap::new(),
        promises: BTreeMap::new(),
    };
    cluster.tell(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() });
    cluster.tell(Delta::Pool(Box::new(PoolSpec {
        policy: Policy::FirstComeFirstServed,
        queueing: Queueing::Backfill,
        ..pool("root", None, 0, None)
    })));
    for at in 0..4 {
        cluster.tell(Delta::Node(Box::new(node(&format!("n{at}"), 4))));
    }
    cluster.tell(Delta::Settled);
    let mut comes = cluster.now;
    let mut left: Vec<(Time, WorkloadSpec)> = Vec::new();
    for (count, (after, members, cores, runs)) in arrivals.iter().enumerate() {
        comes = comes + Span::seconds(*after);
        let spec = workload(&format!("w{count:03}"), "root", *cores, *members, *members, comes.0);
        left.push((comes, WorkloadSpec { expected_duration: runs.map(Span::seconds), ..spec }));
    }
    let until = comes + Span::seconds(2000);
    while cluster.now < until {
        let over: Vec<Arc<str>> = cluster
            .running
            .iter()
            .filter(|(uid, since)| {
                let runs = cluster.work[*uid].expected_duration;
                runs.is_some_and(|runs| **since + runs <= cluster.now)
            })
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        for uid in over {
            for index in 0..cluster.work[&uid].replicas {
                let node = cluster.world.workload_report(&uid).unwrap().members[index as usize].node.clone();
                cluster.tell(cluster.pod(&uid, index, node, PodPhase::Succeeded));
            }
            // It stays in the map as one that does not wait, and ends no second time.
            cluster.running.insert(uid, until);
        }
        let now = cluster.now;
        for (_, spec) in left.extract_if(.., |(at, _)| *at <= now) {
            cluster.work.insert(Arc::clone(&spec.uid), spec.clone());
            cluster.tell(Delta::Workload(Box::new(spec)));
        }
        cluster.cycle(seen);
        cluster.now = cluster.now + Span::seconds(1);
    }
}

#[test]
fn what_passes_the_head_of_a_queue_never_delays_it() {
    let endless = proptest::prop_oneof![
        9 => (5_i64..90).prop_map(Some),
        1 => proptest::strategy::Just(None),
    ];
    let arrival = (0_i64..12, proptest::prop_oneof![3 => 1_u32..2, 1 => 2_u32..5], 1_i64..5, endless);
    let seen = RefCell::new(Seen::default());
    hold(150, &proptest::collection::vec(arrival, 5..40), |arrivals| run(&arrivals, &mut seen.borrow_mut()));
    let seen = seen.into_inner();
    for (what, count) in [
        ("promised", seen.promised),
        ("gangs promised", seen.gangs_promised),
        ("passed", seen.passed),
        ("kept from passing", seen.kept_from_passing),
    ] {
        assert!(count >= 100, "the streams do not contend: {what} {count} times ({seen:?})");
    }
}
