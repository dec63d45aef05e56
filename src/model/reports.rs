//! Reports: the numbers behind a status, reckoned when they are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::amount::{Amount, Limit};
use super::ids::{NodeId, PoolId, WorkloadId};
use super::moves::{MemberId, Stay, Why};
use super::pools::Pool;
use super::refusal::Refusal;
use super::report::{
    DrainReport, MemberReport, MemberState, MoveReport, PoolReport, PoolResource, WorkloadPhase,
    WorkloadReport,
};
use super::resources::{Amounts, ResourceId};
use super::spec::Strategy;
use super::time::Time;
use super::workloads::{Member, Phase, Slot, Workload};
use super::world::World;

/// What is counted over a subtree for a report only.
#[derive(Default)]
struct Counts {
    queued: u32,
    finished: u32,
    failed: u32,
    pending: Amounts,
    /// Who waits longest in a queue.
    longest: Option<(Time, WorkloadId)>,
}

impl World {
    /// How a pool stands; none if there is no pool of that name.
    pub fn pool_report(&mut self, name: &str) -> Option<PoolReport> {
        self.link();
        self.grant_all();
        let id = *self.pool_ids.get(name)?;
        let pool = self.pool(id)?;
        let counts = self.count(id);
        let set = pool.nodes.and_then(|set| self.sets.get(set.at()));
        let resources = self.pool_resources(pool, &counts.pending, &self.charged_to_labelled(id));
        let longest = counts.longest.and_then(|(since, id)| Some((self.workload(id)?.title(), since)));
        Some(PoolReport {
            forecast: forecast(pool, &resources),
            longest_pending: longest,
            nodes_total: set.map_or(0, |set| u32::try_from(set.nodes.len()).unwrap_or(u32::MAX)),
            nodes_ready: set.map_or(0, |set| set.total.ready),
            nodes_unschedulable: set.map_or(0, |set| set.total.unschedulable),
            resources,
            queued: counts.queued,
            running: pool.all.running,
            finished: counts.finished,
            failed: counts.failed,
            stalled: pool.stalled.clone(),
            overcommitted: pool.overcommitted.clone(),
            overlapping: self.overlaps(id),
            in_use: self.pool_in_use(name),
            drain: self.drain_report(pool),
            labelled: self.labelled_in(name),
            recommendations: pool.balance.recommendations.clone(),
            asked: pool.balance.asked.as_deref().cloned(),
            batch: pool.planning.figures.filter(|_| pool.spec.strategy == Strategy::Optimal),
        })
    }

    /// Whether a pool has children, workloads in its subtree that hold quota, or nodes that bear its taint.
    pub fn pool_in_use(&self, name: &str) -> bool {
        let pool = self.pool_ids.get(name).and_then(|id| self.pool(*id));
        pool.is_some_and(|pool| !pool.children.is_empty() || pool.all.running > 0 || self.holds_taints(pool))
    }

    fn count(&self, id: PoolId) -> Counts {
        let mut counts = Counts::default();
        let mut open = vec![id];
        // Parents may form a cycle, which stalls the pools in it and nothing else.
        let mut met = BTreeSet::new();
        while let Some(id) = open.pop() {
            let Some(pool) = self.pool(id).filter(|_| met.insert(id)) else { continue };
            open.extend(&pool.children);
            for id in self.by_pool.get(&pool.spec.name).into_iter().flatten().copied() {
                let Some(workload) = self.workload(id).filter(|workload| !workload.gone) else {
                    continue;
                };
                match workload.phase {
                    Phase::Queued { since } => {
                        counts.queued += 1;
                        if workload.place.is_some() {
                            counts.longest =
                                Some(counts.longest.map_or((since, id), |one| one.min((since, id))));
                            counts.pending.add_times(&self.requests(workload), workload.spec.replicas);
                        }
                    }
                    Phase::Finished { reason, .. } if reason.succeeded() => counts.finished += 1,
                    Phase::Finished { .. } => counts.failed += 1,
                    Phase::Admitted { .. } | Phase::Stopping { .. } | Phase::Suspended => {}
                }
            }
        }
        counts
    }

