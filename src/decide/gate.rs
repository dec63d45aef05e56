//! Who may stand in a queue: everything about a workload that does not depend on what is free.

use std::sync::Arc;

use crate::model::ids::WorkloadId;
use crate::model::pools::Pool;
use crate::model::queue::{Class, Rank};
use crate::model::refusal::Refusal;
use crate::model::resources::ResourceId;
use crate::model::spec::{Policy, Queueing, Runtime, StopPolicy};
use crate::model::time::Time;
use crate::model::workloads::{Place, Workload};
use crate::model::world::World;

use super::quota;

/// The place in a queue that a workload may have.
///
/// # Errors
/// Why it may have none.
pub fn gate(world: &World, id: WorkloadId, now: Time) -> Result<Place, Refusal> {
    let Some(workload) = world.workload(id) else { return Err(Refusal::NotTried) };
    // Without KubeVirt nobody knows what its machines are made of.
    if workload.spec.runtime == Runtime::VirtualMachine && !world.kubevirt {
        return Err(Refusal::KubeVirtNotInstalled);
    }
    if let Err(problem) = &workload.spec.shape {
        return Err(Refusal::InvalidTemplate(Arc::clone(problem)));
    }
    let Some((pool_id, pool)) = workload.pool.and_then(|id| Some((id, world.pool(id)?))) else {
        return Err(Refusal::PoolNotFound);
    };
    let Some(shape) = workload.shape else { return Err(Refusal::NotTried) };
    check_pool(world, pool)?;
    check_access(world, pool, workload)?;
    let (least, most) = members_wanted(workload);
    check_requests(world, pool, workload, least)?;
    if let (Some(retry_at), Some((message, name_taken))) = (workload.retry_at, &workload.refused_with)
        && retry_at > now
    {
        let message = Arc::clone(message);
        return Err(Refusal::CreateRefused { message, retry_at, name_taken: *name_taken });
    }
    check_held(world, pool)?;
    if workload.spec.unchecked || world.any_still_runs(&workload.spec.uid) {
        return Err(Refusal::NotTried);
    }
    let by_namespace = |above: &Pool| above.spec.max_running_per_namespace.is_some();
    let per_namespace = pool.spec.policy == Policy::FairShare
        || pool.path.iter().filter_map(|above| world.pool(*above)).any(by_namespace);
    let class = Class {
        shape,
        min_replicas: least,
        replicas: most,
        strategy: workload.spec.strategy.unwrap_or(pool.spec.strategy),
        topology_key: topology_key(pool, workload),
        spread: workload.spec.spread.clone(),
        guards: world.guards_of(id),
        namespace: per_namespace.then(|| Arc::clone(&workload.spec.namespace)),
        preemptible: workload.spec.preemptible,
        has_disks: workload.has_all_disks(),
    };
    let duration = workload.spec.expected_duration.filter(|_| pool.spec.queueing == Queueing::Backfill);
    Ok(Place { pool: pool_id, class, rank: rank(pool, workload, now), duration, overflow: false })
}

/// The node label in whose domains members of a workload are kept together; of no matter for one alone, and
/// where its pool says one over which it spreads them.
pub fn topology_key(pool: &Pool, workload: &Workload) -> Option<Arc<str>> {
    let spec = &workload.spec;
    let spread = spec.spread.as_ref().map(|(key, _)| key);
    let key = spec.topology_key.as_ref().or(pool.spec.topology_key.as_ref());
    key.filter(|key| spec.replicas > 1 && Some(*key) != spread).cloned()
}

/// The bound on waiting that keeps a workload out of its queue, if one is reached.
pub fn queue_full(world: &World, place: &Place) -> Option<Refusal> {
    let pool = world.pool(place.pool)?;
    pool.path.iter().filter_map(|above| world.pool(*above)).find_map(|above| {
        let limit = above.spec.max_queued.filter(|limit| above.all.queued >= *limit)?;
        Some(Refusal::QueueFull { pool: Arc::clone(&above.spec.name), limit })
    })
}

