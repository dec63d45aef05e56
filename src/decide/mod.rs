//! What the core decides: a pure function of the world and of the time it is given.

pub mod decision;
