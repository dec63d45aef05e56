//! The program as people use it: its two names, what it prints and how it exits; and what it says of a real cluster.

mod krew;
mod live;
mod program;
mod report;
mod screen;
