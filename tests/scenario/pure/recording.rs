//! What the pure runner writes of statuses and events, and when.

use std::sync::Arc;

use k8s_openapi::api::events::v1::Event;
use weir::model::time::Time;
use weir::observe::labelled::News;
use weir::plan::workload_status::InQueue;
use weir::plan::write::Write;
use weir::plan::{event, taint};
use weir::simulate::estimate::estimates;

use super::super::records::{
    AGAIN, EVENT_PAUSE, LABEL_PAUSE, LABEL_SETTLES, POSITIONS, POSITIONS_EVERY, Records,
};
use super::Pure;

impl Pure {
    /// Writes the statuses that are due.
    pub(super) fn record(&mut self) {
        let now = self.now();
        self.records.trends_at = Some(self.world.note_trends(now));
        let changed = self.world.take_changed();
        let touched = self.catalog.take_touched();
        for uid in changed.workloads.into_iter().chain(touched.workloads) {
            self.records.workloads.insert(uid, now);
        }
        for name in changed.pools.into_iter().chain(touched.pools) {
            let due = self.records.pools.entry(name).or_insert(now);
            *due = now.min(*due);
        }
        for name in changed.nodes {
            self.records.nodes.insert(name, now);
        }
        for maker in changed.labels {
            self.records.labels.entry(maker).or_insert(now + LABEL_SETTLES);
        }
        self.tell_labels(now);
        self.count_positions();
        for uid in Records::take_due(&mut self.records.workloads, now) {
            let estimate = self.estimates.get(&uid).copied();
            let place =
                self.records.positions.get(&uid).map(|position| InQueue { position: *position, estimate });
            let status = self.desk().workload_status(&uid, place);
            if self.records.wait(&uid, status.as_ref().map(|status| status.urgency), now)
                && let Some(status) = status
            {
                self.write_status(&uid, &status.write, status.event.map(Write::Event).as_ref(), &[]);
            }
        }
        for name in Records::take_due(&mut self.records.pools, now) {
            if !self.records.may_write_pool(&name, now) {
                continue;
            }
            let Some(report) = self.world.pool_report(&name) else { continue };
            let (status, finalizers) = self.desk().pool_status(&name, &report);
            if let Some(due) = self.desk().pool_due(&name, &report) {
                self.records.pools.insert(Arc::clone(&name), due);
            }
            if let Some(finalizers) = finalizers {
                self.write_status(&name, &finalizers, None, &[]);
                self.records.pools.insert(name, now + AGAIN);
            } else if let Some(status) = status {
                self.records.pool_written(&name, now);
                let event = status.event.map(Write::Event);
                self.write_status(&name, &status.write, event.as_ref(), &status.alerts);
            }
        }
        for name in Records::take_due(&mut self.records.nodes, now) {
            let Some(wanted) = self.world.wanted_taint(&name) else { continue };
            let write = self.catalog.get_node(&name).and_then(|known| taint::write(&name, known, &wanted));
            if let Some(write) = write {
                *self.taints.entry(name.to_string()).or_default() += 1;
                if !self.write(&format!("node/{name}").into(), &write) {
                    self.records.nodes.insert(name, now + AGAIN);
                }
            }
        }
    }

    fn write_status(&mut self, object: &Arc<str>, write: &Write, event: Option<&Write>, alerts: &[Event]) {
        let now = self.now();
        if !self.write(object, write) {
            return;
        }
        if let Some(event) = event
            && self.records.may_tell(object, EVENT_PAUSE, now)
        {
            self.write(object, event);
        }
        for event in alerts {
            self.write(object, &Write::Event(Box::new(event.clone())));
        }
    }

    fn tell_labels(&mut self, now: Time) {
        for maker in Records::take_due(&mut self.records.labels, now) {
            let world = &self.world;
            let news = self.catalog.news_of_label(&maker, |pool| world.unheeded(&maker, pool));
            let Some(News { known, standing, reason, message }) = news else { continue };
            if self.records.may_tell(&known.uid, LABEL_PAUSE, now) {
                self.catalog.label_told(&maker, standing);
                let event = event::of_label(&maker, &known, reason, &message, "test", now);
                self.write(&known.uid, &Write::Event(Box::new(event)));
            } else {
                self.records.labels.insert(maker, now + LABEL_SETTLES);
            }
        }
    }

    fn count_positions(&mut self) {
        let now = self.now();
        if self.records.positions_at.is_some_and(|at| now < at + POSITIONS_EVERY) {
            return;
        }
        self.records.positions_at = Some(now);
        self.records.positions.clear();
        let pools: Vec<Arc<str>> = self.world.pool_names().cloned().collect();
        for pool in pools {
            for (uid, position) in self.world.queue_front(&pool, POSITIONS) {
                self.records.workloads.entry(Arc::clone(&uid)).or_insert(now);
                self.records.positions.insert(uid, position);
            }
        }
        let front = self.records.positions.keys().cloned().collect();
        let expected = self.durations.expected(&self.catalog);
        self.estimates = estimates(&self.world, now, &front, &expected);
    }
}
