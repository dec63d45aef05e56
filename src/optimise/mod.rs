//! Solving: the best answer to a batch that can be found in its time, and what no answer can pass.
//!
//! A problem is plain numbers ([`crate::model::batch`]), and so is its answer: this folder knows nothing of the
//! world, and has no part in deciding. It alone may take an answer from a solver that looks at the clock, so it runs
//! beside the cycle, and what it finds comes back as a delta. Without the feature `solver` it answers by `Balanced`,
//! by best fit and by the dynamic programme alone.

pub mod bins;
#[cfg(feature = "solver")]
pub mod capacity;
pub mod ceiling;
pub mod greedy;
pub mod kinds;
pub mod knapsack;
#[cfg(feature = "solver")]
pub mod patterns;
#[cfg(feature = "solver")]
mod pricing;
#[cfg(feature = "solver")]
pub mod programme;
#[cfg(feature = "solver")]
mod solver;
#[cfg(test)]
mod tests;

#[cfg(feature = "solver")]
use std::time::{Duration, Instant};

use crate::decide::decide_with;
use crate::decide::decision::Decided;
use crate::decide::place::Placer;
use crate::model::batch::{Answer, End, Figures, Pick, Problem};
use crate::model::delta::Delta;
use crate::model::time::Time;
use crate::model::world::World;

use bins::Bins;

/// The best answer that was found in the problem's time, never worse than what `Balanced` reaches.
pub fn solve(problem: &Problem) -> Answer {
    answer(problem, search)
}

/// The best answer that needs no programme and no clock: equal problems have equal answers, at once.
pub fn solve_at_once(problem: &Problem) -> Answer {
    answer(problem, |_, _| (None, false))
}

fn answer(problem: &Problem, search: impl Fn(&Problem, &mut Best) -> (Option<i64>, bool)) -> Answer {
    let balanced = greedy::balanced(problem);
    let least = problem.check(&balanced).unwrap_or(0);
    let mut best = Best { problem, value: least, picks: balanced };
    // Where it costs more to use a node than it is worth.
    best.offer(Vec::new());
    best.offer(greedy::best_fit(problem, &greedy::by_worth(problem)));
    let (bound, late) = match knapsack::one_node(problem) {
        Some((picks, most)) => {
            best.offer(picks);
            (Some(most), false)
        }
        None => search(problem, &mut best),
    };
    let Best { value, picks, .. } = best;
    // What is nearer to the bound than the solver reckons is the bound.
    let solved = bound.map(|bound| if bound - bound / 1_000_000 <= value { value } else { bound });
    // Where no programme was solved a coarser bound is known all the same. It may be reached, and is never passed.
    let ceiling = ceiling::of(problem).max(value);
    let bound = solved.map_or(ceiling, |bound| bound.min(ceiling));
    let end = match solved {
        _ if bound == value => End::Proven,
        _ if late => End::TimeLimit,
        Some(_) => End::Rounded,
        None => End::Greedy,
    };
    let bound = Some(bound);
    let figures = Figures {
        considered: problem.considered(),
        planned: u32::try_from(picks.len()).unwrap_or(u32::MAX),
        value,
        bound,
        balanced: least,
        end,
    };
    problem.answer(&picks, figures)
}

/// The best picks so far; only such count as [`Problem::check`] finds to fit.
struct Best<'a> {
    problem: &'a Problem,
    value: i64,
    picks: Vec<Pick>,
}

