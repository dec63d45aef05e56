//! What members count for: on their pools, and on nodes. It is taken off before a member changes and put on again
//! afterwards, so that sums stay true.

use super::ids::{NodeId, PeerId, PoolId, WorkloadId};
use super::peers::Part;
use super::resources::Amounts;
use super::spec::HostPort;
use super::workloads::{Phase, Slot};
use super::world::{World, remove_ports};

/// What one member counts for: on its pool and on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Effect {
    pool: Option<PoolId>,
    charge: Amounts,
    /// Its charge is about to be given back.
    leaving: bool,
    /// Its load on its node is.
    vacating: bool,
    assumed: Option<NodeId>,
    live: Option<NodeId>,
    peer: Option<PeerId>,
    load: Amounts,
    ports: Vec<HostPort>,
    /// The target of its move, where no pod shows it yet.
    target: Option<NodeId>,
    target_load: Amounts,
    target_ports: Vec<HostPort>,
}

impl World {
    fn effect(&self, id: WorkloadId, index: u32) -> Effect {
        let Some(workload) = self.workload(id) else { return Effect::default() };
        let Some(member) = workload.members.get(index as usize) else { return Effect::default() };
        let mut effect = Effect::default();
        if let Some(reserved) = self.reserves(member) {
            effect.target = Some(reserved.to);
            effect.target_load = self.loads(workload);
            effect.target_ports = self.host_ports(workload);
        }
        if !member.slot.charged() {
            return effect;
        }
        let requests = self.requests(workload);
        let told = matches!(workload.phase, Phase::Stopping { .. }) || workload.sheds(index);
        let leaves =
            (member.terminating || (told && !workload.stubborn)) && !matches!(member.slot, Slot::Backoff(_));
        let moves_on = member.moving.as_ref().filter(|one| one.goes_on());
        effect.pool = workload.pool;
        effect.charge = Self::charge_of(workload, index, member, &requests).into_owned();
        // The charge of one that moves goes on with its target.
        effect.leaving = leaves && moves_on.is_none();
        effect.vacating = leaves || moves_on.is_some_and(|one| one.vacates());
        match member.slot {
            Slot::Assumed(node) => {
                effect.assumed = Some(node);
                effect.load = self.loads(workload);
                effect.ports = self.host_ports(workload);
            }
            Slot::Live => {
                if let Some(pod) = member.pod.as_ref().and_then(|uid| self.pods.get(uid)) {
                    effect.live = pod.node.filter(|_| pod.loads());
                    effect.peer = Some(pod.peer);
                    effect.load = pod.requests.clone();
                }
            }
            Slot::Unplaced | Slot::Backoff(_) | Slot::Succeeded | Slot::Failed => {}
        }
        effect
    }

    fn shift(&mut self, id: WorkloadId, index: u32, effect: &Effect, add: bool) {
        let count = |into: &mut Amounts, amounts: &Amounts| {
            if add {
                into.add(amounts);
            } else {
                into.take(amounts);
            }
        };
        if let Some(pool) = effect.pool {
            self.count_namespace(id, pool, &effect.charge, add);
            let firm = self.workload(id).is_some_and(|workload| !workload.spec.preemptible);
            self.change_use(pool, |sum| {
                count(&mut sum.used, &effect.charge);
                if firm {
                    count(&mut sum.firm, &effect.charge);
                }
                if effect.leaving {
                    count(&mut sum.leaving, &effect.charge);
                }
            });
        }
        self.shift_as_peer(id, effect, add);
        let placed = [
            effect.assumed.map(|node| (node, &effect.load, &effect.ports, effect.vacating)),
            effect.target.map(|node| (node, &effect.target_load, &effect.target_ports, false)),
        ];
        for (node, load, ports, leaving) in placed.into_iter().flatten() {
            let ours = self.counts_as_member(node, self.workload(id).and_then(|workload| workload.pool));
            self.change_node(node, |node| {
                count(&mut node.load, load);
                if ours {
                    count(&mut node.member_load, load);
                }
                if leaving {
                    count(&mut node.leaving, load);
                }
                if add {
                    node.assumed.insert((id, index));
                    node.ports.extend(ports.iter().cloned());
                } else {
                    node.assumed.remove(&(id, index));
                    remove_ports(&mut node.ports, ports);
                }
            });
            self.note_lodgers(node);
        }
        if let Some(node) = effect.live.filter(|_| effect.vacating) {
            self.change_node(node, |node| count(&mut node.leaving, &effect.load));
        }
        self.lodge(id, index, effect, add);
    }

    /// Lists a member that lives on a node with it, or takes it off.
    fn lodge(&mut self, id: WorkloadId, index: u32, effect: &Effect, add: bool) {
        let light = self.workload(id).is_some_and(|workload| workload.spec.loses_nothing_by_moving());
        let Some(on) = effect.live else { return };
        let Some(node) = self.nodes.get_mut(on.0) else { return };
        if add {
            node.tenants.insert((id, index), effect.load.clone());
            node.light += u32::from(light);
        } else {
            node.tenants.remove(&(id, index));
            node.light = node.light.saturating_sub(u32::from(light));
        }
        self.note_lodgers(on);
    }

    /// A member that is about to start is counted as its pod will be; one that leaves is counted as leaving.
    fn shift_as_peer(&mut self, id: WorkloadId, effect: &Effect, add: bool) {
        if let Some(node) = effect.target
            && let Some(peer) = self.peer_of(id)
        {
            self.shift_peer(peer, node, Part::All, add);
        }
        if let Some(node) = effect.assumed
            && let Some(peer) = self.peer_of(id)
        {
            self.shift_peer(peer, node, Part::All, add);
            if effect.vacating {
                self.shift_peer(peer, node, Part::Leaving, add);
            }
        } else if let (Some(node), Some(peer)) = (effect.live.filter(|_| effect.vacating), effect.peer) {
            self.shift_peer(peer, node, Part::Leaving, add);
        }
    }

    /// Changes the world in a way that touches one member, and keeps its charge and load true.
    pub(crate) fn with_member<T>(
        &mut self,
        id: WorkloadId,
        index: u32,
        change: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.effect(id, index);
        // Loads are taken off while the change runs, since it may move what they are reckoned from.
        self.shift(id, index, &before, false);
        let result = change(self);
        let after = self.effect(id, index);
        self.shift(id, index, &after, true);
        let gave = (before.pool.is_some() && after.pool.is_none())
            || (before.assumed.is_some() && after.assumed.is_none() && after.live.is_none())
            || (before.target.is_some() && !self.moving.contains(&(id, index)));
        if gave {
            self.grow_by_leaving();
        }
        if before != after {
            self.touch(id);
        }
        result
    }

    /// Changes the world in a way that touches all members of a workload.
    pub(crate) fn with_members(&mut self, id: WorkloadId, change: impl FnOnce(&mut Self)) {
        self.weigh_all(&[id], false);
        change(self);
        self.weigh_all(&[id], true);
        self.charge_disks(id);
    }

    /// Adds all that members of some workloads count for, or takes it off.
    pub(crate) fn weigh_all(&mut self, workloads: &[WorkloadId], add: bool) {
        for id in workloads {
            let size = self.workload(*id).map_or(0, |workload| workload.members.len());
            for index in 0..u32::try_from(size).unwrap_or(u32::MAX) {
                let effect = self.effect(*id, index);
                self.shift(*id, index, &effect, add);
            }
        }
    }
}
