//! Members: decisions become pods, which run, end, leave and move.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::history::{GaveWay, Lane, Outcome, Restart};
use super::run::{Next, Run};
use crate::decide::decision::{Decision, DropReason, Placement, Way};
use crate::model::amount::Amount;
use crate::model::delta::Delta;
use crate::model::ids::WorkloadId;
use crate::model::machines::{Run as MachineRun, Runtime};
use crate::model::resources::ResourceId;
use crate::model::spec::{Completion, MemberRef, Migration, PodPhase, PodSpec, StopReason};
use crate::model::time::{Span, Time};
use crate::model::workloads::Slot;
use crate::model::world::World;

/// A pod of a member.
#[derive(Clone, Debug)]
pub(super) struct SimPod {
    spec: PodSpec,
    /// Its place in the list of lanes.
    lane: Option<usize>,
    /// It would have ended while its node was silent.
    overdue: bool,
}

/// What is known of a workload while it is there.
#[derive(Clone, Debug, Default)]
pub(super) struct SimWorkload {
    /// Its place in the list of records.
    pub(super) record: usize,
    /// UIDs of its pods.
    pub(super) pods: BTreeSet<Arc<str>>,
    /// When its user takes it away, if it keeps running for a known time.
    pub(super) leaves: bool,
}

impl Run {
    /// Takes up the members that are there at the beginning.
    pub(super) fn take_up(&mut self) {
        let pods: Vec<PodSpec> = self
            .world
            .pods
            .keys()
            .filter_map(|uid| pod_spec(&self.world, uid))
            .filter(|pod| pod.member.is_some())
            .collect();
        for pod in pods {
            let Some(member) = pod.member.clone() else { continue };
            if !self.workloads.contains_key(&member.workload) || pod.phase.ended() {
                continue;
            }
            let uid = Arc::clone(&pod.uid);
            let since = match &pod.phase {
                PodPhase::Running { ready_since } => ready_since.unwrap_or(pod.created),
                _ => self.now,
            };
            let (terminating, running) = (pod.terminating, matches!(pod.phase, PodPhase::Running { .. }));
            self.keep(pod, since);
            if terminating {
                self.later(self.now, Next::Gone(uid));
            } else {
                if !running {
                    self.later(self.now, Next::Runs(Arc::clone(&uid)));
                }
                self.await_end(&uid, &member.workload, since);
            }
        }
        // Placed, and not seen yet.
        for (id, index, attempt, node) in assumed(&self.world) {
            let Some(workload) = self.world.workload(id) else { continue };
            let uid = Arc::clone(&workload.spec.uid);
            self.create(&uid, &[Placement { index, attempt, node }]);
        }
    }

    fn keep(&mut self, pod: PodSpec, from: Time) {
        let Some(member) = &pod.member else { return };
        let Some(workload) = self.workloads.get_mut(&member.workload) else { return };
        workload.pods.insert(Arc::clone(&pod.uid));
        let lane = pod.node.as_ref().filter(|_| self.settings.keeps_history).map(|node| {
            let (node, record, index) = (Arc::clone(node), workload.record, member.index);
            self.history.lanes.push(Lane { node, record, index, from, to: None });
            self.history.lanes.len() - 1
        });
        if let Some(node) = &pod.node {
            self.on_node.entry(Arc::clone(node)).or_default().insert(Arc::clone(&pod.uid));
        }
        self.pods.insert(Arc::clone(&pod.uid), SimPod { spec: pod, lane, overdue: false });
    }

    /// How long the members of a workload run.
    pub(super) fn duration(&self, workload: &str) -> Option<Span> {
        let id = *self.world.workload_ids.get(workload)?;
        let spec = &self.world.workload(id)?.spec;
        let seen = self.settings.durations.get(workload).copied();
        let expected = seen.or(spec.expected_duration).or(self.settings.default_duration)?;
        let name = format!("{}/{}", spec.namespace, spec.name);
        Some(self.settings.runs.draw(self.settings.seed, &name, expected))
    }

