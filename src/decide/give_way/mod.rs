//! What gives way when a workload finds no room: first members move elsewhere (`defragment`); else members of dynamic
//! workloads leave, borrowers, lower priorities.
//!
//! Victims are found by removing them, least harm first, until the workload fits, and then putting back each
//! that still fits beside it (as Kueue's and kube-scheduler's preemption do). The places that are cleared are
//! kept for the workload until it has taken them.

pub mod ceiling;
pub mod census;
pub mod defragment;
pub mod load;
mod nearest;
pub mod trial;
pub mod victims;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ids::{NodeId, PoolId, WorkloadId};
use crate::model::proof::{Hopeless, Rest};
use crate::model::refusal::Refusal;
use crate::model::spec::Reclaim;
use crate::model::time::{Span, Time};
use crate::model::workloads::{Phase, Slot, Workload};
use crate::model::world::World;

use super::admit::{Desk, Size, places_for};
use super::decision::Decision;
use super::gate::{self, gate};
use super::lifecycle::stop_workload;
use super::order::Entry;
use super::place::{Horizon, Question};
use super::quota;
use super::retry;

use ceiling::{Leavers, Leaving};
use nearest::First;
use trial::{Lifted, Which, lift, lift_again, put_back, without_trace};
use victims::{Candidate, Candidates, Take, borrows, candidates};

/// What came of looking for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Room is made.
    Begun,
    /// None can be made, and as far as that can be told, why none can be made as long as nobody leaves.
    Nothing(Option<Hopeless>),
}

/// Moves that were looked for in vain are looked for again after that long; it doubles up to the longest.
const FIRST_REST: Span = Span::seconds(2);
const LONGEST_REST: Span = Span::seconds(120);

/// Clears a place for a workload that found no room; whether that was begun. It gets its least size: nobody gives
/// way for more, and with more it might itself run on what is borrowed, and be evicted in turn.
pub fn make_room(
    world: &mut World,
    desk: &mut Desk,
    entry: &Entry,
    refusal: &Refusal,
    now: Time,
    out: &mut Vec<Decision>,
) -> Made {
    let by_nodes = by_nodes(refusal);
    let room_wanted = match refusal {
        Refusal::TooManyRunning { .. } => true,
        _ => refusal.waits_for_room(),
    };
    if !room_wanted {
        return Made::Nothing(Some(Hopeless::Nobody { moves_help: false }));
    }
    let rest = world.pool(entry.pool).and_then(|pool| pool.queue.rest(&entry.class));
    let rest = rest.filter(|rest| rest.upheavals == world.upheavals);
    let resting = rest.map(|rest| rest.until).filter(|until| *until > now);
    if let Some(why) = out_of_reach(world, desk, entry, by_nodes, resting) {
        debug_assert!(
            is_so(world, desk, entry, why, now, out.len()),
            "{why:?} is told too soon of {entry:?}"
        );
        if let (Hopeless::Rests { until: Some(until), .. }, Some(pool)) =
            (why, world.pools.get_mut(entry.pool.0))
        {
            pool.rest_over(until);
        }
        return Made::Nothing(Some(why));
    }
    let found = who_may_leave(world, desk, entry, now, out.len());
    let (list, leavers) = (&found.candidates.list, &found.leavers);
    if let (Some(at), Some(pool)) = (found.candidates.later, world.pools.get_mut(entry.pool.0)) {
        pool.look_again(at);
    }
    let moves_help = by_nodes && can_move(world);
    if list.is_empty() && !moves_help {
        return Made::Nothing(Some(Hopeless::Nobody { moves_help: by_nodes }));
    }
    if let Some(spare) = too_few(world, desk, entry, leavers, Leaving::EvictedOrMoved) {
        return Made::Nothing(Some(Hopeless::Nodes(spare)));
    }
    let mut rests = resting;
    if by_nodes && resting.is_none() {
        if defragment::make_block(world, desk, entry, leavers, now, out) {
            return Made::Begun;
        }
        let failures = rest.map_or(0, |rest| rest.failures);
        let until = now + FIRST_REST.doubled(failures, LONGEST_REST);
        let rest = Rest { until, failures: failures + 1, upheavals: world.upheavals };
        if let Some(pool) = world.pools.get_mut(entry.pool.0) {
            pool.queue.set_rest(&entry.class, rest);
        }
        rests = Some(until);
    }
    if let (Some(until), Some(pool)) = (resting, world.pools.get_mut(entry.pool.0)) {
        pool.rest_over(until);
    }
    if list.is_empty() {
        return Made::Nothing(Some(Hopeless::Rests { until: rests, spare: None }));
    }
    if let Some(spare) = too_few(world, desk, entry, leavers, Leaving::Evicted) {
        return Made::Nothing(Some(Hopeless::Rests { until: rests, spare: Some(spare) }));
    }
    desk.work.victim_searches += 1;
    let first = nearest::first_to_fit(world, desk, entry, leavers, list);
    let mut cleared = match &first {
        First::Some(first) => without_trace(world, |world| search(world, desk, entry, first)),
        First::Nobody | First::Unknown => None,
    };
    if cleared.is_none() && first != First::Nobody {
        let list = helpful(world, desk, entry, leavers, list.clone(), by_nodes);
        cleared = without_trace(world, |world| search(world, desk, entry, &list));
    }
    // Where it will fit without anybody's leaving there is nothing to be done.
    let Some((chosen, places)) = cleared.filter(|(chosen, _)| !chosen.is_empty()) else {
        return Made::Nothing(None);
    };
    // Nobody is evicted where moves would do.
    if by_nodes && resting.is_some() && defragment::make_block(world, desk, entry, leavers, now, out) {
        return Made::Begun;
    }
    evict(world, entry, chosen, places, now, out);
    Made::Begun
}

