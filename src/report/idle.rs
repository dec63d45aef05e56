//! What is reserved and not used, dearest first: dearest is what is the largest share of what the whole tree has.

use std::cmp::Reverse;

use crate::model::amount::Amount;

/// A reservation of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Reserved for the pool.
    pub reservation: Amount,
    /// Used by it and those below it.
    pub allocated: Amount,
    /// Of what those directly below it reserve, what they do not use: it is told of them.
    pub below: Amount,
    /// What the tree has.
    pub whole: Amount,
}

impl Reserved {
    /// What is not used, without what is told of the pools below.
    pub fn unused(&self) -> Amount {
        self.reservation.less(self.allocated).less(self.below)
    }

    /// What is not used, as a share of what the tree has, in millionths.
    pub fn cost(&self) -> i64 {
        let whole = i128::from(self.whole.units().max(1));
        i64::try_from(i128::from(self.unused().units()) * 1_000_000 / whole).unwrap_or(i64::MAX)
    }
}

/// The reservations that are not all used, dearest first; those that cost the same as they came.
pub fn dearest_first<T>(all: impl IntoIterator<Item = (T, Reserved)>) -> Vec<(T, Reserved)> {
    let mut idle: Vec<(T, Reserved)> = all.into_iter().filter(|(_, one)| !one.unused().is_zero()).collect();
    idle.sort_by_key(|(_, one)| Reverse(one.cost()));
    idle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(reservation: i64, allocated: i64, below: i64, whole: i64) -> Reserved {
        let [reservation, allocated, below, whole] = [reservation, allocated, below, whole].map(Amount::new);
        Reserved { reservation, allocated, below, whole }
    }

    #[test]
    fn dear_is_what_is_much_of_what_there_is() {
        let all = [
            ("cpu", reserved(100, 20, 0, 1000)),
            ("gpu", reserved(8, 4, 0, 16)),
            ("full", reserved(8, 9, 0, 16)),
            ("memory", reserved(500, 0, 0, 1000)),
        ];
        let told: Vec<_> = dearest_first(all)
            .into_iter()
            .map(|(name, one)| (name, one.unused().units(), one.cost()))
            .collect();
        // 4 of 16 are a quarter, 80 of 1000 are 8 percent, 500 of 1000 a half.
        assert_eq!(told, [("memory", 500, 500_000), ("gpu", 4, 250_000), ("cpu", 80, 80_000)]);
    }

    #[test]
    fn what_is_told_of_a_child_is_not_told_of_its_parent_again() {
        assert_eq!(reserved(10, 1, 6, 20).unused(), Amount::new(3));
        assert_eq!(reserved(10, 1, 9, 20).unused(), Amount::ZERO);
        assert_eq!(reserved(1, 0, 0, 0).cost(), 1_000_000, "a tree that has nothing");
    }
}
