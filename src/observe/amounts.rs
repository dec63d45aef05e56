//! Quantities to amounts: exact sums, rounded up where something is charged and down where something is offered.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Notes;
use crate::api::quantity::{self, Unit};
use crate::model::amount::Amount;
use crate::model::spec::NamedAmounts;

const NANOS_A_UNIT: i128 = 1_000_000_000;
const NANOS_A_MILLI: i128 = 1_000_000;

/// Exact amounts by resource, in billionths of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exact<'a>(BTreeMap<&'a str, i128>);

impl<'a> Exact<'a> {
    /// Reads each quantity. One that is malformed or negative counts as nothing, one that is too large as more
    /// than anything offers; both are noted.
    pub fn read(written: &'a BTreeMap<String, String>, of_what: &str, notes: &mut Notes) -> Self {
        Self(written.iter().map(|(name, text)| (name.as_str(), read(name, text, of_what, notes))).collect())
    }

    /// Adds each amount of `other`.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// The larger of both, resource by resource.
    pub fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let largest = self.0.entry(name).or_default();
            *largest = (*largest).max(*amount);
        }
    }

    /// Takes from `other` what is not here.
    pub fn complete(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            self.0.entry(name).or_insert(*amount);
        }
    }

    /// Only those that `keep` names.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| keep(name)).map(|(name, amount)| (*name, *amount)).collect())
    }

    /// Puts those of `other` in place of those here.
    pub fn replace(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, amount)| (*name, *amount)));
    }

    /// As the model counts, rounded up, without those that are nothing.
    pub fn charged(&self) -> NamedAmounts {
        self.counted(|amount, unit| amount.div_euclid(unit) + i128::from(amount.rem_euclid(unit) != 0))
    }

    /// As the model counts, rounded down, without those that are nothing.
    pub fn offered(&self) -> NamedAmounts {
        self.counted(i128::div_euclid)
    }

    fn counted(&self, round: impl Fn(i128, i128) -> i128) -> NamedAmounts {
        self.0
            .iter()
            .map(|(name, amount)| {
                let unit = match Unit::of(name) {
                    Unit::Milli => NANOS_A_MILLI,
                    Unit::One => NANOS_A_UNIT,
                };
                let counted = round(*amount, unit);
                (Arc::from(*name), i64::try_from(counted).map_or(Amount::MAX, Amount::new))
            })
            .filter(|(_, amount)| !amount.is_zero())
            .collect()
    }
}

fn read(name: &str, text: &str, of_what: &str, notes: &mut Notes) -> i128 {
    match quantity::Amount::parse(text) {
        Ok(amount) if amount.is_negative() => {
            notes.push(format!("{of_what}: {name} {text:?} is negative and counts as nothing"));
            0
        }
        Ok(amount) => amount.nanos(),
        Err(error @ quantity::QuantityError::OutOfRange(_)) => {
            notes.push(format!("{of_what}: {name} {error}; it counts as more than there is"));
            i128::MAX
        }
        Err(error @ quantity::QuantityError::Malformed(_)) => {
            notes.push(format!("{of_what}: {name} {error}; it counts as nothing"));
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(amounts: &[(&str, &str)]) -> BTreeMap<String, String> {
        amounts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn charges_round_up_after_the_sum_and_offers_round_down() {
        let mut notes = Notes::new();
        let third = written(&[("cpu", "333u"), ("memory", "100m")]);
        let mut sum = Exact::read(&third, "pod", &mut notes);
        sum.add(&sum.clone());
        sum.add(&Exact::read(&third, "pod", &mut notes));
        // 999 millionths of a core are one thousandth, not three; 0.3 bytes are one.
        assert_eq!(sum.charged().get("cpu"), Some(&Amount::new(1)));
        assert_eq!(sum.charged().get("memory"), Some(&Amount::new(1)));
        assert!(sum.offered().is_empty(), "less than one is nothing to offer");
        assert!(notes.is_empty());
    }

    #[test]
    fn absurd_quantities_are_noted_and_never_wrap() {
        let mut notes = Notes::new();
        let absurd = written(&[("cpu", "1e300"), ("memory", "-1"), ("pods", "many"), ("x.y/z", "9E")]);
        let mut sum = Exact::read(&absurd, "pod a/b", &mut notes);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].starts_with("pod a/b: cpu"), "{notes:?}");
        for _ in 0..3 {
            sum.add(&sum.clone());
        }
        assert_eq!(sum.charged().get("cpu"), Some(&Amount::MAX));
        assert_eq!(sum.charged().get("x.y/z"), Some(&Amount::MAX), "72E are more than an i64 holds");
        assert_eq!(sum.charged().get("memory"), None);
    }
}
