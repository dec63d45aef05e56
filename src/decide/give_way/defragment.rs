//! Making a block before anybody gives way: members move to other nodes, so that what waits fits where they were.
//!
//! Who loses nothing by moving (its next pod starts first, or its machine runs on) moves for anybody. Who would start anew
//! moves only where it could be evicted instead. The plan is made on a trial of the world: member by member of what waits,
//! the node is taken whose members are fewest and smallest to move, and each of them has its new place before any begins. What
//! is looked at is bounded, and nothing is where nobody can move.

mod prospects;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::ids::{NodeId, WorkloadId};
use crate::model::moves::{How, MemberId, Stage, Why};
use crate::model::nodes::Node;
use crate::model::resources::Amounts;
use crate::model::spec::{Migration, Queueing};
use crate::model::time::{Span, Time};
use crate::model::workloads::Workload;
use crate::model::world::World;

use super::super::admit::{Desk, Size, places_for};
use super::super::company::Company;
use super::super::decision::Decision;
use super::super::gate;
use super::super::host_model;
use super::super::migrate;
use super::super::order::{Entry, waits_before};
use super::super::place::{Horizon, Question, takes, takes_when_empty};
use super::ceiling::Leavers;
use super::census::Lodger;
use super::load::{Fate, Load, apply, left_by, load_of};
use super::trial::without_trace;

/// Members that are looked at in one search, at most.
const MOST_LOOKED_AT: u32 = 5_000;
/// New places that are looked for in one search, at most, and for members of how many kinds: each kind ranks all nodes.
const MOST_PLACED: u32 = 300;
const MOST_KINDS: usize = 64;
/// Nodes that are compared before the best is taken.
const MOST_COMPARED: u32 = 12;
/// Members of one workload that get a block by moves.
const MOST_BLOCKS: u32 = 64;
/// Times that a node is tried again without a member that found no place.
const MOST_RETRIES: u32 = 4;
/// Longest rest of a member whose moves fail.
const LONGEST_REST: Span = Span::minutes(24 * 60);

/// A member that may move.
#[derive(Clone, Debug)]
struct Mover {
    member: MemberId,
    /// What it takes of its node.
    requests: Amounts,
    /// It starts anew.
    loses: bool,
    /// In thousandths of its node.
    size: i64,
    /// Its place among those of its node, by size and name.
    place: usize,
}

/// A member that moves, what it leaves, and where it goes.
struct Going {
    member: MemberId,
    leaves: Load,
    to: NodeId,
}

/// How much harm moves do: those that start anew, all of them, how large they are.
type Harm = (usize, usize, i64);

/// Moves that make a block on one node.
struct Block {
    harm: Harm,
    node: NodeId,
    moves: Vec<Going>,
}

/// Makes a block for a workload that finds no node, or waits for moves that make one; whether that is so. `leavers` could be
/// evicted for it.
pub fn make_block(
    world: &mut World,
    desk: &mut Desk,
    entry: &Entry,
    leavers: &Leavers,
    now: Time,
    out: &mut Vec<Decision>,
) -> bool {
    if world.movers.is_empty() && leavers.is_empty() && world.moving.is_empty() {
        return false;
    }
    let behind = || waits_before(world, world.pool(entry.pool)?, entry.workload, &entry.rank);
    let backfilled = world.pool(entry.pool).is_some_and(|pool| pool.spec.queueing == Queueing::Backfill);
    if backfilled && behind().is_some() {
        return false;
    }
    // Those that leave anyway make room enough.
    if places_for(world, desk, entry.workload, Horizon::Later, Size::Least).is_some() {
        return false;
    }
    if let Some((awaited, places)) = without_trace(world, |world| await_moves(world, desk, entry)) {
        keep(world, entry.workload, awaited, places, now);
        return true;
    }
    let Some(mut search) = Search::new(world, entry, leavers, now) else { return false };
    desk.work.block_searches += 1;
    let found = without_trace(world, |world| {
        let found = search.run(world, desk);
        search.back_to(world, 0);
        found
    });
    if let (Some(at), Some(pool)) = (search.later, world.pools.get_mut(entry.pool.0)) {
        pool.look_again(at);
    }
    let Some(places) = found else {
        world.forget_peer(entry.workload);
        return false;
    };
    let moves = std::mem::take(&mut search.moves);
    keep(world, entry.workload, moves.iter().map(|one| one.member).collect(), places, now);
    for Going { member, to, .. } in moves {
        migrate::begin(world, member, to, Why::MakeRoom, now, out);
    }
    true
}