    /// When a run ends that began then. One that has lasted longer than expected lasts for another tenth.
    fn await_end(&mut self, pod: &Arc<str>, workload: &Arc<str>, since: Time) {
        let Some(duration) = self.duration(workload) else { return };
        let mut end = since + duration;
        if end <= self.now {
            end = self.now + Span((self.now - since).0 / 10);
        }
        let id = self.world.workload_ids.get(workload).copied();
        let keeps = id
            .and_then(|id| self.world.workload(id))
            .is_some_and(|one| one.spec.completion == Completion::KeepRunning);
        if !keeps {
            self.later(end, Next::Ends(Arc::clone(pod)));
            return;
        }
        // What keeps running for a known time is taken away by its user then.
        let Some(known) = self.workloads.get_mut(workload).filter(|one| !one.leaves) else { return };
        known.leaves = true;
        self.later(end, Next::Removed(Arc::clone(workload)));
    }

    fn tell_pod(&mut self, uid: &str) {
        if let Some(pod) = self.pods.get(uid) {
            let delta = Delta::Pod(Box::new(pod.spec.clone()));
            self.tell(delta);
        }
    }

    fn create(&mut self, workload: &Arc<str>, placements: &[Placement]) {
        let Some(id) = self.world.workload_ids.get(workload).copied() else { return };
        let Some(known) = self.world.workload(id) else { return };
        let spec = known.spec.clone();
        let loads = self.world.loads(known);
        let host_ports = self.world.host_ports(known);
        let names = |world: &World| {
            loads.iter().map(|(one, amount)| (Arc::from(world.resources.name(one)), amount)).collect()
        };
        let requests: crate::model::spec::NamedAmounts = names(&self.world);
        let storage = self.world.requests(known).get(ResourceId::STORAGE);
        let neighbour = Arc::new(self.world.as_neighbour(id));
        let machine = spec.runtime == Runtime::VirtualMachine;
        let run = MachineRun { live_migratable: spec.migration == Migration::Live, ..MachineRun::default() };
        for placement in placements {
            self.count += 1;
            self.note_place(workload, placement.index, &placement.node);
            let uid: Arc<str> = format!("{workload}/{}/{}", placement.index, self.count).into();
            let Placement { index, attempt, node } = placement.clone();
            self.keep(
                PodSpec {
                    uid: Arc::clone(&uid),
                    node: Some(node),
                    bound: true,
                    created: self.now,
                    terminating: false,
                    phase: PodPhase::Running { ready_since: Some(self.now) },
                    requests: requests.clone(),
                    host_ports: host_ports.clone(),
                    neighbour: Arc::clone(&neighbour),
                    member: Some(MemberRef { workload: Arc::clone(workload), index, attempt }),
                    maker: None,
                    machine: machine.then(|| run.clone()),
                },
                self.now,
            );
            self.tell_pod(&uid);
            if machine && !storage.is_zero() {
                self.tell(Delta::Disks { workload: Arc::clone(workload), index, bytes: storage });
            }
            self.await_end(&uid, workload, self.now);
        }
    }