/// Members that must, and that may, be placed at admission: those that have not succeeded yet.
pub fn members_wanted(workload: &Workload) -> (u32, u32) {
    let spec = &workload.spec;
    let done = |size: u32| {
        let done = workload.succeeded.iter().take_while(|index| *index < size).count();
        u32::try_from(done).unwrap_or(u32::MAX)
    };
    let least = spec.min_replicas.saturating_sub(done(spec.min_replicas));
    let most = spec.replicas.saturating_sub(done(spec.replicas));
    (least.max(1).min(most), most)
}

/// The rank of a workload in its pool's queue at a time.
pub fn rank(pool: &Pool, workload: &Workload, now: Time) -> Rank {
    let spec = &workload.spec;
    let urgency = match pool.spec.policy {
        Policy::FirstComeFirstServed | Policy::RoundRobin => 0,
        Policy::Priority | Policy::FairShare => {
            let gained = pool.spec.aging.map_or(0, |aging| aging.gained(now - workload.aged_from));
            -i64::from(spec.priority).saturating_add(gained)
        }
    };
    let created = match pool.spec.policy {
        Policy::RoundRobin => workload.turn.unwrap_or(spec.created),
        Policy::FirstComeFirstServed | Policy::Priority | Policy::FairShare => spec.created,
    };
    Rank { urgency, created, uid: Arc::clone(&spec.uid) }
}

/// When a workload that waits gains priority next.
pub fn next_age(pool: &Pool, workload: &Workload, now: Time) -> Option<Time> {
    let aging = pool.spec.aging.filter(|_| pool.spec.policy.heeds_priority())?;
    Some(workload.aged_from + aging.next(now - workload.aged_from)?)
}

fn check_pool(world: &World, pool: &Pool) -> Result<(), Refusal> {
    if let Some(why) = &pool.stalled {
        return Err(Refusal::PoolStalled(Arc::clone(why)));
    }
    let deleting = pool.path.iter().filter_map(|above| world.pool(*above)).find(|above| above.spec.deleting);
    deleting.map_or(Ok(()), |above| Err(Refusal::PoolDeleting(Arc::clone(&above.spec.name))))
}

fn check_access(world: &World, pool: &Pool, workload: &Workload) -> Result<(), Refusal> {
    let labels = world.namespaces.get(&workload.spec.namespace);
    let allowed =
        pool.spec.namespaces.as_ref().is_some_and(|by| labels.is_some_and(|labels| by.matches(labels)));
    if !allowed {
        return Err(Refusal::NamespaceNotAllowed);
    }
    if !pool.spec.runtimes.contains(&workload.spec.runtime) {
        return Err(Refusal::RuntimeNotAllowed(workload.spec.runtime));
    }
    let (least, greatest) = pool.spec.priority_range;
    if workload.spec.priority < least || workload.spec.priority > greatest {
        return Err(Refusal::PriorityNotAllowed(least, greatest));
    }
    Ok(())
}

fn check_requests(world: &World, pool: &Pool, workload: &Workload, least: u32) -> Result<(), Refusal> {
    let request = world.requests(workload);
    for resource in [ResourceId::CPU, ResourceId::MEMORY] {
        if pool.metered.contains(&resource) && request.get(resource).is_zero() {
            return Err(Refusal::RequestMissing(resource));
        }
    }
    quota::possible(world, pool, &request, least, !workload.spec.preemptible)
}

fn check_held(world: &World, pool: &Pool) -> Result<(), Refusal> {
    let held = |above: &&Pool| above.spec.stop != StopPolicy::None;
    let holder = pool.path.iter().filter_map(|above| world.pool(*above)).find(held);
    holder.map_or(Ok(()), |above| Err(Refusal::PoolHeld(Arc::clone(&above.spec.name))))
}
