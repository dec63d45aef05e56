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
        let (last, entries) = match world.journal.get(self.entries.saturating_sub(1)..) {
            Some([last, entries @ ..]) if self.entries > 0 => (Some(last), entries),
            entries => (None, entries.unwrap_or_default()),
        };
        let is_new = |id: &NodeId| world.node(*id).is_some_and(|node| node.changed_at > self.shifts);
        let mut changed: Vec<NodeId> = if entries.len() > many * 4 {
            all().filter(is_new).collect()
        } else {
            let last = last.filter(|last| is_new(last));
            each_once(entries.iter().chain(last))
        };
        *self = Self::now(world);
        changed.sort_unstable();
        changed
    }
}

/// Without sorting them: there may be far more than there are nodes.
fn each_once<'a>(ids: impl Iterator<Item = &'a NodeId>) -> Vec<NodeId> {
    let mut met: Vec<u64> = Vec::new();
    let mut found = Vec::new();
    for id in ids {
        let (word, bit) = (id.at() / 64, 1 << (id.at() % 64));
        if met.len() <= word {
            met.resize(word + 1, 0);
        }
        if met[word] & bit == 0 {
            met[word] |= bit;
            found.push(*id);
        }
    }
    found
}
