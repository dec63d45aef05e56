//! The world that is decided on: amounts, pools in a tree, nodes, workloads and their members.
//!
//! Nothing here knows Kubernetes, a clock or logging. Deltas change the world; reports say how it stands.

pub mod amount;
pub mod delta;
pub mod indexes;
pub mod refusal;
pub mod report;
pub mod resources;
pub mod selector;
pub mod spec;
pub mod time;
