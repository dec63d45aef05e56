//! Nodes that were lost, pods that nobody wants, pods that nobody bound.

use std::sync::Arc;

use crate::model::ids::NodeId;
use crate::model::spec::PodPhase;
use crate::model::time::Time;
use crate::model::world::World;

use super::decision::{Decision, DropReason};

/// Gives up members on nodes that are gone or were not ready for too long; when the next node is due.
pub fn give_up_lost(world: &mut World, now: Time, out: &mut Vec<Decision>) -> Option<Time> {
    let mut next: Option<Time> = None;
    let nodes: Vec<NodeId> = world.not_ready.iter().copied().collect();
    for id in nodes {
        let Some(node) = world.node(id) else {
            world.not_ready.remove(&id);
            continue;
        };
        let Some(due) = node.lost_at(world.tuning.lost_after) else { continue };
        if due > now {
            next = Some(next.map_or(due, |next| next.min(due)));
            continue;
        }
        let pods: Vec<Arc<str>> = node.pods.iter().cloned().collect();
        for uid in pods {
            // A machine on a node that fell silent may still run and write to its disks.
            if !may_be_replaced(world, id, &uid) {
                continue;
            }
            if let Some(member) = world.pod_lost(&uid, now) {
                out.push(Decision::Drop { member, pod: uid, reason: DropReason::NodeLost });
            }
        }
        world.forget_node(id);
    }
    next
}

/// Whether a pod on a lost node is surely not running: of a machine only the taint says so that administrators set on
/// a node that they have switched off. Else what becomes of it is `KubeVirt`'s to tell.
fn may_be_replaced(world: &World, node: NodeId, pod: &Arc<str>) -> bool {
    let is_machine = world.pods.get(pod).is_some_and(|pod| pod.machine.is_some());
    let is_off = |taint: &crate::model::selector::Taint| &*taint.key == OUT_OF_SERVICE;
    !is_machine
        || world
            .node(node)
            .and_then(|node| node.spec.as_ref())
            .is_some_and(|spec| spec.taints.iter().any(is_off))
}

/// The taint of a node that is surely off.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Drops pods of ours that are nobody's member any more, and those that no scheduler bound in time.
pub fn drop_strays(world: &mut World, now: Time, out: &mut Vec<Decision>) -> Option<Time> {
    for uid in std::mem::take(&mut world.strays) {
        let Some(pod) = world.pods.get(&uid).filter(|pod| pod.loads() && !pod.terminating) else { continue };
        let Some(member) = pod.member.clone() else { continue };
        let reason =
            if world.find_member(&member).is_some() { DropReason::Superseded } else { DropReason::Unwanted };
        out.push(Decision::Drop { member, pod: uid, reason });
    }
    for uid in std::mem::take(&mut world.leftovers) {
        let Some(pod) = world.pods.get(&uid).filter(|pod| !pod.terminating) else { continue };
        let Some(member) = pod.member.clone() else { continue };
        let reason = match pod.phase {
            PodPhase::Refused { .. } => DropReason::Refused,
            _ => DropReason::Superseded,
        };
        out.push(Decision::Drop { member, pod: uid, reason });
    }
    while let Some((due, uid)) = world.unbound.first().cloned() {
        if due > now {
            return Some(due);
        }
        world.unbound.pop_first();
        let Some(pod) = world.pods.get(&uid) else { continue };
        let (Some(member), node) = (pod.member.clone(), pod.node) else { continue };
        if let Some((id, index)) = world.find_member(&member)
            && let Some(slot) =
                world.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
        {
            slot.shun(node);
        }
        out.push(Decision::Drop { member, pod: uid, reason: DropReason::Unbound });
    }
    None
}
