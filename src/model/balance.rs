//! What a pool remembers of evening out its nodes.

use std::sync::Arc;

use super::asked::Asked;
use super::ids::NodeId;
use super::moves::MemberId;
use super::time::{Span, Time};
use super::world::World;

/// Whether uneven use of a pool's nodes is evened out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Rebalancing {
    /// Whether the moves are made, or only proposed.
    pub automatic: bool,
    /// Spread of the nodes' utilisation that is left alone, in percent: 1..=100.
    pub threshold: u32,
    /// Most moves at a time; at least 1.
    pub most: u32,
    /// Between two moves, and between two of one member.
    pub cooldown: Span,
}

/// A move that would even out the use of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Recommendation {
    /// The same for as long as it stands, and another for the next one.
    pub id: Arc<str>,
    /// The member.
    pub member: MemberId,
    /// Where it is.
    pub source: NodeId,
    /// Where it would go.
    pub node: NodeId,
    /// UID of its workload.
    pub workload: Arc<str>,
    /// `namespace/name` of its workload.
    pub title: Arc<str>,
    /// Its index.
    pub index: u32,
    /// Name of the node that it is on.
    pub from: Arc<str>,
    /// Name of the node that it would go to.
    pub to: Arc<str>,
    /// By how many percent points the more used of the two would be used less.
    pub gain: u32,
    /// How much the two are used, in percent.
    pub used: (u32, u32),
}

impl Recommendation {
    /// Whether it is still about who and what it was made for: the ids of what is gone are given to others.
    pub fn stands(&self, world: &World) -> bool {
        world.workload(self.member.0).is_some_and(|workload| workload.spec.uid == self.workload)
            && world.node(self.node).is_some_and(|node| node.name == self.to)
    }
}

/// How far evening out has come.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "controller", derive(serde::Serialize, serde::Deserialize))]
pub struct Balance {
    /// When it was reckoned last, at which count of changes to nodes, by which rules.
    pub reckoned: Option<(Time, u64, Rebalancing)>,
    /// What came of it, the first first.
    pub recommendations: Vec<Recommendation>,
    /// When moves were begun last.
    pub moved_at: Option<Time>,
    /// What became of the last recommendation that somebody asked to carry out.
    pub asked: Option<Box<Asked>>,
}
