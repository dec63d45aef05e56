//! Pools as a tree, what each is promised, and what its subtree uses.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::amount::{Amount, Limit};
use super::balance::Balance;
use super::batch::Planning;
use super::ids::{NodeSetId, PoolId, WorkloadId};
use super::queue::{Queue, Rank};
use super::report::Overcommitted;
use super::resources::{Amounts, ResourceId};
use super::spec::PoolSpec;
use super::time::Time;
use super::trend::Trend;

/// What is added up along the path from a pool to its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Use {
    /// Charges of members that live, and of those that are about to.
    pub used: Amounts,
    /// Of that, charges of members that are leaving.
    pub leaving: Amounts,
    /// Of what is used or kept, what is not preemptible: it stays within reservations.
    pub firm: Amounts,
    /// Charges of workloads whose place was cleared and who have not taken it yet.
    pub nominated: Amounts,
    /// Workloads that are admitted.
    pub running: u32,
    /// Workloads that wait in a queue.
    pub queued: u32,
    /// Admitted workloads by namespace.
    pub running_in: BTreeMap<Arc<str>, u32>,
}

impl Use {
    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.used.add(&other.used);
        self.leaving.add(&other.leaving);
        self.firm.add(&other.firm);
        self.nominated.add(&other.nominated);
        self.running += other.running;
        self.queued += other.queued;
        for (namespace, count) in &other.running_in {
            *self.running_in.entry(Arc::clone(namespace)).or_default() += count;
        }
    }

    /// What is used once those that leave have left and those nominated have come.
    pub fn later(&self, resource: ResourceId) -> Amount {
        self.used.get(resource).less(self.leaving.get(resource)) + self.nominated.get(resource)
    }

    /// What counts for others: now, and when those that leave have gone and those nominated have come.
    pub fn binding(&self, resource: ResourceId) -> Amount {
        let used = self.used.get(resource);
        used.max(used.less(self.leaving.get(resource)) + self.nominated.get(resource))
    }
}

/// How much harm it does to evict an admitted workload, least first: lowest priority, most recently admitted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Harm {
    /// Its priority.
    pub priority: i32,
    /// When it was admitted.
    pub admitted: Reverse<Time>,
    /// Its UID.
    pub uid: Arc<str>,
    /// The workload.
    pub workload: WorkloadId,
    /// It may be evicted.
    pub preemptible: bool,
}

/// A pool.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Pool {
    /// As it was seen.
    pub spec: PoolSpec,
    /// The parent, where there is one of that name.
    pub parent: Option<PoolId>,
    /// By name.
    pub children: Vec<PoolId>,
    /// From itself to its root.
    pub path: Vec<PoolId>,
    /// Why nothing can be admitted here.
    pub stalled: Option<Arc<str>>,
    /// Its nodes: its own set, or the nearest ancestor's.
    pub nodes: Option<NodeSetId>,
    /// The set is its own: it has a selector.
    pub owns_nodes: bool,
    /// Resources that are metered: those that the root lists, in its order.
    pub metered: Arc<[ResourceId]>,
    /// Declared limits, by resource.
    pub limits: BTreeMap<ResourceId, Limit>,
    /// Of a root: what it declares to have of what no node offers.
    pub capacity: BTreeMap<ResourceId, Amount>,
    /// What no node offers in its tree: what is derived, and what its root declares.
    pub off_nodes: Arc<[ResourceId]>,
    /// How much of an idle reservation others may use, where that is bounded.
    pub lending: BTreeMap<ResourceId, Amount>,
    /// Of a root: whether a pool of its tree bounds what it lends.
    pub bounds_lending: bool,
    /// Declared reservations.
    pub reservation: Amounts,
    /// Reservations as they can be honoured.
    pub granted: Amounts,
    /// Of the granted reservation, what no child is granted: that of its own workloads.
    pub granted_own: Amounts,
    /// Promised to children and more than there is to give.
    pub overcommitted: Vec<Overcommitted>,
    /// Use of its own workloads.
    pub own: Use,
    /// Use of the subtree.
    pub all: Use,
    /// Those that wait and may be tried.
    pub queue: Queue,
    /// Those that `maxQueued` keeps out of the queue.
    pub overflow: BTreeSet<(Rank, WorkloadId)>,
    /// Since when others have been passing this workload, which is first of those that wait for room.
    pub passed: Option<(WorkloadId, Time)>,
    /// The growth of the root at which classes were last unparked.
    pub unparked_at: u64,
    /// When classes are unparked although nothing has grown: a slice ends, a token comes.
    pub look_again_at: Option<Time>,
    /// When moves are looked for again for a class of its queue for which none were found.
    pub rest_over_at: Option<Time>,
    /// Its own admitted workloads, least harm first.
    pub admitted: BTreeSet<Harm>,
    /// Charges of its own workloads by namespace.
    pub used_in: BTreeMap<Arc<str>, Amounts>,
    /// When the bucket of `admissionRate` is full again, in milliseconds times the tokens of a period.
    pub tokens_due: i128,
    /// Under `Backfill`: the head of the queue, and when it starts at the latest by declared durations.
    pub due: Option<(WorkloadId, Time)>,
    /// The head that was promised its start, or of which nobody can tell, at which growth.
    pub promised: Option<(WorkloadId, u64)>,
    /// What its subtree used over the last hours.
    pub trend: Trend,
    /// Most that one workload may ask for.
    pub max_per_workload: Amounts,
    /// How evening out its nodes goes.
    pub balance: Balance,
    /// How its batches stand.
    pub planning: Planning,
}

