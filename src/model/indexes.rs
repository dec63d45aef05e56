//! Sets of member indexes in interval form, as indexed Jobs write them: `0-3,7`.

use std::fmt;

/// A set of indexes; intervals that are sorted, disjoint and not adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct IndexSet(Vec<(u32, u32)>);

impl IndexSet {
    /// Adds `index`; whether it is new.
    pub fn insert(&mut self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        if self.0.get(at).is_some_and(|(first, _)| *first <= index) {
            return false;
        }
        let joins_left = at > 0 && self.0[at - 1].1.checked_add(1) == Some(index);
        let joins_right = self.0.get(at).is_some_and(|(first, _)| index.checked_add(1) == Some(*first));
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = index,
            (false, true) => self.0[at].0 = index,
            (false, false) => self.0.insert(at, (index, index)),
        }
        true
    }

    /// Whether `index` is in it.
    pub fn contains(&self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in it.
    pub fn len(&self) -> u32 {
        self.0.iter().fold(0, |sum, (first, last)| sum.saturating_add(last - first).saturating_add(1))
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The indexes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Reads the form `0-3,7`.
    ///
    /// # Errors
    /// What is no index or interval, or is out of order.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let bounds = (first.parse::<u32>(), last.parse::<u32>());
            let (Ok(first), Ok(last)) = bounds else {
                return Err(format!("{part:?} is no index or interval such as 3 or 0-3"));
            };
            if first > last || set.0.last().is_some_and(|(_, before)| *before >= first) {
                return Err(format!("{part:?} is out of order"));
            }
            match set.0.last_mut() {
                Some((_, before)) if before.checked_add(1) == Some(first) => *before = last,
                _ => set.0.push((first, last)),
            }
        }
        Ok(set)
    }
}

impl fmt::Display for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromIterator<u32> for IndexSet {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        let mut set = Self::default();
        for index in indexes {
            set.insert(index);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn intervals_are_joined_and_read_back() {
        let set: IndexSet = [3, 1, 0, 7, 2, 3].into_iter().collect();
        assert_eq!(set.to_string(), "0-3,7");
        assert_eq!(IndexSet::parse("0-3,7"), Ok(set));
        assert!(IndexSet::parse("5,3").is_err());
        assert!(IndexSet::parse("a").is_err());
    }

    proptest! {
        #[test]
        fn it_is_a_set(indexes in proptest::collection::vec(0_u32..60, 0..60)) {
            let set: IndexSet = indexes.iter().copied().collect();
            let plain: std::collections::BTreeSet<u32> = indexes.into_iter().collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len() as usize, plain.len());
            prop_assert_eq!(IndexSet::parse(&set.to_string()), Ok(set));
        }
    }
}
