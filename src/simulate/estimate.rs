//! When those at the front of queues will start, as far as that can be known.
//!
//! Nothing arrives any more, and all goes as expected: that is when they will *likely* start. *Earliest* is if everything that is known to
//! end takes half of its time. Whoever would wait for something of which nobody knows how long it takes has no
//! estimate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Settings;
use super::random::Runs;
use super::run::Run;
use crate::model::time::{Span, Time};
use crate::model::world::World;
use crate::optimise::solve_at_once;

/// When a workload will start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// If all takes half of its time.
    pub earliest: Time,
    /// If all goes as expected.
    pub likely: Time,
}

/// So far ahead it is looked.
const AHEAD: Span = Span::minutes(30 * 24 * 60);
/// So many decisions are asked for at most.
const MOST_CYCLES: u64 = 20_000;

/// Estimates for workloads that wait. `durations` are what was seen of others like them, by UID.
pub fn estimates(
    world: &World,
    now: Time,
    wanted: &BTreeSet<Arc<str>>,
    durations: &BTreeMap<Arc<str>, Span>,
) -> BTreeMap<Arc<str>, Estimate> {
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let likely = starts(world, now, wanted, durations, Runs::Exactly);
    let earliest = starts(world, now, wanted, durations, Runs::Times(0.5));
    let both = likely.into_iter().map(|(uid, likely)| {
        let earliest = earliest.get(&uid).copied().unwrap_or(likely);
        // Others that end sooner may let somebody else pass.
        (uid, Estimate { earliest: earliest.min(likely), likely: likely.max(earliest) })
    });
    both.collect()
}

fn starts(
    world: &World,
    now: Time,
    wanted: &BTreeSet<Arc<str>>,
    durations: &BTreeMap<Arc<str>, Span>,
    runs: Runs,
) -> BTreeMap<Arc<str>, Time> {
    let settings = Settings {
        until: Some(now + AHEAD),
        runs,
        durations: durations.clone(),
        keeps_history: false,
        most_cycles: MOST_CYCLES,
        // Within the operator no time is spent on programmes for what may come.
        solver: solve_at_once,
        ..Settings::default()
    };
    let mut run = Run::new(world.clone(), now, settings);
    run.watch_for(wanted);
    let _ = run.advance(Run::all_started);
    run.starts_of(wanted)
}
