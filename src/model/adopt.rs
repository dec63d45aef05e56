//! A start: what statuses, the ledger and the pods say together becomes the state to go on from.
//!
//! Nothing is undone. Admissions that the ledger holds are finished exactly as they were recorded, pods are
//! adopted by the UID of their owner, and what is missing is placed again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::delta::InFlight;
use super::ids::{NodeId, WorkloadId};
use super::moves::{How, MemberId, Move, Stage, Why};
use super::spec::{PodPhase, StopReason, WorkloadRecord};
use super::time::Time;
use super::workloads::{Member, Phase, Slot};
use super::world::World;

impl World {
    /// The lists and the ledger are read: every workload takes up what was recorded of it.
    pub(crate) fn settle(&mut self, now: Time) {
        if self.settled {
            return;
        }
        self.link();
        self.settled = true;
        let mut pods: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for (uid, pod) in self.pods.iter() {
            if let Some(member) = &pod.member {
                pods.entry(Arc::clone(&member.workload)).or_default().push(Arc::clone(uid));
            }
        }
        let in_flight = std::mem::take(&mut self.in_flight);
        self.replay_tokens();
        for (id, record) in std::mem::take(&mut self.records) {
            let Some(uid) = self.workload(id).map(|workload| Arc::clone(&workload.spec.uid)) else {
                continue;
            };
            let entries = in_flight.get(&uid).map(Vec::as_slice).unwrap_or_default();
            self.adopt(id, &record, entries, pods.get(&uid).map(Vec::as_slice).unwrap_or_default(), now);
            self.attend(id);
        }
        // Roots were chosen before it was known whose members are where.
        let nodes: Vec<_> = self.node_ids.values().copied().collect();
        for id in nodes {
            self.recount_members(id);
            if self.node(id).is_some_and(|node| node.spec.is_none()) {
                self.not_ready.insert(id);
            }
        }
    }

    /// Takes the tokens of admissions that are recorded, so that a restart lets no more in.
    fn replay_tokens(&mut self) {
        let mut admitted: Vec<(Time, super::ids::PoolId)> = self
            .records
            .iter()
            .filter_map(|(id, record)| Some((record.admitted?.0, self.workload(*id)?.pool?)))
            .collect();
        admitted.sort();
        for (at, pool) in admitted {
            self.take_token(pool, at);
        }
    }

    /// A workload that comes while running, with what was recorded of it.
    pub(crate) fn resume(&mut self, id: WorkloadId, record: &WorkloadRecord) {
        self.adopt(id, record, &[], &[], Time(0));
    }

    fn adopt(
        &mut self,
        id: WorkloadId,
        record: &WorkloadRecord,
        in_flight: &[InFlight],
        pods: &[Arc<str>],
        now: Time,
    ) {
        if let Some((reason, at)) = record.finished {
            self.set_phase(id, Phase::Finished { reason, at });
            return;
        }
        if let (Some(since), Some(workload)) = (record.queued_at, self.workload_mut(id)) {
            match record.evicted {
                // One that was evicted keeps its age, and one whose slice ended stands at the tail.
                Some(StopReason::SliceEnded) => workload.turn = Some(since),
                Some(_) => {}
                None => workload.aged_from = since,
            }
        }
        let in_flight: Vec<&InFlight> =
            in_flight.iter().filter(|entry| !self.is_over(id, record, entry)).collect();
        let live = pods.iter().any(|uid| self.pods.get(uid).is_some_and(super::pods::Pod::loads));
        let recorded = record.admitted.or(in_flight.first().map(|entry| (entry.at, entry.size)));
        if recorded.is_none() && !live {
            if record.suspended {
                self.set_phase(id, Phase::Suspended);
            }
            self.remember_attempts(id, pods);
            return;
        }
        let of_pods = pods
            .iter()
            .filter_map(|uid| self.pods.get(uid)?.member.as_ref())
            .map(|member| member.index.saturating_add(1))
            .max();
        let wanted = self.workload(id).map_or(1, |workload| workload.spec.replicas);
        let (at, mut size) = recorded.unwrap_or((now, of_pods.unwrap_or(1).min(wanted)));
        if self.workload(id).is_some_and(|workload| workload.spec.dynamic) {
            // It may have grown since its status was written; of members that it gave away since, those that are
            // over stay away.
            let placed = in_flight.iter().flat_map(|entry| entry.placements.keys().copied());
            let living = pods.iter().filter_map(|uid| self.pods.get(uid)).filter(|pod| pod.loads());
            let living = living.filter_map(|pod| Some(pod.member.as_ref()?.index));
            let last = placed.chain(living).max();
            size = size.max(last.map_or(0, |last| last.saturating_add(1)).min(wanted));
        }
        let phase = match record.stopping {
            Some(reason) => Phase::Stopping { reason, for_whom: None, at },
            None => Phase::Admitted { at, started: record.started_at },
        };
        self.set_phase(id, phase);
        self.with_members(id, |world| world.make_members(id, size, record));
        self.assume_in_flight(id, &in_flight, pods);
        self.adopt_pods(id, record, pods, now);
    }

