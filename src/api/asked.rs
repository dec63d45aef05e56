//! Moves that somebody asks for: the annotations that ask, and what a status says of them.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a request to move members.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveRequestStatus {
    /// The annotation that this is about, word for word. It is handled once: another one is another request.
    #[schemars(length(max = 1024))]
    pub request: String,

    /// Moving, Moved, Refused or Failed.
    pub state: MoveRequestState,

    /// What moves from where to where, and what does not and why.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,

    /// The moves that were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub moves: Vec<RequestedMove>,
}

/// How far a request has come.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MoveRequestState {
    /// Members move.
    Moving,
    /// They have moved.
    Moved,
    /// Nothing moves: the message says why.
    Refused,
    /// A move was begun and did not come to its end.
    Failed,
}

/// One move that was asked for.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestedMove {
    /// UID of the workload.
    #[schemars(length(max = 128))]
    pub uid: String,

    /// Index of the member.
    #[schemars(range(min = 0))]
    pub index: i32,

    /// The node that it was on.
    #[schemars(length(max = 253))]
    pub from: String,

    /// The node that it moves to.
    #[schemars(length(max = 253))]
    pub to: String,
}

/// What the annotation `weir.dev/migrate` says: which member, and to which node.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn parse(text: &str) -> Result<(Option<u32>, Option<String>), String> {
    let (mut index, mut to) = (None, None);
    let words = text.split([',', ' ', ';', '\n']).map(str::trim).filter(|word| !word.is_empty());
    for word in words {
        match word.split_once('=') {
            Some(("index", number)) => {
                let number = number.parse().map_err(|_| {
                    format!(
                        "weir.dev/migrate: index={number} is no index of a member: write a number from 0 on"
                    )
                })?;
                index = Some(number);
            }
            Some(("to", node)) if !node.is_empty() => to = Some(node.to_owned()),
            // So that one that asks the same again is another one.
            Some(("at", _)) => {}
            _ if word == "true" => {}
            _ => {
                return Err(format!(
                    "weir.dev/migrate: {word:?} is not understood: write to=NODE, index=N, both with a comma between, or true"
                ));
            }
        }
    }
    Ok((index, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_understood_as_people_write_them() {
        for (text, index, to) in [
            ("true", None, None),
            ("", None, None),
            ("to=node-b", None, Some("node-b")),
            ("index=3", Some(3), None),
            ("to=node-b,index=3", Some(3), Some("node-b")),
            ("index=3 to=node-b at=2026-11-24T23:55:12Z", Some(3), Some("node-b")),
        ] {
            assert_eq!(parse(text), Ok((index, to.map(str::to_owned))), "{text}");
        }
        for text in ["node-b", "index=x", "index=-1", "to=", "from=a"] {
            assert!(parse(text).unwrap_err().contains("write"), "{text}");
        }
    }
}
