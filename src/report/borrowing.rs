//! Who borrowed how much from whom: the amounts of one resource at one level of the tree.
//!
//! What a pool uses beyond its reservation comes first from what nobody reserved, then from reservations that are idle,
//! and then from what the parent itself borrows. Each borrower has of each of these in proportion to what it borrows.

use std::sync::Arc;

use crate::model::amount::Amount;

/// A pool beside others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// Its name.
    pub name: Arc<str>,
    /// What it uses beyond its reservation.
    pub borrowed: Amount,
    /// Of its idle reservation, what others use.
    pub lent: Amount,
}

/// Pools with one parent, and what the parent has for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// By name.
    pub children: Vec<Sibling>,
    /// Of what no child reserves, what the parent's own workloads do not use.
    pub unreserved: Amount,
    /// What the parent's own workloads use beyond what no child reserves.
    pub own: Amount,
    /// The parent has no parent: it borrows nothing.
    pub is_root: bool,
}

/// Who lends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lender {
    /// A pool whose reservation is idle.
    Pool(Arc<str>),
    /// Nobody: no child reserves it.
    Unreserved,
    /// Those from whom the parent borrows.
    Above,
}

/// Who borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Borrower {
    /// A pool, for itself and those below it.
    Pool(Arc<str>),
    /// The parent's own workloads.
    Own,
}

/// What goes from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// To whom.
    pub borrower: Borrower,
    /// From whom.
    pub lender: Lender,
    /// How much.
    pub amount: Amount,
}

/// All that is borrowed at one level; borrowers in their order, and for each of them those that lend, in theirs.
pub fn flows(level: &Level) -> Vec<Flow> {
    let Level { children, unreserved, own, is_root } = level;
    let own = (Borrower::Own, *own);
    let pools = children.iter().map(|child| (Borrower::Pool(Arc::clone(&child.name)), child.borrowed));
    let borrowers: Vec<(Borrower, Amount)> =
        pools.chain([own]).filter(|(_, borrowed)| !borrowed.is_zero()).collect();
    let total: Amount = borrowers.iter().map(|(_, borrowed)| *borrowed).sum();
    let mut left = total;
    let mut sources = Vec::new();
    let pools = children.iter().map(|child| (Lender::Pool(Arc::clone(&child.name)), child.lent));
    for (lender, gives) in [(Lender::Unreserved, *unreserved)].into_iter().chain(pools) {
        let gives = gives.min(left);
        left = left.less(gives);
        sources.push((lender, gives));
    }
    if *is_root {
        // What lenders give was rounded down; or more is used than there is, and then nobody lends it.
        let rounded = i64::try_from(children.len()).unwrap_or(i64::MAX);
        if let Some((_, gives)) =
            sources.iter_mut().rev().find(|(_, gives)| !gives.is_zero() && left.units() <= rounded)
        {
            *gives += left;
        }
    } else {
        sources.push((Lender::Above, left));
    }
    let mut amounts: Vec<Vec<i64>> = borrowers
        .iter()
        .map(|(_, borrowed)| {
            let share = |(_, gives): &(Lender, Amount)| {
                let product = i128::from(borrowed.units()) * i128::from(gives.units());
                i64::try_from(product / i128::from(total.units().max(1))).unwrap_or(0)
            };
            sources.iter().map(share).collect()
        })
        .collect();
    give_rest(&mut amounts, &borrowers, &sources);
    let named = borrowers.iter().zip(&amounts).flat_map(|((borrower, _), amounts)| {
        sources.iter().zip(amounts).map(move |((lender, _), amount)| Flow {
            borrower: borrower.clone(),
            lender: lender.clone(),
            amount: Amount::new(*amount),
        })
    });
    named.filter(|flow| !flow.amount.is_zero()).collect()
}

