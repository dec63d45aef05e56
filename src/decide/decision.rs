//! What shall be done, as values; `plan/` turns them into writes.

use std::sync::Arc;

use crate::model::spec::{FinishReason, MemberRef, StopReason};
use crate::model::time::Time;

/// A node for one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Index of the member.
    pub index: u32,
    /// Attempt, from 0: part of the pod's name from 1 on.
    pub attempt: u32,
    /// Name of the node.
    pub node: Arc<str>,
}

/// Why one pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The kubelet refused it, and its member is placed again.
    Refused,
    /// Its node is gone or was unreachable for too long, and its member is placed again.
    NodeLost,
    /// It was left to the default scheduler and is not bound after a minute.
    Unbound,
    /// An earlier attempt of a member that was started again, or a second pod of one index.
    Superseded,
    /// Its workload does not want it: it is not admitted, or has another size.
    Unwanted,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Give a workload quota in its pool and places for its members.
    Admit {
        /// UID of the workload.
        workload: Arc<str>,
        /// Name of the pool that is charged.
        pool: Arc<str>,
        /// Now.
        at: Time,
        /// Members: its size is their number.
        placements: Vec<Placement>,
    },
    /// Start members of an admitted workload again.
    Place {
        /// UID of the workload.
        workload: Arc<str>,
        /// Name of the pool that is charged.
        pool: Arc<str>,
        /// When the workload was admitted.
        admitted_at: Time,
        /// The size it was admitted with.
        size: u32,
        /// The members.
        placements: Vec<Placement>,
    },
    /// Stop all members of a workload that live. The status that says so is written first.
    Stop {
        /// UID of the workload.
        workload: Arc<str>,
        /// Why.
        reason: StopReason,
        /// On whose behalf (`namespace/name`).
        for_whom: Option<Arc<str>>,
    },
    /// Members of a dynamic workload leave for others' sake. The status that says so is written first.
    Shrink {
        /// UID of the workload.
        workload: Arc<str>,
        /// Members from this index on leave.
        to: u32,
        /// On whose behalf (`namespace/name`).
        for_whom: Option<Arc<str>>,
    },
    /// Bind the pod of a machine that runs to the node that was chosen for it.
    Bind {
        /// Whose.
        member: MemberRef,
        /// The run.
        pod: Arc<str>,
        /// Name of the node.
        node: Arc<str>,
    },
    /// Delete one pod.
    Drop {
        /// Whose.
        member: MemberRef,
        /// The pod's UID, as a precondition.
        pod: Arc<str>,
        /// Why.
        reason: DropReason,
    },
    /// The workload has ended; status says so.
    Finish {
        /// UID of the workload.
        workload: Arc<str>,
        /// How.
        reason: FinishReason,
    },
    /// The workload's time after its end is over: delete it.
    Expire {
        /// UID of the workload.
        workload: Arc<str>,
    },
}

/// All that one cycle decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// In order.
    pub decisions: Vec<Decision>,
    /// When it wants to be called again even if nothing changes.
    pub wake_at: Option<Time>,
    /// What it took, for tests that assert counts.
    pub work: Work,
}

/// Counts of what deciding looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Workloads (one of each class) that were tried.
    pub tried: u64,
    /// Nodes that were looked at to rank or to explain.
    pub nodes_scanned: u64,
    /// Nodes that were ranked anew because they had changed.
    pub nodes_updated: u64,
}