/// Keeps the places for the one that they are made for, until those that move have moved.
fn keep(world: &mut World, id: WorkloadId, awaited: Vec<MemberId>, places: Vec<NodeId>, now: Time) {
    world.dequeue(id);
    world.nominate(id, places);
    if let Some(workload) = world.workload_mut(id) {
        workload.awaited = awaited;
        workload.nominated_at = now;
        workload.tried_at = None;
    }
}

/// Whether a workload fits once moves have ended that are under way, where they make a place for it.
fn await_moves(world: &mut World, desk: &mut Desk, entry: &Entry) -> Option<(Vec<MemberId>, Vec<NodeId>)> {
    let leaving: Vec<(MemberId, Load)> =
        world.moving.iter().filter_map(|member| Some((*member, left_by(world, *member)?))).collect();
    if leaving.is_empty() {
        return None;
    }
    for (_, load) in &leaving {
        apply(world, load, Fate::Vacates, true);
    }
    let places = places_for(world, desk, entry.workload, Horizon::Later, Size::Least);
    for (_, load) in &leaving {
        apply(world, load, Fate::Vacates, false);
    }
    let places = places?;
    let awaited: Vec<MemberId> = leaving
        .into_iter()
        .filter(|(_, load)| places.contains(&load.node))
        .map(|(member, _)| member)
        .filter(|member| {
            !world.member(*member).and_then(|slot| slot.moving.as_ref()).is_some_and(|one| one.slow)
        })
        .collect();
    (!awaited.is_empty()).then_some((awaited, places))
}

/// The first two nodes on which one more member of a kind finds room.
type Homes = [Option<NodeId>; 2];

/// What is known of a kind of members.
#[derive(Debug, Default)]
struct Known {
    light: bool,
    homes: Homes,
}

struct Search<'a> {
    id: WorkloadId,
    question: Question,
    /// Members that must find a place.
    least: u32,
    /// What one of them takes.
    load: Load,
    now: Time,
    /// Who could be evicted.
    leavers: &'a Leavers,
    moves: Vec<Going>,
    moved: BTreeSet<MemberId>,
    sources: BTreeSet<NodeId>,
    done: Vec<(Load, Fate)>,
    looked_at: u32,
    placed: u32,
    /// Where members of a kind find room, for the moves that are made so far.
    homes: BTreeMap<Question, Homes>,
    /// By the number of the kind in the census.
    kinds: Vec<Known>,
    /// Groups of members that may move and of which some find room, by their numbers in the census.
    open: BTreeSet<u32>,
    /// When the first member that rests may move again.
    later: Option<Time>,
}

impl<'a> Search<'a> {
    fn new(world: &mut World, entry: &Entry, leavers: &'a Leavers, now: Time) -> Option<Self> {
        let id = entry.workload;
        let peer = world.peer_of(id);
        let workload = world.workload(id)?;
        let pool = world.pool(workload.pool?)?;
        let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
        let question =
            Question { shape: workload.shape?, strategy, set: pool.nodes?, horizon: Horizon::Later };
        let ports = world.shapes.get(question.shape)?.spec.host_ports.clone();
        Some(Self {
            id,
            question,
            least: gate::members_wanted(workload).0,
            load: Load { node: NodeId(0), requests: world.loads(workload), ports, peer },
            now,
            leavers,
            moves: Vec::new(),
            moved: BTreeSet::new(),
            sources: BTreeSet::new(),
            done: Vec::new(),
            looked_at: 0,
            placed: 0,
            homes: BTreeMap::new(),
            kinds: Vec::new(),
            open: BTreeSet::new(),
            later: None,
        })
    }

