//! The search for nodes that do: plenty first, which shows what binds if nothing does; then what programmes say, and fewer
//! and fewer, as long as the simulation holds and time is left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::super::load::Loaded;
use super::super::say;
use super::fleet::{Fleet, MOST_NODES};
use crate::model::refusal::{Bound, Refusal};
use crate::model::report::WorkloadPhase;
use crate::model::spec::StopReason;
use crate::model::time::Span;
use crate::optimise::capacity::fit;
use crate::plan::reason::{self, Refused};
use crate::simulate::history::Record;
use crate::simulate::{Settings, Simulated, simulate_until};

/// How long one programme may take.
const SOLVE: Duration = Duration::from_secs(5);
/// Between what surely is too little and what covers all at once it is halved so often.
const HALVINGS: u32 = 6;
/// Between what covers all at once and plenty there are so many steps.
const STEPS: u32 = 32;
/// Workloads that are named where no nodes would do.
const NAMED: usize = 3;

/// Why nodes do not do, from what is surest to be the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// More nodes would not help.
    Fixed,
    /// More nodes may help.
    Nodes,
    /// Others come first, and one of these says why.
    Others,
}

/// Workloads that wait for too long: why, and in words.
#[derive(Clone, Debug)]
struct Short {
    cause: Cause,
    words: String,
}

/// What came of trying nodes.
#[derive(Clone, Debug)]
enum Tried {
    /// All start in time; the longest wait.
    Holds(Span),
    /// Somebody does not.
    Short(Short),
    /// The time was over.
    Late,
}

/// Nodes that do, and whether the time was over before fewer were ruled out.
pub(super) struct Found {
    pub(super) nodes: Vec<u32>,
    pub(super) longest: Span,
    pub(super) late: bool,
}

