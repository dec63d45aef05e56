//! Backfilling: who may pass a blocked head without delaying it.
//!
//! The head of a queue is promised a start: the earliest time at which it would fit if all that runs ended when
//! it declared to, and the nodes that it would then have. Another may pass if it ends before, or if it leaves
//! alone what the head needs then. (EASY backfilling: Lifka, JSSPP 1995, with one promise a queue.)

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ids::{NodeId, PoolId, WorkloadId};
use crate::model::refusal::Refusal;
use crate::model::resources::Amounts;
use crate::model::spec::Queueing;
use crate::model::time::Time;
use crate::model::workloads::Workload;
use crate::model::world::World;

use super::admit::{Desk, Size, find_places, places_for};
use super::give_way::trial::{Lifted, Which, least_prefix, lift, put_back, without_trace};
use super::order::{Entry, first_waiting, waits_before};
use super::place::Horizon;

/// What the head of a queue is promised.
#[derive(Clone, Debug)]
pub struct Promise {
    /// The head.
    pub head: WorkloadId,
    /// When it starts at the latest; none if what it waits for declares no end.
    pub due: Option<Time>,
    /// What its nodes will have beside it then.
    nodes: BTreeMap<NodeId, Amounts>,
    /// What the pools of its path will have beside it then, of what they meter.
    pools: BTreeMap<PoolId, Amounts>,
}

/// Finds places for a workload of a queue that is backfilled, and that is not its head, so that the head is not
/// delayed.
///
/// # Errors
/// Why there are none.
pub fn find_places_behind(
    world: &mut World,
    desk: &mut Desk,
    entry: &Entry,
    now: Time,
) -> Result<Vec<NodeId>, Refusal> {
    let head = world.pool(entry.pool).and_then(|pool| waits_before(world, pool, entry.workload, &entry.rank));
    let Some(head) = head else { return find_places(world, desk, entry.workload, Horizon::Now, Size::Most) };
    let promise = promise(world, desk, entry.pool, head, now);
    let Some(due) = promise.due else {
        return find_places(world, desk, entry.workload, Horizon::Now, Size::Most);
    };
    let duration = world.workload(entry.workload).and_then(|workload| workload.spec.expected_duration);
    if duration.is_some_and(|duration| now + duration <= due) {
        return find_places(world, desk, entry.workload, Horizon::Now, Size::Most);
    }
    let kept = without_trace(world, |world| {
        let kept = keep(world, &promise);
        let places = find_places(world, desk, entry.workload, Horizon::Now, Size::Most);
        release(world, &kept);
        places
    });
    match kept {
        Ok(places) => {
            note(world, desk, entry, &places);
            Ok(places)
        }
        Err(refusal) => match places_for(world, desk, entry.workload, Horizon::Now, Size::Most) {
            None => Err(refusal),
            Some(_) => Err(Refusal::WouldDelay {
                head: world.workload(head).map(Workload::title).unwrap_or_default(),
                due,
                endless: duration.is_none(),
            }),
        },
    }
}

/// Promises a start to the heads of queues of one tree that wait for room, so that everybody can see it, and so
/// that what outlives its declared duration gives way in time.
pub fn promise_heads(world: &mut World, desk: &mut Desk, root: PoolId, now: Time) {
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let Some(pool) = world.pool(id) else { continue };
        open.extend(&pool.children);
        if pool.spec.queueing != Queueing::Backfill {
            continue;
        }
        let Some(head) = first_waiting(world, pool) else { continue };
        let promised = Some((head, world.growth));
        if pool.promised != promised {
            promise(world, desk, id, head, now);
            if let Some(pool) = world.pools.get_mut(id.0) {
                pool.promised = promised;
            }
        }
    }
}

/// What the head of a queue is promised; reckoned once a decision, and again when its pool's tree has changed.
fn promise(world: &mut World, desk: &mut Desk, pool: PoolId, head: WorkloadId, now: Time) -> Promise {
    if let Some(known) = desk.promises.get(&pool).filter(|known| known.head == head) {
        return known.clone();
    }
    let made = without_trace(world, |world| make(world, desk, pool, head, now));
    if let Some(pool) = world.pools.get_mut(pool.0) {
        pool.due = made.due.map(|due| (head, due));
        if let Some(due) = made.due {
            pool.look_again(due);
        }
    }
    world.touch(head);
    desk.promises.insert(pool, made.clone());
    made
}

