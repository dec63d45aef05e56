//! The same deciding under a virtual clock: members run for as long as they are expected to, nodes fail, join and leave, and
//! workloads arrive.
//!
//! There are no rules of its own here. A [`World`] is taken as it stands, [`decide`](crate::decide::decide) is asked whenever something has
//! happened, and what it decides comes true at once: pods run, leave and move without delay. A workload that gives way begins its
//! run anew. Time goes from one thing that happens to the next, in whole steps, so that things that happen close together
//! are taken together, as the operator does.

pub mod estimate;
pub mod happening;
pub mod history;
mod members;
pub mod random;
pub mod run;
pub mod statistics;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::decision::Decision;
use crate::model::delta::Delta;
use crate::model::time::{Span, Time};
use crate::model::workloads::{Phase, Workload};
use crate::model::world::World;
use crate::optimise::{Solver, solve};
use happening::Happening;
use history::History;
use random::Runs;

/// How it is simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nothing is simulated after that; none: until nothing more happens.
    pub until: Option<Time>,
    /// Of what is random.
    pub seed: u64,
    /// How long runs take, compared with what is expected.
    pub runs: Runs,
    /// How long workloads run that do not say so; none: for ever.
    pub default_duration: Option<Span>,
    /// How long workloads run, by UID, whatever they say: what was seen of others like them.
    pub durations: BTreeMap<Arc<str>, Span>,
    /// Things happen at multiples of that after the beginning; more than nothing.
    pub step: Span,
    /// What happens: when, and what. Any order will do.
    pub happenings: Vec<(Time, Happening)>,
    /// Whether lanes and pools are kept over time, which takes memory.
    pub keeps_history: bool,
    /// So many decisions are asked for at most.
    pub most_cycles: u64,
    /// Whether nodes stay ranked from one decision to the next: the same comes of it, faster.
    pub keeps_rankings: bool,
    /// Who answers for pools whose strategy is `Optimal`.
    pub solver: Solver,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            until: None,
            seed: 0,
            runs: Runs::Exactly,
            default_duration: None,
            durations: BTreeMap::new(),
            step: Span::seconds(1),
            happenings: Vec::new(),
            keeps_history: true,
            most_cycles: u64::MAX,
            keeps_rankings: true,
            solver: solve,
        }
    }
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing more happens: what runs then runs for ever, and what waits then waits for ever.
    AtRest,
    /// It came to the time that was asked for.
    TimeIsUp,
    /// It would have gone on for longer than it was worth: workloads give way to each other again and again.
    NoEnd,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// When it began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// Why.
    pub stopped: Stopped,
    /// What happened.
    pub history: History,
    /// The world at the end.
    pub world: World,
    /// How often it was decided.
    pub cycles: u64,
    /// What deciding looked at.
    pub work: crate::decide::decision::Work,
}

impl World {
    /// Whether any workload that has not ended says how long it runs: without that nobody's start can be estimated.
    pub fn declares_durations(&self) -> bool {
        let lives = |one: &Workload| !matches!(one.phase, Phase::Finished { .. } | Phase::Suspended);
        self.workloads.iter().any(|(_, one)| one.spec.expected_duration.is_some() && lives(one))
    }

    /// The node of that name, as it was seen.
    pub fn node_spec(&self, name: &str) -> Option<&crate::model::spec::NodeSpec> {
        self.node(*self.node_ids.get(name)?)?.spec.as_ref()
    }
}

/// Whether a workload that waits would be admitted if nothing else was there.
pub fn fits_alone(world: &World, now: Time, workload: &str) -> bool {
    let mut world = world.clone();
    let pods: Vec<Arc<str>> =
        world.pods.iter().filter(|(_, pod)| pod.member.is_some()).map(|(uid, _)| Arc::clone(uid)).collect();
    let others: Vec<Arc<str>> =
        world.workload_ids.keys().filter(|uid| &***uid != workload).cloned().collect();
    for uid in others {
        world.apply(Delta::WorkloadGone(uid), now);
    }
    for pod in pods {
        world.apply(Delta::PodGone(pod), now);
    }
    let decided = crate::optimise::decide_and_solve(&mut world, now);
    decided
        .decisions
        .iter()
        .any(|one| matches!(one, Decision::Admit { workload: uid, .. } if &**uid == workload))
}

/// Simulates from `start` on.
pub fn simulate(world: World, start: Time, settings: Settings) -> Simulated {
    run::Run::new(world, start, settings).go()
}

/// The same as long as that is not `over`; whether it was.
pub fn simulate_until(
    world: World,
    start: Time,
    settings: Settings,
    over: impl Fn() -> bool,
) -> (Simulated, bool) {
    let mut run = run::Run::new(world, start, settings);
    let mut was_over = false;
    let stopped = run.advance(|_| {
        was_over = over();
        was_over
    });
    (run.finish(stopped), was_over)
}
