//! When statuses are written in the pure runner: with the operator's pauses, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir::model::labelled::Maker;
use weir::model::time::{Span, Time};
use weir::plan::workload_status::Urgency;

const POOL_PAUSE: Span = Span::seconds(1);
const SOON: Span = Span::seconds(1);
const LATER: Span = Span::seconds(3);
/// After a write that did not go through.
pub const AGAIN: Span = Span(250);
/// Between two rounds of queue positions.
pub const POSITIONS_EVERY: Span = Span::seconds(60);
/// Positions that are written.
pub const POSITIONS: usize = 20;
/// Between two events of one object.
pub const EVENT_PAUSE: Span = Span::seconds(30);
/// What comes of labels of others' objects is told after that long, and again after that pause.
pub const LABEL_SETTLES: Span = Span::seconds(1);
pub const LABEL_PAUSE: Span = Span::seconds(5);

/// What is to be written when.
#[derive(Default)]
pub struct Records {
    /// By UID.
    pub workloads: BTreeMap<Arc<str>, Time>,
    /// By name.
    pub pools: BTreeMap<Arc<str>, Time>,
    /// By name, where a taint is to be written.
    pub nodes: BTreeMap<Arc<str>, Time>,
    /// Objects of others whose labels may be heeded now, or no longer.
    pub labels: BTreeMap<Arc<Maker>, Time>,
    waiting_since: BTreeMap<Arc<str>, Time>,
    pool_written: BTreeMap<Arc<str>, Time>,
    told: BTreeMap<Arc<str>, Time>,
    /// When positions were last counted.
    pub positions_at: Option<Time>,
    /// By UID, from 1.
    pub positions: BTreeMap<Arc<str>, u32>,
    /// When the use of pools is noted next.
    pub trends_at: Option<Time>,
}

impl Records {
    /// When the next one is due.
    pub fn next(&self) -> Option<Time> {
        let positions = self.positions_at.map(|at| at + POSITIONS_EVERY);
        let labels = self.labels.values().min().copied();
        let others = positions.into_iter().chain(self.trends_at).chain(labels);
        let objects = self.workloads.values().chain(self.pools.values()).chain(self.nodes.values());
        objects.copied().chain(others).min()
    }

    /// Those that are due, which are then not waited for any more.
    pub fn take_due<K: Ord + ?Sized>(records: &mut BTreeMap<Arc<K>, Time>, now: Time) -> Vec<Arc<K>> {
        let due: Vec<Arc<K>> =
            records.iter().filter(|(_, at)| **at <= now).map(|(name, _)| Arc::clone(name)).collect();
        for name in &due {
            records.remove(name);
        }
        due
    }

    /// Whether a status of that urgency is written now; else when it is looked at again.
    pub fn wait(&mut self, uid: &Arc<str>, urgency: Option<Urgency>, now: Time) -> bool {
        let Some(urgency) = urgency else {
            self.waiting_since.remove(uid);
            return false;
        };
        let since = *self.waiting_since.entry(Arc::clone(uid)).or_insert(now);
        let due = match urgency {
            Urgency::No | Urgency::Now => now,
            Urgency::Soon => since + SOON,
            Urgency::Later => since + LATER,
        };
        if due > now {
            self.workloads.insert(Arc::clone(uid), due);
            return false;
        }
        self.waiting_since.remove(uid);
        true
    }

    /// Whether a pool's status may be written now; else it is looked at again.
    pub fn may_write_pool(&mut self, name: &Arc<str>, now: Time) -> bool {
        let earliest = self.pool_written.get(name).map_or(now, |at| *at + POOL_PAUSE);
        if earliest > now {
            self.pools.insert(Arc::clone(name), earliest);
        }
        earliest <= now
    }

    /// A pool's status was written.
    pub fn pool_written(&mut self, name: &Arc<str>, now: Time) {
        self.pool_written.insert(Arc::clone(name), now);
    }

    /// Whether one more event may be told of this object, which was told nothing for so long.
    pub fn may_tell(&mut self, object: &Arc<str>, pause: Span, now: Time) -> bool {
        if self.told.get(object).is_some_and(|told| now < *told + pause) {
            return false;
        }
        self.told.insert(Arc::clone(object), now);
        true
    }
}
