//! The program `weir`, which kubectl knows as `kubectl-weir`.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::cli::main()
}
