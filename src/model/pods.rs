//! Pods: what they load their nodes with, and what they mean for the members that they are.

use std::sync::Arc;

use super::charges::on_nodes;
use super::ids::{NodeId, PeerId, PoolId, WorkloadId};
use super::labelled::Maker;
use super::moves::{How, Stage};
use super::peers::Part;
use super::resources::Amounts;
use super::shapes::intern;
use super::spec::{Completion, HostPort, MemberRef, OnMemberFailure, PodPhase, PodSpec, Run};
use super::time::Time;
use super::workloads::{Member, Phase, Slot, Workload};
use super::world::{World, remove_ports};

/// A pod that was seen.
#[allow(clippy::struct_excessive_bools, reason = "each is one fact of the object, and they are independent")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Pod {
    /// Its node, where it has one.
    pub node: Option<NodeId>,
    /// What it requests.
    pub requests: Amounts,
    /// Ports on the node.
    pub ports: Vec<HostPort>,
    /// As others see it.
    pub peer: PeerId,
    /// Which member it is, by its owner.
    pub member: Option<MemberRef>,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// It is being deleted.
    pub terminating: bool,
    /// Its node was given up: it counts no more.
    pub lost: bool,
    /// `spec.nodeName` is set.
    pub bound: bool,
    /// When it was created.
    pub created: Time,
    /// Its load counts as that of a member of its node's root.
    pub counted: bool,
    /// What made it, if that is no workload.
    pub maker: Option<Arc<Maker>>,
    /// The pool that it is charged to, where what made it is labelled for one.
    pub charged_to: Option<PoolId>,
    /// It is one run of a virtual machine.
    pub machine: Option<Run>,
}

impl Pod {
    /// Whether it lives: it takes something of its node, and its member is there.
    pub fn loads(&self) -> bool {
        !self.phase.ended() && !self.lost
    }
}

/// Why a member has lost its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its pod went away, or its node did: placed again at once, the first time.
    Vanished,
    /// The kubelet refused the pod: placed again after a pause, elsewhere if possible.
    Refused,
}

impl World {
    /// A pod was seen.
    pub(crate) fn pod_seen(&mut self, spec: PodSpec, now: Time) {
        let known = self.pods.get(&spec.uid).map(|known| known.peer);
        let same = known.filter(|id| self.peers.get(*id).is_some_and(|peer| peer.who == spec.neighbour));
        let peer = match same {
            Some(peer) => {
                self.peers.keep(peer);
                peer
            }
            None => self.peers.intern(&spec.neighbour),
        };
        self.pod_seen_as(spec, peer, now);
        self.peers.release(peer);
    }

