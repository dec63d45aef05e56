//! A decision in a sentence.

use std::collections::BTreeMap;

use crate::cli::say::{self, counted};
use crate::decide::decision::{Decision, DropReason, Obstacle, Placement, Way};
use crate::model::moves::Why;
use crate::model::spec::{StopReason, Strategy};
use crate::model::time::Span;
use crate::model::workloads::Workload;
use crate::model::world::World;
use crate::plan::reason::{of_finish, of_stop};

/// So many nodes are named.
const MOST_NODES: usize = 8;

/// What is done and why; `waited` is how long a workload that is admitted had waited.
pub fn sentence(decision: &Decision, world: &World, waited: Option<Span>) -> String {
    match decision {
        Decision::Admit { pool, placements, workload, .. } => {
            let known = world.workload_ids.get(workload).and_then(|id| world.workload(*id));
            let turn = known.map_or(String::new(), |one| turn(one, world, waited));
            format!("{} in pool {pool}{turn}", placed(placements))
        }
        Decision::Place { placements, .. } => {
            format!("{}, since they have no place (any more)", placed(placements))
        }
        Decision::Stop { reason, for_whom, .. } => stopped(*reason, for_whom.as_deref()),
        Decision::Shrink { to, for_whom, .. } => {
            format!("members from index {to} on leave{}", for_whom_of(for_whom.as_deref()))
        }
        Decision::Bind { member, node, .. } => {
            format!("the pod of member {}'s machine is bound to {node}", member.index)
        }
        Decision::BindTarget { member, node, .. } => {
            format!("the pod that member {}'s machine moves to is bound to {node}", member.index)
        }
        Decision::Arrive { member, node, .. } => {
            format!("the machine of member {} has moved to {node}, and is started there again", member.index)
        }
        Decision::Drop { member, reason, .. } => {
            format!(
                "the pod of member {}, attempt {}, is deleted: {}",
                member.index,
                member.attempt,
                dropped(*reason)
            )
        }
        Decision::Move { placement, way, .. } => format!("member {} moves {}", placement.index, moved(way)),
        Decision::Migrate { member, way, .. } => {
            format!("the machine of member {} moves while it runs, {}", member.index, moved(way))
        }
        Decision::Leave { member, way, ready, .. } => {
            let next = if *ready { "its next pod is ready" } else { "its next pod starts then" };
            format!("the pod of member {} leaves, and {next}: it moves {}", member.index, moved(way))
        }
        Decision::GiveUpMove { member, way, because, .. } => {
            let why = match because {
                Obstacle::NotReady => "what is there was not ready in time",
                Obstacle::Ending => "the member is told to end",
                Obstacle::Unfit => {
                    "its pod asks for labels that the node does not have, or for volumes that are not reached from there"
                }
            };
            format!("member {} stays on {}, and does not move to {}: {why}", member.index, way.from, way.to)
        }
        Decision::Finish { reason, .. } => format!("it has ended: {}", of_finish(*reason).as_str()),
        Decision::Expire { .. } => "it is deleted, since its ttlAfterFinished is over".to_owned(),
    }
}

/// Members on nodes: `2 members on a (2)`.
fn placed(placements: &[Placement]) -> String {
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    for placement in placements {
        *nodes.entry(&placement.node).or_default() += 1;
    }
    let one = |(node, count): (&&str, &usize)| {
        if *count == 1 { (*node).to_owned() } else { format!("{node} ({count})") }
    };
    let mut named: Vec<String> = nodes.iter().take(MOST_NODES).map(one).collect();
    if nodes.len() > MOST_NODES {
        named.push(format!("{} more", counted(nodes.len() - MOST_NODES, "node")));
    }
    format!("{} on {}", counted(placements.len(), "member"), named.join(", "))
}

/// Why it was its turn, and why there.
fn turn(workload: &Workload, world: &World, waited: Option<Span>) -> String {
    let Some(pool) = workload.pool.and_then(|pool| world.pool(pool)) else { return String::new() };
    let waited = waited.map_or(String::new(), |waited| format!(", waited {}", say::span(waited)));
    let strategy = workload.spec.strategy.unwrap_or(pool.spec.strategy);
    let strategy = match strategy {
        Strategy::BinPack => "BinPack",
        Strategy::Spread => "Spread",
        Strategy::Balanced => "Balanced",
        Strategy::LeastFragmentation => "LeastFragmentation",
        Strategy::Optimal => "Optimal",
    };
    format!(
        ": its turn by {:?}, {:?} (priority {}{waited}); nodes by {strategy}",
        pool.spec.policy, pool.spec.queueing, workload.spec.priority
    )
}

fn for_whom_of(whom: Option<&str>) -> String {
    whom.map_or(String::new(), |whom| format!(", for {whom}"))
}

fn stopped(reason: StopReason, whom: Option<&str>) -> String {
    let what = if reason.evicts() { "it is evicted" } else { "its members are stopped" };
    let meaning = of_stop(reason).meaning();
    let word = match reason {
        StopReason::Deleted => "Deleted: the workload is being deleted".to_owned(),
        _ => format!("{}: {}", of_stop(reason).as_str(), meaning.trim_end_matches('.')),
    };
    format!("{what}{}: {word}", for_whom_of(whom))
}

fn dropped(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Refused => "the kubelet refused it",
        DropReason::NodeLost => "its node is gone or was unreachable for too long",
        DropReason::Unbound => "it was not bound in time",
        DropReason::Superseded => "another pod of its member has taken its place",
        DropReason::Unwanted => "its workload does not want it",
        DropReason::MoveGivenUp => "its member does not move any more",
        DropReason::NotSelected => "it asks for labels that its node does not have",
        DropReason::VolumeElsewhere => "its volume cannot be made for its node, or is not reached from there",
    }
}

fn moved(way: &Way) -> String {
    let Way { from, to, why, for_whom } = way;
    let why = match why {
        Why::Drain => "its node is drained",
        Why::Rebalance => "nodes are used unevenly",
        Why::MakeRoom => "it makes room",
        Why::Asked => "somebody has asked for it",
        Why::Others => "others have begun it",
    };
    format!("from {from} to {to}: {why}{}", for_whom_of(for_whom.as_deref()))
}
