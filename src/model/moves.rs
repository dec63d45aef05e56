//! Moves: a member on its way to another node, with the pod that it has (the source) and the one that it will
//! have (the target).
//!
//! Until the source is gone it is the member's pod, and the pair is charged once; both load their nodes. Of two
//! live pods of one index the one of the earlier attempt is the source, so that a restart finds out which is
//! which by looking at them.

use std::sync::Arc;

use super::ids::{NodeId, PoolId, WorkloadId};
use super::refusal::Refusal;
use super::spec::{MemberRef, PodPhase};
use super::time::{Span, Time};
use super::workloads::{Member, Slot, Workload};
use super::world::World;

/// Whether members are moved to other nodes while their workload runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Migration {
    /// They are, by starting them again elsewhere.
    #[default]
    Restart,
    /// They are without being stopped, or not at all: virtual machines only.
    Live,
    /// They are not.
    Never,
}

/// How a member gets to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum How {
    /// Its next pod starts there, and the one that it has leaves once that is ready.
    MakeBeforeBreak,
    /// The pod that it has leaves, and its next one starts there once that is gone.
    BreakBeforeMake,
    /// It is a virtual machine, and goes on running: `KubeVirt` moves it. There is no other pod of the member.
    Live,
}

/// Why a member moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Why {
    /// Its node is drained.
    Drain,
    /// Its pool's nodes are used unevenly.
    Rebalance,
    /// Another workload waits for the room that it takes where it is.
    MakeRoom,
    /// Somebody has asked for it.
    Asked,
    /// Others have begun it: `KubeVirt` moves a machine for them.
    Others,
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Stage {
    /// The target was not seen yet. It loads its node nevertheless.
    Assumed,
    /// `KubeVirt` has it in its queue: no time counts until it begins.
    Queued,
    /// The target is there.
    Starting,
    /// The source was told to leave.
    Leaving,
    /// The target is to go, and the source stays.
    GivenUp,
}

/// A move of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Move {
    /// How.
    pub how: How,
    /// Why.
    pub why: Why,
    /// Where the source is.
    pub from: NodeId,
    /// Where the target is or will be.
    pub to: NodeId,
    /// The target's attempt; of one that goes on running, which move it is.
    pub attempt: u32,
    /// UID of the target's pod, once known.
    pub pod: Option<Arc<str>>,
    /// How far it has come.
    pub stage: Stage,
    /// When it began; of one that was queued, when that was over.
    pub since: Time,
    /// The target was told to go. Of one that goes on running: its pod was bound, or it was told to end.
    pub told: bool,
    /// What it moves from does not let it go in time: nobody reckons with that room any more.
    pub slow: bool,
}

impl Move {
    /// Whether it is meant to come to its end.
    pub fn goes_on(&self) -> bool {
        self.stage != Stage::GivenUp
    }

    /// Whether the room of its source is about to be free.
    pub fn vacates(&self) -> bool {
        self.stage == Stage::Leaving && !self.slow
    }
}

/// A member that moved, or tried to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Rest {
    /// When its last move ended.
    pub at: Time,
    /// Moves in a row that failed.
    pub failures: u32,
    /// What was said against the last one, where it was refused.
    pub said: Option<Arc<str>>,
    /// Nodes that those in a row that failed were to, the latest last: others are preferred.
    #[cfg_attr(feature = "controller", serde(default))]
    pub failed_at: Vec<NodeId>,
}

/// So many nodes are kept at which moves of a member failed.
const MOST_FAILED_AT: usize = 8;

/// A member that others move, and that waits for a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Guest {
    /// The growth at which no node took it.
    pub tried_at: Option<u64>,
    /// Why none did.
    pub refusal: Option<Refusal>,
}

impl Rest {
    /// When it may move again, after a pause that doubles with each failure.
    pub fn over(&self, first: Span, most: Span) -> Time {
        if self.failures == 0 { self.at } else { self.at + first.doubled(self.failures - 1, most) }
    }
}

