//! Moves: a member goes to another node while its workload runs, and nodes that are drained give theirs away.
//!
//! Where a workload keeps running, the next pod of a member is created first, and the one that it has is evicted
//! once that is ready. What runs to completion would do its work twice: it is evicted, and started again at the place
//! that is kept for it. Nothing is stopped that has no place elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ids::{NodeId, WorkloadId};
use crate::model::moves::{How, MemberId, Move, Stage, Stay, Why};
use crate::model::refusal::{NodeTally, Refusal};
use crate::model::spec::{Completion, MemberRef, Migration, Runtime};
use crate::model::time::Time;
use crate::model::workloads::{Member, Phase, Slot, Workload};
use crate::model::world::World;

use super::admit::Desk;
use super::company::Company;
use super::decision::{Decision, Obstacle, Placement, Way};
use super::host_model;
use super::machines;
use super::place::{Horizon, Question};

/// How a member of a workload moves.
pub fn how(workload: &Workload, member: &Member) -> How {
    // Two pods on two nodes may not be able to share a claim, and what does not run has nothing to lose. There are no two
    // of a virtual machine.
    let spec = &workload.spec;
    if spec.runtime == Runtime::VirtualMachine && spec.migration == Migration::Live {
        return How::Live;
    }
    let twice = spec.completion == Completion::KeepRunning && !spec.claims && spec.runtime == Runtime::Pod;
    if twice && member.running { How::MakeBeforeBreak } else { How::BreakBeforeMake }
}

/// Whether a member is at rest on a node, so that it could begin to move.
pub fn is_settled(world: &World, (id, index): MemberId) -> bool {
    let Some(workload) = world.workload(id) else { return false };
    let Some(member) = workload.members.get(index as usize) else { return false };
    let stays = matches!(workload.phase, Phase::Admitted { .. })
        && !workload.gone
        && !workload.spec.deleting
        && !workload.spec.suspend
        && !workload.sheds(index);
    // Only machines have passages, and this is asked of everybody.
    let travels = workload.spec.runtime == Runtime::VirtualMachine
        && world.passage_of((id, index)).is_some_and(|seen| seen.is_under_way());
    let rests = member.moving.is_none() && !travels;
    stays && member.slot == Slot::Live && !member.terminating && !member.told && rests
}

/// Begins to move a member to another node, which has room for it.
pub fn begin(world: &mut World, member: MemberId, to: NodeId, why: Why, now: Time, out: &mut Vec<Decision>) {
    let Some(workload) = world.workload(member.0) else { return };
    let (Phase::Admitted { at, .. }, Some(slot)) = (&workload.phase, workload.members.get(member.1 as usize))
    else {
        return;
    };
    let Some(from) = world.node_of_member(slot) else { return };
    let how = how(workload, slot);
    let (uid, pool) = (Arc::clone(&workload.spec.uid), Arc::clone(&workload.spec.pool));
    let attempt = match how {
        How::Live => world.passage_of(member).map_or(0, |seen| seen.attempt.saturating_add(1)),
        How::MakeBeforeBreak | How::BreakBeforeMake => slot.next_attempt(),
    };
    let (admitted_at, size) = (*at, workload.size());
    let (source, pod) = (slot.attempt, slot.pod.clone());
    let Some(way) = way(world, member, from, to, why) else { return };
    let stage = match how {
        How::MakeBeforeBreak | How::Live => Stage::Assumed,
        How::BreakBeforeMake => Stage::Leaving,
    };
    let begun = Move { how, why, from, to, attempt, pod: None, stage, since: now, told: false, slow: false };
    world.begin_move(member, begun);
    world.attention.insert(member.0);
    match how {
        How::MakeBeforeBreak => {
            let placement = Placement { index: member.1, attempt, node: Arc::clone(&way.to) };
            out.push(Decision::Move { workload: uid, pool, admitted_at, size, placement, way });
        }
        How::Live => {
            let Some(pod) = pod else { return };
            let member = MemberRef { workload: uid, index: member.1, attempt: source };
            out.push(Decision::Migrate { member, pod, attempt, way });
        }
        How::BreakBeforeMake => {
            let Some(pod) = pod else { return };
            if let Some(slot) = world.member_mut(member) {
                slot.told = true;
            }
            let member = MemberRef { workload: uid, index: member.1, attempt: source };
            out.push(Decision::Leave { member, pod, way, ready: false });
        }
    }
}

pub(super) fn way(world: &World, member: MemberId, from: NodeId, to: NodeId, why: Why) -> Option<Way> {
    let name = |node| Some(Arc::clone(&world.node(node)?.name));
    let for_whom = if why == Why::MakeRoom { world.waits_for_move(member) } else { None };
    Some(Way { from: name(from).unwrap_or_default(), to: name(to)?, why, for_whom })
}

