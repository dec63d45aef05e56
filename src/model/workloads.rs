//! Workloads and their members, as the world remembers them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::amount::Amount;
use super::asked::Asked;
use super::ids::{NodeId, PeerId, PoolId, ShapeId};
use super::indexes::IndexSet;
use super::moves::{MemberId, Move};
use super::queue::{Class, Rank};
use super::refusal::Refusal;
use super::resources::Amounts;
use super::spec::{FinishReason, StopReason, WorkloadSpec};
use super::time::{Span, Time};

/// Where a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Slot {
    /// Needs a place. Not charged.
    Unplaced,
    /// Starts again at that time. Charged, so that its gang does not lose the place.
    Backoff(Time),
    /// Placed, its pod not seen yet. Charged, and loads the node.
    Assumed(NodeId),
    /// Its pod lives. Charged; the pod loads the node.
    Live,
    /// Done.
    Succeeded,
    /// Failed for good.
    Failed,
}

impl Slot {
    /// Whether the pool is charged for it.
    pub fn charged(&self) -> bool {
        match self {
            Self::Backoff(_) | Self::Assumed(_) | Self::Live => true,
            Self::Unplaced | Self::Succeeded | Self::Failed => false,
        }
    }
}

/// A member of an admitted workload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// Where it is.
    pub slot: Slot,
    /// Attempt, from 0.
    pub attempt: u32,
    /// Highest attempt of a target of its moves.
    pub used: u32,
    /// Its move, while there is one.
    pub moving: Option<Box<Move>>,
    /// UID of its pod, once known.
    pub pod: Option<Arc<str>>,
    /// What its pool is charged, where that differs from the shape (the pod as it was created).
    pub charge: Option<Box<Amounts>>,
    /// Refusals and disappearances in a row: they set the pause, and are not failures.
    pub setbacks: u32,
    /// Nodes that did not keep it, the last ones; others are preferred.
    pub avoid: Vec<NodeId>,
    /// When it was placed last.
    pub placed_at: Time,
    /// Its pod is ready since then.
    pub ready_since: Option<Time>,
    /// Its pod runs.
    pub running: bool,
    /// Its pod is being deleted.
    pub terminating: bool,
    /// Its pod was told to go.
    pub told: bool,
}

/// How many nodes a member remembers that did not keep it.
const MOST_AVOIDED: usize = 32;

impl Member {
    /// Prefers others to this node from now on.
    pub fn shun(&mut self, node: Option<NodeId>) {
        if let Some(node) = node.filter(|node| !self.avoid.contains(node)) {
            if self.avoid.len() >= MOST_AVOIDED {
                self.avoid.remove(0);
            }
            self.avoid.push(node);
        }
    }

    /// The attempt after all that were made.
    pub fn next_attempt(&self) -> u32 {
        self.attempt.max(self.used).saturating_add(1)
    }

    /// Whether it needs a place. One whose move is not over gets its place by that, or afterwards.
    pub fn wants_place(&self) -> bool {
        self.slot == Slot::Unplaced && self.moving.is_none()
    }

    /// One that needs a place.
    pub fn unplaced(attempt: u32) -> Self {
        Self {
            slot: Slot::Unplaced,
            attempt,
            used: 0,
            moving: None,
            pod: None,
            charge: None,
            setbacks: 0,
            avoid: Vec::new(),
            placed_at: Time(0),
            ready_since: None,
            running: false,
            terminating: false,
            told: false,
        }
    }
}

/// Where a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Phase {
    /// Waits.
    Queued {
        /// Since then.
        since: Time,
    },
    /// Holds quota and places.
    Admitted {
        /// Since then.
        at: Time,
        /// When as many members as it was admitted with ran first.
        started: Option<Time>,
    },
    /// Its members are leaving.
    Stopping {
        /// Why.
        reason: StopReason,
        /// On whose behalf.
        for_whom: Option<Arc<str>>,
        /// It was admitted then.
        at: Time,
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

/// Its place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Place {
    /// Whose queue.
    pub pool: PoolId,
    /// Its class there.
    pub class: Class,
    /// Its rank there.
    pub rank: Rank,
    /// How long it says that it will run, where that decides who may pass.
    pub duration: Option<Span>,
    /// Kept out by `maxQueued`.
    pub overflow: bool,
}

/// The disks of the machines of a workload. They outlive its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Disks {
    /// In bytes, by index.
    pub bytes: BTreeMap<u32, Amount>,
    /// What is charged for them: where, how much, and whether of what is not preemptible.
    pub charged: Option<(PoolId, Amounts, bool)>,
}

