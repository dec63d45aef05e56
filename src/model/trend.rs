//! The trend of what pools use, and when it comes to their limits.
//!
//! Every five minutes what is allocated is noted, for six hours at most. The growth is the slope of the straight line that
//! is nearest to these samples (least squares); from what is allocated at the last of them it is followed to
//! the limit. Nothing is foretold of too few samples, of use that does not grow, where the line tells less than half of
//! how the samples vary, or further ahead than four times the time that was looked at.
//! All integers: the same samples tell the same in every build.

use std::collections::VecDeque;

use super::amount::Amount;
use super::ids::PoolId;
use super::resources::{Amounts, ResourceId};
use super::time::{Span, Time};
use super::world::World;

/// Between two samples.
pub const EVERY: Span = Span::minutes(5);
/// Samples that are kept: six hours.
const MOST: usize = 73;
/// Fewer tell nothing.
const LEAST: usize = 6;
/// How far ahead a trend is followed, in times that the samples span.
const REACH: i128 = 4;
/// Amounts are reckoned in millionths of the limit, so that no sum of products overflows.
const WHOLE: i128 = 1_000_000;

/// What a pool and all below it were charged at some times, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Trend(VecDeque<(Time, Amounts)>);

impl Trend {
    /// Notes what is used now.
    pub fn note(&mut self, now: Time, used: Amounts) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((now, used));
    }

    /// When a resource is used up to `limit`, if it goes on like this.
    pub fn reaches(&self, resource: ResourceId, limit: Amount) -> Option<Time> {
        let (begin, _) = self.0.front()?;
        let (last, used) = self.0.back()?;
        let (left, whole) = (limit.less(used.get(resource)), i128::from(limit.units()));
        if self.0.len() < LEAST || left.is_zero() || limit == Amount::MAX {
            return None;
        }
        let count = i128::try_from(self.0.len()).unwrap_or(i128::MAX);
        let (mut x_sum, mut y_sum, mut xx_sum, mut xy_sum, mut yy_sum) = (0, 0, 0, 0, 0);
        for (at, used) in &self.0 {
            let x = i128::from((*at - *begin).0 / 1000);
            let y = i128::from(used.get(resource).units()) * WHOLE / whole;
            x_sum += x;
            y_sum += y;
            xx_sum += x * x;
            xy_sum += x * y;
            yy_sum += y * y;
        }
        let rise = count * xy_sum - x_sum * y_sum;
        let run = count * xx_sum - x_sum * x_sum;
        let vary = count * yy_sum - y_sum * y_sum;
        // The coefficient of determination is rise * rise / (run * vary).
        if rise <= 0 || 2 * rise * rise < run * vary {
            return None;
        }
        let seconds = (i128::from(left.units()) * WHOLE / whole) * run / rise;
        let span = i128::from((*last - *begin).0 / 1000);
        let seconds = i64::try_from(seconds).ok().filter(|seconds| i128::from(*seconds) <= REACH * span)?;
        Some(*last + Span::seconds(seconds))
    }
}

impl World {
    /// Notes what all pools use, if that is due; when it is due next. Pools are looked at again whenever they were
    /// noted.
    pub fn note_trends(&mut self, now: Time) -> Time {
        if let Some(next) = self.noted_at.map(|at| at + EVERY).filter(|next| *next > now) {
            return next;
        }
        self.noted_at = Some(now);
        let ids: Vec<PoolId> = self.pool_ids.values().copied().collect();
        for id in ids {
            let Some(pool) = self.pools.get_mut(id.0).filter(|pool| !pool.metered.is_empty()) else {
                continue;
            };
            let used =
                pool.metered.iter().map(|resource| (*resource, pool.all.used.get(*resource))).collect();
            pool.trend.note(now, used);
            self.changed_pools.insert(id);
        }
        now + EVERY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: ResourceId = ResourceId::CPU;

    /// Samples of so many cores, five minutes apart, from minute 0 on.
    fn trend(cores: &[i64]) -> Trend {
        let mut trend = Trend::default();
        for (at, cores) in (0..).zip(cores) {
            let used = [(CPU, Amount::new(cores * 1000))].into_iter().collect();
            trend.note(Time(0) + Span::minutes(5 * at), used);
        }
        trend
    }

    fn minutes(trend: &Trend, limit: i64) -> Option<i64> {
        trend.reaches(CPU, Amount::new(limit * 1000)).map(|at| (at - Time(0)).0 / 60_000)
    }

    #[test]
    fn steady_growth_is_followed_to_the_limit() {
        // One core in five minutes; at minute 25 there are 6, and 10 are left: 50 minutes more.
        assert_eq!(minutes(&trend(&[1, 2, 3, 4, 5, 6]), 16), Some(75));
        // Memory in bytes overflows nothing.
        let mut large = Trend::default();
        for at in 0..6 {
            let used = [(ResourceId::MEMORY, Amount::new((at + 1) << 58))].into_iter().collect();
            large.note(Time(0) + Span::minutes(5 * at), used);
        }
        // Of 2^62 bytes each sample takes a sixteenth.
        assert_eq!(large.reaches(ResourceId::MEMORY, Amount::new(1 << 62)).map(|at| at.0 / 60_000), Some(75));
    }

    #[test]
    fn uneven_growth_is_followed_by_its_mean() {
        // By hand, x in steps of 5 minutes: n = 6, sum x = 15, sum y = 12, sum xx = 55, sum xy = 44:
        // slope (6*44 - 15*12) / (6*55 - 15*15) = 84/105 cores a step. At the last 4 are used and 4 left: 4 * 105/84
        // = 5 steps, 25 minutes after minute 25.
        assert_eq!(minutes(&trend(&[0, 1, 1, 3, 3, 4]), 8), Some(50));
    }

    #[test]
    fn nothing_is_foretold_without_a_trend() {
        assert_eq!(minutes(&trend(&[1, 2, 3, 4, 5]), 16), None, "five samples are too few");
        assert_eq!(minutes(&trend(&[4, 4, 4, 4, 4, 4, 4]), 16), None, "it is flat");
        assert_eq!(minutes(&trend(&[9, 8, 7, 6, 5, 4]), 16), None, "it falls");
        // By hand: rise 33, run 105, vary 237: it tells 33 * 33 / (105 * 237) = 4 percent of how they vary.
        assert_eq!(minutes(&trend(&[0, 5, 0, 6, 0, 4]), 16), None, "it goes up and down");
        assert_eq!(minutes(&trend(&[1, 2, 3, 4, 5, 6]), 6), None, "nothing is left");
        // 100 minutes are four times the 25 that were looked at; 19 cores take 95, and 26 take 130.
        assert_eq!(minutes(&trend(&[1, 2, 3, 4, 5, 6]), 25), Some(120));
        assert_eq!(minutes(&trend(&[1, 2, 3, 4, 5, 6]), 32), None, "it is too far");
    }

    #[test]
    fn six_hours_are_looked_at() {
        // A rise that is longer ago counts no more.
        let mut cores: Vec<i64> = (0..50).collect();
        cores.extend([50; 73]);
        assert_eq!(minutes(&trend(&cores), 60), None);
    }
}