    fn pod_seen_as(&mut self, spec: PodSpec, peer: PeerId, now: Time) {
        let uid = Arc::clone(&spec.uid);
        if spec.member.is_none() && self.pods.get(&uid).is_some_and(|known| known.member.is_some()) {
            // Its owner reference was taken away: it is nobody's now, and its member has no pod.
            self.pod_gone(&uid, now);
        }
        let node = spec.node.as_ref().map(|name| self.node_named(name));
        let mut requests = intern(&spec.requests, &mut self.resources);
        if spec.machine.is_some() {
            // Before its pod is seen, it is what its template asks for.
            let owner = spec.member.as_ref().and_then(|member| self.workload_ids.get(&member.workload));
            let pool = owner.and_then(|owner| self.workload(*owner)?.pool);
            requests = on_nodes(&requests, self.off_nodes(pool)).into_owned();
        }
        let known = self.pods.get(&uid);
        let pod = Pod {
            node,
            requests,
            ports: spec.host_ports,
            peer,
            member: spec.member,
            phase: spec.phase,
            terminating: spec.terminating,
            lost: known.is_some_and(|known| known.lost),
            bound: spec.bound,
            created: match (known, &spec.machine) {
                // It is for Weir to bind it: the wait begins when it is first seen unbound.
                (Some(known), Some(_)) if spec.bound || !known.bound => known.created,
                (_, Some(_)) => now,
                (_, None) => spec.created,
            },
            counted: known.is_some_and(|known| known.counted),
            maker: spec.maker,
            charged_to: known.and_then(|known| known.charged_to),
            machine: spec.machine,
        };
        if known == Some(&pod) {
            return;
        }
        let trouble = |pod: &Pod| pod.machine.as_ref().and_then(|run| run.trouble.clone());
        let troubled = known.and_then(trouble) != trouble(&pod);
        self.watch_unbound(&uid, &pod);
        self.watch_runs(&uid, &pod);
        match pod.member.clone().filter(|_| self.settled) {
            None => self.put_pod(&uid, Some(pod)),
            Some(member) => match self.find_member(&member) {
                Some((id, index)) if self.is_target((id, index), &member) => {
                    self.with_member(id, index, |world| {
                        world.put_pod(&uid, Some(pod));
                        world.target_seen((id, index), &uid, now);
                    });
                }
                Some((id, index)) if self.is_current(id, index, &member, &uid, &pod) => {
                    let ended_before = self.pods.get(&uid).is_some_and(|known| known.phase.ended());
                    self.with_member(id, index, |world| {
                        world.put_pod(&uid, Some(pod));
                        world.member_seen(id, index, &member, &uid, ended_before, now);
                        world.follow_passage((id, index), now);
                    });
                    self.adopt_passage((id, index), false);
                    if troubled {
                        self.touch(id);
                    }
                }
                _ => {
                    let stray = pod.loads() && !pod.terminating;
                    self.put_pod(&uid, Some(pod));
                    if stray && self.workload_ids.contains_key(&member.workload) {
                        self.strays.insert(uid);
                    }
                }
            },
        }
    }

    /// A pod is gone.
    pub(crate) fn pod_gone(&mut self, uid: &Arc<str>, now: Time) {
        let Some(pod) = self.pods.get(uid) else { return };
        self.unbound.remove(&(pod.created + self.tuning.unbound_after, Arc::clone(uid)));
        self.strays.remove(uid);
        self.forget_run(uid);
        let Some(pod) = self.pods.get(uid) else { return };
        let member = pod.member.clone().and_then(|member| self.find_member(&member));
        if let Some((id, index)) = member.filter(|member| self.is_target_pod(*member, uid)) {
            self.with_member(id, index, |world| {
                world.put_pod(uid, None);
                drop(world.end_move((id, index), true, now));
            });
            return;
        }
        let current = member.filter(|(id, index)| {
            self.workload(*id)
                .and_then(|workload| workload.members.get(*index as usize))
                .is_some_and(|member| member.pod.as_ref() == Some(uid) && member.slot == Slot::Live)
        });
        match current {
            None => self.put_pod(uid, None),
            Some((id, index)) => self.with_member(id, index, |world| {
                world.put_pod(uid, None);
                world.member_lost(id, index, Loss::Vanished, now);
                world.source_left((id, index), now);
            }),
        }
        if let Some((id, _)) = member {
            self.attend(id);
        }
    }

