//! Random steps: what may happen to a cluster.

use std::sync::Arc;

use proptest::prelude::{Just, any, prop_oneof};
use proptest::strategy::Strategy as Random;

use super::cluster::Cluster;
use crate::decide::decision::Decision;
use crate::decide::testing::{
    LICENCE, NAMESPACE, amounts, apart, called, node, pool, with_licences, workload,
};
use crate::model::amount::{Amount, Limit};
use crate::model::delta::Delta;
use crate::model::labelled::{Maker, MakerKind};
use crate::model::spec::{
    Aging, Completion, MemberRef, Migration, NodeSpec, PodPhase, PodSpec, Policy, PoolSpec, Queueing, Rate,
    Reclaim, StopPolicy, WithinPool, WorkloadSpec,
};
use crate::model::time::Span;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Submit { pool: usize, cores: i64, least: u32, more: u32, priority: i32, how: How },
    Suspend(usize, bool),
    Delete(usize),
    Created(usize),
    Runs(usize),
    Ends(usize, u8),
    Leaves(usize),
    Foreign { node: usize, cores: i64 },
    Label { maker: usize, pool: Option<usize> },
    ForeignLeaves(usize),
    ForeignGone(usize),
    Resize { node: usize, cores: i64 },
    Cordon(usize, bool),
    DrainNode(usize, bool),
    NodeGone(usize),
    Limit { pool: usize, limit: i64 },
    Drain { pool: usize, stop: bool },
    Licences(Option<i64>),
    Wait(i64),
    Restart,
}

pub(super) fn step() -> impl Random<Value = Step> {
    prop_oneof![
        8 => (0_usize..4, 1_i64..6, 1_u32..4, 0_u32..3, -4_i32..5, how()).prop_map(
            |(pool, cores, least, more, priority, how)| {
                Step::Submit { pool, cores, least, more, priority, how }
            }
        ),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, on)| Step::Suspend(which, on)),
        1 => any::<usize>().prop_map(Step::Delete),
        8 => any::<usize>().prop_map(Step::Created),
        12 => any::<usize>().prop_map(Step::Runs),
        5 => (any::<usize>(), 0_u8..4).prop_map(|(which, how)| Step::Ends(which, how)),
        6 => any::<usize>().prop_map(Step::Leaves),
        2 => (0_usize..4, 1_i64..4).prop_map(|(node, cores)| Step::Foreign { node, cores }),
        1 => (0_usize..4, prop_oneof![1 => Just(None), 3 => (0_usize..5).prop_map(Some)])
            .prop_map(|(maker, pool)| Step::Label { maker, pool }),
        1 => any::<usize>().prop_map(Step::ForeignLeaves),
        1 => any::<usize>().prop_map(Step::ForeignGone),
        1 => (0_usize..4, 4_i64..20).prop_map(|(node, cores)| Step::Resize { node, cores }),
        1 => (0_usize..4, any::<bool>()).prop_map(|(node, on)| Step::Cordon(node, on)),
        1 => (0_usize..4).prop_map(Step::NodeGone),
        1 => (1_usize..4, 2_i64..30).prop_map(|(pool, limit)| Step::Limit { pool, limit }),
        1 => (1_usize..4, any::<bool>()).prop_map(|(pool, stop)| Step::Drain { pool, stop }),
        1 => prop_oneof![1 => Just(None), 3 => (0_i64..9).prop_map(Some)].prop_map(Step::Licences),
        2 => (1_i64..400).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// Steps in which members move: little work that mostly keeps running, nodes that are drained and come back.
pub(super) fn moving_step() -> impl Random<Value = Step> {
    prop_oneof![
        5 => (0_usize..4, 1_i64..4, 1_u32..3, 0_u32..2, -4_i32..5, how()).prop_map(
            |(pool, cores, least, more, priority, how)| {
                let how = How { keeps_running: how.keeps_running || least > 1, ..how };
                Step::Submit { pool, cores, least, more, priority, how }
            }
        ),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, on)| Step::Suspend(which, on)),
        1 => any::<usize>().prop_map(Step::Delete),
        10 => any::<usize>().prop_map(Step::Created),
        22 => any::<usize>().prop_map(Step::Runs),
        3 => (any::<usize>(), 0_u8..4).prop_map(|(which, how)| Step::Ends(which, how)),
        8 => any::<usize>().prop_map(Step::Leaves),
        7 => (0_usize..4, 0_u8..3).prop_map(|(node, on)| Step::DrainNode(node, on == 0)),
        1 => (0_usize..4).prop_map(Step::NodeGone),
        1 => (1_usize..4, any::<bool>()).prop_map(|(pool, stop)| Step::Drain { pool, stop }),
        2 => (1_i64..400).prop_map(Step::Wait),
        2 => Just(Step::Restart),
    ]
}

