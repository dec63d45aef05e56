//! Admission: quota and places together, or neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ids::{NodeId, PoolId, WorkloadId};
use crate::model::proof::{Hopeless, Lack, Proof};
use crate::model::queue::{Class, Parked};
use crate::model::refusal::{Bound, NodeTally, Refusal};
use crate::model::spec::{Queueing, Runtime};
use crate::model::time::{Span, Time};
use crate::model::workloads::{Member, Phase, Slot, Workload};
use crate::model::world::World;

use super::backfill::{self, Promise};
use super::company::Company;
use super::decision::{Decision, Placement, Work};
use super::explain::explain;
use super::gate;
use super::give_way::{self, Made};
use super::lifecycle::refuse;
use super::optimal;
use super::order::{Contest, Entry, waits_before};
use super::place::{Horizon, Placer, Question};
use super::quota::{self, Ask};
use super::retry::{Changes, Verdict, prove};

/// What admission works with during one cycle.
#[derive(Debug, Default)]
pub struct Desk {
    /// Finds nodes.
    pub placer: Placer,
    /// Counts what was looked at.
    pub work: Work,
    /// What heads of queues that are backfilled are promised, by pool.
    pub promises: BTreeMap<PoolId, Promise>,
    /// Who may give way to whom.
    pub memory: give_way::Memory,
}

impl Desk {
    /// Why so many members cannot be placed, of which those at `places` could.
    pub fn explain(
        &mut self,
        world: &World,
        question: Question,
        needed: u32,
        places: &[NodeId],
        company: Option<Company>,
    ) -> Refusal {
        explain(world, &mut self.placer, question, needed, places, company, &mut self.work)
    }
}

/// Admits from all queues until nothing more fits; when to look again although nothing changed.
pub fn admit_all(world: &mut World, desk: &mut Desk, now: Time, out: &mut Vec<Decision>) {
    let mut changes = Changes::take(world, desk);
    for root in world.roots.clone() {
        let mut doubted = look_again(world, root, &mut changes, now);
        let mut contest = Contest::default();
        while let Some(entry) = contest.next(world, root, now) {
            // Others may have taken meanwhile what let it be tried.
            if let Some(parked) = doubted.remove(&(entry.pool, entry.class.clone()))
                && park_again(world, desk, &mut changes, &entry, parked, now)
            {
                contest.changed(world, entry.pool);
                continue;
            }
            desk.work.tried += 1;
            match admit_next(world, desk, &entry, now, out) {
                Ok(()) => note_passing(world, desk, &entry, now),
                Err(refusal) => match give_way::make_room(world, desk, &entry, &refusal, now, out) {
                    // Places are kept now: others may borrow.
                    Made::Begun => desk.memory.forget(),
                    Made::Nothing(why) => {
                        let proof = why.and_then(|why| prove(world, &entry, &refusal, why));
                        park(world, &entry, refusal, proof);
                    }
                },
            }
            contest.changed(world, entry.pool);
            // What was admitted may keep others off that were decided alike until now.
            if world.regroup() {
                contest = Contest::default();
            }
        }
        backfill::promise_heads(world, desk, root, now);
        tell_reasons(world, root);
    }
}

/// Classes that are tried again though there was a reason to refuse them, and that reason.
type Doubted = BTreeMap<(PoolId, Class), Parked>;

/// Classes that were refused are tried again if anything has grown since that may matter to them, or their time has come.
fn look_again(world: &mut World, root: PoolId, changes: &mut Changes, now: Time) -> Doubted {
    let mut doubted = Doubted::new();
    let growth = world.heeded;
    changes.look_at(root);
    let mut open: Vec<PoolId> = vec![root];
    while let Some(id) = open.pop() {
        let Some(pool) = world.pools.get_mut(id.0) else { continue };
        open.extend(&pool.children);
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let due = is_due(pool.look_again_at);
        if pool.unparked_at == growth && !due && !is_due(pool.rest_over_at) {
            continue;
        }
        pool.unparked_at = growth;
        pool.due = None;
        pool.promised = None;
        pool.rest_over_at = None;
        if due {
            pool.look_again_at = None;
            pool.queue.unpark();
        } else if pool.queue.has_parked() {
            doubted.extend(look_through(world, id, changes, now));
        }
    }
    doubted
}

