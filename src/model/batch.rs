//! The batch of a queue as a problem of its own: which of the waiting to admit, and onto which nodes. Strategy
//! `Optimal` has it solved; `docs/optimal.md` gives the formulas.
//!
//! A problem and its answer are plain numbers: whoever solves it knows nothing of the world, and the world takes
//! nothing of an answer that [`Problem::check`] and then admission itself do not find to fit.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::time::{Span, Time};
use super::world::World;

/// What all terms of the objective are worth together at weight 1: values are whole parts of it.
pub const WHOLE: i64 = 1_000_000_000;

/// How much each term of the objective counts: whole numbers from 0, relative to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Weights {
    /// Share of what the nodes offer that is put to use, in the mean over resources.
    pub utilization: u32,
    /// Share of those that wait that are admitted.
    pub throughput: u32,
    /// Share of all time waited that those have waited who are admitted.
    pub waiting_time: u32,
    /// Share of nodes that are put to use though they were idle; it counts against.
    pub energy: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { utilization: 100, throughput: 10, waiting_time: 10, energy: 1 }
    }
}

/// What strategy `Optimal` is told by its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Tuned {
    /// Of the objective.
    pub weights: Weights,
    /// How long to look for an answer; the best one known by then is taken.
    pub time_limit: Span,
}

impl Default for Tuned {
    fn default() -> Self {
        Self { weights: Weights::default(), time_limit: Span::seconds(1) }
    }
}

/// Workloads that are equal to the solver, in the order of their queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Members of each; they start together or not at all.
    pub members: u32,
    /// What a member asks for, by resource.
    pub ask: Vec<i64>,
    /// What it is worth to admit one, in parts of [`WHOLE`].
    pub value: i64,
    /// UIDs, with the place of each in the batch, ascending.
    pub jobs: Vec<(u32, Arc<str>)>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// What it offers, by resource.
    pub offered: Vec<i64>,
    /// What is free, by resource.
    pub room: Vec<i64>,
    /// No member is on it.
    pub idle: bool,
    /// By class, whether it takes such members at all.
    pub suits: Arc<[bool]>,
}

/// A batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// Name of the pool.
    pub pool: Arc<str>,
    /// Which question of the pool this is.
    pub number: u64,
    /// How long to look for an answer.
    pub time_limit: Span,
    /// What waits.
    pub classes: Vec<Class>,
    /// By name.
    pub nodes: Vec<Node>,
    /// What the pool may still use, by resource; none: no limit.
    pub quota: Vec<Option<i64>>,
    /// The resources whose use is kept in proportion by `Balanced`, as indexes.
    pub balanced: Vec<usize>,
    /// What it costs to put an idle node to use, in parts of [`WHOLE`].
    pub opening: i64,
}

/// A workload that is admitted: its class, and the node of each member, as indexes.
pub type Pick = (usize, Vec<usize>);

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum End {
    /// Nothing is better.
    Proven,
    /// The time was over; this is the best that was found.
    TimeLimit,
    /// The programme over kinds of nodes was solved, and the answer is what could be packed of it.
    Rounded,
    /// Nothing was solved: the best of those that take one workload after the other.
    Greedy,
}

/// What came of a batch, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Figures {
    /// Workloads in the batch.
    pub considered: u32,
    /// Of these, those that are admitted.
    pub planned: u32,
    /// What the answer is worth.
    pub value: i64,
    /// What an answer may be worth at most, where that is known.
    pub bound: Option<i64>,
    /// What `Balanced` would have reached.
    pub balanced: i64,
    /// How the search ended.
    pub end: End,
}

impl Figures {
    /// By how much the answer may miss the best, in millionths of the bound.
    pub fn gap(&self) -> Option<i64> {
        let bound = self.bound?.max(self.value);
        let missed = i128::from(bound.saturating_sub(self.value));
        i64::try_from(missed * 1_000_000 / i128::from(bound.max(1))).ok()
    }
}

/// What shall be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Name of the pool.
    pub pool: Arc<str>,
    /// Which question it answers.
    pub number: u64,
    /// UIDs and the node of each member, in the order of the queue.
    pub places: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// In numbers.
    pub figures: Figures,
}

/// How the batches of one pool stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Planning {
    /// Of the last question.
    pub number: u64,
    /// A question was put then and is not answered, about workloads that are no less urgent than that.
    pub asked: Option<(Time, i64)>,
    /// Workloads that are no less urgent than that may be tried: they were asked about.
    pub open: Option<i64>,
    /// What is left of the answer.
    pub places: VecDeque<(Arc<str>, Vec<Arc<str>>)>,
    /// Of the last answer that admits somebody.
    pub figures: Option<Figures>,
    /// Of what that answer said, so many workloads had no room where it said.
    pub missed: u32,
}

/// Why picks are no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A class or a node that is not there.
    Unknown,
    /// Another number of members than a workload has.
    Members(usize),
    /// More workloads of a class than there are.
    TooMany(usize),
    /// A node that does not take such members.
    Unsuited(usize, usize),
    /// A node that has no room, and of which resource.
    NoRoom(usize, usize),
    /// The pool may not use so much, and of which resource.
    NoQuota(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "it names a class or a node that is not there"),
            Self::Members(class) => write!(f, "class {class} has another number of members"),
            Self::TooMany(class) => write!(f, "class {class} has fewer workloads"),
            Self::Unsuited(class, node) => write!(f, "node {node} does not take members of class {class}"),
            Self::NoRoom(node, resource) => write!(f, "node {node} has not enough of resource {resource}"),
            Self::NoQuota(resource) => write!(f, "the pool may not use so much of resource {resource}"),
        }
    }
}

