//! Requests to move members: what annotations ask for, and what statuses remember of it.

use std::sync::Arc;

use kube::core::ObjectMeta;

use crate::api::asked::{self, MoveRequestState, MoveRequestStatus, RequestedMove};
use crate::api::labels;
use crate::model::asked::{Asked, AskedMove, AskedState, MoveRequest, Wanted};

/// Longest annotation that is remembered; what is longer cannot be understood anyway.
const MOST_CHARACTERS: usize = 1024;

fn annotation(metadata: &ObjectMeta, key: &str) -> Option<Arc<str>> {
    let text = metadata.annotations.as_ref()?.get(key)?;
    Some(text.chars().take(MOST_CHARACTERS).collect::<String>().into())
}

/// What the annotation of a workload asks for.
pub fn request(metadata: &ObjectMeta) -> Option<Arc<MoveRequest>> {
    let text = annotation(metadata, labels::MIGRATE)?;
    let what = match asked::parse(&text) {
        Ok((index, to)) => Ok(Wanted { index, to: to.map(Arc::from) }),
        Err(problem) => Err(Arc::from(problem)),
    };
    Some(Arc::new(MoveRequest { text, what }))
}

/// The recommendation that the annotation of a pool names.
pub fn apply(metadata: &ObjectMeta) -> Option<Arc<str>> {
    annotation(metadata, labels::APPLY)
}

/// What a status remembers of a request: the inverse of what `plan/asked` writes.
pub fn record(status: &MoveRequestStatus) -> Asked {
    let MoveRequestStatus { request, state, message, moves } = status;
    Asked {
        request: request.as_str().into(),
        state: match state {
            MoveRequestState::Moving => AskedState::Moving,
            MoveRequestState::Moved => AskedState::Moved,
            MoveRequestState::Refused => AskedState::Refused,
            MoveRequestState::Failed => AskedState::Failed,
        },
        moves: moves
            .iter()
            .map(|RequestedMove { uid, index, from, to }| AskedMove {
                workload: uid.as_str().into(),
                index: u32::try_from(*index).unwrap_or(0),
                from: from.as_str().into(),
                to: to.as_str().into(),
            })
            .collect(),
        refused: Vec::new(),
        said: Some(message.as_str().into()),
    }
}
