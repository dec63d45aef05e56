//! Which nodes some work needs: the cheapest that cover it, by a mixed-integer programme, and what none can cost less
//! than, by the linear one.
//!
//! Minimise the sum of prices of nodes, so that all members are on nodes of some kind, the nodes of a kind have room for
//! what is on them, and none is on a node that has no room for even one. Room is added up over the nodes of a kind, so
//! the answer is a bound: whether nodes hold it is for others to see.

use std::time::Duration;

use good_lp::solvers::microlp::microlp;
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, WithTimeLimit, variable};

/// A kind of nodes that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What one costs, in any unit; nothing for those that are there already.
    pub price: i64,
    /// What one offers, by resource.
    pub offers: Vec<i64>,
    /// How many there are at most.
    pub most: u32,
}

/// Work whose members are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What a member asks for, by resource.
    pub ask: Vec<i64>,
    /// Members.
    pub members: u32,
}

/// Nodes of each kind, and what they cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Cover {
    /// By kind.
    pub nodes: Vec<u32>,
    /// In all.
    pub cost: f64,
}

/// Members of a class that a node of a kind has room for, each looked at alone.
pub fn fit(work: &Work, kind: &Kind) -> i64 {
    let asked = work.ask.iter().zip(&kind.offers).filter(|(ask, _)| **ask > 0);
    asked.map(|(ask, offers)| offers / ask).min().unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "what is found is tried before it is believed")]
fn float(number: i64) -> f64 {
    number as f64
}

/// The cheapest nodes that cover a share (0 to 1) of each kind of work; in whole nodes if `whole`. None if there are
/// none, or none were found in time.
pub fn cover(kinds: &[Kind], works: &[Work], shares: &[f64], whole: bool, limit: Duration) -> Option<Cover> {
    let mut variables = ProblemVariables::new();
    let mut cost = Expression::default();
    let nodes: Vec<Variable> = kinds
        .iter()
        .map(|kind| {
            let count = variable().clamp(0.0, f64::from(kind.most));
            let count = variables.add(if whole { count.integer() } else { count });
            cost.add_mul(float(kind.price), count);
            count
        })
        .collect();
    let resources = kinds.first().map_or(0, |kind| kind.offers.len());
    let mut equal: Vec<(Expression, f64)> = Vec::new();
    let mut rows: Vec<Expression> = Vec::new();
    let mut loads = vec![vec![Expression::default(); resources]; kinds.len()];
    let scale = |resource: usize| {
        float(kinds.iter().filter_map(|kind| kind.offers.get(resource)).copied().max().unwrap_or(1).max(1))
    };
    for (work, share) in works.iter().zip(shares) {
        let mut sum = Expression::default();
        for ((kind, count), load) in kinds.iter().zip(&nodes).zip(&mut loads) {
            let fit = fit(work, kind);
            if fit < 1 {
                continue;
            }
            let here = variables.add(variable().clamp(0.0, f64::from(work.members)));
            sum.add_mul(1.0, here);
            let mut alone = Expression::default();
            alone.add_mul(1.0, here);
            alone.add_mul(-float(fit.min(i64::from(work.members))), *count);
            rows.push(alone);
            for (resource, (load, ask)) in load.iter_mut().zip(&work.ask).enumerate() {
                load.add_mul(float(*ask) / scale(resource), here);
            }
        }
        equal.push((sum, f64::from(work.members) * share));
    }
    for ((kind, count), load) in kinds.iter().zip(&nodes).zip(loads) {
        for (resource, (mut load, offers)) in load.into_iter().zip(&kind.offers).enumerate() {
            load.add_mul(-float(*offers) / scale(resource), *count);
            rows.push(load);
        }
    }
    let mut model = variables.minimise(&cost).using(microlp);
    for row in rows {
        model.add_constraint(row.leq(0.0));
    }
    for (sum, members) in equal {
        model.add_constraint(sum.eq(members));
    }
    let solved = model.with_time_limit(limit.as_secs_f64()).solve().ok()?;
    let count = |count: &Variable| {
        let count = (solved.value(*count) - 1e-6).ceil().max(0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by most")]
        let count = count as u32;
        count
    };
    Some(Cover { nodes: nodes.iter().map(count).collect(), cost: cost.eval_with(&solved) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_cheapest_nodes_are_those_that_waste_least() {
        let kind = |price, offers: [i64; 2]| Kind { price, offers: offers.into(), most: 100 };
        let kinds = [kind(10, [8, 0]), kind(40, [8, 4])];
        let works = [Work { ask: vec![2, 0], members: 12 }, Work { ask: vec![1, 1], members: 6 }];
        let bound = cover(&kinds, &works, &[1.0, 1.0], false, SECOND).unwrap();
        let whole = cover(&kinds, &works, &[1.0, 1.0], true, SECOND).unwrap();
        // Two nodes with GPUs for six members, beside whom five of the others have room; two nodes for the rest.
        assert_eq!((whole.nodes.as_slice(), whole.cost.round()), ([2, 2].as_slice(), 100.0));
        assert!(bound.cost <= whole.cost && bound.cost > 80.0, "{bound:?}");
        let scarce = [Kind { most: 1, ..kinds[1].clone() }];
        assert_eq!(cover(&scarce, &works, &[1.0, 1.0], true, SECOND), None);
    }
}
