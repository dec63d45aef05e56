//! One simulation under way: the clock, what comes next, and what happens from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::happening::Happening;
use super::history::{History, Outcome, Record};
use super::members::{SimPod, SimWorkload};
use super::{Settings, Simulated, Stopped};
use crate::decide::decision::Work;
use crate::decide::place::Placer;
use crate::model::delta::Delta;
use crate::model::lookup::Lookup;
use crate::model::spec::{NodeSpec, WorkloadSpec};
use crate::model::time::{Span, Time};
use crate::model::workloads::Phase;
use crate::model::world::World;
use crate::optimise::decide_and_solve_with;

/// It is decided so often at one time, at most: what comes true at once may call for another decision.
const MOST_ROUNDS: u32 = 1000;
/// Changes to nodes that are remembered, so that rankings can take them in.
const MOST_JOURNAL: usize = 1 << 20;
/// Where nothing happens any more, it is asked so often whether time alone changes anything.
const MOST_IDLE: u32 = 100;
/// For each workload and happening it is decided so often at most.
const CYCLES_EACH: u64 = 50;
const CYCLES_ALWAYS: u64 = 100_000;

/// What comes next.
#[derive(Clone, Debug)]
pub(super) enum Next {
    Happens(Happening),
    Runs(Arc<str>),
    Ends(Arc<str>),
    Gone(Arc<str>),
    Removed(Arc<str>),
}

/// A simulation.
#[derive(Debug)]
pub struct Run {
    pub(super) world: World,
    pub(super) now: Time,
    pub(super) settings: Settings,
    pub(super) history: History,
    pub(super) pods: Lookup<Arc<str>, SimPod>,
    pub(super) workloads: Lookup<Arc<str>, SimWorkload>,
    pub(super) on_node: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Nodes that fell silent, as they were.
    pub(super) silent: BTreeMap<Arc<str>, NodeSpec>,
    pub(super) count: u64,
    start: Time,
    next: BTreeMap<(Time, u64), Next>,
    order: u64,
    happenings: u64,
    wake_at: Option<Time>,
    stirred: bool,
    /// Workloads whose start is watched for.
    pub(super) awaited: BTreeSet<Arc<str>>,
    cycles: u64,
    work: Work,
    /// Nodes as they were ranked: kept as long as only pods and workloads come and go.
    placer: Placer,
}

impl Run {
    /// Begins with the world as it stands at `start`.
    pub fn new(world: World, start: Time, mut settings: Settings) -> Self {
        settings.step = Span(settings.step.0.max(1));
        let happenings = std::mem::take(&mut settings.happenings);
        let mut run = Self {
            world,
            now: start,
            settings,
            history: History::default(),
            pods: Lookup::default(),
            workloads: Lookup::default(),
            on_node: BTreeMap::new(),
            silent: BTreeMap::new(),
            count: 0,
            start,
            next: BTreeMap::new(),
            order: 0,
            happenings: happenings.len() as u64,
            wake_at: None,
            stirred: true,
            awaited: BTreeSet::new(),
            cycles: 0,
            work: Work::default(),
            placer: Placer::default(),
        };
        let all = run.world.workloads.iter();
        let mut there: Vec<(Time, Arc<str>)> =
            all.map(|(_, one)| (one.spec.created, Arc::clone(&one.spec.uid))).collect();
        there.sort();
        for (_, uid) in there {
            run.meet(&uid);
        }
        run.take_up();
        for (at, happening) in happenings {
            run.later(at, Next::Happens(happening));
        }
        run
    }

    /// Runs it to its end.
    pub fn go(mut self) -> Simulated {
        let stopped = self.advance(|_| false);
        self.finish(stopped)
    }

    /// Lets time pass until it ends, or `enough` says so.
    pub(super) fn advance(&mut self, mut enough: impl FnMut(&Self) -> bool) -> Stopped {
        let mut idle = 0;
        // Time alone may change something still: a silent node is lost, a pool evens out. Where it does not, all was over then.
        let mut changed_at = self.now;
        loop {
            let changed = self.settle();
            if enough(self) {
                return Stopped::TimeIsUp;
            }
            let known = self.history.records.len() as u64 + self.happenings;
            if self.cycles
                >= self.settings.most_cycles.min(known.saturating_mul(CYCLES_EACH).max(CYCLES_ALWAYS))
            {
                return Stopped::NoEnd;
            }
            let coming = self.next.first_key_value().map(|((at, _), _)| *at);
            if changed || coming.is_some() {
                (idle, changed_at) = (0, self.now);
            } else {
                idle += 1;
            }
            let Some(at) = coming.into_iter().chain(self.wake_at).min().filter(|_| idle < MOST_IDLE) else {
                self.now = changed_at;
                return Stopped::AtRest;
            };
            let at = self.rounded(at).max(self.now + Span(1));
            if let Some(until) = self.settings.until.filter(|until| at > *until) {
                self.now = until;
                return Stopped::TimeIsUp;
            }
            self.now = at;
        }
    }

