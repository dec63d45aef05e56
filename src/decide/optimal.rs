//! Strategy `Optimal`: the batch of a queue is put as a question, and its answer says who is admitted next and where.
//!
//! Solving takes longer than a cycle may, and by the clock. So deciding only asks ([`Decided::questions`]), and the
//! answer comes back as a delta like anything else that is seen; until then, or until it is late, the pool admits
//! nothing new. What an answer says is admitted only if quota and nodes have room for it then; what it does not say
//! is tried afterwards as under `Balanced`. So nothing depends on whether the answer is right, and a pool is never
//! left waiting for one.
//!
//! [`Decided::questions`]: super::decision::Decided::questions

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::amount::{Amount, Limit};
use crate::model::batch::{self, Problem, WHOLE};
use crate::model::charges::on_nodes;
use crate::model::ids::{NodeId, NodeSetId, PoolId, WorkloadId};
use crate::model::pools::{Pool, Use};
use crate::model::queue::{Class, Rank};
use crate::model::resources::{Amounts, ResourceId};
use crate::model::spec::{Policy, Queueing, Strategy};
use crate::model::time::{Span, Time};
use crate::model::workloads::Place;
use crate::model::world::World;

use super::company::Company;
use super::decision::Work;
use super::order::waits_before;
use super::place::{Horizon, Question, suits, takes};
use super::quota::{self, Ask};

/// Classes of one batch.
const MOST_CLASSES: usize = 128;
/// Workloads of one batch.
const MOST_JOBS: usize = 10_000;
/// An answer that is later than its time limit by more is not waited for.
const GRACE: Span = Span::seconds(2);

/// Whether a pool's queue is taken by batches: where the order of the queue leaves open who of one priority goes first.
pub fn plans(pool: &Pool) -> bool {
    pool.spec.strategy == Strategy::Optimal
        && pool.spec.queueing == Queueing::BestEffort
        && matches!(pool.spec.policy, Policy::Priority | Policy::FirstComeFirstServed)
}

/// The next workload of such a queue: what the answer names, then others of the priorities that were asked about.
pub fn next<'a>(world: &'a World, id: PoolId, pool: &'a Pool) -> Option<(&'a Rank, WorkloadId, &'a Class)> {
    let planning = &pool.planning;
    let level = planning.open?;
    for (uid, _) in &planning.places {
        let named = world.workload_ids.get(uid).copied();
        let place = named.and_then(|named| world.workload(named)?.place.as_ref());
        if let (Some(named), Some(Place { pool, class, rank, duration: _, overflow: false })) = (named, place)
            && *pool == id
        {
            return Some((rank, named, class));
        }
    }
    let (rank, workload, class) = pool.queue.head()?;
    (rank.urgency <= level).then_some((rank, *workload, class))
}

/// The places that the answer gives to the next workload, if they are still to be had. The answer is left without it.
pub fn take(world: &mut World, pool: PoolId, id: WorkloadId, work: &mut Work) -> Option<Vec<NodeId>> {
    let uid = Arc::clone(&world.workload(id)?.spec.uid);
    let planning = &mut world.pools.get_mut(pool.0)?.planning;
    let at = planning.places.iter().position(|(named, _)| *named == uid)?;
    let (_, names) = planning.places.drain(..=at).next_back()?;
    let places: Option<Vec<NodeId>> = names.iter().map(|name| world.node_ids.get(name).copied()).collect();
    let places = places.filter(|places| fits(world, id, places, work));
    if let (None, Some(pool)) = (&places, world.pools.get_mut(pool.0)) {
        pool.planning.missed = pool.planning.missed.saturating_add(1);
    }
    places
}

