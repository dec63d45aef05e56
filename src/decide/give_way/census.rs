//! Who lives on which node, in columns: how much room nodes would have at most if some of them left.
//!
//! Whoever looks for room to make asks that of every node, again and again. What is told here is never too little and soon
//! told, so that only the few nodes that it leaves open are looked at member by member. It is kept with the rankings of nodes,
//! and rows of nodes that changed are counted anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::amount::Amount;
use crate::model::ids::{NodeId, PoolId, ShapeId};
use crate::model::moves::MemberId;
use crate::model::nodes::Node;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::spec::Strategy;
use crate::model::world::World;

use super::super::news::Read;

/// Whose members: of which pool, at which priority, and whether they lose nothing by moving.
pub type Whose = (PoolId, i32, bool);

/// Members that live on nodes and are about as large: by the power of two of the CPU that each takes.
pub type Group = (Whose, u32);

/// By resource and then by node, in units of the resource.
type Columns = Vec<Vec<i64>>;

/// What members have in common that take as much and ask the same of nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Their pool, priority, and whether they lose nothing by moving.
    pub whose: Whose,
    /// What they ask for, as far as their template can be read.
    pub shape: Option<ShapeId>,
    /// How nodes are chosen, where the workload says it.
    pub strategy: Option<Strategy>,
    /// What each takes of its node.
    pub loads: Amounts,
}

/// A member that lives on a node or is about to.
#[derive(Clone, Copy, Debug)]
pub struct Lodger {
    /// Which.
    pub member: MemberId,
    /// Its kind, by its number in the census.
    pub kind: u32,
    /// It lives there.
    pub settled: bool,
}

/// Nodes and who lives on them, as they were when they were counted last.
#[derive(Debug, Default)]
pub struct Census {
    /// How much of the world's journal of changed nodes it has taken in; none before the first count.
    read: Option<Read>,
    /// What else would make it wrong: upheavals, and how many resources there were.
    under: (u64, usize),
    /// Room once those that leave have left.
    rooms: Columns,
    sums: BTreeMap<Whose, Columns>,
    /// The same of those who live there, by the number of their group.
    groups: Vec<Columns>,
    group_numbers: BTreeMap<Group, u32>,
    /// Groups that were asked for together: mostly they are again.
    together: Vec<Together>,
    /// Counts how often they were.
    asked: u64,
    /// By node.
    lodgers: Vec<Vec<Lodger>>,
    kinds: Vec<Kind>,
    /// The group of each kind.
    group_of: Vec<u32>,
    numbers: BTreeMap<Kind, u32>,
    /// By node, when it changed who lives there, as far as it is known.
    lodged_at: Vec<u64>,
}

/// Room that nodes would have at most without some who live there.
#[derive(Debug)]
pub struct Hope<'a> {
    /// So many, counted by their numbers.
    nodes: usize,
    rooms: &'a Columns,
    sums: Vec<&'a Columns>,
}

/// The sums of some groups.
#[derive(Debug)]
struct Together {
    groups: BTreeSet<u32>,
    sums: Columns,
    /// When they were asked for last.
    asked: u64,
}

/// Sums of groups that are kept at a time.
const MOST_TOGETHER: usize = 16;

/// Kinds that are known at a time: where there are more, all is counted anew.
const MOST_KINDS: usize = 1 << 12;

impl Kind {
    /// Those who are alike, and about as large.
    pub fn group(&self) -> Group {
        (self.whose, self.loads.get(ResourceId::CPU).units().max(1).ilog2())
    }
}

impl Census {
    /// Whether anything was counted.
    pub fn is_known(&self) -> bool {
        self.read.is_some()
    }

    /// Counts nodes that changed since anew; how many these are.
    pub fn update(&mut self, world: &World) -> u64 {
        let under = (world.upheavals, world.resources.len());
        let changed = match &mut self.read {
            Some(read) if self.under == under && self.kinds.len() < MOST_KINDS => {
                read.news(world, world.nodes.len(), || ids(world))
            }
            _ => {
                *self = Self { read: Some(Read::now(world)), under, ..Self::default() };
                ids(world).collect()
            }
        };
        for id in &changed {
            if let Some(node) = world.node(*id) {
                self.count(world, *id, node);
            }
        }
        changed.len() as u64
    }

