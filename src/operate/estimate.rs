//! When those at the front of queues will start: reckoned once a minute on a copy of the world, beside the cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tracing::warn;

use super::term::Term;
use crate::decide::decision::Decision;
use crate::model::spec::FinishReason;
use crate::model::time::Time;
use crate::observe::durations::Durations;
use crate::simulate::estimate::{Estimate, estimates};

/// The cycle makes the copy: that takes at most so small a part of its time.
const PART: u32 = 500;
/// While it is reckoned, it is looked for that often.
const LOOK: Duration = Duration::from_millis(250);

type Found = BTreeMap<Arc<str>, Estimate>;

/// What is known of starts.
#[derive(Debug, Default)]
pub struct Estimates {
    /// How long workloads took.
    pub(super) durations: Durations,
    /// By UID, as last reckoned.
    pub(super) found: Found,
    /// What was said first, by UID, of those that wait.
    first: BTreeMap<Arc<str>, Time>,
    under_way: Option<JoinHandle<Found>>,
    not_before: Option<Instant>,
}

impl Estimates {
    /// When it is to be looked at.
    pub(super) fn next(&self, at: Instant) -> Option<Instant> {
        self.under_way.as_ref().map(|_| at + LOOK)
    }

    /// The workload is gone.
    pub(super) fn forget(&mut self, workload: &str) {
        self.found.remove(workload);
        self.first.remove(workload);
    }
}

impl Term {
    /// Begins to reckon the starts of those whose places are due to be written.
    pub(super) fn begin_estimates(&mut self, wanted: BTreeSet<Arc<str>>, at: Instant, now: Time) {
        let estimates_kept = &mut self.estimates;
        estimates_kept.found.retain(|uid, _| wanted.contains(uid));
        let waits = estimates_kept.not_before.is_some_and(|due| at < due);
        if wanted.is_empty() || estimates_kept.under_way.is_some() || waits {
            return;
        }
        let durations = estimates_kept.durations.expected(&self.catalog);
        if durations.is_empty() && !self.world.declares_durations() {
            return;
        }
        let world = self.world.clone();
        estimates_kept.not_before = Some(at + at.elapsed() * PART);
        estimates_kept.under_way = Some(spawn_blocking(move || estimates(&world, now, &wanted, &durations)));
    }

    /// Takes what was reckoned, and lets the statuses be looked at.
    pub(super) fn take_estimates(&mut self, at: Instant) {
        let Some(handle) = self.estimates.under_way.as_mut().filter(|handle| handle.is_finished()) else {
            return;
        };
        let done = handle.now_or_never();
        self.estimates.under_way = None;
        let found = match done {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                warn!(%error, "starts could not be estimated");
                return;
            }
            None => return,
        };
        for (uid, estimate) in &found {
            self.estimates.first.entry(uid.clone()).or_insert(estimate.likely);
            self.records.look_at(uid, at);
        }
        self.estimates.found = found;
    }

    /// What decisions tell of how right estimates were, and of how long workloads take.
    pub(super) fn learn(&mut self, decision: &Decision, now: Time) {
        match decision {
            Decision::Admit { workload, pool, .. } => {
                if let Some(likely) = self.estimates.first.remove(workload) {
                    self.metrics.estimated(pool, likely, now);
                }
                self.estimates.found.remove(workload);
            }
            Decision::Finish { workload, reason: FinishReason::Completed } => {
                let started = self.catalog.get(workload).and_then(|known| known.status().started_at);
                if let Some(started) = started {
                    let took = now - Time(started.0.as_millisecond());
                    self.estimates.durations.note(&self.catalog, workload, took);
                }
            }
            _ => {}
        }
    }
}
