//! The status of a `ResourcePool`: what Weir observed of it.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alerts::Forecast;
use super::asked::MoveRequestStatus;
use super::nodes::{DrainStatus, Recommendation};
use super::optimal::OptimalStatus;
use super::quantity::Quantity;
use super::schema;

/// What Weir observed of the pool.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct ResourcePoolStatus {
    /// The metadata.generation that this status is about; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,

    /// The nodes of the pool, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,

    /// The metered resources, in numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub resources: Vec<ResourceStatus>,

    /// The workloads of the pool itself, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadCounts>,

    /// The nodes of the pool that are drained (cordoned, with the annotation weir.dev/drain: "true"), while there
    /// are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,

    /// Objects of others whose pods count as load of this pool, since they are labelled weir.dev/pool: NAME, with what
    /// they are charged; the first 100 by namespace, kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "kind", "name"]))]
    pub adopted: Vec<AdoptedObject>,

    /// Moves that would even out the use of the nodes, where spec.rebalancing asks for them; the first comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub recommendations: Vec<Recommendation>,

    /// What became of the annotation weir.dev/apply-recommendation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_recommendation: Option<MoveRequestStatus>,

    /// What came of the last batch of which something was admitted, under the strategy Optimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal: Option<OptimalStatus>,

    /// Numbers as the columns of kubectl get show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<PoolSummary>,

    /// When resources are used up, by the trend of the last hours. Absent where there is no such trend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["resource"]))]
    pub forecast: Vec<Forecast>,

    /// Ready, Reconciling, Stalled, Overcommitted, Overlapping, CapacityPressure and ExhaustionPredicted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// The nodes of a pool, counted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// All nodes that belong to the pool.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub total: i32,

    /// Those that are ready and schedulable: what they offer is the capacity.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready: i32,

    /// Those that are cordoned.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub unschedulable: i32,
}

/// One metered resource of a pool, in numbers.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Name of the resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// What the ready nodes of the pool offer, or what its root declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,

    /// What pods that belong to no workload take of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmanaged: Option<Quantity>,

    /// What the pool is entitled to whenever it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Quantity>,

    /// What the pool never passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,

    /// What members of the pool and of all pools below it are charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<Quantity>,

    /// The part of allocated that is of objects of others that are labelled weir.dev/pool; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Quantity>,

    /// The part of allocated that is above the reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub borrowed: Option<Quantity>,

    /// The part of the reservation that others use while it is idle here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent: Option<Quantity>,

    /// What nobody uses on the pool's nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Quantity>,

    /// What the pool could admit now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<Quantity>,

    /// What the waiting workloads of the pool ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Quantity>,

    /// allocated in percent of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub utilization_percent: Option<i32>,

    /// The largest block that is free on one node. Absent where the root declares the capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_free: Option<Quantity>,
}

/// An object of others that is labelled for a pool.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdoptedObject {
    /// Deployment, Job, StatefulSet or VirtualMachine.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,

    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Its pods on nodes of the pool: they are charged.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub pods: i32,

    /// Its pods on other nodes: they are not charged.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub elsewhere: i32,

    /// What it is charged of the metered resources.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub resources: BTreeMap<String, Quantity>,
}

/// The workloads of a pool, counted.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCounts {
    /// Those that wait.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub queued: i32,

    /// Those that hold quota.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub running: i32,

    /// Those that succeeded.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub finished: i32,

    /// Those that failed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failed: i32,
}

/// Numbers as the columns of kubectl get show them.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSummary {
    /// CPU used / limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub cpu: Option<String>,

    /// Memory used / limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub memory: Option<String>,

    /// GPUs used / limit: all resources whose name ends in /gpu, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub gpus: Option<String>,
}
