//! Who may give way to a workload that found no room, least harm first.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::model::ids::{PoolId, WorkloadId};
use crate::model::pools::{Harm, Pool};
use crate::model::resources::Amounts;
use crate::model::spec::{Policy, Queueing, Reclaim, StopReason, WithinPool};
use crate::model::time::{Span, Time};
use crate::model::workloads::{Phase, Workload};
use crate::model::world::World;

use super::super::order::Entry;
use super::super::quota;

/// What one step of giving way takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The member of a dynamic workload with that index, its highest that is left.
    Member(u32),
    /// All of the workload, for that reason.
    Whole(StopReason),
}

/// Pools that must be borrowing.
pub type Chain = Arc<[(PoolId, bool)]>;

/// Something that might give way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose.
    pub workload: WorkloadId,
    /// Its pool and priority.
    pub whose: (PoolId, i32),
    /// What of it.
    pub take: Take,
    /// The pools on the way from below the common ancestor to its own, each with whether it is meant without
    /// its children: each must be borrowing.
    pub borrowers: Chain,
}

/// All that might give way, in the order in which they are asked to; and when more might.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Least harm first.
    pub list: Vec<Candidate>,
    /// When the first of those that are protected for now is protected no more.
    pub later: Option<Time>,
}

/// Victims at most in one trial: whoever needs more of them must wait.
const MOST: usize = 10_000;

struct Search<'a> {
    world: &'a World,
    /// Nobody need borrow.
    nobody: Chain,
    now: Time,
    found: Candidates,
}

/// Who may give way to `entry`: members of dynamic workloads, then those that borrow where it stays within its
/// reservation, then what its own pool's rules let it take from its own pool.
pub fn candidates(world: &World, entry: &Entry, now: Time) -> Candidates {
    let (Some(pool), Some(workload)) = (world.pool(entry.pool), world.workload(entry.workload)) else {
        return Candidates::default();
    };
    let mut search = Search { world, nobody: Chain::default(), now, found: Candidates::default() };
    let reserved = quota::within_reservation(world, pool, &entry.charge);
    let mut borrowing = Borrowing::new();
    if let Some(levels) = reserved.filter(|_| pool.spec.reclaim != Reclaim::Never) {
        borrowing = beside(world, pool, levels);
    }
    let mut borrowers = all_of(&borrowing);
    spare_evictor(world, workload, &mut borrowers);
    search.shrinkable(entry.pool, &borrowers);
    search.reclaimable(pool, workload, &borrowers);
    search.overdue(pool);
    search.slices(pool);
    search.lower(pool, workload);
    let mut listed = Vec::new();
    let mut found = search.found;
    found.list.retain(|one| {
        let at = one.workload.at();
        if listed.len() <= at {
            listed.resize(at + 1, false);
        }
        matches!(one.take, Take::Member(_)) || !std::mem::replace(&mut listed[at], true)
    });
    found.list.truncate(MOST);
    found
}

/// A workload that borrows: how much harm it does to evict it, its pool, and the pools that must be borrowing for it.
#[derive(Clone, Copy)]
struct Borrower<'a> {
    harm: &'a Harm,
    pool: PoolId,
    chain: &'a Chain,
}

/// Pools that borrow, each with the pools that must be borrowing for its workloads.
type Borrowing<'a> = Vec<(PoolId, &'a Pool, Chain)>;

