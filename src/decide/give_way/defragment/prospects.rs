//! Where moves might make a block: told of all nodes and all who live there before any move is tried.

use crate::model::ids::NodeId;
use crate::model::resources::Amounts;
use crate::model::world::World;

use super::super::super::admit::Desk;
use super::super::super::place::{Horizon, Question, takes_when_empty};
use super::super::census::{Census, Kind, Lodger};
use super::{Homes, Known, MOST_KINDS, Search};

impl Search<'_> {
    /// Nodes that a member would suit and on which those who may leave free enough for it, those first where least is missing.
    pub(super) fn nearest(&mut self, world: &World, desk: &mut Desk, census: &mut Census) -> Vec<NodeId> {
        let (Some(set), Some(shape)) =
            (world.sets.get(self.question.set.at()), world.shapes.get(self.question.shape))
        else {
            return Vec::new();
        };
        desk.work.nodes_scanned += set.nodes.len() as u64;
        let requests = self.load.requests.clone();
        let open = census.hope_of(&self.open).open(&requests);
        // In the order of their names where as much is missing.
        let mut found: Vec<(i64, usize, NodeId)> = Vec::new();
        for (at, (_, id)) in set.nodes.iter().enumerate() {
            let is_open = open.get(id.at()).is_some_and(|open| *open);
            if !(is_open || cfg!(debug_assertions)) || !self.leave_enough(census, *id, &requests) {
                continue;
            }
            debug_assert!(is_open, "the census says too little of {id:?}");
            let Some(node) = world.node(*id) else { continue };
            if !takes_when_empty(world, node, &shape.spec, &requests) {
                continue;
            }
            let missing = requests
                .iter()
                .map(|(resource, amount)| {
                    let missing = i128::from(amount.less(node.room_later(resource)).units());
                    let offered = i128::from(node.allocatable.get(resource).units().max(1));
                    i64::try_from(missing * 1000 / offered).unwrap_or(i64::MAX)
                })
                .max();
            found.push((missing.unwrap_or(0), at, *id));
        }
        found.sort_unstable();
        found.into_iter().map(|(.., id)| id).collect()
    }

    /// Whether those of a node who may move, and have somewhere to go, leave enough of what it lacks.
    fn leave_enough(&self, census: &Census, id: NodeId, requests: &Amounts) -> bool {
        let lodgers = census.lodgers(id);
        requests.iter().all(|(resource, amount)| {
            let mut room = census.room(resource, id);
            room >= amount
                || lodgers.iter().any(|lodger| {
                    if self.may_leave(lodger, id)
                        && let Some(kind) = census.kind(lodger)
                    {
                        room += kind.loads.get(resource);
                    }
                    room >= amount
                })
        })
    }

    /// Whether a member may move away from a node, and has somewhere to go.
    pub(super) fn may_leave(&self, lodger: &Lodger, from: NodeId) -> bool {
        // What is nearest at hand first: this is asked of everybody.
        let Some(known) = self.kinds.get(lodger.kind as usize).filter(|_| lodger.settled) else {
            return false;
        };
        known.homes.iter().flatten().any(|home| *home != from)
            && (known.light || self.leavers.contains(lodger.member))
            && !self.moved.contains(&lodger.member)
    }

    /// Gets to know all kinds of members that may move.
    pub(super) fn learn(&mut self, world: &World, desk: &mut Desk, census: &Census) {
        let mut all = std::mem::take(&mut self.kinds);
        all.clear();
        self.open.clear();
        for (number, kind) in census.kinds().iter().enumerate() {
            let (pool, priority, light) = kind.whose;
            let may = light || self.leavers.are_of(pool, priority);
            let homes = may.then(|| self.homes_of(world, desk, kind)).flatten().unwrap_or_default();
            if homes.iter().any(Option::is_some) {
                self.open.extend(census.group_of(number));
            }
            all.push(Known { light, homes });
        }
        self.kinds = all;
    }

    /// Where members of a kind find room, as far as the pods around do not matter.
    fn homes_of(&mut self, world: &World, desk: &mut Desk, kind: &Kind) -> Option<Homes> {
        let pool = world.pool(kind.whose.0)?;
        let strategy = kind.strategy.unwrap_or(pool.spec.strategy);
        let question = Question { shape: kind.shape?, strategy, set: pool.nodes?, horizon: Horizon::Now };
        if self.homes.len() >= MOST_KINDS && !self.homes.contains_key(&question) {
            return None;
        }
        Some(*self.homes.entry(question).or_insert_with(|| {
            let but = |id: &NodeId| self.sources.contains(id);
            desk.placer.first_two(world, question, but, &mut desk.work)
        }))
    }
}
