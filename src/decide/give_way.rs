//! What gives way when a pool below its reservation finds no room: those that borrow.
//!
//! Victims are found by removing them, least harm first, until the workload fits, and then putting back each
//! that still fits beside it (as Kueue's and kube-scheduler's preemption do). The places that are cleared are
//! kept for the workload until it has taken them.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::model::ids::{NodeId, PoolId, WorkloadId};
use crate::model::pools::{Pool, Use};
use crate::model::refusal::Refusal;
use crate::model::resources::Amounts;
use crate::model::spec::{HostPort, StopReason};
use crate::model::time::Time;
use crate::model::workloads::{Phase, Slot};
use crate::model::world::{World, remove_ports};

use super::admit::{Desk, find_places};
use super::decision::Decision;
use super::lifecycle::stop_workload;
use super::order::Entry;
use super::place::Horizon;
use super::quota;

/// What one workload takes, so that it can be lifted out of the world and put back during a trial.
struct Lifted {
    workload: WorkloadId,
    pool: PoolId,
    charge: Amounts,
    loads: Vec<(NodeId, Amounts, Vec<HostPort>)>,
}

/// A workload that might give way.
struct Victim {
    workload: WorkloadId,
    /// The pools on the way from below the common ancestor to its own: each must be borrowing.
    borrowers: Vec<(PoolId, bool)>,
}

/// Clears a place for a workload that stays within its pool's reservation; whether that was begun.
pub fn reclaim(
    world: &mut World,
    desk: &mut Desk,
    entry: &Entry,
    refusal: &Refusal,
    now: Time,
    out: &mut Vec<Decision>,
) -> bool {
    let room_wanted = matches!(
        refusal,
        Refusal::WaitingForQuota { .. } | Refusal::NoFittingNode(_) | Refusal::Fragmented { .. }
    );
    let Some(pool) = world.pool(entry.pool) else { return false };
    if !room_wanted || !refusal.waits_for_room() {
        return false;
    }
    let Some(levels) = quota::within_reservation(world, pool, &entry.charge) else { return false };
    let victims = victims(world, pool, levels);
    // What is tried here is undone, and must not look like room that has grown.
    let (growth, changed) = (world.growth, world.changed_pools.clone());
    let found = search(world, desk, entry, victims);
    world.growth = growth;
    world.changed_pools = changed;
    let Some((chosen, places)) = found.filter(|(chosen, _)| !chosen.is_empty()) else { return false };
    let title = world.workload(entry.workload).map(crate::model::workloads::Workload::title);
    let uids = chosen.iter().filter_map(|id| Some(Arc::clone(&world.workload(*id)?.spec.uid))).collect();
    world.dequeue(entry.workload);
    world.nominate(entry.workload, places);
    if let Some(workload) = world.workload_mut(entry.workload) {
        workload.victims = uids;
        workload.tried_at = None;
    }
    for victim in chosen {
        stop_workload(world, victim, StopReason::Reclaimed, title.clone(), now, out);
    }
    true
}

/// Tries workloads whose place was cleared; those whose victims have all left in vain queue again.
pub fn seat_nominees(world: &mut World, desk: &mut Desk, now: Time, out: &mut Vec<Decision>) {
    let mut waiting: Vec<(i64, Time, Arc<str>, WorkloadId)> = world
        .nominees
        .iter()
        .filter_map(|id| {
            let spec = &world.workload(*id)?.spec;
            Some((-i64::from(spec.priority), spec.created, Arc::clone(&spec.uid), *id))
        })
        .collect();
    waiting.sort();
    for (.., id) in waiting {
        let Some(workload) = world.workload(id).filter(|workload| workload.tried_at != Some(world.growth))
        else {
            continue;
        };
        let (places, victims) = (workload.nominated.clone(), workload.victims.clone());
        world.nominate(id, Vec::new());
        if super::admit::admit(world, desk, id, now, out).is_ok() {
            continue;
        }
        let leaving = victims.iter().any(|uid| {
            world
                .workload_ids
                .get(uid)
                .and_then(|id| world.workload(*id))
                .is_some_and(|victim| matches!(victim.phase, Phase::Stopping { .. }))
        });
        if leaving {
            world.nominate(id, places);
            let growth = world.growth;
            if let Some(workload) = world.workload_mut(id) {
                workload.victims = victims;
                workload.tried_at = Some(growth);
            }
        } else {
            world.attention.insert(id);
        }
    }
}

/// Workloads that borrow beside the pools of the first `levels` of the path, least harm first: lowest
/// priority, most recently admitted.
fn victims(world: &World, pool: &Pool, levels: usize) -> Vec<Victim> {
    let mut victims = Vec::new();
    if !pool.children.is_empty() {
        // The pool's own workloads are a child of it beside its children.
        for child in &pool.children {
            borrowers(world, *child, &[], &mut victims);
        }
    }
    for (below, above) in pool.path.iter().zip(pool.path.iter().skip(1)).take(levels) {
        let Some(parent) = world.pool(*above) else { continue };
        own_borrowers(world, *above, &[], &mut victims);
        for child in parent.children.iter().filter(|child| *child != below) {
            borrowers(world, *child, &[], &mut victims);
        }
    }
    victims.sort_by_cached_key(|victim| {
        world.workload(victim.workload).map(|workload| {
            let at = match workload.phase {
                Phase::Admitted { at, .. } => at,
                _ => Time(0),
            };
            (workload.spec.priority, Reverse(at), Arc::clone(&workload.spec.uid))
        })
    });
    victims
}