/// Who may give way to one that waits.
#[derive(Debug, Default)]
struct Known {
    candidates: Candidates,
    leavers: Leavers,
}

/// For whom that is: pool, priority, and the levels of its path at which it borrows nothing.
type Whom = (PoolId, i32, Option<usize>);

/// Who may give way, as it was found since something was decided last.
#[derive(Debug, Default)]
pub struct Memory {
    /// As many decisions had been taken.
    decided: usize,
    known: BTreeMap<Whom, Arc<Known>>,
}

impl Memory {
    /// Something else has changed.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

/// Who may give way to a workload; what was found for one before it where that is alike and nothing was decided since.
fn who_may_leave(world: &World, desk: &mut Desk, entry: &Entry, now: Time, decided: usize) -> Arc<Known> {
    let find = || {
        let candidates = candidates(world, entry, now);
        let leavers = Leavers::of(world, &candidates.list);
        Arc::new(Known { candidates, leavers })
    };
    let (Some(pool), Some(workload)) = (world.pool(entry.pool), world.workload(entry.workload)) else {
        return Arc::default();
    };
    let levels = quota::within_reservation(world, pool, &entry.charge);
    // Of those that borrow the one goes last to which it gave way: that list is its own.
    let reclaims = levels.is_some() && pool.spec.reclaim != Reclaim::Never;
    if reclaims && workload.evicted.as_ref().is_some_and(|(_, whom, _)| whom.is_some()) {
        return find();
    }
    if std::mem::replace(&mut desk.memory.decided, decided) != decided {
        desk.memory.forget();
    }
    let whom = (entry.pool, workload.spec.priority, levels);
    Arc::clone(desk.memory.known.entry(whom).or_insert_with(find))
}

/// Why nobody's leaving would do, where pools and priorities alone tell that, without asking who may leave.
fn out_of_reach(
    world: &World,
    desk: &mut Desk,
    entry: &Entry,
    by_nodes: bool,
    resting: Option<Time>,
) -> Option<Hopeless> {
    let (workload, pool) = world.workload(entry.workload).zip(world.pool(entry.pool))?;
    let rights = retry::rights(world, pool, workload, &entry.class)?;
    let (question, (least, _)) = (question_of(world, entry)?, gate::members_wanted(workload));
    let census = desk.placer.census_if_known(world, &mut desk.work)?;
    let leavers = Leavers::at_most(world, census, rights);
    // Whoever has no place yet, or whose node is gone, is on no node, and might give way still.
    let nobody = leavers.is_empty() && !retry::may_any_leave(world, pool, rights);
    if nobody && !(by_nodes && can_move(world)) {
        return Some(Hopeless::Nobody { moves_help: by_nodes });
    }
    let too_few =
        |leaving| least.checked_sub(leavers.bound(world, census, question, least, leaving).saturating_add(1));
    if let Some(spare) = too_few(Leaving::EvictedOrMoved) {
        return Some(Hopeless::Nodes(spare));
    }
    let moves_matter = by_nodes && resting.is_none();
    if moves_matter {
        return None;
    }
    let spare = if nobody { None } else { Some(too_few(Leaving::Evicted)?) };
    Some(Hopeless::Rests { until: resting, spare })
}

/// Whether asking who may leave tells the same.
fn is_so(world: &World, desk: &mut Desk, entry: &Entry, why: Hopeless, now: Time, decided: usize) -> bool {
    let work = desk.work;
    let found = who_may_leave(world, desk, entry, now, decided);
    let mut at_least = |spare, leaving| {
        too_few(world, desk, entry, &found.leavers, leaving).is_some_and(|more| more >= spare)
    };
    let so = match why {
        Hopeless::Nodes(spare) => at_least(spare, Leaving::EvictedOrMoved),
        Hopeless::Rests { spare: Some(spare), .. } => at_least(spare, Leaving::Evicted),
        Hopeless::Rests { spare: None, .. } | Hopeless::Nobody { .. } => found.candidates.list.is_empty(),
    };
    desk.work = work;
    so
}

/// Whether anybody moves, or might.
fn can_move(world: &World) -> bool {
    !(world.movers.is_empty() && world.moving.is_empty())
}

/// Those of the candidates that help: where it is nodes that refuse, nobody else than who is on a node that would have room if
/// all of them left.
fn helpful(
    world: &World,
    desk: &mut Desk,
    entry: &Entry,
    leavers: &Leavers,
    mut list: Vec<Candidate>,
    by_nodes: bool,
) -> Vec<Candidate> {
    if by_nodes && let Some(question) = question_of(world, entry) {
        let helps = leavers.helpful(world, desk, question);
        list.retain(|one| helps.get(one.workload.at()).is_some_and(|helps| *helps));
    }
    list
}

fn question_of(world: &World, entry: &Entry) -> Option<Question> {
    let (workload, pool) = world.workload(entry.workload).zip(world.pool(entry.pool))?;
    let (shape, set) = workload.shape.zip(pool.nodes)?;
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    Some(Question { shape, strategy, set, horizon: Horizon::Later })
}

/// Those that were chosen leave, and the places that they leave are kept.
fn evict(
    world: &mut World,
    entry: &Entry,
    chosen: Chosen,
    places: Vec<NodeId>,
    now: Time,
    out: &mut Vec<Decision>,
) {
    let title = world.workload(entry.workload).map(Workload::title);
    let uids = chosen.keys().filter_map(|id| Some(Arc::clone(&world.workload(*id)?.spec.uid))).collect();
    world.dequeue(entry.workload);
    world.nominate(entry.workload, places);
    if let Some(workload) = world.workload_mut(entry.workload) {
        workload.victims = uids;
        workload.nominated_at = now;
        workload.tried_at = None;
    }
    for (victim, take) in chosen {
        match take {
            Take::Whole(reason) => stop_workload(world, victim, reason, title.clone(), now, out),
            Take::Member(from) => shrink(world, victim, from, title.clone(), now, out),
        }
    }
}

/// Where nodes had too little room even if all of these left: how many places more would still be too few.
fn too_few(
    world: &World,
    desk: &mut Desk,
    entry: &Entry,
    leavers: &Leavers,
    leaving: Leaving,
) -> Option<u32> {
    let question = question_of(world, entry)?;
    let (least, _) = gate::members_wanted(world.workload(entry.workload)?);
    desk.work.ceilings += 1;
    least.checked_sub(leavers.ceiling(world, desk, question, least, leaving).saturating_add(1))
}

/// Whether it is nodes that refuse, and would not if others were elsewhere.
fn by_nodes(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Fragmented { tally, .. } | Refusal::NoFittingNode(tally) => {
            tally.rejected.keys().any(|rejection| rejection.may_pass())
        }
        _ => false,
    }
}

