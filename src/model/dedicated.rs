//! Dedicated pools: which nodes shall bear a pool's taint, and whose taint they bear.
//!
//! An annotation on the node says for which pool Weir has put the taint there. It is written together with the taint, so
//! that a taint of Weir's is known as such after any crash, and one that others have put there is left alone.

use std::sync::Arc;

use super::ids::{NodeId, PoolId};
use super::pools::Pool;
use super::selector::{Taint, TaintEffect};
use super::world::World;

/// The key of the taint; its value is the pool's name, its effect `NoSchedule`.
pub const TAINT: &str = "weir.dev/pool";

/// Whether pods of others may run on a root pool's nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum PoolKind {
    /// They may.
    #[default]
    Shared,
    /// A taint keeps them away.
    Dedicated,
}

/// What shall be so with the taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// As it is: what its pool wants is not known.
    Unknown,
    /// None of Weir's.
    Nothing,
    /// That of the pool of this name.
    Pool(Arc<str>),
}

/// Whether a taint is the one that keeps others away from the nodes of a pool.
fn is_of(taint: &Taint, pool: &str) -> bool {
    &*taint.key == TAINT && &*taint.value == pool && taint.effect == TaintEffect::NoSchedule
}

impl World {
    fn is_dedicated(&self, pool: PoolId) -> Option<&Pool> {
        self.pool(pool).filter(|pool| pool.spec.kind == PoolKind::Dedicated)
    }

    /// The dedicated root that a pool belongs to: its members tolerate that pool's taint.
    pub fn dedicated_root(&self, pool: &str) -> Option<Arc<str>> {
        let root = self.pool(*self.pool_ids.get(pool)?)?.root()?;
        self.is_dedicated(root).map(|root| Arc::clone(&root.spec.name))
    }

    /// Which taint of Weir's a node shall bear, and whether it is not so. A pool that is being deleted takes nothing
    /// new, so what is free on its nodes is for others.
    pub fn wanted_taint(&self, node: &str) -> Option<Wanted> {
        let node = self.node(*self.node_ids.get(node)?)?;
        let spec = node.spec.as_ref()?;
        let root = node.root.and_then(|root| self.is_dedicated(root)).filter(|root| !root.spec.deleting);
        let wanted = match (root, &spec.tainted_for) {
            (Some(root), _) => Wanted::Pool(Arc::clone(&root.spec.name)),
            (None, Some(before)) if self.is_unreadable(before) => Wanted::Unknown,
            (None, _) => Wanted::Nothing,
        };
        let is_so = match &wanted {
            Wanted::Unknown => true,
            Wanted::Nothing => spec.tainted_for.is_none(),
            Wanted::Pool(pool) => {
                spec.tainted_for.as_ref() == Some(pool) && spec.taints.iter().any(|taint| is_of(taint, pool))
            }
        };
        (!is_so).then_some(wanted)
    }

    fn is_unreadable(&self, pool: &str) -> bool {
        let pool = self.pool_ids.get(pool).and_then(|pool| self.pool(*pool));
        pool.is_some_and(|pool| pool.spec.problem.is_some())
    }

    /// A node, or its root, has changed: which of its taints keep members away, and whether one is to be written.
    pub(crate) fn note_taints(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let own = node.root.and_then(|root| self.is_dedicated(root)).map(|root| Arc::clone(&root.spec.name));
        let taints = node.spec.as_ref().map(|spec| spec.taints.as_slice()).unwrap_or_default();
        let is_own = |taint: &&Taint| own.as_ref().is_some_and(|own| is_of(taint, own));
        let barring: Vec<Taint> = taints.iter().filter(|taint| !is_own(taint)).cloned().collect();
        let name = Arc::clone(&node.name);
        if node.barring != barring
            && let Some(node) = self.nodes.get_mut(id.0)
        {
            node.barring = barring;
            self.journal.push(id);
        }
        if self.wanted_taint(&name).is_some() {
            self.changed.nodes.insert(name);
        }
    }

    /// A node bears the taint of another pool than before.
    pub(crate) fn count_tainted(&mut self, before: Option<Arc<str>>, after: Option<Arc<str>>) {
        if before == after {
            return;
        }
        for (pool, more) in [(before, false), (after, true)] {
            let Some(pool) = pool else { continue };
            self.changed_pools.extend(self.pool_ids.get(&pool).copied());
            let count = self.tainted.entry(Arc::clone(&pool)).or_default();
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.tainted.remove(&pool);
            }
        }
    }

    /// Whether a pool must let go of nodes before it may go, or will have to.
    pub(crate) fn holds_taints(&self, pool: &Pool) -> bool {
        let dedicated = pool.spec.kind == PoolKind::Dedicated && !pool.spec.deleting;
        dedicated || self.tainted.contains_key(&pool.spec.name)
    }
}
