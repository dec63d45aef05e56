//! Decisions that make pods are reserved in the ledger of their root pool before anything of them is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{error, warn};

use super::ledger::ReserveError;
use super::term::{Ended, Term};
use crate::decide::decision::{Decision, Placement};
use crate::model::delta::{Delta, InFlight};
use crate::model::spec::MemberRef;
use crate::model::time::Time;
use crate::plan::ledger::Ledger;

/// What a decision places, as the ledger records it.
fn in_flight(decision: &Decision) -> Option<InFlight> {
    let (workload, pool, at, size, placements) = match decision {
        Decision::Admit { workload, pool, at, placements } => {
            (workload, pool, at, u32::try_from(placements.len()).unwrap_or(u32::MAX), placements)
        }
        Decision::Place { workload, pool, admitted_at, size, placements } => {
            (workload, pool, admitted_at, *size, placements)
        }
        Decision::Stop { .. } | Decision::Drop { .. } | Decision::Finish { .. } | Decision::Expire { .. } => {
            return None;
        }
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
        let mut refused: BTreeMap<Arc<str>, String> = BTreeMap::new();
        for (root, (_, flights)) in roots {
            self.reserved_at = Some(tokio::time::Instant::now());
            match self.ledgers.reserve(&root, flights).await {
                Ok(found) => found_late(&root, &found),
                Err(lost @ (ReserveError::Lost { .. } | ReserveError::NotLeading)) => {
                    warn!(%lost, "nothing more is reserved");
                    return Err(Ended::Lost);
                }
                Err(problem) => {
                    error!(%root, error = %problem, "nothing can be reserved");
                    refused.insert(root, problem.to_string());
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
