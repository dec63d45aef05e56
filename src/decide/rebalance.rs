//! Evening out how much a pool's nodes are used: moves that are proposed, or made.
//!
//! A small greedy search: from the most used node to the least used one, the member whose move leaves the more used of the
//! two used least. Each move must gain a percentage point at least, so that the sorted utilisations fall with each and it
//! comes to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::balance::Recommendation;
use crate::model::ids::{NodeId, PoolId};
use crate::model::moves::{How, MemberId, Why};
use crate::model::nodes::Node;
use crate::model::pools::Pool;
use crate::model::resources::{Amounts, ResourceId};
use crate::model::spec::{Migration, Rebalancing, Strategy};
use crate::model::time::{Span, Time};
use crate::model::world::World;

use super::admit::Desk;
use super::company::Company;
use super::decision::Decision;
use super::host_model::finds_its_cpu;
use super::migrate;
use super::place::{Horizon, Question, takes};

/// Most moves that are recommended at a time.
const MOST: usize = 10;
/// Recommendations of a pool are reckoned no more often.
const EVERY: Span = Span::seconds(5);
/// A move gains at least so much, in thousandths of what the more used node offers.
const LEAST_GAIN: i64 = 10;
/// Moves that one search looks at, at most.
const PATIENCE: u32 = 20_000;
/// Longest rest of a member whose moves fail.
const LONGEST_REST: Span = Span::minutes(24 * 60);

/// Reckons recommendations anew where nodes have changed, and carries them out where that is asked for; when to look
/// again although nothing changed.
pub fn rebalance_all(world: &mut World, desk: &mut Desk, now: Time, out: &mut Vec<Decision>) -> Option<Time> {
    let pools: Vec<(PoolId, Option<Rebalancing>)> = world
        .pools
        .iter()
        .filter(|(_, pool)| {
            let asked = pool.spec.apply.is_some() || pool.balance.asked.is_some();
            asked || pool.spec.rebalancing.is_some() || !pool.balance.recommendations.is_empty()
        })
        .map(|(id, pool)| (PoolId(id), pool.spec.rebalancing.filter(|_| !pool.spec.deleting)))
        .collect();
    let mut next: Option<Time> = None;
    for (id, rules) in pools {
        let due = match rules {
            None => {
                set(world, id, Vec::new());
                super::asked::apply(world, desk, id, now, out);
                None
            }
            Some(rules) => {
                let due = reckon_if_due(world, id, rules, now);
                super::asked::apply(world, desk, id, now, out);
                let next_move = if rules.automatic { make(world, desk, id, rules, now, out) } else { None };
                [due, next_move].into_iter().flatten().min()
            }
        };
        next = next.into_iter().chain(due).min();
    }
    next
}

fn set(world: &mut World, id: PoolId, recommendations: Vec<Recommendation>) {
    let Some(pool) = world.pools.get_mut(id.0) else { return };
    if pool.balance.recommendations != recommendations {
        pool.balance.recommendations = recommendations;
        world.changed_pools.insert(id);
    }
}

fn reckon_if_due(world: &mut World, id: PoolId, rules: Rebalancing, now: Time) -> Option<Time> {
    let pool = world.pool(id)?;
    if let Some((at, shifts, before)) = pool.balance.reckoned {
        if shifts == world.shifts && before == rules {
            return None;
        }
        let due = at + EVERY;
        if due > now && before == rules {
            return Some(due);
        }
    }
    let found = Search::new(world, id, rules, now).map(Search::run).unwrap_or_default();
    set(world, id, found);
    let shifts = world.shifts;
    if let Some(pool) = world.pools.get_mut(id.0) {
        pool.balance.reckoned = Some((now, shifts, rules));
    }
    None
}

