//! All integration tests, one binary.

mod api;
mod check;
mod operate;
