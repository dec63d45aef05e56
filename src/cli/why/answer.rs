//! What `weir why` answers, as `-o json` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::Quantity;
use crate::api::queue::EstimatedStart;
use crate::api::workload::{AllocationStatus, PendingNodes, PlacementStatus};

/// Why a workload is where it is.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// `namespace/name`.
    pub workload: String,
    /// Its pool.
    pub pool: String,
    /// Where it stands, as in its status; `Unseen` while it has none.
    pub phase: String,
    /// For how many seconds it has been there, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<i64>,
    /// Why, in one word of the documented list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: String,
    /// What the reason means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_do: Option<&'static str>,
    /// The priority that counts.
    pub priority: i32,
    /// Its members.
    pub members: Members,
    /// Where members are, and what they do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<PlacementStatus>,
    /// What it holds while it is admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationStatus>,
    /// Its last eviction, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicted: Option<String>,
    /// How often it was evicted.
    pub evictions: i32,
    /// Its place in the queue, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// Its pool and those above it, with what it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
    /// Nodes that were looked at, and why they were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<PendingNodes>,
    /// What was tried on a copy of the cluster, and would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<Help>,
    /// What could not be found out, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// The members of a workload.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Members {
    /// Wanted.
    pub wanted: i32,
    /// Without which none starts.
    pub least: i32,
    /// That run.
    pub running: i32,
    /// That succeeded.
    pub succeeded: i32,
    /// That failed for good.
    pub failed: i32,
    /// What one of them asks for.
    pub each: BTreeMap<String, Quantity>,
    /// What the least number of them asks for, together.
    pub together: BTreeMap<String, Quantity>,
}

/// A place in a queue.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// From 1.
    pub position: usize,
    /// How many wait in the pool, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// How the pool orders its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When it will start, as far as the operator could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_start: Option<EstimatedStart>,
    /// The first of those that are ahead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<Ahead>,
}

/// One that is ahead in the queue.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ahead {
    /// `namespace/name`.
    pub workload: String,
    /// Its priority.
    pub priority: i32,
    /// What it asks for, all members together.
    pub together: BTreeMap<String, Quantity>,
}

/// A pool, and what it has of the resources that are asked for.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// One entry a resource.
    pub resources: Vec<Resource>,
}

/// What a pool has of one resource.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// What the pool gets whenever it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Quantity>,
    /// What it never passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,
    /// What is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocated: Option<Quantity>,
    /// What it could admit now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<Quantity>,
    /// What the workload asks for.
    pub asked: Quantity,
    /// By how much that is more than what is available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Quantity>,
}

/// What was tried on a copy of the cluster.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Help {
    /// How many changes were tried.
    pub tried: usize,
    /// Those after which it would start.
    pub would_help: Vec<Suggestion>,
}

/// A change, and what it would lead to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    /// What to change.
    pub change: String,
    /// What happens then.
    pub then: String,
    /// Workloads that would be evicted or shrunk, `namespace/name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at_the_cost_of: Vec<String>,
}
