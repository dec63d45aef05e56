//! Who lives on which node, in columns: how much room nodes would have at most if some of them left.
//!
//! Whoever looks for room to make asks that of every node, again and again. What is told here is never too little and soon
//! told, so that only the few nodes that it leaves open are looked at member by member. It is kept with the rankings of nodes,
//! and rows of nodes that changed are counted anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ids::{NodeId, PoolId, WorkloadId};
use crate::model::nodes::Node;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::world::World;

use super::super::place::Read;

/// Whose members: of which pool, at which priority, and whether they lose nothing by moving.
type Whose = (PoolId, i32, bool);

/// By resource and then by node, in units of the resource.
type Columns = Vec<Vec<i64>>;

/// Nodes and who lives on them, as they were when they were counted last.
#[derive(Debug, Default)]
pub struct Census {
    /// How much of the world's journal of changed nodes it has taken in; none before the first count.
    read: Option<Read>,
    /// What else would make it wrong: upheavals, and how many resources there were.
    under: (u64, usize),
    /// Room once those that leave have left.
    rooms: Columns,
    lodgers: BTreeMap<Whose, Columns>,
    /// By node, when it changed who lives there, as far as it is known.
    lodged_at: Vec<u64>,
}

/// Room that nodes would have at most without some who live there.
#[derive(Debug)]
pub struct Hope<'a> {
    rooms: &'a Columns,
    lodgers: Vec<&'a Columns>,
}

impl Census {
    /// Counts nodes that changed since anew; how many these are.
    pub fn update(&mut self, world: &World) -> u64 {
        let under = (world.upheavals, world.resources.len());
        let changed = match &mut self.read {
            Some(read) if self.under == under => read.news(world, world.nodes.len(), || ids(world)),
            read => {
                *read = Some(Read::now(world));
                (self.rooms, self.lodgers, self.lodged_at) = Default::default();
                self.under = under;
                ids(world).collect()
            }
        };
        for id in &changed {
            if let Some(node) = world.node(*id) {
                self.count(world, *id, node);
            }
        }
        changed.len() as u64
    }

    fn count(&mut self, world: &World, id: NodeId, node: &Node) {
        for resource in world.resources.ids() {
            put(&mut self.rooms, resource, id, node.room_later(resource).units());
        }
        if self.lodged_at.len() <= id.at() {
            self.lodged_at.resize(id.at() + 1, u64::MAX);
        }
        if std::mem::replace(&mut self.lodged_at[id.at()], node.lodged_at) == node.lodged_at {
            return;
        }
        for column in self.lodgers.values_mut().flatten() {
            if let Some(amount) = column.get_mut(id.at()) {
                *amount = 0;
            }
        }
        for ((workload, _), load) in &node.tenants {
            self.lodge(world, *workload, id, load);
        }
        for (workload, _) in &node.assumed {
            if let Some(load) = world.workload(*workload).map(|one| world.loads(one)) {
                self.lodge(world, *workload, id, &load);
            }
        }
    }

    fn lodge(&mut self, world: &World, workload: WorkloadId, id: NodeId, load: &Amounts) {
        let Some(one) = world.workload(workload) else { return };
        let Some(pool) = one.pool else { return };
        let whose = (pool, one.spec.priority, world.movers.contains(&workload));
        let columns = self.lodgers.entry(whose).or_default();
        for (resource, amount) in load.iter() {
            let before = get(columns, resource, id);
            put(columns, resource, id, before.saturating_add(amount.units()));
        }
    }

    /// What nodes would have if all left whose pool and priority is among `leaving`, and with `light` all who lose nothing by
    /// moving.
    pub fn hope(&self, leaving: &BTreeSet<(PoolId, i32)>, light: bool) -> Hope<'_> {
        let leaves =
            |(pool, priority, moves): &Whose| light && *moves || leaving.contains(&(*pool, *priority));
        let lodgers = self.lodgers.iter().filter(|(whose, _)| leaves(whose)).map(|(_, all)| all).collect();
        Hope { rooms: &self.rooms, lodgers }
    }
}

impl Hope<'_> {
    /// For how many members a node would have room at most, counted until there are `enough`.
    pub fn most_on(&self, id: NodeId, loads: &Amounts, enough: u32) -> u32 {
        let mut most = enough;
        for (resource, amount) in loads.iter() {
            let mut room = get(self.rooms, resource, id);
            if room < amount.times(most).units() {
                room = self
                    .lodgers
                    .iter()
                    .fold(room, |room, columns| room.saturating_add(get(columns, resource, id)));
            }
            let fit = room.max(0).checked_div(amount.units()).unwrap_or(i64::MAX);
            most = most.min(u32::try_from(fit).unwrap_or(u32::MAX));
            if most == 0 {
                break;
            }
        }
        most
    }
}

fn ids(world: &World) -> impl Iterator<Item = NodeId> {
    world.nodes.iter().map(|(id, _)| NodeId(id))
}

fn get(columns: &Columns, resource: ResourceId, id: NodeId) -> i64 {
    columns.get(usize::from(resource.0)).and_then(|column| column.get(id.at())).copied().unwrap_or(0)
}

fn put(columns: &mut Columns, resource: ResourceId, id: NodeId, amount: i64) {
    let at = usize::from(resource.0);
    if amount == 0 && get(columns, resource, id) == 0 {
        return;
    }
    if columns.len() <= at {
        columns.resize_with(at + 1, Vec::new);
    }
    if columns[at].len() <= id.at() {
        columns[at].resize(id.at() + 1, 0);
    }
    columns[at][id.at()] = amount;
}
