//! The subcommands.

pub mod check;
pub mod crds;
pub mod load;
pub mod migrate;
pub mod release;
pub mod run;
pub mod say;
pub mod simulate;
pub mod what_if;

use clap::{Parser, Subcommand};

/// Pools the resources of Kubernetes nodes and runs containers out of one queue.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check manifests offline: what the API server and the operator would say of them
    Check(check::Args),
    /// Print the custom resource definitions, or write them to a folder
    Crds(crds::Args),
    /// Move members of a workload to other nodes, and tell what becomes of it
    Migrate(migrate::Args),
    /// End the operators' work and take Weir's finalizers off all pools, before it is uninstalled
    Release(release::Args),
    /// Run the operator
    Run(Box<run::Args>),
    /// Say what will happen: the same deciding under a virtual clock, on manifests or on a cluster that is only read
    Simulate(Box<simulate::Args>),
    /// Say who would be evicted, moved, or start earlier or later if pools, workloads or nodes change; exits with 2 if somebody
    /// would be evicted
    WhatIf(Box<what_if::Args>),
}

/// How the process exits when its arguments cannot be read: with 2, save for `weir what-if`, of which 2 says something else.
pub fn usage_code(error: &clap::Error, command: Option<&str>) -> u8 {
    match (error.use_stderr(), command) {
        (false, _) => 0,
        (true, Some("what-if")) => what_if::FAILED,
        (true, _) => 2,
    }
}

impl Cli {
    /// Does what was asked and says how the process shall exit.
    ///
    /// # Errors
    /// What went wrong, in words for the user; the process then exits with 2 (`what-if`: with 1).
    pub fn run(self) -> anyhow::Result<std::process::ExitCode> {
        match self.command {
            Command::Check(args) => check::run(&args),
            Command::Crds(args) => crds::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Release(args) => release::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Simulate(args) => simulate::run(&args),
            Command::WhatIf(args) => what_if::run(&args),
        }
    }
}
