//! `weir run`: the operator.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::operate::{config, run};

/// What `weir run` takes.
pub type Args = config::Args;

/// Runs the operator until it is told to end.
///
/// # Errors
/// Where it cannot start.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    run::log(args.log_format)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(run::run(args))?;
    Ok(ExitCode::SUCCESS)
}