/// Members of a dynamic workload, from that index on, leave for another's sake.
fn shrink(
    world: &mut World,
    id: WorkloadId,
    from: u32,
    for_whom: Option<Arc<str>>,
    now: Time,
    out: &mut Vec<Decision>,
) {
    world.with_members(id, |world| {
        let Some(workload) = world.workload_mut(id) else { return };
        workload.shrink_to = Some(from);
        workload.shrinks_for.clone_from(&for_whom);
        for member in workload.members.iter_mut().skip(from as usize) {
            if matches!(member.slot, Slot::Backoff(_)) {
                member.slot = Slot::Unplaced;
            }
            member.told = member.pod.is_some();
        }
    });
    // Those of them that are moving stay where they are, and leave from there.
    world.attend(id);
    super::migrate::advance(world, id, now, out);
    if let Some(workload) = world.workload(id) {
        let uid = Arc::clone(&workload.spec.uid);
        out.push(Decision::Shrink { workload: uid, to: from, for_whom });
    }
}

/// When victims that do not leave are given up, and others chosen.
pub fn next_impatience(world: &World, now: Time) -> Option<Time> {
    let due = world.nominees.iter().filter_map(|id| Some(world.workload(*id)?.nominated_at));
    due.map(|since| since + world.tuning.stubborn_after).filter(|due| *due > now).min()
}

