//! What a simulation came to, as it is printed: one JSON object is the source of tables and pages.

use serde::Serialize;

use crate::api::quantity::shown_amount;
use crate::api::reasons::Reason;
use crate::cli::load::stamp;
use crate::model::moves::Why;
use crate::model::report::WorkloadPhase;
use crate::model::time::{Span, Time};
use crate::model::world::World;
use crate::plan::reason::{self, Refused};
use crate::simulate::history::{Outcome, Record};
use crate::simulate::statistics::{self, PoolStatistics, Waits};
use crate::simulate::{self, Simulated, Stopped};

/// Parts of the time that charts show.
const PARTS: usize = 240;
/// Reasons that are told of workloads that wait at the end.
const MOST_REASONS: usize = 1000;
/// Of so many it is tried whether they would fit alone.
const MOST_ALONE: usize = 100;

/// All of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The shape of this object: it changes when fields change their meaning.
    pub format: &'static str,
    /// When the simulated time begins.
    pub start: String,
    /// The seed of what is random.
    pub seed: u64,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// One for each way that was compared; the first is what others are compared with.
    pub variants: Vec<Variant>,
}

/// One way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// `AtRest`, `TimeIsUp` or `NoEnd`.
    pub stopped: &'static str,
    /// How long it took, in seconds of simulated time.
    pub seconds: f64,
    /// How often it was decided.
    pub cycles: u64,
    /// By name.
    pub pools: Vec<Pool>,
    /// In order of arrival.
    pub workloads: Vec<Workload>,
    /// Members on nodes, in order of their beginnings.
    pub runs: Vec<Lane>,
}

/// One pool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Workloads that were there or came.
    pub workloads: usize,
    /// That ended well.
    pub completed: usize,
    /// That ended otherwise.
    pub failed: usize,
    /// That run at the end.
    pub running: usize,
    /// That wait at the end.
    pub waiting: usize,
    /// How often workloads gave way.
    pub evictions: usize,
    /// Workloads that ended well in an hour.
    pub per_hour: f64,
    /// Of those that started.
    pub wait_seconds: WaitSeconds,
    /// By resource.
    pub utilization: Vec<Utilization>,
    /// Over time.
    pub series: Series,
}

/// Waiting times in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitSeconds {
    /// How many started.
    pub started: usize,
    /// On average.
    pub mean: f64,
    /// Half waited for no longer.
    pub median: f64,
    /// 95 of 100 waited for no longer.
    pub p95: f64,
    /// The longest.
    pub longest: f64,
}

/// How much of a resource was used, 1 being all.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Utilization {
    /// The resource.
    pub resource: String,
    /// On average over time.
    pub mean: f64,
    /// At most.
    pub peak: f64,
}

/// A pool over time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Seconds since the beginning.
    pub at: Vec<f64>,
    /// Workloads that waited.
    pub queued: Vec<f64>,
    /// Workloads that were admitted.
    pub running: Vec<f64>,
    /// By resource, in the order of `utilization`: the share that was used.
    pub used: Vec<Vec<f64>>,
}

/// One workload. Times are seconds since the beginning; what was before is negative.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// `namespace/name`.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// Its priority.
    pub priority: i32,
    /// When it arrived.
    pub arrived: f64,
    /// When it started first.
    pub start: Option<f64>,
    /// How long it waited for that.
    pub wait: Option<f64>,
    /// When it ended.
    pub end: Option<f64>,
    /// How it stood at the end: `Waiting`, `Running`, `Removed`, or the reason of its end.
    pub outcome: String,
    /// Nodes that its members are on, or were on last, in the order of their indexes.
    pub nodes: Vec<String>,
    /// When it gave way, and why.
    pub gave_way: Vec<GaveWay>,
    /// When members were evicted and began anew on other nodes, and why.
    pub restarts: Vec<GaveWay>,
    /// Members that moved, and went on all the while.
    pub moves: u32,
    /// Members that were lost with their nodes, and began anew.
    pub losses: usize,
    /// When each of them was.
    pub lost_at: Vec<f64>,
    /// Why it waits, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it would not fit even if nothing else was there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub never_fits: bool,
    /// How long its members run; none: for ever, since nobody says.
    pub duration: Option<f64>,
}

/// One time that a workload, or a member of one, gave way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GaveWay {
    /// When.
    pub at: f64,
    /// Why.
    pub reason: &'static str,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_whom: Option<String>,
}

/// A member on a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    /// The node.
    pub node: String,
    /// Its workload: a place in `workloads`.
    pub workload: usize,
    /// Its index.
    pub member: u32,
    /// From then.
    pub from: f64,
    /// Until then; none: it goes on.
    pub to: Option<f64>,
}

/// In seconds.
pub fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}

fn since(start: Time, time: Time) -> f64 {
    time.0.saturating_sub(start.0) as f64 / 1000.0
}

impl Report {
    /// With nothing in it yet.
    pub fn new(start: Time, seed: u64, notes: Vec<String>) -> Self {
        Self { format: "weir.dev/simulation/v1", start: stamp(start), seed, notes, variants: Vec::new() }
    }
}