fn borrowers(world: &World, id: PoolId, above: &[(PoolId, bool)], into: &mut Vec<Victim>) {
    let Some(pool) = world.pool(id) else { return };
    if !is_borrowing(pool, false) {
        return;
    }
    let mut chain = above.to_vec();
    chain.push((id, false));
    own_borrowers(world, id, &chain, into);
    for child in &pool.children {
        borrowers(world, *child, &chain, into);
    }
}

fn own_borrowers(world: &World, id: PoolId, above: &[(PoolId, bool)], into: &mut Vec<Victim>) {
    let Some(pool) = world.pool(id).filter(|pool| is_borrowing(pool, true)) else { return };
    let mut chain = above.to_vec();
    chain.push((id, true));
    for workload in world.by_pool.get(&pool.spec.name).into_iter().flatten() {
        let admitted = world
            .workload(*workload)
            .is_some_and(|workload| matches!(workload.phase, Phase::Admitted { .. }) && !workload.gone);
        if admitted {
            into.push(Victim { workload: *workload, borrowers: chain.clone() });
        }
    }
}

fn is_borrowing(pool: &Pool, own: bool) -> bool {
    pool.metered.iter().any(|resource| {
        let (using, granted) = if own { (&pool.own, &pool.granted_own) } else { (&pool.all, &pool.granted) };
        using.used.get(*resource).less(using.leaving.get(*resource)) > granted.get(*resource)
    })
}

/// Whether taking a victim helps: each of its pools still borrows something of what is asked for.
fn still_borrows(world: &World, victim: &Victim, asked: &Amounts) -> bool {
    victim.borrowers.iter().all(|(id, own)| {
        world.pool(*id).is_some_and(|pool| {
            let (using, granted) =
                if *own { (&pool.own, &pool.granted_own) } else { (&pool.all, &pool.granted) };
            pool.metered.iter().any(|resource| {
                let used = using.used.get(*resource).less(using.leaving.get(*resource));
                !asked.get(*resource).is_zero() && used > granted.get(*resource)
            })
        })
    })
}

fn search(
    world: &mut World,
    desk: &mut Desk,
    entry: &Entry,
    victims: Vec<Victim>,
) -> Option<(Vec<WorkloadId>, Vec<NodeId>)> {
    let mut lifted: Vec<Lifted> = Vec::new();
    let mut places = find_places(world, desk, entry.workload, Horizon::Later).ok();
    for victim in victims {
        if places.is_some() {
            break;
        }
        if !still_borrows(world, &victim, &entry.charge) {
            continue;
        }
        if let Some(one) = lift(world, victim.workload) {
            lifted.push(one);
            places = find_places(world, desk, entry.workload, Horizon::Later).ok();
        }
    }
    // Put back whatever still fits beside it, those that are harmed most by leaving first.
    let mut chosen: Vec<Lifted> = Vec::new();
    if places.is_some() {
        for one in lifted.into_iter().rev() {
            put_back(world, &one);
            if find_places(world, desk, entry.workload, Horizon::Later).is_err() {
                chosen.extend(lift(world, one.workload));
            }
        }
        places = find_places(world, desk, entry.workload, Horizon::Later).ok();
    } else {
        chosen = lifted;
    }
    for one in &chosen {
        put_back(world, one);
    }
    let mut ids: Vec<WorkloadId> = chosen.iter().map(|one| one.workload).collect();
    ids.reverse();
    places.map(|places| (ids, places))
}

fn lift(world: &mut World, id: WorkloadId) -> Option<Lifted> {
    let workload = world.workload(id)?;
    let pool = workload.pool?;
    let requests = world.requests(workload);
    let ports = workload
        .shape
        .and_then(|shape| world.shapes.get(shape))
        .map(|shape| shape.spec.host_ports.clone())
        .unwrap_or_default();
    let mut charge = Amounts::new();
    let mut loads = Vec::new();
    for member in &workload.members {
        // Those that are leaving anyway are reckoned as gone already.
        if member.terminating {
            continue;
        }
        if member.slot.charged() {
            charge.add(member.charge.as_deref().unwrap_or(&requests));
        }
        match member.slot {
            Slot::Assumed(node) => loads.push((node, requests.clone(), ports.clone())),
            Slot::Live => {
                let pod = member.pod.as_ref().and_then(|uid| world.pods.get(uid));
                if let Some((pod, node)) = pod.and_then(|pod| Some((pod, pod.node?))) {
                    loads.push((node, pod.requests.clone(), pod.ports.clone()));
                }
            }
            Slot::Unplaced | Slot::Backoff(_) | Slot::Succeeded | Slot::Failed => {}
        }
    }
    let lifted = Lifted { workload: id, pool, charge, loads };
    weigh(world, &lifted, false);
    Some(lifted)
}

fn put_back(world: &mut World, lifted: &Lifted) {
    weigh(world, lifted, true);
}

fn weigh(world: &mut World, lifted: &Lifted, add: bool) {
    let charge = |sum: &mut Use| {
        if add {
            sum.used.add(&lifted.charge);
        } else {
            sum.used.take(&lifted.charge);
        }
        // A victim makes room among those that run, too.
        sum.running = if add { sum.running + 1 } else { sum.running.saturating_sub(1) };
    };
    world.change_use(lifted.pool, charge);
    for (node, load, ports) in &lifted.loads {
        world.change_node(*node, |node| {
            if add {
                node.load.add(load);
                node.member_load.add(load);
                node.ports.extend(ports.iter().cloned());
            } else {
                node.load.take(load);
                node.member_load.take(load);
                remove_ports(&mut node.ports, ports);
            }
        });
    }
}