/// Victims that did not leave in time (a disruption budget holds them) are reckoned with no more.
fn give_up_stubborn(world: &mut World, id: WorkloadId, now: Time) {
    let Some(workload) = world.workload(id) else { return };
    if workload.nominated_at + world.tuning.stubborn_after > now {
        return;
    }
    let (victims, awaited) = (workload.victims.clone(), workload.awaited.clone());
    defragment::give_up_slow(world, &awaited);
    for uid in victims {
        let Some(victim) = world.workload_ids.get(&uid).copied() else { continue };
        let leaves = world.workload(victim).is_some_and(is_leaving);
        if leaves {
            world.with_members(victim, |world| {
                if let Some(workload) = world.workload_mut(victim) {
                    workload.stubborn = true;
                }
            });
        }
    }
}

fn is_leaving(workload: &Workload) -> bool {
    let leaves = matches!(workload.phase, Phase::Stopping { .. }) || workload.shrink_to.is_some();
    leaves && !workload.stubborn
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
        give_up_stubborn(world, id, now);
        if gate(world, id, now).is_err() {
            // Its pool is held, or being deleted, or lets it in no more: it takes nothing new.
            world.nominate(id, Vec::new());
            world.attention.insert(id);
            continue;
        }
        let Some(workload) = world.workload(id) else { continue };
        let impatient = workload.nominated_at + world.tuning.stubborn_after <= now;
        if workload.tried_at == Some(world.growth) && !impatient {
            continue;
        }
        let (places, victims, since) =
            (workload.nominated.clone(), workload.victims.clone(), workload.nominated_at);
        let awaited = workload.awaited.clone();
        world.nominate(id, Vec::new());
        if super::admit::admit(world, desk, id, now, out).is_ok() {
            continue;
        }
        let leaving = victims.iter().any(|uid| {
            let victim = world.workload_ids.get(uid).and_then(|id| world.workload(*id));
            victim.is_some_and(is_leaving)
        });
        // Moves end by themselves: one that is not over in time is given up.
        let moving = defragment::any_under_way(world, &awaited);
        if leaving && !impatient || moving {
            world.nominate(id, places);
            let growth = world.growth;
            if let Some(workload) = world.workload_mut(id) {
                workload.victims = victims;
                workload.awaited = awaited;
                workload.nominated_at = since;
                workload.tried_at = Some(growth);
            }
        } else {
            world.attention.insert(id);
        }
    }
}

/// What is lifted in a trial, in the order of the candidates.
struct Step {
    workload: WorkloadId,
    take: Take,
    lifted: Lifted,
    /// It cannot be put back.
    stays_out: bool,
}

/// What is lifted at present, and for workloads of which members are lifted the lowest index of these.
#[derive(Default)]
struct Taken {
    steps: Vec<Option<Step>>,
    left: BTreeMap<WorkloadId, u32>,
}

