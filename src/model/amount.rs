//! Amounts of one resource: integers that saturate and never wrap.
//!
//! An amount that wraps is a quota bypass, so sums stop at the largest value and differences at the smallest.
//! The unit belongs to the resource: thousandths of a core for `cpu`, whole units (bytes, pieces) for all others.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// An amount of one resource, in that resource's unit (cpu: millicores; others: bytes or pieces).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount; sums stop here, and no limit but [`Limit::Unlimited`] admits it.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount of `units`.
    pub const fn new(units: i64) -> Self {
        Self(units)
    }

    /// The number of units.
    pub const fn units(self) -> i64 {
        self.0
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self` times `count`, stopping at [`Amount::MAX`].
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(i64::from(count)))
    }

    /// What is left after taking `other`, never below nothing.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The most that may be used of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub enum Limit {
    /// Up to this amount.
    At(Amount),
    /// No bound at this level.
    #[default]
    Unlimited,
}

impl Limit {
    /// Whether `used` stays within it.
    pub fn holds(self, used: Amount) -> bool {
        match self {
            Self::At(limit) => used <= limit && used < Amount::MAX,
            Self::Unlimited => true,
        }
    }

    /// What may be added to `used`; [`Amount::MAX`] when unlimited.
    pub fn headroom(self, used: Amount) -> Amount {
        match self {
            Self::At(limit) => limit.less(used),
            Self::Unlimited => Amount::MAX,
        }
    }

    /// The tighter of two.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        self.min(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stop_at_the_largest_amount() {
        assert_eq!(Amount::MAX + Amount::new(1), Amount::MAX);
        assert_eq!(Amount::new(i64::MAX / 2 + 1).times(2), Amount::MAX);
        assert_eq!(Amount::new(3).less(Amount::new(5)), Amount::ZERO);
    }

    #[test]
    fn a_saturated_sum_passes_no_limit() {
        assert!(!Limit::At(Amount::MAX).holds(Amount::MAX));
        assert!(Limit::Unlimited.holds(Amount::MAX));
        assert_eq!(Limit::At(Amount::new(5)).tighter(Limit::Unlimited), Limit::At(Amount::new(5)));
    }
}
