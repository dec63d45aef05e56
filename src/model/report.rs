//! What the world says of one pool or one workload when it is asked: the numbers behind a status.

use std::sync::Arc;

use super::amount::{Amount, Limit};
use super::asked::Asked;
use super::balance::Recommendation;
use super::batch::Figures;
use super::indexes::IndexSet;
use super::labelled::Labelled;
use super::moves::{How, Stay, Why};
use super::refusal::Refusal;
use super::resources::{Amounts, ResourceId};
use super::spec::{FinishReason, StopReason};
use super::time::Time;

/// One resource of a pool. Amounts in the resource's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolResource {
    /// Which.
    pub resource: ResourceId,
    /// What the ready nodes of the pool offer, or what its root declares.
    pub capacity: Amount,
    /// Of that, what pods of nobody's workloads take.
    pub unmanaged: Amount,
    /// Promised.
    pub reservation: Amount,
    /// Bound, its own or the nearest ancestor's; a root's is at most its capacity.
    pub limit: Limit,
    /// Charged to the subtree.
    pub allocated: Amount,
    /// Of that, what labelled objects of others are charged.
    pub adopted: Amount,
    /// Allocated beyond the reservation.
    pub borrowed: Amount,
    /// Of the reservation that is not allocated, what others use.
    pub lent: Amount,
    /// What nobody uses: of a root's capacity, of a child's reservation.
    pub idle: Amount,
    /// What could be admitted now.
    pub available: Amount,
    /// Asked for by those that wait, in the subtree.
    pub pending: Amount,
    /// Largest free block on one node; none of what no node offers.
    pub largest_free: Option<Amount>,
}

/// More of a resource is promised to the children of a pool than there is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Overcommitted {
    /// Of what.
    pub resource: ResourceId,
    /// Promised to all children together.
    pub promised: Amount,
    /// What there is to give.
    pub there: Amount,
    /// The children that get less than they reserve: name, reserved, and what they get.
    pub short: Vec<(Arc<str>, Amount, Amount)>,
}

/// A pool as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// Nodes that have joined.
    pub nodes_total: u32,
    /// Those that are ready.
    pub nodes_ready: u32,
    /// Those that are cordoned.
    pub nodes_unschedulable: u32,
    /// One entry a resource that the root meters, in the root's order.
    pub resources: Vec<PoolResource>,
    /// By the trend: when resources are used up to their limit.
    pub forecast: Vec<(ResourceId, Time)>,
    /// Who waits longest for room (`namespace/name`), in the subtree, and since when.
    pub longest_pending: Option<(Arc<str>, Time)>,
    /// Workloads that wait, in the subtree.
    pub queued: u32,
    /// Workloads that are admitted, in the subtree.
    pub running: u32,
    /// Workloads that ended well and are still there.
    pub finished: u32,
    /// Workloads that ended badly and are still there.
    pub failed: u32,
    /// Why nothing is admitted here, if that is so: a cycle, a missing parent, an object that cannot be read.
    pub stalled: Option<Arc<str>>,
    /// Reservations that cannot be honoured.
    pub overcommitted: Vec<Overcommitted>,
    /// Other root pools whose selectors also match nodes: name, number of nodes, and whether they have them.
    pub overlapping: Vec<(Arc<str>, u32, bool)>,
    /// Whether children, workloads or members still use it, or nodes bear its taint.
    pub in_use: bool,
    /// Its nodes that are drained; none if there are none.
    pub drain: Option<DrainReport>,
    /// Objects of others that are labelled for it.
    pub labelled: Vec<Labelled>,
    /// Moves that would even out its nodes.
    pub recommendations: Vec<Recommendation>,
    /// What became of the one that somebody asked to carry out.
    pub asked: Option<Asked>,
    /// What came of its last batch, where there was one.
    pub batch: Option<Figures>,
}