/// Begins moves that are recommended, so many at a time; when more may begin.
fn make(
    world: &mut World,
    desk: &mut Desk,
    id: PoolId,
    rules: Rebalancing,
    now: Time,
    out: &mut Vec<Decision>,
) -> Option<Time> {
    let pool = world.pool(id)?;
    if pool.balance.recommendations.is_empty() {
        return None;
    }
    let under_way = world
        .moving
        .iter()
        .filter(|member| {
            let moves = world.member(**member).and_then(|slot| slot.moving.as_deref());
            moves.is_some_and(|one| one.why == Why::Rebalance) && belongs(world, **member, id)
        })
        .count();
    let room = (rules.most as usize).saturating_sub(under_way);
    if room == 0 {
        return None;
    }
    let due = pool.balance.moved_at.map_or(now, |at| at + rules.cooldown);
    if due > now {
        return Some(due);
    }
    let (begun, later): (Vec<Recommendation>, Vec<Recommendation>) = {
        let all = pool.balance.recommendations.clone();
        let mut left = room;
        all.into_iter().partition(|_| {
            let taken = left > 0;
            left -= usize::from(taken);
            taken
        })
    };
    for one in begun {
        let Some(question) = question(world, one.member) else { continue };
        desk.work.nodes_scanned += 1;
        if one.stands(world)
            && migrate::is_settled(world, one.member)
            && takes(world, question, one.node, &Amounts::new())
        {
            migrate::begin(world, one.member, one.node, Why::Rebalance, now, out);
        }
    }
    set(world, id, later);
    world.pools.get_mut(id.0)?.balance.moved_at = Some(now);
    Some(now + rules.cooldown)
}

/// Whether a member is of a pool, or of one below it.
fn belongs(world: &World, member: MemberId, id: PoolId) -> bool {
    let pool = world.workload(member.0).and_then(|workload| world.pool(workload.pool?));
    pool.is_some_and(|pool| pool.path.contains(&id))
}

pub(super) fn question(world: &World, member: MemberId) -> Option<Question> {
    let workload = world.workload(member.0)?;
    let pool = world.pool(workload.pool?)?;
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    Some(Question { shape: workload.shape?, strategy, set: pool.nodes?, horizon: Horizon::Now })
}

/// A node as the search reckons with it.
struct Side {
    node: NodeId,
    name: Arc<str>,
    load: Amounts,
    /// What recommended moves have added so far.
    added: Amounts,
    /// In thousandths.
    used: i64,
}

struct Search<'a> {
    world: &'a World,
    pool: PoolId,
    rules: Rebalancing,
    now: Time,
    balanced: &'a [ResourceId],
    sides: BTreeMap<NodeId, Side>,
    moved: BTreeSet<MemberId>,
    patience: u32,
}

/// FNV-1a of the move and of which pod makes it: the same for as long as that pod is there and has tried no other move.
fn id_of(world: &World, member: MemberId, from: &str, to: &str) -> Arc<str> {
    let uid = world.workload(member.0).map(|workload| Arc::clone(&workload.spec.uid)).unwrap_or_default();
    let slot = world.member(member);
    let pod = slot.and_then(|slot| slot.pod.clone()).unwrap_or_default();
    let used = slot.map_or(0, |slot| slot.used);
    let passages = world.passage_of(member).map_or(0, |seen| seen.attempt.saturating_add(1));
    let what = format!("{uid}/{}/{from}/{to}/{pod}/{used}/{passages}", member.1);
    let hash = what.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}").into()
}

/// Reckons the ids of recommendations anew, for worlds in which everything has got another name; whoever asks for one, or
/// has asked, means the same as before.
pub fn identify_anew(world: &mut World) {
    let pools: Vec<PoolId> = world.pools.iter().map(|(id, _)| PoolId(id)).collect();
    for id in pools {
        let recommended = world.pool(id).map(|pool| pool.balance.recommendations.clone()).unwrap_or_default();
        for (at, one) in recommended.into_iter().enumerate() {
            let new = id_of(world, one.member, &one.from, &one.to);
            let Some(pool) = world.pools.get_mut(id.0) else { continue };
            let asked = [pool.balance.asked.as_deref_mut(), pool.spec.asked.as_deref_mut()];
            let asked = asked.into_iter().flatten().map(|asked| &mut asked.request);
            for known in asked.chain(pool.spec.apply.as_mut()).filter(|known| **known == one.id) {
                *known = Arc::clone(&new);
            }
            if let Some(kept) = pool.balance.recommendations.get_mut(at) {
                kept.id = new;
            }
        }
    }
}

/// The largest share of a balanced resource that is in use, in thousandths of what the node offers.
fn used(node: &Node, load: &Amounts, balanced: &[ResourceId]) -> i64 {
    let share = |resource: &ResourceId| {
        let offered = node.allocatable.get(*resource).units();
        let share = i128::from(load.get(*resource).units()) * 1000 / i128::from(offered.max(1));
        (offered > 0).then(|| i64::try_from(share).unwrap_or(i64::MAX))
    };
    balanced.iter().filter_map(share).max().unwrap_or(0)
}