/// A search under way.
pub(super) struct Search<'a> {
    fleet: &'a Fleet,
    limit: Duration,
    until: Instant,
    tried: BTreeMap<Vec<u32>, Tried>,
    late: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(fleet: &'a Fleet, limit: Duration) -> Self {
        Self { fleet, limit, until: Instant::now() + limit, tried: BTreeMap::new(), late: false }
    }

    /// How long a programme may take now.
    pub(super) fn solve(&self) -> Duration {
        SOLVE.min(self.until.saturating_duration_since(Instant::now()))
    }

    /// Nodes that do, as few as are found in time.
    pub(super) fn run(&mut self, plenty: (Vec<u32>, Span)) -> Result<Found> {
        let (nodes, longest) = self.least(plenty)?;
        let (nodes, longest) = self.trim(nodes, longest)?;
        Ok(Found { nodes, longest, late: self.late })
    }

    /// Whether the nodes that are there already do.
    pub(super) fn none(&mut self) -> Result<Option<Found>> {
        let nodes = vec![0; self.fleet.offers.len()];
        let longest = self.holds(&nodes)?;
        Ok(longest.map(|longest| Found { nodes, longest, late: false }))
    }

    /// More nodes than are needed: twice what all work takes by itself, then one for each member. Where these do not do
    /// either, what is in the way.
    pub(super) fn plenty(&mut self) -> Result<(Vec<u32>, Span)> {
        let by_room = self.all(|members, fit| 2 * (members + fit - 1) / fit);
        let by_member = self.all(|members, _| members);
        let at_most = self.fleet.at_most();
        let mut last = None;
        for nodes in [by_room, by_member] {
            let count: u32 = nodes.iter().sum();
            match self.attempt(&nodes)? {
                Tried::Holds(longest) => return Ok((nodes, longest)),
                Tried::Late => bail!("{}", self.nothing_in_time(last)),
                Tried::Short(short) if short.cause == Cause::Fixed => bail!(
                    "no nodes were found that do, and more would not help: with {} {}",
                    say::counted(count as usize, "node"),
                    short.words
                ),
                Tried::Short(short) => {
                    let sums = self.fleet.short_sum().map(|sum| format!("{sum}; "));
                    if sums.is_some() || nodes == at_most {
                        bail!(
                            "no nodes would do: {}with {}, {} that the kinds have at their `most`, {}",
                            sums.unwrap_or_default(),
                            say::counted(count as usize, "node"),
                            if nodes == at_most { "all" } else { "and as many" },
                            short.words
                        );
                    }
                    last = Some((count, short));
                }
            }
        }
        let (count, short) = last.map_or((0, String::new()), |(count, short)| (count, short.words));
        bail!("no nodes were found that do: with {} {short}", say::counted(count as usize, "node"))
    }

    fn nothing_in_time(&self, last: Option<(u32, Short)>) -> String {
        let last = last
            .map(|(count, short)| format!(": with {} {}", say::counted(count as usize, "node"), short.words));
        format!(
            "no nodes were found within {} that do{}. Give a longer --time-limit",
            say::span(Span(i64::try_from(self.limit.as_millis()).unwrap_or(i64::MAX))),
            last.unwrap_or_default()
        )
    }

    /// Nodes of all kinds: so many for the members of each class, given how many of them one takes.
    fn all(&self, count: impl Fn(i64, i64) -> i64) -> Vec<u32> {
        let fleet = self.fleet;
        let of_kind = |kind: &crate::optimise::capacity::Kind| {
            let each = fleet.works.iter().map(|load| match fit(&load.work, kind) {
                fit @ 1.. => count(i64::from(load.work.members), fit),
                _ => 0,
            });
            let sum = each.fold(0, i64::saturating_add);
            u32::try_from(sum.clamp(0, i64::from(kind.most))).unwrap_or(0)
        };
        let mut nodes: Vec<u32> = fleet.kinds_to_have().iter().map(of_kind).collect();
        let sum: u64 = nodes.iter().map(|count| u64::from(*count)).sum();
        if sum > u64::from(MOST_NODES) {
            for count in &mut nodes {
                let part = u64::from(*count) * u64::from(MOST_NODES) / sum;
                *count = u32::try_from(part).unwrap_or(0);
            }
        }
        nodes
    }

    /// The least share of the way from what is surely too little to all at once that does; and where packing takes more
    /// than that, so much of the way to plenty.
    fn least(&mut self, plenty: (Vec<u32>, Span)) -> Result<(Vec<u32>, Span)> {
        let fleet = self.fleet;
        let shares = |part: f64| -> Vec<f64> {
            fleet.area().into_iter().map(|least| least + (1.0 - least) * part).collect()
        };
        let mut found = plenty;
        let Some(low) = fleet.candidate(&shares(0.0), self.solve()) else { return Ok(found) };
        if let Some(longest) = self.holds(&low)? {
            return Ok((low, longest));
        }
        let Some(all) = fleet.candidate(&shares(1.0), self.solve()) else { return Ok(found) };
        let Some(longest) = self.holds(&all)? else {
            let between = |step: u32, plenty: &[u32]| -> Vec<u32> {
                let way = |(from, to): (&u32, &u32)| from + to.saturating_sub(*from) * step / STEPS;
                all.iter().zip(plenty).map(way).collect()
            };
            let plenty = found.0.clone();
            let (mut low, mut high) = (0, STEPS);
            while high - low > 1 && !self.late {
                let middle = u32::midpoint(low, high);
                let nodes = between(middle, &plenty);
                match self.holds(&nodes)? {
                    Some(longest) => (found, high) = ((nodes, longest), middle),
                    None => low = middle,
                }
            }
            return Ok(found);
        };
        found = (all, longest);
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            let Some(nodes) = fleet.candidate(&shares(middle), self.solve()) else { break };
            match self.holds(&nodes)? {
                Some(longest) => (found, high) = ((nodes, longest), middle),
                None => low = middle,
            }
        }
        Ok(found)
    }

    /// Takes nodes away, the dearest first, as long as it still does.
    fn trim(&mut self, mut nodes: Vec<u32>, mut longest: Span) -> Result<(Vec<u32>, Span)> {
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        let price = |kind: &usize| self.fleet.offers[*kind].price;
        order.sort_by(|one, other| price(other).total_cmp(&price(one)));
        for kind in order {
            // As many at once as may be, then fewer.
            let mut step = nodes[kind];
            while step > 0 && !self.late {
                step = step.min(nodes[kind]);
                let mut fewer = nodes.clone();
                fewer[kind] -= step;
                match self.holds(&fewer)? {
                    Some(found) if step > 0 => (nodes, longest) = (fewer, found),
                    _ => step /= 2,
                }
            }
        }
        Ok((nodes, longest))
    }

    /// The longest wait with these nodes; none if somebody waits for longer than is asked for, or the time is over.
    fn holds(&mut self, nodes: &[u32]) -> Result<Option<Span>> {
        match self.attempt(nodes)? {
            Tried::Holds(longest) => Ok(Some(longest)),
            Tried::Short(_) | Tried::Late => Ok(None),
        }
    }

    fn attempt(&mut self, nodes: &[u32]) -> Result<Tried> {
        if let Some(tried) = self.tried.get(nodes) {
            return Ok(tried.clone());
        }
        let is_over = || Instant::now() >= self.until;
        if is_over() {
            self.late = true;
            return Ok(Tried::Late);
        }
        let fleet = self.fleet;
        let Loaded { world, now, .. } = fleet.with(nodes)?;
        let settings = Settings {
            default_duration: fleet.default_duration,
            keeps_history: false,
            until: Some(now + Span(fleet.wait.0.saturating_add(1))),
            ..Settings::default()
        };
        let (simulated, over) = simulate_until(world, now, settings, is_over);
        let tried = match outcome(&simulated, fleet.wait) {
            // Somebody may start still who has not yet.
            Tried::Short(_) if over => Tried::Late,
            tried => tried,
        };
        if matches!(tried, Tried::Late) {
            self.late = true;
        } else {
            self.tried.insert(nodes.to_vec(), tried.clone());
        }
        Ok(tried)
    }
}