impl Pool {
    /// A pool as it is when first seen; the tree is linked afterwards.
    pub fn new(spec: PoolSpec) -> Self {
        Self {
            spec,
            parent: None,
            children: Vec::new(),
            path: Vec::new(),
            stalled: None,
            nodes: None,
            owns_nodes: false,
            metered: Arc::from([]),
            limits: BTreeMap::new(),
            capacity: BTreeMap::new(),
            off_nodes: Arc::from(ResourceId::DERIVED),
            lending: BTreeMap::new(),
            bounds_lending: false,
            reservation: Amounts::new(),
            granted: Amounts::new(),
            granted_own: Amounts::new(),
            overcommitted: Vec::new(),
            own: Use::default(),
            all: Use::default(),
            queue: Queue::default(),
            overflow: BTreeSet::new(),
            passed: None,
            unparked_at: 0,
            look_again_at: None,
            rest_over_at: None,
            admitted: BTreeSet::new(),
            used_in: BTreeMap::new(),
            tokens_due: 0,
            due: None,
            promised: None,
            trend: Trend::default(),
            max_per_workload: Amounts::new(),
            balance: Balance::default(),
            planning: Planning::default(),
        }
    }

    /// Its root; itself where it is one or is cut off.
    pub fn root(&self) -> Option<PoolId> {
        self.path.last().copied()
    }

    /// What it may use of a resource by what is declared: its limit, of a root also its declared capacity, or its
    /// reservation if it may not expand.
    pub fn declared_limit(&self, resource: ResourceId) -> Limit {
        let limit = self.limits.get(&resource).copied().unwrap_or_default();
        if self.spec.parent.is_none() {
            return self
                .capacity
                .get(&resource)
                .map_or(limit, |capacity| limit.tighter(Limit::At(*capacity)));
        }
        if self.spec.expandable {
            return limit;
        }
        limit.tighter(Limit::At(self.reservation.get(resource)))
    }

    /// Looks again at what waits at `at`, or before.
    pub fn look_again(&mut self, at: Time) {
        self.look_again_at = Some(self.look_again_at.map_or(at, |before| before.min(at)));
    }

    /// Looks for moves again at `at`, or before.
    pub fn rest_over(&mut self, at: Time) {
        self.rest_over_at = Some(self.rest_over_at.map_or(at, |before| before.min(at)));
    }

    /// What of `charge` would be borrowed at this pool once it was added: (resource, amount beyond reservation).
    pub fn borrowed_with<'a>(
        &'a self,
        charge: &'a Amounts,
        own: bool,
    ) -> impl Iterator<Item = (ResourceId, Amount)> + 'a {
        let (using, granted) = if own { (&self.own, &self.granted_own) } else { (&self.all, &self.granted) };
        self.metered.iter().map(move |resource| {
            let after = using.binding(*resource) + charge.get(*resource);
            (*resource, after.less(granted.get(*resource)))
        })
    }

    /// Whether adding `charge` would pass the reservation of a resource that it asks for.
    pub fn would_borrow(&self, charge: &Amounts, own: bool) -> bool {
        self.borrowed_with(charge, own)
            .any(|(resource, borrowed)| !borrowed.is_zero() && !charge.get(resource).is_zero())
    }
}
