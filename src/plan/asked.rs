//! Requests to move members, in words and as a status shows them.

use super::reason::{self, Refused};
use super::rejection;
use crate::api::asked::{MoveRequestState, MoveRequestStatus, RequestedMove};
use crate::model::asked::{Asked, AskedMove, AskedState, MOST_ASKED, NotMoved};
use crate::model::refusal::NodeTally;
use crate::model::resources::ResourceTable;

/// Members that are told apart.
const MOST_TOLD: usize = 3;
/// Longest message that the schema allows.
const MOST_CHARACTERS: usize = 4096;

/// A request as a status shows it.
pub fn status(asked: &Asked, of: Refused<'_>, table: &ResourceTable) -> MoveRequestStatus {
    let Asked { request, state, moves, refused: _, said } = asked;
    let message = said.as_ref().map_or_else(|| words(asked, of, table), ToString::to_string);
    MoveRequestStatus {
        request: request.to_string(),
        state: match state {
            AskedState::Moving => MoveRequestState::Moving,
            AskedState::Moved => MoveRequestState::Moved,
            AskedState::Refused => MoveRequestState::Refused,
            AskedState::Failed => MoveRequestState::Failed,
        },
        message: message.chars().take(MOST_CHARACTERS).collect(),
        moves: moves
            .iter()
            .take(MOST_ASKED)
            .map(|AskedMove { workload, index, from, to }| RequestedMove {
                uid: workload.to_string(),
                index: i32::try_from(*index).unwrap_or(i32::MAX),
                from: from.to_string(),
                to: to.to_string(),
            })
            .collect(),
    }
}

/// Some of them in a row, and how many more there are.
fn listed(all: Vec<String>) -> String {
    let more = all.len().saturating_sub(MOST_TOLD);
    let mut shown: Vec<String> = all.into_iter().take(MOST_TOLD).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join("; ")
}

fn words(asked: &Asked, of: Refused<'_>, table: &ResourceTable) -> String {
    let each = asked.moves.iter().map(|AskedMove { workload: _, index, from, to }| match asked.state {
        AskedState::Moving => format!("member {index} moves from {from} to {to}"),
        AskedState::Moved => format!("member {index} has moved from {from} to {to}"),
        AskedState::Failed | AskedState::Refused => format!("member {index} was to move from {from} to {to}"),
    });
    let mut parts = Vec::new();
    let moves = listed(each.collect());
    if asked.state == AskedState::Failed {
        parts.push(format!(
            "not all have moved ({moves}): the events of the workload say why; ask again to try again"
        ));
    } else if !moves.is_empty() {
        parts.push(moves);
    }
    let refused = asked.refused.iter().map(|(index, why)| {
        let why_not = why_not(why, of, table);
        match why {
            NotMoved::Unreadable(_)
            | NotMoved::TooMany(_)
            | NotMoved::NotRecommended(_)
            | NotMoved::RecommendsNothing => why_not,
            _ => format!("member {index} does not move: {why_not}"),
        }
    });
    let refused = listed(refused.collect());
    if !refused.is_empty() {
        parts.push(refused);
    }
    parts.join("; ")
}

/// Why a member does not move, in a sentence.
fn why_not(why: &NotMoved, of: Refused<'_>, table: &ResourceTable) -> String {
    match why {
        NotMoved::Unreadable(problem) => problem.to_string(),
        NotMoved::NoMember(0) => "the workload has no members".to_owned(),
        NotMoved::NoMember(count) => {
            format!("there is no such member: the workload has index 0 to {}", count.saturating_sub(1))
        }
        NotMoved::TooMany(count) => {
            format!("the workload has {count} members, and one request moves {MOST_ASKED} at most: name one by index=N")
        }
        NotMoved::NotRunning => "it does not run".to_owned(),
        NotMoved::NotSettled => {
            "it starts, ends or arrives from a move just now; ask again in a few seconds".to_owned()
        }
        NotMoved::Moves(to) => format!("it moves already, to {to}"),
        NotMoved::Never => "migration of its workload is Never".to_owned(),
        NotMoved::NotWhileItRuns => {
            "KubeVirt does not call the virtual machine LiveMigratable; migration: Restart lets it be stopped and \
             started on another node"
                .to_owned()
        }
        NotMoved::IsThere(node) => format!("it is on {node} already"),
        NotMoved::NoNode(node) => format!("there is no node {node}"),
        NotMoved::Outside(node, pool) => format!("node {node} does not belong to pool {pool:?}"),
        NotMoved::NodeRefuses { node, why: _, lacks: Some((resource, free, asked)) } => {
            let name = table.name(*resource);
            let say = |amount| reason::friendly_amount(name, amount);
            format!("{node} has too little {name} left: {} free, {} asked", say(*free), say(*asked))
        }
        NotMoved::NodeRefuses { node, why, lacks: None } => {
            let tally = NodeTally { total: 1, rejected: [(*why, 1)].into(), placed: 0, needed: 1 };
            let words = rejection::nodes(&tally, table).rejected.first().map(|one| one.reason.clone());
            format!("{node} does not take it ({})", words.unwrap_or_default())
        }
        NotMoved::NoPlace(refusal) => {
            format!("no other node takes it now ({})", reason::message(refusal, of, table))
        }
        NotMoved::NotRecommended(standing) if standing.is_empty() => {
            "the pool recommends no move of that id: it was made already, or is of no use any more; nothing is \
             recommended now"
                .to_owned()
        }
        NotMoved::NotRecommended(standing) => format!(
            "the pool recommends no move of that id: it was made already, or is of no use any more; recommended now: {}",
            standing.join(", ")
        ),
        NotMoved::RecommendsNothing => {
            "the pool recommends nothing: set rebalancing.mode to Recommend".to_owned()
        }
        NotMoved::Refused(said) => format!("its migration is refused ({said})"),
        NotMoved::FitsNoMore(node) => format!("it was recommended, and {node} does not take it any more"),
    }
}