/// A workload.
#[allow(clippy::struct_excessive_bools, reason = "each is one fact of the object, and they are independent")]
#[derive(Clone, Debug)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Workload {
    /// As it was seen; its record is read at first sight and then dropped.
    pub spec: WorkloadSpec,
    /// The object is gone; it stays here until its members are.
    pub gone: bool,
    /// The pool of that name.
    pub pool: Option<PoolId>,
    /// What a member asks for.
    pub shape: Option<ShapeId>,
    /// As what its members are counted that are about to start, once there were any.
    pub peer: Option<PeerId>,
    /// Where it is.
    pub phase: Phase,
    /// By index; empty unless admitted or stopping.
    pub members: Vec<Member>,
    /// Indexes that succeeded.
    pub succeeded: IndexSet,
    /// Counted failures by index.
    pub failures: BTreeMap<u32, u32>,
    /// Attempts to go on from, by index, from before this admission.
    pub attempts: BTreeMap<u32, u32>,
    /// What the last failure said.
    pub last_failure: Option<Arc<str>>,
    /// A member failed and the gang is to be started again.
    pub gang_failed: bool,
    /// A member failed too often.
    pub failed: bool,
    /// Place in a queue, if it has one.
    pub place: Option<Place>,
    /// Why it is in no queue, or why its member has no place.
    pub refusal: Refusal,
    /// Refused creates in a row.
    pub refused_creates: u32,
    /// Not tried before then.
    pub retry_at: Option<Time>,
    /// The API server's words, and whether the name was taken.
    pub refused_with: Option<(Arc<str>, bool)>,
    /// Nodes that were cleared for it, and its charge on each: one entry a member.
    pub nominated: Vec<NodeId>,
    /// UIDs of those that leave on its behalf.
    pub victims: Vec<Arc<str>>,
    /// Members that move on its behalf.
    pub awaited: Vec<MemberId>,
    /// Since when places are kept for it.
    pub nominated_at: Time,
    /// Its members should have left long ago, and nobody reckons with their leaving any more.
    pub stubborn: bool,
    /// A dynamic workload's members from this index on are leaving.
    pub shrink_to: Option<u32>,
    /// On whose behalf.
    pub shrinks_for: Option<Arc<str>>,
    /// The growth at which it was last tried in vain to let it grow.
    pub grown_at: Option<u64>,
    /// Its age in the queue counts from then.
    pub aged_from: Time,
    /// Its turn in a round-robin queue: when its last slice ended.
    pub turn: Option<Time>,
    /// Last eviction, until it runs again.
    pub evicted: Option<(StopReason, Option<Arc<str>>, Time)>,
    /// What became of the last request to move its members.
    pub asked: Option<Box<Asked>>,
    /// Disks of its machines.
    pub disks: Disks,
    /// The timer that is set for it.
    pub timer: Option<Time>,
    /// The growth at which its unplaced members were last tried in vain.
    pub tried_at: Option<u64>,
}

impl Workload {
    /// `namespace/name`, for people.
    pub fn title(&self) -> Arc<str> {
        Arc::from(format!("{}/{}", self.spec.namespace, self.spec.name))
    }

    /// Whether any member lives, is about to, or waits to start again.
    pub fn has_live_members(&self) -> bool {
        self.members
            .iter()
            .any(|member| matches!(member.slot, Slot::Live | Slot::Assumed(_)) || member.moving.is_some())
    }

    /// The size that it has, or would like to have.
    pub fn size(&self) -> u32 {
        if self.members.is_empty() {
            self.spec.replicas
        } else {
            let size = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
            self.shrink_to.map_or(size, |to| size.min(to))
        }
    }

    /// Whether the disks of all machines that it wants are there.
    pub fn has_all_disks(&self) -> bool {
        !self.disks.bytes.is_empty()
            && (0..self.spec.replicas).all(|index| self.disks.bytes.contains_key(&index))
    }

    /// Whether the member with that index is told to leave although its workload goes on.
    pub fn sheds(&self, index: u32) -> bool {
        self.shrink_to.is_some_and(|to| index >= to)
    }

    /// When it ends, by what it declares, if its run is reckoned from `now` where it does not run yet; none if
    /// it declares nothing or is not admitted.
    pub fn expected_end(&self, now: Time) -> Option<Time> {
        match self.phase {
            Phase::Admitted { started, .. } => Some(started.unwrap_or(now) + self.spec.expected_duration?),
            Phase::Queued { .. } | Phase::Stopping { .. } | Phase::Suspended | Phase::Finished { .. } => None,
        }
    }
}
