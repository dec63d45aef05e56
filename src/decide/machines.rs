//! Pods of virtual machines are made by `KubeVirt`, without a node: they are bound to the one that was chosen.

use std::sync::Arc;

use crate::model::workloads::{Phase, Slot};
use crate::model::world::World;

use super::decision::{Decision, DropReason};

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