    /// Puts a pod in the place of what was known of it, and keeps its node's load true.
    fn put_pod(&mut self, uid: &Arc<str>, pod: Option<Pod>) {
        let before = match pod {
            Some(ref pod) => self.pods.insert(Arc::clone(uid), Pod { charged_to: None, ..pod.clone() }),
            None => self.pods.remove(uid),
        };
        self.list_made(uid, pod.as_ref().and_then(|pod| pod.maker.as_ref()), true);
        if let Some(pod) = &pod {
            self.peers.keep(pod.peer);
        }
        // A node that is gone is kept as long as anything is known of a pod on it: another node may take its id.
        let (left, named) = (before.as_ref().and_then(|pod| pod.node), pod.as_ref().and_then(|pod| pod.node));
        if let Some(node) = named.and_then(|node| self.nodes.get_mut(node.0)) {
            node.named_by += 1;
        }
        if let Some(before) = before {
            self.show_pod(&before, false);
            self.load_pod(uid, &before, false);
            let relabelled = pod.as_ref().is_some_and(|pod| pod.peer != before.peer);
            if relabelled {
                self.grow();
            } else if before.loads() && !pod.as_ref().is_some_and(Pod::loads) {
                self.grow_by_leaving();
            }
            self.peers.release(before.peer);
            self.discharge(&before);
            if before.maker.is_some() && before.maker != pod.as_ref().and_then(|pod| pod.maker.clone()) {
                self.list_made(uid, before.maker.as_ref(), false);
                self.charge_made_by(uid, before.maker.as_ref());
            }
        }
        if let Some(pod) = pod {
            self.show_pod(&pod, true);
            self.load_pod(uid, &pod, true);
            self.charge_made_by(uid, pod.maker.as_ref());
        }
        if let Some(node) = left.and_then(|node| self.nodes.get_mut(node.0)) {
            // One that is gone is forgotten by the next decision, if nobody is about to start on it.
            node.named_by = node.named_by.saturating_sub(1);
        }
    }

    /// A pod is there for others until it has ended, also on a node that is lost.
    fn show_pod(&mut self, pod: &Pod, add: bool) {
        let Some(node) = pod.node.filter(|_| !pod.phase.ended()) else { return };
        self.shift_peer(pod.peer, node, Part::All, add);
        if pod.terminating {
            self.shift_peer(pod.peer, node, Part::Ending, add);
        }
    }

    /// Whether the load of a pod counts as that of a member of its node's root.
    pub(crate) fn is_counted(&self, pod: &Pod, node: NodeId) -> bool {
        let owner = pod.member.as_ref().and_then(|member| self.workload_ids.get(&member.workload));
        let pool = owner.and_then(|owner| self.workload(*owner)?.pool);
        self.counts_as_member(node, pool.or_else(|| self.labelled_for(pod)))
    }

