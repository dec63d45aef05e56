//! Nodes join and leave: which root has a node, and in which pools' sets it is.

use std::cmp::Reverse;
use std::sync::Arc;

use super::amount::Amount;
use super::ids::{NodeId, NodeSetId, PoolId};
use super::nodes::{Contribution, NodeSet};
use super::resources::Amounts;
use super::shapes::intern;
use super::spec::NodeSpec;
use super::world::World;

impl World {
    /// A node was seen.
    pub(crate) fn node_seen(&mut self, spec: NodeSpec) {
        let id = self.node_named(&spec.name);
        let allocatable: Amounts = intern(&spec.allocatable, &mut self.resources)
            .iter()
            .map(|(r, a)| (r, a.max(Amount::ZERO)))
            .collect();
        if spec.not_ready_since.is_some() {
            self.not_ready.insert(id);
        } else {
            self.not_ready.remove(&id);
        }
        let Some(node) = self.node(id) else { return };
        let relabelled = node.spec.as_ref().is_none_or(|before| before.labels != spec.labels);
        // Heartbeats and the like change nothing that is decided on.
        if node.spec.as_ref() == Some(&spec) {
            return;
        }
        let drained = spec.drain && spec.unschedulable;
        let tainted_before = node.spec.as_ref().and_then(|before| before.tainted_for.clone());
        self.count_tainted(tainted_before, spec.tainted_for.clone());
        self.change_node(id, |node| {
            node.allocatable = allocatable;
            node.spec = Some(spec);
        });
        self.note_drain(id, drained);
        if relabelled {
            self.rejoin(id);
        } else {
            self.note_taints(id);
        }
        self.node_changed(id);
    }

    /// A node is gone: its pods will not come back.
    pub(crate) fn node_gone(&mut self, name: &Arc<str>) {
        let Some(id) = self.node_ids.get(name).copied() else { return };
        self.note_drain(id, false);
        let before = self.node(id).and_then(|node| node.spec.as_ref()?.tainted_for.clone());
        self.count_tainted(before, None);
        self.node_changed(id);
        self.leave(id);
        self.change_node(id, |node| {
            node.spec = None;
            node.allocatable = Amounts::new();
            node.root = None;
            node.also.clear();
        });
        // Labelled pods of others that are still there take nothing of the pool any more.
        self.recount_members(id);
        // What is still on it is given up by the next decision.
        self.not_ready.insert(id);
        self.forget_node(id);
    }

    fn node_changed(&mut self, id: NodeId) {
        self.grow();
        let Some(node) = self.node(id) else { return };
        let roots: Vec<PoolId> = node.root.iter().chain(&node.also).copied().collect();
        self.changed_pools.extend(roots);
    }

    fn leave(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        let contributed = std::mem::take(&mut node.contributed);
        let name = Arc::clone(&node.name);
        self.regrant |= !node.sets.is_empty();
        for set in std::mem::take(&mut node.sets) {
            let Some(set) = self.sets.get_mut(set.at()) else { continue };
            set.update(&contributed, &Contribution::default());
            if let Ok(at) = set.nodes.binary_search_by(|(one, _)| one.cmp(&name)) {
                set.nodes.remove(at);
            }
        }
    }

    /// Finds the root and the sets of a node anew.
    pub(crate) fn rejoin(&mut self, id: NodeId) {
        self.leave(id);
        let (root, also, detained) = self.choose_root(id);
        if detained {
            self.detained.insert(id);
        } else {
            self.detained.remove(&id);
        }
        let sets = root.map(|root| self.sets_with(root, id)).unwrap_or_default();
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        let before = node.root;
        let moved = before != root;
        if moved || node.also != also {
            self.changed_pools.extend(before.into_iter().chain(root).chain(also.iter().copied()));
            self.changed_pools.extend(node.also.iter().copied());
        }
        node.root = root;
        node.also = also;
        node.sets.clone_from(&sets);
        let name = Arc::clone(&node.name);
        for set in sets {
            if let Some(set) = self.sets.get_mut(set.at())
                && let Err(at) = set.nodes.binary_search_by(|(one, _)| one.cmp(&name))
            {
                set.nodes.insert(at, (Arc::clone(&name), id));
            }
        }
        self.recount_members(id);
        self.note_taints(id);
        self.grow();
    }

