//! Properties that hold for random worlds and random streams of what happens to them.
//!
//! A small stand-in for a cluster turns decisions into pods, in any order and with any delay, and the world
//! is held against itself and against the limits after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::{Just, any, prop_oneof};
use proptest::strategy::Strategy as Random;
use proptest::test_runner::{Config, TestRunner};

use super::decide;
use super::decision::{Decided, Decision};
use super::testing::{NAMESPACE, amounts, node, pool, workload};
use crate::model::amount::{Amount, Limit};
use crate::model::delta::{Delta, InFlight};
use crate::model::refusal::Refusal;
use crate::model::report::{MemberState, WorkloadPhase};
use crate::model::spec::{
    MemberRef, NodeSpec, PodPhase, PodSpec, PoolSpec, StopPolicy, StopReason, WorkloadRecord, WorkloadSpec,
};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

/// What a cluster would hold: objects, and creates that are under way.
#[derive(Clone, Default)]
struct Cluster {
    world: World,
    now: Time,
    pods: BTreeMap<Arc<str>, PodSpec>,
    creating: Vec<PodSpec>,
    workloads: BTreeMap<Arc<str>, WorkloadSpec>,
    nodes: BTreeMap<Arc<str>, NodeSpec>,
    pools: BTreeMap<Arc<str>, PoolSpec>,
    ledger: BTreeMap<(Arc<str>, u32), InFlight>,
    seen: Seen,
}

/// That the random steps contend at all.
#[derive(Clone, Default, Debug)]
struct Seen {
    admitted: u32,
    quota_full: u32,
    no_node: u32,
    reclaimed: u32,
    gangs: u32,
    restarts: u32,
}

