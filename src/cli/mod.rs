//! The program: its subcommands, its two names, and how it exits.

pub mod check;
pub mod cluster;
pub mod complete;
pub mod crds;
pub mod exit;
pub mod list;
pub mod live;
pub mod load;
pub mod man;
pub mod migrate;
pub mod output;
pub mod page;
pub mod plan;
pub mod release;
pub mod replay;
pub mod report;
pub mod run;
pub mod say;
pub mod simulate;
pub mod top;
pub mod tree;
pub mod what_if;
pub mod why;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Pools the resources of Kubernetes nodes and runs containers and virtual machines out of one queue.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done; 1 it could not be done; 2 it was done, and the answer shall stop a pipeline."
)]
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
    /// Print a script that completes words in a shell or for kubectl
    Completion(complete::Args),
    /// Print the custom resource definitions, or write them to a folder
    Crds(crds::Args),
    /// Write man pages to a folder
    Man(man::Args),
    /// Move members of a workload to other nodes, and tell what becomes of it
    Migrate(migrate::Args),
    /// Say how many nodes of which kind some work needs to wait no longer than you say, and what they cost
    Plan(plan::Args),
    /// End the operators' work and take Weir's finalizers off all pools, before it is uninstalled
    Release(release::Args),
    /// Say what the operator decides of the world of a dump, decision by decision, and why the others wait
    Replay(replay::Args),
    /// Report what pools use, borrow and leave idle, how long work waits, and what needs attention
    Report(Box<report::Args>),
    /// Run the operator
    Run(Box<run::Args>),
    /// Say what will happen: the same deciding under a virtual clock, on manifests or on a cluster that is only read
    Simulate(Box<simulate::Args>),
    /// Show pools, nodes and queues, live in the terminal or once
    Top(top::Args),
    /// Say who would be evicted, moved, or start earlier or later if pools, workloads or nodes change; exits with 2 if somebody
    /// would be evicted
    WhatIf(Box<what_if::Args>),
    /// Say why a workload waits, or what became of it, in words and numbers, and what would help
    Why(why::Args),
}

impl Command {
    /// Does what was asked and says how the process shall exit.
    ///
    /// # Errors
    /// What went wrong, in words for the user.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(args) => check::run(&args),
            Self::Completion(args) => complete::run(&args),
            Self::Crds(args) => crds::run(&args),
            Self::Man(args) => man::run(&args),
            Self::Migrate(args) => migrate::run(&args),
            Self::Plan(args) => plan::run(&args),
            Self::Release(args) => release::run(&args),
            Self::Replay(args) => replay::run(&args),
            Self::Report(args) => report::run(&args),
            Self::Run(args) => run::run(&args),
            Self::Simulate(args) => simulate::run(&args),
            Self::Top(args) => top::run(&args),
            Self::WhatIf(args) => what_if::run(&args),
            Self::Why(args) => why::run(&args),
        }
    }
}

/// By which name the program was called: its usage says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `weir`.
    Weir,
    /// `kubectl weir`: kubectl runs what is called `kubectl-weir`.
    Plugin,
}

impl Name {
    /// From the first argument of the process.
    pub fn of(program: &OsStr) -> Self {
        let stem = Path::new(program).file_stem().map(OsStr::to_string_lossy);
        if stem.is_some_and(|stem| stem.starts_with("kubectl")) { Self::Plugin } else { Self::Weir }
    }

    /// What people type.
    pub fn typed(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Plugin => "kubectl weir",
        }
    }

    /// The program's arguments, described under this name.
    pub fn command(self) -> clap::Command {
        let command = Cli::command();
        match self {
            Self::Weir => command,
            Self::Plugin => command
                .name("kubectl-weir")
                .bin_name("kubectl weir")
                .display_name("kubectl-weir")
                .mut_subcommands(|subcommand| self.renamed(subcommand)),
        }
    }

    /// Examples in the help of a subcommand begin with what people type.
    fn renamed(self, command: clap::Command) -> clap::Command {
        match command.get_after_help().map(ToString::to_string) {
            Some(help) => {
                let typed = format!("\n  {} ", self.typed());
                command.after_help(help.replace("\n  weir ", &typed))
            }
            None => command,
        }
    }
}

/// The whole program: completes words if a shell asks for them, else does what the arguments say.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = Name::of(&arguments.next().unwrap_or_default());
    if let Some(code) = complete::asked(name) {
        return code;
    }
    let parsed = name.command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Where even that cannot be printed, the exit code still tells.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::FAILED } else { exit::DONE });
        }
    };
    match cli.command.run() {
        Ok(code) => code,
        Err(error) if exit::is_closed_pipe(&error) => ExitCode::from(exit::DONE),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::FAILED)
        }
    }
}
