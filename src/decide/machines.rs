//! Pods of virtual machines are made by `KubeVirt`, without a node: they are bound to the one that was chosen. So are those
//! that machines move to while they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::ids::NodeId;
use crate::model::machines::{Making, Passage, Starting};
use crate::model::moves::{Guest, How, MemberId, Move, Stage, Why};
use crate::model::nodes::Node;
use crate::model::refusal::{NodeRejection, NodeTally, Refusal};
use crate::model::resources::ResourceId;
use crate::model::spec::MemberRef;
use crate::model::time::{Span, Time};
use crate::model::workloads::{Phase, Slot};
use crate::model::world::World;

use super::admit::Desk;
use super::company::Company;
use super::decision::{Decision, DropReason, Obstacle};
use super::host_model::finds_its_cpu;
use super::migrate::{self, way};
use super::place::{Question, why_not};

/// `KubeVirt` itself lets a machine move for so long, for each GiB of its memory.
const FOR_EACH_GIB: Span = Span::seconds(150);
const GIB: i64 = 1 << 30;
/// `KubeVirt` moves five machines at a time, and two of a node. One that waits for its turn may do so for so many times as
/// long as it may take then; the room at its target is held meanwhile.
const QUEUED_TIMES: i64 = 12;

/// Binds the pods that wait for it. One whose node cannot take it, by what became of the node or by what the pod asks for,
/// is given up: its machine is stopped, and started elsewhere.
pub fn bind(world: &mut World, out: &mut Vec<Decision>) {
    for uid in std::mem::take(&mut world.to_bind) {
        let Some(pod) = world.pods.get(&uid).filter(|pod| pod.loads() && !pod.terminating) else { continue };
        let starting = pod.machine.as_ref().and_then(|run| run.starting.clone());
        let (Some(member), Some(node), bound) = (pod.member.clone(), pod.node, pod.bound) else { continue };
        let Some((id, index)) = world.find_member(&member) else { continue };
        let Some(workload) = world.workload_mut(id) else { continue };
        let stays = matches!(workload.phase, Phase::Admitted { .. }) && !workload.sheds(index);
        let Some(slot) = workload.members.get_mut(index as usize) else { continue };
        if !stays || slot.slot != Slot::Live || slot.pod.as_ref() != Some(&uid) || slot.told {
            continue;
        }
        let reason = match world.node(node).filter(|node| node.is_ready()) {
            Some(found) => match starting.as_ref().and_then(|starting| world.unfit(starting, found, bound)) {
                None => {
                    let unset = starting.is_some_and(|starting| starting.volumes == Making::Unset);
                    if !bound || unset {
                        out.push(Decision::Bind { member, pod: uid, node: Arc::clone(&found.name) });
                    }
                    continue;
                }
                Some(NodeRejection::NotSelected) => DropReason::NotSelected,
                Some(_) => DropReason::VolumeElsewhere,
            },
            // What is bound to a node that falls silent is seen to there.
            None if bound => continue,
            None => DropReason::NodeLost,
        };
        if let Some(slot) =
            world.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
        {
            slot.shun(Some(node));
        }
        out.push(Decision::Drop { member, pod: uid, reason });
    }
}

/// Machines that are on another node than their templates name: `KubeVirt` would start them there again.
pub fn arrive(world: &mut World, out: &mut Vec<Decision>) {
    for uid in std::mem::take(&mut world.astray) {
        let Some(pod) = world.pods.get(&uid).filter(|pod| pod.bound && pod.loads()) else { continue };
        let Some((member, node)) = pod.member.clone().zip(pod.node.and_then(|node| world.node(node))) else {
            continue;
        };
        let node = Arc::clone(&node.name);
        let current = world.find_member(&member).and_then(|id| world.member(id)?.pod.clone());
        if current.as_ref() == Some(&uid) {
            out.push(Decision::Arrive { member, pod: uid, node });
        }
    }
}

/// Gives machines a node that others have begun to move: their pods wait for it.
pub fn welcome(world: &mut World, desk: &mut Desk, now: Time) {
    let growth = world.growth;
    let due = world.guests.iter().filter(|(_, guest)| guest.tried_at != Some(growth));
    for member in due.map(|(member, _)| *member).collect::<Vec<_>>() {
        let seen = world.passage_of(member).filter(|seen| seen.is_under_way() && seen.to.is_empty()).cloned();
        let slot = world.member(member).filter(|slot| slot.moving.is_none());
        let from = slot.and_then(|slot| world.node_of_member(slot));
        let (Some(seen), Some(from)) = (seen, from) else {
            world.forget_guest(member);
            continue;
        };
        match fitting(world, desk, member, from, &seen) {
            Ok(to) => {
                world.forget_guest(member);
                let (how, why, stage) = (How::Live, Why::Others, Stage::Starting);
                let attempt = seen.attempt;
                let one = Move {
                    how,
                    why,
                    from,
                    to,
                    attempt,
                    pod: None,
                    stage,
                    since: now,
                    told: false,
                    slow: false,
                };
                world.begin_move(member, one);
                world.attend(member.0);
            }
            Err(refusal) => {
                let guest = Guest { tried_at: Some(growth), refusal: Some(refusal) };
                if world.guests.insert(member, guest.clone()).is_none_or(|one| one.refusal != guest.refusal) {
                    world.touch(member.0);
                }
            }
        }
    }
}

