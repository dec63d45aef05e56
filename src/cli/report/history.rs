//! What Prometheus has seen, put into the report.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{HistoryRow, Report, ShareRow, Spans};
use super::gather::{Scope, amount as amount_of, shown};
use super::prometheus::{Failure, Line, Prometheus, Sample};
use super::queries::{Queries, Query};
use super::seen::Seen;
use super::usage::{Reading, Readings};
use crate::api::quantity::Quantity;
use crate::cli::load::stamp;
use crate::model::amount::Amount;
use crate::model::resources::ResourceId;
use crate::model::time::{Span, Time};
use crate::model::trend::Trend;
use crate::simulate::statistics::percentile;

/// By pool and resource, or by pool and an empty text.
type Lines = BTreeMap<(String, String), Vec<(i64, f64)>>;

/// What a number of a pod means.
type Set = fn(&mut Reading, f64);

/// What Prometheus has told of pools.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// When it begins, in seconds since 1970.
    from: i64,
    allocated: Lines,
    most: Lines,
    bound: Lines,
    queued: Lines,
    /// By pool: how many, their sum, median and 95th percentile, in seconds.
    waits: [BTreeMap<String, f64>; 4],
    evictions: BTreeMap<String, BTreeMap<String, i64>>,
    ends: BTreeMap<String, BTreeMap<String, i64>>,
    /// What could not be had.
    pub unknown: Vec<String>,
}

/// Asks, one question after another, and notes what is not answered.
struct Asking<'a> {
    prometheus: &'a Prometheus,
    from: i64,
    to: i64,
    step: i64,
    unknown: Vec<String>,
    /// It cannot be reached: nothing more is asked.
    gave_up: bool,
    missing: BTreeSet<&'static str>,
}

impl Asking<'_> {
    fn failed(&mut self, failure: Failure) {
        match failure {
            Failure::Whole(why) => {
                self.gave_up = true;
                self.unknown.push(format!("{why}; the report is made without it"));
            }
            Failure::One(why) => self.unknown.push(why),
        }
    }

    fn empty(&mut self, query: &Query) {
        let Query { metric, scrape, expression: _ } = query;
        if self.missing.insert(metric) {
            self.unknown.push(format!("Prometheus knows nothing of {metric} in this time: {scrape}"));
        }
    }

    async fn at(&mut self, query: &Query, may_be_empty: bool) -> Vec<Sample> {
        if self.gave_up {
            return Vec::new();
        }
        match self.prometheus.at(&query.expression, self.to).await {
            Ok(samples) => {
                if samples.is_empty() && !may_be_empty {
                    self.empty(query);
                }
                samples
            }
            Err(failure) => {
                self.failed(failure);
                Vec::new()
            }
        }
    }

    async fn over(&mut self, query: &Query) -> Lines {
        if self.gave_up {
            return Lines::new();
        }
        let label = |line: &Line, name: &str| line.labels.get(name).cloned().unwrap_or_default();
        match self.prometheus.over(&query.expression, self.from + self.step, self.to, self.step).await {
            Ok(lines) => {
                if lines.is_empty() {
                    self.empty(query);
                }
                lines
                    .into_iter()
                    .map(|line| ((label(&line, "pool"), label(&line, "resource")), line.points))
                    .collect()
            }
            Err(failure) => {
                self.failed(failure);
                Lines::new()
            }
        }
    }

    async fn by_pool(&mut self, query: &Query) -> BTreeMap<String, f64> {
        let samples = self.at(query, false).await;
        samples
            .into_iter()
            .map(|one| (one.labels.get("pool").cloned().unwrap_or_default(), one.value))
            .collect()
    }

    async fn by_reason(&mut self, query: &Query) -> BTreeMap<String, BTreeMap<String, i64>> {
        let mut counts: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        // Where nobody was evicted there is no such metric.
        for one in self.at(query, true).await {
            let label = |name: &str| one.labels.get(name).cloned().unwrap_or_default();
            let count = whole(one.value);
            if count > 0 {
                counts.entry(label("pool")).or_default().insert(label("reason"), count);
            }
        }
        counts
    }

    async fn pods(&mut self, queries: &Queries) -> Readings {
        let mut readings = Readings { source: "Prometheus, over the time looked at", ..Readings::default() };
        let cpu = self.at(&queries.cpu, false).await;
        let parts: [(Vec<Sample>, Set); 4] = [
            (cpu, |reading, seconds| reading.cpu_time = Some(seconds * 1000.0)),
            (self.at(&queries.cpu_peak, true).await, |reading, cores| reading.peak[0] = Some(cores * 1000.0)),
            (self.at(&queries.memory, false).await, |reading, bytes| reading.used[1] = Some(bytes)),
            (self.at(&queries.memory_peak, true).await, |reading, bytes| reading.peak[1] = Some(bytes)),
        ];
        for (samples, set) in parts {
            for Sample { labels, value } in samples {
                let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
                set(readings.pods.entry((label("namespace"), label("pod"))).or_default(), value);
            }
        }
        readings
    }
}

#[allow(clippy::cast_possible_truncation, reason = "what does not fit is the largest there is")]
fn whole(number: f64) -> i64 {
    number.round() as i64
}

