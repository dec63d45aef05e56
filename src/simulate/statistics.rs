//! What a history comes to: waiting times, throughput, utilisation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Simulated;
use super::history::{Outcome, Point, PoolHistory, Record};
use crate::model::time::{Span, Time};

/// Waiting times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many started meanwhile.
    pub started: usize,
    /// On average.
    pub mean: Span,
    /// Half of them waited for no longer.
    pub median: Span,
    /// 95 of 100 waited for no longer.
    pub p95: Span,
    /// The longest.
    pub longest: Span,
}

impl Waits {
    /// Of all that started meanwhile.
    pub fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        let started = records.filter(|record| !record.began_before).filter_map(Record::wait);
        Self::of_spans(started.collect())
    }

    /// Of spans in any order.
    pub fn of_spans(mut waits: Vec<Span>) -> Self {
        waits.sort();
        let Some(longest) = waits.last().copied() else { return Self::default() };
        let sum = waits.iter().fold(0_i128, |sum, wait| sum + i128::from(wait.0));
        let count = i128::try_from(waits.len()).unwrap_or(i128::MAX);
        Self {
            started: waits.len(),
            mean: Span(i64::try_from(sum / count).unwrap_or(i64::MAX)),
            median: percentile(&waits, 50),
            p95: percentile(&waits, 95),
            longest,
        }
    }
}

/// By nearest rank: the least value that so many of a hundred do not pass. `sorted` is.
pub fn percentile(sorted: &[Span], percent: usize) -> Span {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// How much of one resource was used.
#[derive(Clone, Debug, PartialEq)]
pub struct Utilization {
    /// The resource's name.
    pub resource: Arc<str>,
    /// On average over time, of what there was: 1 is all.
    pub mean: f64,
    /// At most.
    pub peak: f64,
}

/// One pool, with its subtree.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolStatistics {
    /// Its name.
    pub name: Arc<str>,
    /// Waiting times of those that started.
    pub waits: Waits,
    /// Workloads that were there or came.
    pub workloads: usize,
    /// Of these, those that ended well.
    pub completed: usize,
    /// Those that ended otherwise.
    pub failed: usize,
    /// Those that run at the end.
    pub running: usize,
    /// Those that wait at the end.
    pub waiting: usize,
    /// How often workloads gave way.
    pub evictions: usize,
    /// Workloads that ended well in an hour.
    pub per_hour: f64,
    /// By resource, in the pool's order.
    pub utilization: Vec<Utilization>,
}

/// How each pool fared, by name; the subtree of each counts for it.
pub fn pools(simulated: &Simulated) -> Vec<PoolStatistics> {
    let Simulated { start, end, history, .. } = simulated;
    let mut of: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in &history.records {
        let mut next = Some(&record.pool);
        // Parents may form a cycle.
        for _ in 0..=history.pools.len() {
            let Some(name) = next else { break };
            of.entry(name).or_default().push(record);
            next = history.pools.get(name).and_then(|pool| pool.parent.as_ref());
        }
    }
    let none = Vec::new();
    history
        .pools
        .iter()
        .map(|(name, pool)| {
            let records = of.get(&**name).unwrap_or(&none);
            let count = |is: fn(Outcome) -> bool| records.iter().filter(|record| is(record.outcome)).count();
            let completed = count(|one| matches!(one, Outcome::Ended(how) if how.succeeded()));
            let hours = (*end - *start).0 as f64 / 3_600_000.0;
            PoolStatistics {
                name: Arc::clone(name),
                waits: Waits::of(records.iter().copied()),
                workloads: records.len(),
                completed,
                failed: count(|one| matches!(one, Outcome::Ended(how) if !how.succeeded())),
                running: count(|one| one == Outcome::Running),
                waiting: count(|one| one == Outcome::Waiting),
                evictions: records.iter().map(|record| record.gave_way.len()).sum(),
                per_hour: if hours > 0.0 { completed as f64 / hours } else { 0.0 },
                utilization: utilization(pool, *end),
            }
        })
        .collect()
}

fn utilization(pool: &PoolHistory, end: Time) -> Vec<Utilization> {
    pool.resources
        .iter()
        .enumerate()
        .map(|(at, resource)| {
            let (mut used, mut there, mut peak) = (0.0, 0.0, 0.0_f64);
            for (point, span) in with_spans(&pool.points, end) {
                let (now, of) = (share(&point.used, at), share(&point.there, at));
                used += now * span.0 as f64;
                there += of * span.0 as f64;
                if of > 0.0 && span.0 > 0 {
                    peak = peak.max(now / of);
                }
            }
            let mean = if there > 0.0 { used / there } else { 0.0 };
            Utilization { resource: Arc::clone(resource), mean, peak }
        })
        .collect()
}