    fn act(&mut self, world: &mut World, load: Load, fate: Fate) {
        apply(world, &load, fate, true);
        self.done.push((load, fate));
    }

    /// Takes back what was done last, down to so many.
    fn back_to(&mut self, world: &mut World, mark: usize) {
        while self.done.len() > mark
            && let Some((load, fate)) = self.done.pop()
        {
            apply(world, &load, fate, false);
        }
    }

    fn on(&self, node: NodeId) -> Load {
        Load { node, ..self.load.clone() }
    }

    /// The places that all have in the end, if enough members can move.
    fn run(&mut self, world: &mut World, desk: &mut Desk) -> Option<Vec<NodeId>> {
        // What was given up leaves anyway.
        let given_up = |world: &World, member: &MemberId| {
            let one = world.member(*member)?.moving.as_deref()?;
            if one.goes_on() { None } else { left_by(world, *member) }
        };
        for load in world.moving.iter().filter_map(|member| given_up(world, member)).collect::<Vec<_>>() {
            self.act(world, load, Fate::Vacates);
        }
        let free = self.free_places(world, desk);
        let mut left = self.least.saturating_sub(u32::try_from(free.len()).unwrap_or(u32::MAX));
        for node in free {
            self.act(world, self.on(node), Fate::Kept);
        }
        if left == 0 || left > MOST_BLOCKS {
            return None;
        }
        while left > 0 {
            let block = self.best_block(world, desk)?;
            let node = block.node;
            for one in block.moves {
                self.sources.insert(one.leaves.node);
                self.moved.insert(one.member);
                self.act(world, one.leaves.clone(), Fate::Vacates);
                let arrives = arrival(world, one.member, &one.leaves, one.to)?;
                self.act(world, arrives, Fate::Arrives);
                self.moves.push(one);
            }
            self.homes.clear();
            while left > 0 && self.fits(world, node) {
                self.act(world, self.on(node), Fate::Kept);
                left -= 1;
            }
        }
        // What is kept is found again by the way in which it will be admitted.
        let kept: Vec<Load> =
            self.done.iter().filter(|(_, fate)| *fate == Fate::Kept).map(|(load, _)| load.clone()).collect();
        self.done.retain(|(_, fate)| *fate != Fate::Kept);
        for load in &kept {
            apply(world, load, Fate::Kept, false);
        }
        places_for(world, desk, self.id, Horizon::Later, Size::Least)
    }

    /// Where members find a place without any move.
    fn free_places(&self, world: &World, desk: &mut Desk) -> Vec<NodeId> {
        let (question, least) = (self.question, self.least);
        match Company::of(world, self.id, question) {
            None => desk.placer.place(world, question, least, &mut desk.work),
            Some(company) => desk.placer.place_beside(world, question, &company, least, &[], &mut desk.work),
        }
    }

    fn fits(&self, world: &World, node: NodeId) -> bool {
        takes(world, self.question, node, &Amounts::new())
            && Company::of(world, self.id, self.question)
                .is_none_or(|company| company.refuses(node).is_none())
    }