    fn load_pod(&mut self, uid: &Arc<str>, pod: &Pod, add: bool) {
        let Some(node) = pod.node.filter(|_| pod.loads()) else { return };
        if let Some(tried_at) = self.drains.get_mut(&node) {
            *tried_at = None;
        }
        let ours = if add { self.is_counted(pod, node) } else { pod.counted };
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.counted = ours;
        }
        self.change_node(node, |node| {
            if add {
                node.pods.insert(Arc::clone(uid));
                node.load.add(&pod.requests);
                node.ports.extend(pod.ports.iter().cloned());
            } else {
                node.pods.remove(uid);
                node.load.take(&pod.requests);
                remove_ports(&mut node.ports, &pod.ports);
            }
            if ours && add {
                node.member_load.add(&pod.requests);
            } else if ours {
                node.member_load.take(&pod.requests);
            }
        });
    }

    fn watch_unbound(&mut self, uid: &Arc<str>, pod: &Pod) {
        let due = pod.created + self.tuning.unbound_after;
        if pod.member.is_some() && !pod.bound && pod.loads() && !pod.terminating {
            self.unbound.insert((due, Arc::clone(uid)));
        } else {
            self.unbound.remove(&(due, Arc::clone(uid)));
        }
    }

    /// Whether a pod is the one that its member's slot is about.
    fn is_current(&self, id: WorkloadId, index: u32, seen: &MemberRef, uid: &Arc<str>, pod: &Pod) -> bool {
        let Some(member) = self.workload(id).and_then(|workload| workload.members.get(index as usize)) else {
            return false;
        };
        if matches!(member.slot, Slot::Succeeded | Slot::Failed) || pod.lost || seen.attempt < member.attempt
        {
            return false;
        }
        match &member.pod {
            Some(current) if current == uid => member.slot == Slot::Live || member.slot.charged(),
            Some(current) => !self.pods.get(current).is_some_and(Pod::loads),
            None => true,
        }
    }

    /// The pod of a member was seen: what that means for the member.
    fn member_seen(
        &mut self,
        id: WorkloadId,
        index: u32,
        seen: &MemberRef,
        uid: &Arc<str>,
        ended_before: bool,
        now: Time,
    ) {
        let Some(pod) = self.pods.get(uid).cloned() else { return };
        let charge = self.workload(id).and_then(|workload| self.charge_of_pod(workload, &pod.requests));
        let forgiven_after = self.tuning.forgiven_after;
        let Some(workload) = self.workload_mut(id) else { return };
        let stopping = matches!(workload.phase, Phase::Stopping { .. }) || workload.sheds(index);
        let Some(member) = workload.members.get_mut(index as usize) else { return };
        member.attempt = seen.attempt;
        member.pod = Some(Arc::clone(uid));
        member.charge = charge;
        member.terminating = pod.terminating;
        let ran = member.running;
        if let PodPhase::Running { ready_since } = pod.phase {
            member.running = true;
            member.ready_since = ready_since;
            if ready_since.is_some_and(|since| now - since >= forgiven_after) {
                member.setbacks = 0;
                member.avoid.clear();
            }
        }
        if !pod.phase.ended() {
            member.slot = Slot::Live;
            if member.running && !ran {
                self.attend(id);
            }
            return;
        }
        if ended_before {
            return;
        }
        let keeps_running = workload.spec.completion == Completion::KeepRunning;
        // A machine that failed is told to stop, or it could not be started again.
        let failed = pod.machine.is_some() && matches!(pod.phase, PodPhase::Failed { .. });
        if (keeps_running || failed || matches!(pod.phase, PodPhase::Refused { .. })) && !pod.terminating {
            self.leftovers.insert(Arc::clone(uid));
        }
        let given_up = stopping || pod.terminating;
        match pod.phase {
            PodPhase::Succeeded if !given_up => self.member_succeeded(id, index, now),
            PodPhase::Failed { message } if !given_up => self.member_failed(id, index, &message, now),
            PodPhase::Refused { .. } if !given_up => self.member_lost(id, index, Loss::Refused, now),
            _ => self.member_lost(id, index, Loss::Vanished, now),
        }
        self.source_left((id, index), now);
        self.attend(id);
    }

    fn member_succeeded(&mut self, id: WorkloadId, index: u32, now: Time) {
        let (first, most) = (self.tuning.backoff, self.tuning.backoff_at_most);
        let forgiven_after = self.tuning.forgiven_after;
        let Some(workload) = self.workload_mut(id) else { return };
        let keep_running = workload.spec.completion == Completion::KeepRunning;
        let Some(member) = workload.members.get_mut(index as usize) else { return };
        if keep_running {
            // Started again, as its user asked for; ever more slowly if it ends at once each time.
            if now - member.placed_at >= forgiven_after {
                member.setbacks = 0;
            }
            let until = now + first.doubled(member.setbacks, most);
            next_attempt(member, Slot::Backoff(until));
            member.setbacks = member.setbacks.saturating_add(1);
        } else {
            member.slot = Slot::Succeeded;
            workload.succeeded.insert(index);
        }
    }

    fn member_failed(&mut self, id: WorkloadId, index: u32, message: &Arc<str>, now: Time) {
        let (first, most) = (self.tuning.backoff, self.tuning.backoff_at_most);
        let forgiven_after = self.tuning.forgiven_after;
        let Some(workload) = self.workload_mut(id) else { return };
        let Some(member) = workload.members.get_mut(index as usize) else { return };
        let failures = workload.failures.entry(index).or_default();
        let was_well = member.ready_since.is_some_and(|since| now - since >= forgiven_after);
        if workload.spec.completion == Completion::KeepRunning && was_well {
            *failures = 0;
        }
        *failures = failures.saturating_add(1);
        workload.last_failure = Some(Arc::from(format!("member {index}: {message}")));
        if workload.spec.backoff_limit.is_some_and(|limit| *failures > limit) {
            member.slot = Slot::Failed;
            workload.failed = true;
            return;
        }
        let until = now + first.doubled(*failures - 1, most);
        next_attempt(member, Slot::Backoff(until));
        if workload.spec.on_member_failure == OnMemberFailure::RestartGang {
            workload.gang_failed = true;
        }
    }

    fn member_lost(&mut self, id: WorkloadId, index: u32, loss: Loss, now: Time) {
        let (first, most) = (self.tuning.backoff, self.tuning.backoff_at_most);
        let Some(workload) = self.workloads.get_mut(id.0) else { return };
        let stopping = matches!(workload.phase, Phase::Stopping { .. }) || workload.sheds(index);
        let Some(member) = workload.members.get_mut(index as usize) else { return };
        let node = member.pod.as_ref().and_then(|uid| self.pods.get(uid)).and_then(|pod| pod.node);
        let setbacks = member.setbacks;
        // It was asked to leave, and has another place.
        let planned = member
            .moving
            .as_ref()
            .is_some_and(|one| one.stage == Stage::Leaving && one.how == How::BreakBeforeMake);
        let slot = if planned && !stopping {
            // Charged on, since its place is kept.
            Slot::Backoff(now)
        } else if stopping || (loss == Loss::Vanished && setbacks == 0) {
            Slot::Unplaced
        } else {
            let doublings = if loss == Loss::Vanished { setbacks - 1 } else { setbacks };
            Slot::Backoff(now + first.doubled(doublings, most))
        };
        next_attempt(member, slot);
        if !stopping && !planned {
            member.setbacks = setbacks.saturating_add(1);
        }
        if loss == Loss::Refused {
            member.shun(node);
        }
        workload.tried_at = None;
        self.attend(id);
    }

    /// Gives a pod up whose node is lost: it counts no more, and its member is placed again.
    pub(crate) fn pod_lost(&mut self, uid: &Arc<str>, now: Time) -> Option<MemberRef> {
        let pod = self.pods.get(uid)?.clone();
        let member = pod.member.clone()?;
        let (id, index) = self.find_member(&member)?;
        let current = self.workload(id)?.members.get(index as usize)?.pod.as_ref() == Some(uid);
        let node = pod.node;
        let lost = Pod { lost: true, ..pod };
        if self.is_target_pod((id, index), uid) {
            self.with_member(id, index, |world| {
                world.put_pod(uid, Some(lost));
                drop(world.end_move((id, index), true, now));
            });
        } else if current {
            self.with_member(id, index, |world| {
                world.put_pod(uid, Some(lost));
                world.member_lost(id, index, Loss::Vanished, now);
                if let Some(member) =
                    world.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
                {
                    // Losing a node is no fault of the member: it is placed elsewhere at once.
                    member.slot = Slot::Unplaced;
                    member.shun(node);
                }
                world.source_left((id, index), now);
            });
        } else {
            self.put_pod(uid, Some(lost));
        }
        Some(member)
    }

    /// A create was answered: the pod's UID is known before the pod is seen.
    pub(crate) fn member_created(&mut self, member: &MemberRef, pod: &Arc<str>) {
        let Some((id, index)) = self.find_member(member) else { return };
        if self.is_target((id, index), member) {
            self.with_member(id, index, |world| {
                let slot = world.member_mut((id, index));
                let Some(one) = slot.and_then(|slot| slot.moving.as_deref_mut()) else { return };
                one.pod = Some(Arc::clone(pod));
            });
            self.attend(id);
            return;
        }
        if let Some(slot) =
            self.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
            && slot.attempt == member.attempt
            && matches!(slot.slot, Slot::Assumed(_))
        {
            slot.pod = Some(Arc::clone(pod));
        }
    }

    /// A target was not created, or is not there: its move is over, and the source stays.
    fn target_failed(&mut self, id: WorkloadId, index: u32, now: Time) {
        self.with_member(id, index, |world| drop(world.end_move((id, index), true, now)));
    }

    /// The API server has no pod of a member that was assumed or created.
    pub(crate) fn member_vanished(&mut self, member: &MemberRef, now: Time) {
        let Some((id, index)) = self.find_member(member) else { return };
        if self.is_target((id, index), member) {
            // One that was seen since then will be seen to go.
            if self.member((id, index)).is_some_and(|slot| self.reserves(slot).is_some()) {
                self.target_failed(id, index, now);
            }
            return;
        }
        let assumed = self
            .workload(id)
            .and_then(|workload| workload.members.get(index as usize))
            .is_some_and(|slot| slot.attempt == member.attempt && matches!(slot.slot, Slot::Assumed(_)));
        if assumed {
            self.with_member(id, index, |world| world.member_lost(id, index, Loss::Vanished, now));
        }
    }

    /// A create was refused: the workload lets go of everything and waits before it is tried again.
    pub(crate) fn member_refused(
        &mut self,
        member: &MemberRef,
        message: &Arc<str>,
        name_taken: bool,
        now: Time,
    ) {
        let Some((id, index)) = self.find_member(member) else { return };
        if self.is_target((id, index), member) {
            self.target_failed(id, index, now);
            return;
        }
        let assumed = self
            .workload(id)
            .and_then(|workload| workload.members.get(index as usize))
            .is_some_and(|slot| slot.attempt == member.attempt && matches!(slot.slot, Slot::Assumed(_)));
        if !assumed {
            return;
        }
        self.with_member(id, index, |world| {
            if let Some(slot) =
                world.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
            {
                slot.slot = Slot::Unplaced;
                slot.pod = None;
            }
        });
        let (first, most) = (self.tuning.backoff, self.tuning.backoff_at_most);
        if let Some(workload) = self.workload_mut(id) {
            if workload.refused_with.is_none() || workload.retry_at.is_none_or(|at| at <= now) {
                workload.retry_at = Some(now + first.doubled(workload.refused_creates, most));
                workload.refused_creates = workload.refused_creates.saturating_add(1);
            }
            workload.refused_with = Some((Arc::clone(message), name_taken));
        }
        self.attend(id);
    }

    /// Creates may go through again. A name that is taken stays so.
    pub(crate) fn may_create(&mut self, now: Time) {
        let waits = |workload: &Workload| {
            workload.retry_at.is_some_and(|at| at > now)
                && workload.refused_with.as_ref().is_some_and(|(_, name_taken)| !name_taken)
        };
        let ids: Vec<WorkloadId> =
            self.workloads.iter().filter(|(_, one)| waits(one)).map(|(id, _)| WorkloadId(id)).collect();
        for id in ids {
            if let Some(workload) = self.workload_mut(id) {
                workload.retry_at = Some(now);
            }
            self.attend(id);
        }
    }
}

/// Makes a member ready for another pod.
pub(crate) fn next_attempt(member: &mut Member, slot: Slot) {
    member.attempt = member.next_attempt();
    member.slot = slot;
    member.pod = None;
    member.charge = None;
    member.ready_since = None;
    member.running = false;
    member.terminating = false;
    member.told = false;
}

impl World {
    /// Takes up a pod that was there before the start as the one of its member.
    pub(crate) fn adopt_pod(&mut self, id: WorkloadId, index: u32, uid: &Arc<str>, counted: bool, now: Time) {
        let Some(member) = self.pods.get(uid).and_then(|pod| pod.member.clone()) else { return };
        self.with_member(id, index, |world| {
            if counted {
                if let Some(slot) =
                    world.workload_mut(id).and_then(|workload| workload.members.get_mut(index as usize))
                {
                    slot.attempt = member.attempt;
                    next_attempt(slot, Slot::Unplaced);
                }
            } else {
                world.member_seen(id, index, &member, uid, false, now);
            }
        });
        self.adopt_passage((id, index), true);
    }
}
