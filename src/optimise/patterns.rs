//! Patterns: what lies together on one node. Programmes that add the room of nodes up promise what no node can hold;
//! one over patterns does not.
//!
//! Patterns are found as they are needed (column generation: Gilmore and Gomory, "A linear programming approach to the
//! cutting-stock problem", 1961): the dual of the linear programme over those that are known prices each class, a
//! dynamic programme looks for the pattern that is worth most at these prices, and that goes on until none is worth
//! more than its node or time is over. What the programme then says is rounded down, and the rest filled up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use good_lp::solvers::microlp::microlp;
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, WithTimeLimit, variable};

use crate::model::batch::{Pick, Problem};

use super::bins::Bins;
use super::pricing::{Prices, price};
use super::{assemble, greedy};

/// Beyond so many kinds of room there is nothing in common to make use of.
const MOST_ROOMS: usize = 400;
/// Patterns that are kept at most.
const MOST_PATTERNS: usize = 6_000;
/// A pattern that is worth so little more than its node is no reason to go on, as a part of the node's price.
const LITTLE: f64 = 1e-4;

/// Nodes with equal room that take the same classes.
struct Room {
    nodes: Vec<usize>,
    free: Vec<i64>,
    suits: Vec<bool>,
    /// What it costs to use one, in parts of the unit.
    opening: f64,
}

/// What nodes of a room have in common: what is free, the classes that they take, and whether they are idle.
type Key<'a> = (&'a [i64], &'a [bool], bool);

/// What lies together on a node of a room: classes and how many members of each.
type Pattern = (usize, Vec<(usize, u32)>);

struct Search<'a> {
    problem: &'a Problem,
    rooms: Vec<Room>,
    /// Members of each class that wait.
    demand: Vec<u32>,
    /// What a member of each class is worth, in parts of the unit.
    worth: Vec<f64>,
    known: BTreeSet<Pattern>,
    until: Instant,
}