impl Search<'_> {
    /// Members that dynamic workloads have beyond their least size, highest index first: of its own pool at any
    /// priority, of others as far as they borrow.
    fn shrinkable(&mut self, own: PoolId, borrowers: &[Borrower<'_>]) {
        let world = self.world;
        if world.dynamic.is_empty() {
            return;
        }
        let is_own = |id: &&WorkloadId| world.workload(**id).is_some_and(|one| one.pool == Some(own));
        let mut of_own: Vec<(WorkloadId, Chain)> =
            world.dynamic.iter().filter(is_own).map(|id| (*id, Chain::default())).collect();
        of_own.sort_by_cached_key(|(id, _)| harm(world, *id));
        let of_others = borrowers.iter().filter(|one| world.dynamic.contains(&one.harm.workload));
        let of_others = of_others.map(|one| (one.harm.workload, Arc::clone(one.chain)));
        for (id, borrowers) in of_own.into_iter().chain(of_others) {
            let Some(workload) = world.workload(id) else { continue };
            let Some(whose) = whose(workload) else { continue };
            for index in (workload.spec.min_replicas..workload.size()).rev() {
                self.found.list.push(Candidate {
                    workload: id,
                    whose,
                    take: Take::Member(index),
                    borrowers: borrowers.clone(),
                });
            }
        }
    }

    fn reclaimable(&mut self, pool: &Pool, workload: &Workload, borrowers: &[Borrower<'_>]) {
        for one in borrowers {
            let Some(of) = self.world.pool(one.pool) else { continue };
            let lower = one.harm.priority < workload.spec.priority;
            let reclaims = lower || pool.spec.reclaim == Reclaim::Any;
            if reclaims && self.may_go(of, one.harm) {
                self.found.list.push(Candidate {
                    workload: one.harm.workload,
                    whose: (one.pool, one.harm.priority),
                    take: Take::Whole(StopReason::Reclaimed),
                    borrowers: Arc::clone(one.chain),
                });
            }
        }
    }

    /// Under backfilling: those of the pool that have run longer than they declared.
    fn overdue(&mut self, pool: &Pool) {
        if pool.spec.queueing != Queueing::Backfill {
            return;
        }
        for harm in &pool.admitted {
            let Some(victim) = self.world.workload(harm.workload) else { continue };
            let Some(end) = victim.expected_end(self.now).filter(|_| victim.spec.preemptible) else {
                continue;
            };
            if end <= self.now {
                self.own(pool, harm, StopReason::Overdue);
            } else {
                self.later(end);
            }
        }
    }

    /// Round-robin: those of the pool whose time slice is over, those that have run longest first.
    fn slices(&mut self, pool: &Pool) {
        let Some(slice) = pool.spec.time_slice.filter(|_| pool.spec.policy == Policy::RoundRobin) else {
            return;
        };
        let mut over = Vec::new();
        for harm in &pool.admitted {
            let Some(victim) = self.world.workload(harm.workload) else { continue };
            if self.may_leave(victim, Some(slice)) {
                over.push((started(victim), harm.uid.clone(), harm));
            }
        }
        over.sort();
        for (.., harm) in over {
            self.own(pool, harm, StopReason::SliceEnded);
        }
    }

    /// Those of the pool with a lower priority.
    fn lower(&mut self, pool: &Pool, workload: &Workload) {
        if pool.spec.within_pool == WithinPool::Never || !pool.spec.policy.heeds_priority() {
            return;
        }
        for harm in pool.admitted.iter().take_while(|harm| harm.priority < workload.spec.priority) {
            if self.may_go(pool, harm) {
                self.own(pool, harm, StopReason::Preempted);
            }
        }
    }

    fn own(&mut self, pool: &Pool, harm: &Harm, reason: StopReason) {
        let Some(id) = pool.path.first() else { return };
        self.found.list.push(Candidate {
            workload: harm.workload,
            whose: (*id, harm.priority),
            take: Take::Whole(reason),
            borrowers: Arc::clone(&self.nobody),
        });
    }

    /// Whether an admitted workload of a pool may be evicted. There may be very many, and of most nothing else matters than what
    /// the pool lists of them.
    fn may_go(&mut self, pool: &Pool, harm: &Harm) -> bool {
        if !harm.preemptible || pool.spec.min_runtime.0 == 0 {
            return harm.preemptible;
        }
        self.world.workload(harm.workload).is_some_and(|victim| self.may_leave(victim, None))
    }

    /// Whether a workload may be evicted: it is preemptible and has run for its pool's `minRuntime`, and for
    /// `slice`.
    fn may_leave(&mut self, victim: &Workload, slice: Option<Span>) -> bool {
        let Phase::Admitted { started, .. } = victim.phase else { return false };
        if !victim.spec.preemptible || victim.gone {
            return false;
        }
        let least = victim.pool.and_then(|pool| self.world.pool(pool)).map(|pool| pool.spec.min_runtime);
        let least = least.unwrap_or_default().max(slice.unwrap_or_default());
        if least.0 == 0 {
            return true;
        }
        // One that does not run yet has its whole time before it; it is looked at again when it runs.
        let Some(end) = started.map(|started| started + least) else { return false };
        if end > self.now {
            self.later(end);
        }
        end <= self.now
    }

    fn later(&mut self, at: Time) {
        self.found.later = Some(self.found.later.map_or(at, |later| later.min(at)));
    }
}

fn whose(workload: &Workload) -> Option<(PoolId, i32)> {
    Some((workload.pool?, workload.spec.priority))
}

fn started(workload: &Workload) -> Option<Time> {
    match workload.phase {
        Phase::Admitted { started, .. } => started,
        Phase::Queued { .. } | Phase::Stopping { .. } | Phase::Suspended | Phase::Finished { .. } => None,
    }
}

/// Pools that borrow beside those of the first `levels` of the path.
fn beside<'a>(world: &'a World, pool: &'a Pool, levels: usize) -> Borrowing<'a> {
    let mut into = Vec::new();
    // The pool's own workloads are a child of it beside its children.
    for child in &pool.children {
        borrowing(world, *child, &[], &mut into);
    }
    for (below, above) in pool.path.iter().zip(pool.path.iter().skip(1)).take(levels) {
        let Some(parent) = world.pool(*above) else { continue };
        own_borrowing(world, *above, &[], &mut into);
        for child in parent.children.iter().filter(|child| *child != below) {
            borrowing(world, *child, &[], &mut into);
        }
    }
    into
}

/// The workloads of these pools, least harm first.
fn all_of<'a>(borrowing: &'a Borrowing<'_>) -> Vec<Borrower<'a>> {
    let of = |(id, pool, chain): &'a (PoolId, &Pool, Chain)| {
        pool.admitted.iter().map(|harm| Borrower { harm, pool: *id, chain })
    };
    let mut all: Vec<Borrower<'_>> = borrowing.iter().flat_map(of).collect();
    // The lists of the pools are in that order, so that they are merged.
    all.sort_by_key(|one| one.harm);
    all
}

