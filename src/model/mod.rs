//! The world that is decided on.
