//! A small stand-in for a cluster: it turns decisions into pods, in any order and with any delay.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::decide;
use crate::decide::decision::{Decided, Decision, Placement};
use crate::decide::testing::{LICENCE, NAMESPACE};
use crate::model::delta::{Delta, InFlight};
use crate::model::labelled::Maker;
use crate::model::refusal::{Bound, NodeRejection, NodeTally, Refusal};
use crate::model::report::{MemberState, WorkloadPhase};
use crate::model::spec::{
    Completion, MemberRef, NodeSpec, PodPhase, PodSpec, PoolSpec, StopReason, WorkloadRecord, WorkloadSpec,
};
use crate::model::terms::Neighbour;
use crate::model::time::Time;
use crate::model::world::{Tuning, World};

/// What a cluster would hold: objects, and creates that are under way.
#[derive(Clone, Default)]
pub(super) struct Cluster {
    pub(super) world: World,
    pub(super) now: Time,
    pub(super) pods: BTreeMap<Arc<str>, PodSpec>,
    pub(super) creating: Vec<PodSpec>,
    pub(super) workloads: BTreeMap<Arc<str>, WorkloadSpec>,
    pub(super) nodes: BTreeMap<Arc<str>, NodeSpec>,
    pub(super) pools: BTreeMap<Arc<str>, PoolSpec>,
    pub(super) ledger: BTreeMap<(Arc<str>, u32), InFlight>,
    pub(super) labels: BTreeMap<Arc<Maker>, Arc<str>>,
    pub(super) seen: Seen,
    /// Who gave way to whom, save for turns that ended; and whether a third one of the winner's pool was admitted
    /// since, which may be what borrows now, while the winner is what may be taken.
    pub(super) gave_way: BTreeMap<(Arc<str>, Arc<str>), bool>,
    /// Whether two workloads may evict each other in turn, since what pools are entitled to changes.
    pub(super) entitlements_change: bool,
}

/// That the random steps contend at all.
#[derive(Clone, Default, Debug)]
pub(super) struct Seen {
    pub(super) counts: BTreeMap<&'static str, u32>,
}

impl Seen {
    fn note_around(&mut self, tally: &NodeTally) {
        for (rejection, what) in [
            (NodeRejection::PodAntiAffinity, "kept apart"),
            (NodeRejection::ExistingAntiAffinity, "kept off"),
            (NodeRejection::TopologySpread, "spread"),
        ] {
            if tally.rejected.contains_key(&rejection) {
                self.note(what);
            }
        }
    }

    pub(super) fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Adds what was seen elsewhere.
    pub(super) fn add(&mut self, other: Self) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }
}

impl Cluster {
    pub(super) fn tell(&mut self, delta: Delta) {
        self.world.apply(delta, self.now);
    }

