//! The world: everything that is decided on, kept up to date by deltas and never rebuilt while running.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::amount::Amount;
use super::ids::{NodeId, PoolId, Slab, WorkloadId};
use super::labelled::{Made, Maker};
use super::lookup::Lookup;
use super::moves::{Guest, MemberId, Rest, Stay};
use super::nodes::{Node, NodeSet};
use super::peers::{Moved, Part, Peers};
use super::pods::Pod;
use super::pools::{Harm, Pool, Use};
use super::resources::{Amounts, ResourceId, ResourceTable};
use super::selector::{Labels, NodeTerm};
use super::shapes::Shapes;
use super::spec::{HostPort, MemberRef, WorkloadRecord};
use super::time::{Span, Time};
use super::workloads::{Phase, Workload};

/// Bounds in time that are the operator's and not a pool's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Tuning {
    /// Members on a node that was not ready for that long are placed elsewhere.
    pub lost_after: Span,
    /// Where victims do not leave for that long, others are chosen.
    pub stubborn_after: Span,
    /// A workload that others passed for that long blocks its queue.
    pub passed_at_most: Span,
    /// First pause after a failure or a refusal; it doubles.
    pub backoff: Span,
    /// Longest pause.
    pub backoff_at_most: Span,
    /// A pod left to the default scheduler and not bound after that long is given another node.
    pub unbound_after: Span,
    /// A member that was well for that long starts counting anew.
    pub forgiven_after: Span,
    /// A member that moves is ready on its new node after that long, or stays where it is.
    pub moved_within: Span,
    /// So many members move away at once from a node that is drained.
    pub drained_at_once: usize,
    /// A member that has moved stays for so long before it moves again so that another finds room; it doubles with each
    /// move that failed.
    pub made_room_rest: Span,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            lost_after: Span::minutes(5),
            stubborn_after: Span::minutes(5),
            passed_at_most: Span::minutes(10),
            backoff: Span::seconds(10),
            backoff_at_most: Span::minutes(5),
            unbound_after: Span::seconds(60),
            forgiven_after: Span::minutes(10),
            moved_within: Span::minutes(5),
            drained_at_once: 10,
            made_room_rest: Span::minutes(5),
        }
    }
}

/// What changed since it was last asked, for those who write statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Changed {
    /// Names of pools.
    pub pools: BTreeSet<Arc<str>>,
    /// UIDs of workloads.
    pub workloads: BTreeSet<Arc<str>>,
    /// Names of nodes whose taint is not what it shall be.
    pub nodes: BTreeSet<Arc<str>>,
    /// Objects of others whose label may be heeded now, or no longer.
    pub labels: BTreeSet<Arc<Maker>>,
}

