//! A pool's queue, kept by classes of equal workloads.
//!
//! Workloads of one class are refused alike, so a class that was refused is set aside as a whole ("parked") and
//! is not looked at again until something that it may need has grown. Where declared durations decide who may pass,
//! those that run as long as the one that was refused, or longer, are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ids::{ShapeId, WorkloadId};
use super::proof::{Proof, Rest};
use super::refusal::Refusal;
use super::spec::Strategy;
use super::terms::PodTerm;
use super::time::{Span, Time};

/// Workloads that are decided alike in one pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Class {
    /// What a member asks for.
    pub shape: ShapeId,
    /// Least size.
    pub min_replicas: u32,
    /// Wanted size.
    pub replicas: u32,
    /// Where members go.
    pub strategy: Strategy,
    /// Kept together in the domains of this node label.
    pub topology_key: Option<Arc<str>>,
    /// Spread over the domains of this node label, with no more than that difference.
    pub spread: Option<(Arc<str>, u32)>,
    /// Required anti-affinity of pods that are there, as far as it means its members.
    pub guards: Vec<Arc<PodTerm>>,
    /// The namespace, where a pool above counts by namespace or the pool shares among namespaces.
    pub namespace: Option<Arc<str>>,
    /// Whether it may be evicted, and so be admitted on borrowed quota.
    pub preemptible: bool,
    /// Its disks are there, and are not asked for again.
    pub has_disks: bool,
}

/// Place in the order of a queue; it ends in the UID and so is total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Rank {
    /// Negated priority; 0 where the policy does not look at priority.
    pub urgency: i64,
    /// Creation of the workload.
    pub created: Time,
    /// UID of the workload.
    pub uid: Arc<str>,
}

/// The first workload of a class.
pub type Head = (Rank, WorkloadId, Class);

/// One that waits in a class.
type Waiter = (Rank, WorkloadId);

/// The workloads of one class that wait.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
struct Members {
    all: BTreeSet<Waiter>,
    /// Those that say how long they will run, by that.
    by_duration: BTreeMap<Span, BTreeSet<Waiter>>,
    /// Set aside, and why.
    parked: Option<Parked>,
    /// The one that is among the heads.
    head: Option<Waiter>,
    /// The one that is among those that wait for room.
    waits: Option<Waiter>,
    /// The kind of reason that was told last, and of whom: numbers change all the time, reasons seldom.
    told: Option<Told>,
    /// When moves are looked for again for it.
    rest: Option<Rest>,
}

/// Why those of a class are set aside.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Parked {
    refusal: Refusal,
    /// Only those that run for so long, or do not say, are set aside.
    from: Option<Span>,
    /// Why they would be refused again.
    pub proof: Option<Proof>,
}

type Told = (u8, Option<Span>);

impl Members {
    /// Those of whom another kind of reason is to be told than the last time.
    fn take_news(&mut self) -> Vec<WorkloadId> {
        let Some(Parked { refusal, from, .. }) = &self.parked else { return Vec::new() };
        let now = (refusal.kind(), *from);
        let before = self.told.replace(now);
        let all = |waiters: &BTreeSet<Waiter>| waiters.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        match (before, now) {
            (Some(before), now) if before == now => Vec::new(),
            (Some((kind, Some(one))), (same, Some(other))) if kind == same => {
                let between = one.min(other)..one.max(other);
                self.by_duration.range(between).flat_map(|(_, waiters)| all(waiters)).collect()
            }
            _ => all(&self.all),
        }
    }

    /// The first that is not set aside.
    fn first_open(&self) -> Option<&Waiter> {
        match &self.parked {
            None => self.all.first(),
            Some(Parked { from: None, .. }) => None,
            Some(Parked { from: Some(from), .. }) => {
                self.by_duration.range(..from).filter_map(|(_, some)| some.first()).min()
            }
        }
    }

    fn first_waiting(&self) -> Option<&Waiter> {
        self.all.first().filter(|_| self.parked.as_ref().is_some_and(|one| one.refusal.waits_for_room()))
    }

    fn refusal(&self, duration: Option<Span>) -> Option<&Refusal> {
        let parked = self.parked.as_ref()?;
        let shorter = parked.from.zip(duration).is_some_and(|(from, duration)| duration < from);
        (!shorter).then_some(&parked.refusal)
    }
}

