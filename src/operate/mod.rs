//! The cycle, and what it takes to run it.
