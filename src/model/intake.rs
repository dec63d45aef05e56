//! Workloads and namespaces come, change and go; queues are entered and left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ids::{PoolId, WorkloadId};
use super::indexes::IndexSet;
use super::queue::Rank;
use super::refusal::Refusal;
use super::selector::Labels;
use super::spec::{StopReason, WorkloadRecord, WorkloadSpec};
use super::time::Time;
use super::workloads::{Disks, Phase, Place, Workload};
use super::world::World;

impl World {
    /// A workload was seen.
    pub(crate) fn workload_seen(&mut self, mut spec: WorkloadSpec) {
        let Some(id) = self.workload_ids.get(&spec.uid).copied() else {
            self.workload_new(spec);
            return;
        };
        spec.record = WorkloadRecord::default();
        let Some(workload) = self.workload(id) else { return };
        if workload.spec == spec {
            return;
        }
        let holds = super::world::holds_quota(&workload.phase);
        self.dequeue(id);
        // The shape of what runs is that of the template it was made from, which cannot change meanwhile.
        if !holds {
            self.nominate(id, Vec::new());
            self.forget_peer(id);
            self.reshape(id, &spec);
        } else if let Some(workload) = self.workload(id) {
            spec.shape.clone_from(&workload.spec.shape);
            spec.labels.clone_from(&workload.spec.labels);
            spec.pool = Arc::clone(&workload.spec.pool);
        }
        let Some(workload) = self.workload(id) else { return };
        let (old_pool, new_pool) = (Arc::clone(&workload.spec.pool), Arc::clone(&spec.pool));
        // What is kept for it is charged as it was asked for.
        if self.workload(id).is_some_and(|workload| workload.spec.preemptible != spec.preemptible) {
            self.nominate(id, Vec::new());
        }
        if holds {
            // It may give way now to those to whom it did not.
            self.upheavals += 1;
        }
        self.list_admitted(id, false);
        self.with_members(id, |world| {
            if let Some(workload) = world.workload_mut(id) {
                workload.spec = spec;
                workload.grown_at = None;
            }
        });
        self.list_admitted(id, true);
        self.drains.values_mut().for_each(|tried_at| *tried_at = None);
        if old_pool != new_pool {
            self.unlist(id, &old_pool);
            self.by_pool.entry(Arc::clone(&new_pool)).or_default().insert(id);
            let pool = self.pool_ids.get(&new_pool).copied();
            self.move_workload(id, pool);
        }
        self.note_request(id);
        self.attend(id);
    }

    fn workload_new(&mut self, mut spec: WorkloadSpec) {
        let record = std::mem::take(&mut spec.record);
        let shape = spec.shape.as_ref().ok().map(|shape| self.shapes.intern(shape, &mut self.resources));
        let since = record.queued_at.unwrap_or(spec.created);
        let pool = self.pool_ids.get(&spec.pool).copied();
        let workload = Workload {
            gone: false,
            pool,
            shape,
            peer: None,
            phase: Phase::Queued { since },
            members: Vec::new(),
            succeeded: record.succeeded.clone(),
            failures: record.failures.clone(),
            attempts: record.attempts.clone(),
            last_failure: None,
            gang_failed: false,
            failed: false,
            place: None,
            refusal: Refusal::NotTried,
            refused_creates: 0,
            retry_at: None,
            refused_with: None,
            nominated: Vec::new(),
            victims: Vec::new(),
            awaited: Vec::new(),
            nominated_at: Time(0),
            stubborn: false,
            shrink_to: None,
            shrinks_for: None,
            grown_at: None,
            aged_from: spec.created,
            turn: None,
            evicted: None,
            asked: record.asked.clone().map(Box::new),
            disks: Disks::default(),
            timer: None,
            tried_at: None,
            spec,
        };
        let uid = Arc::clone(&workload.spec.uid);
        let pool_name = Arc::clone(&workload.spec.pool);
        let namespace = Arc::clone(&workload.spec.namespace);
        let id = WorkloadId(self.workloads.insert(workload));
        self.workload_ids.insert(uid, id);
        self.by_pool.entry(pool_name).or_default().insert(id);
        self.by_namespace.entry(namespace).or_default().insert(id);
        self.changed_pools.extend(pool);
        self.take_early_disks(id);
        self.note_request(id);
        if self.settled {
            self.resume(id, &record);
        } else {
            self.records.insert(id, record);
        }
        self.attend(id);
    }

    /// A workload is gone. Its members count until they are gone too.
    pub(crate) fn workload_gone(&mut self, uid: &Arc<str>) {
        let Some(id) = self.workload_ids.get(uid).copied() else { return };
        self.dequeue(id);
        self.nominate(id, Vec::new());
        let Some(workload) = self.workload_mut(id) else { return };
        workload.gone = true;
        if let Phase::Admitted { at, .. } | Phase::Stopping { at, .. } = workload.phase {
            self.set_phase(id, Phase::Stopping { reason: StopReason::Deleted, for_whom: None, at });
        }
        self.attend(id);
    }

    /// Forgets a workload that is gone and has no members left.
    pub(crate) fn forget_workload(&mut self, id: WorkloadId) {
        self.dequeue(id);
        self.nominate(id, Vec::new());
        self.set_timer(id, None);
        self.count_phase(id, false);
        self.with_members(id, |world| {
            if let Some(workload) = world.workload_mut(id) {
                workload.members.clear();
                workload.disks.bytes.clear();
            }
        });
        self.forget_peer(id);
        let Some(workload) = self.workloads.remove(id.0) else { return };
        if let Some(shape) = workload.shape {
            self.shapes.release(shape);
        }
        self.workload_ids.remove(&workload.spec.uid);
        self.unlist(id, &workload.spec.pool);
        if let Some(listed) = self.by_namespace.get_mut(&workload.spec.namespace) {
            listed.remove(&id);
            if listed.is_empty() {
                self.by_namespace.remove(&workload.spec.namespace);
            }
        }
        self.forget_moves(id);
        self.unplaced.remove(&id);
        self.requested.remove(&id);
        self.replay.remove(&id);
        self.attention.remove(&id);
        self.changed_pools.extend(workload.pool);
    }

