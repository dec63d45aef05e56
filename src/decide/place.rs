//! Where: which nodes take members, and which of them is best.
//!
//! A trial changes nothing: members tried on a node are counted beside it. The nodes that passed the filter are
//! kept ranked by score, so that a gang, or any number of workloads of some shapes, costs one scan a shape and
//! not one a member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::amount::Amount;
use crate::model::charges::on_nodes;
use crate::model::ids::{NodeId, NodeSetId, ShapeId};
use crate::model::nodes::Node;
use crate::model::refusal::NodeRejection;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::selector::{Taint, TaintEffect, untolerated};
use crate::model::spec::{HostPort, NodeSpec, ShapeSpec, Strategy};
use crate::model::world::World;

use super::company::{Capacity, Company};
use super::decision::Work;
use super::explain::Tally;
use super::fragmentation::Mix;
use super::give_way::census::Census;
use super::news::Read;

/// At which time room is reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Horizon {
    /// As it is.
    Now,
    /// Once those that are leaving have left.
    Later,
}

/// What is placed: equal questions have equal answers while nodes do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// How good a node is: by what its template prefers of nodes, then by the strategy. Less is better.
type Score = (i64, i64);

/// The nodes that take a shape, best first: by score, then by name.
#[derive(Debug, Default)]
struct Ranking {
    order: BTreeSet<(Score, Arc<str>, NodeId)>,
    entries: BTreeMap<NodeId, (Score, Arc<str>)>,
    /// How much of the world's journal of changed nodes it has taken in.
    read: Read,
    /// What is typical, where the strategy looks at that.
    mix: Mix,
    /// What a member of the shape loads a node with.
    loads: Amounts,
    /// The shape: its id may be another's once nobody has it.
    shape: Option<Arc<ShapeSpec>>,
    /// When it was asked for last.
    asked: u64,
}

/// Rankings that are kept at a time, and how many nodes all of them rank: one holds an entry for each node that takes its shape.
const MOST_RANKINGS: usize = 512;
const MOST_RANKED: usize = 160_000;
/// The same for what nodes said.
const MOST_TALLIES: usize = 512;
const MOST_TOLD: usize = 320_000;

/// Places members, and remembers rankings of nodes during one decision: nodes that change meanwhile are ranked
/// anew one by one.
#[derive(Debug, Default)]
pub struct Placer {
    rankings: BTreeMap<Question, Ranking>,
    /// What nodes say to shapes that they do not take.
    tallies: BTreeMap<(ShapeId, NodeSetId), Tally>,
    /// Who lives on nodes.
    census: Census,
    /// Counts how often it was asked: what was asked for longest ago is forgotten first.
    asked: u64,
}

impl Placer {
    /// The best nodes for up to `count` members, fewer if no more fit. Nothing is changed.
    pub fn place(&mut self, world: &World, question: Question, count: u32, work: &mut Work) -> Vec<NodeId> {
        let Some(shape) = world.shapes.get(question.shape) else { return Vec::new() };
        let loads = on_nodes(&shape.requests, world.off_nodes_of(question.set));
        let ranking = self.ranking(world, question, work);
        let mut taken: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut places = Vec::new();
        while places.len() < count as usize
            && let Some((_, _, id)) = ranking.order.first().cloned()
        {
            let Some(node) = world.node(id) else { break };
            places.push(id);
            let beside = taken.entry(id).or_default();
            *beside += 1;
            let again = fits(node, &shape.spec, &loads, *beside, question.horizon);
            let score =
                again.then(|| score_in(world, question, &ranking.mix, node, (&shape.spec, &loads), *beside));
            ranking.set(id, &node.name, score);
        }
        for id in taken.into_keys() {
            ranking.refresh(world, question, id);
        }
        places
    }

    /// The best node for one member, another than those in `avoid` if there is one.
    pub fn place_one(
        &mut self,
        world: &World,
        question: Question,
        avoid: &[NodeId],
        work: &mut Work,
    ) -> Option<NodeId> {
        let ranking = self.ranking(world, question, work);
        let other = ranking.order.iter().map(|(_, _, id)| *id).find(|id| !avoid.contains(id));
        other.or_else(|| ranking.order.first().map(|(_, _, id)| *id))
    }

