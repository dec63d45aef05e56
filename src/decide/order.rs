//! Which pool next, and which workload of it: a contest at every level of a tree.
//!
//! At each pool its children, and its own workloads as one more child, each enter their next workload. Those
//! that stay within their reservation come first; of those that would borrow the pool with the highest priority,
//! then the one whose weighted share of what is borrowed would be least once it was admitted (dominant resource fairness, Ghodsi et al., NSDI 2011, compared level by
//! level as in Bhattacharya et al., `SoCC` 2013); then the name decides.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::amount::Amount;
use crate::model::ids::{PoolId, WorkloadId};
use crate::model::pools::Pool;
use crate::model::queue::{Class, Head, Rank};
use crate::model::resources::{Amounts, ResourceId};
use crate::model::spec::{Policy, Queueing};
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

impl Entry {
    /// The first workload of a class in a pool's queue.
    pub fn of(world: &World, pool: PoolId, (rank, workload, class): Head) -> Self {
        let charge = world.shapes.get(class.shape).map(|shape| shape.requests.times(class.min_replicas));
        Self { pool, workload, rank, class, charge: Arc::new(charge.unwrap_or_default()) }
    }
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
    /// Negated priority of a pool that would borrow.
    urgency: i64,
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
        self.borrows
            .cmp(&other.borrows)
            .then(self.urgency.cmp(&other.urgency))
            .then(shares)
            .then_with(|| self.name.cmp(other.name))
    }
}

fn standing<'a>(world: &World, root: &Pool, pool: &'a Pool, charge: &Amounts, own: bool) -> Standing<'a> {
    let weight = if own { OWN_WEIGHT } else { pool.spec.weight };
    let share = dominant_share(world, root, pool.borrowed_with(charge, own), weight);
    // A pool's own workloads come before its children where all else is equal.
    let name = if own { "" } else { &pool.spec.name };
    let borrows = pool.would_borrow(charge, own);
    let urgency = if borrows && !own { -i64::from(pool.spec.priority) } else { 0 };
    Standing { borrows, urgency, share, name }
}

/// The largest of some amounts, each over what the root has of it, over a weight: numerator and denominator.
fn dominant_share(
    world: &World,
    root: &Pool,
    amounts: impl Iterator<Item = (ResourceId, Amount)>,
    weight: u32,
) -> (u128, u128) {
    let mut share = (0_u128, 1_u128);
    for (resource, amount) in amounts.filter(|(_, amount)| !amount.is_zero()) {
        let capacity = world.capacity(root, resource);
        let of = |amount: Amount| u128::try_from(amount.units()).unwrap_or(0);
        let one = (of(amount), of(capacity).max(1).saturating_mul(u128::from(weight.max(1))));
        if one.0.saturating_mul(share.1) > share.0.saturating_mul(one.1) {
            share = one;
        }
    }
    share
}

/// Label of a namespace that says its weight among the namespaces that share a pool: 1 to 10000, else 100.
pub const WEIGHT_LABEL: &str = "weir.dev/weight";

/// What a namespace has of a pool that shares among namespaces, of its weighted dominant share; beside what it
/// has, `more`.
pub fn namespace_share(world: &World, pool: &Pool, namespace: &Arc<str>, more: &Amounts) -> (u128, u128) {
    let Some(root) = pool.root().and_then(|root| world.pool(root)) else { return (0, 1) };
    let label = world.namespaces.get(namespace).and_then(|labels| labels.get(WEIGHT_LABEL));
    let weight = label.and_then(|label| label.parse().ok()).filter(|weight| (1..=10_000).contains(weight));
    let used = pool.used_in.get(namespace);
    let amounts = pool.metered.iter().map(|resource| {
        let used = used.map_or(Amount::ZERO, |used| used.get(*resource));
        (*resource, used + more.get(*resource))
    });
    dominant_share(world, root, amounts, weight.unwrap_or(OWN_WEIGHT))
}

/// Compares two shares, each a numerator and a denominator.
pub fn less_share(one: (u128, u128), other: (u128, u128)) -> Ordering {
    one.0.saturating_mul(other.1).cmp(&other.0.saturating_mul(one.1))
}