    fn unlist(&mut self, id: WorkloadId, pool: &Arc<str>) {
        if let Some(listed) = self.by_pool.get_mut(pool) {
            listed.remove(&id);
            if listed.is_empty() {
                self.by_pool.remove(pool);
            }
        }
        self.changed_pools.extend(self.pool_ids.get(pool).copied());
    }

    fn reshape(&mut self, id: WorkloadId, spec: &WorkloadSpec) {
        let Some(workload) = self.workloads.get(id.0) else { return };
        if workload.spec.shape == spec.shape {
            return;
        }
        let before = workload.shape;
        let shape = spec.shape.as_ref().ok().map(|shape| self.shapes.intern(shape, &mut self.resources));
        if let Some(before) = before {
            self.shapes.release(before);
        }
        if let Some(workload) = self.workloads.get_mut(id.0) {
            workload.shape = shape;
            // Another template is another work: what ended and failed before counts no more.
            workload.succeeded = IndexSet::default();
            workload.failures = BTreeMap::new();
            workload.refused_creates = 0;
            workload.refused_with = None;
            workload.retry_at = None;
        }
    }

    /// A namespace was seen.
    pub(crate) fn namespace_seen(&mut self, name: &Arc<str>, labels: Labels) {
        if self.namespaces.get(name) != Some(&labels) {
            self.namespaces.insert(Arc::clone(name), labels);
            self.renamed();
            self.reckon_labelled(|maker, _| maker.namespace == *name);
            self.regate_namespace(name);
        }
    }

    /// A namespace is gone.
    pub(crate) fn namespace_gone(&mut self, name: &Arc<str>) {
        self.namespaces.remove(name);
        self.reckon_labelled(|maker, _| maker.namespace == *name);
        self.regate_namespace(name);
    }

    /// Terms that select namespaces may mean others now.
    fn renamed(&mut self) {
        if self.shapes.has_social() {
            self.grow();
        }
    }

    fn regate_namespace(&mut self, name: &Arc<str>) {
        let workloads: Vec<WorkloadId> = self.by_namespace.get(name).into_iter().flatten().copied().collect();
        for id in workloads {
            self.dequeue(id);
            self.attend(id);
        }
    }

    /// Puts a workload in a queue.
    pub(crate) fn enqueue(&mut self, id: WorkloadId, place: Place) {
        self.dequeue(id);
        let Some(pool) = self.pools.get_mut(place.pool.0) else { return };
        if place.overflow {
            pool.overflow.insert((place.rank.clone(), id));
        } else {
            pool.queue.insert(&place.class, place.rank.clone(), place.duration, id);
            self.change_use(place.pool, |sum| sum.queued += 1);
        }
        if let Some(workload) = self.workload_mut(id) {
            workload.place = Some(place);
        }
    }

    /// Gives a workload that waits in a queue another rank there.
    pub(crate) fn rerank(&mut self, id: WorkloadId, rank: Rank) {
        let Some(place) = self.workload_mut(id).and_then(|workload| workload.place.as_mut()) else { return };
        let before = std::mem::replace(&mut place.rank, rank);
        let place = place.clone();
        let Some(pool) = self.pools.get_mut(place.pool.0).filter(|_| before != place.rank) else { return };
        if place.overflow {
            pool.overflow.remove(&(before, id));
            pool.overflow.insert((place.rank, id));
        } else {
            pool.queue.rerank(&place.class, &before, place.rank, place.duration, id);
        }
    }

    /// Takes a workload out of its queue. One that `maxQueued` kept out may then enter.
    pub(crate) fn dequeue(&mut self, id: WorkloadId) {
        let Some(place) = self.workload_mut(id).and_then(|workload| workload.place.take()) else { return };
        let Some(pool) = self.pools.get_mut(place.pool.0) else { return };
        if place.overflow {
            pool.overflow.remove(&(place.rank, id));
            return;
        }
        pool.queue.remove(&place.class, &place.rank, place.duration, id);
        if pool.passed.is_some_and(|(passed, _)| passed == id) {
            pool.passed = None;
        }
        self.change_use(place.pool, |sum| sum.queued = sum.queued.saturating_sub(1));
        self.admit_overflow(place.pool);
    }

    /// Looks again at the first workload that `maxQueued` kept out, of this pool and of those that share a bound.
    fn admit_overflow(&mut self, pool: PoolId) {
        let bounded = self.pool(pool).and_then(|pool| {
            pool.path
                .iter()
                .rev()
                .find(|above| self.pool(**above).is_some_and(|above| above.spec.max_queued.is_some()))
                .copied()
        });
        let mut open: Vec<PoolId> = bounded.into_iter().collect();
        let mut first = None;
        // Parents may form a cycle.
        let mut met = BTreeSet::new();
        while let Some(id) = open.pop() {
            let Some(pool) = self.pool(id).filter(|_| met.insert(id)) else { continue };
            if let Some(candidate) = pool.overflow.first()
                && first.as_ref().is_none_or(|(rank, _)| candidate.0 < *rank)
            {
                first = Some(candidate.clone());
            }
            open.extend(&pool.children);
        }
        if let Some((_, id)) = first {
            self.attend(id);
        }
    }
}
