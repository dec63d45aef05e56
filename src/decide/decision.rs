//! What shall be done, as values; `plan/` turns them into writes.

use std::sync::Arc;

use crate::model::batch::Problem;
use crate::model::moves::Why;
use crate::model::spec::{FinishReason, MemberRef, StopReason};
use crate::model::time::Time;

/// A node for one member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
    /// It was to take the place of another pod of its member, which stays.
    MoveGivenUp,
    /// It asks for labels that its node does not have, and its member is placed again.
    NotSelected,
    /// Its volumes cannot be made for its node, or are not reached from there, and its member is placed again.
    VolumeElsewhere,
}

/// From where to where a member moves, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Way {
    /// Name of the node that it is on.
    pub from: Arc<str>,
    /// Name of the node that it moves to.
    pub to: Arc<str>,
    /// Why.
    pub why: Why,
    /// On whose behalf (`namespace/name`), where it makes room.
    pub for_whom: Option<Arc<str>>,
}

/// Why a move is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Obstacle {
    /// The target was not ready in time.
    NotReady,
    /// The member, or its workload, is told to end.
    Ending,
    /// The target's pod asks for labels that the node does not have, or for volumes that are not reached from there.
    Unfit,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
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
    /// A member begins to move: its next pod is created beside the one that it has.
    Move {
        /// UID of the workload.
        workload: Arc<str>,
        /// Name of the pool that is charged, once for both.
        pool: Arc<str>,
        /// When the workload was admitted.
        admitted_at: Time,
        /// The size it was admitted with.
        size: u32,
        /// The next pod.
        placement: Placement,
        /// From where, and why.
        way: Way,
    },
    /// A member's machine moves to another node while it runs.
    Migrate {
        /// Whose.
        member: MemberRef,
        /// The run.
        pod: Arc<str>,
        /// Which move of it this is, from 0.
        attempt: u32,
        /// From where, and why.
        way: Way,
    },
    /// Bind the pod that a machine moves to.
    BindTarget {
        /// Whose.
        member: MemberRef,
        /// The run.
        pod: Arc<str>,
        /// Name of the node.
        node: Arc<str>,
    },
    /// A machine has moved: its template is to name the node that it is on, so that it is started there again.
    Arrive {
        /// Whose.
        member: MemberRef,
        /// The run.
        pod: Arc<str>,
        /// Name of the node.
        node: Arc<str>,
    },
    /// A member's pod leaves, by the eviction API, because the member moves.
    Leave {
        /// Whose.
        member: MemberRef,
        /// The pod's UID, as a precondition.
        pod: Arc<str>,
        /// From where, to where.
        way: Way,
        /// Its next pod is there and ready already.
        ready: bool,
    },
    /// A move is given up: the pod that it began with stays.
    GiveUpMove {
        /// The next pod's member; of a machine's migration, with its number as the attempt.
        member: MemberRef,
        /// UID of the next pod, or of the migration of a machine, which is deleted; none if it was not seen yet.
        pod: Option<Arc<str>>,
        /// From where, to where.
        way: Way,
        /// Why.
        because: Obstacle,
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

impl Decision {
    /// What it is, in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Admit { .. } => "admit",
            Self::Place { .. } => "place",
            Self::Move { .. } => "move",
            Self::Migrate { .. } => "migrate",
            Self::BindTarget { .. } => "bind_target",
            Self::Arrive { .. } => "arrive",
            Self::Leave { .. } => "leave",
            Self::GiveUpMove { .. } => "give_up_move",
            Self::Stop { .. } => "stop",
            Self::Shrink { .. } => "shrink",
            Self::Bind { .. } => "bind",
            Self::Drop { .. } => "drop",
            Self::Finish { .. } => "finish",
            Self::Expire { .. } => "expire",
        }
    }

    /// UID of the workload that it is about.
    pub fn workload(&self) -> &Arc<str> {
        match self {
            Self::Admit { workload, .. }
            | Self::Place { workload, .. }
            | Self::Move { workload, .. }
            | Self::Stop { workload, .. }
            | Self::Shrink { workload, .. }
            | Self::Finish { workload, .. }
            | Self::Expire { workload } => workload,
            Self::Bind { member, .. }
            | Self::Drop { member, .. }
            | Self::Migrate { member, .. }
            | Self::BindTarget { member, .. }
            | Self::Arrive { member, .. }
            | Self::Leave { member, .. }
            | Self::GiveUpMove { member, .. } => &member.workload,
        }
    }

    /// Whether it must be planned again if it was not carried out whole. Members that were not created come back as
    /// deltas, ends are written as any status is, and a workload that is to be deleted comes up again by itself.
    pub fn is_repeated(&self) -> bool {
        match self {
            Self::Stop { .. }
            | Self::Shrink { .. }
            | Self::Bind { .. }
            | Self::BindTarget { .. }
            | Self::Arrive { .. }
            | Self::Drop { .. }
            | Self::Leave { .. }
            | Self::GiveUpMove { .. } => true,
            Self::Admit { .. }
            | Self::Place { .. }
            | Self::Move { .. }
            | Self::Migrate { .. }
            | Self::Finish { .. }
            | Self::Expire { .. } => false,
        }
    }
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
    /// What is to be solved, and its answers told as deltas.
    pub questions: Vec<Problem>,
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
    /// How often it was reckoned whether room enough could be made at all.
    pub ceilings: u64,
    /// Searches for members to move out of the way.
    pub block_searches: u64,
    /// Searches for workloads to evict.
    pub victim_searches: u64,
}

impl Work {
    /// Adds what another decision took.
    pub fn add(&mut self, other: &Self) {
        let Self { tried, nodes_scanned, nodes_updated, ceilings, block_searches, victim_searches } = other;
        self.tried += tried;
        self.nodes_scanned += nodes_scanned;
        self.nodes_updated += nodes_updated;
        self.ceilings += ceilings;
        self.block_searches += block_searches;
        self.victim_searches += victim_searches;
    }
}