    pub(super) fn finish(self, stopped: Stopped) -> Simulated {
        Simulated {
            start: self.start,
            end: self.now,
            stopped,
            history: self.history,
            world: self.world,
            cycles: self.cycles,
            work: self.work,
        }
    }

    /// The first time at which things happen that is not before `at`.
    fn rounded(&self, at: Time) -> Time {
        let since = (at - self.start).0;
        let step = self.settings.step.0;
        Time(self.start.0.saturating_add(since.saturating_add(step - 1) / step * step))
    }

    pub(super) fn later(&mut self, at: Time, next: Next) {
        self.order += 1;
        self.next.insert((self.rounded(at.max(self.now)), self.order), next);
    }

    fn forget_rankings(&mut self) {
        self.placer = Placer::default();
        self.world.journal.clear();
    }

    pub(super) fn tell(&mut self, delta: Delta) {
        if !matches!(
            delta,
            Delta::Pod(_)
                | Delta::PodGone(_)
                | Delta::Workload(_)
                | Delta::WorkloadGone(_)
                | Delta::Disks { .. }
        ) {
            self.forget_rankings();
        }
        let now = self.now;
        self.world.apply(delta, now);
        self.stirred = true;
    }

    pub(super) fn record_mut(&mut self, workload: &str) -> Option<&mut Record> {
        let at = self.workloads.get(workload)?.record;
        self.history.records.get_mut(at)
    }

    /// It is enough when all of these have started.
    pub(super) fn watch_for(&mut self, wanted: &BTreeSet<Arc<str>>) {
        self.awaited = wanted.iter().filter(|uid| self.workloads.contains_key(*uid)).cloned().collect();
    }

    /// Whether all that are watched for have started.
    pub(super) fn all_started(&self) -> bool {
        self.awaited.is_empty()
    }

    /// When each started that has.
    pub(super) fn starts_of(&self, wanted: &BTreeSet<Arc<str>>) -> BTreeMap<Arc<str>, Time> {
        let records =
            self.history.records.iter().filter(|record| wanted.contains(&record.uid) && !record.began_before);
        records.filter_map(|record| Some((Arc::clone(&record.uid), record.started?))).collect()
    }

    /// All that happens now, and what is decided of it, until nothing more follows. Whether anything has changed.
    fn settle(&mut self) -> bool {
        let mut any = false;
        for _ in 0..MOST_ROUNDS {
            while let Some(entry) = self.next.first_entry()
                && entry.key().0 <= self.now
            {
                let next = entry.remove();
                self.take(next);
                any = true;
            }
            let due = self.wake_at.is_some_and(|at| at <= self.now);
            if !self.stirred && !due {
                break;
            }
            self.stirred = false;
            if !self.settings.keeps_rankings || self.world.journal.len() > MOST_JOURNAL {
                self.forget_rankings();
            }
            let decided =
                decide_and_solve_with(&mut self.world, &mut self.placer, self.now, self.settings.solver);
            self.cycles += 1;
            self.work.add(&decided.work);
            self.wake_at = decided.wake_at.filter(|at| *at > self.now);
            any |= !decided.decisions.is_empty();
            for decision in decided.decisions {
                self.carry_out(decision);
            }
        }
        // Nobody writes statuses here.
        self.world.changed = crate::model::world::Changed::default();
        self.world.changed_pools.clear();
        if self.settings.keeps_history {
            any |= self.history.note_pools(&self.world, self.now);
        }
        any
    }

    fn take(&mut self, next: Next) {
        match next {
            Next::Runs(pod) => self.runs(&pod),
            Next::Ends(pod) => self.ends(&pod),
            Next::Gone(pod) => self.remove_pod(&pod),
            Next::Removed(workload) => self.removed(&workload),
            Next::Happens(happening) => self.happen(happening),
        }
    }

