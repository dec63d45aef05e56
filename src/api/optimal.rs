//! What a pool says of the strategy Optimal, and what came of it.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::rules;

/// What the solver strives for, and for how long.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OptimalPlacement {
    /// How much each aim counts, relative to the others.
    #[serde(default)]
    pub weights: OptimalWeights,

    /// How long to look for an answer to one batch; the best one known by then is taken. Meanwhile the pool admits
    /// nothing new. Absent: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::between("50ms", "60s"))]
    pub time_limit: Option<Duration>,
}

/// How much each aim counts: each is a share between 0 and 1 of what there is, times its weight.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.utilization > 0 || self.throughput > 0 || self.waitingTime > 0")
    .message("weights: write more than 0 for utilization, throughput or waitingTime: energy alone would admit nothing"))]
#[serde(rename_all = "camelCase")]
pub struct OptimalWeights {
    /// The share of what the nodes offer that is put to use, in the mean over the metered resources.
    #[serde(default = "default_utilization")]
    #[schemars(range(min = 0, max = 1000))]
    pub utilization: i32,

    /// The share of the waiting workloads that is admitted.
    #[serde(default = "default_throughput")]
    #[schemars(range(min = 0, max = 1000))]
    pub throughput: i32,

    /// The share of all time waited that those have waited who are admitted.
    #[serde(default = "default_waiting_time")]
    #[schemars(range(min = 0, max = 1000))]
    pub waiting_time: i32,

    /// Against: the share of the nodes that are put to use though nothing is on them.
    #[serde(default = "default_energy")]
    #[schemars(range(min = 0, max = 1000))]
    pub energy: i32,
}

fn default_utilization() -> i32 {
    100
}

fn default_throughput() -> i32 {
    10
}

fn default_waiting_time() -> i32 {
    10
}

fn default_energy() -> i32 {
    1
}

impl Default for OptimalWeights {
    fn default() -> Self {
        Self {
            utilization: default_utilization(),
            throughput: default_throughput(),
            waiting_time: default_waiting_time(),
            energy: default_energy(),
        }
    }
}

/// What came of the last batch of a pool whose strategy is Optimal.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OptimalStatus {
    /// Workloads that waited, of the highest priority that did.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub considered: i32,

    /// Of these, those that the answer admits.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub admitted: i32,

    /// By how much the answer may miss the best, in percent of the bound, such as 0.84%. Absent where no bound was
    /// found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub gap: Option<String>,

    /// By how much the answer is better than what Balanced would have reached, such as 3.10%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub gain: Option<String>,

    /// How the search ended. Proven: nothing is better. TimeLimit: its time was over. Rounded: the programme over
    /// kinds of nodes was solved, and this could be packed of it. Greedy: nothing was solved.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub result: String,
}
