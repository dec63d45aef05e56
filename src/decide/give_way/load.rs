//! What members take of nodes, laid on a trial of the world: as what will have left, comes, or is kept.

use crate::model::ids::{NodeId, PeerId};
use crate::model::moves::{MemberId, Stage};
use crate::model::peers::Part;
use crate::model::resources::Amounts;
use crate::model::spec::HostPort;
use crate::model::workloads::Slot;
use crate::model::world::{World, remove_ports};

/// What one member takes of a node.
#[derive(Clone, Debug)]
pub struct Load {
    /// Which node.
    pub node: NodeId,
    /// How much.
    pub requests: Amounts,
    /// Ports on the node.
    pub ports: Vec<HostPort>,
    /// As others see it.
    pub peer: Option<PeerId>,
}

/// What becomes of a load on a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It will have left: there is room once it has.
    Vacates,
    /// It comes, and takes room now.
    Arrives,
    /// Its place is kept.
    Kept,
}

/// What a move will leave that goes on, or the room that it keeps if it was given up.
pub fn left_by(world: &World, member: MemberId) -> Option<Load> {
    let (workload, slot) = world.workload(member.0).zip(world.member(member))?;
    let one = slot.moving.as_deref()?;
    match one.stage {
        Stage::Leaving => None,
        Stage::Assumed | Stage::Queued | Stage::Starting => load_of(world, member),
        Stage::GivenUp => {
            let pod = one.pod.as_ref().and_then(|uid| world.pods.get(uid));
            let Some(pod) = pod else {
                return Some(Load {
                    node: one.to,
                    requests: world.loads(workload),
                    ports: Vec::new(),
                    peer: workload.peer,
                });
            };
            let (requests, ports) = (pod.requests.clone(), pod.ports.clone());
            pod.loads().then_some(Load { node: pod.node?, requests, ports, peer: Some(pod.peer) })
        }
    }
}

/// What the pod of a member takes of its node.
pub fn load_of(world: &World, member: MemberId) -> Option<Load> {
    let slot = world.member(member).filter(|slot| slot.slot == Slot::Live)?;
    let pod = world.pods.get(slot.pod.as_ref()?).filter(|pod| pod.loads())?;
    let (requests, ports) = (pod.requests.clone(), pod.ports.clone());
    Some(Load { node: pod.node?, requests, ports, peer: Some(pod.peer) })
}

/// Lays a load on the world, or takes it off again.
pub fn apply(world: &mut World, load: &Load, fate: Fate, add: bool) {
    let Load { node, requests, ports, peer } = load;
    if let Some(peer) = peer {
        let part = if fate == Fate::Vacates { Part::Leaving } else { Part::All };
        world.peers.shift(*peer, *node, part, add);
    }
    let count = |into: &mut Amounts| if add { into.add(requests) } else { into.take(requests) };
    world.change_node(*node, |node| {
        match fate {
            Fate::Vacates => count(&mut node.leaving),
            Fate::Kept => count(&mut node.nominated),
            Fate::Arrives => {
                count(&mut node.load);
                count(&mut node.member_load);
            }
        }
        if add == (fate == Fate::Vacates) {
            remove_ports(&mut node.ports, ports);
        } else {
            node.ports.extend(ports.iter().cloned());
        }
    });
}
