//! Moves that somebody asks for: each request is handled once, and is told what becomes of it.

use std::sync::Arc;

use crate::model::asked::{Asked, AskedMove, AskedState, MOST_ASKED, NotMoved, Wanted};
use crate::model::ids::{NodeId, PoolId, WorkloadId};
use crate::model::moves::{MemberId, Why};
use crate::model::refusal::NodeRejection;
use crate::model::resources::Amounts;
use crate::model::spec::Migration;
use crate::model::time::Time;
use crate::model::workloads::Phase;
use crate::model::world::World;

use super::admit::Desk;
use super::company::Company;
use super::decision::Decision;
use super::host_model::finds_its_cpu;
use super::migrate;
use super::place::{Horizon, Question, takes, why_not};

/// Carries out what annotations of workloads ask for.
pub fn carry_out(world: &mut World, desk: &mut Desk, now: Time, out: &mut Vec<Decision>) {
    for id in std::mem::take(&mut world.requested) {
        let Some(request) = world.workload(id).and_then(|workload| workload.spec.migrate.clone()) else {
            continue;
        };
        let (mut moves, mut refused) = (Vec::new(), Vec::new());
        match &request.what {
            Err(problem) => refused.push((0, NotMoved::Unreadable(Arc::clone(problem)))),
            Ok(wanted) => begin_all(world, desk, (id, wanted), now, (&mut moves, &mut refused, out)),
        }
        let is_there = |(_, why): &(u32, NotMoved)| matches!(why, NotMoved::IsThere(_));
        let state = if !moves.is_empty() {
            AskedState::Moving
        } else if !refused.is_empty() && refused.iter().all(is_there) {
            AskedState::Moved
        } else {
            AskedState::Refused
        };
        let asked = Asked { request: Arc::clone(&request.text), state, moves, refused, said: None };
        if let Some(workload) = world.workload_mut(id) {
            workload.asked = Some(Box::new(asked));
        }
        world.attend(id);
    }
}

/// What becomes of each member.
type Told<'a> = (&'a mut Vec<AskedMove>, &'a mut Vec<(u32, NotMoved)>, &'a mut Vec<Decision>);

fn begin_all(
    world: &mut World,
    desk: &mut Desk,
    (id, wanted): (WorkloadId, &Wanted),
    now: Time,
    (moves, refused, out): Told<'_>,
) {
    let Some(workload) = world.workload(id) else { return };
    let count = u32::try_from(workload.members.len()).unwrap_or(u32::MAX);
    let indexes = match wanted.index {
        _ if !matches!(workload.phase, Phase::Admitted { .. }) => {
            refused.push((wanted.index.unwrap_or(0), NotMoved::NotRunning));
            return;
        }
        Some(index) if index >= count => {
            refused.push((index, NotMoved::NoMember(count)));
            return;
        }
        Some(index) => index..index.saturating_add(1),
        None if count as usize > MOST_ASKED => {
            refused.push((0, NotMoved::TooMany(count)));
            return;
        }
        None => 0..count,
    };
    let uid = Arc::clone(&workload.spec.uid);
    for index in indexes {
        match begin(world, desk, (id, index), wanted.to.as_ref(), now, out) {
            Ok((from, to)) => moves.push(AskedMove { workload: Arc::clone(&uid), index, from, to }),
            Err(why) => refused.push((index, why)),
        }
    }
}

/// Begins to move one member: from where to where.
fn begin(
    world: &mut World,
    desk: &mut Desk,
    member: MemberId,
    to: Option<&Arc<str>>,
    now: Time,
    out: &mut Vec<Decision>,
) -> Result<(Arc<str>, Arc<str>), NotMoved> {
    let name = |world: &World, id| world.node(id).map(|node| Arc::clone(&node.name)).unwrap_or_default();
    let Some((workload, slot)) = world.workload(member.0).zip(world.member(member)) else {
        return Err(NotMoved::NotRunning);
    };
    let wants = |node: &Arc<str>| to.is_none_or(|to| to == node);
    if let Some(one) = slot.moving.as_deref().filter(|one| one.goes_on()) {
        // It was begun before: by an operator that ended, or for another reason.
        let (from, to) = (name(world, one.from), name(world, one.to));
        return if wants(&to) { Ok((from, to)) } else { Err(NotMoved::Moves(to)) };
    }
    match workload.spec.migration {
        Migration::Never => return Err(NotMoved::Never),
        Migration::Live if !world.is_live_migratable(member) => return Err(NotMoved::NotWhileItRuns),
        Migration::Live | Migration::Restart => {}
    }
    let Some(from) = world.node_of_member(slot) else { return Err(NotMoved::NotRunning) };
    // Before what a few seconds mend: a node that is not there is not there either then.
    let to = to.map(|to| named(world, to)).transpose()?;
    if !migrate::is_settled(world, member) {
        return Err(NotMoved::NotSettled);
    }
    let to = match to {
        Some(to) => check_node(world, desk, member, from, to)?,
        None => migrate::elsewhere(world, desk, member, from).map_err(NotMoved::NoPlace)?,
    };
    migrate::begin(world, member, to, Why::Asked, now, out);
    Ok((name(world, from), name(world, to)))
}

