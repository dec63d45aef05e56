//! The operator as a process of its own, on a real control plane: beside real kubelets (`nodes.rs`, as root), and
//! under faults on simulated nodes (`faults.rs`, `moves.rs`, `takeover.rs`), with an auditor that shares no code with it; what it tells
//! whom (`exposure.rs`), and what it does with rights, tokens and definitions that are not as they should be (`rights.rs`, `writes.rs`).
//!
//! Each test has one cluster and prints a line for each thing that it has shown. Nothing is skipped: where there
//! is no cluster to be had, the test fails. A failed test leaves its logs behind and says where.

pub mod api;
mod auditor;
pub mod cluster;
mod exposure;
mod faults;
mod machines;
mod migrations;
mod moves;
mod nodes;
pub mod operator;
mod probes;
mod rights;
mod scheduler;
mod simulated;
mod takeover;
mod upgrade;
pub mod web;
mod writes;
