//! Those that are compared: Weir's strategies by its own core, and references that know nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir::decide::decision::Decision;
use weir::model::amount::{Amount, Limit};
use weir::model::batch::Tuned;
use weir::model::delta::Delta;
use weir::model::spec::{
    Entitlement, MemberRef, NamedAmounts, NodeSpec, PodPhase, PodSpec, PoolSpec, ShapeSpec, Strategy,
    WorkloadSpec,
};
use weir::model::time::{Span, Time};
use weir::model::world::{Tuning, World};
use weir::optimise::decide_and_solve;

use super::ground::fits;
use super::trace::{Dice, Trace};

const MIB: i64 = 1 << 20;
const NAMES: [&str; 3] = ["cpu", "memory", "nvidia.com/gpu"];

/// Places tasks one after the other, and keeps those waiting that find no room.
pub trait Packer {
    /// Tasks have come, in order; what is placed now, of these and of those that wait.
    fn come(&mut self, at: i64, tasks: &[usize]) -> Vec<(usize, usize)>;
    /// Tasks have left, placed or not; what is placed now.
    fn go(&mut self, at: i64, tasks: &[usize]) -> Vec<(usize, usize)>;
}

/// Makes a packer for a trace.
pub type Maker = for<'a> fn(&'a Trace) -> Box<dyn Packer + 'a>;

/// All that are compared.
pub const ALL: &[(&str, Maker)] = &[
    ("random", |trace| Box::new(Reference::random(trace, 7))),
    ("best fit", |trace| Box::new(Reference::best_fit(trace))),
    ("FGD's score", |trace| Box::new(Reference::fragmentation_gradient(trace))),
    ("BinPack", |trace| Box::new(Weir::new(trace, Strategy::BinPack, 1))),
    ("Spread", |trace| Box::new(Weir::new(trace, Strategy::Spread, 1))),
    ("Balanced", |trace| Box::new(Weir::new(trace, Strategy::Balanced, 1))),
    ("LeastFragmentation", |trace| Box::new(Weir::new(trace, Strategy::LeastFragmentation, 1))),
    ("Optimal, 1 s", |trace| Box::new(Weir::new(trace, Strategy::Optimal, 1))),
    ("Optimal, 30 s", |trace| Box::new(Weir::new(trace, Strategy::Optimal, 30))),
];

/// Weir's core under one strategy.
pub struct Weir<'a> {
    trace: &'a Trace,
    world: World,
    node_ids: BTreeMap<String, usize>,
    placed: BTreeMap<usize, Arc<str>>,
    /// Milliseconds since the beginning, never going back.
    began: Time,
}

fn amounts(ask: [i64; 3], pods: i64) -> NamedAmounts {
    let [cpu, mib, gpus] = ask;
    let mut amounts: NamedAmounts = NAMES
        .into_iter()
        .zip([cpu, mib.saturating_mul(MIB), gpus])
        .filter(|(_, amount)| *amount > 0)
        .map(|(name, amount)| (Arc::from(name), Amount::new(amount)))
        .collect();
    amounts.insert("pods".into(), Amount::new(pods));
    amounts
}

fn uid(task: usize) -> Arc<str> {
    format!("task-{task:06}").into()
}

fn number(uid: &str) -> Option<usize> {
    uid.strip_prefix("task-")?.parse().ok()
}

