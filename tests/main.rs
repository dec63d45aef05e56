//! All integration tests, one binary.

mod api;
mod check;
mod scenario;
