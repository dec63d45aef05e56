//! Statuses: what the world reports is written where it says something else than the status does.
//!
//! One status of an object is in flight at a time, pools are written once a second at most, and a workload that
//! merely goes on waiting is not written at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{debug, info};

use super::metrics::PoolSample;
use super::setback::Of;
use super::term::Term;
use crate::api::labels::FINALIZER;
use crate::model::labelled::Maker;
use crate::model::report::PoolReport;
use crate::model::time::Time;
use crate::observe::catalog::Catalog;
use crate::observe::labelled::News;
use crate::plan::workload_status::{InQueue, Urgency};
use crate::plan::write::{Script, Write};
use crate::plan::{StatusWrite, event, taint};

/// Between two statuses of one pool.
const POOL_PAUSE: Duration = Duration::from_secs(1);
/// A change that may be merged with the next one.
const SOON: Duration = Duration::from_secs(1);
/// A start that may be merged with what follows it: longer where many start at once, since kubelets then take
/// longer too and each start that is told by itself costs another write.
const LATER: Duration = Duration::from_secs(3);
const LATER_EACH: Duration = Duration::from_millis(10);
const LATER_AT_MOST: Duration = Duration::from_secs(10);
/// After a write that did not go through, the watch shows why.
const AGAIN: Duration = Duration::from_millis(250);
/// Queue positions are written that often, for so many of a pool.
const POSITIONS_EVERY: Duration = Duration::from_mins(1);
const POSITIONS: usize = 20;

/// Begins the names of scripts that are about nodes; UIDs and names of pools have no slash.
const NODE: &str = "node/";
/// Workloads whose statuses are looked at in one cycle.
const AT_ONCE: usize = 256;
/// Events of changed statuses: one of an object within that long, and so many at once, refilled each second.
const EVENT_PAUSE: Duration = Duration::from_secs(30);
/// Objects of others have no status that would say it later, so what comes of their labels is never left out. It is told
/// once pools and namespaces that come along with them are there, and again after a pause.
const LABEL_SETTLES: Duration = Duration::from_secs(1);
const LABEL_PAUSE: Duration = Duration::from_secs(5);
const EVENTS_AT_ONCE: f64 = 100.0;
const EVENTS_A_SECOND: f64 = 10.0;

/// What is to be recorded, and when.
#[derive(Debug, Default)]
pub struct Records {
    workloads: BTreeMap<Arc<str>, Instant>,
    pools: BTreeMap<Arc<str>, Instant>,
    /// Nodes whose taint is to be written.
    nodes: BTreeMap<Arc<str>, Instant>,
    /// Objects of others whose labels may be heeded now, or no longer.
    labels: BTreeMap<Arc<Maker>, Instant>,
    /// Changed since, where the write may wait.
    waiting_since: HashMap<Arc<str>, Instant>,
    pool_written: HashMap<Arc<str>, Instant>,
    events: Events,
    positions_at: Option<Instant>,
    positions: HashMap<Arc<str>, u32>,
    /// When the use of pools is noted next.
    trends_at: Option<Instant>,
}

impl Records {
    /// Everything is looked at once.
    pub fn all(&mut self, catalog: &Catalog) {
        let now = Instant::now();
        self.workloads.extend(catalog.workloads().map(|(uid, _)| (uid.clone(), now)));
        self.pools.extend(catalog.pools().map(|(name, _)| (name.clone(), now)));
    }

    /// When the next status is due.
    pub fn next(&self) -> Option<Instant> {
        let positions = self.positions_at.map(|at| at + POSITIONS_EVERY);
        let due = |records: &BTreeMap<Arc<str>, Instant>| records.values().min().copied();
        // What is in flight is looked at again when it is answered.
        let others = [positions, self.trends_at, self.labels.values().min().copied()];
        [due(&self.workloads), due(&self.pools), due(&self.nodes)].into_iter().chain(others).flatten().min()
    }

    /// The status of a workload is to be looked at.
    pub fn look_at(&mut self, workload: &Arc<str>, at: Instant) {
        self.workloads.insert(workload.clone(), at);
    }

    /// The workload is gone.
    pub fn forget(&mut self, workload: &str) {
        self.workloads.remove(workload);
        self.waiting_since.remove(workload);
        self.events.told.remove(workload);
        self.positions.remove(workload);
    }
}

