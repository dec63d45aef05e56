//! How many members could be placed at most if all who may give way or move left at once. Where that is too few, no search can
//! find more, and none is begun.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::amount::Amount;
use crate::model::charges::on_nodes;
use crate::model::ids::{NodeId, PoolId, WorkloadId};
use crate::model::moves::MemberId;
use crate::model::nodes::{Node, NodeSet};
use crate::model::proof::Rights;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::shapes::Shape;
use crate::model::world::World;

use super::super::admit::Desk;
use super::super::place::{Question, suits};
use super::census::{Census, Hope};
use super::load::{left_by, load_of};
use super::victims::{Candidate, Take, borrows};

/// How those leave who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaving {
    /// They are evicted.
    Evicted,
    /// They are evicted, or move.
    EvictedOrMoved,
}

/// Who may leave nodes for one that waits: those that could be evicted for it, and what is on the move.
#[derive(Debug, Default)]
pub struct Leavers {
    /// By the place of the workload in the world.
    whole: Vec<bool>,
    members: BTreeSet<MemberId>,
    any: bool,
    /// Pools and priorities of all of them.
    whose: BTreeSet<(PoolId, i32)>,
    /// What moves that are under way will leave.
    moving: BTreeMap<NodeId, Amounts>,
}

impl Leavers {
    /// Those who are on that list.
    pub fn of(world: &World, list: &[Candidate]) -> Self {
        let mut leavers = Self { any: !list.is_empty(), ..Self::default() };
        let mut last = None;
        for one in list {
            if last.replace(one.whose) != Some(one.whose) {
                leavers.whose.insert(one.whose);
            }
            match one.take {
                Take::Whole(_) => {
                    if leavers.whole.len() <= one.workload.at() {
                        leavers.whole.resize(one.workload.at() + 1, false);
                    }
                    leavers.whole[one.workload.at()] = true;
                }
                Take::Member(index) => {
                    leavers.members.insert((one.workload, index));
                }
            }
        }
        leavers.note_moves(world);
        leavers
    }

    /// All that whoever has such rights might evict, as far as pools and priorities tell: never fewer than those who may go.
    pub fn at_most(world: &World, census: &Census, rights: Rights) -> Self {
        let mut leavers = Self::default();
        let mut last = None;
        for (pool, priority, _) in census.whose() {
            // The census remembers whom there was.
            let admitted = world.pool(*pool).map(|pool| &pool.admitted);
            let ends = admitted.and_then(|all| Some(all.first()?.priority..=all.last()?.priority));
            if !ends.is_some_and(|ends| ends.contains(priority)) {
                continue;
            }
            let lends = || match last {
                Some((known, borrows)) if known == *pool => borrows,
                _ => last.insert((*pool, borrows(world, *pool, true, None))).1,
            };
            if rights.reach(*pool, *priority, lends) {
                leavers.whose.insert((*pool, *priority));
            }
        }
        leavers.any = !leavers.whose.is_empty();
        leavers.note_moves(world);
        leavers
    }

    fn note_moves(&mut self, world: &World) {
        for member in &world.moving {
            for load in [left_by(world, *member), load_of(world, *member)].into_iter().flatten() {
                self.moving.entry(load.node).or_default().add(&load.requests);
            }
        }
    }

    /// What moves that are under way will leave on a node.
    pub fn on_the_move(&self, node: NodeId) -> Option<&Amounts> {
        self.moving.get(&node)
    }

    /// Whether nobody could be evicted.
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Whether a member could be evicted.
    pub fn contains(&self, member: MemberId) -> bool {
        self.has(member.0) || self.members.contains(&member)
    }

    /// Whether some of a pool and priority could be evicted.
    pub fn are_of(&self, pool: PoolId, priority: i32) -> bool {
        self.whose.contains(&(pool, priority))
    }

    fn has(&self, id: WorkloadId) -> bool {
        self.whole.get(id.at()).is_some_and(|leaves| *leaves)
    }

