//! Decisions to writes: pods, statuses, events and the ledger, and the order in which they must happen.
//!
//! Nothing here talks to a client; `apply/` carries the writes out.

pub mod alerts;
pub mod asked;
pub mod event;
pub mod ledger;
pub mod machine;
pub mod moves;
pub mod pod;
pub mod pool_status;
pub mod reason;
mod rejection;
pub mod taint;
pub mod workload_status;
pub mod write;

mod scripts;

pub use scripts::{Desk, StatusWrite};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as MetaTime;
use k8s_openapi::jiff::Timestamp;

use crate::model::time::Time;

/// How kstatus sees an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kstatus {
    /// As it should be.
    Ready,
    /// On its way there.
    Reconciling,
    /// Not getting there unless somebody changes something.
    Stalled,
}

/// A time of the model for the API, which keeps seconds: the same once it was read back.
fn timestamp(time: Time) -> Timestamp {
    let seconds = Timestamp::from_second(time.0.div_euclid(1000));
    seconds.unwrap_or(if time.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn meta_time(time: Time) -> MetaTime {
    MetaTime(timestamp(time))
}

#[cfg(test)]
mod tests;