/// From one time of the wall clock to a later one.
fn until(later: Time, now: Time) -> Duration {
    Duration::from_millis(u64::try_from((later - now).0).unwrap_or(0))
}

/// How long a start waits to be told, where so many statuses wait.
fn later(waiting: usize) -> Duration {
    let more = LATER_EACH.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
    LATER.saturating_add(more).min(LATER_AT_MOST)
}

/// Bounds the number of events.
#[derive(Debug, Default)]
struct Events {
    told: HashMap<Arc<str>, Instant>,
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Events {
    /// Whether one more may be told of this object, which was told nothing for so long.
    fn allow(&mut self, object: &Arc<str>, pause: Duration, at: Instant) -> bool {
        let since =
            self.filled_at.replace(at).map(|filled| at.saturating_duration_since(filled).as_secs_f64());
        self.tokens = since.map_or(EVENTS_AT_ONCE, |since| self.tokens + since * EVENTS_A_SECOND);
        self.tokens = self.tokens.min(EVENTS_AT_ONCE);
        if self.tokens < 1.0 || self.told.get(object).is_some_and(|told| at < *told + pause) {
            return false;
        }
        self.tokens -= 1.0;
        if self.told.len() > 10_000 {
            self.told.retain(|_, told| at < *told + EVENT_PAUSE);
        }
        self.told.insert(object.clone(), at);
        true
    }
}

impl Term {
    /// A status was written.
    pub(super) fn written(&mut self, object: &Arc<str>, version: &str, status: &Value) {
        self.ledgers.recorded(object);
        if self.catalog.get(object).is_some() {
            self.catalog.workload_written(object, version, status);
        } else {
            self.catalog.pool_written(object, version, status);
        }
    }

    /// A status was not written: it is looked at again when the watch has shown the object as it is.
    pub(super) fn not_written(&mut self, object: &Arc<str>) {
        self.look_again(object, Instant::now() + AGAIN);
    }

    /// What is recorded of an object is looked at then.
    pub(super) fn look_again(&mut self, object: &Arc<str>, due: Instant) {
        if self.catalog.get(object).is_some() {
            self.records.workloads.insert(object.clone(), due);
        } else if self.catalog.get_pool(object).is_some() {
            self.records.pools.insert(object.clone(), due);
        } else if let Some(node) = object.strip_prefix(NODE) {
            self.records.nodes.insert(node.into(), due);
        }
    }

    /// Writes the statuses that are due.
    pub(super) fn record(&mut self, now: Time) {
        let at = Instant::now();
        if self.world.is_settled() {
            let next = self.world.note_trends(now);
            self.records.trends_at = Some(at + until(next, now));
        }
        self.mark(at);
        if !self.world.is_settled() {
            return;
        }
        self.take_estimates(at);
        self.count_positions(at, now);
        self.tell_labels(at, now);
        let due = |records: &BTreeMap<Arc<str>, Instant>| -> Vec<Arc<str>> {
            records.iter().filter(|(_, due)| **due <= at).map(|(name, _)| name.clone()).collect()
        };
        // Not all at once: what comes meanwhile must be taken in too.
        for uid in due(&self.records.workloads).into_iter().take(AT_ONCE) {
            if self.writer.busy(&uid) {
                self.records.workloads.insert(uid, at + Duration::from_millis(20));
                continue;
            }
            match self.record_workload(&uid, at, now) {
                Some(later) => self.records.workloads.insert(uid, later),
                None => self.records.workloads.remove(&uid),
            };
        }
        for name in due(&self.records.pools) {
            let earliest = self.records.pool_written.get(&name).map_or(at, |written| *written + POOL_PAUSE);
            // A pool that comes into use is held at once; only its status keeps to its pace.
            let holds = self.wants_hold(&name) && self.setbacks.until(&name, Of::Hold, at).is_none();
            let paced = earliest > at && !holds;
            if paced || self.writer.busy(&name) {
                self.records.pools.insert(name, earliest.max(at + Duration::from_millis(20)));
                continue;
            }
            self.records.pools.remove(&name);
            self.record_pool(&name, at, now);
        }
        for name in due(&self.records.nodes) {
            self.record_node(&name, at);
        }
    }