/// Lets those classes of a queue be tried again that may fit now.
fn look_through(
    world: &mut World,
    id: PoolId,
    changes: &mut Changes,
    now: Time,
) -> Vec<((PoolId, Class), Parked)> {
    let Some(pool) = world.pools.get_mut(id.0) else { return Vec::new() };
    let mut open = Vec::new();
    let mut queue = std::mem::take(&mut pool.queue);
    let mut rest_over_at: Option<Time> = None;
    if let Some(pool) = world.pool(id) {
        open = queue.unpark_unless(|class, first, proof| {
            let holds = changes.hold(world, pool, (class, first), proof, now);
            if let Hopeless::Rests { until: Some(until), .. } = proof.later
                && holds
            {
                rest_over_at = Some(rest_over_at.map_or(until, |at| at.min(until)));
            }
            holds
        });
    }
    if let Some(pool) = world.pools.get_mut(id.0) {
        pool.queue = queue;
        pool.rest_over_at = rest_over_at;
    }
    #[cfg(test)]
    super::set_aside::check_pool(world, id, now);
    open.into_iter().map(|(class, parked)| ((id, class), parked)).collect()
}

/// Sets a class aside again if the reason for which it was holds now; whether it does.
fn park_again(
    world: &mut World,
    desk: &mut Desk,
    changes: &mut Changes,
    entry: &Entry,
    mut parked: Parked,
    now: Time,
) -> bool {
    let Some((pool, proof)) = world.pool(entry.pool).zip(parked.proof.as_mut()) else { return false };
    match changes.judge(world, pool, (&entry.class, entry.workload), proof, now) {
        Verdict::Holds => {}
        Verdict::PlacesInDoubt => match too_few_places(world, desk, entry.workload) {
            Some(spare) => proof.now = Lack::Room(spare),
            None => return false,
        },
        Verdict::Unknown => return false,
    }
    let later = proof.later;
    #[cfg(test)]
    super::set_aside::check(world, entry, now);
    if let Some(pool) = world.pools.get_mut(entry.pool.0) {
        if let Hopeless::Rests { until: Some(until), .. } = later {
            pool.rest_over(until);
        }
        pool.queue.park_again(&entry.class, parked);
    }
    true
}

/// Counts the places of a gang anew: how many more would still be too few. The sums over nodes that changed count a place as
/// often as its node changes.
fn too_few_places(world: &World, desk: &mut Desk, id: WorkloadId) -> Option<u32> {
    match *seek(world, desk, id, Horizon::Now, Size::Least).err()? {
        Miss::Nodes { least, places, company: None, .. } if least > 1 => {
            least.checked_sub(u32::try_from(places.len()).ok()?)?.checked_sub(1)
        }
        Miss::Nodes { .. } | Miss::Refused(_) => None,
    }
}

/// Admits the next workload of a pool's queue.
pub(super) fn admit_next(
    world: &mut World,
    desk: &mut Desk,
    entry: &Entry,
    now: Time,
    out: &mut Vec<Decision>,
) -> Result<(), Refusal> {
    let Some(pool) = world.pool(entry.pool) else { return Err(Refusal::PoolNotFound) };
    let backfilled = pool.spec.queueing == Queueing::Backfill;
    if let Err(refusal) = quota::rate(world, pool, now) {
        if let (Refusal::RateLimited { next, .. }, Some(pool)) = (&refusal, world.pools.get_mut(entry.pool.0))
        {
            pool.look_again(*next);
        }
        return Err(refusal);
    }
    let planned = optimal::take(world, entry.pool, entry.workload, &mut desk.work);
    let places = if let Some(places) = planned {
        places
    } else if backfilled {
        backfill::find_places_behind(world, desk, entry, now)?
    } else {
        find_places(world, desk, entry.workload, Horizon::Now, Size::Most)?
    };
    take_places(world, entry.workload, &places, now, out);
    Ok(())
}

fn park(world: &mut World, entry: &Entry, refusal: Refusal, proof: Option<Proof>) {
    let duration = world.workload(entry.workload).and_then(|workload| workload.spec.expected_duration);
    // Whoever runs as long would delay the head as well; whoever ends sooner may not.
    let from = matches!(refusal, Refusal::WouldDelay { .. }).then(|| duration.unwrap_or(Span(i64::MAX)));
    let Some(pool) = world.pools.get_mut(entry.pool.0) else { return };
    pool.queue.park(&entry.class, refusal, from, proof.filter(|_| from.is_none()));
}

/// Marks those who wait for another reason than before, now that all is decided.
fn tell_reasons(world: &mut World, root: PoolId) {
    let mut open: Vec<PoolId> = vec![root];
    while let Some(id) = open.pop() {
        let Some(pool) = world.pools.get_mut(id.0) else { continue };
        open.extend(&pool.children);
        for waiting in pool.queue.take_news() {
            world.touch(waiting);
        }
    }
}