impl<'a> Weir<'a> {
    pub fn new(trace: &'a Trace, strategy: Strategy, seconds: i64) -> Self {
        let began = Time(1_700_000_000_000);
        let mut world = World::new(Tuning::default());
        let entitlement = |name: &str| Entitlement {
            resource: name.into(),
            reservation: Amount::ZERO,
            limit: Limit::Unlimited,
            lending: Limit::Unlimited,
            capacity: None,
        };
        let pool = PoolSpec {
            name: "root".into(),
            uid: "root".into(),
            nodes: Some(Default::default()),
            entitlements: NAMES.map(entitlement).into(),
            namespaces: Some(Default::default()),
            strategy,
            optimal: Tuned { time_limit: Span::seconds(seconds), ..Tuned::default() },
            ..PoolSpec::default()
        };
        world.apply(Delta::Namespace { name: "team".into(), labels: Default::default() }, began);
        world.apply(Delta::Pool(Box::new(pool)), began);
        for node in &trace.nodes {
            let spec = NodeSpec {
                name: node.name.as_str().into(),
                allocatable: amounts(node.offers(), 1_000),
                ..NodeSpec::default()
            };
            world.apply(Delta::Node(Box::new(spec)), began);
        }
        world.apply(Delta::Settled, began);
        let node_ids = trace.nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at)).collect();
        Self { trace, world, node_ids, placed: BTreeMap::new(), began }
    }

    fn now(&self, at: i64) -> Time {
        Time(self.began.0.saturating_add(at.min(1 << 40).saturating_mul(1000)))
    }

    fn pod(&self, task: usize, node: &Arc<str>, phase: PodPhase, at: Time) -> Delta {
        Delta::Pod(Box::new(PodSpec {
            uid: format!("pod-{task}").into(),
            node: Some(Arc::clone(node)),
            bound: true,
            created: at,
            terminating: false,
            phase,
            requests: amounts(self.trace.tasks[task].ask(), 1),
            host_ports: Vec::new(),
            neighbour: Default::default(),
            member: Some(MemberRef { workload: uid(task), index: 0, attempt: 0 }),
            machine: None,
            maker: None,
        }))
    }

    fn decide(&mut self, now: Time) -> Vec<(usize, usize)> {
        let decided = decide_and_solve(&mut self.world, now);
        let mut placed = Vec::new();
        for decision in &decided.decisions {
            let Decision::Admit { workload, placements, .. } = decision else { continue };
            let (Some(task), Some(place)) = (number(workload), placements.first()) else { continue };
            let running = self.pod(task, &place.node, PodPhase::Running { ready_since: Some(now) }, now);
            self.world.apply(running, now);
            self.placed.insert(task, Arc::clone(&place.node));
            placed.extend(self.node_ids.get(&*place.node).map(|node| (task, *node)));
        }
        placed
    }
}

impl Packer for Weir<'_> {
    fn come(&mut self, at: i64, tasks: &[usize]) -> Vec<(usize, usize)> {
        let now = self.now(at);
        for task in tasks {
            let spec = WorkloadSpec {
                uid: uid(*task),
                namespace: "team".into(),
                name: uid(*task),
                created: now,
                pool: "root".into(),
                backoff_limit: Some(3),
                shape: Ok(Arc::new(ShapeSpec {
                    requests: amounts(self.trace.tasks[*task].ask(), 1),
                    ..ShapeSpec::default()
                })),
                ..WorkloadSpec::default()
            };
            self.world.apply(Delta::Workload(Box::new(spec)), now);
        }
        self.decide(now)
    }

    fn go(&mut self, at: i64, tasks: &[usize]) -> Vec<(usize, usize)> {
        let now = self.now(at);
        for task in tasks {
            if let Some(node) = self.placed.remove(task) {
                let ended = self.pod(*task, &node, PodPhase::Succeeded, now);
                self.world.apply(ended, now);
            }
            self.world.apply(Delta::WorkloadGone(uid(*task)), now);
            self.world.apply(Delta::PodGone(format!("pod-{task}").into()), now);
        }
        self.decide(now)
    }
}

/// How a reference chooses among the nodes that have room: less is better.
type Score<'a> = Box<dyn FnMut(&[i64; 3], &[i64; 3], &[i64; 3]) -> f64 + 'a>;

/// One that looks at each node by itself. Those that wait are tried in order when something has left.
pub struct Reference<'a> {
    trace: &'a Trace,
    room: Vec<[i64; 3]>,
    placed: BTreeMap<usize, usize>,
    waiting: BTreeSet<usize>,
    score: Score<'a>,
}

impl<'a> Reference<'a> {
    fn new(trace: &'a Trace, score: Score<'a>) -> Self {
        let room = trace.nodes.iter().map(super::trace::Node::offers).collect();
        Self { trace, room, placed: BTreeMap::new(), waiting: BTreeSet::new(), score }
    }