fn share(amounts: &[i64], at: usize) -> f64 {
    amounts.get(at).copied().unwrap_or(0) as f64
}

/// Each point, and how long it lasted.
fn with_spans(points: &[Point], end: Time) -> impl Iterator<Item = (&Point, Span)> {
    let ends = points.iter().skip(1).map(|next| next.at).chain(std::iter::once(end));
    points.iter().zip(ends).map(|(point, end)| (point, end - point.at))
}

/// A pool over time in `count` parts of equal length, as charts show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The middle of each part, since the beginning.
    pub at: Vec<Span>,
    /// Workloads that waited, on average.
    pub queued: Vec<f64>,
    /// Workloads that were admitted, on average.
    pub running: Vec<f64>,
    /// By resource: the share that was used, on average; 1 is all.
    pub used: Vec<Vec<f64>>,
}

/// A pool over time.
pub fn series(pool: &PoolHistory, start: Time, end: Time, count: usize) -> Series {
    let length = (end - start).0;
    let count = count.clamp(1, usize::try_from(length.max(1)).unwrap_or(1));
    let edge = |part: usize| {
        let part = i128::try_from(part).unwrap_or(0) * i128::from(length);
        start + Span(i64::try_from(part / i128::try_from(count).unwrap_or(1)).unwrap_or(0))
    };
    let mut series = Series { used: vec![Vec::new(); pool.resources.len()], ..Series::default() };
    let mut first = 0;
    for part in 0..count {
        let (from, to) = (edge(part), edge(part + 1));
        let (mut queued, mut running, mut total) = (0.0, 0.0, 0.0);
        let (mut used, mut there) = (vec![0.0; pool.resources.len()], vec![0.0; pool.resources.len()]);
        let mut at = first;
        while let Some(point) = pool.points.get(at).filter(|point| point.at < to || length == 0) {
            let until = pool.points.get(at + 1).map_or(end, |next| next.at);
            let overlap = (until.min(to) - point.at.max(from)).0 as f64;
            let weight = if length == 0 { 1.0 } else { overlap };
            queued += f64::from(point.queued) * weight;
            running += f64::from(point.running) * weight;
            total += weight;
            for (resource, sum) in used.iter_mut().enumerate() {
                *sum += share(&point.used, resource) * weight;
            }
            for (resource, sum) in there.iter_mut().enumerate() {
                *sum += share(&point.there, resource) * weight;
            }
            if until > to || at + 1 >= pool.points.len() {
                break;
            }
            at += 1;
        }
        first = at;
        let mean = |sum: f64| if total > 0.0 { sum / total } else { 0.0 };
        series.at.push(Span((from - start).0 + (to - from).0 / 2));
        series.queued.push(mean(queued));
        series.running.push(mean(running));
        for (resource, all) in series.used.iter_mut().enumerate() {
            let (used, there) = (share_of(&used, resource), share_of(&there, resource));
            all.push(if there > 0.0 { used / there } else { 0.0 });
        }
    }
    series
}

fn share_of(sums: &[f64], at: usize) -> f64 {
    sums.get(at).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let all: Vec<Span> = (1..=20).map(Span::seconds).collect();
        assert_eq!(percentile(&all, 50), Span::seconds(10));
        assert_eq!(percentile(&all, 95), Span::seconds(19));
        assert_eq!(percentile(&all[..1], 95), Span::seconds(1));
        assert_eq!(percentile(&[], 95), Span(0));
    }

    #[test]
    fn a_series_weighs_by_time() {
        let point =
            |at, queued, used| Point { at: Time(at), queued, running: 1, used: vec![used], there: vec![10] };
        let pool = PoolHistory {
            parent: None,
            resources: vec!["cpu".into()],
            points: vec![point(0, 4, 10), point(50, 0, 5), point(150, 2, 0)],
        };
        let series = series(&pool, Time(0), Time(200), 2);
        assert_eq!(series.at, [Span(50), Span(150)]);
        assert_eq!(series.queued, [2.0, 1.0]);
        assert_eq!(series.used, [[0.75, 0.25]]);
        let all = utilization(&pool, Time(200));
        assert!((all[0].mean - 0.5).abs() < 1e-9 && (all[0].peak - 1.0).abs() < 1e-9, "{all:?}");
    }
}
