//! The program `weir`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match weir::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