/// How a workload wants to be treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) preemptible: bool,
    pub(super) dynamic: bool,
    pub(super) duration: Option<i64>,
    pub(super) keeps_running: bool,
    pub(super) migration: Migration,
}

fn how() -> impl Random<Value = How> {
    let duration = prop_oneof![Just(None), (5_i64..300).prop_map(Some)];
    (0_u8..6, 0_u8..4, duration, 0_u8..3, 0_u8..6).prop_map(
        |(preemptible, dynamic, duration, keeps_running, migration)| How {
            preemptible: preemptible > 0,
            dynamic: dynamic == 0,
            duration,
            keeps_running: keeps_running == 0,
            migration: if migration == 0 { Migration::Never } else { Migration::Restart },
        },
    )
}

/// The rules of one pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) queueing: Queueing,
    pub(super) within_pool: WithinPool,
    pub(super) reclaim: Reclaim,
    pub(super) least_run: i64,
    pub(super) expandable: bool,
    pub(super) lending: Option<i64>,
    pub(super) rate: bool,
    pub(super) priority: i32,
}

impl Rules {
    fn of(self, spec: PoolSpec) -> PoolSpec {
        let is_child = spec.parent.is_some();
        let mut spec = PoolSpec {
            policy: self.policy,
            queueing: self.queueing,
            within_pool: self.within_pool,
            reclaim: self.reclaim,
            min_runtime: Span::seconds(self.least_run),
            time_slice: (self.policy == Policy::RoundRobin).then(|| Span::seconds(4)),
            aging: Some(Aging { every: Span::seconds(60), step: 1, most: 3 })
                .filter(|_| self.policy.heeds_priority()),
            expandable: self.expandable || !is_child,
            admission_rate: self.rate.then(|| Rate { count: 2, period: Span::seconds(30), burst: 3 }),
            priority: self.priority,
            ..spec
        };
        if let Some(lending) = self.lending.filter(|_| is_child) {
            spec.entitlements[0].lending = Limit::At(Amount::new(lending * 1000));
        }
        spec
    }
}

impl Rules {
    /// The same, without turns of a time slice.
    pub(super) fn without_turns(self) -> Self {
        match self.policy {
            Policy::RoundRobin => Self { policy: Policy::Priority, ..self },
            _ => self,
        }
    }
}

pub(super) fn rules() -> impl Random<Value = Rules> {
    let policy = prop_oneof![
        1 => Just(Policy::FirstComeFirstServed),
        2 => Just(Policy::Priority),
        4 => Just(Policy::RoundRobin),
        1 => Just(Policy::FairShare),
    ];
    let queueing = prop_oneof![Just(Queueing::Strict), Just(Queueing::BestEffort), Just(Queueing::Backfill)];
    let within = prop_oneof![1 => Just(WithinPool::Never), 3 => Just(WithinPool::LowerPriority)];
    let reclaim = prop_oneof![
        1 => Just(Reclaim::Never), 2 => Just(Reclaim::LowerPriority), 4 => Just(Reclaim::Any),
    ];
    let lending = prop_oneof![3 => Just(None), 1 => (0_i64..8).prop_map(Some)];
    let others = (prop_oneof![3 => Just(0_i64), 1 => Just(20)], 0_u8..8, 0_u8..8, -1_i32..2);
    (policy, queueing, within, reclaim, lending, others).prop_map(
        |(policy, queueing, within_pool, reclaim, lending, (least_run, expandable, rate, priority))| Rules {
            policy,
            queueing,
            within_pool,
            reclaim,
            least_run,
            expandable: expandable > 0,
            lending,
            rate: rate == 0,
            priority,
        },
    )
}

impl Step {
    /// The same, of workloads that declare no duration.
    pub(super) fn without_durations(&self) -> Self {
        match self.clone() {
            Self::Submit { pool, cores, least, more, priority, how } => {
                Self::Submit { pool, cores, least, more, priority, how: How { duration: None, ..how } }
            }
            other => other,
        }
    }
}

