//! What the core decides: a pure function of the world and of the time it is given.
//!
//! The same world and time give the same decisions. Each decision is taken in the world at once, as assumed;
//! what is seen afterwards confirms it or takes it back.

pub mod admit;
pub mod asked;
pub mod backfill;
pub mod company;
pub mod decision;
pub mod explain;
pub mod fragmentation;
pub mod gate;
pub mod give_way;
pub mod grow;
pub mod host_model;
pub mod lifecycle;
pub mod machines;
pub mod migrate;
mod news;
pub mod nodes;
pub mod optimal;
pub mod order;
pub mod place;
pub mod quota;
pub mod rebalance;
pub mod retry;

#[cfg(test)]
mod batches;
#[cfg(test)]
mod counts;
#[cfg(test)]
mod evening;
#[cfg(test)]
mod eviction;
#[cfg(test)]
mod making_room;
#[cfg(test)]
pub(crate) mod properties;
#[cfg(test)]
pub(crate) mod runs;
#[cfg(test)]
mod set_aside;
#[cfg(test)]
pub(crate) mod testing;

use crate::model::time::Time;
use crate::model::world::World;

use admit::Desk;
use decision::Decided;
use place::Placer;

/// Decides everything that can be decided now.
///
/// Nothing is decided before the world is settled (its lists are read). It cannot fail: what does not fit is
/// refused with a reason, which the world's reports show.
pub fn decide(world: &mut World, now: Time) -> Decided {
    world.journal.clear();
    decide_with(world, &mut Placer::default(), now)
}

/// The same, with rankings of nodes that were kept since the last decision: for those who ask again and again, and who know that since
/// then only pods and workloads have come and gone. Whoever keeps rankings clears the world's journal only with them.
pub(crate) fn decide_with(world: &mut World, placer: &mut Placer, now: Time) -> Decided {
    if !world.is_settled() {
        return Decided::default();
    }
    let mut desk = Desk { placer: std::mem::take(placer), ..Desk::default() };
    let mut decisions = Vec::new();
    let out = &mut decisions;
    world.link();
    world.heed_peers();
    world.regroup();
    let node_due = nodes::give_up_lost(world, now, out);
    let pod_due = nodes::drop_strays(world, now, out);
    lifecycle::attend(world, now, out);
    machines::bind(world, out);
    machines::arrive(world, out);
    world.grant_all();
    admit::replay(world, out);
    admit::replace_all(world, &mut desk, now, out);
    asked::carry_out(world, &mut desk, now, out);
    machines::welcome(world, &mut desk, now);
    let drain_due = migrate::drain_all(world, &mut desk, now, out);
    give_way::seat_nominees(world, &mut desk, now, out);
    lifecycle::attend(world, now, out);
    optimal::give_up(world, now);
    admit::admit_all(world, &mut desk, now, out);
    let mut questions = Vec::new();
    while optimal::ask_all(world, &mut questions, now) {
        admit::admit_all(world, &mut desk, now, out);
    }
    optimal::close(world);
    let answer_due = optimal::next_answer(world);
    lifecycle::attend(world, now, out);
    grow::grow_all(world, &mut desk, now, out);
    let balance_due = rebalance::rebalance_all(world, &mut desk, now, out);
    let timer = world.timers.first().map(|(at, _)| *at);
    let hold_due = admit::next_hold(world, now);
    let impatience = give_way::next_impatience(world, now);
    let wake_at = [node_due, pod_due, timer, hold_due, impatience, drain_due, balance_due, answer_due]
        .into_iter()
        .flatten()
        .min();
    *placer = desk.placer;
    placer.keep();
    Decided { decisions, wake_at, work: desk.work, questions }
}
