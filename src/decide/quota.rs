//! Does it fit: entitlements along the path to the root, and limits on counts.

use crate::model::amount::{Amount, Limit};
use crate::model::ids::PoolId;
use crate::model::pools::Pool;
use crate::model::refusal::{Refusal, Shortage};
use crate::model::resources::Amounts;
use crate::model::workloads::Workload;
use crate::model::world::World;

use super::place::Horizon;

/// How many members, up to `most`, the path from `pool` to its root has room for; what is in the way if it is
/// less than `least`.
///
/// # Errors
/// The first level, from the pool up, that has no room for `least`, in numbers.
pub fn room(
    world: &World,
    pool: &Pool,
    request: &Amounts,
    least: u32,
    most: u32,
    horizon: Horizon,
) -> Result<u32, Refusal> {
    let mut count = most;
    for above in pool.path.iter().filter_map(|above| world.pool(*above)) {
        let mut shortages = Vec::new();
        for resource in above.metered.iter().copied() {
            let one = request.get(resource);
            let Limit::At(limit) = world.limit(above, resource) else { continue };
            if one.is_zero() {
                continue;
            }
            let used = match horizon {
                Horizon::Now => above.all.binding(resource),
                Horizon::Later => above.all.later(resource),
            };
            let fitting = u32::try_from(limit.less(used).units() / one.units()).unwrap_or(u32::MAX);
            if fitting < least {
                shortages.push(Shortage { resource, requested: one.times(least), bound: limit, used });
            }
            count = count.min(fitting);
        }
        if !shortages.is_empty() {
            let capacity = shortages.iter().all(|shortage| {
                above.parent.is_none()
                    && !matches!(above.limits.get(&shortage.resource), Some(Limit::At(at)) if *at <= shortage.bound)
            });
            let pool = std::sync::Arc::clone(&above.spec.name);
            return Err(Refusal::WaitingForQuota { pool, capacity, shortages });
        }
    }
    Ok(count)
}

/// Whether another workload of this namespace may run.
///
/// # Errors
/// The first level whose count is reached.
pub fn counts(world: &World, pool: &Pool, workload: &Workload) -> Result<(), Refusal> {
    for above in pool.path.iter().filter_map(|above| world.pool(*above)) {
        let name = || std::sync::Arc::clone(&above.spec.name);
        if let Some(limit) = above.spec.max_running
            && above.all.running >= limit
        {
            return Err(Refusal::TooManyRunning { pool: name(), limit, per_namespace: false });
        }
        let here = above.all.running_in.get(&workload.spec.namespace).copied().unwrap_or(0);
        if let Some(limit) = above.spec.max_running_per_namespace
            && here >= limit
        {
            return Err(Refusal::TooManyRunning { pool: name(), limit, per_namespace: true });
        }
    }
    Ok(())
}

/// The most members that `maxResourcesPerWorkload` lets a workload have.
pub fn most_members(world: &World, pool: &Pool, request: &Amounts) -> u32 {
    let mut most = u32::MAX;
    for above in pool.path.iter().filter_map(|above| world.pool(*above)) {
        for (resource, limit) in above.max_per_workload.iter() {
            let one = request.get(resource);
            if !one.is_zero() {
                most = most.min(u32::try_from(limit.units() / one.units()).unwrap_or(u32::MAX));
            }
        }
    }
    most
}

/// Whether `count` members could ever fit, by what is declared.
///
/// # Errors
/// The limit that even an empty pool would pass.
pub fn possible(world: &World, pool: &Pool, request: &Amounts, count: u32) -> Result<(), Refusal> {
    for above in pool.path.iter().filter_map(|above| world.pool(*above)) {
        let name = || std::sync::Arc::clone(&above.spec.name);
        for resource in above.metered.iter().copied() {
            let requested = request.get(resource).times(count);
            let Some(Limit::At(limit)) = above.limits.get(&resource).copied() else { continue };
            if requested > limit || requested == Amount::MAX {
                let shortage = Shortage { resource, requested, bound: limit, used: Amount::ZERO };
                return Err(Refusal::ExceedsLimit { pool: name(), shortage, per_workload: false });
            }
        }
        for (resource, limit) in above.max_per_workload.iter() {
            let requested = request.get(resource).times(count);
            if requested > limit {
                let shortage = Shortage { resource, requested, bound: limit, used: Amount::ZERO };
                return Err(Refusal::ExceedsLimit { pool: name(), shortage, per_workload: true });
            }
        }
    }
    Ok(())
}

/// The highest level of the path up to which `charge` stays within reservations: none if it would borrow at
/// the pool itself.
pub fn within_reservation(world: &World, pool: &Pool, charge: &Amounts) -> Option<usize> {
    if pool.would_borrow(charge, true) {
        return None;
    }
    let borrowing = |above: &PoolId| world.pool(*above).is_none_or(|above| above.would_borrow(charge, false));
    let until = pool.path.iter().position(borrowing).unwrap_or(pool.path.len());
    Some(until)
}
