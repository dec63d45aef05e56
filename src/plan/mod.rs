//! Decisions to writes.
