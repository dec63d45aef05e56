//! What becomes of each workload that something happened to: ends, stops, pauses, deadlines.

use std::sync::Arc;

use crate::model::ids::WorkloadId;
use crate::model::refusal::Refusal;
use crate::model::spec::{Completion, FinishReason, MemberRef, StopPolicy, StopReason};
use crate::model::time::{Span, Time};
use crate::model::workloads::{Member, Phase, Slot, Workload};
use crate::model::world::World;

use super::decision::{Decision, DropReason};
use super::gate;
use super::migrate;

/// Looks at every workload that something happened to, or whose time has come, until nothing more follows.
pub fn attend(world: &mut World, now: Time, out: &mut Vec<Decision>) {
    loop {
        while let Some((at, id)) = world.timers.first().copied()
            && at <= now
        {
            world.set_timer(id, None);
            world.attention.insert(id);
        }
        let Some(id) = world.attention.pop_first() else { return };
        step(world, id, now, out);
    }
}

fn step(world: &mut World, id: WorkloadId, now: Time, out: &mut Vec<Decision>) {
    world.conclude_request(id);
    let Some(workload) = world.workload(id) else { return };
    match workload.phase.clone() {
        _ if workload.gone && !workload.has_live_members() => world.forget_workload(id),
        Phase::Queued { since } => queued(world, id, since, now, out),
        Phase::Admitted { at, started } => admitted(world, id, at, started, now, out),
        Phase::Stopping { reason, .. } => stopping(world, id, reason, now, out),
        Phase::Suspended => {
            if !workload.spec.suspend && !workload.spec.deleting {
                if let Some(workload) = world.workload_mut(id) {
                    workload.aged_from = now;
                }
                world.set_phase(id, Phase::Queued { since: now });
                world.attention.insert(id);
            }
        }
        Phase::Finished { at, .. } => finished(world, id, at, now, out),
    }
}

fn queued(world: &mut World, id: WorkloadId, since: Time, now: Time, out: &mut Vec<Decision>) {
    let Some(workload) = world.workload(id) else { return };
    let spec = &workload.spec;
    let deadline = spec.max_wait.map(|span| since + span);
    let all_done = gate::members_wanted(workload).1 == 0 && spec.completion == Completion::RunToCompletion;
    let ended = if all_done {
        Some(FinishReason::Completed)
    } else {
        deadline.filter(|deadline| *deadline <= now).map(|_| FinishReason::MaxWaitExceeded)
    };
    if spec.deleting || workload.gone {
        world.nominate(id, Vec::new());
        world.dequeue(id);
        return;
    }
    if spec.suspend {
        world.nominate(id, Vec::new());
        world.dequeue(id);
        world.set_phase(id, Phase::Suspended);
        return;
    }
    if let Some(reason) = ended {
        world.nominate(id, Vec::new());
        world.dequeue(id);
        finish(world, id, reason, now, out);
        return;
    }
    let retry_at = workload.retry_at.filter(|at| *at > now);
    let pool = workload.pool.and_then(|pool| world.pool(pool));
    let (rank, older) = match pool {
        Some(pool) => (Some(gate::rank(pool, workload, now)), gate::next_age(pool, workload, now)),
        None => (None, None),
    };
    world.set_timer(id, deadline.into_iter().chain(retry_at).chain(older).min());
    if let Some(rank) = rank {
        world.rerank(id, rank);
    }
    let waits_inside = world.workload(id).is_some_and(|workload| {
        workload.place.as_ref().is_some_and(|place| !place.overflow) || !workload.nominated.is_empty()
    });
    if waits_inside {
        return;
    }
    match gate::gate(world, id, now) {
        Ok(mut place) => {
            let full = gate::queue_full(world, &place);
            place.overflow = full.is_some();
            world.enqueue(id, place);
            // Whether it is tried or waits behind others is to be told now.
            world.touch(id);
            refuse(world, id, full.unwrap_or(Refusal::NotTried));
        }
        Err(refusal) => {
            world.dequeue(id);
            refuse(world, id, refusal);
        }
    }
}

/// Says why a workload is not admitted, or why a member of it has no place.
pub fn refuse(world: &mut World, id: WorkloadId, refusal: Refusal) {
    let Some(workload) = world.workload_mut(id) else { return };
    if workload.refusal != refusal {
        workload.refusal = refusal;
        world.touch(id);
    }
}