    fn pool_resources(&self, pool: &Pool, pending: &Amounts, adopted: &Amounts) -> Vec<PoolResource> {
        let set = pool.nodes.and_then(|set| self.sets.get(set.at()));
        let of_set = |resource: ResourceId, of: fn(&super::nodes::Contribution) -> &Amounts| {
            set.map_or(Amount::ZERO, |set| of(&set.total).get(resource))
        };
        let mut resources = Vec::new();
        let kept = self.kept_back(pool, super::pools::Use::binding);
        for resource in pool.metered.iter().copied() {
            let on_nodes = !pool.off_nodes.contains(&resource);
            let (capacity, unmanaged, free) = if on_nodes {
                let capacity = of_set(resource, |total| &total.capacity);
                (capacity, of_set(resource, |total| &total.unmanaged), of_set(resource, |total| &total.free))
            } else {
                let root = pool.root().and_then(|root| self.pool(root));
                let capacity = root.map_or(Amount::ZERO, |root| self.capacity(root, resource));
                (capacity, Amount::ZERO, Amount::MAX)
            };
            let allocated = pool.all.used.get(resource);
            let is_root = pool.parent.is_none();
            let reservation = if is_root { Amount::ZERO } else { pool.reservation.get(resource) };
            let granted = pool.granted.get(resource);
            let unused = granted.less(allocated);
            let (lent, idle) = if is_root {
                (Amount::ZERO, capacity.less(unmanaged).less(allocated))
            } else {
                let lent = self.lent(pool, resource, unused);
                (lent, unused.less(lent))
            };
            let headroom = pool
                .path
                .iter()
                .filter_map(|above| self.pool(*above))
                .zip(&kept)
                .map(|(above, kept)| {
                    self.limit(above, resource).headroom(above.all.binding(resource) + kept.get(resource))
                })
                .min()
                .unwrap_or(Amount::ZERO);
            resources.push(PoolResource {
                resource,
                capacity,
                unmanaged,
                reservation,
                limit: self.nearest_limit(pool, resource),
                allocated,
                adopted: adopted.get(resource),
                borrowed: if is_root { Amount::ZERO } else { allocated.less(granted) },
                lent,
                idle,
                available: headroom.min(free),
                pending: pending.get(resource),
                largest_free: on_nodes.then(|| self.largest_free(pool, resource)),
            });
        }
        resources
    }

    /// The tightest limit along the path, which is what a pool can reach at most.
    fn nearest_limit(&self, pool: &Pool, resource: ResourceId) -> Limit {
        pool.path
            .iter()
            .filter_map(|above| self.pool(*above))
            .map(|above| self.limit(above, resource))
            .min()
            .unwrap_or_default()
    }

    /// What others use of a reservation: what is missing of the parent's idle room to honour all of its
    /// children's unused reservations at once, shared out in proportion to what each does not use.
    fn lent(&self, pool: &Pool, resource: ResourceId, unused: Amount) -> Amount {
        let Some(parent) = pool.parent.and_then(|parent| self.pool(parent)) else { return Amount::ZERO };
        let total: Amount = parent
            .children
            .iter()
            .filter_map(|child| self.pool(*child))
            .map(|child| child.granted.get(resource).less(child.all.used.get(resource)))
            .sum();
        let room = parent.granted.get(resource).less(parent.all.used.get(resource));
        let missing = total.less(room);
        if total.is_zero() || missing.is_zero() {
            return Amount::ZERO;
        }
        let share = i128::from(unused.units()) * i128::from(missing.units()) / i128::from(total.units());
        Amount::new(i64::try_from(share).unwrap_or(i64::MAX))
    }

    fn largest_free(&self, pool: &Pool, resource: ResourceId) -> Amount {
        let Some(set) = pool.nodes.and_then(|set| self.sets.get(set.at())) else { return Amount::ZERO };
        set.nodes
            .iter()
            .filter_map(|(_, node)| self.node(*node))
            .filter(|node| node.is_open())
            .map(|node| node.room(resource))
            .max()
            .unwrap_or(Amount::ZERO)
    }

