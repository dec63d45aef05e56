//! Who solves programmes: microlp, in Rust alone; those in whole numbers `HiGHS`, where Weir is built with the feature
//! `highs`. Linear ones take either of them milliseconds, so that they stay with microlp (`docs/optimal.md`, "The
//! solver", has the figures).

use std::time::Duration;

use good_lp::solvers::microlp::microlp;
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, WithMipGap, WithTimeLimit};

/// A programme as solvers read it: what is to be as much as possible, and what holds.
pub struct Lines {
    /// Its variables, with their bounds and where to begin.
    pub variables: ProblemVariables,
    /// What is to be as much as possible.
    pub objective: Expression,
    /// Expressions that are at most a number.
    pub rows: Vec<(Expression, f64)>,
    /// Expressions that are 0.
    pub equal: Vec<Expression>,
    /// The variables that are asked for.
    pub asked: Vec<Variable>,
}

/// What came of a programme.
pub struct Solved {
    /// What the variables that were asked for came to.
    pub values: Vec<f64>,
    /// What no answer passes.
    pub bound: f64,
    /// Nothing is better, and that is proven.
    pub finished: bool,
}

impl Lines {
    fn into_model<M: SolverModel>(self, solver: impl FnMut(good_lp::variable::UnsolvedProblem) -> M) -> M {
        let mut model = self.variables.maximise(self.objective).using(solver);
        for (row, most) in self.rows {
            model.add_constraint(row.leq(most));
        }
        for row in self.equal {
            model.add_constraint(row.eq(0.0));
        }
        model
    }
}

fn seconds(limit: Duration) -> f64 {
    limit.as_secs_f64().max(0.001)
}

/// Solves a programme whose variables need not be whole numbers. None if it was not solved in time.
pub fn linear(lines: Lines, limit: Duration) -> Option<Solved> {
    by_microlp(lines, limit)
}

/// Looks for the best answer in whole numbers until it is proven or time is over. None if there was none in time.
#[cfg(not(feature = "highs"))]
pub fn in_whole_numbers(lines: Lines, limit: Duration) -> Option<Solved> {
    by_microlp(lines, limit)
}

fn by_microlp(lines: Lines, limit: Duration) -> Option<Solved> {
    let (objective, asked) = (lines.objective.clone(), lines.asked.clone());
    let model = lines.into_model(microlp).with_time_limit(seconds(limit)).with_mip_gap(0.0).ok()?;
    let solved = model.solve().ok()?;
    let reached = objective.eval_with(&solved);
    let values = asked.into_iter().map(|variable| solved.value(variable)).collect();
    let solved = solved.into_inner();
    let stats = solved.stats();
    let finished = matches!(solved.gap(), Some(gap) if gap <= 1e-9) || stats.nodes_solved == 0;
    let bound = stats.best_bound.map_or(reached, |bound| bound.max(reached));
    Some(Solved { values, bound, finished })
}

/// Looks for the best answer in whole numbers until it is proven or time is over. None if there was none in time.
#[cfg(feature = "highs")]
pub fn in_whole_numbers(lines: Lines, limit: Duration) -> Option<Solved> {
    use good_lp::SolutionStatus;
    use good_lp::solvers::highs::highs;

    let (objective, asked) = (lines.objective.clone(), lines.asked.clone());
    // Deciding and the rest of the operator have the other cores.
    let model = lines.into_model(highs).set_threads(1).set_time_limit(seconds(limit));
    let solved = model.set_mip_rel_gap(0.0).ok()?.solve().ok()?;
    let reached = objective.eval_with(&solved);
    let finished = !matches!(solved.status(), SolutionStatus::TimeLimit);
    // The bound of a search that was ended is not handed on; then the linear programme's holds.
    let bound = if finished { reached } else { f64::INFINITY };
    Some(Solved {
        values: asked.into_iter().map(|variable| solved.value(variable)).collect(),
        bound,
        finished,
    })
}