fn admitted(
    world: &mut World,
    id: WorkloadId,
    at: Time,
    started: Option<Time>,
    now: Time,
    out: &mut Vec<Decision>,
) {
    let started = note_start(world, id, at, started, now);
    let Some(workload) = world.workload(id) else { return };
    let deadline = workload.spec.max_duration.map(|span| started.unwrap_or(at) + span);
    let drained = is_drained(world, workload);
    let refused_at_start = started.is_none() && workload.retry_at.is_some_and(|retry_at| retry_at > now);
    let stop = if workload.gone || workload.spec.deleting {
        Some(StopReason::Deleted)
    } else if is_complete(workload) {
        Some(StopReason::Finished(FinishReason::Completed))
    } else if workload.failed {
        Some(StopReason::Finished(FinishReason::BackoffLimitExceeded))
    } else if deadline.is_some_and(|deadline| deadline <= now) {
        Some(StopReason::Finished(FinishReason::MaxDurationExceeded))
    } else if workload.spec.suspend {
        Some(StopReason::Suspended)
    } else if drained {
        Some(StopReason::Drained)
    } else if refused_at_start {
        Some(StopReason::CreateRefused)
    } else if workload.gang_failed {
        Some(StopReason::GangRestart)
    } else {
        None
    };
    if let Some(reason) = stop {
        stop_workload(world, id, reason, None, now, out);
        return;
    }
    let retry_at = workload.retry_at.filter(|at| *at > now);
    let move_due = migrate::advance(world, id, now, out);
    shed(world, id, out);
    let next_pause = end_pauses(world, id, now);
    let Some(workload) = world.workload(id) else { return };
    let wants_place = (0_u32..)
        .zip(&workload.members)
        .any(|(index, member)| member.wants_place() && !workload.sheds(index));
    if wants_place && retry_at.is_none() {
        world.unplaced.insert(id);
    } else {
        world.unplaced.remove(&id);
    }
    world.set_timer(id, deadline.into_iter().chain(next_pause).chain(retry_at).chain(move_due).min());
}

/// Notes when as many members as were admitted ran for the first time.
fn note_start(world: &mut World, id: WorkloadId, at: Time, started: Option<Time>, now: Time) -> Option<Time> {
    let workload = world.workload(id)?;
    let up = |member: &Member| member.running || member.slot == Slot::Succeeded;
    if started.is_some() || !workload.members.iter().all(up) {
        return started;
    }
    world.set_phase(id, Phase::Admitted { at, started: Some(now) });
    if let Some(workload) = world.workload_mut(id) {
        workload.evicted = None;
        workload.refused_creates = 0;
        workload.refused_with = None;
        workload.retry_at = None;
    }
    Some(now)
}

fn is_complete(workload: &Workload) -> bool {
    let all_there = !workload.spec.dynamic || workload.succeeded.len() >= workload.spec.replicas;
    workload.spec.completion == Completion::RunToCompletion
        && all_there
        && workload.members.iter().all(|member| member.slot == Slot::Succeeded)
}

fn is_drained(world: &World, workload: &Workload) -> bool {
    let Some(pool) = workload.pool.and_then(|pool| world.pool(pool)) else { return false };
    pool.path
        .iter()
        .filter_map(|above| world.pool(*above))
        .any(|above| above.spec.stop == StopPolicy::HoldAndDrain)
}

/// Goes on with members that leave a dynamic workload: late ones are told to, and those that left are forgotten.
fn shed(world: &mut World, id: WorkloadId, out: &mut Vec<Decision>) {
    let Some(workload) = world.workload_mut(id) else { return };
    let Some(to) = workload.shrink_to else { return };
    let uid = Arc::clone(&workload.spec.uid);
    for (index, member) in (0_u32..).zip(&mut workload.members).skip(to as usize) {
        out.extend(tell_to_leave(&uid, index, member));
    }
    world.with_members(id, |world| {
        let Some(workload) = world.workload_mut(id) else { return };
        while workload.members.len() > to as usize
            && let Some(member) = workload.members.pop()
        {
            if matches!(member.slot, Slot::Live | Slot::Assumed(_)) || member.moving.is_some() {
                workload.members.push(member);
                return;
            }
            let index = u32::try_from(workload.members.len()).unwrap_or(u32::MAX);
            remember_attempt(workload, index, &member);
        }
        workload.shrink_to = None;
        workload.shrinks_for = None;
        workload.stubborn = false;
    });
}