    pub(super) fn start() -> Self {
        let mut cluster =
            Self { world: World::new(Tuning::default()), now: Time(1_000_000), ..Self::default() };
        cluster.tell(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() });
        cluster.tell(Delta::Settled);
        cluster
    }

    /// Decides, and begins what was decided.
    pub(super) fn cycle(&mut self) -> Decided {
        let before: BTreeMap<_, _> = self
            .world
            .excesses()
            .into_iter()
            .map(|(name, resource, used, _)| ((name, resource), used))
            .collect();
        let decided = decide(&mut self.world, self.now);
        for (name, resource, used, bound) in self.world.excesses() {
            let was = before.get(&(Arc::clone(&name), resource)).copied().unwrap_or(0);
            assert!(used <= was, "{name} {resource:?}: {used} of {bound} is used, {was} was before deciding");
        }
        for decision in decided.decisions.clone() {
            self.begin(decision);
        }
        decided
    }

    fn begin(&mut self, decision: Decision) {
        match decision {
            Decision::Admit { workload, placements, pool, at } => {
                let spec = self.workloads[&workload].clone();
                let size = u32::try_from(placements.len()).unwrap();
                let done = self.world.workload_report(&workload).unwrap().succeeded.len();
                assert!(
                    size + done >= spec.min_replicas.min(spec.replicas),
                    "a gang starts whole or not at all"
                );
                self.seen.note("admitted");
                for ((_, winner), third) in &mut self.gave_way {
                    let there = self.workloads.get(winner).is_some_and(|winner| winner.pool == spec.pool);
                    *third |= there && *winner != workload;
                }
                if size > 1 {
                    self.seen.note("gang");
                }
                self.create(&workload, &pool, at, size, placements);
            }
            Decision::Place { workload, placements, pool, admitted_at, size } => {
                let index = placements[0].index;
                if self.workloads[&workload].dynamic && placements[0].attempt == 0 && index > 0 {
                    self.seen.note("grown");
                }
                self.create(&workload, &pool, admitted_at, size, placements);
            }
            Decision::Stop { workload, reason, for_whom } => {
                self.note_stop(&workload, reason, for_whom.as_deref());
                let pods: Vec<Arc<str>> = self.pods_of(&workload);
                for uid in pods {
                    self.terminate(&uid);
                }
            }
            Decision::Shrink { workload, to, .. } => {
                self.seen.note("shrunk");
                for uid in self.pods_of(&workload) {
                    let index = self.pods[&uid].member.as_ref().map_or(0, |member| member.index);
                    if index >= to {
                        self.terminate(&uid);
                    }
                }
            }
            Decision::Bind { member, .. }
            | Decision::Migrate { member, .. }
            | Decision::BindTarget { member, .. }
            | Decision::Arrive { member, .. } => {
                panic!("{member:?} is no machine, and is bound from the beginning")
            }
            Decision::Move { workload, placement, pool, admitted_at, size, way } => {
                assert_ne!(way.from, way.to);
                self.seen.note("moved");
                self.create(&workload, &pool, admitted_at, size, vec![placement]);
            }
            Decision::Leave { pod, ready, member, way } => {
                assert_ne!(way.from, way.to);
                let keeps = self.workloads[&member.workload].completion == Completion::KeepRunning;
                assert!(
                    ready || !keeps || self.pods[&pod].phase == PodPhase::Pending,
                    "{pod} is stopped first"
                );
                self.seen.note(if ready { "left for the next" } else { "left first" });
                self.terminate(&pod);
            }
            Decision::GiveUpMove { pod, .. } => {
                self.seen.note("move given up");
                if let Some(pod) = pod {
                    self.terminate(&pod);
                }
            }
            Decision::Drop { pod, .. } => self.terminate(&pod),
            Decision::Finish { .. } => {}
            Decision::Expire { workload } => self.delete_workload(&workload),
        }
    }

    fn note_stop(&mut self, victim: &Arc<str>, reason: StopReason, for_whom: Option<&str>) {
        self.seen.note(match reason {
            StopReason::Reclaimed => "reclaimed",
            StopReason::Preempted => "preempted",
            StopReason::SliceEnded => "slice ended",
            StopReason::Overdue => "overdue",
            _ => "stopped",
        });
        let spec = &self.workloads[victim];
        let gives_way = matches!(
            reason,
            StopReason::Reclaimed | StopReason::Preempted | StopReason::SliceEnded | StopReason::Overdue
        );
        assert!(!gives_way || spec.preemptible, "{victim} is not preemptible and gives way: {reason:?}");
        if !matches!(reason, StopReason::Reclaimed | StopReason::Preempted) {
            return;
        }
        let Some(for_whom) = for_whom else { return };
        let winner: Arc<str> = for_whom.replace(&format!("{NAMESPACE}/"), "uid-").into();
        let (turn, back) =
            ((Arc::clone(victim), Arc::clone(&winner)), (Arc::clone(&winner), Arc::clone(victim)));
        if !self.entitlements_change
            && let Some(third) = self.gave_way.get(&back)
        {
            assert!(
                *third && !self.gave_way.contains_key(&turn),
                "{victim} of {} gives way to {winner} ({reason:?}), which gave way to it before",
                spec.pool
            );
            self.seen.note("taken back after a third came");
        }
        self.gave_way.insert(turn, false);
        if !self.entitlements_change {
            self.seen.note("gave way at rest");
        }
    }

    fn create(
        &mut self,
        workload: &Arc<str>,
        pool: &Arc<str>,
        at: Time,
        size: u32,
        placements: Vec<Placement>,
    ) {
        let spec = &self.workloads[workload];
        // What no node offers, the pod does not ask for.
        let mut requests = spec.shape.as_ref().unwrap().requests.clone();
        requests.remove(LICENCE);
        let neighbour = Arc::new(self.world.as_neighbour(self.world.workload_ids[workload]));
        for placement in placements {
            let entry = InFlight {
                workload: Arc::clone(workload),
                pool: Arc::clone(pool),
                at,
                size,
                placements: [(placement.index, (placement.attempt, Arc::clone(&placement.node)))].into(),
            };
            // What is repeated after a restart was decided before, and late pods may have come since.
            let before = self.ledger.insert((Arc::clone(workload), placement.index), entry.clone());
            if before.is_none_or(|before| before.placements != entry.placements) {
                self.check_apart(&neighbour, &placement.node);
            }
            let uid: Arc<str> = format!("{workload}-{}-{}", placement.index, placement.attempt).into();
            assert!(!self.pods.contains_key(&uid), "a name is used once: {uid}");
            if self.creating.iter().any(|pod| pod.uid == uid) {
                continue;
            }
            self.creating.push(PodSpec {
                uid,
                node: Some(placement.node),
                bound: true,
                created: self.now,
                terminating: false,
                phase: PodPhase::Pending,
                requests: requests.clone(),
                host_ports: Vec::new(),
                neighbour: Arc::clone(&neighbour),
                member: Some(MemberRef {
                    workload: Arc::clone(workload),
                    index: placement.index,
                    attempt: placement.attempt,
                }),
                maker: None,
                machine: None,
            });
        }
    }

    /// Whoever keeps others off, or is kept off, is alone of that name on its node.
    fn check_apart(&self, who: &Neighbour, node: &Arc<str>) {
        // A pod whose create was under way when its workload was deleted comes late and goes at once; a place that was
        // reserved before it came is not given up for it.
        let lasts = |pod: &&PodSpec| {
            pod.member.as_ref().is_none_or(|member| self.workloads.contains_key(&member.workload))
        };
        let there = |pod: &&PodSpec| pod.node.as_ref() == Some(node) && !pod.phase.ended();
        let beside = self.pods.values().filter(there).filter(lasts);
        let called = |one: &Neighbour| one.labels.contains_key("app");
        for other in beside.map(|pod| &pod.neighbour).filter(|other| called(other) && called(who)) {
            assert!(
                who.apart.is_empty() && other.apart.is_empty(),
                "{who:?} is placed on {node} beside {other:?}"
            );
        }
    }

    fn pods_of(&self, workload: &Arc<str>) -> Vec<Arc<str>> {
        let ours = |pod: &&PodSpec| pod.member.as_ref().is_some_and(|member| member.workload == *workload);
        self.pods.values().filter(ours).map(|pod| Arc::clone(&pod.uid)).collect()
    }

    pub(super) fn show(&mut self, pod: PodSpec) {
        self.pods.insert(Arc::clone(&pod.uid), pod.clone());
        if let Some(member) = &pod.member {
            let key = (Arc::clone(&member.workload), member.index);
            let awaited = self.ledger.get(&key).and_then(|entry| entry.placements.get(&member.index));
            if awaited.is_some_and(|(attempt, _)| *attempt == member.attempt) {
                self.ledger.remove(&key);
            }
        }
        self.tell(Delta::Pod(Box::new(pod)));
    }

    /// Labels an object of others for a pool, or takes the label off.
    pub(super) fn label(&mut self, maker: Arc<Maker>, pool: Option<Arc<str>>) {
        match &pool {
            Some(pool) => drop(self.labels.insert(Arc::clone(&maker), Arc::clone(pool))),
            None => drop(self.labels.remove(&maker)),
        }
        self.tell(Delta::Labelled { maker, pool });
    }

    pub(super) fn terminate(&mut self, uid: &Arc<str>) {
        if let Some(pod) = self.pods.get(uid).cloned() {
            self.show(PodSpec { terminating: true, ..pod });
        }
    }

    pub(super) fn delete_workload(&mut self, uid: &Arc<str>) {
        if self.workloads.remove(uid).is_some() {
            self.tell(Delta::WorkloadGone(Arc::clone(uid)));
            for pod in self.pods_of(uid) {
                self.terminate(&pod);
            }
        }
    }

    pub(super) fn see_workload(&mut self, spec: WorkloadSpec) {
        self.workloads.insert(Arc::clone(&spec.uid), spec.clone());
        self.tell(Delta::Workload(Box::new(spec)));
    }

    /// At most one live pod for each index, save for pairs that are source and target of a move.
    fn check_one_each(&mut self) {
        let mut live: BTreeMap<(Arc<str>, u32), Arc<str>> = BTreeMap::new();
        let lives = |pod: &&PodSpec| {
            !pod.phase.ended() && !self.world.pods.get(&pod.uid).is_some_and(|known| known.lost)
        };
        for pod in self.pods.values().filter(lives) {
            let Some(member) = &pod.member else { continue };
            let other = live.insert((Arc::clone(&member.workload), member.index), Arc::clone(&pod.uid));
            let Some(other) = other else { continue };
            // Those of a workload that is gone go with it.
            let slot = self.world.find_member(member).and_then(|found| self.world.member(found));
            let Some(slot) = slot else { continue };
            let target = slot.moving.as_ref().and_then(|one| one.pod.as_ref());
            let pair = [slot.pod.as_ref(), target];
            assert!(
                pair.contains(&Some(&other)) && pair.contains(&Some(&pod.uid)),
                "two live pods, {other} and {}, of {slot:?}",
                pod.uid
            );
            self.seen.note("pair");
        }
    }

    pub(super) fn check(&mut self) {
        let wrong = self.world.audit();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.check_one_each();
        if self.world.pods.values().any(|pod| pod.charged_to.is_some()) {
            self.seen.note("labelled");
        }
        for uid in self.workloads.keys() {
            let report = self.world.workload_report(uid).unwrap();
            if let WorkloadPhase::Queued { refusal, .. } = report.phase {
                if let Refusal::WaitingForQuota { bound: Bound::Declared, .. } = refusal {
                    self.seen.note("licences");
                }
                match refusal {
                    Refusal::WaitingForQuota { .. } => self.seen.note("quota full"),
                    Refusal::NoFittingNode(tally) | Refusal::Fragmented { tally, .. } => {
                        self.seen.note("no node");
                        self.seen.note_around(&tally);
                    }
                    Refusal::RateLimited { .. } => self.seen.note("rate"),
                    Refusal::WouldDelay { .. } => self.seen.note("would delay"),
                    _ => {}
                }
            }
        }
    }

    /// The world built anew from what the cluster holds, as after a restart.
    pub(super) fn restart(&mut self) {
        self.seen.note("restart");
        let mut world = World::new(Tuning::default());
        let now = self.now;
        for pool in self.pools.values() {
            world.apply(Delta::Pool(Box::new(pool.clone())), now);
        }
        world.apply(Delta::Namespace { name: NAMESPACE.into(), labels: Default::default() }, now);
        for node in self.nodes.values() {
            world.apply(Delta::Node(Box::new(node.clone())), now);
        }
        for (maker, pool) in &self.labels {
            let (maker, pool) = (Arc::clone(maker), Some(Arc::clone(pool)));
            world.apply(Delta::Labelled { maker, pool }, now);
        }
        for pod in self.pods.values() {
            world.apply(Delta::Pod(Box::new(pod.clone())), now);
        }
        for spec in self.workloads.values() {
            let mut spec = spec.clone();
            spec.record = record(&self.world, &spec.uid);
            world.apply(Delta::Workload(Box::new(spec)), now);
        }
        for entry in self.ledger.values() {
            world.apply(Delta::InFlight(Box::new(entry.clone())), now);
        }
        world.apply(Delta::Settled, now);
        for pool in self.pools.keys() {
            let (mut old, mut new) = (self.world.clone(), world.clone());
            let amounts = |world: &mut World| {
                let report = world.pool_report(pool).unwrap();
                let by_name = |one: &crate::model::report::PoolResource| {
                    (one.capacity, one.unmanaged, one.allocated, one.borrowed, one.limit)
                };
                (report.running, report.resources.iter().map(by_name).collect::<Vec<_>>())
            };
            let (was, is) = (amounts(&mut old), amounts(&mut new));
            // Members that pause before they start again hold quota that no object shows, and those of a
            // workload that is gone are unmanaged pods to whoever never saw it.
            let orphaned = |pod: &PodSpec| {
                pod.member.as_ref().is_some_and(|member| !self.workloads.contains_key(&member.workload))
            };
            let orphans = self.pods.values().any(orphaned) || self.creating.iter().any(orphaned);
            // A node that is gone is given up by the next decision.
            let lost = |pod: &PodSpec| {
                let is_there = pod.node.as_ref().is_some_and(|node| self.nodes.contains_key(node));
                pod.member.is_some()
                    && (!is_there || self.world.pods.get(&pod.uid).is_some_and(|known| known.lost))
            };
            let lost = self.pods.values().any(lost);
            if !orphans && !lost && !pausing(&self.world, &self.workloads) {
                let members = |world: &World| {
                    let reports = self.workloads.keys().filter_map(|uid| world.workload_report(uid));
                    reports.map(|report| (report.phase, report.members)).collect::<Vec<_>>()
                };
                assert_eq!(
                    was,
                    is,
                    "pool {pool}: before the restart, and built from scratch\n{:?}\n{:?}\n{:?}",
                    members(&self.world),
                    members(&world),
                    self.ledger
                );
            }
        }
        self.world = world;
    }
}

