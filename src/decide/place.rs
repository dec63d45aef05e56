//! Where: which nodes take members, and which of them is best.
//!
//! A trial changes nothing: members tried on a node are counted beside it. The nodes that passed the filter are
//! kept in a heap by score, so that a gang, or a run of equal workloads, costs one scan and not one a member.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::model::amount::Amount;
use crate::model::ids::{NodeId, NodeSetId, ShapeId};
use crate::model::nodes::Node;
use crate::model::refusal::{NodeRejection, NodeTally, Refusal, Shortage};
use crate::model::resources::{Amounts, ResourceId};
use crate::model::selector::untolerated;
use crate::model::spec::{HostPort, ShapeSpec, Strategy};
use crate::model::world::World;

use super::decision::Work;

/// At which time room is reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Horizon {
    /// As it is.
    Now,
    /// Once those that are leaving have left.
    Later,
}

/// What is placed: equal questions have equal answers while nodes do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What a member asks for.
    pub shape: ShapeId,
    /// How nodes are chosen.
    pub strategy: Strategy,
    /// Among which.
    pub set: NodeSetId,
    /// When.
    pub horizon: Horizon,
}

/// The nodes that take a shape, best first.
#[derive(Debug)]
struct Ranking {
    question: Question,
    heap: BinaryHeap<Reverse<(i64, Arc<str>, NodeId)>>,
    /// The world's count of node changes for which the ranking is true.
    at: u64,
}

/// Places members, and remembers the last ranking of nodes.
#[derive(Debug, Default)]
pub struct Placer {
    ranking: Option<Ranking>,
}

impl Placer {
    /// The best nodes for up to `count` members, fewer if no more fit. Nothing is changed.
    pub fn place(&mut self, world: &World, question: Question, count: u32, work: &mut Work) -> Vec<NodeId> {
        let Some(shape) = world.shapes.get(question.shape) else { return Vec::new() };
        let mut ranking = match self.ranking.take() {
            Some(ranking) if ranking.question == question && ranking.at == world.node_changes => ranking,
            Some(_) | None => rank(world, question, work),
        };
        let balanced = world.sets.get(question.set.at()).map(|set| &*set.balanced).unwrap_or_default();
        let mut taken: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut places = Vec::new();
        while places.len() < count as usize
            && let Some(Reverse((_, name, id))) = ranking.heap.pop()
        {
            let Some(node) = world.node(id) else { continue };
            places.push(id);
            let before = taken.entry(id).or_default();
            *before += 1;
            if fits(node, &shape.spec, &shape.requests, *before, question.horizon) {
                let score = score(node, &shape.requests, *before, question.strategy, balanced);
                ranking.heap.push(Reverse((score, name, id)));
            }
        }
        // If the caller takes these places, the ranking holds for the world after that, and the caller says so.
        ranking.at = u64::MAX;
        self.ranking = Some(ranking);
        places
    }

    /// The places that were given last were taken just so: the ranking is true for the world as it is now.
    pub fn taken(&mut self, world: &World) {
        if let Some(ranking) = &mut self.ranking {
            ranking.at = world.node_changes;
        }
    }

    /// The best node for one member, another than those in `avoid` if there is one.
    pub fn place_one(
        &mut self,
        world: &World,
        question: Question,
        avoid: &[NodeId],
        work: &mut Work,
    ) -> Option<NodeId> {
        let places = self.place(world, question, 1, work);
        let first = places.first().copied();
        if first.is_none_or(|first| !avoid.contains(&first)) {
            return first;
        }
        // The ranking has an avoided node again if it takes a second one; the best other one is wanted.
        let other = self.ranking.take().and_then(|ranking| {
            ranking
                .heap
                .into_sorted_vec()
                .into_iter()
                .rev()
                .map(|Reverse(entry)| entry)
                .find(|(_, _, id)| !avoid.contains(id))
        });
        other.map(|(_, _, id)| id).or(first)
    }
}

