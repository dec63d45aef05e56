//! `weir man`: man pages of the program and of each subcommand.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::Name;

/// What `weir man` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

/// Writes `weir.1`, `weir-why.1` and so on.
///
/// # Errors
/// Where the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cannot = || format!("cannot write man pages to {}", args.dir.display());
    std::fs::create_dir_all(&args.dir).with_context(cannot)?;
    clap_mangen::generate_to(Name::Weir.command(), &args.dir).with_context(cannot)?;
    Ok(ExitCode::SUCCESS)
}
