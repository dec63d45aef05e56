//! Why a workload does not run, as numbers. Words are made of it in `plan/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::amount::Amount;
use super::resources::ResourceId;
use super::spec::{Runtime, StopReason};
use super::time::Time;

/// Why a node does not take a member. Ordered as the filters run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum NodeRejection {
    /// Its Ready condition is not true.
    NotReady,
    /// Cordoned.
    Unschedulable,
    /// A taint is not tolerated.
    Tainted,
    /// `nodeSelector` or required node affinity does not match.
    NotSelected,
    /// The volume of a claim is not reached from it.
    VolumeElsewhere,
    /// A host port is taken.
    PortTaken,
    /// It has too little of a resource left, though it would have enough if it were empty.
    Insufficient(ResourceId),
    /// It has too little of a resource even when it is empty.
    TooSmall(ResourceId),
    /// It lacks the label of a spread constraint.
    TopologyLabelMissing,
    /// A spread constraint would be broken: other domains have too few.
    TopologySpread,
    /// No pod that required affinity wants near is in its domain.
    PodAffinity,
    /// A pod that required anti-affinity wants away is in its domain.
    PodAntiAffinity,
    /// The required anti-affinity of a pod in its domain keeps it off.
    ExistingAntiAffinity,
}

impl NodeRejection {
    /// Whether it can pass when others leave the node.
    pub fn may_pass(self) -> bool {
        match self {
            Self::PortTaken
            | Self::Insufficient(_)
            | Self::TopologySpread
            | Self::PodAntiAffinity
            | Self::ExistingAntiAffinity => true,
            Self::NotReady
            | Self::Unschedulable
            | Self::Tainted
            | Self::NotSelected
            | Self::VolumeElsewhere
            | Self::TooSmall(_)
            | Self::TopologyLabelMissing
            | Self::PodAffinity => false,
        }
    }
}

/// How many nodes there were and why they were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeTally {
    /// Nodes of the pool.
    pub total: u32,
    /// How many were refused, by reason: the first that each node gave.
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    pub rejected: BTreeMap<NodeRejection, u32>,
    /// Members that found a place before one did not.
    pub placed: u32,
    /// Members that had to.
    pub needed: u32,
}

/// One resource that there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Shortage {
    /// Which.
    pub resource: ResourceId,
    /// Asked for by the whole workload (its least size).
    pub requested: Amount,
    /// What bounds it (a limit; for nodes: what they offer).
    pub bound: Amount,
    /// Already in use within the bound.
    pub used: Amount,
    /// Not in use, and kept back by the `lendingLimit` of pools beside.
    pub kept: Amount,
}

/// What bounds what a pool may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Bound {
    /// Its declared limit.
    Limit,
    /// It is a root, and its nodes offer no more.
    Capacity,
    /// It is a root, and it declares to have no more.
    Declared,
    /// Its reservation, since it is not expandable.
    NotExpandable,
    /// Its reservation, since the workload is not preemptible.
    NotPreemptible,
}

/// Why a workload is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// Never looked at yet.
    NotTried,
    /// `spec.pool` names no pool.
    PoolNotFound,
    /// The pool is cyclic, has no parent of that name, or could not be read.
    PoolStalled(Arc<str>),
    /// This pool (its own or an ancestor) is being deleted.
    PoolDeleting(Arc<str>),
    /// This pool (its own or an ancestor) holds admissions.
    PoolHeld(Arc<str>),
    /// The pool's `access.namespaces` does not select the namespace.
    NamespaceNotAllowed,
    /// Outside `access.priority`: least and greatest.
    PriorityNotAllowed(i32, i32),
    /// `access.runtimes` of the pool does not have what its members are.
    RuntimeNotAllowed(Runtime),
    /// Its members are virtual machines, and the cluster has no `KubeVirt`.
    KubeVirtNotInstalled,
    /// The template cannot be used: fields and what to write.
    InvalidTemplate(Arc<str>),
    /// A resource that the pool limits is not requested in the template.
    RequestMissing(ResourceId),
    /// Could not fit into an empty pool: this pool's limit.
    ExceedsLimit {
        /// Whose limit.
        pool: Arc<str>,
        /// The numbers.
        shortage: Shortage,
        /// The limit is `maxResourcesPerWorkload`.
        per_workload: bool,
        /// What the limit is, else.
        bound: Bound,
    },
    /// `maxQueued` of this pool.
    QueueFull {
        /// Whose.
        pool: Arc<str>,
        /// The most that may wait.
        limit: u32,
    },
    /// `maxRunning` or `maxRunningPerNamespace` of this pool.
    TooManyRunning {
        /// Whose.
        pool: Arc<str>,
        /// The most that may run.
        limit: u32,
        /// It is the limit for one namespace.
        per_namespace: bool,
    },
    /// A limit of this pool would be passed.
    WaitingForQuota {
        /// Whose.
        pool: Arc<str>,
        /// What the limit is.
        bound: Bound,
        /// The numbers.
        shortages: Vec<Shortage>,
    },
    /// `admissionRate` of this pool.
    RateLimited {
        /// Whose.
        pool: Arc<str>,
        /// The next may be admitted then.
        next: Time,
    },
    /// By declared durations it would delay the head of a queue that is backfilled.
    WouldDelay {
        /// The head (`namespace/name`).
        head: Arc<str>,
        /// When the head starts at the latest.
        due: Time,
        /// It declares no duration, and so counts as endless.
        endless: bool,
    },
    /// No set of nodes takes its members.
    NoFittingNode(NodeTally),
    /// Enough is free in total, but not where its members would fit.
    Fragmented {
        /// The nodes.
        tally: NodeTally,
        /// What is asked and what is free in total.
        shortages: Vec<Shortage>,
    },
    /// Its place was cleared; it waits for these workloads (`namespace/name`) to leave, and why they do; where no reason
    /// is given, they give members away.
    WaitingForPreempted(Vec<(Arc<str>, Option<StopReason>)>),
    /// A place is made for it: it waits for members to move off these nodes, so many each, of these workloads
    /// (`namespace/name`).
    WaitingForMoves {
        /// How many leave each node, by its name.
        nodes: Vec<(Arc<str>, u32)>,
        /// Whose they are.
        of: Vec<Arc<str>>,
    },
    /// Blocked by this workload (`namespace/name`), which is before it in the queue.
    QueuedBehind(Arc<str>),
    /// The API server refused its members.
    CreateRefused {
        /// Its words.
        message: Arc<str>,
        /// Tried again then.
        retry_at: Time,
        /// A pod of that name is there and is not ours.
        name_taken: bool,
    },
}