/// Notes that a workload was admitted before one that waits for room.
fn note_passing(world: &mut World, desk: &mut Desk, entry: &Entry, now: Time) {
    // Others of the tree may have taken what the heads of other queues were promised.
    desk.promises.retain(|pool, _| *pool == entry.pool);
    let Some(pool) = world.pool(entry.pool) else { return };
    let first = waits_before(world, pool, entry.workload, &entry.rank);
    let Some(pool) = world.pools.get_mut(entry.pool.0) else { return };
    if let Some(first) = first
        && pool.passed.is_none_or(|(passed, _)| passed != first)
    {
        pool.passed = Some((first, now));
    }
}

/// When a queue begins to be held for a workload that was passed for too long, or is looked at again.
pub fn next_hold(world: &World, now: Time) -> Option<Time> {
    let due = world.pools.iter().filter_map(|(_, pool)| {
        let (_, since) = pool.passed?;
        Some(since + world.tuning.passed_at_most)
    });
    let again = world.pools.iter().filter_map(|(_, pool)| {
        let next = pool.look_again_at.into_iter().chain(pool.rest_over_at).min();
        next.filter(|_| pool.queue.has_parked() || pool.queue.head().is_some())
    });
    due.chain(again).filter(|due| *due > now).min()
}

/// How many members are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As many as must start together.
    Least,
    /// As many as are wanted.
    Most,
}

/// Admits one workload, whose place was cleared, with its least size.
///
/// # Errors
/// Why it does not fit.
pub fn admit(
    world: &mut World,
    desk: &mut Desk,
    id: WorkloadId,
    now: Time,
    out: &mut Vec<Decision>,
) -> Result<(), Refusal> {
    let places = find_places(world, desk, id, Horizon::Now, Size::Least)?;
    take_places(world, id, &places, now, out);
    Ok(())
}

/// The nodes for as many members of a workload as fit, if that is enough.
///
/// # Errors
/// Why it is not.
pub fn find_places(
    world: &World,
    desk: &mut Desk,
    id: WorkloadId,
    horizon: Horizon,
    size: Size,
) -> Result<Vec<NodeId>, Refusal> {
    seek(world, desk, id, horizon, size).map_err(|miss| match *miss {
        Miss::Refused(refusal) => refusal,
        Miss::Nodes { question, least, places, company } => {
            desk.explain(world, question, least, &places, company)
        }
    })
}

/// The same where nobody asks why it is not.
pub fn places_for(
    world: &World,
    desk: &mut Desk,
    id: WorkloadId,
    horizon: Horizon,
    size: Size,
) -> Option<Vec<NodeId>> {
    seek(world, desk, id, horizon, size).ok()
}

/// Why there are no places: said, or to be asked of the nodes.
enum Miss {
    Refused(Refusal),
    Nodes { question: Question, least: u32, places: Vec<NodeId>, company: Option<Company> },
}

fn seek(
    world: &World,
    desk: &mut Desk,
    id: WorkloadId,
    horizon: Horizon,
    size: Size,
) -> Result<Vec<NodeId>, Box<Miss>> {
    let refused = |refusal| Box::new(Miss::Refused(refusal));
    let Some((workload, pool)) =
        world.workload(id).and_then(|workload| Some((workload, world.pool(workload.pool?)?)))
    else {
        return Err(refused(Refusal::PoolNotFound));
    };
    let Some(shape) = workload.shape else { return Err(refused(Refusal::NotTried)) };
    let (least, most) = gate::members_wanted(workload);
    let request = world.asks(workload);
    quota::counts(world, pool, workload).map_err(refused)?;
    let most = match size {
        Size::Least => least,
        Size::Most => most.min(quota::most_members(world, pool, &request)),
    };
    let Some(set) = pool.nodes else {
        let tally = NodeTally { needed: least, ..NodeTally::default() };
        return Err(refused(Refusal::NoFittingNode(tally)));
    };
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    let question = Question { shape, strategy, set, horizon };
    let reserved = !workload.spec.preemptible;
    let ask = Ask { request: &request, least, most, horizon, reserved };
    let (count, enough) = match quota::room(world, pool, ask) {
        Ok(count) => (count, true),
        // What nodes lack even when they are empty is said of the nodes: it is no use to wait for others. Of a gang it is
        // said, too, how many find one.
        Err(Refusal::WaitingForQuota { bound: Bound::Capacity, shortages, .. })
            if shortages.iter().any(|shortage| shortage.requested > shortage.bound) =>
        {
            (if least > 1 { least } else { 0 }, false)
        }
        Err(refusal) => return Err(refused(refusal)),
    };
    let company = Company::of(world, id, question);
    let places = match &company {
        _ if count == 0 => Vec::new(),
        None => desk.placer.place(world, question, count, &mut desk.work),
        Some(company) => desk.placer.place_beside(world, question, company, count, &[], &mut desk.work),
    };
    let placed = u32::try_from(places.len()).unwrap_or(u32::MAX);
    if enough && placed >= least && placed > 0 {
        return Ok(places);
    }
    Err(Box::new(Miss::Nodes { question, least, places, company }))
}

