//! What a member is charged and what it loads its node with: the same, but for what no node offers.
//!
//! Claims and bandwidth are derived from the template, and a root may declare the capacity of what only it knows of,
//! such as a licence. These are charged to pools, never looked for on nodes, and not asked for by pods. A pod
//! therefore does not show them: they are charged by the shape of its workload, which stays as it is while the workload is admitted.

use std::borrow::Cow;
use std::sync::Arc;

use super::amount::Amount;
use super::ids::{NodeSetId, PoolId, WorkloadId};
use super::pools::Pool;
use super::resources::{Amounts, ResourceId};
use super::spec::HostPort;
use super::workloads::{Member, Slot, Workload};
use super::world::World;

/// The part of `requests` that nodes must have.
pub fn on_nodes<'a>(requests: &'a Amounts, off_nodes: &[ResourceId]) -> Cow<'a, Amounts> {
    if off_nodes.iter().all(|resource| requests.get(*resource).is_zero()) {
        return Cow::Borrowed(requests);
    }
    let mut rest = requests.clone();
    for resource in off_nodes {
        rest.set(*resource, Amount::ZERO);
    }
    Cow::Owned(rest)
}

impl World {
    /// What a member charges its pool with, by its shape.
    pub(crate) fn requests(&self, workload: &Workload) -> Amounts {
        workload
            .shape
            .and_then(|shape| self.shapes.get(shape))
            .map(|shape| shape.requests.clone())
            .unwrap_or_default()
    }

    /// What a member would add to the charges of its pool if its workload was admitted: disks that are there are charged
    /// already.
    pub(crate) fn asks(&self, workload: &Workload) -> Amounts {
        let mut requests = self.requests(workload);
        if workload.has_all_disks() {
            requests.set(ResourceId::STORAGE, Amount::ZERO);
        }
        requests
    }

    /// The same for one member of an admitted workload.
    pub(crate) fn asks_for(&self, workload: &Workload, index: u32) -> Amounts {
        let mut requests = self.requests(workload);
        if workload.disks.bytes.contains_key(&index) {
            requests.set(ResourceId::STORAGE, Amount::ZERO);
        }
        requests
    }

    /// What a member of an admitted workload is charged while it has a place, beside its disks that are there. `requests`
    /// are those of its workload.
    pub(crate) fn charge_of<'a>(
        workload: &'a Workload,
        index: u32,
        member: &'a Member,
        requests: &'a Amounts,
    ) -> Cow<'a, Amounts> {
        let charge = member.charge.as_deref().unwrap_or(requests);
        if workload.disks.bytes.contains_key(&index) {
            on_nodes(charge, &[ResourceId::STORAGE])
        } else {
            Cow::Borrowed(charge)
        }
    }

    /// What a member loads its node with, by its shape.
    pub(crate) fn loads(&self, workload: &Workload) -> Amounts {
        let requests = self.requests(workload);
        on_nodes(&requests, self.off_nodes(workload.pool)).into_owned()
    }

    /// The ports that a member takes on its node, by its shape.
    pub(crate) fn host_ports(&self, workload: &Workload) -> Vec<HostPort> {
        let shape = workload.shape.and_then(|shape| self.shapes.get(shape));
        shape.map(|shape| shape.spec.host_ports.clone()).unwrap_or_default()
    }

    /// What no node offers, as the tree of a pool has it.
    pub(crate) fn off_nodes(&self, pool: Option<PoolId>) -> &[ResourceId] {
        pool.and_then(|pool| self.pool(pool)).map_or(&ResourceId::DERIVED, |pool| &pool.off_nodes)
    }

    /// What no node offers, as the tree that a set of nodes belongs to has it.
    pub(crate) fn off_nodes_of(&self, set: NodeSetId) -> &[ResourceId] {
        self.sets.get(set.at()).map_or(&ResourceId::DERIVED, |set| &set.off_nodes)
    }

    /// Names of what pods of a pool do not ask for although their templates do: the root declares its capacity.
    pub fn left_out(&self, pool: &str) -> Vec<&str> {
        let pool = self.pool_ids.get(pool).copied();
        self.off_nodes(pool).iter().map(|resource| self.resources.name(*resource)).collect()
    }

    /// What a root has of a resource: what it declares, else what its ready nodes offer.
    pub(crate) fn capacity(&self, root: &Pool, resource: ResourceId) -> Amount {
        let declared = root.capacity.get(&resource).copied();
        let set = root.nodes.and_then(|set| self.sets.get(set.at()));
        declared.unwrap_or_else(|| set.map_or(Amount::ZERO, |set| set.total.capacity.get(resource)))
    }

    /// The charge of a member whose pod requests that much, where it is not what its shape says: what others
    /// changed in the pod counts, and what no node offers counts as the shape has it.
    pub(crate) fn charge_of_pod(&self, workload: &Workload, requested: &Amounts) -> Option<Box<Amounts>> {
        let off_nodes = self.off_nodes(workload.pool);
        let requests = self.requests(workload);
        if *on_nodes(requested, off_nodes) == *on_nodes(&requests, off_nodes) {
            return None;
        }
        let mut charge = on_nodes(requested, off_nodes).into_owned();
        for resource in off_nodes {
            charge.set(*resource, requests.get(*resource));
        }
        Some(Box::new(charge))
    }

    /// Changes what no node offers in the pools of a tree, and keeps charges and loads true.
    pub(crate) fn set_off_nodes(&mut self, pools: &[PoolId], off_nodes: &Arc<[ResourceId]>) {
        let changed: Vec<PoolId> = pools
            .iter()
            .copied()
            .filter(|id| self.pool(*id).is_some_and(|pool| pool.off_nodes != *off_nodes))
            .collect();
        for id in changed {
            let workloads: Vec<WorkloadId> = self
                .workloads
                .iter()
                .filter(|(_, one)| one.pool == Some(id))
                .map(|(at, _)| WorkloadId(at))
                .collect();
            for workload in &workloads {
                self.nominate(*workload, Vec::new());
            }
            self.weigh_all(&workloads, false);
            if let Some(pool) = self.pools.get_mut(id.0) {
                pool.off_nodes = Arc::clone(off_nodes);
            }
            for workload in &workloads {
                self.recharge(*workload);
            }
            self.weigh_all(&workloads, true);
        }
    }

    /// Finds anew what live members are charged by their pods.
    fn recharge(&mut self, id: WorkloadId) {
        let Some(workload) = self.workload(id) else { return };
        let charges: Vec<Option<Box<Amounts>>> = workload
            .members
            .iter()
            .map(|member| {
                let pod = member.pod.as_ref().filter(|_| member.slot == Slot::Live);
                self.charge_of_pod(workload, &self.pods.get(pod?)?.requests)
            })
            .collect();
        let Some(workload) = self.workload_mut(id) else { return };
        for (member, charge) in workload.members.iter_mut().zip(charges) {
            member.charge = charge;
        }
    }
}