impl Cluster {
    fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    fn start() -> Self {
        let mut cluster =
            Self { world: World::new(Tuning::default()), now: Time(1_000_000), ..Self::default() };
        cluster.tell(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() });
        cluster.tell(Delta::Settled);
        cluster
    }

    /// Decides, and begins what was decided.
    fn cycle(&mut self) -> Decided {
        let before: BTreeMap<_, _> = self
            .world
            .excesses()
            .into_iter()
            .map(|(name, resource, used, _)| ((name, resource), used))
            .collect();
        let decided = decide(&mut self.world, self.now);
        for (name, resource, used, bound) in self.world.excesses() {
            let was = before.get(&(Arc::clone(&name), resource)).copied().unwrap_or(0);
            assert!(used <= was, "{name} {resource:?}: {used} of {bound} is used, {was} was before deciding");
        }
        for decision in decided.decisions.clone() {
            self.begin(decision);
        }
        decided
    }

    fn begin(&mut self, decision: Decision) {
        match decision {
            Decision::Admit { workload, placements, pool, at } => {
                let spec = self.workloads[&workload].clone();
                let size = u32::try_from(placements.len()).unwrap();
                let done = self.world.workload_report(&workload).unwrap().succeeded.len();
                assert!(
                    size + done >= spec.min_replicas.min(spec.replicas),
                    "a gang starts whole or not at all"
                );
                self.seen.admitted += 1;
                self.seen.gangs += u32::from(size > 1);
                self.create(&workload, &pool, at, size, placements);
            }
            Decision::Place { workload, placements, pool, admitted_at, size } => {
                self.create(&workload, &pool, admitted_at, size, placements);
            }
            Decision::Stop { workload, reason, .. } => {
                self.seen.reclaimed += u32::from(reason == StopReason::Reclaimed);
                let pods: Vec<Arc<str>> = self.pods_of(&workload);
                for uid in pods {
                    self.terminate(&uid);
                }
            }
            Decision::Drop { pod, .. } => self.terminate(&pod),
            Decision::Finish { .. } => {}
            Decision::Expire { workload } => self.delete_workload(&workload),
        }
    }

    fn create(
        &mut self,
        workload: &Arc<str>,
        pool: &Arc<str>,
        at: Time,
        size: u32,
        placements: Vec<super::decision::Placement>,
    ) {
        let spec = &self.workloads[workload];
        for placement in placements {
            let entry = InFlight {
                workload: Arc::clone(workload),
                pool: Arc::clone(pool),
                at,
                size,
                placements: [(placement.index, (placement.attempt, Arc::clone(&placement.node)))].into(),
            };
            self.ledger.insert((Arc::clone(workload), placement.index), entry);
            let uid: Arc<str> = format!("{workload}-{}-{}", placement.index, placement.attempt).into();
            assert!(!self.pods.contains_key(&uid), "a name is used once: {uid}");
            if self.creating.iter().any(|pod| pod.uid == uid) {
                continue;
            }
            self.creating.push(PodSpec {
                uid,
                node: Some(placement.node),
                bound: true,
                created: self.now,
                terminating: false,
                phase: PodPhase::Pending,
                requests: spec.shape.as_ref().unwrap().requests.clone(),
                host_ports: Vec::new(),
                member: Some(MemberRef {
                    workload: Arc::clone(workload),
                    index: placement.index,
                    attempt: placement.attempt,
                }),
            });
        }
    }

    fn pods_of(&self, workload: &Arc<str>) -> Vec<Arc<str>> {
        let ours = |pod: &&PodSpec| pod.member.as_ref().is_some_and(|member| member.workload == *workload);
        self.pods.values().filter(ours).map(|pod| Arc::clone(&pod.uid)).collect()
    }

    fn show(&mut self, pod: PodSpec) {
        self.pods.insert(Arc::clone(&pod.uid), pod.clone());
        if let Some(member) = &pod.member {
            let key = (Arc::clone(&member.workload), member.index);
            let awaited = self.ledger.get(&key).and_then(|entry| entry.placements.get(&member.index));
            if awaited.is_some_and(|(attempt, _)| *attempt == member.attempt) {
                self.ledger.remove(&key);
            }
        }
        self.tell(Delta::Pod(Box::new(pod)));
    }

    fn terminate(&mut self, uid: &Arc<str>) {
        if let Some(pod) = self.pods.get(uid).cloned() {
            self.show(PodSpec { terminating: true, ..pod });
        }
    }

    fn delete_workload(&mut self, uid: &Arc<str>) {
        if self.workloads.remove(uid).is_some() {
            self.tell(Delta::WorkloadGone(Arc::clone(uid)));
            for pod in self.pods_of(uid) {
                self.terminate(&pod);
            }
        }
    }

    fn see_workload(&mut self, spec: WorkloadSpec) {
        self.workloads.insert(Arc::clone(&spec.uid), spec.clone());
        self.tell(Delta::Workload(Box::new(spec)));
    }

    /// At most one live pod for each index, and none of them twice.
    fn check_one_each(&self) {
        let mut live = BTreeSet::new();
        for pod in self.pods.values().filter(|pod| !pod.phase.ended()) {
            if let Some(member) = &pod.member {
                assert!(
                    live.insert((Arc::clone(&member.workload), member.index)),
                    "two live pods: {member:?}"
                );
            }
        }
    }

    fn check(&mut self) {
        let wrong = self.world.audit();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.check_one_each();
        for uid in self.workloads.keys() {
            let report = self.world.workload_report(uid).unwrap();
            if let WorkloadPhase::Queued { refusal, .. } = report.phase {
                match refusal {
                    Refusal::WaitingForQuota { .. } => self.seen.quota_full += 1,
                    Refusal::NoFittingNode(_) | Refusal::Fragmented { .. } => self.seen.no_node += 1,
                    _ => {}
                }
            }
        }
    }

    /// The world built anew from what the cluster holds, as after a restart.
    fn restart(&mut self) {
        self.seen.restarts += 1;
        let mut world = World::new(Tuning::default());
        let now = self.now;
        for pool in self.pools.values() {
            world.apply(Delta::Pool(Box::new(pool.clone())), now);
        }
        world.apply(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() }, now);
        for node in self.nodes.values() {
            world.apply(Delta::Node(Box::new(node.clone())), now);
        }
        for pod in self.pods.values() {
            world.apply(Delta::Pod(Box::new(pod.clone())), now);
        }
        for spec in self.workloads.values() {
            let mut spec = spec.clone();
            spec.record = record(&self.world, &spec.uid);
            world.apply(Delta::Workload(Box::new(spec)), now);
        }
        for entry in self.ledger.values() {
            world.apply(Delta::InFlight(Box::new(entry.clone())), now);
        }
        world.apply(Delta::Settled, now);
        for pool in self.pools.keys() {
            let (mut old, mut new) = (self.world.clone(), world.clone());
            let amounts = |world: &mut World| {
                let report = world.pool_report(pool).unwrap();
                let by_name = |one: &crate::model::report::PoolResource| {
                    (one.capacity, one.unmanaged, one.allocated, one.borrowed, one.limit)
                };
                (report.running, report.resources.iter().map(by_name).collect::<Vec<_>>())
            };
            let (was, is) = (amounts(&mut old), amounts(&mut new));
            // Members that pause before they start again hold quota that no object shows, and those of a
            // workload that is gone are unmanaged pods to whoever never saw it.
            let orphaned = |pod: &PodSpec| {
                pod.member.as_ref().is_some_and(|member| !self.workloads.contains_key(&member.workload))
            };
            let orphans = self.pods.values().any(orphaned) || self.creating.iter().any(orphaned);
            if !orphans && !pausing(&self.world, &self.workloads) {
                let members = |world: &World| {
                    let reports = self.workloads.keys().filter_map(|uid| world.workload_report(uid));
                    reports.map(|report| (report.phase, report.members)).collect::<Vec<_>>()
                };
                assert_eq!(
                    was,
                    is,
                    "pool {pool}: before the restart, and built from scratch\n{:?}\n{:?}\n{:?}",
                    members(&self.world),
                    members(&world),
                    self.ledger
                );
            }
        }
        self.world = world;
    }
}