    fn count(&mut self, world: &World, id: NodeId, node: &Node) {
        for resource in world.resources.ids() {
            put(&mut self.rooms, resource, id, node.room_later(resource).units());
        }
        if self.lodged_at.len() <= id.at() {
            self.lodged_at.resize(id.at() + 1, u64::MAX);
        }
        if std::mem::replace(&mut self.lodged_at[id.at()], node.lodged_at) == node.lodged_at {
            return;
        }
        if self.lodgers.len() <= id.at() {
            self.lodgers.resize_with(id.at() + 1, Vec::new);
        }
        let mut before = std::mem::take(&mut self.lodgers[id.at()]);
        let mut after = Vec::with_capacity(node.tenants.len() + node.assumed.len());
        for (member, load) in &node.tenants {
            after.extend(self.lodge(world, (*member, true), id, load, &mut before));
        }
        for member in &node.assumed {
            if let Some(load) = world.workload(member.0).map(|one| world.loads(one)) {
                after.extend(self.lodge(world, (*member, false), id, &load, &mut before));
            }
        }
        for lodger in before {
            self.weigh(lodger, id, false);
        }
        self.lodgers[id.at()] = after;
    }

    /// Who lives there now; what was known of them `before` is taken from there.
    fn lodge(
        &mut self,
        world: &World,
        (member, settled): (MemberId, bool),
        id: NodeId,
        load: &Amounts,
        before: &mut Vec<Lodger>,
    ) -> Option<Lodger> {
        let one = world.workload(member.0)?;
        let (pool, shape) = (one.pool?, one.shape);
        let whose = (pool, one.spec.priority, world.movers.contains(&member.0));
        // Of most nothing has changed.
        let is_same = |known: &Lodger| {
            let kind = self.kind(known).filter(|_| (known.member, known.settled) == (member, settled));
            kind.is_some_and(|kind| {
                kind.whose == whose
                    && kind.shape == shape
                    && kind.strategy == one.spec.strategy
                    && kind.loads == *load
            })
        };
        if let Some(at) = before.iter().position(is_same) {
            return Some(before.swap_remove(at));
        }
        let kind = Kind { whose, shape, strategy: one.spec.strategy, loads: load.clone() };
        let kind = *self.numbers.entry(kind).or_insert_with_key(|kind| {
            let groups = self.group_numbers.len();
            let group =
                *self.group_numbers.entry(kind.group()).or_insert(u32::try_from(groups).unwrap_or(u32::MAX));
            self.groups.resize_with(self.group_numbers.len(), Columns::new);
            self.group_of.push(group);
            self.kinds.push(kind.clone());
            u32::try_from(self.kinds.len() - 1).unwrap_or(u32::MAX)
        });
        let lodger = Lodger { member, kind, settled };
        self.weigh(lodger, id, true);
        Some(lodger)
    }

    fn weigh(&mut self, lodger: Lodger, id: NodeId, add: bool) {
        let Some(kind) = self.kinds.get(lodger.kind as usize) else { return };
        let weigh = |columns: &mut Columns| {
            for (resource, amount) in kind.loads.iter() {
                let (before, more) = (get(columns, resource, id), amount.units());
                let after = if add { before.saturating_add(more) } else { before.saturating_sub(more) };
                put(columns, resource, id, after);
            }
        };
        weigh(self.sums.entry(kind.whose).or_default());
        let group = self.group_of.get(lodger.kind as usize).copied().filter(|_| lodger.settled);
        if let Some(group) = group {
            self.groups.get_mut(group as usize).map(weigh);
            let with_it = self.together.iter_mut().filter(|one| one.groups.contains(&group));
            with_it.for_each(|one| weigh(&mut one.sums));
        }
    }

    /// Room on a node once those that leave have left.
    pub fn room(&self, resource: ResourceId, id: NodeId) -> Amount {
        Amount::new(get(&self.rooms, resource, id))
    }

    /// Who lives on a node, or is about to.
    pub fn lodgers(&self, id: NodeId) -> &[Lodger] {
        self.lodgers.get(id.at()).map(Vec::as_slice).unwrap_or_default()
    }

    /// What those take who live on a node or are about to, by whose they are.
    pub fn by_owner(&self, id: NodeId) -> BTreeMap<Whose, Amounts> {
        let mut sums: BTreeMap<Whose, Amounts> = BTreeMap::new();
        for kind in self.lodgers(id).iter().filter_map(|lodger| self.kind(lodger)) {
            sums.entry(kind.whose).or_default().add(&kind.loads);
        }
        sums
    }