/// The node that a machine goes to by a migration that others have begun: the best one, unless the migration, or the pod that
/// was made for it, asks for labels that this one does not have.
fn fitting(
    world: &World,
    desk: &mut Desk,
    member: MemberId,
    from: NodeId,
    seen: &Passage,
) -> Result<NodeId, Refusal> {
    let labels = seen.others.as_deref();
    let unfit = |node: &Node| {
        let own = node.spec.as_ref().map(|spec| &spec.labels);
        let has = |(key, value): (&Arc<str>, &Arc<str>)| own.is_some_and(|own| own.get(key) == Some(value));
        if !labels.is_none_or(|labels| labels.iter().all(has)) {
            return Some(NodeRejection::NotSelected);
        }
        seen.target.as_deref().and_then(|target| world.unfit(target, node, false))
    };
    let best = migrate::elsewhere(world, desk, member, from);
    let is_done = match &best {
        Ok(best) => world.node(*best).is_some_and(|node| unfit(node).is_none()),
        Err(_) => labels.is_none_or(BTreeMap::is_empty),
    };
    if is_done {
        return best;
    }
    let no_node = || Refusal::NoFittingNode(NodeTally { needed: 1, ..NodeTally::default() });
    let question = super::rebalance::question(world, member).ok_or_else(no_node)?;
    let unsuited = |id: NodeId, node: &Node| {
        if id == from || !finds_its_cpu(world, member, from, id) {
            return Some(NodeRejection::NotSelected);
        }
        unfit(node)
    };
    first_of(world, desk, member, question, &unsuited)
}

/// The first node that takes a member and that nothing is said against. All are looked at: for where few of them will do.
fn first_of(
    world: &World,
    desk: &mut Desk,
    member: MemberId,
    question: Question,
    unsuited: &dyn Fn(NodeId, &Node) -> Option<NodeRejection>,
) -> Result<NodeId, Refusal> {
    let mut tally = NodeTally { needed: 1, ..NodeTally::default() };
    let Some(set) = world.sets.get(question.set.at()) else { return Err(Refusal::NoFittingNode(tally)) };
    let company = Company::of(world, member.0, question);
    desk.work.nodes_scanned += set.nodes.len() as u64;
    for (_, id) in &set.nodes {
        let Some(node) = world.node(*id).filter(|node| node.spec.is_some()) else { continue };
        tally.total += 1;
        let why = unsuited(*id, node)
            .or_else(|| why_not(world, question, *id))
            .or_else(|| company.as_ref().and_then(|company| company.refuses(*id)));
        let Some(why) = why else { return Ok(*id) };
        *tally.rejected.entry(why).or_default() += 1;
    }
    Err(Refusal::NoFittingNode(tally))
}

/// The node that a member's own volumes lead it to, other than those of `but`; none if they leave it free.
pub(super) fn where_its_volumes_are(
    world: &World,
    desk: &mut Desk,
    member: MemberId,
    question: Question,
    but: &dyn Fn(NodeId) -> bool,
) -> Option<Result<NodeId, Refusal>> {
    let claims = world.own_claims(world.workload(member.0)?, member.1);
    if claims.is_empty() {
        return None;
    }
    let unsuited = |id: NodeId, node: &Node| {
        if but(id) {
            return Some(NodeRejection::NotSelected);
        }
        let reached = claims.iter().all(|claim| world.is_reached(claim, node));
        (!reached).then_some(NodeRejection::VolumeElsewhere)
    };
    Some(first_of(world, desk, member, question, &unsuited))
}

/// Goes on with a migration that others have begun, and that is not Weir's to end.
fn advance_others(world: &mut World, member: MemberId, out: &mut Vec<Decision>) {
    let Some(one) = world.member(member).and_then(|slot| slot.moving.as_deref()).cloned() else { return };
    let waits = world.passage_of(member).is_some_and(|seen| seen.attempt == one.attempt && seen.is_unbound());
    if one.told || !waits {
        return;
    }
    if !world.node(one.to).is_some_and(|node| node.is_ready() && is_fit(world, member, node)) {
        // Another place is looked for.
        world.with_member(member.0, member.1, |world| {
            if let Some(slot) = world.member_mut(member) {
                slot.moving = None;
            }
            world.moving.remove(&member);
        });
        world.guests.insert(member, Guest::default());
        return;
    }
    bind_target(world, member, out);
}

