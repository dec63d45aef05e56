//! The program `weir`, which kubectl knows as `kubectl-weir`.

use std::process::ExitCode;

/// Worlds are many small things; and that of musl, with which the image is built, is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