    /// The best nodes for up to `count` members, where the pods around matter; others than those in `avoid` if there
    /// are any. Nothing is changed.
    pub fn place_beside(
        &mut self,
        world: &World,
        question: Question,
        company: &Company,
        count: u32,
        avoid: &[NodeId],
        work: &mut Work,
    ) -> Vec<NodeId> {
        let Some(shape) = world.shapes.get(question.shape) else { return Vec::new() };
        let loads = on_nodes(&shape.requests, world.off_nodes_of(question.set));
        let ranking = self.ranking(world, question, work);
        work.nodes_scanned += ranking.order.len() as u64;
        let capacities: Vec<Capacity> = ranking
            .order
            .iter()
            .filter_map(|(_, _, id)| {
                let members = most_members(world.node(*id)?, &shape.spec, &loads, question.horizon, count);
                Some(Capacity { node: *id, members })
            })
            .collect();
        let mut company = company.clone();
        company.arrange(&capacities, count);
        let mut best = Vec::new();
        for trial in company.starts(&capacities, count) {
            let places = ranking.try_beside(world, question, trial, count, avoid);
            if places.len() > best.len() {
                best = places;
            }
            if best.len() >= count as usize {
                break;
            }
        }
        best
    }

    /// The best node for one member but for some, another than those in `avoid` if there is one.
    pub fn place_elsewhere(
        &mut self,
        world: &World,
        question: Question,
        but: impl Fn(NodeId) -> bool,
        avoid: &[NodeId],
        work: &mut Work,
    ) -> Option<NodeId> {
        let ranking = self.ranking(world, question, work);
        let others = || ranking.order.iter().map(|(_, _, id)| *id).filter(|id| !but(*id));
        others().find(|id| !avoid.contains(id)).or_else(|| others().next())
    }

    /// The two best nodes for one member but for some, as far as the pods around do not matter.
    pub fn first_two(
        &mut self,
        world: &World,
        question: Question,
        but: impl Fn(&NodeId) -> bool,
        work: &mut Work,
    ) -> [Option<NodeId>; 2] {
        let ranking = self.ranking(world, question, work);
        let mut nodes = ranking.order.iter().map(|(_, _, id)| *id).filter(|id| !but(id));
        [nodes.next(), nodes.next()]
    }

    /// What may be kept until the next decision: what is typical is not.
    pub(super) fn keep(&mut self) {
        self.rankings.retain(|question, _| match question.strategy {
            Strategy::BinPack | Strategy::Spread | Strategy::Balanced | Strategy::Optimal => true,
            Strategy::LeastFragmentation => false,
        });
    }

    /// Who lives on nodes now.
    pub fn census(&mut self, world: &World, work: &mut Work) -> &Census {
        work.nodes_updated += self.census.update(world);
        &self.census
    }

    /// The same, if it was asked for before: to count all nodes costs more than to look at a few.
    pub fn census_if_known(&mut self, world: &World, work: &mut Work) -> Option<&Census> {
        self.census.is_known().then(|| self.census(world, work))
    }

    /// The same, to be given back: for those who place members meanwhile.
    pub fn lend_census(&mut self, world: &World, work: &mut Work) -> Census {
        self.census(world, work);
        std::mem::take(&mut self.census)
    }

    /// Takes it back.
    pub fn take_back(&mut self, census: Census) {
        self.census = census;
    }

    /// Who lived on nodes when that was asked last.
    pub fn known_census(&self) -> &Census {
        &self.census
    }