fn make(world: &mut World, desk: &mut Desk, pool: PoolId, head: WorkloadId, now: Time) -> Promise {
    let mut ends: Vec<(Time, Arc<str>, WorkloadId)> = Vec::new();
    let root = world.pool(pool).and_then(crate::model::pools::Pool::root);
    let mut open: Vec<PoolId> = root.into_iter().collect();
    while let Some(pool) = open.pop().and_then(|id| world.pool(id)) {
        open.extend(&pool.children);
        ends.extend(pool.admitted.iter().filter_map(|harm| {
            let end = world.workload(harm.workload)?.expected_end(now)?;
            Some((end.max(now), Arc::clone(&harm.uid), harm.workload))
        }));
    }
    ends.sort();
    let mut lifted: Vec<Option<Lifted>> = Vec::new();
    let found = least_prefix(
        world,
        ends.len(),
        |world, count| {
            while lifted.len() > count {
                if let Some(one) = lifted.pop().flatten() {
                    put_back(world, &one);
                }
            }
            while let Some((.., id)) = ends.get(lifted.len()).filter(|_| lifted.len() < count) {
                lifted.push(lift(world, *id, Which::Below(u32::MAX)));
            }
        },
        |world| places_for(world, desk, head, Horizon::Later, Size::Least),
    );
    let due = found.as_ref().and_then(|(count, _)| match count {
        0 => Some(now),
        count => ends.get(count - 1).map(|(end, ..)| *end),
    });
    let mut promise = Promise { head, due, nodes: BTreeMap::new(), pools: BTreeMap::new() };
    if let Some((_, places)) = found {
        spare(world, head, &places, &mut promise);
    }
    for one in lifted.iter().flatten() {
        put_back(world, one);
    }
    promise
}

/// What is left beside the head at its places and in its pools, as the world stands.
fn spare(world: &World, head: WorkloadId, places: &[NodeId], promise: &mut Promise) {
    let Some(workload) = world.workload(head) else { return };
    let (request, load) = (world.asks(workload), world.loads(workload));
    for id in places {
        let Some(node) = world.node(*id) else { continue };
        let spare = promise.nodes.entry(*id).or_insert_with(|| {
            node.allocatable.iter().map(|(resource, _)| (resource, node.room_later(resource))).collect()
        });
        spare.take(&load);
    }
    let charge = request.times(u32::try_from(places.len()).unwrap_or(u32::MAX));
    let Some(pool) = workload.pool.and_then(|pool| world.pool(pool)) else { return };
    for id in &pool.path {
        let Some(above) = world.pool(*id) else { continue };
        let room = above
            .metered
            .iter()
            .map(|resource| (*resource, world.limit(above, *resource).headroom(above.all.later(*resource))));
        let mut spare: Amounts = room.collect();
        spare.take(&charge);
        promise.pools.insert(*id, spare);
    }
}

/// What is held of nodes and pools while places are looked for.
struct Kept {
    nodes: Vec<(NodeId, Amounts)>,
    pools: Vec<(PoolId, Amounts)>,
}

/// Keeps for the head what it was promised: others find no more than what is spare beside it.
fn keep(world: &mut World, promise: &Promise) -> Kept {
    let mut kept = Kept { nodes: Vec::new(), pools: Vec::new() };
    for (id, spare) in &promise.nodes {
        let Some(node) = world.node(*id) else { continue };
        let more: Amounts = node
            .allocatable
            .iter()
            .map(|(resource, offered)| {
                let later =
                    node.load.get(resource).less(node.leaving.get(resource)) + node.nominated.get(resource);
                (resource, offered.less(spare.get(resource)).less(later))
            })
            .collect();
        kept.nodes.push((*id, more));
    }
    for (id, spare) in &promise.pools {
        let Some(pool) = world.pool(*id) else { continue };
        let more = pool.metered.iter().filter_map(|resource| match world.limit(pool, *resource) {
            crate::model::amount::Limit::At(limit) => {
                Some((*resource, limit.less(spare.get(*resource)).less(pool.all.later(*resource))))
            }
            crate::model::amount::Limit::Unlimited => None,
        });
        kept.pools.push((*id, more.collect()));
    }
    for (id, more) in &kept.nodes {
        world.change_node(*id, |node| node.nominated.add(more));
    }
    for (id, more) in &kept.pools {
        if let Some(pool) = world.pools.get_mut(id.0) {
            pool.all.nominated.add(more);
        }
    }
    kept
}

fn release(world: &mut World, kept: &Kept) {
    for (id, more) in &kept.nodes {
        world.change_node(*id, |node| node.nominated.take(more));
    }
    for (id, more) in &kept.pools {
        if let Some(pool) = world.pools.get_mut(id.0) {
            pool.all.nominated.take(more);
        }
    }
}

/// What passed the head and will still be there takes of what was spare.
fn note(world: &World, desk: &mut Desk, entry: &Entry, places: &[NodeId]) {
    let Some(promise) = desk.promises.get_mut(&entry.pool) else { return };
    let Some(workload) = world.workload(entry.workload) else { return };
    let (request, load) = (world.asks(workload), world.loads(workload));
    for id in places {
        if let Some(spare) = promise.nodes.get_mut(id) {
            spare.take(&load);
        }
    }
    let charge = request.times(u32::try_from(places.len()).unwrap_or(u32::MAX));
    for spare in promise.pools.values_mut() {
        spare.take(&charge);
    }
}
