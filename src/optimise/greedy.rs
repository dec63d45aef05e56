//! Answers that are found by taking one workload after the other: what a search begins with, and must beat.

use crate::model::batch::{Pick, Problem};

use super::bins::Bins;

/// What the strategy `Balanced` admits, in the order of the queue: a class that does not fit is not looked at again.
pub fn balanced(problem: &Problem) -> Vec<Pick> {
    let mut bins = Bins::of(problem);
    let mut picks = Vec::new();
    let mut full = vec![false; problem.classes.len()];
    let mut turns: Vec<(u32, usize)> = Vec::new();
    for (at, class) in problem.classes.iter().enumerate() {
        turns.extend(class.jobs.iter().map(|(turn, _)| (*turn, at)));
    }
    turns.sort_unstable();
    let nodes: Vec<usize> = (0..problem.nodes.len()).collect();
    for (_, class) in turns {
        if full.get(class).copied().unwrap_or(true) {
            continue;
        }
        let choose = |bins: &Bins| {
            let fits = nodes.iter().copied().filter(|node| bins.fits(class, *node));
            fits.min_by_key(|node| (bins.balance(class, *node), *node))
        };
        match gang(problem, &mut bins, class, choose) {
            Some((places, _)) => picks.push((class, places)),
            None => full[class] = true,
        }
    }
    picks
}

/// Classes in order, each with all that fits, each member on the node that is then fullest.
pub fn best_fit(problem: &Problem, order: &[usize]) -> Vec<Pick> {
    let mut bins = Bins::of(problem);
    let mut picks = Vec::new();
    fill(problem, &mut bins, order, &mut picks);
    picks
}

/// Adds what still fits, class by class, and is worth the idle nodes that it needs.
pub fn fill(problem: &Problem, bins: &mut Bins, order: &[usize], picks: &mut Vec<Pick>) {
    let nodes: Vec<usize> = (0..problem.nodes.len()).collect();
    let mut had = vec![0; problem.classes.len()];
    for (class, _) in picks.iter() {
        if let Some(had) = had.get_mut(*class) {
            *had += 1;
        }
    }
    for class in order {
        let Some(jobs) = problem.classes.get(*class).map(|class| class.jobs.len()) else { continue };
        for _ in had.get(*class).copied().unwrap_or(jobs)..jobs {
            let choose = |bins: &Bins| bins.tightest(*class, &nodes);
            let Some((places, opened)) = gang(problem, bins, *class, choose) else { break };
            let worth = problem.classes.get(*class).map_or(0, |class| class.value);
            if worth < problem.opening.saturating_mul(opened) {
                for node in places {
                    bins.take(*class, node);
                }
                break;
            }
            picks.push((*class, places));
        }
    }
}

/// Places for all members of one workload, and how many idle nodes they put to use; or none.
fn gang(
    problem: &Problem,
    bins: &mut Bins,
    class: usize,
    choose: impl Fn(&Bins) -> Option<usize>,
) -> Option<(Vec<usize>, i64)> {
    let members = problem.classes.get(class)?.members;
    if !bins.within_quota(class, members) {
        return None;
    }
    let mut places = Vec::new();
    let mut opened = 0;
    for _ in 0..members {
        if let Some(node) = choose(bins) {
            opened += i64::from(bins.is_idle(node));
            bins.put(class, node);
            places.push(node);
        } else {
            for node in places {
                bins.take(class, node);
            }
            return None;
        }
    }
    Some((places, opened))
}

/// How large a member of a class is: its largest share of the largest node, in millionths.
fn size(problem: &Problem, class: usize) -> i64 {
    let Some(class) = problem.classes.get(class) else { return 0 };
    let share = |(resource, ask): (usize, &i64)| {
        let most = problem.nodes.iter().filter_map(|node| node.offered.get(resource)).max();
        i128::from(*ask) * 1_000_000 / i128::from(most.copied().unwrap_or(1).max(1))
    };
    let largest = class.ask.iter().enumerate().map(share).max().unwrap_or(0);
    i64::try_from(largest).unwrap_or(i64::MAX)
}

/// Classes, the one with the largest members first.
pub fn by_size(problem: &Problem) -> Vec<usize> {
    let mut order: Vec<usize> = (0..problem.classes.len()).collect();
    order.sort_by_key(|class| (std::cmp::Reverse(size(problem, *class)), *class));
    order
}

/// Classes, the one first that is worth most for its size.
pub fn by_worth(problem: &Problem) -> Vec<usize> {
    let worth = |class: usize| {
        let Some(one) = problem.classes.get(class) else { return 0 };
        let size = i128::from(size(problem, class).max(1)) * i128::from(one.members.max(1));
        i128::from(one.value) * 1_000_000 / size
    };
    let mut order: Vec<usize> = (0..problem.classes.len()).collect();
    // Of equals the larger first: the smaller find room between them.
    order.sort_by_key(|class| {
        (std::cmp::Reverse(worth(*class)), std::cmp::Reverse(size(problem, *class)), *class)
    });
    order
}