    /// Whether the ledger tells of an admission that the status says is over: the workload has waited or was
    /// suspended since, and the entry had not left the ledger yet.
    fn is_over(&self, id: WorkloadId, record: &WorkloadRecord, entry: &InFlight) -> bool {
        let suspended = record.suspended && self.workload(id).is_some_and(|workload| workload.spec.suspend);
        let waited = record.queued_at.is_some_and(|since| entry.at < since);
        record.admitted.is_none() && (suspended || waited)
    }

    fn make_members(&mut self, id: WorkloadId, size: u32, record: &WorkloadRecord) {
        let Some(workload) = self.workload_mut(id) else { return };
        workload.members = (0..size)
            .map(|index| {
                let mut member = Member::unplaced(record.attempts.get(&index).copied().unwrap_or(0));
                if record.succeeded.contains(index) {
                    member.slot = Slot::Succeeded;
                }
                member
            })
            .collect();
    }

    /// Attempts go on from the highest that pods show, so that no name is used twice.
    fn remember_attempts(&mut self, id: WorkloadId, pods: &[Arc<str>]) {
        for uid in pods {
            let Some(member) = self.pods.get(uid).and_then(|pod| pod.member.clone()) else { continue };
            let Some(workload) = self.workload_mut(id) else { return };
            let next = workload.attempts.entry(member.index).or_default();
            *next = (*next).max(member.attempt.saturating_add(1));
        }
    }

    fn assume_in_flight(&mut self, id: WorkloadId, in_flight: &[&InFlight], pods: &[Arc<str>]) {
        for entry in in_flight {
            for (index, (attempt, node)) in &entry.placements {
                let node = self.node_named(node);
                let is_it = |uid: &Arc<str>| {
                    let member = self.pods.get(uid).and_then(|pod| pod.member.as_ref());
                    member.is_some_and(|member| (member.index, member.attempt) == (*index, *attempt))
                };
                let overtaken = self.member((id, *index)).is_some_and(|member| {
                    *attempt < member.attempt && member.moving.is_none() && member.slot != Slot::Succeeded
                });
                if overtaken && !pods.iter().any(is_it) {
                    // Its create may be under way still: its member gets no other pod before that is known.
                    self.begin_move((id, *index), left((*attempt, entry.at), node, None));
                    continue;
                }
                self.with_member(id, *index, |world| {
                    let members = world.workload_mut(id).map(|workload| &mut workload.members);
                    if let Some(member) = members.and_then(|members| members.get_mut(*index as usize))
                        && member.slot == Slot::Unplaced
                        && *attempt >= member.attempt
                    {
                        member.attempt = *attempt;
                        member.slot = Slot::Assumed(node);
                        member.placed_at = entry.at;
                    }
                });
            }
            self.replay.insert(id);
        }
    }

    /// The ledger tells of a later attempt of a member whose pod lives: a move had begun.
    fn adopt_source(&mut self, member: MemberId, uid: &Arc<str>, attempt: u32, to: NodeId, now: Time) {
        let Some((later, since)) = self.member(member).map(|slot| (slot.attempt, slot.placed_at)) else {
            return;
        };
        self.with_member(member.0, member.1, |world| {
            if let Some(slot) = world.member_mut(member) {
                slot.slot = Slot::Unplaced;
                slot.attempt = attempt;
                slot.used = later;
            }
        });
        self.adopt_pod(member.0, member.1, uid, false, now);
        self.assume_target(member, to, later, since);
    }