    fn ranking(&mut self, world: &World, question: Question, work: &mut Work) -> &mut Ranking {
        self.asked += 1;
        if self.rankings.get(&question).is_some_and(|known| !is_of(world, question, known.shape.as_ref())) {
            self.rankings.remove(&question);
        }
        if !self.rankings.contains_key(&question) {
            let set = world.sets.get(question.set.at()).map_or(0, |set| set.nodes.len());
            let of = |ranking: &Ranking| (ranking.asked, ranking.entries.len());
            make_way(&mut self.rankings, (MOST_RANKINGS, MOST_RANKED.saturating_sub(set)), of);
        }
        let ranking = self.rankings.entry(question).or_insert_with(|| {
            let mix = match question.strategy {
                Strategy::LeastFragmentation => Mix::of(world, world.off_nodes_of(question.set)),
                Strategy::BinPack | Strategy::Spread | Strategy::Balanced | Strategy::Optimal => {
                    Mix::default()
                }
            };
            let shape = world.shapes.get(question.shape);
            let loads =
                shape.map(|shape| on_nodes(&shape.requests, world.off_nodes_of(question.set)).into_owned());
            let loads = loads.unwrap_or_default();
            let shape = shape.map(|shape| Arc::clone(&shape.spec));
            let mut ranking = Ranking { read: Read::now(world), mix, loads, shape, ..Ranking::default() };
            let nodes = world.sets.get(question.set.at()).map(|set| set.nodes.as_slice()).unwrap_or_default();
            work.nodes_scanned += nodes.len() as u64;
            for (_, id) in nodes {
                ranking.refresh(world, question, *id);
            }
            ranking
        });
        ranking.asked = self.asked;
        let changed = ranking.read.news_of(world, question.set);
        work.nodes_updated += changed.len() as u64;
        for id in changed {
            ranking.refresh(world, question, id);
        }
        ranking
    }

    /// What the nodes of a question's set say to its shape.
    pub(super) fn tally(&mut self, world: &World, question: Question, work: &mut Work) -> &Tally {
        self.asked += 1;
        let key = (question.shape, question.set);
        if self.tallies.get(&key).is_some_and(|known| !is_of(world, question, known.shape.as_ref())) {
            self.tallies.remove(&key);
        }
        if !self.tallies.contains_key(&key) {
            let set = world.sets.get(question.set.at()).map_or(0, |set| set.nodes.len());
            let of = |tally: &Tally| (tally.asked, tally.len());
            make_way(&mut self.tallies, (MOST_TALLIES, MOST_TOLD.saturating_sub(set)), of);
            work.nodes_scanned += set as u64;
        }
        let tally = self.tallies.entry(key).or_insert_with(|| Tally::of(world, question));
        tally.asked = self.asked;
        let changed = tally.read.news_of(world, question.set);
        work.nodes_updated += changed.len() as u64;
        for id in changed {
            tally.count(world, question, id);
        }
        tally
    }
}

/// Whether that is still the shape that is asked for.
fn is_of(world: &World, question: Question, shape: Option<&Arc<ShapeSpec>>) -> bool {
    let now = world.shapes.get(question.shape);
    now.zip(shape).is_some_and(|(now, shape)| Arc::ptr_eq(&now.spec, shape))
}

/// Forgets what was asked for longest ago, until one more may be kept; `of` tells when that was, and how large it is.
fn make_way<K: Ord + Copy, T>(
    all: &mut BTreeMap<K, T>,
    (most, most_in_all): (usize, usize),
    of: impl Fn(&T) -> (u64, usize),
) {
    let mut sum: usize = all.values().map(|one| of(one).1).sum();
    while all.len() >= most || sum > most_in_all {
        let Some(oldest) = all.iter().min_by_key(|(_, one)| of(one).0).map(|(key, _)| *key) else { return };
        sum -= all.remove(&oldest).map_or(0, |one| of(&one).1);
    }
}

impl Ranking {
    /// Places up to `count` members, each beside those before it.
    fn try_beside(
        &mut self,
        world: &World,
        question: Question,
        mut company: Company,
        count: u32,
        avoid: &[NodeId],
    ) -> Vec<NodeId> {
        let Some(shape) = world.shapes.get(question.shape) else { return Vec::new() };
        let loads = on_nodes(&shape.requests, world.off_nodes_of(question.set));
        let mut taken: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut places = Vec::new();
        while places.len() < count as usize
            && let Some(id) = self.choose(&company, avoid)
        {
            let Some(node) = world.node(id) else { break };
            places.push(id);
            company.take(id);
            let beside = taken.entry(id).or_default();
            *beside += 1;
            let again = fits(node, &shape.spec, &loads, *beside, question.horizon);
            let score =
                again.then(|| score_in(world, question, &self.mix, node, (&shape.spec, &loads), *beside));
            self.set(id, &node.name, score);
        }
        for id in taken.into_keys() {
            self.refresh(world, question, id);
        }
        places
    }