/// Everything that is decided on.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct World {
    /// Bounds in time.
    pub tuning: Tuning,
    pub(crate) resources: ResourceTable,
    pub(crate) namespaces: BTreeMap<Arc<str>, Labels>,
    pub(crate) pools: Slab<Pool>,
    pub(crate) pool_ids: BTreeMap<Arc<str>, PoolId>,
    pub(crate) roots: Vec<PoolId>,
    pub(crate) unlinked: BTreeSet<Arc<str>>,
    pub(crate) nodes: Slab<Node>,
    pub(crate) node_ids: BTreeMap<Arc<str>, NodeId>,
    pub(crate) sets: Vec<NodeSet>,
    pub(crate) not_ready: BTreeSet<NodeId>,
    pub(crate) detained: BTreeSet<NodeId>,
    /// By pool, how many nodes bear its taint.
    pub(crate) tainted: BTreeMap<Arc<str>, u32>,
    pub(crate) shapes: Shapes,
    pub(crate) workloads: Slab<Workload>,
    pub(crate) workload_ids: Lookup<Arc<str>, WorkloadId>,
    pub(crate) by_pool: BTreeMap<Arc<str>, BTreeSet<WorkloadId>>,
    pub(crate) by_namespace: BTreeMap<Arc<str>, BTreeSet<WorkloadId>>,
    pub(crate) pods: Lookup<Arc<str>, Pod>,
    /// What makes pods of others, and which.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub(crate) makers: BTreeMap<Arc<Maker>, Made>,
    /// Those of them that are labelled for a pool, by its name: few, where all that makes pods may be many.
    pub(crate) labelled: BTreeSet<(Arc<str>, Arc<Maker>)>,
    pub(crate) peers: Peers,
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub(crate) moved: Moved,
    pub(crate) claims: BTreeMap<Arc<str>, Arc<[NodeTerm]>>,
    pub(crate) strays: BTreeSet<Arc<str>>,
    pub(crate) leftovers: BTreeSet<Arc<str>>,
    pub(crate) unbound: BTreeSet<(Time, Arc<str>)>,
    /// Whether the cluster has `KubeVirt`.
    pub(crate) kubevirt: bool,
    /// Disks of machines whose workload was not seen yet.
    pub(crate) early_disks: BTreeMap<Arc<str>, BTreeMap<u32, Amount>>,
    /// Runs of machines by workload and index: a machine runs once at a time.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub(crate) runs: BTreeMap<(Arc<str>, u32), BTreeSet<Arc<str>>>,
    /// Runs whose pods want to be bound.
    pub(crate) to_bind: BTreeSet<Arc<str>>,
    /// Runs that have not started and have claims.
    pub(crate) starting: BTreeSet<Arc<str>>,
    /// Runs that are on another node than their machines' templates name.
    pub(crate) astray: BTreeSet<Arc<str>>,
    pub(crate) in_flight: BTreeMap<Arc<str>, Vec<super::delta::InFlight>>,
    pub(crate) records: BTreeMap<WorkloadId, WorkloadRecord>,
    pub(crate) replay: BTreeSet<WorkloadId>,
    pub(crate) settled: bool,
    pub(crate) attention: BTreeSet<WorkloadId>,
    pub(crate) unplaced: BTreeSet<WorkloadId>,
    pub(crate) nominees: BTreeSet<WorkloadId>,
    pub(crate) dynamic: BTreeSet<WorkloadId>,
    /// Admitted workloads whose members lose nothing when they move.
    pub(crate) movers: BTreeSet<WorkloadId>,
    pub(crate) timers: BTreeSet<(Time, WorkloadId)>,
    /// Workloads of which something is asked that was not handled yet.
    pub(crate) requested: BTreeSet<WorkloadId>,
    /// Members that move.
    pub(crate) moving: BTreeSet<MemberId>,
    /// Members that moved, or tried to.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub(crate) rests: BTreeMap<MemberId, Rest>,
    /// Members that others move, and that wait for a node.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub(crate) guests: BTreeMap<MemberId, Guest>,
    /// Members that stay on nodes that are drained: the node, and why.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub(crate) staying: BTreeMap<MemberId, (NodeId, Stay)>,
    /// Nodes that are drained, and the growth at which that was last tried.
    pub(crate) drains: BTreeMap<NodeId, Option<u64>>,
    pub(crate) growth: u64,
    /// Counts what may let something fit in another way than that somebody leaves.
    pub(crate) upheavals: u64,
    /// Nodes on which something changed since classes were last looked at that had been refused.
    pub(crate) stirred: Vec<NodeId>,
    /// The growth at which that was.
    pub(crate) heeded: u64,
    /// How many trials are under way, one in another: what they do is undone.
    pub(crate) trials: u32,
    /// Counts changes to nodes.
    pub(crate) shifts: u64,
    pub(crate) regrant: bool,
    /// Nodes that changed since the last decision began.
    pub(crate) journal: Vec<NodeId>,
    pub(crate) changed_pools: BTreeSet<PoolId>,
    pub(crate) changed: Changed,
    /// When the use of pools was last noted for their trends.
    pub(crate) noted_at: Option<Time>,
}

/// Where more changes to nodes than that have come, it is as if all had changed.
const MOST_STIRRED: usize = 1 << 16;