const POOLS: [&str; 4] = ["root", "a", "b", "b-low"];

fn pick<T: Clone>(all: impl Iterator<Item = T>, which: usize) -> Option<T> {
    let all: Vec<T> = all.collect();
    (!all.is_empty()).then(|| all[which % all.len()].clone())
}

/// One of four objects that make pods; one is in a namespace that is not there.
fn maker(which: usize) -> Arc<Maker> {
    let (kind, namespace) = match which {
        0 => (MakerKind::VirtualMachine, NAMESPACE),
        1 => (MakerKind::Deployment, "elsewhere"),
        _ => (MakerKind::Job, NAMESPACE),
    };
    Arc::new(Maker { namespace: namespace.into(), kind, name: format!("m{which}").into() })
}

impl Cluster {
    pub(super) fn populate(&mut self, rules: &[Rules; 4]) {
        let pools = [
            ("root", None, 0, None),
            ("a", Some("root"), 16, Some(30)),
            ("b", Some("root"), 12, None),
            ("b-low", Some("b"), 4, Some(14)),
        ];
        for ((name, parent, reservation, limit), rules) in pools.into_iter().zip(rules) {
            let spec = rules.of(pool(name, parent, reservation, limit));
            self.see_pool(if parent.is_none() { with_licences(spec, Some(8)) } else { spec });
        }
        for at in 0..4 {
            self.see_node(node(&format!("n{at}"), 10));
        }
    }

    pub(super) fn see_pool(&mut self, spec: PoolSpec) {
        self.pools.insert(Arc::clone(&spec.name), spec.clone());
        self.tell(Delta::Pool(Box::new(spec)));
    }

    pub(super) fn see_node(&mut self, spec: NodeSpec) {
        self.nodes.insert(Arc::clone(&spec.name), spec.clone());
        self.tell(Delta::Node(Box::new(spec)));
    }

    /// Pools that use more than a limit that was lowered give it away once, to whom they may take from afterwards.
    pub(super) fn lift_limits_that_are_passed(&mut self) {
        for (name, ..) in self.world.excesses() {
            if let Some(mut spec) = self.pools.get(&name).cloned() {
                spec.entitlements[0].limit = Limit::Unlimited;
                self.see_pool(spec);
            }
        }
    }

