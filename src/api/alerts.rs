//! Alerts of a pool, and the forecast of when it is used up.

#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown by kubectl explain, where backticks only disturb"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::{rules, schema};

/// When a warning condition and event appear.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolAlerts {
    /// CapacityPressure, when so much of the limit of a resource is allocated, in percent: 1 to 100. It ends five
    /// points below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub utilization_percent: Option<i32>,

    /// CapacityPressure, when a workload of the pool or below it waits for longer than this: 1s to 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::between("1s", "720h"))]
    pub pending_for: Option<Duration>,

    /// ExhaustionPredicted, when by the trend of the last hours nothing is left of a resource within this time: 10m
    /// to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::between("10m", "24h"))]
    pub exhaustion_within: Option<Duration>,
}

/// When a resource of a pool is used up.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Name of the resource.
    #[schemars(length(min = 1, max = 253))]
    pub resource: String,

    /// When nothing is left of it, if it goes on as in the last hours; to ten minutes.
    #[schemars(schema_with = "schema::time")]
    pub exhausted_at: Time,
}