    fn removed(&mut self, workload: &Arc<str>) {
        let now = self.now;
        if let Some(record) = self.record_mut(workload) {
            record.ended = Some(now);
            record.outcome = Outcome::Removed;
        }
        self.forget(workload);
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Arrive(spec) => {
                let uid = Arc::clone(&spec.uid);
                self.tell(Delta::Workload(Box::new(WorkloadSpec { created: now, ..*spec })));
                self.meet(&uid);
            }
            Happening::Remove(uid) => self.removed(&uid),
            Happening::Join(spec) => {
                self.silent.remove(&spec.name);
                self.tell(Delta::Node(spec));
            }
            Happening::Fail(name) => {
                if let Some(spec) = self.node(&name).filter(|spec| spec.not_ready_since.is_none()) {
                    self.silent.insert(Arc::clone(&name), spec.clone());
                    self.tell(Delta::Node(Box::new(NodeSpec { not_ready_since: Some(now), ..spec })));
                }
            }
            Happening::Recover(name) => {
                self.silent.remove(&name);
                self.change_node(&name, |spec| spec.not_ready_since = None);
                self.catch_up(&name);
            }
            Happening::Leave(name) => {
                self.silent.remove(&name);
                self.tell(Delta::NodeGone(Arc::clone(&name)));
                let pods: Vec<Arc<str>> = self.on_node.remove(&name).into_iter().flatten().collect();
                for pod in pods {
                    self.lose_pod(&pod);
                }
            }
            Happening::Cordon(name) => self.change_node(&name, |spec| spec.unschedulable = true),
            Happening::Uncordon(name) => self.change_node(&name, |spec| {
                spec.unschedulable = false;
                spec.drain = false;
            }),
            Happening::Drain(name) => self.change_node(&name, |spec| {
                spec.unschedulable = true;
                spec.drain = true;
            }),
            Happening::Told(delta) => self.told(*delta),
        }
    }

    fn told(&mut self, delta: Delta) {
        let workload = match &delta {
            Delta::Workload(spec) => Some(Arc::clone(&spec.uid)),
            _ => None,
        };
        self.tell(delta);
        if let Some(uid) = workload.filter(|uid| !self.workloads.contains_key(uid)) {
            self.meet(&uid);
        }
    }

    fn node(&self, name: &str) -> Option<NodeSpec> {
        let id = *self.world.node_ids.get(name)?;
        self.world.node(id)?.spec.clone()
    }

    fn change_node(&mut self, name: &str, change: impl FnOnce(&mut NodeSpec)) {
        if let Some(mut spec) = self.node(name) {
            change(&mut spec);
            self.tell(Delta::Node(Box::new(spec)));
        }
    }

    /// Begins to note what becomes of a workload.
    fn meet(&mut self, uid: &Arc<str>) {
        let Some(workload) = self.world.workload_ids.get(uid).and_then(|id| self.world.workload(*id)) else {
            return;
        };
        if workload.gone {
            return;
        }
        let began = match &workload.phase {
            Phase::Admitted { at, started } => Some(started.unwrap_or(*at)),
            Phase::Stopping { at, .. } => Some(*at),
            // It ended long ago.
            Phase::Finished { .. } => return,
            Phase::Queued { .. } | Phase::Suspended => None,
        };
        let arrived = match &workload.phase {
            Phase::Queued { since } => *since,
            _ => workload.spec.created,
        };
        let spec = &workload.spec;
        let nodes = workload
            .members
            .iter()
            .zip(0..)
            .filter_map(|(member, index)| Some((index, self.world.node_of_member(member)?)))
            .filter_map(|(index, node)| Some((index, Arc::clone(&self.world.node(node)?.name))))
            .collect();
        let record = Record {
            uid: Arc::clone(uid),
            namespace: Arc::clone(&spec.namespace),
            name: Arc::clone(&spec.name),
            pool: Arc::clone(&spec.pool),
            priority: spec.priority,
            arrived: arrived.min(self.now),
            began_before: began.is_some(),
            started: began,
            ended: None,
            outcome: if began.is_some() { Outcome::Running } else { Outcome::Waiting },
            nodes,
            gave_way: Vec::new(),
            restarts: Vec::new(),
            moves: 0,
            losses: Vec::new(),
            duration: self.duration(uid),
        };
        self.history.records.push(record);
        let at = self.history.records.len() - 1;
        self.workloads.insert(Arc::clone(uid), SimWorkload { record: at, ..SimWorkload::default() });
    }
}