/// Whether the pod that a machine moves to may be on a node by what it asks for.
fn is_fit(world: &World, member: MemberId, node: &Node) -> bool {
    let target: Option<&Starting> = world.passage_of(member).and_then(|seen| seen.target.as_deref());
    target.is_none_or(|target| world.unfit(target, node, false).is_none())
}

/// Binds the pod that a machine moves to.
fn bind_target(world: &mut World, member: MemberId, out: &mut Vec<Decision>) -> Option<()> {
    let slot = world.member(member)?;
    let to = slot.moving.as_deref()?.to;
    let whose = MemberRef {
        workload: Arc::clone(&world.workload(member.0)?.spec.uid),
        index: member.1,
        attempt: slot.attempt,
    };
    let (pod, node) = (slot.pod.clone()?, Arc::clone(&world.node(to)?.name));
    world.member_mut(member)?.moving.as_deref_mut()?.told = true;
    out.push(Decision::BindTarget { member: whose, pod, node });
    Some(())
}

/// Goes on with the move of a machine that runs; when it is given up if it has not ended by then.
pub fn advance(
    world: &mut World,
    member: MemberId,
    ends: bool,
    now: Time,
    out: &mut Vec<Decision>,
) -> Option<Time> {
    let slot = world.member(member)?;
    let one = slot.moving.as_deref()?;
    if one.why == Why::Others {
        advance_others(world, member, out);
        return None;
    }
    let memory = slot
        .pod
        .as_ref()
        .and_then(|uid| world.pods.get(uid))
        .map_or(0, |pod| pod.requests.get(ResourceId::MEMORY).units().saturating_add(GIB - 1) / GIB);
    let within = world
        .tuning
        .moved_within
        .0
        .saturating_add(FOR_EACH_GIB.0.saturating_mul(memory))
        .saturating_mul(if one.stage == Stage::Queued { QUEUED_TIMES } else { 1 });
    let due = one.since + Span(within);
    let passage = world.passage_of(member).filter(|seen| seen.attempt == one.attempt);
    let unbound = passage.is_some_and(|seen| seen.is_unbound());
    let to = one.to;
    if one.stage == Stage::GivenUp {
        tell_to_end(world, member, Obstacle::Ending, out);
        return None;
    }
    let lost = !one.told && !world.node(to).is_some_and(Node::is_ready);
    if ends || lost || due <= now {
        let because = if due <= now { Obstacle::NotReady } else { Obstacle::Ending };
        give_up(world, member, because, !ends, now, out);
        return None;
    }
    if unbound && !one.told {
        if !world.node(to).is_some_and(|node| is_fit(world, member, node)) {
            // KubeVirt asks for more than could be known before: another node is tried.
            give_up(world, member, Obstacle::Unfit, true, now, out);
            return None;
        }
        bind_target(world, member, out);
    }
    Some(due)
}

/// The machine stays where it is. The room that it was to have is kept until its migration has ended.
fn give_up(
    world: &mut World,
    member: MemberId,
    because: Obstacle,
    failed: bool,
    now: Time,
    out: &mut Vec<Decision>,
) {
    let is_seen = world.with_member(member.0, member.1, |world| {
        let one = world.member_mut(member)?.moving.as_deref_mut()?;
        one.told = false;
        let attempt = one.attempt;
        if world.passage_of(member).is_some_and(|seen| seen.attempt == attempt) {
            world.member_mut(member)?.moving.as_deref_mut()?.stage = Stage::GivenUp;
            return Some(());
        }
        drop(world.end_move(member, failed, now));
        None
    });
    if is_seen.is_some() {
        let to = world.member(member).and_then(|slot| slot.moving.as_deref()).map(|one| one.to);
        world.note_rest(member, to.filter(|_| failed), now);
        tell_to_end(world, member, because, out);
    }
}

fn tell_to_end(world: &mut World, member: MemberId, because: Obstacle, out: &mut Vec<Decision>) {
    let Some(uid) = world.workload(member.0).map(|workload| Arc::clone(&workload.spec.uid)) else { return };
    let pod = world.passage_of(member).map(|seen| Arc::clone(&seen.uid));
    let slot = world.member_mut(member);
    let Some(one) = slot.and_then(|slot| slot.moving.as_deref_mut()).filter(|one| !one.told) else { return };
    one.told = true;
    let (from, to, why, attempt) = (one.from, one.to, one.why, one.attempt);
    let Some(way) = way(world, member, from, to, why) else { return };
    let member = MemberRef { workload: uid, index: member.1, attempt };
    out.push(Decision::GiveUpMove { member, pod, way, because });
}
