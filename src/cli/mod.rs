//! The subcommands.

pub mod crds;

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
    /// Print the custom resource definitions, or write them to a folder
    Crds(crds::Args),
}

impl Cli {
    /// Does what was asked and says how the process shall exit.
    ///
    /// # Errors
    /// What went wrong, in words for the user; the process then exits with 2.
    pub fn run(self) -> anyhow::Result<std::process::ExitCode> {
        match self.command {
            Command::Crds(args) => crds::run(&args),
        }
    }
}
