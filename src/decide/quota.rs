//! Does it fit: entitlements along the path to the root, and limits on counts.

use std::sync::Arc;

use crate::model::amount::{Amount, Limit};
use crate::model::ids::PoolId;
use crate::model::pools::{Pool, Use};
use crate::model::refusal::{Bound, Refusal, Shortage};
use crate::model::resources::{Amounts, ResourceId};
use crate::model::time::Time;
use crate::model::workloads::Workload;
use crate::model::world::World;

use super::place::Horizon;

/// What is asked of quota.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What one member asks for.
    pub request: &'a Amounts,
    /// Members that must fit.
    pub least: u32,
    /// Members that may.
    pub most: u32,
    /// When.
    pub horizon: Horizon,
    /// Nothing may be borrowed for it at any level.
    pub reserved: bool,
}

/// How many members the path from `pool` to its root has room for; what is in the way if it is less than the
/// least that is asked for.
///
/// # Errors
/// The first level, from the pool up, that has no room, in numbers.
pub fn room(world: &World, pool: &Pool, ask: Ask<'_>) -> Result<u32, Refusal> {
    let counts = match ask.horizon {
        Horizon::Now => Use::binding,
        Horizon::Later => Use::later,
    };
    let mut count = ask.most;
    let kept = world.kept_back(pool, counts);
    for (above, kept) in pool.path.iter().filter_map(|above| world.pool(*above)).zip(kept) {
        let limits = |resource| match world.limit(above, resource) {
            Limit::At(limit) => Some((limit, counts(&above.all, resource), kept.get(resource))),
            Limit::Unlimited => None,
        };
        count = count.min(level(above, ask, limits, |shortages| bound_of(above, shortages))?);
        if ask.reserved {
            let own = above.spec.name == pool.spec.name;
            let (using, granted) =
                if own { (&above.own, &above.granted_own) } else { (&above.all, &above.granted) };
            // What is preemptible can be had back, so that only what is not must fit beside it.
            let limits = |resource| Some((granted.get(resource), using.firm.get(resource), Amount::ZERO));
            count = count.min(level(above, ask, limits, |_| Bound::NotPreemptible)?);
        }
    }
    Ok(count)
}

/// How many members fit at one level; `limits` gives of each resource the bound, what is used of it, and what
/// is kept back.
fn level(
    above: &Pool,
    ask: Ask<'_>,
    limits: impl Fn(ResourceId) -> Option<(Amount, Amount, Amount)>,
    bound: impl Fn(&[Shortage]) -> Bound,
) -> Result<u32, Refusal> {
    let mut count = ask.most;
    let mut shortages = Vec::new();
    for resource in above.metered.iter().copied() {
        let one = ask.request.get(resource);
        let Some((limit, used, kept)) = limits(resource).filter(|_| !one.is_zero()) else { continue };
        let fitting = u32::try_from(limit.less(used + kept).units() / one.units()).unwrap_or(u32::MAX);
        if fitting < ask.least {
            shortages.push(Shortage { resource, requested: one.times(ask.least), bound: limit, used, kept });
        }
        count = count.min(fitting);
    }
    if shortages.is_empty() {
        return Ok(count);
    }
    let pool = Arc::clone(&above.spec.name);
    Err(Refusal::WaitingForQuota { pool, bound: bound(&shortages), shortages })
}

fn bound_of(above: &Pool, shortages: &[Shortage]) -> Bound {
    let is = |limit: Limit, shortage: &Shortage| matches!(limit, Limit::At(at) if at <= shortage.bound);
    let declared = |shortage: &Shortage| above.limits.get(&shortage.resource).copied().unwrap_or_default();
    let capacity = |shortage: &Shortage| above.capacity.get(&shortage.resource) == Some(&shortage.bound);
    if shortages.iter().all(capacity) {
        Bound::Declared
    } else if above.parent.is_none() && shortages.iter().all(|one| !is(declared(one), one)) {
        Bound::Capacity
    } else if shortages.iter().all(|one| !is(declared(one), one)) {
        Bound::NotExpandable
    } else {
        Bound::Limit
    }
}

/// Whether another workload may be admitted by the rate.
///
/// # Errors
/// The first level that has no token left, and when it has.
pub fn rate(world: &World, pool: &Pool, now: Time) -> Result<(), Refusal> {
    for above in pool.path.iter().filter_map(|above| world.pool(*above)) {
        if let Some(next) = above.next_token(now) {
            return Err(Refusal::RateLimited { pool: Arc::clone(&above.spec.name), next });
        }
    }
    Ok(())
}

/// Whether another workload of this namespace may run.
///
/// # Errors
/// The first level whose count is reached.
pub fn counts(world: &World, pool: &Pool, workload: &Workload) -> Result<(), Refusal> {
    for above in pool.path.iter().filter_map(|above| world.pool(*above)) {
        let name = || Arc::clone(&above.spec.name);
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
pub fn possible(
    world: &World,
    pool: &Pool,
    request: &Amounts,
    count: u32,
    reserved: bool,
) -> Result<(), Refusal> {
    for above in pool.path.iter().filter_map(|above| world.pool(*above)) {
        let name = || Arc::clone(&above.spec.name);
        for resource in above.metered.iter().copied() {
            let requested = request.get(resource).times(count);
            let mut limit = above.declared_limit(resource);
            let mut bound = if above.limits.get(&resource) == Some(&limit) {
                Bound::Limit
            } else if above.capacity.contains_key(&resource) {
                Bound::Declared
            } else {
                Bound::NotExpandable
            };
            if reserved && above.parent.is_some() {
                let reservation = Limit::At(above.reservation.get(resource));
                if reservation < limit {
                    (limit, bound) = (reservation, Bound::NotPreemptible);
                }
            }
            let Limit::At(limit) = limit else { continue };
            if requested > limit || requested == Amount::MAX {
                let shortage = none_used(resource, requested, limit);
                return Err(Refusal::ExceedsLimit { pool: name(), shortage, per_workload: false, bound });
            }
        }
        for (resource, limit) in above.max_per_workload.iter() {
            let requested = request.get(resource).times(count);
            if requested > limit {
                let shortage = none_used(resource, requested, limit);
                let bound = Bound::Limit;
                return Err(Refusal::ExceedsLimit { pool: name(), shortage, per_workload: true, bound });
            }
        }
    }
    Ok(())
}

fn none_used(resource: ResourceId, requested: Amount, bound: Amount) -> Shortage {
    Shortage { resource, requested, bound, used: Amount::ZERO, kept: Amount::ZERO }
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