impl<'a> Search<'a> {
    fn new(world: &'a World, id: PoolId, rules: Rebalancing, now: Time) -> Option<Self> {
        let pool = world.pool(id).filter(|pool| pool.owns_nodes && pool.stalled.is_none())?;
        let set = pool.nodes?;
        let nodes = world.sets.get(set.at())?;
        let mut sides = BTreeMap::new();
        for (name, id) in &nodes.nodes {
            let Some(node) = world.node(*id).filter(|node| node.is_open()) else { continue };
            let (load, added) = (node.load.clone(), Amounts::new());
            sides.insert(*id, Side { node: *id, name: Arc::clone(name), load, added, used: 0 });
        }
        // What is on its way from one node to another is where it goes to.
        for member in &world.moving {
            let Some(slot) = world.member(*member) else { continue };
            let Some(one) = slot.moving.as_deref().filter(|one| one.goes_on()) else { continue };
            let source = slot.pod.as_ref().and_then(|uid| world.pods.get(uid)).filter(|pod| pod.loads());
            if let (Some(side), Some(pod)) = (sides.get_mut(&one.from), source) {
                side.load.take(&pod.requests);
            }
        }
        let (moved, balanced) = (BTreeSet::new(), &*nodes.balanced);
        let mut search = Self { world, pool: id, rules, now, balanced, sides, moved, patience: PATIENCE };
        let all: Vec<NodeId> = search.sides.keys().copied().collect();
        for id in all {
            search.weigh(id);
        }
        Some(search)
    }

    fn weigh(&mut self, id: NodeId) {
        let (Some(node), Some(side)) = (self.world.node(id), self.sides.get_mut(&id)) else { return };
        side.used = used(node, &side.load, self.balanced);
    }

    fn run(mut self) -> Vec<Recommendation> {
        let mut found = Vec::new();
        while found.len() < MOST
            && let Some(one) = self.next()
        {
            let requests = one.0;
            let recommended = one.1;
            self.moved.insert(recommended.member);
            if let Some(side) = self.sides.get_mut(&recommended.source) {
                side.load.take(&requests);
            }
            if let Some(side) = self.sides.get_mut(&recommended.node) {
                side.load.add(&requests);
                side.added.add(&requests);
            }
            self.weigh(recommended.source);
            self.weigh(recommended.node);
            found.push(recommended);
        }
        found
    }

    /// The best move as things stand, if the nodes are further apart than they may be.
    fn next(&mut self) -> Option<(Amounts, Recommendation)> {
        let mut order: Vec<(i64, Arc<str>, NodeId)> =
            self.sides.values().map(|side| (side.used, Arc::clone(&side.name), side.node)).collect();
        order.sort();
        let apart = i64::from(self.rules.threshold) * 10;
        let least = order.first()?.0;
        for (high, _, source) in order.iter().rev() {
            if high - least <= apart {
                return None;
            }
            let members = self.movable(*source);
            for (low, _, target) in &order {
                if members.is_empty() || high - low <= apart || self.patience == 0 {
                    break;
                }
                if let Some(best) = self.best(*source, *target, &members) {
                    return Some(best);
                }
            }
        }
        None
    }