    /// The node on which one more member finds a place with the least harm.
    fn best_block(&mut self, world: &mut World, desk: &mut Desk) -> Option<Block> {
        let mut best: Option<Block> = None;
        let mut compared = 0;
        let mut census = desk.placer.lend_census(world, &mut desk.work);
        self.learn(world, desk, &census);
        let nearest = self.nearest(world, desk, &mut census);
        desk.placer.take_back(census);
        for node in nearest {
            if self.looked_at >= MOST_LOOKED_AT || self.placed >= MOST_PLACED || compared >= MOST_COMPARED {
                break;
            }
            let mut movers = self.movers(world, desk, node);
            for _ in 0..MOST_RETRIES {
                if movers.is_empty() || !self.is_enough(world, node, &movers) {
                    break;
                }
                let mark = self.done.len();
                let tried = self.block_on(world, desk, node, &movers);
                self.back_to(world, mark);
                match tried {
                    Ok(Some(block)) => {
                        compared += 1;
                        if best.as_ref().is_none_or(|best| block.harm < best.harm) {
                            best = Some(block);
                        }
                        break;
                    }
                    Ok(None) => break,
                    // It finds no other place: without it.
                    Err(member) => movers.retain(|mover| mover.member != member),
                }
            }
            if best.as_ref().is_some_and(|best| best.harm.0 == 0 && best.harm.1 == 1) {
                break;
            }
        }
        best
    }

    /// Whether there would be room if all of them left.
    fn is_enough(&self, world: &World, node: NodeId, movers: &[Mover]) -> bool {
        let Some(node) = world.node(node) else { return false };
        let mut freed = Amounts::new();
        for mover in movers {
            freed.add(&mover.requests);
        }
        self.load
            .requests
            .iter()
            .all(|(resource, amount)| node.room_later(resource) + freed.get(resource) >= amount)
    }

    /// Members on a node that may move, the least harm first.
    fn movers(&mut self, world: &World, desk: &Desk, id: NodeId) -> Vec<Mover> {
        let Some(node) = world.node(id) else { return Vec::new() };
        let census = desk.placer.known_census();
        let open: Vec<&Lodger> =
            census.lodgers(id).iter().filter(|lodger| self.may_leave(lodger, id)).collect();
        self.looked_at += u32::try_from(open.len()).unwrap_or(u32::MAX);
        let mut found = Vec::new();
        for lodger in open {
            let member = lodger.member;
            let Some((workload, kind)) = world.workload(member.0).zip(census.kind(lodger)) else { continue };
            let Some(loses) = self.may_move(world, member) else { continue };
            let (requests, size) = (kind.loads.clone(), size(node, &kind.loads));
            let name = (&workload.spec.namespace, &workload.spec.name, member.1);
            found.push((name, Mover { member, requests, loses, size, place: 0 }));
        }
        found.sort_unstable_by(|(name, one), (other_name, other)| {
            one.size.cmp(&other.size).then_with(|| name.cmp(other_name))
        });
        let placed = found.into_iter().enumerate().map(|(place, (_, mover))| Mover { place, ..mover });
        let mut movers: Vec<Mover> = placed.collect();
        movers.sort_unstable_by_key(|mover| (mover.loses, Reverse(mover.size), mover.place));
        movers
    }

    /// Whether a member may move now; if so, whether it starts anew.
    fn may_move(&mut self, world: &World, member: MemberId) -> Option<bool> {
        let (workload, slot) = world.workload(member.0).zip(world.member(member))?;
        if workload.spec.migration == Migration::Never || !migrate::is_settled(world, member) {
            return None;
        }
        let could_be_evicted = self.leavers.contains(member);
        let loses = match migrate::how(workload, slot) {
            How::MakeBeforeBreak => slot.ready_since.map(|_| false),
            How::Live => world.is_live_migratable(member).then_some(false),
            How::BreakBeforeMake => could_be_evicted.then_some(true),
        }?;
        let first = world.tuning.made_room_rest;
        let rested =
            world.rests.get(&member).map(|rest| rest.at + first.doubled(rest.failures, LONGEST_REST));
        if let Some(until) = rested.filter(|until| *until > self.now) {
            self.later = Some(self.later.map_or(until, |later| later.min(until)));
            return None;
        }
        Some(loses)
    }