fn pausing(world: &World, workloads: &BTreeMap<Arc<str>, WorkloadSpec>) -> bool {
    workloads
        .keys()
        .filter_map(|uid| world.workload_report(uid))
        .any(|report| report.members.iter().any(|member| member.state == MemberState::BackingOff))
}

/// What the status of a workload would say.
fn record(world: &World, uid: &str) -> WorkloadRecord {
    let report = world.workload_report(uid).unwrap();
    let mut record = WorkloadRecord {
        succeeded: report.succeeded.clone(),
        failures: report.failures.iter().copied().collect(),
        attempts: report.members.iter().map(|member| (member.index, member.attempt)).collect(),
        ..WorkloadRecord::default()
    };
    match report.phase {
        WorkloadPhase::Queued { since, .. } => record.queued_at = Some(since),
        WorkloadPhase::Admitted { at, size, started_at } => {
            record.admitted = Some((at, size));
            record.started_at = started_at;
        }
        WorkloadPhase::Stopping { reason, .. } => {
            record.stopping = Some(reason);
            record.admitted = Some((Time(0), report.desired));
        }
        WorkloadPhase::Suspended => record.suspended = true,
        WorkloadPhase::Finished { reason, at } => record.finished = Some((reason, at)),
    }
    record
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Submit { pool: usize, cores: i64, least: u32, more: u32, priority: i32 },
    Suspend(usize, bool),
    Delete(usize),
    Created(usize),
    Runs(usize),
    Ends(usize, u8),
    Leaves(usize),
    Foreign { node: usize, cores: i64 },
    Resize { node: usize, cores: i64 },
    Cordon(usize, bool),
    NodeGone(usize),
    Limit { pool: usize, limit: i64 },
    Drain { pool: usize, stop: bool },
    Wait(i64),
    Restart,
}