/// Why a member stays on a node that is drained.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Stay {
    /// No other node takes it.
    NoPlace(Refusal),
    /// Its workload says `migration: Never`.
    Never,
    /// It is a virtual machine that may not be stopped, and that cannot be moved while it runs.
    NotWhileItRuns,
    /// A move failed, and it is tried again then; what was said against it, where it was refused.
    Failed(Time, Option<Arc<str>>),
    /// Others have begun to migrate it, and no other node takes it.
    MigrationWaits(Refusal),
    /// Its node is not drained; its last migration was refused, in these words.
    Refused(Arc<str>),
}

/// Which member of which workload.
pub type MemberId = (WorkloadId, u32);

impl World {
    /// The members of a workload that move.
    pub(crate) fn moving_of(&self, id: WorkloadId) -> Vec<u32> {
        self.moving.range((id, 0)..=(id, u32::MAX)).map(|(_, index)| *index).collect()
    }

    pub(crate) fn member(&self, (id, index): MemberId) -> Option<&Member> {
        self.workload(id)?.members.get(index as usize)
    }

    pub(crate) fn member_mut(&mut self, (id, index): MemberId) -> Option<&mut Member> {
        self.workload_mut(id)?.members.get_mut(index as usize)
    }

    /// The node that a member's pod is on.
    pub(crate) fn node_of_member(&self, member: &Member) -> Option<NodeId> {
        match member.slot {
            Slot::Assumed(node) => Some(node),
            Slot::Live => self.pods.get(member.pod.as_ref()?)?.node,
            Slot::Unplaced | Slot::Backoff(_) | Slot::Succeeded | Slot::Failed => None,
        }
    }