/// The workloads of one pool that wait.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Queue {
    #[cfg_attr(feature = "controller", serde(with = "super::pairs"))]
    classes: BTreeMap<Class, Members>,
    heads: BTreeSet<Head>,
    /// The same by namespace, for classes that know theirs.
    heads_of: BTreeMap<Arc<str>, BTreeSet<Head>>,
    /// Classes that are parked.
    parked: BTreeSet<Class>,
    /// Classes that were parked since news were taken last.
    news: BTreeSet<Class>,
    /// The first of each class that is parked for want of room.
    waiting: BTreeSet<Waiter>,
    len: usize,
}

impl Queue {
    /// Adds a workload; `duration` is how long it says that it will run, where that decides who may pass.
    pub fn insert(&mut self, class: &Class, rank: Rank, duration: Option<Span>, workload: WorkloadId) {
        let members = self.classes.entry(class.clone()).or_default();
        let waiter = (rank, workload);
        if let Some(duration) = duration {
            members.by_duration.entry(duration).or_default().insert(waiter.clone());
        }
        // Others may give way to it who did not to those of its class.
        let is_more_urgent = members.all.first().is_some_and(|(first, _)| waiter.0.urgency < first.urgency);
        if is_more_urgent && members.parked.take().is_some() {
            self.parked.remove(class);
        }
        if members.all.insert(waiter) {
            self.len += 1;
        }
        self.refresh(class);
    }

    /// Takes a workload out.
    pub fn remove(&mut self, class: &Class, rank: &Rank, duration: Option<Span>, workload: WorkloadId) {
        let Some(members) = self.classes.get_mut(class) else { return };
        let waiter = (rank.clone(), workload);
        if let Some(duration) = duration
            && let Some(some) = members.by_duration.get_mut(&duration)
        {
            some.remove(&waiter);
            if some.is_empty() {
                members.by_duration.remove(&duration);
            }
        }
        if members.all.remove(&waiter) {
            self.len -= 1;
        }
        self.refresh(class);
        if self.classes.get(class).is_some_and(|members| members.all.is_empty()) {
            self.classes.remove(class);
            self.parked.remove(class);
        }
    }

    /// Puts those of a class where they belong that may have become its first.
    fn refresh(&mut self, class: &Class) {
        let Some(members) = self.classes.get_mut(class) else { return };
        let (head, waits) = (members.first_open().cloned(), members.first_waiting().cloned());
        let head_before = std::mem::replace(&mut members.head, head.clone());
        let waits_before = std::mem::replace(&mut members.waits, waits.clone());
        if head_before != head {
            for (one, add) in [(head_before, false), (head, true)] {
                if let Some((rank, workload)) = one {
                    self.set_head((rank, workload, class.clone()), add);
                }
            }
        }
        if waits_before != waits {
            if let Some(one) = waits_before {
                self.waiting.remove(&one);
            }
            self.waiting.extend(waits);
        }
    }

    fn set_head(&mut self, head: Head, add: bool) {
        if let Some(namespace) = head.2.namespace.clone() {
            let heads = self.heads_of.entry(Arc::clone(&namespace)).or_default();
            if add {
                heads.insert(head.clone());
            } else {
                heads.remove(&head);
            }
            if heads.is_empty() {
                self.heads_of.remove(&namespace);
            }
        }
        if add {
            self.heads.insert(head);
        } else {
            self.heads.remove(&head);
        }
    }

    /// Gives a workload of a class another rank.
    pub fn rerank(
        &mut self,
        class: &Class,
        before: &Rank,
        after: Rank,
        duration: Option<Span>,
        workload: WorkloadId,
    ) {
        let Some(members) = self.classes.get_mut(class) else { return };
        let waiter = (before.clone(), workload);
        let again = (after, workload);
        if let Some(some) = duration.and_then(|duration| members.by_duration.get_mut(&duration))
            && some.remove(&waiter)
        {
            some.insert(again.clone());
        }
        if members.all.remove(&waiter) {
            members.all.insert(again);
        }
        self.refresh(class);
    }

    /// The first workload of a class that is not parked.
    pub fn head(&self) -> Option<&Head> {
        self.heads.first()
    }

    /// The first workload of each class that is not parked, in order.
    pub fn heads(&self) -> impl Iterator<Item = &Head> {
        self.heads.iter()
    }

    /// The workloads of a class, in order.
    pub fn of_class(&self, class: &Class) -> impl Iterator<Item = (&Rank, WorkloadId)> {
        let members = self.classes.get(class).into_iter();
        members.flat_map(|members| &members.all).map(|(rank, workload)| (rank, *workload))
    }

    /// For each namespace, the first workload of a class that is not parked.
    pub fn heads_by_namespace(&self) -> impl Iterator<Item = (&Arc<str>, &Head)> {
        self.heads_of.iter().filter_map(|(namespace, heads)| Some((namespace, heads.first()?)))
    }