/// Asks for all of it; of pods nothing where nothing was told.
pub async fn ask(prometheus: &Prometheus, seen: &Seen, scope: &Scope) -> (Told, Option<Readings>) {
    let within = seen.catalog.workloads().filter(|(_, known)| scope.pools.contains(&*known.spec.pool));
    let namespaces: BTreeSet<String> = within.map(|(_, known)| known.spec.namespace.to_string()).collect();
    let queries = Queries::new(scope.since, &namespaces);
    let to = seen.now.0 / 1000;
    let from = to - scope.since.0 / 1000;
    let mut asking = Asking {
        prometheus,
        from,
        to,
        step: queries.step,
        unknown: Vec::new(),
        gave_up: false,
        missing: BTreeSet::new(),
    };
    let mut told = Told {
        from,
        allocated: asking.over(&queries.allocated).await,
        most: asking.over(&queries.most).await,
        bound: asking.over(&queries.bound).await,
        queued: asking.over(&queries.queued).await,
        ..Told::default()
    };
    told.waits = [
        asking.by_pool(&queries.waits_count).await,
        asking.by_pool(&queries.waits_sum).await,
        asking.by_pool(&queries.waits_median).await,
        asking.by_pool(&queries.waits_p95).await,
    ];
    told.evictions = asking.by_reason(&queries.evictions).await;
    told.ends = asking.by_reason(&queries.ends).await;
    let readings = asking.pods(&queries).await;
    let Asking { unknown, gave_up, .. } = asking;
    told.unknown = unknown;
    let any = !gave_up && !readings.pods.is_empty();
    (told, any.then_some(readings))
}

/// Adds what was told of pools to the report.
pub fn add(report: &mut Report, told: &Told) {
    for pool in &mut report.pools {
        let name = pool.name.clone();
        for resource in &mut pool.resources {
            resource.history = share(told, &name, &resource.name);
        }
        pool.history = history(told, &name);
    }
    for idle in &mut report.idle_reservations {
        let Some(points) = told.most.get(&(idle.pool.clone(), idle.resource.clone())) else { continue };
        let peak = points.iter().map(|(_, value)| units(&idle.resource, *value)).max().unwrap_or_default();
        let reservation =
            amount_of(&idle.resource, Some(&Quantity(idle.reservation.clone()))).unwrap_or_default();
        idle.never_used = Some(shown(&idle.resource, reservation.less(peak)));
        // It has not been used since then at least.
        if peak.is_zero() {
            let first = points.first().map(|(at, _)| stamp(Time(at.saturating_mul(1000))));
            idle.idle_since = idle.idle_since.take().or(first);
        }
    }
}

/// A metric of a pool in the resource's units: cores are counted in thousandths.
fn units(resource: &str, value: f64) -> Amount {
    Amount::new(whole(if resource == "cpu" { value * 1000.0 } else { value }))
}

fn share(told: &Told, pool: &str, resource: &str) -> Option<ShareRow> {
    let key = (pool.to_owned(), resource.to_owned());
    let bound: BTreeMap<i64, f64> = told.bound.get(&key)?.iter().copied().collect();
    let of = |lines: &Lines| -> Vec<(i64, f64)> {
        let points = lines.get(&key).into_iter().flatten();
        let shares =
            points.filter_map(|(at, value)| Some((*at, value / bound.get(at).filter(|one| **one > 0.0)?)));
        shares.collect()
    };
    let shares = of(&told.allocated);
    if shares.is_empty() {
        return None;
    }
    let percent = |share: f64| whole(share * 100.0);
    let mean = shares.iter().map(|(_, share)| share).sum::<f64>() / shares.len() as f64;
    // In millionths, as if they were spans: one way of counting percentiles is enough.
    let mut sorted: Vec<Span> = shares.iter().map(|(_, share)| Span(whole(share * 1e6))).collect();
    sorted.sort();
    let peak =
        of(&told.most).into_iter().chain(shares.iter().copied()).map(|(_, share)| share).fold(0.0, f64::max);
    Some(ShareRow {
        mean: percent(mean),
        p95: percent(percentile(&sorted, 95).0 as f64 / 1e6),
        peak: percent(peak),
        exhausted_at: exhausted(told, &key),
        at: shares.iter().map(|(at, _)| at - told.from).collect(),
        shares: shares.iter().map(|(_, share)| (share * 1e4).round() / 1e4).collect(),
    })
}

/// When it is used up by the trend of that time: reckoned as pools' own forecasts are.
fn exhausted(told: &Told, key: &(String, String)) -> Option<String> {
    let (_, bound) = told.bound.get(key)?.last()?;
    let mut trend = Trend::default();
    for (at, value) in told.allocated.get(key)? {
        // Which resource it is does not matter here.
        trend.note(
            Time(at.saturating_mul(1000)),
            [(ResourceId::CPU, units(&key.1, *value))].into_iter().collect(),
        );
    }
    trend.reaches(ResourceId::CPU, units(&key.1, *bound)).map(stamp)
}

fn history(told: &Told, pool: &str) -> Option<HistoryRow> {
    let queued = told.queued.get(&(pool.to_owned(), String::new()));
    let [count, sum, median, p95] = &told.waits;
    let count = count.get(pool).copied().filter(|count| *count >= 0.5);
    let seconds = |of: &BTreeMap<String, f64>| of.get(pool).map_or(0, |value| whole(*value));
    let waits = count.map(|count| Spans {
        count: usize::try_from(whole(count)).unwrap_or(0),
        mean: whole(sum.get(pool).copied().unwrap_or(0.0) / count),
        median: seconds(median),
        p95: seconds(p95),
        longest: None,
    });
    let evictions = told.evictions.get(pool).cloned().unwrap_or_default();
    let ends = told.ends.get(pool).cloned().unwrap_or_default();
    if queued.is_none() && waits.is_none() && evictions.is_empty() && ends.is_empty() {
        return None;
    }
    let points = || queued.into_iter().flatten();
    Some(HistoryRow {
        at: points().map(|(at, _)| at - told.from).collect(),
        queued: points().map(|(_, value)| (value * 100.0).round() / 100.0).collect(),
        waits,
        evictions,
        ends,
    })
}
