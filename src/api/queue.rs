//! A workload's place in its queue, as its status tells.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A place in the queue.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Its place, from 1.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub position: i32,

    /// How many workloads are ahead of it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ahead: i32,

    /// When it will start, as far as that can be known; absent where it waits for what says no duration, and of which nothing like it was
    /// seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_start: Option<EstimatedStart>,
}

/// When a workload will start.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EstimatedStart {
    /// If all takes half of the time that is expected.
    #[schemars(schema_with = "schema::time")]
    pub earliest: Time,

    /// If all goes as expected and nothing else comes.
    #[schemars(schema_with = "schema::time")]
    pub likely: Time,
}