/// Gives a workload its quota and its places, and says so.
fn take_places(world: &mut World, id: WorkloadId, places: &[NodeId], now: Time, out: &mut Vec<Decision>) {
    world.dequeue(id);
    if let Some(pool) = world.workload(id).and_then(|workload| workload.pool) {
        world.take_token(pool, now);
    }
    let Some(workload) = world.workload(id) else { return };
    let uid = Arc::clone(&workload.spec.uid);
    let mut members = Vec::new();
    let mut placements = Vec::new();
    let places = led_by_volumes(world, workload, places);
    let mut left = places.iter();
    for index in 0..workload.spec.replicas {
        let mut member = Member::unplaced(workload.attempts.get(&index).copied().unwrap_or(0));
        if workload.succeeded.contains(index) {
            member.slot = Slot::Succeeded;
        } else {
            let Some(node) = left.next().copied() else { break };
            let Some(name) = world.node(node).map(|node| Arc::clone(&node.name)) else { break };
            placements.push(Placement { index, attempt: member.attempt, node: name });
            member.slot = Slot::Assumed(node);
            member.placed_at = now;
        }
        members.push(member);
    }
    world.set_phase(id, Phase::Admitted { at: now, started: None });
    world.with_members(id, |world| {
        if let Some(workload) = world.workload_mut(id) {
            workload.members = members;
            workload.tried_at = None;
            workload.stubborn = false;
            workload.shrink_to = None;
            workload.grown_at = None;
        }
    });
    refuse(world, id, Refusal::NotTried);
    world.attention.insert(id);
    let pool = world.workload(id).map(|workload| Arc::clone(&workload.spec.pool)).unwrap_or_default();
    out.push(Decision::Admit { workload: uid, pool, at: now, placements });
}

/// The same places in the order of the members, so that as many as possible are where their own volumes are; the others are
/// placed anew when that turns out.
fn led_by_volumes(world: &World, workload: &Workload, places: &[NodeId]) -> Vec<NodeId> {
    let wanting: Vec<u32> =
        (0..workload.spec.replicas).filter(|index| !workload.succeeded.contains(*index)).collect();
    let wants: Vec<Vec<Arc<str>>> =
        wanting.iter().take(places.len()).map(|index| world.own_claims(workload, *index)).collect();
    if wants.iter().all(Vec::is_empty) {
        return places.to_vec();
    }
    let mut left: Vec<NodeId> = places.to_vec();
    let mut chosen: Vec<Option<NodeId>> = vec![None; wants.len()];
    for (claims, chosen) in wants.iter().zip(&mut chosen).filter(|(claims, _)| !claims.is_empty()) {
        let reaches = |id: &NodeId| {
            world.node(*id).is_some_and(|node| claims.iter().all(|claim| world.is_reached(claim, node)))
        };
        if let Some(at) = left.iter().position(reaches) {
            *chosen = Some(left.remove(at));
        }
    }
    let mut left = left.into_iter();
    chosen.into_iter().filter_map(|one| one.or_else(|| left.next())).collect()
}

/// Places members of admitted workloads again, before anything new is admitted.
pub fn replace_all(world: &mut World, desk: &mut Desk, now: Time, out: &mut Vec<Decision>) {
    let mut waiting: Vec<(i64, Time, Arc<str>, WorkloadId)> = world
        .unplaced
        .iter()
        .filter_map(|id| {
            let workload = world.workload(*id)?;
            let spec = &workload.spec;
            (workload.tried_at != Some(world.growth))
                .then(|| (-i64::from(spec.priority), spec.created, Arc::clone(&spec.uid), *id))
        })
        .collect();
    waiting.sort();
    for (.., id) in waiting {
        replace(world, desk, id, now, out);
    }
}

fn replace(world: &mut World, desk: &mut Desk, id: WorkloadId, now: Time, out: &mut Vec<Decision>) {
    let refusal = place_unplaced(world, desk, id, now, out).err();
    let growth = world.growth;
    if refusal.is_none() {
        world.unplaced.remove(&id);
    } else if let Some(workload) = world.workload_mut(id) {
        workload.tried_at = Some(growth);
    }
    refuse(world, id, refusal.unwrap_or(Refusal::NotTried));
}

