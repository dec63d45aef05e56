//! Nodes, the sets of them that pools have, and what is free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::amount::Amount;
use super::ids::{NodeId, NodeSetId, PoolId, WorkloadId};
use super::resources::{Amounts, ResourceId};
use super::selector::Taint;
use super::spec::{HostPort, NodeSpec};
use super::time::{Span, Time};

/// What a node adds to the sets it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Contribution {
    /// What it offers, if it is ready.
    pub capacity: Amounts,
    /// Of that, what pods take that are not members of its root's workloads.
    pub unmanaged: Amounts,
    /// What is free, if it is ready and not cordoned.
    pub free: Amounts,
    /// 1 if it is ready.
    pub ready: u32,
    /// 1 if it is cordoned.
    pub unschedulable: u32,
}

/// A node, or the name of one that pods speak of and that was not seen.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// As it was seen; none while it is not there.
    pub spec: Option<NodeSpec>,
    /// Its taints, save for that of the dedicated pool that has it.
    pub barring: Vec<Taint>,
    /// What it offers.
    pub allocatable: Amounts,
    /// What pods on it request, Terminating ones included, and members that are about to start there.
    pub load: Amounts,
    /// Of that, members of its root's workloads.
    pub member_load: Amounts,
    /// Of the load, what is leaving.
    pub leaving: Amounts,
    /// Kept for workloads whose place was cleared here.
    pub nominated: Amounts,
    /// Ports in use.
    pub ports: Vec<HostPort>,
    /// UIDs of pods on it that have not ended.
    pub pods: BTreeSet<Arc<str>>,
    /// How many pods are on it, also such as have ended, or count no more since the node was lost.
    pub named_by: u32,
    /// Members that are about to start on it.
    pub assumed: BTreeSet<(WorkloadId, u32)>,
    /// Members that live on it, and what they take.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub tenants: BTreeMap<(WorkloadId, u32), Amounts>,
    /// How many of them lose nothing by moving.
    pub light: u32,
    /// The root pool that has it.
    pub root: Option<PoolId>,
    /// Roots that would also have it.
    pub also: Vec<PoolId>,
    /// The sets that it is in.
    pub sets: Vec<NodeSetId>,
    /// What it added to them.
    pub contributed: Contribution,
    /// When it changed last, counted in changes to nodes.
    pub changed_at: u64,
    /// The same of who lives on it or is about to.
    #[cfg_attr(feature = "controller", serde(default))]
    pub lodged_at: u64,
}

impl Node {
    /// A node known by name only.
    pub fn named(name: Arc<str>) -> Self {
        Self {
            name,
            spec: None,
            barring: Vec::new(),
            allocatable: Amounts::new(),
            load: Amounts::new(),
            member_load: Amounts::new(),
            leaving: Amounts::new(),
            nominated: Amounts::new(),
            ports: Vec::new(),
            pods: BTreeSet::new(),
            named_by: 0,
            assumed: BTreeSet::new(),
            tenants: BTreeMap::new(),
            light: 0,
            root: None,
            also: Vec::new(),
            sets: Vec::new(),
            contributed: Contribution::default(),
            changed_at: 0,
            lodged_at: 0,
        }
    }

    /// Whether it is there and ready.
    pub fn is_ready(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.not_ready_since.is_none())
    }

    /// When its pods are given up, if it does not come back before: at once if it is gone.
    pub fn lost_at(&self, lost_after: Span) -> Option<Time> {
        match &self.spec {
            None => Some(Time(i64::MIN)),
            Some(spec) => spec.not_ready_since.map(|since| since + lost_after),
        }
    }

    /// Whether it is ready and not cordoned.
    pub fn is_open(&self) -> bool {
        self.is_ready() && self.spec.as_ref().is_some_and(|spec| !spec.unschedulable)
    }

    /// What may still be placed on it, of one resource.
    pub fn room(&self, resource: ResourceId) -> Amount {
        let load = self.load.get(resource);
        let bound = load.max(load.less(self.leaving.get(resource)) + self.nominated.get(resource));
        self.allocatable.get(resource).less(bound)
    }

    /// What may be placed on it once those that leave have left.
    pub fn room_later(&self, resource: ResourceId) -> Amount {
        self.room_without(resource, Amount::ZERO)
    }

    /// The same once so much more has left.
    pub fn room_without(&self, resource: ResourceId, more: Amount) -> Amount {
        let leaving = self.leaving.get(resource) + more;
        self.allocatable
            .get(resource)
            .less(self.load.get(resource).less(leaving) + self.nominated.get(resource))
    }

    /// Whether nothing speaks of it any more.
    pub fn is_forgotten(&self) -> bool {
        self.spec.is_none() && self.named_by == 0 && self.assumed.is_empty() && self.nominated.is_zero()
    }

    /// What it adds to its sets as it stands.
    pub fn contribution(&self) -> Contribution {
        if !self.is_ready() {
            let unschedulable = u32::from(self.spec.as_ref().is_some_and(|spec| spec.unschedulable));
            return Contribution { unschedulable, ..Contribution::default() };
        }
        let mut unmanaged = self.load.clone();
        unmanaged.take(&self.member_load);
        // Pods of others that ask for more than the node offers do not reduce what other nodes give.
        let unmanaged =
            unmanaged.iter().map(|(r, amount)| (r, amount.min(self.allocatable.get(r)))).collect();
        let free = if self.is_open() {
            self.allocatable.iter().map(|(resource, _)| (resource, self.room(resource))).collect()
        } else {
            Amounts::new()
        };
        Contribution {
            capacity: self.allocatable.clone(),
            unmanaged,
            free,
            ready: 1,
            unschedulable: u32::from(!self.is_open()),
        }
    }
}

/// The nodes of a pool that has a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeSet {
    /// By name.
    pub nodes: Vec<(Arc<str>, NodeId)>,
    /// Sum of what they add.
    pub total: Contribution,
    /// The resources whose use is kept in proportion: those that are metered, cpu and memory at least.
    pub balanced: Vec<ResourceId>,
    /// What no node offers in the tree that it belongs to: never looked for on nodes.
    pub off_nodes: Arc<[ResourceId]>,
}

impl NodeSet {
    /// Replaces what one node adds.
    pub fn update(&mut self, before: &Contribution, after: &Contribution) {
        self.total.capacity.take(&before.capacity);
        self.total.capacity.add(&after.capacity);
        self.total.unmanaged.take(&before.unmanaged);
        self.total.unmanaged.add(&after.unmanaged);
        self.total.free.take(&before.free);
        self.total.free.add(&after.free);
        self.total.ready = self.total.ready - before.ready + after.ready;
        self.total.unschedulable = self.total.unschedulable - before.unschedulable + after.unschedulable;
    }

    /// What the pool has for its workloads: capacity less what is unmanaged.
    pub fn usable(&self, resource: ResourceId) -> Amount {
        self.total.capacity.get(resource).less(self.total.unmanaged.get(resource))
    }
}
