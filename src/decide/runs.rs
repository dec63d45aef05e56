//! Runs of virtual machines, in random streams of what users, nodes and `KubeVirt` do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::decide;
use super::decision::{Decision, DropReason, Placement};
use super::testing::{NAMESPACE, amounts, node, pool, workload};
use crate::model::amount::{Amount, Limit};
use crate::model::delta::Delta;
use crate::model::machines::{Making, Passage, PassageState, Starting};
use crate::model::report::WorkloadPhase;
use crate::model::selector::{NodeTerm, Operator, Requirement, Taint, TaintEffect};
use crate::model::spec::{
    Completion, Entitlement, MemberRef, Migration, PodPhase, PodSpec, PoolSpec, Run, Runtime, ShapeSpec,
    WorkloadSpec,
};
use crate::model::time::{Span, Time};
use crate::model::world::{Tuning, World};

const GIB: i64 = 1 << 30;

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Submit {
        cores: i64,
        replicas: u32,
        ends: bool,
        priority: i32,
    },
    Suspend(usize, bool),
    Delete(usize),
    /// The pod of a run is made, without a node.
    Launch(usize),
    Run(usize),
    /// The guest ends, well or badly.
    End(usize, bool),
    /// What was told to stop has stopped.
    Stopped(usize),
    /// Somebody deletes a machine.
    Lose(usize),
    Silence(usize, bool),
    SwitchOff(usize),
    KubeVirt(bool),
    /// A node is drained, or is no more.
    Drain(usize, bool),
    /// Somebody else begins to move a machine.
    Others(usize),
    /// A migration goes on: its pod is made, or it ends well or badly.
    Travel(usize, Travel),
    Restart,
    Wait(i64),
}

#[derive(Clone, Copy, Debug)]
enum Travel {
    Launch,
    Succeed,
    Fail,
    Vanish,
}