/// Where a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadPhase {
    /// Waits since then, for that reason.
    Queued {
        /// Start of this wait.
        since: Time,
        /// Why.
        refusal: Refusal,
    },
    /// Holds its quota and its places.
    Admitted {
        /// Since then.
        at: Time,
        /// With that many members.
        size: u32,
        /// All of them (or as many as must) ran first then.
        started_at: Option<Time>,
    },
    /// Its members are leaving.
    Stopping {
        /// Why.
        reason: StopReason,
        /// On whose behalf (`namespace/name`), where another workload takes the place.
        for_whom: Option<Arc<str>>,
    },
    /// Released by its user.
    Suspended,
    /// Ended.
    Finished {
        /// How.
        reason: FinishReason,
        /// When.
        at: Time,
    },
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// Needs a place and has none.
    Unplaced,
    /// Starts again after a pause.
    BackingOff,
    /// Placed; its pod is being made or starts.
    Starting,
    /// Its pod runs.
    Running,
    /// Its pod is being deleted.
    Terminating,
    /// It is done.
    Succeeded,
    /// It failed for good.
    Failed,
}

/// One member as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// Index.
    pub index: u32,
    /// Attempt, from 0.
    pub attempt: u32,
    /// Node, where it has one.
    pub node: Option<Arc<str>>,
    /// The pod's UID, once known.
    pub pod: Option<Arc<str>>,
    /// What it does.
    pub state: MemberState,
    /// Where it moves to, if it does.
    pub moves: Option<MoveReport>,
    /// Why it stays, if its node is drained or others migrate it.
    pub stays: Option<Stay>,
    /// What `KubeVirt` says that keeps its machine from starting.
    pub trouble: Option<Arc<str>>,
}

/// A move as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveReport {
    /// Name of the node that it goes to.
    pub to: Arc<str>,
    /// Attempt of the pod there.
    pub attempt: u32,
    /// The pod's UID, once known.
    pub pod: Option<Arc<str>>,
    /// How it goes.
    pub how: How,
    /// Why.
    pub why: Why,
    /// On whose behalf (`namespace/name`), where it makes room.
    pub for_whom: Option<Arc<str>>,
    /// When it began.
    pub since: Time,
    /// It was given up, and the pod there is to go.
    pub given_up: bool,
}

/// Nodes that are drained, of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// How many.
    pub nodes: u32,
    /// Members that are still on them.
    pub members: u32,
    /// Of these, those that find no place elsewhere or may not move.
    pub staying: u32,
}

/// A workload as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadReport {
    /// Where it is.
    pub phase: WorkloadPhase,
    /// The pool it is in.
    pub pool: Arc<str>,
    /// Its priority.
    pub priority: i32,
    /// Members wanted: while admitted its size, else `replicas`.
    pub desired: u32,
    /// Charged to the pool at present.
    pub charged: Amounts,
    /// Of the memory that is charged, what is not the guests' of its machines: what `KubeVirt` says of each, else an estimate.
    pub overhead: Amount,
    /// Disks of its machines are there, and are charged though it does not run.
    pub has_disks: bool,
    /// Members by index, the admitted ones (none while queued).
    pub members: Vec<MemberReport>,
    /// Why a member that has no place has none.
    pub member_refusal: Option<Refusal>,
    /// Indexes that succeeded.
    pub succeeded: IndexSet,
    /// Counted failures by index.
    pub failures: Vec<(u32, u32)>,
    /// What the last failure said.
    pub last_failure: Option<Arc<str>>,
    /// Last eviction: why and for whom, and when; kept until it runs again.
    pub evicted: Option<(StopReason, Option<Arc<str>>, Time)>,
    /// Of the head of a queue that is backfilled: when it starts at the latest by declared durations.
    pub due: Option<Time>,
    /// It is such a head, and when it starts is not known: it waits for what declares no duration.
    pub endless: bool,
    /// It is shrinking on behalf of that workload (`namespace/name`).
    pub shrinks_for: Option<Arc<str>>,
    /// What became of the last request to move its members.
    pub asked: Option<Asked>,
    /// Whether it ran at least once in this admission.
    pub ran: bool,
}