/// Looks for the best answer until time is over, beginning with the patterns of answers that are known.
pub fn search(problem: &Problem, known: &[&[Pick]], until: Instant) -> Option<Vec<Pick>> {
    let mut search = Search::of(problem, until)?;
    for picks in known {
        search.learn(picks);
    }
    let began = Instant::now();
    // Some of the time is kept for the last programme.
    let half = began + until.saturating_duration_since(began).mul_f64(0.7);
    while Instant::now() < half && search.known.len() < MOST_PATTERNS {
        let prices = search.dual(half)?;
        if !search.look(&prices, half) {
            break;
        }
    }
    search.round()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "prices are floating point; answers are checked in whole numbers"
)]
fn float(number: i64) -> f64 {
    number as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the number of nodes")]
fn whole(number: f64) -> usize {
    (number + 1e-6).floor().clamp(0.0, 1e9) as usize
}

impl<'a> Search<'a> {
    fn of(problem: &'a Problem, until: Instant) -> Option<Self> {
        let unit = float(problem.classes.iter().map(|class| class.value).max()?.max(1));
        let mut rooms: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (at, node) in problem.nodes.iter().enumerate() {
            rooms.entry((&node.room, &node.suits, node.idle)).or_default().push(at);
        }
        if rooms.len() > MOST_ROOMS {
            return None;
        }
        let room = |((free, suits, idle), nodes): (Key, Vec<usize>)| Room {
            nodes,
            free: free.to_vec(),
            suits: suits.to_vec(),
            opening: if idle { float(problem.opening) / unit } else { 0.0 },
        };
        let demand = |class: &crate::model::batch::Class| {
            u32::try_from(class.jobs.len()).unwrap_or(u32::MAX).saturating_mul(class.members)
        };
        let worth =
            |class: &crate::model::batch::Class| float(class.value) / unit / f64::from(class.members.max(1));
        Some(Self {
            problem,
            rooms: rooms.into_iter().map(room).collect(),
            demand: problem.classes.iter().map(demand).collect(),
            worth: problem.classes.iter().map(worth).collect(),
            known: BTreeSet::new(),
            until,
        })
    }

    /// Takes the patterns of an answer.
    fn learn(&mut self, picks: &[Pick]) {
        let mut on: BTreeMap<usize, BTreeMap<usize, u32>> = BTreeMap::new();
        for (class, places) in picks {
            for node in places {
                *on.entry(*node).or_default().entry(*class).or_default() += 1;
            }
        }
        for (at, room) in self.rooms.iter().enumerate() {
            let patterns = room.nodes.iter().filter_map(|node| on.get(node));
            self.known.extend(patterns.map(|counts| (at, counts.clone().into_iter().collect())));
        }
    }

    fn value(&self, (room, counts): &Pattern) -> f64 {
        let opening = self.rooms.get(*room).map_or(0.0, |room| room.opening);
        counts.iter().map(|(class, count)| self.worth[*class] * f64::from(*count)).sum::<f64>() - opening
    }

    /// Quotas that bound: the resource, what is left, and the unit in which it is reckoned.
    fn quotas(&self) -> Vec<(usize, f64, f64)> {
        let quotas = self.problem.quota.iter().enumerate();
        quotas.filter_map(|(at, left)| Some((at, 1.0, float((*left)?.max(1))))).collect()
    }

    /// What a pattern takes of a quota.
    fn takes(&self, counts: &[(usize, u32)], resource: usize, unit: f64) -> f64 {
        let ask = |class: usize| self.problem.classes[class].ask.get(resource).copied().unwrap_or(0);
        counts.iter().map(|(class, count)| float(ask(*class)) / unit * f64::from(*count)).sum()
    }

    fn left(&self, until: Instant) -> f64 {
        until.min(self.until).saturating_duration_since(Instant::now()).as_secs_f64().max(0.01)
    }

    /// What nodes, members and quota are worth by the patterns that are known: the dual of the programme.
    fn dual(&self, until: Instant) -> Option<(Vec<f64>, Prices)> {
        let mut variables = ProblemVariables::new();
        let mut cost = Expression::default();
        let mut add = |weight: f64, most: f64| {
            let one = variables.add(variable().clamp(0.0, most));
            cost.add_mul(weight, one);
            one
        };
        let nodes: Vec<Variable> =
            self.rooms.iter().map(|room| add(room.nodes.len() as f64, f64::INFINITY)).collect();
        let members: Vec<Variable> = self
            .demand
            .iter()
            .zip(&self.worth)
            .map(|(demand, worth)| add(f64::from(*demand), *worth))
            .collect();
        let quotas = self.quotas();
        let shares: Vec<Variable> = quotas.iter().map(|(_, left, _)| add(*left, f64::INFINITY)).collect();
        let mut model = variables.minimise(&cost).using(microlp);
        for pattern in &self.known {
            let (room, counts) = pattern;
            let mut row = Expression::with_capacity(counts.len() + 2);
            row.add_mul(1.0, nodes[*room]);
            for (class, count) in counts {
                row.add_mul(f64::from(*count), members[*class]);
            }
            for ((resource, _, unit), share) in quotas.iter().zip(&shares) {
                row.add_mul(self.takes(counts, *resource, *unit), *share);
            }
            model.add_constraint(row.geq(self.value(pattern)));
        }
        let solved = model.with_time_limit(self.left(until)).solve().ok()?;
        let of_class = |class: usize| {
            let one = [(class, 1)];
            let shares = quotas.iter().zip(&shares).map(|((resource, _, unit), share)| {
                self.takes(&one, *resource, *unit) * solved.value(*share)
            });
            self.worth[class] - solved.value(members[class]) - shares.sum::<f64>()
        };
        let prices = (0..self.worth.len()).map(of_class).collect();
        Some((nodes.iter().map(|node| solved.value(*node)).collect(), prices))
    }

    /// Looks for patterns that are worth more than their node; whether there are any.
    fn look(&mut self, (nodes, prices): &(Vec<f64>, Prices), until: Instant) -> bool {
        let mut found = Vec::new();
        for (at, (room, node)) in self.rooms.iter().zip(nodes).enumerate() {
            if Instant::now() >= until {
                break;
            }
            let (counts, value) = price(self.problem, &room.free, &room.suits, &self.demand, prices);
            if value - room.opening > node + LITTLE * node.max(1e-3) && !counts.is_empty() {
                found.push((at, counts));
            }
        }
        let before = self.known.len();
        self.known.extend(found);
        self.known.len() > before
    }

    /// How often each pattern is used: the programme, and what is left of it in whole numbers.
    fn round(&self) -> Option<Vec<Pick>> {
        let mut variables = ProblemVariables::new();
        let mut objective = Expression::default();
        let quotas = self.quotas();
        let mut nodes = vec![Expression::default(); self.rooms.len()];
        let mut members = vec![Expression::default(); self.demand.len()];
        let mut shares = vec![Expression::default(); quotas.len()];
        let mut used = Vec::new();
        for pattern in &self.known {
            let (room, counts) = pattern;
            let times = variables.add(variable().clamp(0.0, self.rooms[*room].nodes.len() as f64));
            objective.add_mul(self.value(pattern), times);
            nodes[*room].add_mul(1.0, times);
            for (class, count) in counts {
                members[*class].add_mul(f64::from(*count), times);
            }
            for ((resource, _, unit), share) in quotas.iter().zip(&mut shares) {
                share.add_mul(self.takes(counts, *resource, *unit), times);
            }
            used.push((pattern, times));
        }
        let mut model = variables.maximise(&objective).using(microlp);
        for (sum, room) in nodes.into_iter().zip(&self.rooms) {
            model.add_constraint(sum.leq(room.nodes.len() as f64));
        }
        for (sum, demand) in members.into_iter().zip(&self.demand) {
            model.add_constraint(sum.leq(f64::from(*demand)));
        }
        for (sum, (_, left, _)) in shares.into_iter().zip(&quotas) {
            model.add_constraint(sum.leq(*left));
        }
        let solved = model.with_time_limit(self.left(self.until)).solve().ok()?;
        let times = used.into_iter().map(|(pattern, times)| (pattern, solved.value(times)));
        Some(self.lay(times.collect()))
    }

    /// Lays patterns onto nodes: as often as they are used whole, then those of which most is left.
    fn lay(&self, times: Vec<(&Pattern, f64)>) -> Vec<Pick> {
        let mut free: Vec<Vec<usize>> =
            self.rooms.iter().map(|room| room.nodes.iter().rev().copied().collect()).collect();
        let mut left = self.demand.clone();
        let mut bins = Bins::of(self.problem);
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.demand.len()];
        let mut put = |(room, counts): &Pattern| {
            let Some(node) = free.get_mut(*room).and_then(Vec::pop) else { return };
            for (class, count) in counts {
                for _ in 0..(*count).min(left[*class]) {
                    if bins.fits(*class, node) && bins.within_quota(*class, 1) {
                        bins.put(*class, node);
                        left[*class] -= 1;
                        places[*class].push(node);
                    }
                }
            }
        };
        let mut rest = Vec::new();
        for (pattern, times) in times {
            let count = whole(times);
            for _ in 0..count {
                put(pattern);
            }
            rest.push((pattern, times - count as f64));
        }
        rest.retain(|(_, part)| *part > 1e-6);
        rest.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(other.0)));
        for (pattern, _) in rest {
            put(pattern);
        }
        let mut picks = assemble(self.problem, &mut bins, &places);
        greedy::fill(self.problem, &mut bins, &greedy::by_worth(self.problem), &mut picks);
        picks
    }
}

/// The least time in which patterns are worth looking for.
pub const LEAST: Duration = Duration::from_millis(50);