/// Places those members of an admitted workload that have no place.
///
/// # Errors
/// Why one of them finds none; those before it are placed.
pub fn place_unplaced(
    world: &mut World,
    desk: &mut Desk,
    id: WorkloadId,
    now: Time,
    out: &mut Vec<Decision>,
) -> Result<(), Refusal> {
    let Some(workload) = world.workload(id) else { return Ok(()) };
    let Phase::Admitted { at, .. } = workload.phase else { return Ok(()) };
    let wanting: Vec<u32> = (0_u32..)
        .zip(&workload.members)
        .filter(|(index, member)| member.wants_place() && !workload.sheds(*index))
        .map(|(index, _)| index)
        .filter(|index| !world.still_runs(&workload.spec.uid, *index))
        .collect();
    if workload.spec.runtime == Runtime::VirtualMachine && !world.kubevirt && !wanting.is_empty() {
        return Err(Refusal::KubeVirtNotInstalled);
    }
    let (uid, pool_name) = (Arc::clone(&workload.spec.uid), Arc::clone(&workload.spec.pool));
    let size = workload.size();
    let mut placements = Vec::new();
    let mut result = Ok(());
    for index in wanting {
        match find_one(world, desk, id, index) {
            Ok(node) => {
                world.with_member(id, index, |world| {
                    let members = world.workload_mut(id).map(|workload| &mut workload.members);
                    if let Some(member) = members.and_then(|members| members.get_mut(index as usize)) {
                        member.slot = Slot::Assumed(node);
                        member.placed_at = now;
                    }
                });
                let attempt =
                    world.workload(id).map_or(0, |workload| workload.members[index as usize].attempt);
                let name = world.node(node).map(|node| Arc::clone(&node.name)).unwrap_or_default();
                placements.push(Placement { index, attempt, node: name });
            }
            Err(why) => {
                result = Err(why);
                break;
            }
        }
    }
    if !placements.is_empty() {
        out.push(Decision::Place { workload: uid, pool: pool_name, admitted_at: at, size, placements });
    }
    result
}

fn find_one(world: &World, desk: &mut Desk, id: WorkloadId, index: u32) -> Result<NodeId, Refusal> {
    let Some((workload, pool)) =
        world.workload(id).and_then(|workload| Some((workload, world.pool(workload.pool?)?)))
    else {
        return Err(Refusal::PoolNotFound);
    };
    let (Some(shape), Some(set)) = (workload.shape, pool.nodes) else {
        return Err(Refusal::NoFittingNode(NodeTally { needed: 1, ..NodeTally::default() }));
    };
    let request = world.asks_for(workload, index);
    let reserved = !workload.spec.preemptible;
    let ask = Ask { request: &request, least: 1, most: 1, horizon: Horizon::Now, reserved };
    quota::room(world, pool, ask)?;
    let avoid =
        workload.members.get(index as usize).map(|member| member.avoid.as_slice()).unwrap_or_default();
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    let question = Question { shape, strategy, set, horizon: Horizon::Now };
    if let Some(found) =
        super::machines::where_its_volumes_are(world, desk, (id, index), question, &|_| false)
    {
        return found;
    }
    let company = Company::of(world, id, question);
    let place = match &company {
        None => desk.placer.place_one(world, question, avoid, &mut desk.work),
        Some(company) => {
            desk.placer.place_beside(world, question, company, 1, avoid, &mut desk.work).first().copied()
        }
    };
    place.ok_or_else(|| desk.explain(world, question, 1, &[], company))
}

/// Repeats the places of admissions that the ledger held: their pods may not have been created.
pub fn replay(world: &mut World, out: &mut Vec<Decision>) {
    for id in std::mem::take(&mut world.replay) {
        let Some(workload) = world.workload(id) else { continue };
        let Phase::Admitted { at, .. } = workload.phase else { continue };
        let placements: Vec<Placement> = (0_u32..)
            .zip(&workload.members)
            .filter_map(|(index, member)| {
                let Slot::Assumed(node) = member.slot else { return None };
                let node = Arc::clone(&world.node(node)?.name);
                Some(Placement { index, attempt: member.attempt, node })
            })
            .collect();
        if !placements.is_empty() {
            let (uid, pool) = (Arc::clone(&workload.spec.uid), Arc::clone(&workload.spec.pool));
            let size = workload.size();
            out.push(Decision::Place { workload: uid, pool, admitted_at: at, size, placements });
        }
        super::migrate::replay(world, id, out);
    }
}