impl Problem {
    /// Workloads in the batch.
    pub fn considered(&self) -> u32 {
        let jobs: usize = self.classes.iter().map(|class| class.jobs.len()).sum();
        u32::try_from(jobs).unwrap_or(u32::MAX)
    }

    /// Whether picks fit, reckoned in whole numbers and by nothing that found them; what they are worth.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, picks: &[Pick]) -> Result<i64, Fault> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let mut loads: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        let mut used = vec![0_i64; self.quota.len()];
        let mut value = 0_i64;
        for (at, places) in picks {
            let class = self.classes.get(*at).ok_or(Fault::Unknown)?;
            if places.len() != class.members as usize {
                return Err(Fault::Members(*at));
            }
            *counts.entry(*at).or_default() += 1;
            value = value.saturating_add(class.value);
            for place in places {
                let node = self.nodes.get(*place).ok_or(Fault::Unknown)?;
                if !node.suits.get(*at).copied().unwrap_or(false) {
                    return Err(Fault::Unsuited(*at, *place));
                }
                let load = loads.entry(*place).or_insert_with(|| vec![0; node.room.len()]);
                for sum in [load, &mut used] {
                    for (sum, ask) in sum.iter_mut().zip(&class.ask) {
                        *sum = sum.saturating_add(*ask);
                    }
                }
            }
        }
        for (at, count) in counts {
            if count > self.classes.get(at).map_or(0, |class| class.jobs.len()) {
                return Err(Fault::TooMany(at));
            }
        }
        for (at, load) in &loads {
            let Some(node) = self.nodes.get(*at) else { return Err(Fault::Unknown) };
            if let Some(short) = node.room.iter().zip(load).position(|(room, load)| *load > 0 && load > room)
            {
                return Err(Fault::NoRoom(*at, short));
            }
            if node.idle {
                value = value.saturating_sub(self.opening);
            }
        }
        let over = |(quota, used): (&Option<i64>, &i64)| *used > 0 && quota.is_some_and(|most| *used > most);
        match self.quota.iter().zip(&used).position(over) {
            Some(resource) => Err(Fault::NoQuota(resource)),
            None => Ok(value),
        }
    }

    /// Picks by name: of each class the first in the queue are admitted, in the order of the queue.
    pub fn answer(&self, picks: &[Pick], figures: Figures) -> Answer {
        let mut next: BTreeMap<usize, usize> = BTreeMap::new();
        let mut places: Vec<(u32, Arc<str>, Vec<Arc<str>>)> = Vec::new();
        for (at, nodes) in picks {
            let turn = next.entry(*at).or_default();
            let job = self.classes.get(*at).and_then(|class| class.jobs.get(*turn));
            *turn += 1;
            let Some((order, uid)) = job else { continue };
            let name = |node: &usize| self.nodes.get(*node).map(|node| Arc::clone(&node.name));
            places.push((*order, Arc::clone(uid), nodes.iter().filter_map(name).collect()));
        }
        places.sort();
        let places = places.into_iter().map(|(_, uid, nodes)| (uid, nodes)).collect();
        Answer { pool: Arc::clone(&self.pool), number: self.number, places, figures }
    }
}

impl World {
    /// An answer has come. One that is late, or to an earlier question, says nothing.
    pub(crate) fn solved(&mut self, answer: Answer) {
        let Answer { pool, number, places, figures } = answer;
        let Some(id) = self.pool_ids.get(&pool).copied() else { return };
        let Some(pool) = self.pools.get_mut(id.0) else { return };
        let Some((_, level)) = pool.planning.asked.filter(|_| pool.planning.number == number) else { return };
        pool.planning = Planning {
            number,
            asked: None,
            open: Some(level),
            places: places.into(),
            // Of a batch of which nothing has room there is nothing to tell.
            figures: Some(figures).filter(|one| one.planned > 0).or(pool.planning.figures),
            missed: 0,
        };
        self.changed_pools.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        let class = Class {
            members: 2,
            ask: vec![3],
            value: 10,
            jobs: vec![(0, "first".into()), (1, "second".into())],
        };
        let node = |name: &str, suits: bool| Node {
            name: name.into(),
            offered: vec![6],
            room: vec![6],
            idle: true,
            suits: [suits].into(),
        };
        Problem {
            classes: vec![class],
            nodes: vec![node("a", true), node("b", true), node("c", false)],
            quota: vec![Some(9)],
            opening: 1,
            ..Problem::default()
        }
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let problem = problem();
        assert_eq!(problem.check(&[(0, vec![0, 1])]), Ok(8), "two idle nodes are put to use");
        assert_eq!(problem.check(&[(0, vec![0, 0])]), Ok(9));
        assert_eq!(problem.check(&[(0, vec![0])]), Err(Fault::Members(0)));
        assert_eq!(problem.check(&[(0, vec![0, 2])]), Err(Fault::Unsuited(0, 2)));
        assert_eq!(problem.check(&[(0, vec![0, 9])]), Err(Fault::Unknown));
        assert_eq!(problem.check(&[(0, vec![0, 0]), (0, vec![1, 1])]), Err(Fault::NoQuota(0)));
        let wide = Problem { quota: vec![None], ..problem };
        assert_eq!(wide.check(&[(0, vec![0, 0]), (0, vec![0, 1])]), Err(Fault::NoRoom(0, 0)));
        assert_eq!(wide.check(&[(0, vec![0, 0]), (0, vec![1, 1]), (0, vec![1, 1])]), Err(Fault::TooMany(0)));
    }
}
