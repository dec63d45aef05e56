//! What reports tell, reckoned from plain numbers: how long workloads waited and ran, who borrowed from whom, what is
//! reserved and idle, and who asks for more or less than is used.

pub mod borrowing;
pub mod idle;
pub mod times;
pub mod usage;
