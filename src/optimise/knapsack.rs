//! Which of the waiting to admit into one room: a dynamic programme over what is taken of it.
//!
//! For items of whole sizes the best value within each capacity follows from the best without the last item
//! (Bellman 1957; Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, chapter 7 for items of which there are
//! several: they are taken in bundles of 1, 2, 4 and so on).

use crate::model::batch::{Pick, Problem};

/// Equal things of which some may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// What one takes of the room; at least 1.
    pub size: i64,
    /// How many there are.
    pub count: u32,
    /// What one is worth; at least 0.
    pub value: i64,
}

/// Cells that are reckoned at most.
const MOST_CELLS: i64 = 20_000_000;

/// How many of each item are worth most together within `capacity`, and how much that is; none if that is too much
/// to reckon.
pub fn best(capacity: i64, items: &[Item]) -> Option<(Vec<u32>, i64)> {
    let divisor = items.iter().fold(0, |divisor, item| gcd(divisor, item.size)).max(1);
    let capacity = usize::try_from(capacity.max(0) / divisor).ok()?;
    // Bundles: which item, how many, their size and value.
    let mut bundles: Vec<(usize, u32, usize, i64)> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let size = usize::try_from((item.size / divisor).max(1)).ok()?;
        let mut left = item.count.min(u32::try_from(capacity / size).unwrap_or(u32::MAX));
        let mut bundle = 1;
        while left > 0 {
            let count = bundle.min(left);
            let worth = item.value.checked_mul(i64::from(count))?;
            bundles.push((at, count, size.checked_mul(count as usize)?, worth));
            left -= count;
            bundle *= 2;
        }
    }
    let cells = i64::try_from(bundles.len().checked_mul(capacity.checked_add(1)?)?).ok()?;
    if cells > MOST_CELLS {
        return None;
    }
    let mut value = vec![0_i64; capacity + 1];
    let mut taken: Vec<Vec<bool>> = Vec::with_capacity(bundles.len());
    for (.., size, worth) in &bundles {
        let mut took = vec![false; capacity + 1];
        for room in (*size..=capacity).rev() {
            let with = value[room - size].saturating_add(*worth);
            if with > value[room] {
                value[room] = with;
                took[room] = true;
            }
        }
        taken.push(took);
    }
    let mut counts = vec![0; items.len()];
    let mut room = capacity;
    for ((at, count, size, _), took) in bundles.iter().zip(&taken).rev() {
        if took[room] {
            counts[*at] += count;
            room -= size;
        }
    }
    Some((counts, value[capacity]))
}

/// The greatest common divisor; of nothing and a number the number.
pub(super) fn gcd(one: i64, other: i64) -> i64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// The best answer where all comes down to one room: a single node on which one resource alone is scarce.
pub fn one_node(problem: &Problem) -> Option<(Vec<Pick>, i64)> {
    let [node] = problem.nodes.as_slice() else { return None };
    let open = |at: usize| node.suits.get(at).copied().unwrap_or(false);
    let room = |resource: usize| {
        let room = node.room.get(resource).copied().unwrap_or(0).max(0);
        problem.quota.get(resource).copied().flatten().map_or(room, |quota| room.min(quota.max(0)))
    };
    let wanted = |resource: usize| {
        let asks = problem.classes.iter().enumerate().filter(|(at, _)| open(*at)).map(|(_, class)| {
            let jobs = i64::try_from(class.jobs.len()).unwrap_or(i64::MAX);
            let one = class.ask.get(resource).copied().unwrap_or(0).saturating_mul(i64::from(class.members));
            one.saturating_mul(jobs)
        });
        asks.fold(0, i64::saturating_add)
    };
    let mut scarce = (0..node.room.len()).filter(|resource| wanted(*resource) > room(*resource));
    let (resource, None) = (scarce.next()?, scarce.next()) else { return None };
    let item = |(at, class): (usize, &crate::model::batch::Class)| Item {
        size: class.ask.get(resource).copied().unwrap_or(0).saturating_mul(i64::from(class.members)),
        count: if open(at) { u32::try_from(class.jobs.len()).unwrap_or(u32::MAX) } else { 0 },
        value: class.value.max(0),
    };
    let items: Vec<Item> = problem.classes.iter().enumerate().map(item).collect();
    // What asks for nothing of it is always taken.
    let free = |item: &Item| item.size == 0;
    let paid: Vec<Item> = items
        .iter()
        .map(|item| if free(item) { Item { count: 0, size: 1, ..*item } } else { *item })
        .collect();
    let (mut counts, mut value) = best(room(resource), &paid)?;
    for (count, item) in counts.iter_mut().zip(&items).filter(|(_, item)| free(item)) {
        *count = item.count;
        value = value.saturating_add(item.value.saturating_mul(i64::from(item.count)));
    }
    let mut picks = Vec::new();
    for ((at, class), count) in problem.classes.iter().enumerate().zip(counts) {
        picks.extend((0..count).map(|_| (at, vec![0; class.members as usize])));
    }
    // To leave an idle node idle may be better still; that is for the strategy that this is compared with.
    let opening = if node.idle && !picks.is_empty() { problem.opening } else { 0 };
    Some((picks, value.saturating_sub(opening).max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_best_is_not_the_first() {
        let item = |size, value| Item { size, count: 1, value };
        // By worth for size the 6 comes first, and nothing fits beside it.
        assert_eq!(best(10, &[item(6, 7), item(5, 5), item(5, 5)]), Some((vec![0, 1, 1], 10)));
        assert_eq!(best(0, &[item(1, 1)]), Some((vec![0], 0)));
        assert_eq!(best(10_000_000_000, &[item(3, 1), Item { size: 7, count: 9_999, value: 2 }]), None);
    }

    proptest! {
        #[test]
        fn nothing_is_better(
            capacity in 0_i64..40,
            items in proptest::collection::vec((1_i64..12, 0_u32..4, 0_i64..20), 1..5),
        ) {
            let items: Vec<Item> =
                items.into_iter().map(|(size, count, value)| Item { size, count, value }).collect();
            let mut most = 0;
            let mut counts = vec![0_u32; items.len()];
            'all: loop {
                let sum = |of: fn(&Item) -> i64| -> i64 {
                    items.iter().zip(&counts).map(|(item, count)| of(item) * i64::from(*count)).sum()
                };
                if sum(|item| item.size) <= capacity {
                    most = most.max(sum(|item| item.value));
                }
                for (count, item) in counts.iter_mut().zip(&items) {
                    if *count < item.count {
                        *count += 1;
                        continue 'all;
                    }
                    *count = 0;
                }
                break;
            }
            let (counts, value) = best(capacity, &items).unwrap();
            prop_assert_eq!(value, most);
            let size: i64 = items.iter().zip(&counts).map(|(item, count)| item.size * i64::from(*count)).sum();
            let worth: i64 = items.iter().zip(&counts).map(|(item, count)| item.value * i64::from(*count)).sum();
            prop_assert!(size <= capacity && worth == value);
            prop_assert!(items.iter().zip(&counts).all(|(item, count)| *count <= item.count));
        }
    }
}
