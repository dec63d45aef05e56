//! A pool's queue, kept by classes of equal workloads.
//!
//! Workloads of one class are refused alike, so a class that was refused is set aside as a whole ("parked") and
//! is not looked at again until something that it may need has grown.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use super::ids::{ShapeId, WorkloadId};
use super::refusal::Refusal;
use super::spec::Strategy;
use super::time::{Span, Time};

/// Workloads that are decided alike in one pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// What a member asks for.
    pub shape: ShapeId,
    /// Least size.
    pub min_replicas: u32,
    /// Wanted size.
    pub replicas: u32,
    /// Where members go.
    pub strategy: Strategy,
    /// The namespace, where a pool above counts by namespace or the pool shares among namespaces.
    pub namespace: Option<Arc<str>>,
    /// How long it says that it will run, where that decides who may pass.
    pub duration: Option<Span>,
    /// Whether it may be evicted, and so be admitted on borrowed quota.
    pub preemptible: bool,
}

/// Place in the order of a queue; it ends in the UID and so is total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// The workloads of one pool that wait.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    classes: BTreeMap<Class, BTreeSet<(Rank, WorkloadId)>>,
    heads: BTreeSet<Head>,
    /// The same by namespace, for classes that know theirs.
    heads_of: BTreeMap<Arc<str>, BTreeSet<Head>>,
    parked: BTreeMap<Class, Refusal>,
    /// The kind of reason that each class was parked for last: numbers change all the time, reasons seldom.
    told: BTreeMap<Class, Discriminant<Refusal>>,
    /// The first of each class that is parked for want of room.
    waiting: BTreeSet<(Rank, WorkloadId)>,
    len: usize,
}

impl Queue {
    /// Adds a workload.
    pub fn insert(&mut self, class: &Class, rank: Rank, workload: WorkloadId) {
        let members = self.classes.entry(class.clone()).or_default();
        let before = members.first().cloned();
        if !members.insert((rank, workload)) {
            return;
        }
        self.len += 1;
        let after = members.first().cloned();
        self.change_first(class, before, after);
    }

    /// Takes a workload out.
    pub fn remove(&mut self, class: &Class, rank: &Rank, workload: WorkloadId) {
        let Some(members) = self.classes.get_mut(class) else { return };
        let before = members.first().cloned();
        if !members.remove(&(rank.clone(), workload)) {
            return;
        }
        self.len -= 1;
        let after = members.first().cloned();
        let empty = after.is_none();
        self.change_first(class, before, after);
        if empty {
            self.classes.remove(class);
            self.parked.remove(class);
            self.told.remove(class);
        }
    }

    fn change_first(
        &mut self,
        class: &Class,
        before: Option<(Rank, WorkloadId)>,
        after: Option<(Rank, WorkloadId)>,
    ) {
        if before == after {
            return;
        }
        let waits = self.parked.get(class).map(Refusal::waits_for_room);
        if let Some((rank, workload)) = before {
            self.waiting.remove(&(rank.clone(), workload));
            self.set_head((rank, workload, class.clone()), false);
        }
        match (waits, after) {
            (Some(true), Some(first)) => {
                self.waiting.insert(first);
            }
            (None, Some((rank, workload))) => self.set_head((rank, workload, class.clone()), true),
            (Some(false), Some(_)) | (_, None) => {}
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
    pub fn rerank(&mut self, class: &Class, before: &Rank, after: Rank, workload: WorkloadId) {
        let Some(members) = self.classes.get_mut(class) else { return };
        let first = members.first().cloned();
        if members.remove(&(before.clone(), workload)) {
            members.insert((after, workload));
        }
        let now = members.first().cloned();
        self.change_first(class, first, now);
    }

    /// The first workload of a class that is not parked.
    pub fn head(&self) -> Option<&Head> {
        self.heads.first()
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

    /// Sets a class aside; whether that is for another kind of reason than the last time.
    pub fn park(&mut self, class: &Class, refusal: Refusal) -> bool {
        let Some((rank, workload)) = self.classes.get(class).and_then(BTreeSet::first) else { return false };
        let (rank, workload) = (rank.clone(), *workload);
        self.set_head((rank.clone(), workload, class.clone()), false);
        let kind = discriminant(&refusal);
        if refusal.waits_for_room() {
            self.waiting.insert((rank, workload));
        }
        self.parked.insert(class.clone(), refusal);
        self.told.insert(class.clone(), kind) != Some(kind)
    }

    /// Lets all parked classes be looked at again.
    pub fn unpark(&mut self) {
        self.waiting.clear();
        for class in std::mem::take(&mut self.parked).into_keys() {
            if let Some((rank, workload)) = self.classes.get(&class).and_then(BTreeSet::first).cloned() {
                self.set_head((rank, workload, class), true);
            }
        }
    }

    /// Whether any class is parked.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Why a class is parked, if it is.
    pub fn refusal(&self, class: &Class) -> Option<&Refusal> {
        self.parked.get(class)
    }

    /// The workloads of a class, in order.
    pub fn class(&self, class: &Class) -> impl Iterator<Item = WorkloadId> + '_ {
        self.classes.get(class).into_iter().flatten().map(|(_, workload)| *workload)
    }

    /// The first `count` workloads, in order.
    pub fn front(&self, count: usize) -> Vec<WorkloadId> {
        let mut cursors: BTreeSet<(&Rank, WorkloadId, &Class)> = self
            .classes
            .iter()
            .filter_map(|(class, members)| members.first().map(|(rank, workload)| (rank, *workload, class)))
            .collect();
        let mut front = Vec::new();
        while front.len() < count
            && let Some((rank, workload, class)) = cursors.pop_first()
        {
            front.push(workload);
            let after = (rank.clone(), WorkloadId(workload.0.saturating_add(1)));
            if let Some((rank, workload)) = self.classes.get(class).and_then(|all| all.range(after..).next())
            {
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
        self.classes.values().flatten().map(|(_, workload)| *workload)
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
