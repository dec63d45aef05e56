//! The first of those who may give way that make room on nodes, without taking them out of the world one after another.
//!
//! Victims are taken in their order until the workload fits. On which nodes it fits first, and after how many of them, is told
//! by looking at each node alone: so only those on these nodes are tried in earnest. What else matters (quota, pods around) is
//! left to that trial, and where it fails all are tried.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use crate::model::ids::NodeId;
use crate::model::resources::Amounts;
use crate::model::spec::ShapeSpec;
use crate::model::world::World;

use super::super::admit::Desk;
use super::super::company::Company;
use super::super::gate;
use super::super::order::Entry;
use super::super::place::{Question, takes_when_empty};
use super::ceiling::{Leavers, Leaving, asked};
use super::census::{Census, Lodger};
use super::question_of;
use super::victims::{Candidate, Take};

/// Not on the list.
const NOBODY: u32 = u32::MAX;
/// So many of a list are looked at one by one: most often fewer are enough.
const FEW: usize = 128;

/// What the nodes alone tell.
#[derive(Debug, PartialEq, Eq)]
pub enum First {
    /// Those that make room first, as far as nodes matter.
    Some(Vec<Candidate>),
    /// Even all of them leave too little.
    Nobody,
    /// It depends on more than nodes.
    Unknown,
}

/// Those of the list, in its order, without whom the nodes have room for the least size that have it after the fewest of them.
pub fn first_to_fit(
    world: &World,
    desk: &mut Desk,
    entry: &Entry,
    leavers: &Leavers,
    list: &[Candidate],
) -> First {
    let question = question_of(world, entry);
    let workload = world.workload(entry.workload);
    let Some((question, least)) = question.zip(workload.map(|one| gate::members_wanted(one).0)) else {
        return First::Unknown;
    };
    let Some((set, shape, loads)) = asked(world, question) else { return First::Unknown };
    let single = list.iter().any(|one| matches!(one.take, Take::Member(_)));
    if single || least == 0 || !shape.spec.host_ports.is_empty() {
        return First::Unknown;
    }
    let census = desk.placer.census(world, &mut desk.work);
    let wanted = Wanted { question, shape: &shape.spec, loads: &loads, least: least as usize };
    if let Some(found) = among_the_first(world, census, &set.nodes, wanted, list) {
        return First::Some(found);
    }
    let places = places_of(list);
    let hope = leavers.hope(census, Leaving::Evicted);
    let mut best = Best { least: least as usize, events: BinaryHeap::new() };
    let mut here: Vec<(u32, Lodger)> = Vec::new();
    // Of most members it is told by their kind that they are not on the list.
    let listed: Vec<bool> =
        census.kinds().iter().map(|kind| leavers.are_of(kind.whose.0, kind.whose.1)).collect();
    let open = hope.open(&loads);
    for (_, id) in &set.nodes {
        if !open.get(id.at()).is_some_and(|open| *open) {
            continue;
        }
        let most = if least == 1 { 1 } else { hope.most_on(*id, &loads, least) };
        // Those who come after the best that is known help nobody.
        let until = best.until();
        here.clear();
        let candidates =
            census.lodgers(*id).iter().filter(|one| listed.get(one.kind as usize) == Some(&true));
        here.extend(candidates.filter_map(|one| {
            let at = places.get(one.member.0.at()).copied().filter(|at| *at < until)?;
            Some((at, *one))
        }));
        let freed = |resource| {
            let loads = here.iter().filter_map(|(_, one)| census.kind(one));
            loads.fold(census.room(resource, *id), |sum, kind| sum + kind.loads.get(resource))
        };
        if !loads.iter().all(|(resource, amount)| freed(resource) >= amount) {
            continue;
        }
        let Some(node) = world.node(*id) else { continue };
        if !takes_when_empty(world, node, &shape.spec, &loads) {
            continue;
        }
        here.sort_unstable_by_key(|(at, one)| (*at, one.kind));
        best.look_at(census, *id, (&loads, most), &here);
    }
    let Some(events) = best.all() else {
        let alone = Company::of(world, entry.workload, question).is_none();
        return if alone { First::Nobody } else { First::Unknown };
    };
    let after = events.iter().map(|(after, _)| *after).max().unwrap_or(0);
    let mut chosen: Vec<u32> = Vec::new();
    for (_, id) in events {
        let lodgers = census.lodgers(id).iter();
        chosen.extend(
            lodgers.filter_map(|one| places.get(one.member.0.at()).copied()).filter(|at| *at < after),
        );
    }
    chosen.sort_unstable();
    chosen.dedup();
    First::Some(chosen.into_iter().filter_map(|at| list.get(at as usize).cloned()).collect())
}

/// What finds a place.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    question: Question,
    shape: &'a ShapeSpec,
    loads: &'a Amounts,
    least: usize,
}