fn rank(world: &World, question: Question, work: &mut Work) -> Ranking {
    let mut heap = Vec::new();
    if let (Some(set), Some(shape)) = (world.sets.get(question.set.at()), world.shapes.get(question.shape)) {
        work.nodes_scanned += set.nodes.len() as u64;
        for (name, id) in &set.nodes {
            let Some(node) = world.node(*id) else { continue };
            // Room first: it refuses most, and costs least.
            if fits(node, &shape.spec, &shape.requests, 0, question.horizon)
                && suits(node, &shape.spec).is_none()
            {
                let score = score(node, &shape.requests, 0, question.strategy, &set.balanced);
                heap.push(Reverse((score, Arc::clone(name), *id)));
            }
        }
    }
    Ranking { question, heap: BinaryHeap::from(heap), at: u64::MAX }
}

/// Whether a node has room for one more member beside `taken` equal ones.
fn fits(node: &Node, spec: &ShapeSpec, requests: &Amounts, taken: u32, horizon: Horizon) -> bool {
    lacking(node, requests, taken, horizon).is_none()
        && (spec.host_ports.is_empty() || taken == 0 && !port_taken(node, &spec.host_ports))
}

fn lacking(node: &Node, requests: &Amounts, taken: u32, horizon: Horizon) -> Option<ResourceId> {
    requests
        .iter()
        .find(|(resource, amount)| room(node, *resource, horizon) < amount.times(taken.saturating_add(1)))
        .map(|(resource, _)| resource)
}

fn room(node: &Node, resource: ResourceId, horizon: Horizon) -> Amount {
    match horizon {
        Horizon::Now => node.room(resource),
        Horizon::Later => node.room_later(resource),
    }
}

fn port_taken(node: &Node, wanted: &[HostPort]) -> bool {
    wanted.iter().any(|port| node.ports.iter().any(|used| used.conflicts(port)))
}

/// Why a node does not suit members of a shape, however empty it is. In the order of [`NodeRejection`].
fn suits(node: &Node, shape: &ShapeSpec) -> Option<NodeRejection> {
    let Some(spec) = &node.spec else { return Some(NodeRejection::NotReady) };
    if spec.not_ready_since.is_some() {
        return Some(NodeRejection::NotReady);
    }
    if spec.unschedulable {
        return Some(NodeRejection::Unschedulable);
    }
    if untolerated(&spec.taints, &shape.tolerations).is_some() {
        return Some(NodeRejection::Tainted);
    }
    let selected = shape.selector.iter().all(|requirement| requirement.matches(&spec.labels))
        && shape
            .affinity
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.matches(&spec.name, &spec.labels)));
    (!selected).then_some(NodeRejection::NotSelected)
}

/// Why a node does not take one more member beside `taken` equal ones; the first reason in the order of
/// [`NodeRejection`].
fn rejection(node: &Node, shape: &ShapeSpec, requests: &Amounts, taken: u32) -> Option<NodeRejection> {
    if let Some(rejection) = suits(node, shape) {
        return Some(rejection);
    }
    if let Some((resource, _)) =
        requests.iter().find(|(resource, amount)| node.allocatable.get(*resource) < *amount)
    {
        return Some(NodeRejection::TooSmall(resource));
    }
    if port_taken(node, &shape.host_ports) || taken > 0 && !shape.host_ports.is_empty() {
        return Some(NodeRejection::PortTaken);
    }
    lacking(node, requests, taken, Horizon::Now).map(NodeRejection::Insufficient)
}