    /// The best node that the pods around let take a member.
    fn choose(&self, company: &Company, avoid: &[NodeId]) -> Option<NodeId> {
        let open = self.order.iter().filter(|(.., id)| company.refuses(*id).is_none());
        if avoid.is_empty() && company.is_flat() {
            return open.map(|(.., id)| *id).next();
        }
        // Of equals the first is taken, which is the best ranked.
        open.min_by_key(|((liked, score), _, id)| {
            let (position, around) = company.manners(*id);
            (avoid.contains(id), position, around.saturating_add(*liked), *score)
        })
        .map(|(.., id)| *id)
    }

    /// Ranks a node as it is.
    fn refresh(&mut self, world: &World, question: Question, id: NodeId) {
        let (Some(node), Some(shape)) = (world.node(id), world.shapes.get(question.shape)) else { return };
        // Room first: it refuses most, and costs least.
        let takes = node.sets.contains(&question.set)
            && fits(node, &shape.spec, &self.loads, 0, question.horizon)
            && suits(world, node, &shape.spec).is_none();
        let score = takes.then(|| score_in(world, question, &self.mix, node, (&shape.spec, &self.loads), 0));
        self.set(id, &node.name, score);
    }

    /// Gives a node a score, or none if it takes no member.
    fn set(&mut self, id: NodeId, name: &Arc<str>, score: Option<Score>) {
        let after = score.map(|score| (score, Arc::clone(name)));
        let before = match &after {
            Some(entry) => self.entries.insert(id, entry.clone()),
            None => self.entries.remove(&id),
        };
        if before == after {
            return;
        }
        if let Some((score, name)) = before {
            self.order.remove(&(score, name, id));
        }
        if let Some((score, name)) = after {
            self.order.insert((score, name, id));
        }
    }
}

fn score_in(
    world: &World,
    question: Question,
    mix: &Mix,
    node: &Node,
    (spec, requests): (&ShapeSpec, &Amounts),
    taken: u32,
) -> Score {
    let score = if question.strategy == Strategy::LeastFragmentation {
        mix.growth(node, requests, taken)
    } else {
        let balanced = world.sets.get(question.set.at()).map(|set| &*set.balanced).unwrap_or_default();
        score(node, requests, taken, question.strategy, balanced)
    };
    (dislike(node, spec), score)
}

/// What an untolerated taint `PreferNoSchedule` weighs, as the heaviest preference does.
const TAINT_WEIGHT: i64 = 100;

/// How little a template likes a node: by its preferred node affinity, and by taints that only ask.
fn dislike(node: &Node, shape: &ShapeSpec) -> i64 {
    let Some(spec) = &node.spec else { return 0 };
    let disliked = |taint: &&Taint| {
        taint.effect == TaintEffect::PreferNoSchedule
            && !shape.tolerations.iter().any(|one| one.tolerates(taint))
    };
    let taints = i64::try_from(spec.taints.iter().filter(disliked).count()).unwrap_or(i64::MAX);
    let liked = shape.preferred.iter().filter(|(_, term)| term.matches(&spec.name, &spec.labels));
    taints.saturating_mul(TAINT_WEIGHT) - liked.map(|(weight, _)| weight).sum::<i64>()
}

/// Whether a node has room for one more member beside `taken` equal ones.
fn fits(node: &Node, spec: &ShapeSpec, requests: &Amounts, taken: u32, horizon: Horizon) -> bool {
    lacking(node, requests, taken, horizon).is_none()
        && (spec.host_ports.is_empty() || taken == 0 && !port_taken(node, &spec.host_ports))
}