fn step() -> impl Random<Value = Step> {
    prop_oneof![
        8 => (0_usize..4, 1_i64..6, 1_u32..4, 0_u32..3, -2_i32..3).prop_map(|(pool, cores, least, more, priority)| {
            Step::Submit { pool, cores, least, more, priority }
        }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, on)| Step::Suspend(which, on)),
        1 => any::<usize>().prop_map(Step::Delete),
        8 => any::<usize>().prop_map(Step::Created),
        6 => any::<usize>().prop_map(Step::Runs),
        5 => (any::<usize>(), 0_u8..4).prop_map(|(which, how)| Step::Ends(which, how)),
        6 => any::<usize>().prop_map(Step::Leaves),
        1 => (0_usize..4, 1_i64..4).prop_map(|(node, cores)| Step::Foreign { node, cores }),
        1 => (0_usize..4, 4_i64..20).prop_map(|(node, cores)| Step::Resize { node, cores }),
        1 => (0_usize..4, any::<bool>()).prop_map(|(node, on)| Step::Cordon(node, on)),
        1 => (0_usize..4).prop_map(Step::NodeGone),
        1 => (1_usize..4, 2_i64..30).prop_map(|(pool, limit)| Step::Limit { pool, limit }),
        1 => (1_usize..4, any::<bool>()).prop_map(|(pool, stop)| Step::Drain { pool, stop }),
        2 => (1_i64..400).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

const POOLS: [&str; 4] = ["root", "a", "b", "b-low"];

fn pick<T: Clone>(all: impl Iterator<Item = T>, which: usize) -> Option<T> {
    let all: Vec<T> = all.collect();
    (!all.is_empty()).then(|| all[which % all.len()].clone())
}

impl Cluster {
    fn populate(&mut self) {
        for (name, parent, reservation, limit) in [
            ("root", None, 0, None),
            ("a", Some("root"), 16, Some(30)),
            ("b", Some("root"), 12, None),
            ("b-low", Some("b"), 4, Some(14)),
        ] {
            self.see_pool(pool(name, parent, reservation, limit));
        }
        for at in 0..4 {
            self.see_node(node(&format!("n{at}"), 10));
        }
    }

    fn see_pool(&mut self, spec: PoolSpec) {
        self.pools.insert(Arc::clone(&spec.name), spec.clone());
        self.tell(Delta::Pool(Box::new(spec)));
    }

    fn see_node(&mut self, spec: NodeSpec) {
        self.nodes.insert(Arc::clone(&spec.name), spec.clone());
        self.tell(Delta::Node(Box::new(spec)));
    }

    fn take(&mut self, step: &Step, count: usize) {
        self.now = self.now + Span::seconds(1);
        match *step {
            Step::Submit { pool, cores, least, more, priority } => {
                let name = format!("w{count}");
                let created = self.now.0;
                let spec = workload(&name, POOLS[pool], cores, least, least + more, created);
                self.see_workload(WorkloadSpec { priority, ..spec });
            }
            Step::Suspend(which, suspend) => {
                if let Some(spec) = pick(self.workloads.values().cloned(), which) {
                    self.see_workload(WorkloadSpec { suspend, ..spec });
                }
            }
            Step::Delete(which) => {
                if let Some(uid) = pick(self.workloads.keys().cloned(), which) {
                    self.delete_workload(&uid);
                }
            }
            Step::Created(which) => {
                if !self.creating.is_empty() {
                    let pod = self.creating.swap_remove(which % self.creating.len());
                    self.show(pod);
                }
            }
            Step::Runs(which) => {
                let ready_since = Some(self.now);
                let pending = |pod: &PodSpec| pod.phase == PodPhase::Pending && pod.member.is_some();
                if let Some(pod) = pick(self.pods.values().filter(|pod| pending(pod)).cloned(), which) {
                    self.show(PodSpec { phase: PodPhase::Running { ready_since }, ..pod });
                }
            }
            Step::Ends(which, how) => {
                let phase = match how {
                    0 => PodPhase::Failed { message: "exit 1".into() },
                    1 => PodPhase::Refused { message: "OutOfcpu".into() },
                    _ => PodPhase::Succeeded,
                };
                let running = |pod: &PodSpec| !pod.phase.ended() && !pod.terminating && pod.member.is_some();
                if let Some(pod) = pick(self.pods.values().filter(|pod| running(pod)).cloned(), which) {
                    self.show(PodSpec { phase, ..pod });
                }
            }
            Step::Leaves(which) => {
                if let Some(pod) = pick(self.pods.values().filter(|pod| pod.terminating).cloned(), which) {
                    self.pods.remove(&pod.uid);
                    self.tell(Delta::PodGone(pod.uid));
                }
            }
            Step::Foreign { node, cores } => self.show(PodSpec {
                uid: format!("foreign-{count}").into(),
                node: Some(format!("n{node}").into()),
                bound: true,
                created: self.now,
                terminating: false,
                phase: PodPhase::Running { ready_since: None },
                requests: amounts(&[("cpu", cores * 1000), ("pods", 1)]),
                host_ports: Vec::new(),
                member: None,
            }),
            Step::Resize { node: at, cores } => self.see_node(node(&format!("n{at}"), cores)),
            Step::Cordon(at, unschedulable) => {
                let name: Arc<str> = format!("n{at}").into();
                if let Some(spec) = self.nodes.get(&name).cloned() {
                    self.see_node(NodeSpec { unschedulable, ..spec });
                }
            }
            Step::NodeGone(at) => {
                let name: Arc<str> = format!("n{at}").into();
                if self.nodes.remove(&name).is_some() {
                    self.tell(Delta::NodeGone(Arc::clone(&name)));
                    let there: Vec<PodSpec> =
                        self.pods.values().filter(|pod| pod.node.as_ref() == Some(&name)).cloned().collect();
                    for pod in there {
                        self.pods.remove(&pod.uid);
                        self.tell(Delta::PodGone(pod.uid));
                    }
                    self.creating.retain(|pod| pod.node.as_ref() != Some(&name));
                    self.vanish_missing();
                }
            }
            Step::Limit { pool: at, limit } => {
                let name: Arc<str> = POOLS[at].into();
                let mut spec = self.pools[&name].clone();
                spec.entitlements[0].limit = Limit::At(Amount::new(limit * 1000));
                self.see_pool(spec);
            }
            Step::Drain { pool: at, stop } => {
                let name: Arc<str> = POOLS[at].into();
                let stop = if stop { StopPolicy::HoldAndDrain } else { StopPolicy::None };
                let spec = PoolSpec { stop, ..self.pools[&name].clone() };
                self.see_pool(spec);
            }
            Step::Wait(seconds) => self.now = self.now + Span::seconds(seconds),
            Step::Restart => self.restart(),
        }
    }

    /// Creates that will never be answered with a pod are looked up, and found missing.
    fn vanish_missing(&mut self) {
        let missing: Vec<MemberRef> = self
            .world
            .workload_ids
            .keys()
            .filter_map(|uid| Some((uid, self.world.workload_report(uid)?)))
            .flat_map(|(uid, report)| report.members.into_iter().map(move |member| (Arc::clone(uid), member)))
            .map(|(workload, member)| MemberRef { workload, index: member.index, attempt: member.attempt })
            .filter(|member| {
                let there = |pod: &PodSpec| pod.member.as_ref() == Some(member);
                !self.creating.iter().any(there) && !self.pods.values().any(there)
            })
            .collect();
        for member in missing {
            self.ledger.remove(&(Arc::clone(&member.workload), member.index));
            self.tell(Delta::MemberVanished(member));
        }
    }

    /// Lets everything under way come to its end.
    fn drain(&mut self) {
        for _ in 0..2000 {
            self.now = self.now + Span::seconds(400);
            let decided = self.cycle();
            for pod in std::mem::take(&mut self.creating) {
                self.show(pod);
            }
            let pods: Vec<PodSpec> = self.pods.values().cloned().collect();
            let mut busy = !decided.decisions.is_empty();
            for pod in pods {
                if pod.terminating {
                    self.pods.remove(&pod.uid);
                    self.tell(Delta::PodGone(pod.uid));
                    busy = true;
                } else if pod.member.is_some() && !pod.phase.ended() {
                    self.show(PodSpec { phase: PodPhase::Succeeded, ..pod });
                    busy = true;
                }
            }
            self.check();
            if !busy {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

fn run(steps: Vec<Step>) -> Seen {
    let mut cluster = Cluster::start();
    cluster.populate();
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
        cluster.see_pool(PoolSpec {
            stop: StopPolicy::None,
            ..pool(name, Some(if name == "b-low" { "b" } else { "root" }), 0, None)
        });
    }
    let suspended: Vec<WorkloadSpec> =
        cluster.workloads.values().filter(|spec| spec.suspend).cloned().collect();
    for spec in suspended {
        cluster.see_workload(WorkloadSpec { suspend: false, ..spec });
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

#[test]
fn no_stream_of_events_passes_a_limit_loses_a_sum_or_starves_a_workload() {
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let total = std::cell::RefCell::new(Seen::default());
    let strategy = proptest::collection::vec(step(), 1..120);
    let result = runner.run(&strategy, |steps| {
        let seen = run(steps);
        let mut total = total.borrow_mut();
        total.admitted += seen.admitted;
        total.quota_full += seen.quota_full;
        total.no_node += seen.no_node;
        total.reclaimed += seen.reclaimed;
        total.gangs += seen.gangs;
        total.restarts += seen.restarts;
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let total = total.into_inner();
    for (what, count) in [
        ("admitted", total.admitted),
        ("quota full", total.quota_full),
        ("no node", total.no_node),
        ("reclaimed", total.reclaimed),
        ("gangs", total.gangs),
        ("restarts", total.restarts),
    ] {
        assert!(count >= 100, "the streams do not contend: {what} {count} times ({total:?})");
    }
}