    fn overlaps(&self, id: PoolId) -> Vec<(Arc<str>, u32, bool)> {
        if !self.roots.contains(&id) {
            return Vec::new();
        }
        let mut found: BTreeMap<(PoolId, bool), u32> = BTreeMap::new();
        for node in self.node_ids.values().filter_map(|node| self.node(*node)) {
            match node.root {
                Some(root) if root == id => {
                    for other in &node.also {
                        *found.entry((*other, false)).or_default() += 1;
                    }
                }
                Some(root) if node.also.contains(&id) => *found.entry((root, true)).or_default() += 1,
                Some(_) | None => {}
            }
        }
        found
            .into_iter()
            .filter_map(|((other, has), count)| Some((Arc::clone(&self.pool(other)?.spec.name), count, has)))
            .collect()
    }

    /// Since when a workload has waited, or had waited when it was admitted last.
    pub fn waited_since(&self, uid: &str) -> Option<Time> {
        let workload = self.workload(*self.workload_ids.get(uid)?)?;
        let evicted = workload.evicted.as_ref().map_or(workload.aged_from, |(_, _, at)| *at);
        Some(evicted.max(workload.aged_from))
    }

    /// How a workload stands; none if there is none with that UID.
    pub fn workload_report(&self, uid: &str) -> Option<WorkloadReport> {
        let id = *self.workload_ids.get(uid)?;
        let workload = self.workload(id)?;
        let phase = match &workload.phase {
            Phase::Queued { since } => WorkloadPhase::Queued { since: *since, refusal: self.why(id) },
            Phase::Admitted { at, started } => {
                WorkloadPhase::Admitted { at: *at, size: workload.size(), started_at: *started }
            }
            Phase::Stopping { reason, for_whom, .. } => {
                WorkloadPhase::Stopping { reason: *reason, for_whom: for_whom.clone() }
            }
            Phase::Suspended => WorkloadPhase::Suspended,
            Phase::Finished { reason, at } => WorkloadPhase::Finished { reason: *reason, at: *at },
        };
        let requests = self.requests(workload);
        let mut charged = Amounts::new();
        let mut overhead = Amount::ZERO;
        let estimated =
            workload.shape.and_then(|shape| self.shapes.get(shape)).map(|shape| shape.spec.overhead);
        for (index, member) in (0_u32..).zip(&workload.members).filter(|(_, member)| member.slot.charged()) {
            charged.add(&Self::charge_of(workload, index, member, &requests));
            let run = member.pod.as_ref().and_then(|uid| self.pods.get(uid)?.machine.as_ref());
            overhead += run.and_then(|run| run.overhead).or(estimated).unwrap_or_default();
        }
        charged.add(&Self::disks_of(workload));
        let has_unplaced = workload.members.iter().any(|member| member.slot == Slot::Unplaced);
        Some(WorkloadReport {
            phase,
            pool: Arc::clone(&workload.spec.pool),
            priority: workload.spec.priority,
            desired: workload.size(),
            charged,
            overhead,
            has_disks: !workload.disks.bytes.is_empty(),
            members: self.member_reports(id, workload),
            member_refusal: (has_unplaced && workload.refusal != Refusal::NotTried)
                .then(|| workload.refusal.clone()),
            succeeded: workload.succeeded.clone(),
            failures: workload.failures.iter().map(|(index, count)| (*index, *count)).collect(),
            last_failure: workload.last_failure.clone(),
            evicted: workload.evicted.clone(),
            due: self.due(id),
            endless: self.counts_as_endless(id),
            shrinks_for: workload.shrinks_for.clone(),
            asked: workload.asked.as_deref().cloned(),
            ran: matches!(workload.phase, Phase::Admitted { started: Some(_), .. }),
        })
    }

    /// When the head of a queue that is backfilled starts at the latest, by declared durations.
    fn due(&self, id: WorkloadId) -> Option<Time> {
        let pool = self.pool(self.workload(id)?.pool?)?;
        pool.due.filter(|(head, _)| *head == id).map(|(_, due)| due)
    }

    /// Whether a workload heads a queue that is backfilled, and nobody can tell when it starts.
    fn counts_as_endless(&self, id: WorkloadId) -> bool {
        let pool = self.workload(id).and_then(|workload| self.pool(workload.pool?));
        pool.is_some_and(|pool| pool.promised.is_some_and(|(head, _)| head == id) && pool.due.is_none())
    }

    fn member_reports(&self, id: WorkloadId, workload: &Workload) -> Vec<MemberReport> {
        (0_u32..)
            .zip(&workload.members)
            .map(|(index, member)| MemberReport {
                index,
                attempt: member.attempt,
                node: self.node_of(member),
                pod: member.pod.clone(),
                state: self.state_of(member),
                moves: self.move_report((id, index), member),
                stays: self.stay_of((id, index), member),
                trouble: self.trouble_of(member),
            })
            .collect()
    }

