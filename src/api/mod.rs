//! The two custom resources and their words.
//!
//! [`ResourcePool`] and [`PooledWorkload`] are the source of the CRDs in `crds/`. This room also holds what
//! both sides of the API must agree on: labels, reasons, conditions, the exact reading of quantities and
//! durations, and the check of a schemaless pod template. It decides nothing.

pub mod alerts;
pub mod asked;
pub mod conditions;
pub mod duration;
pub mod field;
pub mod kubevirt;
pub mod labels;
pub mod names;
pub mod nodes;
pub mod optimal;
pub mod placement;
pub mod pool;
pub mod pool_status;
pub mod pruned;
mod pruned_meta;
pub mod quantity;
pub mod queue;
pub mod reasons;
pub mod requests;
mod rules;
pub mod runtime;
mod schema;
pub mod template;
pub mod workload;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use duration::Duration;
pub use pool::{ResourcePool, ResourcePoolSpec, ResourcePoolStatus};
pub use quantity::Quantity;
pub use reasons::Reason;
pub use workload::{PooledWorkload, PooledWorkloadSpec, PooledWorkloadStatus};

/// The API group of both kinds.
pub const GROUP: &str = "weir.dev";
/// The only version there is.
pub const VERSION: &str = "v1alpha1";
/// Group and version as manifests write them.
pub const API_VERSION: &str = "weir.dev/v1alpha1";

/// Both custom resource definitions, each with the name of the file that holds it in `crds/`.
pub fn crds() -> [(&'static str, CustomResourceDefinition); 2] {
    [("resourcepools.yaml", ResourcePool::crd()), ("pooledworkloads.yaml", PooledWorkload::crd())]
}
