//! Kubernetes objects to deltas of the world: one file a kind, and the only place that reads quantities.
//!
//! Nothing here is async, has a clock, or fails as a whole for one bad object: what cannot be read is read as
//! well as can be, and said in the delta (pools, workloads) or in [`Notes`] (nodes, pods).

pub mod amounts;
pub mod asked;
pub mod catalog;
pub mod constraints;
pub mod durations;
pub mod kubevirt;
pub mod labelled;
pub mod machine;
pub mod machines;
pub mod names;
pub mod namespace;
pub mod node;
pub mod object;
pub mod patch;
pub mod pod;
pub mod pool;
pub mod requests;
pub mod selectors;
pub mod template;
pub mod terms;
pub mod volume;
pub mod workload;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as MetaTime;

use crate::model::time::Time;

/// What could not be read and was left out or guessed, for the log: object, field and what was done.
pub type Notes = Vec<String>;

/// A time of the API in the model's milliseconds; its zero where there is none.
pub(crate) fn time(time: Option<&MetaTime>) -> Time {
    Time(time.map_or(0, |time| time.0.as_millisecond()))
}

/// Text that came in an object, empty if it did not.
pub(crate) fn arc(text: Option<&String>) -> std::sync::Arc<str> {
    std::sync::Arc::from(text.map_or("", String::as_str))
}