    /// Reckons anew which load of a node is of its root's members.
    pub(crate) fn recount_members(&mut self, id: NodeId) {
        let Some(node) = self.node(id) else { return };
        let pods: Vec<Arc<str>> = node.pods.iter().cloned().collect();
        let assumed: Vec<_> = node.assumed.iter().copied().collect();
        let mut ours = Amounts::new();
        for uid in pods {
            let Some(pod) = self.pods.get(&uid) else { continue };
            let counted = self.is_counted(pod, id);
            if counted {
                ours.add(&pod.requests);
            }
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.counted = counted;
            }
        }
        for (workload, _) in assumed {
            let Some(workload) = self.workload(workload) else { continue };
            if self.counts_as_member(id, workload.pool) {
                ours.add(&self.loads(workload));
            }
        }
        self.change_node(id, |node| node.member_load = ours);
        let others = self.node(id).into_iter().flat_map(|node| &node.pods);
        let made: Vec<_> =
            others.filter_map(|uid| Some((Arc::clone(uid), self.pods.get(uid)?.maker.clone()?))).collect();
        // The other pod of a machine that moves may be charged now, or no longer.
        for (uid, maker) in &made {
            self.charge_made_by(uid, Some(maker));
        }
    }

    /// Nodes that only their members kept from joining another root join it once those are gone.
    pub(crate) fn release_detained(&mut self) {
        let free: Vec<NodeId> =
            self.detained.iter().copied().filter(|id| self.occupant(*id).is_none()).collect();
        for id in free {
            self.detained.remove(&id);
            self.rejoin(id);
        }
    }

    /// The root that has a node, those that would have it too, and whether only its members keep it from joining
    /// another.
    ///
    /// Where selectors overlap the root with the higher priority has it, then the older, then the first by name. A node keeps its root while
    /// members of it are there and it still matches; one that matches no more takes nothing new.
    fn choose_root(&self, id: NodeId) -> (Option<PoolId>, Vec<PoolId>, bool) {
        let Some(node) = self.node(id) else { return (None, Vec::new(), false) };
        let Some(spec) = &node.spec else { return (None, Vec::new(), false) };
        let mut matching: Vec<PoolId> = self
            .roots
            .iter()
            .copied()
            .filter(|root| {
                self.pool(*root)
                    .is_some_and(|pool| pool.spec.nodes.as_ref().is_some_and(|by| by.matches(&spec.labels)))
            })
            .collect();
        matching.sort_by_key(|root| {
            self.pool(*root).map(|pool| {
                let spec = &pool.spec;
                (spec.deleting, Reverse(spec.priority), spec.created, Arc::clone(&spec.name))
            })
        });
        let occupant = self.occupant(id);
        let chosen = match occupant {
            Some(occupant) if matching.contains(&occupant) => Some(occupant),
            Some(_) => None,
            None => matching.first().copied(),
        };
        let detained = chosen != matching.first().copied();
        matching.retain(|root| Some(*root) != chosen);
        (chosen, matching, detained)
    }

    /// The root whose members are on a node.
    fn occupant(&self, id: NodeId) -> Option<PoolId> {
        let node = self.node(id)?;
        let by_pods = node.pods.iter().find_map(|uid| {
            let member = self.pods.get(uid)?.member.as_ref()?;
            self.root_of(*self.workload_ids.get(&member.workload)?)
        });
        by_pods.or_else(|| node.assumed.iter().find_map(|(workload, _)| self.root_of(*workload)))
    }

    fn sets_with(&self, root: PoolId, id: NodeId) -> Vec<NodeSetId> {
        let mut sets = Vec::new();
        let Some(labels) = self.node(id).and_then(|node| node.spec.as_ref()).map(|spec| &spec.labels) else {
            return sets;
        };
        let mut open = vec![root];
        while let Some(pool) = open.pop().and_then(|id| self.pool(id)) {
            if pool.owns_nodes {
                if !pool.spec.nodes.as_ref().is_some_and(|by| by.matches(labels)) {
                    continue;
                }
                sets.extend(pool.nodes);
            }
            open.extend(&pool.children);
        }
        sets.sort_unstable();
        sets
    }

    /// Builds all sets anew: pools have changed.
    pub(crate) fn rejoin_all(&mut self, sets: Vec<NodeSet>) {
        let ids: Vec<NodeId> = self.node_ids.values().copied().collect();
        for id in &ids {
            if let Some(node) = self.nodes.get_mut(id.0) {
                node.sets.clear();
                node.contributed = Contribution::default();
            }
        }
        self.sets = sets;
        for id in ids {
            self.rejoin(id);
        }
    }
}
