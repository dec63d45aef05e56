//! The program `weir`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match weir::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where nobody reads it, nobody misses it.
            let _ = error.print();
            return ExitCode::from(weir::cli::usage_code(&error, std::env::args().nth(1).as_deref()));
        }
    };
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