/// Whether quota and nodes have room for all members of a workload at these places.
fn fits(world: &World, id: WorkloadId, places: &[NodeId], work: &mut Work) -> bool {
    let Some(workload) = world.workload(id) else { return false };
    let Some(pool) = workload.pool.and_then(|pool| world.pool(pool)) else { return false };
    let (Some(shape), Some(set)) = (workload.shape, pool.nodes) else { return false };
    let (request, loads) = (world.asks(workload), world.loads(workload));
    let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let question = Question { shape, strategy: Strategy::Optimal, set, horizon: Horizon::Now };
    let ask = Ask {
        request: &request,
        least: count,
        most: count,
        horizon: Horizon::Now,
        reserved: !workload.spec.preemptible,
    };
    work.nodes_scanned += places.len() as u64;
    let mut beside: BTreeMap<NodeId, Amounts> = BTreeMap::new();
    let has_room = |node: &NodeId| {
        let beside = beside.entry(*node).or_default();
        let takes = takes(world, question, *node, beside);
        beside.add(&loads);
        takes
    };
    count > 0
        && count <= quota::most_members(world, pool, &request)
        && quota::counts(world, pool, workload).is_ok()
        && quota::room(world, pool, ask).is_ok()
        && Company::of(world, id, question).is_none()
        && places.iter().all(has_room)
}

/// Waits no longer for answers that are late.
pub fn give_up(world: &mut World, now: Time) {
    for (_, pool) in world.pools.iter_mut() {
        let Some((asked, level)) = pool.planning.asked else { continue };
        if due(pool, asked) <= now || !plans(pool) {
            pool.planning.asked = None;
            pool.planning.open = Some(level);
        }
    }
}

/// When the next answer is late.
pub fn next_answer(world: &World) -> Option<Time> {
    world.pools.iter().filter_map(|(_, pool)| Some(due(pool, pool.planning.asked?.0))).min()
}

fn due(pool: &Pool, asked: Time) -> Time {
    asked + Span(pool.spec.optimal.time_limit.0.saturating_add(GRACE.0))
}

/// Asks about the queues in which something may be tried that was not asked about, or opens those about which there
/// is nothing to ask; whether there are any of these.
pub fn ask_all(world: &mut World, questions: &mut Vec<Problem>, now: Time) -> bool {
    let wanting: Vec<PoolId> = world
        .pools
        .iter()
        .map(|(at, pool)| (PoolId(at), pool))
        .filter(|(_, pool)| plans(pool) && pool.planning.asked.is_none() && pool.queue.head().is_some())
        .map(|(id, _)| id)
        .collect();
    let mut opened = false;
    for id in wanting {
        let Some(pool) = world.pool(id) else { continue };
        let Some((rank, first, _)) = pool.queue.head() else { continue };
        let (level, first) = (rank.urgency, *first);
        let held = waits_before(world, pool, first, rank)
            .is_some_and(|who| super::order::holds_queue(world, pool, who, now));
        // What was opened and is still there is kept back by others.
        if held || pool.planning.open.is_some_and(|open| level <= open) {
            continue;
        }
        let asked = question(world, pool, level, now);
        let Some(pool) = world.pools.get_mut(id.0) else { continue };
        pool.planning.places.clear();
        if let Some(mut problem) = asked {
            pool.planning.number += 1;
            problem.number = pool.planning.number;
            pool.planning.asked = Some((now, level));
            pool.planning.open = None;
            questions.push(problem);
        } else {
            pool.planning.open = Some(level);
            opened = true;
        }
    }
    opened
}

/// What was answered is for this decision alone.
pub fn close(world: &mut World) {
    for (_, pool) in world.pools.iter_mut().filter(|(_, pool)| pool.planning.open.is_some()) {
        pool.planning.open = None;
        pool.planning.places.clear();
    }
}