/// What rounding has left goes to whoever lacks it, in order: sums are exact on both sides.
fn give_rest(amounts: &mut [Vec<i64>], borrowers: &[(Borrower, Amount)], sources: &[(Lender, Amount)]) {
    let given = |amounts: &[Vec<i64>], at: usize| amounts.iter().filter_map(|row| row.get(at)).sum::<i64>();
    let mut left: Vec<i64> =
        sources.iter().enumerate().map(|(at, (_, gives))| gives.units() - given(amounts, at)).collect();
    for (row, (_, borrowed)) in amounts.iter_mut().zip(borrowers) {
        let mut lacks = borrowed.units() - row.iter().sum::<i64>();
        for (cell, left) in row.iter_mut().zip(&mut left) {
            let more = lacks.min(*left);
            *cell += more;
            *left -= more;
            lacks -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(name: &str, borrowed: i64, lent: i64) -> Sibling {
        Sibling { name: name.into(), borrowed: Amount::new(borrowed), lent: Amount::new(lent) }
    }

    fn told(level: &Level) -> Vec<String> {
        let name = |borrower: &Borrower| match borrower {
            Borrower::Pool(name) => name.to_string(),
            Borrower::Own => "own".to_owned(),
        };
        let from = |lender: &Lender| match lender {
            Lender::Pool(name) => name.to_string(),
            Lender::Unreserved => "unreserved".to_owned(),
            Lender::Above => "above".to_owned(),
        };
        flows(level)
            .iter()
            .map(|one| format!("{} {} {}", name(&one.borrower), one.amount, from(&one.lender)))
            .collect()
    }

    #[test]
    fn what_nobody_reserves_goes_first_and_idle_reservations_then() {
        // a uses 6 beyond its reservation: 2 are nobody's, 3 are b's, 1 is c's.
        let level = Level {
            children: vec![sibling("a", 6, 0), sibling("b", 0, 3), sibling("c", 0, 1)],
            unreserved: Amount::new(2),
            ..Level::default()
        };
        assert_eq!(told(&level), ["a 2 unreserved", "a 3 b", "a 1 c"]);
    }

    #[test]
    fn several_share_in_proportion_and_nothing_is_lost_by_rounding() {
        let level = Level {
            children: vec![sibling("a", 1, 0), sibling("b", 2, 0), sibling("c", 0, 5)],
            unreserved: Amount::ZERO,
            own: Amount::new(4),
            is_root: false,
        };
        // Seven are borrowed, c lends five and above two. Rounded down: a 0 and 0, b 1 and 0, own 2 and 1; the rest in order.
        assert_eq!(told(&level), ["a 1 c", "b 2 c", "own 2 c", "own 2 above"]);
        let sum: Amount = flows(&level).iter().map(|one| one.amount).sum();
        assert_eq!(sum, Amount::new(7));
    }

    #[test]
    fn a_root_borrows_nothing() {
        let mut level = Level {
            children: vec![sibling("a", 9, 0), sibling("b", 0, 4), sibling("c", 0, 4)],
            is_root: true,
            ..Level::default()
        };
        // What b and c lend was rounded down.
        assert_eq!(told(&level), ["a 4 b", "a 5 c"]);
        // A node is gone: what a has, nobody has any more.
        level.children[0].borrowed = Amount::new(20);
        assert_eq!(told(&level), ["a 4 b", "a 4 c"]);
    }

    #[test]
    fn nobody_borrows_and_nothing_flows() {
        let level =
            Level { children: vec![sibling("a", 0, 0)], unreserved: Amount::new(9), ..Level::default() };
        assert_eq!(flows(&level), []);
    }

    #[test]
    fn amounts_as_large_as_can_be_do_not_overflow() {
        let most = i64::MAX / 4;
        let level = Level {
            children: vec![sibling("a", most, 0), sibling("b", most, 0), sibling("c", 0, most)],
            unreserved: Amount::new(most),
            ..Level::default()
        };
        let sum: Amount = flows(&level).iter().map(|one| one.amount).sum();
        assert_eq!(sum, Amount::new(most) + Amount::new(most));
    }
}
