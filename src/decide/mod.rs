//! What the core decides.
