//! Buckets of tokens that bound how fast pools admit.
//!
//! Each bucket is kept as the one time at which it will be full again (the generic cell rate algorithm of ATM,
//! ITU-T I.371), in milliseconds times the tokens of a period, so that nothing is rounded.

use super::ids::PoolId;
use super::pools::Pool;
use super::time::{Span, Time};
use super::world::World;

impl Pool {
    /// When the next workload may be admitted by this pool's own rate; none if it may now.
    pub fn next_token(&self, now: Time) -> Option<Time> {
        let rate = self.spec.admission_rate?;
        let count = i128::from(rate.count.max(1));
        let ahead = self.tokens_due - i128::from(now.0) * count;
        let most = i128::from(rate.burst.max(1) - 1) * i128::from(rate.period.0);
        let wait = (ahead > most).then(|| (ahead - most + count - 1) / count)?;
        Some(now + Span(i64::try_from(wait).unwrap_or(i64::MAX)))
    }
}

impl World {
    /// Takes a token of each pool of the path that bounds its rate.
    pub(crate) fn take_token(&mut self, pool: PoolId, now: Time) {
        for id in self.pool(pool).map(|pool| pool.path.clone()).unwrap_or_default() {
            let Some(pool) = self.pools.get_mut(id.0) else { continue };
            let Some(rate) = pool.spec.admission_rate else { continue };
            let full = i128::from(now.0) * i128::from(rate.count.max(1));
            pool.tokens_due = pool.tokens_due.max(full) + i128::from(rate.period.0);
        }
    }
}