    pub(super) fn take(&mut self, step: &Step, count: usize) {
        self.now = self.now + Span::seconds(1);
        match *step {
            Step::Submit { pool, cores, least, more, priority, how } => {
                let name = format!("w{count}");
                let created = self.now.0;
                let mut spec = workload(&name, POOLS[pool], cores, least, least + more, created);
                if cores == 2 && priority > 0 {
                    // One in ten asks for licences, too.
                    let mut shape = (**spec.shape.as_ref().unwrap()).clone();
                    shape.requests.insert(LICENCE.into(), Amount::new(i64::from(least)));
                    spec.shape = Ok(Arc::new(shape));
                }
                // Some keep others off, some are kept off, some are spread.
                let spec = match count % 6 {
                    0 => apart(spec, "x"),
                    1 => called(spec, "x"),
                    2 => WorkloadSpec { spread: Some(("host".into(), 1)), ..spec },
                    _ => spec,
                };
                self.see_workload(WorkloadSpec {
                    priority,
                    preemptible: how.preemptible,
                    dynamic: how.dynamic,
                    expected_duration: how.duration.map(Span::seconds),
                    completion: if how.keeps_running {
                        Completion::KeepRunning
                    } else {
                        Completion::RunToCompletion
                    },
                    migration: how.migration,
                    ..spec
                });
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
                neighbour: Default::default(),
                member: None,
                maker: (!count.is_multiple_of(5)).then(|| maker(count % 4)),
                machine: None,
            }),
            Step::Label { maker: which, pool } => {
                let pool = pool.map(|pool| Arc::from(POOLS.get(pool).copied().unwrap_or("nowhere")));
                self.label(maker(which), pool);
            }
            Step::ForeignLeaves(which) => {
                let foreign = |pod: &&PodSpec| pod.member.is_none();
                if let Some(pod) = pick(self.pods.values().filter(foreign).cloned(), which) {
                    self.terminate(&pod.uid);
                }
            }
            Step::ForeignGone(which) => {
                let foreign = |pod: &&PodSpec| pod.member.is_none();
                if let Some(pod) = pick(self.pods.values().filter(foreign).cloned(), which) {
                    self.pods.remove(&pod.uid);
                    self.tell(Delta::PodGone(pod.uid));
                }
            }
            Step::Resize { node: at, cores } => self.see_node(node(&format!("n{at}"), cores)),
            Step::Cordon(at, unschedulable) => {
                let name: Arc<str> = format!("n{at}").into();
                if let Some(spec) = self.nodes.get(&name).cloned() {
                    self.see_node(NodeSpec { unschedulable, ..spec });
                }
            }
            Step::DrainNode(at, drain) => {
                let name: Arc<str> = format!("n{at}").into();
                if let Some(spec) = self.nodes.get(&name).cloned() {
                    self.see_node(NodeSpec { unschedulable: drain, drain, ..spec });
                }
            }
            Step::NodeGone(at) => {
                let name: Arc<str> = format!("n{at}").into();
                if self.nodes.remove(&name).is_some() {
                    self.tell(Delta::NodeGone(Arc::clone(&name)));
                    // Some pods stay for a while, and a node of that name, or another, comes meanwhile.
                    let there = |pod: &&PodSpec| pod.node.as_ref() == Some(&name) && pod.member.is_some();
                    let there: Vec<PodSpec> = self.pods.values().filter(there).cloned().collect();
                    for pod in there {
                        if count.is_multiple_of(2) {
                            self.terminate(&pod.uid);
                            continue;
                        }
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
            Step::Licences(capacity) => {
                self.see_pool(with_licences(self.pools["root"].clone(), capacity));
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
            .flat_map(|(workload, member)| {
                let attempts = [Some(member.attempt), member.moves.map(|one| one.attempt)];
                let index = member.index;
                let of = move |attempt| MemberRef { workload: Arc::clone(&workload), index, attempt };
                attempts.into_iter().flatten().map(of).collect::<Vec<_>>()
            })
            .filter(|member| {
                let there = |pod: &PodSpec| pod.member.as_ref() == Some(member);
                !self.creating.iter().any(there) && !self.pods.values().any(there)
            })
            .collect();
        for member in missing {
            // What the ledger holds of another attempt may be under way still.
            let key = (Arc::clone(&member.workload), member.index);
            let entry = self.ledger.get(&key).and_then(|entry| entry.placements.get(&member.index));
            if entry.is_some_and(|(attempt, _)| *attempt == member.attempt) {
                self.ledger.remove(&key);
            }
            self.tell(Delta::MemberVanished(member));
        }
    }

    /// Creates are seen, pods run, and those that are told to leave are gone.
    pub(super) fn settle_pods(&mut self) {
        for pod in std::mem::take(&mut self.creating) {
            self.show(pod);
        }
        let ready_since = Some(self.now);
        for pod in self.pods.values().cloned().collect::<Vec<_>>() {
            if pod.terminating {
                self.pods.remove(&pod.uid);
                self.tell(Delta::PodGone(pod.uid));
            } else if pod.member.is_some() && pod.phase == PodPhase::Pending {
                self.show(PodSpec { phase: PodPhase::Running { ready_since }, ..pod });
            }
        }
    }

    /// Lets everything under way happen, and nothing end, until nobody gives way any more.
    pub(super) fn come_to_rest(&mut self) {
        let mut quiet = 0;
        let mut last = Vec::new();
        for _ in 0..500 {
            self.now = self.now + Span::seconds(10);
            let decided = self.cycle();
            let gives_way = |decision: &Decision| {
                matches!(decision, Decision::Stop { .. } | Decision::Shrink { .. } | Decision::Admit { .. })
            };
            last.extend(decided.decisions.iter().filter(|one| gives_way(one)).cloned());
            last = last.split_off(last.len().saturating_sub(12));
            quiet = if decided.decisions.iter().any(gives_way) { 0 } else { quiet + 1 };
            if quiet > 60 {
                return;
            }
            self.settle_pods();
            self.check();
        }
        panic!("workloads give way to each other without end: {:?}; {last:?}", self.gave_way);
    }

    /// Lets everything under way come to its end.
    pub(super) fn drain(&mut self) {
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
