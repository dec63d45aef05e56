//! Dynamic workloads grow into room that nobody who waits could use.

use std::sync::Arc;

use crate::model::ids::{PoolId, WorkloadId};
use crate::model::time::Time;
use crate::model::workloads::{Member, Phase, Slot, Workload};
use crate::model::world::World;

use super::admit::{Desk, place_unplaced};
use super::decision::Decision;
use super::quota;

/// Lets admitted dynamic workloads grow, a member each in turn, the most urgent first.
///
/// Beyond its pool's reservation none grows while work of another pool of the tree waits for room: what it would
/// take could not be had back for that. Work of its own pool has it back by shrinking.
pub fn grow_all(world: &mut World, desk: &mut Desk, now: Time, out: &mut Vec<Decision>) {
    let mut growing: Vec<(i64, Time, Arc<str>, WorkloadId)> = world
        .dynamic
        .iter()
        .filter_map(|id| {
            let workload = world.workload(*id)?;
            let spec = &workload.spec;
            let wants = wants_to_grow(workload) && workload.grown_at != Some(world.growth);
            wants.then(|| (-i64::from(spec.priority), spec.created, Arc::clone(&spec.uid), *id))
        })
        .collect();
    growing.sort();
    let mut ids: Vec<WorkloadId> = growing.into_iter().map(|(.., id)| id).collect();
    while !ids.is_empty() {
        ids.retain(|id| grow(world, desk, *id, now, out));
    }
}

fn wants_to_grow(workload: &Workload) -> bool {
    let Phase::Admitted { .. } = workload.phase else { return false };
    let size = u32::try_from(workload.members.len()).unwrap_or(u32::MAX);
    workload.shrink_to.is_none()
        && size < workload.spec.replicas
        && !workload.members.iter().any(|member| member.slot == Slot::Unplaced)
}

/// Adds one member; whether it may want another.
fn grow(world: &mut World, desk: &mut Desk, id: WorkloadId, now: Time, out: &mut Vec<Decision>) -> bool {
    let Some(workload) = world.workload(id).filter(|workload| wants_to_grow(workload)) else { return false };
    let Some(pool_id) = workload.pool else { return false };
    let index = u32::try_from(workload.members.len()).unwrap_or(u32::MAX);
    let mut member = Member::unplaced(workload.attempts.get(&index).copied().unwrap_or(0));
    let done = workload.succeeded.contains(index);
    if done {
        member.slot = Slot::Succeeded;
    }
    let request = world.asks_for(workload, index);
    let Some(pool) = world.pool(pool_id) else { return false };
    let borrows = quota::within_reservation(world, pool, &request) != Some(pool.path.len());
    let most = quota::most_members(world, pool, &request);
    if !done && (index >= most || borrows && others_wait(world, pool_id)) {
        not_now(world, id);
        return false;
    }
    world.with_members(id, |world| {
        if let Some(workload) = world.workload_mut(id) {
            workload.members.push(member);
        }
    });
    if done {
        return true;
    }
    if place_unplaced(world, desk, id, now, out).is_err() {
        world.with_members(id, |world| {
            if let Some(workload) = world.workload_mut(id) {
                workload.members.pop();
            }
        });
        world.unplaced.remove(&id);
        not_now(world, id);
        return false;
    }
    world.touch(id);
    true
}

fn not_now(world: &mut World, id: WorkloadId) {
    let growth = world.growth;
    if let Some(workload) = world.workload_mut(id) {
        workload.grown_at = Some(growth);
    }
}

/// Whether work of another pool of the tree waits for room.
fn others_wait(world: &World, own: PoolId) -> bool {
    let root = world.pool(own).and_then(crate::model::pools::Pool::root);
    let mut open: Vec<PoolId> = root.into_iter().collect();
    while let Some(id) = open.pop() {
        let Some(pool) = world.pool(id) else { continue };
        if id != own && pool.queue.first_waiting_for_room().is_some() {
            return true;
        }
        open.extend(&pool.children);
    }
    world.nominees.iter().any(|id| world.workload(*id).is_some_and(|one| one.pool != Some(own)))
}