/// What one node has room for, and what the first of a list free of it.
#[derive(Default)]
struct Here {
    freed: Amounts,
    places: u32,
}

/// The same, where so few of the first of the list are enough that it is soon told by going from one to the next.
fn among_the_first(
    world: &World,
    census: &Census,
    nodes: &[(Arc<str>, NodeId)],
    wanted: Wanted<'_>,
    list: &[Candidate],
) -> Option<Vec<Candidate>> {
    let most = u32::try_from(wanted.least).unwrap_or(u32::MAX);
    let mut here: BTreeMap<NodeId, Here> = BTreeMap::new();
    // After how many of them there is a place, and on which node.
    let mut found: Vec<(u32, NodeId)> = Vec::new();
    let mut look_at = |id: NodeId, load: &Amounts, after: u32, found: &mut Vec<(u32, NodeId)>| {
        let here = here.entry(id).or_default();
        here.freed.add(load);
        let places = census.free().most_with(id, wanted.loads, most, Some(&here.freed));
        let more = places.saturating_sub(here.places);
        let takes = |node| takes_when_empty(world, node, wanted.shape, wanted.loads);
        if more > 0 && world.node(id).is_some_and(takes) {
            here.places = places;
            found.extend(std::iter::repeat_n((after, id), more as usize));
        }
    };
    let free = census.free().open(wanted.loads);
    for (_, id) in nodes.iter().filter(|(_, id)| free.get(id.at()) == Some(&true)) {
        look_at(*id, &Amounts::new(), 0, &mut found);
    }
    let mut left: Vec<(u32, NodeId)> = Vec::new();
    for (after, one) in (1..).zip(list.iter().take(FEW)) {
        if found.len() >= wanted.least {
            break;
        }
        let Some(workload) = world.workload(one.workload) else { continue };
        for (index, member) in (0..).zip(&workload.members) {
            let on = world.node_of_member(member).and_then(|id| Some((id, world.node(id)?)));
            let Some((id, node)) = on.filter(|(_, node)| node.sets.contains(&wanted.question.set)) else {
                continue;
            };
            let member = (one.workload, index);
            let assumed = node.assumed.contains(&member).then(|| world.loads(workload));
            if let Some(load) = node.tenants.get(&member).or(assumed.as_ref()) {
                left.push((after, id));
                look_at(id, load, after, &mut found);
            }
        }
    }
    if found.len() < wanted.least {
        return None;
    }
    found.sort_unstable();
    found.truncate(wanted.least);
    let last = found.last().map_or(0, |(after, _)| *after);
    let on: BTreeSet<NodeId> = found.iter().map(|(_, id)| *id).collect();
    let mut chosen: Vec<u32> = left
        .into_iter()
        .filter(|(after, id)| *after <= last && on.contains(id))
        .map(|(after, _)| after)
        .collect();
    chosen.dedup();
    Some(chosen.into_iter().filter_map(|after| list.get(after as usize - 1).cloned()).collect())
}

/// By workload, its place on the list.
fn places_of(list: &[Candidate]) -> Vec<u32> {
    let mut places: Vec<u32> = Vec::new();
    for (at, one) in (0_u32..).zip(list) {
        if places.len() <= one.workload.at() {
            places.resize(one.workload.at() + 1, NOBODY);
        }
        places[one.workload.at()] = at;
    }
    places
}

/// The places that are found after the fewest of the list: after how many, and on which node.
struct Best {
    least: usize,
    events: BinaryHeap<(u32, NodeId)>,
}

impl Best {
    /// After how many of the list there are enough, as far as is known.
    fn until(&self) -> u32 {
        let worst = self.events.peek().filter(|_| self.events.len() >= self.least);
        worst.map_or(NOBODY, |(after, _)| *after)
    }

    /// Takes in a node on which so many may find a place at most once those `here` leave, who are in the order of the list.
    fn look_at(
        &mut self,
        census: &Census,
        id: NodeId,
        (loads, most): (&Amounts, u32),
        here: &[(u32, Lodger)],
    ) {
        let (mut freed, mut after) = (Amounts::new(), 0);
        let mut left = here.iter();
        for count in 1..=most {
            let fits = |freed: &Amounts| {
                let room = |resource| census.room(resource, id) + freed.get(resource);
                loads.iter().all(|(resource, amount)| room(resource) >= amount.times(count))
            };
            while !fits(&freed) {
                let Some((at, one)) = left.next() else { return };
                after = at + 1;
                if let Some(kind) = census.kind(one) {
                    freed.add(&kind.loads);
                }
            }
            self.events.push((after, id));
            if self.events.len() > self.least {
                self.events.pop();
            }
        }
    }

    fn all(self) -> Option<Vec<(u32, NodeId)>> {
        (self.events.len() >= self.least).then(|| self.events.into_sorted_vec())
    }
}