    /// The member whose move from one node to the other gains most, if one gains enough.
    fn best(
        &mut self,
        source: NodeId,
        target: NodeId,
        members: &[(MemberId, Amounts)],
    ) -> Option<(Amounts, Recommendation)> {
        let (from, to) = (self.sides.get(&source)?, self.sides.get(&target)?);
        let (from_node, to_node) = (self.world.node(source)?, self.world.node(target)?);
        let mut best: Option<(i64, &(MemberId, Amounts))> = None;
        for member in members {
            self.patience = self.patience.saturating_sub(1);
            if self.strands(from_node, to_node, &member.1) {
                continue;
            }
            let (mut less, mut more) = (from.load.clone(), to.load.clone());
            less.take(&member.1);
            more.add(&member.1);
            let left = used(from_node, &less, self.balanced);
            // Else the two would be as far apart, the other way round.
            if left < to.used {
                continue;
            }
            let after = left.max(used(to_node, &more, self.balanced));
            let gain = from.used - after;
            let fits = || {
                question(self.world, member.0).is_some_and(|one| {
                    takes(self.world, one, target, &to.added)
                        && self.agrees(member.0, one, target)
                        && finds_its_cpu(self.world, member.0, source, target)
                })
            };
            if gain >= LEAST_GAIN && best.is_none_or(|(most, _)| gain > most) && fits() {
                best = Some((gain, member));
            }
        }
        let (gain, (member, requests)) = best?;
        let workload = self.world.workload(member.0)?;
        let percent = |thousandths: i64| u32::try_from(thousandths.max(0) / 10).unwrap_or(u32::MAX);
        let recommended = Recommendation {
            id: id_of(self.world, *member, &from.name, &to.name),
            member: *member,
            source,
            node: target,
            workload: Arc::clone(&workload.spec.uid),
            title: workload.title(),
            index: member.1,
            from: Arc::clone(&from.name),
            to: Arc::clone(&to.name),
            gain: percent(gain),
            used: (percent(from.used), percent(to.used)),
        };
        Some((requests.clone(), recommended))
    }

    /// Whether the pods around let a member move to a node. Where they matter only one moves at a time, since the
    /// search does not reckon with the neighbours that moves have by then.
    fn agrees(&self, member: MemberId, question: Question, target: NodeId) -> bool {
        let company = Company::of(self.world, member.0, question);
        company.is_none_or(|company| self.moved.is_empty() && company.refuses(target).is_none())
    }

    /// Whether a move takes room of a node that offers more than the other, such as GPUs, and that does not serve the
    /// member: placing leaves such nodes to those who need them, and so does moving.
    fn strands(&self, from: &Node, to: &Node, requests: &Amounts) -> bool {
        let offers = |node: &Node, resource| !node.allocatable.get(resource).is_zero();
        let unused = |resource: &ResourceId| {
            requests.get(*resource).is_zero() && offers(to, *resource) && !offers(from, *resource)
        };
        self.balanced.iter().any(unused)
    }

    /// Members of the pool on a node that may be moved, and what each takes of it, by name.
    fn movable(&self, node: NodeId) -> Vec<(MemberId, Amounts)> {
        let world = self.world;
        let pods = world.node(node).into_iter().flat_map(|node| &node.pods);
        let mut found: Vec<(Arc<str>, MemberId, Amounts)> = pods
            .filter_map(|uid| {
                let pod = world.pods.get(uid)?;
                let member = world.find_member(pod.member.as_ref()?)?;
                let current = world.member(member)?.pod.as_ref() == Some(uid);
                (current && self.may_move(member))
                    .then(|| Some((world.workload(member.0)?.title(), member, pod.requests.clone())))?
            })
            .collect();
        found.sort_by(|one, other| (&one.0, one.1.1).cmp(&(&other.0, other.1.1)));
        found.into_iter().map(|(_, member, requests)| (member, requests)).collect()
    }

    fn may_move(&self, member: MemberId) -> bool {
        let world = self.world;
        let Some((workload, slot)) = world.workload(member.0).zip(world.member(member)) else { return false };
        let Some(question) = question(world, member) else { return false };
        let rested = world.rests.get(&member).is_none_or(|rest| {
            rest.at + self.rules.cooldown.doubled(rest.failures, LONGEST_REST) <= self.now
        });
        let wants_even = match question.strategy {
            Strategy::Spread | Strategy::Balanced => true,
            Strategy::BinPack | Strategy::LeastFragmentation | Strategy::Optimal => false,
        };
        let gathers = |pool: &Pool| pool.spec.topology_key.is_some();
        let gathers = workload.spec.topology_key.is_some()
            || workload.pool.and_then(|pool| world.pool(pool)).is_some_and(gathers);
        !self.moved.contains(&member)
            && workload.spec.migration != Migration::Never
            && match migrate::how(workload, slot) {
                How::MakeBeforeBreak => true,
                How::Live => world.is_live_migratable(member),
                How::BreakBeforeMake => false,
            }
            && slot.ready_since.is_some()
            && migrate::is_settled(world, member)
            && belongs(world, member, self.pool)
            && wants_even
            && !gathers
            && rested
    }
}