    /// An earlier attempt that still lives: it is to go, and its member gets no other pod before it has.
    fn adopt_left(&mut self, member: MemberId, uid: &Arc<str>, attempt: u32) {
        let Some(pod) = self.pods.get(uid) else { return };
        let Some(node) = pod.node else { return };
        let told = pod.terminating;
        let left = left((attempt, pod.created), node, Some(Arc::clone(uid)));
        self.begin_move(member, Move { told, ..left });
    }

    /// A second pod of an index, of a later attempt than the one that lives.
    fn adopt_second(&mut self, member: MemberId, uid: &Arc<str>, attempt: u32, now: Time) {
        let Some(pod) = self.pods.get(uid) else { return };
        let (lives, terminating) = (pod.loads(), pod.terminating);
        let awaited = self.member(member).and_then(|slot| slot.moving.as_deref());
        if !lives {
            if awaited.is_some_and(|one| one.attempt == attempt) {
                self.with_member(member.0, member.1, |world| world.target_seen(member, uid, now));
            } else if !terminating {
                self.leftovers.insert(Arc::clone(uid));
            }
            if let Some(slot) = self.member_mut(member) {
                slot.used = slot.used.max(attempt);
            }
        } else if awaited.is_some_and(|one| one.attempt == attempt) {
            self.with_member(member.0, member.1, |world| world.target_seen(member, uid, now));
        } else if awaited.is_some() {
            if !terminating {
                self.strays.insert(Arc::clone(uid));
            }
        } else {
            self.adopt_target(member, uid, attempt, now);
        }
    }

    fn adopt_pods(&mut self, id: WorkloadId, record: &WorkloadRecord, pods: &[Arc<str>], now: Time) {
        let mut ordered: Vec<(u32, u32, Arc<str>)> = pods
            .iter()
            .filter_map(|uid| {
                let member = self.pods.get(uid)?.member.as_ref()?;
                Some((member.index, member.attempt, Arc::clone(uid)))
            })
            .collect();
        ordered.sort();
        for (index, attempt, uid) in ordered {
            let Some(pod) = self.pods.get(&uid).cloned() else { continue };
            let Some(workload) = self.workload_mut(id) else { return };
            let Some(member) = workload.members.get(index as usize) else {
                let next = workload.attempts.entry(index).or_default();
                *next = (*next).max(attempt.saturating_add(1));
                if pod.loads() && !pod.terminating {
                    self.strays.insert(uid);
                }
                continue;
            };
            let recorded = record.attempts.get(&index).copied().unwrap_or(0);
            if pod.loads()
                && attempt >= recorded
                && attempt < member.attempt
                && let Slot::Assumed(to) = member.slot
            {
                self.adopt_source((id, index), &uid, attempt, to, now);
                continue;
            }
            if attempt < member.attempt || member.slot == Slot::Succeeded {
                let alone = member.moving.is_none() && member.slot != Slot::Succeeded;
                // What is on a node that is lost is given up by the next decision, and nobody waits for it.
                let lost = pod.node.and_then(|node| self.node(node)?.lost_at(self.tuning.lost_after));
                let is_lost = pod.machine.is_none() && lost.is_some_and(|lost| lost <= now);
                if pod.loads() && alone && pod.node.is_some() && !is_lost {
                    self.adopt_left((id, index), &uid, attempt);
                } else if pod.loads() && !pod.terminating {
                    self.strays.insert(uid);
                }
                continue;
            }
            let counted = workload.failures.get(&index).copied().unwrap_or(0);
            let (is_later, is_live) = (attempt > member.attempt, member.slot == Slot::Live);
            let source = member.pod.clone().filter(|_| is_live);
            let has_source =
                source.is_some_and(|uid| self.pods.get(&uid).is_some_and(super::pods::Pod::loads));
            if has_source && is_later {
                self.adopt_second((id, index), &uid, attempt, now);
                continue;
            }
            // A failure that was counted before the restart is not counted again.
            let seen = matches!(pod.phase, PodPhase::Failed { .. }) && counted > attempt;
            self.adopt_pod(id, index, &uid, seen, now);
        }
    }
}

/// A pod of an earlier attempt that shall not be there, as what is left of a move.
fn left((attempt, since): (u32, Time), node: NodeId, pod: Option<Arc<str>>) -> Move {
    Move {
        how: How::MakeBeforeBreak,
        why: Why::Drain,
        from: node,
        to: node,
        attempt,
        pod,
        stage: Stage::GivenUp,
        since,
        told: false,
        slow: false,
    }
}
