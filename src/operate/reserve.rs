//! Decisions that make pods are reserved in the ledger of their root pool before anything of them is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::ledger::ReserveError;
use super::term::{Ended, Term};
use crate::decide::decision::{Decision, Placement};
use crate::model::delta::{Delta, InFlight};
use crate::model::spec::MemberRef;
use crate::model::time::Time;
use crate::plan::ledger::Ledger;

/// Under load so many admissions shall share one write of the ledger.
const TOGETHER: u32 = 16;
/// Shortest and longest wait for others to share a reservation with.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));

/// How long the next reservation waits after one of `admissions`, the first after `since`: as long as it takes
/// for enough to come, if they go on coming as fast. A single one keeps nobody waiting.
pub(super) fn pause(admissions: usize, since: Duration) -> Duration {
    let (shortest, longest) = PAUSES;
    match u32::try_from(admissions).unwrap_or(u32::MAX) {
        0 | 1 => shortest,
        several => (since.saturating_mul(TOGETHER) / several).clamp(shortest, longest),
    }
}

/// What a decision places, as the ledger records it.
fn in_flight(decision: &Decision) -> Option<InFlight> {
    let (workload, pool, at, size, placements) = match decision {
        Decision::Admit { workload, pool, at, placements } => {
            (workload, pool, at, u32::try_from(placements.len()).unwrap_or(u32::MAX), placements.as_slice())
        }
        Decision::Place { workload, pool, admitted_at, size, placements } => {
            (workload, pool, admitted_at, *size, placements.as_slice())
        }
        Decision::Move { workload, pool, admitted_at, size, placement, way: _ } => {
            (workload, pool, admitted_at, *size, std::slice::from_ref(placement))
        }
        // What moves while it runs is told by its migration, and bound where the world keeps room for it.
        Decision::Migrate { .. }
        | Decision::BindTarget { .. }
        | Decision::Arrive { .. }
        | Decision::Leave { .. }
        | Decision::GiveUpMove { .. }
        | Decision::Stop { .. }
        | Decision::Shrink { .. }
        | Decision::Bind { .. }
        | Decision::Drop { .. }
        | Decision::Finish { .. }
        | Decision::Expire { .. } => return None,
    };
    let placements = placements
        .iter()
        .map(|Placement { index, attempt, node }| (*index, (*attempt, node.clone())))
        .collect();
    Some(InFlight { workload: workload.clone(), pool: pool.clone(), at: *at, size, placements })
}

impl Term {
    /// Reserves what must be. Returns what may now be carried out, in order; what does not fit into the ledger
    /// at once is held for a later cycle, and what cannot be reserved is taken back.
    pub(super) async fn reserve(
        &mut self,
        decisions: Vec<Decision>,
        now: Time,
    ) -> Result<Vec<Decision>, Ended> {
        let mut roots: BTreeMap<Arc<str>, (usize, Vec<InFlight>)> = BTreeMap::new();
        let mut go = Vec::new();
        let mut waiting: Vec<(Arc<str>, Decision)> = Vec::new();
        for decision in std::mem::take(&mut self.held).into_iter().chain(decisions) {
            let Some(flight) = in_flight(&decision) else {
                go.push(decision);
                continue;
            };
            if self.ledgers.covers(&flight) {
                // An older leader reserved it: it is finished exactly as it was recorded.
                go.push(decision);
                continue;
            }
            let root = self.world.root_name(&flight.pool).unwrap_or_else(|| flight.pool.clone());
            let room = self.ledgers.room(&root);
            let (bytes, flights) = roots.entry(root.clone()).or_default();
            let size = Ledger::size_of_entry(&flight);
            if *bytes > 0 && *bytes + size > room {
                self.held.push(decision);
                continue;
            }
            *bytes += size;
            flights.push(flight);
            waiting.push((root, decision));
        }
        if !waiting.is_empty() {
            let since = self.reserved_at.map_or(Duration::ZERO, |at| at.elapsed());
            self.pause = pause(waiting.len(), since);
        }
        let mut refused: BTreeMap<Arc<str>, String> = BTreeMap::new();
        for (root, (_, flights)) in roots {
            self.reserved_at = Some(Instant::now());
            match self.ledgers.reserve(&root, flights).await {
                Ok(found) => {
                    found_late(&root, &found);
                    self.unwritten.remove(&root);
                }
                Err(lost @ (ReserveError::Lost { .. } | ReserveError::NotLeading)) => {
                    warn!(%lost, "nothing more is reserved");
                    return Err(Ended::Lost);
                }
                Err(problem) => {
                    let words = problem.to_string();
                    let news = self.unwritten.insert(root.clone(), words.clone()).as_ref() != Some(&words);
                    // What is missing of rights is told for all roots at once.
                    if news && problem.lack().is_none() {
                        error!(%root, error = %problem, "nothing can be reserved");
                    }
                    refused.insert(root, words);
                }
            }
        }
        for (root, decision) in waiting {
            match refused.get(&root) {
                None => go.push(decision),
                Some(problem) => self.take_back(&decision, problem, now),
            }
        }
        Ok(go)
    }

    fn take_back(&mut self, decision: &Decision, problem: &str, now: Time) {
        let Some(flight) = in_flight(decision) else { return };
        for (index, (attempt, _)) in flight.placements {
            let member = MemberRef { workload: flight.workload.clone(), index, attempt };
            self.apply(Delta::MemberRefused { member, message: problem.into(), name_taken: false }, now);
        }
    }
}

/// What an older leader wrote into a ledger after the take-over. Its pods are nobody's members here and are
/// dropped when they show.
fn found_late(root: &Arc<str>, found: &[InFlight]) {
    for flight in found {
        warn!(%root, workload = %flight.workload, "an older leader admitted it after it had lost the lead");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_admissions_shares_reservations_and_a_single_one_keeps_nobody_waiting() {
        let millis = Duration::from_millis;
        assert_eq!(pause(1, millis(100)), millis(50));
        assert_eq!(pause(3, Duration::from_mins(1)), millis(250));
        assert_eq!(pause(8, millis(50)), millis(100));
        assert_eq!(pause(16, millis(100)), millis(100));
        assert_eq!(pause(40, millis(50)), millis(50));
        assert_eq!(pause(usize::MAX, millis(50)), millis(50));
    }
}