type Chosen = BTreeMap<WorkloadId, Take>;

fn search(
    world: &mut World,
    desk: &mut Desk,
    entry: &Entry,
    list: &[Candidate],
) -> Option<(Chosen, Vec<NodeId>)> {
    let mut taken = Taken::default();
    let found = trial::least_prefix(
        world,
        list.len(),
        |world, count| move_to(world, entry, list, &mut taken, count),
        |world| places_for(world, desk, entry.workload, Horizon::Later, Size::Least),
    );
    // Put back whatever still fits beside it, those that are harmed most by leaving first.
    let mut steps: Vec<Step> = std::mem::take(&mut taken.steps).into_iter().rev().flatten().collect();
    if found.is_none() {
        for step in &*steps {
            put_back(world, &step.lifted);
        }
    }
    found.as_ref()?;
    let mut out: Vec<WorkloadId> = Vec::new();
    sift(world, desk, entry, &mut steps, &mut out);
    let chosen: Vec<Step> = steps.into_iter().filter(|step| step.stays_out).collect();
    let places = places_for(world, desk, entry.workload, Horizon::Later, Size::Least);
    let mut takes = Chosen::new();
    for step in &chosen {
        put_back(world, &step.lifted);
    }
    for Step { workload, take, lifted: _, stays_out: _ } in chosen {
        let entry = takes.entry(workload).or_insert(take);
        *entry = match (*entry, take) {
            (Take::Whole(reason), _) | (_, Take::Whole(reason)) => Take::Whole(reason),
            (Take::Member(one), Take::Member(other)) => Take::Member(one.min(other)),
        };
    }
    places.map(|places| (takes, places))
}

/// Puts back what still fits beside the workload, one after another; many at once where all of them fit, which comes to the
/// same, since what fits with more of them fits with fewer.
fn sift(world: &mut World, desk: &mut Desk, entry: &Entry, steps: &mut [Step], out: &mut Vec<WorkloadId>) {
    let fits = |world: &mut World, desk: &mut Desk| {
        places_for(world, desk, entry.workload, Horizon::Later, Size::Least).is_some()
    };
    if let [step] = steps {
        put_back(world, &step.lifted);
        // Members leave from the highest index down, so those above one that leaves stay lifted.
        let above = matches!(step.take, Take::Member(_)) && out.contains(&step.workload);
        if above || !fits(world, desk) {
            lift_again(world, &step.lifted);
            out.push(step.workload);
            step.stays_out = true;
        }
        return;
    }
    if steps.iter().all(|step| matches!(step.take, Take::Whole(_))) {
        for step in &*steps {
            put_back(world, &step.lifted);
        }
        if fits(world, desk) {
            return;
        }
        for step in &*steps {
            lift_again(world, &step.lifted);
        }
    }
    let (first, rest) = steps.split_at_mut(steps.len() / 2);
    for half in [first, rest].into_iter().filter(|half| !half.is_empty()) {
        sift(world, desk, entry, half, out);
    }
}

/// Brings the world to where the first `count` candidates are lifted, as far as it helps.
fn move_to(world: &mut World, entry: &Entry, list: &[Candidate], taken: &mut Taken, count: usize) {
    while taken.steps.len() > count {
        let Some(step) = taken.steps.pop().flatten() else { continue };
        put_back(world, &step.lifted);
        if let Take::Member(index) = step.take {
            taken.left.insert(step.workload, index.saturating_add(1));
        }
    }
    while let Some(candidate) = list.get(taken.steps.len()).filter(|_| taken.steps.len() < count) {
        let helps =
            candidate.borrowers.iter().all(|(id, own)| borrows(world, *id, *own, Some(&entry.charge)));
        let Candidate { workload, take, .. } = *candidate;
        let which = match take {
            Take::Member(index) => Which::One(index),
            Take::Whole(_) => Which::Below(taken.left.get(&workload).copied().unwrap_or(u32::MAX)),
        };
        let lifted = if helps { lift(world, workload, which) } else { None };
        if let (Take::Member(index), true) = (take, lifted.is_some()) {
            taken.left.insert(workload, index);
        }
        taken.steps.push(lifted.map(|lifted| Step { workload, take, lifted, stays_out: false }));
    }
}