    /// What nodes would have at most once all of them have left who live there.
    pub fn hope<'a>(&self, census: &'a Census, leaving: Leaving) -> Hope<'a> {
        census.hope(&self.whose, leaving != Leaving::Evicted)
    }

    /// How many members of a shape a node has room for once all of them have left, counted until there are `enough`.
    fn most_on(
        &self,
        world: &World,
        (id, node): (NodeId, &Node),
        loads: &Amounts,
        (leaving, enough): (Leaving, u32),
    ) -> u32 {
        let mut most = enough;
        for (resource, amount) in loads.iter() {
            let wanted = amount.times(most);
            let mut room = node.room_later(resource);
            // Most nodes lack one resource: of the others nothing is added up.
            if room < wanted {
                self.freed_on(world, (id, node), resource, leaving, |freed| {
                    room += freed;
                    room < wanted
                });
            }
            let fit = room.units().max(0).checked_div(amount.units()).unwrap_or(i64::MAX);
            most = most.min(u32::try_from(fit).unwrap_or(u32::MAX));
            if most == 0 {
                break;
            }
        }
        most
    }

    /// What of a resource those free of a node who leave it, one after another, as long as `more` wants to know.
    fn freed_on(
        &self,
        world: &World,
        (id, node): (NodeId, &Node),
        resource: ResourceId,
        leaving: Leaving,
        mut more: impl FnMut(Amount) -> bool,
    ) {
        let light = leaving != Leaving::Evicted && node.light > 0;
        if self.any || light {
            for (member, load) in &node.tenants {
                let leaves = self.contains(*member) || light && world.movers.contains(&member.0);
                if leaves && !more(load.get(resource)) {
                    return;
                }
            }
        }
        for (workload, _) in node.assumed.iter().filter(|member| self.any && self.contains(**member)) {
            let load = world.workload(*workload).map(|workload| world.loads(workload).get(resource));
            more(load.unwrap_or_default());
        }
        if let Some(moving) = self.moving.get(&id) {
            more(moving.get(resource));
        }
    }

    /// How many members could be placed at most, counted until there are `enough`.
    pub fn ceiling(
        &self,
        world: &World,
        desk: &mut Desk,
        question: Question,
        enough: u32,
        leaving: Leaving,
    ) -> u32 {
        let Some((set, shape, loads)) = asked(world, question) else { return 0 };
        let census = desk.placer.census_if_known(world, &mut desk.work);
        let hope = census.map(|census| self.hope(census, leaving));
        let mut count = 0_u32;
        for (_, id) in &set.nodes {
            let left = enough.saturating_sub(count);
            let may = |hope: &Hope<'_>| hope.most_on(*id, &loads, left) > 0;
            let is_open = hope.as_ref().is_none_or(may) || self.moving.contains_key(id);
            let Some(node) = world.node(*id).filter(|_| is_open || cfg!(debug_assertions)) else { continue };
            let most = self.most_for(world, (*id, node), shape, &loads, (leaving, left));
            debug_assert!(is_open || most == 0, "the census says too little of {}", node.name);
            count = count.saturating_add(most);
            if count >= enough {
                break;
            }
        }
        count
    }

    /// How many members could be placed at most as far as the census tells, counted until there are `enough`.
    pub fn bound(
        &self,
        world: &World,
        census: &Census,
        question: Question,
        enough: u32,
        leaving: Leaving,
    ) -> u32 {
        let Some((_, _, loads)) = asked(world, question) else { return 0 };
        let hope = self.hope(census, leaving);
        let is_asked = |id| world.node(id).is_some_and(|node| node.sets.contains(&question.set));
        let mut count = 0_u32;
        for (id, more) in self.moving.iter().filter(|(id, _)| is_asked(**id)) {
            let left = enough.saturating_sub(count);
            count = count.saturating_add(hope.most_with(*id, &loads, left, Some(more)));
        }
        if count >= enough {
            return count;
        }
        hope.each_open(&loads, |id| {
            if !self.moving.contains_key(&id) && is_asked(id) {
                count = count.saturating_add(hope.most_on(id, &loads, enough.saturating_sub(count)));
            }
            count < enough
        });
        count
    }

    /// Workloads, by their place in the world, of which somebody is on a node that would have room if all left who may.
    pub fn helpful(&self, world: &World, desk: &mut Desk, question: Question) -> Vec<bool> {
        let mut helps = vec![false; self.whole.len()];
        let Some((set, shape, loads)) = asked(world, question) else { return helps };
        for (workload, _) in &self.members {
            let most = helps.len().max(workload.at() + 1);
            helps.resize(most, false);
            helps[workload.at()] = true;
        }
        let hope = self.hope(desk.placer.census(world, &mut desk.work), Leaving::Evicted);
        for (_, id) in &set.nodes {
            if hope.most_on(*id, &loads, 1) == 0 && !self.moving.contains_key(id) {
                continue;
            }
            let Some(node) = world.node(*id) else { continue };
            if self.most_for(world, (*id, node), shape, &loads, (Leaving::Evicted, 1)) == 0 {
                continue;
            }
            for (workload, _) in node.tenants.keys().chain(&node.assumed) {
                if let Some(helps) = helps.get_mut(workload.at()) {
                    *helps = true;
                }
            }
        }
        helps
    }

    fn most_for(
        &self,
        world: &World,
        (id, node): (NodeId, &Node),
        shape: &Shape,
        loads: &Amounts,
        (leaving, enough): (Leaving, u32),
    ) -> u32 {
        if loads.iter().any(|(resource, amount)| node.allocatable.get(resource) < amount) {
            return 0;
        }
        let most = self.most_on(world, (id, node), loads, (leaving, enough));
        if most == 0 || suits(world, node, &shape.spec).is_some() {
            return 0;
        }
        if shape.spec.host_ports.is_empty() { most } else { most.min(1) }
    }
}

/// Which nodes are asked for which shape, and what one member of it takes of a node.
pub(super) fn asked(world: &World, question: Question) -> Option<(&NodeSet, &Shape, Cow<'_, Amounts>)> {
    let (set, shape) = world.sets.get(question.set.at()).zip(world.shapes.get(question.shape))?;
    Some((set, shape, on_nodes(&shape.requests, &set.off_nodes)))
}