/// A member that turned up after its workload, or its part of it, was told to leave.
fn tell_to_leave(workload: &Arc<str>, index: u32, member: &mut Member) -> Option<Decision> {
    if member.slot != Slot::Live || member.terminating || member.told {
        return None;
    }
    let pod = Arc::clone(member.pod.as_ref()?);
    member.told = true;
    let member = MemberRef { workload: Arc::clone(workload), index, attempt: member.attempt };
    Some(Decision::Drop { member, pod, reason: DropReason::Unwanted })
}

/// Remembers from which attempt a member goes on that is forgotten.
fn remember_attempt(workload: &mut Workload, index: u32, member: &Member) {
    let used = matches!(member.slot, Slot::Succeeded | Slot::Failed) || member.used > member.attempt;
    let next = if used { member.next_attempt() } else { member.attempt };
    if next > 0 {
        workload.attempts.insert(index, next);
    }
}

/// Members whose pause is over need a place; when the next pause ends.
fn end_pauses(world: &mut World, id: WorkloadId, now: Time) -> Option<Time> {
    let workload = world.workload(id)?;
    let mut next: Option<Time> = None;
    let mut over = Vec::new();
    for (index, member) in (0_u32..).zip(&workload.members) {
        match member.slot {
            // A place is kept for it, until what is left of it elsewhere is gone.
            Slot::Backoff(_) if member.moving.is_some() => {}
            Slot::Backoff(until) if until <= now => over.push(index),
            Slot::Backoff(until) => next = Some(next.map_or(until, |next| next.min(until))),
            _ => {}
        }
    }
    for index in over {
        world.with_member(id, index, |world| set_slot(world, id, index, Slot::Unplaced));
        if let Some(workload) = world.workload_mut(id) {
            workload.tried_at = None;
        }
    }
    next
}

fn set_slot(world: &mut World, id: WorkloadId, index: u32, slot: Slot) {
    if let Some(member) = world.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
    {
        member.slot = slot;
    }
}

/// Stops all members of an admitted workload.
pub fn stop_workload(
    world: &mut World,
    id: WorkloadId,
    reason: StopReason,
    for_whom: Option<Arc<str>>,
    now: Time,
    out: &mut Vec<Decision>,
) {
    let Some(workload) = world.workload(id) else { return };
    let at = match workload.phase {
        Phase::Admitted { at, .. } | Phase::Stopping { at, .. } => at,
        Phase::Queued { .. } | Phase::Suspended | Phase::Finished { .. } => return,
    };
    let uid = Arc::clone(&workload.spec.uid);
    world.unplaced.remove(&id);
    world.set_timer(id, None);
    world.set_phase(id, Phase::Stopping { reason, for_whom: for_whom.clone(), at });
    world.with_members(id, |world| {
        let Some(workload) = world.workload_mut(id) else { return };
        workload.shrink_to = None;
        for member in &mut workload.members {
            if matches!(member.slot, Slot::Backoff(_)) {
                member.slot = Slot::Unplaced;
            }
            member.told = member.pod.is_some();
        }
        workload.tried_at = None;
    });
    migrate::advance(world, id, now, out);
    let live = world.workload(id).is_some_and(Workload::has_live_members);
    if live {
        out.push(Decision::Stop { workload: uid, reason, for_whom });
    }
    stopping(world, id, reason, now, out);
}

/// A workload whose members are leaving: those that turn up late are told to, and when all have left, it goes
/// on as the reason says.
fn stopping(world: &mut World, id: WorkloadId, reason: StopReason, now: Time, out: &mut Vec<Decision>) {
    let Some(workload) = world.workload_mut(id) else { return };
    if workload.spec.deleting && !workload.gone && reason != StopReason::Deleted {
        // Deleted while it stops: nothing may follow.
        let Phase::Stopping { at, .. } = workload.phase else { return };
        world.set_phase(id, Phase::Stopping { reason: StopReason::Deleted, for_whom: None, at });
        stopping(world, id, StopReason::Deleted, now, out);
        return;
    }
    let uid = Arc::clone(&workload.spec.uid);
    for (index, member) in (0_u32..).zip(&mut workload.members) {
        out.extend(tell_to_leave(&uid, index, member));
    }
    migrate::advance(world, id, now, out);
    let Some(workload) = world.workload(id) else { return };
    if !workload.has_live_members() {
        stopped(world, id, reason, now, out);
    }
}