    fn state_of(&self, member: &Member) -> MemberState {
        let goes_on = member.moving.as_deref().filter(|one| one.goes_on());
        match member.slot {
            // Of a pair one that runs is enough.
            Slot::Live if goes_on.is_some_and(|one| self.target_is_ready(one)) => MemberState::Running,
            _ => state_of(member),
        }
    }

    fn move_report(&self, id: MemberId, member: &Member) -> Option<MoveReport> {
        let one = member.moving.as_deref()?;
        let to = Arc::clone(&self.node(one.to)?.name);
        let super::moves::Move { how, why, attempt, since, .. } = *one;
        let for_whom = self.waits_for_move(id).filter(|_| why == Why::MakeRoom);
        let (pod, given_up) = (one.pod.clone(), !one.goes_on());
        Some(MoveReport { to, attempt, pod, how, why, for_whom, since, given_up })
    }

    fn stay_of(&self, id: MemberId, member: &Member) -> Option<Stay> {
        if let Some(refusal) = self.guests.get(&id).and_then(|guest| guest.refusal.clone()) {
            return Some(Stay::MigrationWaits(refusal));
        }
        let here = self.node_of_member(member)?;
        if let Some((_, stay)) = self.staying.get(&id).filter(|(node, _)| *node == here) {
            return Some(stay.clone());
        }
        let rest = self.rests.get(&id).filter(|_| member.moving.is_none())?;
        rest.said.clone().map(Stay::Refused)
    }

    fn trouble_of(&self, member: &Member) -> Option<Arc<str>> {
        self.pods.get(member.pod.as_ref()?)?.machine.as_ref()?.trouble.clone()
    }

    /// The nodes of a pool that are drained, and what is still on them.
    fn drain_report(&self, pool: &Pool) -> Option<DrainReport> {
        let drained = || {
            let of_pool = |node: &&NodeId| {
                self.node(**node).is_some_and(|node| pool.nodes.is_some_and(|set| node.sets.contains(&set)))
            };
            self.drains.keys().filter(of_pool)
        };
        drained().next()?;
        let mut report = DrainReport::default();
        for node in drained() {
            let pods = self.node(*node).into_iter().flat_map(|node| &node.pods);
            let members = pods.filter_map(|uid| self.find_member(self.pods.get(uid)?.member.as_ref()?));
            report.nodes += 1;
            report.members += u32::try_from(members.count()).unwrap_or(u32::MAX);
            let stays = self.staying.values().filter(|(on, _)| on == node).count();
            report.staying += u32::try_from(stays).unwrap_or(u32::MAX);
        }
        Some(report)
    }

    fn node_of(&self, member: &Member) -> Option<Arc<str>> {
        let node = match member.slot {
            Slot::Assumed(node) => Some(node),
            Slot::Live | Slot::Succeeded | Slot::Failed => self.pods.get(member.pod.as_ref()?)?.node,
            Slot::Unplaced | Slot::Backoff(_) => None,
        };
        node.and_then(|node| self.node(node)).map(|node| Arc::clone(&node.name))
    }

    /// Why a workload that waits is not admitted.
    pub(crate) fn why(&self, id: WorkloadId) -> Refusal {
        let Some(workload) = self.workload(id) else { return Refusal::NotTried };
        if !workload.nominated.is_empty() && !workload.awaited.is_empty() {
            return self.moves_awaited(workload);
        }
        if !workload.nominated.is_empty() {
            let titles = workload
                .victims
                .iter()
                .filter_map(|uid| {
                    let victim = self.workload(*self.workload_ids.get(uid)?)?;
                    let reason = match victim.phase {
                        Phase::Stopping { reason, .. } => Some(reason),
                        _ => None,
                    };
                    Some((victim.title(), reason))
                })
                .collect();
            return Refusal::WaitingForPreempted(titles);
        }
        let Some(place) = &workload.place else { return workload.refusal.clone() };
        if place.overflow {
            return workload.refusal.clone();
        }
        let Some(pool) = self.pool(place.pool) else { return Refusal::NotTried };
        if let Some(refusal) = pool.queue.refusal(&place.class, place.duration) {
            let mut refusal = refusal.clone();
            if let Refusal::WouldDelay { endless, .. } = &mut refusal {
                *endless = place.duration.is_none();
            }
            return refusal;
        }
        let first = pool.queue.first_waiting_for_room().filter(|(rank, _)| **rank < place.rank);
        first
            .map(|(_, head)| head)
            .or_else(|| self.nominee_of(place.pool))
            .and_then(|head| self.workload(head))
            .map_or(Refusal::NotTried, |head| Refusal::QueuedBehind(head.title()))
    }