    /// What a lodger has in common with others.
    pub fn kind(&self, lodger: &Lodger) -> Option<&Kind> {
        self.kinds.get(lodger.kind as usize)
    }

    /// The group of a kind, both by their numbers.
    pub fn group_of(&self, kind: usize) -> Option<u32> {
        self.group_of.get(kind).copied()
    }

    /// All kinds, by their numbers.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Whose members there are, or were.
    pub fn whose(&self) -> impl Iterator<Item = &Whose> {
        self.sums.keys()
    }

    /// What nodes would have if all left whose pool and priority is among `leaving`, and with `light` all who lose nothing by
    /// moving.
    pub fn hope(&self, leaving: &BTreeSet<(PoolId, i32)>, light: bool) -> Hope<'_> {
        let leaves =
            |(pool, priority, moves): &Whose| light && *moves || leaving.contains(&(*pool, *priority));
        let sums = self.sums.iter().filter(|(whose, _)| leaves(whose)).map(|(_, all)| all).collect();
        Hope { nodes: self.lodged_at.len(), rooms: &self.rooms, sums }
    }

    /// What nodes have free.
    pub fn free(&self) -> Hope<'_> {
        Hope { nodes: self.lodged_at.len(), rooms: &self.rooms, sums: Vec::new() }
    }

    /// What nodes would have if all left who are in one of these groups.
    pub fn hope_of(&mut self, leaving: &BTreeSet<u32>) -> Hope<'_> {
        self.asked += 1;
        let known = self.together.iter().position(|one| one.groups == *leaving);
        let at = known.unwrap_or_else(|| self.put_together(leaving));
        let sums = self.together.get_mut(at).map(|one| {
            one.asked = self.asked;
            &one.sums
        });
        Hope { nodes: self.lodged_at.len(), rooms: &self.rooms, sums: sums.into_iter().collect() }
    }

    /// Sums up some groups, and forgets what was asked for longest ago; where it is kept.
    fn put_together(&mut self, groups: &BTreeSet<u32>) -> usize {
        // Most differ little from what is there already.
        let apart = |one: &&Together| one.groups.symmetric_difference(groups).count();
        let like = self.together.iter().min_by_key(apart).filter(|one| apart(one) < groups.len());
        let mut sums = like.map(|like| like.sums.clone()).unwrap_or_default();
        let nothing = BTreeSet::new();
        let before = like.map_or(&nothing, |like| &like.groups);
        let columns = |group: &u32| self.groups.get(*group as usize);
        groups
            .difference(before)
            .filter_map(columns)
            .for_each(|one| blend(&mut sums, one, i64::wrapping_add));
        before
            .difference(groups)
            .filter_map(columns)
            .for_each(|one| blend(&mut sums, one, i64::wrapping_sub));
        let one = Together { groups: groups.clone(), sums, asked: self.asked };
        let oldest = (0..self.together.len()).min_by_key(|at| self.together[*at].asked);
        if let Some(at) = oldest.filter(|_| self.together.len() >= MOST_TOGETHER) {
            self.together[at] = one;
            return at;
        }
        self.together.push(one);
        self.together.len() - 1
    }
}

impl Hope<'_> {
    /// For how many members a node would have room at most, counted until there are `enough`.
    pub fn most_on(&self, id: NodeId, loads: &Amounts, enough: u32) -> u32 {
        self.most_with(id, loads, enough, None)
    }

    /// The same if it had so much `more`.
    pub fn most_with(&self, id: NodeId, loads: &Amounts, enough: u32, more: Option<&Amounts>) -> u32 {
        let mut most = enough;
        for (resource, amount) in loads.iter() {
            let (mut room, wanted) = (get(self.rooms, resource, id), amount.times(most).units());
            room = room.saturating_add(more.map_or(0, |more| more.get(resource).units()));
            if room < wanted {
                let sums = self.sums.iter().map(|columns| get(columns, resource, id));
                room = sums.fold(room, i64::saturating_add);
            }
            if room < wanted {
                let fit = room.max(0).checked_div(amount.units()).unwrap_or(i64::MAX);
                most = if most == 1 { 0 } else { u32::try_from(fit).unwrap_or(u32::MAX).min(most) };
            }
            if most == 0 {
                break;
            }
        }
        most
    }

    /// By node, whether it may have room for one member: for those who ask all of them.
    pub fn open(&self, loads: &Amounts) -> Vec<bool> {
        let mut open = vec![false; self.nodes];
        self.each_open(loads, |id| {
            open[id.at()] = true;
            true
        });
        open
    }

    /// The nodes that may have room for one member, in the order of their numbers, as long as `more` wants to know.
    pub fn each_open(&self, loads: &Amounts, mut more: impl FnMut(NodeId) -> bool) {
        for begin in (0..self.nodes).step_by(PIECE) {
            let mut open = [1; PIECE];
            let open = &mut open[..PIECE.min(self.nodes - begin)];
            for wants in loads.iter() {
                shut(self.rooms, &self.sums, begin, wants, open);
            }
            let ids = (u32::try_from(begin).unwrap_or(u32::MAX)..).zip(&*open);
            if !ids.filter(|(_, open)| **open == 1).all(|(id, _)| more(NodeId(id))) {
                return;
            }
        }
    }
}

