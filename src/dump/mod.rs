//! A world as text: what `/debug/world` tells and `weir replay` reads again.
//!
//! A dump is JSON: a head that says who wrote it and when, and the state, which is the [`World`] itself with every field
//! that decisions depend on, what was decided just before, and how long workloads are expected to run. What is read decides as what was
//! written. A sum over the state finds what was damaged, and what another build would read otherwise.

mod names;
#[cfg(test)]
mod tests;
mod veil;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decide::decision::Decision;
use crate::decide::rebalance;
use crate::model::time::{Span, Time};
use crate::model::world::World;

pub use names::Pseudonyms;

/// What a dump looks like: another number whenever a version writes worlds that an earlier one cannot read, or the other way round.
pub const FORMAT: u32 = 1;
/// This version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, where whoever built it has set `WEIR_COMMIT`.
pub const COMMIT: Option<&str> = option_env!("WEIR_COMMIT");
/// So many of the last decisions are remembered, and so many placements in them, but for those of the last one.
const MOST_DECIDED: usize = 256;
const MOST_PLACED: usize = 20_000;

/// Who wrote a dump, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// [`VERSION`] of the writer.
    pub version: String,
    /// [`COMMIT`] of the writer.
    pub commit: Option<String>,
    /// When it was taken.
    pub at: Time,
    /// The operator that it was taken of, where that is told.
    pub operator: Option<String>,
    /// Whether names are pseudonyms.
    pub anonymised: bool,
    /// Over the state as this program writes it.
    pub sum: String,
}

/// A decision that was made before the dump was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// When.
    pub at: Time,
    /// The workload that it is about (`namespace/name`), where it was still known.
    pub title: Option<Arc<str>>,
    /// How long it had waited when it was admitted.
    pub waited: Option<Span>,
    /// What was decided.
    pub decision: Decision,
}

/// How long a workload has waited that is admitted.
pub fn waited(decision: &Decision, world: &World, at: Time) -> Option<Span> {
    match decision {
        Decision::Admit { workload, .. } => world.waited_since(workload).map(|since| at - since),
        _ => None,
    }
}

/// The last decisions of a term: older ones are forgotten.
#[derive(Clone, Debug, Default)]
pub struct Lately {
    decided: VecDeque<Decided>,
    placed: usize,
}

/// How many members a decision places: what it takes to remember it.
fn places(decision: &Decision) -> usize {
    match decision {
        Decision::Admit { placements, .. } | Decision::Place { placements, .. } => placements.len(),
        _ => 0,
    }
}

impl Lately {
    /// Remembers a decision that was made of a world.
    pub fn note(&mut self, at: Time, title: Option<Arc<str>>, decision: &Decision, world: &World) {
        let waited = waited(decision, world, at);
        self.placed += places(decision);
        while (self.decided.len() >= MOST_DECIDED || self.placed > MOST_PLACED)
            && let Some(first) = self.decided.pop_front()
        {
            self.placed -= places(&first.decision);
        }
        self.decided.push_back(Decided { at, title, waited, decision: decision.clone() });
    }

    /// Those that are remembered, oldest first.
    pub fn all(&self) -> Vec<Decided> {
        self.decided.iter().cloned().collect()
    }
}

/// What is in a dump.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// What was decided before, oldest first.
    pub decided: Vec<Decided>,
    /// How long workloads are expected to run by what was seen of others like them, by UID.
    pub durations: BTreeMap<Arc<str>, Span>,
    /// Everything that is decided on.
    pub world: World,
}

/// A dump.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Who wrote it, and when.
    pub head: Head,
    /// What is in it.
    pub state: State,
}

/// Why a text is no dump that can be used.
#[derive(Debug, Error)]
pub enum Unusable {
    /// It is something else.
    #[error(
        "this is no dump of Weir: it is no JSON object with the field weirDump; take one from /debug/world of the operator that leads"
    )]
    NoDump,
    /// It ends too early.
    #[error("the dump ends in line {0}, column {1}, before it is complete: fetch it again, and let it end")]
    CutOff(usize, usize),
    /// It is no JSON.
    #[error("this is no dump of Weir, or a damaged one: {0}")]
    NoJson(serde_json::Error),
    /// Its head is not what a head is.
    #[error("the dump says of itself what no weir says: {0}; fetch it again, and do not edit it")]
    Head(serde_json::Error),
    /// Another version wrote it, which writes otherwise.
    #[error("{}", format_differs(.0))]
    OtherFormat(Head),
    /// Another version wrote it, which may decide otherwise.
    #[error(
        "the dump was written by {}, and this is {}, which may decide otherwise: replay it with that version, or see what this one would decide with --any-version",
        writer(&.0.version, .0.commit.as_deref()), this_one()
    )]
    OtherVersion(Head),
    /// Its state cannot be read.
    #[error(
        "the dump cannot be read at {place}: {problem}. It is damaged, or was written by another build ({}) than this one ({}): fetch it again, or replay it with the build that wrote it",
        writer(&head.version, head.commit.as_deref()), this_one()
    )]
    State {
        /// Its head.
        head: Box<Head>,
        /// Where in it.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// What is read is not what was written.
    #[error(
        "the dump does not hold what was written (its sum is {found}, and {} is told): it is damaged or was edited, or was written by another build ({}) than this one ({}): fetch it again, or replay it with the build that wrote it",
        head.sum, writer(&head.version, head.commit.as_deref()), this_one()
    )]
    Sum {
        /// Its head.
        head: Box<Head>,
        /// The sum of what was read.
        found: String,
    },
}

