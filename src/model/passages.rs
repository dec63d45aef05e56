//! Moves of virtual machines that go on running: what is seen of their migrations.
//!
//! A run stays one pod of the world while it moves, and is charged once. The room that it moves to is loaded by the move
//! alone, until the run is seen there. Nothing is written of it into the ledger: `KubeVirt`'s object tells a restart.

use std::sync::Arc;

use super::machines::{Passage, PassageState};
use super::moves::{Guest, How, MemberId, Move, Stage, Why};
use super::spec::MemberRef;
use super::time::Time;
use super::workloads::Slot;
use super::world::World;

impl World {
    /// The last migration of a member's machine that was Weir's.
    pub(crate) fn passage_of(&self, member: MemberId) -> Option<&Arc<Passage>> {
        let slot = self.member(member).filter(|slot| slot.slot == Slot::Live)?;
        self.pods.get(slot.pod.as_ref()?)?.machine.as_ref()?.passage.as_ref()
    }

    /// Whether a member's machine can be moved while it runs, as `KubeVirt` says.
    pub(crate) fn is_live_migratable(&self, member: MemberId) -> bool {
        let pod = self.member(member).and_then(|slot| self.pods.get(slot.pod.as_ref()?));
        pod.and_then(|pod| pod.machine.as_ref()).is_some_and(|run| run.live_migratable)
    }

    /// The run of a member was seen: how its move stands. To be called within `with_member`.
    pub(crate) fn follow_passage(&mut self, member: MemberId, now: Time) {
        let Some(slot) = self.member(member).filter(|slot| slot.slot == Slot::Live) else { return };
        let Some(one) = slot.moving.as_deref().filter(|one| one.how == How::Live) else { return };
        let (to, attempt, stage) = (one.to, one.attempt, one.stage);
        if self.node_of_member(slot) == Some(to) {
            drop(self.end_move(member, false, now));
            return;
        }
        let state = self.passage_of(member).filter(|seen| seen.attempt == attempt).map(|seen| seen.state);
        match state {
            Some(PassageState::Failed) => drop(self.end_move(member, true, now)),
            // Somebody has deleted it.
            None if stage != Stage::Assumed => drop(self.end_move(member, true, now)),
            Some(PassageState::UnderWay { queued: true, .. }) if stage == Stage::Assumed => {
                if let Some(one) = self.member_mut(member).and_then(|slot| slot.moving.as_deref_mut()) {
                    one.stage = Stage::Queued;
                }
            }
            Some(PassageState::UnderWay { queued: false, .. } | PassageState::Succeeded)
                if matches!(stage, Stage::Assumed | Stage::Queued) =>
            {
                if let Some(one) = self.member_mut(member).and_then(|slot| slot.moving.as_deref_mut()) {
                    if stage == Stage::Queued {
                        one.since = now;
                    }
                    one.stage = Stage::Starting;
                }
            }
            Some(PassageState::UnderWay { .. } | PassageState::Succeeded) | None => {}
        }
        self.attend(member.0);
    }

    /// Takes up a migration that is under way and that nothing is known of: after a start it goes on, else it is one that was
    /// given up, and ends.
    pub(crate) fn adopt_passage(&mut self, member: MemberId, goes_on: bool) {
        let seen = self.passage_of(member).filter(|seen| seen.is_under_way()).cloned();
        let Some(seen) = seen else {
            self.forget_guest(member);
            return;
        };
        let Some(slot) = self.member(member).filter(|slot| slot.moving.is_none()) else { return };
        let Some(from) = self.node_of_member(slot) else { return };
        if seen.others.is_some() && seen.to.is_empty() {
            // A place is looked for when its pod is there.
            if seen.is_unbound() && !self.guests.contains_key(&member) {
                self.guests.insert(member, Guest::default());
                self.attend(member.0);
            }
            return;
        }
        self.forget_guest(member);
        let goes_on = goes_on || seen.others.is_some();
        let to = self.node_named(&seen.to);
        if from == to {
            return;
        }
        let why = if seen.others.is_some() { Why::Others } else { self.why_moved(member, from) };
        let stage = match seen.state {
            _ if !goes_on => Stage::GivenUp,
            PassageState::UnderWay { queued: true, .. } => Stage::Queued,
            _ => Stage::Starting,
        };
        let (attempt, since) = (seen.attempt, seen.since);
        let how = How::Live;
        let one = Move { how, why, from, to, attempt, pod: None, stage, since, told: false, slow: false };
        self.begin_move(member, one);
        self.attend(member.0);
    }

    pub(crate) fn forget_guest(&mut self, member: MemberId) {
        if self.guests.remove(&member).is_some() {
            self.touch(member.0);
        }
    }

    /// A migration was not created, and will not be: what is said against it.
    pub(crate) fn passage_refused(&mut self, member: &MemberRef, attempt: u32, said: &Arc<str>, now: Time) {
        let Some(id) = self.find_member(member) else { return };
        let awaited = self
            .member(id)
            .and_then(|slot| slot.moving.as_deref())
            .is_some_and(|one| one.how == How::Live && one.attempt == attempt && one.stage == Stage::Assumed);
        if awaited {
            self.with_member(id.0, id.1, |world| drop(world.end_move(id, true, now)));
            if let Some(rest) = self.rests.get_mut(&id) {
                rest.said = Some(Arc::clone(said));
            }
            self.attend(id.0);
        }
    }
}