    /// Whether the target of a move is reckoned on its node by the move alone: its pod was not seen.
    pub(crate) fn reserves<'a>(&self, member: &'a Member) -> Option<&'a Move> {
        let seen = |uid: &Arc<str>| self.pods.contains_key(uid);
        member.moving.as_deref().filter(|one| !one.pod.as_ref().is_some_and(seen))
    }

    /// Takes a move up.
    pub(crate) fn begin_move(&mut self, member: MemberId, begun: Move) {
        self.moving.insert(member);
        self.staying.remove(&member);
        self.with_member(member.0, member.1, |world| {
            let Some(slot) = world.member_mut(member) else { return };
            if begun.how == How::MakeBeforeBreak {
                slot.used = slot.used.max(begun.attempt);
            }
            slot.moving = Some(Box::new(begun));
        });
        self.touch(member.0);
    }

    /// Ends a move; `failed` ones let their member rest for longer. To be called within `with_member`.
    pub(crate) fn end_move(&mut self, member: MemberId, failed: bool, now: Time) -> Option<Box<Move>> {
        let ended = self.member_mut(member)?.moving.take()?;
        self.moving.remove(&member);
        if ended.goes_on() {
            self.note_rest(member, failed.then_some(ended.to), now);
        }
        self.attend(member.0);
        Some(ended)
    }

    /// Notes how the last move of a member ended: well, or in vain at a node.
    pub(crate) fn note_rest(&mut self, member: MemberId, failed: Option<NodeId>, now: Time) {
        let rest = self.rests.entry(member).or_default();
        rest.at = now;
        rest.said = None;
        if let Some(node) = failed {
            rest.failures = rest.failures.saturating_add(1);
            rest.failed_at.retain(|one| *one != node);
            rest.failed_at.push(node);
            if rest.failed_at.len() > MOST_FAILED_AT {
                rest.failed_at.remove(0);
            }
        } else {
            rest.failures = 0;
            rest.failed_at.clear();
        }
        // What is drained is looked at again when the rest is over.
        self.drains.values_mut().for_each(|tried_at| *tried_at = None);
    }

    /// Whether a pod is the target of its member's move.
    pub(crate) fn is_target(&self, member: MemberId, seen: &MemberRef) -> bool {
        self.member(member)
            .and_then(|slot| slot.moving.as_deref())
            .is_some_and(|one| one.how == How::MakeBeforeBreak && one.attempt == seen.attempt)
    }

    /// Whether the pod with that UID is the target of its member's move.
    pub(crate) fn is_target_pod(&self, member: MemberId, uid: &Arc<str>) -> bool {
        self.member(member)
            .and_then(|slot| slot.moving.as_deref())
            .is_some_and(|one| one.pod.as_ref() == Some(uid))
    }

    /// The target of a move was seen.
    pub(crate) fn target_seen(&mut self, member: MemberId, uid: &Arc<str>, now: Time) {
        let Some(pod) = self.pods.get(uid) else { return };
        let (ended, terminating) = (pod.phase.ended(), pod.terminating);
        let Some(one) = self.member_mut(member).and_then(|slot| slot.moving.as_deref_mut()) else { return };
        one.pod = Some(Arc::clone(uid));
        if one.stage == Stage::Assumed {
            one.stage = Stage::Starting;
        }
        if ended {
            if !terminating {
                self.leftovers.insert(Arc::clone(uid));
            }
            self.end_move(member, true, now);
        } else if terminating {
            let (gone_on, to) = (one.goes_on(), one.to);
            one.stage = Stage::GivenUp;
            one.told = true;
            if gone_on {
                self.note_rest(member, Some(to), now);
            }
        }
        self.attend(member.0);
    }

    /// Whether the target of a move is ready.
    pub(crate) fn target_is_ready(&self, one: &Move) -> bool {
        one.pod.as_ref().and_then(|uid| self.pods.get(uid)).is_some_and(|pod| {
            pod.loads() && !pod.terminating && matches!(pod.phase, PodPhase::Running { ready_since: Some(_) })
        })
    }

    /// The source of a move is gone, or has ended: the target takes its place.
    pub(crate) fn source_left(&mut self, member: MemberId, now: Time) {
        let Some(slot) = self.member(member) else { return };
        let ran_on = slot.moving.as_ref().is_some_and(|one| one.how == How::Live);
        if ran_on && slot.slot != Slot::Live {
            // There is nothing left to move.
            drop(self.end_move(member, false, now));
            return;
        }
        let Some(one) = slot.moving.as_deref().filter(|one| one.goes_on()) else { return };
        match (one.how, &slot.slot) {
            (How::MakeBeforeBreak, Slot::Unplaced | Slot::Backoff(_)) => self.promote(member, now),
            // The next decision gives it its place.
            (How::BreakBeforeMake, Slot::Backoff(until)) if *until <= now => {}
            (How::BreakBeforeMake, _) => drop(self.end_move(member, false, now)),
            // What has ended for good needs no target.
            (How::MakeBeforeBreak, Slot::Succeeded | Slot::Failed) => {
                if let Some(one) = self.member_mut(member).and_then(|slot| slot.moving.as_deref_mut()) {
                    one.stage = Stage::GivenUp;
                }
            }
            (How::MakeBeforeBreak, Slot::Assumed(_) | Slot::Live) | (How::Live, _) => {}
        }
        self.attend(member.0);
    }

    /// The target becomes the member's pod.
    fn promote(&mut self, member: MemberId, now: Time) {
        let Some(one) = self.end_move(member, false, now) else { return };
        let pod = one.pod.as_ref().and_then(|uid| self.pods.get(uid)).filter(|pod| pod.loads()).cloned();
        let charge = pod.as_ref().and_then(|pod| {
            self.workload(member.0).and_then(|workload| self.charge_of_pod(workload, &pod.requests))
        });
        let Some(slot) = self.member_mut(member) else { return };
        slot.attempt = one.attempt;
        slot.placed_at = one.since;
        slot.pod = one.pod;
        slot.told = false;
        slot.charge = None;
        (slot.running, slot.ready_since, slot.terminating) = (false, None, false);
        let Some(pod) = pod else {
            slot.slot = Slot::Assumed(one.to);
            return;
        };
        slot.slot = Slot::Live;
        slot.charge = charge;
        slot.terminating = pod.terminating;
        if let PodPhase::Running { ready_since } = pod.phase {
            slot.running = true;
            slot.ready_since = ready_since;
        }
    }

    /// After a start: a second live pod of an index, of a later attempt, is the target of a move.
    pub(crate) fn adopt_target(&mut self, member: MemberId, uid: &Arc<str>, attempt: u32, now: Time) {
        let Some(pod) = self.pods.get(uid).cloned() else { return };
        let (Some(to), Some(from)) =
            (pod.node, self.member(member).and_then(|slot| self.node_of_member(slot)))
        else {
            self.strays.insert(Arc::clone(uid));
            return;
        };
        let why = self.why_moved(member, from);
        let one = Move {
            how: How::MakeBeforeBreak,
            why,
            from,
            to,
            attempt,
            pod: Some(Arc::clone(uid)),
            stage: Stage::Starting,
            since: pod.created,
            told: false,
            slow: false,
        };
        self.begin_move(member, one);
        self.with_member(member.0, member.1, |world| world.target_seen(member, uid, now));
    }

    /// After a start: the ledger tells of a target whose pod was not seen.
    pub(crate) fn assume_target(&mut self, member: MemberId, to: NodeId, attempt: u32, since: Time) {
        let Some(from) = self.member(member).and_then(|slot| self.node_of_member(slot)) else { return };
        let (how, why, stage) = (How::MakeBeforeBreak, self.why_moved(member, from), Stage::Assumed);
        let one = Move { how, why, from, to, attempt, pod: None, stage, since, told: false, slow: false };
        self.begin_move(member, one);
    }

    /// Why a member moves of which only the move itself is known.
    pub(crate) fn why_moved(&self, member: MemberId, from: NodeId) -> Why {
        if self.drains.contains_key(&from) {
            return Why::Drain;
        }
        if self.is_asked_to_move(member) {
            return Why::Asked;
        }
        let pool = self.workload(member.0).and_then(|workload| self.pool(workload.pool?));
        let evens_out = |id: &PoolId| self.pool(*id).is_some_and(|pool| pool.spec.rebalancing.is_some());
        if pool.is_some_and(|pool| pool.path.iter().any(evens_out)) { Why::Rebalance } else { Why::MakeRoom }
    }

    /// The workload (`namespace/name`) for which room is made where a member is.
    pub(crate) fn waits_for_move(&self, member: MemberId) -> Option<Arc<str>> {
        let nominees = self.nominees.iter().filter_map(|id| self.workload(*id));
        nominees.filter(|one| one.awaited.contains(&member)).map(Workload::title).next()
    }

    /// A node begins to be drained, or is drained no more.
    pub(crate) fn note_drain(&mut self, id: NodeId, drained: bool) {
        if drained {
            self.drains.entry(id).or_insert(None);
            return;
        }
        if self.drains.remove(&id).is_none() {
            return;
        }
        let freed: Vec<MemberId> =
            self.staying.iter().filter(|(_, (node, _))| *node == id).map(|(member, _)| *member).collect();
        for member in freed {
            self.staying.remove(&member);
            self.touch(member.0);
        }
    }

    /// A workload is gone: nothing of its members is remembered.
    pub(crate) fn forget_moves(&mut self, id: WorkloadId) {
        let of_it = (id, 0)..=(id, u32::MAX);
        self.moving.extract_if(of_it.clone(), |_| true).for_each(drop);
        self.rests.extract_if(of_it.clone(), |_, _| true).for_each(drop);
        self.guests.extract_if(of_it.clone(), |_, _| true).for_each(drop);
        self.staying.extract_if(of_it, |_, _| true).for_each(drop);
    }
}