    fn moves_awaited(&self, waiting: &Workload) -> Refusal {
        let mut nodes: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        let mut of: BTreeSet<Arc<str>> = BTreeSet::new();
        for member in &waiting.awaited {
            let Some((workload, slot)) = self.workload(member.0).zip(self.member(*member)) else { continue };
            let Some(one) = slot.moving.as_deref().filter(|one| one.goes_on()) else { continue };
            let Some(node) = self.node(one.from) else { continue };
            *nodes.entry(Arc::clone(&node.name)).or_default() += 1;
            of.insert(workload.title());
        }
        Refusal::WaitingForMoves { nodes: nodes.into_iter().collect(), of: of.into_iter().collect() }
    }

    /// A workload of a pool's own queue whose place is being cleared.
    pub(crate) fn nominee_of(&self, pool: PoolId) -> Option<WorkloadId> {
        let of_pool = |id: &&WorkloadId| self.workload(**id).is_some_and(|one| one.pool == Some(pool));
        self.nominees.iter().find(of_pool).copied()
    }

    /// The first `count` workloads of a pool's queue: UID and position from 1.
    pub fn queue_front(&self, pool: &str, count: usize) -> Vec<(Arc<str>, u32)> {
        let Some(pool) = self.pool_ids.get(pool).and_then(|id| self.pool(*id)) else { return Vec::new() };
        let front = pool.queue.front(count);
        (1_u32..)
            .zip(front)
            .filter_map(|(position, id)| Some((Arc::clone(&self.workload(id)?.spec.uid), position)))
            .collect()
    }

    /// How many wait in a pool's own queue.
    pub fn queue_len(&self, pool: &str) -> usize {
        self.pool_ids.get(pool).and_then(|id| self.pool(*id)).map_or(0, |pool| pool.queue.len())
    }

    /// How many workloads of the pool itself wait, whether they are in its queue or kept out of it.
    pub fn waiting_in(&self, pool: &str) -> usize {
        let all = self.by_pool.get(pool).into_iter().flatten();
        all.filter(|id| {
            let workload = self.workload(**id);
            workload.is_some_and(|one| !one.gone && matches!(one.phase, Phase::Queued { .. }))
        })
        .count()
    }

    /// Names of all pools.
    pub fn pool_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pool_ids.keys()
    }

    /// The root pool that a pool belongs to; none if it is cut off or unknown.
    pub fn root_name(&self, pool: &str) -> Option<Arc<str>> {
        let pool = self.pool(*self.pool_ids.get(pool)?)?;
        if pool.stalled.is_some() {
            return None;
        }
        Some(Arc::clone(&self.pool(pool.root()?)?.spec.name))
    }
}

/// When resources are used up, by the trend: up to the limit, or to the capacity where there is no limit.
fn forecast(pool: &Pool, resources: &[PoolResource]) -> Vec<(ResourceId, Time)> {
    let each = resources.iter().filter_map(|one| {
        let limit = match one.limit {
            Limit::At(limit) => limit,
            Limit::Unlimited => one.capacity,
        };
        Some((one.resource, pool.trend.reaches(one.resource, limit)?))
    });
    each.collect()
}

fn state_of(member: &Member) -> MemberState {
    match member.slot {
        Slot::Unplaced => MemberState::Unplaced,
        Slot::Backoff(_) => MemberState::BackingOff,
        Slot::Live if member.terminating => MemberState::Terminating,
        Slot::Live if member.running => MemberState::Running,
        Slot::Assumed(_) | Slot::Live => MemberState::Starting,
        Slot::Succeeded => MemberState::Succeeded,
        Slot::Failed => MemberState::Failed,
    }
}
