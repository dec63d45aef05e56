//! Which pool next, and which workload of it: a contest at every level of a tree.
//!
//! At each pool its children, and its own workloads as one more child, each enter their next workload. Those
//! that stay within their reservation come first; then the one whose weighted share of what is borrowed would
//! be least once it was admitted (dominant resource fairness, Ghodsi et al., NSDI 2011, compared level by
//! level as in Bhattacharya et al., `SoCC` 2013); then the name decides.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::amount::Amount;
use crate::model::ids::{PoolId, WorkloadId};
use crate::model::pools::Pool;
use crate::model::queue::{Class, Rank};
use crate::model::resources::Amounts;
use crate::model::spec::Queueing;
use crate::model::time::Time;
use crate::model::world::World;

/// The weight of a pool's own workloads among its children.
const OWN_WEIGHT: u32 = 100;

/// The next workload of a subtree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pool whose queue it heads.
    pub pool: PoolId,
    /// The workload.
    pub workload: WorkloadId,
    /// Its rank in that queue.
    pub rank: Rank,
    /// Its class in that queue.
    pub class: Class,
    /// What its least size would charge.
    pub charge: Arc<Amounts>,
}

/// The contest of one tree, with the winners of subtrees remembered until something in them changes.
#[derive(Debug, Default)]
pub struct Contest {
    winners: BTreeMap<PoolId, Option<Entry>>,
}

/// How an entry stands among its siblings; less is first.
#[derive(Debug, PartialEq, Eq)]
struct Standing<'a> {
    borrows: bool,
    /// Share borrowed: numerator and denominator.
    share: (u128, u128),
    name: &'a str,
}

impl Contest {
    /// The next workload of the tree below `pool`.
    pub fn next(&mut self, world: &World, pool: PoolId, now: Time) -> Option<Entry> {
        if let Some(winner) = self.winners.get(&pool) {
            return winner.clone();
        }
        let winner = self.find(world, pool, now);
        self.winners.insert(pool, winner.clone());
        winner
    }

    /// Forgets the winners above `pool`, whose queue or use has changed.
    pub fn changed(&mut self, world: &World, pool: PoolId) {
        for above in world.pool(pool).map(|pool| pool.path.as_slice()).unwrap_or_default() {
            self.winners.remove(above);
        }
    }

    fn find(&mut self, world: &World, id: PoolId, now: Time) -> Option<Entry> {
        let pool = world.pool(id)?;
        let root = world.pool(pool.root()?)?;
        let mut best: Option<(Standing, Entry)> = None;
        let own = head(world, id, pool, now);
        if let Some(entry) = own {
            best = Some((standing(world, root, pool, &entry.charge, true), entry));
        }
        for child_id in &pool.children {
            let Some(entry) = self.next(world, *child_id, now) else { continue };
            let Some(child) = world.pool(*child_id) else { continue };
            let standing = standing(world, root, child, &entry.charge, false);
            if best.as_ref().is_none_or(|(before, _)| standing.cmp(before) == Ordering::Less) {
                best = Some((standing, entry));
            }
        }
        best.map(|(_, entry)| entry)
    }
}

impl Standing<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let shares =
            (self.share.0.saturating_mul(other.share.1)).cmp(&other.share.0.saturating_mul(self.share.1));
        self.borrows.cmp(&other.borrows).then(shares).then_with(|| self.name.cmp(other.name))
    }
}

fn standing<'a>(world: &World, root: &Pool, pool: &'a Pool, charge: &Amounts, own: bool) -> Standing<'a> {
    let weight = u128::from(if own { OWN_WEIGHT } else { pool.spec.weight }.max(1));
    let set = root.nodes.and_then(|set| world.sets.get(set.at()));
    let mut share = (0_u128, 1_u128);
    for (resource, borrowed) in pool.borrowed_with(charge, own) {
        if borrowed.is_zero() {
            continue;
        }
        let capacity = set.map_or(Amount::ZERO, |set| set.total.capacity.get(resource));
        let of = |amount: Amount| u128::try_from(amount.units()).unwrap_or(0);
        let one = (of(borrowed), of(capacity).max(1).saturating_mul(weight));
        if one.0.saturating_mul(share.1) > share.0.saturating_mul(one.1) {
            share = one;
        }
    }
    // A pool's own workloads come before its children where all else is equal.
    let name = if own { "" } else { &pool.spec.name };
    Standing { borrows: pool.would_borrow(charge, own), share, name }
}

/// The next workload of a pool's own queue, unless the queue is held by one that waits before it.
fn head(world: &World, id: PoolId, pool: &Pool, now: Time) -> Option<Entry> {
    let (rank, workload, class) = pool.queue.head()?;
    if pool.spec.queueing == Queueing::Strict && world.nominee_of(id).is_some() {
        return None;
    }
    if let Some((waiting, who)) = pool.queue.first_waiting_for_room()
        && *waiting < *rank
        && holds_queue(world, pool, who, now)
    {
        return None;
    }
    let request = world.shapes.get(class.shape).map(|shape| shape.requests.times(class.min_replicas));
    Some(Entry {
        pool: id,
        workload: *workload,
        rank: rank.clone(),
        class: class.clone(),
        charge: Arc::new(request.unwrap_or_default()),
    })
}

/// Whether a workload that waits for room holds those behind it: always under `Strict`; under `BestEffort`
/// once others have been passing it for too long, so that nothing starves.
pub fn holds_queue(world: &World, pool: &Pool, who: WorkloadId, now: Time) -> bool {
    match pool.spec.queueing {
        Queueing::Strict => true,
        Queueing::BestEffort => pool
            .passed
            .is_some_and(|(passed, since)| passed == who && now - since >= world.tuning.passed_at_most),
    }
}
