//! The stand-in of the random runs: nodes, and what `KubeVirt` makes of what is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::decide;
use super::super::decision::{Decision, DropReason, Placement};
use super::super::testing::{NAMESPACE, amounts, node, pool, workload};
use super::{Step, Travel};
use crate::model::amount::{Amount, Limit};
use crate::model::delta::Delta;
use crate::model::machines::{Passage, PassageState, Starting};
use crate::model::selector::{Operator, Requirement, Taint, TaintEffect};
use crate::model::spec::{
    Completion, Entitlement, MemberRef, Migration, PodPhase, PodSpec, PoolSpec, Run, Runtime, ShapeSpec,
    WorkloadSpec,
};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

const GIB: i64 = 1 << 30;

/// Nodes, and what `KubeVirt` holds: machines by workload and index, each with its run.
pub(super) struct Cluster {
    pub(super) world: World,
    pub(super) now: Time,
    pub(super) workloads: BTreeMap<Arc<str>, WorkloadSpec>,
    pub(super) disks: BTreeMap<(Arc<str>, u32), i64>,
    pub(super) runs: BTreeMap<Arc<str>, PodSpec>,
    pub(super) silent: [bool; 3],
    pub(super) off: [bool; 3],
    pub(super) drained: [bool; 3],
    /// Migrations whose pods were bound.
    pub(super) targets: BTreeSet<Arc<str>>,
    pub(super) kubevirt: bool,
    pub(super) bound: u32,
    pub(super) moved: u32,
    /// What became of migrations, and how often.
    pub(super) travelled: BTreeMap<&'static str, u32>,
}

pub(super) fn passage(run: &PodSpec) -> Option<&Arc<Passage>> {
    run.machine.as_ref()?.passage.as_ref()
}

/// What a pod wants that may be on one node alone.
pub(super) fn picky(at: usize) -> Arc<Starting> {
    let values = vec![format!("n{}", at % 3).into()];
    let selector = vec![Requirement { key: "host".into(), operator: Operator::In, values }];
    Arc::new(Starting { selector, ..Starting::default() })
}

pub(super) fn takes(starting: Option<&Arc<Starting>>, node: &str) -> bool {
    starting.into_iter().flat_map(|one| &one.selector).all(|one| one.accepts(Some(node)))
}

pub(super) fn pool_spec() -> PoolSpec {
    let mut spec = pool("root", None, 0, None);
    spec.entitlements.push(Entitlement {
        resource: "requests.storage".into(),
        capacity: Some(Amount::new(40 * GIB)),
        reservation: Amount::ZERO,
        limit: Limit::Unlimited,
        lending: Limit::Unlimited,
    });
    spec
}

impl Cluster {
    pub(super) fn new() -> Self {
        let mut cluster = Self {
            world: World::new(Tuning::default()),
            now: Time(1_000_000),
            workloads: BTreeMap::new(),
            disks: BTreeMap::new(),
            runs: BTreeMap::new(),
            silent: [false; 3],
            off: [false; 3],
            drained: [false; 3],
            targets: BTreeSet::new(),
            travelled: BTreeMap::new(),
            kubevirt: true,
            bound: 0,
            moved: 0,
        };
        cluster.fill();
        cluster
    }

