//! What is measured of a packer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ground::{Ground, bound};
use super::packers::Packer;
use super::trace::{Task, Trace};

/// How often the state is looked at while tasks come and go.
const SAMPLES: usize = 200;
/// How often the bound is reckoned meanwhile.
const BOUNDS: usize = 20;

/// One packer on a trace in which tasks come and go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Tasks that were placed when they came.
    pub at_once: usize,
    /// Later.
    pub later: usize,
    /// Never: they left without having been placed.
    pub refused: usize,
    /// GPU-seconds in use, of those that were asked for.
    pub served: f64,
    /// Most GPUs in use.
    pub peak: i64,
    /// Part of the free GPUs that a task that asks for GPUs cannot use, in the mean over time.
    pub fragmented: f64,
    /// GPUs in use in percent of the bound, in the mean over the samples at which there is one.
    pub of_bound: f64,
    /// How long deciding took.
    pub took: Duration,
}

/// GPUs in use at most, at some points of a trace in which tasks come and go.
pub fn bounds(trace: &Trace) -> BTreeMap<usize, i64> {
    let events = events(trace);
    let mut bounds = BTreeMap::new();
    let mut alive: BTreeMap<usize, &Task> = BTreeMap::new();
    let every = (events.len() / BOUNDS).max(1);
    for (step, (_, coming, task)) in events.iter().enumerate() {
        if *coming {
            alive.insert(*task, &trace.tasks[*task]);
        } else {
            alive.remove(task);
        }
        if step % every == every - 1 {
            let tasks: Vec<&Task> = alive.values().copied().collect();
            bounds.extend(bound(trace, &tasks, |ask| ask[2]).map(|most| (step, most)));
        }
    }
    bounds
}

/// Who comes (true) and goes, in order of time; of one time those who go are first.
fn events(trace: &Trace) -> Vec<(i64, bool, usize)> {
    let mut events = Vec::new();
    for (at, task) in trace.tasks.iter().enumerate() {
        events.push((task.created, true, at));
        // One that leaves in the second in which it came is there for that second.
        events.push((task.deleted.max(task.created.saturating_add(1)), false, at));
    }
    events.sort_unstable();
    events
}

/// Lets tasks come and go.
///
/// # Errors
/// When the packer overloads a node.
pub fn flow(trace: &Trace, packer: &mut dyn Packer, bounds: &BTreeMap<usize, i64>) -> Result<Flow, String> {
    let events = events(trace);
    let mut ground = Ground::of(trace);
    let mut flow = Flow::default();
    let every = (events.len() / SAMPLES).max(1);
    let (mut used, mut asked, mut demand, mut before) = (0_f64, 0_f64, 0_i64, 0_i64);
    let (mut lost, mut samples, mut shares, mut bounded) = (0_f64, 0_u32, 0_f64, 0_u32);
    for (step, (at, coming, task)) in events.iter().enumerate() {
        let long = (at - before) as f64;
        used += ground.allocated()[2] as f64 * long;
        asked += demand as f64 * long;
        before = *at;
        let began = Instant::now();
        let placed = if *coming { packer.come(*at, &[*task]) } else { packer.go(*at, &[*task]) };
        flow.took += began.elapsed();
        if *coming {
            demand += trace.tasks[*task].gpus;
        } else {
            demand -= trace.tasks[*task].gpus;
            flow.refused += usize::from(!ground.leave(*task));
        }
        for (one, node) in placed {
            ground.place(one, node)?;
            let now = *coming && one == *task;
            *(if now { &mut flow.at_once } else { &mut flow.later }) += 1;
        }
        let gpus = ground.allocated()[2];
        flow.peak = flow.peak.max(gpus);
        if step % every == every - 1 {
            lost += ground.fragmented();
            samples += 1;
        }
        if let Some(most) = bounds.get(&step).filter(|most| **most > 0) {
            shares += gpus as f64 / *most as f64;
            bounded += 1;
        }
    }
    flow.served = used / asked.max(1.0);
    flow.fragmented = lost / f64::from(samples.max(1));
    flow.of_bound = shares / f64::from(bounded.max(1));
    Ok(flow)
}

/// One packer when more is asked for than there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Full {
    pub placed: usize,
    pub allocated: [i64; 3],
    pub fragmented: f64,
    pub took: Duration,
}

/// Lets all tasks come, `together` at a time, and none go.
///
/// # Errors
/// When the packer overloads a node.
pub fn full(trace: &Trace, packer: &mut dyn Packer, together: usize) -> Result<Full, String> {
    let mut ground = Ground::of(trace);
    let all: Vec<usize> = (0..trace.tasks.len()).collect();
    let began = Instant::now();
    // No time passes, so that nobody waits for so long that he holds the others.
    for some in all.chunks(together.max(1)) {
        for (task, node) in packer.come(0, some) {
            ground.place(task, node)?;
        }
    }
    let took = began.elapsed();
    let (placed, allocated, fragmented) = (ground.places.len(), ground.allocated(), ground.fragmented());
    Ok(Full { placed, allocated, fragmented, took })
}