/// Moves the one for which `workload` gave way last to the end: it had taken what it is entitled to, so that others
/// of its pool are what borrows now, and two workloads would evict each other in turn.
fn spare_evictor(world: &World, workload: &Workload, borrowers: &mut Vec<Borrower<'_>>) {
    let Some((_, Some(evictor), _)) = &workload.evicted else { return };
    let Some((namespace, name)) = evictor.split_once('/') else { return };
    let is_evictor = |one: &Borrower<'_>| {
        let spec = world.workload(one.harm.workload).map(|one| &one.spec);
        spec.is_some_and(|spec| *spec.name == *name && *spec.namespace == *namespace)
    };
    if let Some(at) = borrowers.iter().position(is_evictor) {
        let last = borrowers.remove(at);
        borrowers.push(last);
    }
}

/// How much harm it does to evict a workload: least priority, most recently admitted, then by UID.
fn harm(world: &World, id: WorkloadId) -> Option<(i32, Reverse<Time>, Arc<str>)> {
    let workload = world.workload(id)?;
    let at = match workload.phase {
        Phase::Admitted { at, .. } => at,
        _ => Time(0),
    };
    Some((workload.spec.priority, Reverse(at), Arc::clone(&workload.spec.uid)))
}

fn borrowing<'a>(world: &'a World, id: PoolId, above: &[(PoolId, bool)], into: &mut Borrowing<'a>) {
    if !borrows(world, id, false, None) {
        return;
    }
    let mut chain = above.to_vec();
    chain.push((id, false));
    own_borrowing(world, id, &chain, into);
    for child in world.pool(id).map(|pool| pool.children.as_slice()).unwrap_or_default() {
        borrowing(world, *child, &chain, into);
    }
}

fn own_borrowing<'a>(world: &'a World, id: PoolId, above: &[(PoolId, bool)], into: &mut Borrowing<'a>) {
    let Some(pool) = world.pool(id).filter(|_| borrows(world, id, true, None)) else { return };
    let mut chain = above.to_vec();
    chain.push((id, true));
    into.push((id, pool, chain.into()));
}

/// Whether a pool, without its children where `own` is set, uses more than its reservation of a resource; of
/// one of those `asked` for, where that is given.
pub fn borrows(world: &World, id: PoolId, own: bool, asked: Option<&Amounts>) -> bool {
    let Some(pool) = world.pool(id) else { return false };
    let (using, granted) = if own { (&pool.own, &pool.granted_own) } else { (&pool.all, &pool.granted) };
    pool.metered.iter().any(|resource| {
        let used = using.used.get(*resource).less(using.leaving.get(*resource));
        asked.is_none_or(|asked| !asked.get(*resource).is_zero()) && used > granted.get(*resource)
    })
}