    /// The moves that make a block on a node; nothing if none do, or the member that finds no other place.
    fn block_on(
        &mut self,
        world: &mut World,
        desk: &mut Desk,
        node: NodeId,
        movers: &[Mover],
    ) -> Result<Option<Block>, MemberId> {
        let Some(chosen) = self.choose(world, node, movers) else { return Ok(None) };
        let harm = harm_of(&chosen.iter().collect::<Vec<_>>());
        let mut largest_first = chosen;
        largest_first.sort_unstable_by_key(|mover| (Reverse(mover.size), mover.place));
        let mut leaving = Vec::new();
        for member in largest_first.into_iter().map(|mover| mover.member) {
            let leaves = load_of(world, member).ok_or(member)?;
            self.act(world, leaves.clone(), Fate::Vacates);
            leaving.push((member, leaves));
        }
        self.act(world, self.on(node), Fate::Kept);
        let mut moves = Vec::new();
        for (member, leaves) in leaving {
            let to = self.elsewhere(world, desk, member, node).ok_or(member)?;
            let arrives = arrival(world, member, &leaves, to).ok_or(member)?;
            self.act(world, arrives, Fate::Arrives);
            moves.push(Going { member, leaves, to });
        }
        Ok(Some(Block { harm, node, moves }))
    }

    /// The members that leave a node for one more to fit: fewest, then smallest, and such as lose nothing.
    fn choose(&mut self, world: &mut World, id: NodeId, movers: &[Mover]) -> Option<Vec<Mover>> {
        let sums_tell = self.do_sums_tell(world, id);
        // One alone, the smallest that will do.
        let mut by_size: Vec<&Mover> = movers.iter().collect();
        by_size.sort_unstable_by_key(|mover| (mover.loses, mover.size, mover.place));
        let mut found: Vec<Vec<&Mover>> = Vec::new();
        let one = by_size
            .iter()
            .find(|mover| self.fits_without(world, id, (&[**mover], &mover.requests), sums_tell));
        found.extend(one.map(|mover| vec![*mover]));
        // As many as it takes; then those are put back that need not leave, small ones first or large ones first.
        let (mut out, mut freed): (Vec<&Mover>, Amounts) = Default::default();
        let enough = movers.iter().any(|mover| {
            out.push(mover);
            freed.add(&mover.requests);
            self.fits_without(world, id, (&out, &freed), sums_tell)
        });
        if enough {
            for small_first in [true, false] {
                let (mut kept, mut freed) = (out.clone(), freed.clone());
                let mut order = out.clone();
                order.sort_unstable_by_key(|mover| {
                    let size = if small_first { mover.size } else { -mover.size };
                    (!mover.loses, size, mover.place)
                });
                for mover in order {
                    if kept.len() == 1 {
                        break;
                    }
                    let mut less = freed.clone();
                    less.take(&mover.requests);
                    let rest: Vec<&Mover> =
                        kept.iter().copied().filter(|one| one.member != mover.member).collect();
                    if self.fits_without(world, id, (&rest, &less), sums_tell) {
                        (kept, freed) = (rest, less);
                    }
                }
                found.push(kept);
            }
        }
        let best = found.into_iter().min_by_key(|moves| harm_of(moves));
        best.map(|moves| moves.into_iter().cloned().collect())
    }

    /// Whether what members take is all that matters on a node: no ports, and no pods around.
    fn do_sums_tell(&self, world: &World, id: NodeId) -> bool {
        let suits = world.node(id).zip(world.shapes.get(self.question.shape)).is_some_and(|(node, shape)| {
            node.sets.contains(&self.question.set)
                && takes_when_empty(world, node, &shape.spec, &self.load.requests)
        });
        suits && self.load.ports.is_empty() && Company::of(world, self.id, self.question).is_none()
    }