    /// Marks what has changed.
    fn mark(&mut self, at: Instant) {
        let changed = self.world.take_changed();
        let touched = self.catalog.take_touched();
        for uid in changed.workloads.into_iter().chain(touched.workloads) {
            self.records.workloads.insert(uid, at);
        }
        for name in changed.pools.into_iter().chain(touched.pools) {
            let due = self.records.pools.entry(name).or_insert(at);
            // It may have been put off for longer, until somebody has waited for too long.
            *due = at.min(*due);
        }
        for maker in changed.labels {
            self.records.labels.entry(maker).or_insert(at + LABEL_SETTLES);
        }
        for name in changed.nodes {
            self.records.nodes.entry(name).or_insert(at);
        }
    }

    /// Tells objects of others what comes of their labels.
    fn tell_labels(&mut self, at: Instant, now: Time) {
        let due: Vec<Arc<Maker>> = self
            .records
            .labels
            .iter()
            .filter(|(_, due)| **due <= at)
            .map(|(maker, _)| maker.clone())
            .collect();
        for maker in due {
            let world = &self.world;
            let news = self.catalog.news_of_label(&maker, |pool| world.unheeded(&maker, pool));
            let Some(News { known, standing, reason, message }) = news else {
                self.records.labels.remove(&maker);
                continue;
            };
            if !self.records.events.allow(&known.uid, LABEL_PAUSE, at) {
                self.records.labels.insert(maker, at + LABEL_SETTLES);
                continue;
            }
            self.records.labels.remove(&maker);
            info!(?maker, reason = reason.as_str(), "a label for a pool");
            let event = event::of_label(&maker, &known, reason, &message, &self.instance, now);
            self.catalog.label_told(&maker, standing);
            let steps = vec![vec![Write::Event(Box::new(event))]];
            self.submit(Script { object: known.uid, steps }, None);
        }
    }

    fn count_positions(&mut self, at: Instant, now: Time) {
        if self.records.positions_at.is_some_and(|last| at < last + POSITIONS_EVERY) {
            return;
        }
        self.records.positions_at = Some(at);
        self.records.positions.clear();
        let pools: BTreeSet<Arc<str>> = self.world.pool_names().cloned().collect();
        for pool in pools {
            for (uid, position) in self.world.queue_front(&pool, POSITIONS) {
                self.records.workloads.entry(uid.clone()).or_insert(at);
                self.records.positions.insert(uid, position);
            }
        }
        let front: BTreeSet<Arc<str>> = self.records.positions.keys().cloned().collect();
        self.begin_estimates(front, at, now);
    }

    /// Writes the status of a workload if it must be written now; when it must be looked at again otherwise.
    fn record_workload(&mut self, uid: &Arc<str>, at: Instant, now: Time) -> Option<Instant> {
        if let Some(until) = self.setbacks.until(uid, Of::Record, at) {
            return Some(until);
        }
        let estimate = self.estimates.found.get(uid).copied();
        let place = self.records.positions.get(uid).map(|position| InQueue { position: *position, estimate });
        let Some(StatusWrite { urgency, write, next: _, event, alerts: _ }) =
            self.desk(now).workload_status(uid, place)
        else {
            self.records.waiting_since.remove(uid);
            return None;
        };
        let since = *self.records.waiting_since.entry(uid.clone()).or_insert(at);
        let due = match urgency {
            Urgency::No | Urgency::Now => at,
            Urgency::Soon => since + SOON,
            Urgency::Later => since + later(self.records.waiting_since.len()),
        };
        if due > at {
            return Some(due);
        }
        self.records.waiting_since.remove(uid);
        self.write_status(uid, write, event, Vec::new(), at);
        None
    }

    /// Puts the taint of a dedicated pool on a node, or takes it off.
    fn record_node(&mut self, name: &Arc<str>, at: Instant) {
        let object: Arc<str> = format!("{NODE}{name}").into();
        if self.writer.busy(&object) {
            self.records.nodes.insert(name.clone(), at + Duration::from_millis(20));
            return;
        }
        if let Some(until) = self.setbacks.until(&object, Of::Record, at) {
            self.records.nodes.insert(name.clone(), until);
            return;
        }
        self.records.nodes.remove(name);
        let wanted = self.world.wanted_taint(name).zip(self.catalog.get_node(name));
        let Some(write) = wanted.and_then(|(wanted, known)| taint::write(name, known, &wanted)) else {
            return;
        };
        info!(node = %name, ?write, "taints a node, or takes the taint off");
        self.submit(Script { object, steps: vec![vec![write]] }, None);
    }

