//! Decisions told: counted, and one line each in the log, at the level debug, with the target `weir::decision`.

use std::fmt::Write as _;

use tracing::debug;

use super::term::Term;
use crate::decide::decision::{Decision, Placement, Way};
use crate::model::time::Time;
use crate::plan::reason::{of_finish, of_stop};

/// Where the lines are found: `RUST_LOG=info,weir::decision=debug`.
const DECISION: &str = "weir::decision";

impl Term {
    /// Counts a decision and logs it.
    pub(super) fn tell(&self, decision: &Decision, now: Time) {
        self.metrics.decided(decision.word());
        let uid = decision.workload();
        // The pods of a workload that is gone go with it, and need nothing from us.
        let Some(known) = self.catalog.get(uid) else { return };
        let pool = &known.spec.pool;
        match decision {
            Decision::Admit { pool, .. } => self.metrics.admitted(pool, self.world.waited_since(uid), now),
            Decision::Stop { reason, .. } if reason.evicts() => {
                self.metrics.evicted(pool, of_stop(*reason).as_str());
            }
            Decision::Finish { reason, .. } => self.metrics.ended(pool, of_finish(*reason).as_str()),
            _ => {}
        }
        log(decision, &known.spec.namespace, &known.spec.name, pool);
    }
}

/// A line with the same fields for each decision, and some of its own.
macro_rules! line {
    ($decision:expr, $namespace:expr, $name:expr, $pool:expr, $($field:tt)*) => {
        debug!(
            target: DECISION, decision = $decision.word(), namespace = %$namespace, name = %$name, pool = %$pool,
            $($field)*
        )
    };
}

fn log(decision: &Decision, namespace: &str, name: &str, pool: &str) {
    match decision {
        Decision::Admit { placements, .. } | Decision::Place { placements, .. } => {
            line!(decision, namespace, name, pool, members = placements.len(), nodes = nodes(placements));
        }
        Decision::Move { placement, way, .. } => {
            let Way { from, to, why, for_whom } = way;
            line!(decision, namespace, name, pool, index = placement.index, %from, %to, why = ?why, for_whom = for_whom.as_deref());
        }
        Decision::Migrate { member, way, .. } => {
            let Way { from, to, why, for_whom } = way;
            line!(decision, namespace, name, pool, index = member.index, %from, %to, why = ?why, for_whom = for_whom.as_deref());
        }
        Decision::Leave { member, way, ready, .. } => {
            let Way { from, to, why, for_whom } = way;
            line!(decision, namespace, name, pool, index = member.index, %from, %to, why = ?why, for_whom = for_whom.as_deref(), ready);
        }
        Decision::GiveUpMove { member, way, because, .. } => {
            let Way { from, to, why, for_whom } = way;
            line!(decision, namespace, name, pool, index = member.index, %from, %to, why = ?why, for_whom = for_whom.as_deref(), reason = ?because);
        }
        Decision::BindTarget { member, node, .. }
        | Decision::Arrive { member, node, .. }
        | Decision::Bind { member, node, .. } => {
            line!(decision, namespace, name, pool, index = member.index, %node);
        }
        Decision::Stop { reason, for_whom, .. } => {
            line!(
                decision,
                namespace,
                name,
                pool,
                reason = of_stop(*reason).as_str(),
                for_whom = for_whom.as_deref()
            );
        }
        Decision::Shrink { to, for_whom, .. } => {
            line!(decision, namespace, name, pool, to, for_whom = for_whom.as_deref());
        }
        Decision::Drop { member, reason, .. } => {
            let attempt = member.attempt;
            line!(decision, namespace, name, pool, index = member.index, attempt, reason = ?reason);
        }
        Decision::Finish { reason, .. } => {
            line!(decision, namespace, name, pool, reason = of_finish(*reason).as_str());
        }
        Decision::Expire { .. } => line!(decision, namespace, name, pool, reason = "ttlAfterFinished"),
    }
}

/// The nodes of placements, as far as one reads them: `a, b and 3 more`.
fn nodes(placements: &[Placement]) -> String {
    const MOST: usize = 8;
    let mut text = String::new();
    for (at, placement) in placements.iter().take(MOST).enumerate() {
        text.push_str(if at == 0 { "" } else { ", " });
        text.push_str(&placement.node);
    }
    if placements.len() > MOST {
        let _ = write!(text, " and {} more", placements.len() - MOST);
    }
    text
}
