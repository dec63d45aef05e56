//! Which nodes have changed since somebody looked last, for those who keep what they counted of nodes.

use crate::model::ids::{NodeId, NodeSetId};
use crate::model::world::World;

/// How much of the world's changes to nodes is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Read {
    /// Of its journal.
    entries: usize,
    /// Of all changes.
    shifts: u64,
}

impl Read {
    /// All that is there now.
    pub fn now(world: &World) -> Self {
        Self { entries: world.journal.len(), shifts: world.shifts }
    }

    /// The nodes of a set that changed since, which are known then.
    pub fn news_of(&mut self, world: &World, set: NodeSetId) -> Vec<NodeId> {
        let all = world.sets.get(set.at()).map(|set| set.nodes.as_slice()).unwrap_or_default();
        self.news(world, all.len(), || all.iter().map(|(_, id)| *id))
    }

    /// The nodes that changed since, which are known then; `all` are so many.
    pub fn news<T: Iterator<Item = NodeId>>(
        &mut self,
        world: &World,
        many: usize,
        all: impl FnOnce() -> T,
    ) -> Vec<NodeId> {
        if self.shifts == world.shifts {
            return Vec::new();
        }
        // The last entry may stand for more than one change.
        let entries = world.journal.get(self.entries.saturating_sub(1)..).unwrap_or_default();
        let is_new = |id: &NodeId| world.node(*id).is_some_and(|node| node.changed_at > self.shifts);
        let mut changed: Vec<NodeId> = if entries.len() > many / 8 {
            all().filter(is_new).collect()
        } else {
            entries.iter().copied().filter(is_new).collect()
        };
        *self = Self::now(world);
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}
