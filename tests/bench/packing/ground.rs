//! The ground on which packers are compared: what lies where, reckoned apart from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir::model::batch::{Class, Node as Bin, Problem};
use weir::optimise::programme;

use super::trace::{Task, Trace};

/// What is on each node of a trace, by what was told to be placed.
pub struct Ground<'a> {
    pub trace: &'a Trace,
    pub room: Vec<[i64; 3]>,
    pub places: BTreeMap<usize, usize>,
    /// Kinds of tasks and how many there are of each.
    pub kinds: Vec<([i64; 3], i64)>,
}

impl<'a> Ground<'a> {
    pub fn of(trace: &'a Trace) -> Self {
        let mut kinds: BTreeMap<[i64; 3], i64> = BTreeMap::new();
        for task in &trace.tasks {
            *kinds.entry(task.ask()).or_default() += 1;
        }
        Self {
            trace,
            room: trace.nodes.iter().map(super::trace::Node::offers).collect(),
            places: BTreeMap::new(),
            kinds: kinds.into_iter().collect(),
        }
    }

    /// Takes note of a placement.
    ///
    /// # Errors
    /// When the node has no room for it: the packer is wrong.
    pub fn place(&mut self, task: usize, node: usize) -> Result<(), String> {
        for (room, ask) in self.room[node].iter_mut().zip(self.trace.tasks[task].ask()) {
            *room -= ask;
            if *room < 0 {
                return Err(format!("task {task} was placed on node {node}, which has no room for it"));
            }
        }
        if self.places.insert(task, node).is_some() {
            return Err(format!("task {task} was placed twice"));
        }
        Ok(())
    }

    /// The task has left; whether it was placed.
    pub fn leave(&mut self, task: usize) -> bool {
        let Some(node) = self.places.remove(&task) else { return false };
        for (room, ask) in self.room[node].iter_mut().zip(self.trace.tasks[task].ask()) {
            *room += ask;
        }
        true
    }

    /// What all nodes offer.
    pub fn offered(&self) -> [i64; 3] {
        let mut sum = [0; 3];
        for node in &self.trace.nodes {
            for (sum, one) in sum.iter_mut().zip(node.offers()) {
                *sum += one;
            }
        }
        sum
    }

    /// What is allocated.
    pub fn allocated(&self) -> [i64; 3] {
        let mut sum = self.offered();
        for room in &self.room {
            for (sum, one) in sum.iter_mut().zip(room) {
                *sum -= one;
            }
        }
        sum
    }

    /// Which part of the GPUs that are free lies where a task cannot use it, in the mean over all tasks that ask for
    /// GPUs.
    pub fn fragmented(&self) -> f64 {
        let (mut lost, mut all) = (0_f64, 0_f64);
        for room in &self.room {
            for (ask, count) in self.kinds.iter().filter(|(ask, _)| ask[2] > 0) {
                let here = (room[2] * count) as f64;
                all += here;
                if !fits(ask, room) {
                    lost += here;
                }
            }
        }
        if all > 0.0 { lost / all } else { 0.0 }
    }
}

/// Whether a node with that room takes a task.
pub fn fits(ask: &[i64; 3], room: &[i64; 3]) -> bool {
    ask.iter().zip(room).all(|(ask, room)| ask <= room)
}

/// What no packer can pass: the most that is worth of some tasks by the linear programme, in GPUs, and in the mean
/// share of cpu, memory and GPUs; none if it was not solved in two minutes.
pub fn bound(trace: &Trace, tasks: &[&Task], worth: impl Fn(&[i64; 3]) -> i64) -> Option<i64> {
    let mut kinds: BTreeMap<[i64; 3], u32> = BTreeMap::new();
    for task in tasks {
        *kinds.entry(task.ask()).or_default() += 1;
    }
    let suits: Arc<[bool]> = vec![true; kinds.len()].into();
    let classes = kinds
        .iter()
        .map(|(ask, count)| Class {
            members: 1,
            ask: ask.to_vec(),
            value: worth(ask),
            jobs: (0..*count).map(|turn| (turn, Arc::from(""))).collect(),
        })
        .collect();
    let bin = |node: &super::trace::Node| Bin {
        name: node.name.as_str().into(),
        offered: node.offers().to_vec(),
        room: node.offers().to_vec(),
        idle: true,
        suits: Arc::clone(&suits),
    };
    let problem = Problem {
        classes,
        nodes: trace.nodes.iter().map(bin).collect(),
        quota: vec![None; 3],
        ..Problem::default()
    };
    programme::bound(&problem, Duration::from_mins(2))
}