impl Refusal {
    /// Which of its kinds it is, whatever its numbers are.
    pub fn kind(&self) -> u8 {
        match self {
            Self::NotTried => 0,
            Self::PoolNotFound => 1,
            Self::PoolStalled(_) => 2,
            Self::PoolDeleting(_) => 3,
            Self::PoolHeld(_) => 4,
            Self::NamespaceNotAllowed => 5,
            Self::PriorityNotAllowed(..) => 6,
            Self::RuntimeNotAllowed(_) => 7,
            Self::KubeVirtNotInstalled => 8,
            Self::InvalidTemplate(_) => 9,
            Self::RequestMissing(_) => 10,
            Self::ExceedsLimit { .. } => 11,
            Self::QueueFull { .. } => 12,
            Self::TooManyRunning { .. } => 13,
            Self::WaitingForQuota { .. } => 14,
            Self::RateLimited { .. } => 15,
            Self::WouldDelay { .. } => 16,
            Self::NoFittingNode(_) => 17,
            Self::Fragmented { .. } => 18,
            Self::WaitingForPreempted(_) => 19,
            Self::WaitingForMoves { .. } => 20,
            Self::QueuedBehind(_) => 21,
            Self::CreateRefused { .. } => 22,
        }
    }

    /// Whether it can never be admitted as things are declared: the workload is stalled.
    pub fn is_impossible(&self) -> bool {
        match self {
            Self::PoolNotFound
            | Self::PoolStalled(_)
            | Self::NamespaceNotAllowed
            | Self::PriorityNotAllowed(..)
            | Self::RuntimeNotAllowed(_)
            | Self::InvalidTemplate(_)
            | Self::RequestMissing(_)
            | Self::ExceedsLimit { .. } => true,
            Self::NotTried
            | Self::KubeVirtNotInstalled
            | Self::PoolDeleting(_)
            | Self::PoolHeld(_)
            | Self::QueueFull { .. }
            | Self::TooManyRunning { .. }
            | Self::RateLimited { .. }
            | Self::WouldDelay { .. }
            | Self::WaitingForQuota { .. }
            | Self::NoFittingNode(_)
            | Self::Fragmented { .. }
            | Self::WaitingForPreempted(_)
            | Self::WaitingForMoves { .. }
            | Self::QueuedBehind(_)
            | Self::CreateRefused { .. } => false,
        }
    }

    /// Whether others' leaving can end it, so that it is right to hold those behind it.
    pub fn waits_for_room(&self) -> bool {
        match self {
            Self::WaitingForQuota { .. }
            | Self::Fragmented { .. }
            | Self::WaitingForPreempted(_)
            | Self::WaitingForMoves { .. } => true,
            Self::NoFittingNode(tally) => tally.rejected.keys().any(|rejection| rejection.may_pass()),
            Self::NotTried
            | Self::PoolNotFound
            | Self::PoolStalled(_)
            | Self::PoolDeleting(_)
            | Self::PoolHeld(_)
            | Self::NamespaceNotAllowed
            | Self::PriorityNotAllowed(..)
            | Self::RuntimeNotAllowed(_)
            | Self::KubeVirtNotInstalled
            | Self::InvalidTemplate(_)
            | Self::RequestMissing(_)
            | Self::ExceedsLimit { .. }
            | Self::QueueFull { .. }
            | Self::TooManyRunning { .. }
            | Self::RateLimited { .. }
            | Self::WouldDelay { .. }
            | Self::QueuedBehind(_)
            | Self::CreateRefused { .. } => false,
        }
    }
}