    /// Any node that has room.
    pub fn random(trace: &'a Trace, seed: u64) -> Self {
        let mut dice = Dice(seed);
        Self::new(trace, Box::new(move |_, _, _| dice.roll(1 << 30) as f64))
    }

    /// The node that has least left: the mean over resources of what is left of what it offers.
    pub fn best_fit(trace: &'a Trace) -> Self {
        let left = |ask: &[i64; 3], room: &[i64; 3], offers: &[i64; 3]| {
            let each = ask.iter().zip(room).zip(offers).filter(|(_, offers)| **offers > 0);
            each.map(|((ask, room), offers)| (room - ask) as f64 / *offers as f64).sum()
        };
        Self::new(trace, Box::new(left))
    }

    /// The node on which the fewest GPUs become useless, in the mean over all tasks (Weng et al., "Beware of
    /// Fragmentation", USENIX ATC 2023, for tasks that share no GPU): the free GPUs of a node are lost to a task that
    /// it has no room for, or that asks for none.
    pub fn fragmentation_gradient(trace: &'a Trace) -> Self {
        let mut kinds: BTreeMap<[i64; 3], f64> = BTreeMap::new();
        for task in &trace.tasks {
            *kinds.entry(task.ask()).or_default() += 1.0 / trace.tasks.len() as f64;
        }
        let kinds: Vec<([i64; 3], f64)> = kinds.into_iter().collect();
        let lost = move |room: &[i64; 3]| -> f64 {
            let lost = |ask: &[i64; 3]| ask[2] == 0 || !fits(ask, room);
            let share: f64 = kinds.iter().filter(|(ask, _)| lost(ask)).map(|(_, share)| share).sum();
            share * room[2] as f64
        };
        let mut known: BTreeMap<[i64; 3], f64> = BTreeMap::new();
        let mut lost = move |room: [i64; 3]| *known.entry(room).or_insert_with(|| lost(&room));
        Self::new(
            trace,
            Box::new(move |ask, room, _| {
                let after = [room[0] - ask[0], room[1] - ask[1], room[2] - ask[2]];
                lost(after) - lost(*room)
            }),
        )
    }

    fn try_all(&mut self, tasks: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
        let mut full: BTreeSet<[i64; 3]> = BTreeSet::new();
        let mut placed = Vec::new();
        for task in tasks {
            let ask = self.trace.tasks[task].ask();
            let mut best: Option<(f64, usize)> = None;
            if !full.contains(&ask) {
                for (at, (room, node)) in self.room.iter().zip(&self.trace.nodes).enumerate() {
                    if fits(&ask, room) {
                        let score = (self.score)(&ask, room, &node.offers());
                        if best.is_none_or(|(before, _)| score < before) {
                            best = Some((score, at));
                        }
                    }
                }
            }
            let Some((_, node)) = best else {
                full.insert(ask);
                self.waiting.insert(task);
                continue;
            };
            shift(&mut self.room[node], ask, -1);
            self.waiting.remove(&task);
            self.placed.insert(task, node);
            placed.push((task, node));
        }
        placed
    }
}

fn shift(room: &mut [i64; 3], ask: [i64; 3], sign: i64) {
    for (room, ask) in room.iter_mut().zip(ask) {
        *room += sign * ask;
    }
}

impl Packer for Reference<'_> {
    fn come(&mut self, _: i64, tasks: &[usize]) -> Vec<(usize, usize)> {
        self.try_all(tasks.iter().copied())
    }

    fn go(&mut self, _: i64, tasks: &[usize]) -> Vec<(usize, usize)> {
        for task in tasks {
            self.waiting.remove(task);
            if let Some(node) = self.placed.remove(task) {
                shift(&mut self.room[node], self.trace.tasks[*task].ask(), 1);
            }
        }
        let waiting: Vec<usize> = self.waiting.iter().copied().collect();
        self.try_all(waiting.into_iter())
    }
}