/// Sets those nodes of a piece to 0 of which rooms and sums together are less than what is wanted.
///
/// There may be thousands of nodes and dozens of columns, and it is asked a hundred times a second: so all is written in such a way
/// that the compiler takes several nodes at once. The sign of what is left tells who lacks it, and nothing saturates.
fn shut(
    rooms: &Columns,
    sums: &[&Columns],
    begin: usize,
    (resource, amount): (ResourceId, Amount),
    open: &mut [u64],
) {
    let (at, wanted) = (usize::from(resource.0), amount.units());
    let mut left = [wanted.wrapping_neg(); PIECE];
    let left = &mut left[..open.len()];
    let add = |left: &mut [i64], columns: &Columns| {
        let more = part(columns.get(at), begin, left.len()).iter();
        left.iter_mut().zip(more).for_each(|(left, more)| *left = left.wrapping_add(*more));
    };
    add(left, rooms);
    let mut lacking = [0; PIECE];
    let lacking = &mut lacking[..open.len()];
    let mut lack = 0;
    for ((lacking, left), open) in lacking.iter_mut().zip(&*left).zip(&*open) {
        *lacking = (left.cast_unsigned() >> 63) & open;
        lack += *lacking;
    }
    if lack == 0 {
        return;
    }
    if lack <= FEW {
        let ids = (u32::try_from(begin).unwrap_or(u32::MAX)..).zip(left.iter().zip(open));
        for (id, (left, open)) in ids.filter(|(_, (left, open))| **open == 1 && **left < 0) {
            let more = sums.iter().map(|columns| get(columns, resource, NodeId(id)));
            *open = u64::from(more.fold(*left, i64::saturating_add) >= 0);
        }
        return;
    }
    for columns in sums {
        add(left, columns);
    }
    for ((open, left), lacking) in open.iter_mut().zip(&*left).zip(lacking) {
        *open &= !(*lacking & (left.cast_unsigned() >> 63));
    }
}

/// Nodes that are summed up at a time: as many as stay at hand.
const PIECE: usize = 512;
/// Of these, so few are looked at one by one.
const FEW: u64 = 16;

/// Adds columns to others, or takes them off. Nothing saturates, see [`shut`].
fn blend(sums: &mut Columns, columns: &Columns, with: impl Fn(i64, i64) -> i64) {
    sums.resize_with(sums.len().max(columns.len()), Vec::new);
    for (sum, column) in sums.iter_mut().zip(columns) {
        sum.resize(sum.len().max(column.len()), 0);
        sum.iter_mut().zip(column).for_each(|(sum, one)| *sum = with(*sum, *one));
    }
}

/// A part of a column, which may end before.
fn part(column: Option<&Vec<i64>>, begin: usize, len: usize) -> &[i64] {
    let column = column.map(Vec::as_slice).unwrap_or_default();
    column.get(begin..column.len().min(begin + len)).unwrap_or_default()
}

fn ids(world: &World) -> impl Iterator<Item = NodeId> {
    world.nodes.iter().map(|(id, _)| NodeId(id))
}

fn get(columns: &Columns, resource: ResourceId, id: NodeId) -> i64 {
    columns.get(usize::from(resource.0)).and_then(|column| column.get(id.at())).copied().unwrap_or(0)
}

fn put(columns: &mut Columns, resource: ResourceId, id: NodeId, amount: i64) {
    let at = usize::from(resource.0);
    if amount == 0 && get(columns, resource, id) == 0 {
        return;
    }
    if columns.len() <= at {
        columns.resize_with(at + 1, Vec::new);
    }
    if columns[at].len() <= id.at() {
        columns[at].resize(id.at() + 1, 0);
    }
    columns[at][id.at()] = amount;
}