    /// What was decided comes true.
    pub(super) fn carry_out(&mut self, decision: Decision) {
        match decision {
            Decision::Admit { workload, placements, at, .. } => {
                self.awaited.remove(&workload);
                if let Some(record) = self.record_mut(&workload) {
                    record.started.get_or_insert(at);
                    record.nodes.clear();
                    record.outcome = Outcome::Running;
                }
                self.create(&workload, &placements);
            }
            Decision::Place { workload, placements, .. } => self.create(&workload, &placements),
            Decision::Move { workload, placement, .. } => {
                self.count_move(&workload);
                self.create(&workload, std::slice::from_ref(&placement));
            }
            Decision::Migrate { member, pod, way, .. } => {
                self.count_move(&member.workload);
                self.note_place(&member.workload, member.index, &way.to);
                self.migrate(&pod, &way.to);
            }
            Decision::Stop { workload, reason, for_whom } => {
                let at = self.now;
                let gives_way = reason.evicts();
                if let Some(record) = self.record_mut(&workload).filter(|_| gives_way) {
                    record.gave_way.push(GaveWay { at, reason, for_whom });
                    record.outcome = Outcome::Waiting;
                } else if reason == StopReason::Suspended
                    && let Some(record) = self.record_mut(&workload)
                {
                    record.outcome = Outcome::Waiting;
                }
                self.remove_pods(&workload, 0);
            }
            Decision::Shrink { workload, to, .. } => {
                if let Some(record) = self.record_mut(&workload) {
                    drop(record.nodes.split_off(&to));
                }
                self.remove_pods(&workload, to);
            }
            Decision::Drop { pod, reason, .. } => {
                if reason == DropReason::NodeLost {
                    self.lose_pod(&pod);
                } else {
                    self.later(self.now, Next::Gone(pod));
                }
            }
            Decision::Leave { member, pod, way, ready } => {
                if !ready {
                    self.note_restart(&member.workload, &pod, &way);
                }
                self.later(self.now, Next::Gone(pod));
            }
            Decision::GiveUpMove { member, pod, way, .. } => {
                self.note_place(&member.workload, member.index, &way.from);
                if let Some(pod) = pod {
                    self.later(self.now, Next::Gone(pod));
                }
            }
            Decision::Finish { workload, reason } => {
                let at = self.now;
                if let Some(record) = self.record_mut(&workload) {
                    record.ended = Some(at);
                    record.outcome = Outcome::Ended(reason);
                }
                // Nobody looks at it any more, save for disks that stay charged.
                let id = self.world.workload_ids.get(&workload).copied();
                let has_disks =
                    id.and_then(|id| self.world.workload(id)).is_some_and(|one| !one.disks.bytes.is_empty());
                if !has_disks {
                    self.forget(&workload);
                }
            }
            Decision::Expire { workload } => self.forget(&workload),
            // Machines are bound where they run, and run where their templates say.
            Decision::Bind { .. } | Decision::BindTarget { .. } | Decision::Arrive { .. } => {}
        }
    }

    fn count_move(&mut self, workload: &str) {
        if let Some(record) = self.record_mut(workload) {
            record.moves += 1;
        }
    }

    fn note_place(&mut self, workload: &str, index: u32, node: &Arc<str>) {
        if let Some(record) = self.record_mut(workload) {
            record.nodes.insert(index, Arc::clone(node));
        }
    }

    /// A pod leaves before the next one is there: if it ran, what it has done is lost.
    fn note_restart(&mut self, workload: &str, pod: &str, way: &Way) {
        let (at, why, for_whom) = (self.now, way.why, way.for_whom.clone());
        let ran = self.pods.get(pod).is_some_and(|pod| matches!(pod.spec.phase, PodPhase::Running { .. }));
        if let Some(record) = self.record_mut(workload).filter(|_| ran) {
            record.restarts.push(Restart { at, why, for_whom });
        }
    }

    /// A machine goes on running on another node.
    fn migrate(&mut self, pod: &Arc<str>, to: &Arc<str>) {
        let Some(known) = self.pods.get_mut(pod) else { return };
        let from = known.spec.node.replace(Arc::clone(to));
        let (lane, now) = (known.lane, self.now);
        if let Some(from) = from.and_then(|from| self.on_node.get_mut(&from)) {
            from.remove(pod);
        }
        self.on_node.entry(Arc::clone(to)).or_default().insert(Arc::clone(pod));
        if let Some(lane) = lane.and_then(|lane| self.history.lanes.get_mut(lane)) {
            lane.to = Some(now);
            let next = Lane { node: Arc::clone(to), from: now, to: None, ..lane.clone() };
            self.history.lanes.push(next);
            if let Some(known) = self.pods.get_mut(pod) {
                known.lane = Some(self.history.lanes.len() - 1);
            }
        }
        self.tell_pod(pod);
    }

