//! All integration tests, one binary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on shall panic")]

mod api;
mod chart;
mod check;
mod cli;
mod docs;
mod foresight;
mod kubevirt;
mod operate;
mod packing;
mod plan;
mod policies;
mod real;
mod rings;
mod scenario;
mod sharing;
