//! What is requested against what is really used.

use crate::model::amount::Amount;

/// One resource of one workload, or of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Requested by the pods that were measured.
    pub requested: Amount,
    /// Used by them: on average, or now.
    pub used: Amount,
    /// Most that they used; where that is not known, the same.
    pub peak: Amount,
}

/// What that says of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Less than half of it is ever used.
    Over,
    /// It fits.
    Fits,
    /// More than it is used.
    Under,
}

impl Measured {
    /// Whether the request fits. Of memory the peak counts: who passes its request is evicted first.
    pub fn verdict(&self, is_memory: bool) -> Verdict {
        let Self { requested, used, peak } = *self;
        if self.counts(is_memory) > requested {
            Verdict::Under
        } else if peak.max(used).times(2) < requested {
            Verdict::Over
        } else {
            Verdict::Fits
        }
    }

    /// What a request must hold.
    fn counts(&self, is_memory: bool) -> Amount {
        if is_memory { self.peak.max(self.used) } else { self.used }
    }

    /// How far the request is from the use.
    pub fn apart(&self, is_memory: bool) -> Amount {
        let more = self.counts(is_memory).less(self.requested);
        if more.is_zero() { self.requested.less(self.peak.max(self.used)) } else { more }
    }

    /// The use in percent of the request; none where nothing is requested.
    pub fn percent(&self) -> Option<i64> {
        let requested = i128::from(self.requested.units());
        let percent = i128::from(self.used.units()) * 100 / requested.max(1);
        (requested > 0).then(|| i64::try_from(percent).unwrap_or(i64::MAX))
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.requested += other.requested;
        self.used += other.used;
        self.peak += other.peak;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(requested: i64, used: i64, peak: i64) -> Measured {
        let [requested, used, peak] = [requested, used, peak].map(Amount::new);
        Measured { requested, used, peak }
    }

    #[test]
    fn a_request_fits_if_half_of_it_is_used_at_times_and_not_more_than_all() {
        for (one, is_memory, verdict) in [
            (measured(1000, 100, 499), false, Verdict::Over),
            (measured(1000, 100, 500), false, Verdict::Fits),
            (measured(1000, 1000, 3000), false, Verdict::Fits),
            (measured(1000, 1001, 1001), false, Verdict::Under),
            (measured(1000, 900, 1001), true, Verdict::Under),
            (measured(0, 1, 1), false, Verdict::Under),
            (measured(0, 0, 0), true, Verdict::Fits),
        ] {
            assert_eq!(one.verdict(is_memory), verdict, "{one:?}");
        }
        assert_eq!(measured(1000, 100, 300).apart(false), Amount::new(700));
        assert_eq!(measured(1000, 1500, 2000).apart(false), Amount::new(500));
        assert_eq!(measured(1000, 900, 1200).apart(true), Amount::new(200));
        assert_eq!((measured(400, 100, 100).percent(), measured(0, 1, 1).percent()), (Some(25), None));
    }
}
