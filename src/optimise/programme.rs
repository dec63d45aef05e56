//! The mixed-integer programme over classes of workloads and kinds of nodes; `docs/optimal.md` writes it out.
//!
//! Variables: of each class how many workloads are admitted, of each class and kind how many members go there, of each
//! kind of idle nodes how many are put to use. Amounts are divided by the most that a node offers, so that
//! coefficients stay within a few orders of magnitude of 1.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use good_lp::{Expression, ProblemVariables, Variable, variable};

use crate::model::batch::{Pick, Problem};

use super::kinds::{self, Kind};
use super::solver::{self, Lines};

/// What came of a search.
#[derive(Debug, Default)]
pub struct Found {
    /// The nodes, as they were taken together.
    pub kinds: Vec<Kind>,
    /// What may be the best: by class and kind, how many members go there.
    pub counts: Vec<Vec<Vec<u32>>>,
    /// What no answer is worth more than.
    pub bound: Option<i64>,
    /// Each node was looked at by itself: what solves the programme solves the problem.
    pub exact: bool,
    /// The time was over before the programme was solved.
    pub late: bool,
}

/// Programmes with more variables are solved without the demand for whole numbers, and rounded.
const MOST_WHOLE: usize = 4_000;
/// Beyond so many nothing is solved: to read the programme would take longer than its time.
const MOST_VARIABLES: usize = 60_000;

/// The bound, and what may be near it: by the linear programme, until a part of the time is over.
pub fn relaxed(problem: &Problem, until: Instant) -> Found {
    let left = until.saturating_duration_since(Instant::now());
    let kinds = kinds::of(problem);
    let size = kinds.len().saturating_mul(problem.classes.len());
    let mut found = Found { kinds, ..Found::default() };
    if size == 0 || size > MOST_VARIABLES {
        found.late = size > 0;
        return found;
    }
    found.exact = found.kinds.iter().all(|kind| kind.nodes.len() == 1) && size <= MOST_WHOLE;
    match Programme::of(problem, &found.kinds, None).solve(left.mul_f64(0.6)) {
        Some(relaxed) => {
            found.bound = Some(relaxed.bound);
            found.counts.push(relaxed.counts);
        }
        None => found.late = true,
    }
    found
}

/// Looks in whole numbers for the best answer until time is over, beginning with one that is known; for programmes that
/// are exact. Over kinds of several nodes whole numbers are no nearer to what can be packed.
pub fn whole(problem: &Problem, found: &mut Found, known: &[Pick], until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    if !found.exact || left.is_zero() {
        return;
    }
    let start = start(problem, &found.kinds, known);
    match Programme::of(problem, &found.kinds, Some(&start)).solve(left) {
        Some(whole) => {
            found.late |= !whole.finished;
            found.bound = Some(found.bound.map_or(whole.bound, |bound| bound.min(whole.bound)));
            found.counts.push(whole.counts);
        }
        None => found.late = true,
    }
}

/// What no answer is worth more than, by the linear programme: whole numbers are not asked for.
pub fn bound(problem: &Problem, limit: Duration) -> Option<i64> {
    let kinds = kinds::of(problem);
    Some(Programme::of(problem, &kinds, None).solve(limit)?.bound)
}

/// A known answer in the programme's terms: by class and kind how many members, by kind how many nodes are put to use.
struct Start {
    members: Vec<Vec<u32>>,
    opened: Vec<u32>,
}

fn start(problem: &Problem, kinds: &[Kind], known: &[Pick]) -> Start {
    let mut kind_of: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, kind) in kinds.iter().enumerate() {
        kind_of.extend(kind.nodes.iter().map(|node| (*node, at)));
    }
    let mut members = vec![vec![0; kinds.len()]; problem.classes.len()];
    let mut used: BTreeMap<usize, usize> = BTreeMap::new();
    for (class, places) in known {
        for node in places {
            let Some(kind) = kind_of.get(node) else { continue };
            if let Some(count) = members.get_mut(*class).and_then(|row| row.get_mut(*kind)) {
                *count += 1;
            }
            used.insert(*node, *kind);
        }
    }
    let mut opened = vec![0; kinds.len()];
    for kind in used.into_values() {
        opened[kind] += 1;
    }
    Start { members, opened }
}

/// What a programme came to.
struct Outcome {
    counts: Vec<Vec<u32>>,
    bound: i64,
    finished: bool,
}

/// A programme, ready to be solved: the lines of [`Lines`], and what its variables stand for.
struct Programme {
    variables: ProblemVariables,
    objective: Expression,
    rows: Vec<(Expression, f64)>,
    equal: Vec<Expression>,
    members: Vec<Vec<Option<Variable>>>,
    /// Whole numbers are asked for.
    whole: bool,
    /// What 1 of the objective is worth.
    unit: f64,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "the solver reckons in floating point; answers are checked in whole numbers"
)]
fn float(number: i64) -> f64 {
    number as f64
}

