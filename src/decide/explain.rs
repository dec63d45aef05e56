//! Why nothing fits: nodes counted by the reason for which they refuse, and what is free in total.
//!
//! What was counted for a shape is kept with the rankings, and nodes that changed are counted anew one by one, so that telling
//! again and again why something waits costs what has changed and not all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::amount::Amount;
use crate::model::charges::on_nodes;
use crate::model::ids::NodeId;
use crate::model::nodes::Node;
use crate::model::refusal::{NodeRejection, NodeTally, Refusal, Shortage};
use crate::model::resources::{Amounts, ResourceId};
use crate::model::spec::ShapeSpec;
use crate::model::world::World;

use super::company::Company;
use super::decision::Work;
use super::news::Read;
use super::place::{Placer, Question, lack_of_room, rejection, suits};

/// What one node says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    /// It is one of the nodes that are asked.
    asked: bool,
    /// Why it refuses one more member.
    rejection: Option<NodeRejection>,
    /// It would suit, were it empty: what it offers counts.
    suits: bool,
}

/// What the nodes of a set say to a shape, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How much of the world's journal of changed nodes it has taken in.
    pub(super) read: Read,
    /// The shape: its id may be another's once nobody has it.
    pub(super) shape: Option<Arc<ShapeSpec>>,
    /// When it was asked for last.
    pub(super) asked: u64,
    loads: Amounts,
    asked_for: Vec<ResourceId>,
    said: Vec<Said>,
    /// Of each resource that is asked for, what a node offers and what of it is not free, node by node.
    amounts: Vec<(Amount, Amount)>,
    total: u32,
    rejected: BTreeMap<NodeRejection, u32>,
    offered: Amounts,
    used: Amounts,
}

impl Tally {
    pub(super) fn of(world: &World, question: Question) -> Self {
        let Some(shape) = world.shapes.get(question.shape) else { return Self::default() };
        let loads = on_nodes(&shape.requests, world.off_nodes_of(question.set)).into_owned();
        let asked_for = loads.iter().map(|(resource, _)| resource).collect();
        let mut tally = Self {
            read: Read::now(world),
            shape: Some(Arc::clone(&shape.spec)),
            loads,
            asked_for,
            ..Self::default()
        };
        for (_, id) in world.sets.get(question.set.at()).map(|set| set.nodes.as_slice()).unwrap_or_default() {
            tally.count(world, question, *id);
        }
        tally
    }

    /// How much it holds.
    pub(super) fn len(&self) -> usize {
        self.said.len()
    }

    /// Counts a node as it is now.
    pub(super) fn count(&mut self, world: &World, question: Question, id: NodeId) {
        let Some(shape) = self.shape.as_deref() else { return };
        let node = world.node(id).filter(|node| node.sets.contains(&question.set));
        let said = node.map_or_else(Said::default, |node| {
            let unsuitable = suits(world, node, shape);
            let rejection = unsuitable.or_else(|| lack_of_room(node, shape, &self.loads, 0));
            Said { asked: true, rejection, suits: unsuitable.is_none() }
        });
        let width = self.asked_for.len();
        if self.said.len() <= id.at() {
            self.said.resize(id.at() + 1, Said::default());
            self.amounts.resize((id.at() + 1) * width, (Amount::ZERO, Amount::ZERO));
        }
        let before = std::mem::replace(&mut self.said[id.at()], said);
        if before != said {
            self.add(before, false);
            self.add(said, true);
        }
        for (at, resource) in self.asked_for.iter().enumerate() {
            let now = match node.filter(|_| said.suits) {
                Some(node) => amounts_of(node, *resource),
                None => (Amount::ZERO, Amount::ZERO),
            };
            let before = std::mem::replace(&mut self.amounts[id.at() * width + at], now);
            self.offered.set(*resource, self.offered.get(*resource) - before.0 + now.0);
            self.used.set(*resource, self.used.get(*resource) - before.1 + now.1);
        }
    }

    fn add(&mut self, said: Said, add: bool) {
        if !said.asked {
            return;
        }
        self.total = if add { self.total + 1 } else { self.total - 1 };
        let Some(rejection) = said.rejection else { return };
        let count = self.rejected.entry(rejection).or_default();
        *count = if add { *count + 1 } else { *count - 1 };
        if *count == 0 {
            self.rejected.remove(&rejection);
        }
    }
}

/// What a node offers of a resource, and what of it is not free.
fn amounts_of(node: &Node, resource: ResourceId) -> (Amount, Amount) {
    let amount = node.allocatable.get(resource);
    (amount, amount.less(node.room(resource)))
}

/// Why `needed` members cannot be placed, of which those at `places` could: why no node takes one more, counted
/// by reason, node by node.
pub fn explain(
    world: &World,
    placer: &mut Placer,
    question: Question,
    needed: u32,
    places: &[NodeId],
    company: Option<Company>,
    work: &mut Work,
) -> Refusal {
    let (Some(set), Some(shape)) = (world.sets.get(question.set.at()), world.shapes.get(question.shape))
    else {
        return Refusal::NoFittingNode(NodeTally { needed, ..NodeTally::default() });
    };
    let placed = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let mut taken: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut company = company;
    for id in places {
        *taken.entry(*id).or_default() += 1;
        if let Some(company) = &mut company {
            company.take(*id);
        }
    }
    let known = placer.tally(world, question, work);
    let mut tally = NodeTally { total: known.total, rejected: known.rejected.clone(), placed, needed };
    let (mut offered, mut used) = (known.offered.clone(), known.used.clone());
    // Those at which members were placed say something else now.
    for (id, beside) in taken {
        let Some(node) = world.node(id) else { continue };
        let before = known.said.get(id.at()).copied().unwrap_or_default();
        let after = rejection(world, node, &shape.spec, &known.loads, beside);
        shift(&mut tally.rejected, before.rejection, after);
    }
    if let Some(company) = &company {
        work.nodes_scanned += set.nodes.len() as u64;
        for (_, id) in &set.nodes {
            let Some(around) = company.refuses(*id) else { continue };
            let Some(node) = world.node(*id) else { continue };
            let said = known.said.get(id.at()).copied().unwrap_or_default();
            let beside =
                u32::try_from(places.iter().filter(|place| *place == id).count()).unwrap_or(u32::MAX);
            let own = if beside == 0 {
                said.rejection
            } else {
                rejection(world, node, &shape.spec, &known.loads, beside)
            };
            shift(&mut tally.rejected, own, own.or(Some(around)));
            // What is free where it may not be for the pods around is no fragment.
            for resource in known.asked_for.iter().filter(|_| said.suits) {
                let (one, taken) = amounts_of(node, *resource);
                offered.set(*resource, offered.get(*resource) - one);
                used.set(*resource, used.get(*resource) - taken);
            }
        }
    }
    let shortages = known.loads.iter().map(|(resource, amount)| Shortage {
        resource,
        requested: amount.times(needed),
        bound: offered.get(resource),
        used: used.get(resource),
        kept: Amount::ZERO,
    });
    let mut shortages: Vec<Shortage> = shortages.collect();
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

/// One node says something else than before.
fn shift(
    rejected: &mut BTreeMap<NodeRejection, u32>,
    before: Option<NodeRejection>,
    after: Option<NodeRejection>,
) {
    if before == after {
        return;
    }
    if let Some(before) = before
        && let Some(count) = rejected.get_mut(&before)
    {
        *count = count.saturating_sub(1);
        if *count == 0 {
            rejected.remove(&before);
        }
    }
    if let Some(after) = after {
        *rejected.entry(after).or_default() += 1;
    }
}