fn pausing(world: &World, workloads: &BTreeMap<Arc<str>, WorkloadSpec>) -> bool {
    workloads
        .keys()
        .filter_map(|uid| world.workload_report(uid))
        .any(|report| report.members.iter().any(|member| member.state == MemberState::BackingOff))
}

/// What the status of a workload would say.
fn record(world: &World, uid: &str) -> WorkloadRecord {
    let report = world.workload_report(uid).unwrap();
    let mut record = WorkloadRecord {
        succeeded: report.succeeded.clone(),
        failures: report.failures.iter().copied().collect(),
        attempts: report.members.iter().map(|member| (member.index, member.attempt)).collect(),
        ..WorkloadRecord::default()
    };
    match report.phase {
        WorkloadPhase::Queued { since, .. } => record.queued_at = Some(since),
        WorkloadPhase::Admitted { at, size, started_at } => {
            record.admitted = Some((at, size));
            record.started_at = started_at;
        }
        WorkloadPhase::Stopping { reason, .. } => {
            record.stopping = Some(reason);
            record.evicted = None;
            record.admitted = Some((Time(0), report.desired));
        }
        WorkloadPhase::Suspended => record.suspended = true,
        WorkloadPhase::Finished { reason, at } => record.finished = Some((reason, at)),
    }
    record
}
