//! The only writer to the API server.
//!
//! Scripts are carried out side by side, those of one object one after another, with a bound on the requests in
//! flight. Every request asks first whether this process still leads. What was answered goes back to the cycle;
//! nothing is decided here.

pub mod answer;
pub mod call;
pub mod create;
pub mod events;
pub mod machine;
pub mod remove;
pub mod rights;
pub mod status;
pub mod writer;

pub use answer::{Answer, Child};
pub use writer::{Limits, Writer};
