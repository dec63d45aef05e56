//! The operator's outer ring against a small stand-in for the API server, one outcome at a time.

mod apply;
mod follow;
mod lease;
mod ledger;
mod rights;
mod stub;
