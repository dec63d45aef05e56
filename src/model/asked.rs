//! Moves that somebody asks for: by an annotation of a workload, or of a pool that recommends them.
//!
//! Each request is handled once. What became of it is told by the status, which is also how a restart knows of it.

use std::sync::Arc;

use super::ids::WorkloadId;
use super::moves::MemberId;
use super::refusal::{NodeRejection, Refusal};
use super::resources::ResourceId;
use super::workloads::{Phase, Slot};
use super::world::World;

/// Members of one workload that move at one request, at most.
pub const MOST_ASKED: usize = 100;

/// What an annotation of a workload asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct MoveRequest {
    /// The annotation, word for word: another one is another request.
    pub text: Arc<str>,
    /// Which member and where to, or what is wrong with it.
    pub what: Result<Wanted, Arc<str>>,
}

/// Which member shall move, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Wanted {
    /// Its index; none: all members.
    pub index: Option<u32>,
    /// Name of the node; none: any that takes it.
    pub to: Option<Arc<str>>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum AskedState {
    /// Members move.
    Moving,
    /// They have moved.
    Moved,
    /// Nothing moves, for a reason.
    Refused,
    /// A move was begun and did not come to its end.
    Failed,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Asked {
    /// The annotation, word for word.
    pub request: Arc<str>,
    /// How far it has come.
    pub state: AskedState,
    /// The moves that were begun.
    pub moves: Vec<AskedMove>,
    /// Members that do not move, and why; those that are not told apart are index 0.
    pub refused: Vec<(u32, NotMoved)>,
    /// After a start: what the status said of it.
    pub said: Option<Arc<str>>,
}

/// One move that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct AskedMove {
    /// UID of the workload.
    pub workload: Arc<str>,
    /// Index of the member.
    pub index: u32,
    /// Name of the node that it was on.
    pub from: Arc<str>,
    /// Name of the node that it moves to.
    pub to: Arc<str>,
}

/// Why a member does not move although somebody asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum NotMoved {
    /// The annotation cannot be read: what is wrong, and what to write.
    Unreadable(Arc<str>),
    /// There are so many members, from index 0 on.
    NoMember(u32),
    /// There are so many members: more than one request moves.
    TooMany(u32),
    /// The workload is not admitted, or the member does not live.
    NotRunning,
    /// It lives, and starts, ends or comes to rest from a move just now.
    NotSettled,
    /// It moves already, to this node.
    Moves(Arc<str>),
    /// `migration: Never`.
    Never,
    /// It is a virtual machine that `KubeVirt` cannot move while it runs, and may not be stopped.
    NotWhileItRuns,
    /// It is there already.
    IsThere(Arc<str>),
    /// There is no such node.
    NoNode(Arc<str>),
    /// The node is not of the pool of that name.
    Outside(Arc<str>, Arc<str>),
    /// That node does not take it.
    NodeRefuses {
        /// Its name.
        node: Arc<str>,
        /// Why.
        why: NodeRejection,
        /// Where it lacks a resource: which, how much is free there, how much is asked.
        lacks: Option<(ResourceId, super::amount::Amount, super::amount::Amount)>,
    },
    /// No other node takes it.
    NoPlace(Refusal),
    /// The pool recommends no such move; those that it recommends.
    NotRecommended(Vec<Arc<str>>),
    /// The pool recommends nothing.
    RecommendsNothing,
    /// `KubeVirt`, or a policy, refuses to migrate it, in these words.
    Refused(Arc<str>),
    /// It was recommended, and does not fit any more on this node.
    FitsNoMore(Arc<str>),
}

impl World {
    /// Notes whether something is asked of a workload that was not handled yet.
    pub(crate) fn note_request(&mut self, id: WorkloadId) {
        let Some(workload) = self.workload_mut(id) else { return };
        let asked = workload.asked.as_ref().map(|asked| Arc::clone(&asked.request));
        match &workload.spec.migrate {
            None => {
                workload.asked = None;
                self.requested.remove(&id);
            }
            Some(request) if asked.as_ref() == Some(&request.text) => {
                self.requested.remove(&id);
            }
            Some(_) => {
                self.requested.insert(id);
            }
        }
        if asked.is_some() {
            self.touch(id);
        }
    }

    /// Whether a member moves because somebody asked for it.
    pub(crate) fn is_asked_to_move(&self, member: MemberId) -> bool {
        let asked = self.workload(member.0).and_then(|workload| workload.asked.as_deref());
        asked.is_some_and(|asked| {
            asked.state == AskedState::Moving && asked.moves.iter().any(|one| one.index == member.1)
        })
    }

    /// How a request stands whose moves were begun.
    pub(crate) fn conclusion(&self, asked: &Asked) -> AskedState {
        if asked.state != AskedState::Moving {
            return asked.state;
        }
        let state_of = |one: &AskedMove| {
            let id = self.workload_ids.get(&one.workload).copied();
            let Some((workload, member)) =
                id.and_then(|id| Some((self.workload(id)?, self.member((id, one.index))?)))
            else {
                return AskedState::Failed;
            };
            if !matches!(workload.phase, Phase::Admitted { .. }) {
                return AskedState::Failed;
            }
            let node = self.node_of_member(member).and_then(|node| self.node(node));
            match (&member.moving, &member.slot) {
                (Some(_), _) => AskedState::Moving,
                // It has ended before it had moved.
                (None, Slot::Succeeded) => AskedState::Moved,
                (None, _) if node.is_some_and(|node| node.name == one.to) => AskedState::Moved,
                (None, _) => AskedState::Failed,
            }
        };
        let states: Vec<AskedState> = asked.moves.iter().map(state_of).collect();
        [AskedState::Moving, AskedState::Failed]
            .into_iter()
            .find(|state| states.contains(state))
            .unwrap_or(AskedState::Moved)
    }

    /// What was said against moves that were asked of a workload, beside why others were not begun.
    fn refusals_of(&self, id: WorkloadId, asked: &Asked) -> Vec<(u32, NotMoved)> {
        let said = |one: &AskedMove| {
            let rest = self.rests.get(&(id, one.index))?;
            Some((one.index, NotMoved::Refused(Arc::clone(rest.said.as_ref()?))))
        };
        asked.refused.iter().cloned().chain(asked.moves.iter().filter_map(said)).collect()
    }

    /// Looks whether the moves have ended that were asked of a workload.
    pub(crate) fn conclude_request(&mut self, id: WorkloadId) {
        let Some(asked) = self.workload(id).and_then(|workload| workload.asked.clone()) else { return };
        let state = self.conclusion(&asked);
        let refused =
            if state == AskedState::Failed { self.refusals_of(id, &asked) } else { asked.refused.clone() };
        if state != asked.state
            && let Some(workload) = self.workload_mut(id)
        {
            workload.asked = Some(Box::new(Asked { state, said: None, refused, ..*asked }));
            self.touch(id);
        }
    }
}