    /// Tells a new world all that there is.
    pub(super) fn fill(&mut self) {
        self.world = World::new(Tuning::default());
        self.tell(Delta::KubeVirt(self.kubevirt));
        self.tell(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() });
        self.tell(Delta::Pool(Box::new(pool_spec())));
        for at in 0..3 {
            self.show_node(at);
        }
        for ((workload, index), bytes) in self.disks.clone() {
            self.tell(Delta::Disks { workload, index, bytes: Amount::new(bytes) });
        }
        for spec in self.workloads.values().cloned().collect::<Vec<_>>() {
            self.tell(Delta::Workload(Box::new(spec)));
        }
        for run in self.runs.values().cloned().collect::<Vec<_>>() {
            self.tell(Delta::Pod(Box::new(run)));
        }
        self.tell(Delta::Settled);
    }

    pub(super) fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    pub(super) fn show_node(&mut self, at: usize) {
        let mut spec = node(&format!("n{at}"), 6);
        spec.not_ready_since = self.silent[at].then_some(self.now);
        if self.off[at] {
            let key = "node.kubernetes.io/out-of-service".into();
            spec.taints.push(Taint { key, value: "".into(), effect: TaintEffect::NoExecute });
        }
        (spec.drain, spec.unschedulable) = (self.drained[at], self.drained[at]);
        self.tell(Delta::Node(Box::new(spec)));
    }

    pub(super) fn note(&mut self, what: &'static str) {
        *self.travelled.entry(what).or_default() += 1;
    }

    /// Shows a run whose migration has changed.
    pub(super) fn show_passage(&mut self, run: PodSpec, passage: Option<Passage>) {
        let machine = Some(Run { passage: passage.map(Arc::new), ..run.machine.clone().unwrap_or_default() });
        self.show(PodSpec { machine, ..run });
    }

    pub(super) fn migrate(&mut self, member: &MemberRef, pod: &Arc<str>, attempt: u32, to: &Arc<str>) {
        let Some(run) = self.runs.get(pod).cloned() else { return };
        assert_eq!(run.member.as_ref(), Some(member));
        assert_ne!(run.node.as_ref(), Some(to));
        let machine = run.machine.clone().unwrap_or_default();
        assert!(machine.live_migratable && !run.terminating, "{run:?}");
        if let Some(last) = machine.passage {
            assert!(!last.is_under_way() && last.attempt < attempt, "one migration at a time: {last:?}");
        }
        self.note("begun");
        let (uid, since) = (Arc::from(format!("{pod}-m{attempt}")), self.now);
        self.targets.remove(&uid);
        let state = PassageState::UnderWay { unbound: false, queued: false };
        self.show_passage(
            run,
            Some(Passage { uid, attempt, to: Arc::clone(to), since, state, others: None, target: None }),
        );
    }

    pub(super) fn others_move(&mut self, at: usize) {
        let rests = |run: &PodSpec| {
            let runs = matches!(run.phase, PodPhase::Running { .. }) && !run.terminating;
            runs && !passage(run).is_some_and(|seen| seen.is_under_way())
        };
        let Some(run) = self.run_at(at, rests) else { return };
        let attempt = passage(&run).map_or(0, |last| last.attempt + 1);
        let uid: Arc<str> = format!("{}-o{attempt}-{}", run.uid, self.now.0).into();
        self.note("begun by others");
        let state = PassageState::UnderWay { unbound: false, queued: false };
        let (to, since, others) = (Arc::default(), self.now, Some(Arc::default()));
        self.show_passage(run, Some(Passage { uid, attempt, to, since, state, others, target: None }));
    }

    pub(super) fn travel(&mut self, at: usize, how: Travel) {
        let goes = |run: &PodSpec| passage(run).is_some_and(|seen| seen.is_under_way());
        let Some(run) = self.run_at(at, goes) else { return };
        let seen = Passage::clone(passage(&run).unwrap());
        let is_bound = self.targets.contains(&seen.uid);
        match how {
            Travel::Launch if !is_bound => {
                let state = PassageState::UnderWay { unbound: true, queued: false };
                let target = (at % 5 == 4).then(|| picky(at));
                self.show_passage(run, Some(Passage { state, target, ..seen }));
            }
            Travel::Succeed if is_bound && !run.terminating => {
                self.note("done");
                let run = PodSpec { node: Some(Arc::clone(&seen.to)), ..run };
                self.show_passage(run, Some(Passage { state: PassageState::Succeeded, ..seen }));
            }
            Travel::Fail => {
                self.note("failed");
                self.show_passage(run, Some(Passage { state: PassageState::Failed, ..seen }));
            }
            Travel::Vanish => self.show_passage(run, None),
            Travel::Launch | Travel::Succeed => {}
        }
    }

    pub(super) fn show(&mut self, run: PodSpec) {
        self.runs.insert(Arc::clone(&run.uid), run.clone());
        self.tell(Delta::Pod(Box::new(run)));
    }

    pub(super) fn gone(&mut self, uid: &Arc<str>) {
        self.runs.remove(uid);
        self.tell(Delta::PodGone(Arc::clone(uid)));
    }

    pub(super) fn decide(&mut self) {
        for _ in 0..20 {
            let decided = decide(&mut self.world, self.now);
            let wrong = self.world.audit();
            assert!(wrong.is_empty(), "{wrong:?}");
            for (what, resource, used, bound) in self.world.excesses() {
                // A silent node offers nothing to its pool, and what runs there goes on.
                let lost = self.silent.iter().any(|silent| *silent) && resource.0 < 3;
                assert!(lost, "{what}: {used} of {resource:?}, which may have {bound}");
            }
            if decided.decisions.is_empty() {
                return;
            }
            for decision in decided.decisions {
                self.carry_out(decision);
            }
        }
        panic!("it goes round and round");
    }

    pub(super) fn carry_out(&mut self, decision: Decision) {
        match decision {
            Decision::Admit { workload, placements, .. } | Decision::Place { workload, placements, .. } => {
                for placement in placements {
                    self.start(&workload, &placement);
                }
            }
            Decision::Stop { workload, .. } => {
                let all: Vec<PodSpec> = self.runs.values().cloned().collect();
                for run in all.into_iter().filter(|run| run.member.as_ref().unwrap().workload == workload) {
                    self.show(PodSpec { terminating: true, ..run });
                }
            }
            Decision::Drop { pod, reason, .. } => {
                if reason == DropReason::NotSelected {
                    self.note("unfit");
                }
                if let Some(run) = self.runs.get(&pod).cloned() {
                    self.show(PodSpec { terminating: true, ..run });
                }
            }
            Decision::Bind { pod, node, .. } => {
                if let Some(run) = self.runs.get(&pod).cloned() {
                    assert_eq!(run.node.as_ref(), Some(&node), "it is bound where it was placed");
                    assert!(
                        takes(run.machine.as_ref().unwrap().starting.as_ref(), &node),
                        "its pod may be there"
                    );
                    self.bound += 1;
                    self.show(PodSpec { bound: true, ..run });
                }
            }
            Decision::Shrink { .. } => panic!("nothing here is dynamic"),
            Decision::Migrate { member, pod, attempt, way } => self.migrate(&member, &pod, attempt, &way.to),
            Decision::BindTarget { pod, node, .. } => {
                let Some(run) = self.runs.get(&pod).cloned() else { return };
                let seen = Passage::clone(passage(&run).unwrap());
                let to = if seen.others.is_some() { "".into() } else { Arc::clone(&node) };
                assert_eq!(
                    (&seen.to, seen.state),
                    (&to, PassageState::UnderWay { unbound: true, queued: false })
                );
                assert_ne!(run.node.as_ref(), Some(&node));
                assert!(takes(seen.target.as_ref(), &node), "its pod may be there");
                self.note(if seen.others.is_some() { "bound for others" } else { "bound for weir" });
                self.targets.insert(Arc::clone(&seen.uid));
                self.note("bound");
                let state = PassageState::UnderWay { unbound: false, queued: false };
                self.show_passage(run, Some(Passage { state, to: node, target: None, ..seen }));
            }
            Decision::GiveUpMove { pod: Some(pod), .. } => {
                let is_it = |run: &&PodSpec| {
                    passage(run).is_some_and(|seen| {
                        assert!(seen.uid != pod || seen.others.is_none(), "it is not Weir's to end");
                        seen.uid == pod
                    })
                };
                self.note("given up");
                if let Some(run) = self.runs.values().find(is_it).cloned() {
                    self.show_passage(run, None);
                }
            }
            Decision::Leave { pod, ready, member, .. } => {
                let migration = self.workloads[&member.workload].migration;
                assert!(!ready && migration == Migration::Restart, "{member:?} is stopped");
                self.note("stopped");
                if let Some(run) = self.runs.get(&pod).cloned() {
                    self.show(PodSpec { terminating: true, ..run });
                }
            }
            other @ Decision::Move { .. } => panic!("no second machine is made: {other:?}"),
            Decision::Arrive { .. }
            | Decision::GiveUpMove { .. }
            | Decision::Finish { .. }
            | Decision::Expire { .. } => {}
        }
    }

    pub(super) fn start(&mut self, workload: &Arc<str>, placement: &Placement) {
        let Placement { index, attempt, node } = placement;
        let member = MemberRef { workload: Arc::clone(workload), index: *index, attempt: *attempt };
        assert!(self.kubevirt, "nothing is started without KubeVirt");
        let of_member = |run: &&PodSpec| {
            run.member.as_ref().is_some_and(|one| (&one.workload, one.index) == (workload, *index))
        };
        let before: Vec<&PodSpec> = self.runs.values().filter(of_member).collect();
        assert!(before.is_empty(), "a machine runs once at a time: {before:?}");
        self.moved += u32::from(*attempt > 0);
        let requests = self.workloads[workload].shape.as_ref().unwrap().requests.clone();
        let bytes = requests.get("requests.storage").map_or(0, |amount| amount.units());
        let uid: Arc<str> = format!("{workload}-{index}#{attempt}").into();
        self.tell(Delta::MemberCreated { member: member.clone(), pod: Arc::clone(&uid) });
        self.disks.insert((Arc::clone(workload), *index), bytes);
        self.tell(Delta::Disks { workload: Arc::clone(workload), index: *index, bytes: Amount::new(bytes) });
        self.show(PodSpec {
            uid,
            node: Some(Arc::clone(node)),
            bound: true,
            created: self.now,
            terminating: false,
            phase: PodPhase::Pending,
            requests,
            neighbour: Default::default(),
            host_ports: Vec::new(),
            member: Some(member),
            maker: None,
            machine: Some(Run::default()),
        });
    }

    pub(super) fn workload_at(&self, at: usize) -> Option<WorkloadSpec> {
        self.workloads.values().nth(at % self.workloads.len().max(1)).cloned()
    }

    pub(super) fn run_at(&self, at: usize, is: impl Fn(&PodSpec) -> bool) -> Option<PodSpec> {
        let fitting: Vec<&PodSpec> = self.runs.values().filter(|run| is(run)).collect();
        fitting.get(at % fitting.len().max(1)).map(|run| (*run).clone())
    }

    pub(super) fn submit(&mut self, number: usize, cores: i64, replicas: u32, ends: bool, priority: i32) {
        let spec = workload(&format!("w{number}"), "root", cores, replicas, replicas, self.now.0);
        let requests = amounts(&[("cpu", cores * 1000), ("pods", 1), ("requests.storage", cores * 2 * GIB)]);
        let spec = WorkloadSpec {
            shape: Ok(Arc::new(ShapeSpec { requests, ..ShapeSpec::default() })),
            runtime: Runtime::VirtualMachine,
            completion: if ends { Completion::RunToCompletion } else { Completion::KeepRunning },
            backoff_limit: ends.then_some(2),
            priority,
            migration: [Migration::Live, Migration::Live, Migration::Restart, Migration::Never][number % 4],
            ..spec
        };
        self.workloads.insert(Arc::clone(&spec.uid), spec.clone());
        self.tell(Delta::Workload(Box::new(spec)));
    }

    pub(super) fn take(&mut self, number: usize, step: Step) {
        match step {
            Step::Submit { cores, replicas, ends, priority } => {
                self.submit(number, cores, replicas, ends, priority);
            }
            Step::Suspend(at, suspend) => {
                if let Some(spec) = self.workload_at(at) {
                    let spec = WorkloadSpec { suspend, ..spec };
                    self.workloads.insert(Arc::clone(&spec.uid), spec.clone());
                    self.tell(Delta::Workload(Box::new(spec)));
                }
            }
            Step::Delete(at) => {
                if let Some(spec) = self.workload_at(at) {
                    self.workloads.remove(&spec.uid);
                    self.tell(Delta::WorkloadGone(Arc::clone(&spec.uid)));
                    // Machines go with it, and their disks.
                    for ((workload, index), _) in self.disks.clone() {
                        if workload == spec.uid {
                            self.disks.remove(&(Arc::clone(&workload), index));
                            self.tell(Delta::Disks { workload, index, bytes: Amount::ZERO });
                        }
                    }
                    let runs: Vec<PodSpec> = self.runs.values().cloned().collect();
                    for run in
                        runs.into_iter().filter(|run| run.member.as_ref().unwrap().workload == spec.uid)
                    {
                        self.show(PodSpec { terminating: true, ..run });
                    }
                }
            }
            Step::Launch(at) => {
                let waits = |run: &PodSpec| run.bound && run.phase == PodPhase::Pending && !run.terminating;
                if let Some(run) = self.run_at(at, waits) {
                    let starting = (at % 5 == 4).then(|| picky(at));
                    let machine = Some(Run { starting, ..run.machine.clone().unwrap_or_default() });
                    self.show(PodSpec { bound: false, created: self.now, machine, ..run });
                }
            }
            Step::Run(at) => {
                let may = |run: &PodSpec| run.bound && run.phase == PodPhase::Pending && !run.terminating;
                if let Some(run) = self.run_at(at, may) {
                    let phase = PodPhase::Running { ready_since: Some(self.now) };
                    let run_of = run.machine.clone().unwrap_or_default();
                    let machine = Some(Run { live_migratable: true, starting: None, ..run_of });
                    self.show(PodSpec { phase, machine, ..run });
                }
            }
            Step::End(at, well) => {
                let runs = |run: &PodSpec| matches!(run.phase, PodPhase::Running { .. });
                if let Some(run) = self.run_at(at, runs) {
                    let failed = PodPhase::Failed { message: "crashed".into() };
                    let phase = if well { PodPhase::Succeeded } else { failed };
                    self.show(PodSpec { phase, ..run });
                }
            }
            Step::Stopped(at) => {
                if let Some(run) = self.run_at(at, |run| run.terminating) {
                    self.gone(&run.uid);
                }
            }
            Step::Lose(at) => {
                if let Some(run) = self.run_at(at, |_| true) {
                    let member = run.member.clone().unwrap();
                    self.disks.remove(&(Arc::clone(&member.workload), member.index));
                    let (workload, index) = (member.workload, member.index);
                    self.tell(Delta::Disks { workload, index, bytes: Amount::ZERO });
                    self.gone(&run.uid);
                }
            }
            Step::Silence(at, silent) => {
                self.silent[at] = silent;
                self.off[at] &= silent;
                self.show_node(at);
            }
            Step::SwitchOff(at) => {
                self.off[at] = self.silent[at];
                self.show_node(at);
            }
            Step::KubeVirt(is_there) => {
                self.kubevirt = is_there;
                if !is_there {
                    for run in self.runs.keys().cloned().collect::<Vec<_>>() {
                        self.gone(&run);
                    }
                    for ((workload, index), _) in std::mem::take(&mut self.disks) {
                        self.tell(Delta::Disks { workload, index, bytes: Amount::ZERO });
                    }
                }
                self.tell(Delta::KubeVirt(is_there));
            }
            Step::Drain(at, drained) => {
                self.drained[at] = drained;
                self.show_node(at);
            }
            Step::Travel(at, how) => self.travel(at, how),
            Step::Others(at) => self.others_move(at),
            Step::Restart => self.fill(),
            Step::Wait(seconds) => self.now = self.now + Span::seconds(seconds),
        }
        self.now = self.now + Span::seconds(1);
    }

    /// When nothing hinders it, all that can run does.
    pub(super) fn calm_down(&mut self) {
        self.take(0, Step::KubeVirt(true));
        for at in 0..3 {
            self.take(0, Step::Silence(at, false));
            self.take(0, Step::Drain(at, false));
        }
        for _ in 0..60 {
            self.now = self.now + Span::minutes(6);
            self.decide();
            for run in self.runs.values().filter(|run| run.terminating).cloned().collect::<Vec<_>>() {
                self.gone(&run.uid);
            }
            for at in 0..self.runs.len() {
                self.travel(at, Travel::Fail);
            }
            let starts: Vec<PodSpec> =
                self.runs.values().filter(|run| run.phase == PodPhase::Pending).cloned().collect();
            for run in starts {
                let phase = PodPhase::Running { ready_since: Some(self.now) };
                let machine = Some(Run { starting: None, ..run.machine.clone().unwrap_or_default() });
                self.show(PodSpec { phase, bound: true, machine, ..run });
            }
        }
        self.decide();
    }
}