/// The batch of a pool: those of the first priority that wait, as far as they are moved by nothing but room.
fn question(world: &World, pool: &Pool, level: i64, now: Time) -> Option<Problem> {
    let set = pool.nodes?;
    let classes = classes(world, pool, set, level);
    if classes.is_empty() {
        return None;
    }
    let mut resources: BTreeSet<ResourceId> = pool.metered.iter().copied().collect();
    for (_, loads, _) in &classes {
        resources.extend(loads.iter().map(|(resource, _)| resource));
    }
    let off_nodes = world.off_nodes_of(set);
    let resources: Vec<ResourceId> =
        resources.into_iter().filter(|resource| !off_nodes.contains(resource)).collect();
    let weigh = Weigh::of(world, pool, set, &classes, now);
    let pick = |amounts: &Amounts| -> Vec<i64> {
        resources.iter().map(|resource| amounts.get(*resource).units()).collect()
    };
    let mut turns: Vec<(&Rank, usize, WorkloadId)> = Vec::new();
    for (at, (_, _, jobs)) in classes.iter().enumerate() {
        turns.extend(jobs.iter().map(|(rank, id)| (*rank, at, *id)));
    }
    turns.sort_unstable();
    let mut jobs: Vec<Vec<(u32, Arc<str>)>> = vec![Vec::new(); classes.len()];
    for (turn, (rank, at, _)) in (0_u32..).zip(turns) {
        jobs[at].push((turn, Arc::clone(&rank.uid)));
    }
    let problem = Problem {
        pool: Arc::clone(&pool.spec.name),
        number: 0,
        time_limit: pool.spec.optimal.time_limit,
        nodes: nodes(world, set, &classes, &resources),
        classes: classes
            .iter()
            .zip(jobs)
            .map(|((class, loads, waiting), jobs)| batch::Class {
                members: class.replicas,
                ask: pick(loads),
                value: weigh.value(loads, class.replicas, waiting),
                jobs,
            })
            .collect(),
        quota: resources.iter().map(|resource| left(world, pool, *resource)).collect(),
        balanced: balanced(world, set, &resources),
        opening: weigh.opening,
    };
    (!problem.nodes.is_empty()).then_some(problem)
}

type Waiting<'a> = (&'a Class, Amounts, Vec<(&'a Rank, WorkloadId)>);

/// The classes of that priority that a programme can speak of, with what a member loads its node with.
fn classes<'a>(world: &World, pool: &'a Pool, set: NodeSetId, level: i64) -> Vec<Waiting<'a>> {
    let mut classes: Vec<Waiting> = Vec::new();
    let mut count = 0;
    let of_level = pool.queue.heads().take_while(|(rank, ..)| rank.urgency <= level);
    for (_, first, class) in of_level {
        if classes.len() >= MOST_CLASSES || count >= MOST_JOBS {
            break;
        }
        let Some(shape) = world.shapes.get(class.shape) else { continue };
        let question = Question { shape: class.shape, strategy: class.strategy, set, horizon: Horizon::Now };
        let plain = class.strategy == Strategy::Optimal
            && class.spread.is_none()
            && class.topology_key.is_none()
            && shape.spec.host_ports.is_empty()
            && shape.spec.preferred.is_empty()
            && Company::of(world, *first, question).is_none();
        let off_nodes = world.off_nodes_of(set);
        if !plain || off_nodes.iter().any(|resource| !shape.requests.get(*resource).is_zero()) {
            continue;
        }
        let jobs: Vec<(&Rank, WorkloadId)> = pool
            .queue
            .of_class(class)
            .take_while(|(rank, _)| rank.urgency <= level)
            .take(MOST_JOBS - count)
            .collect();
        count += jobs.len();
        classes.push((class, on_nodes(&shape.requests, off_nodes).into_owned(), jobs));
    }
    classes
}

fn nodes(world: &World, set: NodeSetId, classes: &[Waiting], resources: &[ResourceId]) -> Vec<batch::Node> {
    let mut known: BTreeMap<Vec<bool>, Arc<[bool]>> = BTreeMap::new();
    let all = world.sets.get(set.at()).map(|set| set.nodes.as_slice()).unwrap_or_default();
    let mut nodes = Vec::new();
    for (name, id) in all {
        let Some(node) = world.node(*id).filter(|node| node.is_open()) else { continue };
        let takes = |(class, ..): &Waiting| {
            world.shapes.get(class.shape).is_some_and(|shape| suits(world, node, &shape.spec).is_none())
        };
        let takes: Vec<bool> = classes.iter().map(takes).collect();
        if !takes.contains(&true) {
            continue;
        }
        let takes = Arc::clone(known.entry(takes.clone()).or_insert_with(|| takes.into()));
        nodes.push(batch::Node {
            name: Arc::clone(name),
            offered: resources.iter().map(|one| node.allocatable.get(*one).units()).collect(),
            room: resources.iter().map(|one| node.room(*one).units()).collect(),
            idle: node.member_load.is_zero(),
            suits: takes,
        });
    }
    nodes
}

