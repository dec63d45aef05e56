//! Nodes that are equal to the solver, taken together so that programmes stay small.

use std::collections::BTreeMap;

use crate::model::batch::Problem;

/// Nodes that are taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Which, as indexes.
    pub nodes: Vec<usize>,
    /// Whether nothing is on any of them.
    pub idle: bool,
    /// What is free on all, by resource.
    pub room: Vec<i64>,
    /// By class, how many members they take at most, each node looked at alone.
    pub most: Vec<u32>,
}

/// So many variables are few: each node is then a kind of its own and the programme is exact.
const FEW: usize = 600;

/// Members of a class that a node has room for when nothing else comes to it.
fn fit(ask: &[i64], room: &[i64]) -> i64 {
    let each = ask.iter().zip(room).filter(|(ask, _)| **ask > 0);
    each.map(|(ask, room)| (*room).max(0) / ask).min().unwrap_or(i64::MAX)
}

/// The nodes of a problem as kinds: one by one if they are few, and else those together that offer the same, take the
/// same classes and are idle or are not. What is free on such is added up, which an answer may not be able to use;
/// so what is found is a bound, and must be packed.
pub fn of(problem: &Problem) -> Vec<Kind> {
    let alone = problem.nodes.len().saturating_mul(problem.classes.len()) <= FEW;
    let mut kinds: BTreeMap<_, Kind> = BTreeMap::new();
    for (at, node) in problem.nodes.iter().enumerate() {
        let key = (alone.then_some(at), &node.offered, node.idle, &node.suits);
        let kind = kinds.entry(key).or_default();
        kind.nodes.push(at);
        kind.idle = node.idle;
        kind.room.resize(node.room.len(), 0);
        for (sum, room) in kind.room.iter_mut().zip(&node.room) {
            *sum = sum.saturating_add((*room).max(0));
        }
        kind.most.resize(problem.classes.len(), 0);
        for (class, (most, one)) in kind.most.iter_mut().zip(&problem.classes).enumerate() {
            let all = u32::try_from(one.jobs.len()).unwrap_or(u32::MAX).saturating_mul(one.members);
            let suits = node.suits.get(class).copied().unwrap_or(false);
            let more = if suits { u32::try_from(fit(&one.ask, &node.room)).unwrap_or(u32::MAX) } else { 0 };
            *most = most.saturating_add(more).min(all);
        }
    }
    kinds.into_values().collect()
}
