//! Decisions to writes: pods, statuses, events and the ledger, and the order in which they must happen.
//!
//! Nothing here talks to a client; `apply/` carries the writes out.

pub mod ledger;
pub mod pod;
pub mod write;