impl Best<'_> {
    fn offer(&mut self, picks: Vec<Pick>) {
        match self.problem.check(&picks) {
            Ok(value) if value > self.value => (self.value, self.picks) = (value, picks),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Looks for something better by the programmes: the bound, and whether time was over before they were solved.
#[cfg(feature = "solver")]
fn search(problem: &Problem, best: &mut Best) -> (Option<i64>, bool) {
    let began = Instant::now();
    let until = began + Duration::from_millis(u64::try_from(problem.time_limit.0.max(1)).unwrap_or(1));
    let balanced = best.picks.clone();
    let mut found = programme::relaxed(problem, until);
    for counts in &found.counts {
        best.offer(pack(problem, &found.kinds, counts));
    }
    // Patterns mostly lead near the best at once, so they come first also where whole numbers could prove it.
    let now = Instant::now();
    let patterns_until =
        if found.exact { now + until.saturating_duration_since(now).mul_f64(0.5) } else { until };
    if patterns_until.saturating_duration_since(now) >= patterns::LEAST {
        let known = [best.picks.as_slice(), balanced.as_slice()];
        if let Some(picks) = patterns::search(problem, &known, patterns_until) {
            best.offer(picks);
        }
    }
    let known = best.picks.clone();
    let before = found.counts.len();
    programme::whole(problem, &mut found, &known, until);
    for counts in found.counts.iter().skip(before) {
        best.offer(pack(problem, &found.kinds, counts));
    }
    (found.bound, found.late || Instant::now() >= until)
}

#[cfg(not(feature = "solver"))]
fn search(_: &Problem, _: &mut Best) -> (Option<i64>, bool) {
    (None, false)
}

/// Puts so many members of each class on each kind of nodes, the largest first and each where it fits best; gangs
/// that do not fit whole are left out, and what still fits then is added.
pub fn pack(problem: &Problem, kinds: &[kinds::Kind], counts: &[Vec<u32>]) -> Vec<Pick> {
    let mut bins = Bins::of(problem);
    let order = greedy::by_size(problem);
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); problem.classes.len()];
    for class in &order {
        for (kind, count) in kinds.iter().zip(counts.get(*class).map(Vec::as_slice).unwrap_or_default()) {
            for _ in 0..*count {
                let Some(node) = bins.tightest(*class, &kind.nodes) else { break };
                bins.put(*class, node);
                if let Some(places) = places.get_mut(*class) {
                    places.push(node);
                }
            }
        }
    }
    let mut picks = assemble(problem, &mut bins, &places);
    greedy::fill(problem, &mut bins, &greedy::by_worth(problem), &mut picks);
    picks
}

/// Members as whole workloads; those of which a gang is not whole are taken off their nodes again.
fn assemble(problem: &Problem, bins: &mut Bins, places: &[Vec<usize>]) -> Vec<Pick> {
    let mut picks = Vec::new();
    for (at, (class, places)) in problem.classes.iter().zip(places).enumerate() {
        let size = class.members.max(1) as usize;
        let gangs = places.chunks_exact(size).take(class.jobs.len());
        let whole: Vec<Pick> = gangs.map(|gang| (at, gang.to_vec())).collect();
        for node in places.iter().skip(whole.len() * size) {
            bins.take(at, *node);
        }
        picks.extend(whole);
    }
    picks
}

/// Who answers.
pub type Solver = fn(&Problem) -> Answer;

/// Decides, and answers what deciding asks of a solver: as the operator does it, but in one go. For all that runs
/// under a virtual clock.
pub fn decide_and_solve(world: &mut World, now: Time) -> Decided {
    world.journal.clear();
    decide_and_solve_with(world, &mut Placer::default(), now, solve)
}

/// The same with nodes that stay ranked, and with another solver.
pub fn decide_and_solve_with(world: &mut World, placer: &mut Placer, now: Time, solver: Solver) -> Decided {
    let mut all = decide_with(world, placer, now);
    // Each answer admits or sets aside what was asked about, so that this ends; the bound is for peace of mind.
    for _ in 0..MOST_ROUNDS {
        let questions = std::mem::take(&mut all.questions);
        if questions.is_empty() {
            break;
        }
        for problem in questions {
            world.apply(Delta::Solved(Box::new(solver(&problem))), now);
        }
        let Decided { decisions, wake_at, work, questions } = decide_with(world, placer, now);
        all.decisions.extend(decisions);
        all.wake_at = wake_at;
        all.work.add(&work);
        all.questions = questions;
    }
    all
}

/// Questions that are answered at one time of a virtual clock.
const MOST_ROUNDS: usize = 10_000;
