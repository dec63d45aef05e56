//! Nodes over time: dedicated pools, drained nodes, evening out, and members that move.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::rules;

/// Whether pods of others may run on a root's nodes.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolType {
    /// They may.
    #[default]
    Shared,
    /// A taint keeps them away.
    Dedicated,
}

/// How uneven use of a pool's nodes is evened out.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.mode != 'Off' || !has(self.threshold)")
        .message("threshold: leave it away, or set mode to Recommend or Automatic: Off looks at nothing"),
    validation = Rule::new("self.mode == 'Automatic' || !has(self.maxConcurrent)")
        .message("maxConcurrent: leave it away, or set mode to Automatic: nothing else makes moves"),
    validation = Rule::new("self.mode == 'Automatic' || !has(self.cooldown)")
        .message("cooldown: leave it away, or set mode to Automatic: nothing else makes moves"),
)]
#[serde(rename_all = "camelCase")]
pub struct PoolRebalancing {
    /// Off: nothing is done. Recommend: moves are proposed in status.recommendations. Automatic: they are made,
    /// of members of workloads that keep running and whose migration is not Never.
    #[serde(default)]
    pub mode: RebalancingMode,

    /// How far the most and the least used node may be apart, in percent of what they offer: 1 to 100. Absent: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub threshold: Option<i32>,

    /// Most members that move at a time, for Automatic: 1 to 100. Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent: Option<i32>,

    /// How long to wait after a move before the next one begins, for Automatic; a member that was moved rests as long,
    /// and twice as long after each move that failed. 1s to 24h. Absent: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::between("1s", "24h"))]
    pub cooldown: Option<Duration>,
}

/// Spread of utilisation that is left alone where the pool does not say, in percent.
pub const DEFAULT_THRESHOLD: i32 = 20;
/// Moves at a time where the pool does not say.
pub const DEFAULT_MAX_CONCURRENT: i32 = 1;
/// Between two moves where the pool does not say, in seconds.
pub const DEFAULT_COOLDOWN_SECONDS: i64 = 300;

/// What is done about uneven use of nodes.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebalancingMode {
    /// Nothing.
    #[default]
    Off,
    /// Moves are proposed.
    Recommend,
    /// Moves are made.
    Automatic,
}

/// The nodes of a pool that are drained, counted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// How many nodes are drained.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub nodes: i32,

    /// Members that are still on them.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub members: i32,

    /// Of these, members that no other node takes, or that may not move: they stay until that changes.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub staying: i32,
}

/// A move that would even out the use of the nodes.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// The same for as long as it stands; a later one has another. Annotate the pool with
    /// weir.dev/apply-recommendation: ID to carry it out.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,

    /// The workload, as namespace/name.
    #[schemars(length(min = 1, max = 320))]
    pub workload: String,

    /// Index of the member.
    #[schemars(range(min = 0))]
    pub index: i32,

    /// The node that it is on.
    #[schemars(length(min = 1, max = 253))]
    pub from: String,

    /// The node that it would move to.
    #[schemars(length(min = 1, max = 253))]
    pub to: String,

    /// Why, in a sentence.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,

    /// By how many percent points the more used of the two nodes would then be used less.
    #[schemars(range(min = 0, max = 100))]
    pub gain: i32,
}

/// Whether members are moved while their workload runs.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Migration {
    /// They are, by starting them again elsewhere.
    Restart,
    /// They are while they run on, by KubeVirt: virtual machines only.
    Live,
    /// They are not.
    Never,
}

/// A move of one member to another node.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// The node that it moves to.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,

    /// Name of its pod there; of a virtual machine that runs on, of its VirtualMachineInstanceMigration,
    /// or of itself, where others have begun it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Why: Drain, Rebalance, MakeRoom, Asked or Others.
    pub cause: MigrationCause,
}

/// Why a member moves.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MigrationCause {
    /// Its node is drained.
    Drain,
    /// Its pool evens out the use of its nodes.
    Rebalance,
    /// Another workload waits for the room that it takes.
    MakeRoom,
    /// The annotation weir.dev/migrate asks for it.
    Asked,
    /// Others have begun it, such as virtctl migrate or an eviction.
    Others,
}
