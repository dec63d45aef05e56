//! Pods of virtual machines are made by `KubeVirt`, without a node: they are bound to the one that was chosen. So are those
//! that machines move to while they run.

use std::sync::Arc;

use crate::model::machines::PassageState;
use crate::model::moves::{MemberId, Stage};
use crate::model::nodes::Node;
use crate::model::resources::ResourceId;
use crate::model::spec::MemberRef;
use crate::model::time::{Span, Time};
use crate::model::workloads::{Phase, Slot};
use crate::model::world::World;

use super::decision::{Decision, DropReason, Obstacle};
use super::migrate::way;

/// `KubeVirt` itself lets a machine move for so long, for each GiB of its memory.
const FOR_EACH_GIB: Span = Span::seconds(150);
const GIB: i64 = 1 << 30;

/// Binds the pods that wait for it. One whose node can take it no more is given up: its machine is stopped, and
/// started elsewhere.
pub fn bind(world: &mut World, out: &mut Vec<Decision>) {
    for uid in std::mem::take(&mut world.to_bind) {
        let Some(pod) = world.pods.get(&uid).filter(|pod| !pod.bound && pod.loads() && !pod.terminating)
        else {
            continue;
        };
        let (Some(member), Some(node)) = (pod.member.clone(), pod.node) else { continue };
        let Some((id, index)) = world.find_member(&member) else { continue };
        let Some(workload) = world.workload_mut(id) else { continue };
        let stays = matches!(workload.phase, Phase::Admitted { .. }) && !workload.sheds(index);
        let Some(slot) = workload.members.get_mut(index as usize) else { continue };
        if !stays || slot.slot != Slot::Live || slot.pod.as_ref() != Some(&uid) || slot.told {
            continue;
        }
        if let Some(found) = world.node(node).filter(|node| node.is_ready()) {
            out.push(Decision::Bind { member, pod: uid, node: Arc::clone(&found.name) });
            continue;
        }
        if let Some(slot) =
            world.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
        {
            slot.shun(Some(node));
        }
        out.push(Decision::Drop { member, pod: uid, reason: DropReason::NodeLost });
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
    let memory = slot
        .pod
        .as_ref()
        .and_then(|uid| world.pods.get(uid))
        .map_or(0, |pod| pod.requests.get(ResourceId::MEMORY).units().saturating_add(GIB - 1) / GIB);
    let due = one.since + world.tuning.moved_within + Span(FOR_EACH_GIB.0.saturating_mul(memory));
    let state = world.passage_of(member).filter(|seen| seen.attempt == one.attempt).map(|seen| seen.state);
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
    if state == Some(PassageState::UnderWay { unbound: true }) && !one.told {
        let whose = MemberRef {
            workload: Arc::clone(&world.workload(member.0)?.spec.uid),
            index: member.1,
            attempt: slot.attempt,
        };
        let (pod, node) = (slot.pod.clone()?, Arc::clone(&world.node(to)?.name));
        world.member_mut(member)?.moving.as_deref_mut()?.told = true;
        out.push(Decision::BindTarget { member: whose, pod, node });
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
        world.note_rest(member, failed, now);
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
