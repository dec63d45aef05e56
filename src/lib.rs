//! Weir pools the resources of Kubernetes nodes and runs containers and virtual machines out of one queue.
//!
//! The folders are the stations that data passes, in order, and dependencies point inward only; see
//! `ARCHITECTURE.md`. Ring 0 ([`model`], [`decide`], [`simulate`]) is built without the feature `controller`, and so
//! without Kubernetes, a clock or I/O.

pub mod decide;
pub mod model;
pub mod optimise;
pub mod report;
pub mod simulate;

#[cfg(feature = "controller")]
pub mod api;
#[cfg(feature = "controller")]
pub mod apply;
#[cfg(feature = "controller")]
pub mod cli;
#[cfg(feature = "controller")]
pub mod dump;
#[cfg(feature = "controller")]
pub mod observe;
#[cfg(feature = "controller")]
pub mod operate;
#[cfg(feature = "controller")]
pub mod plan;
#[cfg(feature = "controller")]
pub mod watch;