    /// A pod begins to run.
    pub(super) fn runs(&mut self, uid: &Arc<str>) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.spec.phase = PodPhase::Running { ready_since: Some(now) };
            self.tell_pod(uid);
        }
    }

    /// A pod has done its work, if its node can say so.
    pub(super) fn ends(&mut self, uid: &Arc<str>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if pod.spec.node.as_ref().is_some_and(|node| self.silent.contains_key(node)) {
            pod.overdue = true;
            return;
        }
        if pod.spec.phase.ended() {
            return;
        }
        pod.spec.phase = PodPhase::Succeeded;
        let (lane, now) = (pod.lane, self.now);
        self.end_lane(lane, now);
        self.tell_pod(uid);
    }

    /// What ended on a node while it was silent is told now.
    pub(super) fn catch_up(&mut self, node: &Arc<str>) {
        let pods: Vec<Arc<str>> = self.on_node.get(node).into_iter().flatten().cloned().collect();
        for uid in pods {
            if self.pods.get(&uid).is_some_and(|pod| pod.overdue) {
                self.ends(&uid);
            }
        }
    }

    fn end_lane(&mut self, lane: Option<usize>, now: Time) {
        if let Some(lane) = lane.and_then(|lane| self.history.lanes.get_mut(lane)) {
            lane.to.get_or_insert(now);
        }
    }

    /// A pod is gone.
    pub(super) fn remove_pod(&mut self, uid: &Arc<str>) {
        let Some(pod) = self.pods.remove(uid) else { return };
        let now = self.now;
        self.end_lane(pod.lane, now);
        if let Some(there) = pod.spec.node.as_ref().and_then(|node| self.on_node.get_mut(node)) {
            there.remove(uid);
        }
        if let Some(member) = &pod.spec.member
            && let Some(workload) = self.workloads.get_mut(&member.workload)
        {
            workload.pods.remove(uid);
        }
        self.tell(Delta::PodGone(Arc::clone(uid)));
    }

    /// A pod is gone with its node.
    pub(super) fn lose_pod(&mut self, uid: &Arc<str>) {
        let lives = |pod: &&SimPod| !pod.spec.phase.ended();
        let whose = self.pods.get(uid).filter(lives).and_then(|pod| pod.spec.member.clone());
        let now = self.now;
        if let Some(record) = whose.and_then(|member| self.record_mut(&member.workload)) {
            record.losses.push(now);
        }
        self.remove_pod(uid);
    }

    fn remove_pods(&mut self, workload: &str, from: u32) {
        let Some(known) = self.workloads.get(workload) else { return };
        let index = |uid: &Arc<str>| self.pods.get(uid).and_then(|pod| Some(pod.spec.member.as_ref()?.index));
        let leaving: Vec<Arc<str>> =
            known.pods.iter().filter(|uid| index(uid).is_some_and(|index| index >= from)).cloned().collect();
        for uid in leaving {
            self.remove_pod(&uid);
        }
    }

    /// A workload and all that is of it is gone.
    pub(super) fn forget(&mut self, workload: &Arc<str>) {
        self.remove_pods(workload, 0);
        let id = self.world.workload_ids.get(workload).copied();
        let disks: Vec<u32> = id
            .and_then(|id| self.world.workload(id))
            .map(|one| one.disks.bytes.keys().copied().collect())
            .unwrap_or_default();
        for index in disks {
            self.tell(Delta::Disks { workload: Arc::clone(workload), index, bytes: Amount::ZERO });
        }
        self.workloads.remove(workload);
        self.tell(Delta::WorkloadGone(Arc::clone(workload)));
    }
}

/// A pod of the world as it was told.
fn pod_spec(world: &World, uid: &Arc<str>) -> Option<PodSpec> {
    let pod = world.pods.get(uid)?;
    let name = |id| world.node(id).map(|node| Arc::clone(&node.name));
    Some(PodSpec {
        uid: Arc::clone(uid),
        node: pod.node.and_then(name),
        // Whoever binds does so.
        bound: true,
        created: pod.created,
        terminating: pod.terminating,
        phase: pod.phase.clone(),
        requests: pod
            .requests
            .iter()
            .map(|(resource, amount)| (Arc::from(world.resources.name(resource)), amount))
            .collect(),
        host_ports: pod.ports.clone(),
        neighbour: world.peers.get(pod.peer).map(|peer| Arc::clone(&peer.who)).unwrap_or_default(),
        member: pod.member.clone(),
        maker: None,
        machine: pod.machine.clone(),
    })
}

/// Members that have a place and no pod yet.
fn assumed(world: &World) -> Vec<(WorkloadId, u32, u32, Arc<str>)> {
    let mut found = Vec::new();
    for (at, workload) in world.workloads.iter() {
        for (index, member) in (0_u32..).zip(&workload.members) {
            if let Slot::Assumed(node) = member.slot
                && let Some(node) = world.node(node)
            {
                found.push((WorkloadId(at), index, member.attempt, Arc::clone(&node.name)));
            }
        }
    }
    found
}