/// Where a workload stands in a pool's queue: by its namespace's share where the pool shares among them, then by
/// rank; less is first.
type Turn = ((u128, u128), Rank);

fn turn(world: &World, pool: &Pool, workload: WorkloadId, rank: &Rank) -> Turn {
    let share = match pool.spec.policy {
        Policy::FairShare => world
            .workload(workload)
            .map_or((0, 1), |one| namespace_share(world, pool, &one.spec.namespace, &Amounts::new())),
        Policy::FirstComeFirstServed | Policy::Priority | Policy::RoundRobin => (0, 1),
    };
    (share, rank.clone())
}

fn before(one: &Turn, other: &Turn) -> bool {
    less_share(one.0, other.0).then_with(|| one.1.cmp(&other.1)) == Ordering::Less
}

/// The first of the workloads that wait for room and are before one in a pool's queue.
pub fn waits_before(world: &World, pool: &Pool, workload: WorkloadId, rank: &Rank) -> Option<WorkloadId> {
    if pool.spec.policy != Policy::FairShare {
        let (waiting, who) = pool.queue.first_waiting_for_room()?;
        return (*waiting < *rank).then_some(who);
    }
    let mine = turn(world, pool, workload, rank);
    let mut first: Option<(Turn, WorkloadId)> = None;
    for (rank, who) in pool.queue.all_waiting_for_room() {
        let theirs = turn(world, pool, who, rank);
        if before(&theirs, first.as_ref().map_or(&mine, |(first, _)| first)) {
            first = Some((theirs, who));
        }
    }
    first.map(|(_, who)| who)
}

/// The first of the workloads that wait for room in a pool's queue.
pub fn first_waiting(world: &World, pool: &Pool) -> Option<WorkloadId> {
    if pool.spec.policy != Policy::FairShare {
        return pool.queue.first_waiting_for_room().map(|(_, who)| who);
    }
    let all = pool.queue.all_waiting_for_room().map(|(rank, who)| (turn(world, pool, who, rank), who));
    all.reduce(|first, next| if before(&next.0, &first.0) { next } else { first }).map(|(_, who)| who)
}

/// The next workload of a pool's own queue that is not parked.
fn next_of<'a>(world: &World, pool: &'a Pool) -> Option<&'a Head> {
    if pool.spec.policy != Policy::FairShare {
        return pool.queue.head();
    }
    let mut best: Option<(Turn, &Head)> = None;
    for (_, head) in pool.queue.heads_by_namespace() {
        let turn = turn(world, pool, head.1, &head.0);
        if best.as_ref().is_none_or(|(best, _)| before(&turn, best)) {
            best = Some((turn, head));
        }
    }
    best.map(|(_, head)| head)
}

/// The next workload of a pool's own queue, unless the queue is held by one that waits before it.
fn head(world: &World, id: PoolId, pool: &Pool, now: Time) -> Option<Entry> {
    let (rank, workload, class) = if super::optimal::plans(pool) {
        super::optimal::next(world, id, pool)?
    } else {
        let (rank, workload, class) = next_of(world, pool)?;
        (rank, *workload, class)
    };
    if pool.spec.queueing == Queueing::Strict && world.nominee_of(id).is_some() {
        return None;
    }
    if let Some(who) = waits_before(world, pool, workload, rank)
        && holds_queue(world, pool, who, now)
    {
        return None;
    }
    Some(Entry::of(world, id, (rank.clone(), workload, class.clone())))
}

/// Whether a workload that waits for room holds those behind it: always under `Strict`; under `BestEffort`
/// once others have been passing it for too long, so that nothing starves; under `Backfill` likewise, where it
/// is not known when it starts, and else not, since whoever passes it must not delay it.
pub fn holds_queue(world: &World, pool: &Pool, who: WorkloadId, now: Time) -> bool {
    let passed_long = pool
        .passed
        .is_some_and(|(passed, since)| passed == who && now - since >= world.tuning.passed_at_most);
    match pool.spec.queueing {
        Queueing::Strict => true,
        Queueing::BestEffort => passed_long,
        Queueing::Backfill => passed_long && pool.due.is_none_or(|(head, _)| head != who),
    }
}