/// Goes on with the moves of a workload's members; when the next one is given up if it has not ended by then.
pub fn advance(world: &mut World, id: WorkloadId, now: Time, out: &mut Vec<Decision>) -> Option<Time> {
    let mut next: Option<Time> = None;
    for index in world.moving_of(id) {
        let Some(workload) = world.workload(id) else { break };
        let ends = !matches!(workload.phase, Phase::Admitted { .. }) || workload.sheds(index);
        let Some(member) = workload.members.get(index as usize) else { continue };
        let Some(one) = member.moving.as_deref() else { continue };
        let due = one.since + world.tuning.moved_within;
        match (one.stage, one.how) {
            (_, How::Live) => {
                let due = machines::advance(world, (id, index), ends, now, out);
                next = next.into_iter().chain(due).min();
            }
            (Stage::GivenUp, _) => drop_target(world, (id, index), out),
            (_, How::BreakBeforeMake) if ends => {
                world.with_member(id, index, |world| drop(world.end_move((id, index), false, now)));
            }
            (_, How::BreakBeforeMake) => take_place(world, (id, index), now, out),
            (_, How::MakeBeforeBreak) if ends => {
                give_up(world, (id, index), Obstacle::Ending, now, out);
            }
            (Stage::Leaving, How::MakeBeforeBreak) => {}
            (Stage::Assumed | Stage::Queued | Stage::Starting, How::MakeBeforeBreak)
                if world.target_is_ready(one) =>
            {
                finish(world, (id, index), out);
            }
            (Stage::Assumed | Stage::Queued | Stage::Starting, How::MakeBeforeBreak) if due <= now => {
                give_up(world, (id, index), Obstacle::NotReady, now, out);
            }
            (Stage::Assumed | Stage::Queued | Stage::Starting, How::MakeBeforeBreak) => {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
    }
    next
}

/// The target is ready: the source leaves.
fn finish(world: &mut World, member: MemberId, out: &mut Vec<Decision>) {
    let Some(uid) = world.workload(member.0).map(|workload| Arc::clone(&workload.spec.uid)) else { return };
    let leave = world.with_member(member.0, member.1, |world| {
        let slot = world.member_mut(member)?;
        let one = slot.moving.as_deref_mut()?;
        one.stage = Stage::Leaving;
        slot.told = true;
        let (from, to, why) = (one.from, one.to, one.why);
        Some((from, to, why, slot.attempt, slot.pod.clone()?))
    });
    let Some((from, to, why, attempt, pod)) = leave else { return };
    let Some(way) = way(world, member, from, to, why) else { return };
    let member = MemberRef { workload: uid, index: member.1, attempt };
    out.push(Decision::Leave { member, pod, way, ready: true });
}

/// The target goes, and the source stays.
fn give_up(world: &mut World, member: MemberId, because: Obstacle, now: Time, out: &mut Vec<Decision>) {
    let Some(uid) = world.workload(member.0).map(|workload| Arc::clone(&workload.spec.uid)) else { return };
    let given_up = world.with_member(member.0, member.1, |world| {
        let one = world.member_mut(member)?.moving.as_deref_mut()?;
        one.stage = Stage::GivenUp;
        one.told = one.pod.is_some();
        Some(one.clone())
    });
    let Some(one) = given_up else { return };
    world.note_rest(member, (because == Obstacle::NotReady).then_some(one.to), now);
    let Some(way) = way(world, member, one.from, one.to, one.why) else { return };
    let member = MemberRef { workload: uid, index: member.1, attempt: one.attempt };
    out.push(Decision::GiveUpMove { member, pod: one.pod, way, because });
}

/// The target of a move that was given up has turned up: it is told to go.
fn drop_target(world: &mut World, member: MemberId, out: &mut Vec<Decision>) {
    let Some(uid) = world.workload(member.0).map(|workload| Arc::clone(&workload.spec.uid)) else { return };
    let slot = world.member_mut(member);
    let Some(one) = slot.and_then(|slot| slot.moving.as_deref_mut()).filter(|one| !one.told) else { return };
    let Some(pod) = one.pod.clone() else { return };
    one.told = true;
    let member = MemberRef { workload: uid, index: member.1, attempt: one.attempt };
    out.push(Decision::Drop { member, pod, reason: super::decision::DropReason::MoveGivenUp });
}

/// The source is gone: the member takes the place that is kept for it.
fn take_place(world: &mut World, member: MemberId, now: Time, out: &mut Vec<Decision>) {
    let left = world.workload(member.0).zip(world.member(member)).is_some_and(|(workload, slot)| {
        let can_start = workload.spec.runtime == Runtime::Pod || world.has_kubevirt();
        let is_over = can_start && !world.still_runs(&workload.spec.uid, member.1);
        matches!(slot.slot, Slot::Backoff(_)) && is_over
    });
    if !left {
        return;
    }
    let to = world.with_member(member.0, member.1, |world| {
        let to = world.end_move(member, false, now)?.to;
        world.node(to).filter(|node| node.is_open())?;
        let slot = world.member_mut(member)?;
        slot.slot = Slot::Assumed(to);
        slot.placed_at = now;
        Some(to)
    });
    let Some(workload) = world.workload(member.0) else { return };
    let (Some(to), Phase::Admitted { at, .. }, Some(slot)) =
        (to, &workload.phase, workload.members.get(member.1 as usize))
    else {
        return;
    };
    let Some(node) = world.node(to).map(|node| Arc::clone(&node.name)) else { return };
    let placements = vec![Placement { index: member.1, attempt: slot.attempt, node }];
    let (uid, pool) = (Arc::clone(&workload.spec.uid), Arc::clone(&workload.spec.pool));
    let size = workload.size();
    out.push(Decision::Place { workload: uid, pool, admitted_at: *at, size, placements });
}

/// Repeats moves that the ledger held: their targets may not have been created.
pub fn replay(world: &World, id: WorkloadId, out: &mut Vec<Decision>) {
    let Some(workload) = world.workload(id) else { return };
    let Phase::Admitted { at, .. } = workload.phase else { return };
    for index in world.moving_of(id) {
        let one = workload.members.get(index as usize).and_then(|member| member.moving.as_deref());
        let awaited = |one: &&Move| one.stage == Stage::Assumed && one.how == How::MakeBeforeBreak;
        let Some(one) = one.filter(awaited) else { continue };
        let Some(way) = way(world, (id, index), one.from, one.to, one.why) else { continue };
        out.push(Decision::Move {
            workload: Arc::clone(&workload.spec.uid),
            pool: Arc::clone(&workload.spec.pool),
            admitted_at: at,
            size: workload.size(),
            placement: Placement { index, attempt: one.attempt, node: Arc::clone(&way.to) },
            way,
        });
    }
}

/// Moves members away from nodes that are drained, so many at a time; when to look again although nothing changed.
pub fn drain_all(world: &mut World, desk: &mut Desk, now: Time, out: &mut Vec<Decision>) -> Option<Time> {
    let rested = |world: &World| {
        let stays = world.staying.values().filter_map(|(_, stay)| match stay {
            Stay::Failed(until, _) => Some(*until),
            Stay::NoPlace(_)
            | Stay::Never
            | Stay::NotWhileItRuns
            | Stay::MigrationWaits(_)
            | Stay::Refused(_) => None,
        });
        stays.min()
    };
    if rested(world).is_some_and(|until| until <= now) {
        world.drains.values_mut().for_each(|tried_at| *tried_at = None);
    }
    for (node, tried_at) in world.drains.clone() {
        if tried_at != Some(world.growth) {
            drain(world, desk, node, now, out);
            let growth = world.growth;
            world.drains.insert(node, Some(growth));
        }
    }
    rested(world).filter(|until| *until > now)
}

fn drain(world: &mut World, desk: &mut Desk, id: NodeId, now: Time, out: &mut Vec<Decision>) {
    let Some(node) = world.node(id) else { return };
    // By rank: the more urgent first.
    let mut there: BTreeMap<(i64, Time, Arc<str>, u32), MemberId> = BTreeMap::new();
    let mut moving = 0;
    for uid in &node.pods {
        let Some(found) = world.pods.get(uid).and_then(|pod| world.find_member(pod.member.as_ref()?)) else {
            continue;
        };
        let Some((workload, slot)) = world.workload(found.0).zip(world.member(found)) else { continue };
        if slot.pod.as_ref() != Some(uid) {
            continue;
        }
        moving += usize::from(slot.moving.is_some() || slot.told);
        if is_settled(world, found) {
            let spec = &workload.spec;
            let rank = (-i64::from(spec.priority), spec.created, Arc::clone(&spec.uid), found.1);
            there.insert(rank, found);
        }
    }
    let mut refusals: BTreeMap<Question, Refusal> = BTreeMap::new();
    let mut staying: BTreeMap<MemberId, Stay> = BTreeMap::new();
    for member in there.into_values() {
        if moving >= world.tuning.drained_at_once {
            break;
        }
        match place_elsewhere(world, desk, member, id, now, &mut refusals) {
            Ok(to) => {
                begin(world, member, to, Why::Drain, now, out);
                moving += 1;
            }
            Err(stay) => {
                staying.insert(member, stay);
            }
        }
    }
    note_staying(world, id, staying);
}

/// Notes who stays on a node, and why; workloads of which that is news are told of.
fn note_staying(world: &mut World, node: NodeId, staying: BTreeMap<MemberId, Stay>) {
    let before: Vec<MemberId> =
        world.staying.iter().filter(|(_, (on, _))| *on == node).map(|(member, _)| *member).collect();
    for member in before {
        if !staying.contains_key(&member) {
            world.staying.remove(&member);
            world.touch(member.0);
        }
    }
    for (member, stay) in staying {
        let entry = (node, stay);
        if world.staying.get(&member) != Some(&entry) {
            world.staying.insert(member, entry);
            world.touch(member.0);
        }
    }
    world.changed_pools.extend(world.node(node).and_then(|node| node.root));
}

/// The node that a member moves to from one that is drained, or why it stays.
fn place_elsewhere(
    world: &World,
    desk: &mut Desk,
    member: MemberId,
    from: NodeId,
    now: Time,
    refusals: &mut BTreeMap<Question, Refusal>,
) -> Result<NodeId, Stay> {
    let no_node = || Stay::NoPlace(Refusal::NoFittingNode(NodeTally { needed: 1, ..NodeTally::default() }));
    let Some(workload) = world.workload(member.0) else { return Err(no_node()) };
    match workload.spec.migration {
        Migration::Restart => {}
        Migration::Never => return Err(Stay::Never),
        Migration::Live if world.is_live_migratable(member) => {}
        Migration::Live => return Err(Stay::NotWhileItRuns),
    }
    let tuning = &world.tuning;
    let rest = world.rests.get(&member);
    let until = rest.map(|rest| rest.over(tuning.backoff, tuning.backoff_at_most));
    if let Some(until) = until.filter(|until| *until > now) {
        return Err(Stay::Failed(until, rest.and_then(|rest| rest.said.clone())));
    }
    seek(world, desk, member, from).map_err(|sought| {
        let Some((question, company)) = sought else { return no_node() };
        let refusal = refusals
            .entry(question)
            .or_insert_with(|| desk.explain(world, question, 1, &[], company.map(|one| *one)));
        Stay::NoPlace(refusal.clone())
    })
}

/// What was asked of which nodes, in vain; nothing if the pool has none.
type Sought = Option<(Question, Option<Box<Company>>)>;

/// The node that a member finds room on, another than the one that it is on.
fn seek(world: &World, desk: &mut Desk, member: MemberId, from: NodeId) -> Result<NodeId, Sought> {
    let (workload, slot) = world.workload(member.0).zip(world.member(member)).ok_or(None)?;
    let pool = workload.pool.and_then(|pool| world.pool(pool)).ok_or(None)?;
    let (shape, set) = workload.shape.zip(pool.nodes).ok_or(None)?;
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    let question = Question { shape, strategy, set, horizon: Horizon::Now };
    let company = Company::of(world, member.0, question);
    let failed_at = world.rests.get(&member).map(|rest| rest.failed_at.as_slice()).unwrap_or_default();
    let avoid: Vec<NodeId> = slot.avoid.iter().chain(failed_at).copied().collect();
    let lacks = host_model::lacks(world, member, from);
    let but = |id: NodeId| id == from || lacks.as_ref().is_some_and(|lacks| lacks(id));
    if let Some(found) = super::machines::where_its_volumes_are(world, desk, member, question, &but) {
        return found.map_err(|_| Some((question, company.map(Box::new))));
    }
    let place = match &company {
        None => desk.placer.place_elsewhere(world, question, but, &avoid, &mut desk.work),
        Some(company) => {
            let nodes = world.sets.get(set.at()).map(|set| set.nodes.as_slice()).unwrap_or_default();
            let never: Vec<NodeId> = match lacks {
                Some(_) => nodes.iter().map(|(_, id)| *id).filter(|id| but(*id)).collect(),
                None => vec![from],
            };
            let mut beside = |avoid: &[NodeId]| {
                let found = desk.placer.place_beside(world, question, company, 1, avoid, &mut desk.work);
                found.first().copied().filter(|to| !but(*to))
            };
            let all: Vec<NodeId> = avoid.iter().chain(&never).copied().collect();
            beside(&all).or_else(|| if avoid.is_empty() { None } else { beside(&never) })
        }
    };
    place.ok_or_else(|| Some((question, company.map(Box::new))))
}

/// The node that a member finds room on, another than the one that it is on, or why there is none.
pub(super) fn elsewhere(
    world: &World,
    desk: &mut Desk,
    member: MemberId,
    from: NodeId,
) -> Result<NodeId, Refusal> {
    seek(world, desk, member, from).map_err(|sought| match sought {
        Some((question, company)) => desk.explain(world, question, 1, &[], company.map(|one| *one)),
        None => Refusal::NoFittingNode(NodeTally { needed: 1, ..NodeTally::default() }),
    })
}