/// The node of that name, if there is one.
fn named(world: &World, to: &Arc<str>) -> Result<NodeId, NotMoved> {
    let is_there = |id: &NodeId| world.node(*id).is_some_and(|one| one.spec.is_some());
    world.node_ids.get(to).copied().filter(is_there).ok_or_else(|| NotMoved::NoNode(Arc::clone(to)))
}

/// The node, if it takes a member.
fn check_node(
    world: &World,
    desk: &mut Desk,
    member: MemberId,
    from: NodeId,
    id: NodeId,
) -> Result<NodeId, NotMoved> {
    let Some(node) = world.node(id) else { return Err(NotMoved::NotRunning) };
    let named = || Arc::clone(&node.name);
    if id == from {
        return Err(NotMoved::IsThere(named()));
    }
    let Some(workload) = world.workload(member.0) else { return Err(NotMoved::NotRunning) };
    let outside = || NotMoved::Outside(named(), Arc::clone(&workload.spec.pool));
    let Some(pool) = workload.pool.and_then(|pool| world.pool(pool)) else { return Err(outside()) };
    let (Some(shape), Some(set)) = (workload.shape, pool.nodes) else { return Err(outside()) };
    if !node.sets.contains(&set) {
        return Err(outside());
    }
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    let question = Question { shape, strategy, set, horizon: Horizon::Now };
    desk.work.nodes_scanned += 1;
    let company = Company::of(world, member.0, question);
    let around = company.as_ref().and_then(|company| company.refuses(id));
    let finds_its_cpu = finds_its_cpu(world, member, from, id);
    if around.is_none() && finds_its_cpu && takes(world, question, id, &Amounts::new()) {
        return Ok(id);
    }
    let why = why_not(world, question, id).or(around).unwrap_or(NodeRejection::NotSelected);
    let lacks = match why {
        NodeRejection::Insufficient(resource) | NodeRejection::TooSmall(resource) => {
            let asked = world.loads(workload).get(resource);
            Some((resource, node.room(resource), asked))
        }
        _ => None,
    };
    Err(NotMoved::NodeRefuses { node: named(), why, lacks })
}

/// Carries out a recommendation that the annotation of a pool names, once.
pub fn apply(world: &mut World, desk: &mut Desk, id: PoolId, now: Time, out: &mut Vec<Decision>) {
    let Some(pool) = world.pool(id) else { return };
    let before = pool.balance.asked.as_deref();
    let Some(wanted) = pool.spec.apply.clone() else {
        if before.is_some() {
            set(world, id, None);
        }
        return;
    };
    if let Some(before) = before.filter(|before| before.request == wanted) {
        let state = world.conclusion(before);
        if state != before.state {
            let after = Asked { state, said: None, ..before.clone() };
            set(world, id, Some(after));
        }
        return;
    }
    let found = pool.balance.recommendations.iter().position(|one| one.id == wanted);
    let refuse = |why| Asked {
        request: Arc::clone(&wanted),
        state: AskedState::Refused,
        moves: Vec::new(),
        refused: vec![(0, why)],
        said: None,
    };
    let Some(one) = found.and_then(|at| pool.balance.recommendations.get(at)).cloned() else {
        let standing = pool.balance.recommendations.iter().map(|one| Arc::clone(&one.id)).collect();
        let off = pool.spec.rebalancing.is_none();
        let why = if off { NotMoved::RecommendsNothing } else { NotMoved::NotRecommended(standing) };
        let refused = refuse(why);
        set(world, id, Some(refused));
        return;
    };
    let question = super::rebalance::question(world, one.member);
    desk.work.nodes_scanned += 1;
    let fits = question.is_some_and(|question| takes(world, question, one.node, &Amounts::new()));
    let finds_its_cpu = world
        .member(one.member)
        .and_then(|slot| world.node_of_member(slot))
        .is_none_or(|from| finds_its_cpu(world, one.member, from, one.node));
    if !one.stands(world) || !fits || !finds_its_cpu || !migrate::is_settled(world, one.member) {
        let refused = refuse(NotMoved::FitsNoMore(Arc::clone(&one.to)));
        set(world, id, Some(refused));
        return;
    }
    migrate::begin(world, one.member, one.node, Why::Rebalance, now, out);
    let moves = vec![AskedMove {
        workload: Arc::clone(&one.workload),
        index: one.index,
        from: Arc::clone(&one.from),
        to: Arc::clone(&one.to),
    }];
    let asked = Asked {
        request: Arc::clone(&wanted),
        state: AskedState::Moving,
        moves,
        refused: Vec::new(),
        said: None,
    };
    if let Some(pool) = world.pools.get_mut(id.0) {
        pool.balance.recommendations.retain(|other| other.id != one.id);
    }
    set(world, id, Some(asked));
}

fn set(world: &mut World, id: PoolId, asked: Option<Asked>) {
    if let Some(pool) = world.pools.get_mut(id.0) {
        pool.balance.asked = asked.map(Box::new);
        world.changed_pools.insert(id);
    }
}