    /// Whether a pool is in use and nothing keeps it from being deleted yet.
    fn wants_hold(&self, name: &str) -> bool {
        let held =
            |known: &crate::observe::catalog::Pool| known.finalizers.iter().any(|one| one == FINALIZER);
        self.world.pool_in_use(name) && self.catalog.get_pool(name).is_some_and(|known| !held(known))
    }

    fn record_pool(&mut self, name: &Arc<str>, at: Instant, now: Time) {
        let Some(report) = self.world.pool_report(name) else {
            self.metrics.pool_gone(name);
            return;
        };
        self.metrics.pool(name, self.sample(name, &report));
        let (status, finalizers) = self.desk(now).pool_status(name, &report);
        // Its status is told even where it cannot be held.
        let held_off = self.setbacks.until(name, Of::Hold, at);
        if let Some(due) = held_off {
            self.records.pools.insert(name.clone(), due);
        }
        if let Some(finalizers) = finalizers
            && held_off.is_none()
        {
            debug!(pool = %name, in_use = report.in_use, "holds or lets go of a pool");
            self.write_status(name, finalizers, None, Vec::new(), at);
            self.records.pools.insert(name.clone(), at + AGAIN);
            return;
        }
        if let Some(due) = self.desk(now).pool_due(name, &report) {
            self.records.pools.insert(name.clone(), at + until(due, now));
        }
        if let Some(until) = self.setbacks.until(name, Of::Record, at) {
            self.records.pools.insert(name.clone(), until);
            return;
        }
        let Some(StatusWrite { urgency: _, write, next: _, event, alerts }) = status else { return };
        self.records.pool_written.insert(name.clone(), at);
        self.write_status(name, write, event, alerts, at);
    }

    fn sample(&self, name: &Arc<str>, report: &PoolReport) -> PoolSample {
        let parent = self.catalog.get_pool(name).and_then(|known| known.spec.parent.as_deref());
        let root = self.world.root_name(name);
        let waiting = self.world.waiting_in(name);
        PoolSample::new(report, parent, root.as_deref(), waiting, self.world.resources())
    }

    fn write_status(
        &mut self,
        object: &Arc<str>,
        write: Write,
        event: Option<Box<Event>>,
        alerts: Vec<Event>,
        at: Instant,
    ) {
        let mut steps = vec![vec![write]];
        if let Some(event) = event
            && self.records.events.allow(object, EVENT_PAUSE, at)
        {
            steps.push(vec![Write::Event(event)]);
        }
        if !alerts.is_empty() {
            steps.push(alerts.into_iter().map(|event| Write::Event(Box::new(event))).collect());
        }
        self.submit(Script { object: object.clone(), steps }, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_told_soon_where_few_start_and_together_with_running_where_many_do() {
        assert_eq!(later(1), LATER + LATER_EACH);
        assert_eq!(later(100), Duration::from_secs(4));
        assert_eq!(later(5000), LATER_AT_MOST);
        assert_eq!(later(usize::MAX), LATER_AT_MOST);
    }

    #[test]
    fn events_are_bounded_for_one_object_and_for_all() {
        let at = Instant::now();
        let mut events = Events::default();
        assert!(events.allow(&"a".into(), EVENT_PAUSE, at));
        assert!(!events.allow(&"a".into(), EVENT_PAUSE, at + EVENT_PAUSE / 2));
        assert!(events.allow(&"a".into(), EVENT_PAUSE, at + EVENT_PAUSE));
        let told = (0..500)
            .filter(|index| events.allow(&format!("w{index}").into(), EVENT_PAUSE, at + EVENT_PAUSE))
            .count();
        assert_eq!(told, 99);
        assert!(events.allow(&"late".into(), EVENT_PAUSE, at + EVENT_PAUSE + Duration::from_secs(1)));
    }
}