    /// Whether one more fits once these have left, who free so much.
    fn fits_without(
        &mut self,
        world: &mut World,
        id: NodeId,
        (movers, freed): (&[&Mover], &Amounts),
        sums_tell: bool,
    ) -> bool {
        self.looked_at += 1;
        let enough = world.node(id).is_some_and(|node| {
            let room = |resource| node.room_without(resource, freed.get(resource));
            self.load.requests.iter().all(|(resource, amount)| room(resource) >= amount)
        });
        if sums_tell || !enough {
            return enough;
        }
        let leaving: Vec<Load> = movers.iter().filter_map(|mover| load_of(world, mover.member)).collect();
        for load in &leaving {
            apply(world, load, Fate::Vacates, true);
        }
        let fits = self.fits(world, id);
        for load in &leaving {
            apply(world, load, Fate::Vacates, false);
        }
        fits
    }

    /// Where a member that leaves a node finds room now.
    fn elsewhere(
        &mut self,
        world: &World,
        desk: &mut Desk,
        member: MemberId,
        node: NodeId,
    ) -> Option<NodeId> {
        let (workload, slot) = world.workload(member.0).zip(world.member(member))?;
        let question = asked_of_nodes(world, workload)?;
        self.placed += 1;
        let avoid: Vec<NodeId> =
            slot.avoid.iter().copied().chain(self.sources.iter().copied()).chain([node]).collect();
        let lacks = host_model::lacks(world, member, node);
        let but = |id: NodeId| id == node || lacks.as_ref().is_some_and(|lacks| lacks(id));
        let found = match Company::of(world, member.0, question) {
            None => desk.placer.place_elsewhere(world, question, but, &avoid, &mut desk.work),
            Some(company) => desk
                .placer
                .place_beside(world, question, &company, 1, &avoid, &mut desk.work)
                .first()
                .copied(),
        };
        found.filter(|to| !but(*to) && !self.sources.contains(to))
    }
}

/// What is asked of nodes to which members of a workload would move.
fn asked_of_nodes(world: &World, workload: &Workload) -> Option<Question> {
    let pool = world.pool(workload.pool?)?;
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    Some(Question { shape: workload.shape?, strategy, set: pool.nodes?, horizon: Horizon::Now })
}

/// What a member takes where it moves to.
fn arrival(world: &World, member: MemberId, leaves: &Load, to: NodeId) -> Option<Load> {
    let workload = world.workload(member.0)?;
    let ports = world.shapes.get(workload.shape?)?.spec.host_ports.clone();
    Some(Load { node: to, requests: world.loads(workload), ports, peer: leaves.peer })
}

fn harm_of(moves: &[&Mover]) -> Harm {
    let lose = moves.iter().filter(|mover| mover.loses).count();
    (lose, moves.len(), moves.iter().map(|mover| mover.size).sum())
}

/// The largest share of what a node offers that is asked for, in thousandths.
fn size(node: &Node, requests: &Amounts) -> i64 {
    let share = |(resource, amount): (crate::model::resources::ResourceId, crate::model::amount::Amount)| {
        let offered = i128::from(node.allocatable.get(resource).units().max(1));
        i64::try_from(i128::from(amount.units()) * 1000 / offered).unwrap_or(i64::MAX)
    };
    requests.iter().map(share).max().unwrap_or(0)
}

/// Moves for which a workload waits and that did not come to their end in time, because what it waits for may not be stopped
/// (a disruption budget holds it): nobody reckons with them any more.
pub fn give_up_slow(world: &mut World, awaited: &[MemberId]) {
    for member in awaited {
        world.with_member(member.0, member.1, |world| {
            if let Some(one) = world.member_mut(*member).and_then(|slot| slot.moving.as_deref_mut())
                && matches!(one.stage, Stage::Leaving | Stage::GivenUp)
            {
                one.slow = true;
            }
        });
    }
}

/// Whether any of them is still on its way.
pub fn any_under_way(world: &World, awaited: &[MemberId]) -> bool {
    awaited.iter().any(|member| {
        let one = world.member(*member).and_then(|slot| slot.moving.as_deref());
        one.is_some_and(|one| !one.slow)
    })
}