/// How many members a node has room for, up to `most`.
fn most_members(node: &Node, spec: &ShapeSpec, loads: &Amounts, horizon: Horizon, most: u32) -> u32 {
    if !spec.host_ports.is_empty() {
        return most.min(1);
    }
    let fit = |(resource, amount): (ResourceId, Amount)| {
        room(node, resource, horizon).units().checked_div(amount.units()).unwrap_or(i64::MAX)
    };
    let all = loads.iter().map(fit).min().unwrap_or(i64::MAX);
    u32::try_from(all).unwrap_or(u32::MAX).min(most)
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

/// Whether a node takes one more member beside what `beside` says.
pub fn takes(world: &World, question: Question, id: NodeId, beside: &Amounts) -> bool {
    let (Some(node), Some(shape)) = (world.node(id), world.shapes.get(question.shape)) else { return false };
    let has_room = |(resource, amount): (ResourceId, Amount)| {
        room(node, resource, question.horizon).less(beside.get(resource)) >= amount
    };
    let loads = on_nodes(&shape.requests, world.off_nodes_of(question.set));
    node.sets.contains(&question.set)
        && loads.iter().all(has_room)
        && fits(node, &shape.spec, &loads, 0, question.horizon)
        && suits(world, node, &shape.spec).is_none()
}

/// Why a node does not suit members of a shape, however empty it is. In the order of [`NodeRejection`].
pub(super) fn suits(world: &World, node: &Node, shape: &ShapeSpec) -> Option<NodeRejection> {
    let Some(spec) = &node.spec else { return Some(NodeRejection::NotReady) };
    if spec.not_ready_since.is_some() {
        return Some(NodeRejection::NotReady);
    }
    if spec.unschedulable {
        return Some(NodeRejection::Unschedulable);
    }
    if untolerated(&node.barring, &shape.tolerations).is_some() {
        return Some(NodeRejection::Tainted);
    }
    if !is_selected(spec, shape) {
        return Some(NodeRejection::NotSelected);
    }
    let reached = |claim: &Arc<str>| {
        let from = world.claims.get(claim);
        from.is_none_or(|terms| terms.iter().any(|term| term.matches(&spec.name, &spec.labels)))
    };
    (!shape.claims.iter().all(reached)).then_some(NodeRejection::VolumeElsewhere)
}

/// Whether a node would take a member of a shape if it were empty.
pub(super) fn takes_when_empty(world: &World, node: &Node, shape: &ShapeSpec, loads: &Amounts) -> bool {
    let too_small = loads.iter().any(|(resource, amount)| node.allocatable.get(resource) < amount);
    !too_small && suits(world, node, shape).is_none()
}

/// Whether the node selector and the required node affinity of a template match a node.
pub(super) fn is_selected(node: &NodeSpec, shape: &ShapeSpec) -> bool {
    shape.selector.iter().all(|requirement| requirement.matches(&node.labels))
        && shape
            .affinity
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name, &node.labels)))
}

/// Why a node does not take one more member beside `taken` equal ones; the first reason in the order of
/// [`NodeRejection`].
pub(super) fn rejection(
    world: &World,
    node: &Node,
    shape: &ShapeSpec,
    requests: &Amounts,
    taken: u32,
) -> Option<NodeRejection> {
    suits(world, node, shape).or_else(|| lack_of_room(node, shape, requests, taken))
}

/// The same of a node that suits the shape.
pub(super) fn lack_of_room(
    node: &Node,
    shape: &ShapeSpec,
    requests: &Amounts,
    taken: u32,
) -> Option<NodeRejection> {
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

/// Why a node does not take one more member, by itself; none if it does.
pub fn why_not(world: &World, question: Question, id: NodeId) -> Option<NodeRejection> {
    let (node, shape) = (world.node(id)?, world.shapes.get(question.shape)?);
    let loads = on_nodes(&shape.requests, world.off_nodes_of(question.set));
    rejection(world, node, &shape.spec, &loads, 0)
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
        // Looked at by `fragmentation`; where nothing is typical, as little is broken by filling nodes.
        Strategy::BinPack | Strategy::LeastFragmentation => -full,
        Strategy::Spread => full,
        // What an answer does not place is placed as it would be without one.
        Strategy::Balanced | Strategy::Optimal => {
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