/// A build in words.
pub fn writer(version: &str, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => format!("weir {version}, commit {commit}"),
        None => format!("weir {version}"),
    }
}

/// This build in words.
pub fn this_one() -> String {
    writer(VERSION, COMMIT)
}

fn format_differs(head: &Head) -> String {
    let (wrote, this) = (writer(&head.version, head.commit.as_deref()), this_one());
    let format = head.format;
    if head.version == VERSION {
        return format!(
            "the dump has format {format}, and this build ({this}) reads format {FORMAT}: replay it with the build that wrote it ({wrote})"
        );
    }
    format!(
        "the dump was written by {wrote} in format {format}, and this is {this}, which reads format {FORMAT}: replay it with {wrote}, or take a new dump of an operator that is {this}"
    )
}

/// FNV-1a, 64 bits: finds accidents, and is no signature.
fn sum_of(bytes: &[u8]) -> String {
    let mix = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

#[derive(Deserialize)]
struct Whole {
    #[serde(rename = "weirDump")]
    _head: serde::de::IgnoredAny,
    state: State,
}

impl Dump {
    /// A dump of a state at a time.
    pub fn new(state: State, at: Time, operator: Option<String>) -> Self {
        let head = Head {
            format: FORMAT,
            version: VERSION.to_owned(),
            commit: COMMIT.map(ToOwned::to_owned),
            at,
            operator,
            anonymised: false,
            sum: String::new(),
        };
        Self { head, state }
    }

    /// As it is told: one line of JSON.
    ///
    /// # Errors
    /// Where something cannot be written as JSON, which nothing of a world is.
    pub fn text(&self) -> serde_json::Result<String> {
        let state = serde_json::to_string(&self.state)?;
        let head = Head { sum: sum_of(state.as_bytes()), ..self.head.clone() };
        Ok(format!("{{\"weirDump\":{},\"state\":{state}}}\n", serde_json::to_string(&head)?))
    }

    /// Reads it again. With `any_version` also what another version wrote that looks the same.
    ///
    /// # Errors
    /// Why it cannot be used, and what to do about it.
    pub fn read(text: &str, any_version: bool) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Begins {
            #[serde(rename = "weirDump")]
            head: Option<serde_json::Value>,
        }
        let begins: Begins = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Eof if text.contains("\"weirDump\"") => {
                Unusable::CutOff(error.line(), error.column())
            }
            serde_json::error::Category::Data => Unusable::NoDump,
            _ if text.contains("\"weirDump\"") => Unusable::NoJson(error),
            _ => Unusable::NoDump,
        })?;
        let head = begins.head.filter(serde_json::Value::is_object).ok_or(Unusable::NoDump)?;
        // A later format may have another head; that it is later is what matters then.
        if let Some(format) = head["format"].as_u64().filter(|format| *format != u64::from(FORMAT)) {
            let word = |field: &str| head[field].as_str().map(ToOwned::to_owned);
            return Err(Unusable::OtherFormat(Head {
                format: u32::try_from(format).unwrap_or(u32::MAX),
                version: word("version").unwrap_or_else(|| "of an unknown version".to_owned()),
                commit: word("commit"),
                at: Time::default(),
                operator: None,
                anonymised: false,
                sum: String::new(),
            }));
        }
        let head: Head = serde_json::from_value(head).map_err(Unusable::Head)?;
        if head.version != VERSION && !any_version {
            return Err(Unusable::OtherVersion(head));
        }
        let read = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text));
        let Whole { _head: _, state } = read.map_err(|error| Unusable::State {
            head: Box::new(head.clone()),
            place: error.path().to_string(),
            problem: error.inner().to_string(),
        })?;
        let found = serde_json::to_vec(&state).map(|bytes| sum_of(&bytes)).map_err(Unusable::NoJson)?;
        if found != head.sum {
            return Err(Unusable::Sum { head: Box::new(head), found });
        }
        Ok(Self { head, state })
    }

    /// The same with pseudonyms in place of all that users have named, and the pseudonyms that were chosen. It decides the same.
    ///
    /// # Errors
    /// Where something cannot be written as JSON, which nothing of a world is.
    pub fn anonymised(&self) -> serde_json::Result<(Self, Pseudonyms)> {
        let names = Pseudonyms::of(&self.state)?;
        let mut state: State = serde_json::from_slice(&names.applied(&self.state)?)?;
        rebalance::identify_anew(&mut state.world);
        let head = Head { operator: None, anonymised: true, ..self.head.clone() };
        Ok((Self { head, state }, names))
    }
}