fn stopped(world: &mut World, id: WorkloadId, reason: StopReason, now: Time, out: &mut Vec<Decision>) {
    if reason == StopReason::GangRestart {
        restart_gang(world, id, now);
        return;
    }
    let for_whom = match world.workload(id).map(|workload| &workload.phase) {
        Some(Phase::Stopping { for_whom, .. }) => for_whom.clone(),
        _ => None,
    };
    release(world, id);
    match reason {
        StopReason::Reclaimed
        | StopReason::Preempted
        | StopReason::SliceEnded
        | StopReason::Overdue
        | StopReason::Drained
        | StopReason::CreateRefused => {
            if let Some(workload) = world.workload_mut(id)
                && reason.evicts()
            {
                workload.evicted = Some((reason, for_whom, now));
                if reason == StopReason::SliceEnded {
                    workload.turn = Some(now);
                }
            }
            world.set_phase(id, Phase::Queued { since: now });
            world.attention.insert(id);
        }
        StopReason::Suspended => {
            world.set_phase(id, Phase::Suspended);
            world.attention.insert(id);
        }
        StopReason::Finished(reason) => finish(world, id, reason, now, out),
        StopReason::Deleted => {
            // A finalizer of somebody else holds the object: it waits for its end without quota.
            world.set_phase(id, Phase::Suspended);
            if world.workload(id).is_some_and(|workload| workload.gone) {
                world.forget_workload(id);
            }
        }
        StopReason::GangRestart => {}
    }
}

/// Lets go of all members, and remembers from which attempt each goes on.
fn release(world: &mut World, id: WorkloadId) {
    world.with_members(id, |world| {
        let Some(workload) = world.workload_mut(id) else { return };
        for (index, member) in (0_u32..).zip(std::mem::take(&mut workload.members)) {
            remember_attempt(workload, index, &member);
        }
        workload.shrink_to = None;
        workload.shrinks_for = None;
        workload.stubborn = false;
        workload.gang_failed = false;
        workload.refusal = Refusal::NotTried;
    });
    world.grow_by_leaving();
}

fn restart_gang(world: &mut World, id: WorkloadId, now: Time) {
    let (first, most) = (world.tuning.backoff, world.tuning.backoff_at_most);
    let Some(workload) = world.workload(id) else { return };
    let Phase::Stopping { at, .. } = workload.phase else { return };
    let failures = workload.failures.values().copied().max().unwrap_or(1).max(1);
    let until = now + first.doubled(failures - 1, most);
    world.with_members(id, |world| {
        let Some(workload) = world.workload_mut(id) else { return };
        workload.gang_failed = false;
        // Members that had ended well begin anew too: a gang computes together.
        workload.succeeded = crate::model::indexes::IndexSet::default();
        for member in &mut workload.members {
            let used = matches!(member.slot, Slot::Succeeded | Slot::Failed) || member.used > member.attempt;
            *member = Member {
                slot: Slot::Backoff(until),
                avoid: std::mem::take(&mut member.avoid),
                ..Member::unplaced(if used { member.next_attempt() } else { member.attempt })
            };
        }
    });
    world.set_phase(id, Phase::Admitted { at, started: None });
    world.attention.insert(id);
}

fn finish(world: &mut World, id: WorkloadId, reason: FinishReason, now: Time, out: &mut Vec<Decision>) {
    world.set_phase(id, Phase::Finished { reason, at: now });
    world.set_timer(id, None);
    if let Some(workload) = world.workload(id) {
        out.push(Decision::Finish { workload: Arc::clone(&workload.spec.uid), reason });
    }
    world.attention.insert(id);
}

/// How long a delete of a finished workload may take before it is asked for again.
const DELETE_AGAIN: Span = Span::minutes(1);

fn finished(world: &mut World, id: WorkloadId, at: Time, now: Time, out: &mut Vec<Decision>) {
    let Some(workload) = world.workload(id) else { return };
    let pool = workload.pool.and_then(|pool| world.pool(pool));
    let ttl = workload.spec.ttl_after_finished.or(pool.and_then(|pool| pool.spec.ttl_after_finished));
    let Some(due) = ttl.map(|ttl| at + ttl) else {
        world.set_timer(id, None);
        return;
    };
    if due <= now && !workload.spec.deleting {
        out.push(Decision::Expire { workload: Arc::clone(&workload.spec.uid) });
        world.set_timer(id, Some(now + DELETE_AGAIN));
    } else {
        world.set_timer(id, Some(due.max(now)).filter(|due| *due > now));
    }
}