fn outcome(simulated: &Simulated, asked: Span) -> Tried {
    let mut longest = Span(0);
    let mut late: Vec<&Record> = Vec::new();
    for record in &simulated.history.records {
        match record.wait() {
            Some(wait) if wait <= asked => longest = longest.max(wait),
            _ => late.push(record),
        }
    }
    if late.is_empty() {
        return Tried::Holds(longest);
    }
    let why: Vec<(Cause, &Record, String)> = late
        .iter()
        .map(|record| {
            let (cause, words) = cause(simulated, record);
            (cause, *record, words)
        })
        .collect();
    let cause = why.iter().map(|(cause, ..)| *cause).min().unwrap_or(Cause::Others);
    // One of each pool tells what binds there.
    let mut named: Vec<&(Cause, &Record, String)> = Vec::new();
    for one in why.iter().filter(|(its, ..)| *its == cause) {
        if named.len() < NAMED && named.iter().all(|(_, other, _)| other.pool != one.1.pool) {
            named.push(one);
        }
    }
    let each = named.iter().map(|(_, record, words)| {
        format!("{} waits for longer than {}: {words}", record.title(), say::span(asked))
    });
    let mut words = each.collect::<Vec<_>>().join("; ");
    if late.len() > named.len() {
        words = format!("{words}; {} so in all", say::counted(late.len(), "workload"));
    }
    Tried::Short(Short { cause, words })
}

/// Why a workload has not started.
fn cause(simulated: &Simulated, record: &Record) -> (Cause, String) {
    let phase = simulated.world.workload_report(&record.uid).map(|report| report.phase);
    match &phase {
        Some(WorkloadPhase::Queued { refusal, .. }) => {
            let of = Refused { namespace: &record.namespace, pool: &record.pool, priority: record.priority };
            (cause_of(refusal), reason::message(refusal, of, simulated.world.resources()))
        }
        Some(WorkloadPhase::Suspended) => {
            (Cause::Fixed, "it is suspended: write spec.suspend: false, or leave it out".to_owned())
        }
        Some(WorkloadPhase::Finished { reason, .. }) => {
            (Cause::Nodes, reason::of_stop(StopReason::Finished(*reason)).as_str().to_owned())
        }
        _ => (Cause::Others, "it is not looked at in that time".to_owned()),
    }
}

fn cause_of(refusal: &Refusal) -> Cause {
    match refusal {
        Refusal::PoolNotFound
        | Refusal::PoolStalled(_)
        | Refusal::PoolDeleting(_)
        | Refusal::PoolHeld(_)
        | Refusal::NamespaceNotAllowed
        | Refusal::PriorityNotAllowed(..)
        | Refusal::RuntimeNotAllowed(_)
        | Refusal::KubeVirtNotInstalled
        | Refusal::InvalidTemplate(_)
        | Refusal::RequestMissing(_)
        | Refusal::QueueFull { .. }
        | Refusal::TooManyRunning { .. }
        | Refusal::RateLimited { .. }
        | Refusal::CreateRefused { .. }
        | Refusal::ExceedsLimit { per_workload: true, .. } => Cause::Fixed,
        Refusal::ExceedsLimit { bound, .. } | Refusal::WaitingForQuota { bound, .. } => match bound {
            Bound::Capacity => Cause::Nodes,
            Bound::Limit | Bound::Declared | Bound::NotExpandable | Bound::NotPreemptible => Cause::Fixed,
        },
        Refusal::NoFittingNode(_) | Refusal::Fragmented { .. } => Cause::Nodes,
        Refusal::NotTried
        | Refusal::WouldDelay { .. }
        | Refusal::QueuedBehind(_)
        | Refusal::WaitingForPreempted(_)
        | Refusal::WaitingForMoves { .. } => Cause::Others,
    }
}