    /// The first of each class that is parked for want of room, in order of rank.
    pub fn all_waiting_for_room(&self) -> impl Iterator<Item = (&Rank, WorkloadId)> {
        self.waiting.iter().map(|(rank, workload)| (rank, *workload))
    }

    /// The first workload that is parked for a reason that others' leaving can end.
    pub fn first_waiting_for_room(&self) -> Option<(&Rank, WorkloadId)> {
        self.waiting.first().map(|(rank, workload)| (rank, *workload))
    }

    /// Sets a class aside, or with `from` those of it that run for so long or do not say.
    pub fn park(&mut self, class: &Class, refusal: Refusal, from: Option<Span>, proof: Option<Proof>) {
        self.park_again(class, Parked { refusal, from, proof });
        self.news.insert(class.clone());
    }

    /// Sets a class aside again for the reason for which it was.
    pub fn park_again(&mut self, class: &Class, parked: Parked) {
        let Some(members) = self.classes.get_mut(class) else { return };
        members.parked = Some(parked);
        self.parked.insert(class.clone());
        self.refresh(class);
    }

    /// Those who wait for another kind of reason than was told of them the last time.
    pub fn take_news(&mut self) -> Vec<WorkloadId> {
        let mut news = Vec::new();
        for class in std::mem::take(&mut self.news) {
            news.extend(self.classes.get_mut(&class).map(Members::take_news).unwrap_or_default());
        }
        news
    }

    /// Lets all parked classes be looked at again.
    pub fn unpark(&mut self) {
        for class in std::mem::take(&mut self.parked) {
            if let Some(members) = self.classes.get_mut(&class) {
                members.parked = None;
            }
            self.refresh(&class);
        }
    }

    /// Lets those parked classes be looked at again of which `holds` does not say that they would be refused again; these, and
    /// why they had been set aside.
    pub fn unpark_unless(
        &mut self,
        mut holds: impl FnMut(&Class, WorkloadId, &mut Proof) -> bool,
    ) -> Vec<(Class, Parked)> {
        let mut open = Vec::new();
        for class in &self.parked {
            let Some(members) = self.classes.get_mut(class) else { continue };
            let first = members.all.first().map(|(_, id)| *id);
            let proof = members.parked.as_mut().and_then(|parked| parked.proof.as_mut());
            if !proof.zip(first).is_some_and(|(proof, first)| holds(class, first, proof)) {
                open.extend(members.parked.take().map(|parked| (class.clone(), parked)));
            }
        }
        for (class, _) in &open {
            self.parked.remove(class);
            self.refresh(class);
        }
        open
    }

    /// When moves are looked for again for a class for which none were found.
    pub fn rest(&self, class: &Class) -> Option<Rest> {
        self.classes.get(class)?.rest
    }

    /// Notes that moves were looked for in vain for a class.
    pub fn set_rest(&mut self, class: &Class, rest: Rest) {
        if let Some(members) = self.classes.get_mut(class) {
            members.rest = Some(rest);
        }
    }

    /// The first of each class that is parked.
    #[cfg(test)]
    pub(crate) fn set_aside(&self) -> Vec<Head> {
        let first = |class: &Class| {
            let (rank, workload) = self.classes.get(class)?.all.first()?;
            Some((rank.clone(), *workload, class.clone()))
        };
        self.parked.iter().filter_map(first).collect()
    }

    /// Whether any class is parked.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Why one of a class that says to run for so long is parked, if it is.
    pub fn refusal(&self, class: &Class, duration: Option<Span>) -> Option<&Refusal> {
        self.classes.get(class)?.refusal(duration)
    }

    /// The first `count` workloads, in order.
    pub fn front(&self, count: usize) -> Vec<WorkloadId> {
        let mut cursors: BTreeSet<(&Rank, WorkloadId, &Class)> = self
            .classes
            .iter()
            .filter_map(|(class, members)| members.all.first().map(|(rank, id)| (rank, *id, class)))
            .collect();
        let mut front = Vec::new();
        while front.len() < count
            && let Some((rank, workload, class)) = cursors.pop_first()
        {
            front.push(workload);
            let after = (rank.clone(), WorkloadId(workload.0.saturating_add(1)));
            let rest = self.classes.get(class).and_then(|members| members.all.range(after..).next());
            if let Some((rank, workload)) = rest {
                cursors.insert((rank, *workload, class));
            }
        }
        front
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All that wait, by class.
    pub fn iter(&self) -> impl Iterator<Item = WorkloadId> + '_ {
        self.classes.values().flat_map(|members| &members.all).map(|(_, workload)| *workload)
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