impl Variant {
    /// Of one simulation.
    pub fn of(name: &str, simulated: &Simulated) -> Self {
        let Simulated { start, end, stopped, history, world, cycles, work: _ } = simulated;
        let mut reasons = 0;
        let workloads = history
            .records
            .iter()
            .map(|record| workload(record, (*start, *end), world, &mut reasons))
            .collect();
        let runs = history.lanes.iter().map(|lane| Lane {
            node: lane.node.to_string(),
            workload: lane.record,
            member: lane.index,
            from: since(*start, lane.from),
            to: lane.to.map(|to| since(*start, to)),
        });
        Self {
            name: name.to_owned(),
            stopped: match stopped {
                Stopped::AtRest => "AtRest",
                Stopped::TimeIsUp => "TimeIsUp",
                Stopped::NoEnd => "NoEnd",
            },
            seconds: seconds(*end - *start),
            cycles: *cycles,
            pools: statistics::pools(simulated).into_iter().map(|pool| Pool::of(pool, simulated)).collect(),
            workloads,
            runs: runs.collect(),
        }
    }
}

impl From<Waits> for WaitSeconds {
    fn from(waits: Waits) -> Self {
        Self {
            started: waits.started,
            mean: seconds(waits.mean),
            median: seconds(waits.median),
            p95: seconds(waits.p95),
            longest: seconds(waits.longest),
        }
    }
}

impl Pool {
    fn of(pool: PoolStatistics, simulated: &Simulated) -> Self {
        let history = simulated.history.pools.get(&pool.name);
        let series = history
            .map(|history| statistics::series(history, simulated.start, simulated.end, PARTS))
            .unwrap_or_default();
        let short = |all: Vec<f64>| {
            all.into_iter().map(|one| (one * 10_000.0).round() / 10_000.0).collect::<Vec<_>>()
        };
        Self {
            parent: history.and_then(|history| history.parent.as_ref()).map(ToString::to_string),
            name: pool.name.to_string(),
            workloads: pool.workloads,
            completed: pool.completed,
            failed: pool.failed,
            running: pool.running,
            waiting: pool.waiting,
            evictions: pool.evictions,
            per_hour: pool.per_hour,
            wait_seconds: pool.waits.into(),
            utilization: pool
                .utilization
                .into_iter()
                .map(|one| Utilization { resource: one.resource.to_string(), mean: one.mean, peak: one.peak })
                .collect(),
            series: Series {
                at: series.at.into_iter().map(seconds).collect(),
                queued: short(series.queued),
                running: short(series.running),
                used: series.used.into_iter().map(short).collect(),
            },
        }
    }
}

fn workload(record: &Record, (start, end): (Time, Time), world: &World, reasons: &mut usize) -> Workload {
    let mut why = None;
    let mut never_fits = false;
    if record.outcome == Outcome::Waiting
        && *reasons < MOST_REASONS
        && let Some(report) = world.workload_report(&record.uid)
        && let WorkloadPhase::Queued { refusal, .. } = &report.phase
    {
        *reasons += 1;
        let of = Refused { namespace: &record.namespace, pool: &record.pool, priority: record.priority };
        why = Some(reason::message(refusal, of, world.resources()));
        never_fits = refusal.is_impossible()
            || *reasons <= MOST_ALONE && !simulate::fits_alone(world, end, &record.uid);
    }
    Workload {
        name: record.title(),
        pool: record.pool.to_string(),
        priority: record.priority,
        arrived: since(start, record.arrived),
        start: record.started.map(|at| since(start, at)),
        wait: record.wait().map(seconds),
        end: record.ended.map(|at| since(start, at)),
        outcome: outcome(record.outcome).to_owned(),
        nodes: record.nodes.values().map(ToString::to_string).collect(),
        gave_way: record
            .gave_way
            .iter()
            .map(|one| GaveWay {
                at: since(start, one.at),
                reason: reason::of_stop(one.reason).as_str(),
                for_whom: one.for_whom.as_ref().map(ToString::to_string),
            })
            .collect(),
        restarts: record
            .restarts
            .iter()
            .map(|one| GaveWay {
                at: since(start, one.at),
                reason: restarted(one.why).as_str(),
                for_whom: one.for_whom.as_ref().map(ToString::to_string),
            })
            .collect(),
        moves: record.moves,
        losses: record.losses.len(),
        lost_at: record.losses.iter().map(|at| since(start, *at)).collect(),
        why,
        never_fits,
        duration: record.duration.map(seconds),
    }
}

/// Why a member had to begin anew.
fn restarted(why: Why) -> Reason {
    match why {
        Why::Drain => Reason::Drained,
        Why::Rebalance | Why::MakeRoom | Why::Asked | Why::Others => Reason::Migrating,
    }
}

/// How a workload stood at the end, in a word.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Waiting => "Waiting",
        Outcome::Running => "Running",
        Outcome::Removed => "Removed",
        Outcome::Ended(how) => reason::of_finish(how).as_str(),
    }
}

/// An amount of a resource as the API writes it.
pub fn quantity(resource: &str, units: i64) -> String {
    shown_amount(resource, units).as_str().to_owned()
}