/// What a pool may still use of a resource, by all that binds it up to its root.
fn left(world: &World, pool: &Pool, resource: ResourceId) -> Option<i64> {
    if !pool.metered.contains(&resource) {
        return None;
    }
    let kept = world.kept_back(pool, Use::binding);
    let levels = pool.path.iter().filter_map(|above| world.pool(*above)).zip(kept);
    let bounded = levels.filter_map(|(above, kept)| match world.limit(above, resource) {
        Limit::At(limit) => Some(limit.less(above.all.binding(resource) + kept.get(resource)).units()),
        Limit::Unlimited => None,
    });
    bounded.min()
}

fn balanced(world: &World, set: NodeSetId, resources: &[ResourceId]) -> Vec<usize> {
    let balanced = world.sets.get(set.at()).map(|set| set.balanced.as_slice()).unwrap_or_default();
    balanced.iter().filter_map(|one| resources.iter().position(|other| other == one)).collect()
}

/// What it is worth to admit a workload, by the pool's weights.
struct Weigh {
    /// Resources that count, with what the pool's nodes offer of each.
    offered: Vec<(ResourceId, i128)>,
    utilization: i128,
    throughput: i128,
    waiting_time: i128,
    opening: i64,
    jobs: i128,
    waited: i128,
    now: Time,
}

impl Weigh {
    fn of(world: &World, pool: &Pool, set: NodeSetId, classes: &[Waiting], now: Time) -> Self {
        let batch::Weights { utilization, throughput, waiting_time, energy } = pool.spec.optimal.weights;
        let sum = [utilization, throughput, waiting_time, energy].into_iter().map(i128::from).sum::<i128>();
        let part = |weight: u32| i128::from(weight) * i128::from(WHOLE) / sum.max(1);
        let total = world.sets.get(set.at()).map(|set| &set.total);
        let offered =
            pool.metered.iter().filter(|resource| **resource != ResourceId::PODS).filter_map(|one| {
                let units = total.map_or(0, |total| total.capacity.get(*one).units());
                (units > 0).then_some((*one, i128::from(units)))
            });
        let nodes = total.map_or(1, |total| i128::from(total.ready.max(1)));
        let all = || classes.iter().flat_map(|(_, _, jobs)| jobs);
        Self {
            offered: offered.collect(),
            utilization: part(utilization),
            throughput: part(throughput),
            waiting_time: part(waiting_time),
            opening: i64::try_from(part(energy) / nodes).unwrap_or(0),
            jobs: i128::try_from(all().count()).unwrap_or(1),
            waited: all().map(|(rank, _)| waited(rank, now)).sum(),
            now,
        }
    }

    /// In the mean over the workloads of a class.
    fn value(&self, loads: &Amounts, members: u32, jobs: &[(&Rank, WorkloadId)]) -> i64 {
        let share = |(resource, offered): &(ResourceId, i128)| {
            let asked = Amount::units(loads.get(*resource).times(members));
            self.utilization * i128::from(asked) / offered
        };
        let resources = i128::try_from(self.offered.len().max(1)).unwrap_or(1);
        let used = self.offered.iter().map(share).sum::<i128>() / resources;
        let count = i128::try_from(jobs.len().max(1)).unwrap_or(1);
        let waited: i128 = jobs.iter().map(|(rank, _)| waited(rank, self.now)).sum();
        let waiting = self.waiting_time * waited / self.waited.max(1) / count;
        let value = used + self.throughput / self.jobs.max(1) + waiting;
        i64::try_from(value).unwrap_or(i64::MAX).max(1)
    }
}

fn waited(rank: &Rank, now: Time) -> i128 {
    i128::from((now - rank.created).0)
}