fn moving_step() -> impl Strategy<Value = Step> {
    let travel = prop_oneof![
        6 => Just(Travel::Launch), 4 => Just(Travel::Succeed), 1 => Just(Travel::Fail), 1 => Just(Travel::Vanish)
    ];
    prop_oneof![
        6 => step(),
        2 => (0..3_usize, any::<bool>()).prop_map(|(at, drained)| Step::Drain(at, drained)),
        6 => (0..40_usize, travel).prop_map(|(at, how)| Step::Travel(at, how)),
        1 => (0..40_usize).prop_map(Step::Others),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..40_usize;
    prop_oneof![
        4 => (1..5_i64, 1..4_u32, any::<bool>(), -1..2_i32)
            .prop_map(|(cores, replicas, ends, priority)| Step::Submit { cores, replicas, ends, priority }),
        2 => (which.clone(), any::<bool>()).prop_map(|(at, on)| Step::Suspend(at, on)),
        1 => which.clone().prop_map(Step::Delete),
        6 => which.clone().prop_map(Step::Launch),
        5 => which.clone().prop_map(Step::Run),
        2 => (which.clone(), any::<bool>()).prop_map(|(at, well)| Step::End(at, well)),
        6 => which.clone().prop_map(Step::Stopped),
        1 => which.clone().prop_map(Step::Lose),
        1 => (0..3_usize, any::<bool>()).prop_map(|(at, silent)| Step::Silence(at, silent)),
        1 => (0..3_usize).prop_map(Step::SwitchOff),
        1 => any::<bool>().prop_map(Step::KubeVirt),
        1 => Just(Step::Restart),
        2 => (1..400_i64).prop_map(Step::Wait),
    ]
}

/// Nodes, and what `KubeVirt` holds: machines by workload and index, each with its run.
struct Cluster {
    world: World,
    now: Time,
    workloads: BTreeMap<Arc<str>, WorkloadSpec>,
    disks: BTreeMap<(Arc<str>, u32), i64>,
    runs: BTreeMap<Arc<str>, PodSpec>,
    silent: [bool; 3],
    off: [bool; 3],
    drained: [bool; 3],
    /// Migrations whose pods were bound.
    targets: BTreeSet<Arc<str>>,
    kubevirt: bool,
    bound: u32,
    moved: u32,
    /// What became of migrations, and how often.
    travelled: BTreeMap<&'static str, u32>,
}

fn passage(run: &PodSpec) -> Option<&Arc<Passage>> {
    run.machine.as_ref()?.passage.as_ref()
}

/// What a pod wants that may be on one node alone.
fn picky(at: usize) -> Arc<Starting> {
    let values = vec![format!("n{}", at % 3).into()];
    let selector = vec![Requirement { key: "host".into(), operator: Operator::In, values }];
    Arc::new(Starting { selector, ..Starting::default() })
}

fn takes(starting: Option<&Arc<Starting>>, node: &str) -> bool {
    starting.into_iter().flat_map(|one| &one.selector).all(|one| one.accepts(Some(node)))
}

fn pool_spec() -> PoolSpec {
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
    fn new() -> Self {
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
    fn fill(&mut self) {
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

    fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    fn show_node(&mut self, at: usize) {
        let mut spec = node(&format!("n{at}"), 6);
        spec.not_ready_since = self.silent[at].then_some(self.now);
        if self.off[at] {
            let key = "node.kubernetes.io/out-of-service".into();
            spec.taints.push(Taint { key, value: "".into(), effect: TaintEffect::NoExecute });
        }
        (spec.drain, spec.unschedulable) = (self.drained[at], self.drained[at]);
        self.tell(Delta::Node(Box::new(spec)));
    }

    fn note(&mut self, what: &'static str) {
        *self.travelled.entry(what).or_default() += 1;
    }

    /// Shows a run whose migration has changed.
    fn show_passage(&mut self, run: PodSpec, passage: Option<Passage>) {
        let machine = Some(Run { passage: passage.map(Arc::new), ..run.machine.clone().unwrap_or_default() });
        self.show(PodSpec { machine, ..run });
    }

    fn migrate(&mut self, member: &MemberRef, pod: &Arc<str>, attempt: u32, to: &Arc<str>) {
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

    fn others_move(&mut self, at: usize) {
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

    fn travel(&mut self, at: usize, how: Travel) {
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

    fn show(&mut self, run: PodSpec) {
        self.runs.insert(Arc::clone(&run.uid), run.clone());
        self.tell(Delta::Pod(Box::new(run)));
    }

    fn gone(&mut self, uid: &Arc<str>) {
        self.runs.remove(uid);
        self.tell(Delta::PodGone(Arc::clone(uid)));
    }

    fn decide(&mut self) {
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

    fn carry_out(&mut self, decision: Decision) {
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

    fn start(&mut self, workload: &Arc<str>, placement: &Placement) {
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

    fn workload_at(&self, at: usize) -> Option<WorkloadSpec> {
        self.workloads.values().nth(at % self.workloads.len().max(1)).cloned()
    }

    fn run_at(&self, at: usize, is: impl Fn(&PodSpec) -> bool) -> Option<PodSpec> {
        let fitting: Vec<&PodSpec> = self.runs.values().filter(|run| is(run)).collect();
        fitting.get(at % fitting.len().max(1)).map(|run| (*run).clone())
    }

    fn submit(&mut self, number: usize, cores: i64, replicas: u32, ends: bool, priority: i32) {
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

    fn take(&mut self, number: usize, step: Step) {
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
    fn calm_down(&mut self) {
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

fn holds(steps: Vec<Step>) -> BTreeMap<&'static str, u32> {
    let mut cluster = Cluster::new();
    for (number, step) in steps.into_iter().enumerate() {
        cluster.take(number, step);
        cluster.decide();
    }
    cluster.calm_down();
    let phase = |spec: &&WorkloadSpec| cluster.world.workload_report(&spec.uid).map(|report| report.phase);
    let waits = |spec: &&WorkloadSpec| matches!(phase(spec), Some(WorkloadPhase::Queued { .. }));
    let waiting: Vec<&WorkloadSpec> = cluster.workloads.values().filter(waits).collect();
    // What waits in the end waits for others, or for the room that their disks take.
    let others = !cluster.runs.is_empty() || cluster.disks.len() > 1;
    assert!(waiting.is_empty() || others, "{waiting:?}");
    assert!(cluster.world.moving.is_empty(), "all moves end: {:?}", cluster.world.moving);
    cluster.travelled
}

/// Shows worlds of machines as they are before each decision.
#[cfg(feature = "controller")]
pub(crate) fn shown(cases: u32, look: impl Fn(&World, Time)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&prop::collection::vec(moving_step(), 20..100), |steps| {
        let mut cluster = Cluster::new();
        for (number, step) in steps.into_iter().enumerate() {
            cluster.take(number, step);
            look(&cluster.world, cluster.now);
            cluster.decide();
        }
        Ok(())
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

/// Machines move while they run, and everything else happens: none is stopped that may not be, none is moved twice at a
/// time, and the room of each is there when it comes.
#[test]
fn machines_that_move_while_they_run_are_charged_once_and_overload_no_node() {
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let total = std::cell::RefCell::new(BTreeMap::<&'static str, u32>::new());
    let result = runner.run(&prop::collection::vec(moving_step(), 20..140), |steps| {
        for (what, count) in holds(steps) {
            *total.borrow_mut().entry(what).or_default() += count;
        }
        Ok(())
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
    for what in [
        "begun",
        "bound",
        "done",
        "failed",
        "given up",
        "stopped",
        "begun by others",
        "bound for others",
        "unfit",
    ] {
        let count = total.borrow().get(what).copied().unwrap_or(0);
        assert!(count >= 20, "the streams do not move machines: {what} {count} times ({total:?})");
    }
}

/// The same cases each time: what fails once fails always.
#[test]
fn a_machine_runs_once_at_a_time_and_its_disks_are_charged_once() {
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let steps = prop::collection::vec(step(), 1..80);
    let result = runner.run(&steps, |steps| {
        holds(steps);
        Ok(())
    });
    if let Err(problem) = result {
        panic!("{problem}");
    }
}

#[test]
fn machines_are_bound_and_started_again_in_a_stream_that_does_so() {
    let mut cluster = Cluster::new();
    cluster.take(0, Step::Submit { cores: 2, replicas: 2, ends: true, priority: 0 });
    cluster.decide();
    for step in [
        Step::Launch(0),
        Step::Launch(0),
        Step::Run(0),
        Step::Run(0),
        Step::End(0, false),
        Step::Stopped(0),
        Step::Wait(20),
    ] {
        cluster.take(1, step);
        cluster.decide();
    }
    assert_eq!(
        (cluster.bound, cluster.moved),
        (2, 1),
        "both were bound, and the one that failed started again"
    );
}

#[test]
fn a_pod_that_waited_while_no_operator_ran_is_bound_and_not_given_up() {
    let mut cluster = Cluster::new();
    cluster.take(0, Step::Submit { cores: 2, replicas: 1, ends: false, priority: 0 });
    cluster.decide();
    cluster.take(1, Step::Launch(0));
    cluster.take(2, Step::Wait(300));
    cluster.take(3, Step::Restart);
    cluster.decide();
    assert_eq!(cluster.bound, 1);
    assert!(cluster.runs.values().all(|run| run.bound && !run.terminating), "{:?}", cluster.runs);
}

#[test]
fn a_claim_that_nobody_is_asked_to_make_is_told_of_again_and_a_volume_elsewhere_moves_its_machine() {
    let mut cluster = Cluster::new();
    cluster.take(0, Step::Submit { cores: 2, replicas: 1, ends: false, priority: 0 });
    cluster.decide();
    cluster.take(1, Step::Launch(0));
    cluster.decide();
    let run = cluster.runs.values().next().unwrap().clone();
    let show = |cluster: &mut Cluster, volumes: Making| {
        let starting = Starting { claims: vec!["team/root".into()], volumes, ..Starting::default() };
        let machine = Some(Run { starting: Some(Arc::new(starting)), ..Run::default() });
        cluster.show(PodSpec { bound: true, machine, ..run.clone() });
        cluster.decide();
    };
    show(&mut cluster, Making::Unset);
    assert_eq!(cluster.bound, 2, "it is bound, and its claim is annotated");
    show(&mut cluster, Making::Settled);
    assert_eq!(cluster.bound, 2, "nothing more is to be done");
    let values = vec![run.node.clone().unwrap()];
    let labels = vec![Requirement { key: "host".into(), operator: Operator::NotIn, values }];
    let terms = Some([NodeTerm { labels, name: Vec::new() }].into());
    cluster.tell(Delta::Claim { name: "team/root".into(), terms });
    cluster.decide();
    assert!(cluster.runs.values().all(|run| run.terminating), "{:?}", cluster.runs);
}
