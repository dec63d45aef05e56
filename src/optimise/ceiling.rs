//! What no answer is worth more than, without a programme and without a clock.
//!
//! Looked at by one resource alone all nodes are one room, and workloads may be cut: whoever is worth most for what it
//! takes goes first, until the room is full (Dantzig 1957). That is the bound of a knapsack, for each resource
//! another one, and the least of them holds. It is coarser than the linear programme, and always known.

use crate::model::batch::{Class, Node, Problem};

/// The bound.
pub fn of(problem: &Problem) -> i64 {
    let open: Vec<&Class> = problem
        .classes
        .iter()
        .enumerate()
        .filter(|(at, class)| problem.nodes.iter().any(|node| takes(node, *at, class)))
        .map(|(_, class)| class)
        .collect();
    let all = open.iter().map(|class| value(class)).fold(0, i128::saturating_add);
    let resources = problem.nodes.iter().map(|node| node.room.len()).max().unwrap_or(0);
    let least = (0..resources.max(problem.quota.len())).fold(all, |least, resource| {
        let rooms = problem.nodes.iter().map(|node| i128::from(amount(&node.room, resource).max(0)));
        let room = rooms.fold(0, i128::saturating_add);
        let quota = problem.quota.get(resource).copied().flatten().map(|quota| i128::from(quota.max(0)));
        least.min(fill(&open, resource, quota.map_or(room, |quota| room.min(quota))))
    });
    i64::try_from(least).unwrap_or(i64::MAX)
}

fn amount(of: &[i64], resource: usize) -> i64 {
    of.get(resource).copied().unwrap_or(0)
}

fn takes(node: &Node, at: usize, class: &Class) -> bool {
    let has_room = |(resource, ask): (usize, &i64)| *ask <= 0 || *ask <= amount(&node.room, resource);
    node.suits.get(at).copied().unwrap_or(false) && class.ask.iter().enumerate().all(has_room)
}

fn jobs(class: &Class) -> i128 {
    i128::try_from(class.jobs.len()).unwrap_or(i128::MAX)
}

/// What all workloads of a class are worth.
fn value(class: &Class) -> i128 {
    i128::from(class.value.max(0)).saturating_mul(jobs(class))
}

/// What can be taken into so much room at most, if workloads may be cut.
fn fill(open: &[&Class], resource: usize, mut room: i128) -> i128 {
    let size = |class: &Class| i128::from(amount(&class.ask, resource).max(0)) * i128::from(class.members);
    let mut order: Vec<(i128, &Class)> = open.iter().map(|class| (size(class), *class)).collect();
    // By worth for what one takes; what takes nothing is first.
    let worth = |class: &Class| i128::from(class.value.max(0));
    order.sort_by(|(one_size, one), (other_size, other)| {
        let cross = |size: i128, class: &Class| worth(class).saturating_mul(size);
        (*one_size > 0)
            .cmp(&(*other_size > 0))
            .then_with(|| cross(*one_size, other).cmp(&cross(*other_size, one)))
    });
    let mut sum = 0_i128;
    for (size, class) in order {
        let wanted = size.saturating_mul(jobs(class));
        if wanted <= room {
            room -= wanted;
            sum = sum.saturating_add(value(class));
        } else {
            // A part of a workload is worth as large a part, rounded up.
            return sum.saturating_add((worth(class).saturating_mul(room) + size - 1) / size);
        }
    }
    sum
}
