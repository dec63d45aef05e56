//! The pattern of one node that is worth most at given prices: a dynamic programme over what is scarcest on it.
//!
//! What is counted in few whole steps (GPUs) and what is used up most (cores or memory, in steps that are rounded
//! up) are the two axes; other resources are carried along, so that what is found fits but is not sure to be the best.

use crate::model::batch::Problem;

/// What a member of each class is worth beyond its price.
pub type Prices = Vec<f64>;

/// Steps of the axis of what has few.
const FEW: i64 = 32;
/// Steps of the other axis.
const MANY: i64 = 400;

/// A resource and the size of a step.
type Axis = (usize, i64);

struct Item<'a> {
    class: usize,
    worth: f64,
    few: usize,
    many: usize,
    ask: &'a [i64],
    most: u32,
}

#[derive(Clone)]
struct Cell {
    worth: f64,
    /// The item that was added last, and the cell before it; none: as the cell before.
    item: Option<usize>,
    before: usize,
    room: Vec<i64>,
}

/// What is worth most together on a node with that room: classes with counts, and their worth.
pub fn price(
    problem: &Problem,
    room: &[i64],
    suits: &[bool],
    demand: &[u32],
    prices: &Prices,
) -> (Vec<(usize, u32)>, f64) {
    let (few, many) = axes(problem, room);
    let steps = |axis: Option<Axis>| axis.map_or(0, |(resource, step)| room[resource].max(0) / step);
    let take = |axis: Option<Axis>, ask: &[i64]| -> usize {
        axis.and_then(|(resource, step)| usize::try_from((ask[resource] + step - 1) / step).ok()).unwrap_or(0)
    };
    let items: Vec<Item> = problem
        .classes
        .iter()
        .enumerate()
        .filter(|(at, _)| prices[*at] > 1e-9 && suits.get(*at).copied().unwrap_or(false) && demand[*at] > 0)
        .filter(|(_, class)| class.ask.iter().zip(room).all(|(ask, room)| *ask == 0 || ask <= room))
        .map(|(at, class)| Item {
            class: at,
            worth: prices[at],
            few: take(few, &class.ask),
            many: take(many, &class.ask),
            ask: &class.ask,
            most: demand[at],
        })
        .filter(|item| item.few + item.many > 0)
        .collect();
    let wide = usize::try_from(steps(many)).unwrap_or(0) + 1;
    let high = usize::try_from(steps(few)).unwrap_or(0) + 1;
    let first = Cell { worth: 0.0, item: None, before: 0, room: room.to_vec() };
    let mut cells: Vec<Cell> = Vec::with_capacity(wide * high);
    for at in 0..wide * high {
        let (up, along) = (at / wide, at % wide);
        let neighbours = [(up > 0).then(|| at - wide), (along > 0).then(|| at - 1)];
        let best = neighbours
            .into_iter()
            .flatten()
            .max_by(|one, other| cells[*one].worth.total_cmp(&cells[*other].worth).then(other.cmp(one)));
        let (mut worth, mut choice) = best.map_or((0.0, None), |best| (cells[best].worth, None));
        for (number, item) in items.iter().enumerate() {
            if item.few > up || item.many > along {
                continue;
            }
            let before = at - item.few * wide - item.many;
            let cell = &cells.get(before);
            let Some(cell) = cell.filter(|cell| cell.worth + item.worth > worth + 1e-12) else { continue };
            let fits = item.ask.iter().zip(&cell.room).all(|(ask, room)| *ask == 0 || ask <= room);
            if fits && used(&cells, before, number, item.most) < item.most {
                (worth, choice) = (cell.worth + item.worth, Some((number, before)));
            }
        }
        cells.push(match (choice, best) {
            (Some((number, before)), _) => {
                let left = cells[before].room.iter().zip(items[number].ask).map(|(room, ask)| room - ask);
                Cell { worth, item: Some(number), before, room: left.collect() }
            }
            (None, Some(best)) => Cell { worth, item: None, before: best, room: cells[best].room.clone() },
            (None, None) => first.clone(),
        });
    }
    let mut counts = vec![0_u32; items.len()];
    let mut at = cells.len() - 1;
    let worth = cells[at].worth;
    while at > 0 {
        if let Some(item) = cells[at].item {
            counts[item] += 1;
        }
        at = cells[at].before;
    }
    let counts = items.iter().zip(counts).filter(|(_, count)| *count > 0);
    (counts.map(|(item, count)| (item.class, count)).collect(), worth)
}

/// How often an item was added on the way to a cell, as far as that matters.
fn used(cells: &[Cell], mut at: usize, item: usize, most: u32) -> u32 {
    if most >= 64 {
        return 0;
    }
    let mut count = 0;
    while at > 0 {
        count += u32::from(cells[at].item == Some(item));
        at = cells[at].before;
    }
    count
}

/// The resource with few steps, and the one that is used up most of the others, each with its step.
fn axes(problem: &Problem, room: &[i64]) -> (Option<Axis>, Option<Axis>) {
    let gcd = |resource: usize| {
        let asks = problem.classes.iter().filter_map(|class| class.ask.get(resource));
        asks.fold(0, |divisor, ask| super::knapsack::gcd(divisor, *ask))
    };
    let pressure = |resource: usize| -> i128 {
        let asks = problem.classes.iter().filter_map(|class| {
            let members = i128::try_from(class.jobs.len()).ok()? * i128::from(class.members);
            Some(i128::from(*class.ask.get(resource)?) * members)
        });
        asks.sum::<i128>() * 1_000 / i128::from(room[resource].max(1))
    };
    let asked: Vec<(usize, i64)> = (0..room.len())
        .map(|resource| (resource, gcd(resource)))
        .filter(|(resource, step)| *step > 0 && room[*resource] > 0)
        .collect();
    let few = asked
        .iter()
        .copied()
        .filter(|(resource, step)| room[*resource] / step <= FEW)
        .max_by_key(|(resource, _)| pressure(*resource));
    let many = asked
        .into_iter()
        .filter(|(resource, _)| few.is_none_or(|(other, _)| other != *resource))
        .max_by_key(|(resource, _)| pressure(*resource))
        .map(|(resource, step)| {
            // As fine as it comes where that is coarse enough.
            let steps = room[resource] / step;
            (resource, if steps <= MANY { step } else { (room[resource] / MANY).max(1) })
        });
    (few, many)
}
