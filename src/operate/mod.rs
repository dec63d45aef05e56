//! The cycle, and what it takes to run it.

pub mod carry;
pub mod config;
pub mod confirm;
mod debug;
pub mod definitions;
pub mod election;
pub mod estimate;
mod forbidden;
pub mod health;
pub mod http;
pub mod intake;
pub mod lead;
pub mod lease;
pub mod ledger;
pub mod metrics;
pub mod record;
pub mod reserve;
pub mod run;
mod setback;
mod tell;
pub mod term;
mod withheld;
