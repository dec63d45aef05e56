//! What is free while an answer is put together.

use crate::model::batch::Problem;

/// The room of each node, and of the pool's quota.
#[derive(Clone, Debug)]
pub struct Bins<'a> {
    problem: &'a Problem,
    room: Vec<Vec<i64>>,
    quota: Vec<Option<i64>>,
    /// Members that were put on each.
    members: Vec<u32>,
}

impl<'a> Bins<'a> {
    /// As the problem has it.
    pub fn of(problem: &'a Problem) -> Self {
        Self {
            problem,
            room: problem.nodes.iter().map(|node| node.room.clone()).collect(),
            quota: problem.quota.clone(),
            members: vec![0; problem.nodes.len()],
        }
    }

    /// What is free on a node.
    pub fn room(&self, node: usize) -> &[i64] {
        self.room.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    fn ask(&self, class: usize) -> &'a [i64] {
        self.problem.classes.get(class).map(|class| class.ask.as_slice()).unwrap_or_default()
    }

    /// Whether a node takes one more member of a class.
    pub fn fits(&self, class: usize, node: usize) -> bool {
        let suits = self.problem.nodes.get(node).and_then(|node| node.suits.get(class));
        suits.copied().unwrap_or(false)
            && self.ask(class).iter().zip(self.room(node)).all(|(ask, room)| *ask == 0 || ask <= room)
    }

    /// Whether quota has room for `count` more members of a class.
    pub fn within_quota(&self, class: usize, count: u32) -> bool {
        let mut all = self.ask(class).iter().zip(&self.quota);
        all.all(|(ask, left)| {
            *ask == 0 || left.is_none_or(|left| ask.saturating_mul(i64::from(count)) <= left)
        })
    }

    /// Puts a member on a node.
    pub fn put(&mut self, class: usize, node: usize) {
        self.shift(class, node, -1);
        if let Some(members) = self.members.get_mut(node) {
            *members += 1;
        }
    }

    /// Takes a member off a node.
    pub fn take(&mut self, class: usize, node: usize) {
        self.shift(class, node, 1);
        if let Some(members) = self.members.get_mut(node) {
            *members = members.saturating_sub(1);
        }
    }

    fn shift(&mut self, class: usize, node: usize, sign: i64) {
        let ask = self.ask(class);
        if let Some(room) = self.room.get_mut(node) {
            for (room, ask) in room.iter_mut().zip(ask) {
                *room = room.saturating_add(ask.saturating_mul(sign));
            }
        }
        for (left, ask) in self.quota.iter_mut().zip(ask) {
            if let Some(left) = left {
                *left = left.saturating_add(ask.saturating_mul(sign));
            }
        }
    }

    /// Whether nothing is on a node.
    pub fn is_idle(&self, node: usize) -> bool {
        self.problem.nodes.get(node).is_some_and(|node| node.idle)
            && self.members.get(node).copied().unwrap_or(0) == 0
    }

    /// Of some nodes the one that is in use and fullest once it has taken a member of a class.
    pub fn tightest(&self, class: usize, nodes: &[usize]) -> Option<usize> {
        let fits = nodes.iter().copied().filter(|node| self.fits(class, *node));
        fits.min_by_key(|node| (self.is_idle(*node), self.slack(class, *node), *node))
    }

    /// What would be left of a node, in millionths of what it offers, summed over what it offers; what the class does
    /// not ask for counts most, so that it is kept for others.
    fn slack(&self, class: usize, node: usize) -> i64 {
        const WHOLE: i128 = 1_000_000;
        let Some(offered) = self.problem.nodes.get(node).map(|node| &node.offered) else { return i64::MAX };
        let mut slack = 0_i128;
        for ((offered, room), ask) in offered.iter().zip(self.room(node)).zip(self.ask(class)) {
            let left = i128::from(room.saturating_sub(*ask)) * WHOLE / i128::from((*offered).max(1));
            slack += if *ask == 0 { 4 * left } else { left };
        }
        i64::try_from(slack).unwrap_or(i64::MAX)
    }

    /// How full and how uneven a node would be with one more member, as the strategy `Balanced` sees it.
    pub fn balance(&self, class: usize, node: usize) -> i64 {
        const WHOLE: i64 = 1_000_000;
        let Some(offered) = self.problem.nodes.get(node).map(|node| node.offered.as_slice()) else {
            return i64::MAX;
        };
        let (room, ask) = (self.room(node), self.ask(class));
        let at = |values: &[i64], resource: usize| values.get(resource).copied().unwrap_or(0);
        let fraction = |resource: usize| {
            let (offered, room) = (at(offered, resource), at(room, resource));
            let used = offered.saturating_sub(room).saturating_add(at(ask, resource)).min(offered.max(1));
            i64::try_from(i128::from(used) * i128::from(WHOLE) / i128::from(offered.max(1))).unwrap_or(WHOLE)
        };
        let mean =
            |values: &[i64]| values.iter().sum::<i64>() / i64::try_from(values.len().max(1)).unwrap_or(1);
        let asked: Vec<i64> = (0..ask.len()).filter(|one| at(ask, *one) > 0).map(fraction).collect();
        let kept: Vec<i64> =
            self.problem.balanced.iter().copied().filter(|one| at(offered, *one) > 0).map(fraction).collect();
        let middle = mean(&kept);
        let apart: Vec<i64> = kept.iter().map(|one| (one - middle).abs()).collect();
        (mean(&apart) / 1000) * WHOLE + mean(&asked)
    }
}