impl Programme {
    /// Without a start whole numbers are not asked for.
    fn of(problem: &Problem, kinds: &[Kind], start: Option<&Start>) -> Self {
        let whole = |least: f64, most: f64, begin: Option<u32>| {
            let one = variable().clamp(least, most);
            match (start, begin) {
                (Some(_), Some(begin)) => one.integer().initial(f64::from(begin)),
                (Some(_), None) => one.integer(),
                (None, _) => one,
            }
        };
        let mut variables = ProblemVariables::new();
        let mut objective = Expression::default();
        let mut equal = Vec::new();
        let mut admitted = Vec::new();
        let mut members: Vec<Vec<Option<Variable>>> = Vec::new();
        let unit = float(problem.classes.iter().map(|class| class.value).max().unwrap_or(1).max(1));
        for (at, class) in problem.classes.iter().enumerate() {
            let jobs = u32::try_from(class.jobs.len()).unwrap_or(u32::MAX);
            let row = start.and_then(|start| start.members.get(at));
            let begin = row.map(|row| row.iter().sum::<u32>() / class.members.max(1));
            let some = variables.add(whole(0.0, f64::from(jobs), begin));
            objective.add_mul(float(class.value) / unit, some);
            let mut sum = Expression::with_capacity(kinds.len() + 1);
            sum.add_mul(-f64::from(class.members), some);
            let of_kind = kinds.iter().enumerate().map(|(kind, one)| {
                let most = one.most.get(at).copied().filter(|most| *most > 0)?;
                let begin = row.and_then(|row| row.get(kind)).copied();
                let here = variables.add(whole(0.0, f64::from(most), begin));
                sum.add_mul(1.0, here);
                Some(here)
            });
            members.push(of_kind.collect());
            equal.push(sum);
            admitted.push(some);
        }
        let mut rows = Vec::new();
        let most = |resource: usize| {
            float(
                problem
                    .nodes
                    .iter()
                    .filter_map(|node| node.offered.get(resource))
                    .copied()
                    .max()
                    .unwrap_or(1)
                    .max(1),
            )
        };
        let scales: Vec<f64> = (0..problem.quota.len()).map(most).collect();
        for (at, kind) in kinds.iter().enumerate() {
            let opened = (kind.idle && problem.opening > 0).then(|| {
                let begin = start.and_then(|start| start.opened.get(at)).copied();
                let nodes = u32::try_from(kind.nodes.len()).unwrap_or(u32::MAX);
                let opened = variables.add(whole(0.0, f64::from(nodes), begin));
                objective.add_mul(-float(problem.opening) / unit, opened);
                opened
            });
            for (resource, scale) in scales.iter().enumerate() {
                let mut load = Expression::default();
                let mut any = false;
                for (class, row) in problem.classes.iter().zip(&members) {
                    let ask = class.ask.get(resource).copied().unwrap_or(0);
                    if let (Some(Some(here)), true) = (row.get(at), ask > 0) {
                        load.add_mul(float(ask) / scale, *here);
                        any = true;
                    }
                }
                if !any {
                    continue;
                }
                let room = kind.room.get(resource).copied().unwrap_or(0);
                if let Some(opened) = opened {
                    // Of nodes that are put to use each gives at most what the roomiest has.
                    let rooms =
                        kind.nodes.iter().filter_map(|node| problem.nodes.get(*node)?.room.get(resource));
                    let one = rooms.copied().max().unwrap_or(0);
                    let mut within = load.clone();
                    within.add_mul(-float(one) / scale, opened);
                    rows.push((within, 0.0));
                }
                rows.push((load, float(room) / scale));
            }
        }
        for (resource, (quota, scale)) in problem.quota.iter().zip(&scales).enumerate() {
            let Some(quota) = quota else { continue };
            let mut used = Expression::default();
            for (class, some) in problem.classes.iter().zip(&admitted) {
                let ask =
                    class.ask.get(resource).copied().unwrap_or(0).saturating_mul(i64::from(class.members));
                used.add_mul(float(ask) / scale, *some);
            }
            rows.push((used, float((*quota).max(0)) / scale));
        }
        Self { variables, objective, rows, equal, members, whole: start.is_some(), unit }
    }

    fn solve(self, limit: Duration) -> Option<Outcome> {
        let Self { variables, objective, rows, equal, members, whole, unit } = self;
        let asked = members.iter().flatten().copied().flatten().collect();
        let lines = Lines { variables, objective, rows, equal, asked };
        let solved =
            if whole { solver::in_whole_numbers(lines, limit) } else { solver::linear(lines, limit) }?;
        let mut numbers = solved.values.into_iter().map(count);
        let mut number = |here: &Option<Variable>| here.and_then(|_| numbers.next()).unwrap_or(0);
        let counts = members.iter().map(|row| row.iter().map(&mut number).collect()).collect();
        Some(Outcome { counts, bound: worth(solved.bound * unit), finished: solved.finished })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded, and checked afterwards")]
fn count(value: f64) -> u32 {
    (value + 1e-6).floor().clamp(0.0, f64::from(u32::MAX)) as u32
}

#[allow(clippy::cast_possible_truncation, reason = "values are sums of parts of a billion")]
fn worth(value: f64) -> i64 {
    value.ceil().clamp(0.0, 9e18) as i64
}