impl World {
    /// An empty world.
    pub fn new(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// The resource names met so far.
    pub fn resources(&self) -> &ResourceTable {
        &self.resources
    }

    /// Whether the lists of a start are read; nothing is decided before.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// What changed since this was last asked. What one pool uses changes what others of its tree have lent or
    /// may still use, so all pools of a tree are looked at.
    pub fn take_changed(&mut self) -> Changed {
        let mut open = Vec::new();
        for id in std::mem::take(&mut self.changed_pools) {
            let Some(pool) = self.pools.get(id.0) else { continue };
            self.changed.pools.insert(Arc::clone(&pool.spec.name));
            open.extend(pool.root().filter(|root| !open.contains(root)));
        }
        while let Some(pool) = open.pop().and_then(|id| self.pools.get(id.0)) {
            self.changed.pools.insert(Arc::clone(&pool.spec.name));
            open.extend(&pool.children);
        }
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(id.0)
    }

    pub(crate) fn workload(&self, id: WorkloadId) -> Option<&Workload> {
        self.workloads.get(id.0)
    }

    pub(crate) fn workload_mut(&mut self, id: WorkloadId) -> Option<&mut Workload> {
        self.workloads.get_mut(id.0)
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// Marks a workload for its next status.
    pub(crate) fn touch(&mut self, id: WorkloadId) {
        if let Some(workload) = self.workloads.get(id.0) {
            self.changed.workloads.insert(Arc::clone(&workload.spec.uid));
        }
    }

    /// Marks a workload to be looked at by the next decision, and for its next status.
    pub(crate) fn attend(&mut self, id: WorkloadId) {
        self.attention.insert(id);
        self.touch(id);
    }

    /// Something may fit now that did not.
    pub(crate) fn grow(&mut self) {
        self.growth += 1;
        self.upheavals += 1;
    }

    /// The same where all that changed is that somebody left nodes, or uses less.
    pub(crate) fn grow_by_leaving(&mut self) {
        self.growth += 1;
    }

    /// Changes the use of a pool and of all above it.
    pub(crate) fn change_use(&mut self, pool: PoolId, change: impl Fn(&mut Use)) {
        let Some(own) = self.pools.get_mut(pool.0) else { return };
        change(&mut own.own);
        let path = std::mem::take(&mut own.path);
        for above in &path {
            if let Some(above_pool) = self.pools.get_mut(above.0) {
                change(&mut above_pool.all);
                self.changed_pools.insert(*above);
            }
        }
        if let Some(own) = self.pools.get_mut(pool.0) {
            own.path = path;
        }
    }

    /// Changes what is on a node, and with it what its sets have.
    pub(crate) fn change_node(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        change(node);
        self.shifts += 1;
        node.changed_at = self.shifts;
        if self.journal.last() != Some(&id) {
            self.journal.push(id);
        }
        if self.trials == 0 && self.stirred.last() != Some(&id) {
            self.stirred.push(id);
        }
        if self.stirred.len() > MOST_STIRRED {
            self.stirred.clear();
            self.upheavals += 1;
        }
        let after = node.contribution();
        if after == node.contributed {
            return;
        }
        let before = std::mem::replace(&mut node.contributed, after);
        self.regrant |=
            before.capacity != node.contributed.capacity || before.unmanaged != node.contributed.unmanaged;
        for set in &node.sets {
            if let Some(set) = self.sets.get_mut(set.at()) {
                set.update(&before, &node.contributed);
            }
        }
        if let Some(root) = node.root {
            self.changed_pools.insert(root);
        }
    }

    /// Who lives on a node, or is about to, has changed.
    pub(crate) fn note_lodgers(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        self.shifts += 1;
        (node.changed_at, node.lodged_at) = (self.shifts, self.shifts);
        if self.journal.last() != Some(&id) {
            self.journal.push(id);
        }
    }

    /// The id of a node of that name, which may not have been seen yet.
    pub(crate) fn node_named(&mut self, name: &Arc<str>) -> NodeId {
        if let Some(id) = self.node_ids.get(name) {
            return *id;
        }
        let id = NodeId(self.nodes.insert(Node::named(Arc::clone(name))));
        self.node_ids.insert(Arc::clone(name), id);
        if self.settled {
            // Members are placed on nodes that were seen, so one that is not there is gone.
            self.not_ready.insert(id);
        }
        id
    }

    /// Forgets a node that is gone and that nothing speaks of.
    pub(crate) fn forget_node(&mut self, id: NodeId) {
        if self.nodes.get(id.0).is_some_and(Node::is_forgotten)
            && let Some(node) = self.nodes.remove(id.0)
        {
            self.node_ids.remove(&node.name);
            self.not_ready.remove(&id);
        }
    }

    /// The root of the tree that a workload is charged in.
    pub(crate) fn root_of(&self, workload: WorkloadId) -> Option<PoolId> {
        self.pool(self.workload(workload)?.pool?)?.root()
    }

    /// Adds to what the workloads of one namespace use of a pool, or takes from it.
    pub(crate) fn count_namespace(&mut self, id: WorkloadId, pool: PoolId, charge: &Amounts, add: bool) {
        let Some(workload) = self.workloads.get(id.0) else { return };
        let Some(pool) = self.pools.get_mut(pool.0) else { return };
        let used = pool.used_in.entry(Arc::clone(&workload.spec.namespace)).or_default();
        if add {
            used.add(charge);
        } else {
            used.take(charge);
            if used.is_zero() {
                pool.used_in.remove(&workload.spec.namespace);
            }
        }
    }

    /// Adds an admitted workload to those of its pool that may have to give way, or takes it from them.
    pub(crate) fn list_admitted(&mut self, id: WorkloadId, add: bool) {
        let Some(workload) = self.workloads.get(id.0) else { return };
        let (Phase::Admitted { at, .. }, Some(pool)) = (&workload.phase, workload.pool) else { return };
        let (priority, uid) = (workload.spec.priority, Arc::clone(&workload.spec.uid));
        let preemptible = workload.spec.preemptible;
        let harm = Harm { priority, admitted: Reverse(*at), uid, workload: id, preemptible };
        let grows = add && workload.spec.dynamic;
        let loses_nothing = add && workload.spec.loses_nothing_by_moving();
        if let Some(pool) = self.pools.get_mut(pool.0) {
            if add {
                pool.admitted.insert(harm);
            } else {
                pool.admitted.remove(&harm);
            }
        }
        if grows {
            self.dynamic.insert(id);
        } else {
            self.dynamic.remove(&id);
        }
        if loses_nothing {
            self.movers.insert(id);
        } else {
            self.movers.remove(&id);
        }
    }

    /// Whether load of a workload in `pool` on `node` is that of its root's members, and not unmanaged.
    pub(crate) fn counts_as_member(&self, node: NodeId, pool: Option<PoolId>) -> bool {
        let root = pool.and_then(|pool| self.pool(pool)).and_then(Pool::root);
        root.is_some() && self.node(node).is_some_and(|node| node.root == root)
    }

    /// Changes the phase of a workload, and keeps all that is counted by phase true.
    pub(crate) fn set_phase(&mut self, id: WorkloadId, phase: Phase) {
        self.count_phase(id, false);
        self.with_members(id, |world| {
            if let Some(workload) = world.workload_mut(id) {
                workload.phase = phase;
            }
        });
        self.count_phase(id, true);
        if !self.workload(id).is_some_and(|workload| holds_quota(&workload.phase)) {
            self.forget_peer(id);
        }
        self.touch(id);
        self.changed_pools.extend(self.workload(id).and_then(|workload| workload.pool));
    }

    /// Adds a workload to, or takes it from, the numbers of those that run.
    pub(crate) fn count_phase(&mut self, id: WorkloadId, add: bool) {
        self.list_admitted(id, add);
        let Some(workload) = self.workload(id) else { return };
        let (Some(pool), true) = (workload.pool, holds_quota(&workload.phase)) else { return };
        let namespace = Arc::clone(&workload.spec.namespace);
        self.change_use(pool, |sum| {
            let running_in = sum.running_in.entry(Arc::clone(&namespace)).or_default();
            if add {
                sum.running += 1;
                *running_in += 1;
            } else {
                sum.running = sum.running.saturating_sub(1);
                *running_in = running_in.saturating_sub(1);
                if *running_in == 0 {
                    sum.running_in.remove(&namespace);
                }
            }
        });
        if !add {
            self.grow_by_leaving();
        }
    }

    /// Sets or clears the places that are kept for a workload.
    pub(crate) fn nominate(&mut self, id: WorkloadId, places: Vec<NodeId>) {
        let Some(workload) = self.workload(id) else { return };
        let wanted = (self.asks(workload), self.loads(workload));
        let pool = workload.pool;
        let before = workload.nominated.clone();
        let firm = !workload.spec.preemptible;
        self.keep(pool, &wanted, &before, firm, false);
        self.keep(pool, &wanted, &places, firm, true);
        if (!before.is_empty() || !places.is_empty())
            && let Some(peer) = self.peer_of(id)
        {
            // The members that will be there are heeded as if they were, lest others come who keep them off.
            for (node, add) in
                before.iter().map(|node| (node, false)).chain(places.iter().map(|node| (node, true)))
            {
                self.shift_peer(peer, *node, Part::All, add);
            }
        }
        if places.is_empty() {
            self.nominees.remove(&id);
        } else {
            self.nominees.insert(id);
        }
        if let Some(workload) = self.workload_mut(id) {
            workload.nominated = places;
            if workload.nominated.is_empty() {
                workload.victims.clear();
                workload.awaited.clear();
            }
        }
        self.touch(id);
    }

    fn keep(
        &mut self,
        pool: Option<PoolId>,
        (requests, loads): &(Amounts, Amounts),
        places: &[NodeId],
        firm: bool,
        add: bool,
    ) {
        let charge = requests.times(u32::try_from(places.len()).unwrap_or(u32::MAX));
        if let Some(pool) = pool {
            self.change_use(pool, |sum| {
                for kept in [Some(&mut sum.nominated), firm.then_some(&mut sum.firm)].into_iter().flatten() {
                    if add {
                        kept.add(&charge);
                    } else {
                        kept.take(&charge);
                    }
                }
            });
        }
        for node in places {
            self.change_node(*node, |node| {
                if add {
                    node.nominated.add(loads);
                } else {
                    node.nominated.take(loads);
                }
            });
        }
        if !add && !places.is_empty() {
            self.grow_by_leaving();
        }
    }

    /// Sets the time at which a workload is to be looked at again.
    pub(crate) fn set_timer(&mut self, id: WorkloadId, at: Option<Time>) {
        let Some(workload) = self.workloads.get_mut(id.0) else { return };
        if workload.timer == at {
            return;
        }
        if let Some(before) = workload.timer {
            self.timers.remove(&(before, id));
        }
        workload.timer = at;
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    /// The workload and slot that a member is, if it is one of an admitted or stopping workload.
    pub(crate) fn find_member(&self, member: &MemberRef) -> Option<(WorkloadId, u32)> {
        let id = *self.workload_ids.get(&member.workload)?;
        let workload = self.workload(id)?;
        ((member.index as usize) < workload.members.len()).then_some((id, member.index))
    }

    /// What `pool` may use of `resource` at its own level: declared, and for a root what its nodes give.
    pub(crate) fn limit(&self, pool: &Pool, resource: ResourceId) -> super::amount::Limit {
        use super::amount::Limit;
        let declared = pool.declared_limit(resource);
        if pool.parent.is_some() || pool.capacity.contains_key(&resource) {
            return declared;
        }
        let offered = pool
            .nodes
            .and_then(|set| self.sets.get(set.at()))
            .map_or(super::amount::Amount::ZERO, |set| set.usable(resource));
        declared.tighter(Limit::At(offered))
    }
}

/// Whether a workload in this phase holds quota.
pub(crate) fn holds_quota(phase: &Phase) -> bool {
    match phase {
        Phase::Admitted { .. } | Phase::Stopping { .. } => true,
        Phase::Queued { .. } | Phase::Suspended | Phase::Finished { .. } => false,
    }
}

/// Takes each of `gone` once from `ports`.
pub(crate) fn remove_ports(ports: &mut Vec<HostPort>, gone: &[HostPort]) {
    for port in gone {
        if let Some(at) = ports.iter().position(|one| one == port) {
            ports.swap_remove(at);
        }
    }
}
