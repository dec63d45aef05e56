//! The world that is decided on: amounts, pools in a tree, nodes, workloads and their members.
//!
//! Nothing here knows Kubernetes, a clock or logging. Deltas change the world; reports say how it stands.

pub mod adopt;
pub mod amount;
pub mod asked;
pub mod audit;
pub mod balance;
pub mod batch;
pub mod charges;
pub mod dedicated;
pub mod delta;
pub mod effects;
pub mod ids;
pub mod indexes;
pub mod intake;
pub mod join;
pub mod labelled;
pub mod lending;
pub mod link;
pub mod lookup;
pub mod machines;
pub mod moves;
pub mod nodes;
pub mod pace;
#[cfg(feature = "controller")]
mod pairs;
mod passages;
pub mod peers;
pub mod pods;
pub mod podspec;
pub mod pools;
pub mod proof;
pub mod queue;
pub mod refusal;
pub mod report;
pub mod reports;
pub mod resources;
pub mod selector;
pub mod shapes;
pub mod spec;
pub mod take;
pub mod terms;
pub mod time;
pub mod tokens;
pub mod trend;
pub mod workloads;
pub mod world;
