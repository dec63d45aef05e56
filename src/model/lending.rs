//! What pools keep back of their idle reservations: `lendingLimit`.
//!
//! A pool that lends at most so much keeps the rest of its reservation for itself, idle or not: to everybody
//! else that rest counts as used. (Kueue's cohorts do the same with what they call the local quota.)

use super::amount::Amount;
use super::ids::PoolId;
use super::pools::{Pool, Use};
use super::resources::{Amounts, ResourceId};
use super::world::World;

/// What counts as used of a resource, at the time that is meant.
pub type Counts = fn(&Use, ResourceId) -> Amount;

impl World {
    /// For each level of the path from `pool` to its root: what the pools beside the path keep back there.
    pub(crate) fn kept_back(&self, pool: &Pool, counts: Counts) -> Vec<Amounts> {
        let bounded = pool.root().and_then(|root| self.pool(root)).is_some_and(|root| root.bounds_lending);
        if !bounded {
            return vec![Amounts::new(); pool.path.len()];
        }
        let mut kept = Amounts::new();
        let mut below: Option<PoolId> = None;
        let mut levels = Vec::with_capacity(pool.path.len());
        for id in &pool.path {
            for child in self.pool(*id).map(|pool| pool.children.as_slice()).unwrap_or_default() {
                if Some(*child) != below {
                    kept.add(&self.kept_by(*child, counts));
                }
            }
            levels.push(kept.clone());
            below = Some(*id);
        }
        levels
    }

    /// What a pool and those below it keep from others although they do not use it.
    fn kept_by(&self, id: PoolId, counts: Counts) -> Amounts {
        let Some(pool) = self.pool(id) else { return Amounts::new() };
        let mut kept = Amounts::new();
        for child in &pool.children {
            kept.add(&self.kept_by(*child, counts));
        }
        for (resource, lends) in &pool.lending {
            let own = pool.granted.get(*resource).less(*lends);
            let used = counts(&pool.all, *resource);
            kept.set(*resource, kept.get(*resource).max(own.less(used)));
        }
        kept
    }
}
