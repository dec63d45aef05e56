//! How long workloads waited and ran, from what their objects say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::time::{Span, Time};
use crate::simulate::statistics::Waits;

/// A workload's life as its object tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When it was created.
    pub created: Time,
    /// Since when it waits, if it does.
    pub waits_since: Option<Time>,
    /// When enough members first ran after the last admission.
    pub started: Option<Time>,
    /// When it ended, whether well, and why in a word.
    pub finished: Option<(Time, bool, Arc<str>)>,
    /// How often it was evicted.
    pub evictions: u32,
    /// Why it was evicted last, where that is still known.
    pub evicted_for: Option<Arc<str>>,
    /// How long it stays once it has finished.
    pub kept: Option<Span>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Until then.
    pub now: Time,
    /// For so long.
    pub asked: Span,
    /// When the pool was created.
    pub begun: Time,
    /// How long finished workloads stay that say nothing of it.
    pub kept: Option<Span>,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many wait now, and for how long each of them has.
    pub waiting: Waits,
    /// Of those that started in the window: from when they were created until enough members ran.
    pub waits: Waits,
    /// Those that started in the window and were evicted before: nobody has noted when their last wait began.
    pub left_out: usize,
    /// Of those that ended in what is covered: for how long they ran.
    pub runs: Waits,
    /// How far back finished workloads are known.
    pub covered: Span,
    /// Ended well in that time.
    pub succeeded: usize,
    /// Ended badly in that time.
    pub failed: usize,
    /// By reason.
    pub ends: BTreeMap<Arc<str>, usize>,
    /// How often those that are there were evicted, whenever.
    pub evictions: u32,
    /// Those that wait after an eviction or have not run since, by its reason.
    pub evicted: BTreeMap<Arc<str>, usize>,
    /// When the last one ended.
    pub last_end: Option<Time>,
}

impl Times {
    /// Of some workloads.
    pub fn of<'a>(lives: impl Iterator<Item = &'a Life> + Clone, window: Window) -> Self {
        let Window { now, asked, begun, kept } = window;
        let kept = lives.clone().filter_map(|life| life.kept).chain(kept).min();
        let covered = asked.min(kept.unwrap_or(asked)).min(Span((now - begun).0.max(0)));
        let (from, known_from) = (Time(now.0 - asked.0), Time(now.0 - covered.0));
        let mut times = Self { covered, ..Self::default() };
        let (mut waiting, mut waits, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for life in lives {
            let Life { created, waits_since, started, finished, evictions, evicted_for, kept: _ } = life;
            waiting.extend(waits_since.map(|since| Span((now - since).0.max(0))));
            if let Some(started) = started.filter(|at| (from..=now).contains(at)) {
                if *evictions > 0 {
                    times.left_out += 1;
                } else {
                    waits.push(started - *created);
                }
            }
            times.evictions = times.evictions.saturating_add(*evictions);
            if let Some(reason) = evicted_for {
                *times.evicted.entry(Arc::clone(reason)).or_default() += 1;
            }
            let Some((at, well, reason)) = finished else { continue };
            times.last_end = times.last_end.max(Some(*at));
            if (known_from..=now).contains(at) {
                *(if *well { &mut times.succeeded } else { &mut times.failed }) += 1;
                *times.ends.entry(Arc::clone(reason)).or_default() += 1;
                runs.extend(started.map(|started| *at - started));
            }
        }
        times.waiting = Waits::of_spans(waiting);
        times.waits = Waits::of_spans(waits);
        times.runs = Waits::of_spans(runs);
        times
    }

    /// Workloads that ended well in a day, in thousandths; none where too little is covered to say.
    pub fn a_day(&self) -> Option<i64> {
        if self.covered < Span::minutes(1) {
            return None;
        }
        let day = i128::from(Span::minutes(24 * 60).0) * 1000;
        let succeeded = i128::try_from(self.succeeded).unwrap_or(i128::MAX / day);
        i64::try_from(succeeded * day / i128::from(self.covered.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minute(minute: i64) -> Time {
        Time(minute * 60_000)
    }

    fn ended(created: i64, started: i64, finished: i64) -> Life {
        Life {
            created: minute(created),
            started: Some(minute(started)),
            finished: Some((minute(finished), true, "Completed".into())),
            ..Life::default()
        }
    }

    fn window(kept: Option<i64>) -> Window {
        Window {
            now: minute(1000),
            asked: Span::minutes(600),
            begun: minute(0),
            kept: kept.map(Span::minutes),
        }
    }

    #[test]
    fn waits_and_runs_are_those_of_the_window() {
        let failed = Life {
            created: minute(500),
            finished: Some((minute(990), false, "MaxWaitExceeded".into())),
            ..Life::default()
        };
        let waiting = Life { created: minute(900), waits_since: Some(minute(970)), ..Life::default() };
        let evicted = Life { evictions: 2, evicted_for: Some("Preempted".into()), ..ended(0, 950, 960) };
        // It had started before the window, and ended in it.
        let long = ended(0, 300, 500);
        let lives =
            [ended(400, 410, 470), ended(600, 630, 640), long, ended(0, 1, 399), failed, waiting, evicted];
        let times = Times::of(lives.iter(), window(None));
        let minutes = |of: Waits| (of.started, of.mean.0 / 60_000, of.median.0 / 60_000, of.p95.0 / 60_000);
        assert_eq!(minutes(times.waits), (2, 20, 10, 30));
        assert_eq!(times.left_out, 1);
        // 60, 10, 200 and 10 minutes.
        assert_eq!(minutes(times.runs), (4, 70, 10, 200));
        assert_eq!((times.succeeded, times.failed), (4, 1));
        assert_eq!(minutes(times.waiting), (1, 30, 30, 30));
        assert_eq!((times.evictions, times.evicted.get("Preempted")), (2, Some(&1)));
        assert_eq!(times.covered, Span::minutes(600));
        assert_eq!(times.a_day(), Some(9600), "4 in ten hours");
        assert_eq!(times.last_end, Some(minute(990)));
    }

    #[test]
    fn what_is_deleted_soon_is_known_for_no_longer() {
        let short = Life { kept: Some(Span::minutes(30)), ..ended(900, 910, 980) };
        let lives = [short, ended(900, 910, 960)];
        let times = Times::of(lives.iter(), window(Some(60)));
        assert_eq!((times.covered, times.succeeded), (Span::minutes(30), 1));
        assert_eq!(times.a_day(), Some(48_000));
        assert_eq!(times.waits.started, 2, "how long it waited is known all the same");
        let young = Window { begun: minute(990), ..window(None) };
        assert_eq!(Times::of(lives.iter(), young).covered, Span::minutes(10));
        assert_eq!(Times::of([].iter(), Window { begun: minute(1000), ..window(None) }).a_day(), None);
        // Clocks of machines differ: what is to come does not count yet.
        let early = Window { now: minute(970), ..window(None) };
        assert_eq!(Times::of(lives.iter(), early).succeeded, 1);
    }
}