/// Why `needed` members cannot be placed, of which those at `places` could: why no node takes one more, counted
/// by reason, node by node.
pub fn explain(
    world: &World,
    question: Question,
    needed: u32,
    places: &[NodeId],
    work: &mut Work,
) -> Refusal {
    let (Some(set), Some(shape)) = (world.sets.get(question.set.at()), world.shapes.get(question.shape))
    else {
        return Refusal::NoFittingNode(NodeTally { needed, ..NodeTally::default() });
    };
    let placed = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let mut tally = NodeTally { placed, needed, ..NodeTally::default() };
    let mut taken: BTreeMap<NodeId, u32> = BTreeMap::new();
    for id in places {
        *taken.entry(*id).or_default() += 1;
    }
    let mut offered = Amounts::new();
    let mut used = Amounts::new();
    work.nodes_scanned += set.nodes.len() as u64;
    for (_, id) in &set.nodes {
        let Some(node) = world.node(*id) else { continue };
        tally.total += 1;
        let beside = taken.get(id).copied().unwrap_or(0);
        let rejection = rejection(node, &shape.spec, &shape.requests, beside);
        if let Some(rejection) = rejection {
            *tally.rejected.entry(rejection).or_default() += 1;
        }
        if suits(node, &shape.spec).is_none() {
            for (resource, _) in shape.requests.iter() {
                let amount = node.allocatable.get(resource);
                offered.set(resource, offered.get(resource) + amount);
                used.set(resource, used.get(resource) + amount.less(node.room(resource)));
            }
        }
    }
    let mut shortages: Vec<Shortage> = shape
        .requests
        .iter()
        .map(|(resource, amount)| Shortage {
            resource,
            requested: amount.times(needed),
            bound: offered.get(resource),
            used: used.get(resource),
        })
        .collect();
    let enough_in_total =
        shortages.iter().all(|shortage| shortage.bound.less(shortage.used) >= shortage.requested);
    // A port that is taken is no matter of amounts, and a node that is too small has no fragments.
    let is_short = |rejection: &NodeRejection| matches!(rejection, NodeRejection::Insufficient(_));
    if enough_in_total && tally.rejected.keys().any(is_short) {
        // Of pods each node either takes one more or does not.
        shortages.retain(|shortage| shortage.resource != ResourceId::PODS);
        Refusal::Fragmented { tally, shortages }
    } else {
        Refusal::NoFittingNode(tally)
    }
}

/// How good a node is with one more member beside `taken` equal ones: less is better.
///
/// `BinPack` and `Spread` look at how full the node's requested resources are then, as kube-scheduler's
/// `MostAllocated` and `LeastAllocated` do. `Balanced` looks at how far the fractions in use of what the
/// pool meters are from their mean on the node, so that work that needs no GPU leaves nodes with GPUs alone
/// (kube-scheduler's `NodeResourcesBalancedAllocation`, over those resources), then as `Spread`.
fn score(node: &Node, requests: &Amounts, taken: u32, strategy: Strategy, balanced: &[ResourceId]) -> i64 {
    const WHOLE: i64 = 1_000_000;
    let fraction = |resource: ResourceId| {
        let offered = node.allocatable.get(resource).units().max(1);
        let more = requests.get(resource).times(taken.saturating_add(1));
        let used = (node.load.get(resource) + node.nominated.get(resource) + more).units().min(offered);
        i64::try_from(i128::from(used) * i128::from(WHOLE) / i128::from(offered)).unwrap_or(WHOLE)
    };
    let mean = |sum: i64, count: i64| sum / count.max(1);
    let (mut full, mut asked) = (0, 0);
    for (resource, _) in requests.iter().filter(|(resource, _)| *resource != ResourceId::PODS) {
        full += fraction(resource);
        asked += 1;
    }
    let full = mean(full, asked);
    match strategy {
        Strategy::BinPack => -full,
        Strategy::Spread => full,
        Strategy::Balanced => {
            let offered = |resource: &&ResourceId| !node.allocatable.get(**resource).is_zero();
            let (mut sum, mut count) = (0, 0);
            for resource in balanced.iter().filter(offered) {
                sum += fraction(*resource);
                count += 1;
            }
            let middle = mean(sum, count);
            let apart = balanced.iter().filter(offered).map(|one| (fraction(*one) - middle).abs()).sum();
            let spread = mean(apart, count);
            // Steps of a thousandth, so that what is about as balanced is told apart by how full it is.
            (spread / 1000) * WHOLE + full
        }
    }
}
