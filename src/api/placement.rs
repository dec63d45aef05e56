//! What a workload says of where its members go.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::pool::Strategy;
use super::rules;

/// What a workload wants of placement.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.topologyKey) || !has(self.spread) || self.topologyKey != self.spread.topologyKey")
        .message("topologyKey: write another label than in spread, or leave one of them away: members cannot be kept together in the domains that they are spread over"),
    validation = Rule::new("!has(self.strategy) || self.strategy != 'Optimal'")
        .message("strategy: write BinPack, Spread, Balanced or LeastFragmentation, or leave it away: Optimal is for pools, and looks at all that waits in one"),
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPlacement {
    /// BinPack, Spread, Balanced or LeastFragmentation. Absent: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,

    /// A node label in whose domains the members are kept together, preferred. Absent: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = rules::label_key())]
    pub topology_key: Option<String>,

    /// The members are spread over domains of nodes: none is placed that would break this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<MemberSpread>,
}

/// How members are spread.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSpread {
    /// The node label whose values are the domains, such as topology.kubernetes.io/zone. Domains are those of the
    /// pool's nodes that are ready and that the template suits.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = rules::label_key())]
    pub topology_key: String,

    /// Most that a domain may have more members than the one that has fewest; 1 or more.
    #[serde(default = "default_max_skew")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_skew: i32,
}

fn default_max_skew() -> i32 {
    1
}
