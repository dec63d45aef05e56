//! How fast a pool admits, and what is gained by waiting.

use super::time::Span;

/// Priority that is gained by waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Aging {
    /// A step is gained each time that this has passed; more than nothing.
    pub every: Span,
    /// Priority gained each time.
    pub step: i32,
    /// Most that is gained.
    pub most: i32,
}

impl Aging {
    /// What is gained after waiting for so long.
    pub fn gained(&self, waited: Span) -> i64 {
        let steps = waited.0.max(0) / self.every.0.max(1);
        steps.saturating_mul(i64::from(self.step)).clamp(0, i64::from(self.most.max(0)))
    }

    /// How long to wait for the next step; none once no more is gained.
    pub fn next(&self, waited: Span) -> Option<Span> {
        let every = self.every.0.max(1);
        let more = self.step > 0 && self.gained(waited) < i64::from(self.most);
        more.then(|| Span((waited.0.max(0) / every).saturating_add(1).saturating_mul(every)))
    }
}

/// A bound on how fast workloads are admitted: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Rate {
    /// Tokens that come in a period; at least 1.
    pub count: u32,
    /// The period; more than nothing.
    pub period: Span,
    /// Most tokens that are kept; at least 1.
    pub burst: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aging_beyond_all_bounds_stops_at_the_most() {
        let aging = Aging { every: Span(1), step: i32::MAX, most: 1_000_000_000 };
        assert_eq!(aging.gained(Span(i64::MAX)), 1_000_000_000);
        assert_eq!(aging.next(Span(i64::MAX)), None, "no more is gained");
        let slow = Aging { every: Span(i64::MAX), step: 1, most: i32::MAX };
        assert_eq!((slow.gained(Span(i64::MAX - 1)), slow.gained(Span(i64::MAX))), (0, 1));
        assert_eq!(slow.next(Span(i64::MAX)), Some(Span(i64::MAX)));
    }
}
